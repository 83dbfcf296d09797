//! A mount namespace for CRIU: the new container's root and its sources, each at a place that is a number. CRIU knows
//! mounts by path only, and a path of the host could have changed since it was opened and checked; these can't. Nobody
//! else sees the namespace, and it goes with CRIU.

use std::os::fd::{AsRawFd, OwnedFd};

use super::images::Place;
use super::mount_table::{self, External, Mount, Source, is_below};
use crate::error::{Error, Result};
use crate::kernel::abi::{AT_EMPTY_PATH, OPEN_TREE_CLOEXEC, OPEN_TREE_CLONE};
use crate::kernel::owned::{c_string, open, open_how, own};
use crate::kernel::raw;

/// A source of the new container's mounts, as its plan has it: opened, and with its attributes.
#[derive(Debug)]
pub struct Tree {
    /// Where the configuration wants it, below the root.
    pub path: String,
    /// A detached tree.
    pub tree: OwnedFd,
}

/// What CRIU is given.
#[derive(Debug)]
pub(super) struct Stage {
    /// The root's path.
    pub root: String,
    /// The path of each external mount.
    pub sources: Vec<String>,
    /// The same as the kernel shows them.
    pub mounts: Vec<Mount>,
}

/// Runs `work` in a mount namespace of its own, and comes back.
///
/// # Errors
/// Those of `work`; when the namespace can't be made or left.
pub(super) fn aside<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let failed = |call: &'static str| {
        move |errno| Error::refused("cannot make a mount namespace to restore from").call(call, errno)
    };
    let before = open(libc::AT_FDCWD, c"/proc/self/ns/mnt", libc::O_RDONLY, 0).map_err(failed("open"))?;
    let directory = open(libc::AT_FDCWD, c".", libc::O_PATH | libc::O_DIRECTORY, 0).map_err(failed("open"))?;
    raw::unshare(libc::CLONE_NEWNS as u64).map_err(failed("unshare"))?;
    let slave = libc::MS_SLAVE | libc::MS_REC;
    let result = raw::mount(None, c"/", None, slave, None).map_err(failed("mount")).and_then(|_| work());
    raw::setns(before.as_raw_fd(), libc::CLONE_NEWNS as u64)
        .and_then(|_| raw::fchdir(directory.as_raw_fd()))
        .map_err(|errno| Error::refused("cannot come back from the mount namespace").call("setns", errno))?;
    result
}

/// Puts root and sources on a tmpfs over `place`, a directory of kiste's own. `places` are the mount points the root must
/// have.
///
/// # Errors
/// A mount the configuration does not have, or a mount point that can't be made in the root.
pub(super) fn stage(
    place: &std::path::Path,
    root: &OwnedFd,
    trees: &[Tree],
    externals: &[External],
    places: &[Place],
) -> Result<Stage> {
    let shown = place.display().to_string();
    let failed = |call: &'static str| {
        let what = format!("cannot mount what is to be restored at {shown}");
        move |errno| Error::refused(what).call(call, errno)
    };
    let target = c_string(place.as_os_str().as_encoded_bytes()).map_err(failed("mount"))?;
    // The container's root may be a user of no rights here, and must get through to its mounts.
    let mode = Some(c"mode=0711");
    raw::mount(Some(c"kiste"), &target, Some(c"tmpfs"), 0, mode).map_err(failed("mount"))?;
    raw::mount(None, &target, None, libc::MS_PRIVATE, None).map_err(failed("mount"))?;
    let stage = open(libc::AT_FDCWD, &target, libc::O_PATH | libc::O_DIRECTORY, 0).map_err(failed("open"))?;
    attach(&stage, "root", root).map_err(failed("move_mount"))?;
    let directory = |tree: &OwnedFd| kind(tree) == libc::S_IFDIR;
    for place in places {
        // A source is a file or a directory as it is now; the others are as they were.
        let source = externals.iter().find(|external| external.at == place.at);
        let tree = source.map(|external| source_of(external, trees)).transpose()?;
        make_place(root, &place.at, tree.as_ref().map_or(place.directory, directory))?;
    }
    let mut sources = Vec::new();
    for (number, external) in externals.iter().enumerate() {
        let tree = source_of(external, trees)?;
        attach(&stage, &number.to_string(), &tree).map_err(failed("move_mount"))?;
        sources.push(format!("{shown}/{number}"));
    }
    let table = mount_table::read("self")?;
    let shown_at = |path: &String| table.iter().rev().find(|mount| mount.at == *path).cloned();
    let mounts: Option<Vec<Mount>> = sources.iter().map(shown_at).collect();
    let mounts = mounts.ok_or_else(|| failed("read")(libc::ENOENT))?;
    let mut wide = Vec::new();
    for (path, mount) in sources.iter_mut().zip(&mounts) {
        if let Some(place) = master_of(mount, &table, &stage, &shown, &mut wide).map_err(failed("move_mount"))? {
            *path = place;
        }
    }
    Ok(Stage { root: format!("{shown}/root"), sources, mounts })
}

/// The path of a source that is a slave of the host's mount. CRIU takes the group from the mount in which the path lies,
/// and wants it to have all mounts of the group below its root: so it gets the whole mount, and the path in it. That is a
/// path again, and what it leads to is compared afterwards.
fn master_of(
    mount: &Mount,
    table: &[Mount],
    stage: &OwnedFd,
    shown: &str,
    wide: &mut Vec<(u64, String)>,
) -> Result<Option<String>, i32> {
    let whole = table
        .iter()
        .filter(|host| host.master == mount.master && host.device == mount.device && is_below(&mount.root, &host.root))
        .filter(|host| !host.at.starts_with(shown))
        .min_by_key(|host| host.root.len());
    let (Some(_), Some(whole)) = (mount.master, whole) else { return Ok(None) };
    if !wide.iter().any(|(id, _)| *id == whole.id) {
        let name = format!("group-{}", wide.len());
        let tree = raw::open_tree(libc::AT_FDCWD, &c_string(whole.at.as_str())?, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)?;
        attach(stage, &name, &own(tree))?;
        wide.push((whole.id, format!("{shown}/{name}")));
    }
    let place = wide.iter().find(|(id, _)| *id == whole.id).map(|(_, place)| place);
    let below = mount.root.strip_prefix(whole.root.trim_end_matches('/')).unwrap_or_default();
    Ok(place.map(|place| format!("{place}{below}")))
}

fn kind(file: &OwnedFd) -> u32 {
    raw::statx(file.as_raw_fd(), c"", AT_EMPTY_PATH).map_or(0, |stat| u32::from(stat.stx_mode) & libc::S_IFMT)
}

/// Makes a place on the stage and puts the tree there.
fn attach(stage: &OwnedFd, name: &str, tree: &OwnedFd) -> Result<(), i32> {
    let name = c_string(name)?;
    if kind(tree) == libc::S_IFDIR {
        raw::mkdirat(stage.as_raw_fd(), &name, 0o700)?;
    } else {
        raw::mknodat(stage.as_raw_fd(), &name, libc::S_IFREG | 0o600, 0)?;
    }
    let place = open(stage.as_raw_fd(), &name, libc::O_PATH | libc::O_NOFOLLOW, 0)?;
    raw::move_mount(tree.as_raw_fd(), place.as_raw_fd()).map(drop)
}

/// A copy of the source of a mount, from the trees that the new configuration gives.
fn source_of(external: &External, trees: &[Tree]) -> Result<OwnedFd> {
    let at = &external.at;
    let (path, nth, below) = match &external.source {
        Source::Bind { path, nth, below } => (path, *nth, below),
        Source::Null => return null(),
    };
    let Some(tree) = trees.iter().filter(|tree| tree.path == *path).nth(nth) else {
        let what = format!("the checkpoint has a mount at {at} that the configuration lacks: /{path}");
        return Err(Error::input(what).hint("restore from the bundle of the checkpoint, or a copy of it"));
    };
    let failed = |call: &'static str| {
        let what = if below.is_empty() { format!("/{path}") } else { format!("/{path}, at {below}") };
        move |errno| Error::refused(format!("cannot find the source of the mount {what}")).call(call, errno)
    };
    // No link on the way: below a bind, names are the container's to make.
    let resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_SYMLINKS;
    let name = c_string(if below.is_empty() { "." } else { below }).map_err(failed("openat2"))?;
    let clone = |directory: i32, name: &std::ffi::CStr| {
        let flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH as u32;
        raw::open_tree(directory, name, flags).map(own)
    };
    if below.is_empty() {
        return clone_of(&tree.tree).map_err(failed("open_tree"));
    }
    let top = raw::statx(tree.tree.as_raw_fd(), c"", AT_EMPTY_PATH).map_err(failed("statx"))?;
    let inner = open_how(tree.tree.as_raw_fd(), &name, libc::O_PATH, 0, resolve).map_err(failed("openat2"))?;
    let found = raw::statx(inner.as_raw_fd(), c"", AT_EMPTY_PATH).map_err(failed("statx"))?;
    if found.stx_mnt_id == top.stx_mnt_id {
        return Err(failed("statx")(libc::ENOENT).hint("the host has no mount there any more"));
    }
    clone(inner.as_raw_fd(), c"").map_err(failed("open_tree"))
}

fn clone_of(tree: &OwnedFd) -> Result<OwnedFd, i32> {
    tree.try_clone().map_err(|error| error.raw_os_error().unwrap_or(libc::EMFILE))
}

/// The host's /dev/null, and that it is the null device.
fn null() -> Result<OwnedFd> {
    let failed = |errno| Error::refused("cannot take the host's /dev/null").call("open_tree", errno);
    let flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | libc::AT_SYMLINK_NOFOLLOW as u32;
    let tree = raw::open_tree(libc::AT_FDCWD, c"/dev/null", flags).map(own).map_err(failed)?;
    let stat = raw::statx(tree.as_raw_fd(), c"", AT_EMPTY_PATH).map_err(failed)?;
    let is_null = u32::from(stat.stx_mode) & libc::S_IFMT == libc::S_IFCHR
        && (stat.stx_rdev_major, stat.stx_rdev_minor) == (1, 3);
    if is_null { Ok(tree) } else { Err(Error::refused("the host's /dev/null is not the null device")) }
}

/// A mount point in the root, made with its parents where it is missing. At a dump the kernel told it without links, so
/// none is followed: one would lead CRIU elsewhere.
fn make_place(root: &OwnedFd, at: &str, directory: bool) -> Result<()> {
    let failed = |call: &'static str| {
        move |errno| {
            let error = Error::refused(format!("cannot make the mount point {at} in the root")).call(call, errno);
            if errno == libc::ELOOP { error.hint("a symbolic link is on the way that was none before") } else { error }
        }
    };
    let resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_SYMLINKS;
    let mut current = clone_of(root).map_err(failed("open"))?;
    let names: Vec<&str> = at.split('/').filter(|name| !name.is_empty()).collect();
    for (number, name) in names.iter().enumerate() {
        let last = number + 1 == names.len();
        let name = c_string(*name).map_err(failed("openat2"))?;
        let found = open_how(current.as_raw_fd(), &name, libc::O_PATH | libc::O_NOFOLLOW, 0, resolve);
        current = match found {
            Err(libc::ENOENT) => {
                let made = if !last || directory {
                    raw::mkdirat(current.as_raw_fd(), &name, 0o755)
                } else {
                    raw::mknodat(current.as_raw_fd(), &name, libc::S_IFREG | 0o644, 0)
                };
                made.map_err(failed("mkdir"))?;
                open_how(current.as_raw_fd(), &name, libc::O_PATH | libc::O_NOFOLLOW, 0, resolve)
                    .map_err(failed("openat2"))?
            }
            other => other.map_err(failed("openat2"))?,
        };
        if kind(&current) == libc::S_IFLNK {
            return Err(failed("openat2")(libc::ELOOP));
        }
        let wanted_directory = !last || directory;
        if (kind(&current) == libc::S_IFDIR) != wanted_directory {
            return Err(failed("openat2")(if wanted_directory { libc::ENOTDIR } else { libc::EISDIR }));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_made_without_following() {
        let path = std::env::temp_dir().join(format!("kiste-staging-test-{}", std::process::id()));
        std::fs::create_dir_all(path.join("there")).unwrap();
        std::os::unix::fs::symlink("/etc", path.join("link")).unwrap();
        let root = open(libc::AT_FDCWD, &c_string(path.to_str().unwrap()).unwrap(), libc::O_PATH, 0).unwrap();
        make_place(&root, "/there/a b/]", true).unwrap();
        make_place(&root, "/there/file", false).unwrap();
        make_place(&root, "/there/file", false).unwrap();
        let made = (path.join("there/a b/]").is_dir(), path.join("there/file").is_file());
        let link = make_place(&root, "/link/x", true).unwrap_err().to_string();
        let file = make_place(&root, "/there/file", true).unwrap_err().to_string();
        std::fs::remove_dir_all(&path).unwrap();
        assert_eq!(made, (true, true));
        assert!(link.contains("symbolic link"), "{link}");
        assert!(file.contains("not a directory"), "{file}");
    }
}
