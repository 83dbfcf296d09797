//! The allocator of debug builds: it ends a child that allocates or frees between clone3(2) and execve(2). Release builds
//! have none of it.
//!
//! The child must do neither: it may be charged to the container's memory limit, and the design's measure of start-up time
//! is a child that touches few pages. Every test that starts a container runs under it.

/// From here on this process may not allocate.
#[cfg(not(debug_assertions))]
pub(super) fn close() {}

#[cfg(debug_assertions)]
pub(super) use debug::close;

/// For a test whose child is a test program of its own.
#[cfg(all(test, debug_assertions))]
pub(crate) use debug::lift;

/// For a test whose child is a test program of its own.
#[cfg(all(test, not(debug_assertions)))]
pub(crate) fn lift() {}

#[cfg(debug_assertions)]
mod debug {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::sync::atomic::{AtomicBool, Ordering};

    use crate::kernel::raw;

    /// Set in the child's copy of the memory alone.
    static CLOSED: AtomicBool = AtomicBool::new(false);

    /// From here on this process may not allocate.
    pub(in crate::kernel) fn close() {
        CLOSED.store(true, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn lift() {
        CLOSED.store(false, Ordering::Relaxed);
    }

    struct Guarded;

    #[global_allocator]
    static ALLOCATOR: Guarded = Guarded;

    fn check(what: &[u8]) {
        if CLOSED.load(Ordering::Relaxed) {
            let _ = raw::write(2, what);
            // 128 + SIGABRT, as a shell reports an abort; the signal itself may be blocked.
            raw::exit(134);
        }
    }

    // SAFETY: every method hands its arguments on to the system's allocator unchanged, or does not come back.
    unsafe impl GlobalAlloc for Guarded {
        // SAFETY: the trait's contract is the caller's, and is the same for `System`.
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            check(b"kiste: the child allocates memory after clone3\n");
            // SAFETY: as above.
            unsafe { System.alloc(layout) }
        }

        // SAFETY: as for `alloc`.
        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            check(b"kiste: the child allocates memory after clone3\n");
            // SAFETY: as above.
            unsafe { System.alloc_zeroed(layout) }
        }

        // SAFETY: as for `alloc`.
        unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            check(b"kiste: the child allocates memory after clone3\n");
            // SAFETY: as above.
            unsafe { System.realloc(place, layout, size) }
        }

        // SAFETY: as for `alloc`.
        unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
            check(b"kiste: the child frees memory after clone3\n");
            // SAFETY: as above.
            unsafe { System.dealloc(place, layout) }
        }
    }

    #[cfg(test)]
    mod tests {
        use crate::kernel::owned::fork_into;
        use crate::kernel::raw;

        /// The exit status of a child that runs `body`.
        fn status(body: impl FnOnce() -> i32) -> i32 {
            let child = fork_into(0, None, body).unwrap();
            let status = loop {
                match raw::wait4(child.pid, libc::__WALL) {
                    Err(libc::EINTR) => {}
                    result => break result.unwrap().1,
                }
            };
            assert!(libc::WIFEXITED(status), "{status:#x}");
            libc::WEXITSTATUS(status)
        }

        #[test]
        fn a_child_that_allocates_ends_there() {
            let number = std::hint::black_box(7);
            assert_eq!(status(|| number), 7);
            assert_eq!(status(|| std::hint::black_box(Box::new(number)).abs()), 134);
        }

        #[test]
        fn a_child_that_frees_ends_there() {
            let text = String::from("made by the parent");
            assert_eq!(status(move || text.len() as i32), 134);
        }
    }
}
