//! The process as its configuration describes it: identity, rights, limits, surroundings.

mod harness;

use harness::{Bundle, Value, host, json, only_kiste, requires};
use std::fs;

#[test]
fn user_and_groups_are_those_asked_for() {
    requires!(host::is_root(), "one mapped id only");
    let bundle = Bundle::new();
    bundle.set("/process/user", json!({ "uid": 1000, "gid": 1001, "additionalGids": [5, 1002] }));
    let ids = &bundle.report()["ids"];
    assert_eq!(ids["uid"], json!([1000, 1000, 1000]));
    assert_eq!(ids["gid"], json!([1001, 1001, 1001]));
    let groups = ids["groups"].as_array().expect("groups");
    // The primary group may be among them.
    assert!(groups.contains(&json!(5)) && groups.contains(&json!(1002)), "{groups:?}");
    assert!(groups.iter().all(|g| [5, 1001, 1002].contains(&g.as_u64().unwrap_or(0))), "{groups:?}");
}

#[test]
fn groups_of_the_caller_are_dropped() {
    requires!(host::is_root(), "only root can drop groups");
    let bundle = Bundle::new();
    let mut command = std::process::Command::new("setpriv");
    command.args(["--groups", "4,20,1234"]).arg(harness::runtime_path()).arg("--root").arg(&bundle.runtime.root);
    command.args(["run", "--bundle", "bundle", &bundle.id]).current_dir(&bundle.dir);
    let report = harness::run_command(&mut command, &bundle.dir, 30.0).ok().json();
    let groups = report["ids"]["groups"].as_array().expect("groups");
    assert!(groups.iter().all(|g| g == 0), "{groups:?}");
}

#[test]
fn the_mask_of_new_files_is_set() {
    let bundle = Bundle::new();
    bundle.set("/process/user/umask", json!(0o027));
    assert_eq!(bundle.report()["umask"], "0027");
}

#[test]
fn the_mask_of_new_files_is_022_unless_set() {
    only_kiste!();
    let bundle = Bundle::new();
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", "umask 077; exec \"$@\"", "sh"])
        .arg(harness::runtime_path())
        .arg("--root")
        .arg(&bundle.runtime.root);
    command.args(["run", "--bundle", "bundle", &bundle.id]).current_dir(&bundle.dir);
    assert_eq!(harness::run_command(&mut command, &bundle.dir, 30.0).ok().json()["umask"], "0022");
}

#[test]
fn arguments_and_environment_arrive_as_written() {
    let bundle = Bundle::new();
    bundle.set("/process/args", json!(["/init", "report", "--sysctl", "two words", "--sysctl", "ünïcödé"]));
    bundle.set("/process/env", json!(["PATH=/bin", "EMPTY=", "TEXT=a b=c", "HOME=/x"]));
    let report = bundle.report();
    assert_eq!(report["argv"], json!(["/init", "report", "--sysctl", "two words", "--sysctl", "ünïcödé"]));
    assert_eq!(report["env"], json!({ "PATH": "/bin", "EMPTY": "", "TEXT": "a b=c", "HOME": "/x" }));
}

#[test]
fn nothing_of_the_callers_environment_gets_in() {
    let bundle = Bundle::new();
    let mut command = bundle.runtime.command(&["run", "--bundle", "bundle", &bundle.id]);
    command.env("SECRET", "x").env("LD_PRELOAD", "");
    let report = harness::run_command(&mut command, &bundle.dir, 30.0).ok().json();
    let mut names: Vec<_> = report["env"].as_object().expect("env").keys().cloned().collect();
    names.retain(|n| n != "HOME");
    assert_eq!(names, ["PATH"]);
}

#[test]
fn home_comes_from_the_containers_own_users() {
    let bundle = Bundle::new();
    fs::create_dir(bundle.inside("etc")).expect("etc");
    fs::write(bundle.inside("etc/passwd"), "root:x:0:0::/home/of-root:/bin/sh\n").expect("passwd");
    assert_eq!(bundle.report()["env"]["HOME"], "/home/of-root");
}

#[test]
fn home_is_the_root_folder_without_users() {
    assert_eq!(Bundle::new().report()["env"]["HOME"], "/");
}

#[test]
fn the_working_directory_is_set() {
    let bundle = Bundle::new();
    bundle.set("/process/cwd", json!("/tmp"));
    assert_eq!(bundle.report()["cwd"], "/tmp");
}

#[test]
fn a_missing_working_directory_is_made() {
    let bundle = Bundle::new();
    bundle.set("/process/cwd", json!("/new/folder"));
    assert_eq!(bundle.report()["cwd"], "/new/folder");
}

#[test]
fn a_working_directory_may_be_behind_a_link() {
    let bundle = Bundle::new();
    std::os::unix::fs::symlink("/tmp", bundle.inside("link")).expect("symlink");
    bundle.set("/process/cwd", json!("/link"));
    assert_eq!(bundle.report()["cwd"], "/tmp");
}

#[test]
fn limits_are_set() {
    let bundle = Bundle::new();
    bundle.set(
        "/process/rlimits",
        json!([
            { "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 },
            { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
        ]),
    );
    let limits = &bundle.report()["rlimits"];
    assert_eq!(limits["RLIMIT_NOFILE"], json!({ "soft": 100, "hard": 200 }));
    assert_eq!(limits["RLIMIT_CORE"], json!({ "soft": 0, "hard": 0 }));
}

#[test]
fn limits_above_the_callers_own_are_set() {
    requires!(host::is_root() && host::has_capability(host::SYS_RESOURCE), "needs CAP_SYS_RESOURCE");
    let bundle = Bundle::new();
    bundle.set("/process/rlimits", json!([{ "type": "RLIMIT_MSGQUEUE", "soft": 9_000_000, "hard": 9_000_000 }]));
    assert_eq!(bundle.report()["rlimits"]["RLIMIT_MSGQUEUE"]["hard"], 9_000_000);
}

#[test]
fn a_limit_that_is_named_twice_is_refused() {
    only_kiste!();
    let bundle = Bundle::new();
    let limit = json!({ "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 });
    bundle.set("/process/rlimits", json!([limit, limit]));
    bundle.run().fails_with(&["RLIMIT_NOFILE"]);
}

#[test]
fn roots_capabilities_are_those_asked_for() {
    let bundle = Bundle::new();
    let some = json!(["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"]);
    bundle.set("/process/capabilities", json!({ "bounding": some, "permitted": some, "effective": ["CAP_KILL"] }));
    let sets = bundle.report()["capabilities"].clone();
    assert_eq!(sets["bounding"], some);
    // execve(2) as root gives root what the bounding set has.
    assert_eq!((&sets["permitted"], &sets["effective"]), (&some, &some));
    assert_eq!((&sets["inheritable"], &sets["ambient"]), (&json!([]), &json!([])));
}

#[test]
fn without_capabilities_there_are_none() {
    let bundle = Bundle::new();
    bundle.set("/process/capabilities", json!({}));
    let sets = bundle.report()["capabilities"].clone();
    for set in ["bounding", "permitted", "effective", "inheritable", "ambient"] {
        assert_eq!(sets[set], json!([]), "{set}");
    }
}

#[test]
fn another_users_capabilities_are_the_ambient_ones() {
    requires!(host::is_root(), "one mapped id only");
    let bundle = Bundle::new();
    let some = json!(["CAP_CHOWN", "CAP_NET_BIND_SERVICE"]);
    bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    bundle.set("/process/capabilities", json!({ "bounding": some, "permitted": some, "effective": some }));
    let sets = bundle.report()["capabilities"].clone();
    assert_eq!((&sets["bounding"], &sets["permitted"], &sets["effective"]), (&some, &json!([]), &json!([])));
    let one = json!(["CAP_NET_BIND_SERVICE"]);
    bundle.set(
        "/process/capabilities",
        json!({ "bounding": some, "permitted": one, "effective": one, "inheritable": one, "ambient": one }),
    );
    let sets = bundle.report()["capabilities"].clone();
    for set in ["permitted", "effective", "inheritable", "ambient"] {
        assert_eq!(sets[set], one, "{set}");
    }
}

#[test]
fn no_new_privileges_is_set_or_not() {
    let bundle = Bundle::new();
    assert_eq!(bundle.report()["no_new_privileges"], 1);
    bundle.set("/process/noNewPrivileges", json!(false));
    assert_eq!(bundle.report()["no_new_privileges"], 0);
}

#[test]
fn the_oom_score_is_raised() {
    let bundle = Bundle::new();
    bundle.set("/process/oomScoreAdj", json!(321));
    assert_eq!(bundle.report()["oom_score_adj"], 321);
}

#[test]
fn the_oom_score_is_untouched_unless_asked_for() {
    let bundle = Bundle::new();
    bundle.remove("/process/oomScoreAdj");
    let own = fs::read_to_string("/proc/self/oom_score_adj").expect("proc");
    assert_eq!(bundle.report()["oom_score_adj"].to_string(), own.trim());
}

#[test]
fn sysctls_of_own_namespaces_are_set() {
    let bundle =
        Bundle::with_args(&["report", "--sysctl", "kernel.msgmax", "--sysctl", "net.ipv4.ip_unprivileged_port_start"]);
    bundle.set("/linux/sysctl", json!({ "kernel.msgmax": "4242", "net.ipv4.ip_unprivileged_port_start": "77" }));
    let sysctls = bundle.report()["sysctls"].clone();
    assert_eq!(sysctls, json!({ "kernel.msgmax": "4242", "net.ipv4.ip_unprivileged_port_start": "77" }));
}

#[test]
fn sysctls_of_the_host_are_refused() {
    let before = fs::read_to_string("/proc/sys/vm/swappiness").expect("proc");
    let bundle = Bundle::new();
    for (key, without) in
        [("vm.swappiness", ""), ("kernel.panic", ""), ("kernel.msgmax", "ipc"), ("net.ipv4.ip_forward", "network")]
    {
        let bundle = Bundle::new();
        bundle.set("/linux/sysctl", json!({ key: "17" })).without_namespace(without);
        bundle.run().fails_with(&[key]);
    }
    bundle.assert_nothing_left();
    assert_eq!(fs::read_to_string("/proc/sys/vm/swappiness").expect("proc"), before);
}

#[test]
fn the_host_name_is_set() {
    let bundle = Bundle::new();
    bundle.set("/hostname", json!("other-name"));
    assert_eq!(bundle.report()["uts"]["hostname"], "other-name");
    assert_ne!(fs::read_to_string("/proc/sys/kernel/hostname").expect("proc").trim(), "other-name");
}

#[test]
fn the_domain_name_is_set() {
    let bundle = Bundle::new();
    bundle.set("/domainname", json!("example.org"));
    requires!(!harness::runtime_path().ends_with("runc"), "runc 1.1 has no domainname");
    assert_eq!(bundle.report()["uts"]["domainname"], "example.org");
}

#[test]
fn signals_are_as_a_new_process_expects_them() {
    let bundle = Bundle::new();
    // A caller that ignores and blocks what it can.
    let script = "trap '' HUP USR1 PIPE; exec \"$@\"";
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script, "sh"]).arg(harness::runtime_path()).arg("--root").arg(&bundle.runtime.root);
    command.args(["run", "--bundle", "bundle", &bundle.id]).current_dir(&bundle.dir);
    let report = harness::run_command(&mut command, &bundle.dir, 30.0).ok().json();
    assert_eq!(report["signals"]["blocked"], json!([]));
    if harness::runtime_is_kiste() {
        assert_eq!(report["signals"]["ignored"], json!([]));
    }
}

#[test]
fn the_process_leads_a_session_of_its_own() {
    let ids = Bundle::new().report()["ids"].clone();
    assert_eq!((&ids["pid"], &ids["sid"], &ids["pgid"]), (&json!(1), &json!(1), &json!(1)));
}

#[test]
fn a_session_keyring_is_new_unless_refused() {
    let bundle = Bundle::new();
    let own = |report: &Value| report["keyring"].clone();
    let first = own(&bundle.report());
    requires!(first.is_number(), "no key retention service in this kernel or another filter in the way: {first}");
    // SAFETY: KEYCTL_GET_KEYRING_ID of our own session keyring.
    let ours = unsafe { libc::syscall(libc::SYS_keyctl, 0u64, -3i64, 0u64) };
    assert_ne!(first, json!(ours));
    let inherited: Value = bundle.run_with(&["--no-new-keyring"]).ok().json();
    assert_eq!(own(&inherited), json!(ours));
}

#[test]
fn the_personality_is_set() {
    let bundle = Bundle::new();
    bundle.set("/linux/personality", json!({ "domain": "LINUX32" }));
    requires!(!harness::runtime_path().ends_with("runc"), "runc 1.1 has no personality");
    assert_eq!(bundle.report()["personality"], 8);
}

#[test]
fn the_schedulers_policy_is_set() {
    only_kiste!();
    let bundle = Bundle::new();
    bundle.set("/process/scheduler", json!({ "policy": "SCHED_BATCH", "nice": 7 }));
    let scheduler = bundle.report()["scheduler"].clone();
    assert_eq!((&scheduler["policy"], &scheduler["nice"]), (&json!(3), &json!(7)));
}

#[test]
fn the_priority_of_input_and_output_is_set() {
    only_kiste!();
    let bundle = Bundle::new();
    bundle.set("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_BE", "priority": 6 }));
    let scheduler = bundle.report()["scheduler"].clone();
    assert_eq!((&scheduler["io_class"], &scheduler["io_level"]), (&json!(2), &json!(6)));
}

#[test]
fn the_process_is_not_dumpable_by_accident_nor_tied_to_the_caller() {
    let report = Bundle::new().report();
    assert_eq!(report["death_signal"], 0);
    assert_eq!(report["securebits"], 0);
}
