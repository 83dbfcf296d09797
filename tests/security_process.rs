//! Descriptors, ids, capabilities and devices as an attacker would look for them (INV-01, 07, 08, 10, 13 to 15).

mod harness;
mod security;

use harness::{Bundle, Value, as_user, host, json, only_kiste, requires};
use security::state;
use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Opens folders of the host at the numbers 3 to 40 of the command, none close-on-exec.
fn leak(command: &mut Command) {
    let folder = fs::File::open("/etc").expect("a folder");
    // SAFETY: dup2 is async-signal-safe; the descriptors are the child's own.
    unsafe {
        command.pre_exec(move || {
            for number in (3..=40).filter(|number| *number != folder.as_raw_fd()) {
                libc::dup2(folder.as_raw_fd(), number);
            }
            Ok(())
        });
    }
}

/// CVE-2024-21626: no descriptor of the runtime's is a way out, neither as working directory nor as program.
#[test]
fn no_descriptor_of_the_runtime_is_a_way_out() {
    only_kiste!();
    let bundle = Bundle::new();
    fs::create_dir(bundle.inside("links")).expect("a folder");
    let escaped = |output: &harness::Output, what: &str| {
        assert!(!output.err.contains("panicked"), "{what}: {}", output.err);
        if output.code == 0 {
            let cwd = output.json()["cwd"].as_str().unwrap_or_default().to_owned();
            assert!(cwd.starts_with('/') && cwd != "/etc", "{what}: the payload is at {cwd:?}");
        }
    };
    for number in 3..=40 {
        for process in ["self", "1", "thread-self"] {
            let path = format!("/proc/{process}/fd/{number}");
            // The names in turn, so that the test takes no minute.
            if (number + process.len()) % 3 != 0 {
                continue;
            }
            bundle.set("/process/cwd", json!(path));
            escaped(&bundle.run(), &path);
            let link = bundle.inside(&format!("links/{number}-{process}"));
            symlink(&path, &link).expect("a link");
            bundle.set("/process/cwd", json!(format!("/links/{number}-{process}")));
            let mut command = bundle.runtime.command(&["run", "--bundle", "bundle", &bundle.id]);
            leak(&mut command);
            escaped(&harness::run_command(&mut command, &bundle.dir, 20.0), &format!("a link to {path}"));
        }
    }
    bundle.set("/process/cwd", json!("/"));
    for number in 3..=20 {
        bundle.set("/process/args", json!([format!("/proc/self/fd/{number}/../bin/true")]));
        assert_ne!(bundle.run().code, 0, "a program of the host through descriptor {number}");
    }
    bundle.assert_nothing_left();
}

#[test]
fn nor_is_one_of_exec() {
    only_kiste!();
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.launch();
    for number in 3..=40 {
        let path = format!("/proc/self/fd/{number}");
        let mut command = bundle.runtime.command(&["exec", "--cwd", &path, &bundle.id, "/init", "report"]);
        leak(&mut command);
        let output = harness::run_command(&mut command, &bundle.dir, 20.0);
        if output.code == 0 {
            let cwd = output.json()["cwd"].as_str().unwrap_or_default().to_owned();
            assert!(cwd.starts_with('/') && cwd != "/etc", "{path}: the payload is at {cwd:?}");
        }
    }
}

/// A process that waits for `start` holds 0, 1, 2 and the two FIFOs of its gate, nothing else.
#[test]
fn a_created_process_holds_its_gate_alone() {
    only_kiste!();
    requires!(host::is_root(), "a process that waits for start shows its descriptors to root only");
    let bundle = Bundle::with_args(&["exit", "0"]);
    bundle.set("/linux/maskedPaths", json!(["/proc/keys"])).push("/linux/namespaces", json!({ "type": "cgroup" }));
    let volume = bundle.host_folder();
    bundle.mount("/vol", "bind", volume.to_str().expect("UTF-8"), &["rbind"]);
    let mut command = bundle.runtime.command(&["create", "--bundle", "bundle", &bundle.id]);
    leak(&mut command);
    harness::run_command(&mut command, &bundle.dir, 20.0).ok();
    let folder = format!("/proc/{}/fd", bundle.pid());
    let mut held: Vec<String> = state::entries(&folder)
        .into_iter()
        .filter(|name| name.parse::<i32>().is_ok_and(|number| number > 2))
        .map(|name| fs::read_link(format!("{folder}/{name}")).expect("a descriptor").to_string_lossy().into_owned())
        .collect();
    held.sort();
    let gate = |name: &str| held.iter().any(|path| path.ends_with(name));
    assert!(held.len() == 2 && gate("/start") && gate("/outcome"), "{held:?}");
}

/// Ids are digits; everything else is an error and never root (CVE-2016-3697, CVE-2026-30892, CVE-2024-40635).
#[test]
fn a_user_is_exactly_the_number_that_was_typed() {
    only_kiste!();
    let bundle = Bundle::with_args(&["sleep"]);
    fs::create_dir(bundle.inside("etc")).expect("etc");
    fs::write(bundle.inside("etc/passwd"), "1000:x:0:0::/evil:/bin/sh\nroot:x:1000:0::/:/\n").expect("passwd");
    fs::write(bundle.inside("etc/group"), "5:x:0:\n").expect("group");
    bundle.launch();
    for word in [
        "",
        ":",
        "1:",
        ":2",
        "+1",
        "-1",
        "1:-1",
        "4294967295",
        "4294967296",
        "1:4294967295",
        "18446744073709551616",
        "0x1",
        "1 ",
        " 1",
        "1:2:3",
        "root",
        "1000x",
        "1e3",
        "1.0",
        "０",
    ] {
        let output = bundle.exec_with(&["--user", word], &["report"]);
        assert_ne!(output.code, 0, "{word:?} was taken: {}", output.out);
    }
    if host::is_root() {
        for (word, uid, gid) in
            [("1000", 1000, 0), ("0", 0, 0), ("1000:5", 1000, 5), ("4294967294:1", 4294967294u32, 1)]
        {
            let report: Value = bundle.exec_with(&["--user", word], &["report"]).ok().json();
            assert_eq!(report["ids"]["uid"], json!([uid, uid, uid]), "{word}");
            assert_eq!(report["ids"]["gid"], json!([gid, gid, gid]), "{word}");
        }
    }
}

/// Rights of `exec` for users and options: never an inheritable capability that was not asked for (CVE-2022-29162), none at
/// all for a user that is not root, and with `--cap` these alone.
#[test]
fn capabilities_of_exec_are_those_asked_for() {
    only_kiste!();
    requires!(host::is_root(), "several users");
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.launch();
    let own = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let more = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW"]);
    let (none, raw) = (json!([]), json!(["CAP_NET_RAW"]));
    let cases: &[(&[&str], [&Value; 5])] = &[
        (&[], [&own, &own, &none, &none, &own]),
        (&["--user", "0"], [&own, &own, &none, &none, &own]),
        (&["--user", "1000"], [&none, &none, &none, &none, &own]),
        (&["--cap", "CAP_NET_RAW"], [&more, &more, &none, &none, &more]),
        (&["--cap", "CAP_NET_RAW", "--user", "1000"], [&raw, &raw, &raw, &raw, &more]),
    ];
    for (options, wanted) in cases {
        let report: Value = bundle.exec_with(options, &["report"]).ok().json();
        let names = ["effective", "permitted", "inheritable", "ambient", "bounding"];
        for (name, wanted) in names.iter().zip(wanted) {
            assert_eq!(&&report["capabilities"][name], wanted, "{options:?}: {name}");
        }
        assert_eq!(report["no_new_privileges"], 1, "{options:?}");
        assert_eq!(report["securebits"], 0, "{options:?}");
        assert_eq!(report["ids"]["groups"], json!([]), "{options:?}");
    }
}

/// First process and exec are alike for root and others, with and without no_new_privs, seen from the host.
#[test]
fn exec_is_as_limited_as_the_first_process() {
    only_kiste!();
    for (user, no_new_privileges) in [(0, true), (0, false), (1000, true), (1000, false)] {
        if user != 0 && !host::is_root() {
            continue;
        }
        let bundle = Bundle::with_args(&["sleep"]);
        bundle.set("/process/user", json!({ "uid": user, "gid": user, "umask": 0o027 }));
        bundle.set("/process/noNewPrivileges", json!(no_new_privileges));
        bundle.set("/process/rlimits", json!([{ "type": "RLIMIT_CORE", "soft": 0, "hard": 0 }]));
        let rule = json!({ "names": ["acct"], "action": "SCMP_ACT_ERRNO" });
        bundle.set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] }));
        bundle.launch();
        let golden = state::of(bundle.pid(), 0);
        let path = bundle.dir.join("pid");
        bundle.exec_with(&["--detach", "--pid-file", path.to_str().expect("UTF-8")], &["sleep"]).ok();
        let pid: i32 = fs::read_to_string(&path).expect("the pid file").trim().parse().expect("a pid");
        let wrong = state::differences(&golden, &state::of(pid, 0));
        assert_eq!(wrong, Vec::<String>::new(), "user {user}: {}", wrong.join("\n"));
    }
}

/// A single mapped id: setgroups(2) is denied, and groups that can't be dropped or set are not pretended (CVE-2014-8989).
#[test]
fn groups_are_denied_to_a_plain_user() {
    only_kiste!();
    as_user!();
    let report = Bundle::new().report();
    assert_eq!(report["setgroups"], "deny");
    let bundle = Bundle::new();
    bundle.set("/process/user/additionalGids", json!([0]));
    bundle.run().fails_with(&["additionalGids"]);
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.launch();
    let output = bundle.exec_with(&["--additional-gids", "0"], &["report"]);
    assert_ne!(output.code, 0, "{}", output.out);
}

/// What is not ours keeps its owner: a FIFO with a name is a file of the host (CVE-2026-88265's class).
#[test]
fn a_named_fifo_on_standard_output_keeps_its_owner() {
    only_kiste!();
    requires!(host::is_root(), "several users");
    let bundle = Bundle::with_args(&["exit", "0"]);
    bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let path = bundle.dir.join("fifo");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).expect("a FIFO");
    let fifo = fs::OpenOptions::new().read(true).write(true).open(&path).expect("the FIFO");
    let file = fs::File::create(bundle.dir.join("log")).expect("a file");
    let mut command = bundle.runtime.command(&["run", "--bundle", "bundle", &bundle.id]);
    command.stdout(fifo).stderr(file).stdin(std::process::Stdio::null());
    let mut child = command.spawn().expect("spawn");
    assert!(harness::wait_for(&mut child, 20.0).is_some_and(|status| status.success()));
    assert_eq!(fs::metadata(&path).expect("the FIFO").uid(), 0);
    assert_eq!(fs::metadata(bundle.dir.join("log")).expect("a file").uid(), 0);
}

/// The temporary name beside a pid file is not followed, and the pid file itself is replaced.
#[test]
fn a_pid_file_is_not_written_through_a_link() {
    only_kiste!();
    let bundle = Bundle::with_args(&["exit", "0"]);
    let canary = bundle.host_file("untouched");
    let path = bundle.dir.join("pid");
    symlink(&canary, &path).expect("a link");
    bundle.run_with(&["--pid-file", path.to_str().expect("UTF-8")]).ok();
    assert_eq!(fs::read_to_string(&canary).expect("the file"), "untouched");
    assert!(fs::symlink_metadata(&path).expect("the pid file").is_file());
}

/// Default deny on cgroup v2: every device but the usual ones, with a list that is empty or begins with "allow" (INV-15).
#[test]
fn devices_are_denied_on_the_unified_hierarchy() {
    only_kiste!();
    requires!(host::is_root(), "mounts and devices");
    for rules in [json!([]), json!([{ "allow": true, "type": "c", "major": 1, "minor": 5, "access": "rwm" }])] {
        let words = "seq mknod /dev/disk b 254 0 -- open /dev/disk -- mknod /dev/mem c 1 1 -- open /dev/mem -- open \
                     /dev/null w -- open /dev/urandom";
        let bundle = Bundle::with_args(&words.split_whitespace().collect::<Vec<_>>());
        for set in ["bounding", "effective", "permitted"] {
            bundle.push(&format!("/process/capabilities/{set}"), json!("CAP_MKNOD"));
        }
        bundle.set("/linux/resources/devices", rules);
        let script = "umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]).arg(harness::runtime_path());
        command.arg("--root").arg(&bundle.runtime.root).args(["run", "--bundle", "bundle", &bundle.id]);
        let output = harness::run_command(command.current_dir(&bundle.dir), &bundle.dir, 30.0);
        assert_eq!(output.lines(), ["ok", "EPERM", "ok", "EPERM", "ok", "ok"], "{}", output.err);
    }
}

/// CVE-2016-9962: in the container's pid namespace, the process of `exec` belongs to nobody there from its first moment,
/// because it holds the host's descriptors. Seen by the owner of its files in /proc, which is root while it is non-dumpable.
#[test]
fn exec_can_not_be_traced_while_it_joins() {
    only_kiste!();
    as_user!();
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.launch();
    let mut command = bundle.runtime.command(&["exec", &bundle.id, "/init", "exit", "0"]);
    let calls = [libc::SYS_close_range, libc::SYS_setns, libc::SYS_setresuid, libc::SYS_capset, libc::SYS_setsid];
    let pauses = security::pause::at(&mut command, &calls);
    let mut child = command.spawn().expect("spawn");
    drop(command);
    let mut seen = Vec::new();
    pauses.each(|pid, call| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let inside = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        // Two numbers: it is in the container's pid namespace.
        if inside.is_some_and(|pids| pids.split_whitespace().count() > 1) {
            seen.push(call);
            let owner = fs::metadata(format!("/proc/{pid}/environ")).expect("the process").uid();
            assert_eq!(owner, 0, "it can be traced at system call {call}");
        }
    });
    assert!(harness::wait_for(&mut child, 20.0).is_some_and(|status| status.success()));
    assert!(seen.contains(&libc::SYS_close_range) && seen.contains(&libc::SYS_setsid), "{seen:?}");
}

/// The first stage, which joins a user and a pid namespace without privilege and makes the child there: from the moment it is
/// in them until it ends, root of the container must not trace it, since it is still in the host's mount namespace. Its files
/// in /proc are root's while it is non-dumpable.
#[test]
fn the_first_stage_can_not_be_traced() {
    only_kiste!();
    as_user!();
    let first = Bundle::with_args(&["sleep"]);
    first.launch();
    let joining = Bundle::with_args(&["exit", "0"]);
    joining.remove("/linux/uidMappings").remove("/linux/gidMappings");
    for kind in ["user", "pid"] {
        let path = format!("/proc/{}/ns/{kind}", first.pid());
        joining.without_namespace(kind).push("/linux/namespaces", json!({ "type": kind, "path": path }));
    }
    let own_map = fs::read_to_string("/proc/self/uid_map").expect("the map");
    for (bundle, words) in [
        (&first, vec!["exec", &first.id, "/init", "exit", "0"]),
        (&joining, vec!["run", "--bundle", "bundle", &joining.id]),
    ] {
        let mut command = bundle.runtime.command(&words);
        let pauses = security::pause::at(&mut command, &[libc::SYS_setns, libc::SYS_clone3, libc::SYS_write]);
        let mut child = command.spawn().expect("spawn");
        drop(command);
        let runtime = child.id() as i32;
        let mut seen = Vec::new();
        pauses.each(|pid, call| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
            // The runtime's own child and not yet the container's, which has a second number.
            if pid == runtime || pids.is_none_or(|pids| pids.split_whitespace().count() != 1) {
                return;
            }
            let map = fs::read_to_string(format!("/proc/{pid}/uid_map")).expect("the map");
            let owner = fs::metadata(format!("/proc/{pid}/environ")).expect("the process").uid();
            seen.push((call, map != own_map));
            if map != own_map || call == libc::SYS_setns {
                assert_eq!(owner, 0, "{words:?}: it can be traced at system call {call}");
            }
        });
        assert!(harness::wait_for(&mut child, 20.0).is_some_and(|status| status.success()), "{words:?}");
        for expected in [(libc::SYS_setns, false), (libc::SYS_clone3, true), (libc::SYS_write, true)] {
            assert!(seen.contains(&expected), "{words:?}: no {expected:?} in {seen:?}");
        }
    }
}

/// A plain user's container keeps what it was given in `exec` too: the score is written before the process hides.
#[test]
fn exec_of_a_plain_user_has_the_score_of_the_first_process() {
    only_kiste!();
    as_user!();
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.set("/process/oomScoreAdj", json!(300));
    bundle.launch();
    let first = fs::read_to_string(format!("/proc/{}/oom_score_adj", bundle.pid())).expect("the score");
    assert_eq!(first.trim(), "300");
    assert_eq!(bundle.exec(&["report"]).ok().json()["oom_score_adj"], 300);
}

/// Keyrings are joined by name: one that another user made before, under the name that is to be expected, is not (INV-14).
#[test]
fn a_keyring_of_another_user_is_not_joined() {
    only_kiste!();
    requires!(host::is_root(), "another user");
    let bundle = Bundle::with_args(&["report"]);
    let name = std::ffi::CString::new(format!("_ses.{}", bundle.id)).expect("a name");
    let mut command = Command::new("sleep");
    command.arg("60");
    // SAFETY: system calls with numbers, and a C string that lives in the closure.
    unsafe {
        command.pre_exec(move || {
            libc::setresuid(54321, 54321, 54321);
            let serial = libc::syscall(libc::SYS_keyctl, 1u64, name.as_ptr());
            // KEYCTL_SETPERM: everybody may do everything.
            match libc::syscall(libc::SYS_keyctl, 5u64, serial, 0x3f3f_3f3fu64) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let mut other = command.spawn().expect("the other user");
    let serial = fs::read_to_string("/proc/keys").unwrap_or_default().lines().find_map(|line| {
        line.contains(&format!("_ses.{}", bundle.id)).then(|| line.split(' ').next().map(str::to_owned))?
    });
    let own = bundle.run();
    other.kill().expect("kill");
    other.wait().expect("wait");
    let serial = i64::from_str_radix(&serial.expect("the other's keyring"), 16).expect("a serial");
    let report = own.ok().json();
    assert!(report["keyring"].is_i64() && report["keyring"] != serial, "{} is the other's", report["keyring"]);
    // Kiste's own is joined by exec under the same name.
    let bundle = Bundle::with_args(&["seq", "report", "--", "sleep"]);
    bundle.launch();
    bundle.wait_output("\n");
    let first: Value = serde_json::from_str(&bundle.output()).expect("JSON");
    assert_eq!(bundle.exec(&["report"]).ok().json()["keyring"], first["keyring"]);
}
