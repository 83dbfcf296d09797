//! `mounts add` and `mounts remove`: other mounts for a container that runs. What was added is kept with the record by its
//! mount's id, and nothing else is taken away: not what the configuration mounts, and no mask.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::arguments::{Global, MountsAction, MountsArguments};
use super::containers;
use super::prepare::{self, Prepared};
use crate::error::{Error, Origin, Result};
use crate::intent::{Hooks, from_oci};
use crate::launch::live_mounts::{Change, carry_out};
use crate::log;
use crate::lowering::{lower_add_mounts, lower_remove_mounts};
use crate::plan::Plan;
use crate::state::{Container, Record, Status};

/// Where [`Record::extra`] keeps what was added.
const ADDED: &str = "mounts";

/// A mount that `mounts add` made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Added {
    /// Where it was wanted.
    destination: String,
    /// Its id (statx(2)).
    id: u64,
}

/// A mount to be taken away: its destination, the place that names it, and its id.
type Removal = (String, Origin, u64);

/// Adds or removes mounts.
///
/// # Errors
/// There is no such container or it has stopped, the file is wrong, or the kernel refuses a mount: then nothing is changed.
pub fn run(global: &Global, arguments: &MountsArguments) -> anyhow::Result<u8> {
    prepare::protect()?;
    let text = prepare::read_config(&arguments.file)?;
    let (container, _) = containers::find(global, &arguments.id)?;
    let _guard = container.lock()?;
    let record = container.record()?;
    if matches!(containers::status(&container, &record)?, Status::Stopped | Status::Creating) {
        return Err(containers::not_running(arguments.id.as_str()).into());
    }
    let mut prepared = prepare::again(&container.load_config()?, &record.bundle)?;
    prepared.intent.hooks = Hooks::default();
    match arguments.action {
        MountsAction::Add => add(global, &container, record, &mut prepared, &text)?,
        MountsAction::Remove => remove(global, &container, record, &mut prepared, &text)?,
    }
    Ok(0)
}

fn add(global: &Global, container: &Container, mut record: Record, prepared: &mut Prepared, text: &[u8]) -> Result<()> {
    let warnings = from_oci::replace_mounts(text, &record.bundle, global.unknown, &mut prepared.intent)?;
    warnings.iter().for_each(|warning| log::warning(warning));
    prepared.need_mounts()?;
    let plan = lower_add_mounts(prepared.request(global, container.id()))?;
    plan.warnings.iter().for_each(|warning| log::warning(warning));
    let mut added = added(&record)?;
    let change = change(&plan, prepared, &record)?;
    // Remounts and copied symlinks are told of by nobody: those that were attached are in the list's order.
    let attached = prepared.intent.mounts.iter().filter(|mount| {
        let source = mount.source.as_deref().map(std::path::Path::new);
        let copied = mount.options.copy_symlink && source.is_some_and(|path| prepared.symlinks.contains_key(path));
        !mount.options.remount && !copied
    });
    let new: Vec<Added> = attached
        .zip(&change.mounts)
        .map(|(mount, id)| Added { destination: mount.destination.clone(), id: *id })
        .collect();
    let result = change.result.and_then(|()| {
        added.extend(new.clone());
        keep(container, &mut record, &added)
    });
    result.map_err(|error| {
        let back = new.iter().rev().map(|one| (one.destination.clone(), Origin::fixed(""), one.id)).collect();
        undone(error, take_away(global, container, prepared, &record, back).and_then(|change| change.result))
    })
}

/// The error, and what its undoing came to.
fn undone(error: Error, undo: Result<()>) -> Error {
    match undo {
        Ok(()) => error,
        Err(other) => {
            let hint = error.hint.clone().map_or_else(String::new, |hint| format!("{hint}; "));
            error.hint(format!("{hint}mounts before it stay attached: {other}"))
        }
    }
}

fn remove(
    global: &Global,
    container: &Container,
    mut record: Record,
    prepared: &mut Prepared,
    text: &[u8],
) -> Result<()> {
    let mut added = added(&record)?;
    let mut list: Vec<Removal> = Vec::new();
    // A file that was added is removed from its end: what lies in another mount goes before that.
    for wanted in from_oci::mount_destinations(text)?.into_iter().rev() {
        let taken = |one: &&Added| list.iter().any(|(_, _, id)| *id == one.id);
        match added.iter().rev().find(|one| one.destination == wanted.value && !taken(one)) {
            Some(one) => list.push((wanted.value, wanted.origin, one.id)),
            None => {
                let what = format!("`mounts add` has mounted nothing at {}", wanted.value);
                let error = Error::input(what).at(&wanted.origin);
                return Err(error.hint("what the configuration mounts or hides stays as long as the container"));
            }
        }
    }
    let change = take_away(global, container, prepared, &record, list)?;
    added.retain(|one| !change.mounts.contains(&one.id));
    change.result.and(keep(container, &mut record, &added))
}

fn take_away(
    global: &Global,
    container: &Container,
    prepared: &mut Prepared,
    record: &Record,
    list: Vec<Removal>,
) -> Result<Change> {
    if list.is_empty() {
        return Ok(Change { mounts: Vec::new(), result: Ok(()) });
    }
    prepared.intent.mounts.clear();
    let plan = lower_remove_mounts(prepared.request(global, container.id()), &list)?;
    change(&plan, prepared, record)
}

fn change(plan: &Plan, prepared: &Prepared, record: &Record) -> Result<Change> {
    let gone = || containers::not_running(&record.id);
    let init = record.live_init()?.ok_or_else(gone)?.open_pidfd()?.ok_or_else(gone)?;
    Ok(carry_out(plan, &prepared.intent, &prepared.bundle, init))
}

fn added(record: &Record) -> Result<Vec<Added>> {
    match record.extra.get(ADDED) {
        None => Ok(Vec::new()),
        Some(list) => serde_json::from_value(list.clone())
            .map_err(|error| Error::refused(format!("the record of container \"{}\" is damaged: {error}", record.id))),
    }
}

fn keep(container: &Container, record: &mut Record, added: &[Added]) -> Result<()> {
    if record.extra.is_null() {
        record.extra = Value::Object(serde_json::Map::new());
    }
    if let Some(extra) = record.extra.as_object_mut() {
        extra.insert(ADDED.into(), serde_json::json!(added));
    }
    container.write_record(record)
}
