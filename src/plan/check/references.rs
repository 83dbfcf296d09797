//! Whether every text, byte range and table entry that an operation names lies in the arena.

use super::defect;
use crate::error::Result;
use crate::plan::arena::{Arena, Bytes, Parameter, Range, Text};
use crate::plan::{Operation as Op, Plan};

pub(super) fn check(plan: &Plan) -> Result<()> {
    let arena = &plan.arena;
    let parameters = arena.parameters.iter().all(|parameter| match parameter {
        Parameter::Flag(key) => text(arena, *key),
        Parameter::Value(key, value) => text(arena, *key) && text(arena, *value),
    });
    let hooks = arena
        .hooks
        .iter()
        .all(|hook| text(arena, hook.path) && list(arena, hook.arguments) && list(arena, hook.environment));
    if !(parameters && hooks && arena.texts.iter().all(|entry| text(arena, *entry))) {
        return Err(defect(0, "a string lies outside the arena"));
    }
    if plan.own_processors.is_some_and(|(mask, _)| !bytes(arena, mask)) {
        return Err(defect(0, "the runtime's processors lie outside the arena"));
    }
    for (index, step) in plan.child.iter().enumerate() {
        if !operation(arena, step.operation) {
            return Err(defect(index, "it names something outside the arena"));
        }
        if step.origin as usize >= plan.origins.len() {
            return Err(defect(index, "its place in the input is unknown"));
        }
    }
    Ok(())
}

fn text(arena: &Arena, text: Text) -> bool {
    let end = text.start as usize + text.length as usize;
    // The empty string has its NUL; `c_str` gives it for a broken one, too.
    text.length > 0 && end <= arena.len() && arena.c_str(text).to_bytes_with_nul().len() == text.length as usize
}

fn bytes(arena: &Arena, bytes: Bytes) -> bool {
    bytes.start % 8 == 0 && bytes.start as usize + bytes.length as usize <= arena.len()
}

fn list(arena: &Arena, range: Range) -> bool {
    range.start as usize + range.count as usize <= arena.texts.len()
}

fn operation(arena: &Arena, operation: Op) -> bool {
    match operation {
        Op::HostName(name) | Op::DomainName(name) | Op::TimeNamespace(name) | Op::Scheduler(name) => bytes(arena, name),
        Op::Affinity(mask) => bytes(arena, mask) && mask.length > 0 && mask.length % 8 == 0,
        Op::MemoryPolicy { nodes, .. } => bytes(arena, nodes) && nodes.length % 8 == 0,
        Op::InterfaceUp(name) | Op::Keyring(name) => text(arena, name),
        Op::WriteProc { path, value, .. } => text(arena, path) && bytes(arena, value),
        Op::OpenTree { path, .. } | Op::OpenTreeLate { path, .. } | Op::OpenRoot { path, .. } => text(arena, path),
        Op::FindMount { path, .. } => text(arena, path),
        Op::Ensure { path, .. } | Op::Hide { path, .. } | Op::ReadOnly { path, .. } => text(arena, path),
        Op::ChangeDirectory { path } | Op::EnterRoot { at: path, .. } => text(arena, path),
        Op::BindByMount { source, .. } => text(arena, source),
        Op::Filesystem { fstype, parameters, .. } => {
            text(arena, fstype) && parameters.start as usize + parameters.count as usize <= arena.parameters.len()
        }
        Op::SetAttributes { attributes, .. } | Op::RootAttributes { attributes, .. } => {
            (attributes as usize) < arena.attributes.len()
        }
        Op::Remount { path, attributes, .. } => text(arena, path) && (attributes as usize) < arena.attributes.len(),
        Op::File { name, bytes: content, .. } => text(arena, name) && bytes(arena, content),
        Op::Landlock(_) => {
            arena.landlock.as_ref().is_some_and(|(_, allowed)| allowed.iter().all(|(path, _)| text(arena, *path)))
        }
        Op::Mode { path, .. } => text(arena, path),
        Op::Unlink { name, .. } | Op::Directory { name, .. } | Op::Node { name, .. } | Op::ChangeOwner { name, .. } => {
            text(arena, name)
        }
        Op::Link { name, target, .. } => text(arena, name) && text(arena, target),
        Op::SendDescriptor { payload, .. } => text(arena, payload),
        Op::InstallFilter { program, .. } => bytes(arena, program) && program.length > 0 && program.length % 8 == 0,
        Op::SetCapabilities => arena.capabilities.is_some(),
        Op::FindExecutable(candidates) => list(arena, candidates) && candidates.count > 0,
        Op::FindDirectory { candidates, names } => {
            list(arena, candidates) && list(arena, names) && candidates.count > 0 && candidates.count == names.count
        }
        Op::Reaper { locks, .. } => list(arena, locks),
        Op::SpawnHook { hook, .. } => (hook as usize) < arena.hooks.len(),
        Op::Execute { candidates, arguments, environment } => {
            list(arena, candidates) && list(arena, arguments) && list(arena, environment) && arguments.count > 0
        }
        _ => true,
    }
}
