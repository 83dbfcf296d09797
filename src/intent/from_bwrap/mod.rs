//! bubblewrap's command line as an intent: bwrap(1), its options in their order, with their meaning and messages.
//!
//! The words are one table, [`grammar`]; this file says what a container they describe.

mod build;
mod grammar;

pub use build::{Caller, intent};
pub use grammar::{OPTIONS, Row, parse};

use crate::error::{Origin, Result};

/// How descriptors of the caller's are looked at: this room opens and reads nothing itself.
#[derive(Clone, Copy, Debug)]
pub struct Descriptors {
    /// Whether one is open.
    pub is_open: fn(i32) -> bool,
    /// All that one gives, from where it stands.
    pub read: fn(i32) -> Result<Vec<u8>>,
}

/// One command line, understood.
#[derive(Clone, Debug, Default)]
pub struct Bwrap {
    /// The command and its arguments; empty if none was given.
    pub command: Vec<String>,
    /// `argv[0]`, if not the command.
    pub argv0: Option<String>,
    /// Messages begin with their syslog level.
    pub level_prefix: bool,
    /// Which namespaces are made.
    pub unshare: Unshare,
    /// `--disable-userns`.
    pub disable_user_namespaces: bool,
    /// `--assert-userns-disabled`.
    pub assert_disabled: bool,
    /// `--uid`, `--gid`.
    pub ids: (Option<u32>, Option<u32>),
    /// `--hostname`.
    pub hostname: Option<String>,
    /// `--chdir`.
    pub directory: Option<String>,
    /// The environment, as the options left it.
    pub environment: Vec<String>,
    /// `--lock-file`: paths inside.
    pub lock_files: Vec<String>,
    /// `--sync-fd`.
    pub sync: Option<i32>,
    /// `--args`: descriptors that were read.
    pub arguments: Vec<i32>,
    /// What the root is made of, in order.
    pub files: Vec<File>,
    /// `--seccomp` or `--add-seccomp-fd`: descriptors of programs, in order.
    pub seccomp: Vec<i32>,
    /// `--block-fd`, `--info-fd`, `--json-status-fd`.
    pub block: Option<i32>,
    /// See `block`.
    pub info: Option<i32>,
    /// See `block`.
    pub status: Option<i32>,
    /// `--new-session`.
    pub new_session: bool,
    /// `--die-with-parent`.
    pub die_with_parent: bool,
    /// `--as-pid-1`.
    pub as_pid_1: bool,
    /// Capabilities that the payload keeps: bit n is capability n.
    pub capabilities: u64,
    /// `--cap-add` or `--cap-drop` was given.
    pub chosen_capabilities: bool,
}

/// Which namespaces are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unshare {
    /// `--unshare-user`.
    pub user: bool,
    /// `--unshare-user-try`.
    pub user_try: bool,
    /// `--unshare-ipc`.
    pub ipc: bool,
    /// `--unshare-pid`.
    pub pid: bool,
    /// `--unshare-net`.
    pub net: bool,
    /// `--unshare-uts`.
    pub uts: bool,
    /// `--unshare-cgroup`.
    pub cgroup: bool,
    /// `--unshare-cgroup-try`.
    pub cgroup_try: bool,
}

/// One thing the root is made of.
#[derive(Clone, Debug)]
pub struct File {
    /// What.
    pub kind: FileKind,
    /// Where, inside.
    pub destination: String,
    /// `--perms` before it.
    pub mode: Option<u32>,
    /// `--size` before it, in bytes.
    pub size: Option<u64>,
    /// `--overlay-src` before it, in order.
    pub layers: Vec<String>,
    /// The option, for errors.
    pub origin: Origin,
}

/// What a [`File`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A host path with all below.
    Bind {
        /// Which.
        source: String,
        /// Nobody writes to it.
        read_only: bool,
        /// Device nodes work.
        devices: bool,
        /// Skipped if it is missing.
        optional: bool,
    },
    /// What a descriptor names, with all below.
    BindDescriptor {
        /// Which.
        descriptor: i32,
        /// Nobody writes to it.
        read_only: bool,
    },
    /// The mount there becomes read-only.
    RemountReadOnly,
    /// An overlay that is written to.
    Overlay {
        /// Host directory that gets the changes.
        upper: String,
        /// An empty host directory on the same file system, for the kernel.
        work: String,
    },
    /// An overlay whose changes go with the sandbox.
    TemporaryOverlay,
    /// An overlay that nobody writes to.
    ReadOnlyOverlay,
    /// procfs.
    Proc,
    /// A small /dev.
    Dev,
    /// tmpfs.
    Tmpfs,
    /// POSIX message queues.
    Mqueue,
    /// A directory.
    Directory,
    /// A file with what the descriptor gives.
    Copy {
        /// Read to its end.
        descriptor: i32,
    },
    /// A mounted file with what the descriptor gives.
    Data {
        /// Read to its end.
        descriptor: i32,
        /// Nobody writes to it.
        read_only: bool,
    },
    /// A symbolic link.
    Link {
        /// To this.
        target: String,
    },
    /// Permissions of what is there.
    Mode {
        /// The bits.
        bits: u32,
    },
}
