//! System calls only the parent half and the other commands use: locks, renames, waiting for signals, probes. Same
//! manners as [`super::raw`]: no allocation, an errno as error.

use core::ffi::CStr;

use super::raw::{Raw, syscall};

/// flock(2).
pub fn flock(descriptor: i32, operation: i32) -> Raw {
    // SAFETY: integers only.
    unsafe { syscall(libc::SYS_flock, [descriptor as usize, operation as usize, 0, 0, 0, 0]) }
}

/// renameat2(2) inside one directory.
pub fn rename_in(directory: i32, from: &CStr, to: &CStr) -> Raw {
    let directory = directory as usize;
    // SAFETY: both names are C strings that live over the call.
    unsafe { syscall(libc::SYS_renameat2, [directory, from.as_ptr() as usize, directory, to.as_ptr() as usize, 0, 0]) }
}

/// rt_sigprocmask(2): sets the mask if one is given, and gives the one before. Bit n-1 is signal n.
pub fn signal_mask(new: Option<u64>) -> Raw<u64> {
    let mut old = 0u64;
    let pointer = new.as_ref().map_or(0, |mask| mask as *const u64 as usize);
    // SAFETY: both masks are 8 bytes and live over the call; a null new mask only reads.
    unsafe {
        syscall(libc::SYS_rt_sigprocmask, [libc::SIG_SETMASK as usize, pointer, &mut old as *mut u64 as usize, 8, 0, 0])
    }?;
    Ok(old)
}

/// A signal as rt_sigtimedwait(2) tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its number.
    pub signal: i32,
    /// `si_code`: `SI_KERNEL` (128) when the kernel made it, e.g. the terminal's interrupt key.
    pub code: i32,
    /// The sender's pid for `SI_USER`, the child's for SIGCHLD.
    pub pid: i32,
}

/// rt_sigtimedwait(2) for one of the signals of `mask`, which must be blocked; `milliseconds` negative: for ever.
/// `EAGAIN` when the time is over.
pub fn wait_signal(mask: u64, milliseconds: i64) -> Raw<Received> {
    let mut info = [0u32; 32];
    let time = [milliseconds / 1000, (milliseconds % 1000) * 1_000_000];
    let time = if milliseconds < 0 { 0 } else { time.as_ptr() as usize };
    let mask = &mask as *const u64 as usize;
    // SAFETY: siginfo_t is 128 bytes, as `info`; mask and time live over the call.
    let signal = unsafe { syscall(libc::SYS_rt_sigtimedwait, [mask, info.as_mut_ptr() as usize, time, 8, 0, 0]) }?;
    // siginfo_t on 64-bit: signo, errno, code, padding, then the union, which begins with the pid for both kinds.
    Ok(Received { signal: signal as i32, code: info[2] as i32, pid: info[4] as i32 })
}

/// signalfd4(2): a descriptor that reads the blocked signals of `mask`.
pub fn signal_descriptor(mask: u64) -> Raw<i32> {
    let flags = (libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) as usize;
    // SAFETY: the mask is 8 bytes and lives over the call.
    unsafe { syscall(libc::SYS_signalfd4, [usize::MAX, &mask as *const u64 as usize, 8, flags, 0, 0]) }
        .map(|descriptor| descriptor as i32)
}

/// ioctl(2) that fills `value`.
///
/// # Safety
/// The request must write no more than `T`, and every bit pattern must be a `T`.
pub unsafe fn ioctl_read<T>(descriptor: i32, request: u64, value: &mut T) -> Raw {
    // SAFETY: the pointer is valid for a T; the rest is the caller's promise.
    unsafe { syscall(libc::SYS_ioctl, [descriptor as usize, request as usize, value as *mut T as usize, 0, 0, 0]) }
}

/// `TIOCGWINSZ`: rows and columns of a terminal.
pub fn window_size(terminal: i32) -> Raw<(u16, u16)> {
    let mut size = [0u16; 4];
    // SAFETY: TIOCGWINSZ writes a struct winsize: four 16-bit integers.
    unsafe { ioctl_read(terminal, libc::TIOCGWINSZ, &mut size) }?;
    Ok((size[0], size[1]))
}

/// getxattr(2) with no buffer: how long the attribute is. `ENODATA` when there is none.
pub fn attribute_length(path: &CStr, name: &CStr) -> Raw {
    // SAFETY: both are C strings that live over the call; size 0 makes the kernel write nothing.
    unsafe { syscall(libc::SYS_getxattr, [path.as_ptr() as usize, name.as_ptr() as usize, 0, 0, 0, 0]) }
}

/// Whether the kernel (and any outer seccomp filter) knows one of the calls kiste stands on. They are called with
/// arguments that every kernel refuses, so nothing happens.
///
/// # Errors
/// `ENOSYS`, or the `EPERM` that some filters give for calls they don't know. Other numbers than those of the match give
/// `EINVAL`.
pub fn probe(number: i64) -> Raw<()> {
    match number {
        libc::SYS_clone3
        | libc::SYS_openat2
        | libc::SYS_open_tree
        | libc::SYS_move_mount
        | libc::SYS_mount_setattr
        | libc::SYS_close_range
        | libc::SYS_pidfd_open => {}
        _ => return Err(libc::EINVAL),
    }
    // SAFETY: sizes and flags of all ones are refused (E2BIG, EINVAL) before any pointer is read, and a pointer of all
    // ones is never readable (EFAULT).
    match unsafe { syscall(number, [usize::MAX; 6]) } {
        Err(errno @ (libc::ENOSYS | libc::EPERM)) => Err(errno),
        _ => Ok(()),
    }
}

/// Whether seccomp(2) knows all these `SECCOMP_FILTER_FLAG_*`: without a program it says EFAULT to flags it knows and
/// EINVAL to others, and does nothing.
pub fn knows_filter_flags(flags: u32) -> bool {
    let operation = super::abi::SECCOMP_SET_MODE_FILTER as usize;
    // SAFETY: the program's address is null, which the kernel finds unreadable before it does anything.
    let answer = unsafe { syscall(libc::SYS_seccomp, [operation, flags as usize, 0, 0, 0, 0]) };
    answer == Err(libc::EFAULT)
}

/// landlock_create_ruleset(2) `LANDLOCK_CREATE_RULESET_VERSION`: the ABI. `ENOSYS` or `EOPNOTSUPP` when there is none.
pub fn landlock_abi() -> Raw {
    // SAFETY: no attributes are given, their size is 0, the flag is 1: only a number comes back.
    unsafe { syscall(libc::SYS_landlock_create_ruleset, [0, 0, 1, 0, 0, 0]) }
}

/// The hard limit of this process for a resource (`RLIMIT_*`, prlimit(2)).
pub fn hard_limit(resource: u32) -> Raw<u64> {
    let mut limit = [0u64; 2];
    // SAFETY: the kernel writes one `struct rlimit64` of two words into `limit`.
    unsafe { syscall(libc::SYS_prlimit64, [0, resource as usize, 0, limit.as_mut_ptr() as usize, 0, 0]) }?;
    Ok(limit[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signal_mask_is_read_and_put_back() {
        let before = signal_mask(None).unwrap();
        let usr1 = 1u64 << (libc::SIGUSR1 - 1);
        assert_eq!(signal_mask(Some(before | usr1)), Ok(before));
        assert_eq!(signal_mask(None), Ok(before | usr1));
        assert_eq!(wait_signal(usr1, 0), Err(libc::EAGAIN));
        // SAFETY: gettid and tgkill take integers only; the signal goes to this very thread, which blocks it.
        unsafe {
            let tid = syscall(libc::SYS_gettid, [0; 6]).unwrap();
            let group = std::process::id() as usize;
            syscall(libc::SYS_tgkill, [group, tid, libc::SIGUSR1 as usize, 0, 0, 0]).unwrap();
        }
        let received = wait_signal(usr1, 1000).unwrap();
        assert_eq!((received.signal, received.pid), (libc::SIGUSR1, std::process::id() as i32));
        assert_eq!(signal_mask(Some(before)), Ok(before | usr1));
    }

    #[test]
    fn probes() {
        assert_eq!(probe(libc::SYS_openat2), Ok(()));
        assert_eq!(probe(libc::SYS_clone3), Ok(()));
        assert_eq!(probe(libc::SYS_mount_setattr), Ok(()));
        assert!(knows_filter_flags(0) && !knows_filter_flags(1 << 31));
        assert_eq!(probe(libc::SYS_kill), Err(libc::EINVAL), "nothing else is called");
        assert_eq!(attribute_length(c"/", c"security.capability"), Err(libc::ENODATA));
    }
}
