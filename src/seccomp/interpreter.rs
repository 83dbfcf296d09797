//! What a program answers: the part of classic BPF seccomp uses, interpreted.
//!
//! Used by the plan's verifier ("would this profile deny capset at step 59?") and by the tests that compare kiste's
//! programs with libseccomp's.

use super::words::Action;
use super::{Instruction, bpf};

/// A program's answer to one system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What the kernel does.
    pub action: Action,
    /// The answer's low 16 bits: the errno of [`Action::Errno`], the tracer's message of [`Action::Trace`].
    pub data: u16,
    /// Instructions the kernel runs to find out (when it runs them: since Linux 5.11 it remembers which numbers are
    /// always allowed).
    pub steps: u32,
}

impl Verdict {
    /// Whether the system call runs without anybody being asked.
    pub fn runs(&self) -> bool {
        matches!(self.action, Action::Allow | Action::Log)
    }
}

/// The answer of `program` to the system call `nr` of `arch` (`AUDIT_ARCH_*`) with these arguments. The instruction
/// pointer reads as 0: OCI profiles cannot ask for it. A program the kernel would refuse to load kills.
pub fn evaluate(program: &[Instruction], arch: u32, nr: u32, args: [u64; 6]) -> Verdict {
    let (answer, steps) = run(program, arch, nr, args);
    let action = match answer & 0xFFFF_0000 {
        bpf::RET_KILL_THREAD => Action::KillThread,
        bpf::RET_TRAP => Action::Trap,
        bpf::RET_ERRNO => Action::Errno,
        bpf::RET_USER_NOTIF => Action::Notify,
        bpf::RET_TRACE => Action::Trace,
        bpf::RET_LOG => Action::Log,
        bpf::RET_ALLOW => Action::Allow,
        _ => Action::KillProcess,
    };
    Verdict { action, data: answer as u16, steps }
}

fn run(program: &[Instruction], arch: u32, nr: u32, args: [u64; 6]) -> (u32, u32) {
    let (mut accumulator, mut index, mut memory) = (0u32, 0u32, [0u32; 16]);
    let (mut at, mut steps) = (0usize, 0u32);
    while let Some(instruction) = program.get(at) {
        let Instruction { code, jt, jf, k } = *instruction;
        let branch = |taken: bool| usize::from(if taken { jt } else { jf });
        let operand = if code & bpf::BY_X != 0 { index } else { k };
        let word = k as usize % memory.len();
        (at, steps) = (at + 1, steps + 1);
        match code {
            bpf::LOAD => match load(arch, nr, &args, k) {
                Some(word) => accumulator = word,
                None => break,
            },
            bpf::JA => at += k as usize,
            bpf::RET => return (k, steps),
            bpf::RET_A => return (accumulator, steps),
            bpf::LOAD_IMMEDIATE => accumulator = k,
            bpf::LOAD_X_IMMEDIATE => index = k,
            bpf::LOAD_LENGTH => accumulator = 64,
            bpf::LOAD_X_LENGTH => index = 64,
            bpf::LOAD_MEMORY => accumulator = memory[word],
            bpf::LOAD_X_MEMORY => index = memory[word],
            bpf::STORE => memory[word] = accumulator,
            bpf::STORE_X => memory[word] = index,
            bpf::TO_X => index = accumulator,
            bpf::FROM_X => accumulator = index,
            bpf::NEGATE => accumulator = accumulator.wrapping_neg(),
            _ if bpf::is_arithmetic(code) => match calculate(code & !bpf::BY_X, accumulator, operand) {
                Some(result) => accumulator = result,
                // Division by zero ends the program with 0 (filter.c).
                None => return (0, steps),
            },
            _ => match code & !bpf::BY_X {
                bpf::JEQ => at += branch(accumulator == operand),
                bpf::JGT => at += branch(accumulator > operand),
                bpf::JGE => at += branch(accumulator >= operand),
                bpf::JSET => at += branch(accumulator & operand != 0),
                _ => break,
            },
        }
    }
    (bpf::RET_KILL_PROCESS, steps)
}

/// The accumulator after `code` with an operand.
fn calculate(code: u16, accumulator: u32, operand: u32) -> Option<u32> {
    Some(match code {
        0x04 => accumulator.wrapping_add(operand),
        0x14 => accumulator.wrapping_sub(operand),
        0x24 => accumulator.wrapping_mul(operand),
        bpf::DIVIDE => accumulator.checked_div(operand)?,
        0x44 => accumulator | operand,
        bpf::AND => accumulator & operand,
        bpf::SHIFT_LEFT => accumulator.wrapping_shl(operand),
        bpf::SHIFT_RIGHT => accumulator.wrapping_shr(operand),
        _ => accumulator ^ operand,
    })
}

/// One aligned word of `struct seccomp_data`, little endian.
fn load(arch: u32, nr: u32, args: &[u64; 6], offset: u32) -> Option<u32> {
    match offset {
        0 => Some(nr),
        4 => Some(arch),
        8 | 12 => Some(0),
        16..64 if offset % 4 == 0 => {
            let arg = args[(offset as usize - 16) / 8];
            Some(if offset % 8 == 0 { arg as u32 } else { (arg >> 32) as u32 })
        }
        _ => None,
    }
}
