//! Rules that need two fields: what contradicts itself is refused before anything is made, at the place of the field
//! that cannot have what it wants.
//!
//! Every front end's [`Intent`] goes through [`check`]. Rules that need the host (does a joined network namespace belong to it,
//! is the bind over `/proc` a procfs) are lowering's.

mod ids;
mod memory;
mod mounts;
mod sysctls;

pub use ids::id_map;
pub use mounts::check as mounts;

use super::{Intent, NamespaceKind, Process, RootKind};
use crate::error::{Error, Origin, Result};

/// Checks a whole intent. A device that is listed twice alike is dropped with a warning.
///
/// # Errors
/// The first contradiction, with its place.
pub fn check(intent: &mut Intent) -> Result<()> {
    namespaces(intent)?;
    needs_namespace(intent)?;
    ids::check(intent)?;
    sysctls::check(intent)?;
    mounts::check(intent)?;
    devices(intent)?;
    net_devices(intent)?;
    memory::check(intent)?;
    intent.resources.check()?;
    match &intent.process {
        None => Ok(()),
        Some(wanted) => process(wanted),
    }
}

/// At most one namespace of a kind.
fn namespaces(intent: &Intent) -> Result<()> {
    for (index, namespace) in intent.namespaces.iter().enumerate() {
        if intent.namespaces[..index].iter().any(|earlier| earlier.kind == namespace.kind) {
            let what = format!("a second {} namespace", namespace.kind.word());
            return Err(Error::input(what).at(&namespace.origin));
        }
    }
    Ok(())
}

/// What would change the host without a namespace of its own.
fn needs_namespace(intent: &Intent) -> Result<()> {
    let need = |kind: NamespaceKind, what: &str, origin: Option<&Origin>| match origin {
        Some(origin) if intent.namespace(kind).is_none() => {
            let word = kind.word();
            let error = Error::input(format!("{what} without a {word} namespace would be the host's")).at(origin);
            Err(error.hint(format!("add {{\"type\": \"{word}\"}} to /linux/namespaces")))
        }
        _ => Ok(()),
    };
    let fixed = |wanted: bool, place: &'static str| wanted.then(|| Origin::fixed(place));
    let root = &intent.root;
    let mount = NamespaceKind::Mount;
    need(NamespaceKind::Uts, "a host name", fixed(intent.hostname.is_some(), "/hostname").as_ref())?;
    need(NamespaceKind::Uts, "a domain name", fixed(intent.domainname.is_some(), "/domainname").as_ref())?;
    let device = intent.net_devices.first().map(|device| &device.origin);
    need(NamespaceKind::Network, "a network device", device)?;
    need(mount, "a mount", intent.mounts.first().map(|first| &first.origin))?;
    need(mount, "a masked path", intent.masked_paths.first().map(|first| &first.origin))?;
    need(mount, "a read-only path", intent.readonly_paths.first().map(|first| &first.origin))?;
    need(mount, "the root's propagation", root.propagation.as_ref().map(|change| &change.origin))?;
    need(mount, "a read-only root", root.readonly.then_some(&root.origin))?;
    need(mount, "the host's own tree as root", (root.kind == RootKind::HostView).then_some(&root.origin))?;
    match intent.time_offsets.first() {
        Some(offset) if !intent.makes(NamespaceKind::Time) => {
            let error = Error::input("a clock's offset needs a new time namespace").at(&offset.origin);
            Err(error.hint("add {\"type\": \"time\"} to /linux/namespaces"))
        }
        _ => Ok(()),
    }
}

fn devices(intent: &mut Intent) -> Result<()> {
    let mut index = 1;
    while index < intent.devices.len() {
        let device = &intent.devices[index];
        let Some(earlier) = intent.devices[..index].iter().find(|earlier| earlier.path == device.path) else {
            index += 1;
            continue;
        };
        if (earlier.kind, earlier.major, earlier.minor) != (device.kind, device.major, device.minor) {
            let what = format!("{} is another device at {}", device.path, earlier.origin);
            return Err(Error::input(what).at(&device.origin));
        }
        intent.warnings.push(format!("{}: {} is listed already", device.origin, device.path));
        intent.devices.remove(index);
    }
    Ok(())
}

/// Two devices can't have one name in the container.
fn net_devices(intent: &Intent) -> Result<()> {
    for (index, device) in intent.net_devices.iter().enumerate() {
        let same = |earlier: &&super::NetDevice| earlier.name == device.name && !device.name.contains('%');
        if let Some(earlier) = intent.net_devices[..index].iter().find(same) {
            let what = format!("{} is the name of {} already", device.name, earlier.origin);
            return Err(Error::input(what).at(&device.origin.child("name")));
        }
    }
    Ok(())
}

/// Rules of a process alone; also for exec.
///
/// # Errors
/// The first contradiction, with its place.
pub fn process(process: &Process) -> Result<()> {
    for (index, limit) in process.rlimits.iter().enumerate() {
        if process.rlimits[..index].iter().any(|earlier| earlier.resource == limit.resource) {
            return Err(Error::input(format!("{} is there twice", limit.name)).at(&limit.origin));
        }
        if limit.soft > limit.hard {
            let what = format!("{}: the soft limit {} is above the hard limit {}", limit.name, limit.soft, limit.hard);
            return Err(Error::input(what).at(&limit.origin));
        }
    }
    Ok(())
}

/// Rules of a process that joins a container: those of [`process`], and that its ids are mapped there.
///
/// # Errors
/// The first contradiction, with its place.
pub fn process_in(container: &Intent, joining: &Process) -> Result<()> {
    process(joining)?;
    if container.makes(NamespaceKind::User) { ids::payload(&container.id_maps, joining) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
