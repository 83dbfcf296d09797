//! Hooks: when, where and with what they run, and what their failure does.

mod harness;

use harness::{Bundle, Value, json, only_kiste};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A hook that appends what it sees to a file of the bundle, under a name.
fn hook(bundle: &Bundle, name: &str) -> Value {
    let file = bundle.dir.join(name);
    json!({ "path": harness::reporter_path(), "args": ["hook-name", "hook", file], "env": ["KEY=value"] })
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|l| serde_json::from_str(l).expect("a line of JSON")).collect()
}

fn seen(bundle: &Bundle, name: &str) -> Value {
    let all = lines(&bundle.dir.join(name));
    assert_eq!(all.len(), 1, "{name} ran {} times", all.len());
    all[0].clone()
}

/// A hook of the host's shell.
fn shell(script: &str) -> Value {
    json!({ "path": "/bin/sh", "args": ["sh", "-c", script] })
}

#[test]
fn hooks_get_the_state_on_their_input() {
    let bundle = Bundle::with_args(&["exit", "0"]);
    bundle.set("/annotations", json!({ "org.example.key": "value" }));
    for kind in ["prestart", "createRuntime", "poststart", "poststop"] {
        bundle.set(&format!("/hooks/{kind}"), json!([hook(&bundle, kind)]));
    }
    bundle.run().ok();
    for (kind, status) in
        [("prestart", "creat"), ("createRuntime", "creat"), ("poststart", "running"), ("poststop", "stopped")]
    {
        let state = seen(&bundle, kind)["stdin"].clone();
        assert_eq!(state["id"], bundle.id.as_str(), "{kind}");
        // runc 1.1 says "creating" to the first two and "running" too early; the text is checked for kiste.
        if harness::runtime_is_kiste() {
            assert!(state["status"].as_str().is_some_and(|s| s.starts_with(status)), "{kind}: {state}");
        }
        assert_eq!(state["annotations"]["org.example.key"], "value", "{kind}");
        assert!(state["bundle"].as_str().is_some_and(|b| b.ends_with("/bundle")), "{kind}: {state}");
        assert_eq!(state["pid"].as_i64().unwrap_or(0) > 0, kind != "poststop", "{kind}: {state}");
    }
}

#[test]
fn hooks_get_their_own_arguments_and_environment() {
    let bundle = Bundle::with_args(&["exit", "0"]);
    bundle.set("/hooks/createRuntime", json!([hook(&bundle, "seen")]));
    let mut command = bundle.runtime.command(&["run", "--bundle", "bundle", &bundle.id]);
    harness::run_command(command.env("SECRET", "x"), &bundle.dir, 30.0).ok();
    let seen = seen(&bundle, "seen");
    assert_eq!(seen["argv"][0], "hook-name");
    assert_eq!(seen["env"], json!({ "KEY": "value" }));
}

#[test]
fn hooks_run_in_their_order() {
    let bundle = Bundle::with_args(&["exit", "0"]);
    let log = bundle.dir.join("order");
    let say = |what: &str| shell(&format!("cat >/dev/null; echo {what} >> {}", log.display()));
    bundle.set(
        "/hooks",
        json!({
            "prestart": [say("prestart-1"), say("prestart-2")], "createRuntime": [say("create-runtime")],
            "poststart": [say("poststart")], "poststop": [say("poststop")],
        }),
    );
    bundle.create().ok();
    assert_eq!(fs::read_to_string(&log).expect("log"), "prestart-1\nprestart-2\ncreate-runtime\n");
    bundle.start().ok();
    assert!(fs::read_to_string(&log).expect("log").ends_with("\npoststart\n"));
    bundle.wait_status("stopped");
    bundle.delete().ok();
    assert!(fs::read_to_string(&log).expect("log").ends_with("\npoststart\npoststop\n"));
}

#[test]
fn hooks_run_in_the_namespaces_of_their_kind() {
    let bundle = Bundle::with_args(&["exit", "0"]);
    for kind in ["createRuntime", "createContainer", "startContainer"] {
        bundle.set(&format!("/hooks/{kind}"), json!([hook(&bundle, kind)]));
    }
    // This one runs inside, with the paths of the inside.
    bundle.set("/hooks/startContainer/0/path", json!("/init"));
    bundle.set("/hooks/startContainer/0/args", json!(["init", "hook", "/tmp/seen"]));
    bundle.run().ok();
    let mount = |report: &Value| report["namespaces"]["mnt"].clone();
    let own = fs::read_link("/proc/self/ns/mnt").expect("proc").to_string_lossy().into_owned();
    assert!(
        own.contains(&mount(&seen(&bundle, "createRuntime")).to_string()),
        "createRuntime is in the runtime's namespace"
    );
    let inside = lines(&bundle.inside("tmp/seen"));
    assert_eq!(inside.len(), 1);
    let created = seen(&bundle, "createContainer");
    assert_eq!(mount(&created), mount(&inside[0]), "both are in the container's namespace");
    assert!(
        inside[0]["root"].as_array().is_some_and(|r| r.contains(&json!("init"))),
        "startContainer sees the container's root"
    );
    assert!(
        !created["root"].as_array().is_some_and(|r| r.contains(&json!("init"))),
        "createContainer sees the host's root"
    );
}

#[test]
fn create_container_runs_before_the_new_root_is_entered_and_can_mount() {
    let bundle = Bundle::with_args(&["cat", "/tmp/from-hook"]);
    let source = bundle.host_file("mounted\n");
    let target = bundle.inside("tmp/from-hook");
    fs::write(&target, "").expect("a file");
    let script = format!("cat >/dev/null; mount --bind {} {}", source.display(), target.display());
    bundle.set("/hooks/createContainer", json!([shell(&script)]));
    bundle.set("/hooks/createContainer/0/env", json!(["PATH=/usr/bin:/bin:/usr/sbin:/sbin"]));
    assert_eq!(bundle.run().ok().out, "mounted\n");
    bundle.assert_nothing_left();
}

#[test]
fn a_failing_hook_ends_the_creation() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let bundle = Bundle::with_args(&["touch", "/tmp/ran"]);
        bundle.set(&format!("/hooks/{kind}"), json!([shell("exit 9")]));
        assert_ne!(bundle.create().code, 0, "{kind}");
        bundle.call(&["state", &bundle.id]).fails_with(&["does not exist"]);
        assert!(!bundle.inside("tmp/ran").exists());
        bundle.assert_nothing_left();
    }
}

#[test]
fn a_failing_hook_is_told_with_its_place_its_status_and_its_words() {
    only_kiste!();
    let bundle = Bundle::with_args(&["exit", "0"]);
    bundle.set("/hooks/createRuntime", json!([shell("exit 0"), shell("echo because of this >&2; exit 9")]));
    bundle.run().fails_with(&["/hooks/createRuntime/1", "9", "because of this"]);
}

#[test]
fn a_failing_start_container_hook_keeps_the_process_from_running() {
    let bundle = Bundle::with_args(&["touch", "/tmp/ran"]);
    bundle.set("/hooks/startContainer", json!([{ "path": "/init", "args": ["init", "exit", "3"] }]));
    assert_ne!(bundle.run().code, 0);
    assert!(!bundle.inside("tmp/ran").exists());
}

#[test]
fn a_failing_poststop_hook_is_no_failure_of_delete() {
    let bundle = Bundle::with_args(&["exit", "0"]);
    bundle.set("/hooks/poststop", json!([shell("exit 9"), hook(&bundle, "after")]));
    bundle.launch();
    bundle.wait_status("stopped");
    bundle.delete().ok();
    seen(&bundle, "after");
    bundle.assert_nothing_left();
}

#[test]
fn poststop_hooks_run_when_creation_fails_after_create_runtime() {
    only_kiste!();
    let bundle = Bundle::with_args(&["exit", "0"]);
    bundle.set("/hooks/createRuntime", json!([shell("exit 0")]));
    bundle.set("/hooks/createContainer", json!([shell("exit 9")]));
    bundle.set("/hooks/poststop", json!([hook(&bundle, "after")]));
    assert_ne!(bundle.create().code, 0);
    seen(&bundle, "after");
}

#[test]
fn a_hook_that_takes_too_long_is_ended() {
    let bundle = Bundle::with_args(&["exit", "0"]);
    bundle.set("/hooks/createRuntime", json!([shell("sleep 60")]));
    bundle.set("/hooks/createRuntime/0/timeout", json!(1));
    let start = Instant::now();
    assert_ne!(bundle.create().code, 0);
    assert!(start.elapsed().as_secs_f64() < 20.0 * harness::slow());
    bundle.assert_nothing_left();
}

#[test]
fn a_missing_hook_is_named() {
    let bundle = Bundle::with_args(&["exit", "0"]);
    bundle.set("/hooks/createRuntime", json!([{ "path": "/nowhere/hook" }]));
    bundle.create().fails_with(&["/nowhere/hook"]);
    bundle.assert_nothing_left();
}

#[test]
fn a_hook_that_does_not_read_its_input_is_fine() {
    let bundle = Bundle::with_args(&["exit", "0"]);
    bundle.set("/annotations", json!({ "long": "x".repeat(200_000) }));
    bundle.set("/hooks/createRuntime", json!([{ "path": "/bin/true" }]));
    bundle.run().ok();
}

#[test]
fn a_relative_hook_is_refused() {
    let bundle = Bundle::with_args(&["exit", "0"]);
    let path: PathBuf = "bin/true".into();
    bundle.set("/hooks/createRuntime", json!([{ "path": path }]));
    assert_ne!(bundle.create().code, 0);
    bundle.assert_nothing_left();
}

#[test]
fn descriptors_of_the_runtime_do_not_reach_hooks() {
    let bundle = Bundle::with_args(&["exit", "0"]);
    for kind in ["createRuntime", "createContainer", "poststart", "poststop"] {
        bundle.set(&format!("/hooks/{kind}"), json!([hook(&bundle, kind)]));
    }
    bundle.run().ok();
    for kind in ["createRuntime", "createContainer", "poststart", "poststop"] {
        let fds = seen(&bundle, kind)["fds"].clone();
        let numbers: Vec<_> = fds.as_array().expect("fds").iter().filter_map(|f| f["fd"].as_i64()).collect();
        assert_eq!(numbers, [0, 1, 2], "{kind}: {fds}");
    }
}
