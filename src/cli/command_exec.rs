//! `exec`: a further process in a running container.

use std::os::fd::{AsFd, OwnedFd};

use super::arguments::{CalledAs, ExecArguments, Global};
use super::prepare::{self, Prepared};
use super::{command_explain, containers};
use crate::cgroup::Created;
use crate::error::{Error, Kind, Origin, Result};
use crate::intent::{Capabilities, Hooks, NamespaceKind, Placed, Process, from_oci};
use crate::launch::console::Console;
use crate::launch::container::{hand_over, state_json, write_pid_file};
use crate::launch::opening::{Slots, open_all};
use crate::launch::signals::Blocked;
use crate::launch::start::{self, Event};
use crate::launch::wait::Foreground;
use crate::lowering::{JoinRequest, lower_exec};
use crate::plan::{Open, Plan};
use crate::state::{Record, Status};

/// Runs the process; its status, or 0 once it is started if detached. With `--explain` it prints the plan instead: all is
/// looked up and lowered in the same way, and then nothing is launched.
///
/// # Errors
/// The container does not run, the process is wrong or can't be executed.
pub fn run(global: &Global, arguments: &ExecArguments) -> anyhow::Result<u8> {
    if arguments.explain.is_none() {
        prepare::protect()?;
    }
    let (container, record) = containers::find(global, &arguments.id)?;
    let id = arguments.id.as_str();
    match containers::status(&container, &record)? {
        Status::Running | Status::Created => {}
        Status::Paused if arguments.ignore_paused => {}
        Status::Paused => {
            return Err(Error::refused(format!("cannot exec in a paused container: \"{id}\""))
                .hint("resume it, or use --ignore-paused")
                .into());
        }
        _ => {
            let what = format!("cannot exec in a stopped container: container not running: \"{id}\"");
            return Err(Error::new(Kind::NotRunning, what).into());
        }
    }
    let init = record.live_init()?.ok_or_else(|| containers::not_running(id))?;
    let pidfd = init.open_pidfd()?.ok_or_else(|| containers::not_running(id))?;
    let mut prepared = prepare::again(&container.load_config()?, &record.bundle)?;
    let process = process(global, arguments, &prepared)?;
    let terminal = process.terminal;
    prepared.intent.process = Some(process);
    prepared.intent.hooks = Hooks::default();
    prepared.need_labels()?;
    let group = containers::group(&record)?;
    let mut created = group.open_for_exec(&sub_groups(arguments)?)?;
    for warning in std::mem::take(&mut created.warnings) {
        crate::log::warning(&warning);
    }
    let tasks = containers::resctrl(&record)?.map_or(Ok(Vec::new()), |group| group.tasks())?;
    let plan = plan(global, arguments, &prepared, terminal, (&created, tasks.len()))?;
    if let Some(format) = arguments.explain {
        command_explain::print(&plan, format)?;
        return Ok(0);
    }
    launch(arguments, (&prepared, &record), &plan, pidfd, (created, tasks))
}

fn plan(
    global: &Global,
    arguments: &ExecArguments,
    prepared: &Prepared,
    terminal: bool,
    (group, resctrl_groups): (&Created, usize),
) -> Result<Plan> {
    let (preserved, extra_env) = prepare::preserved(arguments.preserve_fds, false)?;
    let mut request = prepared.request(global, arguments.id.as_str());
    request.console = prepare::console(arguments.console_socket.as_deref(), terminal, !arguments.detach);
    (request.preserved, request.extra_env) = (preserved, extra_env);
    let (legacy_groups, unified_group) = (group.join.len(), group.v2_directory.is_some());
    lower_exec(JoinRequest { request, legacy_groups, unified_group, resctrl_groups })
}

fn launch(
    arguments: &ExecArguments,
    (prepared, record): (&Prepared, &Record),
    plan: &Plan,
    pidfd: OwnedFd,
    (mut created, tasks): (Created, Vec<OwnedFd>),
) -> anyhow::Result<u8> {
    let mut slots = Slots::new(plan);
    open_all(plan, &mut slots)?;
    let mut joins = std::mem::take(&mut created.join).into_iter();
    let mut tasks = tasks.into_iter();
    let mut init = Some(pidfd);
    for (open, _) in &plan.opens {
        let Open::Given { name, into } = open else { continue };
        let descriptor = match *name {
            "tasks" => joins.next(),
            "resctrl" => tasks.next(),
            _ => init.take(),
        };
        if let Some(descriptor) = descriptor {
            slots.put(*into, descriptor);
        }
    }
    let blocked = Blocked::all()?;
    // The child is among the container's processes from its birth: they must not trace or open it (CVE-2016-9962).
    start::become_opaque()?;
    let directory = created.v2_directory.as_ref().map(AsFd::as_fd);
    let launched = start::start(plan, &slots, directory, |event, child| match event {
        Event::Listener(listener) => {
            let state = state_json(record, &prepared.intent.version, "running", child.pid);
            hand_over(&prepared.intent, &listener, &state, child.pid)
        }
        Event::Mount(_) => Err(Error::refused("the container's process spoke out of turn")),
        Event::Born => Ok(()),
        Event::Barrier(_) => Err(Error::refused("exec has no barriers")),
    })?;
    drop(slots);
    if let Some(path) = &arguments.pid_file {
        write_pid_file(path, launched.init.pid)?;
    }
    if let Some(path) = &arguments.pidfd_socket {
        crate::launch::container::send_pidfd(path, &launched.init.pidfd)?;
    }
    if arguments.detach {
        return Ok(0);
    }
    let console = launched.terminal.map(Console::new).transpose()?;
    let foreground = Foreground { init: &launched.init, console, notify: None, same_session: false };
    Ok(foreground.wait(&blocked)? as u8)
}

/// `--cgroup [controllers:]path`.
fn sub_groups(arguments: &ExecArguments) -> Result<Vec<(Option<String>, String)>> {
    let one = |(controllers, path): &(Option<String>, std::path::PathBuf)| {
        let path = path.to_str().ok_or_else(|| Error::input("the path is not UTF-8").at(&Origin::fixed("--cgroup")))?;
        Ok((controllers.clone(), path.to_owned()))
    };
    arguments.cgroups.iter().map(one).collect()
}

/// The process: a file's, or the container's own with what the options change.
fn process(global: &Global, arguments: &ExecArguments, prepared: &Prepared) -> Result<Process> {
    if let Some(path) = &arguments.process {
        let (mut process, warnings) = from_oci::read_process(&prepare::read_config(path)?, global.unknown)?;
        warnings.iter().for_each(|warning| crate::log::warning(warning));
        check_ids(&process, prepared)?;
        process.terminal |= arguments.terminal;
        return Ok(process);
    }
    let Some(own) = &prepared.intent.process else { return Err(Error::input("the container has no process")) };
    let mut process = own.clone();
    let text = |word: &std::ffi::OsString, origin: &'static str| {
        let word = word.to_str().map(str::to_owned);
        word.ok_or_else(|| Error::input("this is not UTF-8").at(&Origin::fixed(origin)))
    };
    process.origin = Origin::fixed("exec");
    process.args = arguments.command.iter().map(|word| text(word, "exec")).collect::<Result<_>>()?;
    for entry in &arguments.environment {
        process.env.push(text(entry, "--env")?);
    }
    if let Some(cwd) = &arguments.cwd {
        process.cwd = cwd.to_str().map(str::to_owned).ok_or_else(|| Error::input("--cwd is not UTF-8"))?;
    }
    process.terminal = arguments.terminal;
    process.console_size = None;
    if let Some((uid, gid)) = arguments.user {
        process.user.uid = uid;
        process.user.gid = gid.unwrap_or(process.user.gid);
    }
    process.user.additional_gids.extend(&arguments.additional_gids);
    process.no_new_privileges |= arguments.no_new_privileges;
    let placed = |value: &String, origin| Placed { value: value.clone(), origin: Origin::fixed(origin) };
    if let Some(label) = &arguments.selinux_label {
        process.selinux_label = Some(placed(label, "--process-label"));
    }
    if let Some(profile) = &arguments.apparmor_profile {
        process.apparmor_profile = Some(placed(profile, "--apparmor"));
    }
    capabilities(global, arguments, own, &mut process);
    from_oci::check_process(&process)?;
    check_ids(&process, prepared)?;
    Ok(process)
}

/// `--cap` adds to bounding, permitted and effective (and, for a user that is not root, ambient and so inheritable), as in
/// runc; called as crun it replaces them. A user that is not root has none unless they are ambient (INV-07).
fn capabilities(global: &Global, arguments: &ExecArguments, own: &Process, process: &mut Process) {
    let added = arguments.capabilities.iter().fold(0, |mask, capability| mask | capability.bitmask());
    let base =
        if global.called_as == CalledAs::Crun && added != 0 { Capabilities::default() } else { own.capabilities };
    let mut sets = Capabilities {
        bounding: base.bounding | added,
        effective: base.effective | added,
        permitted: base.permitted | added,
        ..base
    };
    if process.user.uid != 0 && arguments.user.is_some() {
        let ambient = base.ambient | added;
        sets = Capabilities { effective: ambient, permitted: ambient, inheritable: ambient, ambient, ..sets };
    }
    process.capabilities = sets;
}

/// The ids must be mapped in the container's user namespace, else the payload would run as nobody.
fn check_ids(process: &Process, prepared: &Prepared) -> Result<()> {
    if !prepared.intent.makes(NamespaceKind::User) {
        return Ok(());
    }
    let maps = &prepared.intent.id_maps;
    let mapped = |maps: &[crate::intent::IdMap], id: u32| {
        maps.iter().any(|map| id >= map.container && id - map.container < map.size)
    };
    let user = &process.user;
    let groups = user.additional_gids.iter().chain([&user.gid]);
    if !mapped(&maps.users, user.uid) {
        return Err(Error::input(format!("user {} is not mapped in the container", user.uid)).at(&process.origin));
    }
    for group in groups {
        if !mapped(&maps.groups, *group) {
            return Err(Error::input(format!("group {group} is not mapped in the container")).at(&process.origin));
        }
    }
    Ok(())
}
