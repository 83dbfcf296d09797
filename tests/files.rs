//! The tree the process sees: mounts and their options, masks, read-only parts, devices.

mod harness;

use harness::{Bundle, Value, host, json, only_kiste, requires};
use std::fs;
use std::os::unix::fs::symlink;

/// The uppermost mount at a target in a report.
#[track_caller]
fn mount(report: &Value, target: &str) -> Value {
    let mounts = report["mounts"].as_array().expect("mounts");
    mounts
        .iter()
        .rfind(|m| m["target"] == target)
        .cloned()
        .unwrap_or_else(|| panic!("nothing is mounted at {target}: {mounts:?}"))
}

#[track_caller]
fn assert_options(mount: &Value, with: &[&str], without: &[&str]) {
    let options: Vec<_> = mount["options"].as_array().expect("options").iter().filter_map(Value::as_str).collect();
    assert!(with.iter().all(|o| options.contains(o)), "{with:?} of {mount}");
    assert!(!without.iter().any(|o| options.contains(o)), "not {without:?} of {mount}");
}

/// Runs one word of the reporter inside and gives what it prints.
#[track_caller]
fn answer(bundle: &Bundle, words: &[&str]) -> String {
    bundle.args(words);
    bundle.run().out.trim().to_owned()
}

#[test]
fn the_usual_mounts_are_there_with_their_options() {
    let report = Bundle::new().report();
    for (target, kind) in [
        ("/proc", "proc"),
        ("/dev", "tmpfs"),
        ("/dev/pts", "devpts"),
        ("/dev/shm", "tmpfs"),
        ("/dev/mqueue", "mqueue"),
        ("/sys", "sysfs"),
    ] {
        assert_eq!(mount(&report, target)["fstype"], kind);
    }
    assert_options(&mount(&report, "/dev"), &["rw", "nosuid"], &["noexec", "nodev"]);
    assert_options(&mount(&report, "/dev/shm"), &["nosuid", "noexec", "nodev"], &[]);
    assert_options(&mount(&report, "/sys"), &["ro", "nosuid", "noexec", "nodev"], &[]);
    let data = mount(&report, "/dev/pts")["super"].clone();
    assert!(
        data.as_array().is_some_and(|d| d.contains(&json!("ptmxmode=666")) && d.contains(&json!("mode=620"))),
        "{data}"
    );
}

#[test]
fn nothing_of_the_host_is_mounted() {
    let bundle = Bundle::new();
    let report = bundle.report();
    let targets: Vec<_> =
        report["mounts"].as_array().expect("mounts").iter().filter_map(|m| m["target"].as_str()).collect();
    let expected = ["/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys"];
    assert!(targets.iter().all(|t| expected.contains(t) || t.starts_with("/dev/")), "{targets:?}");
    assert_eq!(targets.iter().filter(|t| **t == "/").count(), 1, "{targets:?}");
    assert!(mount(&report, "/")["root"].as_str().is_some_and(|r| r.ends_with("/bundle/rootfs")), "{report}");
}

#[test]
fn each_flag_of_a_mount_is_set() {
    for (option, shown) in [
        ("ro", "ro"),
        ("rw", "rw"),
        ("nosuid", "nosuid"),
        ("nodev", "nodev"),
        ("noexec", "noexec"),
        ("noatime", "noatime"),
        ("nodiratime", "nodiratime"),
        ("relatime", "relatime"),
    ] {
        let bundle = Bundle::new();
        bundle.mount("/data", "tmpfs", "tmpfs", &[option]);
        assert_options(&mount(&bundle.report(), "/data"), &[shown], &[]);
    }
}

#[test]
fn later_options_win_over_earlier_ones() {
    let bundle = Bundle::new();
    bundle.mount("/data", "tmpfs", "tmpfs", &["ro", "nosuid", "noexec", "rw", "exec"]);
    assert_options(&mount(&bundle.report(), "/data"), &["rw", "nosuid"], &["ro", "noexec"]);
}

#[test]
fn options_of_the_file_system_are_passed_on() {
    let bundle = Bundle::with_args(&["stat", "/data"]);
    bundle.mount("/data", "tmpfs", "tmpfs", &["size=1m", "mode=1770"]);
    assert_eq!(bundle.report()["mode"], "1770");
    bundle.args(&["report"]);
    let data = mount(&bundle.report(), "/data")["super"].clone();
    assert!(data.as_array().is_some_and(|d| d.contains(&json!("size=1024k"))), "{data}");
}

#[test]
fn an_option_the_file_system_does_not_know_is_an_error() {
    let bundle = Bundle::new();
    bundle.mount("/data", "tmpfs", "tmpfs", &["nonsense=1"]);
    let told = bundle.run().fails_with(&[]).err;
    // By the place in the configuration, or the one in the tree.
    assert!(told.contains("/mounts/6") && told.contains("nonsense") || told.contains("/data"), "{told}");
    bundle.assert_nothing_left();
}

#[test]
fn a_folder_is_bound() {
    let bundle = Bundle::with_args(&["seq", "cat", "/data/file", "--", "write", "/data/new", "text"]);
    let folder = bundle.host_folder();
    fs::write(folder.join("file"), "content\n").expect("file");
    bundle.mount("/data", "bind", folder.to_str().expect("UTF-8"), &["bind"]);
    assert_eq!(bundle.run().ok().out, "content\nok\n");
    assert_eq!(fs::read_to_string(folder.join("new")).expect("file"), "text");
}

#[test]
fn a_file_is_bound_where_nothing_was() {
    let bundle = Bundle::with_args(&["cat", "/etc/deep/file"]);
    let file = bundle.host_file("content\n");
    bundle.mount("/etc/deep/file", "bind", file.to_str().expect("UTF-8"), &["rbind", "ro"]);
    assert_eq!(bundle.run().ok().out, "content\n");
    assert!(bundle.inside("/etc/deep/file").is_file(), "the mount point stays");
}

#[test]
fn a_read_only_bind_is_read_only() {
    let bundle = Bundle::new();
    let folder = bundle.host_folder();
    bundle.mount("/data", "bind", folder.to_str().expect("UTF-8"), &["bind", "ro", "nosuid", "nodev"]);
    assert_eq!(answer(&bundle, &["touch", "/data/new"]), "EROFS");
    assert!(!folder.join("new").exists());
    bundle.args(&["report"]);
    assert_options(&mount(&bundle.report(), "/data"), &["ro", "nosuid", "nodev"], &[]);
}

#[test]
fn a_bind_without_type_is_one_by_its_option() {
    let bundle = Bundle::new();
    let folder = bundle.host_folder();
    bundle.push("/mounts", json!({ "destination": "/data", "source": folder, "options": ["bind"] }));
    assert_eq!(answer(&bundle, &["touch", "/data/new"]), "ok");
    assert!(folder.join("new").exists());
}

#[test]
fn a_relative_source_starts_at_the_bundle() {
    let bundle = Bundle::with_args(&["list", "/data"]);
    fs::create_dir_all(bundle.dir.join("bundle/here")).expect("folder");
    fs::write(bundle.dir.join("bundle/here/file"), "").expect("file");
    bundle.mount("/data", "bind", "here", &["bind"]);
    assert_eq!(bundle.run().ok().out, "[\"file\"]\n");
}

#[test]
fn a_missing_source_is_named() {
    let bundle = Bundle::new();
    bundle.mount("/data", "bind", "/nowhere/source", &["bind"]);
    bundle.run().fails_with(&["/nowhere/source"]);
    assert!(!bundle.inside("data").exists() || !harness::runtime_is_kiste(), "nothing was made");
}

#[test]
fn a_file_over_a_folder_is_an_error() {
    let bundle = Bundle::new();
    fs::create_dir(bundle.inside("data")).expect("folder");
    let file = bundle.host_file("");
    bundle.mount("/data", "bind", file.to_str().expect("UTF-8"), &["bind"]);
    bundle.run().fails_with(&["/data"]);
    bundle.assert_nothing_left();
}

/// A folder with another mount below it; root only.
fn tree_with_submount(bundle: &Bundle) -> String {
    let folder = bundle.host_folder();
    fs::create_dir(folder.join("sub")).expect("folder");
    let sub = folder.join("sub");
    bundle.host_command("mount", &["-t", "tmpfs", "none", sub.to_str().expect("UTF-8")]);
    fs::write(sub.join("file"), "").expect("file");
    folder.to_str().expect("UTF-8").to_owned()
}

#[test]
fn bind_is_one_mount_and_rbind_the_tree() {
    requires!(host::is_root(), "only root can mount on the host");
    for (option, names) in [("bind", "[]"), ("rbind", "[\"file\"]")] {
        let bundle = Bundle::new();
        let source = tree_with_submount(&bundle);
        bundle.mount("/data", "bind", &source, &[option]);
        assert_eq!(answer(&bundle, &["list", "/data/sub"]), names, "{option}");
        drop(bundle);
    }
}

#[test]
fn plain_read_only_is_for_the_top_and_rro_for_the_tree() {
    requires!(host::is_root(), "only root can mount on the host");
    for (option, told) in [("ro", "ok"), ("rro", "EROFS")] {
        let bundle = Bundle::new();
        let source = tree_with_submount(&bundle);
        bundle.mount("/data", "bind", &source, &["rbind", option]);
        assert_eq!(answer(&bundle, &["touch", "/data/new"]), "EROFS", "{option}");
        assert_eq!(answer(&bundle, &["touch", "/data/sub/new"]), told, "{option}");
    }
}

#[test]
fn recursive_flags_reach_the_whole_tree() {
    requires!(host::is_root(), "only root can mount on the host");
    let bundle = Bundle::new();
    let source = tree_with_submount(&bundle);
    bundle.mount("/data", "bind", &source, &["rbind", "rnosuid", "rnodev", "rnoexec"]);
    let report = bundle.report();
    for target in ["/data", "/data/sub"] {
        assert_options(&mount(&report, target), &["nosuid", "nodev", "noexec"], &[]);
    }
}

#[test]
fn propagation_of_a_mount_is_set() {
    requires!(host::is_root(), "what comes from another user namespace stays a slave");
    let bundle = Bundle::new();
    let folder = bundle.host_folder();
    let source = folder.to_str().expect("UTF-8");
    bundle.mount("/private", "bind", source, &["bind", "rprivate"]);
    bundle.mount("/shared", "bind", source, &["bind", "rshared"]);
    bundle.mount("/unbindable", "bind", source, &["bind", "unbindable"]);
    let report = bundle.report();
    let tags = |target: &str| mount(&report, target)["propagation"].to_string();
    assert_eq!(tags("/private"), "[]");
    assert!(tags("/shared").contains("shared:"), "{}", tags("/shared"));
    assert!(tags("/unbindable").contains("unbindable"), "{}", tags("/unbindable"));
}

#[test]
fn propagation_of_the_root_is_set() {
    for (propagation, tag) in [("private", "[]"), ("slave", ""), ("unbindable", "unbindable"), ("shared", "shared:")] {
        let bundle = Bundle::new();
        bundle.set("/linux/rootfsPropagation", json!(propagation));
        let tags = mount(&bundle.report(), "/")["propagation"].to_string();
        assert!(tags.contains(tag), "{propagation}: {tags}");
        assert!(propagation == "shared" || !tags.contains("shared:"), "{propagation}: {tags}");
    }
}

#[test]
fn a_shared_root_that_lies_on_a_shared_mount_is_left_behind_for_good() {
    requires!(host::is_root(), "mount namespace of the test's own");
    let bundle = Bundle::new();
    bundle.set("/linux/rootfsPropagation", json!("rshared"));
    let rootfs = bundle.rootfs();
    let folder = rootfs.parent().expect("the bundle");
    let script =
        "cd \"$2\" && mount --bind rootfs rootfs && mount --make-rshared / && before=$(wc -l </proc/self/mounts) &&
        \"$1\" --root \"$3\" run x && test \"$before\" = \"$(wc -l </proc/self/mounts)\"";
    let state = bundle.host_folder();
    let paths = [&harness::runtime_path(), folder, &state].map(|path| path.to_str().expect("UTF-8").to_owned());
    let out = bundle.host_command("unshare", &["--mount", "sh", "-c", script, "sh", &paths[0], &paths[1], &paths[2]]);
    let report = out.json();
    assert!(mount(&report, "/")["propagation"].to_string().contains("shared:"), "{report}");
    assert!(mount(&report, "/proc")["propagation"].to_string().contains("shared:"), "{report}");
}

#[test]
fn a_read_only_tmpfs_gets_what_belongs_into_it_first() {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        let dev = config["mounts"].as_array_mut().expect("mounts").iter_mut().find(|m| m["destination"] == "/dev");
        dev.expect("/dev")["options"].as_array_mut().expect("options").push(json!("ro"));
    });
    fs::create_dir(bundle.inside("data")).expect("folder");
    fs::write(bundle.inside("data/file"), "copied").expect("file");
    bundle.mount("/data", "tmpfs", "tmpfs", &["ro", "tmpcopyup"]);
    bundle.mount("/data/below", "tmpfs", "tmpfs", &["rro"]);
    let report = bundle.report();
    for target in ["/dev", "/data", "/data/below"] {
        assert_options(&mount(&report, target), &["ro"], &["rw"]);
    }
    assert_eq!(mount(&report, "/dev/pts")["fstype"], "devpts");
    assert_eq!(answer(&bundle, &["cat", "/data/file"]), "copied");
}

#[test]
fn a_masked_file_is_empty_and_a_masked_folder_too() {
    let bundle = Bundle::new();
    fs::create_dir(bundle.inside("secret")).expect("folder");
    fs::write(bundle.inside("secret/file"), "secret").expect("file");
    fs::write(bundle.inside("secret-file"), "secret").expect("file");
    bundle.set("/linux/maskedPaths", json!(["/secret", "/secret-file", "/proc/version", "/not/there"]));
    assert_eq!(answer(&bundle, &["list", "/secret"]), "[]");
    assert_eq!(answer(&bundle, &["cat", "/secret-file"]), "");
    assert_eq!(answer(&bundle, &["cat", "/proc/version"]), "");
    assert_eq!(answer(&bundle, &["touch", "/secret/new"]), "EROFS");
    assert!(!bundle.inside("not").exists(), "a missing path is not made");
}

#[test]
fn read_only_paths_are_read_only() {
    let bundle = Bundle::new();
    bundle.set("/linux/readonlyPaths", json!(["/proc/sys", "/tmp", "/not/there"]));
    assert_eq!(answer(&bundle, &["touch", "/tmp/new"]), "EROFS");
    assert_eq!(answer(&bundle, &["write", "/proc/sys/kernel/msgmax", "1"]), "EROFS");
}

#[test]
fn a_read_only_root_is_read_only_and_its_mounts_are_not() {
    let bundle = Bundle::new();
    bundle.set("/root/readonly", json!(true)).mount("/data", "tmpfs", "tmpfs", &[]);
    fs::create_dir(bundle.inside("data")).expect("folder");
    assert_eq!(answer(&bundle, &["touch", "/new"]), "EROFS");
    assert_eq!(answer(&bundle, &["touch", "/data/new"]), "ok");
    assert_eq!(answer(&bundle, &["touch", "/dev/shm/new"]), "ok");
}

#[test]
fn the_usual_devices_are_there() {
    let bundle = Bundle::new();
    let devices = [
        ("null", [1, 3]),
        ("zero", [1, 5]),
        ("full", [1, 7]),
        ("random", [1, 8]),
        ("urandom", [1, 9]),
        ("tty", [5, 0]),
    ];
    let mut words = vec!["stat".to_owned()];
    words.extend(devices.iter().map(|(name, _)| format!("/dev/{name}")));
    bundle.args(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let output = bundle.run().ok();
    for ((name, numbers), line) in devices.iter().zip(output.lines()) {
        let stat: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(
            (&stat["type"], &stat["rdev"], &stat["mode"]),
            (&json!("char"), &json!(numbers), &json!("0666")),
            "{name}"
        );
    }
}

#[test]
fn the_usual_links_in_dev_are_there() {
    let bundle = Bundle::with_args(&["stat", "/dev/fd", "/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/ptmx"]);
    let output = bundle.run().ok();
    let links: Vec<_> = output
        .lines()
        .iter()
        .map(|l| serde_json::from_str::<Value>(l).expect("JSON")["link"].as_str().unwrap_or("").to_owned())
        .collect();
    assert_eq!(links[..4], ["/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2"]);
    assert!(links[4].ends_with("pts/ptmx"), "{links:?}");
}

#[test]
fn devices_are_usable() {
    let bundle = Bundle::with_args(&[
        "seq",
        "write",
        "/dev/null",
        "x",
        "--",
        "open",
        "/dev/zero",
        "--",
        "open",
        "/dev/ptmx",
        "w",
    ]);
    assert_eq!(bundle.run().ok().out, "ok\nok\nok\n");
}

#[test]
fn devices_asked_for_are_made() {
    requires!(host::is_root(), "a plain user can make none");
    let bundle = Bundle::with_args(&["stat", "/dev/mine", "/dev/deep/pipe"]);
    bundle.set(
        "/linux/devices",
        json!([
            { "path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 7, "gid": 8 },
            { "path": "/dev/deep/pipe", "type": "p", "fileMode": 0o600 },
        ]),
    );
    let output = bundle.run().ok();
    let stats: Vec<Value> = output.lines().iter().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    let of = |n: usize| {
        (stats[n]["type"].clone(), stats[n]["mode"].clone(), stats[n]["uid"].clone(), stats[n]["gid"].clone())
    };
    assert_eq!(of(0), (json!("char"), json!("0640"), json!(7), json!(8)));
    assert_eq!(stats[0]["rdev"], json!([1, 3]));
    assert_eq!(of(1), (json!("fifo"), json!("0600"), json!(0), json!(0)));
}

#[test]
fn a_copied_up_tmpfs_has_what_was_below() {
    let bundle = Bundle::new();
    fs::create_dir_all(bundle.inside("data/deep")).expect("folder");
    fs::write(bundle.inside("data/deep/file"), "below\n").expect("file");
    symlink("deep/file", bundle.inside("data/link")).expect("symlink");
    bundle.mount("/data", "tmpfs", "tmpfs", &["tmpcopyup"]);
    bundle.args(&["seq", "cat", "/data/link", "--", "touch", "/data/new"]);
    assert_eq!(bundle.run().ok().out, "below\nok\n");
    assert!(!bundle.inside("data/new").exists());
}

#[test]
fn a_link_on_the_way_is_followed_inside_the_root() {
    let bundle = Bundle::new();
    fs::create_dir(bundle.inside("var")).expect("folder");
    fs::create_dir(bundle.inside("run")).expect("folder");
    symlink("/run", bundle.inside("var/run")).expect("symlink");
    bundle.mount("/var/run/data", "tmpfs", "tmpfs", &[]);
    assert_eq!(mount(&bundle.report(), "/run/data")["fstype"], "tmpfs");
}

#[test]
fn no_destination_leads_out_of_the_root() {
    for target in ["/../../../../../../tmp", "../../../../../../tmp", "/proc/self/root/../../tmp", "ABSOLUTE"] {
        let bundle = Bundle::new();
        let outside = bundle.host_folder();
        let target = if target == "ABSOLUTE" { outside.to_str().expect("UTF-8") } else { target };
        symlink(target, bundle.inside("link")).expect("symlink");
        bundle.mount("/link/made", "tmpfs", "tmpfs", &[]);
        bundle.mount("/../../escaped/../made", "tmpfs", "tmpfs", &[]);
        // Either it lands inside, or it is refused.
        let output = bundle.run();
        assert!(output.code == 0 || !output.err.is_empty());
        assert_eq!(fs::read_dir(&outside).expect("folder").count(), 0, "{target}");
        assert!(!std::path::Path::new("/tmp/made").exists(), "{target}");
        assert!(!bundle.dir.join("made").exists() && !bundle.dir.join("bundle/made").exists(), "{target}");
    }
}

#[test]
fn a_link_as_a_pseudo_file_systems_destination_is_refused() {
    only_kiste!();
    for name in ["proc", "dev", "sys"] {
        let bundle = Bundle::new();
        fs::remove_dir(bundle.inside(name)).expect("folder");
        symlink("tmp", bundle.inside(name)).expect("symlink");
        bundle.run().fails_with(&[&format!("/{name}")]);
        bundle.assert_nothing_left();
    }
}

#[test]
fn mounts_follow_each_other_in_the_order_given() {
    let bundle = Bundle::with_args(&["seq", "list", "/data", "--", "list", "/data/inner"]);
    let (first, second) = (bundle.host_folder(), bundle.host_folder());
    fs::create_dir(first.join("inner")).expect("folder");
    fs::write(second.join("file"), "").expect("file");
    bundle.mount("/data", "tmpfs", "tmpfs", &[]);
    bundle.mount("/data", "bind", first.to_str().expect("UTF-8"), &["bind"]);
    bundle.mount("/data/inner", "bind", second.to_str().expect("UTF-8"), &["bind"]);
    assert_eq!(bundle.run().ok().out, "[\"inner\"]\n[\"file\"]\n");
}

#[test]
fn a_source_can_be_what_an_earlier_mount_made() {
    let bundle = Bundle::with_args(&["seq", "list", "/second", "--", "touch", "/second/new", "--", "list", "/first"]);
    fs::create_dir(bundle.inside("first")).expect("folder");
    fs::write(bundle.inside("first/file"), "").expect("file");
    bundle.mount("/first", "tmpfs", "tmpfs", &["tmpcopyup"]);
    let source = bundle.inside("first");
    bundle.mount("/second", "bind", source.to_str().expect("UTF-8"), &["bind"]);
    assert_eq!(bundle.run().ok().out, "[\"file\"]\nok\n[\"file\",\"new\"]\n");
    assert!(!bundle.inside("first/new").exists(), "it is the tmpfs, not the folder below");
}

#[test]
fn a_source_can_be_a_folder_of_the_root_itself() {
    let bundle = Bundle::with_args(&["list", "/again"]);
    fs::create_dir(bundle.inside("data")).expect("folder");
    fs::write(bundle.inside("data/file"), "").expect("file");
    bundle.mount("/again", "bind", bundle.inside("data").to_str().expect("UTF-8"), &["bind", "ro"]);
    assert_eq!(bundle.run().ok().out, "[\"file\"]\n");
}

#[test]
fn the_root_may_be_absolute_or_a_link() {
    let bundle = Bundle::with_args(&["exit", "5"]);
    bundle.set("/root/path", json!(bundle.rootfs()));
    bundle.run().code(5);
    only_kiste!();
    symlink("bundle/rootfs", bundle.dir.join("link")).expect("symlink");
    bundle.set("/root/path", json!(bundle.dir.join("link")));
    bundle.run().code(5);
}

#[test]
fn the_root_without_pivot_works_too() {
    let bundle = Bundle::new();
    let report: Value = bundle.run_with(&["--no-pivot"]).ok().json();
    assert!(report["root"].as_array().is_some_and(|r| r.contains(&json!("init"))), "{report}");
}

#[test]
fn cgroups_are_mounted_for_the_container() {
    requires!(host::is_root(), "a plain user has no cgroup of its own here");
    let bundle = Bundle::new();
    bundle.push("/linux/namespaces", json!({ "type": "cgroup" }));
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]);
    let report = bundle.report();
    let found = mount(&report, "/sys/fs/cgroup");
    assert_options(&found, &["nosuid", "nodev", "noexec"], &[]);
    assert_eq!(found["fstype"], if host::cgroup_is_v2() { "cgroup2" } else { "tmpfs" });
    if !host::cgroup_is_v2() {
        let memory = mount(&report, "/sys/fs/cgroup/memory");
        assert_eq!((&memory["fstype"], &memory["root"]), (&json!("cgroup"), &json!("/")));
        assert_options(&memory, &["ro"], &[]);
    } else {
        assert_options(&found, &["ro"], &[]);
    }
}

#[test]
fn an_overlay_is_mounted() {
    requires!(host::is_root() && host::has_file_system("overlay"), "needs overlay and root");
    let bundle = Bundle::with_args(&["seq", "cat", "/data/file", "--", "touch", "/data/new"]);
    let [lower, upper, work] = [0, 1, 2].map(|_| bundle.host_folder());
    fs::write(lower.join("file"), "lower\n").expect("file");
    let option = |name: &str, path: &std::path::Path| format!("{name}={}", path.display());
    let options = [option("lowerdir", &lower), option("upperdir", &upper), option("workdir", &work)];
    bundle.mount("/data", "overlay", "overlay", &options.each_ref().map(String::as_str));
    assert_eq!(bundle.run().ok().out, "lower\nok\n");
    assert!(upper.join("new").exists() && !lower.join("new").exists());
}

#[test]
fn a_new_folder_for_a_mount_is_as_a_careful_person_makes_it() {
    let bundle = Bundle::with_args(&["exit", "0"]);
    bundle.mount("/made/here", "tmpfs", "tmpfs", &[]);
    bundle.run().ok();
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(bundle.inside("made/here")).expect("folder").permissions().mode() & 0o7777, 0o755);
}

#[test]
fn some_files_of_proc_may_be_replaced_and_others_not() {
    let bundle = Bundle::with_args(&["cat", "/proc/uptime"]);
    let file = bundle.host_file("1.00 1.00\n");
    bundle.mount("/proc/uptime", "bind", file.to_str().expect("UTF-8"), &["bind", "ro"]);
    assert_eq!(bundle.run().ok().out, "1.00 1.00\n");
    only_kiste!();
    for target in ["/proc/self/attr/exec", "/proc/sys/kernel/core_pattern", "/proc/1/status"] {
        let bundle = Bundle::new();
        let file = bundle.host_file("");
        bundle.mount(target, "bind", file.to_str().expect("UTF-8"), &["bind"]);
        bundle.run().fails_with(&[target]);
    }
}

#[test]
fn links_are_not_followed_on_a_mount_that_says_so() {
    only_kiste!();
    let bundle = Bundle::new();
    let folder = bundle.host_folder();
    fs::write(folder.join("file"), "").expect("file");
    symlink("file", folder.join("link")).expect("symlink");
    bundle.mount("/data", "bind", folder.to_str().expect("UTF-8"), &["bind", "nosymfollow"]);
    assert_eq!(answer(&bundle, &["open", "/data/file"]), "ok");
    assert_eq!(answer(&bundle, &["open", "/data/link"]), "ELOOP");
}

#[test]
fn an_overlay_has_more_layers_than_one_option_holds() {
    requires!(host::is_root(), "only root mounts an overlay of its own folders without a user namespace");
    let bundle = Bundle::with_args(&["cat", "/layers/last"]);
    let mut layers = Vec::new();
    for number in 0..12 {
        let layer = bundle.host_folder();
        fs::write(layer.join(format!("file-{number}")), "x").expect("a file");
        layers.push(layer.display().to_string());
    }
    fs::write(format!("{}/last", layers[11]), "the last layer\n").expect("a file");
    let list = layers.join(":");
    assert!(list.len() > 256, "{list}");
    bundle.mount("/layers", "overlay", "overlay", &[&format!("lowerdir={list}")]);
    assert_eq!(bundle.run().ok().out, "the last layer\n");
}

#[test]
fn a_label_for_mounts_without_selinux_is_an_error() {
    only_kiste!();
    requires!(!std::path::Path::new("/sys/fs/selinux/enforce").exists(), "SELinux is enabled here");
    let bundle = Bundle::new();
    bundle.set("/linux/mountLabel", json!("system_u:object_r:container_file_t:s0"));
    bundle.run().fails_with(&["/linux/mountLabel", "SELinux"]);
}
