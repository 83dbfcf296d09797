//! Opening, reading and writing cgroup files below an open directory, and what a refusal means.

use std::borrow::Cow;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::plan::Assignment;
use crate::error::{Error, Origin};
use crate::kernel::raw::Raw;
use crate::kernel::{owned, raw};

/// A refusal that does not know yet who asked.
#[derive(Debug)]
pub(super) struct Failure {
    pub what: String,
    pub call: &'static str,
    pub errno: i32,
    pub hint: Option<String>,
}

impl Failure {
    pub fn new(what: String, call: &'static str, errno: i32) -> Self {
        Failure { what, call, errno, hint: None }
    }

    pub fn in_use(file: &str, used: i64, limit: i64) -> Self {
        let what = format!("the new limit {limit} is below what is in use: {file} is {used}");
        Failure { what, call: "", errno: libc::EBUSY, hint: None }
    }

    /// The kernel says no to this user, and would say yes to another one.
    pub fn is_refusal(&self) -> bool {
        matches!(self.errno, libc::EACCES | libc::EPERM | libc::EROFS | libc::ENOENT)
    }

    pub fn error_without_origin(self) -> Error {
        let error = match self.call {
            "" => Error::refused(self.what),
            call => Error::refused(self.what).call(call, self.errno),
        };
        match self.hint.or_else(|| general_hint(self.errno)) {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    pub fn error(self, origin: &Origin) -> Error {
        self.error_without_origin().at(origin)
    }
}

fn general_hint(errno: i32) -> Option<String> {
    let text = match errno {
        libc::EROFS => "the cgroup file system is mounted read-only",
        libc::EACCES => "this user has no delegated cgroup: systemd-run --user --scope -p Delegate=yes gives one",
        _ => return None,
    };
    Some(text.into())
}

fn c_path(path: &Path) -> Result<CString, Failure> {
    owned::c_string(path.as_os_str().as_bytes())
        .map_err(|errno| Failure::new(format!("{} is not a path", path.display()), "open", errno))
}

pub(super) fn make_directory(path: &Path) -> Result<(), Failure> {
    let failure = |errno| Failure::new(format!("cannot create cgroup {}", path.display()), "mkdir", errno);
    raw::mkdirat(libc::AT_FDCWD, &c_path(path)?, 0o755).map(drop).map_err(failure)
}

pub(super) fn open_directory(path: &Path) -> Result<OwnedFd, Failure> {
    let failure = |errno| Failure::new(format!("cannot open cgroup {}", path.display()), "open", errno);
    owned::open(libc::AT_FDCWD, &c_path(path)?, libc::O_RDONLY | libc::O_DIRECTORY, 0).map_err(failure)
}

/// The file by which one thread moves itself into a v1 group.
pub(super) fn open_tasks(group: &Path) -> Result<OwnedFd, Failure> {
    let path = group.join("tasks");
    let failure = |errno| Failure::new(format!("cannot open {}", path.display()), "open", errno);
    owned::open(libc::AT_FDCWD, &c_path(&path)?, libc::O_WRONLY, 0).map_err(failure)
}

/// A short value, which the kernel gives in one read.
pub(super) fn read_value(path: &Path) -> Result<String, Failure> {
    let failure = |call| move |errno| Failure::new(format!("cannot read {}", path.display()), call, errno);
    let file = owned::open(libc::AT_FDCWD, &c_path(path)?, libc::O_RDONLY, 0).map_err(failure("open"))?;
    let mut buffer = [0; 4096];
    let count = raw::read(file.as_raw_fd(), &mut buffer).map_err(failure("read"))?;
    Ok(String::from_utf8_lossy(&buffer[..count]).trim().to_owned())
}

pub(super) fn write_value(path: &Path, value: &str) -> Result<(), Failure> {
    let failure = |call| move |errno| Failure::new(format!("cannot set {} to {value:?}", path.display()), call, errno);
    let file = owned::open(libc::AT_FDCWD, &c_path(path)?, libc::O_WRONLY, 0).map_err(failure("open"))?;
    raw::write(file.as_raw_fd(), value.as_bytes()).map(drop).map_err(failure("write"))
}

pub(super) fn may_write(path: &Path) -> bool {
    c_path(path).is_ok_and(|path| raw::faccessat2(libc::AT_FDCWD, &path, libc::W_OK, libc::AT_EACCESS).is_ok())
}

fn open_in(directory: BorrowedFd<'_>, file: &str, flags: i32) -> Raw<OwnedFd> {
    let name = owned::c_string(file)?;
    // A name never leads out of the directory, and cgroup file systems have no links to follow.
    owned::open(directory.as_raw_fd(), &name, flags | libc::O_NOFOLLOW, 0)
}

pub(super) fn open_write(directory: BorrowedFd<'_>, file: &str) -> Result<OwnedFd, Failure> {
    open_in(directory, file, libc::O_WRONLY).map_err(|errno| Failure::new(format!("cannot open {file}"), "open", errno))
}

/// Takes everything and does nothing.
pub(super) fn null() -> Result<OwnedFd, Failure> {
    let failure = |errno| Failure::new("cannot open /dev/null".into(), "open", errno);
    owned::open(libc::AT_FDCWD, c"/dev/null", libc::O_WRONLY, 0).map_err(failure)
}

pub(super) fn open_read(directory: BorrowedFd<'_>, file: &str) -> Raw<OwnedFd> {
    open_in(directory, file, libc::O_RDONLY)
}

/// A whole cgroup file.
pub(super) fn read(directory: BorrowedFd<'_>, file: &str) -> Raw<String> {
    read_all(&open_read(directory, file)?)
}

pub(super) fn read_all(file: &OwnedFd) -> Raw<String> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match raw::read(file.as_raw_fd(), &mut buffer)? {
            0 => return String::from_utf8(bytes).map_err(|_| libc::EILSEQ),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

/// Writes one value to one file.
pub(super) fn write(directory: BorrowedFd<'_>, file: &str, value: &str) -> Raw<()> {
    let file = open_in(directory, file, libc::O_WRONLY)?;
    raw::write(file.as_raw_fd(), value.as_bytes()).map(drop)
}

/// Writes to files of one directory; a file written several times in a row is opened once.
pub(super) struct Writer<'a> {
    directory: BorrowedFd<'a>,
    last: Option<(Cow<'static, str>, OwnedFd)>,
}

impl<'a> Writer<'a> {
    pub fn new(directory: BorrowedFd<'a>) -> Self {
        Writer { directory, last: None }
    }

    pub fn exists(&self, file: &str) -> bool {
        owned::c_string(file)
            .is_ok_and(|name| raw::faccessat2(self.directory.as_raw_fd(), &name, libc::F_OK, 0).is_ok())
    }

    pub fn write(&mut self, one: &Assignment) -> Result<(), Failure> {
        let failure = |call| {
            move |errno| Failure {
                what: format!("cannot set {} to {:?}", one.file, one.value),
                call,
                errno,
                hint: write_hint(&one.file, errno),
            }
        };
        if self.last.as_ref().is_none_or(|(file, _)| *file != one.file) {
            let opened = open_in(self.directory, &one.file, libc::O_WRONLY).map_err(failure("open"))?;
            self.last = Some((one.file.clone(), opened));
        }
        match &self.last {
            Some((_, file)) => raw::write(file.as_raw_fd(), one.value.as_bytes()).map(drop).map_err(failure("write")),
            None => Ok(()),
        }
    }

    pub fn read_number(&self, file: &str) -> Result<i64, Failure> {
        let text =
            read(self.directory, file).map_err(|errno| Failure::new(format!("cannot read {file}"), "read", errno))?;
        Ok(text.trim().parse().unwrap_or(i64::MAX))
    }
}

/// What an errno means for this file.
fn write_hint(file: &str, errno: i32) -> Option<String> {
    let text = match (errno, file.split_once('.').map_or(file, |(prefix, _)| prefix)) {
        (libc::EBUSY, "memory") => "more memory is in use than the new limit",
        (libc::ERANGE, "cpuset") | (libc::EINVAL, "cpuset") | (libc::EACCES, "cpuset") => {
            "the parent group does not have these processors or memory nodes"
        }
        (libc::EINVAL, "cpu") => "the parent group allows less, or quota, period and burst contradict each other",
        (libc::EINVAL, "memory") => "memory may not exceed memory and swap together",
        (libc::ENODEV, _) => "there is no such device",
        (libc::EPERM, "devices") => "the parent group does not allow this device",
        (libc::EOPNOTSUPP, _) => "this kernel does not account for it",
        (libc::ENOENT, _) => "the controller of this file is not available in this hierarchy",
        _ => return None,
    };
    Some(text.into())
}

/// Gives the directory and the files of `/sys/kernel/cgroup/delegate` to a user, and nothing else: the limits stay
/// the parent's (cgroup-v2.rst, "Model of Delegation").
pub(super) fn delegate(directory: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<(), Failure> {
    let change = |name: &str, flags| {
        let path = owned::c_string(name)?;
        raw::fchownat(directory.as_raw_fd(), &path, uid, gid, flags).map(drop)
    };
    let failure = |errno| Failure::new(format!("cannot give the cgroup to {uid}:{gid}"), "fchownat", errno);
    change("", libc::AT_EMPTY_PATH).map_err(failure)?;
    let list = std::fs::read_to_string("/sys/kernel/cgroup/delegate")
        .unwrap_or_else(|_| "cgroup.procs\ncgroup.threads\ncgroup.subtree_control\n".into());
    for name in list.lines().filter(|name| !name.contains('/') && !name.is_empty()) {
        match change(name, libc::AT_SYMLINK_NOFOLLOW) {
            // The list is the kernel's; a file of a controller that is off here is not there.
            Ok(()) | Err(libc::ENOENT) => {}
            Err(errno) => return Err(failure(errno)),
        }
    }
    Ok(())
}

/// Polls a file until `done` says yes, or the time is up.
pub(super) fn wait_for(
    directory: BorrowedFd<'_>,
    file: &str,
    milliseconds: u64,
    mut done: impl FnMut(&str) -> bool,
) -> Raw<bool> {
    let descriptor = open_read(directory, file)?;
    let end = std::time::Instant::now() + std::time::Duration::from_millis(milliseconds);
    loop {
        // SEEK_SET by opening again would miss an event between; pread at 0 re-arms the poll.
        let mut buffer = [0; 512];
        let count = nix::sys::uio::pread(descriptor.as_fd(), &mut buffer, 0).map_err(|errno| errno as i32)?;
        if done(&String::from_utf8_lossy(&buffer[..count])) {
            return Ok(true);
        }
        let left = end.saturating_duration_since(std::time::Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        // v1 files give no event, so never sleep long.
        let mut entry = [libc::pollfd { fd: descriptor.as_raw_fd(), events: libc::POLLPRI, revents: 0 }];
        let pause = left.as_millis().clamp(1, 10) as i64;
        match raw::poll(&mut entry, pause) {
            Ok(_) | Err(libc::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        if entry[0].revents & libc::POLLERR != 0 && entry[0].revents & libc::POLLPRI == 0 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}
