//! What an operation does, in words with its own bytes: one line each, the same in `explain`, errors and traces.

use super::arena::{Arena, Parameter, Range};
use super::operation::Missing;
use super::{Open, Operation as Op, ParentStep, Plan, Slot};

/// The line of one operation: what is done, so that "cannot" in front of it makes the sentence of its failure.
pub fn operation(plan: &Plan, operation: Op) -> String {
    let arena = &plan.arena;
    let show = |text| arena.show(text);
    let quoted = |bytes| format!("{:?}", String::from_utf8_lossy(arena.get(bytes)));
    match operation {
        Op::ReleaseImage => "let go of kiste's own executable".into(),
        Op::SignalMask(_) => "unblock all signals".into(),
        Op::DefaultSignal(number) => format!("give {} its default action", signal(number)),
        Op::NonDumpable => "become non-dumpable: nobody may trace this process".into(),
        Op::CloseOnExec(from) => format!("mark descriptors from {from} on to be closed by execve"),
        Op::JoinCgroup(_) => "move into the next v1 control group".into(),
        Op::JoinResctrl(_) => "move into the next resctrl group".into(),
        Op::Umask(mask) => format!("set umask {mask:04o}"),
        Op::WaitForDevices => "wait until the runtime has attached the device program".into(),
        Op::Wait(barrier) => format!("wait for the runtime: {}", barrier.name()),
        Op::BecomeRoot { groups } => {
            format!("become root of the user namespace{}", if groups { ", without groups" } else { "" })
        }
        Op::Join { flags, .. } => format!("join {}", counted(flags)),
        Op::Unshare(flags) => format!("make a new {}", counted(flags)),
        Op::TimeNamespace(offsets) => {
            let offsets = String::from_utf8_lossy(arena.get(offsets)).trim_end().replace('\n', ", ");
            format!("make a new time namespace{}{offsets} and join it", if offsets.is_empty() { "" } else { ": " })
        }
        Op::HostName(name) => format!("set host name {}", quoted(name)),
        Op::DomainName(name) => format!("set domain name {}", quoted(name)),
        Op::InterfaceUp(name) => format!("bring network interface {} up", show(name)),
        Op::Keyring(name) => format!("join a new session keyring {}", show(name)),
        Op::PrivateProc(_) => "make a procfs for the runtime's own use (refused → the host's, checked)".into(),
        Op::WriteProc { path, value, .. } => format!("write {} to /proc/{}", quoted(value), show(path)),
        Op::NewSession => "start a new session".into(),
        Op::OwnPipes(uid) => format!("give pipes on 0, 1, 2 to user {uid}"),
        Op::OpenTerminal { rows: 0, .. } => "open a terminal in the container's devpts".into(),
        Op::OpenTerminal { rows, columns, .. } => {
            format!("open a terminal of {rows} rows and {columns} columns in the container's devpts")
        }
        Op::SendDescriptor { socket, .. } if socket.0 == 0 => "send the terminal's master to the runtime".into(),
        Op::SendDescriptor { .. } => "send the terminal's master to the console socket".into(),
        Op::BindConsole { .. } => "bind the terminal at /dev/console".into(),
        Op::AdoptTerminal { uid, .. } => format!("put the terminal on 0, 1, 2 and give it to user {uid}"),
        Op::Personality(persona) => format!("set personality {persona:#x}"),
        Op::Rlimit { resource, soft, hard } => format!("set {}", limit(resource, soft, hard)),
        Op::Scheduler(attributes) => format!("set the scheduling policy {}", policy(arena.get(attributes))),
        Op::Affinity(mask) => format!("run on processors {}", numbers(arena.get(mask))),
        Op::MemoryPolicy { mode, nodes } => memory_policy(mode, arena.get(nodes)),
        Op::IoPriority(value) => format!("set i/o priority class {} level {}", value >> 13, value & 0x1fff),
        other => file_operation(plan, other),
    }
}

fn file_operation(plan: &Plan, operation: Op) -> String {
    let arena = &plan.arena;
    let show = |text| arena.show(text);
    match operation {
        Op::NamespacePropagation(kind) => format!("make all mounts of the namespace {}", propagation(kind)),
        Op::OpenTree { path, recursive, .. } => format!("clone {}{}", show(path), below(recursive)),
        Op::OpenTreeLate { path, recursive, .. } => {
            format!("clone the container's {}{}", in_container(&show(path)), below(recursive))
        }
        Op::Filesystem { fstype, parameters, attributes, .. } => {
            format!(
                "make a new {}{}{}",
                show(fstype),
                options(arena, parameters),
                attribute_words(attributes as u64, 0)
            )
        }
        Op::SetAttributes { tree, attributes, recursive } => {
            format!("make {}{}:{}", source(plan, tree), below(recursive), attributes_at(arena, attributes))
        }
        Op::OverlayStore => "mount a private tmpfs over /tmp for the copy-on-write layers".into(),
        Op::EnterRoot { tree, at, .. } if show(at) == "/" => format!("attach {} as root", source(plan, tree)),
        Op::EnterRoot { tree, at, .. } => format!("attach {} as root, at {}", source(plan, tree), show(at)),
        Op::OpenRoot { path, .. } => format!("open {}", show(path)),
        Op::Ensure { path, missing, .. } => format!("find {} ({})", in_container(&show(path)), missing_words(missing)),
        Op::Attach { tree, target } => format!("attach {} at {}", source(plan, tree), mount_point(plan, target)),
        Op::TellMount(tree) => format!("tell the runtime the id of {}", source(plan, tree)),
        Op::FindMount { path, id, .. } => {
            format!("find {} and check that mount {id} is there", in_container(&show(path)))
        }
        Op::Detach { mount, .. } => format!("detach {}", mount_point(plan, mount)),
        Op::BindByMount { source, target } => {
            format!("bind {} at {} by mount(2)", show(source), mount_point(plan, target))
        }
        Op::CopyUp { from, .. } => format!("copy what the image has in {} into the new tmpfs", mount_point(plan, from)),
        Op::InheritMode { from, .. } => {
            format!("give the new tmpfs the mode of the image's {}, if it was there", mount_point(plan, from))
        }
        Op::Directory { name, .. } => format!("make directory {}", show(name)),
        Op::Node { at, name, mode, device } => node(plan, at, &show(name), mode, device),
        Op::ChangeOwner { at, name, uid, gid } => format!("give {} to {uid}:{gid}", inside(plan, at, &show(name))),
        Op::VerifyDevice { tree, device, .. } => {
            let (major, minor) = (libc::major(device as u64), libc::minor(device as u64));
            format!("check that {} is device {major}:{minor}", source(plan, tree))
        }
        Op::Link { at, name, target, .. } => format!("link {} → {}", inside(plan, at, &show(name)), show(target)),
        Op::Remount { path, attributes, recursive, .. } => {
            format!("change {}{}:{}", in_container(&show(path)), below(recursive), attributes_at(arena, attributes))
        }
        Op::File { at, name, mode, bytes } => {
            format!("make file {} of {} bytes, mode {mode:04o}", inside(plan, at, &show(name)), bytes.length)
        }
        Op::Unlink { at, name } => format!("remove the name {}", inside(plan, at, &show(name))),
        Op::Mode { path, mode, .. } => format!("give {} the mode {mode:04o}", in_container(&show(path))),
        Op::NullSource(_) => "clone /dev/null and check that it is the null device, to hide files with it".into(),
        Op::Hide { path, .. } => {
            format!("hide {} (directory → empty, file → /dev/null, missing → skip)", in_container(&show(path)))
        }
        Op::ReadOnly { path, .. } => format!("make {} read-only (missing → skip)", in_container(&show(path))),
        Op::RootAttributes { attributes, recursive, .. } => {
            format!("make the root{}:{}", below(recursive), attributes_at(arena, attributes))
        }
        Op::PivotRoot(_) => "change the root by pivot_root and detach the host's".into(),
        Op::MoveRoot(_) => "change the root by chroot".into(),
        Op::Chroot(_) => "chroot into the root".into(),
        other => payload_operation(arena, other),
    }
}

fn payload_operation(arena: &Arena, operation: Op) -> String {
    let list = |range| arena.texts(range).iter().map(|text| arena.show(*text)).collect::<Vec<_>>();
    match operation {
        Op::NoNewPrivileges => "forbid new privileges by execve".into(),
        Op::InstallFilter { program, listener, .. } => {
            let sent = if listener.is_some() { " and send its listener to the runtime" } else { "" };
            format!("install a seccomp filter of {} instructions{sent}", program.length / 8)
        }
        Op::DropBounding { keep, .. } => format!("leave in the bounding set {}", capability_words(keep)),
        Op::KeepCapabilities => "keep capabilities over the change of ids".into(),
        Op::SetGroups if arena.groups.is_empty() => "leave all additional groups".into(),
        Op::SetGroups => format!("set additional groups {:?}", arena.groups),
        Op::SetIds { uid, gid } => format!("become user {uid}, group {gid}"),
        Op::SetCapabilities => capabilities(arena),
        Op::Ambient(0) => "clear the ambient set".into(),
        Op::Ambient(mask) => format!("set the ambient set {}", capability_words(mask)),
        Op::DieWithParent => "be killed when the runtime ends".into(),
        Op::InnerUserNamespace { uid, gid, .. } => {
            format!("make an inner user namespace, whose user {uid}, group {gid} is root of the present one")
        }
        Op::Await(descriptor) => format!("wait until descriptor {descriptor} gives a byte"),
        Op::Reaper { sync, locks, .. } => {
            let held = if sync >= 0 { format!(", keep descriptor {sync} open") } else { String::new() };
            let locks = list(locks).iter().map(|path| format!(", lock {path}")).collect::<String>();
            format!("stay to reap all others{held}{locks}; a new process goes on")
        }
        Op::Landlock(_) => landlock(arena),
        Op::ChangeDirectory { path } => format!("change to {}", arena.show(path)),
        Op::FindDirectory { candidates, .. } => {
            format!("change to the first directory of {}", list(candidates).join(" "))
        }
        Op::CheckDirectory => "check that the working directory lies in the root".into(),
        Op::FindHome(uid) => format!("look up HOME of user {uid} in /etc/passwd (missing → /)"),
        Op::FindExecutable(candidates) => format!("find the first executable of {}", list(candidates).join(" ")),
        Op::CloseAll { from, .. } => format!("close all descriptors from {from} on but those still needed"),
        Op::Leave => "end: the work is done".into(),
        Op::Ready => "tell the runtime: ready".into(),
        Op::WaitGate { .. } => "wait for `start`".into(),
        Op::SpawnHook { hook, .. } => match arena.hooks.get(hook as usize) {
            Some(entry) => format!("run hook {}", arena.show(entry.path)),
            None => "run a hook".into(),
        },
        Op::Execute { arguments, .. } => format!("execute {:?}", list(arguments)),
        // Every other operation has its line above; `operations_have_a_line` in tests/plan_properties.rs sees to it.
        _ => String::new(),
    }
}

fn landlock(arena: &Arena) -> String {
    let Some(([files, network, scopes], allowed)) = &arena.landlock else { return String::new() };
    let allowed: Vec<String> =
        allowed.iter().map(|(path, access)| format!("{} {access:#x}", in_container(&arena.show(*path)))).collect();
    format!(
        "restrict by Landlock: files {files:#x} but {}; network {network:#x}; scopes {scopes:#x}",
        allowed.join(", ")
    )
}

fn capabilities(arena: &Arena) -> String {
    let sets = arena.capabilities.unwrap_or_default();
    let (effective, permitted) = (capability_words(sets.effective), capability_words(sets.permitted));
    let inheritable = capability_words(sets.inheritable);
    if effective == permitted && sets.inheritable == 0 {
        return format!("set capabilities {effective}");
    }
    format!("set capabilities: effective {effective}; permitted {permitted}; inheritable {inheritable}")
}

fn node(plan: &Plan, at: Slot, name: &str, mode: u32, device: u32) -> String {
    let path = inside(plan, at, name);
    let (major, minor, bits) = (libc::major(device as u64), libc::minor(device as u64), mode & 0o7777);
    match mode & libc::S_IFMT {
        libc::S_IFIFO => format!("make FIFO {path} mode {bits:04o}"),
        libc::S_IFBLK => format!("make block device {path} {major}:{minor} mode {bits:04o}"),
        _ => format!("make device {path} {major}:{minor} mode {bits:04o}"),
    }
}

/// What a slot holds, by the step or the opening that filled it first.
fn source(plan: &Plan, slot: Slot) -> String {
    let opened = plan.opens.iter().find(|(open, _)| open.into() == slot);
    if let Some((Open::Tree { path, .. }, _)) = opened {
        return path.display().to_string();
    }
    let arena = &plan.arena;
    let made = plan.child.iter().find_map(|step| match step.operation {
        Op::OpenTree { path, into, .. } if into == slot => Some(arena.show(path)),
        Op::OpenTreeLate { path, into, .. } if into == slot => {
            Some(format!("the container's {}", in_container(&arena.show(path))))
        }
        Op::Filesystem { fstype, into, .. } if into == slot => Some(format!("the {}", arena.show(fstype))),
        _ => None,
    });
    made.unwrap_or_else(|| "the tree".into())
}

/// The path in the container that a slot was found at.
pub(super) fn mount_point(plan: &Plan, slot: Slot) -> String {
    let found = plan.child.iter().find_map(|step| match step.operation {
        Op::Ensure { path, into, .. } | Op::FindMount { path, into, .. } if into == slot => {
            Some(in_container(&plan.arena.show(path)))
        }
        _ => None,
    });
    found.unwrap_or_else(|| "/".into())
}

fn inside(plan: &Plan, at: Slot, name: &str) -> String {
    match mount_point(plan, at).as_str() {
        "/" => format!("/{name}"),
        directory => format!("{directory}/{name}"),
    }
}

fn below(recursive: bool) -> &'static str {
    if recursive { " with all below" } else { "" }
}

fn signal(number: i32) -> String {
    nix::sys::signal::Signal::try_from(number).map_or_else(|_| format!("signal {number}"), |name| name.to_string())
}

/// `RLIMIT_NOFILE: soft 1024, hard unlimited`.
fn limit(resource: u32, soft: u64, hard: u64) -> String {
    // By their numbers on all architectures that kiste runs on (asm-generic/resource.h).
    const NAMES: [&str; 16] = [
        "CPU",
        "FSIZE",
        "DATA",
        "STACK",
        "CORE",
        "RSS",
        "NPROC",
        "NOFILE",
        "MEMLOCK",
        "AS",
        "LOCKS",
        "SIGPENDING",
        "MSGQUEUE",
        "NICE",
        "RTPRIO",
        "RTTIME",
    ];
    let name = NAMES.get(resource as usize).map_or_else(|| resource.to_string(), |name| format!("RLIMIT_{name}"));
    let value = |value: u64| if value == u64::MAX { "unlimited".to_owned() } else { value.to_string() };
    format!("{name}: soft {}, hard {}", value(soft), value(hard))
}

/// `SCHED_BATCH, nice 5`: the words of struct sched_attr (sched_setattr(2)) that are not zero.
fn policy(attributes: &[u8]) -> String {
    const NAMES: [&str; 7] = ["OTHER", "FIFO", "RR", "BATCH", "ISO", "IDLE", "DEADLINE"];
    let word = |index: usize| {
        let eight = attributes.get(index * 8..index * 8 + 8).and_then(|bytes| bytes.try_into().ok());
        eight.map_or(0, u64::from_le_bytes)
    };
    let policy = (word(0) >> 32) as usize;
    let mut text = NAMES.get(policy).map_or_else(|| policy.to_string(), |name| format!("SCHED_{name}"));
    let (nice, priority) = (word(2) as i32, word(2) >> 32);
    let rest =
        [("flags", word(1)), ("priority", priority), ("runtime", word(3)), ("deadline", word(4)), ("period", word(5))];
    if nice != 0 {
        text.push_str(&format!(", nice {nice}"));
    }
    for (name, value) in rest.into_iter().filter(|(_, value)| *value != 0) {
        text.push_str(&format!(", {name} {value}"));
    }
    text
}

/// `set memory policy MPOL_BIND, nodes 0-1`: the mode in the low bits (set_mempolicy(2)).
fn memory_policy(mode: u32, nodes: &[u8]) -> String {
    const MODES: [&str; 7] =
        ["DEFAULT", "PREFERRED", "BIND", "INTERLEAVE", "LOCAL", "PREFERRED_MANY", "WEIGHTED_INTERLEAVE"];
    const FLAGS: [(u32, &str); 3] = [(13, "NUMA_BALANCING"), (14, "RELATIVE_NODES"), (15, "STATIC_NODES")];
    let name = MODES.get((mode & 0x1fff) as usize).copied().unwrap_or("?");
    let mut text = format!("set memory policy MPOL_{name}");
    for (_, flag) in FLAGS.iter().filter(|(bit, _)| mode >> bit & 1 != 0) {
        text.push_str(&format!(" | MPOL_F_{flag}"));
    }
    if !nodes.is_empty() {
        text.push_str(&format!(", nodes {}", numbers(nodes)));
    }
    text
}

/// The numbers in a mask, as cpuset(7) lists them: `0-3,7`.
pub(super) fn numbers(mask: &[u8]) -> String {
    let is_set = |number: usize| mask.get(number / 8).is_some_and(|byte| byte >> (number % 8) & 1 != 0);
    let mut ranges = Vec::new();
    let mut number = 0;
    while number < mask.len() * 8 {
        let first = number;
        while is_set(number) {
            number += 1;
        }
        match number - first {
            0 => {}
            1 => ranges.push(first.to_string()),
            _ => ranges.push(format!("{first}-{}", number - 1)),
        }
        number += 1;
    }
    ranges.join(",")
}

/// What the parent opens.
pub fn open(what: &Open) -> String {
    match what {
        Open::Tree { path, recursive, .. } => format!("clone {}{}", path.display(), below(*recursive)),
        Open::Namespace { path, flag, .. } => format!("open {} namespace {}", namespaces(*flag), path.display()),
        Open::Connect { path, .. } => format!("connect to {}", path.display()),
        Open::Given { name: "resctrl", .. } => "open the tasks of a resctrl group".into(),
        Open::Given { name: "tasks", .. } => "open the cgroup.procs of a v1 control group".into(),
        Open::Given { name, .. } => format!("open the {}", name.trim_start_matches("the ")),
        Open::Append { path, .. } => format!("open {} to append what hooks write", path.display()),
        Open::StateFile { .. } => "make a file in memory for the state that hooks read".into(),
    }
}

/// What the parent does at a barrier.
pub fn parent_step(plan: &Plan, step: &ParentStep) -> String {
    let maps = |maps: &[(u32, u32, u32)]| {
        let one = |(inside, outside, size): &(u32, u32, u32)| format!("{inside} → {outside} ({size})");
        maps.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    match step {
        ParentStep::WriteIdMaps { users, groups, helpers, deny_setgroups } => format!(
            "map{} users {}; groups {}{}",
            if *helpers { " by newuidmap and newgidmap" } else { "" },
            maps(users),
            maps(groups),
            if *deny_setgroups { "; deny setgroups" } else { "" }
        ),
        ParentStep::Idmap { tree, recursive, users, .. } if users.is_empty() => {
            format!("map the ids of {}{} by the container's user namespace", source(plan, *tree), below(*recursive))
        }
        ParentStep::Idmap { tree, recursive, users, groups } => format!(
            "map the ids of {}{}: users {}; groups {}",
            source(plan, *tree),
            below(*recursive),
            maps(users),
            maps(groups)
        ),
        ParentStep::MoveDevice { device, name, .. } if device == name => {
            format!("move network device {device} into the container with its addresses, bring it up")
        }
        ParentStep::MoveDevice { device, name, .. } => {
            format!("move network device {device} into the container as {name} with its addresses, bring it up")
        }
        ParentStep::Rlimit { resource, soft, hard } => {
            format!("raise the child's {}", limit(*resource, *soft, *hard))
        }
        ParentStep::SystemdScope(request) => {
            request.steps().into_iter().map(|step| step.text).collect::<Vec<_>>().join("; ")
        }
        ParentStep::WriteState { status, .. } => format!("write the state that the child's hooks read: {status}"),
        ParentStep::RunHooks { list, count: 1 } => format!("run the {list} hook"),
        ParentStep::RunHooks { list, count } => format!("run the {count} {list} hooks"),
    }
}

/// `net namespace`, `user and mnt namespaces`.
pub fn counted(flags: u64) -> String {
    format!("{} namespace{}", namespaces(flags), if flags.count_ones() > 1 { "s" } else { "" })
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
