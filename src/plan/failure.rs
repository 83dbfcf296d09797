//! A failed step as a sentence: what, where in the input, which call, why, what would help.

use super::report::{Call, Record};
use super::{Operation as Op, Plan, describe};
use crate::error::{Error, errno_text};

/// What a failed step means: what, where in the input, which call, why, what helps.
pub fn failure(plan: &Plan, record: &Record) -> Error {
    let Some(step) = plan.child.get(record.step as usize) else {
        return Error::refused("the container's process reported a step that does not exist");
    };
    let place = plan.origin(step.origin);
    if let Some(error) = sandbox(plan, step.operation, record) {
        return error;
    }
    let error = match step.operation {
        Op::FindExecutable(_) | Op::Execute { .. } => executable(plan, record),
        Op::ChangeDirectory { path } => {
            let path = plan.arena.show(path);
            Error::refused(format!("cannot change to the working directory {path}")).call("chdir", record.errno)
        }
        Op::CheckDirectory => Error::refused("the working directory lies outside the container's root"),
        Op::SpawnHook { .. } => hook(plan, step.operation, record),
        operation => {
            let what = format!("cannot {}", describe::operation(plan, operation));
            let error = Error::refused(with_words(what, record));
            let error = error.call(record.call.name(), record.errno);
            match hint(plan, operation, record) {
                Some(hint) => error.hint(hint),
                None => error,
            }
        }
    };
    let error = Error { what: format!("{} [step {}]", error.what, record.step + 1), ..error };
    place.map_or(error.clone(), |place| error.at(place))
}

fn with_words(what: String, record: &Record) -> String {
    let end = record.words.iter().position(|byte| *byte == 0).unwrap_or(record.words.len());
    let words = String::from_utf8_lossy(&record.words[..end]).replace(char::is_control, " ");
    // The kernel's own message begins with its level: "e devpts: Invalid gid '5'".
    let level = ["e ", "w ", "i "].iter().find_map(|level| words.strip_prefix(level));
    let words = level.unwrap_or(&words).trim();
    if words.is_empty() { what } else { format!("{what} ({words})") }
}

/// bubblewrap's words for what it has words for; its callers match them.
fn sandbox(plan: &Plan, operation: Op, record: &Record) -> Option<Error> {
    let first = |range| plan.arena.texts(range).first().map(|text| plan.arena.show(*text)).unwrap_or_default();
    let is_sandbox = plan.child.iter().any(|step| matches!(step.operation, Op::FindDirectory { .. }));
    let what = match operation {
        Op::FindDirectory { candidates, .. } => format!("Can't chdir to {}", first(candidates)),
        Op::FindExecutable(candidates) | Op::Execute { candidates, .. } if is_sandbox => {
            let path = first(candidates);
            let argument = match plan.child.last().map(|step| step.operation) {
                Some(Op::Execute { arguments, .. }) => first(arguments),
                _ => String::new(),
            };
            let in_directory = path.strip_suffix(&argument).is_some_and(|directory| directory.ends_with('/'));
            let name = if in_directory { &argument } else { &path };
            format!("execvp {name}")
        }
        Op::Reaper { locks, .. } if record.call == Call::Open => format!("Unable to open lock file {}", first(locks)),
        _ => return None,
    };
    Some(Error { errno: Some(record.errno), ..Error::input(what) })
}

/// Contracts: podman tells 126 from 127 by these words.
fn executable(plan: &Plan, record: &Record) -> Error {
    let name = match plan.child.last().map(|step| step.operation) {
        Some(Op::Execute { arguments, .. }) => plan.arena.texts(arguments).first().map(|text| plan.arena.show(*text)),
        _ => None,
    };
    let name = name.unwrap_or_default();
    let call = if record.call == Call::Execve { "execve" } else { "exec" };
    match record.errno {
        libc::ENOENT if !name.contains('/') => {
            Error::refused(format!("{call} {name:?}: executable file not found in $PATH"))
        }
        libc::ENOEXEC => {
            Error::refused(format!("{call} {name:?}: {}", errno_text(record.errno))).hint("a script needs a #! line")
        }
        // From execve it is about the program's interpreter.
        libc::EISDIR if record.call == Call::Access => {
            Error::refused(format!("{call} {name:?}: {}", errno_text(libc::EACCES))).hint("it is a directory")
        }
        errno => Error::refused(format!("{call} {name:?}: {}", errno_text(errno))),
    }
}

fn hook(plan: &Plan, operation: Op, record: &Record) -> Error {
    let what = describe::operation(plan, operation);
    match record.errno {
        libc::ETIME => Error::refused(format!("cannot {what}: it took longer than its timeout")),
        libc::ECHILD => Error::refused(with_words(format!("cannot {what}"), record)),
        errno => Error::refused(format!("cannot {what}")).call(record.call.name(), errno),
    }
}

/// What would help, by operation and errno: one table.
fn hint(plan: &Plan, operation: Op, record: &Record) -> Option<&'static str> {
    match (operation, record.errno) {
        (Op::WriteProc { path, .. }, errno) => proc_hint(&plan.arena.show(path), errno),
        (Op::Attach { .. }, libc::ENOTDIR | libc::EINVAL) => {
            Some("one of source and target is a directory and the other is not")
        }
        (Op::Attach { .. }, libc::ELOOP) => Some("the tree holds a pinned mount namespace, which can't be attached"),
        (Op::FindMount { .. }, libc::ENOENT) => {
            Some("what was added there is gone, or something else is mounted over it")
        }
        (Op::Link { .. }, libc::EEXIST) => Some("something else is there"),
        (Op::Ensure { .. }, libc::ELOOP) => Some("a symbolic link lies where a mount point must be"),
        (Op::Ensure { .. }, libc::EROFS) => Some("the mount point is missing and the file system is read-only"),
        (Op::Filesystem { .. }, libc::EPERM) => Some(
            "in a user namespace the kernel makes it only for the owner of a new namespace of its kind, and only if the host's own is not partly hidden",
        ),
        (Op::Filesystem { .. }, libc::ENODEV) => Some("this kernel has no such file system"),
        (Op::SetAttributes { .. }, libc::EPERM) => {
            Some("a user namespace may not clear nosuid, nodev, noexec, ro or change atime of the host's mount")
        }
        (Op::Node { .. }, libc::EEXIST) => Some("the image has something else there"),
        (Op::Rlimit { .. }, libc::EPERM) => Some("raising a hard limit needs CAP_SYS_RESOURCE"),
        (Op::SetCapabilities | Op::Ambient(_), libc::EPERM) => {
            Some("the runtime does not have these capabilities itself")
        }
        (Op::SetIds { .. } | Op::SetGroups, libc::EINVAL) => Some("the id is not mapped in the user namespace"),
        (Op::MemoryPolicy { .. }, libc::ENOSYS) => Some("this kernel has no NUMA memory policies"),
        (Op::MemoryPolicy { .. }, libc::EINVAL) => Some(
            "this kernel does not know the mode or flag, or none of the nodes is one that the container may use (cpuset.mems)",
        ),
        (Op::Affinity(_), libc::EINVAL) => Some("the container may use none of these processors (cpuset.cpus)"),
        (Op::Scheduler(_), libc::EPERM) => Some("this policy, priority or nice value needs CAP_SYS_NICE"),
        (Op::Scheduler(_), libc::EOPNOTSUPP) => Some("this kernel has no utilization clamping"),
        (Op::Scheduler(_), libc::EINVAL) => Some("this kernel does not take this policy with these values"),
        (Op::Scheduler(_), libc::EBUSY) => Some("the processors have not that much time left for SCHED_DEADLINE"),
        (Op::InstallFilter { .. }, libc::EACCES) => Some("without noNewPrivileges the filter needs CAP_SYS_ADMIN"),
        (Op::Wait(_) | Op::WaitForDevices, _) => Some("the runtime ended first"),
        (_, libc::ENOSYS) => Some("the kernel is older than 5.14, or an outer seccomp filter hides the call"),
        _ => None,
    }
}

fn proc_hint(path: &str, errno: i32) -> Option<&'static str> {
    match (path, errno) {
        ("self/oom_score_adj", libc::EACCES | libc::EPERM) => Some("lowering oom_score_adj needs CAP_SYS_RESOURCE"),
        (path, libc::ENOENT) if path.starts_with("sys/") => Some("this kernel has no such parameter"),
        (path, libc::EACCES | libc::EPERM) if path.starts_with("sys/") => {
            Some("the parameter belongs to a namespace that the container does not own")
        }
        (path, libc::EINVAL) if path.starts_with("sys/") => Some("the kernel does not take this value"),
        ("thread-self/attr/apparmor/exec", libc::ENOENT) => Some("no such AppArmor profile is loaded"),
        ("thread-self/attr/exec", libc::EINVAL) => Some("the SELinux policy does not know this label"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
