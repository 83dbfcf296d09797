//! Mounts of a running container: the child that has joined it tells which it attached, and takes away none but those.

use core::ffi::CStr;

use super::mounts::proc_path;
use super::{Child, Done, Naming, fail};
use crate::kernel::mounts::mount_id;
use crate::kernel::{abi, raw};
use crate::plan::report::{Call, Record};
use crate::plan::{Slot, Text};

impl Child<'_> {
    pub(super) fn tell_mount(&self, step: usize, tree: Slot) -> Done {
        match mount_id(self.slot(tree)?).named(Call::Statx)? {
            Some(id) => self.tell(step, id),
            None => fail(Call::Verify, libc::EINVAL),
        }
    }

    fn tell(&self, step: usize, id: u64) -> Done {
        raw::send(self.report, &Record::mount(step as u32, id).encode()).named(Call::Parent).map(drop)
    }

    /// The container may have exchanged what lies at the path: what counts is that this very mount is there.
    pub(super) fn find_mount(&mut self, root: Slot, path: Text, id: u64, into: Slot) -> Done {
        let found = self.open_in(self.slot(root)?, self.arena.c_str(path), abi::O_PATH).named(Call::Open)?;
        if mount_id(found).named(Call::Statx)? != Some(id) {
            return fail(Call::Verify, libc::ENOENT);
        }
        self.put(into, found)
    }

    pub(super) fn detach(&self, step: usize, proc: Slot, mount: Slot) -> Done {
        let mount = self.slot(mount)?;
        let id = mount_id(mount).named(Call::Statx)?;
        // umount2(2) takes paths only. The host's procfs, by descriptor, shows this process its own descriptors, whatever the
        // container has at /proc.
        raw::fchdir(self.slot(proc)?).named(Call::Chdir)?;
        let mut path = [0u8; 32];
        let path = proc_path(mount, &mut path).to_bytes_with_nul().get(b"/proc/".len()..).unwrap_or_default();
        let path = CStr::from_bytes_with_nul(path).unwrap_or(c"");
        raw::umount2(path, libc::MNT_DETACH).named(Call::Umount)?;
        self.tell(step, id.unwrap_or_default())
    }
}
