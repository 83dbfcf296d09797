//! Binds of the host's own root: what is asked for is what is seen, whatever lies below it.

mod harness;

use harness::{Bundle, as_user, host, json, requires, runtime_path};
use std::fs;

/// A bundle that shows the host's root at /host and lists a directory that only the bundle's own root has.
fn showing_the_host() -> Bundle {
    let bundle = Bundle::with_args(&["stat", "/host/init"]);
    bundle.mount("/host", "bind", "/", &["rbind", "ro"]);
    bundle
}

#[test]
fn a_bind_of_the_root_shows_the_hosts_root_to_root() {
    requires!(host::is_root(), "the plain user has a test of its own");
    let output = showing_the_host().run().ok();
    assert_eq!(output.out.trim(), "null", "/host is the container's own root");
    let bundle = Bundle::with_args(&["cat", "/host/etc/passwd"]);
    bundle.mount("/host", "bind", "/", &["rbind", "ro"]);
    assert_eq!(bundle.run().ok().out, fs::read_to_string("/etc/passwd").expect("passwd"));
}

#[test]
fn a_bind_of_the_root_shows_the_hosts_root_to_a_plain_user() {
    as_user!();
    let output = showing_the_host().run().ok();
    assert_eq!(output.out.trim(), "null", "/host is the container's own root");
    let bundle = Bundle::with_args(&["cat", "/host/etc/passwd"]);
    bundle.mount("/host", "bind", "/", &["rbind", "ro"]);
    assert_eq!(bundle.run().ok().out, fs::read_to_string("/etc/passwd").expect("passwd"));
}

/// snapd and `ip netns` pin namespaces below /run: the kernel refuses to attach a detached tree that holds one.
#[test]
fn a_tree_with_a_pinned_mount_namespace_is_bound() {
    requires!(host::is_root(), "only root can pin a mount namespace");
    let bundle = Bundle::with_args(&["cat", "/pins/inner/file"]);
    let pins = format!("/run/kiste-pins-{}", bundle.id);
    bundle.mount("/pins", "bind", &pins, &["rbind", "rro", "rnosuid"]);
    let runtime = runtime_path().display().to_string();
    let (root, id, place) = (bundle.dir.join("state"), &bundle.id, bundle.dir.join("bundle"));
    let script = format!(
        "set -e; mkdir {pins}; trap 'umount -R {pins} 2>/dev/null; rmdir {pins}; [ -z \"$p\" ] || kill $p' EXIT
         mount -t tmpfs pins {pins}; mkdir {pins}/inner; mount -t tmpfs inner {pins}/inner
         echo seen > {pins}/inner/file; touch {pins}/ns
         # The kernel pins only namespaces younger than its own, and numbers them by processor: not every one will do.
         for try in $(seq 50); do
             unshare -m sleep 60 & p=$!
             until [ \"$(readlink /proc/$p/ns/mnt)\" != \"$(readlink /proc/self/ns/mnt)\" ]; do sleep 0.05; done
             mount --bind /proc/$p/ns/mnt {pins}/ns 2>/dev/null && break
             kill $p; p=
         done
         mountpoint -q {pins}/ns
         {runtime} --root {} run --bundle {} {id}",
        root.display(),
        place.display()
    );
    let output = bundle.host_command("unshare", &["-m", "--propagation", "private", "sh", "-c", &script]).ok();
    assert_eq!(output.out, "seen\n");
}

/// On a host whose mounts are all shared, as systemd leaves them, nothing the container has may be a peer of one.
#[test]
fn nothing_in_the_container_is_a_peer_of_the_hosts_mounts() {
    requires!(host::is_root(), "only root can share mounts");
    for mapped in [false, true] {
        let bundle = Bundle::new();
        if mapped {
            bundle.push("/linux/namespaces", json!({ "type": "user" }));
            for map in ["uidMappings", "gidMappings"] {
                bundle.set(&format!("/linux/{map}"), json!([{ "containerID": 0, "hostID": 200_000, "size": 65536 }]));
            }
        }
        let folder = bundle.host_folder();
        fs::create_dir(bundle.inside("/volume")).expect("a mount point");
        bundle.mount("/volume", "bind", &folder.display().to_string(), &["rbind"]);
        let script = format!(
            "mount --make-rshared / && {} --root {} run --bundle {} {}",
            runtime_path().display(),
            bundle.dir.join("state").display(),
            bundle.dir.join("bundle").display(),
            bundle.id
        );
        let report = bundle.host_command("unshare", &["-m", "--propagation", "private", "sh", "-c", &script]).json();
        for mount in report["mounts"].as_array().expect("mounts") {
            let words = mount["propagation"].to_string();
            assert!(!words.contains("shared:"), "user namespace {mapped}: {mount}");
        }
    }
}
