//! A container made from a checkpoint: what `make` does with a child, done with CRIU. The same plan says what is opened,
//! which attributes and maps the trees get, and which control group is made; what CRIU brings back is not done again.

use std::cell::RefCell;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use super::container::{
    Made, Making, after_stop, first_record, group_value, resource_control, state_json, write_pid_file,
};
use super::hooks::run_hooks;
use super::meeting::{calls, idmap_tree, user_namespace};
use super::opening::{Slots, open_all, open_in_groups};
use super::start::Launched;
use crate::cgroup::systemd::{self, Scope, ScopeRequest};
use crate::cgroup::{self, Created, Group};
use crate::checkpoint::{self, Bound, Event, Groups, Restore, Tree, Wishes};
use crate::error::{Error, Origin, Result};
use crate::kernel::abi::{AT_EMPTY_PATH, AT_RECURSIVE, MountAttr};
use crate::kernel::owned::{Forked, pidfd};
use crate::kernel::raw;
use crate::plan::{Open, Plan};
use crate::resctrl;
use crate::state::{Phase, ProcessIdentity, Record, Reserved};

/// Where and how it is restored, beside what `make` is told.
pub struct Restoring<'a> {
    /// `--image-path`.
    pub images: &'a Path,
    /// `--work-path`.
    pub work: Option<&'a Path>,
    /// `--lsm-profile`.
    pub lsm_profile: Option<&'a str>,
    /// `--lsm-mount-context`.
    pub lsm_mount_context: Option<&'a str>,
    /// The rest.
    pub wishes: &'a Wishes,
}

/// Restores a container.
///
/// # Errors
/// Whatever failed; poststop hooks have run if others had, and nothing is left.
pub fn restore(mut reserved: Reserved, making: &Making<'_>, restoring: &Restoring<'_>) -> Result<Made> {
    let plan = making.plan;
    let mut record = first_record(&reserved, making)?;
    let mut slots = Slots::new(plan);
    open_all(plan, &mut slots)?;
    reserved.store_config(making.config)?;
    reserved.write_record(&record)?;
    let mut created = plan.cgroup.as_ref().map(|plan| cgroup::create(plan, reserved.path())).transpose()?;
    if let Some(created) = &created {
        record.cgroup = group_value(Some(&created.group))?;
    }
    let mut resctrl = resource_control(plan)?;
    // CRIU joins them, and what it restores is born in them.
    let joins = created.as_mut().map(|created| std::mem::take(&mut created.join)).into_iter().flatten();
    let joins: Vec<OwnedFd> =
        joins.chain(resctrl.iter_mut().flat_map(|made| std::mem::take(&mut made.tasks))).collect();
    let mut warnings = created.as_mut().map(|created| std::mem::take(&mut created.warnings)).unwrap_or_default();
    let scope = RefCell::new(None);
    let restored = open_in_groups(plan, &mut slots)
        .and_then(|()| run(&mut reserved, (making, restoring), slots, (created.as_ref(), &joins), &scope, &mut record));
    let mut group = created.map_or_else(Group::none, |created| created.group);
    if let Some(scope) = scope.into_inner() {
        warnings.extend(scope.warnings);
        group = scope.group;
    }
    match restored {
        Ok(launched) => {
            let resctrl = resctrl.map(resctrl::Made::keep);
            Ok(Made { container: reserved.keep(), record, launched, group, resctrl, warnings })
        }
        Err(error) => {
            // The first error is the one to tell; `delete --force` finds what is left by the record.
            let _ = group.kill(libc::SIGKILL).and_then(|()| group.remove());
            after_stop(making.intent, &record, making.bundle);
            Err(error)
        }
    }
}

fn run(
    reserved: &mut Reserved,
    (making, restoring): (&Making<'_>, &Restoring<'_>),
    mut slots: Slots,
    (created, joins): (Option<&Created>, &[OwnedFd]),
    scope: &RefCell<Option<Scope>>,
    record: &mut Record,
) -> Result<Launched> {
    let plan = making.plan;
    let root = plan.root_tree().ok_or_else(no_root)?;
    let trees = trees(plan, &mut slots)?;
    set_attributes(slots.get(root).ok_or_else(no_root)?, &plan.attributes_of(root))?;
    let joined = joined(making, &slots)?;
    let namespace = user_namespace(plan)?;
    // Not the container's own directory, through which no user of the container gets.
    let place = reserved.path().parent().unwrap_or(reserved.path()).to_owned();
    let owner = reserved.path().to_owned();
    let wanted = Restore {
        images: restoring.images,
        work: restoring.work,
        place: &place,
        root: slots.get(root).ok_or_else(no_root)?,
        trees: &trees,
        joined: &joined,
        user_namespace: namespace.as_ref(),
        cgroup: created.and_then(|created| created.v2_directory.as_ref()).map(AsFd::as_fd),
        joins: joins.iter().map(AsFd::as_fd).collect(),
        lsm_profile: restoring.lsm_profile,
        lsm_mount_context: restoring.lsm_mount_context,
        wishes: restoring.wishes,
    };
    let mut terminal = None;
    let console = console(plan, &slots);
    let mut first = None;
    let result = checkpoint::restore(&wanted, |event| match event {
        Event::Born(pid, known) => {
            let scope = plan.scope().map(|request| begin_scope(request, (pid, &owner), scope, record)).transpose()?;
            *known = groups(scope.as_ref().or(created.map(|created| &created.group)));
            Ok(())
        }
        Event::Namespaces(pid) => hooks(making, record, pid),
        Event::Terminal(master) => hand_over(master, console, &mut terminal),
        Event::Ready(pid, bound) => {
            first = Some(pid);
            finish(reserved, making, record, pid, &bound)
        }
    });
    let pid = match (result, first) {
        (Ok(pid), _) => pid,
        (Err(error), first) => {
            // It is a child of this process, even if CRIU has given up.
            if let Some(pid) = first {
                let _ = raw::kill(pid, libc::SIGKILL);
                let _ = raw::wait4(pid, libc::__WALL);
            }
            return Err(error);
        }
    };
    let pidfd = pidfd(pid)
        .map_err(|errno| Error::refused("the restored container has ended already").call("pidfd_open", errno))?;
    Ok(Launched::restored(Forked { pid, pidfd }, terminal))
}

fn no_root() -> Error {
    Error::refused("a container without a root of its own can't be restored")
}

/// The sources of the container's mounts, as the child would attach them.
fn trees(plan: &Plan, slots: &mut Slots) -> Result<Vec<Tree>> {
    let mut trees = Vec::new();
    for bind in plan.binds() {
        let Some(tree) = slots.take(bind.tree) else { continue };
        if let Some(step) = bind.idmap {
            idmap_tree(plan, slots, &tree, step)?;
        }
        set_attributes(&tree, &bind.attributes)?;
        trees.push(Tree { path: bind.path, tree });
    }
    Ok(trees)
}

fn set_attributes(tree: &OwnedFd, attributes: &[(MountAttr, bool)]) -> Result<()> {
    for (attributes, recursive) in attributes {
        let flags = AT_EMPTY_PATH | if *recursive { AT_RECURSIVE } else { 0 };
        raw::mount_setattr(tree.as_raw_fd(), c"", flags as u32, attributes)
            .map_err(|errno| Error::refused("cannot set a mount's attributes").call("mount_setattr", errno))?;
    }
    Ok(())
}

/// The namespaces to join, by their names in /proc.
fn joined<'a>(making: &Making<'_>, slots: &'a Slots) -> Result<Vec<(&'static str, &'a OwnedFd)>> {
    let slot = |wanted: u64| {
        making.plan.opens.iter().find_map(|(open, _)| match open {
            Open::Namespace { flag, into, .. } if *flag == wanted => slots.get(*into),
            _ => None,
        })
    };
    let joined = making.intent.namespaces.iter().filter(|namespace| namespace.path.is_some());
    joined
        .map(|namespace| match (namespace.kind.proc_name(), slot(namespace.kind.flag())) {
            (name @ ("net" | "pid" | "ipc" | "uts"), Some(descriptor)) => Ok((name, descriptor)),
            (name, _) => {
                let error = Error::refused(format!("CRIU can't restore into an existing {name} namespace"));
                Err(error.at(&namespace.origin))
            }
        })
        .collect()
}

/// The group that takes the place of the dumped one's: v2 alone is "all", v1 hierarchies have their own.
fn groups(group: Option<&Group>) -> Groups {
    let mut found = Groups::new();
    for directory in group.iter().flat_map(|group| &group.directories) {
        let path = format!("/{}", directory.group.trim_start_matches('/'));
        if directory.legacy.is_empty() {
            found.push((None, path));
        } else {
            found.extend(directory.legacy.iter().map(|name| (Some(name.clone()), path.clone())));
        }
    }
    found
}

fn begin_scope(
    request: &ScopeRequest,
    (pid, owner): (i32, &std::path::Path),
    scope: &RefCell<Option<Scope>>,
    record: &mut Record,
) -> Result<Group> {
    let started = systemd::start_scope(request, pid, owner)?;
    record.cgroup = group_value(Some(&started.group))?;
    let group = started.group.clone();
    scope.replace(Some(started));
    Ok(group)
}

/// E: the hooks of a container whose namespaces are there.
fn hooks(making: &Making<'_>, record: &Record, pid: i32) -> Result<()> {
    let hooks = &making.intent.hooks;
    let state = state_json(record, &making.intent.version, "creating", pid).to_string();
    run_hooks(&calls(&hooks.prestart, &making.intent.extensions), state.as_bytes(), making.bundle)?;
    run_hooks(&calls(&hooks.create_runtime, &making.intent.extensions), state.as_bytes(), making.bundle)
}

/// The console socket that the plan has opened.
fn console<'a>(plan: &Plan, slots: &'a Slots) -> Option<&'a OwnedFd> {
    plan.opens.iter().find_map(|(open, _)| match open {
        Open::Connect { into, .. } => slots.get(*into),
        _ => None,
    })
}

fn hand_over(master: OwnedFd, console: Option<&OwnedFd>, terminal: &mut Option<OwnedFd>) -> Result<()> {
    let Some(socket) = console else {
        *terminal = Some(master);
        return Ok(());
    };
    raw::send_descriptor(socket.as_raw_fd(), b"/dev/ptmx", master.as_raw_fd()).map(drop).map_err(|errno| {
        let error = Error::refused("cannot send the terminal's master").call("sendmsg", errno);
        error.at(&Origin::fixed("--console-socket"))
    })
}

/// F: the record, the pid file; the processes do not run yet.
fn finish(reserved: &mut Reserved, making: &Making<'_>, record: &mut Record, pid: i32, bound: &[Bound]) -> Result<()> {
    record.init = Some(ProcessIdentity::read(pid)?);
    record.phase = Phase::Created;
    record.extra["binds"] = serde_json::to_value(bound)
        .map_err(|error| Error::refused(format!("the binds cannot be recorded: {error}")))?;
    reserved.write_record(record)?;
    match making.pid_file {
        Some(path) => write_pid_file(path, pid),
        None => Ok(()),
    }
}
