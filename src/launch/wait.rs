//! The foreground wait: passes signals on, keeps the terminal going, reaps, and ends with the first process's status.
//!
//! In the plain case (no terminal, no notify socket) that is two system calls: rt_sigtimedwait(2), which gives SIGCHLD,
//! and wait4(2).

use std::os::fd::{AsRawFd, OwnedFd};

use crate::error::{Error, Result};
use crate::kernel::owned::{Forked, own};
use crate::kernel::{parent, raw};

use super::console::Console;
use super::notify_socket::Proxy;
use super::signals::{Blocked, Reaction, reaction};

/// What the runtime waits for, and serves meanwhile.
#[derive(Debug)]
pub struct Foreground<'a> {
    /// The first process, a child of this one.
    pub init: &'a Forked,
    /// Its terminal.
    pub console: Option<Console>,
    /// Its notify socket.
    pub notify: Option<Proxy>,
    /// It shares the session of this process: the terminal's own signals have reached it already.
    pub same_session: bool,
}

/// Processes that lose their parent in the container's absence of a pid namespace become children of this one and are
/// reaped (`PR_SET_CHILD_SUBREAPER`, prctl(2)). Not needed where the container has its own pid namespace.
///
/// # Errors
/// When prctl(2) fails.
pub fn become_subreaper() -> Result<()> {
    raw::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        .map(drop)
        .map_err(|errno| Error::refused("cannot become a subreaper").call("prctl", errno))
}

/// The shell's number for a wait status: the exit status, or 128 and the signal.
pub fn exit_status(status: i32) -> i32 {
    if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) }
}

impl Foreground<'_> {
    /// Waits for the end of the first process and gives its exit status, 128+n for signal n. The terminal is as before
    /// afterwards, all output is written.
    ///
    /// # Errors
    /// When waiting itself fails.
    pub fn wait(mut self, _signals: &Blocked) -> Result<i32> {
        if self.console.is_none() && self.notify.is_none() {
            loop {
                if let Some(status) = self.next_signal(-1)? {
                    return Ok(exit_status(status));
                }
            }
        }
        self.serve()
    }

    /// The loop for terminal and notify socket.
    fn serve(&mut self) -> Result<i32> {
        let signals = parent::signal_descriptor(u64::MAX).map(own).map_err(failed("signalfd"))?;
        loop {
            self.poll(&signals)?;
            // Several may be pending; each has its own meaning.
            for _ in 0..64 {
                match self.next_signal(0) {
                    Ok(Some(status)) => {
                        self.flush(&signals)?;
                        return Ok(exit_status(status));
                    }
                    Ok(None) => {}
                    Err(error) if error.errno == Some(libc::EAGAIN) => break,
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// Waits for whatever comes first and serves terminal and notify socket.
    fn poll(&mut self, signals: &OwnedFd) -> Result<()> {
        let nothing = libc::pollfd { fd: -1, events: 0, revents: 0 };
        let console = self.console.as_ref().map_or([nothing; 3], Console::entries);
        let mut entries = [
            console[0],
            console[1],
            console[2],
            libc::pollfd { fd: signals.as_raw_fd(), events: libc::POLLIN, revents: 0 },
            libc::pollfd { fd: self.notify.as_ref().map_or(-1, Proxy::descriptor), events: libc::POLLIN, revents: 0 },
        ];
        match raw::poll(&mut entries, -1) {
            Ok(_) | Err(libc::EINTR) => {}
            Err(errno) => return Err(failed("poll")(errno)),
        }
        if let Some(console) = &mut self.console {
            console.handle(&[entries[0], entries[1], entries[2]]);
        }
        // A host that has gone away doesn't end the container.
        if entries[4].revents != 0 && self.notify.as_mut().is_some_and(|notify| notify.handle().is_err()) {
            self.notify = None;
        }
        Ok(())
    }

    /// The first process has ended: what it wrote goes out, unless the caller is tired of waiting for its own terminal.
    fn flush(&mut self, signals: &OwnedFd) -> Result<()> {
        let Some(console) = &mut self.console else { return Ok(()) };
        while !console.finish() {
            let [_, _, output] = console.entries();
            let mut entries = [output, libc::pollfd { fd: signals.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
            match raw::poll(&mut entries, -1) {
                Ok(_) | Err(libc::EINTR) => {}
                Err(errno) => return Err(failed("poll")(errno)),
            }
            while let Ok(received) = parent::wait_signal(u64::MAX, 0) {
                if matches!(received.signal, libc::SIGINT | libc::SIGTERM | libc::SIGHUP | libc::SIGQUIT) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Takes one signal; the first process's wait status if it has ended. `EAGAIN` when none came in time.
    fn next_signal(&mut self, milliseconds: i64) -> Result<Option<i32>> {
        let received = match parent::wait_signal(u64::MAX, milliseconds) {
            Ok(received) => received,
            Err(libc::EINTR) => return Ok(None),
            Err(errno) => return Err(failed("rt_sigtimedwait")(errno)),
        };
        match reaction(received, self.same_session) {
            Reaction::Reap => return self.reap(),
            Reaction::Resize => {
                if let Some(console) = &mut self.console {
                    console.resize();
                }
            }
            Reaction::Forward(signal) => {
                // ESRCH: it has just ended, and SIGCHLD is on its way. Other refusals concern this signal alone.
                let _ = raw::pidfd_send_signal(self.init.pidfd.as_raw_fd(), signal);
            }
            Reaction::Ignore => {}
        }
        Ok(None)
    }

    /// One SIGCHLD may stand for many children. Those before the first process are other's orphans.
    fn reap(&self) -> Result<Option<i32>> {
        loop {
            match raw::wait4(-1, libc::WNOHANG | libc::__WALL) {
                Ok((pid, status)) if pid == self.init.pid => return Ok(Some(status)),
                Ok((0, _)) => return Ok(None),
                Ok(_) | Err(libc::EINTR) => {}
                Err(errno) => return Err(failed("wait4")(errno)),
            }
        }
    }
}

fn failed(call: &'static str) -> impl Fn(i32) -> Error {
    move |errno| Error::refused("cannot wait for the container").call(call, errno)
}

#[cfg(test)]
mod tests {
    //! The wait wants a process with one thread, which a test harness is not: each case runs in a child of a fresh
    //! process of this test binary, whose other threads sleep by then.

    use super::*;
    use crate::kernel::owned::fork_into;
    use std::io::{Read, Write};
    use std::process::{Command, Stdio};

    /// Runs a case; gives its status and what it wrote to descriptor 1.
    fn run(case: &str, input: &[u8]) -> (i32, Vec<u8>) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "launch::wait::tests::inner", "--ignored", "--nocapture", "-q"])
            .env("KISTE_WAIT_CASE", case)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let mut output = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut output).unwrap();
        (child.wait().unwrap().code().unwrap(), output)
    }

    #[test]
    #[ignore = "run by the others, in a process of its own"]
    fn inner() {
        let Ok(case) = std::env::var("KISTE_WAIT_CASE") else { return };
        let body = || {
            crate::kernel::guard::lift();
            std::panic::catch_unwind(|| self::case(&case)).unwrap_or(99)
        };
        let child = fork_into(0, None, body).unwrap();
        let (_, status) = raw::wait4(child.pid, 0).unwrap();
        std::process::exit(exit_status(status));
    }

    fn nap(milliseconds: i64) {
        let _ = raw::poll(&mut [], milliseconds);
    }

    fn case(case: &str) -> i32 {
        let signals = Blocked::all().unwrap();
        let runtime = raw::getpid();
        let plain = |body: &dyn Fn() -> i32| {
            let init = fork_into(0, None, || {
                crate::kernel::guard::lift();
                let _ = raw::set_signal_mask(0);
                body()
            })
            .unwrap();
            Foreground { init: &init, console: None, notify: None, same_session: false }.wait(&signals).unwrap()
        };
        match case {
            "exit" => plain(&|| 7),
            "forward" => plain(&|| {
                // Ignored, not passed on: SIGURG; passed on and deadly: SIGTERM.
                let _ = raw::kill(runtime, libc::SIGURG);
                let _ = raw::kill(runtime, libc::SIGTERM);
                nap(10_000);
                1
            }),
            "orphans" => {
                become_subreaper().unwrap();
                plain(&|| {
                    // Each grandchild loses its parent and ends before the first process does.
                    for _ in 0..20 {
                        let middle = fork_into(0, None, || {
                            let _ = fork_into(0, None, || 3);
                            0
                        });
                        let _ = raw::wait4(middle.unwrap().pid, 0);
                    }
                    nap(300);
                    // None may be left as a zombie.
                    let of_runtime =
                        std::fs::read_to_string(format!("/proc/{runtime}/task/{runtime}/children")).unwrap();
                    of_runtime.split_whitespace().count() as i32
                })
            }
            "terminal" => terminal(&signals),
            "reopen" => reopen(&signals),
            "raw" => raw_mode(&signals, runtime),
            _ => 98,
        }
    }

    fn terminal_of(signals: &Blocked, body: &dyn Fn(i32) -> i32) -> i32 {
        let pty = nix::pty::openpty(None, None).unwrap();
        let slave = pty.slave.as_raw_fd();
        let master = pty.master.as_raw_fd();
        let init = fork_into(0, None, || {
            crate::kernel::guard::lift();
            let _ = raw::set_signal_mask(0);
            let _ = raw::close(master);
            let _ = raw::setsid();
            let _ = raw::ioctl(slave, libc::TIOCSCTTY, 0);
            for descriptor in 0..3 {
                let _ = raw::dup3(slave, descriptor, 0);
            }
            body(slave)
        })
        .unwrap();
        drop(pty.slave);
        let console = Console::new(pty.master).unwrap();
        Foreground { init: &init, console: Some(console), notify: None, same_session: false }.wait(signals).unwrap()
    }

    /// Reads a line, writes 300,000 bytes and ends at once: all of them must arrive.
    fn terminal(signals: &Blocked) -> i32 {
        terminal_of(signals, &|slave| {
            let mut line = [0u8; 64];
            let Ok(length) = raw::read(slave, &mut line) else { return 1 };
            let _ = raw::write(slave, b"<");
            let _ = raw::write(slave, &line[..length - 1]);
            let _ = raw::write(slave, b">");
            let mut left = 300_000;
            while left > 0 {
                match raw::write(slave, &vec![b'x'; left.min(10_000)]) {
                    Ok(length) => left -= length,
                    Err(_) => return 2,
                }
            }
            5
        })
    }

    /// Closes its terminal, as an init does, and opens it again later.
    fn reopen(signals: &Blocked) -> i32 {
        terminal_of(signals, &|slave| {
            let Ok(name) = std::fs::read_link(format!("/proc/self/fd/{slave}")) else { return 1 };
            let _ = raw::close_range(0, u32::MAX, 0);
            nap(200);
            match std::fs::write(&name, "again") {
                Ok(()) => 0,
                Err(_) => 2,
            }
        })
    }

    /// The caller has a terminal: raw while the container runs, its size is the container's.
    fn raw_mode(signals: &Blocked, runtime: i32) -> i32 {
        use nix::sys::termios::{LocalFlags, tcgetattr};
        let host = nix::pty::openpty(None, None).unwrap();
        let _ = raw::set_window_size(host.master.as_raw_fd(), 40, 100);
        for descriptor in 0..2 {
            raw::dup3(host.slave.as_raw_fd(), descriptor, 0).unwrap();
        }
        let before = tcgetattr(&host.slave).unwrap();
        assert!(before.local_flags.contains(LocalFlags::ECHO | LocalFlags::ICANON));
        let until = |wanted: (u16, u16)| {
            (0..100).any(|_| {
                nap(50);
                parent::window_size(2) == Ok(wanted)
            })
        };
        let status = terminal_of(signals, &|_| {
            if !until((40, 100)) {
                return 1;
            }
            let during = tcgetattr(&host.slave).unwrap();
            if during.local_flags.intersects(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG) {
                return 2;
            }
            let _ = raw::set_window_size(host.master.as_raw_fd(), 50, 120);
            let _ = raw::kill(runtime, libc::SIGWINCH);
            if until((50, 120)) { 0 } else { 3 }
        });
        if tcgetattr(&host.slave).unwrap() == before { status } else { 4 }
    }

    #[test]
    fn the_status_is_the_shells() {
        assert_eq!(run("exit", b"").0, 7);
        assert_eq!(exit_status(libc::SIGKILL), 137);
    }

    #[test]
    fn signals_go_on() {
        assert_eq!(run("forward", b"").0, 128 + libc::SIGTERM);
    }

    #[test]
    fn orphans_are_reaped() {
        // The first process alone is left.
        assert_eq!(run("orphans", b"").0, 1);
    }

    #[test]
    fn the_last_output_arrives() {
        for _ in 0..5 {
            let (status, output) = run("terminal", b"hello\n");
            assert_eq!(status, 5);
            let text = String::from_utf8_lossy(&output);
            assert!(text.contains("<hello>"), "{}", &text[..text.len().min(200)]);
            assert_eq!(output.iter().filter(|byte| **byte == b'x').count(), 300_000);
        }
    }

    #[test]
    fn a_terminal_that_is_closed_is_no_end() {
        let (status, output) = run("reopen", b"");
        assert_eq!((status, output.ends_with(b"again")), (0, true), "{}", String::from_utf8_lossy(&output));
    }

    #[test]
    fn the_callers_terminal_is_raw_meanwhile_and_gives_its_size() {
        assert_eq!(run("raw", b"").0, 0);
    }
}
