//! The embedded default's root: a tmpfs with the host's userland, each top-level directory behind an overlay of its own.
//!
//! One overlay of the whole `/` is not to be had in a user namespace: the kernel refuses a lower layer with mounts below
//! that the namespace may not take away (experiments Q8).

use super::root::attributes;
use super::story::{HostEntryKind, OWN, Story};
use crate::error::Result;
use crate::kernel::abi::{MOUNT_ATTR_RDONLY, MountAttr};
use crate::plan::arena::{Parameter, Range};
use crate::plan::operation::{Existing, Missing};
use crate::plan::{Operation, Slot};

/// Child: makes the root and fills it.
pub fn enter(story: &mut Story<'_>) -> Result<()> {
    let store = story.slot();
    if story.request.host_entries.iter().any(|entry| entry.kind == HostEntryKind::Layered) {
        story.own(Operation::OverlayStore);
        let path = story.plan.arena.text("/tmp");
        story.own(Operation::OpenRoot { path, into: store });
    }
    enter_tmpfs(story, &[("mode", "755")])?;
    let root = story.root;
    for entry in story.request.host_entries.clone() {
        match &entry.kind {
            HostEntryKind::Link(target) => {
                let (name, target) = (story.plan.arena.text(&entry.name), story.plan.arena.text(target));
                story.own(Operation::Link { at: root, name, target, existing: Existing::Stays });
            }
            HostEntryKind::Layered => layered(story, store, &entry.name),
            HostEntryKind::ReadOnly => read_only(story, &entry.name),
        }
    }
    Ok(())
}

/// A fresh tmpfs over `/` of the namespace as the root.
pub fn enter_tmpfs(story: &mut Story<'_>, options: &[(&str, &str)]) -> Result<()> {
    let root = story.root;
    filesystem(story, "tmpfs", options, root);
    let at = story.plan.arena.text("/");
    story.own(Operation::EnterRoot { tree: root, at, into: root });
    Ok(())
}

fn filesystem(story: &mut Story<'_>, fstype: &str, options: &[(&str, &str)], into: Slot) {
    let arena = &mut story.plan.arena;
    let start = arena.parameters.len() as u32;
    for (key, value) in options {
        let key = arena.text(key);
        let parameter = if value.is_empty() { Parameter::Flag(key) } else { Parameter::Value(key, arena.text(value)) };
        arena.parameters.push(parameter);
    }
    let parameters = Range { start, count: arena.parameters.len() as u32 - start };
    let fstype = arena.text(fstype);
    story.own(Operation::Filesystem { fstype, parameters, attributes: 0, into });
}

fn attach(story: &mut Story<'_>, tree: Slot, name: &str) {
    let target = super::mounts::ensure(story, name, Missing::Directory, true, &OWN);
    story.own(Operation::Attach { tree, target });
}

fn layered(story: &mut Story<'_>, store: Slot, name: &str) {
    let (upper, work) = (format!("{name}.upper"), format!("{name}.work"));
    for name in [&upper, &work] {
        let name = story.plan.arena.text(name);
        story.own(Operation::Directory { at: store, name, mode: 0o755 });
    }
    let tree = story.slot();
    let paths = (format!("/{name}"), format!("/tmp/{upper}"), format!("/tmp/{work}"));
    let options = [
        ("lowerdir", paths.0.as_str()),
        ("upperdir", paths.1.as_str()),
        ("workdir", paths.2.as_str()),
        ("userxattr", ""),
    ];
    // Outside a user namespace overlayfs keeps its marks in trusted.* attributes.
    let used = if story.in_new_user_namespace() { &options[..] } else { &options[..3] };
    filesystem(story, "overlay", used, tree);
    attach(story, tree, name);
}

fn read_only(story: &mut Story<'_>, name: &str) {
    let tree = story.slot();
    let path = story.plan.arena.text(&format!("/{name}"));
    story.own(Operation::OpenTree { path, recursive: true, nofollow: true, into: tree });
    let attributes = attributes(story, MountAttr { attr_set: MOUNT_ATTR_RDONLY, ..MountAttr::default() });
    story.own(Operation::SetAttributes { tree, attributes, recursive: true });
    attach(story, tree, name);
}
