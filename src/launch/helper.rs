//! Runs a program in the parent and waits for it: bounded time, bounded output, nothing inherited.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::kernel::owned::{Forked, c_string, open};
use crate::kernel::raw;
use crate::kernel::spawn::{Program, file_of, kill_group, spawn};

/// How much of the end of a program's output an error quotes, in bytes.
const TAIL: usize = 2048;

/// A program to run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    /// Absolute path.
    pub(super) path: &'a str,
    /// argv.
    pub(super) args: &'a [String],
    /// The whole environment.
    pub(super) env: &'a [String],
    /// Working directory.
    pub(super) directory: &'a CStr,
    /// Files that standard output and standard error are appended to; nothing: their end is quoted in errors.
    pub(super) outputs: [Option<&'a str>; 2],
    /// Standard input; nothing: /dev/null.
    pub(super) input: Option<&'a [u8]>,
    /// When it is killed.
    pub(super) timeout: Option<Duration>,
}

impl Call<'_> {
    /// Runs it to its end.
    ///
    /// # Errors
    /// When it can't be run, does not end in time, or ends with another status than 0: then with the end of what it
    /// wrote to its standard output and error.
    pub(super) fn run(&self) -> Result<()> {
        let (forked, output) = self.start()?;
        let mut tail = Tail::default();
        let deadline = self.timeout.and_then(|time| Instant::now().checked_add(time));
        let in_time = wait_for_end(&forked, &output, deadline, &mut tail);
        if !matches!(in_time, Ok(true)) {
            let _ = kill_group(&forked);
            let _ = raw::pidfd_send_signal(forked.pidfd.as_raw_fd(), libc::SIGKILL);
        }
        let status = wait(forked.pid);
        tail.fill_from(&output);
        let failed = |what: String| Error::refused(format!("{} {what}{}", self.path, tail.quoted()));
        match (in_time, status) {
            (Err(errno), _) => Err(failed("cannot be waited for".to_owned()).call("poll", errno)),
            (Ok(false), _) => {
                Err(failed(format!("was killed after its time of {} s", self.timeout.unwrap_or_default().as_secs())))
            }
            (Ok(true), Err(errno)) => Err(failed("cannot be waited for".to_owned()).call("wait4", errno)),
            (Ok(true), Ok(status)) if libc::WIFSIGNALED(status) => {
                Err(failed(format!("was killed by signal {}", libc::WTERMSIG(status))))
            }
            (Ok(true), Ok(0)) => Ok(()),
            (Ok(true), Ok(status)) => Err(failed(format!("failed: exit status {}", libc::WEXITSTATUS(status)))),
        }
    }

    fn start(&self) -> Result<(Forked, OwnedFd)> {
        let failed =
            |call: &'static str| move |errno| Error::refused(format!("cannot run {}", self.path)).call(call, errno);
        if !self.path.starts_with('/') {
            return Err(Error::input(format!("\"{}\" is no absolute path", self.path.escape_default())));
        }
        let words = |words: &[String]| -> Result<Vec<CString>> {
            words.iter().map(|word| c_string(word.as_str()).map_err(failed("execve"))).collect()
        };
        let (arguments, environment) = (words(self.args)?, words(self.env)?);
        let path = c_string(self.path).map_err(failed("execve"))?;
        let input = match self.input {
            Some(bytes) => file_of(bytes).map_err(failed("memfd_create"))?,
            None => open(libc::AT_FDCWD, c"/dev/null", libc::O_RDONLY, 0).map_err(failed("open"))?,
        };
        let (output, writer) =
            nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|errno| failed("pipe2")(errno as i32))?;
        // Our end alone does not wait: the flag is of the open file, and each end of a pipe is one.
        raw::fcntl(output.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK as usize).map_err(failed("fcntl"))?;
        let append = |path: Option<&str>| path.map(|path| super::opening::append(path.as_ref())).transpose();
        let files = [append(self.outputs[0])?, append(self.outputs[1])?];
        let program = Program {
            path: &path,
            arguments: &arguments,
            environment: &environment,
            directory: self.directory,
            input: input.as_fd(),
            output: files[0].as_ref().map_or(writer.as_fd(), AsFd::as_fd),
            errors: files[1].as_ref().map_or(writer.as_fd(), AsFd::as_fd),
        };
        let forked = spawn(&program).map_err(failed("execve"))?;
        Ok((forked, output))
    }
}

/// Whether the program ended in time. Its end is what counts, not the pipe's: it may leave a daemon behind.
fn wait_for_end(forked: &Forked, output: &OwnedFd, deadline: Option<Instant>, tail: &mut Tail) -> Result<bool, i32> {
    let mut open = true;
    loop {
        let milliseconds = match deadline {
            None => -1,
            Some(deadline) => match deadline.checked_duration_since(Instant::now()) {
                None => return Ok(false),
                // Rounded up, so that the last wait is not a row of zeroes.
                Some(rest) => i64::try_from(rest.as_millis()).unwrap_or(i64::MAX / 1_000_000).saturating_add(1),
            },
        };
        let mut entries = [
            libc::pollfd { fd: forked.pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 },
            // A negative descriptor is passed over (poll(2)).
            libc::pollfd { fd: if open { output.as_raw_fd() } else { -1 }, events: libc::POLLIN, revents: 0 },
        ];
        match raw::poll(&mut entries, milliseconds) {
            Ok(_) | Err(libc::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        if entries[1].revents != 0 {
            open = tail.fill_from(output);
        }
        if entries[0].revents != 0 {
            return Ok(true);
        }
    }
}

fn wait(pid: i32) -> Result<i32, i32> {
    loop {
        match raw::wait4(pid, libc::__WALL) {
            Err(libc::EINTR) => {}
            other => return other.map(|(_, status)| status),
        }
    }
}

/// The last bytes of an output.
#[derive(Debug, Default)]
struct Tail {
    bytes: Vec<u8>,
    cut: bool,
}

impl Tail {
    /// Takes what is there now, at most 1 MiB at once; `false` at the end of the output.
    fn fill_from(&mut self, output: &OwnedFd) -> bool {
        let mut buffer = [0u8; 4096];
        for _ in 0..256 {
            match raw::read(output.as_raw_fd(), &mut buffer) {
                Ok(0) => return false,
                Ok(length) => self.push(&buffer[..length]),
                Err(libc::EINTR) => {}
                Err(libc::EAGAIN) => return true,
                Err(_) => return false,
            }
        }
        true
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        if let Some(over) = self.bytes.len().checked_sub(TAIL).filter(|over| *over > 0) {
            self.bytes.drain(..over);
            self.cut = true;
        }
    }

    /// `: "…"`, on one line and without control characters: it goes to terminals and logs.
    fn quoted(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        let text: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        match (text.is_empty(), self.cut) {
            (true, _) => String::new(),
            (false, false) => format!(": \"{text}\""),
            (false, true) => format!(": \"…{text}\""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (Vec<String>, Vec<String>) {
        (vec!["sh".into(), "-c".into(), script.into()], vec!["WORD=given".into()])
    }

    fn run(script: &str, input: Option<&[u8]>, timeout: Option<Duration>) -> Result<()> {
        let (args, env) = shell(script);
        Call { path: "/bin/sh", args: &args, env: &env, directory: c"/", outputs: [None; 2], input, timeout }.run()
    }

    #[test]
    fn status_and_output() {
        run("exit 0", None, None).unwrap();
        let error = run("echo one; echo two >&2; exit 3", None, None).unwrap_err().to_string();
        assert_eq!(error, "/bin/sh failed: exit status 3: \"one two\"");
        assert!(run("kill -9 $$", None, None).unwrap_err().to_string().contains("killed by signal 9"));
    }

    #[test]
    fn nothing_is_inherited() {
        // Of this process: no environment, no descriptor, no blocked or ignored signal.
        let script = "test \"$(env | grep -vE '^(PWD|SHLVL|_|OLDPWD)=')\" = WORD=given || exit 4
            test \"$(pwd)\" = / || exit 5
            ls -l /proc/self/fd >&2
            for f in /proc/self/fd/*; do n=${f##*/}; test $n -lt 3 || test ! -e $f || exit 6; done
            grep -q '^SigBlk:.0000000000000000$' /proc/self/status || exit 7
            grep '^SigIgn' /proc/self/status; test $(( 0x$(sed -n 's/^SigIgn:.//p' /proc/self/status) & 0x1000 )) = 0 || exit 8";
        let before = crate::kernel::parent::signal_mask(Some(u64::MAX)).unwrap();
        let result = run(script, None, None);
        crate::kernel::parent::signal_mask(Some(before)).unwrap();
        result.unwrap();
    }

    #[test]
    fn input_is_read_or_not() {
        run("test \"$(cat)\" = '{\"id\":\"a\"}'", Some(b"{\"id\":\"a\"}"), None).unwrap();
        run("exit 0", Some(&vec![b'x'; 1 << 20]), None).unwrap();
        run("test -z \"$(cat)\"", None, None).unwrap();
    }

    #[test]
    fn a_late_one_is_killed_with_its_children() {
        let before = Instant::now();
        let error = run("echo begun; sleep 77.5 & sleep 77.5", None, Some(Duration::from_millis(1500))).unwrap_err();
        assert!(before.elapsed() < Duration::from_secs(20));
        assert_eq!(error.to_string(), "/bin/sh was killed after its time of 1 s: \"begun\"");
    }

    #[test]
    fn a_daemon_does_not_hold_us() {
        let before = Instant::now();
        run("sleep 5 & exit 0", None, None).unwrap();
        assert!(before.elapsed() < Duration::from_secs(4));
    }

    #[test]
    fn endless_output_is_bounded_and_clean() {
        let error = run("head -c 300000 /dev/zero; printf '\\033[31mred'; exit 1", None, None).unwrap_err().to_string();
        assert!(error.len() < 2 * TAIL + 100 && error.ends_with("[31mred\""), "{error}");
        assert!(!error.contains('\x1b') && !error.contains('\0'));
    }

    #[test]
    fn what_can_not_run_says_why() {
        let call = |path| {
            Call { path, args: &[], env: &[], directory: c"/", outputs: [None; 2], input: None, timeout: None }.run()
        };
        assert_eq!(call("/no/such").unwrap_err().to_string(), "cannot run /no/such: execve: no such file or directory");
        assert_eq!(call("/dev/null").unwrap_err().to_string(), "cannot run /dev/null: execve: permission denied");
        assert!(call("sh").unwrap_err().to_string().contains("no absolute path"));
    }
}
