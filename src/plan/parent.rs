//! The parent's vocabulary: what it opens before clone3 and does at each barrier.

use std::path::PathBuf;

use super::Slot;
use crate::cgroup::systemd::ScopeRequest;

/// The meeting points. Each is one message from the child and one byte back; a plan has only those it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Barrier {
    /// Id maps, systemd scope, idmaps on shared trees, raised limits.
    Identity,
    /// prestart and createRuntime hooks.
    Hooks,
}

impl Barrier {
    /// Its name in `explain`.
    pub fn name(self) -> &'static str {
        match self {
            Barrier::Identity => "identity",
            Barrier::Hooks => "hooks",
        }
    }
}

/// The name of the given descriptor that a reaper tells the payload's status to.
pub const STATUS: &str = "status";

/// A descriptor the parent opens before clone3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Open {
    /// open_tree(path, OPEN_TREE_CLONE): the source of a bind or the root.
    Tree {
        /// Host path.
        path: PathBuf,
        /// With everything below.
        recursive: bool,
        /// A symlink at the end is not followed.
        nofollow: bool,
        /// Where it goes.
        into: Slot,
    },
    /// A namespace file to join.
    Namespace {
        /// `/proc/PID/ns/…` or a bind of one.
        path: PathBuf,
        /// `CLONE_NEW…` it must be.
        flag: u64,
        /// It must not be the runtime's own, which is the file of this name in `/proc/self/ns`: what is done in it would be
        /// done to the host.
        foreign: Option<&'static str>,
        /// Where it goes.
        into: Slot,
    },
    /// A socket connected to an AF_UNIX path (console-socket).
    Connect {
        /// Path of the socket.
        path: PathBuf,
        /// Where it goes.
        into: Slot,
    },
    /// A descriptor the runner supplies: the gate's ends, an inherited pidfd.
    Given {
        /// What it is, for people.
        name: &'static str,
        /// Where it goes.
        into: Slot,
    },
    /// A file that hooks' output is appended to, made if it is missing.
    Append {
        /// Host path.
        path: PathBuf,
        /// Where it goes.
        into: Slot,
    },
    /// An empty memfd for the state that hooks read.
    StateFile {
        /// Where it goes.
        into: Slot,
    },
}

impl Open {
    /// The slot it fills.
    pub fn into(&self) -> Slot {
        match self {
            Open::Tree { into, .. } | Open::Namespace { into, .. } | Open::Connect { into, .. } => *into,
            Open::Given { into, .. } | Open::StateFile { into } | Open::Append { into, .. } => *into,
        }
    }
}

/// What the parent does while the child waits.
#[derive(Clone, Debug, PartialEq)]
pub enum ParentStep {
    /// Writes the maps of the child's user namespace.
    WriteIdMaps {
        /// (container, host, size).
        users: Vec<(u32, u32, u32)>,
        /// (container, host, size).
        groups: Vec<(u32, u32, u32)>,
        /// Through newuidmap/newgidmap.
        helpers: bool,
        /// `deny` is written to setgroups first.
        deny_setgroups: bool,
    },
    /// mount_setattr(MOUNT_ATTR_IDMAP) on a tree the child also holds.
    Idmap {
        /// The tree.
        tree: Slot,
        /// The whole tree.
        recursive: bool,
        /// Own maps; empty: the child's user namespace.
        users: Vec<(u32, u32, u32)>,
        /// Own maps.
        groups: Vec<(u32, u32, u32)>,
    },
    /// Moves a network device of the runtime's namespace into the container's, with its addresses, and sets it up.
    MoveDevice {
        /// Its name in the runtime's network namespace.
        device: String,
        /// Its name in the container's.
        name: String,
        /// The namespace that the container joins; none: the child's new one.
        namespace: Option<Slot>,
    },
    /// prlimit(2) of the child, where only the parent may raise.
    Rlimit {
        /// `RLIMIT_*`.
        resource: u32,
        /// Soft limit.
        soft: u64,
        /// Hard limit.
        hard: u64,
    },
    /// Moves the child into a systemd scope.
    SystemdScope(Box<ScopeRequest>),
    /// Writes the state into a memfd that the child's hooks read.
    WriteState {
        /// The memfd.
        file: Slot,
        /// The status it tells: `creating` or `created`.
        status: &'static str,
    },
    /// Runs the hooks of a list in the runtime's namespaces.
    RunHooks {
        /// `prestart` or `createRuntime`.
        list: &'static str,
        /// How many.
        count: usize,
    },
}
