//! /dev: the default nodes, the input's own, and the links that programs expect.

use super::mounts::{Source, ensure, own_bind_tree};
use super::story::{OWN, Story};
use crate::error::{Error, Result};
use crate::intent::{Device, DeviceKind, IdMap, NamespaceKind};
use crate::plan::operation::{Existing, Missing};
use crate::plan::{Operation, Slot};

/// The runtime-spec's default devices.
const NODES: &[(&str, u32, u32)] =
    &[("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// The runtime-spec's links, and `core` as the peers make it. An image's own `ptmx` gives way to the devpts instance's.
const LINKS: &[(&str, &str, Existing)] = &[
    ("fd", "/proc/self/fd", Existing::Stays),
    ("stdin", "/proc/self/fd/0", Existing::Stays),
    ("stdout", "/proc/self/fd/1", Existing::Stays),
    ("stderr", "/proc/self/fd/2", Existing::Stays),
    ("core", "/proc/kcore", Existing::Stays),
    ("ptmx", "pts/ptmx", Existing::Goes),
];

/// Whether the container brings a /dev of the host: then nothing is made in it.
pub fn is_bound(story: &Story<'_>) -> bool {
    let mounts = &story.request.intent.mounts;
    mounts.iter().any(|mount| mount.destination == "/dev" && mount.options.bind.is_some())
}

/// Child: nodes and links.
pub fn all(story: &mut Story<'_>) -> Result<()> {
    let intent = story.request.intent;
    // A sandbox names what it wants.
    if is_bound(story) || intent.sandbox.is_some() || intent.namespace(NamespaceKind::Mount).is_none() {
        return Ok(());
    }
    let dev = ensure(story, "/dev", Missing::Directory, true, &OWN);
    for (name, major, minor) in NODES {
        let path = format!("/dev/{name}");
        if intent.devices.iter().any(|device| device.path == path) {
            continue;
        }
        let kind = DeviceKind::Character;
        let (major, minor) = (*major, *minor);
        one(story, dev, &Device { path, kind, major, minor, mode: 0o666, uid: 0, gid: 0, origin: OWN })?;
    }
    for device in &intent.devices {
        one(story, dev, device)?;
    }
    for (name, target, existing) in LINKS {
        let (name, target) = (story.plan.arena.text(name), story.plan.arena.text(target));
        story.own(Operation::Link { at: dev, name, target, existing: *existing });
    }
    Ok(())
}

/// `S_IFCHR`, `S_IFBLK`, `S_IFIFO`.
fn type_bits(kind: DeviceKind) -> u32 {
    match kind {
        DeviceKind::Character => libc::S_IFCHR,
        DeviceKind::Block => libc::S_IFBLK,
        DeviceKind::Fifo => libc::S_IFIFO,
    }
}

fn one(story: &mut Story<'_>, dev: Slot, device: &Device) -> Result<()> {
    let number = libc::makedev(device.major, device.minor) as u32;
    let mode = type_bits(device.kind) | device.mode;
    if story.binds_devices() && device.kind != DeviceKind::Fifo {
        let source = Source { path: device.path.clone(), recursive: false, nofollow: false };
        let tree = own_bind_tree(story, &source, &device.origin)?;
        story.step(Operation::VerifyDevice { tree, mode, device: number }, &device.origin);
        let target = ensure(story, &device.path, Missing::File, false, &device.origin);
        story.step(Operation::Attach { tree, target }, &device.origin);
        return Ok(());
    }
    let (parent, name) = device.path.rsplit_once('/').unwrap_or(("", device.path.as_str()));
    let at = match parent {
        "/dev" => dev,
        parent => ensure(story, parent, Missing::Directory, false, &device.origin),
    };
    let name = story.plan.arena.text(name);
    story.step(Operation::Node { at, name, mode, device: number }, &device.origin);
    if (device.uid, device.gid) != (0, 0) {
        owner_is_mapped(story, device)?;
        story.step(Operation::ChangeOwner { at, name, uid: device.uid, gid: device.gid }, &device.origin);
    }
    Ok(())
}

/// chown(2) knows mapped ids only.
fn owner_is_mapped(story: &Story<'_>, device: &Device) -> Result<()> {
    let intent = story.request.intent;
    let mapped =
        |maps: &[IdMap], id: u32| maps.iter().any(|map| id.checked_sub(map.container).is_some_and(|at| at < map.size));
    if intent.makes(NamespaceKind::User)
        && !(mapped(&intent.id_maps.users, device.uid) && mapped(&intent.id_maps.groups, device.gid))
    {
        let what = format!("its owner {}:{} is not mapped in the user namespace", device.uid, device.gid);
        return Err(Error::input(what).at(&device.origin));
    }
    Ok(())
}
