//! create, start, state, kill, delete, run, list: what callers see of a container's life.

mod harness;

use harness::{Bundle, Value, host, json, only_kiste, requires, runtime_path, wait_until};
use std::fs;
use std::path::Path;

#[test]
fn run_gives_the_exit_status_of_the_process() {
    for status in [0, 1, 42, 255] {
        Bundle::with_args(&["exit", &status.to_string()]).run().code(status);
    }
}

#[test]
fn a_signal_is_told_as_128_plus_its_number() {
    let bundle = Bundle::with_args(&["sleep"]);
    let run = std::thread::scope(|scope| {
        let run = scope.spawn(|| bundle.run());
        wait_until("running", || bundle.call(&["state", &bundle.id]).out.contains("\"running\""));
        bundle.kill("KILL").ok();
        run.join().expect("run")
    });
    run.code(128 + 9);
}

#[test]
fn run_leaves_nothing() {
    let bundle = Bundle::with_args(&["exit", "3"]);
    bundle.run().code(3);
    bundle.assert_nothing_left();
}

#[test]
fn run_passes_output_and_errors_through() {
    let bundle = Bundle::with_args(&["seq", "echo", "to", "out", "--", "complain", "to", "err"]);
    let output = bundle.run().ok();
    assert_eq!((output.out.as_str(), output.err.as_str()), ("to out\n", "to err\n"));
}

#[test]
fn run_passes_input_through() {
    let bundle = Bundle::with_args(&["cat"]);
    let mut command = bundle.runtime.command(&["run", "--bundle", "bundle", &bundle.id]);
    command.stdin(fs::File::open(bundle.host_file("from outside\n")).expect("a file"));
    let output = harness::run_command(&mut command, &bundle.dir, 30.0).ok();
    assert_eq!(output.out, "from outside\n");
}

#[test]
fn run_forwards_signals_to_the_process() {
    let bundle = Bundle::with_args(&["trap"]);
    let mut command = bundle.runtime.command(&["run", "--bundle", "bundle", &bundle.id]);
    let out = bundle.host_file("");
    let mut child = command.stdout(fs::File::create(&out).expect("a file")).spawn().expect("spawn");
    let text = || fs::read_to_string(&out).expect("the output");
    wait_until("ready", || text().contains("ready"));
    // SAFETY: a signal to our own child, not waited for yet.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    let status = harness::wait_for(&mut child, 20.0);
    if status.is_none() {
        child.kill().expect("kill");
        child.wait().expect("wait");
    }
    assert_eq!(status.and_then(|s| s.code()), Some(0), "{}", text());
    assert_eq!(text(), "ready\n15\n");
}

#[test]
fn the_states_of_a_life_follow_each_other() {
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.create().ok();
    let created = bundle.state();
    assert_eq!(created["status"], "created");
    let pid = created["pid"].as_i64().expect("a pid");
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    bundle.start().ok();
    let running = bundle.state();
    assert_eq!((running["status"].as_str(), running["pid"].as_i64()), (Some("running"), Some(pid)));
    bundle.kill("KILL").ok();
    bundle.wait_status("stopped");
    bundle.delete().ok();
    bundle.call(&["state", &bundle.id]).fails_with(&["does not exist"]);
    bundle.assert_nothing_left();
}

#[test]
fn the_state_has_the_members_of_the_specification() {
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.set("/annotations", json!({ "org.example.key": "value" }));
    bundle.create().ok();
    let state = bundle.state();
    assert!(state["ociVersion"].as_str().is_some_and(|v| v.starts_with("1.")), "{state}");
    assert_eq!(state["id"], bundle.id.as_str());
    let folder = fs::canonicalize(bundle.dir.join("bundle")).expect("the bundle");
    assert_eq!(state["bundle"], folder.to_str().expect("UTF-8"));
    assert_eq!(state["annotations"]["org.example.key"], "value");
    assert!(state["created"].as_str().is_some_and(|t| t.contains('T')), "{state}");
}

#[test]
fn nothing_runs_before_start() {
    let bundle = Bundle::with_args(&["touch", "/tmp/ran"]);
    bundle.create().ok();
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(!bundle.inside("tmp/ran").exists());
    bundle.start().ok();
    bundle.wait_status("stopped");
    assert!(bundle.inside("tmp/ran").exists());
}

#[test]
fn changes_of_the_configuration_after_create_have_no_effect() {
    let bundle = Bundle::with_args(&["echo", "before"]);
    let create = bundle.create().ok();
    bundle.args(&["echo", "after"]);
    bundle.start().ok();
    bundle.wait_status("stopped");
    assert_eq!(create.again(), "before\n");
}

#[test]
fn start_works_after_the_configuration_is_gone() {
    let bundle = Bundle::with_args(&["echo", "here"]);
    let create = bundle.create().ok();
    fs::remove_file(bundle.config_path()).expect("remove");
    bundle.start().ok();
    bundle.wait_status("stopped");
    assert_eq!(create.again(), "here\n");
}

#[test]
fn an_id_can_be_used_once_at_a_time() {
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.launch();
    let pid = bundle.pid();
    bundle.create().fails_with(&["exist"]);
    bundle.run().fails_with(&["exist"]);
    assert_eq!((bundle.state()["status"].as_str(), bundle.pid()), (Some("running"), pid), "the first one is as before");
    bundle.call(&["delete", "--force", &bundle.id]).ok();
    bundle.args(&["exit", "7"]);
    bundle.run().code(7);
}

#[test]
fn a_container_is_started_once() {
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.launch();
    assert_ne!(bundle.start().code, 0);
    bundle.kill("KILL").ok();
    bundle.wait_status("stopped");
    assert_ne!(bundle.start().code, 0);
}

#[test]
fn a_running_container_is_deleted_by_force_only() {
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.launch();
    let pid = bundle.pid();
    assert_ne!(bundle.delete().code, 0);
    assert_eq!(bundle.state()["status"], "running");
    bundle.call(&["delete", "--force", &bundle.id]).ok();
    assert!(!host::is_alive(pid));
    bundle.assert_nothing_left();
}

#[test]
fn a_created_container_is_deleted_by_force() {
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.create().ok();
    bundle.call(&["delete", "--force", &bundle.id]).ok();
    bundle.assert_nothing_left();
}

#[test]
fn what_is_not_there_does_not_exist() {
    let bundle = Bundle::new();
    for words in [&["state"][..], &["start"], &["kill"], &["delete"], &["exec"]] {
        let mut words = words.to_vec();
        words.push("nobody");
        if words[0] == "kill" {
            words.push("TERM");
        }
        if words[0] == "exec" {
            words.push("/init");
        }
        bundle.call(&words).fails_with(&["does not exist"]);
    }
}

#[test]
fn deleting_by_force_what_is_not_there_succeeds() {
    Bundle::new().call(&["delete", "--force", "nobody"]).ok();
}

#[test]
fn kill_takes_names_and_numbers() {
    let bundle = Bundle::with_args(&["trap", "4"]);
    bundle.launch();
    bundle.wait_output("ready");
    for (n, signal) in ["USR1", "SIGUSR2", "15", "HUP"].iter().enumerate() {
        bundle.kill(signal).ok();
        wait_until("the signal", || bundle.output().lines().count() == n + 2);
    }
    assert_eq!(bundle.output(), "ready\n10\n12\n15\n1\n");
}

#[test]
fn kill_sends_term_by_default() {
    let bundle = Bundle::with_args(&["trap"]);
    bundle.launch();
    bundle.wait_output("ready");
    bundle.call(&["kill", &bundle.id]).ok();
    bundle.wait_output("15\n");
}

#[test]
fn kill_reaches_a_created_container() {
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.create().ok();
    bundle.kill("KILL").ok();
    bundle.wait_status("stopped");
}

#[test]
fn a_stopped_container_is_not_killed() {
    let bundle = Bundle::with_args(&["exit", "0"]);
    bundle.launch();
    bundle.wait_status("stopped");
    bundle.kill("TERM").fails_with(&["container not running"]);
}

#[test]
fn an_unknown_signal_is_refused() {
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.launch();
    for signal in ["NONSENSE", "SIG", "0x9", "-1", "999"] {
        assert_ne!(bundle.call(&["kill", &bundle.id, signal]).code, 0, "{signal}");
    }
    assert_eq!(bundle.state()["status"], "running");
}

#[test]
fn a_pid_file_holds_the_pid_as_soon_as_it_is_there() {
    let bundle = Bundle::with_args(&["sleep"]);
    let file = bundle.dir.join("pid");
    let seen = std::thread::scope(|scope| {
        let seen = scope.spawn(|| {
            let mut text = None;
            wait_until("the pid file", || {
                text = fs::read_to_string(&file).ok();
                text.is_some()
            });
            text.expect("the pid file")
        });
        bundle.create_with(&["--pid-file", file.to_str().expect("UTF-8")]).ok();
        seen.join().expect("the watcher")
    });
    assert_eq!(seen.parse::<i32>().ok(), Some(bundle.pid()), "{seen:?}");
}

#[test]
fn a_detached_run_returns_and_the_process_goes_on() {
    let bundle = Bundle::with_args(&["sleep"]);
    let file = bundle.dir.join("pid");
    bundle.run_with(&["--detach", "--pid-file", file.to_str().expect("UTF-8")]).ok();
    assert_eq!(bundle.state()["status"], "running");
    let text = fs::read_to_string(file).expect("the pid file");
    assert_eq!(text.parse::<i32>().ok(), Some(bundle.pid()));
}

#[test]
fn options_are_taken_with_equal_sign_and_in_short() {
    let bundle = Bundle::with_args(&["sleep"]);
    let file = bundle.dir.join("pid");
    bundle.call(&["create", "-b", "bundle", &format!("--pid-file={}", file.display()), &bundle.id]).ok();
    bundle.start().ok();
    assert!(file.exists());
}

#[test]
fn without_bundle_the_working_directory_is_it() {
    let bundle = Bundle::with_args(&["exit", "5"]);
    let mut command = bundle.runtime.command(&["run", &bundle.id]);
    command.current_dir(bundle.dir.join("bundle"));
    harness::run_command(&mut command, &bundle.dir, 30.0).code(5);
}

#[test]
fn list_tells_of_every_container() {
    let first = Bundle::with_args(&["sleep"]);
    let mut second = Bundle::with_args(&["sleep"]);
    second.runtime.root = first.runtime.root.clone();
    first.launch();
    second.create().ok();
    let list = first.call(&["list", "--format", "json"]).ok().json();
    let find = |id: &str| list.as_array().into_iter().flatten().find(|c| c["id"] == id).cloned().unwrap_or(Value::Null);
    assert_eq!(find(&first.id)["status"], "running", "{list}");
    assert_eq!(find(&second.id)["status"], "created", "{list}");
    assert_eq!(find(&first.id)["pid"], json!(first.pid()));
    let quiet = first.call(&["list", "-q"]).ok();
    let mut ids = quiet.lines();
    ids.sort();
    let mut expected = vec![first.id.as_str(), second.id.as_str()];
    expected.sort();
    assert_eq!(ids, expected);
    let table = first.call(&["list"]).ok();
    assert!(table.lines()[0].contains("ID") && table.out.contains(&first.id), "{}", table.out);
}

#[test]
fn an_empty_list_is_no_error() {
    let bundle = Bundle::new();
    assert_eq!(bundle.call(&["list", "-q"]).ok().out.trim(), "");
}

#[test]
fn a_missing_executable_is_told_as_callers_match_it() {
    let bundle = Bundle::new();
    bundle.set("/process/args", json!(["/nowhere"]));
    let told = bundle.run().fails_with(&[]).err.to_lowercase();
    assert!(told.contains("no such file or directory") || told.contains("executable file not found in"), "{told}");
    bundle.assert_nothing_left();
}

#[test]
fn an_executable_is_found_by_the_path_of_the_container() {
    let bundle = Bundle::new();
    fs::create_dir(bundle.inside("opt")).expect("folder");
    fs::rename(bundle.inside("init"), bundle.inside("opt/tool")).expect("rename");
    bundle.set("/process/args", json!(["tool", "exit", "6"]));
    bundle.set("/process/env", json!(["PATH=/nowhere:/opt"]));
    bundle.run().code(6);
}

#[test]
fn a_file_that_may_not_be_executed_is_told_as_callers_match_it() {
    let bundle = Bundle::new();
    fs::write(bundle.inside("plain"), "text").expect("file");
    bundle.set("/process/args", json!(["/plain"]));
    let told = bundle.run().fails_with(&[]).err.to_lowercase();
    assert!(told.contains("permission denied"), "{told}");
}

#[test]
fn start_reports_what_the_kernel_can_not_execute() {
    only_kiste!();
    let bundle = Bundle::new();
    fs::write(bundle.inside("plain"), "text").expect("file");
    fs::set_permissions(bundle.inside("plain"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    bundle.set("/process/args", json!(["/plain"]));
    bundle.create().ok();
    let told = bundle.start().fails_with(&["/plain"]).err.to_lowercase();
    assert!(told.contains("exec format error"), "{told}");
}

#[test]
fn a_failed_create_leaves_nothing() {
    let bundle = Bundle::new();
    bundle.mount("/data", "bind", "/nowhere/at/all", &["bind"]);
    bundle.create().fails_with(&["/nowhere/at/all"]);
    bundle.call(&["state", &bundle.id]).fails_with(&["does not exist"]);
    bundle.assert_nothing_left();
}

#[test]
fn pause_stops_and_resume_goes_on() {
    requires!(host::is_root() && (host::has_controller("freezer") || host::cgroup_is_v2()), "needs a freezer");
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.launch();
    bundle.call(&["pause", &bundle.id]).ok();
    assert_eq!(bundle.state()["status"], "paused");
    bundle.call(&["resume", &bundle.id]).ok();
    assert_eq!(bundle.state()["status"], "running");
}

#[test]
fn a_paused_container_is_deleted_by_force() {
    requires!(host::is_root() && (host::has_controller("freezer") || host::cgroup_is_v2()), "needs a freezer");
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.launch();
    bundle.call(&["pause", &bundle.id]).ok();
    bundle.call(&["delete", "--force", &bundle.id]).ok();
    bundle.assert_nothing_left();
}

#[test]
fn the_processes_of_a_container_are_listed() {
    requires!(host::is_root(), "needs a cgroup");
    let bundle = Bundle::with_args(&["seq", "background", "--", "sleep"]);
    bundle.launch();
    wait_until("two processes", || {
        let pids = bundle.call(&["ps", "--format", "json", &bundle.id]).ok().json();
        pids.as_array().is_some_and(|p| p.len() == 2 && p.contains(&json!(bundle.pid())))
    });
    let table = bundle.call(&["ps", &bundle.id]).ok();
    assert!(table.lines()[0].contains("PID") && table.lines().len() == 3, "{}", table.out);
}

#[test]
fn everything_dies_with_the_first_process() {
    let bundle = Bundle::with_args(&["seq", "background", "--", "exit", "0"]);
    bundle.launch();
    bundle.wait_status("stopped");
    bundle.delete().ok();
    bundle.assert_nothing_left();
}

#[test]
fn without_a_pid_namespace_delete_ends_what_is_left() {
    requires!(host::is_root(), "needs a cgroup");
    let bundle = Bundle::with_args(&["seq", "background", "--", "exit", "0"]);
    bundle.without_namespace("pid").unmount("/proc").mount("/proc", "bind", "/proc", &["rbind"]);
    bundle.launch();
    bundle.wait_status("stopped");
    bundle.call(&["delete", "--force", &bundle.id]).ok();
    bundle.assert_nothing_left();
}

#[test]
fn the_version_is_told_as_callers_parse_it() {
    only_kiste!();
    let output = Bundle::new().call(&["--version"]).ok();
    let lines = output.lines();
    assert!(lines[0].starts_with("kiste version ") || lines[0].starts_with("runc version "), "{}", output.out);
    assert!(lines.iter().any(|l| l.starts_with("spec: 1.")), "{}", output.out);
}

#[test]
fn spec_makes_a_bundle_that_runs() {
    let bundle = Bundle::new();
    fs::remove_file(bundle.config_path()).expect("remove");
    let words: &[&str] =
        if host::is_root() { &["spec", "--bundle", "bundle"] } else { &["spec", "--rootless", "--bundle", "bundle"] };
    bundle.call(words).ok();
    let mut config: Value =
        serde_json::from_slice(&fs::read(bundle.config_path()).expect("config.json")).expect("JSON");
    config["process"]["args"] = json!(["/init", "exit", "9"]);
    config["process"]["terminal"] = json!(false);
    bundle.edit(|c| *c = config);
    bundle.run().code(9);
    assert_ne!(bundle.call(words).code, 0, "it does not overwrite");
}

#[test]
fn list_shows_more_containers_than_it_may_open_files() {
    only_kiste!();
    let bundles: Vec<_> = (0..10).map(|_| Bundle::with_args(&["sleep"])).collect();
    let state = bundles[0].dir.join("state").display().to_string();
    for bundle in &bundles {
        let place = bundle.dir.join("bundle").display().to_string();
        bundles[0]
            .host_command(
                &runtime_path().display().to_string(),
                &["--root", &state, "create", "--bundle", &place, &bundle.id],
            )
            .ok();
    }
    let script = format!("ulimit -n 16; exec {} --root {state} list --quiet", runtime_path().display());
    let output = bundles[0].host_command("sh", &["-c", &script]).ok();
    assert_eq!((output.lines().len(), output.err.as_str()), (10, ""));
    for bundle in &bundles {
        bundles[0].call(&["delete", "--force", &bundle.id]).ok();
    }
}
