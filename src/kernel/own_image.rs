//! This program's own executable, kept out of the container's reach (INV-06, CVE-2019-5736).
//!
//! `/proc/self/exe` of a process names the inode it was executed from. A payload that is executed *as* `/proc/self/exe`, or
//! through a `#!` line that says so, would run the runtime's own file inside the container and could then be opened for
//! writing from there. Peers run a copy of themselves from a sealed memfd, which costs an execve and a copy at every
//! start. Here the child changes what its link names: it replaces it by an empty memfd ([`Detached::replace`], prctl(2)
//! `PR_SET_MM_MAP`) before any foreign code runs. The kernel allows that once nothing maps the file by the path that the
//! link names, which is a mount and a place in it. There are two ways to get there:
//!
//! - [`detach`] moves the image into anonymous memory: a copy of it all, which then depends on no file.
//! - [`reopen`] copies only what is writable. A child in a new mount namespace finds the same file at the same path on
//!   another mount, and maps its code anew from there: the same pages of the page cache. Code that is mapped from a file
//!   changes with the file, and what keeps others from writing to it (`ETXTBSY`) is that a process executes it: the
//!   parent, for as long as the child runs this code. A child that is left alone, waiting for `start`, needs the copy.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};

use super::owned::own;
use super::raw::{self, Raw, syscall};

const PAGE: usize = 4096;

/// `struct prctl_mm_map` (linux/prctl.h).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MemoryMap {
    start_code: u64,
    end_code: u64,
    start_data: u64,
    end_data: u64,
    start_brk: u64,
    brk: u64,
    start_stack: u64,
    arg_start: u64,
    arg_end: u64,
    env_start: u64,
    env_end: u64,
    auxv: u64,
    auxv_size: u32,
    exe_fd: u32,
}
const _: () = assert!(size_of::<MemoryMap>() == 104);

/// A program header of a 64-bit ELF file (elf(5)).
#[repr(C)]
#[derive(Clone, Copy)]
struct ProgramHeader {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    physical: u64,
    file_size: u64,
    memory_size: u64,
    alignment: u64,
}
const _: () = assert!(size_of::<ProgramHeader>() == 56);

/// This program's own headers, as the kernel put them into memory.
fn headers() -> &'static [ProgramHeader] {
    // SAFETY: getauxval reads the vector the kernel left on the stack.
    let (address, count) = unsafe { (libc::getauxval(libc::AT_PHDR), libc::getauxval(libc::AT_PHNUM)) };
    if address == 0 || count > 64 {
        return &[];
    }
    // SAFETY: AT_PHDR and AT_PHNUM describe the program headers of this executable, which stay mapped.
    unsafe { std::slice::from_raw_parts(address as *const ProgramHeader, count as usize) }
}

/// Whether this kernel lets a process change its link without more privilege than a container's root has
/// (`CONFIG_CHECKPOINT_RESTORE`).
pub fn is_supported() -> bool {
    const PR_SET_MM_MAP_SIZE: usize = 15;
    let mut size: u32 = 0;
    let answer = raw::prctl(35, PR_SET_MM_MAP_SIZE, &raw mut size as usize, 0, 0);
    answer.is_ok() && size as usize == size_of::<MemoryMap>()
}

/// Who owns this program's executable, and whether anybody may change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Executable {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
    /// Immutable, or protected by fs-verity, or a sealed memfd: nobody can write to it.
    pub frozen: bool,
}

/// Asks for this program's executable: one statx(2), one open of a link that the kernel resolves.
///
/// # Errors
/// When /proc is not there.
pub fn executable() -> Raw<Executable> {
    let status = raw::statx(libc::AT_FDCWD, c"/proc/self/exe", 0)?;
    let frozen = libc::STATX_ATTR_IMMUTABLE as u64 | libc::STATX_ATTR_VERITY as u64;
    Ok(Executable {
        uid: status.stx_uid,
        gid: status.stx_gid,
        mode: status.stx_mode as u32 & 0o7777,
        frozen: status.stx_attributes & frozen != 0,
    })
}

/// Runs this program anew from a sealed copy in memory, where the kernel can't change the link: the peers' way. Comes
/// back only with an error, or when this is the copy already.
///
/// # Errors
/// The errno of the first call that failed.
pub fn run_sealed_copy() -> Raw<()> {
    let source = super::owned::open(libc::AT_FDCWD, c"/proc/self/exe", libc::O_RDONLY, 0)?;
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    if raw::fcntl(source.as_raw_fd(), libc::F_GET_SEALS, 0).is_ok_and(|found| found as i32 & seals == seals) {
        return Ok(());
    }
    let copy = memfd()?;
    while raw::sendfile(copy.as_raw_fd(), source.as_raw_fd(), 1 << 30)? > 0 {}
    raw::fcntl(copy.as_raw_fd(), libc::F_ADD_SEALS, seals as usize)?;
    let words: Vec<_> = std::env::args_os().filter_map(|word| super::owned::c_string(into_bytes(word)).ok()).collect();
    let environment: Vec<_> = std::env::vars_os()
        .filter_map(|(name, value)| {
            let entry = [into_bytes(name), into_bytes(value)].join(&b'=');
            super::owned::c_string(entry).ok()
        })
        .collect();
    let argv = super::strings::Strings::new(words.iter().map(|word| word.as_c_str()));
    let envp = super::strings::Strings::new(environment.iter().map(|entry| entry.as_c_str()));
    Err(raw::execve_descriptor(copy.as_raw_fd(), &argv.pointers(), &envp.pointers()))
}

fn into_bytes(text: std::ffi::OsString) -> Vec<u8> {
    std::os::unix::ffi::OsStringExt::into_vec(text)
}

/// What a detached image needs to become somebody else.
#[derive(Debug)]
pub struct Detached {
    map: MemoryMap,
    empty: OwnedFd,
    /// Where the child finds the file, if the image is still mapped from it.
    file: Option<File>,
}

/// A file by its path, and which one it must be.
#[derive(Debug)]
struct File {
    path: CString,
    identity: (u32, u32, u64),
}

/// Device and inode.
fn identity(status: &libc::statx) -> (u32, u32, u64) {
    (status.stx_dev_major, status.stx_dev_minor, status.stx_ino)
}

/// Prepares a child in a new mount namespace to map this program anew by its path. `None` where the path does not lead
/// there: the file was renamed or removed, or is in another mount namespace or not readable.
///
/// # Errors
/// The errno of memfd_create(2), or of readlink(2) and statx(2) on /proc/self/exe.
pub fn reopen() -> Raw<Option<Detached>> {
    let link = c"/proc/self/exe";
    let mut buffer = [0u8; libc::PATH_MAX as usize];
    let length = raw::readlinkat(libc::AT_FDCWD, link, &mut buffer)?;
    let Some(path) = buffer.get(..length).and_then(|path| super::owned::c_string(path).ok()) else { return Ok(None) };
    let identity = identity(&raw::statx(libc::AT_FDCWD, link, 0)?);
    let file = File { path, identity };
    match file.open() {
        Ok(descriptor) => raw::close(descriptor)?,
        Err(_) => return Ok(None),
    };
    let empty = empty_memfd()?;
    Ok(Some(Detached { map: memory_map(empty.as_raw_fd()), empty, file: Some(file) }))
}

impl File {
    /// Opens it, if it is still the one. Allocates nothing.
    fn open(&self) -> Raw<i32> {
        let descriptor = raw::openat(libc::AT_FDCWD, &self.path, libc::O_RDONLY | libc::O_CLOEXEC, 0)?;
        match raw::statx(descriptor, c"", libc::AT_EMPTY_PATH) {
            Ok(status) if identity(&status) == self.identity => Ok(descriptor),
            other => {
                let _ = raw::close(descriptor);
                Err(other.err().unwrap_or(libc::ESTALE))
            }
        }
    }
}

/// Moves this program's image from its file into anonymous memory, at the same addresses.
///
/// # Errors
/// The errno of mmap, mprotect or mremap: a security module may forbid executable anonymous memory.
pub fn detach() -> Raw<Detached> {
    let empty = empty_memfd()?;
    for segment in segments() {
        move_segment(&segment)?;
    }
    Ok(Detached { map: memory_map(empty.as_raw_fd()), empty, file: None })
}

/// A part of this program that is mapped from its file: whole pages.
struct Segment {
    start: usize,
    length: usize,
    offset: usize,
    protection: i32,
}

fn segments() -> impl Iterator<Item = Segment> {
    headers().iter().filter(|header| header.kind == libc::PT_LOAD && header.file_size > 0).map(|header| {
        let start = header.address as usize & !(PAGE - 1);
        let end = (header.address + header.file_size).next_multiple_of(PAGE as u64) as usize;
        let mut protection = libc::PROT_READ;
        if header.flags & libc::PF_W != 0 {
            protection |= libc::PROT_WRITE;
        }
        if header.flags & libc::PF_X != 0 {
            protection |= libc::PROT_EXEC;
        }
        Segment { start, length: end - start, offset: header.offset as usize & !(PAGE - 1), protection }
    })
}

/// A memfd that can be named as an executable and executed by nobody: it is empty and sealed.
fn empty_memfd() -> Raw<OwnedFd> {
    let descriptor = memfd()?;
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    raw::fcntl(descriptor.as_raw_fd(), libc::F_ADD_SEALS, seals as usize)?;
    Ok(descriptor)
}

fn memfd() -> Raw<OwnedFd> {
    // MFD_EXEC is known since Linux 6.3; before, every memfd is executable.
    let (flags, exec) = (libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING, 0x10);
    let make = |flags: u32| {
        // SAFETY: the name is a C string.
        unsafe { syscall(libc::SYS_memfd_create, [c"kiste".as_ptr() as usize, flags as usize, 0, 0, 0, 0]) }
    };
    Ok(own(make(flags | exec).or_else(|_| make(flags))? as i32))
}

/// Copies one segment and puts the copy in its place.
fn move_segment(segment: &Segment) -> Raw<()> {
    let Segment { start, length, protection, .. } = *segment;
    let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
    let writable = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a fresh mapping anywhere touches nothing that exists.
    let copy = unsafe { syscall(libc::SYS_mmap, [0, length, writable as usize, anonymous as usize, usize::MAX, 0]) }?;
    // SAFETY: the segment is mapped and readable for its whole length, the copy is fresh and as long. This function
    // changes nothing in the segment between here and the exchange: its variables live on the stack, and this process
    // has one thread.
    unsafe { std::ptr::copy_nonoverlapping(start as *const u8, copy as *mut u8, length) };
    // SAFETY: the copy gets the segment's own protection; mremap then puts it over the segment in one step, with the same
    // bytes at the same addresses, so that the code running here goes on in the copy.
    unsafe {
        if protection != writable {
            syscall(libc::SYS_mprotect, [copy, length, protection as usize, 0, 0, 0])?;
        }
        let how = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as usize;
        syscall(libc::SYS_mremap, [copy, length, length, how, start, 0])?;
    }
    Ok(())
}

/// Maps one segment anew from the same file, opened another way: the same bytes at the same place.
fn map_anew(segment: &Segment, file: i32) -> Raw<()> {
    let Segment { start, length, offset, protection } = *segment;
    let how = libc::MAP_PRIVATE | libc::MAP_FIXED;
    // SAFETY: the segment is one that nothing writes to, and `file` is this program's own inode, which cannot be written to
    // while the parent executes it: the new mapping has the bytes of the old one, exchanged in one step.
    unsafe { syscall(libc::SYS_mmap, [start, length, protection as usize, how as usize, file as usize, offset]) }
        .map(drop)
}

/// Addresses the kernel asks for and only shows in /proc: any that are in order will do until execve(2).
fn memory_map(exe: i32) -> MemoryMap {
    let here =
        headers().iter().find(|header| header.kind == libc::PT_LOAD).map_or(PAGE as u64, |header| header.address);
    let next = here + 1;
    // SAFETY: sbrk(0) only asks.
    let brk = unsafe { libc::sbrk(0) } as u64;
    let stack = &raw const here as u64;
    MemoryMap {
        start_code: here,
        end_code: next,
        start_data: here,
        end_data: next,
        start_brk: brk,
        brk,
        start_stack: stack,
        arg_start: stack,
        arg_end: stack,
        env_start: stack,
        env_end: stack,
        auxv: 0,
        auxv_size: 0,
        exe_fd: exe as u32,
    }
}

impl Detached {
    /// The child's first half, if its image is still mapped from the file: maps it from elsewhere. Allocates nothing.
    ///
    /// # Errors
    /// The errno of openat(2), statx(2), mmap(2) or mremap(2); `ESTALE` if the path leads to another file by now.
    pub fn leave_file(&self) -> Raw<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let descriptor = file.open()?;
        for segment in segments() {
            if segment.protection & libc::PROT_WRITE != 0 {
                move_segment(&segment)?;
            } else {
                map_anew(&segment, descriptor)?;
            }
        }
        raw::close(descriptor).map(drop)
    }

    /// The child's half: its link names the empty memfd from here on. Needs CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN in
    /// the process's own user namespace. Allocates nothing.
    ///
    /// # Errors
    /// The errno of prctl(2).
    pub fn replace(&self) -> Raw<()> {
        const PR_SET_MM: i32 = 35;
        const PR_SET_MM_MAP: usize = 14;
        let map = &raw const self.map as usize;
        raw::prctl(PR_SET_MM, PR_SET_MM_MAP, map, size_of::<MemoryMap>(), 0).map(drop)
    }

    /// The descriptor that the link will name; it must be open in the process that calls [`Detached::replace`].
    pub fn descriptor(&self) -> &OwnedFd {
        &self.empty
    }
}
