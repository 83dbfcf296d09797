//! Device rules as an eBPF program (`BPF_PROG_TYPE_CGROUP_DEVICE`).
//!
//! The kernel calls it with `struct bpf_cgroup_dev_ctx { u32 access_type, major, minor }`, where the low half of
//! `access_type` is the kind of device and the high half the wanted access, and allows the access when it returns 1.
//! The last rule is asked first. A register holds the access not decided yet: an allowing rule takes its bits out, and
//! none left means yes; a denying rule that finds one of its bits there means no, and so does the end.
//!
//! The kernel verifies the program anew for every container, which costs time for every branch: rules that stand
//! together and all allow (or all deny) may change places, so they are sorted by kind and major number, and small
//! minor numbers become one bit mask. The default rules need 26 instructions, and a fifth of the time of one block a rule.

use super::{ALL, DeviceKind, DeviceRule, MKNOD, READ, WRITE};

// linux/bpf.h: BPF_DEVCG_*.
const DEV_BLOCK: i32 = 1;
const DEV_CHAR: i32 = 2;
const ACCESS_MKNOD: i32 = 1;
const ACCESS_READ: i32 = 2;
const ACCESS_WRITE: i32 = 4;

// linux/bpf_common.h, linux/bpf.h: instruction classes and operations; comparisons are of 32 bits without sign.
const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xb4;
const MOVE_REGISTER: u8 = 0xbc;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const SHIFT_RIGHT_REGISTER: u8 = 0x7c;
const JUMP: u8 = 0x05;
const JUMP_IF_EQUAL: u8 = 0x16;
const JUMP_IF_NOT_EQUAL: u8 = 0x56;
const JUMP_IF_GREATER: u8 = 0x26;
const EXIT: u8 = 0x95;

// Registers: r0 is the answer, r1 the context.
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const WANTED: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// The labels of the two ends; others are counted from here.
const YES: usize = 0;
const NO: usize = 1;

/// A program whose jumps name labels until it is finished.
struct Assembler {
    program: Vec<u64>,
    /// Instruction and label.
    jumps: Vec<(usize, usize)>,
    /// Where each label stands.
    labels: Vec<Option<usize>>,
}

impl Assembler {
    fn push(&mut self, operation: u8, destination: u8, source: u8, offset: i16, constant: i32) {
        self.program.push(instruction(operation, destination, source, offset, constant));
    }

    fn jump(&mut self, operation: u8, register: u8, constant: i32, label: usize) {
        self.jumps.push((self.program.len(), label));
        self.push(operation, register, 0, 0, constant);
    }

    fn label(&mut self) -> usize {
        self.labels.push(None);
        self.labels.len() - 1
    }

    fn here(&mut self, label: usize) {
        self.labels[label] = Some(self.program.len());
    }

    /// An end of the program, if anything leads there: the kernel refuses instructions that nothing reaches.
    fn end(&mut self, label: usize, answer: i32, reached: bool) {
        if reached || self.jumps.iter().any(|(_, to)| *to == label) {
            self.here(label);
            self.push(MOVE, ANSWER, 0, 0, answer);
            self.push(EXIT, 0, 0, 0, 0);
        }
    }

    fn finish(mut self) -> Vec<u64> {
        for (at, label) in &self.jumps {
            // A jump to a label that was never placed cannot occur; distance 0 would only go on to the next rule.
            let distance = self.labels[*label].map_or(0, |target| target - at - 1);
            self.program[*at] |= instruction(0, 0, 0, distance as i16, 0);
        }
        self.program
    }
}

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
    let mut out = Assembler { program: Vec::with_capacity(64), jumps: Vec::new(), labels: vec![None, None] };
    out.push(LOAD_WORD, WANTED, CONTEXT, 0, 0);
    out.push(MOVE_REGISTER, KIND, WANTED, 0, 0);
    out.push(AND, KIND, 0, 0, 0xffff);
    out.push(SHIFT_RIGHT, WANTED, 0, 0, 16);
    out.push(LOAD_WORD, MAJOR, CONTEXT, 4, 0);
    out.push(LOAD_WORD, MINOR, CONTEXT, 8, 0);
    for run in rules.chunk_by(|a, b| a.allow == b.allow).rev() {
        let (label, run) = if run[0].allow { (YES, joined(run)) } else { (NO, run.to_vec()) };
        if run.iter().any(DeviceRule::is_everything) {
            // Whatever came before has no say any more.
            out.jump(JUMP, 0, 0, label);
            out.end(NO, 0, false);
            out.end(YES, 1, false);
            return out.finish();
        }
        for rule in run.iter().filter(|rule| rule.access != ALL) {
            part_of_the_access(&mut out, rule);
        }
        for kind in [DeviceKind::All, DeviceKind::Char, DeviceKind::Block] {
            let whole: Vec<DeviceRule> =
                run.iter().filter(|rule| rule.access == ALL && rule.kind == kind).copied().collect();
            whole_access(&mut out, kind, whole, label);
        }
    }
    out.end(NO, 0, true);
    out.end(YES, 1, false);
    out.finish()
}

/// The same rule for both kinds of device is one rule for all.
fn joined(run: &[DeviceRule]) -> Vec<DeviceRule> {
    let mut list: Vec<DeviceRule> = Vec::with_capacity(run.len());
    for rule in run {
        let other = match rule.kind {
            DeviceKind::Char => DeviceKind::Block,
            DeviceKind::Block => DeviceKind::Char,
            DeviceKind::All => DeviceKind::All,
        };
        let twin = DeviceRule { kind: other, ..*rule };
        match list.iter_mut().find(|have| **have == twin) {
            Some(have) => have.kind = DeviceKind::All,
            None => list.push(*rule),
        }
    }
    list
}

fn skip_other_kinds(out: &mut Assembler, kind: DeviceKind, next: usize) {
    match kind {
        DeviceKind::All => {}
        DeviceKind::Char => out.jump(JUMP_IF_NOT_EQUAL, KIND, DEV_CHAR, next),
        DeviceKind::Block => out.jump(JUMP_IF_NOT_EQUAL, KIND, DEV_BLOCK, next),
    }
}

/// A rule about some of the three bits: what it allows is taken out, what it denies is looked for.
fn part_of_the_access(out: &mut Assembler, rule: &DeviceRule) {
    let next = out.label();
    skip_other_kinds(out, rule.kind, next);
    // Device numbers use at most 20 bits; one that does not fit matches no device all the same.
    if let Some(major) = rule.major {
        out.jump(JUMP_IF_NOT_EQUAL, MAJOR, major as i32, next);
    }
    if let Some(minor) = rule.minor {
        out.jump(JUMP_IF_NOT_EQUAL, MINOR, minor as i32, next);
    }
    let bits = access_bits(rule.access);
    if rule.allow {
        out.push(AND, WANTED, 0, 0, !bits);
        out.jump(JUMP_IF_EQUAL, WANTED, 0, YES);
    } else {
        out.push(MOVE_REGISTER, ANSWER, WANTED, 0, 0);
        out.push(AND, ANSWER, 0, 0, bits);
        out.jump(JUMP_IF_NOT_EQUAL, ANSWER, 0, NO);
    }
    out.here(next);
}

/// Rules about all three bits of one kind of device: a match decides.
fn whole_access(out: &mut Assembler, kind: DeviceKind, mut rules: Vec<DeviceRule>, label: usize) {
    if rules.is_empty() {
        return;
    }
    let next = out.label();
    skip_other_kinds(out, kind, next);
    rules.sort_by_key(|rule| rule.major);
    for group in rules.chunk_by(|a, b| a.major == b.major) {
        let any_minor = group.iter().any(|rule| rule.minor.is_none());
        match group[0].major {
            Some(major) if any_minor => out.jump(JUMP_IF_EQUAL, MAJOR, major as i32, label),
            Some(major) => {
                let other = out.label();
                out.jump(JUMP_IF_NOT_EQUAL, MAJOR, major as i32, other);
                minors(out, group, label);
                out.here(other);
            }
            None if any_minor => {
                // First in the order, and the others are covered by it.
                out.jump(JUMP, 0, 0, label);
                break;
            }
            None => minors(out, group, label),
        }
    }
    out.here(next);
}

/// Jumps if the minor number is one of the group's.
fn minors(out: &mut Assembler, group: &[DeviceRule], label: usize) {
    let (small, large): (Vec<u32>, Vec<u32>) =
        group.iter().filter_map(|rule| rule.minor).partition(|minor| *minor < 32);
    for minor in large {
        out.jump(JUMP_IF_EQUAL, MINOR, minor as i32, label);
    }
    if small.len() < 3 {
        for minor in small {
            out.jump(JUMP_IF_EQUAL, MINOR, minor as i32, label);
        }
        return;
    }
    let mask = small.iter().fold(0u32, |mask, minor| mask | 1 << minor);
    let next = out.label();
    out.jump(JUMP_IF_GREATER, MINOR, 31, next);
    out.push(MOVE, ANSWER, 0, 0, mask as i32);
    out.push(SHIFT_RIGHT_REGISTER, ANSWER, MINOR, 0, 0);
    out.push(AND, ANSWER, 0, 0, 1);
    out.jump(JUMP_IF_NOT_EQUAL, ANSWER, 0, label);
    out.here(next);
}

fn access_bits(access: u8) -> i32 {
    let pairs = [(READ, ACCESS_READ), (WRITE, ACCESS_WRITE), (MKNOD, ACCESS_MKNOD)];
    pairs.iter().filter(|(bit, _)| access & bit != 0).map(|(_, bit)| bit).sum()
}
