//! The container that `run` makes without a bundle: the host's own userland, seen through a private copy-on-write root.
//!
//! It has its own user, mount, pid, ipc, uts and cgroup namespaces and keeps the host's network. What the payload writes
//! stays in memory and goes with it.
//!
//! # Ids
//! No id of the container is a privileged one of the host, whoever starts it: root's files keep an owner that is not
//! mapped, so that what only root may read stays unread, even with `CAP_DAC_OVERRIDE` (capabilities(7) bind it to mapped ids).
//! - A plain user is root inside; subordinate ids (subuid(5)) follow when newuidmap(1) is there to map them.
//! - The host's root gets a range of its own: its subordinate ids, else the last block of the numbers systemd's UIDS-GIDS
//!   document sets aside for containers.
//! - Root of a user namespace (a container) may map only what it has: itself.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::from_oci::clean_path;
use super::{
    Capabilities, Hooks, IdMap, IdMaps, Intent, Mount, Namespace, NamespaceKind, Placed, Process, Root, RootKind, User,
    mount_options,
};
use crate::cgroup::Resources;
use crate::error::{Origin, Result};
use crate::seccomp::Profile;

/// Where everything here comes from.
const HERE: Origin = Origin::fixed("built-in container");

/// First id and count of the range root gets without subordinate ids: 0x6FFF_0000, the last 64 Ki of 524288…1879048191.
const ROOT_RANGE: (u32, u32) = (0x6FFF_0000, 0x1_0000);

/// The most ids taken from one subordinate range: what distributions hand out.
const MOST_IDS: u32 = 0x1_0000;

/// What the caller wants and what the host offers; all of it plain data.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct HostView {
    /// The program and its arguments; without it `/bin/sh`.
    pub args: Option<Vec<String>>,
    /// Wants a terminal.
    pub terminal: bool,
    /// The caller's user id.
    pub uid: u32,
    /// The caller's group id.
    pub gid: u32,
    /// The caller is in the host's first user namespace (`/proc/self/uid_map` is the whole range).
    pub first_user_namespace: bool,
    /// The caller's subordinate user ids that can be mapped, first id and count (for a plain user: only if newuidmap(1) is
    /// installed).
    pub sub_users: Option<(u32, u32)>,
    /// The same of groups.
    pub sub_groups: Option<(u32, u32)>,
    /// `TERM`, if the caller has it.
    pub term: Option<String>,
    /// The caller's home directory, if it has one; used only where the caller's own id is mapped.
    pub home: Option<String>,
    /// Host paths below `/run` and `/tmp` that stay visible, read-only (the resolver's files).
    pub shown: Vec<String>,
    /// The seccomp profile.
    #[serde(skip)]
    pub seccomp: Option<Profile>,
}

/// Destination, type, source, options.
type Line = (&'static str, &'static str, &'static str, &'static [&'static str]);

/// The file systems over the host's tree. `/sys` is the host's: a new sysfs needs a network namespace of one's own.
const MOUNTS: &[Line] = &[
    ("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
    ("/dev", "tmpfs", "tmpfs", &["nosuid", "noexec", "strictatime", "mode=755", "size=64k"]),
    ("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
    ("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=64m"]),
    ("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ("/sys", "bind", "/sys", &["rbind", "rro", "rnosuid", "rnoexec", "rnodev"]),
    ("/tmp", "tmpfs", "tmpfs", &["nosuid", "nodev", "mode=1777"]),
    ("/run", "tmpfs", "tmpfs", &["nosuid", "nodev", "mode=755"]),
];

/// Kernel interfaces that tell about or change the host.
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Podman's default set: what packages and init scripts need, nothing about devices, networks or the kernel.
const CAPABILITIES: &[caps::Capability] = &[
    caps::Capability::CAP_CHOWN,
    caps::Capability::CAP_DAC_OVERRIDE,
    caps::Capability::CAP_FOWNER,
    caps::Capability::CAP_FSETID,
    caps::Capability::CAP_KILL,
    caps::Capability::CAP_NET_BIND_SERVICE,
    caps::Capability::CAP_SETFCAP,
    caps::Capability::CAP_SETGID,
    caps::Capability::CAP_SETPCAP,
    caps::Capability::CAP_SETUID,
    caps::Capability::CAP_SYS_CHROOT,
];

const NAMESPACES: &[NamespaceKind] = &[
    NamespaceKind::User,
    NamespaceKind::Mount,
    NamespaceKind::Pid,
    NamespaceKind::Ipc,
    NamespaceKind::Uts,
    NamespaceKind::Cgroup,
];

/// The whole container.
///
/// # Errors
/// None that `wanted` could cause; a mistake in this file's tables would be one.
pub fn host_view(wanted: HostView) -> Result<Intent> {
    let id_maps = IdMaps {
        users: map(wanted.uid, wanted.sub_users, &wanted),
        groups: map(wanted.gid, wanted.sub_groups, &wanted),
    };
    let mut mounts = Vec::with_capacity(MOUNTS.len() + wanted.shown.len());
    for &(destination, fstype, source, words) in MOUNTS {
        let mut words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        // The tty group, as grantpt(3) has it; a group that is not mapped would be refused.
        if fstype == "devpts" && id_maps.groups.iter().any(|map| map.container <= 5 && 5 - map.container < map.size) {
            words.push("gid=5".into());
        }
        mounts.push(mount(destination, fstype, source, &words)?);
    }
    let read_only: Vec<String> = ["rbind", "rro", "rnosuid", "rnodev"].map(str::to_owned).into();
    for path in &wanted.shown {
        mounts.push(mount(&clean_path(path), "bind", path, &read_only)?);
    }
    let placed = |paths: &[&str]| paths.iter().map(|path| Placed { value: (*path).to_owned(), origin: HERE }).collect();
    Ok(Intent {
        version: "1.3.0".into(),
        root: Root { path: PathBuf::new(), kind: RootKind::HostView, readonly: false, propagation: None, origin: HERE },
        namespaces: NAMESPACES.iter().map(|kind| Namespace { kind: *kind, path: None, origin: HERE }).collect(),
        id_maps,
        time_offsets: Vec::new(),
        hostname: Some("kiste".into()),
        domainname: None,
        mounts,
        devices: Vec::new(),
        masked_paths: placed(MASKED),
        readonly_paths: placed(READ_ONLY),
        sysctls: Vec::new(),
        resources: Resources::default(),
        cgroup_path: None,
        seccomp: wanted.seccomp.clone(),
        hooks: Hooks::default(),
        annotations: BTreeMap::new(),
        extensions: Default::default(),
        personality: None,
        net_devices: Vec::new(),
        intel_rdt: None,
        memory_policy: None,
        mount_label: None,
        sandbox: None,
        unsupported: Vec::new(),
        warnings: Vec::new(),
        process: Some(process(wanted)),
    })
}

fn mount(destination: &str, fstype: &str, source: &str, words: &[String]) -> Result<Mount> {
    Ok(Mount {
        destination: destination.into(),
        fstype: Some(fstype.into()),
        source: Some(source.into()),
        options: mount_options::parse(words, Some(fstype), &HERE)?.options,
        id_maps: IdMaps::default(),
        origin: HERE,
    })
}

/// One side's map; the module's text says why.
fn map(own: u32, subordinate: Option<(u32, u32)>, wanted: &HostView) -> Vec<IdMap> {
    let range = |container: u32, (first, count): (u32, u32)| {
        let size = count.min(MOST_IDS - container).min(u32::MAX - first);
        IdMap { container, host: first, size }
    };
    let itself = IdMap { container: 0, host: own, size: 1 };
    let subordinate = subordinate.filter(|(_, count)| *count > 0);
    match (wanted.uid == 0, subordinate) {
        (true, Some(ids)) => vec![range(0, ids)],
        (true, None) if wanted.first_user_namespace => vec![range(0, ROOT_RANGE)],
        (true, None) | (false, None) => vec![itself],
        (false, Some(ids)) => vec![itself, range(1, ids)],
    }
}

fn process(wanted: HostView) -> Process {
    let set = CAPABILITIES.iter().fold(0, |all, capability| all | capability.bitmask());
    // Root's home is closed to its stand-in, so that root gets a place of its own.
    let home = wanted.home.filter(|home| wanted.uid != 0 && home.starts_with('/')).unwrap_or_else(|| "/tmp".into());
    let mut env = vec![
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        format!("HOME={home}"),
        "container=kiste".to_owned(),
    ];
    if let Some(term) = wanted.term.or_else(|| wanted.terminal.then(|| "xterm".into())) {
        env.push(format!("TERM={term}"));
    }
    Process {
        args: wanted.args.filter(|args| !args.is_empty()).unwrap_or_else(|| vec!["/bin/sh".into()]),
        env,
        cwd: "/".into(),
        user: User::default(),
        terminal: wanted.terminal,
        console_size: None,
        capabilities: Capabilities { bounding: set, effective: set, permitted: set, ..Capabilities::default() },
        no_new_privileges: true,
        rlimits: Vec::new(),
        oom_score_adj: None,
        apparmor_profile: None,
        selinux_label: None,
        scheduler: None,
        io_priority: None,
        exec_cpu_affinity: (None, None),
        origin: HERE,
    }
}

#[cfg(test)]
mod tests {
    use super::super::contradictions;
    use super::*;

    fn view(wanted: HostView) -> Intent {
        let mut intent = host_view(wanted).unwrap();
        contradictions::check(&mut intent).unwrap();
        assert!(intent.warnings.is_empty());
        intent
    }

    fn ids(maps: &[IdMap]) -> Vec<(u32, u32, u32)> {
        maps.iter().map(|map| (map.container, map.host, map.size)).collect()
    }

    #[test]
    fn no_privileged_id_is_mapped() {
        let plain = HostView { uid: 1000, gid: 1001, ..HostView::default() };
        assert_eq!(ids(&view(plain.clone()).id_maps.users), [(0, 1000, 1)]);
        assert_eq!(ids(&view(plain.clone()).id_maps.groups), [(0, 1001, 1)]);
        let subordinate = HostView { sub_users: Some((100_000, 65_536)), sub_groups: Some((200_000, 10)), ..plain };
        let intent = view(subordinate);
        assert_eq!(ids(&intent.id_maps.users), [(0, 1000, 1), (1, 100_000, 65_535)]);
        assert_eq!(ids(&intent.id_maps.groups), [(0, 1001, 1), (1, 200_000, 10)]);

        let root = HostView { first_user_namespace: true, ..HostView::default() };
        assert_eq!(ids(&view(root.clone()).id_maps.users), [(0, 0x6FFF_0000, 65_536)]);
        let given = HostView { sub_users: Some((500_000, 1_000_000)), ..root };
        assert_eq!(ids(&view(given).id_maps.users), [(0, 500_000, 65_536)]);
        assert_eq!(ids(&view(HostView::default()).id_maps.users), [(0, 0, 1)]);
    }

    #[test]
    fn the_container_is_confined_and_keeps_the_network() {
        let intent = view(HostView { uid: 7, gid: 7, terminal: true, ..HostView::default() });
        assert!(intent.namespace(NamespaceKind::Network).is_none());
        assert!(NAMESPACES.iter().all(|kind| intent.makes(*kind)) && intent.namespaces.len() == 6);
        assert_eq!((intent.root.kind, intent.hostname.as_deref()), (RootKind::HostView, Some("kiste")));
        let process = intent.process.unwrap();
        assert!(process.no_new_privileges && process.terminal && process.args == ["/bin/sh"]);
        assert_eq!(process.capabilities.bounding.count_ones(), 11);
        assert_eq!((process.capabilities.inheritable, process.capabilities.ambient), (0, 0));
        assert!(process.env.contains(&"TERM=xterm".into()) && process.env.contains(&"HOME=/tmp".into()));
        let sys = intent.mounts.iter().find(|mount| mount.destination == "/sys").unwrap();
        assert_eq!(sys.options.recursive_set & mount_options::attr::RDONLY, mount_options::attr::RDONLY);
    }

    #[test]
    fn the_tty_group_is_named_where_it_is_mapped() {
        let pts = |wanted| {
            let intent = view(wanted);
            let pts = intent.mounts.into_iter().find(|mount| mount.destination == "/dev/pts").unwrap();
            pts.options.data.contains(&("gid".into(), Some("5".into())))
        };
        assert!(!pts(HostView { uid: 1, gid: 1, ..HostView::default() }));
        assert!(pts(HostView { uid: 1, gid: 1, sub_groups: Some((100_000, 65_536)), ..HostView::default() }));
        assert!(!pts(HostView { uid: 1, gid: 1, sub_groups: Some((100_000, 4)), ..HostView::default() }));
    }

    #[test]
    fn homes_and_shown_paths_are_the_callers() {
        let wanted = HostView {
            uid: 1,
            gid: 1,
            home: Some("/home/x".into()),
            shown: vec!["/run/systemd/resolve/".into()],
            args: Some(vec!["true".into()]),
            ..HostView::default()
        };
        let intent = view(wanted);
        let last = intent.mounts.last().unwrap();
        assert_eq!((last.destination.as_str(), last.options.bind.is_some()), ("/run/systemd/resolve", true));
        let process = intent.process.unwrap();
        assert!(process.env.contains(&"HOME=/home/x".into()) && process.args == ["true"]);
    }
}
