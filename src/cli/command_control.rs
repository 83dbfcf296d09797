//! `kill`, `delete`, `pause` and `resume`: what is done to a container from outside.

use super::arguments::{DeleteArguments, Global, KillArguments};
use super::{Id, containers, prepare};
use crate::error::{Error, Kind, Result};
use crate::launch::container::after_stop;
use crate::log;
use crate::state::{Container, ProcessIdentity, Record, StateRoot, Status};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;

/// How long a killed process may take to end: as long as runc waits.
const PATIENCE_MS: u16 = 10_000;

/// Sends a signal.
///
/// # Errors
/// There is no such container, or it has stopped (no error with `--all`), or the kernel refuses.
pub fn kill(global: &Global, arguments: &KillArguments) -> anyhow::Result<u8> {
    containers::for_each(global, &arguments.target, |root, id| {
        let container = root.container(id)?;
        kill_one(&container, arguments.signal, arguments.all)
    })?;
    Ok(0)
}

fn kill_one(container: &Container, signal: i32, all: bool) -> Result<()> {
    let record = container.record()?;
    let group = containers::group(&record)?;
    if all {
        group.kill(signal)?;
        // The first process stands for all where there is no cgroup.
        if let Some(init) = record.live_init()?.filter(|_| record.cgroup.is_null()) {
            init.signal(signal)?;
        }
        return Ok(());
    }
    let sent = match record.live_init()? {
        Some(init) => init.signal(signal)?,
        None => false,
    };
    if !sent {
        return Err(containers::not_running(container.id()));
    }
    // On cgroup v1 a frozen process dies only once it is thawed; on v2 thawing hurts nobody.
    if signal == libc::SIGKILL && group.frozen().unwrap_or(false) {
        group.thaw()?;
    }
    Ok(())
}

/// Deletes containers.
///
/// # Errors
/// There is no such container (no error with `--force`), or it has not stopped, or something of it cannot be removed.
pub fn delete(global: &Global, arguments: &DeleteArguments) -> anyhow::Result<u8> {
    containers::for_each(global, &arguments.target, |root, id| match delete_one(root, id, arguments.force) {
        Err(error) if error.kind == Kind::NotFound && arguments.force => Ok(()),
        other => other,
    })?;
    Ok(0)
}

fn delete_one(root: &StateRoot, id: &str, force: bool) -> Result<()> {
    let container = root.container(id)?;
    let record = match container.record_if_any() {
        Err(error) if force => {
            log::warning(&format!("{error}; its cgroup, if there is one, is left alone"));
            None
        }
        other => other?,
    };
    if let Some(record) = &record {
        end(&container, record, force)?;
    } else if !force {
        // Says why there is none.
        container.record()?;
    }
    let guard = container.lock()?;
    let Some(record) = &record else { return container.remove() };
    let group = containers::group(record)?;
    // Processes that share the caller's pid namespace outlive the first one.
    group.kill(libc::SIGKILL)?;
    group.remove()?;
    if let Some(resctrl) = containers::resctrl(record)? {
        resctrl.remove()?;
    }
    let intent = container.load_config().and_then(|config| prepare::stored_intent(&config, &record.bundle));
    container.remove()?;
    drop(guard);
    match intent {
        Ok(intent) => after_stop(&intent, record, &record.bundle),
        // The container is gone all the same, and what cannot be read names no hooks.
        Err(error) => log::debug(&format!("no poststop hooks of container \"{id}\" are run: {error}")),
    }
    Ok(())
}

/// Sees to it that the container has stopped: one that waits for `start` may be deleted, a running one only by force.
fn end(container: &Container, record: &Record, force: bool) -> Result<()> {
    let id = container.id();
    match containers::status(container, record)? {
        Status::Stopped => Ok(()),
        Status::Creating => Err(Error::refused(format!("container \"{id}\" is being created"))),
        status if !force && status != Status::Created => {
            Err(Error::refused(format!("cannot delete container \"{id}\" that is not stopped: {status}"))
                .hint("--force kills it first"))
        }
        _ => match record.live_init()? {
            Some(init) => kill_and_wait(id, record, init),
            None => Ok(()),
        },
    }
}

fn kill_and_wait(id: &str, record: &Record, init: ProcessIdentity) -> Result<()> {
    let Some(pidfd) = init.open_pidfd()? else { return Ok(()) };
    init.signal(libc::SIGKILL)?;
    // All the others, and a thaw if they are frozen.
    containers::group(record)?.kill(libc::SIGKILL)?;
    let mut waited = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut waited, PollTimeout::from(PATIENCE_MS)) {
            Err(nix::errno::Errno::EINTR) => {}
            Ok(0) => {
                return Err(Error::refused(format!("container \"{id}\" does not end"))
                    .hint("its first process was killed ten seconds ago and hangs in the kernel"));
            }
            Ok(_) => return Ok(()),
            Err(errno) => return Err(Error::refused("cannot wait for the container").call("poll", errno as i32)),
        }
    }
}

/// Freezes a container.
///
/// # Errors
/// It does not run, or its cgroup cannot be frozen.
pub fn pause(global: &Global, id: &Id) -> anyhow::Result<u8> {
    let (container, record) = containers::find(global, id)?;
    let _guard = container.lock()?;
    match containers::status(&container, &record)? {
        Status::Running | Status::Created => containers::group(&record)?.freeze()?,
        Status::Paused => return Err(Error::refused(format!("container \"{id}\" is paused already")).into()),
        Status::Stopped | Status::Creating => return Err(containers::not_running(id.as_str()).into()),
    }
    Ok(0)
}

/// Thaws a container.
///
/// # Errors
/// It is not paused.
pub fn resume(global: &Global, id: &Id) -> anyhow::Result<u8> {
    let (container, record) = containers::find(global, id)?;
    let _guard = container.lock()?;
    let group = containers::group(&record)?;
    // Asked of the group, not of the status: a container can be paused before it was started, too.
    if record.live_init()?.is_none() {
        return Err(containers::not_running(id.as_str()).into());
    }
    if !group.frozen()? {
        return Err(Error::refused(format!("container not paused: \"{id}\"")).into());
    }
    group.thaw()?;
    Ok(0)
}
