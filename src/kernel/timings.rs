//! Time stamps for `run --timings`: of the parent in a table, of the child in shared memory that the parent made before
//! clone3(2), one stamp a step. A stamp is a clock_gettime(2) and a getrusage(2), no allocation; a run that was not asked
//! for them reads one flag a step.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::raw::{Raw, syscall};

/// One moment of one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub wall: u64,
    /// Processor time so far, microseconds, in user mode and in the kernel. Their sum is exact, how it is divided is as
    /// the kernel accounts it: by ticks on most.
    pub user: u64,
    /// See `user`.
    pub system: u64,
    /// Page faults so far that needed no disk.
    pub faults: u64,
    /// How often it waited so far.
    pub waits: u64,
}

/// A stamp's place.
#[derive(Debug)]
struct Place([AtomicU64; 5]);

impl Place {
    const EMPTY: Place = Place([const { AtomicU64::new(0) }; 5]);

    fn put(&self, stamp: Stamp) {
        let words = [stamp.wall, stamp.user, stamp.system, stamp.faults, stamp.waits];
        for (place, word) in self.0.iter().zip(words) {
            place.store(word, Relaxed);
        }
    }

    fn get(&self) -> Option<Stamp> {
        let [wall, user, system, faults, waits] = self.0.each_ref().map(|word| word.load(Relaxed));
        (wall != 0).then_some(Stamp { wall, user, system, faults, waits })
    }
}

/// More marks than a run has.
const MARKS: usize = 48;

/// The parent's marks, each with a label of the caller's.
static MARKED: [(AtomicU64, Place); MARKS] = [const { (AtomicU64::new(0), Place::EMPTY) }; MARKS];
/// How many there are; `OFF`: nobody wants any.
static NEXT: AtomicUsize = AtomicUsize::new(OFF);
const OFF: usize = usize::MAX;

/// The child's stamps.
static STEPS: AtomicPtr<Place> = AtomicPtr::new(std::ptr::null_mut());
static ROOM: AtomicUsize = AtomicUsize::new(0);

fn now() -> Stamp {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure lives over the call, which writes to it: in user mode where the kernel's vDSO has the clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the kernel writes a rusage, which lives over the call.
    let _ =
        unsafe { syscall(libc::SYS_getrusage, [libc::RUSAGE_SELF as usize, usage.as_mut_ptr() as usize, 0, 0, 0, 0]) };
    // SAFETY: integers, zero or as the kernel wrote them.
    let usage = unsafe { usage.assume_init() };
    let microseconds = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
    Stamp {
        wall: time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64,
        user: microseconds(usage.ru_utime),
        system: microseconds(usage.ru_stime),
        faults: usage.ru_minflt as u64,
        waits: usage.ru_nvcsw as u64,
    }
}

/// From here on marks are kept.
pub fn begin() {
    NEXT.store(0, Relaxed);
}

/// The parent begins what `label` stands for.
#[inline]
pub fn mark(label: u8) {
    if NEXT.load(Relaxed) != OFF {
        keep(label);
    }
}

#[cold]
fn keep(label: u8) {
    if let Some((word, place)) = MARKED.get(NEXT.load(Relaxed)) {
        word.store(label as u64, Relaxed);
        place.put(now());
        NEXT.fetch_add(1, Relaxed);
    }
}

/// Makes room for the stamps of so many steps, if any are wanted. Before clone3(2); all pages are there then, so that
/// none is charged to the container.
///
/// # Errors
/// `ENOMEM`.
pub fn make_room(steps: usize) -> Raw<()> {
    if NEXT.load(Relaxed) == OFF {
        return Ok(());
    }
    let length = steps * size_of::<Place>();
    let protection = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    let flags = (libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_POPULATE) as usize;
    // SAFETY: a fresh mapping touches nothing that exists. It is never unmapped: this process ends soon.
    let start = unsafe { syscall(libc::SYS_mmap, [0, length, protection, flags, usize::MAX, 0]) }?;
    STEPS.store(start as *mut Place, Relaxed);
    ROOM.store(steps, Relaxed);
    Ok(())
}

fn place(index: usize) -> Option<&'static Place> {
    let start = STEPS.load(Relaxed);
    if start.is_null() || index >= ROOM.load(Relaxed) {
        return None;
    }
    // SAFETY: `make_room` mapped ROOM places from here, zeroed, which is an empty place, for as long as this process and
    // the child run this program; they are atomics.
    Some(unsafe { &*start.add(index) })
}

/// The child begins a step.
#[inline]
pub fn step(index: usize) {
    if let Some(place) = place(index) {
        place.put(now());
    }
}

/// The parent's marks, in order.
pub fn marks() -> Vec<(u8, Stamp)> {
    let count = NEXT.load(Relaxed);
    let count = if count == OFF { 0 } else { count };
    MARKED.iter().take(count).filter_map(|(word, place)| Some((word.load(Relaxed) as u8, place.get()?))).collect()
}

/// The child's stamps: those of the steps it began.
pub fn steps() -> Vec<Stamp> {
    (0..ROOM.load(Relaxed)).map_while(|index| place(index)?.get()).collect()
}
