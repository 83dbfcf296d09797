//! `bwrap`: bubblewrap's command line on this engine. No id, no record, no control group: what it makes goes with it.

use std::ffi::OsString;
use std::io::IsTerminal;

use super::output;
use super::surroundings::Surroundings;
use crate::error::{Error, Result};
use crate::intent::contradictions;
use crate::intent::from_bwrap::{self, Bwrap, Caller, Descriptors, OPTIONS};
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

/// Runs the command line; its command's exit status, 128+n for signal n.
///
/// # Errors
/// What is wrong with the command line or refused by the kernel.
pub fn run(words: &[OsString]) -> anyhow::Result<u8> {
    let text = |word: &OsString| {
        word.to_str().map(str::to_owned).ok_or_else(|| Error::input(format!("{word:?} is not UTF-8")))
    };
    let words: Vec<String> = words.iter().map(text).collect::<Result<_>>()?;
    match words.first().map(String::as_str) {
        Some("--help") => return Ok(output::print(&help()).map(|()| 0)?),
        Some("--version") => return Ok(output::print("bubblewrap 0.13.0 (kiste)\n").map(|()| 0)?),
        _ => {}
    }
    let surroundings = Surroundings::read()?;
    let wanted = from_bwrap::parse(&words, environment(), kept(&surroundings), DESCRIPTORS)?;
    if wanted.command.is_empty() {
        return Err(Error::input("No command specified").hint("bwrap --help lists the options").into());
    }
    let caller = caller(&surroundings)?;
    let mut intent = from_bwrap::intent(&wanted, &caller)?;
    contradictions::check(&mut intent)?;
    Ok(sandbox::run(&surroundings.plan(&intent)?, &intent, &consumed(&wanted))? as u8)
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
        directory: directory.to_string_lossy().into_owned(),
        umask: umask.bits(),
        read: DESCRIPTORS.read,
        terminal: terminal.map(|path| path.to_string_lossy().into_owned()),
    })
}

/// Descriptors that were for us, not for the command.
fn consumed(wanted: &Bwrap) -> Vec<i32> {
    wanted
        .seccomp
        .iter()
        .copied()
        .chain([wanted.block, wanted.block_maps, wanted.info, wanted.status].into_iter().flatten())
        .collect()
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
