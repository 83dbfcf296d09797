//! The verifier: what must hold of every plan before anything is made. Property tests feed it random intents.
//!
//! - every slot is filled before it is used;
//! - each barrier the child waits at has the parent's half, in the same order, and the other way round;
//! - exactly one root switch, after every host path and before the privileges go;
//! - nothing after the capabilities went needs one;
//! - exactly one execve, last; every byte range lies in the arena;
//! - a filter allows the calls that are still to come.

use super::arena::Parameter;
use super::{Operation as Op, Plan, Slot, Stage, Text};
use crate::error::{Error, Result};
use crate::seccomp;

/// Checks a plan.
///
/// # Errors
/// The first rule that is broken, naming the step: a defect of lowering, or a seccomp profile that denies what is still
/// needed.
pub fn check(plan: &Plan) -> Result<()> {
    slots(plan)?;
    barriers(plan)?;
    order(plan)?;
    texts(plan)?;
    filters(plan)
}

fn defect(step: usize, what: &str) -> Error {
    Error::input(format!("the plan is wrong at step {}: {what}", step + 1)).hint("this is a defect of kiste")
}

/// Slots an operation reads and the ones it fills.
fn uses(operation: Op) -> (Vec<Slot>, Vec<Slot>) {
    use super::operation::Missing;
    match operation {
        Op::Join { namespace, .. } => (vec![namespace], vec![]),
        Op::PrivateProc(into) | Op::OpenTree { into, .. } | Op::Filesystem { into, .. } => (vec![], vec![into]),
        Op::NullSource(into) | Op::OpenRoot { into, .. } => (vec![], vec![into]),
        Op::WriteProc { proc, .. } => (vec![proc], vec![]),
        Op::OpenTreeLate { root, into, .. } => (vec![root], vec![into]),
        Op::SetAttributes { tree, .. } | Op::VerifyDevice { tree, .. } => (vec![tree], vec![]),
        Op::EnterRoot { tree, into, .. } => (vec![tree], vec![into]),
        Op::Ensure { root, missing: Missing::Like(tree), into, .. } => (vec![root, tree], vec![into]),
        Op::Ensure { root, into, .. } => (vec![root], vec![into]),
        Op::Attach { tree, target } => (vec![tree, target], vec![]),
        Op::BindByMount { target, .. } => (vec![target], vec![]),
        Op::CopyUp { from, to } | Op::InheritMode { from, to } => (vec![from, to], vec![]),
        Op::Directory { at, .. } | Op::Node { at, .. } | Op::ChangeOwner { at, .. } | Op::Link { at, .. } => {
            (vec![at], vec![])
        }
        Op::Remount { root, .. } | Op::ReadOnly { root, .. } | Op::RootAttributes { root, .. } => (vec![root], vec![]),
        Op::PivotRoot(root) | Op::MoveRoot(root) | Op::Chroot(root) => (vec![root], vec![]),
        Op::Hide { root, null, .. } => (vec![root, null], vec![]),
        Op::OpenTerminal { root, master, peer, .. } => (vec![root], vec![master, peer]),
        Op::SendDescriptor { socket, descriptor, .. } => (vec![socket, descriptor], vec![]),
        Op::BindConsole { root, peer } => (vec![root, peer], vec![]),
        Op::AdoptTerminal { peer, .. } => (vec![peer], vec![]),
        Op::CloseAll { keep, .. } => (keep.iter().flatten().copied().collect(), vec![]),
        Op::WaitGate { gate, outcome } => (vec![gate, outcome], vec![]),
        Op::SpawnHook { state, .. } => (vec![state], vec![]),
        _ => (vec![], vec![]),
    }
}

fn slots(plan: &Plan) -> Result<()> {
    let mut filled = vec![false; plan.slots];
    if let Some(report) = filled.first_mut() {
        *report = true;
    }
    for (open, _) in &plan.opens {
        if let Some(place) = filled.get_mut(open.into().0 as usize) {
            *place = true;
        }
    }
    for (index, step) in plan.child.iter().enumerate() {
        let (read, written) = uses(step.operation);
        for slot in read {
            if filled.get(slot.0 as usize) != Some(&true) {
                return Err(defect(index, &format!("slot {} is used before it is filled", slot.0)));
            }
        }
        for slot in written {
            match filled.get_mut(slot.0 as usize) {
                Some(place) => *place = true,
                None => return Err(defect(index, &format!("slot {} does not exist", slot.0))),
            }
        }
    }
    Ok(())
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
                | Op::Hide { .. }
                | Op::ReadOnly { .. }
                | Op::PivotRoot(_)
                | Op::SetGroups
                | Op::SetIds { .. }
                | Op::DropBounding { .. }
                | Op::Node { .. }
                | Op::HostName(_)
                | Op::Join { .. }
                | Op::Unshare(_)
                | Op::Rlimit { .. }
        )
}

fn order(plan: &Plan) -> Result<()> {
    let (mut left, mut entered, mut dropped) = (false, 0, false);
    let mut stage = Stage::Birth;
    for (index, step) in plan.child.iter().enumerate() {
        if step.stage < stage {
            return Err(defect(index, "a chapter comes twice"));
        }
        stage = step.stage;
        if left && needs_host(step.operation) {
            return Err(defect(index, "a host path after the root switch"));
        }
        if dropped && needs_capability(step.operation) {
            return Err(defect(index, "a capability is needed after they were dropped"));
        }
        match step.operation {
            Op::EnterRoot { .. } => entered += 1,
            Op::PivotRoot(_) | Op::MoveRoot(_) if left || entered != 1 => {
                // Two mounts over `/` would leave one of the host's behind when the old root is detached.
                return Err(defect(index, "the root must be entered and left exactly once"));
            }
            Op::PivotRoot(_) | Op::MoveRoot(_) | Op::Chroot(_) => left = true,
            Op::SetCapabilities => dropped = true,
            Op::Execute { .. } if index + 1 != plan.child.len() => return Err(defect(index, "execve is not last")),
            _ => {}
        }
    }
    Ok(())
}

fn texts(plan: &Plan) -> Result<()> {
    let arena = &plan.arena;
    let whole = |text: &Text| (text.start + text.length) as usize <= arena.len() && text.length > 0;
    let lists = arena.texts.iter().all(whole);
    let parameters = arena.parameters.iter().all(|parameter| match parameter {
        Parameter::Flag(key) => whole(key),
        Parameter::Value(key, value) => whole(key) && whole(value),
    });
    if lists && parameters { Ok(()) } else { Err(defect(0, "a string lies outside the arena")) }
}

/// Runs the filter over the system calls still to come: those of the steps that are left.
fn filters(plan: &Plan) -> Result<()> {
    for (index, step) in plan.child.iter().enumerate() {
        let Op::InstallFilter { program, .. } = step.operation else { continue };
        let Some((native, audit)) = seccomp::Architecture::NATIVE.and_then(|native| Some((native, native.audit()?)))
        else {
            continue;
        };
        let program = instructions(plan.arena.get(program));
        for (later, left) in plan.child.iter().enumerate().skip(index + 1) {
            for (name, arguments) in calls(plan, left.operation) {
                let Some(number) = seccomp::syscall_number(native, name) else { continue };
                let verdict = seccomp::evaluate(&program, audit, number, arguments);
                // A listener's agent has the descriptor by then and answers.
                if !verdict.runs() && verdict.action != seccomp::Action::Notify {
                    let what = format!("the profile denies {name}, which is needed after it at step {}", later + 1);
                    let error = Error::input(what).hint(
                        "allow it for set-up, or set process.noNewPrivileges, which makes the filter the last step",
                    );
                    return Err(plan.origin(step.origin).map_or(error.clone(), |origin| error.at(origin)));
                }
            }
        }
    }
    Ok(())
}

fn instructions(bytes: &[u8]) -> Vec<seccomp::Instruction> {
    bytes.chunks_exact(8).map(instruction).collect()
}

/// One 8-byte instruction: code, jt, jf, k (linux/filter.h).
fn instruction(bytes: &[u8]) -> seccomp::Instruction {
    let eight: [u8; 8] = bytes.try_into().unwrap_or_default();
    let [low, high, jt, jf, k @ ..] = eight;
    seccomp::Instruction { code: u16::from_ne_bytes([low, high]), jt, jf, k: u32::from_ne_bytes(k) }
}

/// The calls that an operation behind a filter makes, with the arguments that a profile may look at.
fn calls(plan: &Plan, operation: Op) -> Vec<(&'static str, [u64; 6])> {
    let prctl = |option: i32, argument: u64| ("prctl", [option as u64, argument, 0, 0, 0, 0]);
    let none = |name: &'static str| (name, [0; 6]);
    match operation {
        Op::SetCapabilities => vec![none("capset"), none("capget")],
        Op::SetGroups => vec![("setgroups", [plan.arena.groups.len() as u64, 0, 0, 0, 0, 0])],
        Op::SetIds { uid, gid } => {
            let three = |id: u32| [id as u64, id as u64, id as u64, 0, 0, 0];
            vec![("setresgid", three(gid)), ("setresuid", three(uid))]
        }
        Op::DropBounding { keep, last } => {
            let dropped = (0..=last as u64).find(|capability| keep & (1 << capability.min(&63)) == 0);
            vec![prctl(libc::PR_CAPBSET_DROP, dropped.unwrap_or(0))]
        }
        Op::Ambient(_) => vec![prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64)],
        Op::KeepCapabilities => vec![prctl(libc::PR_SET_KEEPCAPS, 1)],
        Op::NoNewPrivileges => vec![prctl(libc::PR_SET_NO_NEW_PRIVS, 1), prctl(libc::PR_GET_NO_NEW_PRIVS, 0)],
        Op::Rlimit { resource, .. } => vec![("prlimit64", [0, resource as u64, 1, 0, 0, 0])],
        Op::CloseAll { from, .. } => vec![("close_range", [from as u64, u32::MAX as u64, 0, 0, 0, 0])],
        Op::ChangeDirectory { .. } => vec![none("chdir")],
        Op::CheckDirectory => vec![none("getcwd")],
        Op::FindExecutable(_) => vec![none("faccessat2"), none("statx")],
        Op::FindHome(_) => vec![none("openat2"), none("read"), none("close")],
        Op::Ready => vec![none("sendto"), none("close")],
        Op::WaitGate { .. } => vec![none("read"), none("close")],
        Op::SpawnHook { .. } => vec![none("clone3"), none("dup3"), none("close_range"), none("execve"), none("wait4")],
        Op::Execute { .. } => vec![none("execve")],
        _ => Vec::new(),
    }
}
