//! Where the cgroup hierarchies of this machine are mounted and which groups this process is in: plain data, so that
//! plans can be made for other machines' facts.
//!
//! A pure v2 machine costs one `statfs` and one read of `/proc/self/cgroup`; the mount table is only read when
//! `/sys/fs/cgroup` is something else (cgroups(7), "cgroups version 2 / hybrid").

use std::ffi::CStr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::kernel::owned::read_text;

/// Which kinds of hierarchy are mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// One v2 hierarchy at `/sys/fs/cgroup`.
    V2,
    /// v1 hierarchies, and a v2 hierarchy for the controllers not in them.
    Hybrid,
    /// Only v1 hierarchies.
    V1,
    /// No cgroup file system is mounted.
    None,
}

/// The cgroup file systems as this process sees them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Which kinds there are.
    pub mode: Mode,
    /// The v2 hierarchy.
    pub unified: Option<UnifiedMount>,
    /// The v1 hierarchies.
    pub legacy: Vec<LegacyMount>,
}

/// The v2 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnifiedMount {
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// This process's group in it, with a leading slash.
    pub own_group: String,
    /// Mounted read-only: no group can be made.
    pub read_only: bool,
}

/// One v1 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegacyMount {
    /// Its controllers (`cpu`, `cpuacct`), or its name (`name=systemd`).
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// This process's group, relative to what is mounted there, with a leading slash.
    pub own_group: String,
}

/// Where distributions mount the hierarchies.
const ROOT: &str = "/sys/fs/cgroup";

impl Layout {
    /// Reads this machine's layout.
    ///
    /// # Errors
    /// `/proc/self/cgroup` or `/proc/self/mountinfo` cannot be read.
    pub fn read() -> Result<Layout> {
        let groups = read_proc(c"/proc/self/cgroup")?;
        // Read-only only matters on hybrid machines: on pure v2 the kernel's refusal tells it.
        let magic = nix::sys::statfs::statfs(ROOT).map(|found| found.filesystem_type());
        if magic == Ok(nix::sys::statfs::CGROUP2_SUPER_MAGIC) {
            let own_group = own_unified_group(&groups).unwrap_or("/").to_owned();
            let unified = Some(UnifiedMount { mount_point: ROOT.into(), own_group, read_only: false });
            return Ok(Layout { mode: Mode::V2, unified, legacy: Vec::new() });
        }
        Ok(Layout::parse(&read_proc(c"/proc/self/mountinfo")?, &groups))
    }

    /// The layout that the texts of `/proc/self/mountinfo` and `/proc/self/cgroup` describe.
    pub fn parse(mountinfo: &str, groups: &str) -> Layout {
        let (mut unified, mut legacy) = (None, Vec::<LegacyMount>::new());
        for line in mountinfo.lines() {
            let Some(mount) = MountLine::parse(line) else { continue };
            match mount.kind {
                "cgroup2" if unified.is_none() => {
                    let own_group = visible(own_unified_group(groups).unwrap_or("/"), &mount.root);
                    unified =
                        Some(UnifiedMount { mount_point: mount.point.into(), own_group, read_only: mount.read_only });
                }
                "cgroup" => {
                    let controllers = controllers_of(mount.options, groups);
                    let known = legacy.iter().any(|seen| seen.controllers == controllers);
                    if let (false, Some(first)) = (known, controllers.first()) {
                        let own_group = visible(own_legacy_group(groups, first).unwrap_or("/"), &mount.root);
                        legacy.push(LegacyMount { controllers, mount_point: mount.point.into(), own_group });
                    }
                }
                _ => {}
            }
        }
        let mode = match (&unified, legacy.is_empty()) {
            (None, true) => Mode::None,
            (None, false) => Mode::V1,
            (Some(_), true) => Mode::V2,
            (Some(_), false) => Mode::Hybrid,
        };
        Layout { mode, unified, legacy }
    }

    /// The v1 hierarchy of a controller.
    pub fn legacy_of(&self, controller: &str) -> Option<&LegacyMount> {
        self.legacy.iter().find(|mount| mount.controllers.iter().any(|have| have == controller))
    }
}

/// The parts of a mountinfo line that matter here (proc_pid_mountinfo(5)).
struct MountLine<'a> {
    root: String,
    point: String,
    kind: &'a str,
    options: &'a str,
    read_only: bool,
}

impl<'a> MountLine<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let kind = after.next().filter(|kind| kind.starts_with("cgroup"))?;
        let options = after.nth(1)?;
        let mut before = before.split(' ').skip(3);
        let (root, point) = (unescape(before.next()?), unescape(before.next()?));
        let read_only = before.next()?.split(',').any(|option| option == "ro");
        Some(MountLine { root, point, kind, options, read_only })
    }
}

/// The kernel writes space, tab, line break and backslash as three octal digits.
fn unescape(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(code.map_or('\\', char::from));
        rest = &rest[at + if code.is_some() { 4 } else { 1 }..];
    }
    out + rest
}

/// The controllers of a v1 mount: those of its super block options that `/proc/self/cgroup` knows.
fn controllers_of(options: &str, groups: &str) -> Vec<String> {
    let known: Vec<&str> =
        groups.lines().filter_map(|line| line.split(':').nth(1)).flat_map(|list| list.split(',')).collect();
    options.split(',').filter(|option| known.contains(option) && !option.is_empty()).map(str::to_owned).collect()
}

fn own_unified_group(groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| line.strip_prefix("0::"))
}

fn own_legacy_group<'a>(groups: &'a str, controller: &str) -> Option<&'a str> {
    groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        parts.next()?.split(',').any(|have| have == controller).then(|| parts.next())?
    })
}

/// `own`, as seen below a mount that shows the hierarchy from `root` on.
fn visible(own: &str, root: &str) -> String {
    match own.strip_prefix(root.trim_end_matches('/')) {
        Some("") => "/".into(),
        Some(rest) if rest.starts_with('/') => rest.into(),
        _ => "/".into(),
    }
}

/// `/a/b` of `/a/b/c`.
pub(super) fn parent_group(group: &str) -> &str {
    group.trim_end_matches('/').rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn read_proc(path: &'static CStr) -> Result<String> {
    read_text(path)
        .map_err(|(call, errno)| Error::refused(format!("cannot read {}", path.to_string_lossy())).call(call, errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPS: &str = "9:name=systemd:/\n4:memory:/box/9a\n3:cpuset:/\n2:cpu,cpuacct:/\n0::/box\n";

    #[test]
    fn hybrid_mounts_are_found_with_their_groups() {
        let mountinfo = "30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
            31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
            32 30 0:28 /box /sys/fs/cgroup/mem\\040ory rw - cgroup none rw,memory\n\
            33 30 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
            34 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n\
            35 25 0:27 / /mnt/again rw - cgroup cgroup rw,cpu,cpuacct\n";
        let layout = Layout::parse(mountinfo, GROUPS);
        assert_eq!(layout.mode, Mode::Hybrid);
        assert_eq!(layout.legacy.len(), 3);
        assert_eq!(layout.legacy_of("cpuacct").unwrap().mount_point, PathBuf::from("/sys/fs/cgroup/cpu,cpuacct"));
        let memory = layout.legacy_of("memory").unwrap();
        assert_eq!((memory.mount_point.to_str(), memory.own_group.as_str()), (Some("/sys/fs/cgroup/mem ory"), "/9a"));
        assert!(layout.legacy_of("name=systemd").is_some());
        assert_eq!(layout.unified.unwrap().own_group, "/box");
    }

    #[test]
    fn modes_follow_from_what_is_mounted() {
        let unified = "34 30 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let legacy = "32 30 0:28 / /cg/memory rw - cgroup none rw,memory\n";
        assert_eq!(Layout::parse(unified, GROUPS).mode, Mode::V2);
        assert_eq!(Layout::parse(legacy, GROUPS).mode, Mode::V1);
        assert_eq!(Layout::parse("", GROUPS).mode, Mode::None);
    }

    #[test]
    fn this_machine_can_be_read() {
        let layout = Layout::read().unwrap();
        let json = serde_json::to_string(&layout).unwrap();
        assert_eq!(serde_json::from_str::<Layout>(&json).unwrap(), layout);
        for mount in &layout.legacy {
            assert!(mount.mount_point.join("cgroup.procs").exists(), "{mount:?}");
        }
    }
}
