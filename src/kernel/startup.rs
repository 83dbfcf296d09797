//! The two ends of this program without the standard library's: its start-up reads /proc/self/maps and makes a signal
//! stack, its end takes that apart again, some twenty calls for a message about a stack overflow.

use super::raw::{self, syscall};

/// What of the standard library's start-up kiste relies on: 0, 1 and 2 are open, so that nothing we open later gets
/// their numbers, and writing to a closed pipe is an error and not the end.
pub fn begin() {
    let entry = |fd| libc::pollfd { fd, events: 0, revents: 0 };
    let mut entries = [entry(0), entry(1), entry(2)];
    loop {
        match raw::poll(&mut entries, 0) {
            Err(libc::EINTR) => {}
            Err(_) => raw::exit(1),
            Ok(_) => break,
        }
    }
    for entry in entries.iter().filter(|entry| entry.revents & libc::POLLNVAL != 0) {
        // In their order, so that each open fills the lowest gap.
        if raw::openat(libc::AT_FDCWD, c"/dev/null", libc::O_RDWR, 0) != Ok(entry.fd) {
            raw::exit(1);
        }
    }
    let action = [libc::SIG_IGN, 0, 0, 0];
    let (signal, action) = (libc::SIGPIPE as usize, action.as_ptr() as usize);
    // SAFETY: `struct kernel_sigaction` is four words here: handler, flags, restorer, an 8-byte mask; it lives over the call.
    let _ = unsafe { syscall(libc::SYS_rt_sigaction, [signal, action, 0, 8, 0, 0]) };
}

/// Ends the program at once: memory and descriptors are the kernel's to free. What was printed is flushed before.
pub fn end(status: u8) -> ! {
    let _ = std::io::Write::flush(&mut std::io::stdout());
    raw::exit(i32::from(status))
}
