//! A helper that the parent half talks to on inherited descriptors: CRIU as `criu swrk`. Unlike a hook
//! ([`super::spawn`]) it may be born in the container's control group and keeps what it is given.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};

use super::owned::{Forked, fork_into};
use super::raw::{self, Errno, Pointers, Raw};

/// A helper and what it is born with.
#[derive(Debug)]
pub struct Service<'a> {
    /// Absolute path; nothing is searched.
    pub path: &'a CStr,
    /// argv.
    pub arguments: &'a [CString],
    /// The whole environment.
    pub environment: &'a [CString],
    /// Its descriptors 0, 1, 2, … in order; it has no other.
    pub descriptors: &'a [BorrowedFd<'a>],
    /// The directory of the v2 control group that it is born in.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// `cgroup.procs` of the v1 control groups that it joins.
    pub joins: &'a [BorrowedFd<'a>],
    /// It leads a process group of its own, so that the terminal's interrupt key does not reach it.
    pub own_group: bool,
}

/// Starts it, with no signal blocked and SIGPIPE as usual.
///
/// # Errors
/// The errno of clone3(2), of a step before execve(2), or of execve(2) itself; then no process is left.
pub fn serve(service: &Service<'_>) -> Raw<Forked> {
    let addresses = |strings: &[CString]| -> Vec<usize> {
        strings.iter().map(|string| string.as_ptr() as usize).chain([0]).collect()
    };
    let (arguments, environment) = (addresses(service.arguments), addresses(service.environment));
    // SAFETY: the strings are borrowed from `service` for longer than this function runs; a zero ends each array.
    let (arguments, environment) = unsafe { (Pointers::new(&arguments), Pointers::new(&environment)) };
    let (Some(arguments), Some(environment)) = (arguments, environment) else { return Err(libc::EINVAL) };
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|errno| errno as i32)?;
    // Written by the child, which may not allocate.
    let mut numbers = vec![-1; service.descriptors.len() + 1];
    let pipe = writer.as_raw_fd();
    let forked = fork_into(0, service.cgroup, || {
        let (errno, pipe) = match prepare(service, pipe, &mut numbers) {
            Ok(pipe) => (raw::execve(service.path, &arguments, &environment), pipe),
            Err(errno) => (errno, pipe),
        };
        let _ = raw::write(pipe, &errno.to_ne_bytes());
        127
    })?;
    drop(writer);
    let mut errno = [0u8; 4];
    // A pipe gives the four bytes whole, or an end-of-file when execve(2) has closed the other end.
    loop {
        match raw::read(reader.as_raw_fd(), &mut errno) {
            Err(libc::EINTR) => {}
            Ok(4) => {
                let _ = raw::wait4(forked.pid, libc::__WALL);
                return Err(Errno::from_ne_bytes(errno));
            }
            _ => return Ok(forked),
        }
    }
}

/// In the child, without allocation: everything between clone3(2) and execve(2). Gives the pipe's new number.
fn prepare(service: &Service<'_>, pipe: i32, numbers: &mut [i32]) -> Raw<i32> {
    for tasks in service.joins {
        raw::write(tasks.as_raw_fd(), b"0")?;
    }
    if service.own_group {
        // SAFETY: setpgid(2) of this process takes integers only.
        unsafe { raw::syscall(libc::SYS_setpgid, [0; 6]) }?;
    }
    let count = service.descriptors.len();
    // All sources go above their places first, so that putting one in place overwrites no other.
    let sources = service.descriptors.iter().map(AsRawFd::as_raw_fd).chain([pipe]);
    for (number, source) in numbers.iter_mut().zip(sources) {
        *number = raw::fcntl(source, libc::F_DUPFD_CLOEXEC, count)? as i32;
    }
    for (place, number) in numbers.iter().take(count).enumerate() {
        raw::dup3(*number, place as i32, 0)?;
    }
    raw::close_range(count as u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)?;
    raw::default_signal(libc::SIGPIPE)?;
    raw::set_signal_mask(0)?;
    Ok(numbers.last().copied().unwrap_or(pipe))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn it_has_what_it_is_given_and_nothing_else() {
        let null = super::super::owned::open(libc::AT_FDCWD, c"/dev/null", libc::O_RDWR, 0).unwrap();
        let file = super::super::spawn::file_of(b"given").unwrap();
        let script = "test \"$(cat <&4)\" = given || exit 4
            for f in /proc/self/fd/*; do n=${f##*/}; test $n -lt 5 || test ! -e $f || exit 5; done; exit 7";
        let arguments = [c"sh".to_owned(), c"-c".to_owned(), CString::new(script).unwrap()];
        let environment = [c"PATH=/usr/bin:/bin".to_owned()];
        let mut service = Service {
            path: c"/bin/sh",
            arguments: &arguments,
            environment: &environment,
            descriptors: &[null.as_fd(), null.as_fd(), null.as_fd(), null.as_fd(), file.as_fd()],
            cgroup: None,
            joins: &[],
            own_group: true,
        };
        let (_, status) = raw::wait4(serve(&service).unwrap().pid, libc::__WALL).unwrap();
        assert_eq!(libc::WEXITSTATUS(status), 7);
        service.path = c"/no/such";
        assert_eq!(serve(&service).unwrap_err(), libc::ENOENT);
    }
}
