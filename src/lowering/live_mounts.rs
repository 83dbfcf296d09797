//! Mounts of a running container: a short child joins its mount (and user) namespace, attaches what was made before, or takes
//! away what was attached so. The mounts are lowered by the same functions as at the start.
//!
//! ```text
//! parent  trees of the host's files, where it may                 (a plain user: the child, in a copy of the host's namespace)
//! child   birth, the namespaces that make the mounts, the trees, the mount namespace, mount points, attached, told
//! ```

use super::mounts::{self, Source};
use super::story::{OWN, Request, Story};
use super::{namespaces, process};
use crate::error::{Error, Origin, Result};
use crate::intent::{Mount, NamespaceKind as Kind};
use crate::plan::{Barrier, Open, Operation, Plan, Slot, Stage};

/// Lowers `mounts add`. The request's intent is the container's, with the new mounts as its only ones.
///
/// # Errors
/// The container shares the host's mounts, or a mount can't be had in a container that runs already.
pub fn lower_add_mounts(request: Request<'_>) -> Result<Plan> {
    let mut story = Story::new(request);
    add(&mut story)?;
    story.finish()
}

fn add(story: &mut Story<'_>) -> Result<()> {
    let list = story.request.intent.mounts.clone();
    has_mounts(story, &Origin::fixed("/0"))?;
    mounts::check_label(story)?;
    for mount in &list {
        possible(story, mount)?;
    }
    let init = begin(story)?;
    let flags = list.iter().filter_map(belongs_to).fold(flag(story, Kind::User), |all, kind| all | flag(story, kind));
    if list.iter().any(|mount| mount.options.idmap.is_some() && !mount.options.remount) {
        story.barrier(Barrier::Identity);
    }
    // A plain user has no right to the host's mounts: the child opens them in a copy of their namespace that belongs to the
    // container's user namespace, before it goes to the container's.
    let copied = !story.may_mount() && list.iter().any(|mount| from_host(story, mount).is_some());
    join(story, init, flags, !copied);
    if copied {
        story.own(Operation::Unshare(Kind::Mount.flag()));
    }
    story.chapter(Stage::Files);
    let mut made = Vec::new();
    for mount in &list {
        let early = from_host(story, mount).is_some() && !is_symlink(story, mount);
        made.push(if early { Some(mounts::make(story, mount)?) } else { None });
    }
    story.wait(Barrier::Identity);
    if copied {
        story.own(Operation::Join { namespace: init, flags: Kind::Mount.flag() });
    }
    open_root(story);
    for (mount, tree) in list.iter().zip(made) {
        if mount.options.remount {
            mounts::remount(story, mount)?;
            continue;
        }
        if mounts::copied_symlink(story, mount) {
            continue;
        }
        let tree = match tree {
            Some(tree) => tree,
            None => mounts::make(story, mount)?,
        };
        mounts::place(story, mount, tree);
        story.step(Operation::TellMount(tree), &mount.origin);
    }
    mounts::filled(story)?;
    end(story);
    Ok(())
}

/// Lowers `mounts remove`: each destination, its place in the input, and the id of the mount that must be there.
///
/// # Errors
/// The container shares the host's mounts.
pub fn lower_remove_mounts(request: Request<'_>, list: &[(String, Origin, u64)]) -> Result<Plan> {
    let mut story = Story::new(request);
    remove(&mut story, list)?;
    story.finish()
}

fn remove(story: &mut Story<'_>, list: &[(String, Origin, u64)]) -> Result<()> {
    has_mounts(story, &Origin::fixed("/0"))?;
    let init = begin(story)?;
    let proc = story.slot();
    if !list.is_empty() {
        story.open(Open::Given { name: "the host's procfs", into: proc }, &OWN);
    }
    let flags = flag(story, Kind::User);
    join(story, init, flags, true);
    story.chapter(Stage::Files);
    open_root(story);
    // All are found before the first one goes: a wrong one leaves everything as it is.
    let mut found = Vec::new();
    for (destination, origin, id) in list {
        let (root, path, into) = (story.root, mounts::in_root(story, destination), story.slot());
        story.step(Operation::FindMount { root, path, id: *id, into }, origin);
        found.push((into, origin));
    }
    for (mount, origin) in found {
        story.step(Operation::Detach { proc, mount }, origin);
    }
    end(story);
    Ok(())
}

fn has_mounts(story: &Story<'_>, origin: &Origin) -> Result<()> {
    match story.request.intent.namespace(Kind::Mount) {
        Some(_) => Ok(()),
        None => Err(Error::refused("the container has no mount namespace: its mounts are the host's").at(origin)),
    }
}

/// What a running container can't get any more.
fn possible(story: &Story<'_>, mount: &Mount) -> Result<()> {
    let bind = mounts::bind_of(story, mount);
    if bind.is_none() && matches!(mount.fstype.as_deref(), Some("cgroup" | "cgroup2")) {
        return Err(
            Error::refused("a control group file system is mounted at the start or not at all").at(&mount.origin)
        );
    }
    match bind {
        Some(source) if mounts::holds_pin(story, &source) => {
            let error = Error::refused(
                "the tree holds a pinned mount namespace, which can't be attached to a container that runs",
            );
            Err(error.at(&mount.origin))
        }
        _ => Ok(()),
    }
}

/// A bind whose source is the host's, as it was at the start.
fn from_host(story: &Story<'_>, mount: &Mount) -> Option<Source> {
    if mount.options.remount {
        return None;
    }
    mounts::bind_of(story, mount).filter(|source| !mounts::is_late(story, source))
}

fn is_symlink(story: &Story<'_>, mount: &Mount) -> bool {
    let source = mount.source.as_deref().map(std::path::Path::new);
    mount.options.copy_symlink && source.is_some_and(|source| story.request.symlinks.contains_key(source))
}

/// The namespace that a new file system shows: whoever makes it must be in it.
fn belongs_to(mount: &Mount) -> Option<Kind> {
    match mount.fstype.as_deref()? {
        "proc" => Some(Kind::Pid),
        "sysfs" => Some(Kind::Network),
        "mqueue" => Some(Kind::Ipc),
        _ => None,
    }
}

/// The flag of a namespace that the container has for itself.
fn flag(story: &Story<'_>, kind: Kind) -> u64 {
    if story.request.intent.namespace(kind).is_some() { kind.flag() } else { 0 }
}

/// A and 1: what every such child begins with.
fn begin(story: &mut Story<'_>) -> Result<Slot> {
    let init = story.slot();
    story.open(Open::Given { name: "pidfd of the container's init", into: init }, &OWN);
    namespaces::own_image_of_exec(story)?;
    story.chapter(Stage::Birth);
    namespaces::release_image(story)?;
    process::birth(story)?;
    Ok(init)
}

/// Joins what makes the mounts, and with `at_once` the mount namespace too: one call leaves no moment between them.
fn join(story: &mut Story<'_>, init: Slot, flags: u64, at_once: bool) {
    super::joining::born(story, init, flags);
    let joined = story.plan.first_stage.iter().fold(0, |all, (_, flags)| all | flags);
    story.chapter(Stage::Identity);
    // The container's processes must not trace this one (CVE-2016-9962).
    story.own(Operation::NonDumpable);
    let mount = if at_once { Kind::Mount.flag() } else { 0 };
    let rest = (flags & !Kind::Pid.flag() & !joined) | mount;
    if rest != 0 {
        story.own(Operation::Join { namespace: init, flags: rest });
    }
    if flags & Kind::User.flag() != 0 {
        let groups = namespaces::may_set_groups(story);
        story.own(Operation::BecomeRoot { groups });
    }
}

fn open_root(story: &mut Story<'_>) {
    let (path, into) = (story.plan.arena.text("/"), story.root);
    story.own(Operation::OpenRoot { path, into });
}

fn end(story: &mut Story<'_>) {
    story.chapter(Stage::Handover);
    story.own(Operation::Leave);
}
