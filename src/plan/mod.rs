//! The plan as data: what the child does, what the parent does around it, the bytes both need, and where each step came
//! from in the input. Immutable once built; printed by [`explain`], proved by [`check`], carried out by `launch`.

#![forbid(unsafe_code)]

pub mod arena;
pub mod binds;
pub mod check;
mod describe;
pub mod explain;
mod failure;
pub mod operation;
pub mod parent;
pub mod report;

pub use arena::{Arena, Bytes, Text};
pub use operation::{Operation, Slot, Stage};
pub use parent::{Barrier, Open, ParentStep, STATUS};

use crate::cgroup::CgroupPlan;
use crate::cgroup::systemd::ScopeRequest;
use crate::error::Origin;
use crate::resctrl;

/// One step of the child: an operation, its place in the story and in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What to do.
    pub operation: Operation,
    /// Which chapter of the sequence it belongs to.
    pub stage: Stage,
    /// Index into [`Plan::origins`].
    pub origin: u16,
}

/// How this program's own executable is kept out of the container's reach (INV-06, `kernel::own_image`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnImage {
    /// The container's users can't write to it: nothing is done.
    Unreachable,
    /// The parent lets go of the file before clone3.
    ByParent,
    /// The parent moves its image, the child lets go of the file: where only the child has the privilege.
    ByChild,
    /// The child maps its image from the file's other mount, that of its own mount namespace, and lets go of the first:
    /// nothing is copied.
    Reopened,
}

/// A complete launch: parent and child program, bytes, origins.
#[derive(Debug)]
pub struct Plan {
    /// The child's program.
    pub child: Vec<Step>,
    /// What the parent opens before clone3, in order.
    pub opens: Vec<(Open, u16)>,
    /// The control group to make first, if any.
    pub cgroup: Option<CgroupPlan>,
    /// The resource control group to make first or to find, and its place in the input.
    pub resctrl: Option<(resctrl::Request, u16)>,
    /// `CLONE_NEW…` flags of clone3.
    pub clone_flags: u64,
    /// Namespace descriptors the parent itself joins around clone3, so that the child is born in them (pid).
    pub born_in: Vec<(Slot, u64)>,
    /// How this program's own executable is kept out of the container's reach.
    pub own_image: OwnImage,
    /// A short first stage that joins these (pidfd or namespace file, `CLONE_NEW…`) and makes the child as its sibling:
    /// where new namespaces shall belong to a joined user namespace, or a pid namespace is within reach only from there.
    pub first_stage: Vec<(Slot, u64)>,
    /// The oom_score_adj(5) that the first stage gives itself, and so its child, while it may: it must not be traced from
    /// the namespaces it joins, and the files in /proc of a process that nobody may trace belong to the host's root.
    pub inherited_score: Option<(i32, u16)>,
    /// Processors that the runtime itself runs on from before clone3 (sched_setaffinity(2)): `exec`'s, before it enters the
    /// container's control group.
    pub own_processors: Option<(Bytes, u16)>,
    /// What the parent does at each barrier, in the order the child meets them.
    pub barriers: Vec<(Barrier, Vec<(ParentStep, u16)>)>,
    /// Strings and programs.
    pub arena: Arena,
    /// Places in the input; 0 is "not asked for by the input".
    pub origins: Vec<Origin>,
    /// How many descriptor slots the two programs use.
    pub slots: usize,
    /// The payload stays in the caller's session: a sandbox that asked for it.
    pub keeps_session: bool,
    /// The child is born in the v2 control group of a container that runs (`exec`): launch is given its directory.
    pub born_in_its_group: bool,
    /// What the reader should know without being stopped.
    pub warnings: Vec<String>,
    /// What only the curious want to know: for the log at level debug.
    pub remarks: Vec<String>,
}

impl Plan {
    /// The systemd scope that the parent asks for, if that is the cgroup driver.
    pub fn scope(&self) -> Option<&ScopeRequest> {
        self.barriers.iter().flat_map(|(_, steps)| steps).find_map(|(step, _)| match step {
            ParentStep::SystemdScope(request) => Some(&**request),
            _ => None,
        })
    }

    /// The place in the input that asked for a step, unless it is kiste's own.
    pub fn origin(&self, index: u16) -> Option<&Origin> {
        if index == 0 { None } else { self.origins.get(index as usize) }
    }
}
