//! Holds the code to the house of the design: which room may use which, where `unsafe` and allocation may be, and how
//! long a file or function may get. Every message names file and line.

mod source;

use source::{Source, sources};
use std::fmt::Write as _;

/// Which rooms of `src/` a room may name in `crate::…`. A room that isn't listed may not exist.
const MAY_USE: &[(&str, &[&str])] = &[
    (
        "cli",
        &[
            "intent",
            "host",
            "lowering",
            "plan",
            "launch",
            "state",
            "cgroup",
            "seccomp",
            "resctrl",
            "checkpoint",
            "guest",
            "sandbox",
            "log",
            "error",
        ],
    ),
    // Limits and profiles are wanted in the words of the services that carry them out.
    ("intent", &["cgroup", "seccomp", "resctrl", "error"]),
    ("host", &["kernel", "error"]),
    ("lowering", &["intent", "host", "plan", "seccomp", "cgroup", "resctrl", "kernel", "error"]),
    // A plan holds the control group's plan, and the verifier runs the seccomp program over the calls still to come.
    ("plan", &["cgroup", "seccomp", "resctrl", "kernel", "error"]),
    // The runtime's own hooks and the record's annotations pass through launch as the input has them.
    (
        "launch",
        &["intent", "plan", "cgroup", "seccomp", "network", "resctrl", "checkpoint", "state", "kernel", "log", "error"],
    ),
    ("cgroup", &["kernel", "error"]),
    ("seccomp", &["kernel", "error"]),
    ("network", &["kernel", "error"]),
    ("resctrl", &["kernel", "error"]),
    ("state", &["kernel", "time", "error"]),
    ("checkpoint", &["kernel", "error"]),
    ("guest", &["intent", "state", "kernel", "error"]),
    ("sandbox", &["intent", "state", "kernel", "error"]),
    ("kernel", &["error"]),
    ("log", &["time", "error"]),
    ("time", &[]),
    ("error", &[]),
];

/// The child between clone3 and execve is stricter than its room: the plan and the kernel, nothing else.
const CHILD_MAY_USE: &[&str] = &["plan", "kernel", "launch"];

/// Rooms that decide on data only.
const WITHOUT_UNSAFE: &[&str] = &["intent", "lowering", "plan", "seccomp"];

/// Words that allocate, print, panic or ask the standard library, in code that runs after clone3.
const NOT_IN_THE_CHILD: &[&str] = &[
    "Vec::",
    "Vec<",
    "vec!",
    "String",
    "Box::",
    "Box<",
    "format!",
    "print!",
    "println!",
    "eprint!",
    "eprintln!",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::sync",
    "to_owned(",
    "to_string(",
    "to_vec(",
    "unwrap(",
    "expect(",
    "panic!",
    "unreachable!",
    "assert!",
    "assert_eq!",
    "assert_ne!",
    "todo!",
];

/// Files over 600 lines and functions (`file: name`) over 70, each with its reason.
const LONG: &[(&str, &str)] = &[("src/plan/failure/tests.rs: every", "one operation of each kind, a line each")];

const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 70;

/// Fails with the list of what was found, one finding a line.
#[track_caller]
fn nothing(findings: Vec<String>, rule: &str) {
    let mut text = String::new();
    for finding in &findings {
        let _ = writeln!(text, "  {finding}");
    }
    assert!(findings.is_empty(), "{rule}:\n{text}");
}

#[test]
fn rooms_use_only_the_rooms_below_them() {
    let mut findings = Vec::new();
    for source in sources(&["src"]) {
        let Some(room) = source.room() else { continue };
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == room) else {
            findings.push(format!("{}:1: the room {room} is not in the table", source.path));
            continue;
        };
        let allowed = if source.is_child() { CHILD_MAY_USE } else { allowed };
        for (line, used) in source.rooms_used() {
            // Macros at the crate's root have no room.
            if used != room && MAY_USE.iter().any(|(name, _)| *name == used) && !allowed.contains(&used.as_str()) {
                findings.push(format!("{}:{line}: uses crate::{used}, may use {allowed:?}", source.path));
            }
        }
    }
    nothing(findings, "each room may use only the rooms listed in tests/architecture.rs");
}

#[test]
fn unsafe_is_in_kernel_only_and_says_why() {
    let mut findings = Vec::new();
    for source in sources(&["src"]) {
        for (line, code) in source.code_lines() {
            if !source::has_word(code, "unsafe") || code.contains("unsafe(") || code.contains("unsafe_code") {
                continue;
            }
            if source.room() != Some("kernel") {
                findings.push(format!("{}:{line}: unsafe outside src/kernel", source.path));
            } else if !source.safety_is_told(line) {
                findings.push(format!("{}:{line}: unsafe without SAFETY in the 4 lines above", source.path));
            }
        }
    }
    nothing(findings, "unsafe is for src/kernel, with a SAFETY comment");
}

#[test]
fn rooms_that_decide_forbid_unsafe() {
    let all = sources(&["src"]);
    let mut findings = Vec::new();
    for room in WITHOUT_UNSAFE {
        let Some(head) = all.iter().find(|s| s.path == format!("src/{room}/mod.rs")) else { continue };
        if !head.text.contains("#![forbid(unsafe_code)]") {
            findings.push(format!("{}:1: lacks #![forbid(unsafe_code)]", head.path));
        }
    }
    nothing(findings, "intent, lowering, plan and seccomp forbid unsafe code");
}

#[test]
fn the_child_does_not_allocate_or_panic() {
    let mut findings = Vec::new();
    for source in sources(&["src"]) {
        if !source.is_child() && source.path != "src/kernel/raw.rs" && !source.path.starts_with("src/kernel/raw/") {
            continue;
        }
        for (line, code) in source.code_lines() {
            for word in NOT_IN_THE_CHILD.iter().filter(|w| source::has_word(code, w)) {
                findings.push(format!("{}:{line}: {word}", source.path));
            }
        }
    }
    nothing(findings, "after clone3 there is no allocator, no panic, no standard library");
}

#[test]
fn files_and_functions_are_short() {
    let mut findings = Vec::new();
    let listed = |name: &str| LONG.iter().any(|(known, reason)| *known == name && !reason.is_empty());
    for source in sources(&["src", "tests", "benches"]) {
        let lines = source.text.lines().count();
        if lines > FILE_LINES && !listed(&source.path) {
            findings.push(format!("{}:1: {lines} lines, at most {FILE_LINES}", source.path));
        }
        for function in source.functions() {
            if function.lines > FUNCTION_LINES && !listed(&format!("{}: {}", source.path, function.name)) {
                let (path, line, name, lines) = (&source.path, function.line, &function.name, function.lines);
                findings.push(format!("{path}:{line}: fn {name} has {lines} lines, at most {FUNCTION_LINES}"));
            }
        }
    }
    nothing(findings, "a file has at most 600 lines, a function at most 70");
}

#[test]
fn long_ones_that_are_listed_are_still_long() {
    let all = sources(&["src", "tests", "benches"]);
    let long = |name: &str| {
        all.iter().any(|source| match name.split_once(": ") {
            None => source.path == name && source.text.lines().count() > FILE_LINES,
            Some((path, function)) => {
                source.path == path && source.functions().iter().any(|f| f.name == function && f.lines > FUNCTION_LINES)
            }
        })
    };
    let stale = LONG.iter().filter(|(name, _)| !long(name)).map(|(name, _)| (*name).to_owned()).collect();
    nothing(stale, "exceptions that are no longer needed");
}

#[test]
fn nothing_is_left_undone_or_undocumented() {
    let mut findings = Vec::new();
    for source in sources(&["src"]) {
        for (line, code) in source.code_lines() {
            for word in ["todo!", "unimplemented!", "dbg!", "allow(missing_docs)", "allow(unsafe_code)"] {
                if code.contains(word) {
                    findings.push(format!("{}:{line}: {word}", source.path));
                }
            }
            // Before clone3 there may be one thread only; see the design's weak spots.
            if code.contains("thread::spawn") && !source.path.starts_with("src/seccomp/") {
                findings.push(format!("{}:{line}: thread::spawn", source.path));
            }
        }
        if source.path == "src/lib.rs" && !source.text.contains("missing_docs") {
            findings.push("src/lib.rs:1: lacks the lint missing_docs".to_owned());
        }
    }
    nothing(findings, "no stubs, no silenced lints, no threads");
}

#[test]
fn the_checks_see_what_they_look_for() {
    let text = r##"
//! crate::launch in a comment
use crate::{error::{Error, Result}, kernel::raw};
fn short() { let brace = "}"; let c = '{'; let life: &'static str = r#"unsafe { "x" "#; }
/* unsafe { } */
fn long(a: [u8; 3]) -> u8 {
    // SAFETY: for the test.
    unsafe { crate::state::read(a) }
}
#[cfg(test)]
mod tests {
    use crate::launch::x;
}
"##;
    let source = Source::new("src/intent/x.rs", text);
    let used: Vec<_> = source.rooms_used().into_iter().map(|(line, room)| format!("{line} {room}")).collect();
    assert_eq!(used, ["3 error", "3 kernel", "8 state"]);
    let functions: Vec<_> = source.functions().iter().map(|f| (f.name.clone(), f.line, f.lines)).collect();
    assert_eq!(functions, [("short".to_owned(), 4, 1), ("long".to_owned(), 6, 4)]);
    let with_unsafe: Vec<_> =
        source.code_lines().filter(|(_, code)| source::has_word(code, "unsafe")).map(|(n, _)| n).collect();
    assert_eq!(with_unsafe, [8]);
    assert!(source.safety_is_told(8));
    assert!(!source.safety_is_told(4));
    assert!(!source::has_word("CString::new", "String") && source::has_word("a: String,", "String"));
}
