//! Runs programs with a time limit, so that a hang is a failure with the output so far.

use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What a program left: status (128+n after signal n), standard output and error.
///
/// The output went to files, because a container started in the background holds its end open: [`Output::again`]
/// reads what has come since.
#[derive(Debug)]
pub struct Output {
    pub code: i32,
    pub out: String,
    pub err: String,
    what: String,
    files: [PathBuf; 2],
}

impl Output {
    /// Fails the test unless the status is 0.
    #[track_caller]
    pub fn ok(self) -> Output {
        self.code(0)
    }

    /// Fails the test unless the status is this one.
    #[track_caller]
    pub fn code(self, code: i32) -> Output {
        assert_eq!(self.code, code, "status of {}\nout: {}\nerr: {}", self.what, self.out, self.err);
        self
    }

    /// Fails the test if the program did not fail with status 1 and a message that contains all the words.
    #[track_caller]
    pub fn fails_with(self, words: &[&str]) -> Output {
        assert_ne!(self.code, 0, "{} should have failed\nout: {}\nerr: {}", self.what, self.out, self.err);
        for word in words {
            assert!(self.err.contains(word), "the message of {} lacks {word:?}: {}", self.what, self.err);
        }
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|e| panic!("{}: {e}\nout: {}\nerr: {}", self.what, self.out, self.err))
    }

    /// Standard output, line by line.
    pub fn lines(&self) -> Vec<&str> {
        self.out.lines().collect()
    }

    /// Standard output as it is now.
    pub fn again(&self) -> String {
        read(&self.files[0])
    }

    /// Standard error as it is now.
    pub fn again_err(&self) -> String {
        read(&self.files[1])
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

static COUNTER: AtomicUsize = AtomicUsize::new(0);

/// Runs a command to its end, at most `seconds` (times `KISTE_TEST_SLOW`); its output goes to files in `dir`.
/// Standard input is empty unless the command says otherwise.
#[track_caller]
pub fn run_command(command: &mut Command, dir: &Path, seconds: f64) -> Output {
    let n = COUNTER.fetch_add(1, Ordering::Relaxed);
    let files = [dir.join(format!("{n}.out")), dir.join(format!("{n}.err"))];
    let open = |path: &PathBuf| File::create(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    command.stdout(open(&files[0])).stderr(open(&files[1]));
    let what = format!("{command:?}");
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{what}: {e}"));
    let Some(status) = wait_for(&mut child, seconds) else {
        let _ = child.kill();
        let _ = child.wait();
        panic!("{what} hung for {seconds} s\nout: {}\nerr: {}", read(&files[0]), read(&files[1]));
    };
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Output { code, out: read(&files[0]), err: read(&files[1]), what, files }
}

/// Waits for a child's end, at most `seconds` (times `KISTE_TEST_SLOW`).
pub fn wait_for(child: &mut Child, seconds: f64) -> Option<std::process::ExitStatus> {
    let end = Instant::now() + Duration::from_secs_f64(seconds * super::slow());
    loop {
        if let Some(status) = child.try_wait().expect("wait") {
            return Some(status);
        }
        if Instant::now() > end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until something is so, at most ten seconds (times `KISTE_TEST_SLOW`).
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs_f64(10.0 * super::slow());
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The runtime with its own `--root`.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// The program.
    pub program: PathBuf,
    /// Folder of the output files, and working directory.
    pub dir: PathBuf,
    /// The state directory.
    pub root: PathBuf,
    /// Global options, before the command.
    pub options: Vec<String>,
}

impl Runtime {
    /// A command line of the runtime, for tests that set more on it.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.root).args(&self.options).args(words).current_dir(&self.dir);
        command.stdin(Stdio::null()).env_remove("NOTIFY_SOCKET").env_remove("LISTEN_FDS").env_remove("LISTEN_PID");
        command
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn call(&self, words: &[&str]) -> Output {
        run_command(&mut self.command(words), &self.dir, 30.0)
    }
}
