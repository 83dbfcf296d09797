//! The verifier: what must hold of every plan before anything is made. tests/plan_properties.rs breaks
//! each rule and feeds it random intents.
//!
//! - every slot is filled once, before it is used, and nothing is opened for nothing;
//! - every text, byte range and table entry lies in the arena;
//! - each barrier the child waits at has the parent's half, in the same order, and the other way round;
//! - the device program is attached before any other program runs in the container;
//! - chapters come in their order; a root that is entered is left exactly once, and no host path is needed after;
//! - nothing after the capabilities went needs one, and they go in the order that works: bounding set, groups, ids, sets;
//! - whatever keeps the payload from more rights than it has is there: non-dumpable before anybody else's code or namespace,
//!   ids, capabilities, working directory checked, every descriptor closed after the last one was opened;
//! - exactly one execve, last; or none, and a child that leaves (mounts of a running container);
//! - ids fit the maps of a new user namespace;
//! - a filter allows the calls that are still to come, and is there only where it may be installed.

mod filters;
mod ids;
mod references;
mod slots;

use super::{Operation as Op, Plan, Stage};
use crate::error::{Error, Result};

/// Checks a plan.
///
/// # Errors
/// The first rule that is broken, naming the step: a defect of lowering, or a seccomp profile that denies what is still
/// needed.
pub fn check(plan: &Plan) -> Result<()> {
    references::check(plan)?;
    slots::check(plan)?;
    barriers(plan)?;
    devices(plan)?;
    order(plan)?;
    present(plan)?;
    ids::check(plan)?;
    filters::check(plan)
}

fn defect(step: usize, what: &str) -> Error {
    Error::input(format!("the plan is wrong at step {}: {what}", step + 1)).hint("this is a defect of kiste")
}

fn barriers(plan: &Plan) -> Result<()> {
    let child: Vec<_> = plan
        .child
        .iter()
        .filter_map(|step| match step.operation {
            Op::Wait(barrier) => Some(barrier),
            _ => None,
        })
        .collect();
    let parent: Vec<_> = plan.barriers.iter().map(|entry| entry.0).collect();
    if child == parent { Ok(()) } else { Err(defect(0, "child and parent meet at different barriers")) }
}

/// The parent attaches the device program after clone3 and before anything else: the child must have heard of it.
fn devices(plan: &Plan) -> Result<()> {
    let hears = |op: Op| matches!(op, Op::WaitForDevices | Op::Wait(_) | Op::Ready);
    let heard = plan.child.iter().position(|step| hears(step.operation));
    let foreign = |op: Op| matches!(op, Op::SpawnHook { .. } | Op::Execute { .. });
    let first = plan.child.iter().position(|step| foreign(step.operation)).unwrap_or(plan.child.len());
    match plan.cgroup.as_ref().and_then(|plan| plan.device_program()) {
        Some(_) if heard.is_none_or(|heard| heard > first) => Err(defect(first, "devices are not restricted yet")),
        _ => Ok(()),
    }
}

/// Whether an operation names a host path, which is gone after the root switch.
fn needs_host(operation: Op) -> bool {
    matches!(
        operation,
        Op::OpenTree { .. } | Op::BindByMount { .. } | Op::OverlayStore | Op::NullSource(_) | Op::EnterRoot { .. }
    )
}

/// Whether an operation needs a capability that `SetCapabilities` may have taken.
fn needs_capability(operation: Op) -> bool {
    needs_host(operation)
        || matches!(
            operation,
            Op::Attach { .. }
                | Op::SetAttributes { .. }
                | Op::Detach { .. }
                | Op::RootAttributes { .. }
                | Op::Remount { .. }
                | Op::Filesystem { .. }
                | Op::OpenTreeLate { .. }
                | Op::BindConsole { .. }
                | Op::NamespacePropagation(_)
                | Op::Hide { .. }
                | Op::ReadOnly { .. }
                | Op::PivotRoot(_)
                | Op::MoveRoot(_)
                | Op::Chroot(_)
                | Op::BecomeRoot { .. }
                | Op::SetGroups
                | Op::SetIds { .. }
                | Op::DropBounding { .. }
                | Op::Node { .. }
                | Op::ChangeOwner { .. }
                | Op::HostName(_)
                | Op::DomainName(_)
                | Op::InterfaceUp(_)
                | Op::TimeNamespace(_)
                | Op::Join { .. }
                | Op::Unshare(_)
                | Op::Rlimit { .. }
                | Op::Scheduler(_)
                | Op::OwnPipes(_)
                | Op::AdoptTerminal { .. }
                | Op::InnerUserNamespace { .. }
                | Op::File { .. }
                | Op::Unlink { .. }
                | Op::Mode { .. }
        )
}

/// Whether an operation opens something that stays open.
fn opens(operation: Op) -> bool {
    needs_host(operation)
        || matches!(
            operation,
            Op::PrivateProc(_)
                | Op::OpenTreeLate { .. }
                | Op::Filesystem { .. }
                | Op::OpenRoot { .. }
                | Op::Ensure { .. }
                | Op::OpenTerminal { .. }
        )
}

/// The state of the walk through the child's steps.
#[derive(Default)]
struct Walk {
    entered: usize,
    left: bool,
    untraceable: bool,
    identified: bool,
    dropped: bool,
    no_new_privileges: bool,
    closed: bool,
}

impl Walk {
    /// What is wrong with a step at this point.
    fn step(&mut self, operation: Op) -> Option<&'static str> {
        if self.left && (needs_host(operation) || matches!(operation, Op::OpenRoot { .. })) {
            return Some("a host path after the root switch");
        }
        if self.dropped && needs_capability(operation) {
            return Some("a capability is needed after they were dropped");
        }
        match operation {
            Op::EnterRoot { .. } => self.entered += 1,
            Op::PivotRoot(_) | Op::MoveRoot(_) if self.left || self.entered != 1 => {
                // Two mounts over `/` would leave one of the host's behind when the old root is detached.
                return Some("the root must be entered and left exactly once");
            }
            Op::PivotRoot(_) | Op::MoveRoot(_) | Op::Chroot(_) => self.left = true,
            Op::NonDumpable => self.untraceable = true,
            Op::Join { .. } | Op::SpawnHook { .. } if !self.untraceable => {
                return Some("others could trace the process (CVE-2016-9962)");
            }
            Op::SpawnHook { .. } => self.closed = false,
            Op::SetGroups if self.identified => return Some("groups can't be set after the ids"),
            Op::DropBounding { .. } | Op::KeepCapabilities if self.identified => {
                return Some("this has no effect after the ids are set");
            }
            Op::SetIds { .. } => self.identified = true,
            Op::SetCapabilities if !self.identified => return Some("setting the ids would undo the capabilities"),
            Op::SetCapabilities => self.dropped = true,
            Op::Ambient(_) if !self.dropped => return Some("the ambient set follows the others"),
            Op::NoNewPrivileges => self.no_new_privileges = true,
            Op::InstallFilter { .. } if self.dropped && !self.no_new_privileges => {
                return Some("a filter needs CAP_SYS_ADMIN or no_new_privs");
            }
            Op::CloseAll { .. } => self.closed = true,
            operation if opens(operation) => self.closed = false,
            Op::Execute { .. } if !self.closed => return Some("descriptors of the runtime would reach the payload"),
            _ => {}
        }
        None
    }
}

fn order(plan: &Plan) -> Result<()> {
    let mut walk = Walk::default();
    let mut stage = Stage::Birth;
    for (index, step) in plan.child.iter().enumerate() {
        if step.stage < stage {
            return Err(defect(index, "a chapter comes twice"));
        }
        stage = step.stage;
        if let Some(wrong) = walk.step(step.operation) {
            return Err(defect(index, wrong));
        }
    }
    if walk.entered > 0 && !walk.left {
        return Err(defect(plan.child.len() - 1, "the host's root is never left"));
    }
    Ok(())
}

/// Whether an operation is of one kind, and what is wrong without it.
type Required = (fn(Op) -> bool, &'static str);

/// What every plan has exactly once.
const ONCE: &[Required] = &[
    (|op| matches!(op, Op::SignalMask(_)), "signals stay blocked"),
    (|op| matches!(op, Op::CloseOnExec(_)), "descriptors of the caller reach the payload"),
    (|op| op == Op::NonDumpable, "others may trace the set-up"),
    (|op| matches!(op, Op::SetIds { .. }), "the ids are not set"),
    (|op| op == Op::SetCapabilities, "the capabilities are not set"),
    (|op| matches!(op, Op::Ambient(_)), "the ambient set is not set"),
    (|op| matches!(op, Op::ChangeDirectory { .. } | Op::FindDirectory { .. }), "the working directory is not entered"),
    (|op| op == Op::CheckDirectory, "the working directory is not checked"),
    (|op| matches!(op, Op::FindExecutable(_)), "the executable is not looked up"),
    (|op| matches!(op, Op::Execute { .. }), "there must be one execve"),
];

/// What a child without payload has exactly once.
const ONCE_WITHOUT_PAYLOAD: &[Required] = &[
    (|op| matches!(op, Op::SignalMask(_)), "signals stay blocked"),
    (|op| op == Op::NonDumpable, "others may trace the child"),
    (|op| matches!(op, Op::OpenRoot { .. }), "the container's root is not opened"),
    (|op| op == Op::Leave, "the child never ends"),
];

fn present(plan: &Plan) -> Result<()> {
    let last = plan.child.len().saturating_sub(1);
    let leaves = plan.child.iter().any(|step| step.operation == Op::Leave);
    if leaves && plan.child.last().is_some_and(|step| step.operation != Op::Leave) {
        return Err(defect(last, "the child goes on after it has left"));
    }
    let once = if leaves { ONCE_WITHOUT_PAYLOAD } else { ONCE };
    for (is, wrong) in once {
        if plan.child.iter().filter(|step| is(step.operation)).count() != 1 {
            return Err(defect(last, wrong));
        }
    }
    if leaves { Ok(()) } else { payload(plan) }
}

fn payload(plan: &Plan) -> Result<()> {
    let place = |is: fn(Op) -> bool| plan.child.iter().position(|step| is(step.operation));
    if !plan.child.last().is_some_and(|step| matches!(step.operation, Op::Execute { .. })) {
        return Err(defect(plan.child.len().saturating_sub(1), "execve is not last"));
    }
    let sessions = plan.child.iter().filter(|step| step.operation == Op::NewSession).count();
    if sessions != usize::from(!plan.keeps_session) {
        return Err(defect(plan.child.len().saturating_sub(1), "the payload stays in the caller's session"));
    }
    let keeps = place(|op| op == Op::KeepCapabilities);
    let other = place(|op| matches!(op, Op::SetIds { uid: 1.., .. }));
    if let (Some(ids), None) = (other, keeps) {
        return Err(defect(ids, "the capabilities go with the user id"));
    }
    let pair = |first: Option<usize>, second: Option<usize>| match (first, second) {
        (Some(first), Some(second)) => first < second,
        (None, None) => true,
        _ => false,
    };
    let (ready, gate) = (place(|op| op == Op::Ready), place(|op| matches!(op, Op::WaitGate { .. })));
    if !pair(ready, gate) {
        return Err(defect(ready.or(gate).unwrap_or(0), "ready and the gate belong together"));
    }
    let into = place(|op| matches!(op, Op::ChangeDirectory { .. } | Op::FindDirectory { .. }));
    if !pair(into, place(|op| op == Op::CheckDirectory)) {
        return Err(defect(into.unwrap_or(0), "the working directory is checked before it is entered"));
    }
    Ok(())
}
