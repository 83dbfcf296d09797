//! `state`, `list` and `ps`: what is there.

use super::arguments::{Format, Global, ListArguments, PsArguments};
use super::{Id, containers, output};
use crate::error::{Error, Result};
use crate::log;
use std::path::Path;

/// Prints the state of a container.
///
/// # Errors
/// There is no such container.
pub fn state(global: &Global, id: &Id) -> anyhow::Result<u8> {
    let (container, _) = containers::find(global, id)?;
    output::print(&output::state(&containers::shown(&container, |_| String::new())?))?;
    Ok(0)
}

/// Lists all containers. One that cannot be read is a warning.
///
/// # Errors
/// The directory of state cannot be read.
pub fn list(global: &Global, arguments: ListArguments) -> anyhow::Result<u8> {
    let mut states = Vec::new();
    let users = containers::UserNames::read();
    for (id, container) in containers::root(global)?.list()? {
        match container.and_then(|container| containers::shown(&container, |uid| users.of(uid))) {
            Ok(state) => states.push(state),
            Err(error) => log::warning(&format!("container \"{id}\" is left out: {error}")),
        }
    }
    output::print(&output::list(&states, arguments.format, arguments.quiet, global.called_as))?;
    Ok(0)
}

/// Lists the processes of a container.
///
/// # Errors
/// There is no such container, or no usable ps(1).
pub fn ps(global: &Global, arguments: PsArguments) -> anyhow::Result<u8> {
    let (_, record) = containers::find(global, &arguments.id)?;
    let mut pids = containers::group(&record)?.pids(true)?;
    if record.cgroup.is_null() {
        // Without a cgroup nobody keeps track of more than the first process.
        pids.extend(record.live_init()?.map(|init| init.pid));
    }
    let text = match arguments.format {
        Format::Json => output::process_ids(&pids),
        Format::Text => output::process_table(&run_ps(&arguments.ps_options)?, &pids)?,
    };
    output::print(&text)?;
    Ok(0)
}

/// The host's ps(1), by its absolute path: what $PATH says may be the container's owner's.
fn run_ps(options: &[std::ffi::OsString]) -> Result<String> {
    let program = ["/usr/bin/ps", "/bin/ps"].into_iter().find(|path| Path::new(path).exists());
    let program = program.ok_or_else(|| Error::refused("this host has no ps").hint("use --format json"))?;
    let output = std::process::Command::new(program)
        .args(options)
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|error| Error::refused(format!("cannot run {program}")).io("execve", &error))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("without a word").trim().to_owned();
        return Err(Error::refused(format!("{program} failed ({}): {said}", output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
