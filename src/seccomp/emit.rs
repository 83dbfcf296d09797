//! From decisions to instructions.
//!
//! The program is written from its end to its beginning: all jumps of classic BPF lead forward, so every target is known
//! when a jump is written, and what was written once (an answer, a rule's conditions) is reused where it is in reach.

use super::rules::{Conditional, Decision, Resolved};
use super::{Instruction, bpf};
use crate::error::{Error, Result};

/// How far a conditional jump may lead, with room for the two instructions that may be written between the decision and
/// the jump.
const REACH: usize = 250;
/// The kernel's limit of one program (`BPF_MAXINSNS`).
const LIMIT: usize = 4096;

/// A written instruction: its distance from the end of the program.
type Label = usize;

struct Assembler<'a> {
    /// Last instruction first.
    reversed: Vec<Instruction>,
    /// The latest place of every answer.
    answers: Vec<(u32, Label)>,
    /// The bodies of rules with conditions.
    bodies: Vec<(&'a [Conditional], Label)>,
    default: u32,
}

/// The program: the ABIs' native one first, then their numbers in a binary tree.
pub(super) fn emit(resolved: &Resolved) -> Result<Vec<Instruction>> {
    let mut assembler = Assembler {
        reversed: Vec::with_capacity(512),
        answers: Vec::new(),
        bodies: Vec::new(),
        default: resolved.default,
    };
    let mut audits: Vec<u32> = Vec::with_capacity(2);
    for audit in resolved.abis.iter().filter_map(|abi| abi.architecture.audit()) {
        // x32 shares x86-64's number space.
        if !audits.contains(&audit) {
            audits.push(audit);
        }
    }
    let mut sections = Vec::with_capacity(audits.len());
    for audit in audits.iter().rev() {
        let root = assembler.tree(&resolved.stretches(*audit))?;
        let section = if root + 1 == assembler.reversed.len() { assembler.push(bpf::load(bpf::NR)) } else { root };
        sections.push((*audit, section));
    }
    let mut otherwise = assembler.answer(bpf::RET_KILL_PROCESS);
    for (audit, section) in sections {
        otherwise = assembler.branch(bpf::JEQ, audit, section, otherwise);
    }
    assembler.push(bpf::load(bpf::ARCH));
    let mut program = assembler.reversed;
    program.reverse();
    if program.len() > LIMIT {
        let what = format!("the filter needs {} instructions; the kernel takes {LIMIT}", program.len());
        return Err(Error::input(what).hint("fewer rules with conditions, or fewer architectures"));
    }
    Ok(program)
}

impl<'a> Assembler<'a> {
    fn push(&mut self, instruction: Instruction) -> Label {
        self.reversed.push(instruction);
        self.reversed.len() - 1
    }

    /// What a conditional jump written next would have to skip to get to the label.
    fn distance(&self, label: Label) -> usize {
        self.reversed.len() - label - 1
    }

    fn answer(&mut self, value: u32) -> Label {
        let known = self.answers.iter().position(|(answer, _)| *answer == value);
        if let Some((_, label)) = known.map(|known| self.answers[known])
            && self.distance(label) <= REACH
        {
            return label;
        }
        let label = self.push(bpf::ret(value));
        match known {
            Some(known) => self.answers[known].1 = label,
            None => self.answers.push((value, label)),
        }
        label
    }

    /// A label in reach of the jump written next: the label itself, a copy of the answer there, or a long jump.
    fn near(&mut self, label: Label) -> Label {
        if self.distance(label) <= REACH {
            return label;
        }
        match self.reversed[label] {
            Instruction { code: bpf::RET, k, .. } => self.answer(k),
            _ => self.push(bpf::jump(self.distance(label) as u32)),
        }
    }

    fn branch(&mut self, code: u16, k: u32, yes: Label, no: Label) -> Label {
        let no = self.near(no);
        let yes = self.near(yes);
        let (jt, jf) = (self.distance(yes) as u8, self.distance(no) as u8);
        self.push(Instruction { code, jt, jf, k })
    }

    /// A binary tree over the stretches' first numbers.
    fn tree(&mut self, stretches: &[(u32, Decision<'a>)]) -> Result<Label> {
        if let [(_, decision)] = stretches {
            return self.leaf(decision);
        }
        let (low, high) = stretches.split_at(stretches.len() / 2);
        let above = self.tree(high)?;
        let below = self.tree(low)?;
        Ok(self.branch(bpf::JGE, high[0].0, above, below))
    }

    fn leaf(&mut self, decision: &Decision<'a>) -> Result<Label> {
        let rules = match decision {
            Decision::Plain(answer) => return Ok(self.answer(*answer)),
            Decision::Conditional(rules) => *rules,
        };
        let same =
            |known: &[Conditional]| known.len() == rules.len() && known.iter().zip(rules).all(|(a, b)| a.same(b));
        if let Some((_, label)) = self.bodies.iter().find(|(known, _)| same(known)) {
            return Ok(*label);
        }
        let mut body = Vec::with_capacity(rules.len() * 8);
        for rule in rules {
            rule.conditions.compile(&mut body)?;
            body.push(bpf::ret(rule.answer));
        }
        body.push(bpf::ret(self.default));
        self.reversed.extend(body.iter().rev());
        let label = self.reversed.len() - 1;
        self.bodies.push((rules, label));
        Ok(label)
    }
}
