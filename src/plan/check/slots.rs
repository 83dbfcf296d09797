//! Whether every descriptor is there when it is used, and none is opened for nothing.

use super::defect;
use crate::error::Result;
use crate::plan::operation::Missing;
use crate::plan::{Open, Operation as Op, ParentStep, Plan, Slot};

/// What an operation reads and what it fills.
type Uses = ([Option<Slot>; 5], [Option<Slot>; 2]);

fn reads(slots: &[Slot]) -> Uses {
    let mut read = [None; 5];
    read.iter_mut().zip(slots).for_each(|(place, slot)| *place = Some(*slot));
    (read, [None; 2])
}

fn fills(read: &[Slot], into: &[Slot]) -> Uses {
    let mut filled = [None; 2];
    filled.iter_mut().zip(into).for_each(|(place, slot)| *place = Some(*slot));
    (reads(read).0, filled)
}

fn uses(operation: Op) -> Uses {
    match operation {
        Op::Join { namespace: slot, .. } | Op::JoinCgroup(slot) | Op::JoinResctrl(slot) => reads(&[slot]),
        Op::PrivateProc(into) | Op::OpenTree { into, .. } | Op::Filesystem { into, .. } => fills(&[], &[into]),
        Op::NullSource(into) | Op::OpenRoot { into, .. } => fills(&[], &[into]),
        Op::WriteProc { proc, .. } => reads(&[proc]),
        Op::OpenTreeLate { root, into, .. } => fills(&[root], &[into]),
        Op::SetAttributes { tree, .. } | Op::VerifyDevice { tree, .. } => reads(&[tree]),
        Op::EnterRoot { tree, into, .. } => fills(&[tree], &[into]),
        Op::Ensure { root, missing: Missing::Like(tree), into, .. } => fills(&[root, tree], &[into]),
        Op::Ensure { root, into, .. } => fills(&[root], &[into]),
        Op::Attach { tree, target } => reads(&[tree, target]),
        Op::TellMount(tree) => reads(&[tree]),
        Op::FindMount { root, into, .. } => fills(&[root], &[into]),
        Op::Detach { proc, mount } => reads(&[proc, mount]),
        Op::BindByMount { target, .. } => reads(&[target]),
        Op::CopyUp { from, to } | Op::InheritMode { from, to } => reads(&[from, to]),
        Op::File { at, .. } | Op::Unlink { at, .. } => reads(&[at]),
        Op::Mode { root: slot, .. } | Op::InnerUserNamespace { proc: slot, .. } | Op::Landlock(slot) => reads(&[slot]),
        Op::Directory { at, .. } | Op::Node { at, .. } | Op::ChangeOwner { at, .. } | Op::Link { at, .. } => {
            reads(&[at])
        }
        Op::Remount { root, .. } | Op::ReadOnly { root, .. } | Op::RootAttributes { root, .. } => reads(&[root]),
        Op::PivotRoot(root) | Op::MoveRoot(root) | Op::Chroot(root) => reads(&[root]),
        // The empty directory is made at the first use and shared by the others.
        Op::Hide { root, null, .. } => reads(&[root, null]),
        Op::OpenTerminal { root, master, peer, .. } => fills(&[root], &[master, peer]),
        Op::SendDescriptor { socket, descriptor, .. } => reads(&[socket, descriptor]),
        Op::BindConsole { root, peer } => reads(&[root, peer]),
        Op::AdoptTerminal { peer, .. } => reads(&[peer]),
        Op::CloseAll { keep, .. } => (keep, [None; 2]),
        Op::WaitGate { gate, outcome } => reads(&[gate, outcome]),
        Op::SpawnHook { state, output, errors, .. } => ([Some(state), output, errors, None, None], [None; 2]),
        Op::Reaper { status, .. } => reads(&[status]),
        _ => reads(&[]),
    }
}

/// Whether an operation only makes a tree ready to be attached.
fn prepares(operation: Op, slot: Slot) -> bool {
    match operation {
        Op::SetAttributes { tree, .. } | Op::VerifyDevice { tree, .. } => tree == slot,
        Op::Ensure { missing: Missing::Like(tree), .. } => tree == slot,
        Op::CopyUp { to, .. } | Op::InheritMode { to, .. } => to == slot,
        _ => false,
    }
}

/// What becomes of a slot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Empty,
    Filled,
    /// Filled by something that has its effect without being used: a path made, a descriptor that was given.
    Free,
    Used,
}

pub(super) fn check(plan: &Plan) -> Result<()> {
    let mut slots = vec![State::Empty; plan.slots];
    if let Some(report) = slots.first_mut() {
        *report = State::Used;
    }
    for (open, _) in &plan.opens {
        let state = if matches!(open, Open::Given { .. }) { State::Free } else { State::Filled };
        fill(&mut slots, 0, open.into(), state)?;
    }
    parent_uses(plan, &mut slots)?;
    for (index, step) in plan.child.iter().enumerate() {
        let (read, filled) = uses(step.operation);
        for slot in read.into_iter().flatten() {
            let before = slots.get(slot.0 as usize).copied();
            take(&mut slots, index, slot)?;
            if let (true, Some(place), Some(before)) =
                (prepares(step.operation, slot), slots.get_mut(slot.0 as usize), before)
            {
                *place = before;
            }
        }
        for slot in filled.into_iter().flatten() {
            match step.operation {
                // The root's tree becomes the root.
                Op::EnterRoot { tree, into, .. } if tree == into => {}
                Op::Ensure { .. } => fill(&mut slots, index, slot, State::Free)?,
                _ => fill(&mut slots, index, slot, State::Filled)?,
            }
        }
    }
    match slots.iter().position(|state| *state == State::Filled) {
        Some(slot) => Err(defect(0, &format!("slot {slot} is filled for nothing"))),
        None => Ok(()),
    }
}

/// What the parent uses of what it opened: around clone3 and at the barriers.
fn parent_uses(plan: &Plan, slots: &mut [State]) -> Result<()> {
    for (slot, _) in plan.born_in.iter().chain(&plan.first_stage) {
        take(slots, 0, *slot)?;
    }
    for (step, _) in plan.barriers.iter().flat_map(|(_, steps)| steps) {
        match step {
            // The tree is still to be attached by the child.
            ParentStep::Idmap { tree, .. } if slots.get(tree.0 as usize) != Some(&State::Filled) => {
                return Err(defect(0, "the parent maps the ids of a tree that it has not opened"));
            }
            ParentStep::WriteState { file: slot, .. } | ParentStep::MoveDevice { namespace: Some(slot), .. } => {
                take(slots, 0, *slot)?
            }
            _ => {}
        }
    }
    Ok(())
}

fn take(slots: &mut [State], index: usize, slot: Slot) -> Result<()> {
    match slots.get_mut(slot.0 as usize) {
        Some(state) if *state != State::Empty => {
            *state = State::Used;
            Ok(())
        }
        _ => Err(defect(index, &format!("slot {} is used before it is filled", slot.0))),
    }
}

fn fill(slots: &mut [State], index: usize, slot: Slot, filled: State) -> Result<()> {
    match slots.get_mut(slot.0 as usize) {
        Some(state) if *state == State::Empty => {
            *state = filled;
            Ok(())
        }
        Some(_) => Err(defect(index, &format!("slot {} is filled twice", slot.0))),
        None => Err(defect(index, &format!("slot {} does not exist", slot.0))),
    }
}
