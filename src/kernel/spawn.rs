//! A helper program or hook as a child of the parent half: clone3(2) and execve(2) by hand, because the standard library
//! gives the child our signal mask, in which everything is blocked.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};

use super::owned::{Forked, fork_into, own};
use super::raw::{self, Errno, Pointers, Raw};

/// What is run, and with what.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// Absolute path; nothing is searched.
    pub path: &'a CStr,
    /// argv.
    pub arguments: &'a [CString],
    /// The whole environment.
    pub environment: &'a [CString],
    /// Working directory.
    pub directory: &'a CStr,
    /// Its descriptor 0.
    pub input: BorrowedFd<'a>,
    /// Its descriptor 1.
    pub output: BorrowedFd<'a>,
    /// Its descriptor 2.
    pub errors: BorrowedFd<'a>,
}

/// Runs the program in a process group of its own, with no signal blocked, SIGPIPE as usual, and no descriptor but 0 to 2.
///
/// # Errors
/// The errno of clone3(2), of the step before execve(2), or of execve(2) itself; then no process is left.
pub fn spawn(program: &Program) -> Raw<Forked> {
    let addresses = |strings: &[CString]| -> Vec<usize> {
        strings.iter().map(|string| string.as_ptr() as usize).chain([0]).collect()
    };
    let (arguments, environment) = (addresses(program.arguments), addresses(program.environment));
    // SAFETY: the strings are borrowed from `program` for longer than this function runs; a zero ends each array.
    let (arguments, environment) = unsafe { (Pointers::new(&arguments), Pointers::new(&environment)) };
    let (Some(arguments), Some(environment)) = (arguments, environment) else { return Err(libc::EINVAL) };
    let (errno_reader, errno_writer) =
        nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|errno| errno as i32)?;
    let writer = errno_writer.as_raw_fd();
    let forked = fork_into(0, None, || {
        let errno = match prepare(program) {
            Ok(()) => raw::execve(program.path, &arguments, &environment),
            Err(errno) => errno,
        };
        let _ = raw::write(writer, &errno.to_ne_bytes());
        127
    })?;
    drop(errno_writer);
    let mut errno = [0u8; 4];
    // A pipe gives the four bytes whole, or an end-of-file when execve(2) has closed the other end.
    loop {
        match raw::read(errno_reader.as_raw_fd(), &mut errno) {
            Err(libc::EINTR) => {}
            Ok(4) => {
                let _ = raw::wait4(forked.pid, libc::__WALL);
                return Err(Errno::from_ne_bytes(errno));
            }
            _ => return Ok(forked),
        }
    }
}

/// In the child: everything between clone3(2) and execve(2), without allocation.
fn prepare(program: &Program) -> Raw<()> {
    // SAFETY: setpgid(2) of this process takes integers only.
    unsafe { raw::syscall(libc::SYS_setpgid, [0; 6]) }?;
    // The sources first go above 2, so that putting them in place overwrites none; all are close-on-exec there.
    let input = raw::fcntl(program.input.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3)? as i32;
    let output = raw::fcntl(program.output.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3)? as i32;
    let errors = raw::fcntl(program.errors.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3)? as i32;
    raw::dup3(input, 0, 0)?;
    raw::dup3(output, 1, 0)?;
    raw::dup3(errors, 2, 0)?;
    raw::close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)?;
    raw::chdir(program.directory)?;
    raw::default_signal(libc::SIGPIPE)?;
    raw::set_signal_mask(0)?;
    Ok(())
}

/// An anonymous file with these bytes, to be read from its start: the standard input of a program that may not read it.
/// Unlike a pipe it neither fills up nor breaks.
///
/// # Errors
/// The errno of memfd_create(2), write(2) or lseek(2).
pub fn file_of(bytes: &[u8]) -> Raw<std::os::fd::OwnedFd> {
    // SAFETY: the name is a C string; the flag is an integer.
    let file = unsafe {
        raw::syscall(libc::SYS_memfd_create, [c"input".as_ptr() as usize, libc::MFD_CLOEXEC as usize, 0, 0, 0, 0])
    }
    .map(|descriptor| own(descriptor as i32))?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = raw::write(file.as_raw_fd(), rest)?;
        rest = &rest[written..];
    }
    raw::rewind(file.as_raw_fd())?;
    Ok(file)
}

/// Kills the program's process group, which it leads.
///
/// # Errors
/// The errno of kill(2).
pub fn kill_group(forked: &Forked) -> Raw {
    raw::kill(-forked.pid, libc::SIGKILL)
}
