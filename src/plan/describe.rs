//! What an operation does, in words with its own bytes: one line each, the same in `explain`, errors and traces.

use super::arena::{Arena, Parameter, Range};
use super::operation::Missing;
use super::{Open, Operation as Op, ParentStep, Plan};

/// The line of one operation.
pub fn operation(plan: &Plan, operation: Op) -> String {
    let arena = &plan.arena;
    let show = |text| arena.show(text);
    match operation {
        Op::ReleaseImage => "let go of kiste's own executable".into(),
        Op::SignalMask(_) => "unblock all signals".into(),
        Op::DefaultSignal(signal) => format!("default action for signal {signal}"),
        Op::ParentDeathSignal(signal) => format!("signal {signal} when the runtime ends"),
        Op::NonDumpable => "not dumpable: nobody traces this process".into(),
        Op::CloseOnExec(from) => format!("descriptors from {from} on close at execve"),
        Op::JoinCgroup(_) => "move into the cgroup hierarchy".into(),
        Op::Umask(mask) => format!("umask {mask:04o}"),
        Op::Wait(barrier) => format!("wait for the runtime: {}", barrier.name()),
        Op::BecomeRoot { groups } => {
            format!("root of the user namespace{}", if groups { ", no groups" } else { "" })
        }
        Op::Join { flags, .. } => format!("join namespaces {}", namespaces(flags)),
        Op::Unshare(flags) => format!("new namespaces {}", namespaces(flags)),
        Op::TimeNamespace(_) => "new time namespace with its offsets".into(),
        Op::HostName(name) => format!("host name {:?}", String::from_utf8_lossy(arena.get(name))),
        Op::DomainName(name) => format!("domain name {:?}", String::from_utf8_lossy(arena.get(name))),
        Op::InterfaceUp(name) => format!("interface {} up", show(name)),
        Op::Keyring(name) => format!("session keyring {}", show(name)),
        Op::PrivateProc(_) => "a procfs of our own (else the host's, checked)".into(),
        Op::WriteProc { path, value, .. } => {
            format!("write {:?} to /proc/{}", String::from_utf8_lossy(arena.get(value)), show(path))
        }
        Op::NewSession => "new session".into(),
        Op::OwnPipes(uid) => format!("pipes on 0, 1, 2 belong to user {uid}"),
        Op::OpenTerminal { .. } => "open a terminal in the container's devpts".into(),
        Op::SendDescriptor { .. } => "send the terminal's master".into(),
        Op::BindConsole { .. } => "bind the terminal at /dev/console".into(),
        Op::AdoptTerminal { uid, .. } => format!("the terminal on 0, 1, 2, owned by user {uid}"),
        Op::Personality(persona) => format!("personality {persona:#x}"),
        Op::Rlimit { resource, soft, hard } => format!("resource limit {resource}: {soft} {hard}"),
        Op::Scheduler(_) => "scheduling policy".into(),
        Op::IoPriority(value) => format!("i/o priority {value:#x}"),
        other => file_operation(arena, other),
    }
}

fn file_operation(arena: &Arena, operation: Op) -> String {
    let show = |text| arena.show(text);
    let below = |recursive: bool| if recursive { " with all below" } else { "" };
    match operation {
        Op::NamespacePropagation(kind) => format!("all mounts {}", propagation(kind)),
        Op::OpenTree { path, recursive, .. } => format!("tree of {}{}", show(path), below(recursive)),
        Op::OpenTreeLate { path, recursive, .. } => format!("tree of {} in the root{}", show(path), below(recursive)),
        Op::Filesystem { fstype, parameters, attributes, .. } => {
            format!("new {}{}{}", show(fstype), options(arena, parameters), attribute_words(attributes as u64, 0))
        }
        Op::SetAttributes { attributes, recursive, .. } => {
            format!("set{}{}", attributes_at(arena, attributes), below(recursive))
        }
        Op::OverlayStore => "a tmpfs for the copy-on-write layers".into(),
        Op::EnterRoot { at, .. } if show(at) == "/" => "attach the root and enter it".into(),
        Op::EnterRoot { at, .. } => format!("attach the root at {} for the hooks and enter it", show(at)),
        Op::OpenRoot { path, .. } => format!("open {}", show(path)),
        Op::Ensure { path, missing, .. } => format!("find {} ({})", in_container(&show(path)), missing_words(missing)),
        Op::Attach { .. } => "attach".into(),
        Op::BindByMount { source, .. } => format!("bind {} by mount(2)", show(source)),
        Op::CopyUp { .. } => "copy up what the image has there".into(),
        Op::InheritMode { .. } => "take over the mode of the mount point".into(),
        Op::Directory { name, .. } => format!("make directory {}", show(name)),
        Op::Node { name, mode, device, .. } => format!(
            "make {} {} {}:{} mode {:04o}",
            if mode & libc::S_IFMT == libc::S_IFBLK { "block device" } else { "device" },
            show(name),
            libc::major(device as u64),
            libc::minor(device as u64),
            mode & 0o7777
        ),
        Op::ChangeOwner { name, uid, gid, .. } => format!("{} belongs to {uid}:{gid}", show(name)),
        Op::VerifyDevice { device, .. } => {
            format!("it must be device {}:{}", libc::major(device as u64), libc::minor(device as u64))
        }
        Op::Link { name, target, .. } => format!("link {} → {}", show(name), show(target)),
        Op::Remount { path, attributes, .. } => {
            format!("change {}:{}", in_container(&show(path)), attributes_at(arena, attributes))
        }
        Op::NullSource(_) => "the host's /dev/null, checked, as cover".into(),
        Op::Hide { path, .. } => {
            format!("hide {} (directory → empty, file → /dev/null, missing → skip)", in_container(&show(path)))
        }
        Op::ReadOnly { path, .. } => format!("{} read-only (missing → skip)", in_container(&show(path))),
        Op::RootAttributes { attributes, .. } => format!("the root:{}", attributes_at(arena, attributes)),
        Op::PivotRoot(_) => "pivot_root, detach the host's root".into(),
        Op::MoveRoot(_) => "chroot into the attached root".into(),
        Op::Chroot(_) => "chroot into the root".into(),
        other => payload_operation(arena, other),
    }
}

fn payload_operation(arena: &Arena, operation: Op) -> String {
    let list = |range| arena.texts(range).iter().map(|text| arena.show(*text)).collect::<Vec<_>>();
    match operation {
        Op::NoNewPrivileges => "no new privileges".into(),
        Op::InstallFilter { program, .. } => format!("seccomp filter of {} instructions", program.length / 8),
        Op::DropBounding { keep, .. } => format!("bounding set {}", capability_words(keep)),
        Op::KeepCapabilities => "keep capabilities over the change of ids".into(),
        Op::SetGroups => format!("groups {:?}", arena.groups),
        Op::SetIds { uid, gid } => format!("user {uid}, group {gid}"),
        Op::SetCapabilities => {
            let sets = arena.capabilities.unwrap_or_default();
            format!(
                "capabilities: effective {}, permitted {}, inheritable {}",
                capability_words(sets.effective),
                capability_words(sets.permitted),
                capability_words(sets.inheritable)
            )
        }
        Op::Ambient(mask) => format!("ambient set {}", capability_words(mask)),
        Op::ChangeDirectory { path } => format!("change to {}", arena.show(path)),
        Op::CheckDirectory => "the working directory lies in the root".into(),
        Op::FindHome(uid) => format!("HOME of user {uid} from /etc/passwd (missing → /)"),
        Op::FindExecutable(candidates) => format!("find one of {}", list(candidates).join(" ")),
        Op::CloseAll { from, .. } => format!("close everything from {from} on"),
        Op::Ready => "tell the runtime: ready".into(),
        Op::WaitGate { .. } => "wait for `start`".into(),
        Op::SpawnHook { hook, .. } => match arena.hooks.get(hook as usize) {
            Some(entry) => format!("run hook {}", arena.show(entry.path)),
            None => "run hook".into(),
        },
        Op::Execute { arguments, .. } => format!("execve {:?}", list(arguments)),
        _ => String::new(),
    }
}

/// What the parent opens.
pub fn open(what: &Open) -> String {
    match what {
        Open::Tree { path, recursive, .. } => {
            format!("tree of {}{}", path.display(), if *recursive { " with all below" } else { "" })
        }
        Open::Namespace { path, flag, .. } => format!("namespace {} ({})", path.display(), namespaces(*flag)),
        Open::Connect { path, .. } => format!("connect to {}", path.display()),
        Open::Given { name, .. } => (*name).to_owned(),
        Open::StateFile { .. } => "a memory file for the hooks' state".into(),
    }
}

/// What the parent does at a barrier.
pub fn parent_step(step: &ParentStep) -> String {
    let maps = |maps: &[(u32, u32, u32)]| {
        maps.iter().map(|(inside, outside, size)| format!("{inside} {outside} {size}")).collect::<Vec<_>>().join(", ")
    };
    match step {
        ParentStep::WriteIdMaps { users, groups, helpers, .. } => format!(
            "id maps{}: users {}; groups {}",
            if *helpers { " by newuidmap, newgidmap" } else { "" },
            maps(users),
            maps(groups)
        ),
        ParentStep::Idmap { users, .. } if users.is_empty() => {
            "idmap the tree by the container's user namespace".into()
        }
        ParentStep::Idmap { users, groups, .. } => format!("idmap the tree: {}; {}", maps(users), maps(groups)),
        ParentStep::Rlimit { resource, soft, hard } => format!("raise resource limit {resource}: {soft} {hard}"),
        ParentStep::SystemdScope(request) => {
            request.steps().into_iter().map(|step| step.text).collect::<Vec<_>>().join("; ")
        }
        ParentStep::WriteState(_) => "write the state for the hooks".into(),
        ParentStep::RunHooks { list, count } => format!("run {count} {list} hooks"),
    }
}

/// `user mnt pid`.
pub fn namespaces(flags: u64) -> String {
    const NAMES: &[(u64, &str)] = &[
        (0x1000_0000, "user"),
        (0x0002_0000, "mnt"),
        (0x2000_0000, "pid"),
        (0x4000_0000, "net"),
        (0x0800_0000, "ipc"),
        (0x0400_0000, "uts"),
        (0x0200_0000, "cgroup"),
        (0x80, "time"),
    ];
    NAMES.iter().filter(|name| flags & name.0 != 0).map(|name| name.1).collect::<Vec<_>>().join(" ")
}

fn in_container(path: &str) -> String {
    if path == "." { "/".to_owned() } else { format!("/{path}") }
}

fn missing_words(missing: Missing) -> &'static str {
    match missing {
        Missing::Directory => "missing → directory",
        Missing::File => "missing → file",
        Missing::Like(_) => "missing → file or directory as the source",
    }
}

fn propagation(kind: u64) -> &'static str {
    match kind {
        kind if kind == libc::MS_SHARED => "shared",
        kind if kind == libc::MS_SLAVE => "slave",
        kind if kind == libc::MS_PRIVATE => "private",
        _ => "unbindable",
    }
}

fn options(arena: &Arena, parameters: Range) -> String {
    arena
        .parameters(parameters)
        .iter()
        .map(|parameter| match parameter {
            Parameter::Flag(key) => format!(" {}", arena.show(*key)),
            Parameter::Value(key, value) => format!(" {}={}", arena.show(*key), arena.show(*value)),
        })
        .collect()
}

fn attributes_at(arena: &Arena, index: u16) -> String {
    let Some(attributes) = arena.attributes.get(index as usize) else { return String::new() };
    let mut text = attribute_words(attributes.attr_set, attributes.attr_clr);
    if attributes.propagation != 0 {
        text.push(' ');
        text.push_str(propagation(attributes.propagation));
    }
    text
}

fn attribute_words(set: u64, clear: u64) -> String {
    const WORDS: &[(u64, &str, &str)] = &[
        (0x1, "ro", "rw"),
        (0x2, "nosuid", "suid"),
        (0x4, "nodev", "dev"),
        (0x8, "noexec", "exec"),
        (0x10, "noatime", ""),
        (0x20, "strictatime", ""),
        (0x80, "nodiratime", "diratime"),
        (0x0010_0000, "idmap", ""),
        (0x0020_0000, "nosymfollow", "symfollow"),
    ];
    let mut text = String::new();
    for (bit, on, off) in WORDS {
        let word = if set & bit != 0 {
            on
        } else if clear & bit != 0 {
            off
        } else {
            &""
        };
        if !word.is_empty() {
            text.push(' ');
            text.push_str(word);
        }
    }
    text
}

fn capability_words(mask: u64) -> String {
    let names: Vec<String> = caps::all()
        .into_iter()
        .filter(|capability| mask & capability.bitmask() != 0)
        .map(|capability| capability.to_string())
        .collect();
    let mut names = names;
    names.sort();
    if names.is_empty() { "none".into() } else { names.join(" ") }
}
