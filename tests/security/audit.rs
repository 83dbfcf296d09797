//! Rules over a trace of the runtime (security.md K6): which system calls name which paths, in which part of a start.
//!
//! The trace is `strace -f -y`'s: one call a line, descriptors with the path they stand for.

use std::collections::BTreeMap;

/// What belongs to the container whose start was traced.
pub struct Container<'c> {
    /// Its root file system on the host.
    pub rootfs: &'c str,
    /// Where the runtime was called.
    pub cwd: &'c str,
    /// The payload's possible paths, inside.
    pub payload: &'c [&'c str],
    /// Its working directory, inside.
    pub payload_cwd: &'c str,
    /// Programs of the host that the configuration names: hooks.
    pub programs: &'c [&'c str],
    /// The runtime's own path on the host.
    pub runtime: &'c str,
    /// Paths of the host that the configuration names and that the child may look up while it is still there.
    pub sources: &'c [&'c str],
}

/// A process's part of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The runtime itself.
    Parent,
    /// What it made, while the host's root is still its own.
    Before,
    /// The same in the container's root: after pivot_root, or after joining the mount namespace.
    Inside,
    /// The same, once the filter is in force.
    Filtered,
    /// Another program, of which nothing is promised.
    Foreign,
}

/// Calls that take paths: (directory's argument, path's argument) each.
const PATHS: &[(&str, &[(Option<usize>, usize)])] = &[
    ("access", &[(None, 0)]),
    ("chdir", &[(None, 0)]),
    ("chmod", &[(None, 0)]),
    ("chown", &[(None, 0)]),
    ("chroot", &[(None, 0)]),
    ("creat", &[(None, 0)]),
    ("execve", &[(None, 0)]),
    ("execveat", &[(Some(0), 1)]),
    ("faccessat", &[(Some(0), 1)]),
    ("faccessat2", &[(Some(0), 1)]),
    ("fchmodat", &[(Some(0), 1)]),
    ("fchmodat2", &[(Some(0), 1)]),
    ("fchownat", &[(Some(0), 1)]),
    ("fspick", &[(Some(0), 1)]),
    ("lchown", &[(None, 0)]),
    ("link", &[(None, 0), (None, 1)]),
    ("linkat", &[(Some(0), 1), (Some(2), 3)]),
    ("lsetxattr", &[(None, 0)]),
    ("lstat", &[(None, 0)]),
    ("mkdir", &[(None, 0)]),
    ("mkdirat", &[(Some(0), 1)]),
    ("mknod", &[(None, 0)]),
    ("mknodat", &[(Some(0), 1)]),
    ("mount", &[(None, 0), (None, 1)]),
    ("mount_setattr", &[(Some(0), 1)]),
    ("move_mount", &[(Some(0), 1), (Some(2), 3)]),
    ("newfstatat", &[(Some(0), 1)]),
    ("open", &[(None, 0)]),
    ("open_tree", &[(Some(0), 1)]),
    ("openat", &[(Some(0), 1)]),
    ("openat2", &[(Some(0), 1)]),
    ("pivot_root", &[(None, 0), (None, 1)]),
    ("readlink", &[(None, 0)]),
    ("readlinkat", &[(Some(0), 1)]),
    ("rename", &[(None, 0), (None, 1)]),
    ("renameat", &[(Some(0), 1), (Some(2), 3)]),
    ("renameat2", &[(Some(0), 1), (Some(2), 3)]),
    ("rmdir", &[(None, 0)]),
    ("setxattr", &[(None, 0)]),
    ("stat", &[(None, 0)]),
    ("statfs", &[(None, 0)]),
    ("statx", &[(Some(0), 1)]),
    ("symlink", &[(None, 1)]),
    ("symlinkat", &[(Some(1), 2)]),
    ("truncate", &[(None, 0)]),
    ("umount2", &[(None, 0)]),
    ("unlink", &[(None, 0)]),
    ("unlinkat", &[(Some(0), 1)]),
    ("utimensat", &[(Some(0), 1)]),
];

/// Strings that the child may use in the host's root, and why: none of them enters the container's.
const BEFORE: &[(&str, &str)] = &[
    ("mount_setattr", "/"),                 // propagation of its own copy of the host's mounts
    ("openat", "/"),                        // the place its root is attached over
    ("openat", "/dev/null"),                // the host's, the source of masks
    ("openat", "/proc/self/oom_score_adj"), // its own score, at birth
    ("openat", "/proc/self/ns/time_for_children"),
    ("openat", "/proc/self/timens_offsets"),
    ("openat", "/proc/thread-self/attr/exec"),
    ("pivot_root", "."),
];

/// Strings that it may use in the container's root, beside those the configuration gives.
const INSIDE: &[(&str, &str)] = &[
    ("umount2", "."), // the old root, stacked over the new one
    ("chdir", "/"),   // the new root
    ("statx", "/"),   // whether something is above it
    ("statx", "/.."),
    ("openat2", "/etc/passwd"), // HOME: read as data, without magic links
];

/// What may stand between the filter and execve if no_new_privs allowed to load it last: nothing but closing and, with a
/// gate, no more than telling that execve failed.
const FILTERED_LAST: &[&str] = &["close", "close_range", "execve"];

/// The same if the filter had to be loaded while there was still the privilege to: steps 8 to 10 of the plan.
const FILTERED_EARLY: &[&str] = &[
    "capget",
    "capset",
    "chdir",
    "close",
    "close_range",
    "execve",
    "faccessat2",
    "getcwd",
    "getpid",
    "openat2",
    "ppoll",
    "prctl",
    "prlimit64",
    "read",
    "recvfrom",
    "recvmsg",
    "sendmsg",
    "sendto",
    "setgroups",
    "setresgid",
    "setresuid",
    "statx",
    "umask",
    "write",
];

/// One system call.
struct Call<'t> {
    pid: &'t str,
    name: &'t str,
    arguments: Vec<String>,
    result: String,
}

/// The calls of a trace in the order of their ends.
fn calls(trace: &str) -> Vec<Call<'_>> {
    let mut begun: BTreeMap<(&str, &str), String> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        let (name, text) = if let Some(resumed) = rest.strip_prefix("<... ") {
            let Some((name, rest)) = resumed.split_once(" resumed>") else { continue };
            (name, begun.remove(&(pid, name)).unwrap_or_default() + rest)
        } else {
            let Some((name, rest)) = rest.split_once('(') else { continue };
            if let Some(start) = rest.strip_suffix("<unfinished ...>") {
                begun.insert((pid, name), start.trim_end().to_owned());
                continue;
            }
            (name, rest.to_owned())
        };
        let Some((arguments, result)) = text.rsplit_once(" = ") else { continue };
        let arguments = split(arguments.trim_end().strip_suffix(')').unwrap_or(arguments));
        calls.push(Call { pid, name, arguments, result: result.to_owned() });
    }
    calls
}

/// The arguments of a call: commas inside of strings, structures and descriptors' paths do not part them.
fn split(text: &str) -> Vec<String> {
    let (mut parts, mut depth, mut quoted, mut escaped) = (vec![String::new()], 0, false, false);
    for letter in text.chars() {
        match letter {
            '"' if !escaped => quoted = !quoted,
            '{' | '[' | '<' if !quoted => depth += 1,
            '}' | ']' | '>' if !quoted => depth -= 1,
            ',' if !quoted && depth <= 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        escaped = letter == '\\' && !escaped;
        if let Some(last) = parts.last_mut() {
            last.push(letter);
        }
    }
    parts.into_iter().map(|part| part.trim().to_owned()).collect()
}

/// The content of a string argument.
fn string(argument: &str) -> Option<&str> {
    argument.strip_prefix('"')?.strip_suffix('"')
}

/// A path that a call names: the directory it starts at (None for the working directory), and its text.
fn paths(call: &Call<'_>) -> Vec<(Option<String>, String)> {
    let Some((_, places)) = PATHS.iter().find(|(name, _)| *name == call.name) else { return Vec::new() };
    let argument = |index: &usize| call.arguments.get(*index).map(String::as_str);
    places
        .iter()
        .filter_map(|(directory, path)| {
            let text = string(argument(path)?)?.to_owned();
            let directory = directory.as_ref().and_then(argument).filter(|text| !text.starts_with("AT_FDCWD"));
            Some((directory.map(str::to_owned), text))
        })
        .filter(|(_, text)| !text.is_empty())
        .collect()
}

/// Every rule that a trace breaks, with the call.
pub fn faults(trace: &str, container: &Container<'_>) -> Vec<String> {
    let mut parts: BTreeMap<&str, Part> = BTreeMap::new();
    let mut early = false;
    let mut faults = Vec::new();
    for call in calls(trace) {
        let first = parts.is_empty();
        let part = *parts.entry(call.pid).or_insert(if first { Part::Parent } else { Part::Before });
        if part == Part::Foreign || (first && call.name == "execve") {
            continue;
        }
        let mut fault = |rule: &str| {
            faults.push(format!("{rule} ({part:?}): {}({}) = {}", call.name, call.arguments.join(", "), call.result));
        };
        if part == Part::Filtered {
            let allowed = if early { FILTERED_EARLY } else { FILTERED_LAST };
            if !allowed.contains(&call.name) {
                fault("not between the filter and execve");
            }
        }
        for (directory, path) in paths(&call) {
            if let Some(rule) = broken(&call, part, directory.as_deref(), &path, container) {
                fault(rule);
            }
        }
        let done = call.result.starts_with('0');
        let joins = call.name == "setns" && call.arguments.iter().any(|text| text.contains("CLONE_NEWNS"));
        let next = match call.name {
            "execve" | "execveat" if done => Part::Foreign,
            "pivot_root" | "chroot" if done => Part::Inside,
            "setns" if done && joins => Part::Inside,
            "seccomp" if call.arguments[0] == "SECCOMP_SET_MODE_FILTER" && !call.result.starts_with('-') => {
                Part::Filtered
            }
            "prctl" if part != Part::Filtered && call.arguments[0] == "PR_SET_NO_NEW_PRIVS" => {
                early = false;
                part
            }
            _ => part,
        };
        if part == Part::Before && next == Part::Inside {
            // Until no_new_privs is set, a filter is an early one.
            early = true;
        }
        parts.insert(call.pid, next);
    }
    faults
}

/// The rule that one path of a call breaks.
fn broken(
    call: &Call<'_>,
    part: Part,
    directory: Option<&str>,
    path: &str,
    container: &Container<'_>,
) -> Option<&'static str> {
    let given = |list: &[(&str, &str)]| list.contains(&(call.name, path));
    let executes = call.name.starts_with("execve");
    let text = call.arguments.join(", ");
    match (part, directory) {
        // Below a descriptor: one name that is no link, or the kernel's resolver with its root there.
        (_, Some(_)) if call.name == "openat2" => {
            let bounded = (text.contains("RESOLVE_IN_ROOT") || text.contains("RESOLVE_BENEATH"))
                && text.contains("RESOLVE_NO_MAGICLINKS");
            (!bounded).then_some("openat2 below a descriptor is not kept there")
        }
        (Part::Before | Part::Inside | Part::Filtered, Some(_)) => {
            if path.contains('/') {
                return Some("a path of several names below a descriptor");
            }
            let follows = call.name == "openat" && !matches!(path, "." | "..") && !text.contains("O_NOFOLLOW");
            follows.then_some("the last name is followed")
        }
        (Part::Parent, Some(_)) => None,
        (Part::Parent | Part::Before, None) if executes => {
            let known =
                path.starts_with('/') && !path.starts_with(container.rootfs) && container.programs.contains(&path);
            (!known).then_some("a program that is none of the configuration's, by its absolute path")
        }
        (Part::Parent, None) => {
            let whole = if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", container.cwd) };
            let inside = whole.strip_prefix(container.rootfs).is_some_and(|rest| rest.trim_matches('/') != "");
            inside.then_some("a string path into the root")
        }
        (Part::Before, None) => {
            // kiste maps its own executable again by its path (INV-06), and compares device and inode.
            let own = call.name == "openat" && path == container.runtime;
            let known = own || given(BEFORE) || container.sources.contains(&path);
            (!known).then_some("a string path in the child before it has its root")
        }
        (_, None) => {
            let of_payload =
                matches!(call.name, "execve" | "faccessat2" | "statx") && container.payload.contains(&path);
            let of_cwd = call.name == "chdir" && path == container.payload_cwd;
            let magic = call.name == "openat2" && !text.contains("RESOLVE_NO_MAGICLINKS");
            (magic || !(given(INSIDE) || of_payload || of_cwd)).then_some("a string path in the container's root")
        }
        _ => None,
    }
}
