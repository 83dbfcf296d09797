//! Who a process is, beyond its number: pids are used again, (pid, start time) within one boot is not.

use std::os::fd::{AsRawFd, OwnedFd};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::kernel::owned::{c_string, open, pidfd};
use crate::kernel::raw;

/// A process for good: its number and when it started, in clock ticks since boot (field 22 of /proc/PID/stat, proc(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessIdentity {
    /// Process id in the runtime's pid namespace.
    pub pid: i32,
    /// Clock ticks since boot.
    pub start_time: u64,
}

impl ProcessIdentity {
    /// Reads the start time of a process that is there (a zombie is).
    ///
    /// # Errors
    /// When there is no such process or /proc can't be read.
    pub fn read(pid: i32) -> Result<Self> {
        match stat(pid)? {
            Some(stat) => Ok(ProcessIdentity { pid, start_time: stat.start_time }),
            None => Err(Error::refused(format!("there is no process {pid}"))),
        }
    }

    /// Reads what [`Self::read`] does of a process that has just let go of its close-on-exec descriptors, and whether it
    /// did so by ending before it executed a program: execve(2) and exit look alike from the other end of a socket or
    /// FIFO.
    ///
    /// The kernel's flags tell (field 9 of /proc/PID/stat, `PF_FORKNOEXEC` and `PF_EXITING` of include/linux/sched.h):
    /// execve(2) clears the first before it closes descriptors, exit sets the second before it does.
    ///
    /// # Errors
    /// When there is no such process or /proc can't be read.
    pub fn read_after_exec(pid: i32) -> Result<(Self, bool)> {
        match stat(pid)? {
            Some(stat) => Ok((ProcessIdentity { pid, start_time: stat.start_time }, stat.ended_before_exec())),
            None => Err(Error::refused(format!("there is no process {pid}"))),
        }
    }

    /// Whether this very process ended before it executed a program; see [`Self::read_after_exec`]. One that was
    /// reaped meanwhile can't be asked any more, and counts as one that did execute.
    ///
    /// # Errors
    /// When /proc can't be read.
    pub fn ended_before_exec(&self) -> Result<bool> {
        let found = stat(self.pid)?;
        Ok(found.is_some_and(|stat| stat.start_time == self.start_time && stat.ended_before_exec()))
    }

    /// This process.
    ///
    /// # Errors
    /// When /proc can't be read.
    pub fn own() -> Result<Self> {
        Self::read(raw::getpid())
    }

    /// Whether this very process still runs: not ended, no zombie, and no other under the same number.
    ///
    /// # Errors
    /// When /proc can't be read, which is not an answer.
    pub fn is_alive(&self) -> Result<bool> {
        let found = stat(self.pid)?;
        Ok(found.is_some_and(|stat| stat.start_time == self.start_time && !stat.has_ended()))
    }

    /// A pidfd of this very process, or nothing when it has ended: the start time is read after the descriptor is
    /// open, so a number used again is noticed. A zombie gives nothing, too.
    ///
    /// # Errors
    /// When pidfd_open(2) fails for another reason, or /proc can't be read.
    pub fn open_pidfd(&self) -> Result<Option<OwnedFd>> {
        if self.pid <= 0 {
            return Ok(None);
        }
        let descriptor = match pidfd(self.pid) {
            Ok(descriptor) => descriptor,
            Err(libc::ESRCH) => return Ok(None),
            // EINVAL: the number belongs to a thread that leads no group, so the process is gone.
            Err(libc::EINVAL | libc::ENOENT) => return Ok(None),
            Err(errno) => {
                return Err(Error::refused(format!("cannot open process {}", self.pid)).call("pidfd_open", errno));
            }
        };
        Ok(if self.is_alive()? { Some(descriptor) } else { None })
    }

    /// Sends a signal to this very process; `false` when it has ended. Signal 0 only asks.
    ///
    /// # Errors
    /// When the kernel refuses (`EPERM`, `EINVAL` for a number that is no signal).
    pub fn signal(&self, signal: i32) -> Result<bool> {
        let Some(descriptor) = self.open_pidfd()? else { return Ok(false) };
        match raw::pidfd_send_signal(descriptor.as_raw_fd(), signal) {
            Ok(_) => Ok(true),
            Err(libc::ESRCH) => Ok(false),
            Err(errno) => Err(Error::refused(format!("cannot send signal {signal} to process {}", self.pid))
                .call("pidfd_send_signal", errno)),
        }
    }
}

/// What kiste reads from /proc/PID/stat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    state: u8,
    flags: u64,
    threads: u64,
    start_time: u64,
}

impl Stat {
    /// The state is that of the first thread: it may have ended, and be shown as zombie, while others go on.
    fn has_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x') && self.threads <= 1
    }

    fn ended_before_exec(&self) -> bool {
        const EXITING: u64 = 0x4;
        const FORKED_NOT_EXECUTED: u64 = 0x40;
        self.flags & (EXITING | FORKED_NOT_EXECUTED) == EXITING | FORKED_NOT_EXECUTED
    }
}

/// Reads /proc/PID/stat; nothing when there is no such process.
fn stat(pid: i32) -> Result<Option<Stat>> {
    let failed =
        |call: &'static str, errno: i32| Err(Error::refused(format!("cannot read /proc/{pid}/stat")).call(call, errno));
    let Ok(path) = c_string(format!("/proc/{pid}/stat")) else { return Ok(None) };
    let file = match open(libc::AT_FDCWD, &path, libc::O_RDONLY | libc::O_NOFOLLOW, 0) {
        Ok(file) => file,
        Err(libc::ENOENT | libc::ESRCH) => return proc_is_there().map(|()| None),
        Err(errno) => return failed("open", errno),
    };
    // The line has 52 numbers and a name of at most 64 bytes: 2 KiB hold it, and one read gives it whole.
    let mut buffer = [0u8; 2048];
    match raw::read(file.as_raw_fd(), &mut buffer) {
        Ok(length) => match parse(&buffer[..length]) {
            Some(stat) => Ok(Some(stat)),
            None => Err(Error::refused(format!("/proc/{pid}/stat is not as proc(5) says"))),
        },
        Err(libc::ESRCH) => Ok(None),
        Err(errno) => failed("read", errno),
    }
}

/// A missing process and a missing /proc look alike to open(2); taking the second for the first would call every
/// container stopped.
fn proc_is_there() -> Result<()> {
    match raw::faccessat2(libc::AT_FDCWD, c"/proc/self/stat", libc::F_OK, 0) {
        Ok(_) => Ok(()),
        Err(errno) => Err(Error::refused("/proc is not mounted or shows another pid namespace").call("access", errno)),
    }
}

/// Fields 3, 9, 20 and 22. The name in field 2 is chosen by the process and may hold spaces, newlines and `)`: what counts is
/// the last `)`, as every later field is a number.
fn parse(line: &[u8]) -> Option<Stat> {
    let end = line.iter().rposition(|byte| *byte == b')')?;
    let mut fields = line.get(end + 1..)?.split(|byte| byte.is_ascii_whitespace()).filter(|field| !field.is_empty());
    let state = *fields.next()?.first()?;
    let mut number = |skip| std::str::from_utf8(fields.nth(skip)?).ok()?.parse().ok();
    // Field 4 is the next, so 5 are skipped to field 9, 10 more to field 20, and one more to field 22.
    Some(Stat { state, flags: number(5)?, threads: number(10)?, start_time: number(1)? })
}

/// The id of this boot (random(4)): it tells records of an earlier boot apart when the state directory outlives one.
///
/// # Errors
/// When the file can't be read.
pub fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::refused(format!("cannot read {path}")).io("read", &error))?;
    Ok(text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn the_name_may_hold_anything() {
        let tail = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 3 18 424242 20 21\n";
        for name in ["sh", "a) Z 1 2", "x\n(y", ") R", "((("] {
            let line = format!("77 ({name}) {tail}");
            let stat = Stat { state: b'S', flags: 6, threads: 3, start_time: 424_242 };
            assert_eq!(parse(line.as_bytes()), Some(stat), "{name:?}");
        }
        for bad in ["", "77 (sh", "77 (sh) S 1 2", "77 (sh) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x"] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn life_zombie_and_a_number_used_again() {
        let mut child = Command::new("/bin/sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        let identity = ProcessIdentity::read(child.id() as i32).unwrap();
        assert!(identity.is_alive().unwrap());
        let other = ProcessIdentity { start_time: identity.start_time + 1, ..identity };
        assert!(!other.is_alive().unwrap(), "another start time is another process");
        assert!(!other.signal(libc::SIGKILL).unwrap());
        assert!(identity.signal(0).unwrap(), "the other's signal must not have hit this one");
        assert!(identity.open_pidfd().unwrap().is_some());
        assert!(identity.signal(libc::SIGKILL).unwrap());
        // The zombie is there until it is waited for.
        let poll = identity_ends(&identity);
        assert!(poll, "killed");
        assert!(identity.open_pidfd().unwrap().is_none(), "a zombie is no process to work with");
        child.wait().unwrap();
        assert!(!identity.is_alive().unwrap());
        assert!(ProcessIdentity::read(identity.pid).is_err());
    }

    fn identity_ends(identity: &ProcessIdentity) -> bool {
        (0..200).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            !identity.is_alive().unwrap()
        })
    }

    #[test]
    fn a_process_that_never_executed_anything_is_told_from_one_that_did() {
        use crate::kernel::owned::fork_into;
        let mut executed = Command::new("/bin/true").stdin(Stdio::null()).spawn().unwrap();
        let identity = ProcessIdentity::read(executed.id() as i32).unwrap();
        assert!(identity_ends(&identity) && !identity.ended_before_exec().unwrap());
        executed.wait().unwrap();
        assert!(!identity.ended_before_exec().unwrap(), "nobody knows");
        let forked = fork_into(0, None, || 0).unwrap();
        let (identity, _) = ProcessIdentity::read_after_exec(forked.pid).unwrap();
        assert!(identity_ends(&identity) && identity.ended_before_exec().unwrap());
        assert!(ProcessIdentity::read_after_exec(forked.pid).unwrap().1);
        forked.end();
        assert!(!ProcessIdentity::read_after_exec(raw::getpid()).unwrap().1);
    }

    #[test]
    fn a_process_outlives_its_first_thread() {
        let stat = |state, threads| Stat { state, flags: 0, threads, start_time: 0 }.has_ended();
        assert_eq!((stat(b'Z', 1), stat(b'Z', 2), stat(b'S', 1)), (true, false, false));
    }
}
