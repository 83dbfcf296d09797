//! Masked and read-only paths: what the payload must not see or change. Every source is an object made or verified here
//! (INV-05); only a missing *target* is skipped.

use super::{Child, Done, Naming, fail};
use crate::kernel::abi::{self, MountAttr};
use crate::kernel::raw;
use crate::plan::report::Call;
use crate::plan::{Slot, Text};

impl Child<'_> {
    pub(super) fn null_source(&mut self, into: Slot) -> Done {
        let null = raw::openat(abi::AT_FDCWD, c"/dev/null", abi::O_PATH | abi::O_CLOEXEC, 0).named(Call::Open)?;
        let status = raw::statx(null, c"", abi::AT_EMPTY_PATH).named(Call::Statx)?;
        let device = (status.stx_rdev_major, status.stx_rdev_minor);
        if status.stx_mode as u32 & libc::S_IFMT != libc::S_IFCHR || device != (1, 3) {
            return fail(Call::Verify, libc::ENODEV);
        }
        self.put(into, null)
    }

    pub(super) fn hide(&mut self, root: Slot, path: Text, null: Slot, empty: Slot) -> Done {
        let target = match self.open_in(self.slot(root)?, self.arena.c_str(path), abi::O_PATH) {
            Ok(target) => target,
            // A name that is not there hides nothing: neither is one below a file.
            Err(libc::ENOENT | libc::ENOTDIR) => return Ok(()),
            Err(errno) => return fail(Call::Open, errno),
        };
        let cover = if self.is_directory(target)? {
            self.empty_directory(empty)?
        } else {
            self.clone_of(self.slot(null)?, false)?
        };
        raw::move_mount(cover, target).named(Call::MoveMount)?;
        Ok(())
    }

    /// One read-only tmpfs for all masked directories: made once, cloned from where it is attached.
    fn empty_directory(&mut self, empty: Slot) -> Done<i32> {
        if let Ok(attached) = self.slot(empty) {
            return self.clone_of(attached, false);
        }
        let context = raw::fsopen(c"tmpfs", abi::FSOPEN_CLOEXEC).named(Call::Fsopen)?;
        let options = [(c"nr_blocks", c"1"), (c"nr_inodes", c"1"), (c"mode", c"0555")];
        for (key, value) in options {
            raw::fsconfig(context, abi::FSCONFIG_SET_STRING, Some(key), Some(value), 0).named(Call::Fsconfig)?;
        }
        raw::fsconfig(context, abi::FSCONFIG_SET_FLAG, Some(c"ro"), None, 0).named(Call::Fsconfig)?;
        raw::fsconfig(context, abi::FSCONFIG_CMD_CREATE, None, None, 0).named(Call::Fsconfig)?;
        let attributes =
            abi::MOUNT_ATTR_RDONLY | abi::MOUNT_ATTR_NOSUID | abi::MOUNT_ATTR_NODEV | abi::MOUNT_ATTR_NOEXEC;
        let mount = raw::fsmount(context, abi::FSMOUNT_CLOEXEC, attributes).named(Call::Fsmount)?;
        let _ = raw::close(context);
        self.put(empty, mount)?;
        Ok(mount)
    }

    pub(super) fn read_only(&self, root: Slot, path: Text) -> Done {
        let target = match self.open_in(self.slot(root)?, self.arena.c_str(path), abi::O_PATH) {
            Ok(target) => target,
            Err(libc::ENOENT | libc::ENOTDIR) => return Ok(()),
            Err(errno) => return fail(Call::Open, errno),
        };
        let tree = self.clone_of(target, true)?;
        let attributes = MountAttr { attr_set: abi::MOUNT_ATTR_RDONLY, ..MountAttr::default() };
        let flags = (abi::AT_EMPTY_PATH | abi::AT_RECURSIVE) as u32;
        raw::mount_setattr(tree, c"", flags, &attributes).named(Call::MountSetattr)?;
        raw::move_mount(tree, target).named(Call::MoveMount)?;
        Ok(())
    }
}
