//! Trees and file systems: made detached, given their attributes, then attached to a descriptor.

use core::ffi::CStr;

use super::{Child, Done, Naming, fail};
use crate::kernel::abi::{self, MountAttr};
use crate::kernel::raw;
use crate::plan::arena::{Bytes, Parameter, Range};
use crate::plan::report::Call;
use crate::plan::{Slot, Text};

const CLONE: u32 = abi::OPEN_TREE_CLONE | abi::OPEN_TREE_CLOEXEC;

/// open_tree flags of a clone, recursive or not.
fn clone_flags(recursive: bool) -> u32 {
    if recursive { CLONE | abi::AT_RECURSIVE as u32 } else { CLONE }
}

impl Child<'_> {
    pub(super) fn namespace_propagation(&self, kind: u64) -> Done {
        let attributes = MountAttr { propagation: kind, ..MountAttr::default() };
        raw::mount_setattr(abi::AT_FDCWD, c"/", abi::AT_RECURSIVE as u32, &attributes).named(Call::MountSetattr)?;
        Ok(())
    }

    pub(super) fn open_tree(&mut self, path: Text, recursive: bool, nofollow: bool, into: Slot) -> Done {
        let nofollow = if nofollow { abi::AT_SYMLINK_NOFOLLOW as u32 } else { 0 };
        let path = self.arena.c_str(path);
        let tree = raw::open_tree(abi::AT_FDCWD, path, clone_flags(recursive) | nofollow).named(Call::OpenTree)?;
        self.put(into, tree)
    }

    pub(super) fn open_tree_late(
        &mut self,
        root: Slot,
        path: Text,
        (recursive, nofollow): (bool, bool),
        into: Slot,
    ) -> Done {
        let flags = if nofollow { abi::O_PATH | abi::O_NOFOLLOW } else { abi::O_PATH };
        let found = self.open_in(self.slot(root)?, self.arena.c_str(path), flags).named(Call::Open)?;
        let tree = self.clone_of(found, recursive)?;
        let _ = raw::close(found);
        self.put(into, tree)
    }

    /// A detached copy of what a descriptor of this mount namespace names.
    pub(super) fn clone_of(&self, descriptor: i32, recursive: bool) -> Done<i32> {
        raw::open_tree(descriptor, c"", clone_flags(recursive) | abi::AT_EMPTY_PATH as u32).named(Call::OpenTree)
    }

    pub(super) fn filesystem(&mut self, fstype: Text, parameters: Range, attributes: u32, into: Slot) -> Done {
        let mount = self.make_filesystem(self.arena.c_str(fstype), parameters, attributes)?;
        self.put(into, mount)
    }

    /// fsopen, fsconfig…, fsmount. What the kernel says about a refused option goes into the report.
    pub(super) fn make_filesystem(&mut self, fstype: &CStr, parameters: Range, attributes: u32) -> Done<i32> {
        let context = raw::fsopen(fstype, abi::FSOPEN_CLOEXEC).named(Call::Fsopen)?;
        let arena = self.arena;
        let mut result = Ok(0);
        for parameter in arena.parameters(parameters) {
            result = match *parameter {
                Parameter::Flag(key) => raw::fsconfig(context, abi::FSCONFIG_SET_FLAG, Some(arena.c_str(key)), None, 0),
                Parameter::Value(key, value) => {
                    let (key, value) = (arena.c_str(key), arena.c_str(value));
                    raw::fsconfig(context, abi::FSCONFIG_SET_STRING, Some(key), Some(value), 0)
                }
            };
            if result.is_err() {
                break;
            }
        }
        let created = result.and_then(|_| raw::fsconfig(context, abi::FSCONFIG_CMD_CREATE, None, None, 0));
        if let Err(errno) = created {
            self.keep_words(context);
            return fail(Call::Fsconfig, errno);
        }
        let mount = raw::fsmount(context, abi::FSMOUNT_CLOEXEC, attributes as u64).named(Call::Fsmount)?;
        let _ = raw::close(context);
        Ok(mount)
    }

    /// Reads the context's last message ("e devpts: Invalid gid '5'").
    fn keep_words(&mut self, context: i32) {
        let room = self.words.len() - 1;
        let mut words = [0u8; crate::plan::report::WORDS];
        if let (Some(buffer), true) = (words.get_mut(..room), room > 0)
            && let Ok(length) = raw::read(context, buffer)
            && length > 0
        {
            self.words = words;
        }
    }

    pub(super) fn set_attributes(&self, tree: Slot, attributes: u16, recursive: bool) -> Done {
        self.apply(self.slot(tree)?, attributes, recursive)
    }

    /// mount_setattr of the mount a descriptor names.
    fn apply(&self, descriptor: i32, attributes: u16, recursive: bool) -> Done {
        let Some(attributes) = self.arena.attributes.get(attributes as usize) else {
            return fail(Call::Verify, libc::ERANGE);
        };
        let flags = abi::AT_EMPTY_PATH | if recursive { abi::AT_RECURSIVE } else { 0 };
        raw::mount_setattr(descriptor, c"", flags as u32, attributes).named(Call::MountSetattr)?;
        Ok(())
    }

    pub(super) fn attach(&self, tree: Slot, target: Slot) -> Done {
        raw::move_mount(self.slot(tree)?, self.slot(target)?).named(Call::MoveMount)?;
        Ok(())
    }

    pub(super) fn bind_by_mount(&self, source: Text, target: Slot) -> Done {
        // mount(2) takes paths only: the working directory stands for the target, which may be a file of no directory.
        let mut path = [0u8; 32];
        let target = proc_path(self.slot(target)?, &mut path);
        raw::mount(Some(self.arena.c_str(source)), target, None, libc::MS_BIND | libc::MS_REC, None)
            .named(Call::Mount)?;
        Ok(())
    }

    pub(super) fn remount(&self, root: Slot, path: Text, attributes: u16, recursive: bool) -> Done {
        let found = self.open_in(self.slot(root)?, self.arena.c_str(path), abi::O_PATH).named(Call::Open)?;
        let result = self.apply(found, attributes, recursive);
        let _ = raw::close(found);
        result
    }

    pub(super) fn private_proc(&mut self, into: Slot) -> Done {
        let proc = match self.fresh_proc() {
            Ok(proc) => proc,
            // Without a pid namespace of its own, a user namespace may not make a procfs: the host's, checked.
            Err(_) => {
                let proc = raw::openat(abi::AT_FDCWD, c"/proc", abi::O_PATH | abi::O_DIRECTORY | abi::O_CLOEXEC, 0)
                    .named(Call::Open)?;
                if raw::file_system_magic(proc).named(Call::Statx)? != libc::PROC_SUPER_MAGIC {
                    return fail(Call::Verify, libc::EXDEV);
                }
                proc
            }
        };
        self.put(into, proc)
    }

    fn fresh_proc(&mut self) -> Done<i32> {
        let attributes = abi::MOUNT_ATTR_NOSUID | abi::MOUNT_ATTR_NODEV | abi::MOUNT_ATTR_NOEXEC;
        let none = Range { start: 0, count: 0 };
        let result = self.make_filesystem(c"proc", none, attributes as u32);
        self.words = [0; crate::plan::report::WORDS];
        result
    }

    pub(super) fn write_proc(&self, proc: Slot, path: Text, value: Bytes) -> Done {
        self.write_below(self.slot(proc)?, self.arena.c_str(path), self.arena.get(value))
    }

    /// Writes to a file of a procfs we made or checked: nothing mounted over it and no link is followed (INV-03).
    pub(super) fn write_below(&self, proc: i32, path: &CStr, value: &[u8]) -> Done {
        let how = abi::OpenHow {
            flags: (abi::O_WRONLY | abi::O_CLOEXEC) as u64,
            mode: 0,
            resolve: libc::RESOLVE_BENEATH | abi::RESOLVE_NO_XDEV | abi::RESOLVE_NO_MAGICLINKS,
        };
        let file = raw::openat2(proc, path, &how).named(Call::Open)?;
        let result = raw::write(file, value).named(Call::Write);
        let _ = raw::close(file);
        match result? {
            written if written == value.len() => Ok(()),
            _ => fail(Call::Write, libc::EIO),
        }
    }
}

/// `/proc/self/fd/N` of the host's procfs, before the root is left.
pub(super) fn proc_path(descriptor: i32, buffer: &mut [u8; 32]) -> &CStr {
    const PREFIX: &[u8] = b"/proc/self/fd/";
    let mut digits = [0u8; 10];
    let mut rest = descriptor.unsigned_abs();
    let mut count = 0;
    for place in digits.iter_mut().rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
        count += 1;
        if rest == 0 {
            break;
        }
    }
    let text = PREFIX.iter().chain(digits.iter().skip(10 - count));
    for (place, byte) in buffer.iter_mut().zip(text) {
        *place = *byte;
    }
    CStr::from_bytes_until_nul(buffer).unwrap_or(c"")
}
