//! `create`, `run` and `start`: a container is made from a bundle (or the embedded default) and its process started.

use std::path::Path;

use super::arguments::{Global, RunArguments};
use super::prepare::{self, Prepared};
use super::{Id, containers};
use crate::error::{Error, Kind, Result};
use crate::intent::NamespaceKind;
use crate::launch::console::Console;
use crate::launch::container::{Made, Making, after_start, after_stop, make};
use crate::launch::notify_socket::{Proxy, make_directory};
use crate::launch::signals::Blocked;
use crate::launch::timings::{Timings, Work, begin};
use crate::launch::wait::{Foreground, become_subreaper};
use crate::lowering::lower;
use crate::plan::Plan;
use crate::plan::report::Record as Report;
use crate::state::{Container, Outcome, Record, Status, open_gate};

/// Makes a container whose process waits for `start`.
///
/// # Errors
/// Whatever is wrong with the input or refused by the kernel; nothing is left.
pub fn create(global: &Global, arguments: &RunArguments) -> anyhow::Result<u8> {
    prepare::protect()?;
    let prepared = prepare::prepare(global, arguments, None)?;
    if prepared.intent.process.is_none() {
        return Err(Error::input("the configuration has no process")
            .at(&crate::error::Origin::fixed("/process"))
            .into());
    }
    let (made, _) = build(global, arguments, &prepared, Stay::Gone, None)?;
    warn(&made);
    Ok(0)
}

/// Makes a container and starts its process; stays until that ends, unless detached.
///
/// # Errors
/// As [`create`], and a payload that can't be executed.
pub fn run(global: &Global, arguments: &RunArguments) -> anyhow::Result<u8> {
    prepare::protect()?;
    let mut timings = arguments.timings.as_deref().map(Timings::to).transpose()?;
    let result = run_through(global, arguments, timings.as_mut());
    match timings.map_or(Ok(()), Timings::write) {
        Err(error) if result.is_ok() => Err(error.into()),
        // How far a failed run came is written all the same; its own error is the one to tell.
        _ => result,
    }
}

fn run_through(global: &Global, arguments: &RunArguments, timings: Option<&mut Timings>) -> anyhow::Result<u8> {
    let prepared = prepare::prepare(global, arguments, None)?;
    let stay = if arguments.detach { Stay::Detached } else { Stay::Foreground };
    let blocked = Blocked::all()?;
    if stay == Stay::Foreground && !prepared.intent.makes(NamespaceKind::Pid) {
        become_subreaper()?;
    }
    let (mut made, proxy) = build(global, arguments, &prepared, stay, timings)?;
    begin(Work::Payload);
    warn(&made);
    let pid = made.launched.init.pid;
    let proxy = proxy.map(|proxy| proxy.serves(pid));
    let result = after_start(&prepared.intent, &made.record, pid).and_then(|()| match stay {
        Stay::Foreground => wait(&mut made, proxy, &blocked),
        _ => match proxy {
            Some(proxy) => proxy.forward_until_ready(std::os::fd::AsFd::as_fd(&made.launched.init.pidfd)).map(|()| 0),
            None => Ok(0),
        },
    });
    begin(Work::End);
    if result.is_err() || (stay == Stay::Foreground && !arguments.keep) {
        end(&prepared, made)?;
    }
    Ok(result? as u8)
}

/// How long the runtime stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stay {
    /// `create`.
    Gone,
    /// `run --detach`.
    Detached,
    /// `run`.
    Foreground,
}

fn build(
    global: &Global,
    arguments: &RunArguments,
    prepared: &Prepared,
    stay: Stay,
    timings: Option<&mut Timings>,
) -> Result<(Made, Option<Proxy>)> {
    begin(Work::Reserve);
    let root = containers::root(global)?;
    let id = arguments.id.as_str();
    let reserved = root.reserve(id)?;
    let host = std::env::var_os("NOTIFY_SOCKET");
    let directory = host.as_ref().map(|_| make_directory(&reserved)).transpose()?;
    // Before the payload can say anything; for `create`, `start` does it.
    let proxy = match &host {
        Some(host) if stay != Stay::Gone => Proxy::bind(&reserved, host)?,
        _ => None,
    };
    begin(Work::Lower);
    let plan = plan(global, arguments, prepared, stay, directory)?;
    if let Some(timings) = timings {
        timings.explain(&plan);
    }
    let receiver = prepared.intent.extensions.pidfd_receiver.as_ref().map(|path| Path::new(&path.value));
    let making = Making {
        plan: &plan,
        intent: &prepared.intent,
        config: &prepared.config,
        bundle: &prepared.bundle,
        owner: prepared.facts.uid,
        gated: stay == Stay::Gone,
        helpers: prepare::helpers(&prepared.facts),
        pid_file: arguments.pid_file.as_deref(),
        pidfd_socket: arguments.pidfd_socket.as_deref().or(receiver),
    };
    plan.warnings.iter().for_each(|warning| crate::log::warning(warning));
    plan.remarks.iter().for_each(|remark| crate::log::debug(remark));
    Ok((make(reserved, &making)?, proxy))
}

fn plan(
    global: &Global,
    arguments: &RunArguments,
    prepared: &Prepared,
    stay: Stay,
    notify: Option<std::path::PathBuf>,
) -> Result<Plan> {
    let pid_one = prepared.intent.makes(NamespaceKind::Pid);
    let (preserved, mut extra_env) = prepare::preserved(arguments.preserve_fds, pid_one)?;
    if notify.is_some() {
        extra_env.push(format!("NOTIFY_SOCKET={}", crate::launch::notify_socket::ADDRESS));
    }
    let terminal = prepared.intent.process.as_ref().is_some_and(|process| process.terminal);
    let mut request = prepared.request(global, arguments.id.as_str());
    request.console = prepare::console(arguments.console_socket.as_deref(), terminal, stay == Stay::Foreground);
    request.gated = stay == Stay::Gone;
    request.no_pivot = arguments.no_pivot;
    request.no_new_keyring = arguments.no_new_keyring;
    request.preserved = preserved;
    request.extra_env = extra_env;
    request.notify_directory = notify;
    lower(request)
}

/// The plan that `run` would carry out, for `explain`.
///
/// # Errors
/// As `run`, as far as it can be told without making anything.
pub(super) fn explained(global: &Global, arguments: &RunArguments, prepared: &Prepared) -> Result<Plan> {
    let stay = if arguments.detach { Stay::Detached } else { Stay::Foreground };
    plan(global, arguments, prepared, stay, None)
}

pub(super) fn warn(made: &Made) {
    for warning in &made.warnings {
        crate::log::warning(warning);
    }
}

pub(super) fn wait(made: &mut Made, notify: Option<Proxy>, blocked: &Blocked) -> Result<i32> {
    let console = made.launched.terminal.take().map(Console::new).transpose()?;
    let same_session = false;
    Foreground { init: &made.launched.init, console, notify, same_session }.wait(blocked)
}

/// What is left of a container that `run` waited for.
pub(super) fn end(prepared: &Prepared, made: Made) -> Result<()> {
    let _guard = made.container.lock()?;
    // Processes without a pid namespace of their own outlive the first; a failed start leaves the first itself.
    made.group.kill(libc::SIGKILL)?;
    // A living first process keeps the container from being removed.
    made.launched.init.end();
    made.group.remove()?;
    if let Some(resctrl) = &made.resctrl {
        resctrl.remove()?;
    }
    made.container.remove()?;
    after_stop(&prepared.intent, &made.record, &prepared.bundle);
    Ok(())
}

/// Starts a created container's process, and tells if it can't be executed.
///
/// # Errors
/// There is no such container, it does not wait, a startContainer hook failed or the payload can't be executed.
pub fn start(global: &Global, id: &Id) -> anyhow::Result<u8> {
    let (container, record) = containers::find(global, id)?;
    let guard = container.lock()?;
    let status = containers::status(&container, &record)?;
    let init = match (status, record.live_init()?) {
        (Status::Created, Some(init)) => init,
        (Status::Stopped, _) => {
            let what = format!("cannot start a container that has stopped: container not running: \"{id}\"");
            return Err(Error::new(Kind::NotRunning, what).into());
        }
        (status, _) => {
            return Err(Error::refused(format!(
                "cannot start an already running container: \"{id}\" is {status}, only a created one can be started"
            ))
            .into());
        }
    };
    let pidfd = init.open_pidfd()?.ok_or_else(|| containers::not_running(id.as_str()))?;
    let proxy = match std::env::var_os("NOTIFY_SOCKET") {
        Some(host) => Proxy::bind(&container, &host)?.map(|proxy| proxy.serves(init.pid)),
        None => None,
    };
    match open_gate(&container, std::os::fd::AsFd::as_fd(&pidfd))? {
        Outcome::Started if init.ended_before_exec()? => {
            return Err(Error::refused("the container's process was killed before it executed its program")
                .hint("its memory limit may be too small, its seccomp profile may kill execve, or somebody killed it")
                .into());
        }
        Outcome::Started => {}
        Outcome::Failed(report) => return Err(failure(global, &container, &record, &report)?.into()),
    }
    drop(guard);
    let intent = prepare::stored_intent(&container.load_config()?, &record.bundle)?;
    if let Err(error) = after_start(&intent, &record, init.pid) {
        init.signal(libc::SIGKILL)?;
        return Err(error.into());
    }
    if let Some(proxy) = proxy {
        proxy.forward_until_ready(std::os::fd::AsFd::as_fd(&pidfd))?;
    }
    Ok(0)
}

/// The init's failure record as a sentence: the plan is lowered again to name the step. What comes before the gate may
/// depend on how `create` was called; what comes after depends on the configuration alone, so steps count from the end.
fn failure(global: &Global, container: &Container, record: &Record, report: &[u8]) -> Result<Error> {
    let Some(mut report) = Report::decode(report) else {
        return Ok(Error::refused("the container's process failed and did not say how"));
    };
    let prepared = prepare::again(&container.load_config()?, &record.bundle)?;
    let mut request = prepared.request(global, container.id());
    request.gated = true;
    let socket = record.console.then_some(Path::new("/"));
    request.console = prepare::console(socket, record.console, false);
    let plan = lower(request)?;
    let steps = record.extra["steps"].as_u64().unwrap_or_default() as u32;
    report.step = (plan.child.len() as u32 + report.step).saturating_sub(steps);
    Ok(crate::plan::explain::failure(&plan, &report))
}
