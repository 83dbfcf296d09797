//! Seccomp: from an OCI profile to one BPF program.
//!
//! ```text
//! Profile ──rules──► one decision per (ABI, number) ──emit──► Program
//!            │ names: tables              │ conditions: seccompiler
//! ```
//!
//! # Meaning
//! What runc and crun get from libseccomp, so that a profile means the same here (`tests/seccomp_oracle.rs` compares):
//! - A rule whose action is the default's is no rule. Unknown names are skipped with a warning.
//! - Of several rules for one call, one without conditions beats all others wherever it stands; of two such, the first
//!   holds. Rules with conditions are asked in the order of libseccomp's tree (see `Conditions::against`). The same
//!   conditions with two actions, which libseccomp refuses, are a warning here and the first rule holds.
//! - All conditions of a rule must hold; if two concern one argument, each becomes a rule of its own.
//! - 64-bit ABIs compare 64 bits; i386, x32 and Arm the low 32, with the profile's values cut to them.
//! - On i386 a rule for `socket` is also one for that call behind socketcall(2) (and `shmat` … behind ipc(2)). There
//!   argument 0 is the call's number, so a condition on it is lost: argument conditions on socket calls bind i386
//!   programs only if the profile does not allow `socketcall`.
//!
//! On purpose different from libseccomp:
//! - A foreign `AUDIT_ARCH`, or x32 numbers when x32 is not listed, kill the process; libseccomp kills the thread only,
//!   which leaves the others of a process in an unknown state. Number -1, which a tracer sets to skip a call, is
//!   no x32 number.
//! - Calls newer than the newest one the profile names for an ABI fail with ENOSYS, as runc has it (and unless the default
//!   is to allow, log or trace), so that libc falls back instead of reporting EPERM. x32's own numbers 512 to 547 and Arm's
//!   private ones do not count as new or newest: with them runc's check never finds anything new there.
//! - Faults of libseccomp 2.5.4 the comparison met are not copied: on 32-bit ABIs "or below" counts as "above" after
//!   another condition; once the upper half of an argument has matched one rule of a call, its other rules on that argument
//!   are forgotten; with x32 among the ABIs the number is sometimes compared before it is loaded.
//!
//! # Form
//! seccompiler compiles a whole filter as a list: five instructions per call, searched one by one, one action per program,
//! one vector per call. A default profile on three ABIs has about 1,200 calls: more than the kernel's 4,096 instructions.
//! So seccompiler compiles the argument conditions of one rule, and the numbers become a binary search over stretches of
//! equal answers, one instruction each. Debian 12's default profiles with the default capabilities, on the development
//! machine (compile time: best of 1,000 in one process; the very first one takes 90 to 145 µs, most of it page faults):
//!
//! | profile | ABIs | instructions | libseccomp 2.5.4 | getppid | compiled in |
//! |---|---|---|---|---|---|
//! | Docker | x86_64, i386, x32 | 324 | 960 | 11 steps | 33 µs |
//! | Docker | arm64, arm | 254 | 621 | 10 steps | 21 µs |
//! | Podman | x86_64, i386, x32 | 359 | 1,144 | 11 steps | 39 µs |
//! | Podman | arm64, arm | 272 | 736 | 10 steps | 25 µs |

#![forbid(unsafe_code)]

mod bpf;
mod conditions;
mod emit;
mod interpreter;
mod raw;
mod rules;
mod tables;
mod words;

pub use interpreter::{Verdict, evaluate};
pub use raw::program_from_bytes;
pub use tables::{is_known, syscall_name, syscall_number};
pub use words::{Action, Architecture, Flag, Operator};

use crate::error::{Origin, Result};

/// What a container may ask of the kernel (config-linux.md, "Seccomp").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// What happens to calls no rule matches. Not [`Action::Notify`].
    pub default_action: Action,
    /// The errno (or tracer's message) of the default action; EPERM if unset.
    pub default_errno: Option<u32>,
    /// The ABIs programs may use, besides the native one.
    pub architectures: Vec<Architecture>,
    /// How to install the filter.
    pub flags: Vec<Flag>,
    /// The rules, in the profile's order.
    pub rules: Vec<Rule>,
    /// The socket of the agent that decides calls under [`Action::Notify`].
    pub listener_path: Option<String>,
    /// Handed to the agent as it is; needs `listener_path`.
    pub listener_metadata: Option<String>,
    /// Where the profile stands in the input.
    pub origin: Origin,
}

/// One entry of a profile's `syscalls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The calls.
    pub names: Vec<String>,
    /// What happens to them.
    pub action: Action,
    /// The errno of [`Action::Errno`] or tracer's message of [`Action::Trace`]; EPERM if unset, an error with other actions.
    pub errno: Option<u32>,
    /// What their arguments must be like; see the module's text for several on one argument.
    pub args: Vec<Argument>,
    /// Where the rule stands in the input.
    pub origin: Origin,
}

/// One comparison of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Which argument, 0 to 5.
    pub index: u32,
    /// What it is compared with; the mask of [`Operator::MaskedEqual`].
    pub value: u64,
    /// What the masked argument must be under [`Operator::MaskedEqual`]; unused otherwise.
    pub value_two: u64,
    /// How.
    pub op: Operator,
}

/// One instruction of classic BPF: `struct sock_filter` (linux/filter.h).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// Instructions to skip if a comparison holds.
    pub jt: u8,
    /// Instructions to skip if it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

const _: () = assert!(size_of::<Instruction>() == 8);

/// A compiled profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// What `struct sock_fprog` points to: at most 4,096 instructions.
    pub instructions: Vec<Instruction>,
    /// The flags of seccomp(2)'s `SECCOMP_SET_MODE_FILTER`, with `NEW_LISTENER` if an agent is asked.
    pub flags: u32,
    /// Whether an agent is asked, so that installing the filter returns its listener.
    pub notifies: bool,
    /// What a person should know: parts of the profile without effect, one sentence each.
    pub warnings: Vec<String>,
}

impl Program {
    /// The instructions as the kernel reads them, in the machine's byte order.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.instructions.len() * 8);
        for instruction in &self.instructions {
            bytes.extend_from_slice(&instruction.code.to_ne_bytes());
            bytes.extend_from_slice(&[instruction.jt, instruction.jf]);
            bytes.extend_from_slice(&instruction.k.to_ne_bytes());
        }
        bytes
    }
}

/// Compiles a profile for a machine.
///
/// # Errors
/// At the place in the profile that is wrong: an errno out of range or with an action that returns none, an argument
/// above 5, the agent asked about calls the set-up itself needs, metadata without an agent; a `native` architecture
/// without tables; a program above 4,096 instructions.
pub fn compile(profile: &Profile, native: Architecture) -> Result<Program> {
    let mut warnings = Vec::new();
    let resolved = rules::resolve(profile, native, &mut warnings)?;
    let instructions = emit::emit(&resolved).map_err(|error| error.at(&profile.origin))?;
    let asks = bpf::ret(bpf::RET_USER_NOTIF);
    let notifies = instructions.contains(&asks);
    let mut flags = if notifies { libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32 } else { 0 };
    for flag in &profile.flags {
        flags |= match flag {
            Flag::Log => libc::SECCOMP_FILTER_FLAG_LOG as u32,
            Flag::SpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW as u32,
            Flag::WaitKillableRecv if notifies => libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV as u32,
            Flag::WaitKillableRecv => {
                warnings.push(format!("{} without a rule that asks an agent has no effect", flag.word()));
                0
            }
            Flag::Tsync => 0,
        };
    }
    Ok(Program { instructions, flags, notifies, warnings })
}
