//! The directory of images: whom it is trusted from, and the two files kiste adds to CRIU's: `kiste.json` with what
//! restore must know of the container's mounts and namespaces, and `descriptors.json` with what the first process had on
//! 0, 1 and 2, as runc writes it.

use std::fs::{DirBuilder, File};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::mount_table::External;
use crate::error::{Error, Result};
use crate::kernel::abi::{AT_EMPTY_PATH, MOUNT_ATTR_IDMAP, MountAttr, OPEN_TREE_CLOEXEC, OPEN_TREE_CLONE};
use crate::kernel::owned::{c_string, open, own};
use crate::kernel::raw;

const MANIFEST: &str = "kiste.json";
const DESCRIPTORS: &str = "descriptors.json";
/// The longest of these files that is read, in bytes (INV-20).
const LONGEST: u64 = 16 << 20;
/// The version of the manifest this kiste writes, and the only one it reads.
const VERSION: u32 = 1;

/// An open directory of images.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    pub(super) descriptor: OwnedFd,
}

/// What restore must know beside CRIU's images.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    /// [`VERSION`].
    pub version: u32,
    /// Mounts from outside.
    pub mounts: Vec<External>,
    /// Mount points in the root's own file system.
    pub places: Vec<Place>,
    /// Files of the host that were given to the container.
    pub files: Vec<Given>,
    /// Namespaces that were joined, by the names they have in /proc.
    pub namespaces: Vec<String>,
}

/// An open file of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Given {
    /// CRIU's name for it: `file[MOUNT:INODE]`.
    pub key: String,
    /// Which of 0, 1 and 2 it was; of another only the host's /dev/null is known.
    pub standard: Option<usize>,
}

/// A mount point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    /// Its path from the root.
    pub at: String,
    /// It is a directory.
    pub directory: bool,
}

impl Directory {
    /// Makes the directory for a checkpoint, for its owner alone, or opens it if it is there: memory holds secrets.
    pub(super) fn make(path: &Path) -> Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| {
            Error::refused(format!("cannot make the directory {}", path.display())).io("mkdir", &error)
        })?;
        Self::open(path)
    }

    /// Opens a directory.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let failed = |error: std::io::Error| {
            Error::refused(format!("cannot open the directory {}", path.display())).io("open", &error)
        };
        let path = std::path::absolute(path).map_err(failed)?;
        let file = File::options().read(true).custom_flags(libc::O_DIRECTORY).open(&path).map_err(|error| {
            Error::refused(format!("cannot open the directory {}", path.display())).io("open", &error)
        })?;
        Ok(Directory { path, descriptor: file.into() })
    }

    /// The same directory for processes of a user namespace: an idmapped mount (mount_setattr(2)) on the stage of a restore
    /// makes what is root's theirs.
    pub(super) fn as_seen_by(&self, namespace: &OwnedFd, stage: &Path) -> Result<Self> {
        let failed = |call: &'static str| {
            let what = format!("cannot show {} to the container's user namespace", self.path.display());
            move |errno| {
                Error::refused(what)
                    .call(call, errno)
                    .hint("the images must lie on a file system that has idmapped mounts")
            }
        };
        let flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH as u32;
        let tree = raw::open_tree(self.descriptor.as_raw_fd(), c"", flags).map(own).map_err(failed("open_tree"))?;
        let map =
            MountAttr { attr_set: MOUNT_ATTR_IDMAP, userns_fd: namespace.as_raw_fd() as u64, ..MountAttr::default() };
        raw::mount_setattr(tree.as_raw_fd(), c"", AT_EMPTY_PATH as u32, &map).map_err(failed("mount_setattr"))?;
        let place = stage.join("images");
        let name = c_string(place.as_os_str().as_encoded_bytes()).map_err(failed("mkdir"))?;
        raw::mkdirat(libc::AT_FDCWD, &name, 0o700).map_err(failed("mkdir"))?;
        let target = open(libc::AT_FDCWD, &name, libc::O_PATH, 0).map_err(failed("open"))?;
        raw::move_mount(tree.as_raw_fd(), target.as_raw_fd()).map_err(failed("move_mount"))?;
        let descriptor = open(libc::AT_FDCWD, &name, libc::O_RDONLY | libc::O_DIRECTORY, 0).map_err(failed("open"))?;
        Ok(Directory { path: self.path.clone(), descriptor })
    }

    /// Its path, absolute.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A directory others can write to is not restored from: what is in it becomes processes with any right.
    pub(super) fn trust(&self) -> Result<()> {
        let failed =
            |error: std::io::Error| Error::refused(format!("cannot check {}", self.path.display())).io("stat", &error);
        let data = std::fs::metadata(&self.path).map_err(failed)?;
        let euid = nix::unistd::geteuid().as_raw();
        let what = if data.uid() != euid && data.uid() != 0 {
            format!("belongs to user {}", data.uid())
        } else if data.mode() & 0o022 != 0 {
            format!("may be written to by others (mode {:04o})", data.mode() & 0o7777)
        } else {
            return Ok(());
        };
        Err(Error::refused(format!("the checkpoint {} {what}", self.path.display()))
            .hint("its images become processes with all the rights they say they have: only root's are restored"))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path.join(name);
        let failed = |call: &'static str| {
            let what = format!("cannot write {}", path.display());
            move |error: std::io::Error| Error::refused(what).io(call, &error)
        };
        let mut options = File::options();
        let options = options.write(true).create(true).truncate(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let mut file = options.open(&path).map_err(failed("open"))?;
        file.write_all(bytes).map_err(failed("write"))
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.path.join(name);
        let failed = |call: &'static str| {
            let what = format!("cannot read {}", path.display());
            move |error: std::io::Error| Error::refused(what).io(call, &error)
        };
        let mut options = File::options();
        let file = match options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(failed("open"))?,
        };
        let mut bytes = Vec::new();
        file.take(LONGEST).read_to_end(&mut bytes).map_err(failed("read"))?;
        Ok(Some(bytes))
    }

    /// Writes the manifest and the names of the first process's descriptors.
    pub(super) fn write_manifest(&self, manifest: &Manifest, descriptors: &[String]) -> Result<()> {
        let manifest = Manifest { version: VERSION, ..manifest.clone() };
        let bytes = |value: serde_json::Result<Vec<u8>>| {
            value.map_err(|error| Error::refused(format!("the checkpoint's manifest can't be written: {error}")))
        };
        self.write(MANIFEST, &bytes(serde_json::to_vec(&manifest))?)?;
        self.write(DESCRIPTORS, &bytes(serde_json::to_vec(descriptors))?)
    }

    /// Reads the manifest.
    pub(super) fn manifest(&self) -> Result<Manifest> {
        let Some(bytes) = self.read(MANIFEST)? else {
            return Err(Error::input(format!("{} holds no checkpoint of kiste's", self.path.display()))
                .hint(format!("it has no {MANIFEST}; other runtimes' checkpoints name mounts in other ways")));
        };
        let damaged = |why: String| Error::input(format!("{} is damaged: {why}", self.path.join(MANIFEST).display()));
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if manifest.version != VERSION {
            return Err(damaged(format!("it has version {}, this kiste knows {VERSION}", manifest.version)));
        }
        Ok(manifest)
    }

    /// The names of what the first process had on 0, 1 and 2.
    pub(super) fn descriptors(&self) -> Result<Vec<String>> {
        let bytes = self.read(DESCRIPTORS)?.unwrap_or_else(|| b"[]".to_vec());
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::input(format!("{} is damaged: {error}", self.path.join(DESCRIPTORS).display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_the_owners_own_directory_is_trusted() {
        let path = std::env::temp_dir().join(format!("kiste-images-test-{}", std::process::id()));
        let directory = Directory::make(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o700);
        directory.trust().unwrap();
        assert!(directory.manifest().unwrap_err().to_string().contains("no kiste.json"));
        let place = Place { at: "/proc".into(), directory: true };
        let manifest = Manifest { places: vec![place], namespaces: vec!["net".into()], ..Manifest::default() };
        directory.write_manifest(&manifest, &["/dev/null".into(), "pipe:[7]".into()]).unwrap();
        assert_eq!(directory.manifest().unwrap(), Manifest { version: VERSION, ..manifest });
        assert_eq!(directory.descriptors().unwrap(), ["/dev/null", "pipe:[7]"]);
        for (bytes, words) in [
            (&b"{"[..], "damaged"),
            (b"{\"version\":9,\"mounts\":[],\"places\":[],\"files\":[],\"namespaces\":[]}", "version 9"),
        ] {
            directory.write(MANIFEST, bytes).unwrap();
            let error = directory.manifest().unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o770)).unwrap();
        let error = directory.trust().unwrap_err().to_string();
        std::fs::remove_dir_all(&path).unwrap();
        assert!(error.contains("mode 0770"), "{error}");
    }
}
