//! Random machines, intents and requests for tests/plan_properties.rs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kiste::error::{Origin, Result};
use kiste::intent::{
    Capabilities, Device, DeviceKind, Hook, Hooks, IdMap, IdMaps, Intent, Mount, Namespace, NamespaceKind, NetDevice,
    Placed, Propagation, Rlimit, RootKind, TimeOffset, from_oci, mount_options,
};
use kiste::lowering::{CgroupDriver, Console, JoinRequest, Machine, Request, lower, lower_exec};
use kiste::plan::Plan;

use super::{intent, machine, request};

/// Random decisions from a list of numbers; zero, the usual, once they run out, so that failures shrink.
pub struct Dice<'a> {
    pub numbers: &'a [u32],
    pub at: usize,
}

const PATHS: &[&str] = &[
    "/a",
    "/",
    "/proc",
    "/dev",
    "/dev/pts",
    "/sys/fs/cgroup",
    "/a/b c",
    "/ä/\u{1F980}",
    "//x//y/",
    "/a/../../b",
    "/bundles/web/rootfs/inside",
    "/proc/meminfo",
    "/./.",
    "/tmp",
];

const OPTIONS: &[&str] = &[
    "ro",
    "rw",
    "nosuid",
    "nodev",
    "noexec",
    "noatime",
    "strictatime",
    "relatime",
    "rro",
    "rnosuid",
    "bind",
    "rbind",
    "rprivate",
    "private",
    "rslave",
    "rshared",
    "shared",
    "unbindable",
    "remount",
    "tmpcopyup",
    "idmap",
    "ridmap",
    "src-nofollow",
    "dest-nofollow",
    "size=1m",
    "mode=755",
    "sync",
    "nodiratime",
    "rnoatime",
    "nosymfollow",
];

const TYPES: &[&str] = &["tmpfs", "proc", "sysfs", "cgroup", "cgroup2", "mqueue", "devpts", "overlay", "bind", "ext4"];

impl Dice<'_> {
    pub fn below(&mut self, limit: usize) -> usize {
        let number = self.numbers.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        number as usize % limit
    }

    fn maybe(&mut self) -> bool {
        self.below(3) == 1
    }

    fn pick<'b>(&mut self, of: &[&'b str]) -> &'b str {
        of[self.below(of.len())]
    }

    fn path(&mut self) -> String {
        match self.below(40) {
            39 => format!("/{}", "long/".repeat(1000)),
            _ => from_oci::clean_path(self.pick(PATHS)),
        }
    }

    fn some<T>(&mut self, most: usize, mut one: impl FnMut(&mut Self, Origin) -> T) -> Vec<T> {
        let count = self.below(most + 1);
        (0..count).map(|index| one(self, Origin::found(format!("/list/{index}")))).collect()
    }

    pub fn machine(&mut self) -> Machine {
        let names = ["root-v2", "root-v1", "root-hybrid", "user", "user-subids", "podman", "root-limited"];
        let mut machine = machine(self.pick(&names));
        if self.maybe() {
            machine.facts.capabilities = (self.below(usize::MAX) as u64) << self.below(32) | self.below(1 << 22) as u64;
            machine.facts.last_capability = self.below(64) as u8;
            machine.facts.ignored_signals = self.below(usize::MAX) as u64;
            machine.facts.in_user_namespace = self.maybe();
        }
        machine
    }

    pub fn intent(&mut self) -> Intent {
        let base = ["default", "docker", "user-namespace", "host-mounts", "filter-notify", "rootless", "process"];
        let mut intent = intent(self.pick(&base));
        if self.maybe() {
            intent.namespaces = self.namespaces();
        }
        if self.maybe() {
            intent.id_maps = IdMaps { users: self.maps(), groups: self.maps() };
        }
        if self.maybe() {
            intent.mounts = self.some(12, Dice::mount);
        }
        if self.maybe() {
            intent.devices = self.some(6, Dice::device);
        }
        if self.maybe() {
            intent.masked_paths = self.some(6, |dice, origin| Placed { value: dice.path(), origin });
            intent.readonly_paths = self.some(6, |dice, origin| Placed { value: dice.path(), origin });
        }
        if self.maybe() {
            intent.hooks = self.hooks();
        }
        self.root(&mut intent);
        self.rest(&mut intent);
        self.process(&mut intent);
        intent
    }

    fn namespaces(&mut self) -> Vec<Namespace> {
        let mut all = Vec::new();
        for (kind, word, ..) in NamespaceKind::ALL {
            let path = match self.below(4) {
                0 | 1 => None,
                2 => Some(PathBuf::from(format!("/proc/7/ns/{word}"))),
                _ => continue,
            };
            all.push(Namespace { kind: *kind, path, origin: Origin::found(format!("/linux/namespaces/{word}")) });
        }
        all
    }

    fn maps(&mut self) -> Vec<IdMap> {
        let sizes = [1, 65_536, 10, u32::MAX, 0];
        let size = sizes[self.below(sizes.len())];
        let mut maps = vec![IdMap { container: self.below(3) as u32 / 2, host: self.below(2000) as u32, size }];
        if self.maybe() {
            maps.push(IdMap { container: 70_000, host: 200_000, size: 65_536 });
        }
        maps
    }

    fn mount(&mut self, origin: Origin) -> Mount {
        let fstype = (!self.maybe()).then(|| self.pick(TYPES).to_owned());
        let words: Vec<String> = self.some(5, |dice, _| dice.pick(OPTIONS).to_owned());
        let options = mount_options::parse(&words, fstype.as_deref(), &origin).map(|parsed| parsed.options);
        let mut options = options.unwrap_or_default();
        let plain = options.bind.is_none() && !options.remount;
        if plain && fstype.as_deref().is_none_or(|fstype| fstype == "bind") {
            options.bind = Some(kiste::intent::Bind::Recursive);
        }
        let source = Some(self.path());
        let id_maps = if self.maybe() { IdMaps { users: self.maps(), groups: self.maps() } } else { IdMaps::default() };
        Mount { destination: self.path(), fstype, source, options, id_maps, origin }
    }

    fn device(&mut self, origin: Origin) -> Device {
        let kinds = [DeviceKind::Character, DeviceKind::Block, DeviceKind::Fifo];
        let kind = kinds[self.below(3)];
        let path = format!("/dev/{}", self.pick(&["null", "x", "deep/down", "ä"]));
        let (major, minor) = (self.below(4096) as u32, self.below(1 << 20) as u32);
        let (uid, gid) = (self.below(100_000) as u32, self.below(2) as u32);
        Device { path, kind, major, minor, mode: self.below(0o10000) as u32, uid, gid, origin }
    }

    fn hooks(&mut self) -> Hooks {
        let mut list = || {
            self.some(2, |dice, origin| Hook {
                path: dice.path(),
                args: dice.some(3, |dice, _| dice.pick(PATHS).to_owned()),
                env: dice.some(2, |_, _| "A=1".to_owned()),
                timeout: dice.maybe().then_some(5),
                origin,
            })
        };
        let (prestart, create_runtime, create_container) = (list(), list(), list());
        let (start_container, poststart, poststop) = (list(), list(), list());
        Hooks { prestart, create_runtime, create_container, start_container, poststart, poststop }
    }

    fn root(&mut self, intent: &mut Intent) {
        intent.root.readonly = self.maybe();
        if self.below(8) == 1 {
            (intent.root.kind, intent.root.path) = (RootKind::HostView, PathBuf::new());
        }
        let kinds = [libc::MS_PRIVATE, libc::MS_SLAVE, libc::MS_SHARED, libc::MS_UNBINDABLE];
        let value = Propagation { kind: kinds[self.below(4)], recursive: self.maybe() };
        let propagation = Placed { value, origin: Origin::fixed("/linux/rootfsPropagation") };
        intent.root.propagation = self.maybe().then_some(propagation);
    }

    fn rest(&mut self, intent: &mut Intent) {
        let names = ["net.ipv4.ip_forward", "kernel.shm_rmid_forced", "fs.mqueue.msg_max", "net/ipv4/conf/a.b/x"];
        if self.maybe() {
            let value = self.pick(&names).to_owned();
            intent.sysctls = vec![(Placed { value, origin: Origin::fixed("/linux/sysctl") }, "1".into())];
        }
        if self.maybe() {
            intent.time_offsets = self.some(2, |dice, origin| TimeOffset {
                clock: "boottime",
                seconds: dice.below(usize::MAX) as i64,
                nanoseconds: 7,
                origin,
            });
        }
        if self.below(6) == 1 {
            intent.net_devices = self.some(2, |dice, origin| NetDevice {
                device: dice.pick(&["eth0", "d1"]).to_owned(),
                name: dice.pick(&["eth0", "x%d", "y"]).to_owned(),
                origin,
            });
        }
        intent.domainname = self.maybe().then(|| self.pick(PATHS).to_owned());
        if self.maybe() {
            intent.personality = Some(Placed { value: 8, origin: Origin::fixed("/linux/personality") });
        }
        if self.maybe() {
            intent.seccomp = None;
        }
    }

    fn process(&mut self, intent: &mut Intent) {
        if self.below(30) == 1 {
            intent.process = None;
        }
        let Some(process) = &mut intent.process else { return };
        process.no_new_privileges = self.maybe();
        process.terminal = self.maybe();
        process.cwd = self.path();
        process.user.uid = [0, 1, 1000, 65_535, u32::MAX - 1][self.below(5)];
        process.user.gid = [0, 1, 1000, 65_535][self.below(4)];
        process.user.additional_gids = self.some(3, |dice, _| dice.below(70_000) as u32);
        if self.maybe() {
            let mut set = || self.below(usize::MAX) as u64 * 0x1_0001;
            let (bounding, effective, permitted) = (set(), set(), set());
            process.capabilities =
                Capabilities { bounding, effective, permitted, inheritable: effective, ambient: bounding & permitted };
        }
        let score = Placed { value: self.below(2000) as i32 - 1000, origin: Origin::fixed("/process/oomScoreAdj") };
        process.oom_score_adj = self.maybe().then_some(score);
        process.rlimits = self.some(3, |dice, origin| {
            let soft = dice.below(5000) as u64;
            Rlimit { resource: dice.below(16) as u32, name: "RLIMIT".into(), soft, hard: soft * 3, origin }
        });
        if self.maybe() {
            process.env = self.some(5, |dice, _| format!("{}={}", dice.pick(&["PATH", "HOME", "A", ""]), dice.path()));
        }
        if self.maybe() {
            let label = Placed { value: "label".into(), origin: Origin::fixed("/process/label") };
            (process.apparmor_profile, process.selinux_label) = (Some(label.clone()), Some(label));
        }
        process.args = match self.below(20) {
            19 => vec!["x".repeat(10_000)],
            18 => (0..70_000).map(|number| number.to_string()).collect(),
            _ => vec![self.pick(&["sh", "/bin/sh", "./x", "ä"]).to_owned(), String::new()],
        };
    }

    pub fn lower(&mut self, intent: &Intent, machine: &Machine, exec: bool) -> Result<Plan> {
        let terminal = intent.process.as_ref().is_some_and(|process| process.terminal);
        let console = match (terminal, self.below(3)) {
            (true, 0) => Console::Foreground(None),
            (true, 1) => Console::Socket("/run/console".into()),
            _ => Console::None,
        };
        let drivers = [CgroupDriver::Cgroupfs, CgroupDriver::Systemd, CgroupDriver::Disabled];
        let request = Request {
            console,
            gated: self.maybe(),
            no_pivot: self.maybe(),
            no_new_keyring: self.maybe(),
            preserved: self.below(5) as u32,
            extra_env: if self.maybe() { vec!["LISTEN_FDS=1".into()] } else { Vec::new() },
            notify_directory: (!exec && self.maybe()).then(|| "/run/notify".into()),
            cgroups: drivers[self.below(3)],
            hard_limits: BTreeMap::from([(7, 100)]),
            ..request(intent, machine)
        };
        if !exec || intent.process.is_none() {
            return lower(request);
        }
        let mut inner = intent.clone();
        inner.hooks = Hooks::default();
        lower_exec(JoinRequest {
            request: Request { gated: false, intent: &inner, ..request },
            legacy_groups: self.below(9),
            unified_group: self.maybe(),
            resctrl_groups: self.below(3),
        })
    }
}
