//! The bundles that all runtimes run, each built around a few fields.

use crate::harness::{Bundle, Value, json};
use std::fs;

/// A bundle for the comparison.
pub struct Case {
    /// What it is built around.
    pub name: &'static str,
    /// The oldest versions that know its fields: of crun and of runc; none if it never does.
    pub since: [Option<(u32, u32)>; 2],
    /// The controller it needs, by its names on v1 and v2; an empty one where it can't be had.
    pub controller: Option<[&'static str; 2]>,
    /// Makes it of the default one.
    pub make: fn(&Bundle),
}

/// Every version knows it.
const ALL: [Option<(u32, u32)>; 2] = [Some((0, 0)), Some((0, 0))];

const fn case(name: &'static str, make: fn(&Bundle)) -> Case {
    Case { name, since: ALL, controller: None, make }
}

/// Known since versions of crun and of runc.
const fn since(name: &'static str, crun: (u32, u32), runc: (u32, u32), make: fn(&Bundle)) -> Case {
    Case { name, since: [Some(crun), Some(runc)], controller: None, make }
}

/// Needs a controller.
const fn limit(name: &'static str, v1: &'static str, v2: &'static str, make: fn(&Bundle)) -> Case {
    Case { name, since: ALL, controller: Some([v1, v2]), make }
}

/// In groups, each a test.
pub const PROCESS: &[Case] = &[
    case("default", |_| {}),
    case("users and groups", |b| {
        b.set("/process/user", json!({ "uid": 1000, "gid": 1001, "additionalGids": [5, 1002] }));
    }),
    case("home of a user", |b| {
        fs::create_dir(b.inside("etc")).expect("etc");
        fs::write(b.inside("etc/passwd"), "root:x:0:0::/of-root:/bin/sh\nuser:x:1000:1000::/of-user:/bin/sh\n")
            .expect("passwd");
        b.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    }),
    case("environment, arguments, folder", |b| {
        b.set("/process/args", json!(["/init", "report", "--sysctl", "two words", "--sysctl", "ünïcödé"]));
        b.set("/process/env", json!(["PATH=/bin:/", "EMPTY=", "TEXT=a b=c", "HOME=/x"]));
        b.set("/process/cwd", json!("/tmp"));
    }),
    case("a program found by PATH in a folder that is missing", |b| {
        b.set("/process/args", json!(["init", "report"])).set("/process/cwd", json!("/new/folder"));
    }),
    case("mask of new files", |b| {
        b.set("/process/user/umask", json!(0o027));
    }),
    case("limits", |b| {
        let limit =
            |name: &str, soft: u64, hard: u64| json!({ "type": format!("RLIMIT_{name}"), "soft": soft, "hard": hard });
        b.set(
            "/process/rlimits",
            json!([limit("NOFILE", 100, 200), limit("CORE", 0, 0), limit("STACK", 1 << 20, 1 << 21)]),
        );
    }),
    case("score for the out-of-memory killer", |b| {
        b.set("/process/oomScoreAdj", json!(321));
    }),
    case("names of host and domain", |b| {
        b.set("/hostname", json!("other-name"));
    }),
    since("domain name", (1, 5), (1, 2), |b| {
        b.set("/domainname", json!("example.org"));
    }),
    since("execution domain", (0, 14), (1, 2), |b| {
        b.set("/linux/personality", json!({ "domain": "LINUX32" }));
    }),
    since("scheduler and priority of input and output", (1, 9), (1, 2), |b| {
        b.set("/process/scheduler", json!({ "policy": "SCHED_BATCH", "nice": 7 }));
        b.set("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_BE", "priority": 6 }));
    }),
    case("terminal with a size", |b| {
        b.set("/process/terminal", json!(true)).set("/process/consoleSize", json!({ "height": 33, "width": 99 }));
    }),
];

/// Rights.
pub const RIGHTS: &[Case] = &[
    case("capabilities of root", |b| {
        let some = json!(["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"]);
        b.set("/process/capabilities", json!({ "bounding": some, "permitted": some, "effective": ["CAP_KILL"] }));
    }),
    case("capabilities of another user", |b| {
        let one = json!(["CAP_NET_BIND_SERVICE"]);
        b.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
        b.set(
            "/process/capabilities",
            json!({ "bounding": ["CAP_CHOWN", "CAP_NET_BIND_SERVICE"], "permitted": one, "effective": one, "inheritable": one, "ambient": one }),
        );
    }),
    case("no capabilities", |b| {
        b.set("/process/capabilities", json!({}));
    }),
    case("new privileges", |b| {
        b.set("/process/noNewPrivileges", json!(false));
    }),
    case("system calls", |b| {
        // mkdir, personality(8) and getpid by number.
        b.args(&[
            "seq", "mkdir", "/tmp/x", "--", "syscall", "135", "8", "--", "syscall", "135", "0", "--", "syscall", "39",
            "--", "report",
        ]);
        b.set(
            "/linux/seccomp",
            json!({
                "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
                "syscalls": [
                    { "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 18 },
                    { "names": ["personality"], "action": "SCMP_ACT_ERRNO", "args": [{ "index": 0, "value": 8, "op": "SCMP_CMP_EQ" }] },
                    { "names": ["getpid"], "action": "SCMP_ACT_LOG" },
                ],
            }),
        );
    }),
    case("system calls and new privileges", |b| {
        b.set("/process/noNewPrivileges", json!(false));
        let rules = json!([{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" }]);
        b.set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules }));
        b.args(&["seq", "mkdir", "/tmp/x", "--", "report"]);
    }),
];

/// Namespaces.
pub const NAMESPACES: &[Case] = &[
    case("the caller's network, names and queues", |b| {
        b.without_namespace("network").without_namespace("uts").without_namespace("ipc").remove("/hostname");
        b.unmount("/sys").unmount("/dev/mqueue");
    }),
    case("the caller's processes", |b| {
        b.without_namespace("pid");
    }),
    case("a view of the control groups", |b| {
        b.push("/linux/namespaces", json!({ "type": "cgroup" }));
        b.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev", "relatime"]);
    }),
    case("another container's namespaces", |b| {
        let kinds = [("network", "net"), ("ipc", "ipc"), ("uts", "uts")];
        for (kind, name) in kinds {
            b.without_namespace(kind);
            b.push(
                "/linux/namespaces",
                json!({ "type": kind, "path": format!("/proc/{}/ns/{name}", std::process::id()) }),
            );
        }
        b.remove("/hostname").unmount("/sys");
    }),
    case("a user namespace", |b| {
        b.push("/linux/namespaces", json!({ "type": "user" }));
        let maps = json!([{ "containerID": 0, "hostID": 200_000, "size": 5000 }, { "containerID": 5000, "hostID": 300_000, "size": 10 }]);
        b.set("/linux/uidMappings", maps.clone()).set("/linux/gidMappings", maps);
        b.host_command("chown", &["-R", "200000:200000", b.rootfs().to_str().expect("UTF-8")]);
        b.host_command("chmod", &["755", b.dir.to_str().expect("UTF-8")]);
    }),
    case("another user of a user namespace", |b| {
        b.push("/linux/namespaces", json!({ "type": "user" }));
        let maps = json!([{ "containerID": 0, "hostID": 200_000, "size": 5000 }]);
        b.set("/linux/uidMappings", maps.clone()).set("/linux/gidMappings", maps);
        b.set("/process/user", json!({ "uid": 7, "gid": 8, "additionalGids": [9] }));
        b.host_command("chown", &["-R", "200000:200000", b.rootfs().to_str().expect("UTF-8")]);
    }),
    since("offsets of clocks", (1, 5), (1, 2), |b| {
        b.push("/linux/namespaces", json!({ "type": "time" }));
        b.set(
            "/linux/timeOffsets",
            json!({ "monotonic": { "secs": 86_400 }, "boottime": { "secs": 172_800, "nanosecs": 7 } }),
        );
    }),
    case("kernel parameters", |b| {
        b.args(&["report", "--sysctl", "kernel.msgmax", "--sysctl", "net.ipv4.ip_unprivileged_port_start"]);
        b.set("/linux/sysctl", json!({ "kernel.msgmax": "4242", "net.ipv4.ip_unprivileged_port_start": "77" }));
    }),
];

/// Files.
pub const FILES: &[Case] = &[
    case("flags of mounts", |b| {
        b.mount("/a", "tmpfs", "tmpfs", &["nosuid", "nodev", "noexec", "size=64k", "mode=1750", "uid=7", "gid=8"]);
        b.mount("/b", "tmpfs", "tmpfs", &["ro", "rw", "noatime", "nodiratime", "sync", "dirsync"]);
        b.mount("/c", "tmpfs", "tmpfs", &["strictatime", "suid", "exec", "dev"]);
        b.args(&["seq", "report", "--", "stat", "/a", "/b", "/c"]);
    }),
    since("flags of the newest kernels", (1, 29), (1, 1), |b| {
        b.mount("/a", "tmpfs", "tmpfs", &["nosymfollow"]);
    }),
    case("binds", |b| {
        let folder = b.host_folder();
        fs::write(folder.join("file"), "x\n").expect("a file");
        let path = folder.to_str().expect("UTF-8");
        b.mount("/folder", "bind", path, &["bind", "ro"]).mount("/tree", "none", path, &["rbind", "nosuid", "noexec"]);
        b.mount("/one/file", "", &format!("{path}/file"), &["bind"]).mount("/relative", "bind", "rootfs", &["bind"]);
        b.args(&[
            "seq",
            "report",
            "--",
            "write",
            "/folder/file",
            "y",
            "--",
            "write",
            "/tree/new",
            "y",
            "--",
            "cat",
            "/one/file",
        ]);
    }),
    since("read-only trees", (1, 4), (1, 1), |b| {
        let path = b.host_folder();
        b.mount("/tree", "bind", path.to_str().expect("UTF-8"), &["rbind", "rro", "rnosuid"]);
    }),
    since("ids of a bind", (1, 9), (1, 2), |b| {
        let folder = b.host_folder();
        fs::write(folder.join("file"), "").expect("a file");
        std::os::unix::fs::chown(folder.join("file"), Some(200_007), Some(200_008)).expect("chown");
        let maps = json!([{ "containerID": 200_000, "hostID": 0, "size": 1000 }]);
        b.push(
            "/mounts",
            json!({ "destination": "/data", "type": "bind", "source": folder, "options": ["rbind", "idmap"], "uidMappings": maps, "gidMappings": maps }),
        );
        b.args(&["seq", "report", "--", "stat", "/data/file"]);
    }),
    case("propagation of mounts", |b| {
        for kind in ["private", "rslave", "shared", "unbindable"] {
            b.mount(&format!("/{kind}"), "tmpfs", "tmpfs", &[kind]);
        }
    }),
    case("propagation of the root: shared", |b| {
        b.set("/linux/rootfsPropagation", json!("shared"));
    }),
    case("propagation of the root: unbindable", |b| {
        b.set("/linux/rootfsPropagation", json!("unbindable"));
    }),
    case("what is copied up", |b| {
        fs::create_dir(b.inside("data")).expect("a folder");
        fs::write(b.inside("data/below"), "text\n").expect("a file");
        b.mount("/data", "tmpfs", "tmpfs", &["tmpcopyup", "mode=755"]);
        b.args(&["seq", "list", "/data", "--", "cat", "/data/below", "--", "report"]);
    }),
    case("hidden and read-only paths", |b| {
        fs::write(b.inside("secret"), "x").expect("a file");
        b.set(
            "/linux/maskedPaths",
            json!(["/proc/kcore", "/proc/acpi", "/proc/timer_list", "/secret", "/not/there", "/proc/scsi"]),
        );
        b.set("/linux/readonlyPaths", json!(["/proc/sys", "/proc/bus", "/proc/irq", "/not/there", "/tmp"]));
        b.args(&[
            "seq",
            "report",
            "--",
            "cat",
            "/secret",
            "--",
            "touch",
            "/tmp/x",
            "--",
            "touch",
            "/new",
            "--",
            "list",
            "/proc/scsi",
        ]);
    }),
    case("a read-only root", |b| {
        b.set("/root/readonly", json!(true)).mount("/tmp", "tmpfs", "tmpfs", &[]);
        b.args(&["seq", "report", "--", "touch", "/new", "--", "touch", "/tmp/new", "--", "stat", "/tmp"]);
    }),
    case("devices", |b| {
        b.set(
            "/linux/devices",
            json!([
                { "path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 7, "gid": 8 },
                { "path": "/dev/deep/pipe", "type": "p", "fileMode": 0o600 }, { "path": "/dev/disk", "type": "b", "major": 60, "minor": 1 },
            ]),
        );
        let words = [
            "seq",
            "list",
            "/dev",
            "--",
            "stat",
            "/dev/mine",
            "/dev/deep",
            "/dev/deep/pipe",
            "/dev/disk",
            "/dev/null",
            "/dev/ptmx",
        ];
        b.args(
            &words
                .into_iter()
                .chain(["/dev/fd", "/dev/stdin", "/dev/core", "/dev/console", "/dev/tty"])
                .collect::<Vec<_>>(),
        );
    }),
];

/// Resources and the container's life.
pub const RESOURCES: &[Case] = &[
    limit("the processor", "cpuset", "cpuset", |b| {
        b.set(
            "/linux/resources/cpu",
            json!({ "shares": 512, "quota": 50_000, "period": 100_000, "cpus": "0", "mems": "0" }),
        );
    }),
    Case {
        name: "bursts of the processor",
        since: [Some((1, 9)), Some((1, 2))],
        controller: Some(["cpu", "cpu"]),
        make: |b| {
            b.set("/linux/resources/cpu", json!({ "quota": 50_000, "period": 100_000, "burst": 20_000 }));
        },
    },
    limit("memory", "memory", "memory", |b| {
        let memory = json!({ "limit": 64 << 20, "reservation": 32 << 20, "swap": 96 << 20 });
        b.set("/linux/resources/memory", memory);
    }),
    limit("memory of cgroup v1", "memory", "", |b| {
        b.set(
            "/linux/resources/memory",
            json!({ "limit": 64 << 20, "swappiness": 17, "disableOOMKiller": true, "kernelTCP": 32 << 20 }),
        );
    }),
    limit("processes", "pids", "pids", |b| {
        b.set("/linux/resources/pids", json!({ "limit": 17 }));
    }),
    limit("block devices", "blkio", "io", |b| {
        let Some((major, minor)) = super::look::disk() else { return };
        let rate = |rate: u64| json!([{ "major": major, "minor": minor, "rate": rate }]);
        b.set("/linux/resources/blockIO/throttleReadBpsDevice", rate(1_048_576));
        b.set("/linux/resources/blockIO/throttleWriteIOPSDevice", rate(100));
    }),
    case("rules for devices", |b| {
        let some = json!(["CAP_MKNOD"]);
        b.set("/process/capabilities", json!({ "bounding": some, "permitted": some, "effective": some }));
        b.set(
            "/linux/resources/devices",
            json!([
                { "allow": false, "access": "rwm" }, { "allow": true, "type": "c", "major": 60, "minor": 5, "access": "r" },
                { "allow": true, "type": "b", "major": 60, "access": "rw" },
            ]),
        );
        b.mount("/data", "tmpfs", "tmpfs", &[]);
        let nodes = ["mknod", "/data/c", "c", "60", "5", "--", "mknod", "/data/b", "b", "60", "9", "--"];
        let opens = [
            "open",
            "/data/c",
            "r",
            "--",
            "open",
            "/data/c",
            "w",
            "--",
            "open",
            "/data/b",
            "w",
            "--",
            "open",
            "/dev/zero",
            "r",
        ];
        b.args(&["seq"].into_iter().chain(nodes).chain(opens).collect::<Vec<_>>());
    }),
    case("hooks", |b| {
        for kind in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
            let inside = kind == "startContainer";
            let file = if inside { format!("/tmp/hook-{kind}").into() } else { b.dir.join(format!("hook-{kind}")) };
            let path = if inside { "/init".into() } else { crate::harness::reporter_path() };
            let hook: Value = json!({ "path": path, "args": [format!("name-of-{kind}"), "hook", file], "env": [format!("KIND={kind}")], "timeout": 20 });
            b.set(&format!("/hooks/{kind}"), json!([hook]));
        }
        b.set("/annotations", json!({ "org.example.key": "value" })).args(&["exit", "0"]);
    }),
    case("notes", |b| {
        b.set("/annotations", json!({ "org.example.key": "value", "org.example.other": "" }));
    }),
];
