//! Which devices may be used: rules in order, later ones override earlier ones, nothing is allowed by default.
//!
//! The meaning is that of the OCI specification, bit by bit: a request for read and write is allowed when the last rule
//! that speaks of read allows it and the last that speaks of write does too. On cgroup v2 that becomes a program
//! ([`program`]); on v1 the rules become writes to `devices.deny` and `devices.allow`, and rules that v1 cannot
//! express (an exception to a wildcard) are an error instead of a wrong answer.

mod bytecode;

use serde::{Deserialize, Serialize};

pub use bytecode::assemble;

use super::plan::{Action, Assignment, Step, Write};
use crate::error::{Error, Origin, Result};

/// The bit for reading.
pub const READ: u8 = 1;
/// The bit for writing.
pub const WRITE: u8 = 2;
/// The bit for mknod(2).
pub const MKNOD: u8 = 4;
/// All three.
pub const ALL: u8 = READ | WRITE | MKNOD;

/// The kind of device a rule speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceKind {
    /// Character and block devices.
    All,
    /// Character devices.
    Char,
    /// Block devices.
    Block,
}

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// Allow or deny.
    pub allow: bool,
    /// Which kind of device.
    pub kind: DeviceKind,
    /// Major number; `None` for any.
    pub major: Option<u32>,
    /// Minor number; `None` for any.
    pub minor: Option<u32>,
    /// A set of [`READ`], [`WRITE`] and [`MKNOD`].
    pub access: u8,
}

impl DeviceRule {
    const fn char_device(major: u32, minor: Option<u32>) -> Self {
        DeviceRule { allow: true, kind: DeviceKind::Char, major: Some(major), minor, access: ALL }
    }

    const fn mknod_any(kind: DeviceKind) -> Self {
        DeviceRule { allow: true, kind, major: None, minor: None, access: MKNOD }
    }

    pub(super) fn is_everything(&self) -> bool {
        self.kind == DeviceKind::All && self.major.is_none() && self.minor.is_none() && self.access == ALL
    }

    pub(super) fn same_devices(&self, other: &DeviceRule) -> bool {
        (self.kind, self.major, self.minor) == (other.kind, other.major, other.minor)
    }

    /// Whether every device of `other` is one of this rule's.
    pub(super) fn covers(&self, other: &DeviceRule) -> bool {
        (self.kind == DeviceKind::All || self.kind == other.kind)
            && (self.major.is_none() || self.major == other.major)
            && (self.minor.is_none() || self.minor == other.minor)
    }

    /// Whether some device belongs to both.
    pub(super) fn meets(&self, other: &DeviceRule) -> bool {
        (self.kind == DeviceKind::All || other.kind == DeviceKind::All || self.kind == other.kind)
            && (self.major.is_none() || other.major.is_none() || self.major == other.major)
            && (self.minor.is_none() || other.minor.is_none() || self.minor == other.minor)
    }
}

impl std::fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            DeviceKind::All => "a",
            DeviceKind::Char => "c",
            DeviceKind::Block => "b",
        };
        let number = |number: Option<u32>| number.map_or("*".into(), |number| number.to_string());
        write!(f, "{kind} {}:{} ", number(self.major), number(self.minor))?;
        f.write_str(&letters(self.access))
    }
}

/// `rwm`, or less.
pub(super) fn letters(access: u8) -> String {
    let letters = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')];
    letters.iter().filter(|(bit, _)| access & bit != 0).map(|(_, letter)| letter).collect()
}

/// What every container may use, as in runc and crun: make any node, and null, zero, full, random, urandom, tty,
/// console, ptmx and the pseudo-terminals. The caller's rules come before them, so that `deny a` at their head, which
/// every configuration has, leaves these.
pub const ALWAYS: [DeviceRule; 11] = [
    DeviceRule::mknod_any(DeviceKind::Char),
    DeviceRule::mknod_any(DeviceKind::Block),
    DeviceRule::char_device(1, Some(3)),
    DeviceRule::char_device(1, Some(5)),
    DeviceRule::char_device(1, Some(7)),
    DeviceRule::char_device(1, Some(8)),
    DeviceRule::char_device(1, Some(9)),
    DeviceRule::char_device(5, Some(0)),
    DeviceRule::char_device(5, Some(1)),
    DeviceRule::char_device(5, Some(2)),
    DeviceRule::char_device(136, None),
];

/// A device program for cgroup v2.
#[derive(Clone, Debug, PartialEq)]
pub struct Devices {
    /// The rules it decides by, in order.
    pub rules: Vec<DeviceRule>,
    /// Who asked.
    pub origin: Origin,
    /// 8-byte instructions for bpf(2); empty when everything is allowed and no program is needed.
    pub program: Vec<u64>,
}

impl Devices {
    /// The program as a line of the story.
    pub fn step(&self) -> Step {
        let text = match self.program.len() {
            0 => "attach no device program: every device is allowed".into(),
            count => format!(
                "attach a device program of {count} instructions: default deny; {}",
                self.rules.iter().map(describe).collect::<Vec<_>>().join("; ")
            ),
        };
        Step { text, origin: self.origin.clone() }
    }
}

fn describe(rule: &DeviceRule) -> String {
    format!("{} {rule}", if rule.allow { "allow" } else { "deny" })
}

/// The rules in force: those asked for and then [`ALWAYS`], without what has no effect: rules before one that
/// speaks of everything, and earlier rules about the same devices and no more access than a later one.
pub fn effective(asked: &[DeviceRule]) -> Vec<DeviceRule> {
    let mut rules: Vec<DeviceRule> = Vec::new();
    for rule in ALWAYS.iter().rev().chain(asked.iter().rev()).filter(|rule| rule.access & ALL != 0) {
        let hidden = rules.iter().any(|later| later.covers(rule) && rule.access & !later.access == 0);
        if !hidden {
            rules.push(*rule);
        }
        if rule.is_everything() {
            break;
        }
    }
    if let Some(last) = rules.last() {
        if last.is_everything() && !last.allow {
            rules.pop();
        }
    }
    rules.reverse();
    if rules.first().is_some_and(|first| first.is_everything()) && rules.iter().all(|rule| rule.allow) {
        rules.truncate(1);
    }
    rules
}

/// The program for cgroup v2; without instructions when everything is allowed.
pub fn program(asked: &[DeviceRule], origin: &Origin) -> Option<Devices> {
    let rules = effective(asked);
    let everything = rules.len() == 1 && rules[0].is_everything() && rules[0].allow;
    let program = if everything { Vec::new() } else { assemble(&rules) };
    Some(Devices { rules, origin: origin.clone(), program })
}

/// The writes for the v1 controller.
///
/// # Errors
/// Rules that v1 cannot express.
pub(super) fn legacy_writes(asked: &[DeviceRule], origin: &Origin) -> Result<Vec<Write>> {
    let rules = effective(asked);
    let set = |file: &'static str, value: String| Write {
        origin: origin.clone(),
        action: Action::Set(Assignment::new(file, value)),
    };
    let allow_by_default = rules.first().is_some_and(|first| first.is_everything() && first.allow);
    if allow_by_default && rules.len() == 1 {
        // A new group has what its parent has; writing "a" would only fail where the parent has less.
        return Ok(Vec::new());
    }
    let mut writes = vec![match allow_by_default {
        true => set("devices.allow", "a".into()),
        false => set("devices.deny", "a".into()),
    }];
    let exceptions = exceptions(&rules[usize::from(allow_by_default)..], allow_by_default, origin)?;
    let file = if allow_by_default { "devices.deny" } else { "devices.allow" };
    writes.extend(exceptions.into_iter().map(|rule| set(file, rule.to_string())));
    Ok(writes)
}

/// What differs from the default, as the v1 controller keeps it: one entry for the same devices, no order.
fn exceptions(rules: &[DeviceRule], default: bool, origin: &Origin) -> Result<Vec<DeviceRule>> {
    let mut list: Vec<DeviceRule> = Vec::new();
    for rule in &by_kind(rules) {
        if rule.allow != default {
            match list.iter_mut().find(|have| have.same_devices(rule)) {
                Some(have) => have.access |= rule.access,
                None => list.push(*rule),
            }
            continue;
        }
        // Back to the default for these devices: narrower entries shrink, a wider one cannot get a hole.
        for have in &mut list {
            if rule.covers(have) {
                have.access &= !rule.access;
            } else if rule.meets(have) && rule.access & have.access != 0 {
                let text = format!("{} has to leave a hole in {have}, which cgroup v1 cannot do", describe(rule));
                return Err(Error::input(text).at(origin).hint("cgroup v2 can"));
            }
        }
        list.retain(|have| have.access != 0);
    }
    Ok(list)
}

/// The v1 files take `a` for every device whatever the numbers say, so a rule about both kinds becomes two.
pub(super) fn by_kind(rules: &[DeviceRule]) -> Vec<DeviceRule> {
    let split = |rule: &DeviceRule| match rule.kind {
        DeviceKind::All => {
            vec![DeviceRule { kind: DeviceKind::Char, ..*rule }, DeviceRule { kind: DeviceKind::Block, ..*rule }]
        }
        _ => vec![*rule],
    };
    rules.iter().flat_map(split).collect()
}

#[cfg(test)]
mod tests;
