//! `bwrap`: bubblewrap's command line on this engine. No id, no record, no control group: what it makes goes with it.

use std::ffi::OsString;
use std::io::IsTerminal;

use super::output;
use super::surroundings::Surroundings;
use crate::error::{Error, Kind, Result, errno_text};
use crate::intent::contradictions;
use crate::intent::from_bwrap::{self, Bwrap, Caller, Descriptors, FileKind, OPTIONS};
use crate::launch::sandbox;

const DESCRIPTORS: Descriptors = Descriptors { is_open: crate::host::is_inherited, read: read_all };

/// Everything that a descriptor gives, from where it stands; it stays open.
fn read_all(descriptor: i32) -> Result<Vec<u8>> {
    use std::io::Read;
    let failed =
        |error: std::io::Error| Error::input(format!("Can't read data from fd {descriptor}")).io("read", &error);
    let mut bytes = Vec::new();
    let copy = crate::host::duplicate(descriptor).map_err(failed)?;
    std::fs::File::from(copy).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Runs the command line; its command's exit status, 128+n for signal n, 1 after a failure, which is told here, in
/// bubblewrap's form.
///
/// # Errors
/// What can't be printed.
pub fn run(words: &[OsString]) -> anyhow::Result<u8> {
    match words.first().and_then(|word| word.to_str()) {
        Some("--help") => return Ok(output::print(&help()).map(|()| 0)?),
        Some("--version") => return Ok(output::print("bubblewrap 0.13.0 (kiste)\n").map(|()| 0)?),
        _ => {}
    }
    let prefix = if words.iter().any(|word| word == "--level-prefix") { "<3>" } else { "" };
    match sandboxed(words) {
        Ok(Some(status)) => Ok(status as u8),
        Ok(None) => {
            eprint!("{}", help());
            Ok(1)
        }
        Err(error) => {
            eprintln!("{prefix}bwrap: {}", sentence(&error));
            Ok(1)
        }
    }
}

/// `what: Errno's text`, as err(3) writes it; of a refusal by the kernel all that is known.
fn sentence(error: &Error) -> String {
    if error.kind != Kind::Input {
        return error.to_string();
    }
    let mut text = error.what.clone();
    if let Some(errno) = error.errno {
        let words = errno_text(errno);
        let mut letters = words.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        text = format!("{text}: {}{}", first.unwrap_or_default(), letters.as_str());
    }
    match &error.hint {
        Some(hint) => format!("{text} ({hint})"),
        None => text,
    }
}

/// `None`: there is no command to run.
fn sandboxed(words: &[OsString]) -> Result<Option<i32>> {
    let text = |word: &OsString| {
        word.to_str().map(str::to_owned).ok_or_else(|| Error::input(format!("{word:?} is not UTF-8")))
    };
    let words: Vec<String> = words.iter().map(text).collect::<Result<_>>()?;
    let surroundings = Surroundings::read()?;
    let wanted = from_bwrap::parse(&words, environment(), kept(&surroundings), DESCRIPTORS)?;
    if wanted.command.is_empty() {
        return Ok(None);
    }
    let caller = caller(&surroundings)?;
    let mut intent = from_bwrap::intent(&wanted, &caller)?;
    contradictions::check(&mut intent)?;
    let descriptors = sandbox::Descriptors { consumed: consumed(&wanted), info: wanted.info, status: wanted.status };
    sandbox::run(&surroundings.plan(&intent)?, &intent, &descriptors).map(Some)
}

/// Root keeps what it has, unless `--cap-drop` says otherwise; nobody else keeps anything.
fn kept(surroundings: &Surroundings) -> u64 {
    if surroundings.facts.uid == 0 { surroundings.facts.capabilities } else { 0 }
}

fn environment() -> Vec<String> {
    // An entry that is not UTF-8 can't be passed on by this engine.
    std::env::vars_os().filter_map(|(name, value)| Some(format!("{}={}", name.to_str()?, value.to_str()?))).collect()
}

fn caller(surroundings: &Surroundings) -> Result<Caller> {
    let directory = std::env::current_dir()
        .map_err(|error| Error::refused("Can't get the working directory").io("getcwd", &error))?;
    let umask = nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    nix::sys::stat::umask(umask);
    let terminal = std::io::stdout().is_terminal().then(|| std::fs::read_link("/proc/self/fd/1").ok()).flatten();
    Ok(Caller {
        uid: surroundings.facts.uid,
        gid: surroundings.facts.gid,
        privileged: surroundings.facts.capabilities & (1 << 21) != 0,
        possible: possible(),
        directory: directory.to_string_lossy().into_owned(),
        umask: umask.bits(),
        read: DESCRIPTORS.read,
        terminal: terminal.map(|path| path.to_string_lossy().into_owned()),
    })
}

/// Whether user namespaces and cgroup namespaces can be made.
fn possible() -> (bool, bool) {
    let has = |path: &str| std::path::Path::new(path).exists();
    let none = std::fs::read_to_string("/proc/sys/user/max_user_namespaces").is_ok_and(|most| most.trim() == "0");
    (has("/proc/self/ns/user") && !none, has("/proc/self/ns/cgroup"))
}

/// Descriptors that were for us, not for the command.
fn consumed(wanted: &Bwrap) -> Vec<i32> {
    let of_file = |file: &from_bwrap::File| match file.kind {
        FileKind::Copy { descriptor }
        | FileKind::Data { descriptor, .. }
        | FileKind::BindDescriptor { descriptor, .. } => Some(descriptor),
        _ => None,
    };
    let others = [wanted.block, wanted.info, wanted.status, wanted.sync].into_iter().flatten();
    let read = wanted.seccomp.iter().chain(&wanted.arguments).copied();
    read.chain(wanted.files.iter().filter_map(of_file)).chain(others).collect()
}

fn help() -> String {
    let mut text = String::from("usage: bwrap [OPTIONS...] [--] COMMAND [ARGS...]\n\n");
    let line = |name: &str, values: &[&str], help: &str| {
        format!(
            "    {:<28} {help}\n",
            std::iter::once(name).chain(values.iter().copied()).collect::<Vec<_>>().join(" ")
        )
    };
    text.push_str(&line("--help", &[], "Print this help"));
    text.push_str(&line("--version", &[], "Print version"));
    text.push_str(&line("--args", &["FD"], "Read options, separated by NUL bytes, from FD"));
    OPTIONS.iter().for_each(|row| text.push_str(&line(row.name, row.values, row.help)));
    text
}
