//! The gate between `create` and `start`: two FIFOs in the container's directory.
//!
//! The init holds `start` open for reading and writing, so its read waits for a byte and never sees an end-of-file; no
//! path, no `open` and no descriptor of the host's is needed behind the container's walls. It also holds the writing
//! end of `outcome`, close-on-exec: `start` reads a failure record from it, or the end-of-file that the kernel makes
//! when execve(2) succeeds.
//!
//! Unlinking `start` is what opens the gate: one of many can do it.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use crate::error::{Error, Kind, Result};
use crate::kernel::owned::open;
use crate::kernel::raw;

use super::directory::Container;

const START: &std::ffi::CStr = c"start";
const OUTCOME: &std::ffi::CStr = c"outcome";
/// The longest failure record, in bytes: what one write(2) puts into a pipe whole (`PIPE_BUF`, pipe(7)).
pub const LONGEST_FAILURE: usize = 4096;

/// What the init inherits. Both are close-on-exec, and the parent must drop its copies (by ending, at the latest).
#[derive(Debug)]
pub struct GateEnds {
    /// Read one byte from it to wait for `start`.
    pub child_start: OwnedFd,
    /// Write a failure record to it, at most [`LONGEST_FAILURE`] bytes in one write(2); its end at execve(2) means success.
    pub child_outcome: OwnedFd,
}

/// What became of the init once the gate was open.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// execve(2) succeeded, or the init was killed before: it closes its end as execve(2) would, and
    /// [`ProcessIdentity::ended_before_exec`](super::ProcessIdentity::ended_before_exec) tells the two apart.
    Started,
    /// The init's failure record as it wrote it.
    Failed(Vec<u8>),
}

impl Container {
    /// Makes the gate: `start` will wait there.
    ///
    /// # Errors
    /// When the FIFOs can't be made or opened.
    pub fn make_gate(&self) -> Result<GateEnds> {
        let directory = self.directory().as_raw_fd();
        let failed = |call: &'static str| {
            move |errno| {
                Error::refused(format!("cannot make the start gate of container \"{}\"", self.id())).call(call, errno)
            }
        };
        for name in [OUTCOME, START] {
            raw::mknodat(directory, name, libc::S_IFIFO | 0o600, 0).map_err(failed("mknod"))?;
        }
        let child_start = open(directory, START, libc::O_RDWR | libc::O_NOFOLLOW, 0).map_err(failed("open"))?;
        // Opening for writing alone would wait for a reader (fifo(7)): hold a reader for as long as that takes.
        let reader = open(directory, OUTCOME, libc::O_RDWR | libc::O_NOFOLLOW, 0).map_err(failed("open"))?;
        let child_outcome = open(directory, OUTCOME, libc::O_WRONLY | libc::O_NOFOLLOW, 0).map_err(failed("open"))?;
        drop(reader);
        Ok(GateEnds { child_start, child_outcome })
    }

    /// Whether the container waits for `start`.
    ///
    /// # Errors
    /// When the directory can't be searched.
    pub fn has_gate(&self) -> Result<bool> {
        match raw::faccessat2(self.directory().as_raw_fd(), START, libc::F_OK, 0) {
            Ok(_) => Ok(true),
            Err(libc::ENOENT) => Ok(false),
            Err(errno) => Err(Error::refused(format!("cannot look for the start gate of container \"{}\"", self.id()))
                .call("access", errno)),
        }
    }
}

/// Lets the payload go and waits until it runs or has failed. `pidfd` is the init's.
///
/// # Errors
/// `Kind::NotRunning` when the init has ended before; `Kind::Refused` when the container was started before, also by
/// another `start` at this moment, or the kernel refuses.
pub fn open_gate(container: &Container, pidfd: BorrowedFd<'_>) -> Result<Outcome> {
    let directory = container.directory().as_raw_fd();
    let id = container.id();
    let failed =
        |call: &'static str| move |errno| Error::refused(format!("cannot start container \"{id}\"")).call(call, errno);
    let not_created = || Error::refused(format!("cannot start container \"{id}\": it is not in the state created"));
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    // Reading first: the init's end must not come before there is a reader, or its failure would be lost.
    let outcome = match open(directory, OUTCOME, libc::O_RDONLY | flags, 0) {
        Ok(outcome) => outcome,
        Err(libc::ENOENT) => return Err(not_created()),
        Err(errno) => return Err(failed("open")(errno)),
    };
    let start = match open(directory, START, libc::O_WRONLY | flags, 0) {
        Ok(start) => start,
        Err(libc::ENOENT) => return Err(not_created()),
        // Nobody holds the reading end: the init is gone.
        Err(libc::ENXIO) => return Err(stopped(id)),
        Err(errno) => return Err(failed("open")(errno)),
    };
    if has_ended(pidfd).map_err(failed("poll"))? {
        return Err(stopped(id));
    }
    match raw::unlinkat(directory, START, 0) {
        Ok(_) => {}
        Err(libc::ENOENT) => return Err(not_created()),
        Err(errno) => return Err(failed("unlink")(errno)),
    }
    raw::write(start.as_raw_fd(), b"s").map_err(failed("write"))?;
    drop(start);
    let result = wait_for_outcome(&outcome, pidfd).map_err(failed("read"));
    let _ = raw::unlinkat(directory, OUTCOME, 0);
    result
}

fn stopped(id: &str) -> Error {
    Error::new(Kind::NotRunning, format!("cannot start a container that has stopped: container not running: \"{id}\""))
}

fn has_ended(pidfd: BorrowedFd<'_>) -> Result<bool, i32> {
    let mut entry = [libc::pollfd { fd: pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
    raw::poll(&mut entry, 0).map(|ready| ready > 0)
}

fn wait_for_outcome(outcome: &OwnedFd, pidfd: BorrowedFd<'_>) -> Result<Outcome, i32> {
    loop {
        let mut entries = [
            libc::pollfd { fd: outcome.as_raw_fd(), events: libc::POLLIN, revents: 0 },
            libc::pollfd { fd: pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 },
        ];
        match raw::poll(&mut entries, -1) {
            Err(libc::EINTR) => continue,
            other => other?,
        };
        let mut buffer = [0u8; LONGEST_FAILURE];
        match raw::read(outcome.as_raw_fd(), &mut buffer) {
            // All writing ends are closed: the init has executed the payload, or it is dead.
            Ok(0) => return Ok(Outcome::Started),
            Ok(length) => return Ok(Outcome::Failed(buffer[..length].to_vec())),
            Err(libc::EINTR) => {}
            // The init is dead, yet somebody holds its writing end (a hook of its that outlives it).
            Err(libc::EAGAIN) if entries[1].revents != 0 => return Ok(Outcome::Failed(Vec::new())),
            Err(libc::EAGAIN) => {}
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Scratch;
    use super::*;
    use crate::kernel::owned::{Forked, fork_into};
    use std::os::fd::AsFd;

    /// A child that waits at the gate and then ends its side of `outcome`, or fails with a record of 128 times `word`.
    fn init(ends: GateEnds, word: Option<u8>) -> Forked {
        let (start, outcome) = (ends.child_start.as_raw_fd(), ends.child_outcome.as_raw_fd());
        // Other tests' children must not hold our ends, nor we theirs.
        fork_into(0, None, || {
            for descriptor in (3..1024).filter(|descriptor| *descriptor != start && *descriptor != outcome) {
                let _ = raw::close(descriptor);
            }
            if raw::read(start, &mut [0]) != Ok(1) {
                return 9;
            }
            if let Some(word) = word {
                let _ = raw::write(outcome, &[word; 128]);
                return 1;
            }
            // What execve(2) does to a close-on-exec descriptor; the process lives on.
            let _ = raw::close(outcome);
            let _ = raw::poll(&mut [], 50);
            0
        })
        .unwrap()
    }

    fn status_of(child: Forked) -> i32 {
        raw::wait4(child.pid, 0).unwrap().1
    }

    #[test]
    fn the_payload_runs_and_only_once() {
        let scratch = Scratch::new();
        let container = scratch.root().reserve("a").unwrap();
        assert!(!container.has_gate().unwrap());
        let child = init(container.make_gate().unwrap(), None);
        assert!(container.has_gate().unwrap());
        assert_eq!(open_gate(&container, child.pidfd.as_fd()), Ok(Outcome::Started));
        assert!(!container.has_gate().unwrap());
        let again = open_gate(&container, child.pidfd.as_fd()).unwrap_err();
        assert!(again.to_string().contains("not in the state created"), "{again}");
        assert_eq!(status_of(child), 0);
    }

    #[test]
    fn a_failure_record_comes_through() {
        let scratch = Scratch::new();
        let container = scratch.root().reserve("a").unwrap();
        let child = init(container.make_gate().unwrap(), Some(7));
        assert_eq!(open_gate(&container, child.pidfd.as_fd()), Ok(Outcome::Failed(vec![7; 128])));
        assert_eq!(status_of(child), 1 << 8);
    }

    #[test]
    fn a_dead_init_is_noticed() {
        let scratch = Scratch::new();
        let container = scratch.root().reserve("a").unwrap();
        let child = init(container.make_gate().unwrap(), None);
        raw::pidfd_send_signal(child.pidfd.as_raw_fd(), libc::SIGKILL).unwrap();
        raw::wait4(child.pid, 0).unwrap();
        let error = open_gate(&container, child.pidfd.as_fd()).unwrap_err();
        assert!(error.kind == Kind::NotRunning && error.to_string().contains("has stopped"), "{error}");
    }

    #[test]
    fn one_of_two_starts_wins() {
        for _ in 0..20 {
            let scratch = Scratch::new();
            let container = scratch.root().reserve("a").unwrap();
            let child = init(container.make_gate().unwrap(), None);
            let wins = std::thread::scope(|scope| {
                let start = || open_gate(&container, child.pidfd.as_fd()) == Ok(Outcome::Started);
                let threads = [(); 4].map(|()| scope.spawn(start));
                threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|won| *won).count()
            });
            assert_eq!(wins, 1);
            assert_eq!(status_of(child), 0);
        }
    }
}
