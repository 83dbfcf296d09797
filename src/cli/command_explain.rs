//! `explain`: the plan instead of the container. Works without privilege; nothing is made.

use super::arguments::{ExplainArguments, Format, Global};
use super::{command_run, output, prepare};
use crate::error::{Error, Result};
use crate::lowering::Machine;
use crate::plan::{Plan, explain};

/// Prints the plan.
///
/// # Errors
/// What `run` would refuse before it makes anything.
pub fn run(global: &Global, arguments: &ExplainArguments) -> anyhow::Result<u8> {
    let machine = match &arguments.facts {
        Some(path) => Some(read(path)?),
        None => None,
    };
    let prepared = prepare::prepare(global, &arguments.run, machine)?;
    let plan = command_run::explained(global, &arguments.run, &prepared)?;
    print(&plan, arguments.format)?;
    Ok(0)
}

/// The plan as the caller wants it.
///
/// # Errors
/// Standard output can't be written to.
pub(super) fn print(plan: &Plan, format: Format) -> Result<()> {
    let text = match format {
        Format::Text => explain::text(plan),
        Format::Json => explain::json(plan) + "\n",
    };
    output::print(&text)
}

/// Facts as the file has them. A file that does not exist yet is made with this machine's.
fn read(path: &std::path::Path) -> Result<Machine> {
    if !path.exists() {
        let machine = prepare::this_machine()?;
        let text = serde_json::to_vec_pretty(&machine)
            .map_err(|error| Error::refused(format!("the facts cannot be written: {error}")))?;
        std::fs::write(path, text)
            .map_err(|error| Error::refused(format!("cannot write {}", path.display())).io("write", &error))?;
        return Ok(machine);
    }
    let bytes = prepare::read_config(path)?;
    serde_json::from_slice(&bytes).map_err(|error| Error::input(format!("{} holds no facts: {error}", path.display())))
}
