//! What is wanted, whatever the way in: no order, no kernel calls, every value checked once and knowing its origin.
//!
//! A front end ([`from_oci`]) fills an [`Intent`]; [`contradictions`] holds the rules that need two fields; `lowering`
//! turns it into a plan. The words of mount options live in one table, [`mount_options`].

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::cgroup::Resources;
use crate::error::Origin;
use crate::seccomp::Profile;

pub mod annotations;
pub mod automatic;
pub mod contradictions;
pub mod from_bwrap;
pub mod from_oci;
pub mod hardware;
pub mod host_view;
pub mod mount_options;
pub mod process;
pub mod sandbox;

pub use hardware::{IntelRdt, MemoryPolicy, NetDevice, Numbers};
pub use process::{Capabilities, Process, Rlimit, User};

/// A whole container as it is wanted.
#[derive(Clone, Debug)]
pub struct Intent {
    /// `ociVersion` as written; goes into the state that hooks and callers read.
    pub version: String,
    /// The root file system.
    pub root: Root,
    /// Namespaces to make or join, at most one of each kind, in the input's order.
    pub namespaces: Vec<Namespace>,
    /// User and group id maps of a new user namespace.
    pub id_maps: IdMaps,
    /// Offsets of a new time namespace.
    pub time_offsets: Vec<TimeOffset>,
    /// Host name of the UTS namespace.
    pub hostname: Option<String>,
    /// NIS domain name of the UTS namespace.
    pub domainname: Option<String>,
    /// Mounts in the user's order.
    pub mounts: Vec<Mount>,
    /// Device nodes beside the default set.
    pub devices: Vec<Device>,
    /// Paths made unreadable.
    pub masked_paths: Vec<Placed<String>>,
    /// Paths made read-only.
    pub readonly_paths: Vec<Placed<String>>,
    /// Kernel parameters of the container's own namespaces: name, value. Dots separate the name's parts, a slash stands for a
    /// dot within one (`net.ipv4.conf.eth0/1.forwarding`).
    pub sysctls: Vec<(Placed<String>, String)>,
    /// The first process; absent for `create` of a bundle without `process`.
    pub process: Option<Process>,
    /// Limits of the control group.
    pub resources: Resources,
    /// `cgroupsPath` as written.
    pub cgroup_path: Option<Placed<String>>,
    /// The seccomp profile.
    pub seccomp: Option<Profile>,
    /// Programs run at the six points of the life cycle.
    pub hooks: Hooks,
    /// Annotations, sorted.
    pub annotations: BTreeMap<String, String>,
    /// What annotations ask for.
    pub extensions: annotations::Extensions,
    /// Execution domain (personality(2)): `PER_LINUX` or `PER_LINUX32`.
    pub personality: Option<Placed<u32>>,
    /// Network devices that move into the container's network namespace, in the input's order.
    pub net_devices: Vec<NetDevice>,
    /// Class of service and monitoring (Intel RDT).
    pub intel_rdt: Option<IntelRdt>,
    /// NUMA memory policy.
    pub memory_policy: Option<MemoryPolicy>,
    /// SELinux context for mounts (`context=`).
    pub mount_label: Option<Placed<String>>,
    /// What a sandbox has beyond a container; `None` for a container.
    pub sandbox: Option<sandbox::Sandbox>,
    /// Things asked for that this version can't give; the runner refuses them by name.
    pub unsupported: Vec<Origin>,
    /// What the reader should know without being stopped: unknown capability of a newer kernel, a skipped word.
    pub warnings: Vec<String>,
}

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Its place in the input.
    pub origin: Origin,
}

/// The root file system.
#[derive(Clone, Debug)]
pub struct Root {
    /// Absolute host path of the tree (bundle-relative paths are joined already); empty for the other kinds.
    pub path: PathBuf,
    /// A directory, or the host's own tree behind a copy-on-write layer.
    pub kind: RootKind,
    /// Read-only for the payload.
    pub readonly: bool,
    /// Propagation of the root mount; `None`: the spec's silence, which is `rslave` towards the host.
    pub propagation: Option<Placed<Propagation>>,
    /// Its place in the input.
    pub origin: Origin,
}

/// What the root is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootKind {
    /// A directory on the host.
    Directory,
    /// The host's root seen read-only through a private overlay on a tmpfs.
    HostView,
    /// An empty tmpfs, or what the first mount binds at `/`, filled by the mounts and [`sandbox::Entry`]s; what they bind is
    /// the host's as it was before.
    Empty,
}

/// mount_namespaces(7) propagation, with the recursive flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagation {
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE` or `MS_UNBINDABLE`.
    pub kind: u64,
    /// Applies to the whole tree.
    pub recursive: bool,
}

/// The eight kinds of namespaces(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NamespaceKind {
    /// Users and capabilities.
    User,
    /// Mounts.
    Mount,
    /// Process ids.
    Pid,
    /// Network.
    Network,
    /// System V IPC and POSIX queues.
    Ipc,
    /// Host and domain name.
    Uts,
    /// Control group root.
    Cgroup,
    /// Boot and monotonic clocks.
    Time,
}

impl NamespaceKind {
    /// Kind, OCI word, name under /proc/PID/ns, clone flag: one line each.
    pub const ALL: &'static [(NamespaceKind, &'static str, &'static str, u64)] = &[
        (NamespaceKind::User, "user", "user", 0x1000_0000),
        (NamespaceKind::Mount, "mount", "mnt", 0x0002_0000),
        (NamespaceKind::Pid, "pid", "pid", 0x2000_0000),
        (NamespaceKind::Network, "network", "net", 0x4000_0000),
        (NamespaceKind::Ipc, "ipc", "ipc", 0x0800_0000),
        (NamespaceKind::Uts, "uts", "uts", 0x0400_0000),
        (NamespaceKind::Cgroup, "cgroup", "cgroup", 0x0200_0000),
        (NamespaceKind::Time, "time", "time", 0x0000_0080),
    ];

    fn row(self) -> &'static (NamespaceKind, &'static str, &'static str, u64) {
        // Every kind has its line: the table's test counts them.
        Self::ALL.iter().find(|row| row.0 == self).unwrap_or(&Self::ALL[0])
    }

    /// The runtime-spec's word.
    pub fn word(self) -> &'static str {
        self.row().1
    }

    /// The file under `/proc/PID/ns`.
    pub fn proc_name(self) -> &'static str {
        self.row().2
    }

    /// The `CLONE_NEW…` flag.
    pub fn flag(self) -> u64 {
        self.row().3
    }
}

/// One namespace to make (`path` absent) or join.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// Which.
    pub kind: NamespaceKind,
    /// The namespace file to join.
    pub path: Option<PathBuf>,
    /// Its place in the input.
    pub origin: Origin,
}

/// One line of `/proc/PID/uid_map` (user_namespaces(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdMap {
    /// First id inside.
    pub container: u32,
    /// First id outside.
    pub host: u32,
    /// How many.
    pub size: u32,
}

/// The maps of a user namespace; both empty when none is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMaps {
    /// Users.
    pub users: Vec<IdMap>,
    /// Groups.
    pub groups: Vec<IdMap>,
}

/// One line of `/proc/PID/timens_offsets` (time_namespaces(7)).
#[derive(Clone, Debug)]
pub struct TimeOffset {
    /// `monotonic` or `boottime`.
    pub clock: &'static str,
    /// Seconds.
    pub seconds: i64,
    /// Nanoseconds, below 10⁹.
    pub nanoseconds: u32,
    /// Its place in the input.
    pub origin: Origin,
}

/// One mount.
#[derive(Clone, Debug)]
pub struct Mount {
    /// Absolute path in the container.
    pub destination: String,
    /// File system type, `bind`, or none.
    pub fstype: Option<String>,
    /// Source as written; for a bind an absolute host path.
    pub source: Option<String>,
    /// The options, already understood.
    pub options: MountOptions,
    /// Maps of an idmapped mount, empty: the container's own.
    pub id_maps: IdMaps,
    /// Its place in the input.
    pub origin: Origin,
}

/// What the option words of one mount mean; filled by [`mount_options::parse`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// A bind of existing files.
    pub bind: Option<Bind>,
    /// `MOUNT_ATTR_*` to set (mount_setattr(2)), on the top mount only.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear, on the top mount only.
    pub clear: u64,
    /// `MOUNT_ATTR_*` to set on the whole tree (`rro`, `rnosuid`, …).
    pub recursive_set: u64,
    /// `MOUNT_ATTR_*` to clear on the whole tree.
    pub recursive_clear: u64,
    /// Superblock flags and options in order: `("sync", None)`, `("size", Some("64m"))`. A word that is both (`ro`) is
    /// in `set` as the mount attribute and here only when it is not a bind.
    pub data: Vec<(String, Option<String>)>,
    /// Propagation changes in order.
    pub propagation: Vec<Propagation>,
    /// `remount`: change what is mounted there.
    pub remount: bool,
    /// Copy what the image has at the destination into the new tmpfs (`tmpcopyup`).
    pub copy_up: bool,
    /// `idmap` / `ridmap`: idmapped mount, recursive or not.
    pub idmap: Option<IdmapScope>,
    /// Don't follow a symlink at the source (`src-nofollow`).
    pub source_nofollow: bool,
    /// Don't follow a symlink at the destination (`dest-nofollow`).
    pub destination_nofollow: bool,
    /// Copy a symlink at the source instead of mounting what it names (`copy-symlink`).
    pub copy_symlink: bool,
}

/// How deep a bind goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bind {
    /// The mount alone (`bind`).
    Single,
    /// With everything mounted below (`rbind`).
    Recursive,
}

/// How deep an idmapped mount goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdmapScope {
    /// The top mount.
    Single,
    /// The whole tree.
    Recursive,
}

/// A device node.
#[derive(Clone, Debug)]
pub struct Device {
    /// Absolute path in the container.
    pub path: String,
    /// Character (`c`, `u`), block or FIFO.
    pub kind: DeviceKind,
    /// Device numbers; 0 for a FIFO.
    pub major: u32,
    /// See `major`.
    pub minor: u32,
    /// Permission bits, 0666 unless given.
    pub mode: u32,
    /// Owner inside the container.
    pub uid: u32,
    /// Group inside the container.
    pub gid: u32,
    /// Its place in the input.
    pub origin: Origin,
}

/// mknod(2) types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// `S_IFCHR`.
    Character,
    /// `S_IFBLK`.
    Block,
    /// `S_IFIFO`.
    Fifo,
}

/// The six lists of the runtime-spec's life cycle.
#[derive(Clone, Debug, Default)]
pub struct Hooks {
    /// Deprecated: as `create_runtime`, before it.
    pub prestart: Vec<Hook>,
    /// After the namespaces exist, before pivot_root; runs in the runtime's namespaces.
    pub create_runtime: Vec<Hook>,
    /// After `create_runtime`; path resolved in the runtime's namespace, runs in the container's.
    pub create_container: Vec<Hook>,
    /// Before the payload, inside the container.
    pub start_container: Vec<Hook>,
    /// After the payload's start, in the runtime's namespaces.
    pub poststart: Vec<Hook>,
    /// After deletion, in the runtime's namespaces; failures are warnings.
    pub poststop: Vec<Hook>,
}

/// One program of a hook list; gets the container's state on standard input.
#[derive(Clone, Debug)]
pub struct Hook {
    /// Absolute path.
    pub path: String,
    /// argv, including `argv[0]`; the path alone if the input gave none.
    pub args: Vec<String>,
    /// The whole environment, nothing is added.
    pub env: Vec<String>,
    /// Seconds until it is killed.
    pub timeout: Option<u32>,
    /// Its place in the input.
    pub origin: Origin,
}

impl Intent {
    /// The wanted namespace of a kind.
    pub fn namespace(&self, kind: NamespaceKind) -> Option<&Namespace> {
        self.namespaces.iter().find(|namespace| namespace.kind == kind)
    }

    /// Whether a new namespace of the kind is made.
    pub fn makes(&self, kind: NamespaceKind) -> bool {
        self.namespace(kind).is_some_and(|namespace| namespace.path.is_none())
    }
}
