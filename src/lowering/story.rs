//! What lowering is given and what it writes to.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cgroup::Layout;
use crate::error::{Error, Origin, Result};
use crate::host::Facts;
use crate::intent::{Intent, NamespaceKind};
use crate::plan::arena::Range;
use crate::plan::{Arena, Barrier, Open, Operation, ParentStep, Plan, Slot, Stage, Step};

/// Where the payload's terminal goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Console {
    /// No terminal.
    None,
    /// Its master comes to the runtime, which stays in the foreground; rows and columns of the caller's own terminal.
    Foreground(Option<(u16, u16)>),
    /// Its master goes to the program listening at this path (`--console-socket`).
    Socket(PathBuf),
}

/// Everything a plan depends on.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// What is wanted.
    pub intent: &'a Intent,
    /// The machine.
    pub facts: &'a Facts,
    /// Its control groups.
    pub layout: &'a Layout,
    /// The container's id.
    pub id: &'a str,
    /// The terminal.
    pub console: Console,
    /// `create`: the child waits for `start`.
    pub gated: bool,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// `--no-new-keyring`.
    pub no_new_keyring: bool,
    /// Descriptors from 3 on that the payload inherits (`--preserve-fds` and LISTEN_FDS).
    pub preserved: u32,
    /// Environment entries the runtime adds (LISTEN_FDS, NOTIFY_SOCKET).
    pub extra_env: Vec<String>,
    /// A host directory bound at `/run/notify` for the NOTIFY_SOCKET proxy.
    pub notify_directory: Option<PathBuf>,
    /// What the host's root has, for [`crate::intent::RootKind::HostView`].
    pub host_entries: Vec<HostEntry>,
    /// Where mount namespaces are pinned (`mount --bind /proc/PID/ns/mnt PATH`): no detached tree with one can be attached.
    pub pinned: Vec<PathBuf>,
    /// What binds with `copy-symlink` have as source that is a symlink, and what it says.
    pub symlinks: BTreeMap<PathBuf, String>,
    /// `--cgroup-manager`.
    pub cgroups: CgroupDriver,
    /// The runtime's own hard limits, by `RLIMIT_*`: a child of a new user namespace can't go above them.
    pub hard_limits: BTreeMap<u32, u64>,
}

/// An entry of the host's root directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostEntry {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: HostEntryKind,
}

/// What the host view makes of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostEntryKind {
    /// A link (`/bin` → `usr/bin`).
    Link(String),
    /// A directory behind a copy-on-write layer.
    Layered,
    /// A directory with mounts below, which an overlay in a user namespace can't have: read-only.
    ReadOnly,
}

/// Who makes the control group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupDriver {
    /// Directories written by kiste.
    Cgroupfs,
    /// A systemd scope.
    Systemd,
    /// None is made.
    Disabled,
}

/// The plan under construction.
pub struct Story<'a> {
    /// What it is made from.
    pub request: Request<'a>,
    /// What it becomes.
    pub plan: Plan,
    stage: Stage,
    /// The root's descriptor.
    pub root: Slot,
    /// The private procfs, once one was needed.
    pub proc: Option<Slot>,
    /// Where the terminal's master is sent.
    pub console: Option<Slot>,
    /// The terminal's peer.
    pub terminal: Option<Slot>,
    /// The memfd with the state that createContainer hooks read: `creating`.
    pub creating_state: Option<Slot>,
    /// The memfd with the state that startContainer hooks read: `created`.
    pub created_state: Option<Slot>,
    /// Where the standard output and standard error of the container's hooks go.
    pub hook_files: [Option<Slot>; 2],
    /// The number of the mount in hand.
    pub mount: usize,
    /// Trees of host paths that were cloned before an empty root hid them, by the mount's number.
    pub early: BTreeMap<usize, Slot>,
    /// File systems that become read-only once everything is in them.
    pub filled: Vec<(Slot, Origin)>,
    /// The seccomp program, once it was compiled.
    pub filter: Option<crate::seccomp::Program>,
    /// Candidates and environment of the execve to come.
    pub handover: Option<(Range, Range)>,
}

/// The socket to the parent is in this slot.
pub const REPORT: Slot = Slot(0);

/// "Not asked for by the input": kiste's own step.
pub const OWN: Origin = Origin::fixed("");

impl<'a> Story<'a> {
    /// An empty plan.
    pub fn new(request: Request<'a>) -> Self {
        let plan = Plan {
            child: Vec::with_capacity(96),
            opens: Vec::with_capacity(8),
            cgroup: None,
            resctrl: None,
            clone_flags: 0,
            born_in: Vec::new(),
            own_image: crate::plan::OwnImage::Unreachable,
            first_stage: Vec::new(),
            inherited_score: None,
            own_processors: None,
            barriers: Vec::new(),
            arena: Arena::new(),
            origins: vec![OWN],
            slots: 1,
            keeps_session: false,
            born_in_its_group: false,
            warnings: request.intent.warnings.clone(),
            remarks: Vec::new(),
        };
        let mut story = Story {
            request,
            plan,
            stage: Stage::Birth,
            root: REPORT,
            proc: None,
            console: None,
            terminal: None,
            creating_state: None,
            created_state: None,
            hook_files: [None; 2],
            mount: 0,
            early: BTreeMap::new(),
            filled: Vec::new(),
            filter: None,
            handover: None,
        };
        story.root = story.slot();
        story
    }

    /// From here on steps belong to this chapter.
    pub fn chapter(&mut self, stage: Stage) {
        self.stage = stage;
    }

    /// A fresh descriptor slot.
    pub fn slot(&mut self) -> Slot {
        let slot = Slot(self.plan.slots as u16);
        self.plan.slots += 1;
        slot
    }

    /// The number of a place in the input.
    pub fn place(&mut self, origin: &Origin) -> u16 {
        if origin.0.is_empty() {
            return 0;
        }
        if self.plan.origins.last() != Some(origin) {
            self.plan.origins.push(origin.clone());
        }
        (self.plan.origins.len() - 1) as u16
    }

    /// Appends a step that the input asked for.
    pub fn step(&mut self, operation: Operation, origin: &Origin) {
        let origin = self.place(origin);
        self.plan.child.push(Step { operation, stage: self.stage, origin });
    }

    /// Appends a step of kiste's own.
    pub fn own(&mut self, operation: Operation) {
        self.plan.child.push(Step { operation, stage: self.stage, origin: 0 });
    }

    /// Appends something the parent opens.
    pub fn open(&mut self, open: Open, origin: &Origin) {
        let origin = self.place(origin);
        self.plan.opens.push((open, origin));
    }

    /// Appends a parent step at a barrier, making the barrier on both sides if it is the first.
    pub fn at_barrier(&mut self, barrier: Barrier, step: ParentStep, origin: &Origin) {
        let origin = self.place(origin);
        self.barrier(barrier).push((step, origin));
    }

    /// The parent's steps at a barrier, which is made if it is not there.
    pub fn barrier(&mut self, barrier: Barrier) -> &mut Vec<(ParentStep, u16)> {
        let barriers = &mut self.plan.barriers;
        let index = barriers.iter().position(|entry| entry.0 >= barrier).unwrap_or(barriers.len());
        if barriers.get(index).is_none_or(|entry| entry.0 != barrier) {
            barriers.insert(index, (barrier, Vec::new()));
        }
        &mut barriers[index].1
    }

    /// The child's half of a barrier, if the parent has anything to do there.
    pub fn wait(&mut self, barrier: Barrier) {
        if self.plan.barriers.iter().any(|entry| entry.0 == barrier) {
            self.own(Operation::Wait(barrier));
        }
    }

    /// The private procfs, made at the first use.
    pub fn proc(&mut self) -> Slot {
        if let Some(proc) = self.proc {
            return proc;
        }
        let proc = self.slot();
        self.own(Operation::PrivateProc(proc));
        self.proc = Some(proc);
        proc
    }

    /// A write below the private procfs.
    pub fn write_proc(&mut self, path: &str, value: &str, origin: &Origin) {
        let proc = self.proc();
        let path = self.plan.arena.text(path);
        let value = self.plan.arena.bytes(value.as_bytes());
        self.step(Operation::WriteProc { proc, path, value }, origin);
    }

    /// Whether the runtime is root of its user namespace: it makes namespaces without making a further one.
    pub fn privileged(&self) -> bool {
        const SYS_ADMIN: u64 = 1 << 21;
        self.request.facts.capabilities & SYS_ADMIN != 0
    }

    /// Whether the runtime may clone mounts of its own namespace before clone3. As root of a user namespace in a mount
    /// namespace of the host's (`unshare -r`) it may not: the child does, in its own.
    pub fn may_mount(&self) -> bool {
        self.privileged() && !self.is_foreign(NamespaceKind::Mount)
    }

    /// Whether the runtime's own namespace of a kind belongs to another user namespace.
    pub fn is_foreign(&self, kind: NamespaceKind) -> bool {
        self.request.facts.foreign_namespaces & kind.flag() != 0
    }

    /// Whether the container stays in a namespace of the runtime's that its user namespace does not own.
    pub fn shares_foreign(&self, kind: NamespaceKind) -> bool {
        let shared = self.request.intent.namespace(kind).is_none();
        shared && (self.in_new_user_namespace() || self.is_foreign(kind))
    }

    /// Whether the payload lives in a user namespace that is not the runtime's.
    pub fn in_new_user_namespace(&self) -> bool {
        self.request.intent.namespace(NamespaceKind::User).is_some()
    }

    /// Whether the runtime may join a pid namespace for its children and come back: its own belongs to its user namespace.
    /// In another user namespace, as Podman's of a plain user, it can't come back (pid_namespaces(7)).
    pub fn may_come_back(&self) -> bool {
        self.privileged() && !self.request.facts.in_user_namespace
    }

    /// Whether device nodes can't be made, so that the host's are bound: any user namespace but the first.
    pub fn binds_devices(&self) -> bool {
        self.in_new_user_namespace() || self.request.facts.in_user_namespace
    }

    /// Security modules in force; none where nobody asked for a label.
    pub fn modules(&self) -> crate::host::SecurityModules {
        let none = crate::host::SecurityModules { apparmor: false, selinux: false };
        self.request.facts.security_modules.unwrap_or(none)
    }

    /// The runtime's own hard limit.
    pub fn hard_limit(&self, resource: u32) -> u64 {
        self.request.hard_limits.get(&resource).copied().unwrap_or(u64::MAX)
    }

    /// The finished plan.
    pub fn finish(self) -> Result<Plan> {
        if self.plan.slots > MAX_SLOTS {
            return Err(Error::input(format!(
                "the container needs {} descriptors during set-up, more than {MAX_SLOTS}",
                self.plan.slots
            ))
            .hint("it has too many mounts"));
        }
        let arena = &self.plan.arena;
        let tables = [arena.attributes.len(), arena.hooks.len(), self.plan.origins.len(), self.plan.child.len()];
        if tables.into_iter().any(|length| length > u16::MAX as usize) || arena.len() > MAX_BYTES {
            let limits = format!("at most {} steps, and {MAX_BYTES} bytes of text", u16::MAX);
            return Err(Error::input("the configuration has too many entries").hint(limits));
        }
        crate::plan::check::check(&self.plan)?;
        Ok(self.plan)
    }
}

/// Descriptor slots of one plan (INV-20): mounts need two each.
const MAX_SLOTS: usize = 8192;

/// Bytes of all strings and programs of one plan (INV-20).
const MAX_BYTES: usize = 64 << 20;
