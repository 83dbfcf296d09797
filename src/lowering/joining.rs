//! `exec`: a further process of a running container. Birth, join, then the same chapters 7 to 10 as its first process.

use super::story::{OWN, Request, Story};
use super::{kernel_state, namespaces, order, process, session};
use crate::error::Result;
use crate::intent::NamespaceKind as Kind;
use crate::plan::{Open, Operation, Plan, Slot, Stage};

/// What `exec` needs beside a [`Request`] whose intent holds exec's own process.
pub struct JoinRequest<'a> {
    /// As for `create`.
    pub request: Request<'a>,
    /// Hierarchies of the container's control group whose cgroup.procs the child writes to (v1).
    pub legacy_groups: usize,
    /// The child is born in the container's group of the v2 hierarchy.
    pub unified_group: bool,
    /// `tasks` files of the container's resource control groups.
    pub resctrl_groups: usize,
}

/// Lowers `exec`.
pub fn lower_exec(join: JoinRequest<'_>) -> Result<Plan> {
    let mut story = Story::new(join.request);
    let story_ref = &mut story;
    let init = story_ref.slot();
    story_ref.plan.born_in_its_group = join.unified_group;
    story_ref.open(Open::Given { name: "pidfd of the container's init", into: init }, &OWN);
    let all = flags(story_ref);
    born(story_ref, init, all);
    session::open_console(story_ref)?;
    namespaces::own_image_of_exec(story_ref)?;
    story_ref.chapter(Stage::Birth);
    namespaces::release_image(story_ref)?;
    process::birth(story_ref)?;
    process::join_cgroups(story_ref, join.legacy_groups);
    process::join_resctrl(story_ref, join.resctrl_groups);
    process::affinity(story_ref);
    process::oom_score(story_ref)?;
    story_ref.chapter(Stage::Identity);
    enter(story_ref, init);
    story_ref.chapter(Stage::Kernel);
    kernel_state::keyring(story_ref)?;
    story_ref.chapter(Stage::Files);
    session::exec_terminal(story_ref)?;
    order::payload(story_ref)?;
    story.finish()
}

fn flags(story: &Story<'_>) -> u64 {
    story.request.intent.namespaces.iter().map(|namespace| namespace.kind.flag()).sum()
}

/// Where a child that joins these namespaces is born: setns moves only the caller's children into a pid namespace.
pub(super) fn born(story: &mut Story<'_>, init: Slot, flags: u64) {
    let (pid, user) = (flags & Kind::Pid.flag(), flags & Kind::User.flag());
    if story.may_come_back() {
        if pid != 0 {
            story.plan.born_in.push((init, pid));
        }
    } else if story.privileged() {
        if pid != 0 {
            story.plan.first_stage.push((init, pid));
        }
    } else if user != 0 {
        // Without privilege the pid namespace is within reach only from inside the user namespace.
        story.plan.first_stage.push((init, user | pid));
    }
}

/// All namespaces of the container at once, through its init's pidfd (setns(2), Linux 5.8).
fn enter(story: &mut Story<'_>, init: Slot) {
    let intent = story.request.intent;
    let flags = flags(story);
    let user = flags & Kind::User.flag();
    let joined = story.plan.first_stage.iter().fold(0, |all, (_, flags)| all | flags);
    let rest = flags & !Kind::Pid.flag() & !joined;
    // Before the first setns: the container's processes must not trace this one (CVE-2016-9962).
    story.own(Operation::NonDumpable);
    if rest != 0 {
        story.own(Operation::Join { namespace: init, flags: rest });
    }
    if user != 0 {
        let groups = namespaces::may_set_groups(story);
        story.own(Operation::BecomeRoot { groups });
    }
    let into = story.root;
    if intent.namespace(Kind::Mount).is_none() {
        let path = story.plan.arena.text(&intent.root.path.to_string_lossy());
        story.own(Operation::OpenRoot { path, into });
        story.own(Operation::Chroot(into));
    } else if story.console.is_some() {
        let path = story.plan.arena.text("/");
        story.own(Operation::OpenRoot { path, into });
    }
}
