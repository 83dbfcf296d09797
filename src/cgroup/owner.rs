//! Whose a group is. Two containers of one name in two roots, or of one `cgroupsPath`, would share a group: the limits of one
//! would be the other's, and the end of one would kill the other. So the first hierarchy's directory is marked with the
//! container's directory of state before anything is written, which one runtime alone can do (`XATTR_CREATE`, setxattr(2));
//! the mark goes with the group.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::files::Failure;
use crate::kernel::owned::c_string;
use crate::kernel::xattr;

/// An attribute of the `user` kind, which the group's owner may set (Linux 5.7).
const MARK: &std::ffi::CStr = c"user.kiste";

/// The longest mark read, in bytes: longer than any path.
const LONGEST: usize = 4096;

/// Takes a group for a container; one that is marked with it already is left from a crash, and its own.
pub(super) fn claim(directory: &Path, owner: &Path) -> Result<(), Failure> {
    let failed = |errno| Failure::new(format!("cannot mark cgroup {}", directory.display()), "setxattr", errno);
    let path = c_string(directory.as_os_str().as_bytes()).map_err(failed)?;
    match xattr::create_attribute(&path, MARK, owner.as_os_str().as_bytes()) {
        Ok(_) => Ok(()),
        Err(libc::EEXIST) => match of(directory) {
            Some(found) if found == owner.as_os_str().as_bytes() => Ok(()),
            found => Err(taken(directory, &found.unwrap_or_default())),
        },
        Err(errno) => Err(failed(errno)),
    }
}

/// The mark of a group.
pub(super) fn of(directory: &Path) -> Option<Vec<u8>> {
    let path = c_string(directory.as_os_str().as_bytes()).ok()?;
    let mut value = vec![0; LONGEST];
    let length = xattr::attribute(&path, MARK, &mut value).ok()?;
    value.truncate(length);
    Some(value)
}

/// Takes the mark back from a group that stays.
pub(super) fn release(directory: &Path) {
    if let Ok(path) = c_string(directory.as_os_str().as_bytes()) {
        let _ = xattr::remove_attribute(&path, MARK);
    }
}

/// The sentence of the second container.
pub(super) fn taken(directory: &Path, owner: &[u8]) -> Failure {
    let owner = String::from_utf8_lossy(owner);
    let what = format!("cgroup {} belongs to the container in {}", directory.display(), owner.escape_debug());
    let hint = "delete that container, or give this one another cgroupsPath";
    Failure { hint: Some(hint.into()), ..Failure::new(what, "", libc::EBUSY) }
}
