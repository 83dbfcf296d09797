//! What the kernel calls a mount.

use super::abi::AT_EMPTY_PATH;
use super::raw::{self, Raw};

/// statx(2): the id that no other mount of this boot has had or will have (Linux 6.8).
const STATX_MNT_ID_UNIQUE: u32 = 0x4000;
/// statx(2): what the descriptor names is the root of a mount.
const STATX_ATTR_MOUNT_ROOT: u64 = 0x2000;

/// The id of the mount whose root a descriptor names; `None` where it names something else. Before Linux 6.8 it is the id of
/// /proc/PID/mountinfo, which is used again after the mount is gone. Allocates nothing: the child calls it.
///
/// # Errors
/// The errno of statx(2).
pub fn mount_id(descriptor: i32) -> Raw<Option<u64>> {
    // SAFETY: statx is plain integers: all zeroes are a valid value.
    let mut status: libc::statx = unsafe { core::mem::zeroed() };
    let mask = libc::STATX_MNT_ID | STATX_MNT_ID_UNIQUE;
    let arguments = [
        descriptor as usize,
        c"".as_ptr() as usize,
        AT_EMPTY_PATH as usize,
        mask as usize,
        &mut status as *mut libc::statx as usize,
        0,
    ];
    // SAFETY: the path is a C string, and the kernel writes one statx to the buffer that is borrowed here.
    unsafe { raw::syscall(libc::SYS_statx, arguments) }?;
    let is_root = status.stx_attributes & status.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT != 0;
    Ok(is_root.then_some(status.stx_mnt_id))
}
