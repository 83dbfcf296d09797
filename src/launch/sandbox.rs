//! Running a sandbox: a plan without id, record, control group.

use std::cell::RefCell;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::meeting::Meeting;
use super::opening::{Slots, open_all};
use super::signals::Blocked;
use super::start::{self, Event};
use super::wait::exit_status;
use crate::error::{Error, Result};
use crate::intent::{Intent, NamespaceKind as Kind};
use crate::kernel::eventfd::eventfd;
use crate::kernel::owned::{Forked, own};
use crate::kernel::{parent, raw};
use crate::plan::{Barrier, Open, Plan};

/// The caller's descriptors that are not the payload's.
#[derive(Clone, Debug, Default)]
pub struct Descriptors {
    /// All of them.
    pub consumed: Vec<i32>,
    /// Gets one JSON object about the sandbox before the payload starts.
    pub info: Option<i32>,
    /// Gets the same in a line, and one with the exit status at the end.
    pub status: Option<i32>,
}

/// What bubblewrap calls the namespaces that it tells of, in its order.
const NAMESPACES: &[(Kind, &str)] = &[
    (Kind::Cgroup, "cgroup"),
    (Kind::Ipc, "ipc"),
    (Kind::Mount, "mnt"),
    (Kind::Network, "net"),
    (Kind::Pid, "pid"),
    (Kind::Uts, "uts"),
];

/// Runs a sandbox until its command ends; its exit status, 128+n for signal n.
///
/// # Errors
/// What the kernel refuses, as the sentence of the step.
pub fn run(plan: &Plan, intent: &Intent, descriptors: &Descriptors) -> Result<i32> {
    for descriptor in &descriptors.consumed {
        raw::fcntl(*descriptor, libc::F_SETFD, libc::FD_CLOEXEC as usize)
            .map_err(|errno| Error::refused(format!("cannot keep descriptor {descriptor}")).call("fcntl", errno))?;
    }
    if intent.sandbox.as_ref().is_some_and(|sandbox| sandbox.dies_with_parent) {
        // The sandbox ends with this process, and this process with its caller.
        raw::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as usize, 0, 0, 0)
            .map_err(|errno| Error::refused("cannot end with the caller").call("prctl", errno))?;
    }
    let mut slots = Slots::new(plan);
    open_all(plan, &mut slots)?;
    let event = eventfd().map_err(failed("eventfd2"))?;
    for (open, _) in &plan.opens {
        if let Open::Given { name: crate::plan::STATUS, into } = open {
            let copy =
                event.try_clone().map_err(|error| Error::refused("cannot make a sandbox").io("fcntl", &error))?;
            slots.put(*into, copy);
        }
    }
    let blocked = Blocked::all()?;
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
        Event::Barrier(Barrier::Identity) => {
            meeting.at(Barrier::Identity, child)?;
            announce(intent, child, descriptors)
        }
        Event::Barrier(barrier) => meeting.at(barrier, child),
        Event::Listener(_) | Event::Mount(_) => Err(Error::refused("the sandbox spoke out of turn")),
    })?;
    let status = wait(&launched.init, &event, &blocked)?;
    if let Some(descriptor) = descriptors.status {
        // Nobody may be there to read it any more: the status is told by our own end, too.
        let _ = tell(descriptor, &format!("{{ \"exit-code\": {status} }}\n"));
    }
    Ok(status)
}

/// Tells of the child and its namespaces: the numbers of their files in procfs.
fn announce(intent: &Intent, child: &Forked, descriptors: &Descriptors) -> Result<()> {
    if descriptors.info.is_none() && descriptors.status.is_none() {
        return Ok(());
    }
    let mut members = vec![format!("\"child-pid\": {}", child.pid)];
    for (_, name) in NAMESPACES.iter().filter(|(kind, _)| intent.makes(*kind)) {
        let path = format!("/proc/{}/ns/{name}", child.pid);
        let found = std::fs::metadata(&path)
            .map_err(|error| Error::refused(format!("cannot look at {path}")).io("stat", &error))?;
        members.push(format!("\"{name}-namespace\": {}", found.ino()));
    }
    if let Some(descriptor) = descriptors.info {
        tell(descriptor, &format!("{{\n    {}\n}}\n", members.join(",\n    ")))
            .map_err(|error| Error::input("Write to info_fd").io("write", &error))?;
        // Its reader waits for the end of the file.
        let _ = raw::close(descriptor);
    }
    if let Some(descriptor) = descriptors.status {
        tell(descriptor, &format!("{{ {} }}\n", members.join(", ")))
            .map_err(|error| Error::input("Write to json-status-fd").io("write", &error))?;
    }
    Ok(())
}

fn tell(descriptor: i32, text: &str) -> std::io::Result<()> {
    struct Borrowed(i32);
    impl Write for Borrowed {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            raw::write(self.0, bytes).map_err(std::io::Error::from_raw_os_error)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    Borrowed(descriptor).write_all(text.as_bytes())
}

fn failed(call: &'static str) -> impl Fn(i32) -> Error {
    move |errno| Error::refused("cannot wait for the sandbox").call(call, errno)
}

/// Waits for the command's end, which the reaper tells, or that of the first process. Others of the sandbox may go on.
/// Signals have their default action here, as with bubblewrap: the sandbox gets none of them from this process.
fn wait(init: &Forked, event: &OwnedFd, blocked: &Blocked) -> Result<i32> {
    const CHILD: u64 = 1 << (libc::SIGCHLD - 1);
    let signals = parent::signal_descriptor(CHILD).map(own).map_err(failed("signalfd"))?;
    raw::set_signal_mask(blocked.before() | CHILD).map_err(failed("rt_sigprocmask"))?;
    loop {
        let entry =
            |descriptor: &OwnedFd| libc::pollfd { fd: descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        match raw::poll(&mut [entry(event), entry(&signals)], -1) {
            Ok(_) | Err(libc::EINTR) => {}
            Err(errno) => return Err(failed("poll")(errno)),
        }
        let ended = match raw::wait4(init.pid, libc::WNOHANG | libc::__WALL) {
            Ok((pid, status)) if pid == init.pid => Some(exit_status(status)),
            Ok(_) | Err(libc::EINTR) => None,
            Err(errno) => return Err(failed("wait4")(errno)),
        };
        let mut number = [0u8; 8];
        // Not blocking: nothing was told if this fails.
        if let Ok(8) = raw::read(event.as_raw_fd(), &mut number) {
            return Ok(u64::from_ne_bytes(number) as i32 - 1);
        }
        if let Some(status) = ended {
            return Ok(status);
        }
        while parent::wait_signal(CHILD, 0).is_ok() {}
    }
}
