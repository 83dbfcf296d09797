//! What a container gets of the machine itself: memory nodes, processors.

mod harness;

use harness::{Bundle, Value, json, only_kiste, requires};
use std::fs;

/// The policy that a container with this `linux.memoryPolicy` finds: mode with flags, and nodes.
fn policy(bundle: &Bundle, wanted: Value) -> (u64, Value) {
    bundle.set("/linux/memoryPolicy", wanted);
    let found = bundle.report()["memory_policy"].clone();
    (found["mode"].as_u64().unwrap_or(u64::MAX), found["nodes"].clone())
}

#[test]
fn the_memory_policy_is_set() {
    let bundle = Bundle::new();
    let before = bundle.report()["memory_policy"].clone();
    requires!(before["mode"] == 0, "this kernel has no NUMA memory policies: {before}");
    let (fixed, relative, balancing) = (1 << 15, 1 << 14, 1 << 13);
    for (mode, nodes, flags, number) in [
        ("MPOL_DEFAULT", "", json!([]), 0),
        ("MPOL_PREFERRED", "0", json!([]), 1),
        ("MPOL_BIND", "0", json!([]), 2),
        ("MPOL_BIND", "0", json!(["MPOL_F_STATIC_NODES"]), 2 | fixed),
        ("MPOL_BIND", "0", json!(["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES"]), 2 | balancing | relative),
        ("MPOL_INTERLEAVE", "0-0", json!([]), 3),
        ("MPOL_LOCAL", "", json!([]), 4),
        ("MPOL_PREFERRED_MANY", "0", json!([]), 5),
        ("MPOL_WEIGHTED_INTERLEAVE", "0", json!([]), 6),
    ] {
        let expected = if nodes.is_empty() { json!([]) } else { json!([0]) };
        let found = policy(&bundle, json!({ "mode": mode, "nodes": nodes, "flags": flags }));
        assert_eq!(found, (number, expected), "{mode} {flags}");
    }
    // Without nodes the kernel makes it the local one, or keeps its name: both are numa(7)'s local allocation.
    let (mode, nodes) = policy(&bundle, json!({ "mode": "MPOL_PREFERRED" }));
    assert!(matches!(mode, 1 | 4) && nodes == json!([]), "{mode} {nodes}");
}

#[test]
fn a_further_process_has_the_containers_memory_policy() {
    only_kiste!();
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.set("/linux/memoryPolicy", json!({ "mode": "MPOL_BIND", "nodes": "0" })).launch();
    let found = bundle.exec(&["report"]).ok().json();
    assert_eq!(found["memory_policy"], json!({ "mode": 2, "nodes": [0] }));
}

#[test]
fn a_memory_policy_that_can_not_be_is_refused() {
    only_kiste!();
    for (wanted, words) in [
        (json!({ "mode": "MPOL_BOND", "nodes": "0" }), "/linux/memoryPolicy/mode: unknown memory policy mode"),
        (json!({ "mode": "MPOL_BIND", "nodes": "" }), "/linux/memoryPolicy/nodes: MPOL_BIND needs nodes"),
        (json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["X"] }), "/linux/memoryPolicy/flags/0: unknown"),
        // No machine of the tests has that many: the kernel says so, at the step that the message names.
        (
            json!({ "mode": "MPOL_BIND", "nodes": "1023" }),
            "/linux/memoryPolicy: cannot set memory policy MPOL_BIND, nodes 1023",
        ),
    ] {
        let bundle = Bundle::new();
        bundle.set("/linux/memoryPolicy", wanted);
        bundle.run().fails_with(&[words]);
        bundle.assert_nothing_left();
    }
}

/// The processors this test may run on.
fn processors() -> Vec<u64> {
    let status = fs::read_to_string("/proc/self/status").expect("proc");
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("a list");
    let number = |text: &str| text.trim().parse::<u64>().expect("a number");
    let ranges = list.split(',').map(|part| part.split_once('-').unwrap_or((part, part)));
    ranges.flat_map(|(first, last)| number(first)..=number(last)).collect()
}

#[test]
fn a_further_process_runs_on_the_processors_asked_for() {
    let all = processors();
    requires!(all.len() > 1, "one processor only");
    let bundle = Bundle::with_args(&["sleep"]);
    let last = all[all.len() - 1];
    // The first process is not meant.
    bundle.set("/process/execCPUAffinity", json!({ "initial": all[0].to_string(), "final": last.to_string() }));
    bundle.launch();
    let status = fs::read_to_string(format!("/proc/{}/status", bundle.pid())).expect("proc");
    let own = fs::read_to_string("/proc/self/status").expect("proc");
    let list = |text: &str| text.lines().find(|line| line.starts_with("Cpus_allowed_list:")).map(str::to_owned);
    assert_eq!(list(&status), list(&own));
    assert_eq!(bundle.exec(&["report"]).ok().json()["scheduler"]["affinity"], json!([last]));
    // A process of its own says for itself.
    let mut process = json!({ "args": ["/init", "report"], "cwd": "/", "user": { "uid": 0, "gid": 0 } });
    process["execCPUAffinity"] = json!({ "final": all[0].to_string() });
    let file = bundle.host_file(&process.to_string());
    let words = ["exec", "--process", file.to_str().expect("UTF-8"), &bundle.id];
    assert_eq!(bundle.call(&words).ok().json()["scheduler"]["affinity"], json!([all[0]]));
    process["execCPUAffinity"] = json!({ "initial": last.to_string() });
    fs::write(&file, process.to_string()).expect("process file");
    let found = bundle.call(&words).ok().json()["scheduler"]["affinity"].clone();
    // Only the control group's own processors may change what the runtime had.
    assert!(found == json!([last]) || found == json!(all), "{found}");
}

#[test]
fn processors_that_are_none_are_refused() {
    only_kiste!();
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.launch();
    for (key, list, words) in [
        ("initial", "0-", "/execCPUAffinity/initial: expected a list of processors"),
        ("final", "9000", "/execCPUAffinity/final: processors have numbers from 0 to 8191"),
        ("initial", "8191", "/execCPUAffinity/initial: cannot run on these processors: sched_setaffinity"),
        ("final", "8191", "/execCPUAffinity/final: cannot run on processors 8191"),
    ] {
        let process = json!({ "args": ["/init"], "cwd": "/", "execCPUAffinity": { key: list } });
        let file = bundle.host_file(&process.to_string());
        let output = bundle.call(&["exec", "--process", file.to_str().expect("UTF-8"), &bundle.id]);
        output.fails_with(&[words]);
    }
}
