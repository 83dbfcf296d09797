//! Whether a seccomp filter allows the calls that are still to come.

use crate::error::{Error, Result};
use crate::plan::{Operation as Op, Plan};
use crate::seccomp;

/// Runs the filter over the system calls still to come: those of the steps that are left.
pub(super) fn check(plan: &Plan) -> Result<()> {
    for (index, step) in plan.child.iter().enumerate() {
        let Op::InstallFilter { program, .. } = step.operation else { continue };
        let Some((native, audit)) = seccomp::Architecture::NATIVE.and_then(|native| Some((native, native.audit()?)))
        else {
            continue;
        };
        let program = instructions(plan.arena.get(program));
        for (later, left) in plan.child.iter().enumerate().skip(index + 1) {
            for (name, arguments) in calls(plan, left.operation) {
                let Some(number) = seccomp::syscall_number(native, name) else { continue };
                let verdict = seccomp::evaluate(&program, audit, number, arguments);
                // A listener's agent has the descriptor by then and answers.
                if !verdict.runs() && verdict.action != seccomp::Action::Notify {
                    let what = format!("the profile denies {name}, which is needed after it at step {}", later + 1);
                    let error = Error::input(what).hint(
                        "allow it for set-up, or set process.noNewPrivileges, which makes the filter the last step",
                    );
                    return Err(plan.origin(step.origin).map_or(error.clone(), |origin| error.at(origin)));
                }
            }
        }
    }
    Ok(())
}

fn instructions(bytes: &[u8]) -> Vec<seccomp::Instruction> {
    bytes.chunks_exact(8).map(instruction).collect()
}

/// One 8-byte instruction: code, jt, jf, k (linux/filter.h).
fn instruction(bytes: &[u8]) -> seccomp::Instruction {
    let eight: [u8; 8] = bytes.try_into().unwrap_or_default();
    let [low, high, jt, jf, k @ ..] = eight;
    seccomp::Instruction { code: u16::from_ne_bytes([low, high]), jt, jf, k: u32::from_ne_bytes(k) }
}

/// The calls that an operation behind a filter makes, with the arguments that a profile may look at.
fn calls(plan: &Plan, operation: Op) -> Vec<(&'static str, [u64; 6])> {
    let prctl = |option: i32, argument: u64| ("prctl", [option as u64, argument, 0, 0, 0, 0]);
    let none = |name: &'static str| (name, [0; 6]);
    match operation {
        Op::SetCapabilities => vec![none("capset"), none("capget")],
        Op::SetGroups => vec![("setgroups", [plan.arena.groups.len() as u64, 0, 0, 0, 0, 0])],
        Op::SetIds { uid, gid } => {
            let three = |id: u32| [id as u64, id as u64, id as u64, 0, 0, 0];
            vec![("setresgid", three(gid)), ("setresuid", three(uid))]
        }
        Op::DropBounding { keep, last } => {
            let dropped = (0..=last as u64).find(|capability| keep & (1 << capability.min(&63)) == 0);
            vec![prctl(libc::PR_CAPBSET_DROP, dropped.unwrap_or(0))]
        }
        Op::Ambient(_) => vec![prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64)],
        Op::KeepCapabilities => vec![prctl(libc::PR_SET_KEEPCAPS, 1)],
        Op::NoNewPrivileges => vec![prctl(libc::PR_SET_NO_NEW_PRIVS, 1), prctl(libc::PR_GET_NO_NEW_PRIVS, 0)],
        Op::Rlimit { resource, .. } => vec![("prlimit64", [0, resource as u64, 1, 0, 0, 0])],
        Op::CloseAll { from, .. } => vec![("close_range", [from as u64, u32::MAX as u64, 0, 0, 0, 0])],
        Op::ChangeDirectory { .. } | Op::FindDirectory { .. } => vec![none("chdir")],
        Op::CheckDirectory => vec![none("getcwd")],
        Op::FindExecutable(_) => vec![none("faccessat2"), none("statx")],
        Op::FindHome(_) => vec![none("openat2"), none("read"), none("close")],
        Op::Ready => vec![none("sendto"), none("close")],
        Op::WaitGate { .. } => vec![none("read"), none("close")],
        Op::SpawnHook { .. } => vec![none("clone3"), none("dup3"), none("close_range"), none("execve"), none("wait4")],
        Op::Execute { .. } => vec![none("execve")],
        _ => Vec::new(),
    }
}
