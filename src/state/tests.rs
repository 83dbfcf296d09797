//! The directory, its lock and what a crash leaves, with real processes and files.

use super::directory::RECORD;
use super::*;
use crate::error::Kind;
use crate::kernel::raw;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of its own for a test, removed at the end, whatever it is.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("kiste-state-test-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn root(&self) -> StateRoot {
        StateRoot::open(Some(&self.0.join("root"))).unwrap()
    }

    fn left(&self) -> usize {
        std::fs::read_dir(self.0.join("root")).unwrap().count()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn record(id: &str) -> Record {
    Record::creating(id, "/b".into(), "/b/rootfs".into(), 0).unwrap()
}

fn dead() -> ProcessIdentity {
    ProcessIdentity { start_time: 1, ..ProcessIdentity::own().unwrap() }
}

#[test]
fn a_reservation_that_is_not_kept_leaves_nothing() {
    let scratch = Scratch::new();
    let root = scratch.root();
    let mut reserved = root.reserve("a").unwrap();
    let error = root.reserve("a").unwrap_err();
    assert_eq!(error.kind, Kind::Exists);
    assert_eq!(error.to_string(), "container with given ID already exists: a");
    reserved.store_config(b"{}").unwrap();
    reserved.write_record(&record("a")).unwrap();
    reserved.make_gate().unwrap();
    std::fs::create_dir(reserved.path().join("notify")).unwrap();
    std::fs::write(reserved.path().join("notify/s"), "").unwrap();
    drop(reserved);
    assert_eq!(scratch.left(), 0);
    assert_eq!(root.container("a").unwrap_err().to_string(), "container \"a\" does not exist");
    drop(root.reserve("a").unwrap());
    assert_eq!(scratch.left(), 0);
}

#[test]
fn what_is_kept_is_found_again() {
    let scratch = Scratch::new();
    let root = scratch.root();
    for id in ["b", "a"] {
        let mut reserved = root.reserve(id).unwrap();
        reserved.store_config(id.as_bytes()).unwrap();
        reserved.write_record(&record(id)).unwrap();
        reserved.keep();
    }
    std::fs::create_dir(scratch.0.join("root/.hidden")).unwrap();
    let listed: Vec<_> = root.list().unwrap().collect();
    assert_eq!(listed.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    for (id, container) in listed {
        let container = container.unwrap();
        let found = container.record().unwrap();
        assert_eq!((found.id.as_str(), container.load_config().unwrap()), (id.as_str(), id.clone().into_bytes()));
        assert_eq!(found.boot_id.is_some(), root.outlives_boot());
    }
    let other = StateRoot::open(Some(&scratch.0.join("other"))).unwrap();
    drop(other.reserve("a").unwrap());
    assert!(root.container("a").unwrap().record().is_ok(), "another root's removal is another's");
}

#[test]
fn status_follows_the_processes() {
    let scratch = Scratch::new();
    let root = scratch.root();
    let container = root.reserve("a").unwrap();
    let mut record = record("a");
    let status = |record: &Record| container.status(record, || true).unwrap();
    assert_eq!(status(&record), Status::Creating);
    record.creator = dead();
    assert_eq!(status(&record), Status::Stopped, "its creator died");
    record.phase = Phase::Created;
    record.init = Some(ProcessIdentity::own().unwrap());
    assert_eq!(status(&record), Status::Paused);
    assert_eq!(container.status(&record, || false).unwrap(), Status::Running);
    let _ends = container.make_gate().unwrap();
    assert_eq!(status(&record), Status::Created);
    record.boot_id = Some("another boot".into());
    assert_eq!(status(&record), Status::Stopped);
    record.boot_id = None;
    record.init = Some(dead());
    assert_eq!(status(&record), Status::Stopped, "the pid is another's now");
}

#[test]
fn remains_of_a_crash_can_be_removed() {
    // What is there when create is killed after its 1st, 2nd, … step.
    for steps in 0..5 {
        let scratch = Scratch::new();
        let root = scratch.root();
        let mut reserved = root.reserve("a").unwrap();
        if steps > 0 {
            std::fs::write(reserved.path().join("record.new"), "{\"vers").unwrap();
        }
        if steps > 1 {
            reserved.write_record(&Record { creator: dead(), ..record("a") }).unwrap();
        }
        if steps > 2 {
            reserved.store_config(b"{").unwrap();
        }
        if steps > 3 {
            raw::mknodat(reserved.directory().as_raw_fd(), c"outcome", libc::S_IFIFO | 0o600, 0).unwrap();
        }
        drop(reserved.keep());
        assert_eq!(root.reserve("a").unwrap_err().kind, Kind::Exists);
        let container = root.container("a").unwrap();
        let guard = container.lock().unwrap();
        let record = container.record_if_any().unwrap();
        assert_eq!(record.is_some(), steps > 1);
        assert!(!record.is_some_and(|record| record.is_being_made().unwrap()));
        container.remove().unwrap();
        drop(guard);
        assert_eq!(scratch.left(), 0, "{steps}");
        assert_eq!(container.lock().unwrap_err().kind, Kind::NotFound);
    }
}

#[test]
fn removal_follows_no_link() {
    let scratch = Scratch::new();
    let root = scratch.root();
    let treasure = scratch.0.join("treasure");
    std::fs::create_dir(&treasure).unwrap();
    std::fs::write(treasure.join("file"), "gold").unwrap();
    let container = root.reserve("a").unwrap().keep();
    symlink(&treasure, container.path().join("link")).unwrap();
    symlink(treasure.join("file"), container.path().join("record")).unwrap();
    assert!(container.record().is_err(), "a link is no record");
    container.remove().unwrap();
    assert_eq!(std::fs::read(treasure.join("file")).unwrap(), b"gold");
    assert_eq!(scratch.left(), 0);
}

#[test]
fn a_record_that_is_too_long_or_a_fifo_is_refused() {
    let scratch = Scratch::new();
    let container = scratch.root().reserve("a").unwrap().keep();
    let path = container.path().join("record");
    std::fs::File::create(&path).unwrap().set_len(super::record::LONGEST as u64 + 1).unwrap();
    assert!(container.record().unwrap_err().to_string().contains("longer"));
    std::fs::remove_file(&path).unwrap();
    raw::mknodat(container.directory().as_raw_fd(), RECORD, libc::S_IFIFO | 0o600, 0).unwrap();
    assert!(container.record().unwrap_err().to_string().contains("damaged"), "and it does not hang");
    container.remove().unwrap_or_default();
}

#[test]
fn one_of_many_wins_and_nothing_is_left() {
    let scratch = Scratch::new();
    let owners = AtomicU32::new(0);
    let created = AtomicU32::new(0);
    let worker = &|seed: u32| {
        let root = scratch.root();
        for round in 0..300 {
            if (seed + round) % 3 == 0 {
                // delete --force
                let Ok(container) = root.container("a") else { continue };
                let Ok(guard) = container.lock() else { continue };
                let record = container.record_if_any().unwrap();
                if !record.is_some_and(|record| record.phase == Phase::Creating) {
                    container.remove().unwrap();
                }
                drop(guard);
                continue;
            }
            match root.reserve("a") {
                Ok(mut reserved) => {
                    assert_eq!(owners.fetch_add(1, Ordering::SeqCst), 0, "two owners of one id");
                    created.fetch_add(1, Ordering::SeqCst);
                    reserved.write_record(&record("a")).unwrap();
                    std::thread::yield_now();
                    owners.fetch_sub(1, Ordering::SeqCst);
                    if round % 2 == 0 {
                        reserved.write_record(&Record { phase: Phase::Created, ..record("a") }).unwrap();
                        reserved.keep();
                    }
                }
                Err(error) => {
                    assert!(error.kind == Kind::Exists || error.to_string().contains("deleted while"), "{error}")
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for seed in 0..6 {
            scope.spawn(move || worker(seed));
        }
    });
    assert!(created.load(Ordering::SeqCst) > 0);
    if let Ok(container) = scratch.root().container("a") {
        container.remove().unwrap();
    }
    assert_eq!(scratch.left(), 0);
}

/// `delete --force` as the command does it: ends the processes by the record, then locks and removes.
fn delete_by_force(root: &StateRoot) -> crate::error::Result<()> {
    let container = root.container("a")?;
    if let Ok(Some(record)) = container.record_if_any() {
        if let Some(init) = record.live_init()? {
            init.signal(libc::SIGKILL)?;
            while init.is_alive()? {
                std::thread::yield_now();
            }
        }
    }
    let _guard = container.lock()?;
    container.remove()
}

/// `create`, `start`, `delete --force`, over and over, until it is killed. Says when it broke the rule that an id has one
/// owner: a lock on a file of its own, which the kernel takes from the dead.
fn restless(scratch: &Path) -> crate::error::Result<()> {
    use crate::kernel::owned::fork_into;
    use std::os::fd::AsFd;
    let root = StateRoot::open(Some(&scratch.join("root")))?;
    loop {
        let Ok(mut reserved) = root.reserve("a") else {
            let _ = delete_by_force(&root);
            continue;
        };
        let owner = std::fs::File::create(scratch.join("owner")).unwrap();
        // A record lock: unlike flock(2)'s, the child below has no part in it.
        let lock = libc::flock { l_type: libc::F_WRLCK as i16, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 };
        if nix::fcntl::fcntl(&owner, nix::fcntl::FcntlArg::F_SETLK(&lock)).is_err() {
            std::fs::write(scratch.join("two-owners"), "").unwrap();
        }
        let ends = reserved.make_gate()?;
        reserved.write_record(&record("a"))?;
        reserved.store_config(b"{}")?;
        let start = ends.child_start.as_raw_fd();
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let init = fork_into(0, None, || {
            let _ = raw::close(writer.as_raw_fd());
            // The creator's death before the record is complete shows as an end-of-file, as in a launch.
            if raw::read(reader.as_raw_fd(), &mut [0]) != Ok(1) {
                return 1;
            }
            let _ = raw::read(start, &mut [0]);
            0
        });
        let init = init.unwrap();
        drop(ends);
        let identity = ProcessIdentity::read(init.pid)?;
        // From the complete record on, anybody may delete it.
        drop(owner);
        reserved.write_record(&Record { phase: Phase::Created, init: Some(identity), ..record("a") })?;
        let _ = raw::write(writer.as_raw_fd(), b"x");
        let container = reserved.keep();
        let _ = open_gate(&container, init.pidfd.as_fd());
        let _ = raw::wait4(-1, libc::WNOHANG);
        let _ = delete_by_force(&root);
        let _ = raw::wait4(-1, 0);
    }
}

#[test]
#[ignore = "run by the next one, in processes of its own"]
fn restless_inner() {
    if let Some(scratch) = std::env::var_os("KISTE_STATE_SCRATCH") {
        panic!("{:?}", restless(Path::new(&scratch)));
    }
}

#[test]
fn killed_at_any_point_leaves_nothing_that_force_can_not_delete() {
    let scratch = Scratch::new();
    let root = scratch.root();
    let spawn = || {
        std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "state::tests::restless_inner", "--ignored", "-q"])
            .env("KISTE_STATE_SCRATCH", scratch.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut workers = [(); 3].map(|()| spawn());
    let mut seed = std::process::id() as usize;
    for _ in 0..60 {
        // A linear congruence is random enough to hit every step.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(std::time::Duration::from_micros(10_000 + (seed >> 33) as u64 % 30_000));
        let worker = &mut workers[(seed >> 20) % 3];
        assert!(worker.try_wait().unwrap().is_none(), "a worker gave up");
        worker.kill().unwrap();
        worker.wait().unwrap();
        *worker = spawn();
    }
    for mut worker in workers {
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
    if scratch.left() > 0 {
        delete_by_force(&root).unwrap();
    }
    assert_eq!(scratch.left(), 0);
    assert!(!scratch.path().join("two-owners").exists());
}
