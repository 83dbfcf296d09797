//! The child half: a loop over the plan's operations. No allocation, no lock, no panic, no formatting: raw calls on bytes
//! that were ready before clone3 (tests/architecture.rs holds the folder to it).
//!
//! It decides nothing but what a *deciding* operation says. The first failure is reported as (step, call, errno) and ends
//! the process; nothing is tried a second way.

mod copy;
mod executable;
mod files;
mod hidden;
mod hooks;
mod live;
mod mounts;
mod privileges;
mod root;
mod sandbox;
mod session;
mod steps;

use crate::kernel::abi;
use crate::kernel::own_image::Detached;
use crate::kernel::raw::{self, Raw};
use crate::kernel::strings::{Environment, Strings};
use crate::kernel::timings;
use crate::plan::report::{Call, Message, Record, WORDS};
use crate::plan::{Arena, Barrier, Slot, Step};

/// Everything the child needs, made by the parent before clone3; the child writes to its own copy.
pub struct Child<'a> {
    /// Strings, programs, tables.
    pub arena: &'a Arena,
    /// The program.
    pub steps: &'a [Step],
    /// Descriptor numbers by slot, −1: empty.
    pub slots: &'a mut [i32],
    /// The socket to the parent, −1 once closed.
    pub report: i32,
    /// argv.
    pub argv: &'a Strings<'a>,
    /// envp, with room for HOME.
    pub environment: &'a mut Environment<'a>,
    /// Each hook's argv and envp.
    pub hooks: &'a [(Strings<'a>, Strings<'a>)],
    /// The image that the parent detached, where the child lets go of the file.
    pub image: Option<&'a Detached>,
    /// The FIFO that `start` reads, −1 before the gate.
    pub outcome: i32,
    /// The candidate that `FindExecutable` chose.
    pub chosen: usize,
    /// The mount point that the latest `Ensure` had to make.
    pub made: Option<Slot>,
    /// The kernel's words about the failure.
    pub words: [u8; WORDS],
}

/// A failed call.
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    call: Call,
    errno: i32,
}

/// What operations give.
pub type Done<T = ()> = Result<T, Failure>;

/// Names the call of a raw result.
trait Naming<T> {
    fn named(self, call: Call) -> Done<T>;
}

impl<T> Naming<T> for Raw<T> {
    fn named(self, call: Call) -> Done<T> {
        self.map_err(|errno| Failure { call, errno })
    }
}

fn fail<T>(call: Call, errno: i32) -> Done<T> {
    Err(Failure { call, errno })
}

impl Child<'_> {
    /// Carries out the program. Comes back only with a failure, as the status to leave with.
    pub fn run(&mut self) -> i32 {
        self.run_from(0)
    }

    /// Carries out the program from a step on.
    fn run_from(&mut self, first: usize) -> i32 {
        let steps = self.steps;
        for (index, step) in steps.iter().enumerate().skip(first) {
            timings::step(index);
            if let Err(failure) = self.step(index, step) {
                self.tell_failure(index, failure);
                return 1;
            }
        }
        1
    }

    fn tell_failure(&self, index: usize, failure: Failure) {
        let mut record = Record::new(Message::Failed, index as u32);
        (record.call, record.errno, record.words) = (failure.call, failure.errno, self.words);
        let bytes = record.encode();
        let _ = if self.outcome >= 0 { raw::write(self.outcome, &bytes) } else { raw::send(self.report, &bytes) };
    }

    fn release_image(&self) -> Done {
        match self.image {
            Some(image) => {
                image.leave_file().named(Call::Mmap)?;
                image.replace().named(Call::Prctl)
            }
            None => fail(Call::Verify, libc::EINVAL),
        }
    }

    /// The descriptor in a slot.
    fn slot(&self, slot: Slot) -> Done<i32> {
        match self.slots.get(slot.0 as usize) {
            Some(&descriptor) if descriptor >= 0 => Ok(descriptor),
            _ => fail(Call::Verify, libc::EBADF),
        }
    }

    /// Puts a descriptor into a slot.
    fn put(&mut self, slot: Slot, descriptor: i32) -> Done {
        match self.slots.get_mut(slot.0 as usize) {
            Some(place) => {
                *place = descriptor;
                Ok(())
            }
            None => fail(Call::Verify, libc::EBADF),
        }
    }

    /// Tells the parent that a barrier is reached and waits for its byte.
    fn wait(&self, barrier: Barrier) -> Done {
        raw::send(self.report, &Record::new(Message::Reached(barrier as u32), 0).encode()).named(Call::Parent)?;
        self.hear()
    }

    /// Tells the parent that all is made and waits until it is recorded: nobody could find a process at the gate whose
    /// runtime was killed before.
    fn ready(&mut self) -> Done {
        raw::send(self.report, &Record::new(Message::Ready, 0).encode()).named(Call::Parent)?;
        self.hear()?;
        let _ = raw::close(self.report);
        self.report = -1;
        Ok(())
    }

    /// Waits for the parent's byte; its end-of-file is our end.
    fn hear(&self) -> Done {
        let mut byte = [0u8; 1];
        match raw::read(self.report, &mut byte).named(Call::Parent)? {
            1 => Ok(()),
            _ => fail(Call::Parent, libc::EPIPE),
        }
    }

    fn wait_gate(&mut self, gate: Slot, outcome: Slot) -> Done {
        self.outcome = self.slot(outcome)?;
        let gate = self.slot(gate)?;
        let mut byte = [0u8; 1];
        loop {
            match raw::read(gate, &mut byte) {
                Ok(1) => break,
                Ok(_) | Err(libc::EINTR) => {}
                Err(errno) => return fail(Call::Read, errno),
            }
        }
        let _ = raw::close(gate);
        Ok(())
    }

    /// Closes everything from `from` on but the report socket and the kept slots.
    fn close_all(&self, from: u32, keep: &[Option<Slot>; 5]) -> Done {
        let mut kept = [u32::MAX; 6];
        let mut places = kept.iter_mut();
        for slot in keep.iter().flatten() {
            if let Some(place) = places.next() {
                *place = self.slot(*slot)? as u32;
            }
        }
        if let (Some(place), true) = (places.next(), self.report >= 0) {
            *place = self.report as u32;
        }
        kept.sort_unstable();
        let mut next = from;
        for number in kept {
            if number == u32::MAX {
                break;
            }
            if number > next {
                raw::close_range(next, number - 1, 0).named(Call::CloseRange)?;
            }
            next = if number >= next { number + 1 } else { next };
        }
        raw::close_range(next, u32::MAX, 0).named(Call::CloseRange)?;
        Ok(())
    }

    /// Opens a path below a root descriptor as the kernel resolves it, never outside.
    fn open_in(&self, root: i32, path: &core::ffi::CStr, flags: i32) -> Raw<i32> {
        let resolve = abi::RESOLVE_IN_ROOT | abi::RESOLVE_NO_MAGICLINKS;
        let how = abi::OpenHow { flags: (flags | abi::O_CLOEXEC) as u64, mode: 0, resolve };
        raw::openat2(root, path, &how)
    }
}
