//! Terminal and session.

use super::story::{Console, OWN, REPORT, Story};
use crate::error::{Error, Origin, Result};
use crate::plan::{Open, Operation};

fn wants_terminal(story: &Story<'_>) -> bool {
    story.request.intent.process.as_ref().is_some_and(|process| process.terminal)
}

/// Parent: connects to the console socket, before anything is made.
pub fn open_console(story: &mut Story<'_>) -> Result<()> {
    let origin = Origin::fixed("/process/terminal");
    match (wants_terminal(story), story.request.console.clone()) {
        (true, Console::None) => Err(Error::input("a terminal is wanted and nobody takes its other end")
            .at(&origin)
            .hint("use --console-socket")),
        (false, Console::Socket(_)) => {
            Err(Error::input("--console-socket is given and no terminal is wanted").at(&origin))
        }
        (true, Console::Socket(path)) => {
            let into = story.slot();
            story.open(Open::Connect { path, into }, &origin);
            story.console = Some(into);
            Ok(())
        }
        (true, Console::Foreground(_)) => {
            story.console = Some(REPORT);
            Ok(())
        }
        (false, _) => Ok(()),
    }
}

/// Child: the pty of the container's own devpts, sent away and bound at /dev/console.
pub fn terminal(story: &mut Story<'_>) -> Result<()> {
    let console = !super::devices::is_bound(story);
    open_terminal(story, console)
}

/// Child of `exec`: a further pty; /dev/console stays the first process's.
pub fn exec_terminal(story: &mut Story<'_>) -> Result<()> {
    open_terminal(story, false)
}

fn open_terminal(story: &mut Story<'_>, console: bool) -> Result<()> {
    let (Some(socket), Some(process)) = (story.console, &story.request.intent.process) else { return Ok(()) };
    let origin = process.origin.child("terminal");
    // Set before the payload runs: later it would be told of a change by a signal it doesn't expect.
    let (rows, columns) = match &story.request.console {
        Console::Foreground(Some(size)) => *size,
        _ => process.console_size.unwrap_or((0, 0)),
    };
    let (root, master, peer) = (story.root, story.slot(), story.slot());
    story.step(Operation::OpenTerminal { root, rows, columns, master, peer }, &origin);
    if console {
        story.step(Operation::BindConsole { root, peer }, &origin);
    }
    // The payload of the message is the name the peers give it (runc's docs/terminals.md).
    let payload = story.plan.arena.text("/dev/ptmx");
    story.step(Operation::SendDescriptor { socket, descriptor: master, payload }, &origin);
    story.terminal = Some(peer);
    Ok(())
}

/// Child: a session of its own, the terminal on 0, 1, 2.
pub fn session(story: &mut Story<'_>) -> Result<()> {
    let Some(process) = &story.request.intent.process else { return Ok(()) };
    story.plan.keeps_session = story.request.intent.sandbox.as_ref().is_some_and(|sandbox| sandbox.keeps_session);
    if !story.plan.keeps_session {
        story.own(Operation::NewSession);
    }
    let uid = process.user.uid;
    if let Some(peer) = story.terminal {
        story.step(Operation::AdoptTerminal { peer, uid }, &process.origin.child("terminal"));
    } else if uid != 0 && story.request.intent.sandbox.is_none() {
        story.step(Operation::OwnPipes(uid), &OWN);
    }
    Ok(())
}
