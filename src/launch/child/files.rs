//! Paths in the root: found by the kernel's resolver below a descriptor, made component by component, never by a string
//! that starts at `/` (INV-02).

use core::ffi::CStr;

use super::{Child, Done, Naming, fail};
use crate::kernel::{abi, raw};
use crate::plan::operation::{Existing, Missing};
use crate::plan::report::Call;
use crate::plan::{Slot, Text};

/// Longest path the kernel takes (PATH_MAX).
const PATH: usize = 4096;
/// How many dangling links one path may go through, as the kernel's own bound (path_resolution(7)).
const LINKS: usize = 40;

/// A path being walked: a C string in a fixed buffer.
struct Walk {
    buffer: [u8; PATH],
    length: usize,
}

impl Walk {
    fn new(path: &[u8]) -> Option<Self> {
        let mut walk = Walk { buffer: [0; PATH], length: path.len() };
        walk.buffer.get_mut(..path.len()).filter(|_| path.len() < PATH)?.copy_from_slice(path);
        Some(walk)
    }

    /// Runs `work` on the first `end` bytes as a C string.
    fn prefix<T>(&mut self, end: usize, work: impl FnOnce(&CStr) -> T) -> T {
        let saved = match self.buffer.get_mut(end) {
            Some(byte) => core::mem::replace(byte, 0),
            None => 0,
        };
        let result = work(CStr::from_bytes_until_nul(&self.buffer).unwrap_or(c""));
        if let Some(byte) = self.buffer.get_mut(end) {
            *byte = saved;
        }
        result
    }

    /// The component from `start` (slashes skipped): its first byte and the byte after its last.
    fn component(&self, start: usize) -> Option<(usize, usize)> {
        let rest = self.buffer.get(start..self.length)?;
        let first = start + rest.iter().position(|byte| *byte != b'/')?;
        let length = self.buffer.get(first..self.length)?.iter().position(|byte| *byte == b'/');
        Some((first, length.map_or(self.length, |length| first + length)))
    }

    /// Replaces the component between `first` and `last` by what a link says: from the root when absolute.
    fn replace(&mut self, first: usize, last: usize, link: &[u8]) -> Option<()> {
        let keep = if link.first() == Some(&b'/') { 0 } else { first };
        let mut fresh = [0u8; PATH];
        let old = self.buffer;
        let parts = [old.get(..keep)?, link, old.get(last..self.length)?];
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        if length >= PATH {
            return None;
        }
        for (place, byte) in fresh.iter_mut().zip(parts.iter().flat_map(|part| part.iter())) {
            *place = *byte;
        }
        (self.buffer, self.length) = (fresh, length);
        Some(())
    }
}

impl Child<'_> {
    pub(super) fn ensure(&mut self, root: Slot, path: Text, missing: Missing, nofollow: bool, into: Slot) -> Done {
        self.made = None;
        let root = self.slot(root)?;
        let path = self.arena.c_str(path);
        let flags = if nofollow { abi::O_PATH | abi::O_NOFOLLOW } else { abi::O_PATH };
        let found = match self.open_in(root, path, flags) {
            Ok(found) => found,
            Err(libc::ENOENT) => {
                let directory = match missing {
                    Missing::Directory => true,
                    Missing::File => false,
                    Missing::Like(tree) => self.is_directory(self.slot(tree)?)?,
                };
                self.made = Some(into);
                self.make(root, path, directory)?
            }
            Err(errno) => return fail(Call::Open, errno),
        };
        if nofollow && self.file_type(found)? == libc::S_IFLNK {
            return fail(Call::Open, libc::ELOOP);
        }
        self.put(into, found)
    }

    /// The type bits of what a descriptor names.
    pub(super) fn file_type(&self, descriptor: i32) -> Done<u32> {
        let status = raw::statx(descriptor, c"", abi::AT_EMPTY_PATH).named(Call::Statx)?;
        Ok(status.stx_mode as u32 & libc::S_IFMT)
    }

    pub(super) fn is_directory(&self, descriptor: i32) -> Done<bool> {
        Ok(self.file_type(descriptor)? == libc::S_IFDIR)
    }

    /// Makes what is missing of a path below the root: directories, and at its end a directory or an empty file.
    fn make(&self, root: i32, path: &CStr, directory: bool) -> Done<i32> {
        let Some(mut walk) = Walk::new(path.to_bytes()) else { return fail(Call::Open, libc::ENAMETOOLONG) };
        for _ in 0..LINKS {
            match self.make_once(root, &mut walk, directory)? {
                Some(made) => return Ok(made),
                None => continue,
            }
        }
        fail(Call::Open, libc::ELOOP)
    }

    /// One walk over the components; `None` when a dangling link changed the path.
    fn make_once(&self, root: i32, walk: &mut Walk, directory: bool) -> Done<Option<i32>> {
        let mut parent = raw::openat(root, c".", abi::O_PATH | abi::O_CLOEXEC, 0).named(Call::Open)?;
        let mut position = 0;
        while let Some((first, last)) = walk.component(position) {
            let opened = walk.prefix(last, |prefix| self.open_in(root, prefix, abi::O_PATH));
            let next = match opened {
                Ok(next) => next,
                Err(libc::ENOENT) => {
                    let is_last = walk.component(last).is_none();
                    match self.make_component(parent, walk, (first, last), directory || !is_last) {
                        Ok(next) => next,
                        Err(failure) if failure.errno == libc::EEXIST => {
                            self.follow_dangling(parent, walk, (first, last))?;
                            let _ = raw::close(parent);
                            return Ok(None);
                        }
                        Err(failure) => return Err(failure),
                    }
                }
                Err(errno) => return fail(Call::Open, errno),
            };
            let _ = raw::close(parent);
            (parent, position) = (next, last);
        }
        Ok(Some(parent))
    }

    fn make_component(&self, parent: i32, walk: &mut Walk, span: (usize, usize), directory: bool) -> Done<i32> {
        walk.prefix(span.1, |prefix| {
            let name = tail(prefix, span.0);
            if directory {
                raw::mkdirat(parent, name, 0o755).named(Call::Mkdir)?;
            } else {
                raw::mknodat(parent, name, libc::S_IFREG | 0o644, 0).named(Call::Mknod)?;
            }
            let made =
                raw::openat(parent, name, abi::O_PATH | abi::O_NOFOLLOW | abi::O_CLOEXEC, 0).named(Call::Open)?;
            // Between the two calls somebody with the same volume may have put something else there.
            let kind = if directory { libc::S_IFDIR } else { libc::S_IFREG };
            if self.file_type(made)? == kind { Ok(made) } else { fail(Call::Verify, libc::ELOOP) }
        })
    }

    /// A name that exists but leads nowhere: a link to something missing, which is then made in its place.
    fn follow_dangling(&self, parent: i32, walk: &mut Walk, span: (usize, usize)) -> Done {
        let mut link = [0u8; PATH];
        let length = walk
            .prefix(span.1, |prefix| raw::readlinkat(parent, tail(prefix, span.0), &mut link))
            .named(Call::Readlink)?;
        match link.get(..length).and_then(|link| walk.replace(span.0, span.1, link)) {
            Some(()) => Ok(()),
            None => fail(Call::Readlink, libc::ENAMETOOLONG),
        }
    }

    pub(super) fn directory(&self, at: Slot, name: Text, mode: u32) -> Done {
        match raw::mkdirat(self.slot(at)?, self.arena.c_str(name), mode) {
            Ok(_) | Err(libc::EEXIST) => Ok(()),
            Err(errno) => fail(Call::Mkdir, errno),
        }
    }

    pub(super) fn node(&self, at: Slot, name: Text, mode: u32, device: u32) -> Done {
        let (at, name) = (self.slot(at)?, self.arena.c_str(name));
        match raw::mknodat(at, name, mode, device as u64) {
            Ok(_) => Ok(()),
            Err(libc::EEXIST) => self.same_node(at, name, mode, device),
            Err(errno) => fail(Call::Mknod, errno),
        }
    }

    /// What the image has at a device's place must be that device (config-linux: existing mismatch is an error).
    fn same_node(&self, at: i32, name: &CStr, mode: u32, device: u32) -> Done {
        let status = raw::statx(at, name, abi::AT_SYMLINK_NOFOLLOW).named(Call::Statx)?;
        let number = libc::makedev(status.stx_rdev_major, status.stx_rdev_minor) as u32;
        let kind = mode & libc::S_IFMT;
        if status.stx_mode as u32 & libc::S_IFMT == kind && (kind == libc::S_IFIFO || number == device) {
            return Ok(());
        }
        fail(Call::Mknod, libc::EEXIST)
    }

    pub(super) fn change_owner(&self, at: Slot, name: Text, uid: u32, gid: u32) -> Done {
        let flags = abi::AT_SYMLINK_NOFOLLOW;
        raw::fchownat(self.slot(at)?, self.arena.c_str(name), uid, gid, flags).named(Call::Chown).map(drop)
    }

    pub(super) fn verify_device(&self, tree: Slot, mode: u32, device: u32) -> Done {
        let status = raw::statx(self.slot(tree)?, c"", abi::AT_EMPTY_PATH).named(Call::Statx)?;
        let number = libc::makedev(status.stx_rdev_major, status.stx_rdev_minor) as u32;
        if status.stx_mode as u32 & libc::S_IFMT == mode & libc::S_IFMT && number == device {
            return Ok(());
        }
        fail(Call::Verify, libc::ENODEV)
    }

    pub(super) fn link(&self, at: Slot, name: Text, target: Text, existing: Existing) -> Done {
        let (at, name, target) = (self.slot(at)?, self.arena.c_str(name), self.arena.c_str(target));
        let mut result = raw::symlinkat(target, at, name);
        if existing == Existing::Goes && result == Err(libc::EEXIST) {
            match raw::unlinkat(at, name, 0) {
                Ok(_) => result = raw::symlinkat(target, at, name),
                // The image's own directory or mount point stays, as it does under the peers.
                Err(libc::EISDIR | libc::EBUSY | libc::EPERM | libc::EROFS) => return Ok(()),
                Err(errno) => return fail(Call::Unlink, errno),
            }
        }
        match result {
            Ok(_) => Ok(()),
            Err(libc::EEXIST) if existing != Existing::IsTheSame => Ok(()),
            Err(libc::EEXIST) => self.same_link(at, name, target),
            Err(errno) => fail(Call::Symlink, errno),
        }
    }

    /// What is there must be this symlink.
    fn same_link(&self, at: i32, name: &CStr, target: &CStr) -> Done {
        let mut link = [0u8; PATH];
        match raw::readlinkat(at, name, &mut link) {
            Ok(length) if link.get(..length) == Some(target.to_bytes()) => Ok(()),
            _ => fail(Call::Symlink, libc::EEXIST),
        }
    }

    pub(super) fn inherit_mode(&self, from: Slot, to: Slot) -> Done {
        if self.made == Some(from) {
            return Ok(());
        }
        let status = raw::statx(self.slot(from)?, c"", abi::AT_EMPTY_PATH).named(Call::Statx)?;
        let to = raw::openat(self.slot(to)?, c".", abi::O_RDONLY | abi::O_DIRECTORY | abi::O_CLOEXEC, 0)
            .named(Call::Open)?;
        let result = raw::fchmod(to, status.stx_mode as u32 & 0o7777).named(Call::Chmod);
        let _ = raw::close(to);
        result.map(drop)
    }
}

/// The last component of a prefix that starts at `first`.
fn tail(prefix: &CStr, first: usize) -> &CStr {
    prefix.to_bytes_with_nul().get(first..).and_then(|bytes| CStr::from_bytes_with_nul(bytes).ok()).unwrap_or(c"")
}
