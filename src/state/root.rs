//! The root: the directory that holds one directory per container.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::kernel::owned::{c_string, open};
use crate::kernel::raw;

use super::directory::{Container, Reserved, names};
use super::id::check_id;

/// `TMPFS_MAGIC` of statfs(2): what lies there does not outlive a boot.
const TMPFS: i64 = 0x0102_1994;

/// An open root directory, verified: ours, and nobody else may write there.
#[derive(Debug)]
pub struct StateRoot {
    directory: OwnedFd,
    path: PathBuf,
    outlives_boot: bool,
}

/// Where the root is when nobody says: `/run/kiste` for root, `$XDG_RUNTIME_DIR/kiste` for others (an absolute path,
/// else it is not used), `/tmp/kiste-UID` if there is none.
pub fn default_root(euid: u32, runtime_directory: Option<&Path>) -> PathBuf {
    match runtime_directory {
        _ if euid == 0 => PathBuf::from("/run/kiste"),
        Some(directory) if directory.is_absolute() => directory.join("kiste"),
        _ => PathBuf::from(format!("/tmp/kiste-{euid}")),
    }
}

impl StateRoot {
    /// Opens the root, and makes it (mode 0700, with missing parents) if it is missing.
    ///
    /// Root without a user namespace of its own and rootless in one both have euid 0; in the second, /run/kiste can't be
    /// made, and the path of `$XDG_RUNTIME_DIR` is taken.
    ///
    /// # Errors
    /// `Kind::Refused` when it can't be made or opened, is no directory, a symlink, another user's, or writable for others.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        if let Some(path) = path {
            return Self::open_at(path);
        }
        let euid = nix::unistd::geteuid().as_raw();
        let runtime_directory = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let runtime_directory = runtime_directory.as_deref().filter(|path| path.is_absolute());
        match (Self::open_at(&default_root(euid, runtime_directory)), runtime_directory) {
            (Err(error), Some(directory))
                if euid == 0 && matches!(error.errno, Some(libc::EACCES | libc::EPERM | libc::EROFS)) =>
            {
                Self::open_at(&directory.join("kiste"))
            }
            (result, _) => result,
        }
    }

    fn open_at(path: &Path) -> Result<Self> {
        let shown = path.display();
        let failed = |call: &'static str, errno: i32| {
            Error::refused(format!("cannot open the root directory {shown}")).call(call, errno)
        };
        let path = std::path::absolute(path)
            .map_err(|error| Error::input(format!("the root directory \"{shown}\" is no path")).io("getcwd", &error))?;
        let name = c_string(path.as_os_str().as_bytes()).map_err(|errno| failed("open", errno))?;
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let directory = match open(libc::AT_FDCWD, &name, flags, 0) {
            Err(libc::ENOENT) => {
                make(&path)?;
                open(libc::AT_FDCWD, &name, flags, 0)
            }
            other => other,
        };
        let directory = directory.map_err(|errno| match errno {
            // O_DIRECTORY with O_NOFOLLOW gives ENOTDIR for a symlink, too.
            libc::ENOTDIR | libc::ELOOP => failed("open", errno).hint("it must be a directory and no symbolic link"),
            _ => failed("open", errno),
        })?;
        verify(&directory, &path)?;
        let magic = raw::file_system_magic(directory.as_raw_fd()).map_err(|errno| failed("fstatfs", errno))?;
        Ok(StateRoot { directory, path, outlives_boot: magic != TMPFS })
    }

    /// The absolute path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether records here may be of an earlier boot and so must name theirs.
    pub fn outlives_boot(&self) -> bool {
        self.outlives_boot
    }

    /// Takes the id: makes its directory, which one caller alone can.
    ///
    /// # Errors
    /// `Kind::Input` for a wrong id, `Kind::Exists` when it is in use, `Kind::Refused` otherwise.
    pub fn reserve(&self, id: &str) -> Result<Reserved> {
        check_id(id)?;
        Reserved::take(self, id)
    }

    /// Opens an existing container.
    ///
    /// # Errors
    /// `Kind::Input` for a wrong id, `Kind::NotFound` when there is none.
    pub fn container(&self, id: &str) -> Result<Container> {
        check_id(id)?;
        Container::open(self, id)
    }

    /// All containers by id, each opened when its turn comes: a thousand of them at once are more descriptors than a
    /// process usually may have. One that can't be opened is in the list with its error; one that vanishes meanwhile isn't.
    ///
    /// # Errors
    /// When the root itself can't be read.
    pub fn list(&self) -> Result<impl Iterator<Item = (String, Result<Container>)>> {
        // A file position of its own, so that lists don't disturb each other.
        let failed = |errno| Error::refused(format!("cannot read {}", self.path.display())).call("getdents64", errno);
        let directory = open(self.descriptor(), c".", libc::O_RDONLY | libc::O_DIRECTORY, 0).map_err(failed)?;
        let mut ids: Vec<String> = names(&directory)
            .map_err(failed)?
            .into_iter()
            .filter_map(|entry| String::from_utf8(entry.name.into_bytes()).ok())
            .filter(|name| check_id(name).is_ok())
            .collect();
        ids.sort();
        let opened = ids.into_iter().map(|id| {
            let container = Container::open(self, &id);
            (id, container)
        });
        Ok(opened.filter(|(_, result)| !matches!(result, Err(error) if error.kind == Kind::NotFound)))
    }

    pub(super) fn descriptor(&self) -> i32 {
        self.directory.as_raw_fd()
    }

    pub(super) fn duplicate(&self) -> Result<OwnedFd> {
        self.directory
            .try_clone()
            .map_err(|error| Error::refused("cannot duplicate the root's descriptor").io("fcntl", &error))
    }
}

/// Makes the directory and its missing parents.
fn make(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| {
        Error::refused(format!("cannot make the root directory {}", path.display())).io("mkdir", &error)
    })
}

/// Ours, and writable for nobody else, or records of processes and cgroups to kill and remove could be planted; nor may
/// everybody rename it away in its parent. runc makes its root with mode 0711 (rootless 0700 and sticky, against cleaners of
/// $XDG_RUNTIME_DIR), crun with 0700; neither looks at one that is there.
fn verify(directory: &OwnedFd, path: &Path) -> Result<()> {
    let stat = |name, flags| {
        raw::statx(directory.as_raw_fd(), name, flags)
            .map_err(|errno| Error::refused(format!("cannot check {}", path.display())).call("statx", errno))
    };
    let shown = path.display();
    let refused =
        |why: String, hint: String| Err(Error::refused(format!("the root directory {shown} {why}")).hint(hint));
    let own = stat(c"", libc::AT_EMPTY_PATH)?;
    let euid = nix::unistd::geteuid().as_raw();
    if own.stx_uid != euid {
        let why = format!("belongs to user {}, not to {euid}", own.stx_uid);
        return refused(why, "a --root DIR that does not exist is made with the right owner and mode".to_owned());
    }
    // The sticky bit does not help: a directory that another made here would be taken for a container. The caller's own
    // group may write: where umask is 002, it is a group of the caller alone.
    let foreign = own.stx_gid != nix::unistd::getegid().as_raw();
    for (bit, who, matters) in [(0o002, "everybody", true), (0o020, "its group", foreign)] {
        if matters && own.stx_mode & bit != 0 {
            let why = format!("is writable for {who} (mode {:04o})", own.stx_mode & 0o7777);
            return refused(why, format!("chmod go-w {shown}"));
        }
    }
    let parent = stat(c"..", 0)?;
    if parent.stx_mode & 0o1002 == 0o002 {
        let why = "lies in a directory that everybody may write and that has no sticky bit";
        return refused(why.to_owned(), "anybody could put another in its place: choose one elsewhere".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::Scratch;
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn defaults() {
        let path = |euid, directory: Option<&str>| default_root(euid, directory.map(Path::new));
        assert_eq!(path(0, Some("/run/user/0")), Path::new("/run/kiste"));
        assert_eq!(path(7, Some("/run/user/7")), Path::new("/run/user/7/kiste"));
        assert_eq!(path(7, Some("run")), Path::new("/tmp/kiste-7"));
        assert_eq!(path(7, None), Path::new("/tmp/kiste-7"));
    }

    #[test]
    fn a_root_is_made_private_and_bad_ones_are_refused() {
        let scratch = Scratch::new();
        let path = scratch.path().join("a/b");
        let root = StateRoot::open(Some(&path)).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o700);
        assert_eq!(root.path(), path);
        assert!(root.list().unwrap().next().is_none());

        // Mode 0770 and the caller's own group, as umask 002 makes it.
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o770)).unwrap();
        StateRoot::open(Some(&path)).unwrap();
        let mut bad = vec![(0o757, "everybody"), (0o1777, "everybody")];
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(&path, None, Some(4242)).unwrap();
            bad.extend([(0o770, "its group"), (0o1775, "its group")]);
        }
        for (mode, who) in bad {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            let text = StateRoot::open(Some(&path)).unwrap_err().to_string();
            assert!(text.contains(&format!("is writable for {who} (mode {mode:04o}) (chmod go-w /")), "{text}");
        }
        // As runc makes it.
        for mode in [0o711, 0o1700, 0o755] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            StateRoot::open(Some(&path)).unwrap();
        }
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
        std::fs::set_permissions(path.parent().unwrap(), PermissionsExt::from_mode(0o777)).unwrap();
        assert!(StateRoot::open(Some(&path)).unwrap_err().to_string().contains("sticky"));
        std::fs::set_permissions(path.parent().unwrap(), PermissionsExt::from_mode(0o1777)).unwrap();
        StateRoot::open(Some(&path)).unwrap();

        let link = scratch.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(StateRoot::open(Some(&link)).unwrap_err().to_string().contains("symbolic link"));
        let file = scratch.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(StateRoot::open(Some(&file)).is_err());
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(4242), None).unwrap();
            let text = StateRoot::open(Some(&path)).unwrap_err().to_string();
            assert!(text.contains("belongs to user 4242, not to 0 (a --root DIR that does not exist"), "{text}");
        }
    }
}
