//! createContainer and startContainer hooks: run in the container's namespaces, state on standard input, killed after
//! their time. The child waits for each; a failed one is the child's failure.

use super::{Child, Done, Naming, fail};
use crate::kernel::raw;
use crate::plan::Slot;
use crate::plan::report::Call;

impl Child<'_> {
    pub(super) fn spawn_hook(&mut self, hook: u16, state: Slot, outputs: [Option<Slot>; 2]) -> Done {
        let arena = self.arena;
        let (Some(entry), Some(pointers)) = (arena.hooks.get(hook as usize), self.hooks.get(hook as usize)) else {
            return fail(Call::Verify, libc::ERANGE);
        };
        let state = self.slot(state)?;
        let mut files = [-1; 2];
        for (file, slot) in files.iter_mut().zip(outputs) {
            if let Some(slot) = slot {
                *file = self.slot(slot)?;
            }
        }
        raw::rewind(state).named(Call::Read)?;
        let program = arena.c_str(entry.path);
        let (arguments, environment) = (pointers.0.pointers(), pointers.1.pointers());
        let forked = raw::fork_hook(|| {
            let mut ready = raw::dup3(state, 0, 0);
            for (number, file) in (1..).zip(files) {
                if file >= 0 {
                    ready = ready.and_then(|_| raw::dup3(file, number, 0));
                }
            }
            let ready = ready.and_then(|_| raw::close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC));
            match ready {
                Ok(_) => raw::execve(program, &arguments, &environment) as u8 as i32,
                Err(errno) => errno as u8 as i32,
            }
        });
        let (pid, pidfd) = forked.named(Call::Clone)?;
        let result = self.await_hook(pid, pidfd, entry.timeout);
        let _ = raw::close(pidfd);
        result
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
