//! The root: its tree, how it is entered, and how the host's is left.

use super::host_view;
use super::story::{OWN, Story};
use crate::error::Result;
use crate::intent::{NamespaceKind, Propagation, RootKind};
use crate::kernel::abi::{MOUNT_ATTR_RDONLY, MS_PRIVATE, MS_SHARED, MS_SLAVE, MountAttr};
use crate::plan::{Open, Operation, Slot};

/// Whether the container has mounts of its own.
fn has_mounts(story: &Story<'_>) -> bool {
    story.request.intent.namespace(NamespaceKind::Mount).is_some()
}

/// Parent: the root's tree, where the runtime may clone it; else the child opens it by path in its own namespace.
pub fn open(story: &mut Story<'_>) -> Result<()> {
    let root = &story.request.intent.root;
    if root.kind == RootKind::Directory && has_mounts(story) && story.may_mount() {
        let into = story.root;
        let open = Open::Tree { path: root.path.clone(), recursive: true, nofollow: false, into };
        story.open(open, &root.origin);
    }
    Ok(())
}

/// The kind of propagation that the namespace's mounts start with: changes never go to the host unless the input says
/// `shared`, which is the one way to let them.
fn namespace_kind(propagation: Option<Propagation>) -> u64 {
    match propagation.map(|propagation| propagation.kind) {
        Some(kind) if kind == MS_PRIVATE || kind == MS_SHARED => kind,
        _ => MS_SLAVE,
    }
}

/// Whether mounts made by the child may travel to the host.
pub fn is_shared(story: &Story<'_>) -> bool {
    let propagation = story.request.intent.root.propagation.as_ref();
    propagation.is_some_and(|propagation| propagation.value.kind == MS_SHARED)
}

/// What a fresh clone of a host tree is set to before it is attached: cut off from the host, or its slave.
pub fn clone_propagation(story: &Story<'_>) -> Option<u64> {
    let wanted = story.request.intent.root.propagation.as_ref().map(|propagation| propagation.value);
    (!is_shared(story)).then(|| namespace_kind(wanted))
}

/// Index of mount attributes in the arena.
pub fn attributes(story: &mut Story<'_>, attributes: MountAttr) -> u16 {
    let table = &mut story.plan.arena.attributes;
    let found = table.iter().position(|other| *other == attributes);
    let index = found.unwrap_or_else(|| {
        table.push(attributes);
        table.len() - 1
    });
    index as u16
}

/// Child: cuts propagation, attaches the root and enters it.
pub fn enter(story: &mut Story<'_>) -> Result<()> {
    let root = &story.request.intent.root;
    if !has_mounts(story) {
        let path = story.plan.arena.text(&root.path.to_string_lossy());
        let into = story.root;
        story.step(Operation::OpenRoot { path, into }, &root.origin);
        return Ok(());
    }
    let propagation = root.propagation.as_ref();
    let origin = propagation.map_or(OWN, |propagation| propagation.origin.clone());
    let kind = namespace_kind(propagation.map(|propagation| propagation.value));
    story.step(Operation::NamespacePropagation(if kind == MS_SHARED { MS_SLAVE } else { kind }), &origin);
    let into = story.root;
    match root.kind {
        RootKind::HostView => return host_view::enter(story),
        RootKind::Empty => {
            super::sandbox::clone_early(story)?;
            return match super::sandbox::at_root(story)? {
                Some(tree) => {
                    let at = story.plan.arena.text("/");
                    story.root = tree;
                    story.own(Operation::EnterRoot { tree, at, into: tree });
                    Ok(())
                }
                None => host_view::enter_tmpfs(story, &[("mode", "755")]),
            };
        }
        RootKind::Directory => {}
    }
    if !story.may_mount() {
        let path = story.plan.arena.text(&root.path.to_string_lossy());
        story.step(Operation::OpenTree { path, recursive: true, nofollow: false, into }, &root.origin);
    }
    // A shared root becomes so at the end: now the set-up would travel to the host's mount of it. Mounts below keep their peers.
    let cut = clone_propagation(story);
    let attributes = attributes(story, MountAttr { propagation: cut.unwrap_or(MS_PRIVATE), ..MountAttr::default() });
    story.step(Operation::SetAttributes { tree: into, attributes, recursive: cut.is_some() }, &origin);
    // Hooks find the container's mounts below the root's path in the mount namespace they run in or enter.
    let hooks = &story.request.intent.hooks;
    let seen = [&hooks.prestart, &hooks.create_runtime, &hooks.create_container].iter().any(|list| !list.is_empty());
    // A mount over `/` would be part of what the child itself clones or binds of `/`: the container's root, not the host's.
    let looks_back = !story.may_mount() || !story.request.pinned.is_empty();
    let at = if (seen || looks_back) && !story.request.no_pivot { root.path.to_string_lossy() } else { "/".into() };
    let at = story.plan.arena.text(&at);
    story.step(Operation::EnterRoot { tree: into, at, into }, &root.origin);
    Ok(())
}

/// Child: the root becomes what the input says, and the host's goes away.
pub fn leave_host(story: &mut Story<'_>) -> Result<()> {
    let root = &story.request.intent.root;
    let slot: Slot = story.root;
    if !has_mounts(story) {
        story.step(Operation::Chroot(slot), &root.origin);
        return Ok(());
    }
    if root.readonly {
        let attributes = attributes(story, MountAttr { attr_set: MOUNT_ATTR_RDONLY, ..MountAttr::default() });
        let origin = root.origin.child("readonly");
        story.step(Operation::RootAttributes { root: slot, attributes, recursive: false }, &origin);
    }
    let leave = if story.request.no_pivot { Operation::MoveRoot(slot) } else { Operation::PivotRoot(slot) };
    story.step(leave, &root.origin);
    if let Some(propagation) = &root.propagation {
        // `shared` and `unbindable` only now: shared would have sent the set-up to the host and can't be pivoted into, an
        // unbindable tree could not have been the source of the read-only binds.
        let kind = propagation.value.kind;
        let attributes = attributes(story, MountAttr { propagation: kind, ..MountAttr::default() });
        let step = Operation::RootAttributes { root: slot, attributes, recursive: propagation.value.recursive };
        story.step(step, &propagation.origin);
    }
    Ok(())
}
