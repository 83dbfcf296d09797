//! Limits of resources whose effect tests/cgroup_limits.rs does not show: the values in the files of the container's group.

mod harness;

use harness::{Bundle, Value, host, json, only_kiste, requires};
use std::fs;
use std::path::{Path, PathBuf};

/// Leaves the test unless a controller can be used by root, by its name on v1 and on v2.
macro_rules! requires_controller {
    ($v1:expr, $v2:expr) => {
        let name = if host::cgroup_is_v2() { $v2 } else { $v1 };
        requires!(host::is_root() && host::has_controller(name), "needs root and the cgroup controller {name}")
    };
}

/// Leaves the test unless the cgroups are v1's.
macro_rules! requires_v1 {
    ($controller:expr) => {
        requires!(host::is_root() && !host::cgroup_is_v2(), "cgroup v1 only");
        requires_controller!($controller, $controller)
    };
}

/// A running container with these resources.
fn with(resources: Value) -> Bundle {
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.set("/linux/resources", resources).launch();
    bundle
}

/// The folder of the container's group.
fn folder(bundle: &Bundle, controller: &str) -> PathBuf {
    host::cgroup_folder(controller, &format!("/kiste-test/{}", bundle.id))
}

#[track_caller]
fn file(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}")).trim().to_owned()
}

/// A block device of the machine, as "MAJOR:MINOR".
fn disk() -> Option<(u64, u64)> {
    for entry in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        let real =
            !["loop", "ram", "zram", "fd", "sr"].iter().any(|p| entry.file_name().to_string_lossy().starts_with(p));
        if real && read("size").trim() != "0" {
            let (major, minor) = read("dev").trim().split_once(':').map(|(a, b)| (a.to_owned(), b.to_owned()))?;
            return Some((major.parse().ok()?, minor.parse().ok()?));
        }
    }
    None
}

#[test]
fn block_devices_are_throttled() {
    requires_controller!("blkio", "io");
    let Some((major, minor)) = disk() else {
        return harness::skip("resource_effects::block_devices_are_throttled", "no disk");
    };
    let rate = |rate: u64| json!([{ "major": major, "minor": minor, "rate": rate }]);
    let bundle = with(json!({
        "blockIO": {
            "throttleReadBpsDevice": rate(1_048_576), "throttleWriteBpsDevice": rate(2_097_152),
            "throttleReadIOPSDevice": rate(100), "throttleWriteIOPSDevice": rate(200),
        }
    }));
    if host::cgroup_is_v2() {
        let line = format!("{major}:{minor} rbps=1048576 wbps=2097152 riops=100 wiops=200");
        return assert_eq!(file(&folder(&bundle, "io"), "io.max"), line);
    }
    for (name, value) in [("read_bps", 1_048_576), ("write_bps", 2_097_152), ("read_iops", 100), ("write_iops", 200)] {
        let seen = file(&folder(&bundle, "blkio"), &format!("blkio.throttle.{name}_device"));
        assert_eq!(seen, format!("{major}:{minor} {value}"), "{name}");
    }
}

/// A loop device whose requests BFQ schedules, for weights of one device.
struct Loop {
    path: String,
    number: (u64, u64),
}

impl Loop {
    fn new(bundle: &Bundle) -> Result<Loop, String> {
        let file = bundle.host_file(&"\0".repeat(1 << 20));
        let output = std::process::Command::new("losetup").args(["--find", "--show"]).arg(file).output();
        let output = output.map_err(|e| format!("losetup: {e}"))?;
        let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let name = path.strip_prefix("/dev/").ok_or("no loop device can be had")?;
        let number = fs::read_to_string(format!("/sys/block/{name}/dev")).unwrap_or_default();
        let (major, minor) = number.trim().split_once(':').ok_or("a loop device without number")?;
        let number = (major.parse().unwrap_or(0), minor.parse().unwrap_or(0));
        let scheduler = format!("/sys/block/{name}/queue/scheduler");
        let made = Loop { path, number };
        fs::write(scheduler, "bfq").map_err(|_| "no BFQ in this kernel")?;
        Ok(made)
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = std::process::Command::new("losetup").args(["-d", &self.path]).status();
    }
}

#[test]
fn weights_of_block_devices() {
    requires_controller!("blkio", "io");
    let probe = with(json!({ "blockIO": { "throttleReadBpsDevice": [] } }));
    let disk = Loop::new(&probe);
    requires!(disk.is_ok(), "weights of devices need BFQ on a loop device: {}", disk.as_ref().err().expect("a reason"));
    let (major, minor) = disk.as_ref().map(|disk| disk.number).expect("checked");
    let device = json!([{ "major": major, "minor": minor, "weight": 300 }]);
    let bundle = with(json!({ "blockIO": { "weight": 505, "weightDevice": device } }));
    let (controller, name, of_device) = if host::cgroup_is_v2() {
        ("io", "io.bfq.weight", "io.bfq.weight")
    } else {
        ("blkio", "blkio.bfq.weight", "blkio.bfq.weight_device")
    };
    assert!(file(&folder(&bundle, controller), name).contains("505"));
    let seen = file(&folder(&bundle, controller), of_device);
    assert!(seen.lines().any(|line| line == format!("{major}:{minor} 300")), "{seen:?}");
}

#[test]
fn bursts_and_idle_groups_of_the_processor() {
    requires_controller!("cpu", "cpu");
    let bundle = with(json!({ "cpu": { "quota": 50_000, "period": 100_000, "burst": 20_000 } }));
    let name = if host::cgroup_is_v2() { "cpu.max.burst" } else { "cpu.cfs_burst_us" };
    assert_eq!(file(&folder(&bundle, "cpu"), name), "20000");
    let bundle = with(json!({ "cpu": { "idle": 1 } }));
    assert_eq!(file(&folder(&bundle, "cpu"), "cpu.idle"), "1");
}

#[test]
fn realtime_of_the_processor() {
    requires_v1!("cpu");
    requires!(Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists(), "no real-time groups in this kernel");
    let bundle = Bundle::with_args(&["sleep"]);
    // At the top: a group's share is a part of its parent's, and that of other parents is 0.
    bundle.set("/linux/cgroupsPath", json!(format!("/{}", bundle.id)));
    bundle.set("/linux/resources/cpu", json!({ "realtimePeriod": 500_000, "realtimeRuntime": 3000 })).launch();
    let folder = host::cgroup_folder("cpu", &bundle.id);
    assert_eq!(
        (file(&folder, "cpu.rt_period_us"), file(&folder, "cpu.rt_runtime_us")),
        ("500000".into(), "3000".into())
    );
}

#[test]
fn memory_and_swap_are_limited_together() {
    requires_v1!("memory");
    let bundle = with(json!({ "memory": { "limit": 64 << 20, "swap": 96 << 20 } }));
    let folder = folder(&bundle, "memory");
    requires!(folder.join("memory.memsw.limit_in_bytes").exists(), "no swap accounting");
    assert_eq!(file(&folder, "memory.memsw.limit_in_bytes"), (96 << 20).to_string());
}

#[test]
fn what_only_v1_limits_is_limited() {
    requires_v1!("memory");
    let memory = json!({ "swappiness": 17, "disableOOMKiller": true, "useHierarchy": true, "kernelTCP": 32 << 20 });
    let bundle = with(json!({ "memory": memory }));
    let folder = folder(&bundle, "memory");
    assert_eq!(file(&folder, "memory.swappiness"), "17");
    assert_eq!(file(&folder, "memory.use_hierarchy"), "1");
    assert_eq!(file(&folder, "memory.kmem.tcp.limit_in_bytes"), (32 << 20).to_string());
    assert!(file(&folder, "memory.oom_control").contains("oom_kill_disable 1"));
}

#[test]
fn what_no_kernel_limits_any_more_is_told() {
    only_kiste!();
    requires_controller!("memory", "memory");
    let bundle = Bundle::with_args(&["exit", "0"]);
    bundle.set("/linux/resources/memory", json!({ "kernel": 1 << 20 }));
    let log = bundle.dir.join("log");
    let words =
        ["--log", log.to_str().expect("UTF-8"), "--log-level", "warning", "run", "--bundle", "bundle", &bundle.id];
    bundle.call(&words).ok();
    let told = fs::read_to_string(&log).unwrap_or_default();
    assert!(told.contains("/linux/resources/memory/kernel"), "{told:?}");
}

#[test]
fn classes_and_priorities_of_the_network() {
    only_kiste!();
    requires_v1!("memory");
    let known = fs::read_to_string("/proc/cgroups").unwrap_or_default();
    let there = |name: &str| known.lines().any(|line| line.starts_with(&format!("{name}\t")));
    requires!(there("net_cls") && there("net_prio"), "no net_cls and net_prio in this kernel");
    let bundle = Bundle::with_args(&["sleep"]);
    let network = json!({ "classID": 0x10_0001, "priorities": [{ "name": "lo", "priority": 5 }] });
    bundle.set("/linux/resources/network", network);
    let folder = bundle.host_folder();
    let folder = folder.to_str().expect("UTF-8");
    // In a mount namespace of its own, so that the machine's other containers never see these hierarchies. A hierarchy stays
    // when it is unmounted while the kernel still frees a group of it: hence the last lines.
    let script = r#"mount -t cgroup -o net_cls,net_prio cgroup "$0" || exit
        "$1" --root "$2" run --detach --bundle bundle "$3" >/dev/null 2>errors || cat errors >&2
        cat "$0/kiste-test/$3/net_cls.classid" "$0/kiste-test/$3/net_prio.ifpriomap"
        "$1" --root "$2" delete --force "$3"; rmdir "$0/kiste-test"; umount "$0"
        for n in 1 2 3 4 5 6 7 8 9; do
            grep -q "^net_cls[[:space:]]0[[:space:]]" /proc/cgroups && break
            mount -t cgroup -o net_cls,net_prio cgroup "$0"; sleep 0.$n; umount "$0"; sleep 0.1
        done"#;
    let root = bundle.runtime.root.to_str().expect("UTF-8");
    let runtime = harness::runtime_path();
    let mut command = std::process::Command::new("unshare");
    command.args(["-m", "--propagation", "private", "sh", "-c", script, folder]);
    command.arg(runtime).args([root, &bundle.id]).current_dir(&bundle.dir);
    let output = harness::run_command(&mut command, &bundle.dir, 30.0).ok();
    assert_eq!(output.lines()[0], 0x10_0001.to_string());
    assert!(output.lines()[1..].contains(&"lo 5"), "{}", output.out);
}
