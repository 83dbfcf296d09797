//! How many entries of each kind are taken: the kernel's own bound where it has one, else far above any real use,
//! so that a hostile input costs the caller an error and not the memory of the host.

/// Arguments, environment entries: execve(2) fails long before.
pub const STRINGS: usize = 100_000;
/// Mounts; the kernel's default is 100,000 in a whole namespace (`fs.mount-max`).
pub const MOUNTS: usize = 10_000;
/// Options of one mount.
pub const OPTIONS: usize = 1_000;
/// Device nodes and device rules.
pub const DEVICES: usize = 10_000;
/// Network devices.
pub const NET_DEVICES: usize = 1_000;
/// Lines of a schemata file.
pub const SCHEMATA: usize = 1_000;
/// Masked and read-only paths.
pub const PATHS: usize = 10_000;
/// Supplementary groups: `NGROUPS_MAX`.
pub const GROUPS: usize = 65_536;
/// Lines of an id map: user_namespaces(7), since Linux 4.15.
pub const ID_MAPS: usize = 340;
/// Names in one capability set.
pub const CAPABILITIES: usize = 256;
/// Resource limits; there are 16, and each may be there once.
pub const RLIMITS: usize = 64;
/// Words of a list of flags.
pub const FLAGS: usize = 64;
/// Kernel parameters.
pub const SYSCTLS: usize = 1_000;
/// Programs of one hook list.
pub const HOOKS: usize = 1_000;
/// Annotations.
pub const ANNOTATIONS: usize = 10_000;
/// Rules of a seccomp profile; a program has at most 4,096 instructions.
pub const SECCOMP_RULES: usize = 10_000;
/// System calls of one rule.
pub const SECCOMP_NAMES: usize = 10_000;
/// Entries of the lists and maps under `resources`.
pub const RESOURCES: usize = 1_000;
