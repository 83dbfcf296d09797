//! What CRIU's log says, in an error that people read: its last lines of level error, and for the ones that are known,
//! what would help.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use crate::error::Error;

/// How much of the log's end is looked at, in bytes (INV-20).
const END: u64 = 128 << 10;
/// How many lines are quoted.
const LINES: usize = 3;
/// How long a quoted line may be, in characters.
const LONGEST: usize = 300;

/// What CRIU says, and what would help.
const KNOWN: &[(&str, &str)] = &[
    ("Connected TCP socket", "--tcp-established makes connections part of the checkpoint, --tcp-close closes them"),
    ("In-flight connection", "--tcp-skip-in-flight leaves connections in the making out"),
    ("External socket is used", "a unix socket's other end is outside the container: --ext-unix-sk"),
    ("Can't dump half of stream unix connection", "CRIU can't save a stream whose other end is outside the container"),
    ("--shell-job", "the container uses the caller's terminal: --shell-job"),
    ("Found dangling tty", "the container uses a terminal that is not its own: --shell-job"),
    ("file-locks", "the container holds file locks: --file-locks"),
    ("Can't create link remap", "an open file has no name any more: --link-remap"),
    ("link-remap", "an open file has no name any more: --link-remap"),
    ("has unreachable sharing", "a mount is a slave of a mount that the container does not have"),
    ("Can't lookup mount=", "a process has a file open that lies outside the container"),
    (
        "has bad size",
        "a file has changed since the checkpoint, or is not the one that was given on 0 to 2; pipes may be others",
    ),
    ("Can't find iptables", "install iptables or nftables, or use --network-lock skip"),
    ("Can't bind inet socket", "the address is in use or not on this host"),
    ("Pid ", "a process id of the container is in use: give it a pid namespace of its own"),
];

/// The error with the log's words and the log's place.
pub(super) fn explain(error: Error, log: &Path) -> Error {
    let Some(text) = end_of(log) else { return error };
    let Some(lines) = errors(&text) else { return error.hint(format!("its log is {}", log.display())) };
    let help = KNOWN.iter().find(|(words, _)| lines.contains(words)).map(|(_, help)| format!("{help}; "));
    let what = format!("{}: {lines}", error.what);
    Error { what, ..error }.hint(format!("{}its log is {}", help.unwrap_or_default(), log.display()))
}

/// What CRIU also calls errors: consequences, and probes of what it can do without.
const NOISE: &[&str] = &[
    "Dumping FAILED",
    "Restoring FAILED",
    "cgroupd: recv req error",
    "Can't setup RLIMIT_NOFILE for self",
    "tun: Unable to create tun",
];

fn end_of(path: &Path) -> Option<String> {
    let mut file = std::fs::File::open(path).ok()?;
    let length = file.metadata().ok().filter(std::fs::Metadata::is_file)?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(END))).ok()?;
    let mut bytes = Vec::new();
    file.take(END).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last errors of a log, quoted; what was the matter comes before its consequences.
pub(super) fn errors(log: &str) -> Option<String> {
    let is_noise = |line: &str| NOISE.iter().any(|words| line.contains(words));
    let lines: Vec<&str> = log
        .lines()
        .filter_map(|line| line.split_once("Error (").map(|(_, rest)| rest))
        // `(criu/files.c:123): words`
        .map(|rest| rest.split_once("): ").map_or(rest, |(_, words)| words))
        .filter(|line| !is_noise(line))
        .collect();
    let last = lines.len().saturating_sub(LINES);
    let quoted: Vec<String> = lines[last..].iter().map(|line| format!("\"{}\"", clean(line))).collect();
    if quoted.is_empty() { None } else { Some(quoted.join(", ")) }
}

/// On one line, bounded and without control characters: it goes to terminals and logs.
pub(super) fn clean(text: &str) -> String {
    text.trim().chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_quoted_and_known_ones_get_a_hint() {
        let text = "(00.1) Running\n(00.2) Error (criu/sk-inet.c:191): inet: Connected TCP socket, consider using --tcp-established option.\x1b[31m\n\
            (00.3) Error (criu/cr-dump.c:2111): Dumping FAILED.\n";
        let path = std::env::temp_dir().join(format!("kiste-log-test-{}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let error = explain(Error::refused("CRIU failed"), &path).to_string();
        std::fs::remove_file(&path).unwrap();
        assert!(error.starts_with("CRIU failed: \"inet: Connected TCP socket, consider"), "{error}");
        assert!(error.contains("(--tcp-established makes") && error.contains("its log is /"), "{error}");
        assert!(!error.contains('\x1b') && !error.contains("FAILED"), "{error}");
        assert_eq!(errors("(00.1) all is well\n"), None);
        assert_eq!(explain(Error::refused("x"), Path::new("/no/such")).to_string(), "x");
    }
}
