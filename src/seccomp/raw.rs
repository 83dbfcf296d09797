//! A filter that comes ready-made (crun's `run.oci.seccomp_bpf_data`): refused before anything is made where the kernel would
//! refuse it (net/core/filter.c `bpf_check_classic`, kernel/seccomp.c `seccomp_check_filter`).

use super::{Instruction, Program, bpf};
use crate::error::{Error, Result};

/// `BPF_MAXINSNS`.
const MOST: usize = 4096;
/// The words of scratch memory, `BPF_MEMWORDS`.
const WORDS: u32 = 16;
/// The size of `struct seccomp_data`.
const DATA: u32 = 64;

/// Everything seccomp(2) takes, but for the jumps.
const CODES: &[u16] = &[
    bpf::LOAD,
    bpf::LOAD_LENGTH,
    bpf::LOAD_X_LENGTH,
    bpf::LOAD_IMMEDIATE,
    bpf::LOAD_X_IMMEDIATE,
    bpf::LOAD_MEMORY,
    bpf::LOAD_X_MEMORY,
    bpf::STORE,
    bpf::STORE_X,
    bpf::NEGATE,
    bpf::TO_X,
    bpf::FROM_X,
    bpf::RET,
    bpf::RET_A,
];

/// A filter from the bytes that `struct sock_fprog` would point to, in the machine's byte order.
///
/// # Errors
/// What the kernel would refuse, with the instruction's number; an answer that asks an agent, whom a ready-made filter has none of.
pub fn program_from_bytes(bytes: &[u8]) -> Result<Program> {
    let wrong = |what: String| Err(Error::input(what));
    if bytes.is_empty() || bytes.len() % 8 != 0 {
        return wrong(format!("a filter is a row of 8-byte instructions, and this has {} bytes", bytes.len()));
    }
    let instructions: Vec<Instruction> = bytes.chunks_exact(8).map(instruction).collect();
    if instructions.len() > MOST {
        return wrong(format!("a filter has at most {MOST} instructions, and this has {}", instructions.len()));
    }
    for (index, one) in instructions.iter().enumerate() {
        let left = (instructions.len() - index - 1) as u32;
        if let Some(why) = refused(one, left) {
            return wrong(format!("instruction {} of the filter {why}", index + 1));
        }
    }
    if !instructions.last().is_some_and(|last| matches!(last.code, bpf::RET | bpf::RET_A)) {
        return wrong("the filter does not end with an answer".into());
    }
    if let Some(index) = unset_memory(&instructions) {
        return wrong(format!(
            "instruction {} of the filter reads memory that is not written on every way to it",
            index + 1
        ));
    }
    Ok(Program { instructions, flags: 0, notifies: false, warnings: Vec::new() })
}

fn instruction(bytes: &[u8]) -> Instruction {
    let eight: [u8; 8] = bytes.try_into().unwrap_or_default();
    let [low, high, jt, jf, k @ ..] = eight;
    Instruction { code: u16::from_ne_bytes([low, high]), jt, jf, k: u32::from_ne_bytes(k) }
}

/// What is wrong with an instruction that `left` others follow.
fn refused(one: &Instruction, left: u32) -> Option<String> {
    let Instruction { code, jt, jf, k } = *one;
    let words = |what: &str| Some(what.to_owned());
    match code {
        bpf::LOAD if k % 4 != 0 || k >= DATA => Some(format!("loads from offset {k} of struct seccomp_data")),
        bpf::LOAD_MEMORY | bpf::LOAD_X_MEMORY | bpf::STORE | bpf::STORE_X if k >= WORDS => {
            Some(format!("uses word {k} of {WORDS}"))
        }
        bpf::DIVIDE if k == 0 => words("divides by zero"),
        bpf::SHIFT_LEFT | bpf::SHIFT_RIGHT if k >= 32 => Some(format!("shifts by {k}")),
        bpf::JA if k >= left => words("jumps behind the end"),
        bpf::JA => None,
        bpf::RET if k & 0xFFFF_0000 == bpf::RET_USER_NOTIF => words("asks an agent, which needs a profile"),
        _ if bpf::is_conditional(code) => {
            (u32::from(jt) >= left || u32::from(jf) >= left).then(|| "jumps behind the end".to_owned())
        }
        _ if bpf::is_arithmetic(code) || CODES.contains(&code) => None,
        _ => Some(format!("has the code {code:#06x}, which seccomp(2) does not take")),
    }
}

/// The first instruction that reads a word of memory which some way to it has not written.
fn unset_memory(instructions: &[Instruction]) -> Option<usize> {
    let mut reached = vec![u16::MAX; instructions.len()];
    let mut written = 0u16;
    for (index, one) in instructions.iter().enumerate() {
        written &= reached[index];
        let mut target = |distance: u32, written: u16| {
            if let Some(place) = reached.get_mut(index + 1 + distance as usize) {
                *place &= written;
            }
        };
        match one.code {
            bpf::STORE | bpf::STORE_X => written |= 1 << (one.k % WORDS),
            bpf::LOAD_MEMORY | bpf::LOAD_X_MEMORY if written & 1 << (one.k % WORDS) == 0 => return Some(index),
            bpf::JA => {
                target(one.k, written);
                written = u16::MAX;
            }
            code if bpf::is_conditional(code) => {
                target(one.jt.into(), written);
                target(one.jf.into(), written);
                written = u16::MAX;
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(all: &[(u16, u8, u8, u32)]) -> Vec<u8> {
        let instructions = all.iter().map(|&(code, jt, jf, k)| Instruction { code, jt, jf, k }).collect();
        Program { instructions, flags: 0, notifies: false, warnings: Vec::new() }.bytes()
    }

    const ALLOW: (u16, u8, u8, u32) = (bpf::RET, 0, 0, bpf::RET_ALLOW);

    #[test]
    fn what_the_kernel_refuses_is_refused() {
        for (program, why) in [
            (&[][..], "8-byte instructions, and this has 0 bytes"),
            (&[(bpf::LOAD, 0, 0, 0)], "does not end with an answer"),
            (&[(bpf::LOAD, 0, 0, 64), ALLOW], "instruction 1 of the filter loads from offset 64"),
            (&[(bpf::LOAD, 0, 0, 2), ALLOW], "offset 2"),
            (&[(0x28, 0, 0, 0), ALLOW], "has the code 0x0028"),
            (&[(0x94, 0, 0, 1), ALLOW], "has the code 0x0094"),
            (&[(bpf::JA, 0, 0, 1), ALLOW], "jumps behind the end"),
            (&[(bpf::JA, 0, 0, u32::MAX), ALLOW], "jumps behind the end"),
            (&[(bpf::JEQ, 1, 0, 7), ALLOW], "jumps behind the end"),
            (&[(bpf::JEQ, 0, 1, 7), ALLOW], "jumps behind the end"),
            (&[(bpf::DIVIDE, 0, 0, 0), ALLOW], "divides by zero"),
            (&[(bpf::SHIFT_LEFT, 0, 0, 32), ALLOW], "shifts by 32"),
            (&[(bpf::STORE, 0, 0, 16), ALLOW], "word 16 of 16"),
            (&[(bpf::LOAD_MEMORY, 0, 0, 1), ALLOW], "reads memory that is not written"),
            (&[(bpf::JEQ, 0, 1, 7), (bpf::STORE, 0, 0, 1), (bpf::LOAD_MEMORY, 0, 0, 1), ALLOW], "instruction 3"),
            (&[(bpf::RET, 0, 0, bpf::RET_USER_NOTIF)], "asks an agent"),
        ] {
            let error = program_from_bytes(&bytes(program)).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let long = vec![ALLOW; MOST + 1];
        assert!(program_from_bytes(&bytes(&long)).unwrap_err().to_string().contains("at most 4096"));
        assert!(program_from_bytes(&bytes(&long[1..])).is_ok());
        assert!(program_from_bytes(&[0; 7]).is_err());
    }

    /// Words, arithmetic and memory, as libseccomp never makes them: (nr + 1) * 3 ^ 5 is kept, read back and compared.
    #[test]
    fn any_program_of_the_kernels_is_understood() {
        let program = bytes(&[
            (bpf::LOAD, 0, 0, 0),
            (bpf::STORE, 0, 0, 3),
            (bpf::LOAD_X_IMMEDIATE, 0, 0, 1),
            (0x0c, 0, 0, 0), // A += X
            (0x24, 0, 0, 3), // A *= 3
            (0xa4, 0, 0, 5), // A ^= 5
            (bpf::TO_X, 0, 0, 0),
            (bpf::LOAD_MEMORY, 0, 0, 3),
            (0x0c, 0, 0, 0), // A += X
            (bpf::JEQ, 0, 1, 7 + (24 ^ 5)),
            (bpf::RET, 0, 0, bpf::RET_ERRNO | 9),
            ALLOW,
        ]);
        let program = program_from_bytes(&program).unwrap();
        let verdict = |number| super::super::evaluate(&program.instructions, 0, number, [0; 6]);
        assert_eq!((verdict(7).action, verdict(7).data), (super::super::Action::Errno, 9));
        assert!(verdict(8).runs());
    }
}
