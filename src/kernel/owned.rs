//! Owned descriptors and byte views for the parent half: the raw calls of [`super::raw`] behind `OwnedFd`.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::abi::{CloneArgs, OpenHow};
use super::raw::{self, Raw};

/// Takes ownership of a descriptor that the kernel just gave.
pub fn own(descriptor: i32) -> OwnedFd {
    // SAFETY: only called here and below with a descriptor fresh from a system call, which nobody else owns.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

/// A path or word as C string; an inner NUL is `EINVAL`, as the kernel could not see behind it.
pub fn c_string(text: impl Into<Vec<u8>>) -> Raw<CString> {
    CString::new(text).map_err(|_| libc::EINVAL)
}

/// openat2(2) giving an owned descriptor.
pub fn open_how(directory: i32, path: &CStr, flags: i32, mode: u32, resolve: u64) -> Raw<OwnedFd> {
    let how = OpenHow { flags: (flags | libc::O_CLOEXEC) as u64, mode: mode as u64, resolve };
    raw::openat2(directory, path, &how).map(own)
}

/// openat(2) giving an owned, close-on-exec descriptor.
pub fn open(directory: i32, path: &CStr, flags: i32, mode: u32) -> Raw<OwnedFd> {
    raw::openat(directory, path, flags | libc::O_CLOEXEC, mode).map(own)
}

/// A whole file of text, such as those of /proc: most come in one read(2), where the standard library would ask for the
/// size, which is 0 there, and begin with small reads.
///
/// # Errors
/// The call that failed, and its errno: `EILSEQ` if it is not UTF-8.
pub fn read_text(path: &CStr) -> Result<String, (&'static str, i32)> {
    let file = open(libc::AT_FDCWD, path, libc::O_RDONLY, 0).map_err(|errno| ("open", errno))?;
    let mut bytes = Vec::new();
    let mut buffer = [0u8; 4096];
    loop {
        match raw::read(file.as_raw_fd(), &mut buffer) {
            Err(libc::EINTR) => {}
            Err(errno) => return Err(("read", errno)),
            Ok(0) => return String::from_utf8(bytes).map_err(|_| ("read", libc::EILSEQ)),
            Ok(length) => bytes.extend_from_slice(&buffer[..length]),
        }
    }
}

/// pidfd_open(2).
pub fn pidfd(pid: i32) -> Raw<OwnedFd> {
    raw::pidfd_open(pid).map(own)
}

/// pidfd_getfd(2).
pub fn descriptor_of(pidfd: BorrowedFd<'_>, descriptor: i32) -> Raw<OwnedFd> {
    raw::pidfd_getfd(pidfd.as_raw_fd(), descriptor).map(own)
}

/// What a [`fork_into`] gives each side.
#[derive(Debug)]
pub struct Forked {
    /// The child's id in the caller's pid namespace.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: OwnedFd,
}

impl Forked {
    /// Kills this process and no other (pidfd_send_signal(2)), and takes its status; nothing where both are done already.
    pub fn end(&self) {
        let _ = raw::pidfd_send_signal(self.pidfd.as_raw_fd(), libc::SIGKILL);
        let _ = raw::wait4(self.pid, libc::__WALL);
    }
}

/// clone3(2) with `CLONE_PIDFD` and `SIGCHLD`: `body` runs in the child, which ends with it.
///
/// The process must have one thread: then nothing is locked in the copy, and `body` may use this memory freely. It must
/// all the same not allocate or print when the child was put into a limited cgroup: in debug builds [`super::guard`] ends a
/// child that does.
pub fn fork_into(flags: u64, cgroup: Option<BorrowedFd<'_>>, body: impl FnOnce() -> i32) -> Raw<Forked> {
    let mut pidfd: i32 = -1;
    let mut arguments = CloneArgs {
        flags: flags | libc::CLONE_PIDFD as u64,
        pidfd: &mut pidfd as *mut i32 as u64,
        exit_signal: if flags & super::abi::CLONE_PARENT != 0 { 0 } else { libc::SIGCHLD as u64 },
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        arguments.flags |= super::abi::CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: the child runs `body` and exits by exit_group; kiste has one thread until here (checked by
    // tests/architecture.rs: nothing before `launch` starts one), so no lock is held by another.
    match unsafe { raw::clone3(&mut arguments) }? {
        0 => {
            super::guard::close();
            raw::exit(body())
        }
        pid => Ok(Forked { pid: pid as i32, pidfd: own(pidfd) }),
    }
}

/// A read-only view of a slice of plain words as bytes, for the arena.
pub fn words_as_bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}
