//! What is mounted, in the container and on the host (security.md K8; INV-03 to INV-05).

mod harness;
mod security;

use harness::{Bundle, Value, as_user, host, json, only_kiste, requires};
use security::state;
use std::fs;
use std::process::Command;

/// The host's mounts, as far as this test's containers could change them: other tests mount below their own folders.
fn of_host() -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    state::mounts(&text).into_iter().filter(|line| !line.contains("kiste-test-") && !line.contains("/netns/")).collect()
}

fn mount<'a>(report: &'a Value, target: &str) -> &'a Value {
    let all = report["mounts"].as_array().expect("mounts");
    all.iter().rev().find(|mount| mount["target"] == target).unwrap_or_else(|| panic!("{target} is no mount: {all:?}"))
}

fn has(mount: &Value, word: &str) -> bool {
    mount["options"].as_array().is_some_and(|all| all.iter().any(|one| one == word))
}

/// Everything that asks for read-only, hidden or otherwise limited mounts.
fn limited() -> Bundle {
    let bundle = Bundle::new();
    let volume = bundle.host_folder();
    fs::create_dir(volume.join("inner")).expect("a folder");
    let volume = volume.to_str().expect("UTF-8").to_owned();
    fs::write(bundle.inside("file"), "hidden").expect("a file");
    bundle.set("/root/readonly", json!(true));
    bundle.mount("/ro", "bind", &volume, &["rbind", "ro", "nosuid", "nodev", "noexec"]);
    bundle.mount("/fs", "tmpfs", "tmpfs", &["ro", "nosuid", "nodev", "noexec"]);
    bundle
        .set("/linux/maskedPaths", json!(["/proc/keys", "/proc/acpi", "/sys/firmware", "/file", "/ro/inner", "/none"]));
    bundle.set("/linux/readonlyPaths", json!(["/proc/sys", "/proc/bus", "/dev/shm", "/none"]));
    let words: Vec<&str> =
        "seq report -- stat /proc/keys /file -- list /ro/inner -- touch /new -- touch /ro/new -- touch \
                            /fs/new -- touch /dev/shm/new -- write /proc/sys/kernel/domainname x -- cat /file"
            .split_whitespace()
            .collect();
    bundle.args(&words);
    bundle
}

fn check_limited(bundle: &Bundle) {
    let output = bundle.run();
    let lines = output.lines();
    let report: Value = serde_json::from_str(lines.first().expect("a report")).expect("JSON");
    for target in ["/", "/ro", "/fs", "/sys", "/proc/sys", "/proc/bus", "/dev/shm", "/sys/firmware", "/ro/inner"] {
        assert!(has(mount(&report, target), "ro"), "{target}: {}", mount(&report, target));
    }
    for target in ["/ro", "/fs"] {
        assert!(["nosuid", "nodev", "noexec"].iter().all(|word| has(mount(&report, target), word)), "{target}");
    }
    for line in &lines[1..3] {
        let file: Value = serde_json::from_str(line).expect("JSON");
        assert!(file["type"] == "char" && file["rdev"] == json!([1, 3]), "hidden by something else: {file}");
    }
    assert_eq!(lines[3], "[]", "a hidden folder is empty");
    assert_eq!(lines[4..8], ["EROFS"; 4], "writes: {lines:?}");
    // To a plain user the file belongs to nobody.
    assert!(lines[8] == "EROFS" || lines[8] == "EACCES" && !host::is_root(), "a write: {}", lines[8]);
    assert_eq!(lines.len(), 9, "a hidden file has no content: {lines:?}");
    // Nothing of the host but the root's folder, the volume and device nodes.
    for mount in report["mounts"].as_array().expect("mounts") {
        let (root, fstype) = (mount["root"].as_str().unwrap_or_default(), mount["fstype"].as_str().unwrap_or_default());
        let ours = root.contains(&bundle.id) || matches!(fstype, "proc" | "sysfs" | "tmpfs" | "devpts" | "mqueue");
        assert!(ours || fstype == "devtmpfs" && mount["target"] != "/dev", "the host's: {mount}");
    }
}

#[test]
fn what_shall_be_read_only_or_hidden_is() {
    only_kiste!();
    check_limited(&limited());
}

#[test]
fn what_shall_be_read_only_or_hidden_is_for_a_plain_user() {
    only_kiste!();
    as_user!();
    check_limited(&limited());
}

#[test]
fn the_root_of_the_host_is_not_above_the_containers() {
    for options in [&[][..], &["rbind", "ro"]] {
        let bundle = Bundle::with_args(&["stat", "/", "/.."]);
        if !options.is_empty() {
            bundle.mount("/vol", "bind", "/", options);
        }
        let output = bundle.run().ok();
        let lines = output.lines();
        assert_eq!(lines[0], lines[1], "another root lies above");
    }
    Bundle::new().mount("/", "tmpfs", "tmpfs", &[]).run().fails_with(&["/mounts/"]);
}

/// Also without a mount namespace, and with every propagation: the host's mounts are what they were.
#[test]
fn the_hosts_mounts_stay_as_they_were() {
    only_kiste!();
    requires!(host::is_root(), "mounts of the host");
    let before = of_host();
    for propagation in ["", "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable"]
    {
        let bundle = Bundle::with_args(&["exit", "0"]);
        bundle.set("/linux/rootfsPropagation", json!(propagation));
        bundle.set("/linux/maskedPaths", json!(["/proc/kcore"])).set("/linux/readonlyPaths", json!(["/proc/sys"]));
        // On a host whose mounts are shared, as systemd makes them.
        let script = "mount --make-rshared / && findmnt -o TARGET,PROPAGATION,FSTYPE -rn >before && \"$@\" && \
                      findmnt -o TARGET,PROPAGATION,FSTYPE -rn >after && cmp before after";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]).arg(harness::runtime_path());
        command.arg("--root").arg(&bundle.runtime.root).args(["run", "--bundle", "bundle", &bundle.id]);
        harness::run_command(command.current_dir(&bundle.dir), &bundle.dir, 30.0).ok();
        assert_eq!(of_host(), before, "{propagation}");
    }
    let bundle = Bundle::with_args(&["exit", "0"]);
    bundle.without_namespace("mount").set("/mounts", json!([]));
    bundle.run().ok();
    assert_eq!(of_host(), before, "without a mount namespace");
}

/// Joining the runtime's own namespaces and changing them would be changing the host's.
#[test]
fn the_runtimes_own_namespaces_are_not_changed() {
    only_kiste!();
    requires!(host::is_root(), "namespaces by path");
    let cases: &[(&str, &str, &str, Value)] = &[
        ("mount", "mnt", "/root/readonly", json!(false)),
        ("uts", "uts", "/hostname", json!("changed")),
        ("ipc", "ipc", "/linux/sysctl", json!({ "kernel.msgmax": "8191" })),
        ("network", "net", "/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" })),
    ];
    for (kind, name, place, value) in cases {
        let bundle = Bundle::with_args(&["exit", "0"]);
        bundle.without_namespace(kind).remove("/hostname");
        bundle.push("/linux/namespaces", json!({ "type": kind, "path": format!("/proc/self/ns/{name}") }));
        bundle.set(place, value.clone());
        // In namespaces of the test's, in case it is done after all.
        let mut command = Command::new("unshare");
        command.args(["--mount", "--uts", "--ipc", "--net"]).arg(harness::runtime_path());
        command.arg("--root").arg(&bundle.runtime.root).args(["run", "--bundle", "bundle", &bundle.id]);
        let output = harness::run_command(command.current_dir(&bundle.dir), &bundle.dir, 30.0);
        output.fails_with(&["/linux/namespaces/", "own namespace"]);
    }
}

/// The kernel parameters a container may not have, and that the host's are what they were (INV-17).
#[test]
fn parameters_of_the_host_are_refused() {
    only_kiste!();
    let read = |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default();
    let watched = ["kernel/core_pattern", "kernel/hostname", "vm/overcommit_memory", "fs/suid_dumpable"];
    let before = watched.map(read);
    for name in [
        "kernel.core_pattern",
        "kernel/core_pattern",
        "kernel.hostname",
        "kernel.modprobe",
        "kernel.msg",
        "kernel.shm_next_id",
        "vm.overcommit_memory",
        "fs.suid_dumpable",
        "fs.mqueue",
        "net",
        "net.",
        "net.//.kernel.core_pattern",
        "net/../kernel/core_pattern",
        "net..kernel.core_pattern",
        "net.ipv4.conf././/.x",
        "user.max_user_namespaces",
        "",
        ".",
        "/",
        "Net.ipv4.ip_forward",
        "net.ipv4.ip_forward ",
        "net.ipv4.ip_forward\n",
        " net.ipv4.ip_forward",
    ] {
        let bundle = Bundle::with_args(&["exit", "0"]);
        let mut values = serde_json::Map::new();
        values.insert(name.to_owned(), json!("1"));
        bundle.set("/linux/sysctl", Value::Object(values));
        let output = bundle.run();
        // In a user namespace of its own, user.* is the container's.
        let own = name.starts_with("user.") && !host::is_root();
        assert!(output.code != 0 || own, "{name:?} was taken");
        assert!(output.code == 0 || output.err.contains("/linux/sysctl/"), "{name:?}: {}", output.err);
    }
    let bundle = Bundle::with_args(&["exit", "0"]);
    bundle.set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1\n0" }));
    bundle.run().fails_with(&["/linux/sysctl/", "one line"]);
    assert_eq!(watched.map(read), before, "a parameter of the host has changed");
}

/// CVE-2023-25809: where no sysfs and no cgroup file system can be made anew, the host's are shown; nothing of them, also not
/// what is mounted below, may be written to.
fn check_host_views(bundle: &Bundle) {
    bundle.without_namespace("network");
    bundle.edit(|config| {
        let mounts = config["mounts"].as_array_mut().expect("mounts");
        mounts.retain(|mount| mount["destination"] != "/sys");
    });
    for cgroup in [false, true] {
        if cgroup {
            bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "rw"]);
        } else {
            bundle.mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]);
        }
        let output = bundle.run();
        if cgroup && output.code != 0 {
            // On v1 a plain user has no group to show.
            assert!(!host::is_root() && !host::cgroup_is_v2(), "{}", output.err);
            continue;
        }
        let report = output.ok().json();
        let all = report["mounts"].as_array().expect("mounts");
        let below: Vec<&Value> =
            all.iter().filter(|mount| mount["fstype"] == "cgroup" || mount["fstype"] == "cgroup2").collect();
        assert!(!below.is_empty(), "no cgroup is shown");
        for mount in below {
            assert!(has(mount, "ro"), "a cgroup of the host can be written to: {mount}");
        }
    }
}

#[test]
fn views_of_the_hosts_cgroups_are_read_only_in_a_user_namespace() {
    only_kiste!();
    requires!(host::is_root(), "id maps");
    let bundle = Bundle::new();
    let maps = json!([{ "containerID": 0, "hostID": 200_000, "size": 65536 }]);
    bundle.push("/linux/namespaces", json!({ "type": "user" }));
    bundle.set("/linux/uidMappings", maps.clone()).set("/linux/gidMappings", maps);
    harness::run_command(Command::new("chmod").args(["-R", "a+rX"]).arg(&bundle.dir), &bundle.dir, 20.0).ok();
    check_host_views(&bundle);
}

#[test]
fn views_of_the_hosts_cgroups_are_read_only_for_a_plain_user() {
    only_kiste!();
    as_user!();
    check_host_views(&Bundle::new());
}
