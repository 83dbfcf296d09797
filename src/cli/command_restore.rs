//! `restore`: files become a container.

use super::arguments::{Global, RestoreArguments, RunArguments, Source};
use super::command_checkpoint::config_file;
use super::command_run::{end, wait, warn};
use super::{containers, prepare};
use crate::checkpoint::has_bind;
use crate::error::{Error, Result};
use crate::intent::{Intent, NamespaceKind, RootKind};
use crate::launch::container::Making;
use crate::launch::notify_socket::{DESTINATION, make_directory};
use crate::launch::restored::{Restoring, restore};
use crate::launch::signals::Blocked;
use crate::launch::wait::become_subreaper;
use crate::lowering::lower;

/// What CRIU does not bring back and restore does not make: told, since a container without it is another one.
fn not_restored(intent: &Intent) -> Result<()> {
    let device = intent.net_devices.first().map(|device| (&device.origin, "a network device of the host"));
    let class = intent.intel_rdt.as_ref().map(|wanted| (&wanted.origin, "a class of service (Intel RDT)"));
    match device.or(class) {
        Some((origin, what)) => Err(Error::refused(format!("restore gives no container {what}")).at(origin)),
        None => Ok(()),
    }
}

/// Makes the container; stays until its first process ends, unless detached.
///
/// # Errors
/// What is wrong with bundle or checkpoint, or refused by the kernel or CRIU; nothing is left.
pub fn run(global: &Global, arguments: &RestoreArguments) -> anyhow::Result<u8> {
    prepare::protect()?;
    let prepared = prepare::prepare(global, &as_run(arguments), None)?;
    if prepared.intent.root.kind == RootKind::HostView {
        return Err(Error::input("restore needs a bundle").into());
    }
    not_restored(&prepared.intent)?;
    let notify = has_bind(&arguments.image_path, DESTINATION.trim_start_matches('/'))?;
    let blocked = Blocked::all()?;
    if !arguments.detach && !prepared.intent.makes(NamespaceKind::Pid) {
        become_subreaper()?;
    }
    let root = containers::root(global)?;
    let reserved = root.reserve(arguments.id.as_str())?;
    let mut request = prepared.request(global, arguments.id.as_str());
    let terminal = prepared.intent.process.as_ref().is_some_and(|process| process.terminal);
    request.console = prepare::console(arguments.console_socket.as_deref(), terminal, !arguments.detach);
    request.notify_directory = if notify { Some(make_directory(&reserved)?) } else { None };
    let plan = lower(request)?;
    let mut wishes = arguments.wishes.clone();
    wishes.config_file = config_file(&prepared.intent);
    let making = Making {
        plan: &plan,
        intent: &prepared.intent,
        config: &prepared.config,
        bundle: &prepared.bundle,
        owner: prepared.facts.uid,
        gated: false,
        helpers: None,
        pid_file: arguments.pid_file.as_deref(),
        pidfd_socket: None,
    };
    let restoring = Restoring {
        images: &arguments.image_path,
        work: arguments.work_path.as_deref(),
        lsm_profile: arguments.lsm_profile.as_deref(),
        lsm_mount_context: arguments.lsm_mount_context.as_deref(),
        wishes: &wishes,
    };
    plan.warnings.iter().for_each(|warning| crate::log::warning(warning));
    let mut made = restore(reserved, &making, &restoring)?;
    warn(&made);
    if arguments.detach {
        return Ok(0);
    }
    let status: Result<i32> = wait(&mut made, None, &blocked);
    end(&prepared, made)?;
    Ok(status? as u8)
}

fn as_run(arguments: &RestoreArguments) -> RunArguments {
    RunArguments {
        id: arguments.id.clone(),
        source: Source::Bundle { directory: arguments.bundle.clone(), config: None },
        console_socket: arguments.console_socket.clone(),
        pidfd_socket: None,
        pid_file: arguments.pid_file.clone(),
        no_pivot: false,
        no_new_keyring: false,
        preserve_fds: 0,
        detach: arguments.detach,
        keep: false,
        timings: None,
    }
}
