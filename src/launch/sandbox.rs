//! Running a sandbox: a plan without id, record, control group.

use std::cell::RefCell;
use std::path::Path;

use super::meeting::Meeting;
use super::opening::{Slots, open_all};
use super::signals::Blocked;
use super::start::{self, Event};
use super::wait::{Foreground, become_subreaper};
use crate::error::{Error, Result};
use crate::intent::{Intent, NamespaceKind};
use crate::kernel::raw;
use crate::plan::Plan;

/// Runs a sandbox to its end; its exit status, 128+n for signal n. `consumed` are descriptors that the payload doesn't get.
///
/// # Errors
/// What the kernel refuses, as the sentence of the step.
pub fn run(plan: &Plan, intent: &Intent, consumed: &[i32]) -> Result<i32> {
    for descriptor in consumed {
        raw::fcntl(*descriptor, libc::F_SETFD, libc::FD_CLOEXEC as usize)
            .map_err(|errno| Error::refused(format!("cannot keep descriptor {descriptor}")).call("fcntl", errno))?;
    }
    let mut slots = Slots::new(plan);
    open_all(plan, &mut slots)?;
    let blocked = Blocked::all()?;
    if !intent.makes(NamespaceKind::Pid) {
        become_subreaper()?;
    }
    let meeting = Meeting {
        plan,
        slots: &slots,
        intent,
        helpers: None,
        bundle: Path::new("/"),
        state_json: &|_, _| Vec::new(),
        scope: &|_, _| Ok(()),
        moved: &RefCell::new(Vec::new()),
    };
    let launched = start::start(plan, &slots, None, |event, child| match event {
        Event::Born => Ok(()),
        Event::Barrier(barrier) => meeting.at(barrier, child),
        Event::Listener(_) | Event::Mount(_) => Err(Error::refused("the sandbox spoke out of turn")),
    })?;
    let same_session = intent.sandbox.as_ref().is_some_and(|sandbox| sandbox.keeps_session);
    Foreground { init: &launched.init, console: None, notify: None, same_session }.wait(&blocked)
}
