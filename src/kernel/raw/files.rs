//! Descriptors, paths below a descriptor, directories, and mounts: what the child does to files. [`super`] has the rest.

use core::ffi::CStr;

use super::{Raw, fd, syscall};
use crate::kernel::abi::{self, MountAttr, OpenHow};

/// read(2).
pub fn read(descriptor: i32, buffer: &mut [u8]) -> Raw {
    plain!(SYS_read, descriptor, buffer.as_mut_ptr(), buffer.len())
}

/// write(2).
pub fn write(descriptor: i32, bytes: &[u8]) -> Raw {
    plain!(SYS_write, descriptor, bytes.as_ptr(), bytes.len())
}

/// close(2).
pub fn close(descriptor: i32) -> Raw {
    plain!(SYS_close, descriptor)
}

/// close_range(2).
pub fn close_range(first: u32, last: u32, flags: u32) -> Raw {
    plain!(SYS_close_range, first, last, flags)
}

/// dup3(2).
pub fn dup3(from: i32, to: i32, flags: i32) -> Raw<i32> {
    fd(plain!(SYS_dup3, from, to, flags))
}

/// fcntl(2) with an integer argument.
pub fn fcntl(descriptor: i32, command: i32, argument: usize) -> Raw {
    plain!(SYS_fcntl, descriptor, command, argument)
}

/// openat(2).
pub fn openat(directory: i32, path: &CStr, flags: i32, mode: u32) -> Raw<i32> {
    fd(plain!(SYS_openat, directory, path.as_ptr(), flags, mode))
}

/// openat2(2), tried again on EAGAIN (a rename raced with the look-up; openat2(2) says to).
pub fn openat2(directory: i32, path: &CStr, how: &OpenHow) -> Raw<i32> {
    let mut tries = 0;
    loop {
        let result = plain!(SYS_openat2, directory, path.as_ptr(), how as *const OpenHow, size_of::<OpenHow>());
        match result {
            Err(libc::EAGAIN | libc::EINTR) if tries < 128 => tries += 1,
            other => return fd(other),
        }
    }
}

/// mkdirat(2).
pub fn mkdirat(directory: i32, name: &CStr, mode: u32) -> Raw {
    plain!(SYS_mkdirat, directory, name.as_ptr(), mode)
}

/// mknodat(2).
pub fn mknodat(directory: i32, name: &CStr, mode: u32, device: u64) -> Raw {
    plain!(SYS_mknodat, directory, name.as_ptr(), mode, device)
}

/// symlinkat(2).
pub fn symlinkat(target: &CStr, directory: i32, name: &CStr) -> Raw {
    plain!(SYS_symlinkat, target.as_ptr(), directory, name.as_ptr())
}

/// unlinkat(2).
pub fn unlinkat(directory: i32, name: &CStr, flags: i32) -> Raw {
    plain!(SYS_unlinkat, directory, name.as_ptr(), flags)
}

/// readlinkat(2).
pub fn readlinkat(directory: i32, path: &CStr, buffer: &mut [u8]) -> Raw {
    plain!(SYS_readlinkat, directory, path.as_ptr(), buffer.as_mut_ptr(), buffer.len())
}

/// fchownat(2).
pub fn fchownat(directory: i32, path: &CStr, uid: u32, gid: u32, flags: i32) -> Raw {
    plain!(SYS_fchownat, directory, path.as_ptr(), uid, gid, flags)
}

/// fchmod(2).
pub fn fchmod(descriptor: i32, mode: u32) -> Raw {
    plain!(SYS_fchmod, descriptor, mode)
}

/// fchmodat(2), which follows symlinks: only for names made in this run.
pub fn fchmodat(directory: i32, path: &CStr, mode: u32) -> Raw {
    plain!(SYS_fchmodat, directory, path.as_ptr(), mode)
}

/// faccessat2(2).
pub fn faccessat2(directory: i32, path: &CStr, mode: i32, flags: i32) -> Raw {
    plain!(SYS_faccessat2, directory, path.as_ptr(), mode, flags)
}

/// statx(2) with the basic mask.
pub fn statx(directory: i32, path: &CStr, flags: i32) -> Raw<libc::statx> {
    // SAFETY: statx is plain integers: all zeroes are a valid value.
    let mut result: libc::statx = unsafe { core::mem::zeroed() };
    let buffer = &mut result as *mut libc::statx;
    plain!(SYS_statx, directory, path.as_ptr(), flags, libc::STATX_BASIC_STATS | libc::STATX_MNT_ID, buffer)?;
    Ok(result)
}

/// fstatfs(2): the file system's magic number.
pub fn file_system_magic(descriptor: i32) -> Raw<i64> {
    // SAFETY: statfs is plain integers: all zeroes are a valid value.
    let mut result: libc::statfs = unsafe { core::mem::zeroed() };
    plain!(SYS_fstatfs, descriptor, &mut result as *mut libc::statfs)?;
    Ok(result.f_type as i64)
}

/// getdents64(2).
pub fn getdents64(directory: i32, buffer: &mut [u8]) -> Raw {
    plain!(SYS_getdents64, directory, buffer.as_mut_ptr(), buffer.len())
}

/// sendfile(2) to a file position of its own.
pub fn sendfile(to: i32, from: i32, count: usize) -> Raw {
    plain!(SYS_sendfile, to, from, 0, count)
}

/// lseek(2) to the beginning.
pub fn rewind(descriptor: i32) -> Raw {
    plain!(SYS_lseek, descriptor, 0, libc::SEEK_SET)
}

/// fchdir(2).
pub fn fchdir(directory: i32) -> Raw {
    plain!(SYS_fchdir, directory)
}

/// chdir(2).
pub fn chdir(path: &CStr) -> Raw {
    plain!(SYS_chdir, path.as_ptr())
}

/// chroot(2).
pub fn chroot(path: &CStr) -> Raw {
    plain!(SYS_chroot, path.as_ptr())
}

/// getcwd(2): the length including the NUL.
pub fn getcwd(buffer: &mut [u8]) -> Raw {
    plain!(SYS_getcwd, buffer.as_mut_ptr(), buffer.len())
}

/// umask(2).
pub fn umask(mask: u32) -> Raw {
    plain!(SYS_umask, mask)
}

/// pivot_root(2).
pub fn pivot_root(new: &CStr, old: &CStr) -> Raw {
    plain!(SYS_pivot_root, new.as_ptr(), old.as_ptr())
}

/// umount2(2).
pub fn umount2(path: &CStr, flags: i32) -> Raw {
    plain!(SYS_umount2, path.as_ptr(), flags)
}

/// mount(2). Any argument may be absent.
pub fn mount(source: Option<&CStr>, target: &CStr, fstype: Option<&CStr>, flags: u64, data: Option<&CStr>) -> Raw {
    let pointer = |text: Option<&CStr>| text.map_or(0, |text| text.as_ptr() as usize);
    plain!(SYS_mount, pointer(source), target.as_ptr(), pointer(fstype), flags, pointer(data))
}

/// open_tree(2).
pub fn open_tree(directory: i32, path: &CStr, flags: u32) -> Raw<i32> {
    fd(plain!(SYS_open_tree, directory, path.as_ptr(), flags))
}

/// move_mount(2) of one descriptor onto another.
pub fn move_mount(from: i32, to: i32) -> Raw {
    let flags = abi::MOVE_MOUNT_F_EMPTY_PATH | abi::MOVE_MOUNT_T_EMPTY_PATH;
    plain!(SYS_move_mount, from, c"".as_ptr(), to, c"".as_ptr(), flags)
}

/// fsopen(2).
pub fn fsopen(fstype: &CStr, flags: u32) -> Raw<i32> {
    fd(plain!(SYS_fsopen, fstype.as_ptr(), flags))
}

/// fsconfig(2) with a key and, for `FSCONFIG_SET_STRING`, a value.
pub fn fsconfig(context: i32, command: u32, key: Option<&CStr>, value: Option<&CStr>, number: i32) -> Raw {
    let pointer = |text: Option<&CStr>| text.map_or(0, |text| text.as_ptr() as usize);
    plain!(SYS_fsconfig, context, command, pointer(key), pointer(value), number)
}

/// fsmount(2).
pub fn fsmount(context: i32, flags: u32, attributes: u64) -> Raw<i32> {
    fd(plain!(SYS_fsmount, context, flags, attributes))
}

/// fspick(2) of the mount under a descriptor.
pub fn fspick(directory: i32, path: &CStr, flags: u32) -> Raw<i32> {
    fd(plain!(SYS_fspick, directory, path.as_ptr(), flags))
}

/// mount_setattr(2).
pub fn mount_setattr(directory: i32, path: &CStr, flags: u32, attributes: &MountAttr) -> Raw {
    let size = size_of::<MountAttr>();
    plain!(SYS_mount_setattr, directory, path.as_ptr(), flags, attributes as *const MountAttr, size)
}
