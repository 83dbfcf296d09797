//! What this machine can show, for tests to say why they can't run.

use std::fs;
use std::path::{Path, PathBuf};

/// Whether we are root (of whatever user namespace).
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Effective uid and gid.
pub fn ids() -> (u32, u32) {
    (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw())
}

/// Whether /sys/fs/cgroup itself is cgroup v2.
pub fn cgroup_is_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Whether a controller can be used: on v2 at the root, else with a v1 hierarchy of its own.
pub fn has_controller(name: &str) -> bool {
    if cgroup_is_v2() {
        let text = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
        return text.split_whitespace().any(|c| c == name);
    }
    Path::new("/sys/fs/cgroup").join(name).join("cgroup.procs").exists()
}

/// The folder of a cgroup on the hierarchy of a controller.
pub fn cgroup_folder(controller: &str, path: &str) -> PathBuf {
    let base = Path::new("/sys/fs/cgroup");
    let base = if cgroup_is_v2() { base.to_owned() } else { base.join(controller) };
    base.join(path.trim_start_matches('/'))
}

/// A file of a cgroup, without the newline.
#[track_caller]
pub fn cgroup_value(controller: &str, path: &str, file: &str) -> String {
    let file = cgroup_folder(controller, path).join(file);
    fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display())).trim().to_owned()
}

/// Whether we hold a capability, by its number.
pub fn has_capability(number: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let hex = status.lines().find_map(|l| l.strip_prefix("CapEff:")).unwrap_or("0").trim();
    u64::from_str_radix(hex, 16).unwrap_or(0) >> number & 1 == 1
}

/// CAP_SYS_RESOURCE, for [`has_capability`].
pub const SYS_RESOURCE: u32 = 24;

/// Whether a process lives: there, and not waiting to be reaped.
pub fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Where a program is.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin"]).map(|d| Path::new(d).join(name)).find(|p| p.exists())
}

/// The first range of subordinate ids of the user we are, (start, count), if /etc/subuid, /etc/subgid and newuidmap are there.
pub fn subordinate_ids() -> Option<(u32, u32)> {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok()??.name;
    let range = |file: &str| {
        let text = fs::read_to_string(file).ok()?;
        let line = text.lines().find_map(|l| l.strip_prefix(&format!("{user}:")).map(str::to_owned))?;
        let (start, count) = line.split_once(':')?;
        Some((start.parse().ok()?, count.parse().ok()?))
    };
    program("newuidmap")?;
    range("/etc/subuid").filter(|r| range("/etc/subgid") == Some(*r))
}

/// Whether the running kernel offers a file system type.
pub fn has_file_system(name: &str) -> bool {
    let text = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    text.lines().any(|l| l.split_whitespace().last() == Some(name))
}
