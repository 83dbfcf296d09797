//! What was typed: options, arguments, output. No system calls of its own beyond reading argv and writing results.

pub mod arguments;
pub mod command_spec;
pub mod command_version;
mod normalise;
pub mod options;
pub mod output;
mod parse;
mod pattern;
mod words;

pub use arguments::{Command, Global, Invocation};
pub use parse::parse;
pub use pattern::Pattern;
pub use words::Id;

use crate::{error::Error, log};
use std::path::PathBuf;

/// Why a command line does not lead to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Help was asked for: to standard output, status 0.
    Help(String),
    /// It cannot be understood: to the log and standard error, status 1.
    Failure(Box<Error>, log::Settings),
}

/// Does what was asked for and gives the exit status: that of the container's command where kiste waited for it, else 0.
///
/// # Errors
/// Whatever made the command fail; the caller logs it and exits with [`Command::failure_status`].
pub fn run(global: &Global, command: Command) -> anyhow::Result<u8> {
    match command {
        Command::Spec(arguments) => command_spec::run(global, arguments),
        Command::Version => Ok(output::print(&command_version::text(global.called_as)).map(|()| 0)?),
        // The rooms behind these are being built.
        other => anyhow::bail!("this build cannot carry out {other:?} yet"),
    }
}

/// The state directory if `--root` is not given: /run/kiste, or $XDG_RUNTIME_DIR/kiste for an ordinary user, also one
/// who is root in a user namespace of their own (how podman calls a runtime). The same for every name kiste is called
/// by: another runtime's state is never touched.
fn default_root() -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    match runtime {
        Some(dir) if !nix::unistd::geteuid().is_root() || root_by_namespace() => PathBuf::from(dir).join("kiste"),
        _ => "/run/kiste".into(),
    }
}

/// Whether uid 0 is so by a user namespace only: not all ids are mapped (user_namespaces(7)), and $USER is still
/// somebody else, as `unshare -r` and podman leave it.
fn root_by_namespace() -> bool {
    let somebody = std::env::var_os("USER").is_some_and(|user| !user.is_empty() && user != "root");
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    somebody && map.split_whitespace().ne(["0", "0", "4294967295"])
}

#[cfg(test)]
mod contracts;
