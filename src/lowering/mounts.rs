//! Mounts in the user's order: each is made detached, given its attributes, and attached to a descriptor found in the
//! root.

use std::path::Path;

use super::root::{attributes, clone_propagation};
use super::story::Story;
use super::{cgroup_view, namespaces};
use crate::error::{Error, Result};
use crate::intent::{Bind, IdMap, IdmapScope, Mount, NamespaceKind as Kind, Propagation, RootKind};
use crate::kernel::abi::{MOUNT_ATTR_ATIME, MOUNT_ATTR_NODIRATIME, MOUNT_ATTR_RDONLY, MS_PRIVATE, MountAttr};
use crate::plan::arena::{Parameter, Range};
use crate::plan::operation::{Existing, Missing};
use crate::plan::{Barrier, Open, Operation, ParentStep, Slot};

/// Child: all mounts.
pub fn all(story: &mut Story<'_>) -> Result<()> {
    let intent = story.request.intent;
    check_label(story)?;
    for (number, mount) in intent.mounts.iter().enumerate() {
        super::sandbox::entries(story, number, false)?;
        story.mount = number;
        if number > 0 || mount.destination != "/" || mount.options.remount || intent.root.kind != RootKind::Empty {
            one(story, mount)?;
        }
    }
    super::sandbox::entries(story, intent.mounts.len(), true)?;
    if let Some(directory) = story.request.notify_directory.clone() {
        let source = Source { path: directory.to_string_lossy().into_owned(), recursive: false, nofollow: false };
        let tree = own_bind_tree(story, &source, &super::story::OWN)?;
        let target = ensure(story, "/run/notify", Missing::Like(tree), false, &super::story::OWN);
        story.own(Operation::Attach { tree, target });
    }
    Ok(())
}

/// A label can be given where SELinux is in force only.
pub fn check_label(story: &Story<'_>) -> Result<()> {
    match story.request.intent.mount_label.as_ref().filter(|label| !label.value.is_empty()) {
        Some(label) if !story.modules().selinux => {
            Err(Error::refused("a label for mounts is wanted and SELinux is not enabled").at(&label.origin))
        }
        _ => Ok(()),
    }
}

/// A bind's host side.
pub struct Source {
    /// Host path.
    pub path: String,
    /// With everything below.
    pub recursive: bool,
    /// A symlink at the end is not followed.
    pub nofollow: bool,
}

fn one(story: &mut Story<'_>, mount: &Mount) -> Result<()> {
    if mount.options.remount {
        return remount(story, mount);
    }
    if copied_symlink(story, mount) {
        return Ok(());
    }
    if mount.options.bind.is_none() && matches!(mount.fstype.as_deref(), Some("cgroup")) {
        return cgroup_view::mount(story, mount);
    }
    if let Some(source) = bind_of(story, mount).filter(|source| holds_pin(story, source)) {
        return bound_by_mount(story, mount, &source);
    }
    let tree = make(story, mount)?;
    place(story, mount, tree);
    Ok(())
}

/// Makes what is mounted, detached and with its attributes.
pub fn make(story: &mut Story<'_>, mount: &Mount) -> Result<Slot> {
    match bind_of(story, mount) {
        Some(source) => bound(story, mount, &source),
        None => filesystem(story, mount),
    }
}

/// Finds the mount point and attaches what was made.
pub fn place(story: &mut Story<'_>, mount: &Mount, tree: Slot) {
    let options = &mount.options;
    let protected = matches!(mount.destination.as_str(), "/proc" | "/sys" | "/dev");
    let missing = if options.bind.is_some() { Missing::Like(tree) } else { Missing::Directory };
    let target = ensure(story, &mount.destination, missing, protected || options.destination_nofollow, &mount.origin);
    // As runc and crun do: /run stays what the image's author made it, and is no second /tmp.
    let is_tmpfs = options.bind.is_none() && mount.fstype.as_deref() == Some("tmpfs");
    if options.copy_up || is_tmpfs && !options.data.iter().any(|(key, _)| key == "mode") {
        story.step(Operation::InheritMode { from: target, to: tree }, &mount.origin);
    }
    if options.copy_up {
        story.step(Operation::CopyUp { from: target, to: tree }, &mount.origin);
    }
    story.step(Operation::Attach { tree, target }, &mount.origin);
}

/// `copy-symlink`: where the source is a symlink, the same one is made instead of a mount.
pub fn copied_symlink(story: &mut Story<'_>, mount: &Mount) -> bool {
    let source = mount.source.as_deref().filter(|_| mount.options.copy_symlink).map(Path::new);
    let Some(target) = source.and_then(|source| story.request.symlinks.get(source)).cloned() else { return false };
    let (directory, name) = mount.destination.rsplit_once('/').unwrap_or(("", &mount.destination));
    let at = ensure(story, directory, Missing::Directory, false, &mount.origin);
    let (name, target) = (story.plan.arena.text(name), story.plan.arena.text(&target));
    story.step(Operation::Link { at, name, target, existing: Existing::IsTheSame }, &mount.origin);
    true
}

/// The bind that a mount is: its own words, or what stands in for a file system that a user namespace may not make.
pub fn bind_of(story: &Story<'_>, mount: &Mount) -> Option<Source> {
    if let Some(depth) = mount.options.bind {
        return Some(Source {
            path: mount.source.clone().unwrap_or_default(),
            recursive: depth == Bind::Recursive,
            nofollow: mount.options.source_nofollow,
        });
    }
    let intent = story.request.intent;
    // The kernel makes these only for the owner of the namespace they show (experiments E4): the host's is bound where the
    // namespace is the host's. Of a joined namespace it would show the wrong one, and for /proc all processes of the host.
    let hosts = |kind: Kind| story.shares_foreign(kind);
    // Joined together with its user namespace it can be made; without, what the host's tells of it does no harm.
    let foreign = |kind: Kind| hosts(kind) || (intent.makes(Kind::User) && !intent.makes(kind));
    let path = match mount.fstype.as_deref()? {
        "proc" if hosts(Kind::Pid) => "/proc",
        "sysfs" if foreign(Kind::Network) => "/sys",
        "mqueue" if foreign(Kind::Ipc) => "/dev/mqueue",
        _ => return None,
    };
    Some(Source { path: path.to_owned(), recursive: true, nofollow: false })
}

/// Finds the mount point in the root, making it if missing.
pub fn ensure(
    story: &mut Story<'_>,
    path: &str,
    missing: Missing,
    nofollow: bool,
    origin: &crate::error::Origin,
) -> Slot {
    let into = story.slot();
    let path = in_root(story, path);
    let root = story.root;
    story.step(Operation::Ensure { root, path, missing, nofollow, into }, origin);
    into
}

/// A container path as the resolver takes it: below the root's descriptor, `.` for the root itself.
pub fn in_root(story: &mut Story<'_>, path: &str) -> crate::plan::Text {
    let path = path.trim_start_matches('/');
    story.plan.arena.text(if path.is_empty() { "." } else { path })
}

/// The detached tree of a bind: cloned by the parent where it may, by the child in its own namespace else, late where
/// the source lies in the root and so may be made by an earlier mount.
pub fn bind_tree(story: &mut Story<'_>, source: &Source, origin: &crate::error::Origin, late: bool) -> Result<Slot> {
    let into = story.slot();
    let (recursive, nofollow) = (source.recursive, source.nofollow);
    if late {
        let inside = Path::new(&source.path).strip_prefix(&story.request.intent.root.path).unwrap_or(Path::new(""));
        let path = in_root(story, &inside.to_string_lossy());
        let root = story.root;
        story.step(Operation::OpenTreeLate { root, path, recursive, nofollow, into }, origin);
    } else if story.may_mount() {
        let path = source.path.clone().into();
        story.open(Open::Tree { path, recursive, nofollow, into }, origin);
    } else {
        let path = story.plan.arena.text(&source.path);
        story.step(Operation::OpenTree { path, recursive, nofollow, into }, origin);
    }
    Ok(into)
}

/// The tree of a bind that kiste makes of its own accord: cut off from the host, of whose mount the parent's clone would be
/// a peer.
pub fn own_bind_tree(story: &mut Story<'_>, source: &Source, origin: &crate::error::Origin) -> Result<Slot> {
    let tree = bind_tree(story, source, origin, false)?;
    if story.may_mount() {
        let attributes = attributes(story, MountAttr { propagation: MS_PRIVATE, ..MountAttr::default() });
        story.step(Operation::SetAttributes { tree, attributes, recursive: source.recursive }, origin);
    }
    Ok(tree)
}

/// Whether a bind's source lies in the root, where an earlier mount may have made it.
pub fn is_late(story: &Story<'_>, source: &Source) -> bool {
    let root = &story.request.intent.root;
    root.kind == RootKind::Directory && Path::new(&source.path).starts_with(&root.path)
}

/// The tree of a bind, with its attributes and propagation.
pub fn bound(story: &mut Story<'_>, mount: &Mount, source: &Source) -> Result<Slot> {
    let late = is_late(story, source);
    let tree = match story.early.get(&story.mount) {
        Some(tree) => *tree,
        None => bind_tree(story, source, &mount.origin, late)?,
    };
    if let Some(scope) = mount.options.idmap {
        if late {
            let error = Error::refused("a mount whose source lies in the container's root can't be idmapped");
            return Err(error.at(&mount.origin));
        }
        idmap(story, mount, tree, scope)?;
    }
    let first = mount.options.propagation.first().copied();
    let initial = if late || !story.may_mount() { None } else { clone_propagation(story) };
    // The first explicit change may make the initial one unnecessary, but a slave that is then shared is both: keep it.
    let covers = |first: Propagation, initial| first.recursive && (first.kind == MS_PRIVATE || first.kind == initial);
    if let Some(propagation) = initial
        && first.is_none_or(|first| !covers(first, propagation))
    {
        set(story, mount, tree, MountAttr { propagation, ..MountAttr::default() }, true);
    }
    let options = &mount.options;
    recursive_attributes(story, mount, tree, 0);
    let top = MountAttr { attr_set: options.set, attr_clr: clears(options.set, options.clear), ..MountAttr::default() };
    if top.attr_set | top.attr_clr != 0 {
        set(story, mount, tree, top, false);
    }
    if options.bind.is_none() && mount.fstype.as_deref() == Some("sysfs") {
        // It stands in for a sysfs of the container's own, and has the host's control groups below it: with a user's own
        // among them, which the container could write to (CVE-2023-25809).
        set(story, mount, tree, MountAttr { attr_set: MOUNT_ATTR_RDONLY, ..MountAttr::default() }, true);
    }
    propagate(story, mount, tree);
    Ok(tree)
}

/// Whether the kernel would refuse to attach the source's tree: it holds a pinned mount namespace (`ELOOP`).
pub fn holds_pin(story: &Story<'_>, source: &Source) -> bool {
    source.recursive && story.request.pinned.iter().any(|pin| pin.starts_with(&source.path))
}

/// The same bind by mount(2), made in place: attributes and propagation come after it, before any payload.
fn bound_by_mount(story: &mut Story<'_>, mount: &Mount, source: &Source) -> Result<()> {
    if mount.options.idmap.is_some() {
        return Err(Error::refused("a tree that holds a pinned mount namespace can't be idmapped").at(&mount.origin));
    }
    let target = ensure(story, &mount.destination, Missing::Directory, false, &mount.origin);
    let path = story.plan.arena.text(&source.path);
    story.step(Operation::BindByMount { source: path, target }, &mount.origin);
    let options = &mount.options;
    let change =
        |attr_set: u64, clear: u64| MountAttr { attr_set, attr_clr: clears(attr_set, clear), ..MountAttr::default() };
    let mut changes = vec![
        (change(options.recursive_set, options.recursive_clear), true),
        (change(options.set, options.clear), false),
    ];
    changes.extend(options.propagation.iter().map(|propagation| {
        (MountAttr { propagation: propagation.kind, ..MountAttr::default() }, propagation.recursive)
    }));
    for (wanted, recursive) in changes.into_iter().filter(|change| change.0 != MountAttr::default()) {
        let attributes = attributes(story, wanted);
        let (root, path) = (story.root, in_root(story, &mount.destination));
        story.step(Operation::Remount { root, path, attributes, recursive }, &mount.origin);
    }
    Ok(())
}

/// The atime bits are one field: setting one value clears the field first (mount_setattr(2)).
fn clears(set: u64, clear: u64) -> u64 {
    const ATIME: u64 = MOUNT_ATTR_ATIME;
    let atime = if (set | clear) & ATIME != 0 { ATIME } else { 0 };
    (clear & !(ATIME | set)) | atime | (clear & MOUNT_ATTR_NODIRATIME & !set)
}

fn set(story: &mut Story<'_>, mount: &Mount, tree: Slot, wanted: MountAttr, recursive: bool) {
    let attributes = attributes(story, wanted);
    story.step(Operation::SetAttributes { tree, attributes, recursive }, &mount.origin);
}

fn recursive_attributes(story: &mut Story<'_>, mount: &Mount, tree: Slot, without: u64) {
    let (attr_set, clear) = (mount.options.recursive_set & !without, mount.options.recursive_clear);
    if attr_set | clear != 0 {
        let wanted = MountAttr { attr_set, attr_clr: clears(attr_set, clear), ..MountAttr::default() };
        set(story, mount, tree, wanted, true);
    }
}

fn propagate(story: &mut Story<'_>, mount: &Mount, tree: Slot) {
    for change in &mount.options.propagation {
        let wanted = MountAttr { propagation: change.kind, ..MountAttr::default() };
        set(story, mount, tree, wanted, change.recursive);
    }
}

/// The parent gives the mapping to its own descriptor of the tree that the child holds too: nothing is passed.
fn idmap(story: &mut Story<'_>, mount: &Mount, tree: Slot, scope: IdmapScope) -> Result<()> {
    if !story.may_mount() {
        return Err(Error::refused("an idmapped mount needs a runtime that is root").at(&mount.origin));
    }
    let triples = |maps: &[IdMap]| maps.iter().map(|map| (map.container, map.host, map.size)).collect();
    let step = ParentStep::Idmap {
        tree,
        recursive: scope == IdmapScope::Recursive,
        users: triples(&mount.id_maps.users),
        groups: triples(&mount.id_maps.groups),
    };
    story.at_barrier(Barrier::Identity, step, &mount.origin);
    Ok(())
}

/// A new file system by fsopen, fsconfig and fsmount in the child: it belongs to the child's namespaces.
fn filesystem(story: &mut Story<'_>, mount: &Mount) -> Result<Slot> {
    let fstype = mount.fstype.as_deref().unwrap_or("none");
    let parameters = parameters(story, mount, fstype)?;
    let is_tmpfs = fstype == "tmpfs";
    let fstype = story.plan.arena.text(fstype);
    let into = story.slot();
    // A tmpfs starts empty: mount points, devices, links and the copy of what it hides are still to come into it.
    let late = if is_tmpfs { (mount.options.set | mount.options.recursive_set) & MOUNT_ATTR_RDONLY } else { 0 };
    // fsmount(2) starts from nothing: there is nothing to clear.
    let attributes = (mount.options.set & !late) as u32;
    story.step(Operation::Filesystem { fstype, parameters, attributes, into }, &mount.origin);
    recursive_attributes(story, mount, into, late);
    propagate(story, mount, into);
    if late != 0 {
        story.filled.push((into, mount.origin.clone()));
    }
    Ok(into)
}

/// The longest value that fsconfig(2) takes, in bytes.
const LONGEST_VALUE: usize = 255;

/// One option as fsconfig(2) takes it. A long list of an overlay's layers goes one by one, which overlayfs has a word for.
fn push(story: &mut Story<'_>, mount: &Mount, key: &str, value: Option<&str>) -> Result<()> {
    let arena = &mut story.plan.arena;
    let values: Vec<&str> = match value {
        Some(layers) if key == "lowerdir" && layers.len() > LONGEST_VALUE => layers.split(':').collect(),
        other => other.into_iter().collect(),
    };
    let key = arena.text(if values.len() > 1 { "lowerdir+" } else { key });
    if value.is_none() {
        arena.parameters.push(Parameter::Flag(key));
    }
    for value in values {
        if value.len() > LONGEST_VALUE {
            let what = format!("an option's value may have {LONGEST_VALUE} bytes, this has {}", value.len());
            return Err(Error::input(what).at(&mount.origin.child("options")));
        }
        let value = arena.text(value);
        arena.parameters.push(Parameter::Value(key, value));
    }
    Ok(())
}

/// Child: what was writable for the set-up only, as Podman's /dev of a read-only container, becomes read-only.
pub fn filled(story: &mut Story<'_>) -> Result<()> {
    for (tree, origin) in std::mem::take(&mut story.filled) {
        let attributes = attributes(story, MountAttr { attr_set: MOUNT_ATTR_RDONLY, ..MountAttr::default() });
        story.step(Operation::SetAttributes { tree, attributes, recursive: false }, &origin);
    }
    Ok(())
}

/// Options for the superblock. Kernel file systems have one superblock for many mounts: `ro` is the mount's word there.
fn parameters(story: &mut Story<'_>, mount: &Mount, fstype: &str) -> Result<Range> {
    const VIRTUAL: &[&str] = &["proc", "sysfs", "cgroup", "cgroup2", "mqueue", "devpts", "tmpfs", "bpf", "debugfs"];
    let start = story.plan.arena.parameters.len();
    if let Some(source) = &mount.source {
        push(story, mount, "source", Some(source))?;
    }
    let group = mount.options.data.iter().find(|(key, _)| key == "gid").and_then(|(_, gid)| gid.as_ref()?.parse().ok());
    let no_tty_group = fstype == "devpts" && group.is_some_and(|gid| !namespaces::has_group(story, gid));
    for (key, value) in &mount.options.data {
        if VIRTUAL.contains(&fstype) && matches!(key.as_str(), "ro" | "rw") && value.is_none() {
            continue;
        }
        if no_tty_group && key == "gid" {
            continue;
        }
        let value = if no_tty_group && key == "mode" { value.as_deref().map(for_owner_alone) } else { value.clone() };
        push(story, mount, key, value.as_deref())?;
    }
    let has = |word: &str| mount.options.data.iter().any(|(key, _)| key == word);
    if mount.options.set & MOUNT_ATTR_RDONLY != 0 && !VIRTUAL.contains(&fstype) && !has("ro") {
        push(story, mount, "ro", None)?;
    }
    if let Some(label) = story.request.intent.mount_label.as_ref().filter(|label| !label.value.is_empty()) {
        // These have labels of their own, and the kernel refuses another.
        let option = story.request.intent.extensions.mount_context.unwrap_or("context");
        if !matches!(fstype, "proc" | "sysfs" | "cgroup" | "cgroup2" | "mqueue") && !has(option) {
            push(story, mount, option, Some(&label.value))?;
        }
    }
    Ok(Range { start: start as _, count: (story.plan.arena.parameters.len() - start) as _ })
}

/// The mode of terminals of a group (5, tty) that the container's user namespace has not, so that nobody is in it: the kernel
/// refuses to make them of it, and of any other group they would be open to its members.
fn for_owner_alone(mode: &str) -> String {
    u32::from_str_radix(mode, 8).map_or_else(|_| mode.to_owned(), |mode| format!("{:04o}", mode & !0o070))
}

/// `remount`: the attributes of what is mounted there.
pub fn remount(story: &mut Story<'_>, mount: &Mount) -> Result<()> {
    let options = &mount.options;
    let (root, path) = (story.root, in_root(story, &mount.destination));
    let wanted =
        MountAttr { attr_set: options.set, attr_clr: clears(options.set, options.clear), ..MountAttr::default() };
    let attributes = attributes(story, wanted);
    story.step(Operation::Remount { root, path, attributes, recursive: false }, &mount.origin);
    Ok(())
}
