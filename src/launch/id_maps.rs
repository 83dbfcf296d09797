//! Writes the id maps of a child's user namespace (user_namespaces(7)), directly or through newuidmap(1) and
//! newgidmap(1), from outside of it.

use std::path::Path;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::kernel::owned::{c_string, open};
use crate::kernel::raw;

use super::helper::Call;

/// (first id inside, first id outside, how many).
pub type Range = (u32, u32, u32);

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How<'a> {
    /// This process: privileged over the ids, or mapping nothing but its own.
    Direct {
        /// setgroups(2) is forbidden for good first: an unprivileged writer of gid_map must.
        deny_setgroups: bool,
    },
    /// The programs that hold the privilege, by absolute path.
    Helpers {
        /// newuidmap(1).
        newuidmap: &'a Path,
        /// newgidmap(1).
        newgidmap: &'a Path,
    },
}

/// The kernel takes at most 340 lines, in one write(2) shorter than a page.
const MOST_LINES: usize = 340;
const PAGE: usize = 4096;
/// How long a helper may take: it asks the name service, which may ask a network.
const PATIENCE: Duration = Duration::from_secs(60);

/// Writes both maps of the process `pid`, which waits, and is this process's child, so that the number stays its own.
///
/// # Errors
/// `Kind::Input` for a map the kernel can't take, `Kind::Refused` when the kernel or a helper refuses, or when the map is
/// another afterwards than it should be.
pub fn write_maps(pid: i32, users: &[Range], groups: &[Range], how: &How) -> Result<()> {
    check(users, "user")?;
    check(groups, "group")?;
    match how {
        How::Direct { deny_setgroups } => {
            if *deny_setgroups {
                write(pid, "setgroups", "deny")?;
            }
            write(pid, "uid_map", &lines(users))?;
            write(pid, "gid_map", &lines(groups))
        }
        How::Helpers { newuidmap, newgidmap } => {
            run(newuidmap, pid, users, "/etc/subuid")?;
            run(newgidmap, pid, groups, "/etc/subgid")?;
            compare(pid, "uid_map", users)?;
            compare(pid, "gid_map", groups)
        }
    }
}

/// Not empty, not too long, no range beyond 32 bits, no two that overlap on either side.
fn check(map: &[Range], kind: &str) -> Result<()> {
    let wrong = |why: &str| Err(Error::input(format!("the {kind} id map {why}")));
    if map.is_empty() {
        return wrong("is empty");
    }
    if map.len() > MOST_LINES {
        return wrong("has more than 340 lines");
    }
    for (index, (inside, outside, count)) in map.iter().enumerate() {
        if *count == 0 || inside.checked_add(*count).is_none() || outside.checked_add(*count).is_none() {
            return wrong("has a range that is empty or leaves the 32 bits");
        }
        let meets = |a: u32, a_count: u32, b: u32, b_count: u32| a < b + b_count && b < a + a_count;
        let overlap = map[..index]
            .iter()
            .any(|other| meets(*inside, *count, other.0, other.2) || meets(*outside, *count, other.1, other.2));
        if overlap {
            return wrong("has ranges that overlap");
        }
    }
    Ok(())
}

fn lines(map: &[Range]) -> String {
    map.iter().map(|(inside, outside, count)| format!("{inside} {outside} {count}\n")).collect()
}

/// One write(2), as the kernel wants it.
fn write(pid: i32, name: &'static str, text: &str) -> Result<()> {
    use std::os::fd::AsRawFd;
    let failed = |call: &'static str, errno: i32| {
        let error = Error::refused(format!("cannot write {name} of process {pid}")).call(call, errno);
        match (errno, name) {
            (libc::EPERM, "setgroups") => error,
            (libc::EPERM, _) => {
                error.hint("without privilege only one's own id can be mapped, or sub-ids by newuidmap and newgidmap")
            }
            _ => error,
        }
    };
    if text.len() >= PAGE {
        return Err(failed("write", libc::EINVAL).hint("the map is longer than a page"));
    }
    let path = c_string(format!("/proc/{pid}/{name}")).map_err(|errno| failed("open", errno))?;
    let file =
        open(libc::AT_FDCWD, &path, libc::O_WRONLY | libc::O_NOFOLLOW, 0).map_err(|errno| failed("open", errno))?;
    match raw::write(file.as_raw_fd(), text.as_bytes()) {
        Ok(length) if length == text.len() => Ok(()),
        Ok(_) => Err(failed("write", libc::EIO)),
        Err(errno) => Err(failed("write", errno)),
    }
}

/// `newuidmap PID inside outside count…`: numbers only, an empty environment.
fn run(program: &Path, pid: i32, map: &[Range], file: &str) -> Result<()> {
    let Some(path) = program.to_str().filter(|path| path.starts_with('/')) else {
        return Err(Error::refused(format!("{} is no absolute path", program.display())));
    };
    let numbers = map.iter().flat_map(|(inside, outside, count)| [inside, outside, count]).map(u32::to_string);
    let args: Vec<String> = [path.to_owned(), pid.to_string()].into_iter().chain(numbers).collect();
    let call =
        Call { path, args: &args, env: &[], directory: c"/", outputs: [None; 2], input: None, timeout: Some(PATIENCE) };
    call.run().map_err(|error| {
        let user = nix::unistd::getuid();
        error.hint(format!("is every range of the map in {file}, in a line of user {user}?"))
    })
}

/// What the namespace has now must be what was asked for: helpers have cut long maps before.
fn compare(pid: i32, name: &str, wanted: &[Range]) -> Result<()> {
    let path = format!("/proc/{pid}/{name}");
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Error::refused(format!("cannot read {path}")).io("read", &error))?;
    let found: Option<Vec<Range>> = text
        .lines()
        .map(|line| {
            let mut numbers = line.split_ascii_whitespace().map(|word| word.parse().ok());
            Some((numbers.next()??, numbers.next()??, numbers.next()??))
        })
        .collect();
    match found {
        Some(found) if joined(&found) == joined(wanted) => Ok(()),
        _ => Err(Error::refused(format!(
            "{path} is not the map that was asked for: \"{}\"",
            text.trim().escape_default()
        ))),
    }
}

/// In order, and ranges that continue each other as one: the kernel sorts long maps.
fn joined(map: &[Range]) -> Vec<Range> {
    let mut sorted = map.to_vec();
    sorted.sort_unstable();
    let mut joined: Vec<Range> = Vec::with_capacity(sorted.len());
    for (inside, outside, count) in sorted {
        match joined.last_mut() {
            Some((i, o, c)) if i.checked_add(*c) == Some(inside) && o.checked_add(*c) == Some(outside) => *c += count,
            _ => joined.push((inside, outside, count)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::owned::{Forked, fork_into};
    use std::os::fd::AsRawFd;

    /// A process in a user namespace of its own, killed at the end.
    struct Waiting(Forked);

    impl Waiting {
        fn new() -> Self {
            let forked = fork_into(libc::CLONE_NEWUSER as u64, None, || {
                (3..1024).for_each(|descriptor| {
                    let _ = raw::close(descriptor);
                });
                let _ = raw::poll(&mut [], 60_000);
                0
            });
            Waiting(forked.unwrap())
        }

        fn read(&self, name: &str) -> String {
            let text = std::fs::read_to_string(format!("/proc/{}/{name}", self.0.pid)).unwrap();
            text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
        }
    }

    impl Drop for Waiting {
        fn drop(&mut self) {
            let _ = raw::pidfd_send_signal(self.0.pidfd.as_raw_fd(), libc::SIGKILL);
            let _ = raw::wait4(self.0.pid, 0);
        }
    }

    #[test]
    fn direct_maps_are_as_asked() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let child = Waiting::new();
        let users = [(0, 100_000, 1000), (1000, 300_000, 5)];
        write_maps(child.0.pid, &users, &[(0, 200_000, 65536)], &How::Direct { deny_setgroups: false }).unwrap();
        assert_eq!(child.read("uid_map"), "0 100000 1000 1000 300000 5");
        assert_eq!(child.read("gid_map"), "0 200000 65536");
        assert_eq!(child.read("setgroups"), "allow");
        compare(child.0.pid, "uid_map", &users).unwrap();
        assert!(compare(child.0.pid, "uid_map", &users[..1]).is_err(), "a cut map is noticed");
        let again = write_maps(child.0.pid, &users, &users, &How::Direct { deny_setgroups: false }).unwrap_err();
        assert!(again.to_string().contains("uid_map") && again.errno == Some(libc::EPERM), "{again}");
    }

    #[test]
    fn a_self_map_denies_setgroups_first() {
        let child = Waiting::new();
        let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        write_maps(child.0.pid, &[(0, uid, 1)], &[(0, gid, 1)], &How::Direct { deny_setgroups: true }).unwrap();
        assert_eq!(child.read("setgroups"), "deny");
        assert_eq!(child.read("uid_map"), format!("0 {uid} 1"));
    }

    #[test]
    fn long_maps_are_compared_whatever_their_order() {
        let map: Vec<Range> = (0..12).rev().map(|n| (n * 10, 100_000 + n * 20, 10)).collect();
        if nix::unistd::geteuid().is_root() {
            let child = Waiting::new();
            write_maps(child.0.pid, &map, &map, &How::Direct { deny_setgroups: false }).unwrap();
            compare(child.0.pid, "uid_map", &map).unwrap();
        }
        assert_eq!(joined(&[(5, 15, 5), (0, 10, 5), (10, 21, 1)]), [(0, 10, 10), (10, 21, 1)]);
    }

    #[test]
    fn maps_the_kernel_can_not_take() {
        for bad in [
            &[][..],
            &[(0, 0, 0)],
            &[(u32::MAX, 0, 1)],
            &[(0, u32::MAX, 1)],
            &[(0, 0, 10), (9, 100, 1)],
            &[(0, 0, 10), (10, 9, 1)],
        ] {
            assert!(check(bad, "user").is_err(), "{bad:?}");
        }
        assert!(check(&vec![(0, 0, 1); 341], "user").is_err());
        check(&[(0, 1000, 1), (1, 100_000, 65536)], "user").unwrap();
    }

    #[test]
    fn a_helper_that_refuses_or_lies_is_told() {
        let child = Waiting::new();
        let helpers = |path: &'static str| How::Helpers { newuidmap: Path::new(path), newgidmap: Path::new(path) };
        let refused =
            write_maps(child.0.pid, &[(0, 1, 1)], &[(0, 1, 1)], &helpers("/bin/false")).unwrap_err().to_string();
        assert!(refused.contains("exit status 1") && refused.contains("/etc/subuid"), "{refused}");
        let lied = write_maps(child.0.pid, &[(0, 1, 1)], &[(0, 1, 1)], &helpers("/bin/true")).unwrap_err().to_string();
        assert!(lied.contains("not the map that was asked for"), "{lied}");
    }

    /// What newuidmap(1) and newgidmap(1) do for a user with sub-ids: for this one, or, for root, for the test ground's
    /// user. Without such a user there is nothing to see.
    #[test]
    fn helpers_map_sub_ids() {
        use crate::host::{Facts, Needs};
        use std::os::unix::process::CommandExt;
        if nix::unistd::geteuid().is_root() {
            let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
            let Some(line) = passwd.lines().find(|line| line.starts_with("kiste-test:")) else { return };
            let ids: Vec<u32> = line.split(':').skip(2).take(2).map(|id| id.parse().unwrap()).collect();
            // Copied to where the user may read it.
            let copy = std::env::temp_dir().join(format!("kiste-id-maps-test-{}", std::process::id()));
            std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
            let result = std::process::Command::new(&copy)
                .args(["--exact", "launch::id_maps::tests::helpers_map_sub_ids", "--nocapture"])
                .gid(ids[1])
                .uid(ids[0])
                .current_dir("/")
                .output();
            std::fs::remove_file(&copy).unwrap();
            let output = result.unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains("1 passed"), "{text}");
            return;
        }
        let facts = Facts::for_start(&Needs { subordinate: true, ..Needs::default() }).unwrap();
        let subordinate = facts.subordinate.unwrap();
        let (Ok(newuidmap), Ok(newgidmap)) =
            (subordinate.newuidmap.path("newuidmap"), subordinate.newgidmap.path("newgidmap"))
        else {
            return;
        };
        let map = |own: u32, ranges: &[(u32, u32)]| {
            let mut next = 1;
            let mut map = vec![(0, own, 1)];
            for (first, count) in ranges {
                map.push((next, *first, *count));
                next += count;
            }
            map
        };
        let (users, groups) = (map(facts.uid, &subordinate.users), map(facts.gid, &subordinate.groups));
        let child = Waiting::new();
        let how = How::Helpers { newuidmap, newgidmap };
        let foreign = write_maps(child.0.pid, &[(0, 1, 1)], &groups, &how).unwrap_err().to_string();
        assert!(foreign.contains("newuidmap failed: exit status 1") && foreign.contains("/etc/subuid"), "{foreign}");
        write_maps(child.0.pid, &users, &groups, &how).unwrap();
        compare(child.0.pid, "gid_map", &groups).unwrap();
        assert!(users.len() > 1, "{users:?}");
    }
}
