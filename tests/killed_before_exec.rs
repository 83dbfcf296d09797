//! A container's process that is killed before it executed its program: by its own filter, for want of memory, by a hook or
//! anybody else. Nothing of the container ran, so the runtime says so, with status 1, and leaves nothing.

mod harness;

use harness::{Bundle, host, json, only_kiste, requires};

/// A filter that kills at execve(2), and that no look at the profile can tell: it decides by the address of argv.
fn deadly() -> harness::Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{
            "names": ["execve"], "action": "SCMP_ACT_KILL_PROCESS",
            "args": [{ "index": 1, "value": 0, "op": "SCMP_CMP_NE" }],
        }],
    })
}

#[test]
fn by_a_filter() {
    only_kiste!();
    keep_the_dead();
    let words = ["killed by SIGSYS", "before it executed its program", "seccomp profile"];
    let bundle = Bundle::with_args(&["touch", "/tmp/ran"]);
    bundle.set("/linux/seccomp", deadly());
    bundle.run().code(1).fails_with(&words);
    bundle.assert_nothing_left();
    bundle.run_with(&["--detach"]).code(1).fails_with(&words);
    bundle.assert_nothing_left();
    bundle.create().ok();
    bundle.start().code(1).fails_with(&["killed before it executed its program"]);
    bundle.wait_status("stopped");
    bundle.delete().ok();
    assert!(!bundle.inside("tmp/ran").exists());
    bundle.assert_nothing_left();
}

#[test]
fn by_a_profile_that_kills_whatever_it_does_not_know() {
    only_kiste!();
    let bundle = Bundle::with_args(&["touch", "/tmp/ran"]);
    bundle.set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_KILL_PROCESS" }));
    bundle.run().code(1).fails_with(&["/linux/seccomp", "the profile denies"]);
    bundle.assert_nothing_left();
}

#[test]
fn exec_by_a_filter() {
    only_kiste!();
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.launch();
    // The first process has no filter; a further one gets the stored configuration's.
    let stored = std::fs::read_dir(&bundle.runtime.root).expect("state").flatten().next().expect("a container").path();
    let config = stored.join("config");
    let mut value: harness::Value =
        serde_json::from_slice(&std::fs::read(&config).expect("the stored configuration")).expect("JSON");
    value["linux"]["seccomp"] = deadly();
    std::fs::write(&config, value.to_string()).expect("the stored configuration");
    let words = ["killed by SIGSYS", "before it executed its program"];
    for options in [&[][..], &["--detach"]] {
        let output = bundle.exec_with(options, &["touch", "/tmp/ran"]).fails_with(&words);
        assert_eq!(output.code, 255, "what podman and Docker take for exec's own failure");
    }
    assert!(!bundle.inside("tmp/ran").exists());
}

#[test]
fn for_want_of_memory() {
    only_kiste!();
    requires!(host::is_root(), "needs root");
    requires!(host::has_controller("memory"), "no memory controller");
    let bundle = Bundle::with_args(&["touch", "/tmp/ran"]);
    bundle.set("/linux/resources/memory", json!({ "limit": 4096, "swap": 4096 }));
    bundle.run().code(1).fails_with(&["killed by SIGKILL", "before it executed its program", "memory limit"]);
    bundle.assert_nothing_left();
    bundle.create().code(1).fails_with(&["killed by SIGKILL", "memory limit"]);
    bundle.assert_nothing_left();
    assert!(!bundle.inside("tmp/ran").exists());
}

/// Without a pid namespace of its own the process can be killed by its own last hook, which is as late as can be.
fn killed_by_hook() -> Bundle {
    let bundle = Bundle::with_args(&["touch", "/tmp/ran"]);
    bundle.without_namespace("pid");
    bundle.set("/hooks/startContainer", json!([{ "path": "/init", "args": ["init", "kill-parent"] }]));
    bundle
}

#[test]
fn by_somebody_at_the_last_moment() {
    only_kiste!();
    keep_the_dead();
    requires!(host::is_root(), "needs root: a procfs of the host's pid namespace");
    let bundle = killed_by_hook();
    let words = ["killed by SIGKILL", "before it executed its program"];
    bundle.run().code(1).fails_with(&words);
    bundle.assert_nothing_left();
    bundle.run_with(&["--detach"]).code(1).fails_with(&words);
    bundle.assert_nothing_left();
    bundle.create().ok();
    bundle.start().code(1).fails_with(&["killed before it executed its program"]);
    bundle.call(&["delete", "--force", &bundle.id]).ok();
    bundle.assert_nothing_left();
    assert!(!bundle.inside("tmp/ran").exists());
}

/// Whenever the process is killed: either nothing of it ran and that is said, or it ran and its end is its status.
#[test]
fn by_somebody_at_any_moment() {
    only_kiste!();
    let bundle = Bundle::with_args(&["seq", "touch", "/tmp/ran", "--", "sleep"]);
    let (mut before, mut after) = (0, 0);
    let early = (0..60).map(|step| step * 150);
    // And later ones where everything takes longer, until it has begun to run.
    let late = (4..13).map(|power| 1000 << power);
    for (delay, is_late) in early.map(|delay| (delay, false)).chain(late.map(|delay| (delay, true))) {
        if is_late && after > 0 {
            break;
        }
        let _ = std::fs::remove_file(bundle.inside("tmp/ran"));
        let log = bundle.host_file("");
        let mut command = bundle.runtime.command(&["run", "--bundle", "bundle", &bundle.id]);
        command.stdout(std::process::Stdio::null()).stderr(std::fs::File::create(&log).expect("a file"));
        let mut runtime = command.spawn().expect("the runtime");
        let child = first_child(runtime.id());
        std::thread::sleep(std::time::Duration::from_micros(delay));
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(child), nix::sys::signal::SIGKILL);
        let status = harness::wait_for(&mut runtime, 30.0).expect("its end");
        let said = std::fs::read_to_string(&log).expect("what it said");
        match status.code() {
            Some(137) => after += 1,
            Some(1) => {
                before += 1;
                assert!(said.contains("before it executed its program"), "{said}");
                assert!(!bundle.inside("tmp/ran").exists(), "it ran: {said}");
            }
            other => panic!("{other:?}: {said}"),
        }
        bundle.assert_nothing_left();
    }
    eprintln!("{before} before, {after} after");
    assert!(before > 0 && after > 0, "{before} before, {after} after");
}

/// As engines do it, this process takes the created ones: an init of the host that is quick to reap them would leave `start`
/// nothing to look at.
fn keep_the_dead() {
    kiste::launch::wait::become_subreaper().expect("a subreaper");
}

/// The child of a runtime that makes a container.
fn first_child(runtime: u32) -> i32 {
    let children = || std::fs::read_to_string(format!("/proc/{runtime}/task/{runtime}/children")).unwrap_or_default();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        if let Some(child) = children().split_whitespace().next().and_then(|child| child.parse().ok()) {
            return child;
        }
        assert!(std::time::Instant::now() < end, "the runtime has no child");
    }
}
