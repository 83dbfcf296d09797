//! Namespaces: which clone3 makes, which are joined and by whom, the id maps, the control group.

use super::story::{CgroupDriver, OWN, Story};
use crate::cgroup::systemd::plan_scope;
use crate::cgroup::{self, Mode, Options};
use crate::error::{Error, Result};
use crate::intent::automatic::AUTOMATIC;
use crate::intent::{IdMap, Mount, Namespace, NamespaceKind as Kind};
use crate::kernel::abi::MOUNT_ATTR_RDONLY;
use crate::plan::{Barrier, Open, Operation, OwnImage, ParentStep};

/// Parent: opens the namespace files to join.
pub fn open(story: &mut Story<'_>) -> Result<()> {
    let (mut user, mut pid) = (None, None);
    for namespace in joined(story) {
        let (Some(path), into) = (namespace.path.clone(), story.slot()) else { continue };
        let flag = namespace.kind.flag();
        let foreign = changes(story, namespace.kind).then(|| namespace.kind.proc_name());
        story.open(Open::Namespace { path, flag, foreign, into }, &namespace.origin);
        match namespace.kind {
            Kind::User => user = Some((into, flag)),
            Kind::Pid => pid = Some((into, flag)),
            _ => {}
        }
    }
    let (privileged, comes_back) = (story.privileged(), story.may_come_back());
    let plan = &mut story.plan;
    match (user, pid) {
        // setns moves only the *children* of the caller into a pid namespace: the parent joins around clone3.
        (None, Some(pid)) if comes_back => plan.born_in.push(pid),
        // New namespaces shall belong to the joined user namespace: a first stage joins it and makes the child. It stays in
        // the runtime's pid namespace itself, so that the child's number that it tells is the runtime's. Root has the right
        // over the pid namespace before it leaves its own user namespace, others have it after.
        (Some(user), Some(pid)) if privileged => plan.first_stage.extend([pid, user]),
        (user, pid) => plan.first_stage.extend(user.into_iter().chain(pid)),
    }
    Ok(())
}

/// Whether the container changes what a namespace of this kind holds: mounts, names, kernel parameters. If it is joined and
/// the host's own, that is refused (INV-04, INV-17).
fn changes(story: &Story<'_>, kind: Kind) -> bool {
    let intent = story.request.intent;
    let has = |prefixes: &[&str]| {
        intent.sysctls.iter().any(|(name, _)| prefixes.iter().any(|prefix| name.value.starts_with(prefix)))
    };
    match kind {
        Kind::Mount => true,
        Kind::Uts => intent.hostname.is_some() || intent.domainname.is_some() || has(&["kernel.domainname"]),
        Kind::Ipc => has(&["kernel.msg", "kernel.sem", "kernel.shm", "fs.mqueue."]),
        Kind::Network => has(&["net."]) || !intent.net_devices.is_empty(),
        _ => false,
    }
}

fn joined(story: &Story<'_>) -> Vec<Namespace> {
    story.request.intent.namespaces.iter().filter(|namespace| namespace.path.is_some()).cloned().collect()
}

/// Parent: the control group.
pub fn control_group(story: &mut Story<'_>) -> Result<()> {
    let request = &story.request;
    if request.cgroups == CgroupDriver::Disabled {
        return Ok(());
    }
    let wanted = request.intent.cgroup_path.as_ref();
    let origin = wanted.map_or(crate::error::Origin::fixed("/linux/cgroupsPath"), |path| path.origin.clone());
    let rootless = !story.privileged() || request.facts.in_user_namespace;
    let delegate_to = if rootless { None } else { group_owner(story) };
    let options = Options { rootless, delegate_to, ..Options::default() };
    if request.cgroups == CgroupDriver::Systemd {
        let (resources, layout) = (&request.intent.resources, request.layout);
        let wanted = wanted.map(|path| path.value.as_str());
        let scope = plan_scope(resources, layout, wanted, request.id, &request.intent.annotations, &options)?;
        story.plan.warnings.extend(scope.warnings.iter().cloned());
        story.at_barrier(Barrier::Identity, ParentStep::SystemdScope(Box::new(scope)), &origin);
        return Ok(());
    }
    let path = cgroup::Path::new(wanted.map_or("", |path| &path.value), request.id, &origin)?;
    let plan = cgroup::plan(&request.intent.resources, request.layout, &path, &options)?;
    story.plan.warnings.extend(plan.warnings.iter().cloned());
    story.plan.cgroup = Some(plan);
    Ok(())
}

/// Parent: the resource control group (Intel RDT).
pub fn resource_control(story: &mut Story<'_>) -> Result<()> {
    let Some(wanted) = &story.request.intent.intel_rdt else { return Ok(()) };
    let root = story.request.facts.resource_control.as_ref().and_then(|found| found.root.clone());
    let Some(root) = root else {
        let error = Error::refused("no resource control file system is mounted").at(&wanted.origin);
        return Err(error.hint("mount -t resctrl resctrl /sys/fs/resctrl, where kernel and processor have it"));
    };
    let id = story.request.id.to_owned();
    if wanted.class.is_none() && crate::resctrl::RESERVED.contains(&id.as_str()) {
        let error = Error::refused(format!("no class of service can be named like the container: {id:?}"));
        return Err(error.at(&wanted.origin.child("closID")));
    }
    let (class, schemata, monitoring) = (wanted.class.clone(), wanted.schemata.clone(), wanted.monitoring);
    let place = story.place(&wanted.origin);
    story.plan.resctrl = Some((crate::resctrl::Request { root, id, class, schemata, monitoring }, place));
    Ok(())
}

/// Child: waits for the device program, which takes the kernel so long that the parent attaches it after clone3. Whoever
/// waits for the parent elsewhere hears of it after that.
pub fn devices(story: &mut Story<'_>) -> Result<()> {
    let restricted = story.plan.cgroup.as_ref().and_then(|plan| plan.device_program().cloned());
    if let Some(devices) = restricted.filter(|_| story.plan.barriers.is_empty() && !story.request.gated) {
        story.step(Operation::WaitForDevices, &devices.origin);
    }
    Ok(())
}

/// The host's ids of the payload's user, if the container shall manage its own cgroup: it has a cgroup namespace and a
/// writable cgroup v2 mount (runtime-spec config-linux.md, "Cgroup ownership").
fn group_owner(story: &Story<'_>) -> Option<(u32, u32)> {
    let intent = story.request.intent;
    let writable = |mount: &Mount| {
        mount.destination.trim_end_matches('/') == "/sys/fs/cgroup"
            && matches!(mount.fstype.as_deref(), Some("cgroup" | "cgroup2"))
            && mount.options.set & MOUNT_ATTR_RDONLY == 0
    };
    let owns =
        story.request.layout.mode == Mode::V2 && intent.makes(Kind::Cgroup) && intent.mounts.iter().any(writable);
    let user = &intent.process.as_ref().filter(|_| owns)?.user;
    if !story.in_new_user_namespace() {
        return Some((user.uid, user.gid));
    }
    Some((on_host(user.uid, &intent.id_maps.users)?, on_host(user.gid, &intent.id_maps.groups)?))
}

fn on_host(id: u32, maps: &[IdMap]) -> Option<u32> {
    maps.iter().find_map(|map| id.checked_sub(map.container).filter(|&at| at < map.size).map(|at| map.host + at))
}

/// A sandbox stays in the caller's control group, so that its namespace can be made with the others.
fn no_cgroup(story: &Story<'_>) -> bool {
    story.request.intent.sandbox.is_some() && story.request.cgroups == CgroupDriver::Disabled
}

/// Parent: what clone3 makes. A cgroup namespace is unshared later, by the child in its own cgroup; a time namespace
/// with its offsets by the child too.
pub fn clone_flags(story: &mut Story<'_>) -> Result<()> {
    let intent = story.request.intent;
    let made = |kind: Kind| if intent.makes(kind) { kind.flag() } else { 0 };
    let kinds = [Kind::User, Kind::Mount, Kind::Pid, Kind::Network, Kind::Ipc, Kind::Uts];
    let mut flags = kinds.into_iter().map(made).sum::<u64>();
    if no_cgroup(story) {
        flags |= made(Kind::Cgroup);
    }
    story.plan.clone_flags = flags;
    if flags != 0 && !story.privileged() && intent.namespace(Kind::User).is_none() {
        return Err(Error::refused("new namespaces need a user namespace when the runtime is not root")
            .at(&crate::error::Origin::fixed("/linux/namespaces"))
            .hint("add {\"type\": \"user\"} with uidMappings and gidMappings, as `kiste spec --rootless` writes"));
    }
    Ok(())
}

/// Keeps this program's own executable away from the container (INV-06). Nothing is done where it can't be written to
/// from there anyway: where its owner and group mean nothing in the container's user namespace.
pub fn own_image(story: &mut Story<'_>) -> Result<()> {
    let reopened = may_reopen(story);
    keep_image(story, reopened);
    Ok(())
}

/// The same for a process that joins the namespaces of others.
pub fn own_image_of_exec(story: &mut Story<'_>) -> Result<()> {
    keep_image(story, false);
    Ok(())
}

fn keep_image(story: &mut Story<'_>, reopened: bool) {
    let (intent, file) = (story.request.intent, story.request.facts.executable);
    let mapped = |maps: &[IdMap], id: u32| {
        maps.iter().any(|map| id >= map.host && u64::from(id - map.host) < u64::from(map.size))
    };
    let closed = intent.makes(Kind::User)
        && file.mode & 0o002 == 0
        && !mapped(&intent.id_maps.users, file.uid)
        && (file.mode & 0o020 == 0 || !mapped(&intent.id_maps.groups, file.gid));
    story.plan.own_image = match (file.frozen || closed, story.privileged()) {
        (true, _) => OwnImage::Unreachable,
        (false, _) if reopened => OwnImage::Reopened,
        (false, true) => OwnImage::ByParent,
        (false, false) => OwnImage::ByChild,
    };
}

/// Whether the child may map the executable anew by its path: it has a mount namespace of its own, where that leads to
/// another mount; nobody else in its pid namespace sees where its link leads until then; it goes on to execve(2) while
/// the runtime lives, neither waiting for `start` nor staying as a reaper; and it may read what the runtime may.
fn may_reopen(story: &Story<'_>) -> bool {
    let request = &story.request;
    let capable_of_the_same = !request.intent.makes(Kind::User) || request.facts.capabilities == 0;
    let stays = request.gated || request.intent.sandbox.as_ref().is_some_and(|sandbox| sandbox.reaper);
    request.intent.makes(Kind::Mount) && request.intent.makes(Kind::Pid) && !stays && capable_of_the_same
}

/// Child: lets go of the executable, if the parent could not.
pub fn release_image(story: &mut Story<'_>) -> Result<()> {
    if matches!(story.plan.own_image, OwnImage::ByChild | OwnImage::Reopened) {
        story.own(Operation::ReleaseImage);
    }
    Ok(())
}

/// The slot of a namespace that is joined.
fn slot_of(story: &Story<'_>, kind: Kind) -> Option<crate::plan::Slot> {
    story.plan.opens.iter().find_map(|(open, _)| match open {
        Open::Namespace { flag, into, .. } if *flag == kind.flag() => Some(*into),
        _ => None,
    })
}

fn triples(maps: &[IdMap]) -> Vec<(u32, u32, u32)> {
    maps.iter().map(|map| (map.container, map.host, map.size)).collect()
}

/// Parent: maps of a new user namespace, written while the child waits.
pub fn id_maps(story: &mut Story<'_>) -> Result<()> {
    if !story.request.intent.makes(Kind::User) {
        return Ok(());
    }
    let maps = &story.request.intent.id_maps;
    for (map, key, what) in [(&maps.users, "uidMappings", "user"), (&maps.groups, "gidMappings", "group")] {
        if !map.iter().any(|map| map.container == 0 && map.size > 0) {
            let error =
                Error::input(format!("{what} 0 is not mapped: the container is set up as root of its user namespace"));
            return Err(error.at(&crate::error::Origin::fixed("/linux").child(key)));
        }
    }
    let (users, groups) = (triples(&maps.users), triples(&maps.groups));
    let deny_setgroups = denies_setgroups(story);
    let helpers = !may_map(story) && !deny_setgroups;
    let step = ParentStep::WriteIdMaps { users, groups, helpers, deny_setgroups };
    let written = crate::error::Origin::fixed("/linux/uidMappings");
    let namespace = story.request.intent.namespace(Kind::User).map(|namespace| &namespace.origin);
    story.at_barrier(Barrier::Identity, step, namespace.filter(|origin| **origin == AUTOMATIC).unwrap_or(&written));
    Ok(())
}

/// Parent: network devices into the container's namespace, while the child waits: its sysctls may name them.
pub fn network_devices(story: &mut Story<'_>) -> Result<()> {
    const NET_ADMIN: u64 = 1 << 12;
    let namespace = slot_of(story, Kind::Network);
    for device in &story.request.intent.net_devices {
        if story.request.facts.capabilities & NET_ADMIN == 0 {
            let what = format!("moving network device {} needs CAP_NET_ADMIN", device.device);
            return Err(Error::refused(what).at(&device.origin));
        }
        let (name, device_name) = (device.name.clone(), device.device.clone());
        let step = ParentStep::MoveDevice { device: device_name, name, namespace };
        story.at_barrier(Barrier::Identity, step, &device.origin);
    }
    Ok(())
}

/// The parent may write any map: CAP_SETUID and CAP_SETGID over its own user namespace.
fn may_map(story: &Story<'_>) -> bool {
    const SETGID_SETUID: u64 = 1 << 6 | 1 << 7;
    story.request.facts.capabilities & SETGID_SETUID == SETGID_SETUID
}

/// Without privilege and helpers there is one map, of the caller's own ids, and the kernel wants setgroups denied first
/// (user_namespaces(7)).
fn denies_setgroups(story: &Story<'_>) -> bool {
    let (facts, maps) = (story.request.facts, &story.request.intent.id_maps);
    let own = |maps: &[IdMap], id: u32| matches!(maps, [map] if map.size == 1 && map.host == id);
    !may_map(story) && own(&maps.users, facts.uid) && own(&maps.groups, facts.gid)
}

/// Whether setgroups(2) works in the payload's user namespace. Where it is denied, which holds for all namespaces below, too,
/// the groups of the runtime stay: nobody there can get rid of them, so that they can't open what is closed to members (the
/// reason for the denial), and those without a mapping are seen as nobody's.
pub fn may_set_groups(story: &Story<'_>) -> bool {
    if story.request.facts.setgroups_denied || story.request.intent.extensions.keep_groups.is_some() {
        return false;
    }
    if story.request.intent.makes(Kind::User) {
        return !denies_setgroups(story);
    }
    if story.in_new_user_namespace() {
        return story.privileged();
    }
    may_map(story)
}

/// Whether a group exists in the container's user namespace. What a joined one has is not known before.
pub fn has_group(story: &Story<'_>, gid: u32) -> bool {
    let (intent, facts) = (story.request.intent, story.request.facts);
    let within = |first: u32, count: u32| gid.checked_sub(first).is_some_and(|at| at < count);
    if story.in_new_user_namespace() {
        let maps = &intent.id_maps.groups;
        return !intent.makes(Kind::User) || maps.iter().any(|map| within(map.container, map.size));
    }
    facts.gid_map.iter().any(|range| within(range.inside, range.count))
}

/// Child: waits for its maps, becomes root of its user namespace, then non-dumpable (CVE-2016-9962).
pub fn become_root(story: &mut Story<'_>) -> Result<()> {
    // The mounts to come have the runtime map ids on their trees: at this barrier, too.
    let maps = |mount: &crate::intent::Mount| mount.options.idmap.is_some() && !mount.options.remount;
    if story.request.intent.mounts.iter().any(maps) {
        story.barrier(Barrier::Identity);
    }
    story.wait(Barrier::Identity);
    if story.in_new_user_namespace() {
        time_namespace(story);
        let groups = may_set_groups(story);
        story.own(Operation::BecomeRoot { groups });
    }
    story.own(Operation::NonDumpable);
    Ok(())
}

/// Child: joins what is joined by path, makes what clone3 could not.
pub fn join(story: &mut Story<'_>) -> Result<()> {
    let intent = story.request.intent;
    for namespace in joined(story) {
        if matches!(namespace.kind, Kind::User | Kind::Pid) {
            continue;
        }
        if let Some(into) = slot_of(story, namespace.kind) {
            let flags = namespace.kind.flag();
            story.step(Operation::Join { namespace: into, flags }, &namespace.origin);
        }
    }
    if intent.makes(Kind::Cgroup) && !no_cgroup(story) {
        story.own(Operation::Unshare(Kind::Cgroup.flag()));
    }
    if !story.in_new_user_namespace() {
        time_namespace(story);
    }
    Ok(())
}

/// A new time namespace. In a new user namespace it comes first of all: once the child became root there, or is not
/// dumpable, its /proc files are the host root's and the offsets can't be written.
fn time_namespace(story: &mut Story<'_>) {
    let intent = story.request.intent;
    if intent.makes(Kind::Time) {
        let text: String = intent
            .time_offsets
            .iter()
            .map(|offset| format!("{} {} {}\n", offset.clock, offset.seconds, offset.nanoseconds))
            .collect();
        let offsets = story.plan.arena.bytes(text.as_bytes());
        let origin = intent.time_offsets.first().map_or(OWN, |offset| offset.origin.clone());
        story.step(Operation::TimeNamespace(offsets), &origin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_in_the_maps() {
        let maps = [IdMap { container: 0, host: 1000, size: 1 }, IdMap { container: 1, host: 100_000, size: 10 }];
        assert_eq!([0, 1, 10, 11].map(|id| on_host(id, &maps)), [Some(1000), Some(100_000), Some(100_009), None]);
    }
}
