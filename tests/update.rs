//! `update`: all of it or nothing, and each one builds on what the last one left.

mod harness;

use harness::{Bundle, Output, Value, host, json, only_kiste, requires};
use std::fs;
use std::path::PathBuf;

/// Leaves the test unless root can use these controllers.
macro_rules! requires_controllers {
    ($($name:expr),+) => {
        $( requires!(host::is_root() && host::has_controller($name), "needs root and the cgroup controller {}", $name); )+
    };
}

/// A container that sleeps with these limits.
fn limited(resources: Value) -> Bundle {
    let bundle = Bundle::with_args(&["seq", "echo", "up", "--", "sleep"]);
    bundle.set("/linux/resources", resources);
    bundle.launch();
    bundle.wait_output("up");
    bundle
}

#[track_caller]
fn update(bundle: &Bundle, resources: &Value) -> Output {
    let file = bundle.host_file(&resources.to_string());
    bundle.call(&["update", "--resources", file.to_str().expect("UTF-8"), &bundle.id])
}

fn group(bundle: &Bundle, controller: &str) -> PathBuf {
    host::cgroup_folder(controller, &format!("/kiste-test/{}", bundle.id))
}

/// A value of the bundle's cgroup by its name on v1 and on v2.
#[track_caller]
fn value(bundle: &Bundle, controller: &str, v1: &str, v2: &str) -> String {
    let file = group(bundle, controller).join(if host::cgroup_is_v2() { v2 } else { v1 });
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display())).trim().to_owned()
}

/// Everything these tests change, as the kernel has it.
fn all(bundle: &Bundle) -> Vec<String> {
    [
        ("pids", "pids.max", "pids.max"),
        ("cpu", "cpu.shares", "cpu.weight"),
        ("cpu", "cpu.cfs_quota_us", "cpu.max"),
        ("cpuset", "cpuset.cpus", "cpuset.cpus"),
        ("memory", "memory.limit_in_bytes", "memory.max"),
        ("memory", "memory.soft_limit_in_bytes", "memory.low"),
    ]
    .map(|(controller, v1, v2)| value(bundle, controller, v1, v2))
    .into()
}

fn some_limits() -> Value {
    json!({
        "pids": { "limit": 10 }, "cpu": { "shares": 512, "quota": 20_000, "cpus": "0" },
        "memory": { "limit": 128 << 20, "reservation": 16 << 20 },
    })
}

#[test]
fn what_the_kernel_refuses_half_way_leaves_everything_as_it_was() {
    requires_controllers!("memory", "pids", "cpu", "cpuset");
    only_kiste!();
    let bundle = limited(some_limits());
    let before = all(&bundle);
    let wanted = json!({
        "pids": { "limit": 30 }, "cpu": { "shares": 700, "quota": 30_000, "cpus": "1000-1001" },
        "memory": { "limit": 256 << 20, "reservation": 64 << 20 },
    });
    let told = update(&bundle, &wanted).fails_with(&["/cpu/cpus", "cpuset.cpus", "1000-1001", "nothing was changed"]);
    assert_eq!(told.err.lines().count(), 1, "{}", told.err);
    assert_eq!(all(&bundle), before);
    // What failed is not remembered either: the next one would write it.
    bundle.call(&["update", "--pids-limit", "40", &bundle.id]).ok();
    let after = all(&bundle);
    assert_eq!((after[0].as_str(), &after[1..]), ("40", &before[1..]));
}

#[test]
fn a_file_of_v2_that_is_refused_undoes_the_others() {
    requires!(host::cgroup_is_v2(), "\"unified\" is for v2");
    requires_controllers!("hugetlb");
    only_kiste!();
    let pages = |limit: u64| json!([{ "pageSize": "2MB", "limit": limit << 20 }]);
    let bundle = limited(json!({ "hugepageLimits": pages(4) }));
    let wrong = json!({ "hugepageLimits": pages(8), "unified": { "cgroup.max.depth": "nonsense" } });
    let words = ["/unified/cgroup.max.depth", "cannot set cgroup.max.depth", "nothing was changed"];
    update(&bundle, &wrong).fails_with(&words);
    assert_eq!(value(&bundle, "hugetlb", "", "hugetlb.2MB.max"), (4 << 20).to_string());
    update(&bundle, &json!({ "hugepageLimits": pages(8), "unified": { "cgroup.max.depth": "3" } })).ok();
    assert_eq!(value(&bundle, "hugetlb", "", "hugetlb.2MB.max"), (8 << 20).to_string());
    assert_eq!(value(&bundle, "hugetlb", "", "cgroup.max.depth"), "3");
}

#[test]
fn less_memory_than_is_in_use_is_refused_by_v1() {
    requires_controllers!("memory", "pids", "cpu", "cpuset");
    requires!(!host::cgroup_is_v2(), "cgroup v1 only");
    only_kiste!();
    let bundle = Bundle::with_args(&["seq", "alloc", "40", "--", "sleep"]);
    bundle.set("/linux/resources", some_limits());
    bundle.launch();
    bundle.wait_output("took");
    let before = all(&bundle);
    let wanted = json!({ "pids": { "limit": 30 }, "cpu": { "shares": 700 }, "memory": { "limit": 8 << 20 } });
    let words = ["/memory/limit", "memory.limit_in_bytes", "more memory is in use", "nothing was changed"];
    update(&bundle, &wanted).fails_with(&words);
    assert_eq!(all(&bundle), before);
    assert_eq!(bundle.state()["status"], "running");
}

#[test]
fn less_memory_than_is_in_use_is_refused_when_asked() {
    requires_controllers!("memory", "pids", "cpu", "cpuset");
    only_kiste!();
    let bundle = Bundle::with_args(&["seq", "alloc", "40", "--", "sleep"]);
    let mut limits = some_limits();
    limits["memory"]["checkBeforeUpdate"] = json!(true);
    bundle.set("/linux/resources", limits);
    bundle.launch();
    bundle.wait_output("took");
    let before = all(&bundle);
    // The configuration's wish holds for every update.
    let wanted = json!({ "pids": { "limit": 30 }, "memory": { "limit": 8 << 20 } });
    update(&bundle, &wanted).fails_with(&["/memory/limit", "is below what is in use", "nothing was changed"]);
    assert_eq!(all(&bundle), before);
    assert_eq!(bundle.state()["status"], "running");
    update(&bundle, &json!({ "memory": { "limit": 96 << 20 } })).ok();
    assert_eq!(all(&bundle)[4], (96 << 20).to_string());
    // Without the memory limit there is nothing to check.
    update(&bundle, &json!({ "pids": { "limit": 31 } })).ok();
}

/// The total of memory and swap: on v1 as it is, on v2 what the memory limit leaves of it.
#[track_caller]
fn assert_total(bundle: &Bundle, limit: i64, total: i64) {
    assert_eq!(value(bundle, "memory", "memory.limit_in_bytes", "memory.max"), (limit << 20).to_string());
    let swap = if host::cgroup_is_v2() { total - limit } else { total };
    let found = value(bundle, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max");
    assert_eq!(found, (swap << 20).to_string());
}

fn counts_swap(bundle: &Bundle) -> bool {
    let file = if host::cgroup_is_v2() { "memory.swap.max" } else { "memory.memsw.limit_in_bytes" };
    fs::read_to_string(group(bundle, "memory").join(file)).is_ok()
}

#[test]
fn memory_and_swap_go_up_and_down_together() {
    requires_controllers!("memory");
    let bundle = limited(json!({ "memory": { "limit": 64 << 20 } }));
    requires!(counts_swap(&bundle), "no swap accounting");
    for (limit, total) in [(256i64, 300i64), (32, 40), (100, 100), (99, 300), (33, 33)] {
        update(&bundle, &json!({ "memory": { "limit": limit << 20, "swap": total << 20 } })).ok();
        assert_total(&bundle, limit, total);
    }
}

#[test]
fn an_update_builds_on_the_one_before() {
    requires_controllers!("memory", "cpu");
    only_kiste!();
    let bundle = limited(json!({ "memory": { "limit": 64 << 20 }, "cpu": { "quota": 20_000 } }));
    requires!(counts_swap(&bundle), "no swap accounting");
    let option = |name: &str, value: &str| bundle.call(&["update", name, value, &bundle.id]).ok();
    let _ = option("--memory-swap", "96m");
    assert_total(&bundle, 64, 96);
    let _ = option("--memory", "80m");
    assert_total(&bundle, 80, 96);
    // A total below the memory limit follows it: no swap is left.
    let _ = option("--memory", "128m");
    assert_total(&bundle, 128, 128);
    let _ = option("--memory-swap", "200m");
    assert_total(&bundle, 128, 200);
    bundle
        .call(&["update", "--memory-swap", "100m", &bundle.id])
        .fails_with(&["memory/swap", "less than memory alone"]);
    assert_total(&bundle, 128, 200);
    let _ = option("--cpu-period", "50000");
    let found = value(&bundle, "cpu", "cpu.cfs_quota_us", "cpu.max");
    assert!(found == "20000" || found == "20000 50000", "{found}");
    if !host::cgroup_is_v2() {
        assert_eq!(value(&bundle, "cpu", "cpu.cfs_period_us", ""), "50000");
    }
    let _ = option("--memory", "-1");
    let unlimited = value(&bundle, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max");
    assert!(unlimited == "max" || unlimited == "9223372036854771712", "{unlimited}");
}

#[test]
fn shares_come_back_after_idleness() {
    requires_controllers!("cpu");
    only_kiste!();
    let bundle = limited(json!({ "cpu": { "shares": 512 } }));
    requires!(group(&bundle, "cpu").join("cpu.idle").exists(), "no cpu.idle");
    let shares = || value(&bundle, "cpu", "cpu.shares", "cpu.weight");
    let before = shares();
    bundle.call(&["update", "--cpu-idle", "1", &bundle.id]).ok();
    assert_eq!(value(&bundle, "cpu", "cpu.idle", "cpu.idle"), "1");
    bundle.call(&["update", "--cpu-idle", "0", &bundle.id]).ok();
    assert_eq!((value(&bundle, "cpu", "cpu.idle", "cpu.idle").as_str(), shares()), ("0", before));
}

#[test]
fn what_somebody_else_has_written_is_replaced_when_it_is_asked_for_again() {
    requires_controllers!("pids");
    let bundle = limited(json!({ "pids": { "limit": 10 } }));
    fs::write(group(&bundle, "pids").join("pids.max"), "77").expect("pids.max");
    bundle.call(&["update", "--pids-limit", "10", &bundle.id]).ok();
    assert_eq!(value(&bundle, "pids", "pids.max", "pids.max"), "10");
}

#[test]
fn wrong_resources_are_named_by_their_place_and_change_nothing() {
    requires_controllers!("pids");
    only_kiste!();
    let bundle = limited(json!({ "pids": { "limit": 10 } }));
    for (wrong, words) in [
        (json!({ "pids": { "limit": "many" } }), "/pids/limit: expected"),
        (json!({ "pids": { "limit": 20 }, "memory": { "limit": 50, "swap": 40 } }), "/memory/swap: "),
        (json!({ "pids": { "limit": 20 }, "cpu": { "period": 5 } }), "/cpu/period: a period goes from"),
        (json!({ "pids": { "limit": 20 }, "cpu": { "cpus": "zero" } }), "/cpu/cpus: "),
        (
            json!({ "pids": { "limit": 20 }, "hugepageLimits": [{ "pageSize": "2", "limit": 1 }] }),
            "/hugepageLimits/0/pageSize",
        ),
    ] {
        update(&bundle, &wrong).fails_with(&[words]);
        assert_eq!(value(&bundle, "pids", "pids.max", "pids.max"), "10", "{wrong}");
    }
}
