//! Descriptors: what the process gets, what it must not, and what the runtime holds while a container waits for start.

mod harness;

use harness::{Bundle, Value, host, json, only_kiste, requires};
use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Leaks fifty descriptors of several kinds into a command, none of them close-on-exec, from number 10 on.
fn leak_fifty(command: &mut Command) {
    let folder = fs::File::open("/").expect("the root");
    // SAFETY: dup2, open and socketpair are async-signal-safe; the descriptors are the child's own.
    unsafe {
        command.pre_exec(move || {
            for n in 0..20 {
                libc::dup2(folder.as_raw_fd(), 10 + n);
            }
            for n in 30..45 {
                let path = libc::open(c"/etc".as_ptr(), libc::O_PATH);
                libc::dup2(path, n);
                libc::close(path);
            }
            for n in (45..60).step_by(2) {
                let mut pair = [0; 2];
                libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, pair.as_mut_ptr());
                libc::dup2(pair[0], n);
                libc::dup2(pair[1], n + 1);
                libc::close(pair[0]);
                libc::close(pair[1]);
            }
            Ok(())
        });
    }
}

fn numbers(fds: &Value) -> Vec<i64> {
    fds.as_array().expect("fds").iter().filter_map(|f| f["fd"].as_i64()).collect()
}

#[test]
fn the_process_gets_the_three_standard_ones() {
    let fds = Bundle::new().report()["fds"].clone();
    assert_eq!(numbers(&fds), [0, 1, 2], "{fds}");
}

#[test]
fn what_the_caller_leaks_does_not_reach_the_process() {
    let bundle = Bundle::new();
    let mut command = bundle.runtime.command(&["run", "--bundle", "bundle", &bundle.id]);
    leak_fifty(&mut command);
    let fds = harness::run_command(&mut command, &bundle.dir, 30.0).ok().json()["fds"].clone();
    assert_eq!(numbers(&fds), [0, 1, 2], "{fds}");
}

#[test]
fn what_the_caller_leaks_does_not_reach_exec() {
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.launch();
    let mut command = bundle.runtime.command(&["exec", &bundle.id, "/init", "report"]);
    leak_fifty(&mut command);
    let fds = harness::run_command(&mut command, &bundle.dir, 30.0).ok().json()["fds"].clone();
    assert_eq!(numbers(&fds), [0, 1, 2], "{fds}");
}

#[test]
fn a_created_process_holds_nothing_of_the_host() {
    requires!(host::is_root(), "a process that waits for start shows its descriptors to root only");
    let bundle = Bundle::with_args(&["exit", "0"]);
    let mut command = bundle.runtime.command(&["create", "--bundle", "bundle", &bundle.id]);
    leak_fifty(&mut command);
    harness::run_command(&mut command, &bundle.dir, 30.0).ok();
    let proc = format!("/proc/{}/fd", bundle.pid());
    for entry in fs::read_dir(&proc).expect("its descriptors").flatten() {
        let number: i32 = entry.file_name().to_string_lossy().parse().expect("a number");
        let target = fs::read_link(entry.path()).unwrap_or_default();
        // Allowed in what waits: anonymous objects, its own /proc and the start gate; no folder, no file of the host.
        let is_folder = fs::metadata(entry.path()).is_ok_and(|m| m.is_dir());
        assert!(number < 3 || !is_folder, "{number} is the folder {target:?}");
        if harness::runtime_is_kiste() {
            let text = target.to_string_lossy().into_owned();
            let state = text.starts_with(bundle.runtime.root.to_str().expect("UTF-8"));
            assert!(number < 3 || !text.starts_with('/') || state, "{number} is {text}");
        }
    }
}

#[test]
fn descriptors_to_preserve_arrive_in_their_order() {
    let bundle = Bundle::new();
    let files = [bundle.host_file("one"), bundle.host_file("two")];
    let mut command = bundle.runtime.command(&["run", "--bundle", "bundle", "--preserve-fds", "2", &bundle.id]);
    let open: Vec<_> = files.iter().map(|f| fs::File::open(f).expect("a file")).collect();
    // Out of the way of what is leaked, then to their places.
    // SAFETY: dup2 and close are async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            for (n, file) in open.iter().enumerate() {
                libc::dup2(file.as_raw_fd(), 200 + n as i32);
            }
            Ok(())
        });
        leak_fifty(&mut command);
        command.pre_exec(|| {
            for n in 0..2 {
                libc::dup2(200 + n, 3 + n);
                libc::close(200 + n);
            }
            Ok(())
        });
    }
    let report = harness::run_command(&mut command, &bundle.dir, 30.0).ok().json();
    assert_eq!(numbers(&report["fds"]), [0, 1, 2, 3, 4], "{}", report["fds"]);
    use std::os::unix::fs::MetadataExt as _;
    for (n, file) in files.iter().enumerate() {
        assert_eq!(report["fds"][3 + n]["ino"], fs::metadata(file).expect("a file").ino());
    }
}

#[test]
fn sockets_of_socket_activation_are_passed_on() {
    let bundle = Bundle::with_args(&["seq", "listen-fds", "--", "report"]);
    let file = bundle.host_file("activated");
    let open = fs::File::open(&file).expect("a file");
    let mut command = Command::new("sh");
    command.args(["-c", "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"", "sh"]).arg(harness::runtime_path());
    command
        .arg("--root")
        .arg(&bundle.runtime.root)
        .args(["run", "--bundle", "bundle", &bundle.id])
        .current_dir(&bundle.dir);
    // SAFETY: dup2 is async-signal-safe; without the flag the descriptor stays open over exec.
    unsafe {
        command.pre_exec(move || {
            if open.as_raw_fd() == 3 {
                libc::fcntl(3, libc::F_SETFD, 0);
            } else {
                libc::dup2(open.as_raw_fd(), 3);
            }
            Ok(())
        });
    }
    let output = harness::run_command(&mut command, &bundle.dir, 30.0).ok();
    let listen: Value = serde_json::from_str(output.lines()[0]).expect("JSON");
    assert_eq!((&listen["LISTEN_FDS"], &listen["LISTEN_PID"]), (&json!("1"), &json!("1")), "{listen}");
    let report: Value = serde_json::from_str(output.lines()[1]).expect("JSON");
    assert_eq!(numbers(&report["fds"]), [0, 1, 2, 3]);
}

#[test]
fn closed_standard_descriptors_are_replaced() {
    only_kiste!();
    let bundle = Bundle::with_args(&["report", "--to", "/tmp/report"]);
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$@\" <&- >&- 2>&-", "sh"]).arg(harness::runtime_path());
    command
        .arg("--root")
        .arg(&bundle.runtime.root)
        .args(["run", "--bundle", "bundle", &bundle.id])
        .current_dir(&bundle.dir);
    harness::run_command(&mut command, &bundle.dir, 30.0).ok();
    let report: Value =
        serde_json::from_slice(&fs::read(bundle.inside("tmp/report")).expect("the report")).expect("JSON");
    assert_eq!(numbers(&report["fds"]), [0, 1, 2]);
    assert!(report["fds"].as_array().is_some_and(|f| f.iter().all(|f| f["type"] == "char")), "{}", report["fds"]);
}

#[test]
fn readiness_is_told_to_the_manager() {
    only_kiste!();
    let bundle = Bundle::with_args(&["notify", "READY=1"]);
    let path = bundle.dir.join("notify.sock");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).expect("bind");
    let limit = std::time::Duration::from_secs_f64(10.0 * harness::slow());
    socket.set_read_timeout(Some(limit)).expect("a time limit");
    let mut command = bundle.runtime.command(&["run", "--bundle", "bundle", &bundle.id]);
    command.env("NOTIFY_SOCKET", &path);
    assert_eq!(harness::run_command(&mut command, &bundle.dir, 30.0).ok().out, "ok\n");
    let mut buffer = [0; 1024];
    let mut told = String::new();
    while !told.contains("READY=1") {
        let count = socket.recv(&mut buffer).expect("a message");
        told.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
}
