//! A host folder that no container may touch, and a fingerprint that tells if one did (security.md K3).

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What counts about one entry: inode, mode, owner, size, time of its content, content, time
/// of anything else: that changes too when another name of the same file is unlinked.
type Print = (u64, u32, u32, u32, u64, i64, Vec<u8>, i64);

/// The folder and how it looked when it was made.
pub struct Canary {
    /// Its absolute path on the host.
    pub dir: PathBuf,
    before: BTreeMap<PathBuf, Print>,
}

impl Canary {
    /// A folder with files, a folder, and what a container would like to have: a file named as a device, a passwd.
    pub fn new(dir: PathBuf) -> Canary {
        for folder in ["", "pts", "inner", "inner/deep"] {
            fs::create_dir(dir.join(folder)).expect("a folder of the canary");
        }
        for file in ["file", "null", "console", "ptmx", "passwd", "inner/file"] {
            fs::write(dir.join(file), format!("root:x:0:0:{file}:/canary:/bin/sh\n")).expect("a file of the canary");
        }
        let mut canary = Canary { dir, before: BTreeMap::new() };
        canary.settle();
        canary
    }

    /// From here on changes count: hard links made by the test itself change the time of the status.
    pub fn settle(&mut self) {
        self.before = prints(&self.dir);
    }

    /// What is different, in words; empty if nothing is. `linked`: the root has further names of the canary's files, and
    /// may lose them.
    pub fn changes(&self, linked: bool) -> Vec<String> {
        let now = prints(&self.dir);
        let same = |a: &Print, b: &Print| {
            (a.0, a.1, a.2, a.3, a.4, a.5, &a.6) == (b.0, b.1, b.2, b.3, b.4, b.5, &b.6) && (linked || a.7 == b.7)
        };
        let gone = self.before.keys().filter(|path| !now.contains_key(*path)).map(|path| format!("gone: {path:?}"));
        let new = now.keys().filter(|path| !self.before.contains_key(*path)).map(|path| format!("new: {path:?}"));
        let other = self.before.iter().filter(|(path, print)| now.get(*path).is_some_and(|now| !same(now, print)));
        gone.chain(new).chain(other.map(|(path, _)| format!("changed: {path:?}"))).collect()
    }
}

fn prints(dir: &Path) -> BTreeMap<PathBuf, Print> {
    let mut all = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(path) = open.pop() {
        let meta = fs::symlink_metadata(&path).expect("an entry of the canary");
        let content = if meta.is_file() { fs::read(&path).expect("a file of the canary") } else { Vec::new() };
        if meta.is_dir() {
            open.extend(fs::read_dir(&path).expect("the canary").map(|entry| entry.expect("an entry").path()));
        }
        let times =
            (meta.mtime_nsec() + meta.mtime() * 1_000_000_000, meta.ctime_nsec() + meta.ctime() * 1_000_000_000);
        let print = (meta.ino(), meta.mode(), meta.uid(), meta.gid(), meta.size(), times.0, content, times.1);
        all.insert(path, print);
    }
    all
}
