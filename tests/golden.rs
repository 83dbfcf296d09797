//! Inputs and the plans they must give: `tests/golden/CONFIG.json` on `MACHINE.facts.json` is `CASE.plan`, as
//! `kiste explain --config CONFIG.json --facts MACHINE.facts.json` prints it. No root, no kernel, no clock is asked.
//!
//! `KISTE_BLESS=1 cargo test --test golden` writes the plans anew; the difference in git is then the thing to review.

use std::path::{Path, PathBuf};

use kiste::error::{Error, Result};
use kiste::host::Helper;
use kiste::intent::automatic::{Caller, user_namespace};
use kiste::intent::from_oci::Unknown;
use kiste::intent::host_view::{HostView, host_view};
use kiste::intent::{Hooks, Intent, NamespaceKind, from_bwrap, from_oci};
use kiste::lowering::{CgroupDriver, Console, JoinRequest, Machine, Request};
use kiste::lowering::{lower, lower_add_mounts, lower_exec, lower_remove_mounts};
use kiste::plan::{Plan, explain};

/// One expected plan.
struct Case {
    /// Of the `.plan` file.
    name: &'static str,
    /// The configuration, `host-view` for the embedded default.
    config: &'static str,
    /// The machine.
    machine: &'static str,
    /// What is typed beside them.
    typed: Typed,
}

/// What is typed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Typed {
    Run,
    Create,
    CreateWithSocket,
    RunOnTerminal,
    RunWithOptions,
    RunInScope,
    Exec,
    ExecOnTerminal,
    AddMounts,
    RemoveMounts,
}

const fn case(name: &'static str, config: &'static str, machine: &'static str, typed: Typed) -> Case {
    Case { name, config, machine, typed }
}

/// The list that `mounts add` is given.
const ADDED: &str = "mounts-added.json";

const CASES: &[Case] = &[
    case("default-v2", "default", "root-v2", Typed::Run),
    case("default-hybrid", "default", "root-hybrid", Typed::Run),
    case("default-v1", "default", "root-v1", Typed::Run),
    case("default-created", "default", "root-v2", Typed::Create),
    case("default-options", "default", "root-v2", Typed::RunWithOptions),
    case("default-systemd", "default", "root-v2", Typed::RunInScope),
    case("default-user", "default", "user", Typed::Run),
    case("default-user-subids", "default", "user-subids", Typed::Run),
    case("default-exec", "default", "root-v2", Typed::Exec),
    case("default-exec-v1", "default", "root-v1", Typed::Exec),
    case("rootless", "rootless", "user", Typed::Run),
    case("rootless-exec", "rootless", "user", Typed::Exec),
    case("rootless-subids", "rootless-subids", "user-subids", Typed::Create),
    case("docker", "docker", "root-v2", Typed::Create),
    case("podman-rootless", "podman-rootless", "podman", Typed::Create),
    case("user-namespace", "user-namespace", "root-limited", Typed::Run),
    case("user-namespace-v1", "user-namespace", "root-v1", Typed::Run),
    case("user-namespace-exec", "user-namespace", "root-v2", Typed::Exec),
    case("idmap", "idmap", "root-v2", Typed::Run),
    case("join-all", "join-all", "root-v2", Typed::Run),
    case("join-user-pid", "join-user-pid", "root-v2", Typed::Run),
    case("join-user-pid-rootless", "join-user-pid", "user", Typed::Run),
    case("join-pid", "join-pid", "root-v2", Typed::Run),
    case("join-network", "join-network", "root-v2", Typed::Run),
    case("time", "time", "root-v2", Typed::Run),
    case("host-mounts", "host-mounts", "root-v2", Typed::Run),
    case("host-mounts-exec", "host-mounts", "root-v2", Typed::Exec),
    case("hooks", "hooks", "root-v2", Typed::Create),
    case("terminal", "terminal", "root-v2", Typed::CreateWithSocket),
    case("terminal-foreground", "terminal", "root-v2", Typed::RunOnTerminal),
    case("terminal-nowhere", "terminal", "root-v2", Typed::Run),
    case("terminal-exec", "terminal", "root-v2", Typed::ExecOnTerminal),
    case("devices", "devices", "root-v2", Typed::Run),
    case("devices-user-namespace", "devices-user-namespace", "root-v2", Typed::Run),
    case("mounts", "mounts", "root-v2", Typed::Run),
    case("propagation-shared", "propagation-shared", "root-v2", Typed::Run),
    case("propagation-private", "propagation-private", "root-v2", Typed::Run),
    case("propagation-unbindable", "propagation-unbindable", "root-v2", Typed::Run),
    case("propagation-rslave", "propagation-rslave", "root-v2", Typed::Run),
    case("protected", "protected", "root-v2", Typed::Run),
    case("process", "process", "root-v2", Typed::Run),
    case("process-exec", "process", "root-v2", Typed::Exec),
    case("net-devices", "net-devices", "root-v2", Typed::Run),
    case("net-devices-user", "net-devices-join", "user", Typed::Run),
    case("net-devices-join", "net-devices-join", "root-v2", Typed::Run),
    case("intel-rdt", "intel-rdt", "root-v2", Typed::Run),
    case("intel-rdt-exec", "intel-rdt", "root-v2", Typed::Exec),
    case("intel-rdt-hybrid", "intel-rdt", "root-hybrid", Typed::Run),
    case("intel-rdt-class", "intel-rdt-class", "root-v2", Typed::Run),
    case("filter-late", "filter-late", "root-v2", Typed::Create),
    case("filter-early", "filter-early", "root-v2", Typed::Create),
    case("filter-notify", "filter-notify", "root-v2", Typed::Create),
    case("filter-denies-setup", "filter-denies-setup", "root-v2", Typed::Run),
    case("annotations", "annotations", "root-v2", Typed::Create),
    case("mounts-added", "default", "root-v2", Typed::AddMounts),
    case("mounts-added-user-namespace", "user-namespace", "root-limited", Typed::AddMounts),
    case("mounts-added-rootless", "rootless", "user", Typed::AddMounts),
    case("mounts-removed", "default", "root-v2", Typed::RemoveMounts),
    case("mounts-removed-rootless", "rootless", "user", Typed::RemoveMounts),
    case("host-view-root", "host-view", "root-v2", Typed::Run),
    case("bwrap-user", "bwrap", "user", Typed::Run),
    case("host-view-user", "host-view", "user", Typed::RunOnTerminal),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn read(name: &str) -> Vec<u8> {
    let path = folder().join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn machine(name: &str) -> Machine {
    serde_json::from_slice(&read(&format!("{name}.facts.json"))).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn intent(case: &Case, machine: &Machine) -> Result<Intent> {
    if case.config == "host-view" {
        let facts = &machine.facts;
        return host_view(HostView {
            args: Some(vec!["make".into()]),
            terminal: case.typed == Typed::RunOnTerminal,
            uid: facts.uid,
            gid: facts.gid,
            first_user_namespace: !facts.in_user_namespace,
            ..HostView::default()
        });
    }
    if case.config == "bwrap" {
        return bwrap(machine);
    }
    let mut intent = from_oci::from_oci(&read(&format!("{}.json", case.config)), Path::new("/bundles/web"))?;
    let facts = &machine.facts;
    let caller = Caller { uid: facts.uid, gid: facts.gid, capabilities: facts.capabilities, ..Caller::default() };
    let sub = facts.subordinate.as_ref().filter(|sub| matches!(sub.newuidmap, Helper::Usable(_)));
    let ranges = sub.map(|sub| (sub.users.clone(), sub.groups.clone())).unwrap_or_default();
    user_namespace(&mut intent, &Caller { sub_users: ranges.0, sub_groups: ranges.1, ..caller });
    Ok(intent)
}

/// A command line of bubblewrap's.
const BWRAP: &str = "--unshare-all --die-with-parent --disable-userns --hostname box --ro-bind /usr /usr --symlink usr/bin /bin \
     --proc /proc --dev /dev --tmpfs /tmp --perms 0700 --dir /home/me --ro-bind-data 7 /etc/motd --chdir /home/me \
     --lock-file /usr/bin/env --sync-fd 5 --block-fd 6 --info-fd 8 --seccomp 9 --clearenv --setenv A b make all";

fn bwrap(machine: &Machine) -> Result<Intent> {
    let words: Vec<String> = BWRAP.split_whitespace().map(str::to_owned).collect();
    let facts = &machine.facts;
    // An answer that allows everything, for --seccomp, is a text as good as any for the file.
    let read = |_| Ok(vec![6, 0, 0, 0, 0, 0, 0xff, 0x7f]);
    let descriptors = from_bwrap::Descriptors { is_open: |_| true, read };
    let caller = from_bwrap::Caller {
        uid: facts.uid,
        gid: facts.gid,
        privileged: false,
        possible: (true, true),
        directory: "/work".into(),
        umask: 0o022,
        terminal: None,
        read,
    };
    from_bwrap::intent(&from_bwrap::parse(&words, Vec::new(), 0, descriptors)?, &caller)
}

fn plan(case: &Case) -> Result<Plan> {
    let machine = machine(case.machine);
    let mut intent = intent(case, &machine)?;
    let exec = matches!(case.typed, Typed::Exec | Typed::ExecOnTerminal);
    if exec {
        intent.hooks = Hooks::default();
        if let Some(process) = &mut intent.process {
            (process.args, process.origin) = (vec!["/bin/ls".into()], kiste::error::Origin::fixed("exec"));
            process.terminal = case.typed == Typed::ExecOnTerminal;
        }
    }
    if case.typed == Typed::AddMounts {
        from_oci::replace_mounts(&read(ADDED), Path::new("/bundles/web"), Unknown::default(), &mut intent)?;
    }
    let options = case.typed == Typed::RunWithOptions;
    let request = Request {
        intent: &intent,
        facts: &machine.facts,
        layout: &machine.cgroups,
        id: "web",
        console: match case.typed {
            Typed::CreateWithSocket => Console::Socket("/run/console.sock".into()),
            Typed::RunOnTerminal | Typed::ExecOnTerminal => Console::Foreground(None),
            _ => Console::None,
        },
        gated: matches!(case.typed, Typed::Create | Typed::CreateWithSocket),
        no_pivot: options,
        no_new_keyring: options,
        preserved: if options { 2 } else { 0 },
        extra_env: if options { vec!["LISTEN_FDS=2".into(), "LISTEN_PID=1".into()] } else { Vec::new() },
        notify_directory: options.then(|| "/run/kiste/web/notify".into()),
        host_entries: machine.host_entries.clone(),
        pinned: machine.pinned.clone(),
        symlinks: [("/srv/current".into(), "v7".into())].into(),
        cgroups: match case.typed {
            _ if case.config == "bwrap" => CgroupDriver::Disabled,
            Typed::RunInScope => CgroupDriver::Systemd,
            _ => CgroupDriver::Cgroupfs,
        },
        hard_limits: machine.hard_limits.clone(),
    };
    match exec {
        _ if case.typed == Typed::AddMounts => lower_add_mounts(request),
        _ if case.typed == Typed::RemoveMounts => {
            let list = from_oci::mount_destinations(&read(ADDED))?;
            let list: Vec<_> = list.into_iter().rev().zip(41..).map(|(one, id)| (one.value, one.origin, id)).collect();
            lower_remove_mounts(request, &list)
        }
        true => lower_exec(JoinRequest {
            request,
            legacy_groups: machine.cgroups.legacy.len(),
            unified_group: machine.cgroups.unified.is_some(),
            resctrl_groups: 2,
        }),
        false => lower(request),
    }
}

/// The plan as `explain` prints it, or the sentence that refuses it.
fn told(plan: Result<Plan>) -> String {
    match plan {
        Ok(plan) => explain::text(&plan),
        Err(error) => format!("refused: {error}\n"),
    }
}

/// A filter's length is the machine's: x86_64 has three ABIs.
fn same(found: &str, expected: &str) -> bool {
    let length = |line: &str| !cfg!(target_arch = "x86_64") && line.contains("seccomp filter of ");
    found.lines().count() == expected.lines().count()
        && found.lines().zip(expected.lines()).all(|(one, other)| one == other || length(one) && length(other))
}

#[test]
fn inputs_give_their_plans() {
    let bless = std::env::var_os("KISTE_BLESS").is_some();
    let mut wrong = String::new();
    for case in CASES {
        let found = told(plan(case));
        let path = folder().join(format!("{}.plan", case.name));
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        if same(&found, &expected) {
            continue;
        }
        if bless {
            std::fs::write(&path, &found).unwrap();
            continue;
        }
        wrong.push_str(&format!("--- {}\n", case.name));
        for (index, (one, other)) in
            found.lines().zip(expected.lines()).enumerate().filter(|(_, (a, b))| a != b).take(3)
        {
            wrong.push_str(&format!("line {}\n  expected {other}\n  found    {one}\n", index + 1));
        }
        let lines = (expected.lines().count(), found.lines().count());
        wrong.push_str(&format!("{} lines expected, {} found\n", lines.0, lines.1));
    }
    assert!(wrong.is_empty(), "{wrong}KISTE_BLESS=1 accepts them");
}

/// Whether kiste makes a user namespace in which a device node can't be made.
fn is_nested(case: &Case, intent: &Intent, machine: &Machine) -> bool {
    matches!(case.config, "host-view" | "bwrap")
        || intent.namespace(NamespaceKind::User).is_some()
        || machine.facts.in_user_namespace
}

#[test]
fn steps_have_the_numbers_of_errors() {
    for case in CASES {
        let Ok(plan) = plan(case) else { continue };
        let machine = machine(case.machine);
        let intent = intent(case, &machine).unwrap();
        let lines: Vec<_> = explain::lines(&plan).into_iter().filter(|line| line.who == "child").collect();
        assert_eq!(lines.len(), plan.child.len());
        for (index, (line, step)) in lines.iter().zip(&plan.child).enumerate() {
            let record = kiste::plan::report::Record {
                errno: libc::EPERM,
                call: kiste::plan::report::Call::Verify,
                ..kiste::plan::report::Record::new(kiste::plan::report::Message::Failed, index as u32)
            };
            let error: Error = explain::failure(&plan, &record);
            assert_eq!(line.step, Some(index + 1), "{}", case.name);
            // What bubblewrap has words for is told in them.
            if case.config == "bwrap" && error.kind == kiste::error::Kind::Input {
                continue;
            }
            assert!(error.to_string().contains(&format!("[step {}]", index + 1)), "{}: {error}", case.name);
            assert_eq!(error.origin.map(|origin| origin.to_string()), line.origin, "{}", case.name);
            let makes_node = matches!(step.operation, kiste::plan::Operation::Node { mode, .. }
                if mode & libc::S_IFMT != libc::S_IFIFO);
            assert!(!makes_node || !is_nested(case, &intent, &machine), "{}: {}", case.name, line.what);
        }
    }
}

/// What the child has to carry through clone3: bytes of steps, strings, programs. The bounds are a few per cent above what
/// is there.
#[test]
fn plans_are_small() {
    for (name, bound) in PLAN_BYTES {
        let case = CASES.iter().find(|case| case.name == *name).expect("a case");
        let plan = plan(case).expect("a plan");
        let bytes = plan.child.len() * size_of::<kiste::plan::Step>() + plan.arena.len();
        assert!(bytes <= *bound && bytes > bound / 2, "{name}: {bytes} bytes, at most {bound}");
    }
}

const PLAN_BYTES: &[(&str, usize)] =
    &[("default-v2", 4200), ("default-hybrid", 5843), ("docker", 8309), ("host-view-user", 6245)];

#[test]
fn every_file_belongs_to_a_case() {
    for entry in std::fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let used = CASES.iter().any(|case| {
            [format!("{}.json", case.config), format!("{}.facts.json", case.machine), format!("{}.plan", case.name)]
                .contains(&name)
        });
        let used = used || name == ADDED;
        assert!(used, "tests/golden/{name} is used by no case");
    }
}

#[test]
fn the_same_plan_as_json() {
    for case in CASES {
        let Ok(plan) = plan(case) else { continue };
        let value: serde_json::Value = serde_json::from_str(&explain::json(&plan)).unwrap();
        let steps = value["steps"].as_array().unwrap();
        assert_eq!(steps.len(), explain::lines(&plan).len(), "{}", case.name);
        for (step, line) in steps.iter().zip(explain::lines(&plan)) {
            assert_eq!(step["what"], line.what);
            assert_eq!(step["step"].as_u64(), line.step.map(|step| step as u64));
            assert_eq!(step.get("origin").and_then(|origin| origin.as_str()), line.origin.as_deref());
        }
        assert_eq!(value["warnings"].as_array().unwrap().len(), plan.warnings.len());
    }
}
