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
