//! Stops the runtime at chosen system calls, so that a test can look at its processes there: a seccomp listener.

use std::io::IoSlice;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Waits for the calls of a command and lets them go on.
pub struct Pauses {
    socket: UnixStream,
}

/// `SECCOMP_IOCTL_NOTIF_RECV` and `SECCOMP_IOCTL_NOTIF_SEND` (linux/seccomp.h).
const RECEIVE: u64 = 0xc050_2100;
const SEND: u64 = 0xc018_2101;

/// The command, and what it starts, stops at these system calls. It gets no_new_privs.
pub fn at(command: &mut Command, calls: &[i64]) -> Pauses {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    let op = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut program = vec![op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)];
    for call in calls {
        program.push(op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, *call as u32));
        program.push(op(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_USER_NOTIF));
    }
    program.push(op(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW));
    // SAFETY: system calls only; what they point to lives in the closure or on its stack.
    unsafe {
        command.pre_exec(move || {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            let all = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
            let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
            let listener = libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &all) as i32;
            if listener < 0 {
                return Err(std::io::Error::last_os_error());
            }
            let descriptors = [listener];
            let control = [nix::sys::socket::ControlMessage::ScmRights(&descriptors)];
            let flags = nix::sys::socket::MsgFlags::empty();
            nix::sys::socket::sendmsg::<()>(theirs.as_raw_fd(), &[IoSlice::new(b"x")], &control, flags, None)?;
            Ok(())
        });
    }
    Pauses { socket: ours }
}

impl Pauses {
    /// Calls `look` with the process and the number of each call, until the command and all it started have ended.
    pub fn each(self, mut look: impl FnMut(i32, i64)) {
        let listener: OwnedFd = crate::harness::pty::receive_descriptor(&self.socket);
        loop {
            let mut entry = [libc::pollfd { fd: listener.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
            // SAFETY: one entry; the structures are those the two requests read and fill, all-zero before.
            let notification = unsafe {
                let ready = libc::poll(entry.as_mut_ptr(), 1, (10_000.0 * crate::harness::slow()) as i32);
                if ready <= 0 || entry[0].revents & libc::POLLIN == 0 {
                    return;
                }
                let mut notification: libc::seccomp_notif = std::mem::zeroed();
                if libc::ioctl(listener.as_raw_fd(), RECEIVE, &mut notification) != 0 {
                    continue;
                }
                notification
            };
            look(notification.pid as i32, notification.data.nr.into());
            let mut answer = libc::seccomp_notif_resp {
                id: notification.id,
                val: 0,
                error: 0,
                flags: libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
            };
            // SAFETY: the structure is the one the request reads.
            unsafe { libc::ioctl(listener.as_raw_fd(), SEND, &mut answer) };
        }
    }
}
