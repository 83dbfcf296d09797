//! The small languages on the command line: ids, signals, users, amounts of memory, durations, numbers.
//!
//! Each parser takes one word and gives a value or one sentence. Nothing is guessed: no signs, spaces, overflow or
//! trailing letters where a number is due (a uid once parsed as 0 was CVE-2026-30892).

use crate::error::{Error, Result};
use std::time::Duration;

/// A container's id, checked ([`crate::state::check_id`]).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(String);

impl Id {
    /// The id, if it is one.
    ///
    /// # Errors
    /// An input error that quotes the word.
    pub fn new(word: &str) -> Result<Self> {
        crate::state::check_id(word).map(|()| Id(word.to_owned()))
    }

    /// An id nobody has: `kiste-` and eight hexadecimal digits of chance.
    pub fn generated() -> Self {
        // RandomState takes its keys from getrandom(2); its hash of nothing is as good as they are.
        use std::hash::{BuildHasher, Hasher};
        let chance = std::collections::hash_map::RandomState::new().build_hasher().finish();
        Id(format!("kiste-{:08x}", (chance ^ (chance >> 32)) as u32))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Digits only, as a `u32` up to `most`.
fn digits(word: &str, most: u32) -> Option<u32> {
    let plain = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    word.parse().ok().filter(|number| plain && *number <= most)
}

/// A user or group id: 0 to 4294967294 (4294967295 is -1, which the kernel reads as "leave it alone").
///
/// # Errors
/// An input error that quotes the word.
pub fn id_number(word: &str) -> Result<u32> {
    digits(word, u32::MAX - 1).ok_or_else(|| {
        Error::input(format!("{word:?} is not a user or group id"))
            .hint("a number from 0 to 4294967294; names are not looked up")
    })
}

/// `UID` or `UID:GID`.
///
/// # Errors
/// An input error that quotes the word.
pub fn user(word: &str) -> Result<(u32, Option<u32>)> {
    match word.split_once(':') {
        None => Ok((id_number(word)?, None)),
        Some((uid, gid)) => Ok((id_number(uid)?, Some(id_number(gid)?))),
    }
}

/// A whole number that fits `u32`, like a count of file descriptors.
///
/// # Errors
/// An input error that quotes the word.
pub fn count(word: &str) -> Result<u32> {
    digits(word, u32::MAX).ok_or_else(|| Error::input(format!("{word:?} is not a number from 0 to 4294967295")))
}

/// A whole number, possibly negative.
///
/// # Errors
/// An input error that quotes the word.
pub fn integer(word: &str) -> Result<i64> {
    let plain = word.strip_prefix('-').unwrap_or(word);
    let whole = !plain.is_empty() && plain.bytes().all(|byte| byte.is_ascii_digit());
    word.parse().ok().filter(|_| whole).ok_or_else(|| Error::input(format!("{word:?} is not a whole number")))
}

/// A whole number from 0.
///
/// # Errors
/// An input error that quotes the word.
pub fn natural(word: &str) -> Result<u64> {
    let whole = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    word.parse().ok().filter(|_| whole).ok_or_else(|| Error::input(format!("{word:?} is not a whole number from 0")))
}

/// An amount of memory in bytes, as Docker writes it: `1048576`, `512m`, `1.5GiB`, `64 kb`; powers of 1024. `-1` means
/// no limit.
///
/// # Errors
/// An input error that quotes the word.
pub fn memory(word: &str) -> Result<i64> {
    let wrong = || Error::input(format!("{word:?} is not an amount of memory")).hint("like 1048576, 512m, 1.5g or -1");
    if word == "-1" {
        return Ok(-1);
    }
    let end = word.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.len());
    let (number, unit) = word.split_at(end);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let shift = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(wrong()),
    };
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(1 << shift).ok_or_else(wrong);
    }
    let (before, after) = number.split_once('.').ok_or_else(wrong)?;
    if before.is_empty() || after.is_empty() || after.contains('.') {
        return Err(wrong());
    }
    let bytes = number.parse::<f64>().map_err(|_| wrong())? * (1i64 << shift) as f64;
    // Above 2^53 a float is no longer a count of bytes.
    if bytes < 9e15 { Ok(bytes as i64) } else { Err(wrong()) }
}

/// A duration as Go writes it: one or more of `NUMBER` and `h`, `m`, `s`, `ms`, `us` or `ns`, like `1m30s` or `0.5s`.
///
/// # Errors
/// An input error that quotes the word.
pub fn duration(word: &str) -> Result<Duration> {
    let wrong = || Error::input(format!("{word:?} is not a duration")).hint("like 5s, 500ms or 1m30s");
    let (mut rest, mut seconds) = (word, 0f64);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..end].parse().map_err(|_| wrong())?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        seconds += number
            * match &rest[..end] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return Err(wrong()),
            };
        rest = &rest[end..];
    }
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !word.is_empty() && !duration.is_zero() => Ok(duration),
        _ => Err(wrong()),
    }
}

/// The names of the signals, without SIG. Source: signal(7).
const SIGNALS: &[(&str, i32)] = &[
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("IOT", libc::SIGIOT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("POLL", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

/// The first and the last realtime signal a program may use: the C library keeps 32 and 33 for itself. Source:
/// signal(7).
const REALTIME: (i32, i32) = (34, 64);

/// A signal's number from its number, its name with or without SIG in any case, `RTMIN+N` or `RTMAX-N`. 0 only asks
/// whether the process is there.
///
/// # Errors
/// An input error that quotes the word.
pub fn signal(word: &str) -> Result<i32> {
    let wrong = || Error::input(format!("unknown signal {word:?}"));
    if let Some(number) = digits(word, REALTIME.1 as u32) {
        return Ok(number as i32);
    }
    let upper = word.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = SIGNALS.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    let offset = |rest: &str, sign: char| match rest {
        "" => Some(0),
        rest => rest.strip_prefix(sign).and_then(|n| digits(n, (REALTIME.1 - REALTIME.0) as u32)),
    };
    if let Some(n) = name.strip_prefix("RTMIN").and_then(|rest| offset(rest, '+')) {
        return Ok(REALTIME.0 + n as i32);
    }
    if let Some(n) = name.strip_prefix("RTMAX").and_then(|rest| offset(rest, '-')) {
        return Ok(REALTIME.1 - n as i32);
    }
    Err(wrong())
}

/// A capability from its name with or without CAP_ in any case.
///
/// # Errors
/// An input error that quotes the word.
pub fn capability(word: &str) -> Result<caps::Capability> {
    let upper = word.to_ascii_uppercase();
    let name = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    name.parse().map_err(|_| Error::input(format!("unknown capability {word:?}")).hint("see capabilities(7)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_checked_and_can_be_made_up() {
        assert_eq!(Id::new("web-1").unwrap().as_str(), "web-1");
        assert!(Id::new("a/b").unwrap_err().to_string().contains("invalid container ID"));
        let (one, other) = (Id::generated(), Id::generated());
        assert_ne!(one, other);
        assert!(Id::new(one.as_str()).is_ok());
    }

    /// security.md INV-13: exact or an error, never 0.
    #[test]
    fn users_are_exact_numbers() {
        assert_eq!(user("1").unwrap(), (1, None));
        assert_eq!(user("1:2").unwrap(), (1, Some(2)));
        assert_eq!(user("0:0").unwrap(), (0, Some(0)));
        assert_eq!(user("4294967294").unwrap(), (4294967294, None));
        for bad in [
            "",
            ":",
            "1:",
            ":2",
            "+1",
            "-1",
            "1:-1",
            "1:+1",
            "4294967295",
            "4294967296",
            "0x1",
            "1 ",
            " 1",
            "1:2:3",
            "root",
            "1.0",
            "١",
        ] {
            assert!(user(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn signals_by_name_and_number() {
        for (word, number) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigterm", 15),
            ("kill", 9),
            ("9", 9),
            ("0", 0),
            ("64", 64),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX", 64),
            ("rtmax-1", 63),
            ("SIGPOLL", 29),
        ] {
            assert_eq!(signal(word).unwrap(), number, "{word}");
        }
        for bad in
            ["", "SIG", "65", "-9", "+9", "TERM ", "RTMIN3", "RTMIN+31", "RTMIN-1", "RTMAX+1", "SIGSIGTERM", "FOO"]
        {
            assert!(signal(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn memory_takes_suffixes() {
        for (word, bytes) in [
            ("-1", -1),
            ("0", 0),
            ("1048576", 1 << 20),
            ("512m", 512 << 20),
            ("512MB", 512 << 20),
            ("1GiB", 1 << 30),
            ("1.5g", 3 << 29),
            ("64 kb", 64 << 10),
            ("2T", 2 << 40),
            ("10b", 10),
        ] {
            assert_eq!(memory(word).unwrap(), bytes, "{word}");
        }
        for bad in [
            "",
            "m",
            "-2",
            "+1",
            "1x",
            "1.m",
            ".5g",
            "1..5g",
            "99999999p",
            "0x10",
            "1e3",
            "9999999999999999999",
            "1  k",
            "9000000.0g",
        ] {
            assert!(memory(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn durations_as_go_writes_them() {
        assert_eq!(duration("5s").unwrap(), Duration::from_secs(5));
        assert_eq!(duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(duration("1m30s").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("0.5s").unwrap(), Duration::from_millis(500));
        for bad in ["", "5", "s", "-5s", "5 s", "5x", "0s", "1.2.3s", "1e400h"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn numbers_and_capabilities() {
        assert_eq!(integer("-1").unwrap(), -1);
        assert_eq!(natural("7").unwrap(), 7);
        assert_eq!(count("3").unwrap(), 3);
        for bad in ["", "-", "+1", "1 ", "1.0", "0x1", "18446744073709551616"] {
            assert!(integer(bad).is_err() && natural(bad).is_err() && count(bad).is_err(), "{bad:?}");
        }
        for good in ["CAP_NET_ADMIN", "net_admin", "cap_net_admin"] {
            assert_eq!(capability(good).unwrap(), caps::Capability::CAP_NET_ADMIN);
        }
        assert!(capability("CAP_NONSENSE").is_err());
    }
}
