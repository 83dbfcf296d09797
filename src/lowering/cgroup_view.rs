//! What the container sees at a `cgroup` mount: the unified tree, or on v1 and hybrid machines a tmpfs with the
//! hierarchies below.

use super::mounts::{Source, ensure, own_bind_tree};
use super::root::attributes;
use super::story::Story;
use crate::cgroup::{LegacyMount, Mode};
use crate::error::Result;
use crate::intent::{Mount, NamespaceKind as Kind};
use crate::kernel::abi::{MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY, MountAttr};
use crate::plan::Operation;
use crate::plan::arena::{Parameter, Range};
use crate::plan::operation::Missing;

const HARD: u64 = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;

/// Child: one mount of type `cgroup`.
pub fn mount(story: &mut Story<'_>, mount: &Mount) -> Result<()> {
    match story.request.layout.mode {
        Mode::V2 => unified(story, mount, &mount.destination, mount.options.set as u32),
        Mode::None => Ok(()),
        Mode::V1 | Mode::Hybrid => legacy(story, mount),
    }
}

/// Whether the container may make cgroup file systems: its user namespace owns its cgroup namespace.
fn owns(story: &Story<'_>) -> bool {
    let joined = story.in_new_user_namespace() && !story.request.intent.makes(Kind::Cgroup);
    !joined && !story.shares_foreign(Kind::Cgroup)
}

fn unified(story: &mut Story<'_>, mount: &Mount, destination: &str, flags: u32) -> Result<()> {
    if !owns(story) {
        // The host's tree can't be made anew here: it is shown read-only, whatever the input says (CVE-2023-25809).
        let path = story
            .request
            .layout
            .unified
            .as_ref()
            .map_or("/sys/fs/cgroup".into(), |unified| unified.mount_point.to_string_lossy().into_owned());
        return bound(story, mount, path, destination);
    }
    filesystem(story, mount, "cgroup2", &[], destination, flags)
}

fn bound(story: &mut Story<'_>, mount: &Mount, path: String, destination: &str) -> Result<()> {
    let source = Source { path, recursive: true, nofollow: false };
    let tree = own_bind_tree(story, &source, &mount.origin)?;
    let wanted = attributes(story, MountAttr { attr_set: HARD | MOUNT_ATTR_RDONLY, ..MountAttr::default() });
    story.step(Operation::SetAttributes { tree, attributes: wanted, recursive: true }, &mount.origin);
    let target = ensure(story, destination, Missing::Directory, false, &mount.origin);
    story.step(Operation::Attach { tree, target }, &mount.origin);
    Ok(())
}

fn filesystem(
    story: &mut Story<'_>,
    mount: &Mount,
    fstype: &str,
    words: &[(&str, Option<&str>)],
    destination: &str,
    attributes: u32,
) -> Result<()> {
    let arena = &mut story.plan.arena;
    let start = arena.parameters.len() as u32;
    for (key, value) in words {
        let key = arena.text(key);
        let parameter = match value {
            Some(value) => Parameter::Value(key, arena.text(value)),
            None => Parameter::Flag(key),
        };
        arena.parameters.push(parameter);
    }
    let parameters = Range { start, count: arena.parameters.len() as u32 - start };
    let fstype = arena.text(fstype);
    let into = story.slot();
    story.step(Operation::Filesystem { fstype, parameters, attributes, into }, &mount.origin);
    let target = ensure(story, destination, Missing::Directory, false, &mount.origin);
    story.step(Operation::Attach { tree: into, target }, &mount.origin);
    Ok(())
}

/// v1 and hybrid: a tmpfs, each hierarchy in it as the host names it, links for the controllers that share one.
fn legacy(story: &mut Story<'_>, mount: &Mount) -> Result<()> {
    let flags = (mount.options.set & !MOUNT_ATTR_RDONLY) as u32;
    let words = [("mode", Some("755"))];
    filesystem(story, mount, "tmpfs", &words, &mount.destination, flags)?;
    let layout = story.request.layout;
    for hierarchy in &layout.legacy {
        let Some(name) = hierarchy.mount_point.file_name().map(|name| name.to_string_lossy().into_owned()) else {
            continue;
        };
        let destination = format!("{}/{name}", mount.destination);
        if owns(story) && story.request.intent.makes(Kind::Cgroup) {
            let controllers: Vec<&str> = hierarchy.controllers.iter().map(String::as_str).collect();
            let words = legacy_words(&controllers);
            filesystem(story, mount, "cgroup", &words, &destination, mount.options.set as u32)?;
        } else {
            let path = own_group(story, hierarchy);
            bound(story, mount, path.to_string_lossy().into_owned(), &destination)?;
        }
    }
    if let Some(unified) = layout.unified.as_ref().filter(|_| owns(story) && story.request.intent.makes(Kind::Cgroup)) {
        let name = unified.mount_point.file_name().map_or("unified".into(), |name| name.to_string_lossy());
        let destination = format!("{}/{name}", mount.destination);
        filesystem(story, mount, "cgroup2", &[], &destination, mount.options.set as u32)?;
    }
    if mount.options.set & MOUNT_ATTR_RDONLY != 0 {
        let wanted = MountAttr { attr_set: MOUNT_ATTR_RDONLY, ..MountAttr::default() };
        let attributes = attributes(story, wanted);
        let (root, path) = (story.root, super::mounts::in_root(story, &mount.destination));
        story.step(Operation::Remount { root, path, attributes, recursive: false }, &mount.origin);
    }
    Ok(())
}

/// The directory of the group that the container sees as its own where it has no cgroup namespace, nothing above it. Whether
/// a group can be made without privilege is known to the kernel alone: then it is the runtime's, where the container stays or
/// below which it gets one (`cgroup::create`).
fn own_group(story: &Story<'_>, hierarchy: &LegacyMount) -> std::path::PathBuf {
    let mount_point = &hierarchy.mount_point;
    let Some(plan) = &story.plan.cgroup else { return mount_point.clone() };
    if plan.rootless {
        // A runtime in a cgroup namespace may be in a group above it: the namespace's root is the nearest it can show.
        let group = Some(hierarchy.own_group.trim_start_matches('/')).filter(|group| !group.starts_with(".."));
        return group.filter(|group| !group.is_empty()).map_or(mount_point.clone(), |group| mount_point.join(group));
    }
    let own = plan.hierarchies.iter().find(|own| own.mount_point == *mount_point);
    own.map_or_else(|| mount_point.clone(), |own| own.directory())
}

/// `cpu`, `cpuacct` → the words of the hierarchy's own options; `name=systemd` → `none`, `name`.
fn legacy_words<'a>(controllers: &[&'a str]) -> Vec<(&'a str, Option<&'a str>)> {
    let mut words = Vec::new();
    for controller in controllers {
        match controller.strip_prefix("name=") {
            Some(name) => {
                words.push(("none", None));
                words.push(("name", Some(name)));
            }
            None => words.push((*controller, None)),
        }
    }
    words
}
