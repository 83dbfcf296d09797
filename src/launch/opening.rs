//! The parent's first act: what the plan says to open, in order. What the input names and the host refuses fails here,
//! before anything is made.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::{Error, Result};
use crate::kernel::abi;
use crate::kernel::owned::{c_string, open, own};
use crate::kernel::raw;
use crate::plan::{Open, ParentStep, Plan, Slot};

/// Descriptors by slot.
#[derive(Debug)]
pub struct Slots {
    owned: Vec<Option<OwnedFd>>,
}

impl Slots {
    /// As many empty slots as the plan uses.
    pub fn new(plan: &Plan) -> Self {
        Slots { owned: (0..plan.slots).map(|_| None).collect() }
    }

    /// Puts a descriptor into a slot.
    pub fn put(&mut self, slot: Slot, descriptor: OwnedFd) {
        if let Some(place) = self.owned.get_mut(slot.0 as usize) {
            *place = Some(descriptor);
        }
    }

    /// The descriptor of a slot.
    pub fn get(&self, slot: Slot) -> Option<&OwnedFd> {
        self.owned.get(slot.0 as usize).and_then(Option::as_ref)
    }

    /// Takes the descriptor of a slot away.
    pub fn take(&mut self, slot: Slot) -> Option<OwnedFd> {
        self.owned.get_mut(slot.0 as usize).and_then(Option::take)
    }

    /// The numbers, as the child gets them.
    pub fn numbers(&self) -> Vec<i32> {
        self.owned.iter().map(|entry| entry.as_ref().map_or(-1, AsRawFd::as_raw_fd)).collect()
    }
}

/// Opens everything that is not given, and looks for the network devices that are to be moved.
///
/// # Errors
/// The first thing that can't be opened, with its place in the input.
pub fn open_all(plan: &Plan, slots: &mut Slots) -> Result<()> {
    for (step, origin) in plan.barriers.iter().flat_map(|(_, steps)| steps) {
        if let ParentStep::MoveDevice { device, .. } = step {
            let placed =
                |error: crate::error::Error| plan.origin(*origin).map_or(error.clone(), |place| error.at(place));
            crate::network::find(device).map_err(placed)?;
        }
    }
    open_those(plan, slots, false)
}

/// Opens what lies in the container's own groups, once they are made (a v1 hierarchy shown without a cgroup namespace).
///
/// # Errors
/// As [`open_all`].
pub fn open_in_groups(plan: &Plan, slots: &mut Slots) -> Result<()> {
    open_those(plan, slots, true)
}

fn open_those(plan: &Plan, slots: &mut Slots, in_groups: bool) -> Result<()> {
    let groups: Vec<_> = plan.cgroup.iter().flat_map(|plan| &plan.hierarchies).map(|one| one.directory()).collect();
    for (what, origin) in &plan.opens {
        let in_group = matches!(what, Open::Tree { path, .. } if groups.iter().any(|group| path.starts_with(group)));
        if in_group != in_groups {
            continue;
        }
        let opened = match what {
            Open::Given { .. } => continue,
            Open::Tree { path, recursive, nofollow, .. } => tree(path, *recursive, *nofollow),
            Open::Namespace { path, flag, foreign, .. } => namespace(path, *flag, *foreign),
            Open::Connect { path, .. } => super::console::connect_console_socket(path),
            Open::Append { path, .. } => append(path),
            Open::StateFile { .. } => memory_file(),
        };
        let opened = opened.map_err(|error| plan.origin(*origin).map_or(error.clone(), |origin| error.at(origin)))?;
        slots.put(what.into(), opened);
    }
    Ok(())
}

fn c_path(path: &Path) -> Result<std::ffi::CString> {
    c_string(path.as_os_str().as_bytes())
        .map_err(|errno| Error::input(format!("{} is no path", path.display())).call("open", errno))
}

fn tree(path: &Path, recursive: bool, nofollow: bool) -> Result<OwnedFd> {
    let mut flags = abi::OPEN_TREE_CLONE | abi::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= abi::AT_RECURSIVE as u32;
    }
    if nofollow {
        flags |= abi::AT_SYMLINK_NOFOLLOW as u32;
    }
    raw::open_tree(abi::AT_FDCWD, &c_path(path)?, flags).map(own).map_err(|errno| {
        let error = Error::refused(format!("cannot take {} as a mount's source", path.display()));
        let error = error.call("open_tree", errno);
        match errno {
            libc::ENOENT => error.hint("the source must exist on the host"),
            libc::EINVAL => error.hint("the mount there is unbindable or belongs to another namespace"),
            _ => error,
        }
    })
}

/// A namespace file, and that it is one of the wanted kind: `NS_GET_NSTYPE` (ioctl_ns(2)).
fn namespace(path: &Path, flag: u64, foreign: Option<&'static str>) -> Result<OwnedFd> {
    const NS_GET_NSTYPE: u64 = 0xb703;
    let failed = |call: &'static str| {
        let what = format!("cannot join the namespace {}", path.display());
        move |errno| Error::refused(what).call(call, errno)
    };
    let file = open(abi::AT_FDCWD, &c_path(path)?, abi::O_RDONLY, 0).map_err(failed("open"))?;
    match raw::ioctl(file.as_raw_fd(), NS_GET_NSTYPE, 0) {
        Ok(kind) if kind as u64 == flag && foreign.is_some_and(|name| is_own(&file, name)) => {
            let error = Error::input(format!("{} is the runtime's own namespace", path.display()));
            Err(error.hint("what the container changes there would be changed for the host"))
        }
        Ok(kind) if kind as u64 == flag => Ok(file),
        Ok(_) => Err(Error::input(format!("{} is a namespace of another type", path.display()))),
        Err(errno) => Err(failed("ioctl")(errno).hint("the path must be a namespace file such as /proc/PID/ns/net")),
    }
}

/// Whether a namespace file is that of this process: one inode a namespace (namespaces(7)). Also if that can't be told.
fn is_own(file: &OwnedFd, name: &str) -> bool {
    let identity = |status: libc::statx| (status.stx_dev_major, status.stx_dev_minor, status.stx_ino);
    let this = raw::statx(file.as_raw_fd(), c"", abi::AT_EMPTY_PATH).map(identity);
    let own =
        c_string(format!("/proc/self/ns/{name}")).and_then(|path| raw::statx(abi::AT_FDCWD, &path, 0)).map(identity);
    this.is_err() || own.is_err() || this == own
}

/// A file that is written to at its end, made if it is missing. A FIFO that nobody reads is an error and no waiting.
///
/// # Errors
/// When it can't be opened.
pub(super) fn append(path: &Path) -> Result<OwnedFd> {
    let failed = |call: &'static str| {
        let what = format!("cannot append to {}", path.display());
        move |errno| Error::refused(what).call(call, errno)
    };
    let flags = abi::O_WRONLY | libc::O_APPEND | libc::O_CREAT | libc::O_NOCTTY | libc::O_NONBLOCK;
    let file = open(abi::AT_FDCWD, &c_path(path)?, flags, 0o600).map_err(failed("open"))?;
    raw::fcntl(file.as_raw_fd(), libc::F_SETFL, libc::O_APPEND as usize).map_err(failed("fcntl"))?;
    Ok(file)
}

fn memory_file() -> Result<OwnedFd> {
    nix::sys::memfd::memfd_create(c"state", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)
        .map_err(|errno| Error::refused("cannot make a file for the hooks' state").call("memfd_create", errno as i32))
}
