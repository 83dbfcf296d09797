//! User namespaces: made by root with maps, by plain users with their own or subordinate ids, and joined.

mod harness;

use harness::{Bundle, Value, as_user, host, json, only_kiste, requires};
use std::fs;

const FIRST: u64 = 200_000;

/// A bundle of root's whose ids 0 to 65535 are those from 200000 on.
fn mapped(words: &[&str]) -> Bundle {
    let bundle = Bundle::with_args(words);
    bundle.push("/linux/namespaces", json!({ "type": "user" }));
    for map in ["uidMappings", "gidMappings"] {
        bundle.set(&format!("/linux/{map}"), json!([{ "containerID": 0, "hostID": FIRST, "size": 65536 }]));
    }
    bundle
}

macro_rules! requires_root {
    () => {
        requires!(host::is_root(), "only root can map ids of others")
    };
}

#[test]
fn root_inside_is_nobody_outside() {
    requires_root!();
    let bundle = mapped(&["seq", "report", "--", "sleep"]);
    bundle.launch();
    bundle.wait_output("\n");
    let report: Value = serde_json::from_str(&bundle.output()).expect("JSON");
    assert_eq!((&report["ids"]["uid"], &report["ids"]["gid"]), (&json!([0, 0, 0]), &json!([0, 0, 0])));
    assert_eq!(report["uid_map"], json!([[0, FIRST, 65536]]));
    assert_eq!(report["gid_map"], json!([[0, FIRST, 65536]]));
    let status = fs::read_to_string(format!("/proc/{}/status", bundle.pid())).expect("proc");
    let ids = |name: &str| {
        status.lines().find(|l| l.starts_with(name)).expect("a line").split_whitespace().nth(1).map(str::to_owned)
    };
    assert_eq!((ids("Uid:"), ids("Gid:")), (Some(FIRST.to_string()), Some(FIRST.to_string())));
}

#[test]
fn other_users_and_groups_are_mapped_too() {
    requires_root!();
    let bundle = mapped(&["report"]);
    bundle.set("/process/user", json!({ "uid": 1000, "gid": 1001, "additionalGids": [44, 1002] }));
    let ids = bundle.report()["ids"].clone();
    assert_eq!((&ids["uid"], &ids["gid"]), (&json!([1000, 1000, 1000]), &json!([1001, 1001, 1001])));
    let groups = ids["groups"].as_array().expect("groups");
    assert!(groups.contains(&json!(44)) && groups.contains(&json!(1002)), "{groups:?}");
}

#[test]
fn several_ranges_are_mapped() {
    requires_root!();
    let bundle = mapped(&["report"]);
    let ranges = json!([
        { "containerID": 0, "hostID": FIRST, "size": 10 }, { "containerID": 10, "hostID": FIRST + 500, "size": 90 },
        { "containerID": 1000, "hostID": FIRST + 900, "size": 1 },
    ]);
    bundle.set("/linux/uidMappings", ranges);
    assert_eq!(bundle.report()["uid_map"], json!([[0, FIRST, 10], [10, FIRST + 500, 90], [1000, FIRST + 900, 1]]));
}

#[test]
fn a_user_without_mapping_is_an_error() {
    requires_root!();
    let bundle = mapped(&["report"]);
    bundle.set("/process/user", json!({ "uid": 70_000, "gid": 0 }));
    bundle.run().fails_with(&[]);
    bundle.assert_nothing_left();
}

#[test]
fn devices_and_mounts_work_in_it() {
    requires_root!();
    let bundle = mapped(&[
        "seq",
        "open",
        "/dev/null",
        "w",
        "--",
        "open",
        "/dev/zero",
        "--",
        "touch",
        "/dev/shm/x",
        "--",
        "stat",
        "/dev/null",
    ]);
    let output = bundle.run().ok();
    assert_eq!(output.lines()[..3], ["ok", "ok", "ok"]);
    let stat: Value = serde_json::from_str(output.lines()[3]).expect("JSON");
    assert_eq!((&stat["type"], &stat["rdev"]), (&json!("char"), &json!([1, 3])));
}

#[test]
fn capabilities_do_not_reach_outside() {
    requires_root!();
    let bundle = mapped(&[
        "seq",
        "touch",
        "/root-file",
        "--",
        "write",
        "/proc/sys/kernel/panic",
        "0",
        "--",
        "mount",
        "none",
        "/tmp",
        "tmpfs",
        "0",
    ]);
    let all = json!(["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_CHOWN", "CAP_SYS_RESOURCE"]);
    bundle.set("/process/capabilities", json!({ "bounding": all, "permitted": all, "effective": all }));
    let output = bundle.run();
    assert_eq!(output.lines()[2], "ok", "its own mounts are its own: {output:?}");
    assert_ne!(output.lines()[0], "ok", "the root folder belongs to the host's root");
    assert_ne!(output.lines()[1], "ok");
}

#[test]
fn maps_without_the_namespace_are_an_error() {
    only_kiste!();
    let bundle = Bundle::new();
    bundle.without_namespace("user");
    bundle.set("/linux/uidMappings", json!([{ "containerID": 0, "hostID": FIRST, "size": 10 }]));
    bundle.set("/linux/gidMappings", json!([{ "containerID": 0, "hostID": FIRST, "size": 10 }]));
    bundle.run().fails_with(&[]);
    bundle.assert_nothing_left();
}

#[test]
fn maps_that_overlap_are_an_error() {
    requires_root!();
    let bundle = mapped(&["report"]);
    bundle.push("/linux/uidMappings", json!({ "containerID": 5, "hostID": FIRST + 90_000, "size": 10 }));
    bundle.run().fails_with(&[]);
    bundle.assert_nothing_left();
}

#[test]
fn exec_enters_it() {
    requires_root!();
    let bundle = mapped(&["sleep"]);
    bundle.launch();
    let report: Value = bundle.exec(&["report"]).ok().json();
    assert_eq!(report["uid_map"], json!([[0, FIRST, 65536]]));
    assert_eq!(report["ids"]["uid"], json!([0, 0, 0]));
}

#[test]
fn the_namespaces_of_another_container_are_joined() {
    requires_root!();
    let first = mapped(&["sleep"]);
    first.launch();
    let pid = first.pid();
    let joining = |bundle: Bundle| {
        bundle.remove("/hostname");
        bundle.push("/linux/namespaces", json!({ "type": "user", "path": format!("/proc/{pid}/ns/user") }));
        for (kind, link) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")] {
            bundle.without_namespace(kind);
            bundle.push("/linux/namespaces", json!({ "type": kind, "path": format!("/proc/{pid}/ns/{link}") }));
        }
        bundle
    };
    let report = joining(Bundle::new()).report();
    for link in ["user", "net", "ipc", "uts", "pid"] {
        let theirs = fs::read_link(format!("/proc/{pid}/ns/{link}")).expect("a namespace");
        assert!(theirs.to_string_lossy().contains(&report["namespaces"][link].to_string()), "{link}: {theirs:?}");
    }
    assert_eq!(report["ids"]["uid"], json!([0, 0, 0]));
    // The number on record is the runtime's, not the one in the joined pid namespace.
    let third = joining(Bundle::with_args(&["sleep"]));
    third.launch();
    let link = |pid| fs::read_link(format!("/proc/{pid}/ns/pid")).expect("a namespace");
    assert_eq!(link(third.pid()), link(pid));
    assert_ne!(third.pid(), pid);
}

#[test]
fn a_plain_user_needs_no_privilege() {
    as_user!();
    let (uid, gid) = host::ids();
    let report = Bundle::new().report();
    assert_eq!((&report["uid_map"], &report["gid_map"]), (&json!([[0, uid, 1]]), &json!([[0, gid, 1]])));
    assert_eq!(report["setgroups"], "deny");
    assert_eq!(report["ids"]["uid"], json!([0, 0, 0]));
}

#[test]
fn a_plain_user_uses_subordinate_ids() {
    as_user!();
    let Some((start, count)) = host::subordinate_ids() else {
        return harness::skip(&harness::test_name!(), "no subordinate ids");
    };
    let (uid, gid) = host::ids();
    let bundle = Bundle::new();
    bundle.set(
        "/linux/uidMappings",
        json!([{ "containerID": 0, "hostID": uid, "size": 1 }, { "containerID": 1, "hostID": start, "size": count }]),
    );
    bundle.set(
        "/linux/gidMappings",
        json!([{ "containerID": 0, "hostID": gid, "size": 1 }, { "containerID": 1, "hostID": start, "size": count }]),
    );
    bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000, "additionalGids": [44] }));
    let report = bundle.report();
    assert_eq!(report["uid_map"], json!([[0, uid, 1], [1, start, count]]));
    assert_eq!((&report["ids"]["uid"], &report["setgroups"]), (&json!([1000, 1000, 1000]), &json!("allow")));
    assert!(report["ids"]["groups"].as_array().is_some_and(|g| g.contains(&json!(44))), "{}", report["ids"]);
}

/// The configuration that `spec` writes for root, as it is: the user namespace comes by itself, and what joins the
/// container later knows of it.
#[test]
fn a_plain_user_gets_the_user_namespace_that_is_not_asked_for() {
    as_user!();
    only_kiste!();
    let (uid, gid) = host::ids();
    let bundle = Bundle::new();
    fs::remove_file(bundle.config_path()).expect("remove");
    bundle.call(&["spec", "--bundle", "bundle"]).ok();
    let text = fs::read(bundle.config_path()).expect("config.json");
    bundle.edit(|config| *config = serde_json::from_slice(&text).expect("JSON"));
    bundle.set("/process/terminal", json!(false)).args(&["report"]);
    let report = bundle.run().ok().json();
    let user = nix::unistd::User::from_uid(uid.into()).expect("passwd").expect("a user").name;
    let maps = |own: u32, file: &str| {
        let text = host::subordinate_ids().and_then(|_| fs::read_to_string(file).ok()).unwrap_or_default();
        let (mut maps, mut next) = (vec![json!([0, own, 1])], 1);
        for line in text.lines().filter_map(|line| line.strip_prefix(&format!("{user}:"))) {
            let (start, count) = line.split_once(':').expect("two numbers");
            let (start, count): (u32, u32) = (start.parse().expect("a number"), count.parse().expect("a number"));
            maps.push(json!([next, start, count]));
            next += count;
        }
        Value::Array(maps)
    };
    let (users, groups) = (maps(uid, "/etc/subuid"), maps(gid, "/etc/subgid"));
    assert_eq!((&report["uid_map"], &report["gid_map"]), (&users, &groups));
    assert_eq!(report["ids"]["uid"], json!([0, 0, 0]));

    bundle.args(&["sleep"]);
    bundle.launch();
    assert_eq!(bundle.exec(&["report"]).ok().json()["uid_map"], users);
    bundle.call(&["delete", "--force", &bundle.id]).ok();
    bundle.assert_nothing_left();
}

#[test]
fn a_plain_user_gets_no_ids_of_others() {
    as_user!();
    let bundle = Bundle::new();
    for map in ["uidMappings", "gidMappings"] {
        bundle.set(&format!("/linux/{map}"), json!([{ "containerID": 0, "hostID": 0, "size": 10 }]));
    }
    bundle.run().fails_with(&[]);
    bundle.assert_nothing_left();
}

#[test]
fn a_plain_users_container_lives_and_ends() {
    as_user!();
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.launch();
    assert_eq!(bundle.state()["status"], "running");
    assert_eq!(bundle.exec(&["echo", "inside"]).ok().out, "inside\n");
    bundle.call(&["delete", "--force", &bundle.id]).ok();
    bundle.assert_nothing_left();
}

#[test]
fn a_plain_user_can_use_the_default_state_folder() {
    as_user!();
    let bundle = Bundle::with_args(&["exit", "4"]);
    let own = bundle.dir.join("runtime-dir");
    fs::create_dir(&own).expect("folder");
    fs::set_permissions(&own, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("chmod");
    let mut command = std::process::Command::new(harness::runtime_path());
    command.args(["run", "--bundle", "bundle", &bundle.id]).current_dir(&bundle.dir).env("XDG_RUNTIME_DIR", &own);
    harness::run_command(&mut command, &bundle.dir, 30.0).code(4);
}

/// What `spec --rootless` writes, with a cgroup namespace and without: the view of a container
/// that has no group of its own is the runtime's group, read-only.
#[test]
fn a_plain_user_sees_control_groups_without_having_one() {
    as_user!();
    for (made, driver) in [(true, "cgroupfs"), (false, "cgroupfs"), (true, "disabled"), (false, "disabled")] {
        let mut bundle = Bundle::new();
        bundle.runtime.options.push(format!("--cgroup-manager={driver}"));
        fs::remove_file(bundle.config_path()).expect("remove");
        bundle.call(&["spec", "--rootless", "--bundle", "bundle"]).ok();
        let text = fs::read(bundle.config_path()).expect("config.json");
        bundle.edit(|config| *config = serde_json::from_slice(&text).expect("JSON"));
        bundle.set("/process/terminal", json!(false)).args(&["report"]);
        if !made {
            bundle.without_namespace("cgroup");
        }
        let output = bundle.run().ok();
        assert_eq!(output.err, "", "nothing was asked for that is missing");
        let report = output.json();
        let mounts = report["mounts"].as_array().expect("mounts");
        let shown = |at: &str| mounts.iter().rfind(|mount| mount["target"] == at);
        let at = if host::cgroup_is_v2() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/pids" };
        let found = shown(at).unwrap_or_else(|| panic!("{made} {driver}: {mounts:?}"));
        assert!(found["fstype"].as_str().is_some_and(|kind| kind.starts_with("cgroup")), "{found}");
        assert!(found["options"].to_string().contains("\"ro\""), "{made} {driver}: {found}");
        bundle.assert_nothing_left();
    }
}
