//! Fields of the configuration whose effect no other test shows; tests/spec_fields.md has them all.

mod harness;

use harness::{Bundle, Value, host, json, only_kiste, requires, wait_until};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::time::Instant;

/// The kinds of hooks, and whether they run with the container's root.
const HOOKS: &[(&str, bool)] = &[
    ("prestart", false),
    ("createRuntime", false),
    ("createContainer", false),
    ("startContainer", true),
    ("poststart", false),
    ("poststop", false),
];

#[test]
fn every_kind_of_hook_gets_its_path_arguments_and_environment() {
    let bundle = Bundle::with_args(&["exit", "0"]);
    for (kind, inside) in HOOKS {
        let file = if *inside { format!("/tmp/{kind}").into() } else { bundle.dir.join(kind) };
        let path = if *inside { "/init".into() } else { harness::reporter_path() };
        let hook =
            json!({ "path": path, "args": [format!("name-of-{kind}"), "hook", file], "env": [format!("KIND={kind}")] });
        bundle.set(&format!("/hooks/{kind}"), json!([hook]));
    }
    bundle.run().ok();
    for (kind, inside) in HOOKS {
        let file = if *inside { bundle.inside(&format!("tmp/{kind}")) } else { bundle.dir.join(kind) };
        let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{kind}: {e}"));
        let seen: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{kind} ran once: {e}: {text}"));
        assert_eq!(seen["argv"][0], format!("name-of-{kind}"));
        assert_eq!(seen["env"], json!({ "KIND": kind }), "{kind}");
    }
}

#[test]
fn a_hook_of_every_kind_is_ended_after_its_time() {
    only_kiste!();
    let wait = |kind: &str, inside: bool| {
        let bundle = Bundle::with_args(&["exit", "0"]);
        let path = if inside { "/init".into() } else { harness::reporter_path() };
        bundle.set(&format!("/hooks/{kind}"), json!([{ "path": path, "args": ["late", "sleep", "60"], "timeout": 1 }]));
        let start = Instant::now();
        let output = bundle.run();
        assert!(
            (1.0..20.0 * harness::slow()).contains(&start.elapsed().as_secs_f64()),
            "{kind}: {:?}",
            start.elapsed()
        );
        // What a poststop hook does is no failure of the container's.
        assert_eq!(output.code == 0, kind == "poststop", "{kind}: {}", output.err);
        assert!(output.err.contains(&format!("/hooks/{kind}/0")), "{kind}: {}", output.err);
        bundle.assert_nothing_left();
    };
    std::thread::scope(|scope| {
        for (kind, inside) in HOOKS {
            scope.spawn(move || wait(kind, *inside));
        }
    });
}

#[test]
fn members_of_other_platforms_are_passed_over() {
    let bundle = Bundle::new();
    bundle.set("/process/commandLine", json!("C:\\init.exe")).set("/process/user/username", json!("ContainerUser"));
    for platform in ["vm", "windows", "solaris", "zos", "freebsd"] {
        bundle.set(&format!("/{platform}"), json!({ "any": 1 }));
    }
    requires!(!harness::runtime_path().ends_with("crun"), "crun reads the sections of other platforms");
    let report = bundle.report();
    assert_eq!((&report["argv"], &report["ids"]["uid"]), (&json!(["/init", "report"]), &json!([0, 0, 0])));
}

#[test]
fn a_time_namespace_counts_nanoseconds() {
    only_kiste!();
    let bundle = Bundle::with_args(&["cat", "/proc/self/timens_offsets"]);
    bundle.push("/linux/namespaces", json!({ "type": "time" }));
    let offsets =
        json!({ "monotonic": { "secs": 5, "nanosecs": 123_456_789 }, "boottime": { "secs": 7, "nanosecs": 1 } });
    bundle.set("/linux/timeOffsets", offsets);
    let output = bundle.run().ok();
    let seen: Vec<Vec<&str>> = output.lines().iter().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(seen, [["monotonic", "5", "123456789"], ["boottime", "7", "1"]]);
}

#[test]
fn each_type_of_device_is_made() {
    requires!(host::is_root(), "needs root to make devices");
    let bundle = Bundle::with_args(&["stat", "/dev/of-c", "/dev/of-u", "/dev/of-b", "/dev/of-p"]);
    for kind in ["c", "u", "b", "p"] {
        let mut device =
            json!({ "path": format!("/dev/of-{kind}"), "type": kind, "fileMode": 0o604, "uid": 3, "gid": 4 });
        if kind != "p" {
            (device["major"], device["minor"]) = (json!(60), json!(5));
        }
        bundle.push("/linux/devices", device);
    }
    let output = bundle.run().ok();
    for (line, kind) in output.lines().iter().zip(["char", "char", "block", "fifo"]) {
        let stat: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(
            (&stat["type"], &stat["mode"], &stat["uid"], &stat["gid"]),
            (&json!(kind), &json!("0604"), &json!(3), &json!(4))
        );
        assert_eq!(stat["rdev"], if kind == "fifo" { json!([0, 0]) } else { json!([60, 5]) });
    }
    assert_eq!(output.lines().len(), 4);
}

#[test]
fn each_part_of_a_device_rule_counts() {
    requires!(host::is_root(), "needs root to make devices");
    // Numbers without a driver: where it is allowed, the answer is that there is none.
    let mut words = vec!["seq"];
    for kind in ["c", "b"] {
        let path = if kind == "c" { "/data/c" } else { "/data/b" };
        words.extend(["mknod", path, kind, "60", "5", "--", "open", path, "r", "--", "open", path, "w", "--"]);
    }
    words.extend(["mknod", "/data/other", "c", "60", "6", "--", "open", "/data/other", "r"]);
    let some = json!(["CAP_MKNOD"]);
    let with = |rule: Value| {
        let bundle = Bundle::with_args(&words);
        bundle.set("/process/capabilities", json!({ "bounding": some, "permitted": some, "effective": some }));
        bundle.set("/linux/resources/devices", json!([{ "allow": false, "access": "rwm" }, rule]));
        bundle.mount("/data", "tmpfs", "tmpfs", &[]);
        let output = bundle.run();
        let opened: Vec<bool> =
            output.lines().iter().filter(|line| **line != "ok").map(|line| *line != "EPERM").collect();
        assert_eq!(opened.len(), 5, "{}{}", output.out, output.err);
        [0, 1, 2, 3, 4].map(|n| opened[n])
    };
    // Reads and writes of the character device, of the block device; a read of the character device's neighbour.
    let rule = |kind: &str, major: i64, minor: i64, access: &str| json!({ "allow": true, "type": kind, "major": major, "minor": minor, "access": access });
    assert_eq!(with(rule("c", 60, 5, "rw")), [true, true, false, false, false]);
    assert_eq!(with(rule("b", 60, 5, "rw")), [false, false, true, true, false]);
    assert_eq!(with(rule("c", 60, 5, "r")), [true, false, false, false, false]);
    assert_eq!(with(rule("c", 60, 5, "w")), [false, true, false, false, false]);
    assert_eq!(with(rule("c", 60, -1, "r")), [true, false, false, false, true]);
    assert_eq!(with(rule("c", 61, 5, "rw")), [false; 5]);
    assert_eq!(with(rule("c", 60, 7, "rw")), [false; 5]);
    assert_eq!(with(rule("a", -1, -1, "rwm")), [true; 5]);
}

#[test]
fn ids_of_a_bind_are_mapped() {
    requires!(host::is_root(), "needs root to map ids of mounts");
    let bundle = Bundle::with_args(&["seq", "stat", "/data/file", "--", "touch", "/data/new"]);
    let folder = bundle.host_folder();
    std::os::unix::fs::chown(&folder, Some(200_000), Some(300_000)).expect("chown");
    fs::write(folder.join("file"), "").expect("a file");
    std::os::unix::fs::chown(folder.join("file"), Some(200_007), Some(300_008)).expect("chown");
    // containerID is the id on disk, hostID the one it becomes.
    bundle.push(
        "/mounts",
        json!({
            "destination": "/data", "source": folder, "options": ["rbind", "idmap"],
            "uidMappings": [{ "containerID": 200_000, "hostID": 0, "size": 1000 }],
            "gidMappings": [{ "containerID": 300_000, "hostID": 0, "size": 1000 }],
        }),
    );
    let output = bundle.run().ok();
    let stat: Value = serde_json::from_str(output.lines()[0]).expect("JSON");
    assert_eq!((&stat["uid"], &stat["gid"]), (&json!(7), &json!(8)));
    assert_eq!(output.lines()[1], "ok");
    let new = fs::metadata(folder.join("new")).expect("the new file");
    assert_eq!((new.uid(), new.gid()), (200_000, 300_000));
}

#[test]
fn each_scheduling_policy_is_set() {
    only_kiste!();
    requires!(host::is_root(), "needs root for real-time policies");
    let ms = 1_000_000;
    for (wanted, number) in [
        (json!({ "policy": "SCHED_OTHER", "nice": 5 }), 0),
        (json!({ "policy": "SCHED_FIFO", "priority": 7 }), 1),
        (json!({ "policy": "SCHED_RR", "priority": 9, "flags": ["SCHED_FLAG_RESET_ON_FORK"] }), 2),
        (json!({ "policy": "SCHED_BATCH", "nice": -3, "flags": ["SCHED_FLAG_RESET_ON_FORK"] }), 3),
        (json!({ "policy": "SCHED_IDLE" }), 5),
        (json!({ "policy": "SCHED_DEADLINE", "runtime": 2 * ms, "deadline": 30 * ms, "period": 40 * ms }), 6),
    ] {
        let bundle = Bundle::new();
        bundle.set("/process/scheduler", wanted.clone());
        if std::path::Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists() {
            // Without a real-time share of the group's own, v1 lets no real-time process into it.
            bundle.set("/linux/cgroupsPath", json!(format!("/{}", bundle.id)));
            bundle.set("/linux/resources/cpu", json!({ "realtimePeriod": 500_000, "realtimeRuntime": 3000 }));
        }
        let seen = bundle.report()["scheduler"].clone();
        assert_eq!(seen["policy"], number, "{wanted}: {seen}");
        for key in ["nice", "priority", "runtime", "deadline", "period"] {
            // Of the other policies the kernel tells its own slice as runtime (since Linux 6.12).
            if key != "runtime" || number == 6 {
                assert_eq!(seen[key], wanted.get(key).cloned().unwrap_or(json!(0)), "{key} of {wanted}: {seen}");
            }
        }
        assert_eq!(
            seen["flags"].as_u64().map(|f| f & 1),
            Some(u64::from(wanted["flags"].is_array())),
            "{wanted}: {seen}"
        );
    }
}

#[test]
fn each_class_of_input_and_output_is_set() {
    only_kiste!();
    requires!(host::is_root(), "needs root for the real-time class");
    for (class, number) in [("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)] {
        let bundle = Bundle::new();
        bundle.set("/process/ioPriority", json!({ "class": class, "priority": 3 }));
        let seen = bundle.report()["scheduler"].clone();
        assert_eq!((&seen["io_class"], &seen["io_level"]), (&json!(number), &json!(3)), "{class}");
    }
}

#[test]
fn an_agent_gets_the_descriptor_and_the_state() {
    let bundle = Bundle::with_args(&["mkdir", "/tmp/asked-for"]);
    let path = bundle.dir.join("agent");
    let listener = UnixListener::bind(&path).expect("bind");
    bundle.set("/annotations", json!({ "org.example.key": "value" }));
    bundle.set(
        "/linux/seccomp",
        json!({
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "listenerMetadata": "some text",
            "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY" }],
        }),
    );
    let agent = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        let (message, descriptor) = receive(&stream);
        answer(&descriptor);
        message
    });
    assert_eq!(bundle.run().out, "EXDEV\n");
    let told = agent.join().expect("the agent");
    assert_eq!(told["fds"], json!(["seccompFd"]));
    assert_eq!((&told["metadata"], &told["state"]["id"]), (&json!("some text"), &json!(bundle.id)));
    assert_eq!(told["state"]["annotations"]["org.example.key"], "value");
    assert!(told["pid"].as_i64().is_some_and(|pid| pid > 1) && told["ociVersion"].is_string(), "{told}");
    assert!(!bundle.inside("tmp/asked-for").exists());
}

/// The one message of the runtime: the state and the descriptor.
fn receive(stream: &std::os::unix::net::UnixStream) -> (Value, std::os::fd::OwnedFd) {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
    let mut data = vec![0; 1 << 16];
    let mut space = nix::cmsg_space!([i32; 4]);
    let mut buffers = [std::io::IoSliceMut::new(&mut data)];
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut buffers, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC);
    let message = message.expect("a message");
    let descriptor = message.cmsgs().expect("control messages").find_map(|control| match control {
        ControlMessageOwned::ScmRights(all) => all.first().copied(),
        _ => None,
    });
    let length = message.bytes;
    // SAFETY: the kernel just made this descriptor for us.
    let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor.expect("a descriptor")) };
    (serde_json::from_slice(&data[..length]).expect("JSON"), descriptor)
}

/// seccomp_unotify(2): answers the first question with EXDEV.
fn answer(descriptor: &std::os::fd::OwnedFd) {
    use std::os::fd::AsRawFd;
    const RECEIVE: u64 = 0xC050_2100;
    const SEND: u64 = 0xC018_2101;
    let mut question = [0u64; 10];
    // SAFETY: struct seccomp_notif has 80 bytes and must be zero before; struct seccomp_notif_resp has 24: id, value, error and flags.
    unsafe {
        assert_eq!(libc::ioctl(descriptor.as_raw_fd(), RECEIVE as _, question.as_mut_ptr()), 0, "a question");
        let error = u64::from((-libc::EXDEV) as u32);
        let mut answer = [question[0], 0, error];
        assert_eq!(libc::ioctl(descriptor.as_raw_fd(), SEND as _, answer.as_mut_ptr()), 0, "an answer");
    }
}

#[test]
fn an_agent_that_is_not_there_is_named() {
    only_kiste!();
    let bundle = Bundle::new();
    let path = bundle.dir.join("nobody");
    let rules = json!([{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }]);
    bundle.set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "syscalls": rules }));
    bundle.run().fails_with(&["/linux/seccomp/listenerPath"]);
    wait_until("nothing is left", || bundle.left_over().is_empty());
}

#[test]
fn a_profile_of_apparmor_confines() {
    only_kiste!();
    let parser = host::program("apparmor_parser");
    let on = fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.trim() == "Y");
    requires!(host::is_root() && on && parser.is_some(), "needs root, AppArmor and apparmor_parser");
    let bundle =
        Bundle::with_args(&["seq", "report", "--", "write", "/tmp/denied", "x", "--", "write", "/tmp/allowed", "x"]);
    let name = bundle.id.clone();
    let rules = format!("profile {name} flags=(attach_disconnected) {{\n file,\n deny /tmp/denied w,\n}}\n");
    let file = bundle.host_file(&rules);
    let load = |how: &str| bundle.host_command("apparmor_parser", &[how, file.to_str().expect("UTF-8")]);
    load("--replace");
    bundle.set("/process/apparmorProfile", json!(name));
    let output = bundle.run();
    load("--remove");
    let output = output.code(1);
    let report: Value = serde_json::from_str(output.lines()[0]).expect("JSON");
    assert_eq!(report["attr"], format!("{name} (enforce)"));
    assert_eq!(output.lines()[1..], ["EACCES", "ok"]);
}

#[test]
fn a_label_that_can_not_be_had_is_an_error() {
    only_kiste!();
    let off = |path: &str| fs::read_to_string(path).map_or(true, |text| text.trim() != "Y");
    for (field, path) in
        [("apparmorProfile", "/sys/module/apparmor/parameters/enabled"), ("selinuxLabel", "/sys/fs/selinux/enforce")]
    {
        if off(path) && !(field == "selinuxLabel" && std::path::Path::new(path).exists()) {
            let bundle = Bundle::with_args(&["exit", "0"]);
            bundle.set(&format!("/process/{field}"), json!("some:label"));
            bundle.run().fails_with(&[&format!("/process/{field}"), "not enabled"]).code(1);
            bundle.assert_nothing_left();
        }
    }
}

#[test]
fn a_tmpfs_without_mode_has_that_of_the_folder_it_hides() {
    use std::os::unix::fs::PermissionsExt;
    let bundle = Bundle::with_args(&["stat", "/of-image", "/given", "/new", "/copied"]);
    for (name, mode) in [("of-image", 0o750), ("given", 0o700), ("copied", 0o711)] {
        fs::create_dir(bundle.inside(name)).expect("a folder");
        fs::set_permissions(bundle.inside(name), fs::Permissions::from_mode(mode)).expect("chmod");
    }
    bundle.mount("/of-image", "tmpfs", "tmpfs", &["nosuid"]).mount("/given", "tmpfs", "tmpfs", &["mode=1770"]);
    bundle.mount("/new", "tmpfs", "tmpfs", &[]).mount("/copied", "tmpfs", "tmpfs", &["tmpcopyup"]);
    let output = bundle.run().ok();
    let modes: Vec<Value> =
        output.lines().iter().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["mode"].clone()).collect();
    // What is new is the kernel's: for everybody, as /tmp.
    assert_eq!(modes, ["0750", "1770", "1777", "0711"]);
}

#[test]
fn hooks_in_the_container_see_its_status_and_make_files_with_care() {
    let bundle = Bundle::with_args(&["exit", "0"]);
    for (kind, inside) in [("createContainer", false), ("startContainer", true)] {
        let path = if inside { "/init".into() } else { harness::reporter_path() };
        let file = if inside { "/tmp/seen".into() } else { bundle.dir.join("seen") };
        bundle.set(&format!("/hooks/{kind}"), json!([{ "path": path, "args": ["hook", "hook", file] }]));
    }
    bundle.run().ok();
    for (file, status) in [(bundle.dir.join("seen"), "creating"), (bundle.inside("tmp/seen"), "created")] {
        let seen: Value = serde_json::from_str(&fs::read_to_string(&file).expect("it ran")).expect("JSON");
        assert_eq!((&seen["stdin"]["status"], &seen["umask"]), (&json!(status), &json!("0022")), "{}", file.display());
    }
}
