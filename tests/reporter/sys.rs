//! Thin wrappers: system calls whose failure is an errno's name.

use std::ffi::{CStr, CString};

unsafe extern "C" {
    fn strerrorname_np(errno: i32) -> *const libc::c_char;
}

/// `ENOENT` for 2.
pub fn errno_name(errno: i32) -> String {
    // SAFETY: returns null or a pointer to a constant, NUL-terminated string.
    let name = unsafe { strerrorname_np(errno) };
    if name.is_null() {
        return format!("errno {errno}");
    }
    // SAFETY: not null, see above.
    unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
}

/// The errno of the last failed call.
pub fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// A result of a system call: the number, or the errno's name.
pub fn check(result: i64) -> Result<i64, String> {
    if result < 0 { Err(errno_name(errno())) } else { Ok(result) }
}

/// Prints `ok` or the errno's name; the exit status that belongs to it.
pub fn tell(result: Result<i64, String>) -> i32 {
    match result {
        Ok(_) => {
            println!("ok");
            0
        }
        Err(name) => {
            println!("{name}");
            1
        }
    }
}

/// The same for an `io::Result`.
pub fn tell_io<T>(result: std::io::Result<T>) -> i32 {
    tell(result.map(|_| 0).map_err(|e| errno_name(e.raw_os_error().unwrap_or(0))))
}

/// A path or text for the kernel.
pub fn c(text: &str) -> CString {
    CString::new(text).expect("no NUL in an argument")
}

/// `prctl(option, argument)`, or null where the kernel doesn't know it.
pub fn prctl(option: i32, argument: u64) -> Option<i64> {
    // SAFETY: only called with options that take a number and write no memory.
    let result = unsafe { libc::prctl(option, argument, 0, 0, 0) };
    (result >= 0).then_some(result.into())
}
