//! What a sandbox has beyond a container ([`crate::intent::sandbox`]).

use super::mounts::{self, ensure, in_root};
use super::story::{OWN, Story};
use crate::error::{Error, Origin, Result};
use crate::intent::NamespaceKind;
use crate::intent::sandbox::{Entry, EntryKind, Sandbox};
use crate::kernel::abi::{MOUNT_ATTR_RDONLY, MountAttr};
use crate::plan::operation::{Existing, Missing};
use crate::plan::{Barrier, Open, Operation, STATUS, Slot};

fn sandbox<'a>(story: &Story<'a>) -> Option<&'a Sandbox> {
    story.request.intent.sandbox.as_ref()
}

/// Parent: a meeting where the sandbox is made and the payload is not: for those who are told of both.
pub fn announce(story: &mut Story<'_>) -> Result<()> {
    if sandbox(story).is_some_and(|sandbox| sandbox.announced) {
        story.barrier(Barrier::Identity);
    }
    Ok(())
}

/// Child: the kernel ends it with the runtime. The parent's socket tells a parent that ended before the call.
pub fn die_with_parent(story: &mut Story<'_>) -> Result<()> {
    if sandbox(story).is_some_and(|sandbox| sandbox.dies_with_parent) {
        story.own(Operation::DieWithParent);
    }
    Ok(())
}

/// Child: the procfs for the inner user namespace, while one may be made, and how many more there may be: the limit belongs
/// to the outer one, where the payload has no rights (user_namespaces(7)).
pub fn prepare(story: &mut Story<'_>) -> Result<()> {
    let Some(sandbox) = sandbox(story) else { return Ok(()) };
    if !story.request.intent.makes(NamespaceKind::User) && (sandbox.ids.is_some() || !sandbox.nested_users) {
        return Ok(());
    }
    if sandbox.ids.is_some() {
        story.proc();
    }
    if !sandbox.nested_users {
        let allowed = if sandbox.ids.is_some() { "1" } else { "0" };
        story.write_proc("sys/user/max_user_namespaces", allowed, &OWN);
    }
    Ok(())
}

/// Child: clones the host's trees that an empty root is made of, before it hides them.
pub fn clone_early(story: &mut Story<'_>) -> Result<()> {
    for (number, mount) in story.request.intent.mounts.iter().enumerate() {
        if mount.options.remount {
            continue;
        }
        if let Some(source) = mounts::bind_of(story, mount) {
            let tree = mounts::bind_tree(story, &source, &mount.origin, false)?;
            story.early.insert(number, tree);
        }
    }
    Ok(())
}

/// The tree that the first mount binds at `/`, which is the root then.
pub fn at_root(story: &mut Story<'_>) -> Result<Option<Slot>> {
    let intent = story.request.intent;
    let Some(mount) = intent.mounts.first().filter(|mount| mount.destination == "/" && mount.options.bind.is_some())
    else {
        return Ok(None);
    };
    match mounts::bind_of(story, mount) {
        Some(source) => mounts::bound(story, mount, &source).map(Some),
        None => Ok(None),
    }
}

/// Child: what is made in the root before a mount.
pub fn entries(story: &mut Story<'_>, before: usize, is_last: bool) -> Result<()> {
    let Some(sandbox) = sandbox(story) else { return Ok(()) };
    for (at, entry) in &sandbox.entries {
        if *at == before || (is_last && *at > before) {
            one(story, entry)?;
        }
    }
    Ok(())
}

fn one(story: &mut Story<'_>, entry: &Entry) -> Result<()> {
    let origin = &entry.origin;
    match &entry.kind {
        EntryKind::Directory(mode) => {
            let (parent, name) = parent_of(story, entry)?;
            let name = story.plan.arena.text(&name);
            story.step(Operation::Directory { at: parent, name, mode: *mode }, origin);
        }
        EntryKind::File(bytes, mode) => {
            let (at, name) = parent_of(story, entry)?;
            let (name, bytes) = (story.plan.arena.text(&name), story.plan.arena.bytes(bytes));
            story.step(Operation::File { at, name, mode: *mode, bytes }, origin);
        }
        EntryKind::Data(bytes, mode, read_only) => data(story, entry, (bytes, *mode, *read_only)),
        EntryKind::Link(target) => {
            let (at, name) = parent_of(story, entry)?;
            let (name, target) = (story.plan.arena.text(&name), story.plan.arena.text(target));
            story.step(Operation::Link { at, name, target, existing: Existing::IsTheSame }, origin);
        }
        EntryKind::Mode(mode) => {
            let (root, path) = (story.root, in_root(story, &entry.path));
            story.step(Operation::Mode { root, path, mode: *mode }, origin);
        }
    }
    Ok(())
}

/// A file that is mounted and has no name: made in the root, cloned, and its name removed again.
fn data(story: &mut Story<'_>, entry: &Entry, (bytes, mode, read_only): (&[u8], u32, bool)) {
    const NAME: &str = ".kiste-data";
    let (origin, root, tree) = (&entry.origin, story.root, story.slot());
    let (name, bytes) = (story.plan.arena.text(NAME), story.plan.arena.bytes(bytes));
    story.step(Operation::File { at: root, name, mode, bytes }, origin);
    story.step(Operation::OpenTreeLate { root, path: name, recursive: false, nofollow: true, into: tree }, origin);
    if read_only {
        let wanted = MountAttr { attr_set: MOUNT_ATTR_RDONLY, ..MountAttr::default() };
        let attributes = super::root::attributes(story, wanted);
        story.step(Operation::SetAttributes { tree, attributes, recursive: false }, origin);
    }
    let target = ensure(story, &entry.path, Missing::File, false, origin);
    story.step(Operation::Attach { tree, target }, origin);
    story.step(Operation::Unlink { at: root, name }, origin);
}

/// The directory that an entry is made in, itself made if missing, and the entry's name.
fn parent_of(story: &mut Story<'_>, entry: &Entry) -> Result<(Slot, String)> {
    let path = entry.path.trim_end_matches('/');
    match path.rsplit_once('/') {
        Some((parent, name)) if !name.is_empty() && name != "." && name != ".." => {
            let at = if parent.is_empty() {
                story.root
            } else {
                ensure(story, parent, Missing::Directory, false, &entry.origin)
            };
            Ok((at, name.to_owned()))
        }
        _ => Err(Error::input(format!("{:?} is no place for something to be made", entry.path)).at(&entry.origin)),
    }
}

/// Child: the payload's ids, by a user namespace below the one that it was set up in: rights over the mounts stay behind.
pub fn inner_user(story: &mut Story<'_>) -> Result<()> {
    let Some(ids) = sandbox(story).and_then(|sandbox| sandbox.ids.clone()) else { return Ok(()) };
    if !story.request.intent.makes(NamespaceKind::User) {
        let error = Error::input("other ids inside need a user namespace of the sandbox's own");
        return Err(error.at(&ids.origin));
    }
    let proc = story.proc();
    let (uid, gid) = ids.value;
    story.step(Operation::InnerUserNamespace { proc, uid, gid }, &ids.origin);
    Ok(())
}

/// Child: Landlock as second layer, which needs no_new_privs; then the reaper, that has given up all rights like the payload.
pub fn confine(story: &mut Story<'_>) -> Result<()> {
    let Some(sandbox) = sandbox(story) else { return Ok(()) };
    let origin = Origin::fixed("sandbox");
    if let Some(landlock) = &sandbox.landlock {
        let arena = &mut story.plan.arena;
        let allowed = landlock.allowed.iter().map(|(path, access)| {
            let path = path.trim_start_matches('/');
            (arena.text(if path.is_empty() { "." } else { path }), *access)
        });
        let allowed: Vec<_> = allowed.collect();
        arena.landlock = Some(([landlock.files, landlock.network, landlock.scopes], allowed));
        let root = story.root;
        story.step(Operation::Landlock(root), &origin);
    }
    if let Some(gate) = sandbox.gate {
        story.step(Operation::Await(gate), &Origin::fixed("--block-fd"));
    }
    if sandbox.reaper {
        let status = story.slot();
        story.open(Open::Given { name: STATUS, into: status }, &OWN);
        let place = sandbox.locks.first().map_or(OWN, |lock| lock.origin.clone());
        let locks = story.plan.arena.list(sandbox.locks.iter().map(|lock| &lock.value));
        story.step(Operation::Reaper { status, sync: sandbox.sync.unwrap_or(-1), locks }, &place);
        if sandbox.dies_with_parent {
            // Of this process's parent, which is the reaper.
            story.own(Operation::DieWithParent);
        }
    }
    Ok(())
}
