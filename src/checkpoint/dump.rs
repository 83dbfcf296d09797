//! Checkpoint: the processes of a container become files.

use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::check::{self, Open};
use super::images::{Directory, Given, Manifest, Place};
use super::log;
use super::mount_table::{self, Bound, key};
use super::program::{Birth, Criu};
use super::protocol::{Kind, Options, Wishes};
use crate::error::{Error, Origin, Result};
use crate::kernel::owned::{c_string, open, open_how};
use crate::kernel::raw;

/// A container to checkpoint, and how.
#[derive(Debug)]
pub struct Checkpoint<'a> {
    /// Its first process.
    pub pid: i32,
    /// All its processes.
    pub processes: &'a [i32],
    /// Its binds, as it was made with them.
    pub bound: &'a [Bound],
    /// The namespaces it has joined, by their names in /proc.
    pub joined: &'a [&'static str],
    /// What its first process was given on 0, 1 and 2; nothing where it has a terminal of its own.
    pub descriptors: &'a [String],
    /// It has a terminal of its own.
    pub terminal: bool,
    /// The directory that freezes it.
    pub freezer: Option<PathBuf>,
    /// Where the images go.
    pub images: &'a Path,
    /// Where CRIU's log goes, if not there.
    pub work: Option<&'a Path>,
    /// The directory of an earlier pre-dump, from that of the images.
    pub parent: Option<&'a Path>,
    /// Memory only; the container goes on, and another dump takes what has changed since.
    pub pre_dump: bool,
    /// The container goes on.
    pub leave_running: bool,
    /// Where a NUL is written once pages can be asked for.
    pub status: Option<i32>,
    /// The rest.
    pub wishes: &'a Wishes,
}

/// The log's name, in the work directory.
const LOG: &str = "dump.log";

/// Makes a checkpoint.
///
/// # Errors
/// What CRIU can't dump, told before it is asked; then what it says itself. The container goes on as it was.
pub fn checkpoint(request: &Checkpoint<'_>) -> Result<()> {
    let open = check::check(request)?;
    let mounts = mount_table::read(&request.pid.to_string())?;
    let externals = mount_table::externals(&mounts, request.bound, &mount_table::read("self")?)?;
    let images = Directory::make(request.images)?;
    let work = request.work.map(Directory::make).transpose()?;
    parent_is_there(&images, request.parent)?;
    let mut criu = Criu::start(&Birth::default())?;
    let (tracks_memory, lazy_pages) =
        if request.pre_dump || request.wishes.lazy_pages { criu.features()? } else { (true, true) };
    let missing = |what: &str, option| Err(Error::refused(format!("this kernel {what}")).at(&Origin::fixed(option)));
    if request.pre_dump && !tracks_memory {
        return missing("does not mark changed memory (CONFIG_MEM_SOFT_DIRTY)", "--pre-dump");
    }
    if request.wishes.lazy_pages && !lazy_pages {
        return missing("can't fetch pages when they are needed (userfaultfd)", "--lazy-pages");
    }
    let joined = request.joined.iter().filter(|name| EXTERNAL_NAMESPACES.contains(name));
    let manifest = Manifest {
        mounts: externals,
        places: places(request.pid, &mounts),
        files: given(&open, &mounts, request.descriptors),
        namespaces: joined.map(|name| (*name).to_owned()).collect(),
        ..Manifest::default()
    };
    let work_descriptor = work.as_ref().unwrap_or(&images).descriptor.as_raw_fd();
    let mut options = Options::new(images.descriptor.as_raw_fd(), work_descriptor, LOG, request.wishes);
    options.dump(request.pid, request.leave_running, request.parent);
    if let Some(freezer) = &request.freezer {
        options.freeze(freezer);
    }
    for (number, external) in manifest.mounts.iter().enumerate() {
        options.external(&format!("mnt[{}]:{}", external.at, key(number)));
    }
    for name in &manifest.namespaces {
        options.external(&format!("{name}[{}]:{}", namespace(request.pid, name)?, namespace_key(name)));
    }
    for file in &manifest.files {
        options.external(&file.key);
    }
    let kind = if request.pre_dump {
        options.track_memory();
        Kind::PreDump
    } else {
        images.write_manifest(&manifest, request.descriptors)?;
        Kind::Dump
    };
    criu.work(kind, &options, |notification| match (notification.name.as_str(), request.status) {
        ("status-ready", Some(descriptor)) => raw::write(descriptor, &[0])
            .map(drop)
            .map_err(|errno| Error::refused("cannot tell that pages can be asked for").call("write", errno)),
        _ => Ok(()),
    })
    .map(drop)
    .map_err(|error| {
        let error = Error { what: format!("cannot checkpoint the container: {}", error.what), ..error };
        log::explain(error, &work.as_ref().unwrap_or(&images).path().join(LOG))
    })
}

/// The earlier images of a chain must be there: CRIU would dump everything again without a word.
fn parent_is_there(images: &Directory, parent: Option<&Path>) -> Result<()> {
    let Some(parent) = parent else { return Ok(()) };
    let origin = Origin::fixed("--parent-path");
    if parent.is_absolute() {
        let error = Error::input(format!("{} must be relative to the image directory", parent.display()));
        return Err(error.at(&origin).hint("the images keep this link, and are moved together"));
    }
    let whole = images.path().join(parent);
    if !whole.is_dir() {
        return Err(Error::input(format!("there is no directory {}", whole.display())).at(&origin));
    }
    Ok(())
}

/// The number of a process's namespace.
fn namespace(pid: i32, name: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/ns/{name}");
    let data = std::fs::metadata(&path)
        .map_err(|error| Error::refused(format!("cannot find the namespace {path}")).io("stat", &error))?;
    Ok(data.ino())
}

/// Joined namespaces that CRIU leaves alone; of others it dumps what is in them, and joins one again at restore.
pub(super) const EXTERNAL_NAMESPACES: &[&str] = &["net", "pid"];

/// The key of a joined namespace.
pub(super) fn namespace_key(name: &str) -> String {
    format!("kiste-{name}")
}

/// Open files of the host: none of the container's mounts has them. Those that the container got on 0, 1 and 2 can be
/// given anew, and the host's /dev/null is the same everywhere; of others CRIU will say that it can't find them.
fn given(open: &[Open], mounts: &[mount_table::Mount], descriptors: &[String]) -> Vec<Given> {
    let mut found: Vec<Given> = Vec::new();
    for file in open.iter().filter(|file| file.target.starts_with('/')) {
        let path = format!("/proc/{}/fd/{}", file.pid, file.number);
        let mount = mount_of(file).filter(|mount| !mounts.iter().any(|other| other.id == *mount));
        let (Some(mount), Ok(data)) = (mount, std::fs::metadata(path)) else { continue };
        let standard = descriptors.iter().position(|known| *known == file.target);
        let is_null = data.file_type().is_char_device() && data.rdev() == libc::makedev(1, 3);
        let key = format!("file[{mount:x}:{:x}]", data.ino());
        if (is_null || standard.is_some()) && !found.iter().any(|other| other.key == key) {
            found.push(Given { key, standard: standard.filter(|_| !is_null) });
        }
    }
    found
}

/// The mount of an open file (proc_pid_fdinfo(5)).
fn mount_of(file: &Open) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{}/fdinfo/{}", file.pid, file.number)).ok()?;
    text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
}

/// The mount points that lie in the root's own file system: another copy of the root may lack them.
fn places(pid: i32, mounts: &[mount_table::Mount]) -> Vec<Place> {
    let Some(root) = mounts.iter().find(|mount| mount.at == "/") else { return Vec::new() };
    let on_root = mounts.iter().filter(|mount| mount.parent == root.id && mount.at != "/");
    on_root.map(|mount| Place { at: mount.at.clone(), directory: is_directory(pid, &mount.at) }).collect()
}

/// Whether a mount of a process is one of a directory. One that can't be looked at is taken for the usual.
fn is_directory(pid: i32, at: &str) -> bool {
    let found = c_string(format!("/proc/{pid}/root")).and_then(|root| {
        let root = open(libc::AT_FDCWD, &root, libc::O_PATH | libc::O_DIRECTORY, 0)?;
        let path = c_string(at.trim_start_matches('/'))?;
        let resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_SYMLINKS;
        let place = open_how(root.as_raw_fd(), &path, libc::O_PATH, 0, resolve)?;
        raw::statx(place.as_raw_fd(), c"", libc::AT_EMPTY_PATH)
    });
    found.map_or(true, |stat| u32::from(stat.stx_mode) & libc::S_IFMT == libc::S_IFDIR)
}
