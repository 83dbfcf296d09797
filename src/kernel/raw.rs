//! System calls without the C library: no allocation, no errno variable, no lock. The child half lives on these alone.
//!
//! Every wrapper takes plain integers, descriptors or C strings and gives `Result<usize, Errno>`. They are safe to call
//! because they only hand the kernel memory that the borrow checker knows; the few that can't promise this are `unsafe`.
//!
//! Here is how a call is made and what a process does to itself and to others (identity, namespaces, signals, sockets);
//! files and mounts are in `raw/files.rs`, under the same names.

use core::arch::asm;
use core::ffi::CStr;

use super::abi::{CapabilityData, CloneArgs, FilterProgram, InterfaceRequest};

/// An errno value, positive.
pub type Errno = i32;
/// What a raw call gives.
pub type Raw<T = usize> = Result<T, Errno>;

/// One system call with six arguments.
///
/// # Safety
/// The arguments must be what the call expects: pointers valid for what the kernel reads and writes.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub unsafe fn syscall(number: i64, arguments: [usize; 6]) -> Raw {
    let result: isize;
    // SAFETY: the x86_64 convention (syscall(2)): rcx and r11 are clobbered, rax carries the result; the caller
    // promises that the arguments fit the call.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") arguments[0], in("rsi") arguments[1], in("rdx") arguments[2],
            in("r10") arguments[3], in("r8") arguments[4], in("r9") arguments[5],
            lateout("rcx") _, lateout("r11") _,
            options(nostack)
        );
    }
    split(result)
}

/// One system call with six arguments.
///
/// # Safety
/// The arguments must be what the call expects: pointers valid for what the kernel reads and writes.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
pub unsafe fn syscall(number: i64, arguments: [usize; 6]) -> Raw {
    let result: isize;
    // SAFETY: the aarch64 convention (syscall(2)): x8 is the number, x0 the result; the caller promises the arguments.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") arguments[0] as isize => result,
            in("x1") arguments[1], in("x2") arguments[2], in("x3") arguments[3],
            in("x4") arguments[4], in("x5") arguments[5],
            options(nostack)
        );
    }
    split(result)
}

/// One system call with six arguments.
///
/// # Safety
/// The arguments must be what the call expects: pointers valid for what the kernel reads and writes.
#[cfg(target_arch = "riscv64")]
#[inline(always)]
pub unsafe fn syscall(number: i64, arguments: [usize; 6]) -> Raw {
    let result: isize;
    // SAFETY: the riscv64 convention (syscall(2)): a7 is the number, a0 the result; the caller promises the arguments.
    unsafe {
        asm!(
            "ecall",
            in("a7") number,
            inlateout("a0") arguments[0] as isize => result,
            in("a1") arguments[1], in("a2") arguments[2], in("a3") arguments[3],
            in("a4") arguments[4], in("a5") arguments[5],
            options(nostack)
        );
    }
    split(result)
}

#[inline(always)]
fn split(result: isize) -> Raw {
    if (-4095..0).contains(&result) { Err(-result as Errno) } else { Ok(result as usize) }
}

/// A call whose arguments are integers only.
macro_rules! plain {
    ($number:ident $(, $argument:expr)*) => {{
        let mut arguments = [0usize; 6];
        let mut _next = arguments.iter_mut();
        $( if let Some(slot) = _next.next() { *slot = $argument as usize; } )*
        // SAFETY: the arguments are integers or point into memory borrowed for the length of this call.
        unsafe { syscall(libc::$number, arguments) }
    }};
}

// After the macro, which it uses.
mod files;
mod landlock;
pub use files::*;
pub use landlock::*;

fn fd(raw: Raw) -> Raw<i32> {
    raw.map(|value| value as i32)
}

/// clone3(2) as fork: both sides go on from here. `Ok(0)` in the child.
///
/// # Safety
/// The child has only this thread: it may use nothing that another thread could hold locked, and must not return into
/// code that expects the C library to know about it.
#[inline(always)]
pub unsafe fn clone3(arguments: &mut CloneArgs) -> Raw {
    // SAFETY: the structure is valid and its size is given; the caller promises the rest.
    unsafe { syscall(libc::SYS_clone3, [arguments as *mut CloneArgs as usize, size_of::<CloneArgs>(), 0, 0, 0, 0]) }
}

/// A NULL-terminated array of C strings as execve(2) takes it: the strings stay borrowed.
pub struct Pointers<'a> {
    addresses: &'a [usize],
}

impl<'a> Pointers<'a> {
    /// Addresses of C strings, a zero at the end.
    ///
    /// # Safety
    /// Every address but the last must be that of a NUL-terminated string that outlives `'a`.
    pub unsafe fn new(addresses: &'a [usize]) -> Option<Self> {
        (addresses.last() == Some(&0)).then_some(Pointers { addresses })
    }

    /// The same of an array that is known to end in a zero.
    ///
    /// # Safety
    /// As for `new`, and the last entry must be 0.
    pub unsafe fn from_terminated(addresses: &'a [usize]) -> Self {
        Pointers { addresses }
    }
}

/// execve(2). Comes back only with the errno.
pub fn execve(path: &CStr, argv: &Pointers, envp: &Pointers) -> Errno {
    let (argv, envp) = (argv.addresses.as_ptr() as usize, envp.addresses.as_ptr() as usize);
    // SAFETY: the path is a C string; `Pointers` promises the arrays.
    let result = unsafe { syscall(libc::SYS_execve, [path.as_ptr() as usize, argv, envp, 0, 0, 0]) };
    result.err().unwrap_or(0)
}

/// execveat(2) of an open descriptor. Comes back only with the errno.
pub fn execve_descriptor(descriptor: i32, argv: &Pointers, envp: &Pointers) -> Errno {
    let (argv, envp) = (argv.addresses.as_ptr() as usize, envp.addresses.as_ptr() as usize);
    let arguments = [descriptor as usize, c"".as_ptr() as usize, argv, envp, super::abi::AT_EMPTY_PATH as usize, 0];
    // SAFETY: the path is a C string; `Pointers` promises the arrays.
    unsafe { syscall(libc::SYS_execveat, arguments) }.err().unwrap_or(0)
}

/// exit_group(2).
pub fn exit(status: i32) -> ! {
    loop {
        let _ = plain!(SYS_exit_group, status);
    }
}

/// setns(2).
pub fn setns(descriptor: i32, flags: u64) -> Raw {
    plain!(SYS_setns, descriptor, flags)
}

/// unshare(2).
pub fn unshare(flags: u64) -> Raw {
    plain!(SYS_unshare, flags)
}

/// sethostname(2).
pub fn sethostname(name: &[u8]) -> Raw {
    plain!(SYS_sethostname, name.as_ptr(), name.len())
}

/// setdomainname(2).
pub fn setdomainname(name: &[u8]) -> Raw {
    plain!(SYS_setdomainname, name.as_ptr(), name.len())
}

/// prctl(2) with integers.
pub fn prctl(option: i32, two: usize, three: usize, four: usize, five: usize) -> Raw {
    plain!(SYS_prctl, option, two, three, four, five)
}

/// setresuid(2).
pub fn setresuid(uid: u32) -> Raw {
    plain!(SYS_setresuid, uid, uid, uid)
}

/// setresgid(2).
pub fn setresgid(gid: u32) -> Raw {
    plain!(SYS_setresgid, gid, gid, gid)
}

/// setgroups(2).
pub fn setgroups(groups: &[u32]) -> Raw {
    plain!(SYS_setgroups, groups.len(), groups.as_ptr())
}

/// capset(2), version 3, of this thread.
pub fn capset(effective: u64, permitted: u64, inheritable: u64) -> Raw {
    let header = [super::abi::LINUX_CAPABILITY_VERSION_3, 0];
    let word = |shift: u32| CapabilityData {
        effective: (effective >> shift) as u32,
        permitted: (permitted >> shift) as u32,
        inheritable: (inheritable >> shift) as u32,
    };
    let data = [word(0), word(32)];
    plain!(SYS_capset, header.as_ptr(), data.as_ptr())
}

/// capget(2), version 3, of this thread: effective, permitted, inheritable.
pub fn capget() -> Raw<(u64, u64, u64)> {
    let header = [super::abi::LINUX_CAPABILITY_VERSION_3, 0];
    // The kernel writes two CapabilityData for version 3.
    let mut data = [CapabilityData::default(); 2];
    plain!(SYS_capget, header.as_ptr(), data.as_mut_ptr())?;
    let [low, high] = data;
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Ok((
        join(low.effective, high.effective),
        join(low.permitted, high.permitted),
        join(low.inheritable, high.inheritable),
    ))
}

/// seccomp(2) `SECCOMP_SET_MODE_FILTER`. The program is a row of 8-byte instructions.
pub fn seccomp_filter(flags: u32, program: &[u8]) -> Raw {
    let program = FilterProgram { length: (program.len() / 8) as u16, filter: program.as_ptr() };
    plain!(SYS_seccomp, super::abi::SECCOMP_SET_MODE_FILTER, flags, &program as *const FilterProgram)
}

/// setsid(2).
pub fn setsid() -> Raw {
    plain!(SYS_setsid)
}

/// ioctl(2) with an integer argument.
pub fn ioctl(descriptor: i32, request: u64, argument: usize) -> Raw {
    plain!(SYS_ioctl, descriptor, request, argument)
}

/// `TIOCSPTLCK`: unlock (0) a pty.
pub fn unlock_pty(master: i32) -> Raw {
    let zero: i32 = 0;
    plain!(SYS_ioctl, master, libc::TIOCSPTLCK, &zero as *const i32)
}

/// `TIOCSWINSZ`.
pub fn set_window_size(terminal: i32, rows: u16, columns: u16) -> Raw {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    plain!(SYS_ioctl, terminal, libc::TIOCSWINSZ, &size as *const libc::winsize)
}

/// Brings the interface up (`SIOCSIFFLAGS`, netdevice(7)).
pub fn interface_up(name: &[u8]) -> Raw {
    let mut request = InterfaceRequest { name: [0; 16], flags: libc::IFF_UP as i16, rest: [0; 22] };
    for (to, from) in request.name.iter_mut().take(15).zip(name) {
        *to = *from;
    }
    let socket = plain!(SYS_socket, libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0)?;
    let result = plain!(SYS_ioctl, socket, libc::SIOCSIFFLAGS, &request as *const InterfaceRequest);
    let _ = close(socket as i32);
    result
}

/// personality(2).
pub fn personality(persona: u32) -> Raw {
    plain!(SYS_personality, persona)
}

/// keyctl(2) `KEYCTL_JOIN_SESSION_KEYRING`: the keyring's serial; a fresh one without a name.
pub fn join_session_keyring(name: Option<&CStr>) -> Raw {
    plain!(SYS_keyctl, super::abi::KEYCTL_JOIN_SESSION_KEYRING, name.map_or(0, |name| name.as_ptr() as usize))
}

/// geteuid(2).
pub fn geteuid() -> Raw {
    plain!(SYS_geteuid)
}

/// keyctl(2) `KEYCTL_SETPERM`.
pub fn keyring_permissions(serial: usize, permissions: u32) -> Raw {
    plain!(SYS_keyctl, super::abi::KEYCTL_SETPERM, serial, permissions)
}

/// keyctl(2) `KEYCTL_DESCRIBE`: bytes of the description.
pub fn describe_keyring(serial: usize, buffer: &mut [u8]) -> Raw {
    plain!(SYS_keyctl, super::abi::KEYCTL_DESCRIBE, serial, buffer.as_mut_ptr(), buffer.len())
}

/// prlimit(2) of a process (0: this one).
pub fn set_rlimit(pid: i32, resource: u32, soft: u64, hard: u64) -> Raw {
    let limit = [soft, hard];
    plain!(SYS_prlimit64, pid, resource, limit.as_ptr(), 0)
}

/// rt_sigaction(2): the default action for a signal.
pub fn default_signal(signal: i32) -> Raw {
    let action = [0u64; 4];
    plain!(SYS_rt_sigaction, signal, action.as_ptr(), 0, 8)
}

/// rt_sigprocmask(2): exactly these signals are blocked.
pub fn set_signal_mask(mask: u64) -> Raw {
    plain!(SYS_rt_sigprocmask, libc::SIG_SETMASK, &mask as *const u64, 0, 8)
}

/// pidfd_open(2).
pub fn pidfd_open(pid: i32) -> Raw<i32> {
    fd(plain!(SYS_pidfd_open, pid, 0))
}

/// pidfd_send_signal(2).
pub fn pidfd_send_signal(pidfd: i32, signal: i32) -> Raw {
    plain!(SYS_pidfd_send_signal, pidfd, signal, 0, 0)
}

/// pidfd_getfd(2).
pub fn pidfd_getfd(pidfd: i32, descriptor: i32) -> Raw<i32> {
    fd(plain!(SYS_pidfd_getfd, pidfd, descriptor, 0))
}

/// poll(2) through ppoll(2) with milliseconds (negative: for ever): how many are ready.
pub fn poll(entries: &mut [libc::pollfd], milliseconds: i64) -> Raw {
    let time = [milliseconds / 1000, (milliseconds % 1000) * 1_000_000];
    let pointer = if milliseconds < 0 { 0 } else { time.as_ptr() as usize };
    plain!(SYS_ppoll, entries.as_mut_ptr(), entries.len(), pointer, 0, 8)
}

/// wait4(2): pid and status.
pub fn wait4(pid: i32, options: i32) -> Raw<(i32, i32)> {
    let mut status: i32 = 0;
    let pid = plain!(SYS_wait4, pid, &mut status as *mut i32, options, 0)?;
    Ok((pid as i32, status))
}

/// kill(2).
pub fn kill(pid: i32, signal: i32) -> Raw {
    plain!(SYS_kill, pid, signal)
}

/// sendmsg(2) of one payload with one descriptor (`SCM_RIGHTS`, unix(7)).
pub fn send_descriptor(socket: i32, payload: &[u8], descriptor: i32) -> Raw {
    let mut vector = libc::iovec { iov_base: payload.as_ptr() as *mut libc::c_void, iov_len: payload.len() };
    // cmsghdr is 16 bytes on 64-bit Linux: length, level, type; then the descriptor, padded to 24.
    let mut control = [0u64; 3];
    control[0] = 20;
    control[1] = (libc::SOL_SOCKET as u32 as u64) | ((libc::SCM_RIGHTS as u32 as u64) << 32);
    control[2] = descriptor as u32 as u64;
    if cfg!(target_endian = "big") {
        return Err(libc::ENOSYS);
    }
    // SAFETY: msghdr is integers and pointers: all zeroes are a valid value.
    let mut message: libc::msghdr = unsafe { core::mem::zeroed() };
    message.msg_iov = &mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = 24;
    plain!(SYS_sendmsg, socket, &message as *const libc::msghdr, libc::MSG_NOSIGNAL)
}

/// send(2) on a connected socket, without SIGPIPE.
pub fn send(socket: i32, bytes: &[u8]) -> Raw {
    plain!(SYS_sendto, socket, bytes.as_ptr(), bytes.len(), libc::MSG_NOSIGNAL, 0, 0)
}

/// sched_setattr(2) of a process (0: this one); the structure of 56 bytes, which has utilization clamps (Linux 5.3).
pub fn sched_setattr(pid: i32, attributes: &[u64; 7]) -> Raw {
    plain!(SYS_sched_setattr, pid, attributes.as_ptr(), 0)
}

/// ioprio_set(2) of a process (0: this one).
pub fn ioprio_set(pid: i32, value: u16) -> Raw {
    plain!(SYS_ioprio_set, 1, pid, value)
}

/// sched_setaffinity(2) of a process (0: this one): bit n is processor n, the mask is whole words of 64 bits.
pub fn sched_setaffinity(pid: i32, mask: &[u8]) -> Raw {
    plain!(SYS_sched_setaffinity, pid, mask.len(), mask.as_ptr())
}

/// set_mempolicy(2) of this thread: mode with its flags, and the nodes as a mask of whole words of 64 bits.
pub fn set_mempolicy(mode: u32, nodes: &[u8]) -> Raw {
    // The kernel takes one bit less than it is told.
    plain!(SYS_set_mempolicy, mode, nodes.as_ptr(), nodes.len() * 8 + 1)
}

/// gettid(2), getpid(2): this process's id in its own namespace.
pub fn getpid() -> i32 {
    plain!(SYS_getpid).unwrap_or(0) as i32
}

/// clone3(2) as fork for a hook: `body` runs in the new process, which leaves with its result. Pid and pidfd.
pub fn fork_hook(body: impl FnOnce() -> i32) -> Raw<(i32, i32)> {
    let mut pidfd: i32 = -1;
    let mut arguments = CloneArgs {
        flags: libc::CLONE_PIDFD as u64,
        pidfd: &mut pidfd as *mut i32 as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    // SAFETY: the caller is the container's child, which has one thread; `body` ends in exit_group.
    match unsafe { clone3(&mut arguments) }? {
        0 => exit(body()),
        pid => Ok((pid as i32, pidfd)),
    }
}
