//! Paths that are hidden or protected, and the working directory.

use super::mounts::{ensure, in_root};
use super::story::Story;
use crate::error::Result;
use crate::intent::NamespaceKind;
use crate::plan::Operation;
use crate::plan::operation::Missing;

fn has_mounts(story: &Story<'_>) -> bool {
    story.request.intent.namespace(NamespaceKind::Mount).is_some()
}

/// Child: a missing working directory is made, before the root may become read-only.
pub fn working_directory(story: &mut Story<'_>) -> Result<()> {
    let Some(process) = &story.request.intent.process else { return Ok(()) };
    if process.cwd != "/" && story.request.intent.sandbox.is_none() {
        ensure(story, &process.cwd, Missing::Directory, false, &process.origin.child("cwd"));
    }
    Ok(())
}

/// Child: read-only paths.
pub fn readonly_paths(story: &mut Story<'_>) -> Result<()> {
    if !has_mounts(story) {
        return Ok(());
    }
    for path in &story.request.intent.readonly_paths {
        let (root, text) = (story.root, in_root(story, &path.value));
        story.step(Operation::ReadOnly { root, path: text }, &path.origin);
    }
    Ok(())
}

/// Child: masked paths.
pub fn masked_paths(story: &mut Story<'_>) -> Result<()> {
    let paths = &story.request.intent.masked_paths;
    if paths.is_empty() || !has_mounts(story) {
        return Ok(());
    }
    let (null, empty) = (story.slot(), story.slot());
    story.own(Operation::NullSource(null));
    for path in paths {
        let (root, text) = (story.root, in_root(story, &path.value));
        story.step(Operation::Hide { root, path: text, null, empty }, &path.origin);
    }
    Ok(())
}
