//! `checkpoint`: a running container becomes files.

use std::path::PathBuf;

use super::arguments::{CheckpointArguments, Global};
use super::{containers, prepare};
use crate::checkpoint::{Bound, Checkpoint, checkpoint};
use crate::error::{Error, Result};
use crate::intent::{Intent, RootKind};
use crate::state::{Record, Status};

/// Saves the container's processes.
///
/// # Errors
/// It does not run, or something of it can't be saved; then it goes on as it was.
pub fn run(global: &Global, arguments: &CheckpointArguments) -> anyhow::Result<u8> {
    let (container, record) = containers::find(global, &arguments.id)?;
    let id = arguments.id.as_str();
    match containers::status(&container, &record)? {
        Status::Running | Status::Paused => {}
        Status::Created => {
            let error = Error::refused(format!("cannot checkpoint container \"{id}\" that is created"));
            return Err(error.hint("it has nothing to save until `start` has run its command").into());
        }
        Status::Creating | Status::Stopped => return Err(containers::not_running(id).into()),
    }
    let init = record.live_init()?.ok_or_else(|| containers::not_running(id))?;
    let intent = prepare::stored_intent(&container.load_config()?, &record.bundle)?;
    refuse(&intent, &record)?;
    let group = containers::group(&record)?;
    let mut wishes = arguments.wishes.clone();
    wishes.config_file = config_file(&intent);
    let joined: Vec<_> = intent
        .namespaces
        .iter()
        .filter(|namespace| namespace.path.is_some())
        .map(|namespace| namespace.kind.proc_name())
        .collect();
    let mut processes = group.pids(true)?;
    processes.push(init.pid);
    processes.sort_unstable();
    processes.dedup();
    let bound: Vec<Bound> = recorded(&record, "binds")?;
    let descriptors: Vec<String> = recorded(&record, "stdio")?;
    checkpoint(&Checkpoint {
        pid: init.pid,
        processes: &processes,
        bound: &bound,
        joined: &joined,
        descriptors: &descriptors,
        terminal: record.console,
        freezer: group.unified().or_else(|| group.legacy("freezer")),
        images: &arguments.image_path,
        work: arguments.work_path.as_deref(),
        parent: arguments.parent_path.as_deref(),
        pre_dump: arguments.pre_dump,
        leave_running: arguments.leave_running,
        status: arguments.status_fd,
        wishes: &wishes,
    })?;
    Ok(0)
}

/// What no dump can have, known without looking at the processes.
fn refuse(intent: &Intent, record: &Record) -> Result<()> {
    let cannot = |what: &str| Err(Error::refused(format!("cannot checkpoint the container: {what}")));
    if intent.root.kind == RootKind::HostView {
        return cannot("its root is a copy-on-write view of this host, which lives in memory alone");
    }
    if record.seccomp_notify {
        return cannot("an agent outside holds the listener of its seccomp filter, and CRIU has no images for it");
    }
    if intent.namespace(crate::intent::NamespaceKind::Mount).is_none_or(|mount| mount.path.is_some()) {
        return cannot("it has no mount namespace of its own");
    }
    if let Some(device) = intent.net_devices.first() {
        return cannot("a network device of the host was moved into it")
            .map_err(|error: Error| error.at(&device.origin));
    }
    for namespace in intent.namespaces.iter().filter(|namespace| namespace.path.is_some()) {
        let name = namespace.kind.proc_name();
        if !matches!(name, "net" | "pid" | "ipc" | "uts") {
            let what = format!("it has joined a {name} namespace, and CRIU can't restore into one");
            return cannot(&what).map_err(|error: Error| error.at(&namespace.origin));
        }
    }
    Ok(())
}

fn recorded<T: serde::de::DeserializeOwned + Default>(record: &Record, name: &str) -> Result<T> {
    match record.extra.get(name) {
        None => Ok(T::default()),
        Some(value) => serde_json::from_value(value.clone()).map_err(|error| {
            Error::refused(format!("the record of container \"{}\" is damaged: {name}: {error}", record.id))
        }),
    }
}

/// Options for CRIU: the annotation's file, or the host's.
pub(super) fn config_file(intent: &Intent) -> Option<PathBuf> {
    const OF_HOST: [&str; 3] = ["/etc/criu/kiste.conf", "/etc/criu/crun.conf", "/etc/criu/runc.conf"];
    let wanted = intent.annotations.get("org.criu.config").filter(|path| !path.is_empty()).map(PathBuf::from);
    wanted.or_else(|| OF_HOST.iter().map(PathBuf::from).find(|path| path.is_file()))
}
