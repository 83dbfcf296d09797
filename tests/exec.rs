//! exec: another process in a running container, as the configuration or the options say.

mod harness;

use harness::{Bundle, Value, host, json, only_kiste, requires, wait_until};
use std::fs;

fn running() -> Bundle {
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.launch();
    bundle
}

#[test]
fn the_exit_status_is_that_of_the_process() {
    let bundle = running();
    for status in [0, 1, 77, 255] {
        bundle.exec(&["exit", &status.to_string()]).code(status);
    }
    bundle.exec(&["signal", "9"]).code(128 + 9);
}

#[test]
fn output_and_errors_pass_through() {
    let output = running().exec(&["seq", "echo", "out", "--", "complain", "err"]).ok();
    assert_eq!((output.out.as_str(), output.err.as_str()), ("out\n", "err\n"));
}

#[test]
fn input_passes_through() {
    let bundle = running();
    let mut command = bundle.runtime.command(&["exec", &bundle.id, "/init", "cat"]);
    command.stdin(fs::File::open(bundle.host_file("from outside\n")).expect("a file"));
    assert_eq!(harness::run_command(&mut command, &bundle.dir, 30.0).ok().out, "from outside\n");
}

#[test]
fn every_namespace_is_the_containers() {
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.push("/linux/namespaces", json!({ "type": "cgroup" }));
    bundle.launch();
    let pid = bundle.pid();
    let report: Value = bundle.exec(&["report"]).ok().json();
    for (name, inode) in report["namespaces"].as_object().expect("namespaces") {
        let theirs = fs::read_link(format!("/proc/{pid}/ns/{name}")).expect("a namespace");
        assert!(theirs.to_string_lossy().contains(&inode.to_string()), "{name}: {theirs:?} {inode}");
    }
    assert_eq!(report["cwd"], "/");
}

/// What must not differ between the first process and one that came later.
fn rights(report: &Value) -> Value {
    let mut rights =
        json!({ "uid": report["ids"]["uid"], "gid": report["ids"]["gid"], "groups": report["ids"]["groups"] });
    for part in [
        "capabilities",
        "no_new_privileges",
        "seccomp",
        "securebits",
        "umask",
        "cgroup",
        "personality",
        "uid_map",
        "env",
    ] {
        rights[part] = report[part].clone();
    }
    rights
}

#[test]
fn it_has_no_more_rights_than_the_first_process() {
    let bundle = Bundle::with_args(&["seq", "report", "--", "sleep"]);
    bundle.set("/process/user/umask", json!(0o027));
    bundle.set(
        "/linux/seccomp",
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["acct"], "action": "SCMP_ACT_ERRNO" }] }),
    );
    bundle.launch();
    bundle.wait_output("\n");
    let first: Value = serde_json::from_str(&bundle.output()).expect("JSON");
    let later: Value = bundle.exec(&["report"]).ok().json();
    let (first, later) = (rights(&first), rights(&later));
    for (part, value) in first.as_object().expect("parts") {
        assert_eq!(value, &later[part], "{part}");
    }
}

#[test]
fn the_system_call_filter_holds_for_it_too() {
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95 }] }));
    bundle.launch();
    assert_eq!(bundle.exec(&["syscall", &libc::SYS_getppid.to_string()]).ok().out, "EOPNOTSUPP\n");
}

#[test]
fn the_configurations_environment_and_folder_are_the_default() {
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.set("/process/env", json!(["PATH=/", "KEY=configured"])).set("/process/cwd", json!("/tmp"));
    bundle.launch();
    let report: Value = bundle.exec(&["report"]).ok().json();
    assert_eq!((&report["env"]["KEY"], &report["cwd"]), (&json!("configured"), &json!("/tmp")));
}

#[test]
fn options_change_environment_and_folder() {
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.set("/process/env", json!(["PATH=/", "KEY=configured"]));
    bundle.launch();
    let report: Value =
        bundle.exec_with(&["--env", "KEY=given", "--env", "MORE=a=b", "--cwd", "/tmp"], &["report"]).ok().json();
    assert_eq!(
        (&report["env"]["KEY"], &report["env"]["MORE"], &report["cwd"]),
        (&json!("given"), &json!("a=b"), &json!("/tmp"))
    );
}

#[test]
fn options_change_the_user() {
    requires!(host::is_root(), "one mapped id only");
    let bundle = running();
    let ids = bundle.exec_with(&["--user", "1000:1001"], &["report"]).ok().json()["ids"].clone();
    assert_eq!((&ids["uid"], &ids["gid"]), (&json!([1000, 1000, 1000]), &json!([1001, 1001, 1001])));
    let report: Value = bundle.exec_with(&["--user", "1000"], &["report"]).ok().json();
    assert_eq!(report["ids"]["uid"], json!([1000, 1000, 1000]));
    assert_eq!(report["capabilities"]["effective"], json!([]));
}

#[test]
fn a_capability_is_added() {
    let bundle = running();
    let sets = bundle.exec_with(&["--cap", "CAP_CHOWN"], &["report"]).ok().json()["capabilities"].clone();
    for set in ["effective", "permitted", "bounding"] {
        assert!(sets[set].as_array().is_some_and(|s| s.contains(&json!("CAP_CHOWN"))), "{set}: {sets}");
    }
    let ambient = sets["ambient"].as_array().map_or(0, Vec::len) + sets["inheritable"].as_array().map_or(0, Vec::len);
    assert!(ambient == 0 || !harness::runtime_is_kiste(), "{sets}");
}

#[test]
fn a_process_file_says_everything() {
    let bundle = running();
    let file = bundle.host_file(
        &json!({
            "args": ["/init", "report"], "cwd": "/tmp", "env": ["ONLY=this"], "user": { "uid": 0, "gid": 0 },
            "capabilities": { "bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"] },
        })
        .to_string(),
    );
    let report: Value = bundle.call(&["exec", "--process", file.to_str().expect("UTF-8"), &bundle.id]).ok().json();
    assert_eq!((&report["cwd"], &report["env"]["ONLY"]), (&json!("/tmp"), &json!("this")));
    assert_eq!(report["capabilities"]["bounding"], json!(["CAP_KILL"]));
    assert_eq!(report["no_new_privileges"], 0);
}

#[test]
fn a_detached_process_goes_on() {
    let bundle = running();
    let file = bundle.dir.join("exec-pid");
    bundle
        .exec_with(
            &["--detach", "--pid-file", file.to_str().expect("UTF-8")],
            &["seq", "touch", "/tmp/ran", "--", "sleep"],
        )
        .ok();
    let pid: i32 = fs::read_to_string(&file).expect("the pid file").parse().expect("a number");
    wait_until("its trace", || bundle.inside("tmp/ran").exists());
    assert!(host::is_alive(pid));
    bundle.kill("KILL").ok();
    wait_until("its end with the container", || !host::is_alive(pid));
}

#[test]
fn it_dies_with_the_container() {
    let bundle = running();
    let exec = std::thread::scope(|scope| {
        let exec = scope.spawn(|| bundle.exec(&["seq", "touch", "/tmp/ran", "--", "sleep"]));
        wait_until("its trace", || bundle.inside("tmp/ran").exists());
        bundle.kill("KILL").ok();
        exec.join().expect("exec")
    });
    exec.code(128 + 9);
}

#[test]
fn a_missing_executable_is_told_and_harms_nothing() {
    let bundle = running();
    let told = bundle.call(&["exec", &bundle.id, "/nowhere"]).fails_with(&[]).err.to_lowercase();
    assert!(told.contains("no such file or directory") || told.contains("executable file not found in"), "{told}");
    assert_eq!(bundle.state()["status"], "running");
    bundle.exec(&["exit", "0"]).ok();
}

#[test]
fn a_missing_folder_is_told() {
    let bundle = running();
    let output = bundle.exec_with(&["--cwd", "/no/such/folder"], &["report"]);
    // Some make it; whoever refuses says what is missing.
    assert!(output.code == 0 || output.err.contains("/no/such/folder"), "{}", output.err);
}

#[test]
fn a_stopped_container_takes_no_more_processes() {
    let bundle = Bundle::with_args(&["exit", "0"]);
    bundle.launch();
    bundle.wait_status("stopped");
    bundle.exec(&["exit", "0"]).fails_with(&[]);
}

#[test]
fn a_paused_container_takes_no_more_processes() {
    requires!(host::is_root() && (host::has_controller("freezer") || host::cgroup_is_v2()), "needs a freezer");
    let bundle = running();
    bundle.call(&["pause", &bundle.id]).ok();
    bundle.exec(&["exit", "0"]).fails_with(&["paused"]);
    bundle.call(&["resume", &bundle.id]).ok();
    bundle.exec(&["exit", "0"]).ok();
}

#[test]
fn it_is_in_the_containers_cgroup() {
    requires!(host::is_root(), "a plain user has no cgroup of its own here");
    let bundle = running();
    let report: Value = bundle.exec(&["report"]).ok().json();
    let lines = report["cgroup"].as_array().expect("cgroups");
    let hierarchy = if host::cgroup_is_v2() { "0::" } else { ":memory:" };
    let memory = lines.iter().filter_map(Value::as_str).find(|l| l.contains(hierarchy));
    assert!(memory.is_some_and(|l| l.ends_with(&bundle.id)), "{lines:?}");
}

#[test]
fn arguments_after_the_command_belong_to_it() {
    let output = running().exec(&["echo", "--env", "-x", "--", "-e"]).ok();
    assert_eq!(output.out, "--env -x -- -e\n");
}

#[test]
fn many_at_once_all_end() {
    let bundle = running();
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|n: i32| (n, scope.spawn(|| bundle.exec(&["echo", "here"])))).collect();
        for (_, one) in all {
            assert_eq!(one.join().expect("exec").ok().out, "here\n");
        }
    });
    assert_eq!(bundle.state()["status"], "running");
}

#[test]
fn groups_can_be_added() {
    only_kiste!();
    requires!(host::is_root(), "one mapped id only");
    let ids =
        running().exec_with(&["--user", "1000", "--additional-gids", "1234"], &["report"]).ok().json()["ids"].clone();
    assert!(ids["groups"].as_array().is_some_and(|g| g.contains(&json!(1234))), "{ids}");
}

#[test]
fn a_runtime_that_is_root_of_a_user_namespace_joins_a_pid_namespace() {
    requires!(host::is_root(), "others are no root of a user namespace unless they may make one");
    // As Podman of a plain user calls: it can't come back to a pid namespace that is not of its user namespace.
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.remove("/process/oomScoreAdj").remove("/process/rlimits");
    let script = r#"cd "$1"; mkfifo go; export runtime=$2 bundle=$3
        unshare --user --mount sh -c 'read -r _ <go; exec sh -c "
            kiste() { $runtime --root $PWD/state --cgroup-manager disabled \"\$@\"; }
            kiste run --detach --bundle $bundle x </dev/null >/dev/null && kiste exec x /init echo hello; status=\$?
            kiste delete --force x; exit \$status"' & pid=$!
        while [ "$(readlink /proc/$pid/ns/user)" = "$(readlink /proc/$$/ns/user)" ]; do sleep 0.01; done
        for ids in uid gid; do echo 0 0 65536 >/proc/$pid/${ids}_map; done; echo >go; wait "$pid""#;
    let (rootfs, folder) = (bundle.rootfs(), bundle.host_folder());
    let paths = [&folder, &harness::runtime_path(), rootfs.parent().expect("the bundle")];
    let paths = paths.map(|path| path.to_str().expect("UTF-8").to_owned());
    let out = bundle.host_command("sh", &["-c", script, "sh", &paths[0], &paths[1], &paths[2]]);
    assert_eq!(out.out, "hello\n");
}

/// The steps of a plan in JSON that the child carries out.
fn child_steps(plan: &Value) -> Vec<&Value> {
    plan["steps"].as_array().expect("steps").iter().filter(|step| step["who"] == "child").collect()
}

#[test]
fn explain_tells_the_steps_of_exec_and_does_none() {
    only_kiste!();
    let bundle = running();
    let state = || {
        let mut files: Vec<_> = fs::read_dir(bundle.runtime.root.join(&bundle.id))
            .expect("the state")
            .map(|file| {
                let file = file.expect("a file");
                (file.file_name(), file.metadata().expect("its metadata").modified().expect("a time"))
            })
            .collect();
        files.sort();
        files
    };
    let processes = || bundle.call(&["ps", "--format", "json", &bundle.id]).ok().json();
    let before = (state(), processes());
    let pid_file = bundle.dir.join("explained.pid");
    let explain = |options: &[&str], words: &[&str]| {
        let always = ["--explain", "--pid-file", pid_file.to_str().expect("UTF-8")];
        bundle.exec_with(&[&always[..], options].concat(), words).ok()
    };
    let file = bundle.inside("/made");
    let text = explain(&["--cwd", "/tmp"], &["write", "/made", "text"]);
    assert!(text.err.is_empty(), "{}", text.err);
    let plan: Value = explain(&["--format", "json", "--cwd", "/tmp"], &["write", "/made", "text"]).json();
    let steps = child_steps(&plan);
    assert_eq!((state(), processes()), before, "nothing was started");
    assert!(!file.exists() && !pid_file.exists(), "nothing was made");
    // The same plan in both forms.
    for step in plan["steps"].as_array().expect("steps") {
        let what = step["what"].as_str().expect("text");
        assert!(text.out.lines().any(|line| line.contains(what)), "{what:?} is not in\n{}", text.out);
    }
    assert!(text.out.contains("join"), "{}", text.out);
    assert_eq!(steps.last().expect("a last step")["stage"], "handover");
    // exec itself fails at the step that has this number and these words.
    for (options, words, start) in [
        (["--cwd", "/none"], ["/init", "true"], "change to /none"),
        (["--cwd", "/"], ["/none", "true"], "find the first executable"),
    ] {
        let call = |before: &[&str]| {
            let words = [&["exec"], before, &options, &[bundle.id.as_str()], &words].concat();
            bundle.call(&words)
        };
        let plan: Value = call(&["--explain", "--format", "json"]).ok().json();
        let steps = child_steps(&plan);
        let step = steps.iter().find(|step| step["what"].as_str().is_some_and(|what| what.contains(start)));
        let step = step.unwrap_or_else(|| panic!("no {start:?} in {steps:?}"));
        call(&[]).fails_with(&[&format!("[step {}]", step["step"])]);
    }
}

#[test]
fn explain_is_refused_where_exec_is() {
    only_kiste!();
    let bundle = running();
    bundle.exec_with(&["--format", "json"], &["true"]).fails_with(&["--format", "--explain"]);
    bundle.exec_with(&["--explain", "--user", "7:x"], &["true"]).fails_with(&["--user"]);
    bundle.kill("KILL").ok();
    bundle.wait_status("stopped");
    bundle.exec_with(&["--explain"], &["true"]).fails_with(&["container not running"]);
}

#[test]
fn a_directory_is_no_program_and_the_error_says_which() {
    let bundle = running();
    let output = bundle.call(&["exec", &bundle.id, "/dev"]);
    // Callers make 126 of these words.
    assert!(output.err.to_lowercase().contains("permission denied"), "{}", output.err);
    if harness::runtime_is_kiste() {
        assert!(output.err.contains("it is a directory"), "{}", output.err);
        let file = bundle.call(&["exec", &bundle.id, "/dev/null"]);
        assert!(file.err.contains("permission denied") && !file.err.contains("directory"), "{}", file.err);
    }
}
