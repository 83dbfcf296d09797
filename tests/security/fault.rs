//! A seccomp filter around the runtime that makes one system call fail (security.md K7).

use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// One system call, by the value of one of its arguments if that matters, and the errno it gives.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub name: &'static str,
    pub call: i64,
    pub argument: Option<(usize, u32)>,
    pub errno: i32,
}

/// The command fails at this call. Only root may: without no_new_privs a filter needs CAP_SYS_ADMIN.
pub fn inject(command: &mut Command, fault: Fault) {
    let op = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let load = |offset: u32| op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let equal = |value: u32, no: u8| op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, no, value);
    let give = |value: u32| op(libc::BPF_RET | libc::BPF_K, 0, 0, value);
    // struct seccomp_data: number 4, architecture 4, address 8, six arguments of 8.
    let mut program = vec![load(0)];
    match fault.argument {
        None => program.push(equal(fault.call as u32, 1)),
        Some((index, value)) => {
            program.extend([equal(fault.call as u32, 3), load(16 + 8 * index as u32), equal(value, 1)]);
        }
    }
    program.extend([give(libc::SECCOMP_RET_ERRNO | fault.errno as u32), give(libc::SECCOMP_RET_ALLOW)]);
    // SAFETY: prctl is async-signal-safe; the program lives in the closure, which lives until execve.
    unsafe {
        command.pre_exec(move || {
            let all = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
            match libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &all, 0, 0) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
}
