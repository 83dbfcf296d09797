//! Carrying a plan out. On v2 a new group costs one mkdir, one open of the directory and an open, a write and a close
//! for each key: controllers are taken to be switched on in the parents, and only a missing file makes us look.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use super::controllers::{enable, initialise_cpuset};
use super::devices::Devices;
use super::files::{self, Failure};
use super::plan::{Action, Assignment, CgroupPlan, HierarchyPlan, Write};
use super::{Group, GroupDirectory, owner};
use crate::error::{Error, Origin, Result};
use crate::kernel::{bpf, raw};

/// A group that is ready for its first process.
#[derive(Debug)]
pub struct Created {
    /// Its identity, for the record.
    pub group: Group,
    /// The v2 directory, for `CLONE_INTO_CGROUP`.
    pub v2_directory: Option<OwnedFd>,
    /// The `tasks` files of the v1 groups: the child writes `0` to each as its first act, while it has one thread.
    /// (`tasks` and not `cgroup.procs`: moving one's own single thread needs no machine-wide lock since Linux 5.5,
    /// which saves up to a millisecond for each.) As many as [`CgroupPlan::legacy_joins`] says: one that could not be
    /// had without privilege is `/dev/null`, so that the child needs not know.
    pub join: Vec<OwnedFd>,
    /// What could not be applied and may be missing; the warnings of the plan itself are in the plan.
    pub warnings: Vec<String>,
    /// What nobody asked for and a plain user's container goes without, for the debug log.
    pub notes: Vec<String>,
}

/// Makes the groups of a plan and writes their limits. On failure everything made is removed again. `owner` is the
/// container's directory of state, which no other container has.
///
/// # Errors
/// The group exists and is another container's, has processes or is frozen; the kernel refuses a directory or a value, unless the plan is
/// rootless, which turns that into one warning.
pub fn create(plan: &CgroupPlan, owner: &Path) -> Result<Created> {
    create_by(plan, owner, restrict_devices)
}

/// As [`create`], but for the device program: that takes the kernel longer than the rest, and [`restrict_devices`] can
/// attach it while the container's process makes its mounts.
///
/// # Errors
/// As [`create`].
pub fn create_unrestricted(plan: &CgroupPlan, owner: &Path) -> Result<Created> {
    create_by(plan, owner, |_, _| Ok(()))
}

fn create_by(plan: &CgroupPlan, owner: &Path, finish: impl Fn(&CgroupPlan, &Created) -> Result<()>) -> Result<Created> {
    let (mut made, mut claimed) = (Vec::new(), None);
    let result =
        try_create(plan, owner, &mut made, &mut claimed).and_then(|created| finish(plan, &created).map(|()| created));
    if result.is_err() {
        claimed.iter().for_each(|directory| owner::release(directory));
        for directory in made.iter().rev() {
            // The first error is the one to tell; what cannot be removed is in use by somebody else.
            let _ = std::fs::remove_dir(directory);
        }
    }
    result
}

fn try_create(
    plan: &CgroupPlan,
    owner: &Path,
    made: &mut Vec<std::path::PathBuf>,
    claimed: &mut Option<std::path::PathBuf>,
) -> Result<Created> {
    let mut created = Created {
        group: Group { mode: plan.mode, directories: Vec::new(), unit: None },
        v2_directory: None,
        join: Vec::new(),
        warnings: Vec::new(),
        notes: Vec::new(),
    };
    let mut lost = Lost::default();
    for hierarchy in &plan.hierarchies {
        if hierarchy.late {
            created.group.directories.push(GroupDirectory::of(hierarchy));
            continue;
        }
        let path = hierarchy.directory();
        // A v1 group without values is only joined: its directory is never opened.
        let bare = !hierarchy.is_unified() && hierarchy.writes.is_empty();
        let entered = make(hierarchy, &path, owner, made)
            .and_then(|()| take(hierarchy, &path, owner, made, claimed))
            .and_then(|()| if bare { files::open_tasks(&path) } else { files::open_directory(&path) });
        let directory = match entered {
            Ok(directory) => directory,
            Err(failure) if hierarchy.optional && failure.is_refusal() => continue,
            Err(failure) if plan.rootless && failure.is_refusal() => {
                lost.hierarchy(hierarchy, failure);
                if !hierarchy.is_unified() {
                    created.join.push(files::null().map_err(|failure| failure.error(&cgroups_path()))?);
                }
                continue;
            }
            Err(failure) => return Err(failure.error(&cgroups_path())),
        };
        if plan.rootless && hierarchy.is_unified() && !may_move_into(hierarchy) {
            // The group is ours and useless: the kernel wants a common parent that we may write to as well.
            let failure = Failure::new(format!("cannot move a process to {}", path.display()), "access", libc::EACCES);
            drop(directory);
            if made.last() == Some(&path) && made.pop().is_some() {
                let _ = std::fs::remove_dir(&path);
            }
            lost.hierarchy(hierarchy, failure);
            continue;
        }
        if bare {
            fill_cpuset(hierarchy, made.contains(&path))?;
            created.join.push(directory);
            created.group.directories.push(GroupDirectory::of(hierarchy));
            continue;
        }
        fill_cpuset(hierarchy, made.contains(&path))?;
        set_up(hierarchy, &directory, plan.rootless, &mut lost)?;
        keep(hierarchy, directory, &mut created)?;
    }
    created.notes.extend(lost.note());
    created.warnings.extend(lost.warning());
    Ok(created)
}

/// Loads the plan's device program and attaches it to the new v2 group.
///
/// # Errors
/// The kernel refuses it, unless the plan is rootless: without privilege no device node can be made anyway.
pub fn restrict_devices(plan: &CgroupPlan, created: &Created) -> Result<()> {
    match (plan.device_program(), &created.v2_directory) {
        (Some(devices), Some(directory)) => attach_program(directory, devices, plan.rootless),
        _ => Ok(()),
    }
}

fn attach_program(directory: &OwnedFd, devices: &Devices, rootless: bool) -> Result<()> {
    match attach(directory, &devices.program, &devices.origin) {
        Err(_) if rootless => Ok(()),
        result => result,
    }
}

/// Does the work of a plan in groups that may exist already, as systemd makes them, and moves a process that waits into
/// those it is not in. The first is marked with `owner`, which is cleared where a plain user may not do that.
pub(super) fn adopt(
    plan: &CgroupPlan,
    pid: i32,
    owner: &mut Option<std::path::PathBuf>,
) -> Result<(Group, Vec<String>)> {
    let mut group = Group { mode: plan.mode, directories: Vec::new(), unit: None };
    let (mut lost, mut claimed) = (Lost::default(), false);
    for hierarchy in &plan.hierarchies {
        if !hierarchy.late {
            let path = hierarchy.directory();
            let directory = match make_with_parents(hierarchy, &path, &mut Vec::new())
                .and_then(|()| files::open_directory(&path))
            {
                Ok(directory) => directory,
                Err(failure) if (plan.rootless || hierarchy.optional) && failure.is_refusal() => {
                    lost.hierarchy(hierarchy, failure);
                    continue;
                }
                Err(failure) => return Err(failure.error(&cgroups_path())),
            };
            if let Some(state) = owner.as_ref().filter(|_| !claimed) {
                match owner::claim(&path, state) {
                    Ok(()) => claimed = true,
                    Err(failure) if plan.rootless && failure.is_refusal() => *owner = None,
                    Err(failure) => return Err(failure.error(&cgroups_path())),
                }
            }
            fill_cpuset(hierarchy, false)?;
            set_up(hierarchy, &directory, plan.rootless, &mut lost)?;
            if let Some(devices) = hierarchy.device_program() {
                attach_program(&directory, devices, plan.rootless)?;
            }
            let listed = files::read(directory.as_fd(), "cgroup.procs").unwrap_or_default();
            if !listed.lines().any(|line| line.parse() == Ok(pid)) {
                move_process(&directory, pid).map_err(|errno| {
                    let what = format!("cannot move the container to cgroup {}", path.display());
                    Error::refused(what).call("write(cgroup.procs)", errno).at(&cgroups_path())
                })?;
            }
        }
        group.directories.push(GroupDirectory::of(hierarchy));
    }
    Ok((group, lost.warning().into_iter().collect()))
}

/// Records a finished group and opens the way into it.
fn keep(hierarchy: &HierarchyPlan, directory: OwnedFd, created: &mut Created) -> Result<()> {
    if hierarchy.is_unified() {
        created.v2_directory = Some(directory);
    } else {
        let tasks = files::open_write(directory.as_fd(), "tasks").map_err(|failure| failure.error(&cgroups_path()))?;
        created.join.push(tasks);
    }
    created.group.directories.push(GroupDirectory::of(hierarchy));
    Ok(())
}

fn cgroups_path() -> Origin {
    Origin::fixed("/linux/cgroupsPath")
}

/// Makes the directory and its parents.
fn make(
    hierarchy: &HierarchyPlan,
    path: &Path,
    owner: &Path,
    made: &mut Vec<std::path::PathBuf>,
) -> std::result::Result<(), Failure> {
    match files::make_directory(path) {
        Ok(()) => {
            made.push(path.to_owned());
            Ok(())
        }
        Err(failure) if failure.errno == libc::ENOENT => make_with_parents(hierarchy, path, made),
        Err(failure) if failure.errno == libc::EEXIST => must_be_unused(hierarchy, path, owner),
        Err(failure) => Err(failure),
    }
}

/// Marks the first group as the container's. One that another container has marked since it was made here is not ours to
/// remove.
fn take(
    hierarchy: &HierarchyPlan,
    path: &Path,
    owner: &Path,
    made: &mut Vec<std::path::PathBuf>,
    claimed: &mut Option<std::path::PathBuf>,
) -> std::result::Result<(), Failure> {
    if claimed.is_some() || hierarchy.optional {
        return Ok(());
    }
    let result = owner::claim(path, owner);
    match &result {
        Ok(()) => *claimed = Some(path.to_owned()),
        Err(failure) if failure.errno == libc::EBUSY => made.retain(|one| one != path),
        Err(_) => {}
    }
    result
}

/// A v1 cpuset takes no process while it is empty.
fn fill_cpuset(hierarchy: &HierarchyPlan, fresh: bool) -> Result<()> {
    if !hierarchy.legacy.iter().any(|name| name == "cpuset") {
        return Ok(());
    }
    initialise_cpuset(&hierarchy.mount_point, &hierarchy.group, fresh).map_err(|failure| failure.error(&cgroups_path()))
}

fn make_with_parents(
    hierarchy: &HierarchyPlan,
    path: &Path,
    made: &mut Vec<std::path::PathBuf>,
) -> std::result::Result<(), Failure> {
    let mut parents: Vec<&Path> = path.ancestors().take_while(|parent| *parent != hierarchy.mount_point).collect();
    parents.reverse();
    for parent in parents {
        match files::make_directory(parent) {
            Ok(()) => made.push(parent.to_owned()),
            Err(failure) if failure.errno == libc::EEXIST => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}

/// An existing group may be used if nobody lives in it and it is not frozen, where the container would never start.
fn must_be_unused(hierarchy: &HierarchyPlan, path: &Path, owner: &Path) -> std::result::Result<(), Failure> {
    let found = owner::of(path).filter(|found| found != std::os::unix::ffi::OsStrExt::as_bytes(owner.as_os_str()));
    if let Some(found) = found {
        return Err(owner::taken(path, &found));
    }
    let group = Group::single(hierarchy);
    let busy = |why: &str| Failure::new(format!("cgroup {} {why}", path.display()), "", libc::EBUSY);
    if group.pids(true).is_ok_and(|pids| !pids.is_empty()) {
        return Err(busy("is not empty: it belongs to another container"));
    }
    if group.frozen().unwrap_or(false) {
        return Err(busy("is frozen"));
    }
    Ok(())
}

/// Whether an unprivileged process may move from its own group to this one: cgroup-v2.rst, "Delegation Containment".
fn may_move_into(hierarchy: &HierarchyPlan) -> bool {
    let Ok(groups) = std::fs::read_to_string("/proc/self/cgroup") else { return true };
    let Some(own) = groups.lines().find_map(|line| line.strip_prefix("0::/")) else { return true };
    let own = own.split('/').filter(|part| !part.is_empty());
    let common = hierarchy.group.split('/').zip(own).take_while(|(a, b)| a == b).map(|(a, _)| a);
    let mut parent = hierarchy.mount_point.clone();
    parent.extend(common);
    files::may_write(&parent.join("cgroup.procs"))
}

/// What a rootless container goes without.
#[derive(Default)]
struct Lost {
    why: Option<String>,
    origins: Vec<String>,
}

impl Lost {
    fn hierarchy(&mut self, hierarchy: &HierarchyPlan, failure: Failure) {
        self.why.get_or_insert_with(|| failure.error_without_origin().to_string());
        self.origins.extend(hierarchy.writes.iter().filter(|write| !is_device(write)).map(|w| w.origin.to_string()));
    }

    fn write(&mut self, write: &Write, error: Error) {
        self.why.get_or_insert_with(|| Error { origin: None, ..error }.to_string());
        if !is_device(write) {
            self.origins.push(write.origin.to_string());
        }
    }

    /// Without limits in the input, a missing cgroup is a plain user's everyday life.
    fn note(&self) -> Option<String> {
        let why = self.why.as_ref().filter(|_| self.origins.is_empty())?;
        Some(format!("the container has no cgroup of its own: {why}"))
    }

    fn warning(mut self) -> Option<String> {
        let why = self.why?;
        self.origins.dedup();
        (!self.origins.is_empty()).then(|| format!("not applied: {}: {why}", self.origins.join(", ")))
    }
}

/// Without privilege no device node can be made, so the device controller has nothing to add.
fn is_device(write: &Write) -> bool {
    write.origin.0.ends_with("/devices")
}

/// Everything inside the directory but the device program.
fn set_up(hierarchy: &HierarchyPlan, directory: &OwnedFd, rootless: bool, lost: &mut Lost) -> Result<()> {
    if hierarchy.delegate_to.is_some() {
        // A parent with processes of its own cannot pass controllers on: then the container manages without them.
        let _ = enable(hierarchy, &[]);
    }
    let mut writer = files::Writer::new(directory.as_fd());
    for write in &hierarchy.writes {
        match perform(hierarchy, &mut writer, write) {
            Ok(()) => {}
            Err(error) if rootless && error.kind == crate::error::Kind::Refused => lost.write(write, error),
            Err(error) => return Err(error),
        }
    }
    if let Some((uid, gid)) = hierarchy.delegate_to {
        files::delegate(directory.as_fd(), uid, gid).map_err(|failure| failure.error(&cgroups_path()))?;
    }
    Ok(())
}

/// Loads a device program and attaches it: beside none, or in the place of what is attached already. The old one
/// stays active until the new one is.
fn attach(directory: &OwnedFd, program: &[u64], origin: &Origin) -> Result<()> {
    let refused = |call| {
        move |errno| {
            Error::refused("cannot restrict devices").at(origin).call(call, errno).hint(match errno {
                libc::EPERM => "a device program needs CAP_BPF or CAP_SYS_ADMIN",
                _ => "see the kernel's log",
            })
        }
    };
    let program = bpf::load_device_program(program).map_err(refused("bpf(BPF_PROG_LOAD)"))?;
    bpf::attach_device_program(directory.as_fd(), program.as_fd(), None).map_err(refused("bpf(BPF_PROG_ATTACH)"))
}

/// Puts the program of an update in the place of the attached one.
pub(super) fn replace_devices(directory: &OwnedFd, program: &[u64], origin: &Origin) -> Result<()> {
    let refused = |call| move |errno| Error::refused("cannot change device rules").at(origin).call(call, errno);
    let old = bpf::attached_device_programs(directory.as_fd()).map_err(refused("bpf(BPF_PROG_QUERY)"))?;
    // systemd's stands beside ours.
    let ours = |program: &OwnedFd| bpf::is_ours(program.as_fd()).unwrap_or(true);
    let old: Vec<OwnedFd> = old.into_iter().filter(ours).collect();
    let mut leftover = old.as_slice();
    if !program.is_empty() {
        let program = bpf::load_device_program(program).map_err(refused("bpf(BPF_PROG_LOAD)"))?;
        let replaced = leftover.split_first();
        let first = replaced.map(|(first, _)| first.as_fd());
        bpf::attach_device_program(directory.as_fd(), program.as_fd(), first)
            .map_err(refused("bpf(BPF_PROG_ATTACH)"))?;
        leftover = replaced.map_or(&[], |(_, rest)| rest);
    }
    leftover
        .iter()
        .try_for_each(|program| bpf::detach_device_program(directory.as_fd(), program.as_fd()))
        .map_err(refused("bpf(BPF_PROG_DETACH)"))
}

/// One write or choice of writes; a missing file on v2 makes its controller be switched on, once.
pub(super) fn perform(hierarchy: &HierarchyPlan, writer: &mut files::Writer<'_>, write: &Write) -> Result<()> {
    let mut result = attempt(writer, &write.action);
    let missing = result.as_ref().is_err_and(|failure| failure.errno == libc::ENOENT)
        || matches!(&write.action, Action::SetIfPresent(one) if !writer.exists(&one.file));
    if missing && hierarchy.is_unified() {
        match enable(hierarchy, &hierarchy.controllers) {
            Ok(true) => result = attempt(writer, &write.action),
            Ok(false) => {}
            Err(failure) => return Err(failure.error(&write.origin)),
        }
    }
    result.map_err(|failure| failure.error(&write.origin))
}

fn attempt(writer: &mut files::Writer<'_>, action: &Action) -> std::result::Result<(), Failure> {
    match action {
        Action::Set(one) => writer.write(one),
        Action::SetIfPresent(one) => match writer.write(one) {
            Err(failure) if failure.errno == libc::ENOENT => Ok(()),
            // v1 without swap accounting has the file and refuses the write.
            Err(failure) if failure.errno == libc::EOPNOTSUPP => Ok(()),
            other => other,
        },
        Action::FirstPresent(list) => {
            let mut last = Ok(());
            for one in list {
                last = writer.write(one);
                match &last {
                    Err(failure) if failure.errno == libc::ENOENT => {}
                    _ => break,
                }
            }
            last
        }
        Action::InEitherOrder(list) => in_either_order(writer, list),
        Action::RefuseIfAbove(file, limit) => {
            let used = writer.read_number(file)?;
            if used <= *limit { Ok(()) } else { Err(Failure::in_use(file, used, *limit)) }
        }
    }
}

/// Writes all; what is invalid next to the old values is tried again after the others.
pub(super) fn in_either_order(writer: &mut files::Writer<'_>, list: &[Assignment]) -> std::result::Result<(), Failure> {
    let mut open: Vec<&Assignment> = list.iter().collect();
    loop {
        let before = open.len();
        let mut failed = Vec::new();
        let mut last = None;
        for one in open {
            match writer.write(one) {
                Ok(()) => {}
                Err(failure) if failure.errno == libc::EINVAL => {
                    failed.push(one);
                    last = Some(failure);
                }
                Err(failure) => return Err(failure),
            }
        }
        match last {
            None => return Ok(()),
            Some(failure) if failed.len() == before => return Err(failure),
            Some(_) => open = failed,
        }
    }
}

/// Moves one process into a v1 or v2 group by its `cgroup.procs`.
pub(super) fn move_process(directory: &OwnedFd, pid: i32) -> std::result::Result<(), i32> {
    let file = files::open_write(directory.as_fd(), "cgroup.procs").map_err(|failure| failure.errno)?;
    raw::write(file.as_raw_fd(), pid.to_string().as_bytes()).map(drop)
}
