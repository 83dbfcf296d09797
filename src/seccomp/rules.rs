//! From a profile to one decision per system call number and ABI: what libseccomp's rule database does for runc and crun.

use super::conditions::Conditions;
use super::tables::{self, COLUMNS, PRIVATE_SLOT, SLOTS, Slot, X32_BIT};
use super::words::{Action, Architecture};
use super::{Profile, Rule, bpf};
use crate::error::{Error, Origin, Result};
use std::cmp::Ordering;

/// No rule decides the number.
const UNSET: u32 = u32::MAX;
/// x32's own calls, beyond the numbers new calls get (arch/x86/entry/syscalls/syscall_64.tbl).
const X32_OWN: std::ops::RangeInclusive<Slot> = 512..=547;
/// Calls that hand the listener over: sendmsg sends it to the parent, write is the one other runtimes use, and refuse.
/// Nobody could answer them. Every other call is answered: the parent passes the listener on before the child goes on.
const HANDOVER: [&str; 2] = ["write", "sendmsg"];
/// socketcall(2), number 102 on i386: its calls by their number (linux/net.h).
const SOCKETCALL: (Slot, [&str; 21]) = (
    102,
    [
        "",
        "socket",
        "bind",
        "connect",
        "listen",
        "accept",
        "getsockname",
        "getpeername",
        "socketpair",
        "send",
        "recv",
        "sendto",
        "recvfrom",
        "shutdown",
        "setsockopt",
        "getsockopt",
        "sendmsg",
        "recvmsg",
        "accept4",
        "recvmmsg",
        "sendmmsg",
    ],
);
/// ipc(2), number 117 on i386: its calls by their number (linux/ipc.h).
const IPC: (Slot, [(u32, &str); 12]) = (
    117,
    [
        (1, "semop"),
        (2, "semget"),
        (3, "semctl"),
        (4, "semtimedop"),
        (11, "msgsnd"),
        (12, "msgrcv"),
        (13, "msgget"),
        (14, "msgctl"),
        (21, "shmat"),
        (22, "shmdt"),
        (23, "shmget"),
        (24, "shmctl"),
    ],
);

/// A rule that asks about arguments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conditional {
    slot: Slot,
    /// What the call must look like.
    pub(super) conditions: Conditions,
    /// The program's answer then.
    pub(super) answer: u32,
}

impl Conditional {
    /// Whether both compile to the same instructions.
    pub(super) fn same(&self, other: &Conditional) -> bool {
        self.answer == other.answer && self.conditions.same(&other.conditions)
    }
}

/// All decisions of one ABI.
pub(super) struct Decisions {
    /// The ABI.
    pub(super) architecture: Architecture,
    column: usize,
    plain: Box<[u32; SLOTS]>,
    /// By slot, then in the order they are asked.
    conditional: Vec<Conditional>,
    /// The newest number the profile names.
    newest: Option<Slot>,
}

/// What a stretch of numbers gets.
#[derive(Clone, Copy, Debug)]
pub(super) enum Decision<'a> {
    /// Always this answer.
    Plain(u32),
    /// The first matching rule's answer, else the default.
    Conditional(&'a [Conditional]),
}

/// The profile's rules for the ABIs of one machine.
pub(super) struct Resolved {
    /// One entry per ABI, the native one first.
    pub(super) abis: Vec<Decisions>,
    /// The answer where no rule matches.
    pub(super) default: u32,
    enosys: bool,
}

/// Compares 64 bits of an argument?
fn wide(architecture: Architecture) -> bool {
    matches!(architecture, Architecture::X86_64 | Architecture::Aarch64 | Architecture::Riscv64)
}

/// The program's answer for an action. `errno` is the profile's `errnoRet`.
fn answer(action: Action, errno: Option<u32>, origin: &Origin) -> Result<u32> {
    let limit = match action {
        Action::Errno => 4095,
        Action::Trace => 0xFFFF,
        _ => 0,
    };
    if errno.is_some_and(|errno| errno > limit) {
        let errno = errno.unwrap_or_default();
        let what = if limit == 0 {
            format!("{} does not return an errno, but errnoRet is {errno}", action.word())
        } else {
            format!("errnoRet is {errno}; {} takes at most {limit}", action.word())
        };
        return Err(Error::input(what).at(origin));
    }
    let data = errno.unwrap_or(libc::EPERM as u32);
    Ok(match action {
        Action::KillThread => bpf::RET_KILL_THREAD,
        Action::KillProcess => bpf::RET_KILL_PROCESS,
        Action::Trap => bpf::RET_TRAP,
        Action::Errno => bpf::RET_ERRNO | data,
        Action::Trace => bpf::RET_TRACE | data,
        Action::Allow => bpf::RET_ALLOW,
        Action::Log => bpf::RET_LOG,
        Action::Notify => bpf::RET_USER_NOTIF,
    })
}

/// The ABIs of the profile that calls on this machine can have, the native one first whether listed or not.
fn abis(profile: &Profile, native: Architecture, warnings: &mut Vec<String>) -> Result<Vec<Decisions>> {
    let guests: &[Architecture] = match native {
        Architecture::X86_64 => &[Architecture::X86, Architecture::X32],
        Architecture::Aarch64 => &[Architecture::Arm],
        Architecture::X86 | Architecture::Arm | Architecture::Riscv64 => &[],
        _ => {
            let what = format!("no table of system call numbers for this machine's architecture, {}", native.word());
            return Err(Error::input(what).at(&profile.origin));
        }
    };
    let unknown: Vec<_> = profile.architectures.iter().filter(|a| a.audit().is_none()).map(|a| a.word()).collect();
    if !unknown.is_empty() {
        warnings.push(format!("calls of {} do not occur on this machine: left out of the filter", unknown.join(", ")));
    }
    let listed = guests.iter().filter(|guest| profile.architectures.contains(guest));
    Ok(std::iter::once(&native).chain(listed).map(|architecture| Decisions::new(*architecture)).collect())
}

/// Decides every number of every ABI.
pub(super) fn resolve(profile: &Profile, native: Architecture, warnings: &mut Vec<String>) -> Result<Resolved> {
    if profile.default_action == Action::Notify {
        let what = "SCMP_ACT_NOTIFY as defaultAction would ask the agent about the calls that hand it its listener";
        return Err(Error::input(what).at(&profile.origin.child("defaultAction")));
    }
    if profile.listener_metadata.is_some() && profile.listener_path.is_none() {
        let what = "listenerMetadata without listenerPath: there is nobody to send it to";
        return Err(Error::input(what).at(&profile.origin.child("listenerMetadata")));
    }
    let default = answer(profile.default_action, profile.default_errno, &profile.origin.child("defaultErrnoRet"))?;
    let mut resolved = Resolved {
        abis: abis(profile, native, warnings)?,
        default,
        enosys: !matches!(profile.default_action, Action::Allow | Action::Log | Action::Trace),
    };
    let mut unknown = Vec::new();
    for rule in &profile.rules {
        resolved.add(rule, &mut unknown)?;
    }
    if !unknown.is_empty() {
        warnings.push(format!("rules skipped for unknown system calls: {}", unknown.join(", ")));
    }
    for abi in &mut resolved.abis {
        abi.order(warnings);
    }
    Ok(resolved)
}

impl Resolved {
    fn add<'a>(&mut self, rule: &'a Rule, unknown: &mut Vec<&'a str>) -> Result<()> {
        let answer = answer(rule.action, rule.errno, &rule.origin.child("errnoRet"))?;
        for (place, argument) in rule.args.iter().enumerate() {
            if argument.index > 5 {
                let what = format!("a system call has the arguments 0 to 5, not {}", argument.index);
                return Err(Error::input(what).at(&rule.origin.child("args").child(place).child("index")));
            }
        }
        // Two conditions on one argument cannot be one rule of libseccomp; runc and crun make each a rule of its own.
        let repeated = (1..rule.args.len()).any(|i| rule.args[..i].iter().any(|a| a.index == rule.args[i].index));
        let alternatives = if repeated { rule.args.len() } else { 1 };
        for name in &rule.names {
            let Some(slots) = tables::lookup(name) else {
                unknown.push(name);
                continue;
            };
            if rule.action == Action::Notify && HANDOVER.contains(&name.as_str()) {
                return Err(handover(name, &rule.origin));
            }
            for abi in &mut self.abis {
                abi.name(slots);
                for alternative in 0..alternatives {
                    // What the default says anyway is not a rule: not even one that would hide others.
                    if answer != self.default {
                        let args = if repeated { &rule.args[alternative..=alternative] } else { &rule.args[..] };
                        let conditions = Conditions::new(args.iter(), wide(abi.architecture));
                        abi.add(name, slots, conditions, answer);
                    }
                }
            }
        }
        Ok(())
    }

    /// The answer above the newest number an ABI's rules name.
    fn beyond(&self, abi: &Decisions) -> u32 {
        if self.enosys && abi.newest.is_some() { bpf::RET_ERRNO | libc::ENOSYS as u32 } else { self.default }
    }

    /// The numbers of one `AUDIT_ARCH` in stretches: first number and what it and those up to the next stretch get.
    /// Begins at 0, ascends, neighbours differ.
    pub(super) fn stretches(&self, audit: u32) -> Vec<(u32, Decision<'_>)> {
        let mut stretches = Vec::with_capacity(128);
        for abi in self.abis.iter().filter(|abi| abi.architecture.audit() == Some(audit)) {
            self.append(abi, &mut stretches);
        }
        let x32 = self.abis.iter().any(|abi| abi.architecture == Architecture::X32);
        if let Some(abi) = self.abis.iter().find(|abi| abi.architecture == Architecture::X86_64)
            && abi.architecture.audit() == Some(audit)
            && !x32
        {
            push(&mut stretches, X32_BIT, Decision::Plain(bpf::RET_KILL_PROCESS));
            // A tracer skips a call by making its number -1.
            push(&mut stretches, u32::MAX, Decision::Plain(self.beyond(abi)));
        }
        stretches
    }

    fn append<'a>(&'a self, abi: &'a Decisions, stretches: &mut Vec<(u32, Decision<'a>)>) {
        let beyond = self.beyond(abi);
        let mut conditional = &abi.conditional[..];
        for slot in 0..SLOTS as Slot {
            let count = conditional.iter().take_while(|rule| rule.slot == slot).count();
            let decision = if count > 0 {
                let (mine, rest) = conditional.split_at(count);
                conditional = rest;
                Decision::Conditional(mine)
            } else if abi.plain[usize::from(slot)] != UNSET {
                Decision::Plain(abi.plain[usize::from(slot)])
            } else if abi.newest.is_some_and(|newest| slot > newest) && !abi.own(slot) {
                Decision::Plain(beyond)
            } else {
                Decision::Plain(self.default)
            };
            // Between the last plain number and Arm's private calls lies what no ABI has yet.
            if slot == PRIVATE_SLOT && abi.architecture != Architecture::Arm {
                break;
            }
            push(stretches, tables::number(abi.architecture, slot), decision);
        }
        if abi.architecture == Architecture::Arm {
            push(stretches, tables::number(Architecture::Arm, SLOTS as Slot), Decision::Plain(beyond));
        }
    }
}

/// Appends a stretch unless it continues the one before.
fn push<'a>(stretches: &mut Vec<(u32, Decision<'a>)>, number: u32, decision: Decision<'a>) {
    match (stretches.last(), decision) {
        (Some((_, Decision::Plain(before))), Decision::Plain(answer)) if *before == answer => {}
        _ => stretches.push((number, decision)),
    }
}

fn handover(name: &str, origin: &Origin) -> Error {
    let what = format!("SCMP_ACT_NOTIFY on {name}: the container needs it before the agent has its listener");
    Error::input(what).at(origin).hint("the start would wait for an agent that cannot be reached yet")
}

impl Decisions {
    fn new(architecture: Architecture) -> Self {
        Decisions {
            architecture,
            column: COLUMNS.iter().position(|column| *column == architecture).unwrap_or_default(),
            plain: Box::new([UNSET; SLOTS]),
            conditional: Vec::new(),
            newest: None,
        }
    }

    /// Numbers of the ABI's own, outside the common sequence new calls continue.
    fn own(&self, slot: Slot) -> bool {
        match self.architecture {
            Architecture::X32 => X32_OWN.contains(&slot),
            Architecture::Arm => slot >= PRIVATE_SLOT,
            _ => false,
        }
    }

    /// The profile names a call: what is newer than it was unknown to the profile's author.
    fn name(&mut self, slots: &[Slot; COLUMNS.len()]) {
        if let Some(slot) = tables::known(slots, self.column).filter(|slot| !self.own(*slot)) {
            self.newest = self.newest.max(Some(slot));
        }
    }

    fn add(&mut self, name: &str, slots: &[Slot; COLUMNS.len()], conditions: Conditions, answer: u32) {
        if self.architecture == Architecture::X86 {
            if let Some((slot, call)) = multiplexer(name) {
                self.conditional.push(Conditional { slot, conditions: conditions.multiplexed(call), answer });
            }
        }
        let Some(slot) = tables::known(slots, self.column) else { return };
        if !conditions.is_empty() {
            self.conditional.push(Conditional { slot, conditions, answer });
        } else if self.plain[usize::from(slot)] == UNSET {
            self.plain[usize::from(slot)] = answer;
        }
    }

    /// Puts the rules with conditions in the order they are asked. A rule without conditions outdoes them all, wherever
    /// it stands.
    fn order(&mut self, warnings: &mut Vec<String>) {
        let plain = &self.plain;
        self.conditional.retain(|rule| plain[usize::from(rule.slot)] == UNSET);
        self.conditional.sort_by_key(|rule| rule.slot);
        let mut ordered: Vec<Conditional> = Vec::with_capacity(self.conditional.len());
        let mut group = 0;
        for rule in self.conditional.drain(..) {
            if ordered.last().is_some_and(|last| last.slot != rule.slot) {
                group = ordered.len();
            }
            match place(&ordered[group..], &rule.conditions) {
                Ok(position) => ordered.insert(group + position, rule),
                Err(known) if ordered[group + known].answer != rule.answer => {
                    let number = tables::number(self.architecture, rule.slot);
                    let name = tables::syscall_name(self.architecture, number).unwrap_or("?");
                    warnings.push(format!("{name} has two actions under one condition: the first rule holds"));
                }
                Err(_) => {}
            }
        }
        self.conditional = ordered;
    }
}

/// Where the new rule goes among those of one call, or the place of the rule with the same conditions. The tree is
/// descended: once a shared beginning is found, the rule stays among those that share it.
fn place(known: &[Conditional], new: &Conditions) -> std::result::Result<usize, usize> {
    let mut shared = 0;
    for (position, rule) in known.iter().enumerate() {
        let (depth, order) = new.against(&rule.conditions);
        if order == Ordering::Equal {
            return Err(position);
        }
        if depth < shared || order == Ordering::Greater {
            return Ok(position);
        }
        shared = depth;
    }
    Ok(known.len())
}

/// On i386 the socket and System V IPC calls can also be made through socketcall(2) and ipc(2).
fn multiplexer(name: &str) -> Option<(Slot, u32)> {
    if let Some(call) = SOCKETCALL.1.iter().position(|known| *known == name) {
        return Some((SOCKETCALL.0, call as u32));
    }
    IPC.1.iter().find(|(_, known)| *known == name).map(|(call, _)| (IPC.0, *call))
}
