//! The payload's process: birth, limits, hooks, check and handover.

use super::privileges;
use super::story::{OWN, Story};
use crate::cgroup::CgroupPlan;
use crate::error::{Error, Result};
use crate::intent::{Hook, NamespaceKind, Numbers, Process};
use crate::plan::arena::{HookEntry, Range};
use crate::plan::{Barrier, Open, Operation, ParentStep, Slot};

/// SIGPIPE: Rust's start-up ignores it, and an ignored signal stays ignored over execve.
const SIGPIPE: i32 = libc::SIGPIPE;

fn process<'a>(story: &Story<'a>) -> Option<&'a Process> {
    story.request.intent.process.as_ref()
}

/// Child: signals as a fresh process has them, every descriptor close-on-exec, no umask, v1 control groups.
pub fn birth(story: &mut Story<'_>) -> Result<()> {
    let ignored = story.request.facts.ignored_signals | 1 << (SIGPIPE - 1);
    for signal in (1..=64).filter(|signal| ignored & (1u64 << (signal - 1)) != 0) {
        story.own(Operation::DefaultSignal(signal));
    }
    story.own(Operation::SignalMask(0));
    story.own(Operation::CloseOnExec(3 + story.request.preserved));
    story.own(Operation::Umask(0));
    let hierarchies = story.plan.cgroup.as_ref().map_or(0, CgroupPlan::legacy_joins);
    join_cgroups(story, hierarchies);
    let groups = story.plan.resctrl.as_ref().map_or(0, |(request, _)| request.joins());
    join_resctrl(story, groups);
    Ok(())
}

/// The child moves itself into its resource control groups, before it takes any memory of its own.
pub fn join_resctrl(story: &mut Story<'_>, groups: usize) {
    let Some(origin) = story.request.intent.intel_rdt.as_ref().map(|wanted| wanted.origin.clone()) else { return };
    for _ in 0..groups {
        let into = story.slot();
        story.open(Open::Given { name: "resctrl", into }, &origin);
        story.step(Operation::JoinResctrl(into), &origin);
    }
}

/// v1 hierarchies know no birth in a group: the child moves itself, through descriptors that the parent opened.
pub fn join_cgroups(story: &mut Story<'_>, hierarchies: usize) {
    for _ in 0..hierarchies {
        let into = story.slot();
        story.open(Open::Given { name: "tasks", into }, &OWN);
        story.own(Operation::JoinCgroup(into));
    }
}

/// `exec`: processors of the runtime until clone3, and of the child in the container's control group. Without the second
/// the kernel decides (runtime-spec config.md, `execCPUAffinity`).
pub fn affinity(story: &mut Story<'_>) {
    let Some((initial, last)) = process(story).map(|process| &process.exec_cpu_affinity) else { return };
    if let Some(initial) = initial {
        let mask = story.plan.arena.bytes(&words(&initial.value));
        story.plan.own_processors = Some((mask, story.place(&initial.origin)));
    }
    if let Some(last) = last {
        let mask = story.plan.arena.bytes(&words(&last.value));
        story.step(Operation::Affinity(mask), &last.origin);
    }
}

/// A mask as the kernel reads it.
fn words(numbers: &Numbers) -> Vec<u8> {
    numbers.words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Child: oom_score_adj.
pub fn oom_score(story: &mut Story<'_>) -> Result<()> {
    if let Some(score) = process(story).and_then(|process| process.oom_score_adj.as_ref()) {
        if !story.plan.first_stage.is_empty() {
            story.plan.inherited_score = Some((score.value, story.place(&score.origin)));
            return Ok(());
        }
        story.write_proc("self/oom_score_adj", &score.value.to_string(), &score.origin);
        // The instance made before the user namespace's root is there belongs to no one; later writes make their own.
        story.proc = if story.in_new_user_namespace() { None } else { story.proc };
    }
    Ok(())
}

/// Limits that the child may not raise in its user namespace: the parent does, while the child waits.
pub fn raised_limits(story: &mut Story<'_>) -> Result<()> {
    let Some(process) = process(story) else { return Ok(()) };
    if !story.request.intent.makes(NamespaceKind::User) {
        return Ok(());
    }
    for limit in &process.rlimits {
        if limit.hard > story.hard_limit(limit.resource) {
            let (resource, soft, hard) = (limit.resource, limit.soft, limit.hard);
            story.at_barrier(Barrier::Identity, ParentStep::Rlimit { resource, soft, hard }, &limit.origin);
        }
    }
    Ok(())
}

/// Child: resource limits, while it may still raise them.
pub fn limits(story: &mut Story<'_>) -> Result<()> {
    let Some(process) = process(story) else { return Ok(()) };
    for limit in &process.rlimits {
        let (resource, soft, hard) = (limit.resource, limit.soft, limit.hard);
        story.step(Operation::Rlimit { resource, soft, hard }, &limit.origin);
    }
    Ok(())
}

/// Parent: prestart and createRuntime hooks.
pub fn runtime_hooks(story: &mut Story<'_>) -> Result<()> {
    let hooks = &story.request.intent.hooks;
    for (list, hooks) in [("prestart", &hooks.prestart), ("createRuntime", &hooks.create_runtime)] {
        if let Some(first) = hooks.first() {
            let step = ParentStep::RunHooks { list, count: hooks.len() };
            story.at_barrier(Barrier::Hooks, step, &first.origin);
        }
    }
    if !hooks.create_container.is_empty() {
        story.creating_state = Some(state_file(story, "creating"));
    }
    if !hooks.start_container.is_empty() {
        story.created_state = Some(state_file(story, "created"));
    }
    if story.creating_state.or(story.created_state).is_some() {
        let extensions = &story.request.intent.extensions;
        for (index, file) in [&extensions.hooks_stdout, &extensions.hooks_stderr].into_iter().enumerate() {
            if let Some(file) = file {
                let into = story.slot();
                story.open(Open::Append { path: file.value.clone().into(), into }, &file.origin);
                story.hook_files[index] = Some(into);
            }
        }
    }
    Ok(())
}

/// The state as the child's hooks read it; only the parent knows the pid in it.
fn state_file(story: &mut Story<'_>, status: &'static str) -> Slot {
    let file = story.slot();
    story.open(Open::StateFile { into: file }, &OWN);
    story.at_barrier(Barrier::Hooks, ParentStep::WriteState { file, status }, &OWN);
    file
}

/// Child: waits for the runtime's hooks, then runs createContainer's in the container's namespaces.
pub fn container_hooks(story: &mut Story<'_>) -> Result<()> {
    story.wait(Barrier::Hooks);
    let hooks = &story.request.intent.hooks.create_container;
    let Some(state) = story.creating_state else { return Ok(()) };
    // The child makes its files without a mask; a hook is a program like any other.
    story.own(Operation::Umask(0o022));
    spawn(story, hooks, state)
}

fn spawn(story: &mut Story<'_>, hooks: &[Hook], state: Slot) -> Result<()> {
    for hook in hooks {
        let arena = &mut story.plan.arena;
        let path = arena.text(&hook.path);
        let arguments = arena.list(&hook.args);
        let environment = arena.list(&hook.env);
        arena.hooks.push(HookEntry { path, arguments, environment, timeout: hook.timeout.unwrap_or(0) });
        let index = (arena.hooks.len() - 1) as u16;
        let [output, errors] = story.hook_files;
        story.step(Operation::SpawnHook { hook: index, state, output, errors }, &hook.origin);
    }
    Ok(())
}

/// Child: execution domain, scheduler, memory policy, umask.
pub fn attributes(story: &mut Story<'_>) -> Result<()> {
    if let Some(personality) = &story.request.intent.personality {
        story.step(Operation::Personality(personality.value), &personality.origin);
    }
    let Some(process) = process(story) else { return Ok(()) };
    if let Some(priority) = &process.io_priority {
        story.step(Operation::IoPriority(priority.value), &priority.origin);
    }
    if let Some(scheduler) = &process.scheduler {
        let value = scheduler.value;
        let words = [
            56 | (value.policy as u64) << 32,
            value.flags,
            value.nice as u32 as u64 | (value.priority as u64) << 32,
            value.runtime,
            value.deadline,
            value.period,
            // The runtime-spec has flags for utilization clamps and no values: what the flags name is clamped to 0.
            0,
        ];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let bytes = story.plan.arena.bytes(&bytes);
        story.step(Operation::Scheduler(bytes), &scheduler.origin);
    }
    if let Some(policy) = &story.request.intent.memory_policy {
        let nodes = policy.nodes.as_ref().map_or(Vec::new(), |nodes| words(&nodes.value));
        let nodes = story.plan.arena.bytes(&nodes);
        story.step(Operation::MemoryPolicy { mode: policy.mode.1 | policy.flags, nodes }, &policy.origin);
    }
    // What runc and crun leave where the input says nothing.
    let umask = process.user.umask.unwrap_or(0o022);
    story.step(Operation::Umask(umask), &process.origin.child("user/umask"));
    Ok(())
}

/// The candidates of the executable: the path itself, or the name in each directory of PATH.
fn candidates(process: &Process) -> Result<Vec<String>> {
    let name = process.args.first().cloned().unwrap_or_default();
    if name.contains('/') {
        return Ok(vec![name]);
    }
    let path = process.env.iter().rev().find_map(|entry| entry.strip_prefix("PATH="));
    let path = path.unwrap_or("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    let refuse = |what: &str, key: &str| Err(Error::input(what).at(&process.origin.child(key)));
    if name.is_empty() || name.len() > NAME_MAX {
        return refuse("the executable needs a name of 1 to 255 bytes", "args/0");
    }
    if path.split(':').count() > MOST_DIRECTORIES {
        return refuse("PATH names more than 1024 directories", "env");
    }
    let directory = |directory: &str| if directory.is_empty() { ".".to_owned() } else { directory.to_owned() };
    Ok(path.split(':').map(|entry| format!("{}/{name}", directory(entry))).collect())
}

/// The longest name of a file (limits.h).
const NAME_MAX: usize = 255;
/// Directories in PATH, beyond which the candidates would fill the plan.
const MOST_DIRECTORIES: usize = 1024;

/// The environment: the last of two equal names wins, HOME is added if missing.
fn environment(process: &Process, extra: &[String]) -> (Vec<String>, bool) {
    // A map, because a hostile configuration may have 100,000 entries (INV-20).
    let mut places = std::collections::HashMap::<&str, usize>::new();
    let mut result: Vec<String> = Vec::with_capacity(process.env.len() + extra.len() + 1);
    for entry in process.env.iter().chain(extra) {
        let name = entry.split_once('=').map_or(entry.as_str(), |(name, _)| name);
        match places.entry(name) {
            std::collections::hash_map::Entry::Occupied(place) => result[*place.get()].clone_from(entry),
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(result.len());
                result.push(entry.clone());
            }
        }
    }
    let has_home = result.iter().any(|entry| entry.starts_with("HOME=") && entry.len() > 5);
    if !has_home {
        result.retain(|entry| !entry.starts_with("HOME="));
    }
    (result, has_home)
}

/// Child: working directory in the root, HOME, and the executable there, with the payload's own rights.
pub fn check(story: &mut Story<'_>) -> Result<()> {
    let Some(process) = process(story) else { return Ok(()) };
    let origin = process.origin.child("cwd");
    let sandbox = story.request.intent.sandbox.as_ref();
    match sandbox {
        Some(sandbox) if !sandbox.directories.is_empty() => {
            let candidates = story.plan.arena.list(&sandbox.directories);
            let names = sandbox.directories.iter().map(|directory| format!("PWD={directory}"));
            let names = story.plan.arena.list(names);
            story.step(Operation::FindDirectory { candidates, names }, &origin);
        }
        _ => {
            let path = story.plan.arena.text(&process.cwd);
            story.step(Operation::ChangeDirectory { path }, &origin);
        }
    }
    story.step(Operation::CheckDirectory, &origin);
    let (mut environment, has_home) = environment(process, &story.request.extra_env);
    if sandbox.is_some_and(|sandbox| !sandbox.directories.is_empty()) {
        // Its place is the last, where the directory that is entered is put.
        environment.retain(|entry| !entry.starts_with("PWD="));
        environment.push("PWD=/".into());
    }
    if !has_home && sandbox.is_none() {
        story.step(Operation::FindHome(process.user.uid), &process.origin.child("env"));
    }
    let candidates = story.plan.arena.list(candidates(process)?);
    story.step(Operation::FindExecutable(candidates), &process.origin.child("args/0"));
    let environment = story.plan.arena.list(environment);
    story.handover = Some((candidates, environment));
    Ok(())
}

/// Child: nothing is left open, the parent knows, `start` says go, execve.
pub fn handover(story: &mut Story<'_>) -> Result<()> {
    let (Some(process), Some((candidates, environment))) = (process(story), story.handover) else { return Ok(()) };
    let from = 3 + story.request.preserved;
    let state = story.created_state;
    let mut early = false;
    let gate = story.request.gated.then(|| (story.slot(), story.slot()));
    if let Some((gate, outcome)) = gate {
        for (name, into) in [("gate", gate), ("outcome", outcome)] {
            story.open(Open::Given { name, into }, &OWN);
        }
        let [output, errors] = story.hook_files.map(|file| file.filter(|_| state.is_some()));
        story.own(Operation::CloseAll { from, keep: [Some(gate), Some(outcome), state, output, errors] });
        // The listener goes to the parent before it stops listening: the filter can't wait for `start`.
        early = privileges::notifies(story)?;
        if early {
            privileges::late_filter(story)?;
        }
        story.own(Operation::Ready);
        story.own(Operation::WaitGate { gate, outcome });
        start_hooks(story)?;
        if state.is_some() {
            story.own(Operation::CloseAll { from, keep: [Some(outcome), None, None, None, None] });
        }
    } else {
        start_hooks(story)?;
        story.own(Operation::CloseAll { from, keep: [None; 5] });
    }
    if !early {
        privileges::late_filter(story)?;
    }
    let sandbox = story.request.intent.sandbox.as_ref();
    let first = sandbox.and_then(|sandbox| sandbox.argv0.as_ref()).or(process.args.first());
    let arguments: Range = story.plan.arena.list(first.into_iter().chain(process.args.iter().skip(1)));
    story.step(Operation::Execute { candidates, arguments, environment }, &process.origin.child("args/0"));
    Ok(())
}

/// Child: startContainer hooks, inside, right before the payload.
fn start_hooks(story: &mut Story<'_>) -> Result<()> {
    match story.created_state {
        Some(state) => spawn(story, &story.request.intent.hooks.start_container, state),
        None => Ok(()),
    }
}
