//! Signals of a runtime that stays in the foreground: all are blocked before clone3(2), so that none gets lost between
//! the child's birth and the wait, and then passed on.

use crate::error::{Error, Result};
use crate::kernel::parent::{self, Received};
use crate::kernel::raw;

/// Every signal is blocked; put back when dropped.
#[derive(Debug)]
pub struct Blocked {
    before: u64,
}

impl Blocked {
    /// Blocks all signals, and gives SIGCHLD its default action: a caller that ignored it would have our children
    /// vanish without their status (wait(2)).
    ///
    /// # Errors
    /// When rt_sigprocmask(2) or rt_sigaction(2) fails.
    pub fn all() -> Result<Self> {
        let failed = |call: &'static str| move |errno| Error::refused("cannot block signals").call(call, errno);
        raw::default_signal(libc::SIGCHLD).map_err(failed("rt_sigaction"))?;
        let before = parent::signal_mask(Some(u64::MAX)).map_err(failed("rt_sigprocmask"))?;
        Ok(Blocked { before })
    }

    /// The mask before: bit n-1 is signal n.
    pub fn before(&self) -> u64 {
        self.before
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        let _ = raw::set_signal_mask(self.before);
    }
}

/// What to do about a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    /// A child has ended.
    Reap,
    /// The terminal has another size.
    Resize,
    /// It goes on to the container's first process.
    Forward(i32),
    /// Ours alone.
    Ignore,
}

/// `si_code` of what the kernel itself sent (sigaction(2)).
const FROM_KERNEL: i32 = 128;

/// `same_session`: the payload shares the terminal's session, so that it has got the terminal's own signals already.
pub(super) fn reaction(received: Received, same_session: bool) -> Reaction {
    match received.signal {
        libc::SIGCHLD => Reaction::Reap,
        libc::SIGWINCH => Reaction::Resize,
        libc::SIGURG => Reaction::Ignore,
        // Raised by what this process does at a terminal or pipe of its own, when the kernel sends them.
        libc::SIGPIPE | libc::SIGTTIN | libc::SIGTTOU if received.code > 0 => Reaction::Ignore,
        _ if same_session && received.code == FROM_KERNEL => Reaction::Ignore,
        signal => Reaction::Forward(signal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_and_what_does_not() {
        let from = |signal, code| reaction(Received { signal, code, pid: 1 }, false);
        assert_eq!(from(libc::SIGCHLD, 1), Reaction::Reap);
        assert_eq!(from(libc::SIGWINCH, FROM_KERNEL), Reaction::Resize);
        assert_eq!(from(libc::SIGURG, 0), Reaction::Ignore);
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGTSTP, libc::SIGCONT, libc::SIGUSR1, 34, 64] {
            assert_eq!(from(signal, 0), Reaction::Forward(signal));
        }
        assert_eq!(from(libc::SIGPIPE, 0), Reaction::Forward(libc::SIGPIPE), "sent by kill(1)");
        assert_eq!(from(libc::SIGTTIN, FROM_KERNEL), Reaction::Ignore);
        assert_eq!(from(libc::SIGINT, FROM_KERNEL), Reaction::Forward(libc::SIGINT));
        let shared = Received { signal: libc::SIGINT, code: FROM_KERNEL, pid: 0 };
        assert_eq!(reaction(shared, true), Reaction::Ignore);
        assert_eq!(reaction(Received { code: 0, ..shared }, true), Reaction::Forward(libc::SIGINT));
    }
}
