//! Giving up rights, in the order that leaves none behind (INV-07 to INV-09, INV-12).

use super::namespaces::may_set_groups;
use super::story::Story;
use crate::error::{Error, Origin, Result};
use crate::intent::Process;
use crate::plan::Operation;
use crate::plan::operation::CapabilitySets;
use crate::seccomp;

fn process<'a>(story: &Story<'a>) -> Option<&'a Process> {
    story.request.intent.process.as_ref()
}

/// Whether the process has a label that is written to a file of procfs.
pub fn wants_label(story: &Story<'_>) -> bool {
    let wanted = |label: &Option<crate::intent::Placed<String>>| label.as_ref().is_some_and(|l| !l.value.is_empty());
    process(story).is_some_and(|process| wanted(&process.apparmor_profile) || wanted(&process.selinux_label))
}

/// Child: the security module's label for execve. A label whose module is off is an error, never a warning.
pub fn labels(story: &mut Story<'_>) -> Result<()> {
    let Some(process) = process(story) else { return Ok(()) };
    if let Some(profile) = process.apparmor_profile.as_ref().filter(|profile| !profile.value.is_empty()) {
        if !story.modules().apparmor {
            return Err(Error::refused("an AppArmor profile is wanted and AppArmor is not enabled").at(&profile.origin));
        }
        let value = format!("exec {}", profile.value);
        story.write_proc("thread-self/attr/apparmor/exec", &value, &profile.origin);
    }
    if let Some(label) = process.selinux_label.as_ref().filter(|label| !label.value.is_empty()) {
        if !story.modules().selinux {
            return Err(Error::refused("an SELinux label is wanted and SELinux is not enabled").at(&label.origin));
        }
        story.write_proc("thread-self/attr/exec", &label.value, &label.origin);
    }
    Ok(())
}

/// The profile's program, compiled once.
fn program<'s>(story: &'s mut Story<'_>) -> Result<Option<&'s seccomp::Program>> {
    if let (None, Some(raw)) = (&story.filter, &story.request.intent.extensions.raw_filter) {
        story.filter = Some(seccomp::program_from_bytes(&raw.value).map_err(|error| error.at(&raw.origin))?);
    }
    if story.filter.is_none() {
        let Some(profile) = &story.request.intent.seccomp else { return Ok(None) };
        let Some(native) = seccomp::Architecture::NATIVE else {
            return Err(Error::input("no seccomp profile can be compiled for this machine").at(&profile.origin));
        };
        let program = seccomp::compile(profile, native)?;
        story.plan.remarks.extend(program.warnings.iter().cloned());
        story.filter = Some(program);
    }
    Ok(story.filter.as_ref())
}

/// Whether calls are answered by a listener.
pub fn notifies(story: &mut Story<'_>) -> Result<bool> {
    Ok(program(story)?.is_some_and(|program| program.notifies))
}

/// The filter as an operation.
fn filter(story: &mut Story<'_>) -> Result<Option<Operation>> {
    let Some(program) = program(story)? else { return Ok(None) };
    let (flags, bytes, notifies) = (program.flags, program.bytes(), program.notifies);
    let listener = notifies.then(|| story.slot());
    let program = story.plan.arena.bytes(&bytes);
    Ok(Some(Operation::InstallFilter { program, flags, listener }))
}

fn install(story: &mut Story<'_>, when_no_new_privileges: bool) -> Result<()> {
    if process(story).is_none_or(|process| process.no_new_privileges != when_no_new_privileges) {
        return Ok(());
    }
    if let Some(operation) = filter(story)? {
        let raw = story.request.intent.extensions.raw_filter.as_ref();
        let origin = raw.map_or(Origin::fixed("/linux/seccomp"), |raw| raw.origin.clone());
        story.step(operation, &origin);
    }
    Ok(())
}

/// Child: without no_new_privs the filter needs CAP_SYS_ADMIN, so it comes before that goes.
pub fn early_filter(story: &mut Story<'_>) -> Result<()> {
    install(story, false)
}

/// Child: with no_new_privs the filter is the last thing before execve.
pub fn late_filter(story: &mut Story<'_>) -> Result<()> {
    install(story, true)?;
    let Some(sandbox) = &story.request.intent.sandbox else { return Ok(()) };
    for filter in &sandbox.filters {
        let program = story.plan.arena.bytes(&filter.value);
        story.step(Operation::InstallFilter { program, flags: 0, listener: None }, &filter.origin);
    }
    Ok(())
}

/// Child: bounding set, groups, ids, the other sets, no_new_privs.
pub fn drop(story: &mut Story<'_>) -> Result<()> {
    let Some(process) = process(story) else { return Ok(()) };
    let (user, capabilities) = (&process.user, process.capabilities);
    let origin = process.origin.child("capabilities");
    let last = story.request.facts.last_capability;
    let known = if last >= 63 { u64::MAX } else { (1u64 << (last + 1)) - 1 };
    if capabilities.bounding & known != known {
        story.step(Operation::DropBounding { keep: capabilities.bounding, last }, &origin);
    }
    let ids = process.origin.child("user");
    if user.uid != 0 {
        story.step(Operation::KeepCapabilities, &origin);
    }
    let inner = story.request.intent.sandbox.as_ref().is_some_and(|sandbox| sandbox.ids.is_some());
    if story.request.intent.extensions.keep_groups.is_some() {
        // Those that the runtime was started with stay: nothing is set.
    } else if may_set_groups(story) && !inner {
        story.plan.arena.groups = user.additional_gids.clone();
        story.step(Operation::SetGroups, &ids);
    } else if !user.additional_gids.is_empty() {
        return Err(Error::refused("additional groups can't be set where setgroups(2) is denied")
            .at(&ids.child("additionalGids"))
            .hint("a user namespace whose maker had no newgidmap(1) denies it, to itself and all below"));
    }
    story.step(Operation::SetIds { uid: user.uid, gid: user.gid }, &ids);
    story.plan.arena.capabilities = Some(CapabilitySets {
        bounding: capabilities.bounding & known,
        effective: capabilities.effective & known,
        permitted: capabilities.permitted & known,
        inheritable: capabilities.inheritable & known,
        ambient: capabilities.ambient & known,
    });
    story.step(Operation::SetCapabilities, &origin);
    story.step(Operation::Ambient(capabilities.ambient & known), &origin);
    if process.no_new_privileges {
        story.step(Operation::NoNewPrivileges, &process.origin.child("noNewPrivileges"));
    }
    Ok(())
}
