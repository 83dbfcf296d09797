//! The child's vocabulary: one variant a kernel operation, small and `Copy`, bytes by reference into the arena and
//! descriptors by slot number. *Deciding* operations look at the world when they run; `explain` prints their alternatives.

use super::arena::{Bytes, Range, Text};

/// A descriptor by number in the plan's table, not in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(pub u16);

/// The chapters of `lowering/order.rs`; the same words in `explain`, errors and traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Signals, descriptors, non-dumpable.
    Birth,
    /// User namespace and groups.
    Identity,
    /// Names, loopback, keyring, other namespaces.
    Kernel,
    /// Root and mounts.
    Files,
    /// createContainer.
    Hooks,
    /// Masks, read-only paths, pivot_root.
    Root,
    /// Session, terminal, limits.
    Session,
    /// Ids, capabilities, filter.
    Privileges,
    /// Executable and working directory.
    Check,
    /// Report, gate, execve.
    Handover,
}

/// The five sets, one bit per capability number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapabilitySets {
    /// See capabilities(7).
    pub bounding: u64,
    /// See capabilities(7).
    pub effective: u64,
    /// See capabilities(7).
    pub permitted: u64,
    /// See capabilities(7).
    pub inheritable: u64,
    /// See capabilities(7).
    pub ambient: u64,
}

/// What a missing mount point becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// A directory.
    Directory,
    /// An empty file.
    File,
    /// A directory or a file, as the tree in the slot is one.
    Like(Slot),
}

/// What becomes of something that lies where a symlink shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays.
    Stays,
    /// It is removed first (the image's own `/dev/ptmx`).
    Goes,
    /// It must be the same symlink.
    IsTheSame,
}

/// One thing the child does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    // Birth
    /// prctl(PR_SET_MM_MAP): /proc/self/exe names an empty memfd instead of the runtime.
    ReleaseImage,
    /// rt_sigprocmask: exactly these signals are blocked.
    SignalMask(u64),
    /// rt_sigaction: a signal that the caller ignored gets its default action again.
    DefaultSignal(i32),
    /// prctl(PR_SET_DUMPABLE, 0).
    NonDumpable,
    /// close_range(first, ~0, CLOSE_RANGE_CLOEXEC).
    CloseOnExec(u32),
    /// Writes `0` to a cgroup.procs opened by the parent.
    JoinCgroup(Slot),
    /// Writes `0` to the `tasks` of a resource control group, opened by the parent.
    JoinResctrl(Slot),
    /// umask(2).
    Umask(u32),

    // Identity and kernel
    /// Tells the parent that the barrier is reached and waits for its byte.
    Wait(super::Barrier),
    /// Waits for the parent's byte: it has attached the device program since clone3.
    WaitForDevices,
    /// setresgid(0), setresuid(0), and setgroups() where the namespace lets it.
    BecomeRoot {
        /// The namespace allows setgroups(2).
        groups: bool,
    },
    /// setns(slot, flags).
    Join {
        /// Namespace descriptor or pidfd.
        namespace: Slot,
        /// `CLONE_NEW…`.
        flags: u64,
    },
    /// unshare(flags).
    Unshare(u64),
    /// unshare(CLONE_NEWTIME), the offsets, setns into it.
    TimeNamespace(Bytes),
    /// sethostname(2).
    HostName(Bytes),
    /// setdomainname(2).
    DomainName(Bytes),
    /// SIOCSIFFLAGS: interface up.
    InterfaceUp(Text),
    /// keyctl(KEYCTL_JOIN_SESSION_KEYRING), permissions narrowed; a kernel without keyrings is fine.
    Keyring(Text),
    /// A procfs instance of our own; where the kernel refuses one, the host's /proc after a check of its magic.
    PrivateProc(Slot),
    /// Writes a value below the private procfs.
    WriteProc {
        /// The procfs.
        proc: Slot,
        /// Path below it.
        path: Text,
        /// What is written.
        value: Bytes,
    },

    // Files
    /// mount_setattr(/, AT_RECURSIVE): the namespace's propagation.
    NamespacePropagation(u64),
    /// open_tree(path, OPEN_TREE_CLONE) of a host path in the child's own mount namespace.
    OpenTree {
        /// Host path.
        path: Text,
        /// With everything below.
        recursive: bool,
        /// A symlink at the end is not followed.
        nofollow: bool,
        /// Where the tree goes.
        into: Slot,
    },
    /// open_tree of a path inside the root, made by an earlier mount.
    OpenTreeLate {
        /// The root.
        root: Slot,
        /// Path below it.
        path: Text,
        /// With everything below.
        recursive: bool,
        /// A symlink at the end is not followed.
        nofollow: bool,
        /// Where the tree goes.
        into: Slot,
    },
    /// fsopen, fsconfig…, fsmount.
    Filesystem {
        /// Type.
        fstype: Text,
        /// Options.
        parameters: Range,
        /// `MOUNT_ATTR_*`.
        attributes: u32,
        /// Where the mount goes.
        into: Slot,
    },
    /// mount_setattr of a tree.
    SetAttributes {
        /// The tree.
        tree: Slot,
        /// Index into the arena's attributes.
        attributes: u16,
        /// The whole tree.
        recursive: bool,
    },
    /// A private tmpfs over the host's /tmp: where the copy-on-write layers of the host view live.
    OverlayStore,
    /// Attaches the root, and works through its descriptor from then on.
    EnterRoot {
        /// The tree.
        tree: Slot,
        /// Where: over the namespace's own root, or where hooks look for it.
        at: Text,
        /// Where the root's descriptor goes.
        into: Slot,
    },
    /// Opens the present root as the root (no mount namespace of our own, or exec).
    OpenRoot {
        /// Host path of the root.
        path: Text,
        /// Where the descriptor goes.
        into: Slot,
    },
    /// *Deciding.* Finds a path in the root, making what is missing.
    Ensure {
        /// The root.
        root: Slot,
        /// Path below it.
        path: Text,
        /// What is made where nothing is.
        missing: Missing,
        /// A symlink at the end is refused.
        nofollow: bool,
        /// Where the O_PATH descriptor goes.
        into: Slot,
    },
    /// move_mount(tree → target).
    Attach {
        /// The tree.
        tree: Slot,
        /// The mount point.
        target: Slot,
    },
    /// Binds that `move_mount` can't attach: mount(MS_BIND|MS_REC) of the host path on the target's descriptor.
    BindByMount {
        /// Host path.
        source: Text,
        /// The mount point.
        target: Slot,
    },
    /// *Deciding.* Copies what the root has at a path into a new tmpfs.
    CopyUp {
        /// The mount point.
        from: Slot,
        /// The tmpfs.
        to: Slot,
    },
    /// *Deciding.* The mode of the directory in the root becomes the tmpfs root's mode; one that the `Ensure` before it made
    /// has none to give.
    InheritMode {
        /// The mount point.
        from: Slot,
        /// The tmpfs.
        to: Slot,
    },
    /// mkdirat, or nothing where it exists.
    Directory {
        /// Where.
        at: Slot,
        /// Name.
        name: Text,
        /// Mode.
        mode: u32,
    },
    /// mknodat; an existing node must be the same device.
    Node {
        /// Directory.
        at: Slot,
        /// Name.
        name: Text,
        /// `S_IFCHR`… and permissions.
        mode: u32,
        /// Device number.
        device: u32,
    },
    /// fchownat without following.
    ChangeOwner {
        /// Directory.
        at: Slot,
        /// Name.
        name: Text,
        /// User inside.
        uid: u32,
        /// Group inside.
        gid: u32,
    },
    /// The tree must be this character or block device.
    VerifyDevice {
        /// The tree.
        tree: Slot,
        /// `S_IFCHR` or `S_IFBLK`.
        mode: u32,
        /// Device number.
        device: u32,
    },
    /// symlinkat.
    Link {
        /// Directory.
        at: Slot,
        /// Name.
        name: Text,
        /// What it points to.
        target: Text,
        /// What becomes of an entry in the way.
        existing: Existing,
    },
    /// mount_setattr on what is mounted at a path (`remount`, late propagation).
    Remount {
        /// The root.
        root: Slot,
        /// Path below it.
        path: Text,
        /// Index into the arena's attributes.
        attributes: u16,
        /// The whole tree.
        recursive: bool,
    },

    /// A new file with these bytes (openat2 with O_EXCL, write).
    File {
        /// Directory.
        at: Slot,
        /// Name.
        name: Text,
        /// Permission bits.
        mode: u32,
        /// What is in it.
        bytes: Bytes,
    },
    /// unlinkat.
    Unlink {
        /// Directory.
        at: Slot,
        /// Name.
        name: Text,
    },
    /// fchmod of what a path in the root names.
    Mode {
        /// The root.
        root: Slot,
        /// Path below it.
        path: Text,
        /// Permission bits.
        mode: u32,
    },

    // A running container's mounts
    /// Tells the parent the id of the mount that a tree has become, so that it can be found again (statx(2)).
    TellMount(Slot),
    /// Finds a path in the root; what is mounted there must be this mount.
    FindMount {
        /// The root.
        root: Slot,
        /// Path below it.
        path: Text,
        /// The mount's id.
        id: u64,
        /// Where the O_PATH descriptor goes.
        into: Slot,
    },
    /// umount2(MNT_DETACH) of what was found, named by its descriptor below the host's procfs; tells the parent.
    Detach {
        /// The host's procfs.
        proc: Slot,
        /// The mount.
        mount: Slot,
    },

    // Root
    /// open_tree of the host's /dev/null, verified: the source of file masks.
    NullSource(Slot),
    /// *Deciding.* Directory → empty read-only directory, file → the null device, missing → nothing.
    Hide {
        /// The root.
        root: Slot,
        /// Path below it.
        path: Text,
        /// The null device.
        null: Slot,
        /// The empty directory, made at the first use.
        empty: Slot,
    },
    /// *Deciding.* A read-only recursive bind over itself, missing → nothing.
    ReadOnly {
        /// The root.
        root: Slot,
        /// Path below it.
        path: Text,
    },
    /// mount_setattr of the root mount itself.
    RootAttributes {
        /// The root.
        root: Slot,
        /// Index into the arena's attributes.
        attributes: u16,
        /// The whole tree.
        recursive: bool,
    },
    /// pivot_root(".", "."), umount2(MNT_DETACH), chdir("/").
    PivotRoot(Slot),
    /// Without pivot_root: move the root over / and chroot.
    MoveRoot(Slot),
    /// chroot(2) into the root of a container without a mount namespace.
    Chroot(Slot),

    // Session
    /// setsid(2).
    NewSession,
    /// A pty of the container's devpts: master and peer.
    OpenTerminal {
        /// The root.
        root: Slot,
        /// Rows, 0: unset.
        rows: u16,
        /// Columns.
        columns: u16,
        /// The master.
        master: Slot,
        /// The peer.
        peer: Slot,
    },
    /// sendmsg(SCM_RIGHTS).
    SendDescriptor {
        /// Connected socket.
        socket: Slot,
        /// What is sent.
        descriptor: Slot,
        /// The message's payload.
        payload: Text,
    },
    /// The peer bound at /dev/console.
    BindConsole {
        /// The root.
        root: Slot,
        /// The peer.
        peer: Slot,
    },
    /// The terminal on 0, 1, 2 and as controlling terminal; its owner is the payload's user.
    AdoptTerminal {
        /// The peer.
        peer: Slot,
        /// Owner.
        uid: u32,
    },
    /// Pipes on 0, 1, 2 become the payload user's, so that /dev/stdout can be opened again.
    OwnPipes(u32),
    /// personality(2).
    Personality(u32),
    /// prlimit(2).
    Rlimit {
        /// `RLIMIT_*`.
        resource: u32,
        /// Soft limit.
        soft: u64,
        /// Hard limit.
        hard: u64,
    },
    /// sched_setattr(2); the structure is in the arena.
    Scheduler(Bytes),
    /// ioprio_set(2).
    IoPriority(u16),
    /// sched_setaffinity(2); the mask is in the arena.
    Affinity(Bytes),
    /// set_mempolicy(2).
    MemoryPolicy {
        /// `MPOL_*` with its flags.
        mode: u32,
        /// The nodes, as a mask.
        nodes: Bytes,
    },

    // Privileges
    /// prctl(PR_SET_NO_NEW_PRIVS).
    NoNewPrivileges,
    /// seccomp(SECCOMP_SET_MODE_FILTER).
    InstallFilter {
        /// The program.
        program: Bytes,
        /// `SECCOMP_FILTER_FLAG_*`.
        flags: u32,
        /// Where the listener goes.
        listener: Option<Slot>,
    },
    /// PR_CAPBSET_DROP of every capability up to the kernel's last that is not in the mask.
    DropBounding {
        /// Kept.
        keep: u64,
        /// The kernel's last capability.
        last: u8,
    },
    /// prctl(PR_SET_KEEPCAPS).
    KeepCapabilities,
    /// setgroups(2) with the arena's groups.
    SetGroups,
    /// setresgid, setresuid.
    SetIds {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// capset(2), then the ambient set.
    SetCapabilities,
    /// prctl(PR_CAP_AMBIENT).
    Ambient(u64),

    // Sandbox
    /// prctl(PR_SET_PDEATHSIG, SIGKILL): the process ends when the one that made it does.
    DieWithParent,
    /// unshare(CLONE_NEWUSER) and its maps, written by the process itself: root of the present user namespace gets another id.
    InnerUserNamespace {
        /// A procfs.
        proc: Slot,
        /// User inside.
        uid: u32,
        /// Group inside.
        gid: u32,
    },
    /// read(2) of one byte from a descriptor of the caller's; its end-of-file does, too.
    Await(i32),
    /// clone3: the new process goes on with the plan; this one holds the locks, tells the status of that one when it ends, and
    /// reaps until nobody is left.
    Reaper {
        /// An eventfd that gets the status + 1.
        status: Slot,
        /// A descriptor of the caller's that stays open, -1: none.
        sync: i32,
        /// Paths inside that are locked for reading (fcntl(2)).
        locks: Range,
    },
    /// landlock_create_ruleset, landlock_add_rule…, landlock_restrict_self; the ruleset is in the arena.
    Landlock(Slot),

    // Check and handover
    /// chdir(2) to the payload's working directory; `make`: it may be missing and is made.
    ChangeDirectory {
        /// Absolute path in the container.
        path: Text,
    },
    /// *Deciding.* chdir(2) to the first of these that can be entered; the last entry of the environment becomes its `PWD`.
    FindDirectory {
        /// The directories.
        candidates: Range,
        /// `PWD=…` of each.
        names: Range,
    },
    /// getcwd(2) must begin with `/`.
    CheckDirectory,
    /// *Deciding.* HOME from the container's /etc/passwd, `/` where the user is not in it.
    FindHome(u32),
    /// *Deciding.* The first candidate that may be executed.
    FindExecutable(Range),
    /// close_range of everything from the first number but the kept descriptors.
    CloseAll {
        /// First number.
        from: u32,
        /// Kept: the report socket or the gate's ends.
        keep: [Option<Slot>; 5],
    },
    /// One message to the parent: ready. Closes the report socket.
    Ready,
    /// Waits for `start`'s byte; from here on failures go to the outcome FIFO.
    WaitGate {
        /// FIFO `start`.
        gate: Slot,
        /// FIFO `outcome`.
        outcome: Slot,
    },
    /// *Deciding.* Runs a hook and waits for it.
    SpawnHook {
        /// Index into the arena's hooks.
        hook: u16,
        /// The state, in a memfd.
        state: Slot,
        /// Its standard output; the child's own if unset.
        output: Option<Slot>,
        /// Its standard error.
        errors: Option<Slot>,
    },
    /// exit_group(0): a child without payload has done its work.
    Leave,
    /// execve(2) of the candidate found.
    Execute {
        /// Candidates, as for `FindExecutable`.
        candidates: Range,
        /// argv.
        arguments: Range,
        /// envp.
        environment: Range,
    },
}

const _: () = assert!(size_of::<Operation>() <= 32);
