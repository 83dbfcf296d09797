//! One container's directory.
//!
//! ```text
//! ROOT/ID/            0700, made by mkdir(2): who makes it owns the id
//!         record      JSON, replaced by rename(2)
//!         config      the configuration as it was given
//!         start       FIFO: the init waits for a byte (there as long as the container is `created`)
//!         outcome     FIFO: the init's failure record, or end-of-file at its execve(2)
//! ```
//! The lock is flock(2) of the directory itself, so it needs no file and goes with its holder. It is held for single
//! steps only: a child made by clone3(2) shares its parent's descriptors and would keep the lock alive.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};
use crate::kernel::owned::{c_string, open};
use crate::kernel::{parent, raw};

use super::record::{self, Phase, Record, Status};
use super::root::StateRoot;

pub(super) const RECORD: &CStr = c"record";
const NEW_RECORD: &CStr = c"record.new";
const CONFIG: &CStr = c"config";
/// The longest stored configuration read, in bytes.
const LONGEST_CONFIG: usize = 16 << 20;
/// How long a lock may take. Holders keep it for a few system calls, so a longer wait means a stopped holder.
const PATIENCE: Duration = Duration::from_secs(10);

/// An existing container: its directory is open.
#[derive(Debug)]
pub struct Container {
    id: String,
    path: PathBuf,
    root: OwnedFd,
    directory: OwnedFd,
    outlives_boot: bool,
    boot_id: OnceLock<String>,
}

/// A container being made: dropped without [`Reserved::keep`], it is removed.
#[derive(Debug)]
pub struct Reserved {
    container: Option<Container>,
    locked: bool,
}

/// The lock of a container; released when dropped.
#[derive(Debug)]
pub struct Guard<'a> {
    directory: BorrowedFd<'a>,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let _ = parent::flock(self.directory.as_raw_fd(), libc::LOCK_UN);
    }
}

impl Reserved {
    /// mkdir, open, lock, and a look whether somebody was faster: `delete --force` may take a directory without record
    /// for a dead creator's and remove it before it is locked here, and another `create` may then make it anew.
    pub(super) fn take(root: &StateRoot, id: &str) -> Result<Self> {
        let name = file_name(id)?;
        match raw::mkdirat(root.descriptor(), &name, 0o700) {
            Ok(_) => {}
            Err(libc::EEXIST) => return Err(exists(id)),
            Err(errno) => {
                return Err(Error::refused(format!(
                    "cannot make the directory of container \"{id}\" in {}",
                    root.path().display()
                ))
                .call("mkdir", errno));
            }
        }
        let container = match Container::open(root, id) {
            Err(error) if error.kind == Kind::NotFound => return Err(deleted_meanwhile(id)),
            other => other?,
        };
        if let Err(error) = container.wait_for_lock() {
            // Ours is empty; somebody else's is not, and stays.
            let _ = raw::unlinkat(root.descriptor(), &name, libc::AT_REMOVEDIR);
            return Err(error);
        }
        let reserved = Reserved { container: Some(container), locked: true };
        let container = reserved.container();
        if container.is_gone()? {
            reserved.forget();
            return Err(deleted_meanwhile(id));
        }
        match raw::faccessat2(container.directory.as_raw_fd(), RECORD, libc::F_OK, 0) {
            Err(libc::ENOENT) => {}
            Ok(_) => {
                reserved.forget();
                return Err(exists(id));
            }
            Err(errno) => {
                // No answer: it goes if it is empty, as ours is.
                let _ = raw::unlinkat(root.descriptor(), &name, libc::AT_REMOVEDIR);
                let error = container.failed("look for the record", "faccessat2")(errno);
                reserved.forget();
                return Err(error);
            }
        }
        Ok(reserved)
    }

    fn container(&self) -> &Container {
        // Only `keep`, `forget` and `drop` take it out, and they consume.
        self.container.as_ref().expect("a reservation holds its container")
    }

    /// Somebody else's: nothing is removed.
    fn forget(mut self) {
        self.container = None;
    }

    /// Replaces the record. The first one ends the lock: from then on the record itself protects the container.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn write_record(&mut self, record: &Record) -> Result<()> {
        self.container().write_record(record)?;
        if std::mem::take(&mut self.locked) {
            let _ = parent::flock(self.container().directory.as_raw_fd(), libc::LOCK_UN);
        }
        Ok(())
    }

    /// The container stays.
    pub fn keep(mut self) -> Container {
        self.container.take().expect("a reservation holds its container")
    }
}

impl std::ops::Deref for Reserved {
    type Target = Container;

    fn deref(&self) -> &Container {
        self.container()
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let Some(container) = self.container.take() else { return };
        // Without the lock the name may be somebody else's by now, so then nothing is touched.
        if self.locked || container.wait_for_lock().is_ok_and(|()| container.is_gone() == Ok(false)) {
            let _ = container.clear();
            let _ = parent::flock(container.directory.as_raw_fd(), libc::LOCK_UN);
        }
    }
}

impl Container {
    pub(super) fn open(root: &StateRoot, id: &str) -> Result<Self> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let directory = match open(root.descriptor(), &file_name(id)?, flags, 0) {
            Ok(directory) => directory,
            Err(libc::ENOENT) => return Err(missing(id)),
            Err(errno) => return Err(Error::refused(format!("cannot open container \"{id}\"")).call("open", errno)),
        };
        Ok(Container {
            id: id.to_owned(),
            path: root.path().join(id),
            root: root.duplicate()?,
            directory,
            outlives_boot: root.outlives_boot(),
            boot_id: OnceLock::new(),
        })
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Absolute path of its directory, for mounts and messages; files in it are opened by [`Container::directory`].
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Its open directory.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    fn failed(&self, what: &str, call: &'static str) -> impl Fn(i32) -> Error {
        let text = format!("cannot {what} of container \"{}\"", self.id);
        move |errno| Error::refused(text.clone()).call(call, errno)
    }

    /// Locks it against other changes of state; waits up to ten seconds.
    ///
    /// # Errors
    /// `Kind::NotFound` when it was deleted meanwhile, `Kind::Refused` when somebody keeps the lock.
    pub fn lock(&self) -> Result<Guard<'_>> {
        self.wait_for_lock()?;
        let guard = Guard { directory: self.directory.as_fd() };
        if self.is_gone()? { Err(missing(&self.id)) } else { Ok(guard) }
    }

    fn wait_for_lock(&self) -> Result<()> {
        let mut deadline = None;
        loop {
            match parent::flock(self.directory.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) {
                Ok(_) => return Ok(()),
                Err(libc::EINTR) => {}
                Err(libc::EWOULDBLOCK) => {
                    let deadline = *deadline.get_or_insert_with(|| Instant::now() + PATIENCE);
                    if Instant::now() >= deadline {
                        return Err(Error::refused(format!("container \"{}\" is busy", self.id))
                            .hint("another kiste has kept its lock for ten seconds"));
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(errno) => return Err(self.failed("take the lock", "flock")(errno)),
            }
        }
    }

    /// Whether the directory has been removed since it was opened.
    fn is_gone(&self) -> Result<bool> {
        let stat = raw::statx(self.directory.as_raw_fd(), c"", libc::AT_EMPTY_PATH)
            .map_err(self.failed("check the directory", "statx"))?;
        Ok(stat.stx_nlink == 0)
    }

    /// The record, if one was written.
    ///
    /// # Errors
    /// When it can't be read or is damaged.
    pub fn record_if_any(&self) -> Result<Option<Record>> {
        match self.read(RECORD, "read the record", record::LONGEST)? {
            Some(bytes) => Record::from_bytes(&self.id, &bytes).map(Some),
            None => Ok(None),
        }
    }

    /// The record.
    ///
    /// # Errors
    /// `Kind::NotFound` when the container was deleted meanwhile or never got that far, `Kind::Refused` when it is
    /// damaged.
    pub fn record(&self) -> Result<Record> {
        match self.record_if_any()? {
            Some(record) => Ok(record),
            None if self.is_gone()? => Err(missing(&self.id)),
            None => Err(missing(&self.id).hint("its making was not finished; `delete --force` removes what is left")),
        }
    }

    /// Replaces the record: open, write, close, rename.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn write_record(&self, record: &Record) -> Result<()> {
        let bytes = if self.outlives_boot && record.boot_id.is_none() {
            Record { boot_id: Some(self.boot_id()?), ..record.clone() }.to_bytes()?
        } else {
            record.to_bytes()?
        };
        self.write(NEW_RECORD, &bytes, "write the record")?;
        parent::rename_in(self.directory.as_raw_fd(), NEW_RECORD, RECORD)
            .map(drop)
            .map_err(self.failed("replace the record", "rename"))
    }

    /// Read once, however many records are written.
    fn boot_id(&self) -> Result<String> {
        match self.boot_id.get() {
            Some(boot_id) => Ok(boot_id.clone()),
            None => super::boot_id().map(|boot_id| self.boot_id.get_or_init(|| boot_id).clone()),
        }
    }

    /// Stores the configuration.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn store_config(&self, config: &[u8]) -> Result<()> {
        self.write(CONFIG, config, "store the configuration")
    }

    /// The stored configuration.
    ///
    /// # Errors
    /// When there is none or it can't be read.
    pub fn load_config(&self) -> Result<Vec<u8>> {
        self.read(CONFIG, "read the configuration", LONGEST_CONFIG)?
            .ok_or_else(|| self.failed("read the configuration", "open")(libc::ENOENT))
    }

    fn write(&self, name: &CStr, bytes: &[u8], what: &str) -> Result<()> {
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_NOFOLLOW;
        let file = open(self.directory.as_raw_fd(), name, flags, 0o600).map_err(self.failed(what, "open"))?;
        let mut rest = bytes;
        while !rest.is_empty() {
            match raw::write(file.as_raw_fd(), rest) {
                Ok(length) => rest = &rest[length..],
                Err(libc::EINTR) => {}
                Err(errno) => return Err(self.failed(what, "write")(errno)),
            }
        }
        Ok(())
    }

    fn read(&self, name: &CStr, what: &str, longest: usize) -> Result<Option<Vec<u8>>> {
        use std::io::Read;
        let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = match open(self.directory.as_raw_fd(), name, flags, 0) {
            Ok(file) => file,
            Err(libc::ENOENT) => return Ok(None),
            Err(errno) => return Err(self.failed(what, "open")(errno)),
        };
        let mut bytes = Vec::with_capacity(4096);
        std::fs::File::from(file).take(longest as u64 + 1).read_to_end(&mut bytes).map_err(|error| {
            Error::refused(format!("cannot {what} of container \"{}\"", self.id)).io("read", &error)
        })?;
        if bytes.len() > longest {
            return Err(Error::refused(format!(
                "cannot {what} of container \"{}\": it is longer than {longest} bytes",
                self.id
            )));
        }
        Ok(Some(bytes))
    }

    /// Where the container is in its life, from the record, the live processes and the gate. `paused` is asked last
    /// and only of a running one.
    ///
    /// # Errors
    /// When /proc can't be read.
    pub fn status(&self, record: &Record, paused: impl FnOnce() -> bool) -> Result<Status> {
        if record.phase == Phase::Creating {
            return Ok(if record.is_being_made()? { Status::Creating } else { Status::Stopped });
        }
        if record.live_init()?.is_none() {
            return Ok(Status::Stopped);
        }
        if self.has_gate()? {
            return Ok(Status::Created);
        }
        Ok(if paused() { Status::Paused } else { Status::Running })
    }

    /// Removes the directory. The caller holds the lock, and has ended the processes by a record that it read before it
    /// had the lock: so the record is looked at once more.
    ///
    /// # Errors
    /// `Kind::Refused` when the container is being made, or its first process lives: somebody was faster, begin again.
    /// Or when something can't be removed.
    pub fn remove(&self) -> Result<()> {
        let busy = |why: &str| Err(Error::refused(format!("container \"{}\" cannot be removed: {why}", self.id)));
        // One that can't be read tells nothing, and would otherwise be there for ever.
        if let Ok(Some(record)) = self.record_if_any() {
            if record.is_being_made()? {
                return busy("it is being created");
            }
            if record.live_init()?.is_some() {
                return busy("its first process still runs");
            }
        }
        self.clear()
    }

    /// Removes the directory with all that is in it, record last, so that a removal cut short can be done again. Nothing
    /// is followed and no mount is entered.
    fn clear(&self) -> Result<()> {
        let failed = self.failed("remove the directory", "unlink");
        empty(&self.directory, 0).map_err(&failed)?;
        unlink(self.directory.as_raw_fd(), RECORD, 0).map_err(&failed)?;
        unlink(self.root.as_raw_fd(), &file_name(&self.id)?, libc::AT_REMOVEDIR)
            .map_err(self.failed("remove the directory", "rmdir"))
    }
}

/// How deep a container's directory may be: notify/socket needs 1.
const DEEPEST: usize = 4;

/// Unlinks everything but the record.
fn empty(directory: &OwnedFd, depth: usize) -> Result<(), i32> {
    for entry in names(directory)? {
        if depth == 0 && entry.name.as_c_str() == RECORD {
            continue;
        }
        if entry.is_directory {
            if depth == DEEPEST {
                return Err(libc::ENOTEMPTY);
            }
            let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
            // A mount point is refused here (EXDEV), not emptied.
            match crate::kernel::owned::open_how(directory.as_raw_fd(), &entry.name, flags, 0, libc::RESOLVE_NO_XDEV) {
                Ok(inner) => empty(&inner, depth + 1)?,
                Err(libc::ENOENT) => continue,
                Err(errno) => return Err(errno),
            }
            unlink(directory.as_raw_fd(), &entry.name, libc::AT_REMOVEDIR)?;
        } else {
            unlink(directory.as_raw_fd(), &entry.name, 0)?;
        }
    }
    Ok(())
}

fn unlink(directory: i32, name: &CStr, flags: i32) -> Result<(), i32> {
    match raw::unlinkat(directory, name, flags) {
        Ok(_) | Err(libc::ENOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// A name in a directory.
pub(super) struct Entry {
    pub(super) name: CString,
    pub(super) is_directory: bool,
}

/// All names in a directory, without `.` and `..`.
pub(super) fn names(directory: &OwnedFd) -> Result<Vec<Entry>, i32> {
    raw::rewind(directory.as_raw_fd())?;
    let mut entries = Vec::new();
    let mut buffer = vec![0u8; 8192];
    loop {
        let length = raw::getdents64(directory.as_raw_fd(), &mut buffer)?;
        if length == 0 {
            return Ok(entries);
        }
        let mut rest = &buffer[..length];
        // struct linux_dirent64 (getdents(2)): inode 8 bytes, offset 8, length 2, type 1, name.
        while rest.len() > 19 {
            let size = usize::from(u16::from_ne_bytes([rest[16], rest[17]]));
            if size <= 19 || size > rest.len() {
                return Err(libc::EIO);
            }
            let name = CStr::from_bytes_until_nul(&rest[19..size]).map_err(|_| libc::EIO)?;
            if name != c"." && name != c".." {
                entries.push(Entry { name: name.to_owned(), is_directory: rest[18] == libc::DT_DIR });
            }
            rest = &rest[size..];
        }
    }
}

fn file_name(id: &str) -> Result<CString> {
    c_string(id).map_err(|_| Error::input("a container ID holds no NUL"))
}

fn exists(id: &str) -> Error {
    Error::new(Kind::Exists, format!("container with given ID already exists: {id}"))
}

fn missing(id: &str) -> Error {
    Error::new(Kind::NotFound, format!("container \"{id}\" does not exist"))
}

fn deleted_meanwhile(id: &str) -> Error {
    Error::refused(format!("container \"{id}\" was deleted while it was being created"))
}
