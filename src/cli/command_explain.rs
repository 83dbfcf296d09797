//! `explain`: the plan instead of the container. Works without privilege; nothing is made.

use super::arguments::{ExplainArguments, Format, Global};
use super::{command_run, output, prepare};
use crate::cgroup::Layout;
use crate::error::{Error, Result};
use crate::host::{Facts, Needs};
use crate::plan::explain;

/// What a plan depends on beside the input: read from `--facts FILE` for reproducible output.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Machine {
    facts: Facts,
    cgroups: Layout,
}

/// Prints the plan.
///
/// # Errors
/// What `run` would refuse before it makes anything.
pub fn run(global: &Global, arguments: &ExplainArguments) -> anyhow::Result<u8> {
    let machine = match &arguments.facts {
        Some(path) => Some(read(path)?),
        None => None,
    };
    let (facts, layout) = machine.map_or((None, None), |machine| (Some(machine.facts), Some(machine.cgroups)));
    let prepared = prepare::prepare(&arguments.run, facts, layout)?;
    let plan = command_run::explained(global, &arguments.run, &prepared)?;
    let text = match arguments.format {
        Format::Text => explain::text(&plan),
        Format::Json => explain::json(&plan) + "\n",
    };
    output::print(&text)?;
    Ok(0)
}

/// Facts as the file has them. A file that does not exist yet is made with this machine's.
fn read(path: &std::path::Path) -> Result<Machine> {
    if !path.exists() {
        let machine = Machine { facts: Facts::for_start(&Needs::ALL)?, cgroups: Layout::read()? };
        let text = serde_json::to_vec_pretty(&machine)
            .map_err(|error| Error::refused(format!("the facts cannot be written: {error}")))?;
        std::fs::write(path, text)
            .map_err(|error| Error::refused(format!("cannot write {}", path.display())).io("write", &error))?;
        return Ok(machine);
    }
    let bytes = prepare::read_config(path)?;
    serde_json::from_slice(&bytes).map_err(|error| Error::input(format!("{} holds no facts: {error}", path.display())))
}
