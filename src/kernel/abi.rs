//! Kernel ABI that the libc crate lacks: structures with size asserts, system call numbers and flags.
//!
//! Sources: include/uapi/linux/{mount,sched,openat2,fs,nsfs}.h of Linux 6.18; numbers are the same on x86_64, aarch64 and
//! riscv64 for every call from 424 on.

/// `struct clone_args` of clone3(2), the 88-byte version with `cgroup`.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default)]
pub struct CloneArgs {
    /// `CLONE_*`.
    pub flags: u64,
    /// Where the pidfd is stored.
    pub pidfd: u64,
    /// Child's tid address.
    pub child_tid: u64,
    /// Parent's tid address.
    pub parent_tid: u64,
    /// Signal sent to the parent at the child's end.
    pub exit_signal: u64,
    /// Stack, 0 for fork-like use.
    pub stack: u64,
    /// Its size.
    pub stack_size: u64,
    /// TLS.
    pub tls: u64,
    /// Pids to choose.
    pub set_tid: u64,
    /// How many.
    pub set_tid_size: u64,
    /// Descriptor of the cgroup to be born in.
    pub cgroup: u64,
}
const _: () = assert!(size_of::<CloneArgs>() == 88);

/// `struct open_how` of openat2(2).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenHow {
    /// `O_*`.
    pub flags: u64,
    /// Mode of a file that is made.
    pub mode: u64,
    /// `RESOLVE_*`.
    pub resolve: u64,
}
const _: () = assert!(size_of::<OpenHow>() == 24);

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountAttr {
    /// `MOUNT_ATTR_*` to set.
    pub attr_set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub attr_clr: u64,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE` or 0.
    pub propagation: u64,
    /// User namespace of an idmapped mount.
    pub userns_fd: u64,
}
const _: () = assert!(size_of::<MountAttr>() == 32);

/// A capability set as capset(2) takes it, version 3: effective, permitted, inheritable, low words then high words.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct CapabilityData {
    /// In force.
    pub effective: u32,
    /// May become effective.
    pub permitted: u32,
    /// Kept over execve.
    pub inheritable: u32,
}

/// `struct sock_fprog` (seccomp(2)).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FilterProgram {
    /// Instructions.
    pub length: u16,
    /// Their address.
    pub filter: *const u8,
}

/// A `struct ifreq` as SIOCSIFFLAGS reads it: name, then flags (netdevice(7)).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct InterfaceRequest {
    /// Interface name, NUL-padded.
    pub name: [u8; 16],
    /// `IFF_*`.
    pub flags: i16,
    /// The rest of the union.
    pub rest: [u8; 22],
}
const _: () = assert!(size_of::<InterfaceRequest>() == 40);

pub use libc::{
    AT_EMPTY_PATH, AT_FDCWD, AT_RECURSIVE, AT_SYMLINK_NOFOLLOW, CLONE_PIDFD, MS_PRIVATE, MS_SHARED, MS_SLAVE,
    MS_UNBINDABLE, O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, O_PATH, O_RDONLY, O_RDWR, O_WRONLY, RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV,
};

/// clone3: be born in the cgroup of `CloneArgs::cgroup`.
pub const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// clone3: handlers back to default.
pub const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
/// The new process gets the caller's parent.
pub const CLONE_PARENT: u64 = 0x0000_8000;

/// open_tree(2): a detached copy.
pub const OPEN_TREE_CLONE: u32 = 1;
/// open_tree(2), fsmount(2), fsopen(2): close on exec (open_tree's own value is O_CLOEXEC).
pub const OPEN_TREE_CLOEXEC: u32 = libc::O_CLOEXEC as u32;
/// fsopen(2).
pub const FSOPEN_CLOEXEC: u32 = 1;
/// fsmount(2).
pub const FSMOUNT_CLOEXEC: u32 = 1;
/// move_mount(2): source is the descriptor itself.
pub const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x4;
/// move_mount(2): destination is the descriptor itself.
pub const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;

/// fsconfig(2) commands.
pub const FSCONFIG_SET_FLAG: u32 = 0;
/// `key=value`.
pub const FSCONFIG_SET_STRING: u32 = 1;
/// A descriptor.
pub const FSCONFIG_SET_FD: u32 = 5;
/// Make the superblock.
pub const FSCONFIG_CMD_CREATE: u32 = 6;
/// Change the superblock (`FSCONFIG_CMD_RECONFIGURE`).
pub const FSCONFIG_CMD_RECONFIGURE: u32 = 7;

/// mount attributes of fsmount(2) and mount_setattr(2).
pub const MOUNT_ATTR_RDONLY: u64 = 0x1;
/// No set-user-id.
pub const MOUNT_ATTR_NOSUID: u64 = 0x2;
/// No devices.
pub const MOUNT_ATTR_NODEV: u64 = 0x4;
/// No programs.
pub const MOUNT_ATTR_NOEXEC: u64 = 0x8;
/// The exclusive atime field.
pub const MOUNT_ATTR_ATIME: u64 = 0x70;
/// atime: relatime is the zero value of the field.
pub const MOUNT_ATTR_RELATIME: u64 = 0;
/// atime: never.
pub const MOUNT_ATTR_NOATIME: u64 = 0x10;
/// atime: always.
pub const MOUNT_ATTR_STRICTATIME: u64 = 0x20;
/// No atime on directories.
pub const MOUNT_ATTR_NODIRATIME: u64 = 0x80;
/// Idmapped by `MountAttr::userns_fd`.
pub const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
/// Symlinks are not followed.
pub const MOUNT_ATTR_NOSYMFOLLOW: u64 = 0x0020_0000;

/// seccomp(2).
pub const SECCOMP_SET_MODE_FILTER: u32 = 1;
/// seccomp(2): gives a listener.
pub const SECCOMP_FILTER_FLAG_NEW_LISTENER: u32 = 8;

/// capset(2) version 3.
pub const LINUX_CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// keyctl(2): join a session keyring.
pub const KEYCTL_JOIN_SESSION_KEYRING: usize = 1;
/// keyctl(2): set permissions.
pub const KEYCTL_SETPERM: usize = 5;
/// keyctl(2): read permissions and owner as text.
pub const KEYCTL_DESCRIBE: usize = 6;
