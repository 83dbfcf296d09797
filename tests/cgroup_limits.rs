//! Limits of resources: the values the kernel was given, and that they hold.

mod harness;

use harness::{Bundle, Value, host, json, only_kiste, requires, wait_until};
use std::path::Path;

fn path(bundle: &Bundle) -> String {
    format!("/kiste-test/{}", bundle.id)
}

/// A value of the bundle's cgroup by its name on v1 and on v2.
#[track_caller]
fn value(bundle: &Bundle, controller: &str, v1: &str, v2: &str) -> String {
    host::cgroup_value(controller, &path(bundle), if host::cgroup_is_v2() { v2 } else { v1 })
}

/// Leaves the test unless a controller can be used by root.
macro_rules! requires_controller {
    ($name:expr) => {
        requires!(host::is_root() && host::has_controller($name), "needs root and the cgroup controller {}", $name)
    };
}

fn sleeping() -> Bundle {
    Bundle::with_args(&["sleep"])
}

#[test]
fn the_limit_of_memory_is_set() {
    requires_controller!("memory");
    let bundle = sleeping();
    bundle.set("/linux/resources/memory", json!({ "limit": 64 << 20, "reservation": 32 << 20 }));
    bundle.launch();
    assert_eq!(value(&bundle, "memory", "memory.limit_in_bytes", "memory.max"), (64 << 20).to_string());
    assert_eq!(value(&bundle, "memory", "memory.soft_limit_in_bytes", "memory.low"), (32 << 20).to_string());
}

#[test]
fn swap_is_what_the_sum_leaves() {
    requires_controller!("memory");
    requires!(host::cgroup_is_v2(), "v1 counts the sum itself");
    requires!(Path::new("/sys/fs/cgroup/init.scope/memory.swap.max").exists(), "no swap accounting");
    let bundle = sleeping();
    bundle.set("/linux/resources/memory", json!({ "limit": 64 << 20, "swap": 96 << 20 }));
    bundle.launch();
    assert_eq!(value(&bundle, "memory", "", "memory.swap.max"), (32 << 20).to_string());
}

#[test]
fn more_memory_than_the_limit_ends_the_process() {
    requires_controller!("memory");
    let bundle = Bundle::with_args(&["oom"]);
    bundle.set("/linux/resources/memory", json!({ "limit": 32 << 20, "swap": 32 << 20 }));
    bundle.run().code(128 + 9);
    bundle.assert_nothing_left();
}

#[test]
fn less_memory_than_the_limit_is_fine() {
    requires_controller!("memory");
    let bundle = Bundle::with_args(&["alloc", "16"]);
    bundle.set("/linux/resources/memory", json!({ "limit": 64 << 20 }));
    assert_eq!(bundle.run().ok().out, "took 16 MiB\n");
}

#[test]
fn the_number_of_processes_is_limited() {
    requires_controller!("pids");
    let bundle = Bundle::with_args(&["fork", "50"]);
    bundle.set("/linux/resources/pids", json!({ "limit": 10 }));
    assert_eq!(bundle.run().ok().out, "9\n");
}

#[test]
fn a_quota_of_the_processor_is_set() {
    requires_controller!("cpu");
    let bundle = sleeping();
    bundle.set("/linux/resources/cpu", json!({ "quota": 25_000, "period": 100_000 }));
    bundle.launch();
    if host::cgroup_is_v2() {
        assert_eq!(value(&bundle, "cpu", "", "cpu.max"), "25000 100000");
    } else {
        assert_eq!(value(&bundle, "cpu", "cpu.cfs_quota_us", ""), "25000");
        assert_eq!(value(&bundle, "cpu", "cpu.cfs_period_us", ""), "100000");
    }
}

#[test]
fn a_quota_of_the_processor_holds() {
    requires_controller!("cpu");
    let bundle = Bundle::with_args(&["spin", "2"]);
    bundle.set("/linux/resources/cpu", json!({ "quota": 20_000, "period": 100_000 }));
    let used: u64 = bundle.run().ok().out.trim().parse().expect("milliseconds");
    // A fifth of two seconds; generous, for machines that are busy or emulated.
    assert!(used < 1000, "{used} ms of 2 s");
}

#[test]
fn shares_of_the_processor_become_a_weight() {
    requires_controller!("cpu");
    let bundle = sleeping();
    bundle.set("/linux/resources/cpu", json!({ "shares": 512 }));
    bundle.launch();
    let told: u64 = value(&bundle, "cpu", "cpu.shares", "cpu.weight").parse().expect("a number");
    // v2: 2..262144 maps to 1..10000; linear gives 20, the newer curve 59.
    assert!(if host::cgroup_is_v2() { (20..=60).contains(&told) } else { told == 512 }, "{told}");
}

#[test]
fn processors_and_memory_nodes_are_chosen() {
    requires_controller!("cpuset");
    let bundle = Bundle::new();
    bundle.set("/linux/resources/cpu", json!({ "cpus": "0", "mems": "0" }));
    assert_eq!(bundle.report()["scheduler"]["affinity"], json!([0]));
}

#[test]
fn huge_pages_are_limited() {
    requires_controller!("hugetlb");
    let bundle = sleeping();
    bundle.set("/linux/resources/hugepageLimits", json!([{ "pageSize": "2MB", "limit": 4 << 20 }]));
    bundle.launch();
    assert_eq!(value(&bundle, "hugetlb", "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"), (4 << 20).to_string());
}

#[test]
fn what_the_kernel_calls_it_can_be_set_directly() {
    requires_controller!("hugetlb");
    requires!(host::cgroup_is_v2(), "\"unified\" is for v2");
    let bundle = sleeping();
    bundle.set("/linux/resources/unified", json!({ "hugetlb.2MB.max": "4194304" }));
    bundle.launch();
    assert_eq!(value(&bundle, "hugetlb", "", "hugetlb.2MB.max"), "4194304");
    let wrong = sleeping();
    wrong.set("/linux/resources/unified", json!({ "no.such.file": "1" }));
    wrong.create().fails_with(&["no.such.file"]);
    wrong.assert_nothing_left();
}

#[test]
fn a_value_the_kernel_refuses_is_an_error_that_names_it() {
    requires_controller!("cpuset");
    let bundle = sleeping();
    bundle.set("/linux/resources/cpu", json!({ "cpus": "1000-1001" }));
    bundle.create().fails_with(&["cpuset"]);
    bundle.assert_nothing_left();
}

#[test]
fn update_changes_limits_of_a_running_container() {
    requires_controller!("pids");
    let bundle = sleeping();
    bundle.set("/linux/resources/pids", json!({ "limit": 10 }));
    bundle.launch();
    bundle.call(&["update", "--pids-limit", "20", &bundle.id]).ok();
    assert_eq!(value(&bundle, "pids", "pids.max", "pids.max"), "20");
    let file = bundle.host_file(&json!({ "pids": { "limit": 30 } }).to_string());
    bundle.call(&["update", "--resources", file.to_str().expect("UTF-8"), &bundle.id]).ok();
    assert_eq!(value(&bundle, "pids", "pids.max", "pids.max"), "30");
}

#[test]
fn update_reads_resources_from_its_input() {
    requires_controller!("memory");
    let bundle = sleeping();
    bundle.set("/linux/resources/memory", json!({ "limit": 64 << 20 }));
    bundle.launch();
    let file = bundle.host_file(&json!({ "memory": { "limit": 96 << 20 } }).to_string());
    let mut command = bundle.runtime.command(&["update", "-r", "-", &bundle.id]);
    command.stdin(std::fs::File::open(file).expect("a file"));
    harness::run_command(&mut command, &bundle.dir, 30.0).ok();
    assert_eq!(value(&bundle, "memory", "memory.limit_in_bytes", "memory.max"), (96 << 20).to_string());
}

#[test]
fn devices_are_denied_unless_allowed() {
    requires!(host::is_root(), "a plain user's devices are the host's");
    // A number without a driver: where it is allowed, the answer is that there is none.
    let words =
        ["seq", "mknod", "/data/device", "c", "1", "6", "--", "open", "/data/device", "--", "open", "/dev/zero"];
    let some = json!(["CAP_MKNOD"]);
    let with = |devices: Value| {
        let bundle = Bundle::with_args(&words);
        bundle.set("/process/capabilities", json!({ "bounding": some, "permitted": some, "effective": some }));
        bundle.set("/linux/resources/devices", devices).mount("/data", "tmpfs", "tmpfs", &[]);
        bundle.run().out
    };
    assert_eq!(with(json!([{ "allow": false, "access": "rwm" }])), "ok\nEPERM\nok\n");
    let allowed = json!([
        { "allow": false, "access": "rwm" }, { "allow": true, "type": "c", "major": 1, "minor": 6, "access": "rw" },
    ]);
    assert_eq!(with(allowed), "ok\nENXIO\nok\n");
}

#[test]
fn the_whole_tree_below_the_cgroup_goes_with_it() {
    requires!(host::is_root() && (host::cgroup_is_v2() || host::has_controller("memory")), "needs a cgroup");
    let bundle = sleeping();
    bundle.launch();
    let controller = if host::cgroup_is_v2() { "" } else { "memory" };
    std::fs::create_dir_all(host::cgroup_folder(controller, &path(&bundle)).join("below/it")).expect("a cgroup");
    bundle.kill("KILL").ok();
    bundle.wait_status("stopped");
    bundle.delete().ok();
    bundle.assert_nothing_left();
}

#[test]
fn statistics_are_told() {
    requires_controller!("pids");
    requires!(!harness::runtime_path().ends_with("crun"), "crun has no events");
    let bundle = sleeping();
    bundle.launch();
    let stats: Value = bundle.call(&["events", "--stats", &bundle.id]).ok().json();
    assert_eq!((&stats["type"], &stats["id"]), (&json!("stats"), &json!(bundle.id)));
    assert_eq!(stats["data"]["pids"]["current"], 1);
}

/// Leaves the test unless a systemd manager answers us: the system's for root, the user's for others.
macro_rules! requires_systemd {
    () => {
        let runtime_dir = std::env::var("XDG_RUNTIME_DIR").unwrap_or_default();
        let bus = if host::is_root() { "/run/systemd/system".into() } else { format!("{runtime_dir}/systemd/private") };
        requires!(Path::new(&bus).exists() && host::cgroup_is_v2(), "needs systemd");
    };
}

#[test]
fn a_scope_of_systemd_holds_the_container() {
    requires_systemd!();
    let mut bundle = sleeping();
    bundle.runtime.options.push("--systemd-cgroup".into());
    let slice = if host::is_root() { "system.slice" } else { "user.slice" };
    bundle.set("/linux/cgroupsPath", json!(format!("{slice}:kiste-test:{}", bundle.id)));
    bundle.set("/linux/resources/pids", json!({ "limit": 12 }));
    bundle.set("/linux/resources/memory", json!({ "limit": 64 << 20 }));
    bundle.launch();
    let text = std::fs::read_to_string(format!("/proc/{}/cgroup", bundle.pid())).expect("proc");
    let line = text.lines().find_map(|l| l.strip_prefix("0::")).expect("v2").to_owned();
    assert!(line.contains(&format!("kiste-test-{}.scope", bundle.id)), "{line}");
    let scope = line.split_inclusive(".scope").next().expect("a scope").to_owned();
    assert_eq!(host::cgroup_value("pids", &scope, "pids.max"), "12");
    assert_eq!(host::cgroup_value("memory", &scope, "memory.max"), (64 << 20).to_string());
    let user: &[&str] = if host::is_root() { &[] } else { &["--user"] };
    let unit = format!("kiste-test-{}.scope", bundle.id);
    let show = |property: &str| {
        let words: Vec<&str> = user.iter().copied().chain(["show", "-P", property, &unit]).collect();
        bundle.host_command("systemctl", &words).out.trim().to_owned()
    };
    assert_eq!(
        (show("ActiveState"), show("TasksMax"), show("MemoryMax")),
        ("active".into(), "12".into(), (64 << 20).to_string())
    );
    bundle.call(&["delete", "--force", &bundle.id]).ok();
    wait_until("the scope's end", || show("ActiveState") == "inactive");
}

#[test]
fn properties_of_the_scope_come_from_annotations() {
    requires_systemd!();
    let mut bundle = sleeping();
    bundle.runtime.options.push("--systemd-cgroup".into());
    let slice = if host::is_root() { "system.slice" } else { "user.slice" };
    bundle.set("/linux/cgroupsPath", json!(format!("{slice}:kiste-test:{}", bundle.id)));
    bundle.set("/annotations", json!({ "org.systemd.property.Description": "'a container of the tests'" }));
    bundle.launch();
    let user: &[&str] = if host::is_root() { &[] } else { &["--user"] };
    let unit = format!("kiste-test-{}.scope", bundle.id);
    let words: Vec<&str> = user.iter().copied().chain(["show", "-P", "Description", &unit]).collect();
    assert_eq!(bundle.host_command("systemctl", &words).out.trim(), "a container of the tests");
}

#[test]
fn a_container_may_manage_its_own_part_of_the_tree() {
    requires!(host::is_root() && host::cgroup_is_v2(), "delegation is for v2");
    only_kiste!();
    let bundle = Bundle::with_args(&["seq", "mkdir", "/sys/fs/cgroup/below", "--", "report"]);
    bundle.push("/linux/namespaces", json!({ "type": "cgroup" })).push("/linux/namespaces", json!({ "type": "user" }));
    bundle.set("/linux/uidMappings", json!([{ "containerID": 0, "hostID": 200_000, "size": 1000 }]));
    bundle.set("/linux/gidMappings", json!([{ "containerID": 0, "hostID": 200_000, "size": 1000 }]));
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["rw", "nosuid", "noexec", "nodev"]);
    assert!(bundle.run().ok().out.starts_with("ok\n"));
}

/// systemd enforces at a `daemon-reload` what it was told, and what it was not told as if nothing had been asked for.
#[test]
fn a_scope_of_systemd_knows_the_devices() {
    requires_systemd!();
    requires!(host::is_root(), "needs root: a plain user's devices are the host's");
    let mut bundle = sleeping();
    bundle.runtime.options.push("--systemd-cgroup".into());
    bundle.set("/linux/cgroupsPath", json!(format!("system.slice:kiste-test:{}", bundle.id)));
    let some = json!(["CAP_MKNOD"]);
    bundle.set("/process/capabilities", json!({ "bounding": some, "permitted": some, "effective": some }));
    let rules = json!([
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "major": 10, "access": "r" },
        { "allow": true, "type": "c", "major": 1, "minor": 6, "access": "r" },
        { "allow": true, "type": "c", "major": 1, "minor": 10, "access": "rw" },
        { "allow": false, "type": "c", "major": 1, "minor": 10, "access": "w" },
    ]);
    bundle.set("/linux/resources/devices", rules).mount("/data", "tmpfs", "tmpfs", &[]);
    bundle.launch();
    let unit = format!("kiste-test-{}.scope", bundle.id);
    let systemctl = |words: &[&str]| bundle.host_command("systemctl", words).ok().out;
    let policy = systemctl(&["show", "-p", "DevicePolicy", "-p", "DeviceAllow", &unit]);
    assert!(policy.contains("DevicePolicy=strict"), "{policy}");
    for entry in ["char-* m", "block-* m", "/dev/char/1:3 rwm", "char-136 rwm", "char-10 rm", "/dev/char/1:6 rm"] {
        assert!(policy.contains(entry), "{entry} is not in {policy}");
    }
    // Numbers without a driver: where one is allowed, the answer is that there is none. The last is in no rule.
    for minor in ["6", "10", "12"] {
        bundle.exec(&["mknod", &format!("/data/{minor}"), "c", "1", minor]).ok();
    }
    let open = |name: &str, how: &str| bundle.exec(&["open", name, how]).out.trim().to_owned();
    for when in ["at first", "after a reload"] {
        let seen = [("/dev/null", "w"), ("/data/6", "r"), ("/data/6", "w"), ("/data/10", "r"), ("/data/10", "w")];
        let seen = seen.map(|(name, how)| open(name, how));
        assert_eq!(seen, ["ok", "ENXIO", "EPERM", "ENXIO", "EPERM"], "{when}");
        assert_eq!(open("/data/12", "r"), "EPERM", "{when}");
        systemctl(&["daemon-reload"]);
    }
}

/// A scope goes with its last process; the next container of its name may be another root's.
#[test]
fn a_stopped_container_has_no_say_about_a_scope_of_its_name() {
    requires_systemd!();
    only_kiste!();
    let mut bundle = sleeping();
    bundle.runtime.options.push("--systemd-cgroup".into());
    let slice = if host::is_root() { "system.slice" } else { "user.slice" };
    bundle.set("/linux/cgroupsPath", json!(format!("{slice}:kiste-test:{}", bundle.id)));
    bundle.launch();
    let root = bundle.dir.join("other-state");
    std::fs::create_dir_all(&root).expect("a root");
    let other = harness::Runtime { root, ..bundle.runtime.clone() };
    bundle.kill("KILL").ok();
    bundle.wait_status("stopped");
    // systemd may need a moment to see that the first one is gone.
    wait_until("the second container", || other.call(&["run", "--detach", "--bundle", "bundle", &bundle.id]).code == 0);
    let status = || other.call(&["state", &bundle.id]).ok().json()["status"].clone();
    assert_eq!(status(), "running");
    assert_eq!(bundle.call(&["ps", "--format", "json", &bundle.id]).ok().json(), json!([]));
    bundle.call(&["kill", "--all", &bundle.id, "KILL"]);
    assert_eq!(status(), "running");
    bundle.call(&["delete", "--force", &bundle.id]).ok();
    assert_eq!(status(), "running");
    other.call(&["delete", "--force", &bundle.id]).ok();
}
