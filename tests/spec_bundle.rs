//! What kiste writes is taken by the other runtimes, too: a bundle from `spec` runs the same under crun and runc.

mod harness;

use harness::{Bundle, Value, host, json, only_kiste, requires};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where a peer is: in the folder KISTE_PEERS, or in PATH.
fn peer(name: &str) -> Option<PathBuf> {
    match std::env::var_os("KISTE_PEERS") {
        Some(folder) => Some(Path::new(&folder).join(name)).filter(|path| path.exists()),
        None => host::program(name),
    }
}

/// What a process must find alike, whoever started it.
const ALIKE: &[&str] = &["capabilities", "no_new_privileges", "cwd", "env", "umask", "uts", "argv", "oom_score_adj"];

#[track_caller]
fn runs_under(name: &str, peer: &Path) {
    let bundle = Bundle::new();
    fs::remove_file(bundle.config_path()).expect("remove");
    bundle.call(&["spec", "--bundle", "bundle"]).ok();
    let mut config: Value =
        serde_json::from_slice(&fs::read(bundle.config_path()).expect("config.json")).expect("JSON");
    config["process"]["args"] = json!(["/init", "report"]);
    config["process"]["terminal"] = json!(false);
    // Of the test's own, so that it is cleaned up whatever happens.
    config["linux"]["cgroupsPath"] = json!(format!("/kiste-test/{}", bundle.id));
    bundle.edit(|c| *c = config);
    let ours = bundle.report();
    let mut command = Command::new(peer);
    command.arg("--root").arg(bundle.host_folder()).args(["run", "--bundle", "bundle", &bundle.id]);
    command.current_dir(&bundle.dir).stdin(std::process::Stdio::null());
    let theirs = harness::run_command(&mut command, &bundle.dir, 30.0);
    // crun before 1.9 raises a limit of its own first.
    if !host::has_capability(host::SYS_RESOURCE) && theirs.err.contains("setrlimit (RLIM_MEMLOCK)") {
        return harness::skip(
            &format!("spec_bundle::the_bundle_of_spec_runs_under_{name}"),
            "this crun needs CAP_SYS_RESOURCE",
        );
    }
    let theirs = theirs.ok().json();
    for key in ALIKE {
        assert_eq!(ours[key], theirs[key], "{key} under {name}");
    }
    let kinds = |report: &Value| report["rlimits"]["RLIMIT_NOFILE"].clone();
    assert_eq!(kinds(&ours), kinds(&theirs));
    let targets = |report: &Value| {
        let mounts = report["mounts"].as_array().expect("mounts").iter();
        let mut all: Vec<_> = mounts.map(|mount| mount["target"].as_str().unwrap_or("?").to_owned()).collect();
        // What lies below is how each shows v1 hierarchies, and which files it has to mask.
        all.retain(|target| !target.starts_with("/proc/") && !target.starts_with("/sys/fs/cgroup/"));
        all.sort();
        all.dedup();
        all
    };
    assert_eq!(targets(&ours), targets(&theirs), "mounts under {name}");
}

#[test]
fn the_bundle_of_spec_runs_under_crun() {
    only_kiste!();
    requires!(host::is_root(), "needs root");
    let Some(path) = peer("crun") else { return harness::skip(&harness::test_name!(), "no crun here") };
    let hybrid = !host::cgroup_is_v2() && Path::new("/sys/fs/cgroup/unified").exists();
    requires!(!hybrid, "crun refuses hybrid control groups");
    runs_under("crun", &path);
}

#[test]
fn the_bundle_of_spec_runs_under_runc() {
    only_kiste!();
    requires!(host::is_root(), "needs root");
    let Some(path) = peer("runc") else { return harness::skip(&harness::test_name!(), "no runc here") };
    runs_under("runc", &path);
}
