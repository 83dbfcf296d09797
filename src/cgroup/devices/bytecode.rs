//! Device rules as an eBPF program (`BPF_PROG_TYPE_CGROUP_DEVICE`).
//!
//! The kernel calls it with `struct bpf_cgroup_dev_ctx { u32 access_type, major, minor }`, where the low half of
//! `access_type` is the kind of device and the high half the wanted access, and allows the access when it returns 1.
//! The last rule is asked first. A register holds the access not decided yet: an allowing rule takes its bits out, and
//! none left means yes; a denying rule that finds one of its bits there means no, and so does the end.

use super::{DeviceKind, DeviceRule, MKNOD, READ, WRITE};

// linux/bpf.h: BPF_DEVCG_*.
const DEV_BLOCK: i32 = 1;
const DEV_CHAR: i32 = 2;
const ACCESS_MKNOD: i32 = 1;
const ACCESS_READ: i32 = 2;
const ACCESS_WRITE: i32 = 4;

// linux/bpf_common.h, linux/bpf.h: instruction classes and operations.
const LOAD_WORD: u8 = 0x61;
const MOVE_IMMEDIATE: u8 = 0xb4;
const MOVE_REGISTER: u8 = 0xbc;
const AND_IMMEDIATE: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const JUMP_IF_NOT_EQUAL: u8 = 0x56;
const JUMP_IF_EQUAL: u8 = 0x16;
const EXIT: u8 = 0x95;

// Registers: r0 is the answer, r1 the context.
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const WANTED: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// One instruction: operation, registers, jump distance, constant.
fn instruction(operation: u8, destination: u8, source: u8, offset: i16, constant: i32) -> u64 {
    let [low, high] = offset.to_ne_bytes();
    let [a, b, c, d] = constant.to_ne_bytes();
    // Two four-bit fields, the destination in the low half of the byte (in the high half on big-endian machines).
    let registers = if cfg!(target_endian = "little") { source << 4 | destination } else { destination << 4 | source };
    u64::from_ne_bytes([operation, registers, low, high, a, b, c, d])
}

/// The program for these rules, first to last, with denial as default.
pub fn assemble(rules: &[DeviceRule]) -> Vec<u64> {
    let mut program = vec![
        instruction(LOAD_WORD, WANTED, CONTEXT, 0, 0),
        instruction(MOVE_REGISTER, KIND, WANTED, 0, 0),
        instruction(AND_IMMEDIATE, KIND, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, WANTED, 0, 0, 16),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for rule in rules.iter().rev() {
        rule_into(rule, &mut program);
    }
    program.extend(answer(0));
    program
}

/// One rule: skip to the next one if the device is another, then decide.
fn rule_into(rule: &DeviceRule, program: &mut Vec<u64>) {
    let mut conditions: Vec<(u8, i32)> = Vec::with_capacity(3);
    match rule.kind {
        DeviceKind::All => {}
        DeviceKind::Char => conditions.push((KIND, DEV_CHAR)),
        DeviceKind::Block => conditions.push((KIND, DEV_BLOCK)),
    }
    // Device numbers use up to 20 bits; what does not fit the signed constant matches no device all the same.
    conditions.extend(rule.major.map(|major| (MAJOR, major as i32)));
    conditions.extend(rule.minor.map(|minor| (MINOR, minor as i32)));
    let bits = access_bits(rule.access);
    let decision = match rule.allow {
        true => vec![
            instruction(AND_IMMEDIATE, WANTED, 0, 0, !bits),
            // Something is still wanted: go on behind the two instructions of the answer.
            instruction(JUMP_IF_NOT_EQUAL, WANTED, 0, 2, 0),
        ],
        false => vec![
            instruction(MOVE_REGISTER, ANSWER, WANTED, 0, 0),
            instruction(AND_IMMEDIATE, ANSWER, 0, 0, bits),
            instruction(JUMP_IF_EQUAL, ANSWER, 0, 2, 0),
        ],
    };
    let length = decision.len() + 2;
    for (index, (register, value)) in conditions.iter().enumerate() {
        let distance = (conditions.len() - index - 1 + length) as i16;
        program.push(instruction(JUMP_IF_NOT_EQUAL, *register, 0, distance, *value));
    }
    program.extend(decision);
    program.extend(answer(i32::from(rule.allow)));
}

fn answer(value: i32) -> [u64; 2] {
    [instruction(MOVE_IMMEDIATE, ANSWER, 0, 0, value), instruction(EXIT, 0, 0, 0, 0)]
}

fn access_bits(access: u8) -> i32 {
    let pairs = [(READ, ACCESS_READ), (WRITE, ACCESS_WRITE), (MKNOD, ACCESS_MKNOD)];
    pairs.iter().filter(|(bit, _)| access & bit != 0).map(|(_, bit)| bit).sum()
}
