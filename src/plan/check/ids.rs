//! Whether the child's ids are in the maps that the parent writes.

use super::defect;
use crate::error::Result;
use crate::plan::{Barrier, Operation as Op, ParentStep, Plan};

const NEW_USER: u64 = 0x1000_0000;

type Map = (u32, u32, u32);

pub(super) fn check(plan: &Plan) -> Result<()> {
    let steps = plan.barriers.iter().filter(|(barrier, _)| *barrier == Barrier::Identity).flat_map(|(_, steps)| steps);
    let maps: Vec<_> = steps
        .filter_map(|(step, _)| match step {
            ParentStep::WriteIdMaps { users, groups, deny_setgroups, .. } => Some((users, groups, *deny_setgroups)),
            _ => None,
        })
        .collect();
    match (maps.as_slice(), plan.clone_flags & NEW_USER != 0) {
        ([(users, groups, deny)], true) => fit(plan, users, groups, *deny),
        ([], false) => Ok(()),
        _ => Err(defect(0, "id maps and a new user namespace belong together")),
    }
}

fn holds(map: &[Map], id: u32) -> bool {
    map.iter().any(|(inside, _, size)| id.checked_sub(*inside).is_some_and(|at| at < *size))
}

fn fit(plan: &Plan, users: &[Map], groups: &[Map], deny_setgroups: bool) -> Result<()> {
    let (user, group) = (|id| holds(users, id), |id| holds(groups, id));
    let mut met = false;
    let mut root = false;
    // Behind an inner user namespace its one pair of ids is all there is.
    let mut inner = None;
    for (index, step) in plan.child.iter().enumerate() {
        let fits = match step.operation {
            Op::Wait(Barrier::Identity) => {
                met = true;
                true
            }
            Op::BecomeRoot { groups } => {
                root = met;
                met && user(0) && group(0) && !(groups && deny_setgroups)
            }
            Op::InnerUserNamespace { uid, gid, .. } => {
                inner = Some((uid, gid));
                root
            }
            Op::SetIds { uid, gid } => root && inner.map_or(user(uid) && group(gid), |ids| ids == (uid, gid)),
            Op::SetGroups if inner.is_some() => false,
            Op::SetGroups => !deny_setgroups && plan.arena.groups.iter().all(|id| group(*id)),
            Op::ChangeOwner { uid, gid, .. } => user(uid) && group(gid),
            Op::OwnPipes(uid) | Op::AdoptTerminal { uid, .. } => user(uid),
            _ => true,
        };
        if !fits {
            return Err(defect(index, "an id is used that is not mapped, or not yet"));
        }
    }
    Ok(())
}
