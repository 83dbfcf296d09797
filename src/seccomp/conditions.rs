//! Argument conditions of one rule: normal form, precedence, and their instructions (by seccompiler).

use super::bpf;
use super::words::Operator;
use super::{Argument, Instruction};
use crate::error::{Error, Result};
use seccompiler::{BpfProgram, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};
use std::cmp::Ordering;

/// One comparison in normal form: `operand & mask OP datum`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    index: u8,
    operator: Operator,
    mask: u64,
    datum: u64,
}

/// The conditions of one rule, all of which must hold: at most one per argument, by ascending argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Conditions {
    by_argument: [Option<Condition>; 6],
    /// 64-bit comparisons; the low half otherwise.
    wide: bool,
}

impl Conditions {
    /// Conditions from the arguments of a profile. `wide` ABIs compare 64 bits; the others the low half, with the
    /// values cut to it, as libseccomp does. What is always true (an empty mask) is left out.
    pub(super) fn new<'a>(arguments: impl Iterator<Item = &'a Argument>, wide: bool) -> Self {
        let width = if wide { u64::MAX } else { u64::from(u32::MAX) };
        let mut me = Conditions { wide, ..Conditions::default() };
        for argument in arguments {
            let (mask, datum) = match argument.op {
                Operator::MaskedEqual => (argument.value & width, argument.value_two & argument.value & width),
                _ => (width, argument.value & width),
            };
            if mask != 0 {
                let index = argument.index as u8;
                me.by_argument[usize::from(index)] = Some(Condition { index, operator: argument.op, mask, datum });
            }
        }
        me
    }

    /// The same with the first argument required to be `call`: a call behind socketcall(2) or ipc(2).
    pub(super) fn multiplexed(mut self, call: u32) -> Self {
        let (index, operator) = (0, Operator::Equal);
        self.by_argument[0] = Some(Condition { index, operator, mask: u64::from(u32::MAX), datum: u64::from(call) });
        self
    }

    /// Whether both compile to the same instructions.
    pub(super) fn same(&self, other: &Conditions) -> bool {
        self.by_argument == other.by_argument
    }

    /// Whether nothing is asked of the arguments.
    pub(super) fn is_empty(&self) -> bool {
        self.by_argument.iter().all(Option::is_none)
    }

    fn nodes(&self) -> impl Iterator<Item = Node> + use<> {
        let wide = self.wide;
        self.by_argument.into_iter().flatten().flat_map(move |condition| condition.nodes(wide)).flatten()
    }

    /// Whether a rule with these conditions goes before or after a known one, as libseccomp's tree has it, and how much
    /// of the tree's path they share. "Greater" is before: later arguments first, equality before "below" before
    /// "above", the narrower value first; a rule that asks less goes before one that asks the same and more.
    pub(super) fn against(&self, known: &Conditions) -> (usize, Ordering) {
        let (mut mine, mut theirs, mut depth) = (self.nodes(), known.nodes(), 0);
        loop {
            match (mine.next(), theirs.next()) {
                (None, None) if self.same(known) => return (depth, Ordering::Equal),
                // Two sides of one test ("equals" and "differs"): no call is on both.
                (None, None) => return (depth, Ordering::Less),
                (None, Some(_)) => return (depth, Ordering::Greater),
                (Some(_), None) => return (depth, Ordering::Less),
                (Some(a), Some(b)) if a.same_test(&b) => depth += 1,
                (Some(a), Some(b)) => {
                    return (depth, if a.rank() > b.rank() { Ordering::Greater } else { Ordering::Less });
                }
            }
        }
    }

    /// Appends the instructions that fall through (to the next instruction) when all conditions hold and skip exactly one
    /// instruction more when one does not.
    pub(super) fn compile(&self, program: &mut Vec<Instruction>) -> Result<()> {
        let conditions = self.by_argument.iter().flatten().map(|condition| condition.compile(self.wide));
        let conditions = conditions.collect::<std::result::Result<Vec<_>, _>>().map_err(refused)?;
        let body: BpfProgram = SeccompRule::new(conditions).map_err(refused)?.into();
        // seccompiler begins every rule with a jump over a jump nothing leads to.
        let begin = body.len() > 2 && (body[0].code, body[0].k, body[1].code) == (bpf::JA, 1, bpf::JA);
        let body = if begin { &body[2..] } else { &body[..] };
        program.extend(body.iter().map(|i| Instruction { code: i.code, jt: i.jt, jf: i.jf, k: i.k }));
        Ok(())
    }
}

fn refused(error: seccompiler::BackendError) -> Error {
    Error::input(format!("cannot compile the conditions: {error}"))
}

/// One 32-bit half of a comparison, the unit of libseccomp's tree.
#[derive(Clone, Copy)]
struct Node {
    operand: u8,
    operator: Operator,
    mask: u32,
    datum: u32,
}

impl Node {
    /// The tree's order on one level.
    fn rank(&self) -> (u8, u8, u32) {
        match self.operator {
            Operator::Equal | Operator::NotEqual | Operator::MaskedEqual => (self.operand, 3, self.datum),
            Operator::Less | Operator::LessOrEqual => (self.operand, 2, !self.datum),
            Operator::Greater | Operator::GreaterOrEqual => (self.operand, 1, self.datum),
        }
    }

    /// Whether the tree has one node for both. "Differs" is the other side of "equals", "below" of "or above".
    fn same_test(&self, other: &Node) -> bool {
        let test = |operator| match operator {
            Operator::NotEqual => Operator::Equal,
            Operator::Less => Operator::GreaterOrEqual,
            Operator::LessOrEqual => Operator::Greater,
            _ => operator,
        };
        (self.operand, self.mask, self.datum) == (other.operand, other.mask, other.datum)
            && test(self.operator) == test(other.operator)
    }
}

impl Condition {
    fn nodes(self, wide: bool) -> [Option<Node>; 2] {
        let node = |high: bool, shift: u32| Node {
            operand: self.index * 2 + u8::from(high),
            operator: self.operator,
            mask: (self.mask >> shift) as u32,
            datum: (self.datum >> shift) as u32,
        };
        [wide.then(|| node(true, 32)), Some(node(false, 0))]
    }

    fn compile(&self, wide: bool) -> std::result::Result<SeccompCondition, seccompiler::BackendError> {
        let operator = match self.operator {
            Operator::NotEqual => SeccompCmpOp::Ne,
            Operator::Less => SeccompCmpOp::Lt,
            Operator::LessOrEqual => SeccompCmpOp::Le,
            Operator::Equal => SeccompCmpOp::Eq,
            Operator::GreaterOrEqual => SeccompCmpOp::Ge,
            Operator::Greater => SeccompCmpOp::Gt,
            Operator::MaskedEqual => SeccompCmpOp::MaskedEq(self.mask),
        };
        let length = if wide && self.mask >> 32 != 0 { SeccompCmpArgLen::Qword } else { SeccompCmpArgLen::Dword };
        SeccompCondition::new(self.index, length, operator, self.datum)
    }
}
