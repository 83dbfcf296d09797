//! What only sandboxes do: files made in an empty root, the inner user namespace, Landlock, the reaper.

use super::{Child, Done, Naming, fail};
use crate::kernel::{abi, raw};
use crate::plan::arena::Range;
use crate::plan::report::Call;
use crate::plan::{Bytes, Slot, Text};

impl Child<'_> {
    pub(super) fn file(&self, at: Slot, name: Text, mode: u32, bytes: Bytes) -> Done {
        let flags = abi::O_WRONLY | libc::O_CREAT | libc::O_EXCL | abi::O_NOFOLLOW | abi::O_CLOEXEC;
        let file = raw::openat(self.slot(at)?, self.arena.c_str(name), flags, mode).named(Call::Open)?;
        let mut rest = self.arena.get(bytes);
        let mut result = Ok(());
        while !rest.is_empty() && result.is_ok() {
            result = match raw::write(file, rest) {
                Ok(written) => {
                    rest = rest.get(written..).unwrap_or_default();
                    Ok(())
                }
                Err(errno) => fail(Call::Write, errno),
            };
        }
        let _ = raw::close(file);
        result
    }

    pub(super) fn mode(&self, root: Slot, path: Text, mode: u32) -> Done {
        // A FIFO nobody writes to would hold us for ever.
        let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
        let found = self.open_in(self.slot(root)?, self.arena.c_str(path), flags).named(Call::Open)?;
        let result = raw::fchmod(found, mode).named(Call::Chmod);
        let _ = raw::close(found);
        result.map(drop)
    }

    /// A parent that ended before the call is told by its socket: nobody listens at the other end any more.
    pub(super) fn die_with_parent(&self) -> Done {
        self.prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as usize)?;
        let mut entries = [libc::pollfd { fd: self.report, events: 0, revents: 0 }];
        raw::poll(&mut entries, 0).named(Call::Parent)?;
        let [entry] = entries;
        if entry.revents & libc::POLLHUP == 0 { Ok(()) } else { fail(Call::Parent, libc::EPIPE) }
    }

    /// The maps of a process that nobody may trace are the host root's: it is dumpable while it writes them, which lets its
    /// own user trace it, who is also the payload's.
    pub(super) fn inner_user_namespace(&self, proc: Slot, uid: u32, gid: u32) -> Done {
        let proc = self.slot(proc)?;
        raw::unshare(libc::CLONE_NEWUSER as u64).named(Call::Unshare)?;
        self.prctl(libc::PR_SET_DUMPABLE, 1)?;
        self.write_below(proc, c"thread-self/setgroups", b"deny")?;
        for (path, id) in [(c"thread-self/uid_map", uid), (c"thread-self/gid_map", gid)] {
            let mut line = [0u8; 16];
            self.write_below(proc, path, map_line(id, &mut line))?;
        }
        self.prctl(libc::PR_SET_DUMPABLE, 0)
    }

    pub(super) fn landlock(&self, root: Slot) -> Done {
        let Some(([files, network, scopes], allowed)) = &self.arena.landlock else {
            return fail(Call::Verify, libc::ERANGE);
        };
        let ruleset = raw::landlock_create([*files, *network, *scopes]).named(Call::Landlock)?;
        let root = self.slot(root)?;
        for (path, access) in allowed {
            let found = match self.open_in(root, self.arena.c_str(*path), abi::O_PATH) {
                Ok(found) => found,
                // Nothing there to be allowed.
                Err(libc::ENOENT) => continue,
                Err(errno) => return fail(Call::Open, errno),
            };
            raw::landlock_allow(ruleset, found, *access).named(Call::Landlock)?;
            let _ = raw::close(found);
        }
        raw::landlock_restrict(ruleset).named(Call::Landlock)?;
        let _ = raw::close(ruleset);
        Ok(())
    }

    pub(super) fn find_directory(&mut self, candidates: Range, names: Range) -> Done {
        let arena = self.arena;
        let mut last = Err(libc::ENOENT);
        for (candidate, name) in arena.texts(candidates).iter().zip(arena.texts(names)) {
            last = raw::chdir(arena.c_str(*candidate));
            if last.is_ok() {
                self.environment.replace_last(arena.c_str(*name));
                break;
            }
        }
        last.named(Call::Chdir).map(drop)
    }

    /// What the caller writes is of no account, nor whether it writes at all before it closes.
    pub(super) fn await_byte(&self, descriptor: i32) -> Done {
        let mut byte = [0u8; 1];
        while let Err(libc::EINTR) = raw::read(descriptor, &mut byte) {}
        let _ = raw::close(descriptor);
        Ok(())
    }

    /// The new process carries out the rest of the plan; this one never comes back.
    pub(super) fn reaper(&mut self, index: usize, status: i32, sync: i32, locks: Range) -> Done {
        let (payload, pidfd) = raw::fork_hook(|| self.run_from(index + 1)).named(Call::Clone)?;
        self.close_but([status, sync, self.report])?;
        for path in self.arena.texts(locks) {
            if let Err(failure) = lock(self.arena.c_str(*path)) {
                let _ = raw::pidfd_send_signal(pidfd, libc::SIGKILL);
                return Err(failure);
            }
        }
        // Its end-of-file is what tells the runtime that the payload runs.
        let _ = raw::close(self.report);
        let mut leave = 1;
        loop {
            match raw::wait4(-1, libc::__WALL) {
                Ok((pid, ended)) if pid == payload => {
                    leave = leave_with(ended);
                    let _ = raw::write(status, &(leave as u64 + 1).to_ne_bytes());
                    let _ = raw::close(status);
                }
                Ok(_) | Err(libc::EINTR) => {}
                // Nobody is left.
                Err(_) => raw::exit(leave),
            }
        }
    }

    /// Closes everything from 3 on but these; -1 is none.
    fn close_but(&self, mut kept: [i32; 3]) -> Done {
        kept.sort_unstable();
        let mut next = 3;
        for number in kept {
            if number > next {
                raw::close_range(next as u32, number as u32 - 1, 0).named(Call::CloseRange)?;
            }
            next = next.max(number + 1);
        }
        raw::close_range(next as u32, u32::MAX, 0).named(Call::CloseRange).map(drop)
    }
}

/// Locks a file inside for reading, for as long as this process lives.
fn lock(path: &core::ffi::CStr) -> Done {
    let file = raw::openat(libc::AT_FDCWD, path, libc::O_RDONLY | abi::O_CLOEXEC, 0).named(Call::Open)?;
    let (l_type, l_whence) = (libc::F_RDLCK as i16, libc::SEEK_SET as i16);
    let wanted = libc::flock { l_type, l_whence, l_start: 0, l_len: 0, l_pid: 0 };
    raw::fcntl(file, libc::F_SETLK, &raw const wanted as usize).named(Call::Open).map(drop)
}

/// The exit status, or 128 and the signal.
fn leave_with(status: i32) -> i32 {
    match status & 0x7f {
        0 => (status >> 8) & 0xff,
        signal => 128 + signal,
    }
}

/// `1000 0 1`: user 0 of the namespace around is this one inside.
fn map_line(id: u32, line: &mut [u8; 16]) -> &[u8] {
    let mut digits = [0u8; 10];
    let (mut rest, mut count) = (id, 0);
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        (rest, count) = (rest / 10, count + 1);
        if rest == 0 {
            break;
        }
    }
    let text = digits.iter().skip(digits.len() - count).chain(b" 0 1");
    for (place, byte) in line.iter_mut().zip(text) {
        *place = *byte;
    }
    line.get(..count + 4).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_written_in_digits() {
        for id in [0, 7, 1000, u32::MAX - 1] {
            assert_eq!(map_line(id, &mut [0; 16]), format!("{id} 0 1").as_bytes());
        }
        assert_eq!([leave_with(7 << 8), leave_with(9), leave_with(0)], [7, 137, 0]);
    }
}
