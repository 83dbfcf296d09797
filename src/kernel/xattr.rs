//! Extended attributes of files that are named by path (xattr(7)): the marks on control groups.

use core::ffi::CStr;

use super::raw::{Raw, syscall};

/// setxattr(2) with `XATTR_CREATE`: `EEXIST` when there is one of the name.
pub fn create_attribute(path: &CStr, name: &CStr, value: &[u8]) -> Raw {
    let flags = libc::XATTR_CREATE as usize;
    let (path, name) = (path.as_ptr() as usize, name.as_ptr() as usize);
    // SAFETY: both names are C strings, the value is as long as is said; all live over the call.
    unsafe { syscall(libc::SYS_setxattr, [path, name, value.as_ptr() as usize, value.len(), flags, 0]) }
}

/// getxattr(2): how many bytes of `value` were filled.
pub fn attribute(path: &CStr, name: &CStr, value: &mut [u8]) -> Raw {
    let (path, name) = (path.as_ptr() as usize, name.as_ptr() as usize);
    // SAFETY: both names are C strings, the buffer is as long as is said; all live over the call.
    unsafe { syscall(libc::SYS_getxattr, [path, name, value.as_mut_ptr() as usize, value.len(), 0, 0]) }
}

/// removexattr(2).
pub fn remove_attribute(path: &CStr, name: &CStr) -> Raw {
    // SAFETY: both names are C strings that live over the call.
    unsafe { syscall(libc::SYS_removexattr, [path.as_ptr() as usize, name.as_ptr() as usize, 0, 0, 0, 0]) }
}
