//! The root: entered through a descriptor, left by nothing.

use super::{Child, Done, Naming, fail};
use crate::kernel::{abi, raw};
use crate::plan::report::Call;
use crate::plan::{Slot, Text};

impl Child<'_> {
    /// Attaches the tree over the namespace's own root, so that no host path has to be reachable for the container's
    /// root user, or where hooks look for it; and works through its descriptor from then on.
    pub(super) fn enter_root(&mut self, tree: Slot, at: Text, into: Slot) -> Done {
        let tree = self.slot(tree)?;
        let host =
            raw::openat(abi::AT_FDCWD, self.arena.c_str(at), abi::O_PATH | abi::O_CLOEXEC, 0).named(Call::Open)?;
        raw::move_mount(tree, host).named(Call::MoveMount)?;
        // A detached tree's descriptor stays good as a base for look-ups once it is attached.
        self.put(into, tree)
    }

    pub(super) fn open_root(&mut self, path: Text, into: Slot) -> Done {
        let flags = abi::O_PATH | abi::O_DIRECTORY | abi::O_CLOEXEC;
        let root = raw::openat(abi::AT_FDCWD, self.arena.c_str(path), flags, 0).named(Call::Open)?;
        self.put(into, root)
    }

    pub(super) fn overlay_store(&self) -> Done {
        raw::mount(Some(c"kiste"), c"/tmp", Some(c"tmpfs"), libc::MS_NOSUID | libc::MS_NODEV, Some(c"mode=0755"))
            .named(Call::Mount)?;
        Ok(())
    }

    pub(super) fn pivot_root(&self, root: Slot) -> Done {
        raw::fchdir(self.slot(root)?).named(Call::Chdir)?;
        raw::pivot_root(c".", c".").named(Call::PivotRoot)?;
        // The old root now lies over the new one at "."; it goes with everything in it, without touching the host's.
        raw::umount2(c".", libc::MNT_DETACH).named(Call::Umount)?;
        raw::chdir(c"/").named(Call::Chdir)?;
        // One umount takes one mount away. Had two lain there, the host's root would still be mounted over the new one, and
        // `/..` would lead to it: look-ups of `..` at the root go to what is mounted on top (INV-04).
        let root = raw::statx(abi::AT_FDCWD, c"/", 0).named(Call::Statx)?;
        let above = raw::statx(abi::AT_FDCWD, c"/..", 0).named(Call::Statx)?;
        if root.stx_mnt_id == above.stx_mnt_id { Ok(()) } else { fail(Call::Verify, libc::EXDEV) }
    }

    pub(super) fn move_root(&self, root: Slot) -> Done {
        raw::fchdir(self.slot(root)?).named(Call::Chdir)?;
        // The root is already attached over `/` of the namespace; without pivot_root it is entered by chroot alone.
        raw::chroot(c".").named(Call::Chroot)?;
        raw::chdir(c"/").named(Call::Chdir)?;
        Ok(())
    }

    pub(super) fn chroot(&self, root: Slot) -> Done {
        self.move_root(root)
    }

    pub(super) fn time_namespace(&self, offsets: crate::plan::Bytes) -> Done {
        raw::unshare(libc::CLONE_NEWTIME as u64).named(Call::Unshare)?;
        let file = raw::openat(abi::AT_FDCWD, c"/proc/self/timens_offsets", abi::O_WRONLY | abi::O_CLOEXEC, 0)
            .named(Call::Open)?;
        let bytes = self.arena.get(offsets);
        let result = if bytes.is_empty() { Ok(0) } else { raw::write(file, bytes) };
        let _ = raw::close(file);
        result.named(Call::Write)?;
        let path = c"/proc/self/ns/time_for_children";
        let namespace = raw::openat(abi::AT_FDCWD, path, abi::O_RDONLY | abi::O_CLOEXEC, 0).named(Call::Open)?;
        raw::setns(namespace, libc::CLONE_NEWTIME as u64).named(Call::SetNs)?;
        let _ = raw::close(namespace);
        Ok(())
    }

    /// The working directory must lie in the root: the kernel marks one outside with `(unreachable)` (INV-01).
    pub(super) fn check_directory(&self) -> Done {
        let mut buffer = [0u8; 4096];
        raw::getcwd(&mut buffer).named(Call::Getcwd)?;
        if buffer.first() == Some(&b'/') { Ok(()) } else { fail(Call::Getcwd, libc::ENOENT) }
    }
}
