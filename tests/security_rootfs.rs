//! Hostile images: every path the runtime touches, as every kind of file that it isn't. Allowed is an error of the runtime's
//! own or an effect inside the root; never a change on the host, never a hang (INV-02 to INV-05, INV-11, INV-20).

mod harness;
mod security;

use harness::pty::Terminal;
use harness::{Bundle, Output, as_user, host, json, only_kiste, requires};
use security::canary::Canary;
use std::ffi::CString;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

/// What lies at a path of the image.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Absolute,
    AbsoluteFile,
    Relative,
    Dangling,
    Loop,
    ThroughProc,
    File,
    Fifo,
    Socket,
    Device,
    Closed,
    Narrow,
    HardLink,
}

const KINDS: &[Kind] = &[
    Kind::Absolute,
    Kind::AbsoluteFile,
    Kind::Relative,
    Kind::Dangling,
    Kind::Loop,
    Kind::ThroughProc,
    Kind::File,
    Kind::Fifo,
    Kind::Socket,
    Kind::Device,
    Kind::Closed,
    Kind::Narrow,
    Kind::HardLink,
];

/// The paths, without leading slash.
const PATHS: &[&str] = &[
    "dev",
    "dev/null",
    "dev/ptmx",
    "dev/pts",
    "dev/pts/ptmx",
    "dev/console",
    "dev/fd",
    "dev/shm",
    "proc",
    "sys",
    "sys/fs/cgroup",
    "etc",
    "etc/passwd",
    "cwd",
    "cwd/inner",
    "vol",
    "vol/a",
    "vol/a/b",
    "masked",
    "readonly",
    "tmp",
];

/// Makes the entry; false where this user can't.
fn plant(canary: &Canary, path: &Path, kind: Kind) -> bool {
    if let Ok(meta) = fs::symlink_metadata(path) {
        let removed = if meta.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        removed.expect("the old entry");
    }
    let device = |kind| {
        let name = CString::new(path.to_str().expect("UTF-8")).expect("a path");
        // SAFETY: the path is a C string that lives over the call.
        unsafe { libc::mknod(name.as_ptr(), kind | 0o666, libc::makedev(1, 5)) == 0 }
    };
    let up = format!("{}{}", "../".repeat(40), canary.dir.to_str().expect("UTF-8").trim_start_matches('/'));
    match kind {
        Kind::Absolute => symlink(&canary.dir, path).is_ok(),
        Kind::AbsoluteFile => symlink(canary.dir.join("file"), path).is_ok(),
        Kind::Relative => symlink(up, path).is_ok(),
        Kind::Dangling => symlink(canary.dir.join("not-there"), path).is_ok(),
        Kind::Loop => symlink(path.file_name().expect("a name"), path).is_ok(),
        Kind::ThroughProc => symlink("/proc/self/fd/3", path).is_ok(),
        Kind::File => fs::write(path, "").is_ok(),
        Kind::Fifo => device(libc::S_IFIFO),
        Kind::Socket => UnixListener::bind(path).is_ok(),
        Kind::Device => device(libc::S_IFCHR),
        Kind::Closed => fs::create_dir(path).is_ok() && chmod(path, 0),
        Kind::Narrow => fs::create_dir(path).is_ok() && chmod(path, 0o711),
        Kind::HardLink => fs::hard_link(canary.dir.join("file"), path).is_ok(),
    }
}

fn chmod(path: &Path, mode: u32) -> bool {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).is_ok()
}

/// A clean root file system: folders for the mounts, and the payload.
fn clean(bundle: &Bundle, reporter: &Path) {
    let rootfs = bundle.rootfs();
    harness::run_command(std::process::Command::new("chmod").args(["-R", "u+rwx"]).arg(&rootfs), &bundle.dir, 20.0);
    fs::remove_dir_all(&rootfs).expect("the old root");
    for part in ["", "dev", "dev/pts", "dev/shm", "dev/mqueue", "proc", "sys", "etc", "tmp", "vol", "vol/a", "cwd"] {
        fs::create_dir(rootfs.join(part)).expect("a folder of the root");
    }
    fs::hard_link(reporter, rootfs.join("init")).expect("the payload");
}

/// The image's own /dev where a path of it is tried; volume, working directory, hidden and read-only path.
fn configure(bundle: &Bundle, path: &str) {
    if path.starts_with("dev/") {
        bundle.unmount("/dev").unmount("/dev/shm").unmount("/dev/mqueue");
        if path != "dev/pts" {
            bundle.unmount("/dev/pts");
        }
        if path == "dev/shm" {
            bundle.mount("/dev/shm", "tmpfs", "shm", &[]);
        }
    }
    let volume = bundle.host_folder();
    bundle.mount("/vol/a/b", "bind", volume.to_str().expect("UTF-8"), &["rbind", "rw"]);
    bundle.mount("/tmp", "tmpfs", "tmpfs", &["tmpcopyup"]);
    bundle.set("/process/cwd", json!("/cwd/inner"));
    bundle.set("/linux/maskedPaths", json!(["/masked", "/proc/kcore", "/etc/passwd"]));
    bundle.set("/linux/readonlyPaths", json!(["/readonly", "/proc/sys"]));
}

/// An error is the runtime's own sentence, with its name before it.
fn check(what: &str, output: &Output, canary: &Canary, linked: bool) {
    assert_eq!(canary.changes(linked), Vec::<String>::new(), "{what}: the host was changed\n{}", output.err);
    let clean = output.code == 0 || output.err.lines().any(|line| line.starts_with("kiste"));
    assert!(clean && !output.err.contains("panicked"), "{what}: {} {}", output.code, output.err);
    if output.code == 0 {
        let report = output.json();
        let mounts = report["mounts"].as_array().cloned().unwrap_or_default();
        for mount in &mounts {
            let root = mount["root"].as_str().unwrap_or_default();
            assert!(!Path::new(root).ends_with("canary"), "{what}: the host's folder is mounted: {mount}");
        }
        let cwd = report["cwd"].as_str().unwrap_or("");
        assert!(cwd.starts_with('/'), "{what}: the working directory is {cwd:?}");
    }
}

fn every_case(terminal: bool, paths: &[&str]) {
    let mut refused = 0;
    let mut ran = 0;
    for path in paths {
        let bundle = Bundle::new();
        let mut canary = Canary::new(bundle.dir.join("canary"));
        let reporter = bundle.dir.join("reporter");
        harness::copy_program(&harness::reporter_path(), &reporter);
        configure(&bundle, path);
        bundle.set("/process/terminal", json!(terminal));
        for kind in KINDS {
            clean(&bundle, &reporter);
            let parent = bundle.inside(path).parent().expect("a parent").to_owned();
            fs::create_dir_all(&parent).expect("the parent");
            if !plant(&canary, &bundle.inside(path), *kind) {
                continue;
            }
            canary.settle();
            let linked = matches!(kind, Kind::HardLink);
            let what = format!("{path} as {kind:?}, terminal {terminal}");
            let output = if terminal { with_terminal(&bundle) } else { bundle.run() };
            if output.code == 0 {
                ran += 1
            } else {
                refused += 1
            }
            if !terminal || output.code != 0 {
                check(&what, &output, &canary, linked);
            }
            assert_eq!(canary.changes(linked), Vec::<String>::new(), "{what}: the host was changed");
        }
        bundle.assert_nothing_left();
        chmod(&bundle.inside(path), 0o755);
    }
    // Both must happen, or the corpus tests nothing.
    assert!(ran > 0 && refused > 0, "{ran} ran, {refused} were refused");
}

/// `run` in a terminal of the test's; what it wrote counts as error output.
fn with_terminal(bundle: &Bundle) -> Output {
    let mut command = bundle.runtime.command(&["run", "--bundle", "bundle", &bundle.id]);
    let (mut terminal, mut child) = Terminal::spawn(&mut command, 24, 80);
    terminal.rest();
    let status = harness::wait_for(&mut child, 20.0);
    if status.is_none() {
        let _ = child.kill();
        panic!("hung: {}", terminal.seen);
    }
    // An Output like every other's, from a command that repeats what was seen.
    let code = status.and_then(|status| status.code()).unwrap_or(128).to_string();
    let mut again = std::process::Command::new("sh");
    again.args(["-c", "printf %s \"$1\" >&2; exit $2", "sh", &terminal.seen, &code]);
    harness::run_command(&mut again, &bundle.dir, 10.0)
}

#[test]
fn a_hostile_image_changes_nothing_on_the_host() {
    only_kiste!();
    every_case(false, PATHS);
}

#[test]
fn a_hostile_image_changes_nothing_on_the_host_with_a_terminal() {
    only_kiste!();
    let paths = ["dev", "dev/pts", "dev/pts/ptmx", "dev/ptmx", "dev/console", "dev/null"];
    every_case(true, &paths);
}

#[test]
fn a_hostile_image_changes_nothing_for_a_plain_user() {
    only_kiste!();
    as_user!();
    every_case(false, PATHS);
}

/// The image is changed after the container has started, then `exec` looks at it.
#[test]
fn exec_meets_an_image_that_has_become_hostile() {
    only_kiste!();
    requires!(host::is_root(), "only root can change what the container's root made");
    for path in ["etc/passwd", "etc", "dev/pts", "dev/ptmx", "dev/console", "dev/null", "dev", "proc", "sys", "cwd"] {
        let bundle = Bundle::with_args(&["sleep"]);
        let mut canary = Canary::new(bundle.dir.join("canary"));
        bundle.unmount("/dev").unmount("/dev/shm").unmount("/dev/mqueue").unmount("/dev/pts").unmount("/sys");
        if path == "proc" {
            bundle.unmount("/proc");
        }
        bundle.set("/process/cwd", json!("/cwd"));
        fs::create_dir(bundle.inside("etc")).expect("etc");
        bundle.launch();
        for kind in KINDS {
            if !plant(&canary, &bundle.inside(path), *kind) {
                continue;
            }
            canary.settle();
            let linked = matches!(kind, Kind::HardLink);
            let what = format!("exec, {path} as {kind:?}");
            check(&what, &bundle.exec(&["report"]), &canary, linked);
            let mut command = bundle.runtime.command(&["exec", "--tty", &bundle.id, "/init", "report"]);
            let (mut terminal, mut child) = Terminal::spawn(&mut command, 24, 80);
            terminal.rest();
            assert!(harness::wait_for(&mut child, 20.0).is_some(), "{what}: hung: {}", terminal.seen);
            assert_eq!(canary.changes(linked), Vec::<String>::new(), "{what}: the host was changed\n{}", terminal.seen);
        }
        chmod(&bundle.inside(path), 0o755);
        bundle.call(&["delete", "--force", &bundle.id]).ok();
        bundle.assert_nothing_left();
    }
}

/// CVE-2023-28642, CVE-2025-54867: /proc and /sys must not be links when something is mounted there.
#[test]
fn proc_sys_and_dev_are_no_links() {
    only_kiste!();
    for path in ["proc", "sys", "dev"] {
        let bundle = Bundle::new();
        fs::remove_dir(bundle.inside(path)).expect("the folder");
        fs::create_dir(bundle.inside("elsewhere")).expect("a folder");
        symlink("elsewhere", bundle.inside(path)).expect("a link");
        bundle.run().fails_with(&[&format!("/{path}")]);
    }
}

/// What images do all the time: mounts through links inside the root (`/var/run`).
#[test]
fn links_inside_the_root_are_followed() {
    let bundle = Bundle::with_args(&["cat", "/run/secrets/word"]);
    let volume = bundle.host_folder();
    fs::write(volume.join("word"), "inside").expect("a file");
    fs::create_dir(bundle.inside("run")).expect("run");
    fs::create_dir(bundle.inside("var")).expect("var");
    symlink("/run", bundle.inside("var/run")).expect("a link");
    bundle.mount("/var/run/secrets", "bind", volume.to_str().expect("UTF-8"), &["bind", "ro"]);
    assert_eq!(bundle.run().ok().out, "inside");
}
