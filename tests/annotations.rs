//! Annotations that mean something to kiste (kiste-annotations(5)): what each does, and what is refused.

mod harness;

use harness::pty::receive_descriptor;
use harness::{Bundle, Output, Value, host, json, only_kiste, requires};
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::process::Command;

fn annotate(bundle: &Bundle, key: &str, value: &str) {
    bundle.edit(|config| config["annotations"][key] = json!(value));
}

#[test]
fn what_hooks_write_goes_to_the_files() {
    only_kiste!();
    let bundle = Bundle::with_args(&["echo", "payload"]);
    let files = ["out", "err"].map(|name| bundle.dir.join(name));
    fs::write(&files[0], "before\n").expect("a file");
    annotate(&bundle, "run.oci.hooks.stdout", files[0].to_str().expect("UTF-8"));
    annotate(&bundle, "run.oci.hooks.stderr", files[1].to_str().expect("UTF-8"));
    let kinds = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    for kind in kinds {
        let inside = kind == "startContainer";
        let path = if inside { "/init".into() } else { harness::reporter_path() };
        let error = format!("{kind}!");
        let hook = json!({ "path": path, "args": ["hook", "seq", "echo", kind, "--", "complain", error] });
        bundle.set(&format!("/hooks/{kind}"), json!([hook]));
    }
    let check = |times: usize| {
        let lines = |place: usize| fs::read_to_string(&files[place]).expect("a file");
        for kind in kinds {
            let count = |text: String, word: &str| text.lines().filter(|line| *line == word).count();
            assert_eq!(count(lines(0), kind), times, "{kind}: {}", lines(0));
            assert_eq!(count(lines(1), &format!("{kind}!")), times, "{kind}: {}", lines(1));
        }
        assert!(lines(0).starts_with("before\n") && !lines(0).contains("payload"), "{}", lines(0));
    };
    let out = bundle.run().ok();
    assert_eq!((out.out.as_str(), out.err.as_str()), ("payload\n", ""));
    check(1);
    bundle.launch();
    bundle.wait_status("stopped");
    bundle.delete().ok();
    check(2);
}

#[test]
fn a_file_for_hooks_that_can_not_be_written_is_named() {
    only_kiste!();
    let bundle = Bundle::with_args(&["exit", "0"]);
    bundle.set("/hooks/createContainer", json!([{ "path": "/bin/true" }]));
    annotate(&bundle, "run.oci.hooks.stdout", "/nowhere/log");
    bundle.run().fails_with(&["/annotations/run.oci.hooks.stdout", "/nowhere/log", "no such file or directory"]);
    bundle.assert_nothing_left();
}

/// A profile that asks an agent about mkdir.
fn asking(bundle: &Bundle) {
    let rules = json!([{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY" }]);
    bundle.set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules }));
    bundle.args(&["mkdir", "/new"]);
}

/// Runs while an agent listens that takes the listener and hangs up: the call that asks gets ENOSYS.
fn with_agent(bundle: &Bundle, run: impl FnOnce(&str) -> Output) {
    let path = bundle.dir.join("agent");
    let agent = UnixListener::bind(&path).expect("a socket");
    let answers = std::thread::spawn(move || drop(receive_descriptor(&agent.accept().expect("a connection").0)));
    assert_eq!(run(path.to_str().expect("UTF-8")).out.trim(), "ENOSYS");
    answers.join().expect("the agent");
}

#[test]
fn the_listener_goes_to_the_receiver() {
    only_kiste!();
    let bundle = Bundle::new();
    asking(&bundle);
    with_agent(&bundle, |path| {
        bundle.set("/linux/seccomp/listenerPath", json!("/nowhere/agent"));
        annotate(&bundle, "run.oci.seccomp.receiver", path);
        bundle.run()
    });
}

#[test]
fn the_listener_goes_to_the_receiver_of_the_environment() {
    only_kiste!();
    let bundle = Bundle::new();
    asking(&bundle);
    with_agent(&bundle, |path| {
        let mut command = bundle.runtime.command(&["run", "--bundle", "bundle", &bundle.id]);
        harness::run_command(command.env("RUN_OCI_SECCOMP_RECEIVER", path), &bundle.dir, 30.0)
    });
    let mut command = bundle.runtime.command(&["run", "--bundle", "bundle", &bundle.id]);
    harness::run_command(command.env("RUN_OCI_SECCOMP_RECEIVER", "agent"), &bundle.dir, 30.0)
        .fails_with(&["RUN_OCI_SECCOMP_RECEIVER", "no absolute path"]);
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let word = three.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * place) & 63) as usize] as char;
            text.push(if place > three.len() { '=' } else { digit });
        }
    }
    text
}

/// A filter that answers one call with an errno and allows all others.
fn denying(call: i64, errno: u32) -> String {
    let instructions: [(u16, u8, u8, u32); 4] =
        [(0x20, 0, 0, 0), (0x15, 0, 1, call as u32), (0x06, 0, 0, 0x0005_0000 | errno), (0x06, 0, 0, 0x7fff_0000)];
    let mut bytes = Vec::new();
    for (code, jt, jf, k) in instructions {
        bytes.extend(code.to_ne_bytes());
        bytes.extend([jt, jf]);
        bytes.extend(k.to_ne_bytes());
    }
    base64(&bytes)
}

#[test]
fn a_ready_made_filter_is_installed_in_the_place_of_the_profile() {
    only_kiste!();
    for no_new_privileges in [true, false] {
        let number = libc::SYS_getpriority.to_string();
        let bundle = Bundle::with_args(&["seq", "syscall", &number, "--", "echo", "up", "--", "sleep"]);
        bundle.set("/process/noNewPrivileges", json!(no_new_privileges));
        // Denies everything, and is ignored.
        bundle.set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_KILL_PROCESS" }));
        annotate(&bundle, "run.oci.seccomp_bpf_data", &denying(libc::SYS_getpriority, libc::EOVERFLOW as u32));
        bundle.launch();
        bundle.wait_output("up");
        assert_eq!(bundle.output(), "EOVERFLOW\nup\n");
        assert_eq!(bundle.exec(&["syscall", &number]).ok().out, "EOVERFLOW\n");
        let status = fs::read_to_string(format!("/proc/{}/status", bundle.pid())).expect("status");
        assert!(status.contains("Seccomp:\t2") && status.contains("Seccomp_filters:\t1"), "{status}");
    }
}

#[test]
fn a_filter_that_can_not_be_is_refused_before_anything_is_made() {
    only_kiste!();
    let place = "/annotations/run.oci.seccomp_bpf_data: ";
    for (data, words) in [
        (denying(libc::SYS_execve, 1), "denies execve"),
        (base64(&[0; 12]), "8-byte instructions"),
        (base64(&[6, 0, 0, 0, 0, 0, 0xff, 0x7f, 5, 0, 0, 0, 9, 0, 0, 0]), "instruction 2 of the filter jumps behind"),
        ("%".into(), "base64"),
    ] {
        let bundle = Bundle::with_args(&["echo", "ran"]);
        annotate(&bundle, "run.oci.seccomp_bpf_data", &data);
        bundle.run().fails_with(&[place, words]);
        bundle.assert_nothing_left();
    }
}

#[test]
fn the_original_groups_are_kept_if_asked() {
    only_kiste!();
    requires!(host::is_root(), "only root can choose its groups");
    let bundle = Bundle::new();
    let run = || {
        let runtime = harness::runtime_path();
        let state = bundle.runtime.root.clone();
        let mut command = Command::new("setpriv");
        command.args(["--groups", "4242"]).arg(runtime).arg("--root").arg(state);
        command.args(["run", "--bundle", "bundle", &bundle.id]).current_dir(&bundle.dir);
        harness::run_command(&mut command, &bundle.dir, 30.0).ok().json()["ids"]["groups"].clone()
    };
    assert!(!run().as_array().expect("groups").contains(&json!(4242)));
    annotate(&bundle, "run.oci.keep_original_groups", "1");
    assert_eq!(run(), json!([4242]));
    // Without a mapping they show as the overflow group, and are there all the same.
    bundle.push("/linux/namespaces", json!({ "type": "user" }));
    for map in ["uidMappings", "gidMappings"] {
        bundle.set(&format!("/linux/{map}"), json!([{ "containerID": 0, "hostID": 200_000, "size": 65536 }]));
    }
    let rootfs = bundle.rootfs();
    bundle.host_command("chown", &["-R", "200000:200000", rootfs.to_str().expect("UTF-8")]);
    assert_eq!(run(), json!([65534]));
}

#[test]
fn a_pidfd_goes_to_the_receiver() {
    only_kiste!();
    let bundle = Bundle::with_args(&["sleep"]);
    let path = bundle.dir.join("pidfd");
    let receiver = UnixListener::bind(&path).expect("a socket");
    annotate(&bundle, "run.oci.pidfd_receiver", path.to_str().expect("UTF-8"));
    let taken = std::thread::spawn(move || receive_descriptor(&receiver.accept().expect("a connection").0));
    bundle.launch();
    let pidfd = taken.join().expect("a descriptor");
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).expect("fdinfo");
    assert!(info.contains(&format!("Pid:\t{}\n", bundle.pid())), "{info}");
}

#[test]
fn what_kiste_has_not_is_refused_by_name() {
    only_kiste!();
    for (key, value) in [
        ("run.oci.handler", "krun"),
        ("run.oci.handler", "wasm"),
        ("module.wasm.image/variant", "compat"),
        ("run.oci.seccomp.plugins", "/plugin.so"),
        ("run.oci.systemd.force_cgroup_v1", "/sys/fs/cgroup/systemd"),
        ("run.oci.systemd.subgroup", "inner"),
        ("run.oci.delegate-cgroup", "inner"),
    ] {
        let bundle = Bundle::with_args(&["echo", "ran"]);
        annotate(&bundle, key, value);
        bundle.run().fails_with(&[&format!("/annotations/{}: ", key.replace('/', "~1"))]);
        bundle.assert_nothing_left();
    }
}

#[test]
fn features_names_the_annotations_that_reach_the_host() {
    only_kiste!();
    let features: Value = Bundle::new().call(&["features"]).ok().json();
    let unsafe_ones = &features["potentiallyUnsafeConfigAnnotations"];
    for key in
        ["org.systemd.property.", "run.oci.hooks.stdout", "run.oci.seccomp_bpf_data", "run.oci.keep_original_groups"]
    {
        assert!(unsafe_ones.as_array().is_some_and(|all| all.contains(&json!(key))), "{key}: {unsafe_ones}");
    }
}
