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
    let listed = root.list().unwrap();
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
    assert!(created.load(Ordering::SeqCst) > 20, "{created:?}");
    if let Ok(container) = scratch.root().container("a") {
        container.remove().unwrap();
    }
    assert_eq!(scratch.left(), 0);
}
