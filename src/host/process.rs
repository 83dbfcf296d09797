//! What this process is: its id maps, capabilities and signals.

use std::ffi::CStr;
use std::os::fd::AsRawFd;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::kernel::owned::{open, own, read_text};
use crate::kernel::{parent, raw};

/// A line of uid_map or gid_map (user_namespaces(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdRange {
    /// First id inside the namespace.
    pub inside: u32,
    /// First id as the reader's namespace sees it.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// The first user namespace's inode, `PROC_USER_INIT_INO` of include/linux/proc_ns.h: fixed since Linux 3.8.
const FIRST_USER_NAMESPACE: &[u8] = b"user:[4026531837]";

/// One readlink(2) tells what reading both maps would not: a nested namespace may map all ids, too.
pub(super) fn in_user_namespace() -> Result<bool> {
    let mut target = [0u8; 64];
    match raw::readlinkat(libc::AT_FDCWD, c"/proc/self/ns/user", &mut target) {
        Ok(length) => Ok(&target[..length] != FIRST_USER_NAMESPACE),
        // A kernel without user namespaces has the first alone; a /proc that isn't there is another matter.
        Err(libc::ENOENT) if std::path::Path::new("/proc/self/ns/mnt").exists() => Ok(false),
        Err(errno) => Err(Error::refused("cannot read /proc/self/ns/user").call("readlink", errno)),
    }
}

/// What `/proc/self/setgroups` says (user_namespaces(7)).
pub(super) fn setgroups_denied() -> Result<bool> {
    Ok(read(c"/proc/self/setgroups")?.trim() == "deny")
}

/// Which of this process's namespaces belong to none but an outer user namespace: `NS_GET_USERNS` (ioctl_nsfs(2)) gives
/// `EPERM` for those.
pub(super) fn foreign_namespaces() -> Result<u64> {
    const GET_USERNS: u64 = 0xb701;
    const KINDS: [(&std::ffi::CStr, i32); 6] = [
        (c"/proc/self/ns/mnt", libc::CLONE_NEWNS),
        (c"/proc/self/ns/net", libc::CLONE_NEWNET),
        (c"/proc/self/ns/pid", libc::CLONE_NEWPID),
        (c"/proc/self/ns/ipc", libc::CLONE_NEWIPC),
        (c"/proc/self/ns/uts", libc::CLONE_NEWUTS),
        (c"/proc/self/ns/cgroup", libc::CLONE_NEWCGROUP),
    ];
    let mut foreign = 0;
    for (path, flag) in KINDS {
        let failed = |call: &'static str, errno: i32| {
            Error::refused(format!("cannot find out whose {} is", path.to_string_lossy())).call(call, errno)
        };
        let file = match open(libc::AT_FDCWD, path, libc::O_RDONLY, 0) {
            Ok(file) => file,
            // A kernel without this kind of namespace.
            Err(libc::ENOENT) => continue,
            Err(errno) => return Err(failed("open", errno)),
        };
        match raw::ioctl(file.as_raw_fd(), GET_USERNS, 0) {
            Ok(owner) => drop(own(owner as i32)),
            Err(libc::EPERM) => foreign |= flag as u64,
            Err(errno) => return Err(failed("ioctl(NS_GET_USERNS)", errno)),
        }
    }
    Ok(foreign)
}

/// A descriptor of the caller's, twice: it stays open when the copy is closed.
///
/// # Errors
/// When it is not open.
pub fn duplicate(descriptor: i32) -> std::io::Result<std::os::fd::OwnedFd> {
    let copy = raw::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 3).map_err(std::io::Error::from_raw_os_error)?;
    Ok(crate::kernel::owned::own(copy as i32))
}

/// This process's own hard limit for a resource (`RLIMIT_*`, getrlimit(2)); `None` for one the kernel does not know.
pub fn hard_limit(resource: u32) -> Option<u64> {
    parent::hard_limit(resource).ok()
}

/// Whether a descriptor came from the caller: it is open and stays so over execve(2). Kiste's own all close there.
pub fn is_inherited(descriptor: i32) -> bool {
    raw::fcntl(descriptor, libc::F_GETFD, 0) == Ok(0)
}

/// The map of the first user namespace.
pub(super) fn all_ids() -> Vec<IdRange> {
    vec![IdRange { inside: 0, outside: 0, count: u32::MAX }]
}

fn read(path: &CStr) -> Result<String> {
    read_text(path)
        .map_err(|(call, errno)| Error::refused(format!("cannot read {}", path.to_string_lossy())).call(call, errno))
}

pub(super) fn id_map(path: &CStr) -> Result<Vec<IdRange>> {
    let text = read(path)?;
    let refused = || Error::refused(format!("{} is not as user_namespaces(7) says", path.to_string_lossy()));
    parse_id_map(&text).ok_or_else(refused)
}

fn parse_id_map(text: &str) -> Option<Vec<IdRange>> {
    text.lines()
        .map(|line| {
            let mut numbers = line.split_ascii_whitespace().map(|word| word.parse::<u32>().ok());
            let range = IdRange { inside: numbers.next()??, outside: numbers.next()??, count: numbers.next()?? };
            numbers.next().is_none().then_some(range)
        })
        .collect()
}

/// The lines of /proc/self/status that matter here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) capabilities: u64,
    pub(super) ignored_signals: u64,
    pub(super) blocked_signals: u64,
}

impl Status {
    pub(super) fn read() -> Result<Self> {
        // Of this thread, which in kiste is the only one.
        Self::parse(&read(c"/proc/thread-self/status")?)
            .ok_or_else(|| Error::refused("/proc/thread-self/status lacks CapEff, SigIgn or SigBlk"))
    }

    fn parse(text: &str) -> Option<Self> {
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            u64::from_str_radix(line.trim(), 16).ok()
        };
        Some(Status {
            capabilities: value("CapEff")?,
            ignored_signals: value("SigIgn")?,
            blocked_signals: value("SigBlk")?,
        })
    }
}

/// The highest capability, by asking `PR_CAPBSET_READ` (prctl(2)), which refuses those the kernel doesn't know: two
/// calls on a kernel of today, without a file.
pub(super) fn last_capability() -> Result<u8> {
    let known = |number: u8| match raw::prctl(libc::PR_CAPBSET_READ, usize::from(number), 0, 0, 0) {
        Ok(_) => Ok(true),
        Err(libc::EINVAL) => Ok(false),
        Err(errno) => Err(Error::refused("cannot find the last capability").call("prctl", errno)),
    };
    // CAP_CHECKPOINT_RESTORE, the last since Linux 5.9.
    let mut last = 40;
    while last < 63 && known(last + 1)? {
        last += 1;
    }
    while last > 0 && !known(last)? {
        last -= 1;
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_maps() {
        assert_eq!(parse_id_map("         0          0 4294967295\n"), Some(all_ids()));
        let two = parse_id_map("0 1000 1\n1 100000 65536\n").unwrap();
        assert_eq!(two[1], IdRange { inside: 1, outside: 100_000, count: 65536 });
        assert_eq!(parse_id_map(""), Some(vec![]));
        for bad in ["0 0", "0 0 x", "0 0 1 1", "-1 0 1", "0 0 4294967296"] {
            assert_eq!(parse_id_map(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_name_can_not_fake_a_line() {
        let text =
            "Name:\tx\\nCapEff:\t1\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001000\nCapEff:\t00000000a80425fb\n";
        let status = Status::parse(text).unwrap();
        assert_eq!(status, Status { capabilities: 0xa804_25fb, ignored_signals: 0x1000, blocked_signals: 1 });
        assert_eq!(Status::parse("Name:\tx\n"), None);
    }
}
