//! Carrying out a change of a running container's mounts: a short child that has no payload.

use std::cell::RefCell;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use super::meeting::Meeting;
use super::opening::{Slots, open_all};
use super::start::{self, Event};
use super::wait::exit_status;
use crate::error::{Error, Result};
use crate::intent::Intent;
use crate::kernel::owned::open;
use crate::kernel::raw;
use crate::plan::{Open, Plan};

/// What came of it.
#[derive(Debug)]
pub struct Change {
    /// The mounts that were attached or detached, in order, by their ids; also those before a failure.
    pub mounts: Vec<u64>,
    /// How it ended.
    pub result: Result<()>,
}

/// Carries out a plan of `lowering::live_mounts` for the container whose first process the pidfd is of.
pub fn carry_out(plan: &Plan, intent: &Intent, bundle: &Path, init: OwnedFd) -> Change {
    let mounts = RefCell::new(Vec::new());
    let result = run(plan, intent, bundle, init, &mounts);
    Change { mounts: mounts.into_inner(), result }
}

fn run(plan: &Plan, intent: &Intent, bundle: &Path, init: OwnedFd, mounts: &RefCell<Vec<u64>>) -> Result<()> {
    let mut slots = Slots::new(plan);
    open_all(plan, &mut slots)?;
    let mut init = Some(init);
    for (open, _) in &plan.opens {
        let Open::Given { name, into } = open else { continue };
        let given = if *name == "the host's procfs" { Some(host_proc()?) } else { init.take() };
        if let Some(given) = given {
            slots.put(*into, given);
        }
    }
    let no_state = |_: i32, _: &str| Vec::new();
    let moved = RefCell::default();
    let meeting = Meeting {
        plan,
        slots: &slots,
        intent,
        helpers: None,
        bundle,
        state_json: &no_state,
        moved: &moved,
        scope: &|_, _| Err(Error::refused("a change of mounts asks for no scope")),
    };
    let launched = start::start(plan, &slots, None, |event, child| match event {
        Event::Born => Ok(()),
        Event::Barrier(barrier) => meeting.at(barrier, child),
        Event::Mount(id) => {
            mounts.borrow_mut().push(id);
            Ok(())
        }
        Event::Listener(_) => Err(Error::refused("the container's process spoke out of turn")),
    })?;
    let (_, status) = raw::wait4(launched.init.pid, libc::__WALL)
        .map_err(|errno| Error::refused("cannot wait for the process that changes mounts").call("wait4", errno))?;
    match exit_status(status) {
        0 => Ok(()),
        status => Err(Error::refused(format!("the process that changes mounts ended with status {status}"))),
    }
}

/// The runtime's own procfs: mounts are named by descriptors below it.
fn host_proc() -> Result<OwnedFd> {
    let failed = |call: &'static str| move |errno| Error::refused("cannot open /proc").call(call, errno);
    let proc = open(libc::AT_FDCWD, c"/proc", libc::O_PATH | libc::O_DIRECTORY, 0).map_err(failed("open"))?;
    match raw::file_system_magic(proc.as_raw_fd()).map_err(failed("fstatfs"))? {
        libc::PROC_SUPER_MAGIC => Ok(proc),
        _ => Err(Error::refused("/proc is no procfs")),
    }
}
