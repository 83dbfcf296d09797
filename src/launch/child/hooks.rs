//! createContainer and startContainer hooks: run in the container's namespaces, state on standard input, killed after
//! their time. The child waits for each; a failed one is the child's failure.

use super::{Child, Done, Naming, fail};
use crate::kernel::{abi, raw};
use crate::launch::report::Call;
use crate::plan::Slot;

impl Child<'_> {
    pub(super) fn spawn_hook(&mut self, hook: u16, state: Slot) -> Done {
        let arena = self.arena;
        let (Some(entry), Some(pointers)) = (arena.hooks.get(hook as usize), self.hooks.get(hook as usize)) else {
            return fail(Call::Verify, libc::ERANGE);
        };
        // A read position of its own: the memfd opened anew.
        let mut path = [0u8; 32];
        let path = super::mounts::proc_path(self.slot(state)?, &mut path);
        let pipe = self.state_pipe(path)?;
        let program = arena.c_str(entry.path);
        let arguments = (&pointers.0, &pointers.1);
        let report = self.report;
        let forked = raw::fork_hook(|| {
            let _ = raw::dup3(pipe, 0, 0);
            let _ = raw::close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
            raw::execve(program, arguments.0, arguments.1) as u8 as i32
        });
        let _ = (raw::close(pipe), report);
        let (pid, pidfd) = forked.named(Call::Clone)?;
        let result = self.await_hook(pid, pidfd, entry.timeout);
        let _ = raw::close(pidfd);
        result
    }

    fn state_pipe(&self, path: &core::ffi::CStr) -> Done<i32> {
        raw::openat(abi::AT_FDCWD, path, abi::O_RDONLY | abi::O_CLOEXEC, 0).named(Call::Open)
    }

    /// Exit status 0, or a failure whose errno is `ETIME` for the time-out, else the status.
    fn await_hook(&mut self, pid: i32, pidfd: i32, timeout: u32) -> Done {
        let milliseconds = if timeout == 0 { -1 } else { timeout as i64 * 1000 };
        let mut entries = [libc::pollfd { fd: pidfd, events: libc::POLLIN, revents: 0 }];
        let ready = raw::poll(&mut entries, milliseconds).named(Call::Hook)?;
        if ready == 0 {
            let _ = raw::pidfd_send_signal(pidfd, libc::SIGKILL);
        }
        let (_, status) = raw::wait4(pid, 0).named(Call::Hook)?;
        match status {
            _ if ready == 0 => fail(Call::Hook, libc::ETIME),
            0 => Ok(()),
            status => {
                self.note_status(status);
                fail(Call::Hook, libc::ECHILD)
            }
        }
    }

    /// "exit status 3" or "signal 9" into the report.
    fn note_status(&mut self, status: i32) {
        let (text, number): (&[u8], i32) = match status & 0x7f {
            0 => (b"exit status ", (status >> 8) & 0xff),
            signal => (b"signal ", signal),
        };
        let digits = [b'0' + (number / 100) as u8, b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8];
        let skip = if number > 99 {
            0
        } else if number > 9 {
            1
        } else {
            2
        };
        for (place, byte) in self.words.iter_mut().zip(text.iter().chain(digits.iter().skip(skip)).chain(&[0])) {
            *place = *byte;
        }
    }
}
