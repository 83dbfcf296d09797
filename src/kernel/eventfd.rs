//! eventfd(2): a counter to poll, for notices of cgroup v1.

use std::os::fd::OwnedFd;

use super::owned;
use super::raw::{self, Raw};

/// A counter at 0 that becomes readable when somebody adds to it; close-on-exec, never blocking.
///
/// # Errors
/// `EMFILE`, `ENFILE`, `ENOMEM`.
pub fn eventfd() -> Raw<OwnedFd> {
    let flags = (libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) as usize;
    // SAFETY: eventfd2 takes two integers and touches no memory of this process.
    unsafe { raw::syscall(libc::SYS_eventfd2, [0, flags, 0, 0, 0, 0]) }.map(|descriptor| owned::own(descriptor as i32))
}
