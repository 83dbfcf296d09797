//! What holds of every plan: an intent that contradicts itself nowhere becomes one that the verifier accepts, or a refusal
//! that says where; and a plan that is damaged is seen.

mod dice;

use std::path::Path;

use dice::Dice;
use kiste::error::{Error, Result};
use kiste::intent::{Intent, contradictions, from_oci};
use kiste::lowering::{CgroupDriver, Console, Machine, Request, lower, lower_add_mounts};
use kiste::plan::{Barrier, Operation as Op, ParentStep, Plan, Slot, Step, check::check, explain};
use proptest::prelude::*;

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)).unwrap()
}

fn machine(name: &str) -> Machine {
    serde_json::from_slice(&golden(&format!("{name}.facts.json"))).unwrap()
}

fn intent(name: &str) -> Intent {
    from_oci::from_oci(&golden(&format!("{name}.json")), Path::new("/bundles/web")).unwrap()
}

fn request<'a>(intent: &'a Intent, machine: &'a Machine) -> Request<'a> {
    Request {
        intent,
        facts: &machine.facts,
        layout: &machine.cgroups,
        id: "web",
        console: Console::None,
        gated: false,
        no_pivot: false,
        no_new_keyring: false,
        preserved: 0,
        extra_env: Vec::new(),
        notify_directory: None,
        host_entries: machine.host_entries.clone(),
        cgroups: CgroupDriver::Cgroupfs,
        hard_limits: machine.hard_limits.clone(),
        pinned: machine.pinned.clone(),
        symlinks: Default::default(),
    }
}

fn plan(config: &str, machine_name: &str, gated: bool) -> Plan {
    let (intent, machine) = (intent(config), machine(machine_name));
    let plan = lower(Request { gated, ..request(&intent, &machine) }).unwrap();
    check(&plan).unwrap();
    plan
}

/// The first step that is so.
fn find(plan: &Plan, is: impl Fn(&Op) -> bool) -> usize {
    plan.child.iter().position(|step| is(&step.operation)).expect("the plan has such a step")
}

/// A rule's name, what breaks it, and what the verifier says.
type Break = (&'static str, fn(&mut Plan), &'static str);

fn remove(plan: &mut Plan, is: impl Fn(&Op) -> bool) -> Step {
    let at = find(plan, is);
    plan.child.remove(at)
}

fn cut(plan: &mut Plan, is: impl Fn(&Op) -> bool) {
    let _ = remove(plan, is);
}

/// Moves a step before another one, into its chapter.
fn put_before(plan: &mut Plan, is: impl Fn(&Op) -> bool, other: impl Fn(&Op) -> bool) {
    let mut step = remove(plan, is);
    let at = find(plan, other);
    step.stage = plan.child[at].stage;
    plan.child.insert(at, step);
}

/// Puts a step behind another one, into its chapter.
fn put_after(plan: &mut Plan, operation: Op, other: impl Fn(&Op) -> bool) {
    let at = find(plan, other);
    let stage = plan.child[at].stage;
    plan.child.insert(at + 1, Step { operation, stage, origin: 0 });
}

const BREAKS: &[Break] = &[
    ("slot filled", |plan| cut(plan, |op| matches!(op, Op::NullSource(_))), "used before it is filled"),
    ("slot exists", |plan| plan.slots = 3, "does not exist"),
    ("slot once", |plan| plan.opens.push(plan.opens[0].clone()), "filled twice"),
    ("slot used", |plan| cut(plan, |op| matches!(op, Op::Attach { .. })), "filled for nothing"),
    (
        "idmap",
        |plan| {
            let step = ParentStep::Idmap { tree: Slot(9), recursive: false, users: vec![], groups: vec![] };
            plan.barriers[0].1.push((step, 0));
        },
        "not opened",
    ),
    ("barrier of the child", |plan| cut(plan, |op| matches!(op, Op::Wait(_))), "different barriers"),
    ("barrier of the parent", |plan| plan.barriers.clear(), ""),
    (
        "devices",
        |plan| {
            plan.barriers.clear();
            plan.child.retain(|step| !matches!(step.operation, Op::Wait(_)));
        },
        "devices are not restricted yet",
    ),
    ("chapter", |plan| plan.child.swap(0, 40), "a chapter comes twice"),
    ("root left", |plan| cut(plan, |op| matches!(op, Op::PivotRoot(_))), "never left"),
    ("root entered", |plan| cut(plan, |op| matches!(op, Op::EnterRoot { .. })), "entered and left"),
    (
        "root left twice",
        |plan| {
            let at = find(plan, |op| matches!(op, Op::PivotRoot(_)));
            let step = plan.child[at];
            plan.child.insert(at, step);
        },
        "entered and left exactly once",
    ),
    (
        "host path",
        |plan| put_before(plan, |op| matches!(op, Op::PivotRoot(_)), |op| matches!(op, Op::NullSource(_))),
        "host path",
    ),
    (
        "capability",
        |plan| put_before(plan, |op| *op == Op::SetCapabilities, |op| *op == Op::NewSession),
        "setting the ids would undo",
    ),
    (
        "needs a capability",
        |plan| {
            put_after(plan, Op::HostName(kiste::plan::Bytes { start: 0, length: 0 }), |op| *op == Op::SetCapabilities)
        },
        "needed after they were dropped",
    ),
    (
        "groups",
        |plan| put_before(plan, |op| matches!(op, Op::SetIds { .. }), |op| *op == Op::SetGroups),
        "after the ids",
    ),
    (
        "bounding",
        |plan| {
            put_before(plan, |op| matches!(op, Op::SetIds { .. }), |op| matches!(op, Op::DropBounding { .. }));
        },
        "no effect after the ids",
    ),
    ("ambient", |plan| put_before(plan, |op| matches!(op, Op::Ambient(_)), |op| *op == Op::SetCapabilities), "ambient"),
    ("keep", |plan| cut(plan, |op| *op == Op::KeepCapabilities), "go with the user id"),
    (
        "traced hook",
        |plan| {
            let step = remove(plan, |op| *op == Op::NonDumpable);
            put_after(plan, step.operation, |op| *op == Op::NewSession);
        },
        "trace",
    ),
    (
        "closed",
        |plan| {
            let last = plan.child.iter().rposition(|step| matches!(step.operation, Op::CloseAll { .. })).unwrap();
            plan.child.remove(last);
        },
        "would reach the payload",
    ),
    (
        "filter",
        |plan| {
            let filter = filter(plan);
            put_after(plan, filter, |op| matches!(op, Op::CloseAll { .. }));
        },
        "needs CAP_SYS_ADMIN or no_new_privs",
    ),
    ("gate", |plan| cut(plan, |op| *op == Op::Ready), "belong together"),
    (
        "cwd",
        |plan| put_before(plan, |op| *op == Op::CheckDirectory, |op| matches!(op, Op::ChangeDirectory { .. })),
        "checked before it is entered",
    ),
    ("execve", |plan| cut(plan, |op| matches!(op, Op::Execute { .. })), "there must be one execve"),
    ("execve last", |plan| put_after(plan, Op::Umask(0), |op| matches!(op, Op::Execute { .. })), "execve is not last"),
    ("maps", |plan| plan.clone_flags &= !0x1000_0000, "belong together"),
    ("mapped user", |plan| set_ids(plan, 70_000), "not mapped"),
    ("mapped group", |plan| plan.arena.groups.push(70_000), "not mapped"),
    ("root of the namespace", |plan| cut(plan, |op| matches!(op, Op::BecomeRoot { .. })), "not mapped"),
    ("text", |plan| plan.arena.texts[0].start = u32::MAX, "outside the arena"),
    (
        "table",
        |plan| {
            put_after(plan, Op::RootAttributes { root: Slot(1), attributes: 9999, recursive: false }, |op| {
                matches!(op, Op::Attach { .. })
            });
        },
        "outside the arena",
    ),
    ("origin", |plan| plan.child[0].origin = 60_000, "place in the input"),
];

fn filter(plan: &mut Plan) -> Op {
    // BPF_RET | BPF_K, SECCOMP_RET_ALLOW.
    let program = plan.arena.bytes(&[6, 0, 0, 0, 0, 0, 0xff, 0x7f]);
    Op::InstallFilter { program, flags: 0, listener: None }
}

fn set_ids(plan: &mut Plan, id: u32) {
    let at = find(plan, |op| matches!(op, Op::SetIds { .. }));
    plan.child[at].operation = Op::SetIds { uid: id, gid: 0 };
}

/// A plan in which every rule has something to hold: user namespace, hooks, gate, another user, no no_new_privs.
fn rich() -> Plan {
    let (mut intent, machine) = (intent("user-namespace"), machine("root-v2"));
    intent.hooks = self::intent("hooks").hooks;
    intent.process.as_mut().unwrap().no_new_privileges = false;
    let plan = lower(Request { gated: true, ..request(&intent, &machine) }).unwrap();
    check(&plan).unwrap();
    plan
}

#[test]
fn each_rule_is_held() {
    for (name, damage, words) in BREAKS {
        let mut plan = rich();
        damage(&mut plan);
        match check(&plan) {
            Ok(()) => panic!("{name}: the damage is not seen"),
            Err(error) => assert!(error.to_string().contains(words), "{name}: {error}"),
        }
    }
}

#[test]
fn a_filter_must_leave_the_rest_possible() {
    let (mut intent, machine) = (intent("filter-denies-setup"), machine("root-v2"));
    let text = lower(request(&intent, &machine)).unwrap_err().to_string();
    assert!(text.starts_with("/linux/seccomp: the profile denies capset"), "{text}");
    intent.process.as_mut().unwrap().no_new_privileges = true;
    lower(request(&intent, &machine)).unwrap();
}

/// Whether the verifier promises to miss a step.
fn is_missed(plan: &Plan, index: usize) -> bool {
    match plan.child[index].operation {
        Op::SignalMask(_) | Op::CloseOnExec(_) | Op::NonDumpable | Op::NewSession | Op::SetIds { .. } => true,
        Op::SetCapabilities | Op::Ambient(_) | Op::ChangeDirectory { .. } | Op::CheckDirectory => true,
        Op::FindExecutable(_) | Op::Execute { .. } | Op::Wait(_) | Op::Ready | Op::WaitGate { .. } => true,
        Op::EnterRoot { .. } | Op::PivotRoot(_) | Op::MoveRoot(_) | Op::Chroot(_) | Op::Attach { .. } => true,
        Op::NullSource(_) | Op::PrivateProc(_) | Op::OpenTree { .. } | Op::Filesystem { .. } => true,
        Op::OpenTreeLate { .. } | Op::OpenTerminal { .. } | Op::OpenRoot { .. } | Op::KeepCapabilities => true,
        Op::CloseAll { .. } => {
            !plan.child[index + 1..].iter().any(|step| matches!(step.operation, Op::CloseAll { .. }))
        }
        _ => false,
    }
}

const PLANS: &[(&str, &str, bool)] = &[
    ("default", "root-v2", false),
    ("docker", "root-v2", true),
    ("podman-rootless", "podman", true),
    ("rootless", "user", false),
    ("hooks", "root-v1", true),
    ("host-mounts", "root-v2", false),
    ("protected", "root-v2", false),
];

#[test]
fn a_missing_step_is_missed() {
    for (config, machine, gated) in PLANS {
        for index in 0..plan(config, machine, *gated).child.len() {
            let mut plan = plan(config, machine, *gated);
            let promised = is_missed(&plan, index);
            let step = plan.child.remove(index);
            let told = describe(&plan, index, step);
            assert!(check(&plan).is_err() || !promised, "{config}: nobody misses {told}");
        }
    }
}

#[test]
fn a_missing_step_of_a_child_without_payload_is_missed() {
    let (mut intent, machine) = (intent("default"), machine("root-v2"));
    let (list, unknown) = (golden("mounts-added.json"), from_oci::Unknown::default());
    let warnings = from_oci::replace_mounts(&list, Path::new("/bundles/web"), unknown, &mut intent);
    assert!(warnings.unwrap().is_empty());
    let plan = || lower_add_mounts(request(&intent, &machine)).unwrap();
    for index in 0..plan().child.len() {
        let mut plan = plan();
        let step = plan.child.remove(index);
        let promised = matches!(
            step.operation,
            Op::SignalMask(_) | Op::NonDumpable | Op::OpenRoot { .. } | Op::Filesystem { .. } | Op::Leave
        );
        assert!(check(&plan).is_err() || !promised, "nobody misses {}", describe(&plan, index, step));
    }
    let mut plan = plan();
    plan.child.swap(0, 1);
    plan.child.push(Step { operation: Op::Umask(0), ..*plan.child.last().unwrap() });
    assert!(check(&plan).unwrap_err().to_string().contains("goes on after it has left"));
}

fn describe(plan: &Plan, index: usize, step: Step) -> String {
    format!("step {} of {}: {:?}", index + 1, plan.child.len(), step.operation)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn steps_of_other_chapters_can_not_change_places(which in 0..PLANS.len(), one in 0usize..500, other in 0usize..500) {
        let (config, machine, gated) = PLANS[which];
        let mut plan = plan(config, machine, gated);
        let (one, other) = (one % plan.child.len(), other % plan.child.len());
        let differ = plan.child[one].stage != plan.child[other].stage;
        plan.child.swap(one, other);
        prop_assert!(check(&plan).is_err() || !differ, "steps {} and {} changed places", one + 1, other + 1);
    }

    #[test]
    fn what_validates_lowers_to_what_verifies(numbers in prop::collection::vec(any::<u32>(), 0..400)) {
        let mut dice = Dice { numbers: &numbers, at: 0 };
        let machine = dice.machine();
        let mut intent = dice.intent();
        if contradictions::check(&mut intent).is_ok() {
            let exec = dice.below(6) == 1;
            let result = dice.lower(&intent, &machine, exec);
            if let Err(text) = verdict(result) {
                return Err(TestCaseError::fail(text));
            }
        }
    }
}

#[test]
fn the_random_intents_are_of_all_sorts() {
    let (mut contradictory, mut refused, mut planned) = (0, 0, 0);
    let mut seed = 7u64;
    for _ in 0..400 {
        let numbers: Vec<u32> = (0..400)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (seed >> 33) as u32
            })
            .collect();
        let mut dice = Dice { numbers: &numbers, at: 0 };
        let machine = dice.machine();
        let mut intent = dice.intent();
        match contradictions::check(&mut intent).is_ok() {
            false => contradictory += 1,
            true if dice.lower(&intent, &machine, false).is_ok() => planned += 1,
            true => refused += 1,
        }
    }
    assert!(contradictory > 20 && refused > 20 && planned > 20, "{contradictory} {refused} {planned}");
}

/// A plan must verify and explain itself; a refusal must be the input's fault or the machine's, and say where.
fn verdict(result: Result<Plan>) -> std::result::Result<(), String> {
    match result {
        Ok(plan) => {
            check(&plan).map_err(|error| error.to_string())?;
            let lines = explain::lines(&plan);
            if lines.iter().any(|line| line.what.is_empty()) {
                return Err("a line of the plan says nothing".into());
            }
            if lines.iter().filter(|line| line.step.is_some()).count() != plan.child.len() {
                return Err("a step is not explained".into());
            }
            let waits = plan.child.iter().filter(|step| step.operation == Op::Wait(Barrier::Identity)).count();
            if waits > 1 { Err("two waits at one barrier".into()) } else { Ok(()) }
        }
        Err(error) => clean(&error),
    }
}

fn clean(error: &Error) -> std::result::Result<(), String> {
    let text = error.to_string();
    if text.contains("defect of kiste") {
        return Err(text);
    }
    let whole = ["too many entries", "descriptors during set-up"].iter().any(|words| text.contains(words));
    if error.origin.is_none() && !whole { Err(format!("no place: {text}")) } else { Ok(()) }
}
