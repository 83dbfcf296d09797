//! Log messages as callers parse them: a line of text or of JSON, appended to `--log`, or a datagram to journald or
//! syslog. One message is one write, so messages of processes that share a file do not mix.
//!
//! Not for the child half of a launch: these functions allocate.

use crate::error::{Error, Result};
use crate::time::rfc3339;
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

/// How important a message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What kiste does.
    Debug,
    /// Something asked for could not be done, but the container works.
    #[default]
    Warning,
    /// The command failed.
    Error,
}

impl Level {
    /// The word in a log line, the one runc writes.
    pub fn word(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }

    /// The severity of syslog(3).
    fn severity(self) -> u8 {
        match self {
            Level::Debug => 7,
            Level::Warning => 4,
            Level::Error => 3,
        }
    }
}

/// How a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `time="…" level=error msg="…"`.
    #[default]
    Text,
    /// `{"level":"error","msg":"…","time":"…"}`.
    Json,
}

/// Where messages go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// Standard error only.
    #[default]
    StandardError,
    /// A file, appended to.
    File(PathBuf),
    /// journald, with this identifier.
    Journald(String),
    /// syslog, with this identifier.
    Syslog(String),
}

/// `--log`, `--log-format`, `--log-level` and `--debug` together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Where.
    pub target: Target,
    /// How.
    pub format: Format,
    /// What at least.
    pub least: Level,
}

enum Sink {
    StandardError,
    File(File),
    Datagram(UnixDatagram, &'static Path),
}

struct Log {
    settings: Settings,
    sink: Sink,
}

static LOG: OnceLock<Log> = OnceLock::new();

const JOURNALD: &str = "/run/systemd/journal/socket";
const SYSLOG: &str = "/dev/log";

/// Opens the log, once, before anything else is done: a log that cannot be written must not come to light only when
/// it is needed.
///
/// # Errors
/// The file or the socket cannot be opened.
pub fn open(settings: Settings) -> Result<()> {
    let sink = match &settings.target {
        Target::StandardError => Sink::StandardError,
        Target::File(path) => Sink::File(append(path)?),
        Target::Journald(_) => Sink::Datagram(socket()?, Path::new(JOURNALD)),
        Target::Syslog(_) => Sink::Datagram(socket()?, Path::new(SYSLOG)),
    };
    // A second opening is ignored: the first one holds.
    LOG.set(Log { settings, sink }).ok();
    Ok(())
}

/// O_APPEND|O_CREAT|O_CLOEXEC (Rust sets the last), and no controlling terminal by accident.
fn append(path: &Path) -> Result<File> {
    let flags = libc::O_NOCTTY;
    File::options().append(true).create(true).mode(0o644).custom_flags(flags).open(path).map_err(|error| {
        Error::input(format!("cannot open the log {}", path.display()))
            .at(&crate::error::Origin::fixed("--log"))
            .io("open", &error)
    })
}

fn socket() -> Result<UnixDatagram> {
    UnixDatagram::unbound().map_err(|error| Error::refused("cannot make a socket for the log").io("socket", &error))
}

/// Logs the failure of the command, and prints it to standard error as `kiste: …`, whatever the log is.
pub fn error(message: &str) {
    let log = LOG.get();
    if let Some(log) = log {
        log.write(Level::Error, message);
    }
    eprint(message);
}

/// Logs that something asked for could not be done; to standard error if there is no log.
pub fn warning(message: &str) {
    at(Level::Warning, message);
}

/// Logs what kiste does, if `--debug` was given.
pub fn debug(message: &str) {
    at(Level::Debug, message);
}

fn at(level: Level, message: &str) {
    match LOG.get() {
        Some(log) if level < log.settings.least => {}
        Some(log) if !matches!(log.sink, Sink::StandardError) => log.write(level, message),
        Some(_) => eprint(message),
        // Before the log is open only what matters is said.
        None if level >= Level::Warning => eprint(message),
        None => {}
    }
}

/// Standard error may be closed or full; there is nobody left to tell.
fn eprint(message: &str) {
    std::io::stderr().write_all(format!("kiste: {message}\n").as_bytes()).ok();
}

impl Log {
    fn write(&self, level: Level, message: &str) {
        if level < self.settings.least {
            return;
        }
        // A message that cannot be logged (disk full, no journald) is lost: failing for it would be worse.
        match &self.sink {
            Sink::StandardError => {}
            Sink::File(file) => {
                let mut file = file;
                file.write_all(line(self.settings.format, level, message, &rfc3339(SystemTime::now())).as_bytes()).ok();
            }
            Sink::Datagram(socket, address) => {
                let bytes = match &self.settings.target {
                    Target::Journald(identifier) => journal_entry(identifier, level, message),
                    Target::Syslog(identifier) => syslog_entry(identifier, level, message, std::process::id()),
                    _ => return,
                };
                socket.send_to(&bytes, address).ok();
            }
        }
    }
}

/// One line, with its newline.
pub fn line(format: Format, level: Level, message: &str, time: &str) -> String {
    match format {
        Format::Text => format!("time=\"{time}\" level={} msg={}\n", level.word(), quoted(message)),
        Format::Json => {
            format!("{{\"level\":\"{}\",\"msg\":{},\"time\":\"{time}\"}}\n", level.word(), quoted(message))
        }
    }
}

/// A JSON string, which is also what logrus' text format takes.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// journald's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): `KEY=value` lines, or for values with newlines the
/// key, a newline, the length as 64 bits little endian, and the value.
fn journal_entry(identifier: &str, level: Level, message: &str) -> Vec<u8> {
    let mut entry = Vec::new();
    let severity = level.severity().to_string();
    for (key, value) in
        [("PRIORITY", severity.as_str()), ("SYSLOG_IDENTIFIER", "kiste"), ("ID", identifier), ("MESSAGE", message)]
    {
        entry.extend_from_slice(key.as_bytes());
        if value.contains('\n') {
            entry.push(b'\n');
            entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            entry.push(b'=');
        }
        entry.extend_from_slice(value.as_bytes());
        entry.push(b'\n');
    }
    entry
}

/// What syslog(3) sends to /dev/log, without a time stamp (the daemon adds its own): facility user, severity,
/// identifier, process id, message.
fn syslog_entry(identifier: &str, level: Level, message: &str, pid: u32) -> Vec<u8> {
    format!("<{}>{identifier}[{pid}]: {}", 8 + level.severity(), message.replace('\n', " ")).into_bytes()
}

/// `--log`'s value: `file:PATH`, `journald:ID`, `syslog:ID`, or a path.
///
/// # Errors
/// An identifier that is empty.
pub fn target(value: &std::ffi::OsStr) -> Result<Target> {
    let bytes = value.as_bytes();
    let named = |prefix: &str| bytes.strip_prefix(prefix.as_bytes());
    let identifier = |rest: &[u8]| match String::from_utf8(rest.to_vec()) {
        Ok(text) if !text.is_empty() && !text.contains('\n') => Ok(text),
        _ => Err(Error::input("the log needs an identifier").at(&crate::error::Origin::fixed("--log"))),
    };
    if let Some(rest) = named("journald:") {
        return Ok(Target::Journald(identifier(rest)?));
    }
    if let Some(rest) = named("syslog:") {
        return Ok(Target::Syslog(identifier(rest)?));
    }
    let path = Path::new(std::ffi::OsStr::from_bytes(named("file:").unwrap_or(bytes)));
    // runc's default, and what people write to say so.
    if path.as_os_str().is_empty() || path == Path::new("/dev/stderr") {
        return Ok(Target::StandardError);
    }
    Ok(Target::File(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_what_callers_parse() {
        let time = "2026-11-22T11:07:48Z";
        let json = line(Format::Json, Level::Error, "a \"b\"\n\u{1}", time);
        assert_eq!(json, "{\"level\":\"error\",\"msg\":\"a \\\"b\\\"\\n\\u0001\",\"time\":\"2026-11-22T11:07:48Z\"}\n");
        let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(parsed["msg"], "a \"b\"\n\u{1}");
        let text = line(Format::Text, Level::Warning, "x y", time);
        assert_eq!(text, "time=\"2026-11-22T11:07:48Z\" level=warning msg=\"x y\"\n");
    }

    #[test]
    fn targets() {
        let target = |word: &str| target(std::ffi::OsStr::new(word));
        assert_eq!(target("/a/log.json").unwrap(), Target::File("/a/log.json".into()));
        assert_eq!(target("file:/a").unwrap(), Target::File("/a".into()));
        assert_eq!(target("journald:web").unwrap(), Target::Journald("web".into()));
        assert_eq!(target("syslog:web").unwrap(), Target::Syslog("web".into()));
        assert_eq!(target("/dev/stderr").unwrap(), Target::StandardError);
        assert!(target("journald:").is_err() && target("syslog:").is_err());
    }

    #[test]
    fn datagrams_carry_the_message() {
        let entry = journal_entry("web", Level::Error, "a\nb");
        let mut expected = b"PRIORITY=3\nSYSLOG_IDENTIFIER=kiste\nID=web\nMESSAGE\n".to_vec();
        expected.extend([3, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend(b"a\nb\n");
        assert_eq!(entry, expected);
        assert_eq!(syslog_entry("web", Level::Warning, "a\nb", 7), b"<12>web[7]: a b");
    }

    #[test]
    fn a_file_is_appended_to_line_by_line() {
        let path = std::env::temp_dir().join(format!("kiste-log-{}", std::process::id()));
        std::fs::write(&path, "before\n").unwrap();
        let settings = Settings { target: Target::File(path.clone()), format: Format::Json, least: Level::Warning };
        let log = Log { sink: Sink::File(append(&path).unwrap()), settings };
        log.write(Level::Debug, "unseen");
        log.write(Level::Error, "seen");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0], "before");
        assert!(lines[1].starts_with("{\"level\":\"error\",\"msg\":\"seen\",\"time\":\"20"), "{}", lines[1]);
        assert!(append(Path::new("/nonexistent/log")).unwrap_err().to_string().starts_with("--log: cannot open"));
    }
}
