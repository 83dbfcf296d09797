use super::*;
use crate::error::Origin;
use crate::kernel::abi::MountAttr;
use crate::plan::arena::{Arena, HookEntry, Range};
use crate::plan::operation::{Existing, Missing};
use crate::plan::report::Message;
use crate::plan::{Barrier, OwnImage, Slot, Stage, Step};

/// One operation of each kind, and the arena they speak of.
fn every() -> (Arena, Vec<Op>) {
    let mut arena = Arena::new();
    let (path, name, value) = (arena.text("etc/hosts"), arena.text("null"), arena.bytes(b"7"));
    let list = arena.list(["/bin/server", "-x"]);
    let empty = Range { start: 0, count: 0 };
    arena.attributes.push(MountAttr { attr_set: 1, ..MountAttr::default() });
    arena.hooks.push(HookEntry { path, arguments: list, environment: empty, timeout: 0 });
    let (at, into, slot) = (Slot(1), Slot(2), Slot(1));
    let (root, tree, target, from, to, proc) = (slot, slot, slot, slot, slot, slot);
    let device = libc::makedev(1, 3) as u32;
    let all = vec![
        Op::ReleaseImage,
        Op::SignalMask(0),
        Op::DefaultSignal(13),
        Op::NonDumpable,
        Op::CloseOnExec(3),
        Op::JoinCgroup(slot),
        Op::JoinResctrl(slot),
        Op::Umask(0o22),
        Op::Wait(Barrier::Identity),
        Op::WaitForDevices,
        Op::BecomeRoot { groups: true },
        Op::Join { namespace: slot, flags: 0x4000_0000 },
        Op::Unshare(0x0200_0000),
        Op::TimeNamespace(value),
        Op::HostName(value),
        Op::DomainName(value),
        Op::InterfaceUp(name),
        Op::Keyring(name),
        Op::PrivateProc(into),
        Op::WriteProc { proc, path, value },
        Op::NamespacePropagation(libc::MS_SLAVE),
        Op::OpenTree { path, recursive: true, nofollow: false, into },
        Op::OpenTreeLate { root, path, recursive: false, nofollow: false, into },
        Op::Filesystem { fstype: name, parameters: empty, attributes: 0, into },
        Op::SetAttributes { tree, attributes: 0, recursive: false },
        Op::OverlayStore,
        Op::EnterRoot { tree, at: path, into },
        Op::OpenRoot { path, into },
        Op::Ensure { root, path, missing: Missing::File, nofollow: false, into },
        Op::Attach { tree, target },
        Op::BindByMount { source: path, target },
        Op::CopyUp { from, to },
        Op::InheritMode { from, to },
        Op::Directory { at, name, mode: 0o755 },
        Op::Node { at, name, mode: libc::S_IFCHR | 0o666, device },
        Op::ChangeOwner { at, name, uid: 1, gid: 2 },
        Op::VerifyDevice { tree, mode: libc::S_IFCHR, device },
        Op::Link { at, name, target: path, existing: Existing::Stays },
        Op::Remount { root, path, attributes: 0, recursive: false },
        Op::NullSource(into),
        Op::Hide { root, path, null: slot, empty: into },
        Op::ReadOnly { root, path },
        Op::RootAttributes { root, attributes: 0, recursive: false },
        Op::PivotRoot(root),
        Op::MoveRoot(root),
        Op::Chroot(root),
        Op::NewSession,
        Op::OpenTerminal { root, rows: 0, columns: 0, master: slot, peer: into },
        Op::SendDescriptor { socket: slot, descriptor: slot, payload: name },
        Op::BindConsole { root, peer: slot },
        Op::AdoptTerminal { peer: slot, uid: 0 },
        Op::OwnPipes(7),
        Op::Personality(8),
        Op::Rlimit { resource: 7, soft: 1, hard: u64::MAX },
        Op::Scheduler(value),
        Op::IoPriority(1 << 13 | 3),
        Op::Affinity(value),
        Op::MemoryPolicy { mode: 2, nodes: value },
        Op::NoNewPrivileges,
        Op::InstallFilter { program: value, flags: 0, listener: None },
        Op::DropBounding { keep: 1, last: 40 },
        Op::KeepCapabilities,
        Op::SetGroups,
        Op::SetIds { uid: 5, gid: 5 },
        Op::SetCapabilities,
        Op::Ambient(0),
        Op::ChangeDirectory { path },
        Op::CheckDirectory,
        Op::FindHome(0),
        Op::FindExecutable(list),
        Op::CloseAll { from: 3, keep: [None; 5] },
        Op::Ready,
        Op::WaitGate { gate: slot, outcome: into },
        Op::SpawnHook { hook: 0, state: slot, output: None, errors: None },
        Op::TellMount(slot),
        Op::FindMount { root, path, id: 7, into },
        Op::Detach { proc, mount: slot },
        Op::Leave,
        Op::Execute { candidates: list, arguments: list, environment: empty },
    ];
    (arena, all)
}

fn plan() -> Plan {
    let (arena, operations) = every();
    let step = |operation| Step { operation, stage: Stage::Birth, origin: 1 };
    Plan {
        child: operations.into_iter().map(step).collect(),
        opens: Vec::new(),
        cgroup: None,
        resctrl: None,
        clone_flags: 0,
        born_in: Vec::new(),
        own_image: OwnImage::Unreachable,
        first_stage: Vec::new(),
        inherited_score: None,
        own_processors: None,
        barriers: Vec::new(),
        arena,
        origins: vec![Origin::fixed(""), Origin::fixed("/place/1")],
        slots: 3,
        keeps_session: false,
        born_in_its_group: false,
        warnings: Vec::new(),
        remarks: Vec::new(),
    }
}

fn failed(plan: &Plan, step: usize, call: Call, errno: i32) -> Error {
    failure(plan, &Record { call, errno, ..Record::new(Message::Failed, step as u32) })
}

/// The sentence of the first operation that is so.
fn of(is: impl Fn(Op) -> bool, call: Call, errno: i32) -> String {
    let plan = plan();
    let step = plan.child.iter().position(|step| is(step.operation)).unwrap();
    failed(&plan, step, call, errno).to_string()
}

#[test]
fn every_operation_has_words_and_its_failure_is_one_sentence() {
    let plan = plan();
    let mut lines = std::collections::BTreeSet::new();
    for (index, step) in plan.child.iter().enumerate() {
        let what = describe::operation(&plan, step.operation);
        assert!(!what.is_empty() && what == what.trim(), "{:?}", step.operation);
        assert!(lines.insert(what.clone()), "two operations say {what:?}");
        for errno in [libc::EPERM, libc::EACCES, libc::ENOENT, libc::EINVAL, libc::ENOSYS, libc::EROFS, libc::ENOSPC] {
            let error = failed(&plan, index, Call::Verify, errno);
            let text = error.to_string();
            assert!(text.starts_with("/place/1: "), "{text}");
            assert_eq!(text.matches("/place/1").count(), 1, "{text}");
            assert_eq!(text.matches(&format!("[step {}]", index + 1)).count(), 1, "{text}");
            assert!(text.matches("cannot").count() <= 1, "{text}");
            assert!(text.matches(&errno_text(errno)).count() <= 1, "{text}");
            assert!(
                !text.contains('\n') && !text.contains("::") && !text.contains("()") && !text.contains("  "),
                "{text}"
            );
            assert!(!text.ends_with('.') && !text.ends_with(": "), "{text}");
            assert!(error.hint.is_none_or(|hint| !hint.is_empty() && !text.starts_with(&hint)), "{text}");
        }
    }
}

#[test]
fn a_step_of_our_own_has_no_place() {
    let mut plan = plan();
    plan.child[0].origin = 0;
    assert!(failed(&plan, 0, Call::Prctl, libc::EPERM).to_string().starts_with("cannot let go"));
    assert_eq!(
        failed(&plan, 1000, Call::Prctl, libc::EPERM).to_string(),
        "the container's process reported a step that does not exist"
    );
}

#[test]
fn hints_fit() {
    for (text, hint) in [
        (of(|op| matches!(op, Op::Attach { .. }), Call::MoveMount, libc::ENOTDIR), "one of source and target is"),
        (of(|op| matches!(op, Op::Attach { .. }), Call::MoveMount, libc::ELOOP), "pinned mount namespace"),
        (of(|op| matches!(op, Op::Ensure { .. }), Call::Mkdir, libc::EROFS), "the mount point is missing"),
        (of(|op| matches!(op, Op::Filesystem { .. }), Call::Fsopen, libc::ENODEV), "no such file system"),
        (of(|op| matches!(op, Op::SetIds { .. }), Call::SetUid, libc::EINVAL), "not mapped"),
        (of(|op| matches!(op, Op::Rlimit { .. }), Call::Prlimit, libc::EPERM), "CAP_SYS_RESOURCE"),
        (of(|op| matches!(op, Op::InstallFilter { .. }), Call::Seccomp, libc::EACCES), "CAP_SYS_ADMIN"),
        (of(|op| matches!(op, Op::Wait(_)), Call::Parent, libc::EPIPE), "the runtime ended first"),
        (of(|op| matches!(op, Op::Unshare(_)), Call::Unshare, libc::ENOSYS), "older than 5.14"),
    ] {
        assert!(text.split_once(" (").is_some_and(|(_, rest)| rest.contains(hint)) && text.ends_with(')'), "{text}");
    }
    let text = of(|op| matches!(op, Op::NewSession), Call::SetSid, libc::EPERM);
    assert_eq!(text, "/place/1: cannot start a new session [step 47]: setsid: operation not permitted");
}

#[test]
fn hints_of_proc_go_by_the_file() {
    assert_eq!(proc_hint("sys/net/ipv4/ip_forward", libc::ENOENT), Some("this kernel has no such parameter"));
    assert!(proc_hint("self/oom_score_adj", libc::EACCES).is_some_and(|hint| hint.contains("CAP_SYS_RESOURCE")));
    assert!(proc_hint("sys/kernel/sem", libc::EACCES).is_some_and(|hint| hint.contains("namespace")));
    assert!(proc_hint("thread-self/attr/apparmor/exec", libc::ENOENT).is_some_and(|hint| hint.contains("profile")));
    assert_eq!(proc_hint("self/oom_score_adj", libc::ENOENT), None);
}

#[test]
fn the_kernels_words_are_told_once_and_in_one_line() {
    let plan = plan();
    let step = plan.child.iter().position(|step| matches!(step.operation, Op::Filesystem { .. })).unwrap();
    for (said, told) in [
        ("e devpts: Invalid gid '5'\n", "devpts: Invalid gid '5'"),
        ("exited with 1", "exited with 1"),
        ("a\nb", "a b"),
    ] {
        let mut record =
            Record { call: Call::Fsconfig, errno: libc::EINVAL, ..Record::new(Message::Failed, step as u32) };
        record.words[..said.len()].copy_from_slice(said.as_bytes());
        let text = failure(&plan, &record).to_string();
        assert!(text.contains(&format!("({told})")) && !text.contains('\n'), "{text}");
    }
}

#[test]
fn what_podman_matches() {
    let (missing, denied) = (libc::ENOENT, libc::EACCES);
    let mut plan = plan();
    let step = plan.child.len() - 1;
    let path = failed(&plan, step, Call::Execve, missing).to_string();
    assert!(path.contains("\"/bin/server\": no such file or directory"), "{path}");
    assert!(failed(&plan, step, Call::Execve, denied).to_string().contains("permission denied"));
    let list = plan.arena.list(["server"]);
    plan.child[step].operation =
        Op::Execute { candidates: list, arguments: list, environment: Range { start: 0, count: 0 } };
    let name = failed(&plan, step, Call::Access, missing).to_string();
    assert!(name.contains("executable file not found in $PATH"), "{name}");
}
