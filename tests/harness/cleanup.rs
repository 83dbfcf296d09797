//! Takes away what a container may have left, whether or not the runtime did its part.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The cgroups whose folder's name contains the id, deepest first, on every hierarchy.
pub fn cgroups(id: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    // Ours and those beside the test's own cgroup; the depth bounds the walk.
    walk(Path::new("/sys/fs/cgroup"), 7, &mut |path| {
        if path.to_string_lossy().contains(id) {
            found.push(path.to_owned());
        }
    });
    found.sort_by_key(|p| std::cmp::Reverse(p.components().count()));
    found
}

fn walk(dir: &Path, depth: usize, see: &mut impl FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        if depth > 0 && entry.file_type().is_ok_and(|t| t.is_dir()) {
            see(&entry.path());
            walk(&entry.path(), depth - 1, see);
        }
    }
}

/// Mount points below a folder in our mount namespace, last one first.
pub fn mounts(dir: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let targets = text.lines().filter_map(|l| l.split(' ').nth(4)).map(PathBuf::from);
    let mut found: Vec<_> = targets.filter(|t| t.starts_with(dir)).collect();
    found.reverse();
    found
}

/// Processes with something of the folder as root, executable, or in their command line; not ourselves.
pub fn processes(dir: &Path) -> Vec<i32> {
    let me = std::process::id() as i32;
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|e| e.file_name().to_string_lossy().parse::<i32>().ok());
    let ours = |pid: &i32| {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let command = fs::read(proc.join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        let arguments = command.split('\0').any(|a| Path::new(a).starts_with(dir));
        let open = ["root", "exe", "fd/1", "fd/2"]
            .iter()
            .any(|l| fs::read_link(proc.join(l)).is_ok_and(|t| t.starts_with(dir)));
        *pid != me && (arguments || open)
    };
    pids.filter(ours).collect()
}

/// Kills, unmounts, removes.
pub fn everything(id: &str, dir: &Path) {
    for pid in processes(dir) {
        kill(pid);
    }
    for cgroup in cgroups(id) {
        for _ in 0..100 {
            let text = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
            text.lines().filter_map(|l| l.parse().ok()).for_each(kill);
            if fs::remove_dir(&cgroup).is_ok() || !cgroup.exists() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
    for target in mounts(dir) {
        unmount(&target);
    }
    if fs::remove_dir_all(dir).is_err() && dir.exists() {
        remove_by_force(dir);
    }
}

fn kill(pid: i32) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
}

/// Folders without permissions, and files of subordinate ids.
fn remove_by_force(dir: &Path) {
    let quiet = |command: &mut Command| {
        let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    };
    quiet(Command::new("chmod").args(["-R", "u+rwx"]).arg(dir));
    if fs::remove_dir_all(dir).is_err() && !super::host::is_root() {
        quiet(Command::new("unshare").args(["--user", "--map-root-user", "--map-auto", "rm", "-rf"]).arg(dir));
    }
    if dir.exists() {
        eprintln!("harness: could not remove {}", dir.display());
    }
}

/// umount2(2) with MNT_DETACH.
fn unmount(target: &Path) {
    let Ok(path) = CString::new(target.as_os_str().as_bytes()) else { return };
    // SAFETY: the path is a C string that lives over the call.
    unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
}
