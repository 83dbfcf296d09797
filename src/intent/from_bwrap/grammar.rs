//! The words of bwrap(1), one line each, in the manual's order: name, values, help, effect.

use super::{Bwrap, Descriptors, File, FileKind};
use crate::error::{Error, Origin, Result};

/// One option.
pub struct Row {
    /// With its dashes.
    pub name: &'static str,
    /// Names of its values.
    pub values: &'static [&'static str],
    /// One line of help.
    pub help: &'static str,
    effect: fn(&mut State, &Values) -> Result<()>,
}

/// The values of one option, and its place.
struct Values<'a> {
    name: &'static str,
    values: &'a [String],
    descriptors: Descriptors,
}

/// What has been understood so far, and what waits for the next option.
struct State {
    done: Bwrap,
    mode: Option<u32>,
    size: Option<u64>,
    layers: Vec<String>,
    seccomp: Option<&'static str>,
    share_net: bool,
    own: u64,
    number: usize,
}

const fn row(
    name: &'static str,
    values: &'static [&'static str],
    help: &'static str,
    effect: fn(&mut State, &Values) -> Result<()>,
) -> Row {
    Row { name, values, help, effect }
}

const PAIR: &[&str] = &["SRC", "DEST"];
const FD: &[&str] = &["FD"];
const FD_DEST: &[&str] = &["FD", "DEST"];
const DEST: &[&str] = &["DEST"];

/// All of them but `--args`, `--help`, `--version`, which are no part of a sandbox.
pub const OPTIONS: &[Row] = &[
    row("--argv0", &["VALUE"], "Run the command with this as argv[0]", |s, v| {
        v.text(0).map(|t| s.done.argv0 = Some(t))
    }),
    row("--level-prefix", &[], "Begin messages with their level, as <3>", |s, _| flag(&mut s.done.level_prefix)),
    row("--unshare-all", &[], "Make every namespace there is", |s, _| unshare_all(s)),
    row("--share-net", &[], "Keep the network namespace", |s, _| flag(&mut s.share_net)),
    row("--unshare-user", &[], "Make a user namespace", |s, _| flag(&mut s.done.unshare.user)),
    row("--unshare-user-try", &[], "Make a user namespace if that is possible", |s, _| {
        flag(&mut s.done.unshare.user_try)
    }),
    row("--unshare-ipc", &[], "Make an ipc namespace", |s, _| flag(&mut s.done.unshare.ipc)),
    row("--unshare-pid", &[], "Make a pid namespace", |s, _| flag(&mut s.done.unshare.pid)),
    row("--unshare-net", &[], "Make a network namespace with a loopback interface", |s, _| {
        flag(&mut s.done.unshare.net)
    }),
    row("--unshare-uts", &[], "Make a uts namespace", |s, _| flag(&mut s.done.unshare.uts)),
    row("--unshare-cgroup", &[], "Make a cgroup namespace", |s, _| flag(&mut s.done.unshare.cgroup)),
    row("--unshare-cgroup-try", &[], "Make a cgroup namespace if that is possible", |s, _| {
        flag(&mut s.done.unshare.cgroup_try)
    }),
    row("--userns", FD, "Enter this user namespace: refused, for now", refused),
    row("--userns2", FD, "Enter this user namespace after the set-up: refused, for now", refused),
    row("--disable-userns", &[], "Let nobody inside make user namespaces", |s, _| {
        flag(&mut s.done.disable_user_namespaces)
    }),
    row("--assert-userns-disabled", &[], "Fail if user namespaces can be made inside", |s, _| {
        flag(&mut s.done.assert_disabled)
    }),
    row("--pidns", FD, "Enter this pid namespace: refused, for now", refused),
    row("--uid", &["UID"], "User id inside", |s, v| v.id(0).map(|id| s.done.ids.0 = Some(id))),
    row("--gid", &["GID"], "Group id inside", |s, v| v.id(0).map(|id| s.done.ids.1 = Some(id))),
    row("--hostname", &["NAME"], "Host name inside", |s, v| v.text(0).map(|t| s.done.hostname = Some(t))),
    row("--chdir", &["DIR"], "Working directory inside", |s, v| v.path(0).map(|t| s.done.directory = Some(t))),
    row("--clearenv", &[], "Empty the environment but for PWD", |s, _| {
        s.done.environment.retain(|entry| entry.starts_with("PWD="));
        Ok(())
    }),
    row("--setenv", &["VAR", "VALUE"], "Set an environment variable", |s, v| {
        let (name, value) = (v.text(0)?, v.text(1)?);
        unset(s, &name);
        s.done.environment.push(format!("{name}={value}"));
        Ok(())
    }),
    row("--unsetenv", &["VAR"], "Unset an environment variable", |s, v| v.text(0).map(|name| unset(s, &name))),
    row("--lock-file", DEST, "Hold a lock on this file", |s, v| v.path(0).map(|t| s.done.lock_files.push(t))),
    row("--sync-fd", FD, "Keep this descriptor open", |s, v| v.descriptor(0).map(|fd| s.done.sync = Some(fd))),
    row("--bind", PAIR, "Show a host path", |s, v| bind(s, v, (false, false, false))),
    row("--bind-try", PAIR, "The same, skipped if it is missing", |s, v| bind(s, v, (false, false, true))),
    row("--dev-bind", PAIR, "Show a host path whose devices work", |s, v| bind(s, v, (false, true, false))),
    row("--dev-bind-try", PAIR, "The same, skipped if it is missing", |s, v| bind(s, v, (false, true, true))),
    row("--ro-bind", PAIR, "Show a host path read-only", |s, v| bind(s, v, (true, false, false))),
    row("--ro-bind-try", PAIR, "The same, skipped if it is missing", |s, v| bind(s, v, (true, false, true))),
    row("--bind-fd", FD_DEST, "Show what a descriptor names", |s, v| bind_descriptor(s, v, false)),
    row("--ro-bind-fd", FD_DEST, "The same read-only", |s, v| bind_descriptor(s, v, true)),
    row("--remount-ro", DEST, "Make a mount read-only", |s, v| file(s, v, 0, FileKind::RemountReadOnly)),
    row("--overlay-src", &["SRC"], "A layer of the overlay that follows: refused, for now", |s, v| {
        v.path(0).map(|layer| s.layers.push(layer))
    }),
    row(
        "--overlay",
        &["RWSRC", "WORKDIR", "DEST"],
        "Mount an overlay that is written to RWSRC: refused, for now",
        |s, v| {
            let kind = FileKind::Overlay { upper: v.path(0)?, work: v.path(1)? };
            file(s, v, 2, kind)
        },
    ),
    row("--tmp-overlay", DEST, "Mount an overlay whose changes are forgotten: refused, for now", |s, v| {
        file(s, v, 0, FileKind::TemporaryOverlay)
    }),
    row("--ro-overlay", DEST, "Mount an overlay read-only: refused, for now", |s, v| {
        file(s, v, 0, FileKind::ReadOnlyOverlay)
    }),
    row("--exec-label", &["LABEL"], "SELinux label of the command: refused, for now", label),
    row("--file-label", &["LABEL"], "SELinux label of what is made: refused, for now", label),
    row("--proc", DEST, "Mount a procfs", |s, v| file(s, v, 0, FileKind::Proc)),
    row("--dev", DEST, "Mount a small /dev", |s, v| file(s, v, 0, FileKind::Dev)),
    row("--tmpfs", DEST, "Mount a tmpfs", |s, v| file(s, v, 0, FileKind::Tmpfs)),
    row("--mqueue", DEST, "Mount the message queues", |s, v| file(s, v, 0, FileKind::Mqueue)),
    row("--dir", DEST, "Make a directory", |s, v| file(s, v, 0, FileKind::Directory)),
    row("--file", FD_DEST, "Make a file of what the descriptor gives", |s, v| {
        let kind = FileKind::Copy { descriptor: v.descriptor(0)? };
        file(s, v, 1, kind)
    }),
    row("--bind-data", FD_DEST, "Mount a file of what the descriptor gives", |s, v| {
        let kind = FileKind::Data { descriptor: v.descriptor(0)?, read_only: false };
        file(s, v, 1, kind)
    }),
    row("--ro-bind-data", FD_DEST, "The same read-only", |s, v| {
        let kind = FileKind::Data { descriptor: v.descriptor(0)?, read_only: true };
        file(s, v, 1, kind)
    }),
    row("--symlink", PAIR, "Make a symbolic link at DEST to SRC", |s, v| {
        let kind = FileKind::Link { target: v.text(0)? };
        file(s, v, 1, kind)
    }),
    row("--seccomp", FD, "Install the program that the descriptor gives", |s, v| seccomp(s, v, true)),
    row("--add-seccomp-fd", FD, "The same, repeatable", |s, v| seccomp(s, v, false)),
    row("--block-fd", FD, "Wait until this descriptor gives something", |s, v| {
        v.descriptor(0).map(|fd| s.done.block = Some(fd))
    }),
    row("--userns-block-fd", FD, "Wait until the user namespace's maps are written: refused, for now", refused),
    row("--info-fd", FD, "Tell about the sandbox in JSON", |s, v| v.descriptor(0).map(|fd| s.done.info = Some(fd))),
    row("--json-status-fd", FD, "Tell of start and end in JSON documents", |s, v| {
        v.descriptor(0).map(|fd| s.done.status = Some(fd))
    }),
    row("--new-session", &[], "Start a new session", |s, _| flag(&mut s.done.new_session)),
    row("--die-with-parent", &[], "End when the caller ends", |s, _| flag(&mut s.done.die_with_parent)),
    row("--as-pid-1", &[], "Be the first process oneself", |s, _| flag(&mut s.done.as_pid_1)),
    row("--cap-add", &["CAP"], "Keep a capability", |s, v| capability(s, v, true)),
    row("--cap-drop", &["CAP"], "Give up a capability", |s, v| capability(s, v, false)),
    row("--perms", &["OCTAL"], "Permissions of what the next option makes", |s, v| {
        v.octal(0).map(|mode| s.mode = Some(mode))
    }),
    row("--size", &["BYTES"], "Size of the tmpfs that follows", |s, v| v.size(0).map(|size| s.size = Some(size))),
    row("--chmod", &["OCTAL", "PATH"], "Change permissions", |s, v| {
        let kind = FileKind::Mode { bits: v.octal(0)? };
        file(s, v, 1, kind)
    }),
    // What bubblewrap would pass over here, a mount below a tree that can't be changed, can't fail alone: mount_setattr(2)
    // changes a whole tree or nothing.
    row(
        "--not-a-security-boundary",
        &[],
        "Accepted: no step that may be passed over is made one by one here",
        |_, _| Ok(()),
    ),
];

impl Values<'_> {
    fn origin(&self) -> Origin {
        Origin::fixed(self.name)
    }

    fn text(&self, index: usize) -> Result<String> {
        Ok(self.values.get(index).cloned().unwrap_or_default())
    }

    fn path(&self, index: usize) -> Result<String> {
        let path = self.text(index)?;
        if path.is_empty() {
            Err(Error::input(format!("{} does not take an empty path argument", self.name)))
        } else {
            Ok(path)
        }
    }

    fn number<T: std::str::FromStr>(&self, index: usize, what: &str) -> Result<T> {
        let text = self.text(index)?;
        // Digits only: "+7" and " 7" are numbers for Rust.
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits);
        number.ok_or_else(|| Error::input(format!("Invalid {what}: {text}")).at(&self.origin()))
    }

    fn descriptor(&self, index: usize) -> Result<i32> {
        let number = self.number::<i32>(index, "fd")?;
        if (self.descriptors.is_open)(number) {
            return Ok(number);
        }
        Err(Error::input(format!("Invalid fd: {number}")).call("fcntl", libc::EBADF))
    }

    fn id(&self, index: usize) -> Result<u32> {
        self.number::<u32>(index, if self.name == "--uid" { "uid" } else { "gid" })
            .and_then(|id| if id == u32::MAX { self.number::<u32>(9, "id") } else { Ok(id) })
    }

    fn octal(&self, index: usize) -> Result<u32> {
        let text = self.text(index)?;
        let digits = !text.is_empty() && text.bytes().all(|byte| (b'0'..b'8').contains(&byte));
        let bits = u32::from_str_radix(&text, 8).ok().filter(|bits| digits && *bits <= 0o7777);
        bits.ok_or_else(|| Error::input(format!("{} takes an octal argument <= 07777", self.name)))
    }

    fn size(&self, index: usize) -> Result<u64> {
        match self.number::<u64>(index, "size") {
            Ok(size @ 1..) => Ok(size),
            _ => Err(Error::input(format!("{} takes a non-zero number of bytes", self.name))),
        }
    }
}

fn flag(place: &mut bool) -> Result<()> {
    *place = true;
    Ok(())
}

fn unshare_all(state: &mut State) -> Result<()> {
    let unshare = &mut state.done.unshare;
    (unshare.user_try, unshare.ipc, unshare.pid, unshare.net, unshare.uts, unshare.cgroup_try) =
        (true, true, true, true, true, true);
    Ok(())
}

/// What is known and not done yet is never ignored.
fn refused(_: &mut State, values: &Values) -> Result<()> {
    Err(Error::input(format!("{} is not supported", values.name))
        .hint("kiste has not learned it yet: see kiste-bwrap(1)"))
}

fn label(_: &mut State, values: &Values) -> Result<()> {
    let error = Error::input("labeling not supported on this system");
    Err(error.hint(format!("kiste gives no SELinux labels to sandboxes: {} is refused", values.name)))
}

fn unset(state: &mut State, name: &str) {
    state.done.environment.retain(|entry| entry.split('=').next() != Some(name));
}

fn bind(state: &mut State, values: &Values, (read_only, devices, optional): (bool, bool, bool)) -> Result<()> {
    let kind = FileKind::Bind { source: values.path(0)?, read_only, devices, optional };
    file(state, values, 1, kind)
}

fn bind_descriptor(state: &mut State, values: &Values, read_only: bool) -> Result<()> {
    let kind = FileKind::BindDescriptor { descriptor: values.descriptor(0)?, read_only };
    file(state, values, 1, kind)
}

fn file(state: &mut State, values: &Values, destination: usize, kind: FileKind) -> Result<()> {
    let (mode, size, layers) = (state.mode.take(), state.size.take(), std::mem::take(&mut state.layers));
    let wrong = |what: &str| Err(Error::input(what).at(&values.origin()));
    let takes_mode =
        matches!(kind, FileKind::Tmpfs | FileKind::Directory | FileKind::Copy { .. } | FileKind::Data { .. });
    if mode.is_some() && !takes_mode {
        return wrong("--perms must be followed by an option that creates a file");
    }
    if size.is_some() && kind != FileKind::Tmpfs {
        return wrong("--size must be followed by --tmpfs");
    }
    match (&kind, layers.len()) {
        (FileKind::ReadOnlyOverlay, 0 | 1) => return wrong("--ro-overlay requires at least two --overlay-src"),
        (FileKind::Overlay { .. } | FileKind::TemporaryOverlay, 0) => {
            return wrong(&format!("{} requires at least one --overlay-src", values.name));
        }
        (FileKind::ReadOnlyOverlay | FileKind::Overlay { .. } | FileKind::TemporaryOverlay, _) | (_, 0) => {}
        _ => {
            return wrong(
                "--overlay-src must be followed by another --overlay-src or one of --overlay, --tmp-overlay, or --ro-overlay",
            );
        }
    }
    let destination = values.path(destination)?;
    let origin = Origin::found(format!("argument {} ({})", state.number, values.name));
    state.done.files.push(File { kind, destination, mode, size, layers, origin });
    Ok(())
}

fn seccomp(state: &mut State, values: &Values, single: bool) -> Result<()> {
    let descriptor = values.descriptor(0)?;
    if state.seccomp.is_some_and(|other| other != values.name) {
        return Err(Error::input("--seccomp cannot be combined with --add-seccomp-fd").at(&values.origin()));
    }
    state.seccomp = Some(values.name);
    if single {
        state.done.seccomp.clear();
    }
    state.done.seccomp.push(descriptor);
    Ok(())
}

/// `ALL`, or a name with or without `CAP_`.
fn capability(state: &mut State, values: &Values, add: bool) -> Result<()> {
    let name = values.text(0)?;
    let upper = name.to_uppercase();
    let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    let mask = match full.as_str() {
        "CAP_ALL" if state.own == 0 => caps::all().iter().fold(0, |mask, capability| mask | capability.bitmask()),
        "CAP_ALL" if add => state.own,
        "CAP_ALL" => u64::MAX,
        other => other
            .parse::<caps::Capability>()
            .map(|capability| capability.bitmask())
            .map_err(|_| Error::input(format!("unknown cap: {name}")).at(&values.origin()))?,
    };
    state.done.chosen_capabilities = true;
    let before = state.done.capabilities;
    state.done.capabilities = if add { before | mask } else { before & !mask };
    Ok(())
}

/// Understands a command line without its first word. `environment` is the caller's, `capabilities` what the payload keeps
/// where no option says otherwise.
///
/// # Errors
/// An unknown option, a missing or wrong value; bwrap's words.
pub fn parse(words: &[String], environment: Vec<String>, capabilities: u64, descriptors: Descriptors) -> Result<Bwrap> {
    let done = Bwrap { environment, capabilities, ..Bwrap::default() };
    let (size, mode, layers) = (None, None, Vec::new());
    let mut state = State { done, mode, size, layers, seccomp: None, share_net: false, own: capabilities, number: 0 };
    options(&mut state, words, descriptors, true)?;
    if !state.layers.is_empty() {
        return Err(Error::input(
            "--overlay-src must be followed by another --overlay-src or one of --overlay, --tmp-overlay, or --ro-overlay",
        ));
    }
    if state.share_net {
        state.done.unshare.net = false;
    }
    Ok(state.done)
}

/// How often `--args` may lead to another.
const MOST_ARGUMENTS: usize = 9000;

/// Options up to the command, which only the command line itself may have: those of `--args` are options throughout.
fn options(state: &mut State, words: &[String], descriptors: Descriptors, outermost: bool) -> Result<()> {
    let mut rest = words;
    while let Some((word, after)) = rest.split_first() {
        state.number += 1;
        if state.number > MOST_ARGUMENTS {
            return Err(Error::input(format!("Exceeded maximum number of arguments {MOST_ARGUMENTS}")));
        }
        if word == "--" && outermost {
            state.done.command = after.to_vec();
            return Ok(());
        }
        if !word.starts_with('-') || word == "-" {
            if outermost {
                state.done.command = rest.to_vec();
            }
            return Ok(());
        }
        if word == "--args" {
            let (values, after) = take(word, 1, after)?;
            let descriptor = Values { name: "--args", values, descriptors }.descriptor(0)?;
            state.done.arguments.push(descriptor);
            options(state, &arguments(descriptor, descriptors)?, descriptors, false)?;
            rest = after;
            continue;
        }
        let Some(row) = OPTIONS.iter().find(|row| row.name == word) else {
            return Err(Error::input(format!("Unknown option {word}")));
        };
        let (values, after) = take(word, row.values.len(), after)?;
        (row.effect)(state, &Values { name: row.name, values, descriptors })?;
        rest = after;
    }
    Ok(())
}

fn take<'a>(name: &str, count: usize, words: &'a [String]) -> Result<(&'a [String], &'a [String])> {
    words.split_at_checked(count).ok_or_else(|| {
        let count = ["no arguments", "an argument", "two arguments", "three arguments"].get(count);
        Error::input(format!("{name} takes {}", count.unwrap_or(&"more arguments")))
    })
}

/// NUL-separated words of a descriptor, which is read to its end.
fn arguments(descriptor: i32, descriptors: Descriptors) -> Result<Vec<String>> {
    let bytes = (descriptors.read)(descriptor).map_err(|error| error.at(&Origin::fixed("--args")))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::input("the arguments are not UTF-8").at(&Origin::fixed("--args")))?;
    let text = text.strip_suffix('\0').unwrap_or(&text);
    Ok(if text.is_empty() { Vec::new() } else { text.split('\0').map(str::to_owned).collect() })
}
