//! Before a dump: what CRIU can't dump, or not without an option, as the kernel shows it. CRIU would find most of it, too,
//! but late and in its own words; and asked here, the container has not even been frozen.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::dump::Checkpoint;
use super::mount_table;
use crate::error::{Error, Origin, Result};

/// Files without a name that CRIU has no images for, and what they are.
const UNSUPPORTED: &[(&str, &str)] = &[
    ("anon_inode:[io_uring]", "an io_uring"),
    ("anon_inode:[userfaultfd]", "a userfaultfd"),
    ("anon_inode:[perf_event]", "a performance counter"),
    ("anon_inode:kvm", "a virtual machine (KVM)"),
    ("anon_inode:bpf-prog", "a BPF program"),
    ("anon_inode:bpf_link", "a BPF link"),
    ("anon_inode:[landlock-ruleset]", "a Landlock ruleset"),
    ("anon_inode:seccomp notify", "a seccomp listener"),
    ("anon_inode:iommufd", "an IOMMU"),
    ("/dev/fuse", "a FUSE connection"),
    ("/memfd:secret", "secret memory"),
];

/// One open file of a process.
pub(super) struct Open {
    pub pid: i32,
    pub number: i32,
    pub target: String,
}

/// Tells what stands against a dump; gives the open files of all processes.
///
/// # Errors
/// The first thing found.
pub(super) fn check(request: &Checkpoint<'_>) -> Result<Vec<Open>> {
    rights()?;
    let wishes = request.wishes;
    for pid in request.processes {
        descends(*pid, request.pid)?;
        is_traced(*pid)?;
    }
    let open: Vec<Open> = request.processes.iter().flat_map(|pid| files(*pid)).collect();
    for file in &open {
        if let Some((_, what)) = UNSUPPORTED.iter().find(|(words, _)| file.target.starts_with(words)) {
            return Err(refuse(file.pid, &format!("has {what} open"), "CRIU has no images for it"));
        }
    }
    if !wishes.tcp_established && !wishes.tcp_close {
        connections(request.pid, &open)?;
    }
    if !wishes.file_locks {
        locks(request.processes)?;
    }
    if !wishes.shell_job {
        terminals(request, &open)?;
    }
    Ok(open)
}

fn refuse(pid: i32, what: &str, help: &str) -> Error {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Error::refused(format!("cannot checkpoint the container: its process {pid} ({}) {what}", super::log::clean(&name)))
        .hint(help)
}

/// CRIU wants the rights of the host's root: it reads other processes' memory and sets their ids.
pub(super) fn rights() -> Result<()> {
    const SYS_ADMIN: u64 = 1 << 21;
    let effective = crate::kernel::raw::capget()
        .map_err(|errno| Error::refused("cannot find out which rights this process has").call("capget", errno))?;
    if effective.0 & SYS_ADMIN != 0 && crate::kernel::raw::geteuid() == Ok(0) {
        return Ok(());
    }
    Err(Error::refused("checkpoint and restore need the host's root")
        .hint("CRIU dumps and restores ids, mounts and memory of other processes"))
}

/// A status field of a process, as `PPid`.
fn status(pid: i32, name: &str) -> Option<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok())
}

/// A process that `exec` has brought has its parent outside: it is not part of what CRIU dumps, and would die of it.
fn descends(pid: i32, first: i32) -> Result<()> {
    let mut current = pid;
    for _ in 0..10_000 {
        if current == first {
            return Ok(());
        }
        match status(current, "PPid") {
            // It has ended meanwhile.
            None => return Ok(()),
            Some(parent) if parent > 1 => current = parent,
            Some(_) => break,
        }
    }
    Err(refuse(
        pid,
        "is no descendant of the first one",
        "exec has brought it: a checkpoint has the first process and its descendants only",
    ))
}

fn is_traced(pid: i32) -> Result<()> {
    match status(pid, "TracerPid") {
        Some(tracer) if tracer > 0 => {
            Err(refuse(pid, &format!("is traced by process {tracer}"), "CRIU has to trace it itself"))
        }
        _ => Ok(()),
    }
}

fn files(pid: i32) -> Vec<Open> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let open = |entry: std::fs::DirEntry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        let target = std::fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned();
        Some(Open { pid, number, target })
    };
    entries.flatten().filter_map(open).collect()
}

/// Connected TCP sockets, which have another end that must be told to wait.
fn connections(pid: i32, open: &[Open]) -> Result<()> {
    let held: BTreeMap<&str, &Open> =
        open.iter().filter_map(|file| Some((file.target.strip_prefix("socket:[")?.strip_suffix(']')?, file))).collect();
    if held.is_empty() {
        return Ok(());
    }
    for family in ["tcp", "tcp6"] {
        let table = std::fs::read_to_string(format!("/proc/{pid}/net/{family}")).unwrap_or_default();
        if let Some(file) = table.lines().skip(1).find_map(|line| held.get(connected(line)?).copied()) {
            return Err(refuse(
                file.pid,
                &format!("has an established TCP connection (descriptor {})", file.number),
                "--tcp-established makes connections part of the checkpoint, --tcp-close closes them",
            ));
        }
    }
    Ok(())
}

/// The inode of a socket of /proc/net/tcp that is neither closed nor listening (proc_net(5): field 4 and field 10).
fn connected(line: &str) -> Option<&str> {
    let mut fields = line.split_whitespace();
    let state = fields.nth(3)?;
    let inode = fields.nth(5)?;
    (!matches!(state, "07" | "0A")).then_some(inode)
}

/// File locks (proc_locks(5)) of the container's processes. One that belongs to an open file shows pid -1, and one of a
/// process in another pid namespace 0: CRIU finds those.
fn locks(processes: &[i32]) -> Result<()> {
    let table = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    match table.lines().find_map(|line| holder(line).filter(|pid| processes.contains(pid))) {
        Some(pid) => Err(refuse(pid, "holds a file lock", "--file-locks makes file locks part of the checkpoint")),
        None => Ok(()),
    }
}

/// Who holds the lock of a line; a waiting one (`->`) holds none.
fn holder(line: &str) -> Option<i32> {
    let mut fields = line.split_whitespace();
    (fields.nth(1)? != "->").then(|| fields.nth(2)?.parse().ok()).flatten()
}

/// Terminals of devpts instances that the container does not have.
fn terminals(request: &Checkpoint<'_>, open: &[Open]) -> Result<()> {
    let known: BTreeSet<String> =
        mount_table::read(&request.pid.to_string())?.into_iter().map(|mount| mount.device).collect();
    for file in open.iter().filter(|file| file.target.starts_with("/dev/pts/") || file.target.starts_with("/dev/tty")) {
        let Ok(data) = std::fs::metadata(Path::new("/proc").join(format!("{}/fd/{}", file.pid, file.number))) else {
            continue;
        };
        let device = format!("{}:{}", libc::major(data.dev()), libc::minor(data.dev()));
        if !known.contains(&device) {
            return Err(refuse(
                file.pid,
                &format!("uses a terminal of the host, {}", super::log::clean(&file.target)),
                "--shell-job leaves the terminal to who restores",
            )
            .at(&Origin::fixed("--shell-job")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_the_kernel_are_read() {
        let established = "   1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 91234 1 ff 20 4 30 10 -1";
        assert_eq!(connected(established), Some("91234"));
        assert_eq!(connected(&established.replace(" 01 ", " 0A ")), None);
        assert_eq!(connected("sl local"), None);
        assert_eq!(holder("1: FLOCK  ADVISORY  WRITE 812 00:1a:1234 0 EOF"), Some(812));
        assert_eq!(holder("1: -> FLOCK  ADVISORY  WRITE 813 00:1a:1234 0 EOF"), None);
        assert_eq!(holder("2: OFDLCK ADVISORY  READ -1 00:06:1 0 EOF"), Some(-1));
    }

    #[test]
    fn this_process_is_looked_at() {
        let own = std::process::id() as i32;
        descends(own, own).unwrap();
        is_traced(own).unwrap();
        assert!(files(own).iter().any(|file| file.number == 1));
        assert!(status(own, "PPid").is_some() && status(own, "NoSuchField").is_none());
        // Nobody's descendant: as far as the first process, whose parent is 0.
        assert!(descends(own, i32::MAX).is_err());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        connections(own, &files(own)).unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let error = connections(own, &files(own)).unwrap_err().to_string();
        assert!(error.contains("established TCP connection") && error.contains("--tcp-established"), "{error}");
        drop(client);
    }
}
