//! rootfs-tools: the trees they make hold what a container needs, and a second call changes nothing.

mod harness;

use harness::{Bundle, host, json, requires, run_command};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A script of rootfs-tools, from the package or from where tests/run has put it.
fn tool(name: &str) -> PathBuf {
    let base = std::env::var_os("KISTE_ROOTFS_TOOLS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("rootfs-tools"), PathBuf::from);
    base.join(name)
}

#[test]
fn busybox_makes_a_tree_that_runs() {
    requires!(host::program("dpkg").is_some(), "needs a Debian host");
    let bundle = Bundle::new();
    let tree = bundle.dir.join("tree");
    let make = || run_command(Command::new(tool("busybox")).arg("--tar").arg(&tree), &bundle.dir, 60.0);
    make().ok();
    assert!(fs::metadata(bundle.dir.join("tree.tar")).is_ok_and(|m| m.len() > 500_000));
    bundle.set("/root/path", json!(tree));
    bundle.set("/process/args", json!(["sh", "-c", "ls / | tr '\\n' ' '; awk -F: '$3 == 0 {print $1}' /etc/passwd"]));
    bundle.set("/process/env", json!(["PATH=/usr/bin:/bin"]));
    assert_eq!(bundle.run().ok().out, "bin dev etc home mnt proc root run sbin sys tmp usr var root\n");
    fs::write(tree.join("own"), "").expect("a file");
    make().ok();
    assert!(tree.join("own").exists(), "a tree that is there stays");
}

#[test]
fn busybox_leaves_other_folders_alone() {
    requires!(host::program("dpkg").is_some(), "needs a Debian host");
    let bundle = Bundle::new();
    let folder = bundle.host_folder();
    fs::write(folder.join("precious"), "").expect("a file");
    let call = |path: &Path| run_command(Command::new(tool("busybox")).arg(path), &bundle.dir, 60.0);
    call(&folder).code(1).fails_with(&["not empty"]);
    call(&folder.join("precious")).code(1).fails_with(&["is a file"]);
    call(Path::new("/no/such/folder/tree")).code(1).fails_with(&["no such folder"]);
    assert_eq!(fs::read_dir(&folder).expect("the folder").count(), 1);
}

#[test]
fn every_tool_explains_itself() {
    let bundle = Bundle::new();
    for name in ["busybox", "debian"] {
        let output = run_command(Command::new(tool(name)).arg("--help"), &bundle.dir, 60.0).ok();
        assert!(output.out.starts_with("Usage: ") && output.out.contains("DIR"), "{}", output.out);
        assert_eq!(run_command(Command::new(tool(name)).arg("--nonsense"), &bundle.dir, 60.0).code, 2);
    }
}

#[test]
fn debian_makes_a_tree_that_runs() {
    requires!(host::program("mmdebstrap").is_some(), "needs mmdebstrap");
    requires!(host::is_root(), "a plain user's tree belongs to subordinate ids");
    requires!(std::env::var_os("KISTE_TEST_NETWORK").is_some(), "fetches packages: set KISTE_TEST_NETWORK");
    let bundle = Bundle::new();
    let tree = bundle.dir.join("tree");
    run_command(Command::new(tool("debian")).arg(&tree), &bundle.dir, 300.0).ok();
    bundle.set("/root/path", json!(tree)).set("/process/args", json!(["dpkg", "--get-selections", "base-files"]));
    bundle.set("/process/env", json!(["PATH=/usr/bin:/bin:/usr/sbin:/sbin"]));
    assert!(bundle.run().ok().out.contains("install"));
    // There already: no second download.
    run_command(Command::new(tool("debian")).arg(&tree), &bundle.dir, 20.0).ok();
}
