//! Mounts: not over what the runtime itself relies on, and only with options that can hold.

use crate::error::{Error, Result};
use crate::intent::{Intent, Mount, NamespaceKind};

/// Files of procfs that programs like lxcfs may replace: numbers a payload reads, nothing the runtime writes.
const OVER_PROC: &[&str] = &[
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
];

/// Rules of the mounts alone; also for `mounts add`.
///
/// # Errors
/// The first contradiction, with its place.
pub fn check(intent: &Intent) -> Result<()> {
    // A sandbox's caller builds the whole root, of which nothing is a hostile image's: /proc may be what they like.
    if intent.sandbox.is_some() {
        return Ok(());
    }
    for mount in &intent.mounts {
        let refuse = |what: String| Err(Error::input(what).at(&mount.origin));
        let bind = mount.options.bind.is_some();
        if mount.destination == "/" && !mount.options.remount && mount.options.propagation.is_empty() {
            return refuse("a mount at / would hide the root".into());
        }
        proc(mount, bind)?;
        if mount.options.copy_up && mount.fstype.as_deref() != Some("tmpfs") {
            return refuse("tmpcopyup is for a tmpfs".into());
        }
        if mount.options.idmap.is_none() {
            continue;
        }
        if !bind {
            return refuse("ids are mapped on bind mounts only".into());
        }
        let maps = &mount.id_maps;
        match (maps.users.is_empty(), maps.groups.is_empty()) {
            (true, true) if intent.namespace(NamespaceKind::User).is_none() => {
                return refuse("idmap needs uidMappings and gidMappings, or a user namespace to take them from".into());
            }
            (true, false) | (false, true) => return refuse("idmap needs both uidMappings and gidMappings".into()),
            _ => {}
        }
    }
    Ok(())
}

/// The runtime writes to /proc (labels, kernel parameters) and hides parts of it: what lies over it could take both away.
fn proc(mount: &Mount, bind: bool) -> Result<()> {
    let refuse = |what: String| Err(Error::input(what).at(&mount.origin));
    if mount.destination == "/proc" {
        // A bind may be one of procfs; lowering looks at its source.
        if bind || mount.options.remount || mount.fstype.as_deref().is_none_or(|fstype| fstype == "proc") {
            return Ok(());
        }
        return refuse("only a proc file system may be mounted at /proc".into());
    }
    if mount.destination.starts_with("/proc/") && !OVER_PROC.contains(&mount.destination.as_str()) {
        let error = Error::input(format!("{} lies in /proc and may not be covered", mount.destination));
        let names: Vec<&str> = OVER_PROC.iter().map(|path| &path["/proc/".len()..]).collect();
        return Err(error.at(&mount.origin).hint(format!("may be covered: {}", names.join(", "))));
    }
    Ok(())
}
