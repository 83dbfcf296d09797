//! tmpcopyup: what the image has at a mount point is copied into the tmpfs that will cover it. Files, directories, links
//! and nodes with owner, mode and contents; nothing is followed, depth is bounded.

use core::ffi::CStr;

use super::{Child, Done, Naming, fail};
use crate::kernel::{abi, raw};
use crate::plan::Slot;
use crate::plan::report::Call;

/// Levels of directories: each costs a buffer on the stack.
const DEPTH: usize = 48;
const NOFOLLOW: i32 = abi::O_NOFOLLOW | abi::O_CLOEXEC;

impl Child<'_> {
    pub(super) fn copy_up(&self, from: Slot, to: Slot) -> Done {
        let directory = abi::O_RDONLY | abi::O_DIRECTORY | abi::O_CLOEXEC;
        let from = raw::openat(self.slot(from)?, c".", directory, 0).named(Call::Open)?;
        let result = self.copy_directory(from, self.slot(to)?, DEPTH);
        let _ = raw::close(from);
        result
    }

    /// Copies the entries of an open directory.
    fn copy_directory(&self, from: i32, to: i32, depth: usize) -> Done {
        if depth == 0 {
            return fail(Call::Getdents, libc::ELOOP);
        }
        let mut buffer = [0u8; 2048];
        loop {
            let length = raw::getdents64(from, &mut buffer).named(Call::Getdents)?;
            if length == 0 {
                return Ok(());
            }
            let mut rest = buffer.get(..length).unwrap_or(&[]);
            // struct linux_dirent64: inode 8, offset 8, record length 2, type 1, name.
            while let (Some(&[low, high]), Some(name)) = (rest.get(16..18), rest.get(19..)) {
                let name = CStr::from_bytes_until_nul(name).unwrap_or(c".");
                if name != c"." && name != c".." {
                    self.copy_entry(from, to, name, depth)?;
                }
                let record = u16::from_ne_bytes([low, high]) as usize;
                rest = rest.get(record.max(1)..).unwrap_or(&[]);
            }
        }
    }

    fn copy_entry(&self, from: i32, to: i32, name: &CStr, depth: usize) -> Done {
        let status = raw::statx(from, name, abi::AT_SYMLINK_NOFOLLOW).named(Call::Statx)?;
        let mode = status.stx_mode as u32;
        match mode & libc::S_IFMT {
            libc::S_IFDIR => {
                raw::mkdirat(to, name, 0o700).named(Call::Mkdir)?;
                let directory = abi::O_RDONLY | abi::O_DIRECTORY | NOFOLLOW;
                let inner = raw::openat(from, name, directory, 0).named(Call::Open)?;
                let made = raw::openat(to, name, directory, 0).named(Call::Open)?;
                let result = self.copy_directory(inner, made, depth - 1);
                let _ = (raw::close(inner), raw::close(made));
                result?;
            }
            libc::S_IFREG => self.copy_file(from, to, name)?,
            libc::S_IFLNK => {
                let mut target = [0u8; 4096];
                let room = target.len() - 1;
                let length = match target.get_mut(..room) {
                    Some(buffer) => raw::readlinkat(from, name, buffer).named(Call::Readlink)?,
                    None => 0,
                };
                let text = target.get(..=length).and_then(|bytes| CStr::from_bytes_with_nul(bytes).ok());
                raw::symlinkat(text.unwrap_or(c""), to, name).named(Call::Symlink)?;
            }
            _ => {
                let device = libc::makedev(status.stx_rdev_major, status.stx_rdev_minor);
                raw::mknodat(to, name, mode, device).named(Call::Mknod)?;
            }
        }
        raw::fchownat(to, name, status.stx_uid, status.stx_gid, abi::AT_SYMLINK_NOFOLLOW).named(Call::Chown)?;
        if mode & libc::S_IFMT != libc::S_IFLNK {
            raw::fchmodat(to, name, mode & 0o7777).named(Call::Chmod)?;
        }
        Ok(())
    }

    fn copy_file(&self, from: i32, to: i32, name: &CStr) -> Done {
        let source = raw::openat(from, name, abi::O_RDONLY | libc::O_NONBLOCK | NOFOLLOW, 0).named(Call::Open)?;
        let flags = abi::O_WRONLY | libc::O_CREAT | libc::O_EXCL | NOFOLLOW;
        let made = raw::openat(to, name, flags, 0o600).named(Call::Open)?;
        let result = loop {
            match raw::sendfile(made, source, 1 << 20) {
                Ok(0) => break Ok(()),
                Ok(_) => {}
                Err(errno) => break fail(Call::Sendfile, errno),
            }
        };
        let _ = (raw::close(source), raw::close(made));
        result
    }
}
