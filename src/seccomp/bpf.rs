//! The instructions and answers of classic BPF that seccomp filters use (linux/bpf_common.h, linux/seccomp.h).

use super::Instruction;

/// Load a word of `struct seccomp_data`.
pub(super) const LOAD: u16 = 0x20;
/// And with `k`.
pub(super) const AND: u16 = 0x54;
/// Skip `k` instructions.
pub(super) const JA: u16 = 0x05;
/// Skip `jt` if equal to `k`, else `jf`.
pub(super) const JEQ: u16 = 0x15;
/// Skip `jt` if above `k`, else `jf`.
pub(super) const JGT: u16 = 0x25;
/// Skip `jt` if `k` or above, else `jf`.
pub(super) const JGE: u16 = 0x35;
/// Skip `jt` if a bit of `k` is set, else `jf`.
pub(super) const JSET: u16 = 0x45;
/// Answer `k`.
pub(super) const RET: u16 = 0x06;

// What kiste's own programs don't use and ready-made ones may.
/// Load the size of `struct seccomp_data`.
pub(super) const LOAD_LENGTH: u16 = 0x80;
/// The same into the index register.
pub(super) const LOAD_X_LENGTH: u16 = 0x81;
/// Load `k`.
pub(super) const LOAD_IMMEDIATE: u16 = 0x00;
/// The same into the index register.
pub(super) const LOAD_X_IMMEDIATE: u16 = 0x01;
/// Load word `k` of the scratch memory.
pub(super) const LOAD_MEMORY: u16 = 0x60;
/// The same into the index register.
pub(super) const LOAD_X_MEMORY: u16 = 0x61;
/// Store to word `k`.
pub(super) const STORE: u16 = 0x02;
/// Store the index register.
pub(super) const STORE_X: u16 = 0x03;
/// Divide by `k`.
pub(super) const DIVIDE: u16 = 0x34;
/// Shift by `k`.
pub(super) const SHIFT_LEFT: u16 = 0x64;
/// Shift by `k`.
pub(super) const SHIFT_RIGHT: u16 = 0x74;
/// Minus the accumulator.
pub(super) const NEGATE: u16 = 0x84;
/// Accumulator to index register.
pub(super) const TO_X: u16 = 0x07;
/// Index register to accumulator.
pub(super) const FROM_X: u16 = 0x87;
/// Answer the accumulator.
pub(super) const RET_A: u16 = 0x16;
/// The bit that makes the index register the operand, in arithmetic and comparisons.
pub(super) const BY_X: u16 = 0x08;

/// Whether it compares and jumps: with `k` or the index register.
pub(super) fn is_conditional(code: u16) -> bool {
    matches!(code & !BY_X, JEQ | JGT | JGE | JSET)
}

/// Whether it calculates with `k` or the index register. seccomp(2) takes no remainder.
pub(super) fn is_arithmetic(code: u16) -> bool {
    matches!(code & !BY_X, 0x04 | 0x14 | 0x24 | 0x34 | 0x44 | 0x54 | 0x64 | 0x74 | 0xa4)
}

/// Offset of the number in `struct seccomp_data`.
pub(super) const NR: u32 = 0;
/// Offset of the `AUDIT_ARCH_*` value.
pub(super) const ARCH: u32 = 4;

pub(super) const RET_KILL_PROCESS: u32 = 0x8000_0000;
pub(super) const RET_KILL_THREAD: u32 = 0x0000_0000;
pub(super) const RET_TRAP: u32 = 0x0003_0000;
pub(super) const RET_ERRNO: u32 = 0x0005_0000;
pub(super) const RET_USER_NOTIF: u32 = 0x7FC0_0000;
pub(super) const RET_TRACE: u32 = 0x7FF0_0000;
pub(super) const RET_LOG: u32 = 0x7FFC_0000;
pub(super) const RET_ALLOW: u32 = 0x7FFF_0000;

/// Loads the word at an offset.
pub(super) fn load(offset: u32) -> Instruction {
    Instruction { code: LOAD, jt: 0, jf: 0, k: offset }
}

/// Answers.
pub(super) fn ret(answer: u32) -> Instruction {
    Instruction { code: RET, jt: 0, jf: 0, k: answer }
}

/// Jumps over any number of instructions.
pub(super) fn jump(distance: u32) -> Instruction {
    Instruction { code: JA, jt: 0, jf: 0, k: distance }
}
