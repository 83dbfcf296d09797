//! Making a container from its plan: record, descriptors, control group, child, record again. Whatever fails, nothing is
//! left.

use std::cell::RefCell;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::agent;
pub use super::agent::send_pidfd;
use super::hooks::run_hooks;
use super::meeting::{Meeting, calls};
use super::opening::{Slots, open_all, open_in_groups};
use super::start::{self, Event, Launched};
use super::timings::{Work, begin};
use crate::cgroup::systemd::{self, Scope};
use crate::cgroup::{self, Created, Group};
use crate::error::{Error, Result};
use crate::intent::Intent;
use crate::kernel::raw;
use crate::network::Moved;
use crate::plan::{Open, Plan};
use crate::resctrl;
use crate::state::{Container, Phase, ProcessIdentity, Record, Reserved};

/// What is made.
pub struct Making<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// What it came from.
    pub intent: &'a Intent,
    /// The configuration as it will be read again.
    pub config: &'a [u8],
    /// The bundle, absolute.
    pub bundle: &'a Path,
    /// The runtime's user.
    pub owner: u32,
    /// `create`: the child waits for `start`.
    pub gated: bool,
    /// newuidmap(1) and newgidmap(1).
    pub helpers: Option<(PathBuf, PathBuf)>,
    /// `--pid-file`.
    pub pid_file: Option<&'a Path>,
    /// `--pidfd-socket`.
    pub pidfd_socket: Option<&'a Path>,
}

/// A container that exists.
#[derive(Debug)]
pub struct Made {
    /// Its directory.
    pub container: Container,
    /// Its record.
    pub record: Record,
    /// Its child.
    pub launched: Launched,
    /// Its control group.
    pub group: Group,
    /// Its resource control group.
    pub resctrl: Option<resctrl::Group>,
    /// What could not be applied and may be missing.
    pub warnings: Vec<String>,
}

/// The state as hooks and agents read it (runtime-spec runtime.md, "State").
pub fn state_json(record: &Record, version: &str, status: &str, pid: i32) -> serde_json::Value {
    let mut state = serde_json::json!({
        "ociVersion": version,
        "id": record.id,
        "status": status,
        "bundle": record.bundle,
    });
    if pid > 0 {
        state["pid"] = pid.into();
    }
    if !record.annotations.is_empty() {
        state["annotations"] = serde_json::json!(record.annotations);
    }
    state
}

/// Makes the container.
///
/// # Errors
/// Whatever failed; poststop hooks have run if others had, and nothing is left.
pub fn make(mut reserved: Reserved, making: &Making<'_>) -> Result<Made> {
    let plan = making.plan;
    let mut record = first_record(&reserved, making)?;
    let mut slots = Slots::new(plan);
    let gate = if making.gated { Some(reserved.make_gate()?) } else { None };
    begin(Work::Open);
    open_all(plan, &mut slots)?;
    begin(Work::Record);
    reserved.store_config(making.config)?;
    reserved.write_record(&record)?;
    begin(Work::Group);
    let mut resctrl = resource_control(plan)?;
    let mut created =
        plan.cgroup.as_ref().map(|plan| cgroup::create_unrestricted(plan, reserved.path())).transpose()?;
    if let Some(created) = &created {
        record.cgroup = group_value(Some(&created.group))?;
    }
    begin(Work::Prepare);
    give(plan, &mut slots, gate, created.as_mut(), resctrl.as_mut());
    for note in created.iter().flat_map(|created| &created.notes) {
        crate::log::debug(note);
    }
    let mut warnings = created.as_mut().map(|created| std::mem::take(&mut created.warnings)).unwrap_or_default();
    let around = Around::default();
    let launched = open_in_groups(plan, &mut slots)
        .and_then(|()| launch(&mut reserved, making, &slots, created.as_ref(), &around, &mut record));
    let mut group = created.map_or_else(Group::none, |created| created.group);
    if let Some(scope) = around.scope.into_inner() {
        warnings.extend(scope.warnings);
        group = scope.group;
    }
    match launched {
        Ok(launched) => {
            let resctrl = resctrl.map(resctrl::Made::keep);
            Ok(Made { container: reserved.keep(), record, launched, group, resctrl, warnings })
        }
        Err(error) => {
            // The first error is the one to tell; `delete --force` finds what is left by the record.
            let _ = group.kill(libc::SIGKILL).and_then(|()| group.remove());
            put_back(around.moved.into_inner());
            after_stop(making.intent, &record, making.bundle);
            Err(error)
        }
    }
}

/// What the parent made around the child.
#[derive(Default)]
struct Around {
    scope: RefCell<Option<Scope>>,
    moved: RefCell<Vec<Moved>>,
}

/// Network devices go back to the runtime's namespace, the last one first.
fn put_back(moved: Vec<Moved>) {
    for device in moved.into_iter().rev() {
        if let Err(error) = device.put_back() {
            crate::log::warning(&error.to_string());
        }
    }
}

/// What is recorded before anything is made.
pub(super) fn first_record(reserved: &Reserved, making: &Making<'_>) -> Result<Record> {
    let (plan, intent) = (making.plan, making.intent);
    let mut record = Record::creating(reserved.id(), making.bundle.to_owned(), intent.root.path.clone(), making.owner)?;
    record.annotations = intent.annotations.clone();
    record.console = intent.process.as_ref().is_some_and(|process| process.terminal);
    record.seccomp_notify = intent.seccomp.as_ref().is_some_and(|profile| profile.listener_path.is_some());
    record.extra = serde_json::json!({ "steps": plan.child.len() });
    if !record.console {
        record.extra["stdio"] = serde_json::json!([0, 1, 2].map(standard_file));
    }
    if let Some((request, _)) = &plan.resctrl {
        record.extra[RESCTRL] = json_of(&request.planned())?;
    }
    let planned = plan.cgroup.as_ref().map(Group::planned).or(plan.scope().map(|scope| scope.planned(reserved.path())));
    record.cgroup = group_value(planned.as_ref())?;
    Ok(record)
}

/// What a descriptor that the container inherits is, as /proc names it: a checkpoint leaves pipes and sockets out, and a
/// restore has to know where the new ones go.
fn standard_file(descriptor: i32) -> String {
    let name = std::fs::read_link(format!("/proc/self/fd/{descriptor}"));
    name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The binds by the kernel's numbers of their mounts, for a checkpoint: those stay what they are, whatever the container
/// does to its paths. The parent's descriptors are the child's mounts.
fn binds(plan: &Plan, slots: &Slots) -> serde_json::Value {
    let number = |slot| {
        let tree = slots.get(slot)?;
        raw::statx(tree.as_raw_fd(), c"", libc::AT_EMPTY_PATH).ok().map(|status| status.stx_mnt_id)
    };
    let known = |bind: crate::plan::binds::Bind<'_>| {
        number(bind.tree).map(|mount| serde_json::json!({ "path": bind.path, "mount": mount }))
    };
    plan.binds().into_iter().filter_map(known).collect()
}

/// Where [`Record::extra`] keeps the resource control group.
pub const RESCTRL: &str = "resctrl";

/// The resource control group that the plan asks for.
pub(super) fn resource_control(plan: &Plan) -> Result<Option<resctrl::Made>> {
    let Some((request, place)) = &plan.resctrl else { return Ok(None) };
    let placed = |error: Error| plan.origin(*place).map_or(error.clone(), |place| error.at(place));
    resctrl::create(request).map(Some).map_err(placed)
}

pub(super) fn group_value(group: Option<&Group>) -> Result<serde_json::Value> {
    group.map_or(Ok(serde_json::Value::Null), json_of)
}

fn json_of<T: serde::Serialize>(group: &T) -> Result<serde_json::Value> {
    serde_json::to_value(group).map_err(|error| Error::refused(format!("the group cannot be recorded: {error}")))
}

/// Fills the slots that the plan leaves to the runner.
fn give(
    plan: &Plan,
    slots: &mut Slots,
    gate: Option<crate::state::GateEnds>,
    created: Option<&mut Created>,
    resctrl: Option<&mut resctrl::Made>,
) {
    let mut tasks = resctrl.map(|made| std::mem::take(&mut made.tasks)).unwrap_or_default().into_iter();
    let mut joins = created.map(|created| std::mem::take(&mut created.join)).unwrap_or_default().into_iter();
    let (mut start, mut outcome) = gate.map_or((None, None), |gate| (Some(gate.child_start), Some(gate.child_outcome)));
    for (open, _) in &plan.opens {
        let Open::Given { name, into } = open else { continue };
        let descriptor = match *name {
            "gate" => start.take(),
            "outcome" => outcome.take(),
            "tasks" => joins.next(),
            "resctrl" => tasks.next(),
            _ => None,
        };
        if let Some(descriptor) = descriptor {
            slots.put(*into, descriptor);
        }
    }
}

fn launch(
    reserved: &mut Reserved,
    making: &Making<'_>,
    slots: &Slots,
    created: Option<&Created>,
    around: &Around,
    record: &mut Record,
) -> Result<Launched> {
    let version = &making.intent.version;
    let owner = reserved.path().to_owned();
    let told = |pid: i32, status: &str| state_json(record, version, status, pid).to_string().into_bytes();
    let meeting = Meeting {
        plan: making.plan,
        slots,
        intent: making.intent,
        helpers: making.helpers.clone(),
        bundle: making.bundle,
        state_json: &told,
        moved: &around.moved,
        scope: &|request, pid| {
            systemd::start_scope(request, pid, &owner).map(|started| drop(around.scope.replace(Some(started))))
        },
    };
    let directory = created.and_then(|created| created.v2_directory.as_ref()).map(AsFd::as_fd);
    let state = |pid: i32| state_json(record, version, "creating", pid);
    let mut launched = start::start(making.plan, slots, directory, |event, child| match event {
        Event::Mount(_) => Err(Error::refused("the container's process spoke out of turn")),
        Event::Barrier(barrier) => {
            begin(Work::at(barrier));
            let met = meeting.at(barrier, child);
            begin(Work::Child);
            met
        }
        Event::Born => match (&making.plan.cgroup, created) {
            (Some(plan), Some(created)) => {
                begin(Work::Group);
                let restricted = cgroup::restrict_devices(plan, created);
                begin(Work::Child);
                restricted
            }
            _ => Ok(()),
        },
        Event::Listener(listener) => hand_over(making.intent, &listener, &state(child.pid), child.pid),
    })?;
    begin(Work::Finish);
    if let Some(scope) = &*around.scope.borrow() {
        record.cgroup = group_value(Some(&scope.group))?;
    }
    record.extra["binds"] = binds(making.plan, slots);
    let finished = finish(reserved, making, record, &launched).and_then(|()| launched.release());
    if finished.is_err() {
        let _ = raw::pidfd_send_signal(launched.init.pidfd.as_raw_fd(), libc::SIGKILL);
        let _ = raw::wait4(launched.init.pid, libc::__WALL);
    }
    finished.map(|()| launched)
}

/// Gives the seccomp listener to the agent that the profile names.
///
/// # Errors
/// When nobody listens there.
pub fn hand_over(intent: &Intent, listener: &OwnedFd, state: &serde_json::Value, pid: i32) -> Result<()> {
    match &intent.seccomp {
        Some(profile) => agent::hand_over(profile, listener, state, pid),
        None => Err(Error::refused("the container's process sent a seccomp listener without a profile")),
    }
}

/// F: the record, the pid file.
fn finish(reserved: &mut Reserved, making: &Making<'_>, record: &mut Record, launched: &Launched) -> Result<()> {
    // A payload that has ended already has left a zombie, whose start time is still there.
    record.init = Some(launched.identity.map_or_else(|| ProcessIdentity::read(launched.init.pid), Ok)?);
    record.phase = Phase::Created;
    reserved.write_record(record)?;
    if let Some(path) = making.pidfd_socket {
        agent::send_pidfd(path, &launched.init.pidfd)?;
    }
    match making.pid_file {
        Some(path) => write_pid_file(path, launched.init.pid),
        None => Ok(()),
    }
}

/// The pid file is written beside its place and renamed: a reader sees nothing or the whole number.
///
/// # Errors
/// When the directory can't be written to.
pub fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    let failed = |call: &'static str| {
        move |error: std::io::Error| {
            Error::refused(format!("cannot write the pid file {}", path.display())).io(call, &error)
        }
    };
    let name = path.file_name().ok_or_else(|| Error::input(format!("{} is no file name", path.display())))?;
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    beside.push(format!(".{pid}"));
    let beside = path.with_file_name(beside);
    // A fresh file: where others may write to the directory, the name could be a link to a file of the caller's.
    let mut file = std::fs::File::create_new(&beside).map_err(failed("open"))?;
    std::io::Write::write_all(&mut file, pid.to_string().as_bytes()).map_err(failed("write"))?;
    drop(file);
    std::fs::rename(&beside, path).map_err(|error| {
        let _ = std::fs::remove_file(&beside);
        failed("rename")(error)
    })
}

/// poststart hooks. A failed one ends the container, as the newest runc has it.
///
/// # Errors
/// The hook that failed.
pub fn after_start(intent: &Intent, record: &Record, pid: i32) -> Result<()> {
    if intent.hooks.poststart.is_empty() {
        return Ok(());
    }
    let state = state_json(record, &intent.version, "running", pid).to_string();
    run_hooks(&calls(&intent.hooks.poststart, &intent.extensions), state.as_bytes(), &record.bundle)
}

/// poststop hooks: each runs whatever the others do, and failures are warnings (runtime-spec runtime.md, "Lifecycle").
pub fn after_stop(intent: &Intent, record: &Record, bundle: &Path) {
    let state = state_json(record, &intent.version, "stopped", 0).to_string();
    for hook in calls(&intent.hooks.poststop, &intent.extensions) {
        if let Err(error) = run_hooks(std::slice::from_ref(&hook), state.as_bytes(), bundle) {
            crate::log::warning(&error.to_string());
        }
    }
}
