//! bpf(2) for one purpose: programs that decide about devices (`BPF_PROG_TYPE_CGROUP_DEVICE`).
//!
//! Structures after `union bpf_attr` in include/uapi/linux/bpf.h; only the leading part that a command reads is
//! passed, which the kernel fills up with zeros.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::owned;
use super::raw::{self, Raw};

const BPF_PROG_LOAD: usize = 5;
const BPF_PROG_ATTACH: usize = 8;
const BPF_PROG_DETACH: usize = 9;
const BPF_PROG_GET_FD_BY_ID: usize = 13;
const BPF_OBJ_GET_INFO_BY_FD: usize = 15;
const BPF_PROG_QUERY: usize = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 1 << 1;
const BPF_F_REPLACE: u32 = 1 << 2;

/// The name of our programs, as bpftool(8) shows it.
const NAME: [u8; 16] = *b"kiste_device\0\0\0\0";

/// The part of `union bpf_attr` that `BPF_PROG_LOAD` needs.
#[repr(C)]
struct Load {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}
const _: () = assert!(size_of::<Load>() == 64);

/// `BPF_PROG_ATTACH` and `BPF_PROG_DETACH`.
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
    replace: u32,
}
const _: () = assert!(size_of::<Attach>() == 20);

/// `BPF_PROG_QUERY`.
#[repr(C)]
struct Query {
    target: u32,
    kind: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}
const _: () = assert!(size_of::<Query>() == 32);

/// `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct InfoByFd {
    descriptor: u32,
    length: u32,
    info: u64,
}
const _: () = assert!(size_of::<InfoByFd>() == 16);

/// The leading part of `struct bpf_prog_info`, up to the name. Lengths that are 0 when the kernel is asked mean that the
/// instructions and maps they speak of are not wanted.
#[repr(C)]
#[derive(Default)]
struct ProgramInfo {
    kind_and_id: [u32; 2],
    tag: [u8; 8],
    lengths: [u32; 2],
    instructions: [u64; 2],
    load_time: u64,
    created_by: u32,
    map_count: u32,
    maps: u64,
    name: [u8; 16],
}
const _: () = assert!(size_of::<ProgramInfo>() == 80);

fn bpf<T>(command: usize, attribute: &mut T) -> Raw {
    let pointer = attribute as *mut T as usize;
    // SAFETY: `attribute` is one of the structures above, valid for reads and writes of its own size, and every address
    // in it points to memory that the callers below keep borrowed for the call.
    unsafe { raw::syscall(libc::SYS_bpf, [command, pointer, size_of::<T>(), 0, 0, 0]) }
}

/// Loads a device program of 8-byte instructions.
///
/// # Errors
/// `EPERM` without CAP_BPF (or CAP_SYS_ADMIN) in the first user namespace; `EINVAL` or `EACCES` when the verifier
/// refuses; `ENOSYS` when the kernel has no BPF.
pub fn load_device_program(instructions: &[u64]) -> Raw<OwnedFd> {
    let mut attribute = Load {
        program_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buffer: 0,
        kernel_version: 0,
        flags: 0,
        name: NAME,
    };
    bpf(BPF_PROG_LOAD, &mut attribute).map(|descriptor| owned::own(descriptor as i32))
}

/// Attaches a device program to a cgroup directory, beside others or, atomically, in the place of `replace`.
///
/// # Errors
/// `EPERM` without privilege or where a parent forbids programs below; `ENOENT` when `replace` is not attached.
pub fn attach_device_program(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replace: Option<BorrowedFd<'_>>,
) -> Raw<()> {
    let mut attribute = Attach {
        target: cgroup.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        kind: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI | if replace.is_some() { BPF_F_REPLACE } else { 0 },
        replace: replace.map_or(0, |old| old.as_raw_fd() as u32),
    };
    bpf(BPF_PROG_ATTACH, &mut attribute).map(drop)
}

/// Detaches a device program from a cgroup directory.
///
/// # Errors
/// `ENOENT` when it is not attached there.
pub fn detach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Raw<()> {
    let mut attribute = Attach {
        target: cgroup.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        kind: BPF_CGROUP_DEVICE,
        flags: 0,
        replace: 0,
    };
    bpf(BPF_PROG_DETACH, &mut attribute).map(drop)
}

/// The device programs attached to a cgroup directory itself, at most 64 (the kernel's own limit).
///
/// # Errors
/// `EPERM` without CAP_BPF or CAP_NET_ADMIN.
pub fn attached_device_programs(cgroup: BorrowedFd<'_>) -> Raw<Vec<OwnedFd>> {
    let mut ids = [0u32; 64];
    let mut attribute = Query {
        target: cgroup.as_raw_fd() as u32,
        kind: BPF_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr() as u64,
        count: ids.len() as u32,
        padding: 0,
    };
    bpf(BPF_PROG_QUERY, &mut attribute)?;
    ids.iter().take(attribute.count as usize).map(|&id| program_by_id(id)).collect()
}

/// Whether a program was loaded by [`load_device_program`].
///
/// # Errors
/// The kernel does not tell.
pub fn is_ours(program: BorrowedFd<'_>) -> Raw<bool> {
    let mut info = ProgramInfo::default();
    let mut attribute = InfoByFd {
        descriptor: program.as_raw_fd() as u32,
        length: size_of::<ProgramInfo>() as u32,
        info: &mut info as *mut ProgramInfo as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attribute)?;
    Ok(info.name == NAME)
}

fn program_by_id(id: u32) -> Raw<OwnedFd> {
    let mut attribute = [id, 0, 0];
    bpf(BPF_PROG_GET_FD_BY_ID, &mut attribute).map(|descriptor| owned::own(descriptor as i32))
}
