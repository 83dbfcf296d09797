//! What was typed: options, arguments, output. No system calls of its own beyond reading argv and writing results.

pub mod arguments;
mod command_bwrap;
mod command_checkpoint;
mod command_control;
mod command_events;
mod command_exec;
mod command_explain;
mod command_features;
mod command_mounts;
mod command_restore;
mod command_run;
pub mod command_spec;
mod command_state;
mod command_update;
pub mod command_version;
mod containers;
mod normalise;
pub mod options;
pub mod output;
mod parse;
mod parse_checkpoint;
mod pattern;
mod prepare;
mod surroundings;
mod words;

pub use arguments::{Command, Global, Invocation};
pub use parse::parse;
pub use pattern::Pattern;
pub use words::Id;

use crate::{error::Error, log};

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
        Command::State(id) => command_state::state(global, &id),
        Command::List(arguments) => command_state::list(global, arguments),
        Command::Ps(arguments) => command_state::ps(global, arguments),
        Command::Kill(arguments) => command_control::kill(global, &arguments),
        Command::Delete(arguments) => command_control::delete(global, &arguments),
        Command::Pause(id) => command_control::pause(global, &id),
        Command::Resume(id) => command_control::resume(global, &id),
        Command::Update(arguments) => command_update::run(global, *arguments),
        Command::Mounts(arguments) => command_mounts::run(global, &arguments),
        Command::Events(arguments) => command_events::run(global, &arguments),
        Command::Features => command_features::run(global),
        Command::Spec(arguments) => command_spec::run(global, arguments),
        Command::Version => Ok(output::print(&command_version::text(global.called_as)).map(|()| 0)?),
        Command::Create(arguments) => command_run::create(global, &arguments),
        Command::Run(arguments) => command_run::run(global, &arguments),
        Command::Start(id) => command_run::start(global, &id),
        Command::Exec(arguments) => command_exec::run(global, &arguments),
        Command::Bwrap(words) => command_bwrap::run(&words),
        Command::Checkpoint(arguments) => command_checkpoint::run(global, &arguments),
        Command::Restore(arguments) => command_restore::run(global, &arguments),
        Command::Explain(arguments) => command_explain::run(global, &arguments),
    }
}

#[cfg(test)]
mod contracts;
