//! The payload of the tests: a static program that tells what it sees from inside a container and does what it is asked.
//!
//! `report` prints everything as one line of JSON; the other words each do one thing (`exit 3`, `open /proc/kcore`, …).
//! Several can be chained: `/init seq touch /a -- exit 4`. `C` main instead of Rust's, because Rust's runtime would
//! ignore SIGPIPE and open missing standard descriptors before we could look.
#![no_main]

mod actions;
mod describe;
mod report;
mod sys;

use std::io::Write as _;

/// What one word does; the result is the exit status.
type Action = fn(&[String]) -> i32;

/// The words: name, what it does, arguments and effect.
const ACTIONS: &[(&str, Action, &str)] = &[
    ("report", report::report, "[--sysctl KEY]… [--to FILE]: everything, as JSON"),
    ("hook", report::hook, "FILE: as a hook, appends {stdin, argv, env, cwd, ids, …} to FILE as a line of JSON"),
    ("exit", actions::exit, "STATUS"),
    ("signal", actions::signal, "NUMBER: kills itself"),
    ("kill-parent", actions::kill_parent, "kills whoever started it"),
    ("sleep", actions::sleep, "[SECONDS]: forever without a number"),
    ("trap", actions::trap, "[COUNT]: prints \"ready\", then the numbers of COUNT (1) signals as they come"),
    ("wait-file", actions::wait_file, "FILE: until it exists"),
    ("echo", actions::echo, "TEXT…"),
    ("complain", actions::complain, "TEXT…: on standard error"),
    ("cat", actions::cat, "[FILE]"),
    ("write", actions::write, "FILE TEXT: ok or errno"),
    ("touch", actions::touch, "FILE: ok or errno"),
    ("open", actions::open, "FILE [r|w]: ok or errno"),
    ("mkdir", actions::mkdir, "DIR: ok or errno"),
    ("unlink", actions::unlink, "FILE: ok or errno"),
    ("list", actions::list, "DIR: names, as JSON"),
    ("stat", actions::stat, "FILE…: type, mode, owner, device …, one line of JSON each, null if there is none"),
    ("mknod", actions::mknod, "FILE c|b|p MAJOR MINOR: ok or errno"),
    ("mount", actions::mount, "SOURCE TARGET TYPE FLAGS: ok or errno"),
    ("umount", actions::umount, "TARGET: ok or errno"),
    ("syscall", actions::syscall, "NUMBER [ARGUMENT…]: result or errno"),
    ("exec", actions::exec, "FILE ARG…: execve; errno"),
    ("setuid", actions::setuid, "UID: ok or errno; for the words after it"),
    ("fork", actions::fork, "COUNT: how many processes it could make; ends them"),
    ("orphan", actions::orphan, "a grandchild whose parent dies: who adopts it"),
    ("background", actions::background, "a child that sleeps on after us: its pid"),
    ("alloc", actions::alloc, "MIB: touches so much memory"),
    ("oom", actions::oom, "touches memory until it is killed"),
    ("spin", actions::spin, "SECONDS: burns processor time for so long; prints the milliseconds it got"),
    ("listen-fds", actions::listen_fds, "LISTEN_FDS and what the descriptors are, as JSON"),
    ("notify", actions::notify, "TEXT: to $NOTIFY_SOCKET: ok or errno"),
    (
        "count",
        actions::count,
        "FILE [exit FILE]: counts in FILE, from memory; ends with 3 more than the count once the other exists",
    ),
    ("lock", actions::lock, "FILE: takes its lock (flock): ok or errno; for the words after it"),
    ("winsize", actions::winsize, "[--wait]: rows and columns (after the next SIGWINCH)"),
];

#[unsafe(no_mangle)]
extern "C" fn main(_argc: i32, _argv: *const *const u8) -> i32 {
    let arguments: Vec<String> = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
    let status = run(arguments.get(1..).unwrap_or_default());
    let _ = std::io::stdout().flush();
    status
}

/// Runs one word, or the words of a `seq`; the status is the last one that isn't 0.
fn run(words: &[String]) -> i32 {
    match words.split_first() {
        None => {
            for (name, _, what) in ACTIONS {
                println!("{name:12} {what}");
            }
            2
        }
        Some((first, rest)) if first == "seq" => {
            rest.split(|w| w == "--").map(run).fold(0, |a, b| if b == 0 { a } else { b })
        }
        Some((first, rest)) => match ACTIONS.iter().find(|(name, ..)| name == first) {
            Some((_, action, _)) => action(rest),
            None => {
                eprintln!("reporter: {first}: unknown word");
                125
            }
        },
    }
}
