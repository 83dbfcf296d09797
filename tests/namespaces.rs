//! New, shared and joined namespaces.

mod harness;

use harness::{Bundle, Value, host, json, only_kiste, requires};
use std::fs;

fn own(namespace: &str) -> Value {
    let link = fs::read_link(format!("/proc/self/ns/{namespace}")).expect("a namespace");
    let text = link.to_string_lossy().into_owned();
    json!(text.split(['[', ']']).nth(1).and_then(|n| n.parse::<u64>().ok()))
}

#[test]
fn the_namespaces_asked_for_are_new_and_the_others_shared() {
    let bundle = Bundle::new();
    let namespaces = bundle.report()["namespaces"].clone();
    for name in ["pid", "net", "ipc", "uts", "mnt"] {
        assert_ne!(namespaces[name], own(name), "{name}");
    }
    for name in ["cgroup", "time"] {
        assert_eq!(namespaces[name], own(name), "{name}");
    }
    assert_eq!(namespaces["user"] == own("user"), host::is_root());
}

#[test]
fn each_namespace_can_be_left_out() {
    for (name, link) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
        let bundle = Bundle::new();
        bundle.without_namespace(name);
        // What belongs to the namespace goes with it.
        match name {
            "network" => drop(bundle.unmount("/sys")),
            "ipc" => drop(bundle.unmount("/dev/mqueue")),
            _ => drop(bundle.remove("/hostname")),
        }
        assert_eq!(bundle.report()["namespaces"][link], own(link), "{name}");
    }
}

#[test]
fn a_host_name_without_its_namespace_is_refused() {
    let before = fs::read_to_string("/proc/sys/kernel/hostname").expect("proc");
    let bundle = Bundle::new();
    bundle.without_namespace("uts").set("/hostname", json!("stolen"));
    bundle.run().fails_with(&["hostname"]);
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").expect("proc"), before);
}

/// As podman asks for it on cgroup v1: the container's own group of each hierarchy, which is made just before.
#[test]
fn without_a_cgroup_namespace_the_own_groups_are_shown() {
    requires!(!host::cgroup_is_v2(), "cgroup v1 only");
    requires!(host::is_root() && host::has_controller("pids"), "a pids hierarchy to make a group in");
    let bundle = Bundle::with_args(&["cat", "/sys/fs/cgroup/pids/pids.max"]);
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "ro"]);
    bundle.set("/linux/resources/pids", json!({ "limit": 77 }));
    let output = bundle.run();
    assert!(output.code == 0 && output.out.contains("77"), "{} {}", output.out, output.err);
}

#[test]
fn a_new_cgroup_namespace_shows_its_own_root() {
    let bundle = Bundle::new();
    bundle.push("/linux/namespaces", json!({ "type": "cgroup" }));
    let report = bundle.report();
    assert_ne!(report["namespaces"]["cgroup"], own("cgroup"));
    if host::is_root() {
        let lines = report["cgroup"].as_array().expect("cgroups").clone();
        let memory = |l: &&Value| l.as_str().is_some_and(|l| l.contains(":memory:") || l.starts_with("0::"));
        assert!(lines.iter().filter(memory).all(|l| l.as_str().is_some_and(|l| l.ends_with(":/"))), "{lines:?}");
    }
}

#[test]
fn a_time_namespace_has_its_offsets() {
    only_kiste!();
    let bundle = Bundle::new();
    bundle.push("/linux/namespaces", json!({ "type": "time" }));
    bundle.set(
        "/linux/timeOffsets",
        json!({ "monotonic": { "secs": 86400, "nanosecs": 0 }, "boottime": { "secs": 172_800 } }),
    );
    let report = bundle.report();
    assert_ne!(report["namespaces"]["time"], own("time"));
    let host = fs::read_to_string("/proc/uptime").expect("proc");
    let host: f64 = host.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
    let inside = |clock: &str| report["uptime"][clock].as_f64().unwrap_or(0.0) - host;
    assert!((inside("monotonic") - 86400.0).abs() < 60.0 && (inside("boottime") - 172_800.0).abs() < 60.0, "{report}");
}

#[test]
fn a_namespace_named_twice_is_refused() {
    let bundle = Bundle::new();
    bundle.push("/linux/namespaces", json!({ "type": "ipc" }));
    bundle.run().fails_with(&["ipc"]);
    bundle.assert_nothing_left();
}

#[test]
fn an_unknown_namespace_is_refused() {
    let bundle = Bundle::new();
    bundle.push("/linux/namespaces", json!({ "type": "weather" }));
    bundle.run().fails_with(&["weather"]);
}

#[test]
fn namespaces_of_another_container_are_joined() {
    let first = Bundle::with_args(&["sleep"]);
    first.launch();
    let pid = first.pid();
    let second = Bundle::new();
    let names = [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")];
    // A plain user owns the other's namespaces through its user namespace alone.
    let names = if host::is_root() { &names[..] } else { &[] };
    requires!(!names.is_empty(), "joining needs the user namespace too: see user_namespaces");
    for (kind, link) in names {
        second.without_namespace(kind);
        second.push("/linux/namespaces", json!({ "type": kind, "path": format!("/proc/{pid}/ns/{link}") }));
    }
    second.remove("/hostname");
    let report = second.report();
    for (_, link) in names {
        let theirs = fs::read_link(format!("/proc/{pid}/ns/{link}")).expect("a namespace");
        assert!(
            theirs.to_string_lossy().contains(&report["namespaces"][*link].to_string()),
            "{link}: {theirs:?} {report}"
        );
    }
    assert_ne!(report["ids"]["pid"], 1);
    assert_eq!(report["uts"]["hostname"], "kiste-test");
}

#[test]
fn a_namespace_of_the_wrong_kind_is_refused() {
    let bundle = Bundle::new();
    bundle.without_namespace("ipc").push("/linux/namespaces", json!({ "type": "ipc", "path": "/proc/self/ns/net" }));
    bundle.run().fails_with(&[]);
    bundle.assert_nothing_left();
}

#[test]
fn a_missing_namespace_file_is_named() {
    let bundle = Bundle::new();
    bundle.without_namespace("ipc").push("/linux/namespaces", json!({ "type": "ipc", "path": "/nowhere/ns" }));
    bundle.run().fails_with(&["/nowhere/ns"]);
}

#[test]
fn the_loopback_interface_of_a_new_network_is_there() {
    let bundle = Bundle::new();
    let interfaces = bundle.report()["interfaces"].clone();
    assert_eq!(interfaces["lo"], true, "{interfaces}");
    assert!(interfaces["eth0"].is_null(), "{interfaces}");
}

#[test]
fn the_first_process_of_a_pid_namespace_adopts_orphans() {
    assert_eq!(Bundle::with_args(&["orphan"]).run().ok().out, "1\n");
}

#[test]
fn without_any_namespace_the_process_still_runs() {
    requires!(host::is_root(), "a plain user needs a user namespace");
    let bundle = Bundle::with_args(&["report"]);
    for name in ["pid", "network", "ipc", "uts"] {
        bundle.without_namespace(name);
    }
    bundle.remove("/hostname").edit(|c| c["mounts"] = json!([]));
    bundle.mount("/proc", "bind", "/proc", &["rbind"]);
    let namespaces = bundle.report()["namespaces"].clone();
    for name in ["pid", "net", "ipc", "uts"] {
        assert_eq!(namespaces[name], own(name), "{name}");
    }
}

#[test]
fn a_pid_namespace_shows_only_its_own_processes() {
    let output = Bundle::with_args(&["list", "/proc"]).run().ok();
    let names: Vec<String> = serde_json::from_str(&output.out).expect("names");
    let pids: Vec<_> = names.iter().filter(|n| n.parse::<u32>().is_ok()).collect();
    assert_eq!(pids, ["1"]);
}
