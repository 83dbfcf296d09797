//! A partner with the same volume keeps exchanging what the runtime walks over while containers start (security.md K5):
//! CVE-2021-30465, CVE-2024-45310, CVE-2025-31133, CVE-2025-52565.

mod harness;
mod security;

use harness::{Bundle, host, json, only_kiste, requires};
use security::canary::Canary;
use std::ffi::CString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Exchanges two names until it is dropped.
struct Partner {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Partner {
    fn new(one: &Path, other: &Path) -> Partner {
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let name = |path: &Path| CString::new(path.to_str().expect("UTF-8")).expect("a path");
        let (one, other, ended, counter) = (name(one), name(other), stop.clone(), count.clone());
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let at = libc::AT_FDCWD;
                // SAFETY: both names are C strings that live over the call.
                let result = unsafe {
                    libc::syscall(libc::SYS_renameat2, at, one.as_ptr(), at, other.as_ptr(), libc::RENAME_EXCHANGE)
                };
                if result == 0 {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
                // Not busy all the time: two processors are few, and the runtime shall meet both sides.
                std::thread::sleep(Duration::from_micros(20));
            }
        });
        Partner { stop, count, thread: Some(thread) }
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the partner");
        }
    }
}

/// Starts containers for some seconds; gives how many ran and how many were refused.
fn starts(bundle: &Bundle, canary: &Canary, partner: &Partner) -> (u32, u32) {
    let end = Instant::now() + Duration::from_secs_f64(3.0 * harness::slow());
    let (mut ran, mut refused) = (0, 0);
    while Instant::now() < end || ran + refused < 10 {
        let output = bundle.run();
        assert!(!output.err.contains("panicked"), "{}", output.err);
        assert_eq!(canary.changes(false), Vec::<String>::new(), "the host was changed\n{}{}", output.out, output.err);
        if output.code == 0 {
            ran += 1;
            for mount in output.json()["mounts"].as_array().expect("mounts") {
                let root = Path::new(mount["root"].as_str().unwrap_or_default());
                assert!(!root.components().any(|part| part.as_os_str() == "canary"), "the canary is mounted: {mount}");
            }
        } else {
            refused += 1;
        }
    }
    assert!(partner.count.load(Ordering::Relaxed) > 100, "the partner has exchanged nothing");
    bundle.assert_nothing_left();
    (ran, refused)
}

/// A bundle with a shared volume at /vol, and the volume's folder.
fn shared() -> (Bundle, Canary, PathBuf) {
    let bundle = Bundle::new();
    let canary = Canary::new(bundle.dir.join("canary"));
    let volume = bundle.host_folder();
    bundle.mount("/vol", "bind", volume.to_str().expect("UTF-8"), &["rbind", "rw"]);
    (bundle, canary, volume)
}

#[test]
fn a_mount_point_that_turns_into_a_link() {
    only_kiste!();
    let (bundle, canary, volume) = shared();
    fs::create_dir_all(volume.join("target/inner")).expect("a folder");
    symlink(format!("{}{}", "../".repeat(40), canary.dir.display()), volume.join("link")).expect("a link");
    bundle.mount("/vol/target", "tmpfs", "tmpfs", &[]);
    bundle.mount("/vol/target/made/by/us", "tmpfs", "tmpfs", &[]);
    let partner = Partner::new(&volume.join("target"), &volume.join("link"));
    let (ran, _) = starts(&bundle, &canary, &partner);
    assert!(ran > 0, "none ran");
}

#[test]
fn a_missing_mount_point_below_a_link_and_a_folder_in_turn() {
    only_kiste!();
    let (bundle, canary, volume) = shared();
    fs::create_dir(volume.join("parent")).expect("a folder");
    symlink(&canary.dir, volume.join("link")).expect("a link");
    bundle.mount("/vol/parent/a/b/c", "tmpfs", "tmpfs", &[]);
    bundle.set("/process/cwd", json!("/vol/parent/x/y"));
    let partner = Partner::new(&volume.join("parent"), &volume.join("link"));
    let (ran, refused) = starts(&bundle, &canary, &partner);
    assert!(ran + refused > 0);
}

#[test]
fn a_hidden_path_that_turns_into_a_link() {
    only_kiste!();
    let (bundle, canary, volume) = shared();
    fs::write(volume.join("secret"), "hidden").expect("a file");
    symlink(canary.dir.join("file"), volume.join("link")).expect("a link");
    bundle.set("/linux/maskedPaths", json!(["/vol/secret"]));
    bundle.set("/linux/readonlyPaths", json!(["/vol/secret"]));
    let partner = Partner::new(&volume.join("secret"), &volume.join("link"));
    let (ran, _) = starts(&bundle, &canary, &partner);
    assert!(ran > 0, "none ran");
}

#[test]
fn an_images_dev_that_turns_into_a_link() {
    only_kiste!();
    requires!(host::is_root(), "device nodes");
    let (bundle, canary, _) = shared();
    bundle.unmount("/dev").unmount("/dev/pts").unmount("/dev/shm").unmount("/dev/mqueue");
    symlink(&canary.dir, bundle.inside("link")).expect("a link");
    bundle.set("/linux/devices", json!([{ "path": "/dev/inner/made", "type": "c", "major": 1, "minor": 3, "uid": 7 }]));
    let partner = Partner::new(&bundle.inside("dev"), &bundle.inside("link"));
    let (ran, refused) = starts(&bundle, &canary, &partner);
    assert!(ran + refused > 0);
}
