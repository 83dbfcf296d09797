//! A plan for people and programs, and a failed step as a sentence: the same words and the same step numbers.

use serde::Serialize;

use super::report::{Call, Record};
use super::{Barrier, Operation as Op, OwnImage, Plan, describe};
use crate::error::{Error, errno_text};

/// One line of an explained plan.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// `parent` or `child`.
    pub who: &'static str,
    /// A to F for the parent, the chapter's name for the child.
    pub stage: String,
    /// The child's step number, as errors give it.
    pub step: Option<usize>,
    /// What is done.
    pub what: String,
    /// The place in the input that asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

/// The plan line by line, in the order in which it is carried out.
pub fn lines(plan: &Plan) -> Vec<Line> {
    let mut lines = Vec::with_capacity(plan.child.len() + plan.opens.len() + 16);
    let origin = |index: u16| plan.origin(index).map(ToString::to_string);
    let parent = |stage: &str, what: String, origin: Option<String>| Line {
        who: "parent",
        stage: stage.to_owned(),
        step: None,
        what,
        origin,
    };
    for (open, place) in &plan.opens {
        lines.push(parent("A", format!("open {}", describe::open(open)), origin(*place)));
    }
    for step in plan.cgroup.iter().flat_map(|cgroup| cgroup.steps()) {
        let place = Some(step.origin.to_string()).filter(|place| !place.is_empty());
        lines.push(parent("B", step.text, place));
    }
    match plan.own_image {
        OwnImage::Unreachable => {}
        OwnImage::ByParent => lines.push(parent("C", "let go of kiste's own executable".to_owned(), None)),
        OwnImage::ByChild => lines.push(parent("C", "move kiste's image into anonymous memory".to_owned(), None)),
    }
    let made = match plan.clone_flags {
        0 => "clone3".to_owned(),
        flags => format!("clone3, new namespaces {}", describe::namespaces(flags)),
    };
    lines.push(parent("C", made, None));
    for (barrier, steps) in &plan.barriers {
        let stage = if *barrier == Barrier::Identity { "D" } else { "E" };
        for (step, place) in steps {
            lines.push(parent(stage, describe::parent_step(step), origin(*place)));
        }
    }
    if plan.child.iter().any(|step| step.operation == Op::Ready) {
        lines.push(parent("F", "record the container, write the pid file".to_owned(), None));
    }
    for (index, step) in plan.child.iter().enumerate() {
        lines.push(Line {
            who: "child",
            stage: format!("{:?}", step.stage).to_lowercase(),
            step: Some(index + 1),
            what: describe::operation(plan, step.operation),
            origin: origin(step.origin),
        });
    }
    lines
}

/// The plan as a table.
pub fn text(plan: &Plan) -> String {
    let mut result = String::new();
    for line in lines(plan) {
        let step = line.step.map_or(String::new(), |step| step.to_string());
        let place = line.origin.map_or(String::new(), |origin| format!("   {origin}"));
        result.push_str(&format!("{:<6} {:<10} {:>3}  {}{}\n", line.who, line.stage, step, line.what, place));
    }
    for warning in &plan.warnings {
        result.push_str(&format!("note: {warning}\n"));
    }
    result
}

/// The plan as JSON: `{"steps": […], "warnings": […]}`.
pub fn json(plan: &Plan) -> String {
    let value = serde_json::json!({ "steps": lines(plan), "warnings": plan.warnings });
    // A tree of strings and numbers always prints.
    serde_json::to_string_pretty(&value).unwrap_or_default()
}

/// What a failed step means: what, where in the input, which call, why, what helps.
pub fn failure(plan: &Plan, record: &Record) -> Error {
    let Some(step) = plan.child.get(record.step as usize) else {
        return Error::refused("the container's process reported a step that does not exist");
    };
    let place = plan.origin(step.origin);
    let error = match step.operation {
        Op::FindExecutable(_) | Op::Execute { .. } => executable(plan, record),
        Op::ChangeDirectory { path } => {
            let path = plan.arena.show(path);
            Error::refused(format!("cannot change to the working directory {path}")).call("chdir", record.errno)
        }
        Op::CheckDirectory => Error::refused("the working directory lies outside the container's root"),
        Op::SpawnHook { .. } => hook(plan, step.operation, record),
        operation => {
            let what = describe::operation(plan, operation);
            let what = match attached(plan, record.step as usize) {
                Some(path) => format!("cannot {what} at {path}"),
                None => format!("cannot do \"{what}\""),
            };
            let error = Error::refused(with_words(what, record));
            let error = error.call(record.call.name(), record.errno);
            match hint(operation, record) {
                Some(hint) => error.hint(hint),
                None => error,
            }
        }
    };
    let error = Error { what: format!("{} [step {}]", error.what, record.step + 1), ..error };
    place.map_or(error.clone(), |place| error.at(place))
}

/// The mount point that an `Attach` is about: the path of the `Ensure` that filled its target.
fn attached(plan: &Plan, index: usize) -> Option<String> {
    let Op::Attach { target, .. } = plan.child.get(index)?.operation else { return None };
    plan.child.get(..index)?.iter().rev().find_map(|step| match step.operation {
        Op::Ensure { path, into, .. } if into == target => Some(format!("/{}", plan.arena.show(path))),
        _ => None,
    })
}

fn with_words(what: String, record: &Record) -> String {
    let end = record.words.iter().position(|byte| *byte == 0).unwrap_or(record.words.len());
    let words = String::from_utf8_lossy(&record.words[..end]);
    // The kernel's own message begins with its level: "e devpts: Invalid gid '5'".
    let words = words.trim().trim_start_matches(|level: char| "ewi".contains(level)).trim();
    if words.is_empty() { what } else { format!("{what} ({words})") }
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
fn hint(operation: Op, record: &Record) -> Option<&'static str> {
    match (operation, record.errno) {
        (Op::Attach { .. }, libc::ENOTDIR) => Some("one of source and target is a directory and the other is not"),
        (Op::Attach { .. }, libc::ELOOP) => Some("the tree holds a pinned mount namespace, which can't be attached"),
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
        (Op::WriteProc { .. }, libc::EACCES) => Some("lowering oom_score_adj needs CAP_SYS_RESOURCE"),
        (Op::WriteProc { .. }, libc::ENOENT) => Some("this kernel has no such parameter"),
        (Op::SetCapabilities | Op::Ambient(_), libc::EPERM) => {
            Some("the runtime does not have these capabilities itself")
        }
        (Op::SetIds { .. } | Op::SetGroups, libc::EINVAL) => Some("the id is not mapped in the user namespace"),
        (Op::InstallFilter { .. }, libc::EACCES) => Some("without noNewPrivileges the filter needs CAP_SYS_ADMIN"),
        (Op::Wait(_), _) => Some("the runtime ended first"),
        (_, libc::ENOSYS) => Some("the kernel is older than 5.14, or an outer seccomp filter hides the call"),
        _ => None,
    }
}
