//! The mounts of a process (`/proc/PID/mountinfo`, proc_pid_mountinfo(5)), and which of them come from outside the
//! container: CRIU must be told about those, by keys that kiste makes up (INV-21).

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// One mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mount {
    /// Its number in the kernel.
    pub id: u64,
    /// The number of the mount it lies on.
    pub parent: u64,
    /// `major:minor` of its file system.
    pub device: String,
    /// What of the file system is mounted.
    pub root: String,
    /// Where, seen from the process's root.
    pub at: String,
    /// Its own options, as `ro,nosuid`.
    pub options: String,
    /// Its peer group, if changes of it go to others (mount_namespaces(7)).
    pub shared: Option<u64>,
    /// The peer group whose changes come to it.
    pub master: Option<u64>,
    /// The file system's type.
    pub fstype: String,
}

impl Mount {
    /// Whether it has an option.
    pub(super) fn has(&self, option: &str) -> bool {
        self.options.split(',').any(|word| word == option)
    }
}

/// Reads a mount table.
pub(super) fn read(process: &str) -> Result<Vec<Mount>> {
    let path = format!("/proc/{process}/mountinfo");
    let bytes =
        std::fs::read(&path).map_err(|error| Error::refused(format!("cannot read {path}")).io("read", &error))?;
    Ok(parse(&String::from_utf8_lossy(&bytes)))
}

fn parse(text: &str) -> Vec<Mount> {
    let line = |line: &str| {
        let (own, superblock) = line.split_once(" - ")?;
        let mut fields = own.split(' ');
        let group = |name: &str| own.split(' ').skip(6).find_map(|word| word.strip_prefix(name)?.parse().ok());
        Some(Mount {
            shared: group("shared:"),
            master: group("master:"),
            id: fields.next()?.parse().ok()?,
            parent: fields.next()?.parse().ok()?,
            device: fields.next()?.to_owned(),
            root: plain(fields.next()?),
            at: plain(fields.next()?),
            options: fields.next()?.to_owned(),
            fstype: superblock.split(' ').next()?.to_owned(),
        })
    };
    text.lines().filter_map(line).collect()
}

/// Undoes the kernel's `\040` for space, tab, newline and backslash.
fn plain(text: &str) -> String {
    let mut plain = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let code = bytes.get(at + 1..at + 4).and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(byte) if bytes[at] == b'\\' => {
                plain.push(byte);
                at += 4;
            }
            _ => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// A bind of something of the host, as the container was made with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Where the configuration wants it, below the root; two may want the same place.
    pub path: String,
    /// The kernel's number of the mount, which nothing inside the container can change.
    pub mount: u64,
}

/// A mount from outside, as it is kept with the images. Its place in the list is its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct External {
    /// What it is a mount of.
    pub source: Source,
    /// Where the kernel says it is.
    pub at: String,
}

/// What of the host a mount shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Source {
    /// A bind of the configuration.
    Bind {
        /// Its destination in the configuration.
        path: String,
        /// Which of the binds with that destination.
        nth: usize,
        /// A mount below the source, by its path from there; empty for the source itself.
        below: String,
    },
    /// The host's /dev/null, behind a masked file.
    Null,
}

/// The key of an entry in CRIU's world: nothing of it comes from the container.
pub(super) fn key(number: usize) -> String {
    format!("kiste-{number}")
}

/// File systems that CRIU makes anew.
const MADE_BY_CRIU: &[&str] = &[
    "proc",
    "sysfs",
    "tmpfs",
    "devpts",
    "mqueue",
    "cgroup",
    "cgroup2",
    "pstore",
    "debugfs",
    "tracefs",
    "securityfs",
    "fusectl",
    "binfmt_misc",
    "configfs",
    "rpc_pipefs",
    "nfsd",
    "ramfs",
];

/// Which mounts of a container come from outside. `host` is the runtime's own mount table.
///
/// # Errors
/// A mount that can neither be made anew nor be found again on the host.
pub(super) fn externals(mounts: &[Mount], bound: &[Bound], host: &[Mount]) -> Result<Vec<External>> {
    let root = mounts.iter().find(|mount| mount.at == "/");
    let mut found = Vec::new();
    for mount in mounts {
        if mount.at == "/" {
            continue;
        }
        let source = match bind_of(mount, mounts, bound) {
            Some((bind, below)) if below.is_empty() || is_of_host(mount, host) => {
                let nth = bound.iter().take(bind).filter(|other| other.path == bound[bind].path).count();
                Source::Bind { path: bound[bind].path.clone(), nth, below }
            }
            _ if is_null(mount, host) => Source::Null,
            _ if MADE_BY_CRIU.contains(&mount.fstype.as_str()) => continue,
            // Part of the root's own file system, or of a file system the container has mounted itself.
            _ if root.is_some_and(|root| root.device == mount.device) || !is_of_host(mount, host) => continue,
            _ => {
                let what = format!("the mount at {} is of a {} of the host", mount.at, mount.fstype);
                return Err(Error::refused(format!("{what} that the configuration does not name"))
                    .hint("it was made after the container, or lies below its root on the host"));
            }
        };
        refuse_confusing(&mount.at)?;
        if mount.shared.is_some_and(|group| host.iter().any(|other| other.shared == Some(group))) {
            let what = format!(
                "cannot checkpoint the container: what is mounted below {} is mounted on the host, too",
                mount.at
            );
            return Err(Error::refused(what).hint("CRIU can't restore a mount that is shared with the host"));
        }
        found.push(External { source, at: mount.at.clone() });
    }
    Ok(found)
}

/// A mount point in which CRIU would find the end of a key: it compares `mnt[PLACE]` with the start of each entry, so
/// that `/a]:x` could stand for `/a` (CVE-2026-119101).
fn refuse_confusing(at: &str) -> Result<()> {
    if at.contains("]:") || at.chars().any(char::is_control) {
        let what = format!("CRIU can't be told about a mount at \"{}\"", at.escape_default());
        return Err(Error::refused(what).hint("a mount point may hold no control character and no ]:"));
    }
    Ok(())
}

/// The bind a mount belongs to: itself, or the one it lies in, with the path from there.
fn bind_of(mount: &Mount, mounts: &[Mount], bound: &[Bound]) -> Option<(usize, String)> {
    let mut current = mount;
    for _ in 0..mounts.len() {
        if let Some(place) = bound.iter().position(|bind| bind.mount == current.id) {
            let below = mount.at.strip_prefix(current.at.as_str())?.trim_start_matches('/').to_owned();
            return Some((place, below));
        }
        current = mounts.iter().find(|other| other.id == current.parent && other.id != current.id)?;
    }
    None
}

/// Whether it is the host's /dev/null, which masks files.
fn is_null(mount: &Mount, host: &[Mount]) -> bool {
    let devices = host.iter().rev().find(|other| other.at == "/dev");
    devices.is_some_and(|devices| {
        devices.device == mount.device && mount.root.strip_prefix(devices.root.trim_end_matches('/')) == Some("/null")
    })
}

fn is_of_host(mount: &Mount, host: &[Mount]) -> bool {
    host.iter().any(|other| other.device == mount.device)
}

/// After a restore: every mount from outside is where it was, shows what it is to show and allows no more than that; and
/// nothing else of the host is there. `staged` are the mounts that CRIU was given, in the order of `externals`.
///
/// # Errors
/// The first difference.
pub(super) fn verify(restored: &[Mount], externals: &[External], staged: &[Mount], host: &[Mount]) -> Result<Vec<u64>> {
    const RESTRICTIONS: [&str; 5] = ["ro", "nosuid", "nodev", "noexec", "nosymfollow"];
    let wrong = |at: &str, what: &str| Err(Error::refused(format!("CRIU has restored the mount at {at} {what}")));
    let mut numbers = Vec::new();
    for (external, source) in externals.iter().zip(staged) {
        let same =
            |mount: &&Mount| mount.at == external.at && mount.device == source.device && mount.root == source.root;
        let Some(mount) = restored.iter().find(same) else {
            return wrong(&external.at, "elsewhere, or from something else");
        };
        if let Some(missing) = RESTRICTIONS.iter().find(|word| source.has(word) && !mount.has(word)) {
            return wrong(&external.at, &format!("without {missing}"));
        }
        numbers.push(mount.id);
    }
    let root = restored.iter().find(|mount| mount.at == "/");
    for mount in restored {
        let known = MADE_BY_CRIU.contains(&mount.fstype.as_str()) && mount.fstype != "tmpfs" && mount.fstype != "ramfs"
            || !is_of_host(mount, host)
            || root.is_some_and(|root| root.device == mount.device && is_below(&mount.root, &root.root))
            || staged.iter().any(|source| source.device == mount.device && is_below(&mount.root, &source.root));
        if !known {
            return wrong(&mount.at, "from something of the host that the configuration does not name");
        }
    }
    Ok(numbers)
}

pub(super) fn is_below(path: &str, parent: &str) -> bool {
    parent == "/" || path.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
100 50 8:1 /bundle/rootfs / rw,relatime master:1 - ext4 /dev/vda rw
101 100 0:40 / /proc rw - proc proc rw
102 100 8:1 /home/a\\040b /da\\040ta ro,nosuid master:1 - ext4 /dev/vda rw
103 102 0:55 / /da\\040ta/disk rw - xfs /dev/vdb rw
104 102 0:60 / /da\\040ta/tmp rw - tmpfs tmpfs rw
105 101 0:5 /null /proc/kcore rw - devtmpfs udev rw
106 100 8:1 /bundle/rootfs/a /b rw - ext4 /dev/vda rw
";

    fn host() -> Vec<Mount> {
        parse(
            "1 0 8:1 / / rw - ext4 /dev/vda rw\n2 1 0:55 / /home/a\\040b/disk rw - xfs /dev/vdb rw\n3 1 0:5 / /dev rw - devtmpfs udev rw\n",
        )
    }

    fn bind(path: &str, mount: u64) -> Bound {
        Bound { path: path.to_owned(), mount }
    }

    fn external(source: Source, at: &str) -> External {
        External { source, at: at.to_owned() }
    }

    fn of(path: &str, nth: usize, below: &str) -> Source {
        Source::Bind { path: path.to_owned(), nth, below: below.to_owned() }
    }

    #[test]
    fn what_comes_from_outside_is_told_by_numbers() {
        let mounts = parse(TABLE);
        assert_eq!((mounts[2].at.as_str(), mounts[2].root.as_str()), ("/da ta", "/home/a b"));
        let found = externals(&mounts, &[bind("link", 102)], &host()).unwrap();
        let wanted = [
            external(of("link", 0, ""), "/da ta"),
            external(of("link", 0, "disk"), "/da ta/disk"),
            external(Source::Null, "/proc/kcore"),
        ];
        assert_eq!(found, wanted);
        // A disk that the host has and the configuration does not name.
        let mut more = mounts.clone();
        more[3].parent = 100;
        let error = externals(&more, &[bind("link", 102)], &host()).unwrap_err().to_string();
        assert!(error.contains("/da ta/disk") && error.contains("xfs"), "{error}");
    }

    #[test]
    fn names_in_which_a_key_could_end_are_refused() {
        for (at, good) in [("/a]", true), ("/a:b", true), ("/a b", true), ("/a]:b", false), ("/a\nb", false)] {
            assert_eq!(refuse_confusing(at).is_ok(), good, "{at:?}");
        }
        let table = TABLE.replace("/da\\040ta", "/a]:kiste-0");
        assert!(externals(&parse(&table), &[bind("link", 102)], &host()).is_err());
    }

    #[test]
    fn a_restored_table_is_compared() {
        let restored = parse(TABLE);
        let entries = [external(of("link", 0, ""), "/da ta"), external(of("link", 0, "disk"), "/da ta/disk")];
        let null = parse("9 1 0:5 /null /s/2 rw - devtmpfs udev rw\n").remove(0);
        let staged = [restored[2].clone(), restored[3].clone(), null];
        let entries = [&entries[..], &[external(Source::Null, "/proc/kcore")]].concat();
        assert_eq!(verify(&restored, &entries, &staged, &host()).unwrap(), [102, 103, 105]);

        let changed = |from: &str, to: &str| {
            let restored = parse(&TABLE.replacen(from, to, 1));
            verify(&restored, &entries, &staged, &host()).unwrap_err().to_string()
        };
        assert!(changed("ro,nosuid", "rw,nosuid").contains("without ro"));
        assert!(changed("/home/a\\040b", "/etc").contains("from something else"));
        assert!(changed("/da\\040ta ro", "/elsewhere ro").contains("elsewhere"));
        // A bind of the host beside the known ones.
        assert!(changed("/bundle/rootfs/a /b", "/etc /b").contains("does not name"));
    }
}
