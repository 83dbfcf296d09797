//! Names, properties, and what a real systemd does: as root on the system's, as a user on the user's.

use std::process::{Command, Stdio};

use super::*;
use crate::cgroup::{Cpu, Mode, plan_update};

fn names_of(path: &str) -> Result<(String, String)> {
    names(path, "c1", false)
}

#[test]
fn slice_prefix_and_name() {
    let of = |slice: &str, unit: &str| Ok((slice.to_owned(), unit.to_owned()));
    assert_eq!(names_of(""), of("system.slice", "kiste-c1.scope"));
    assert_eq!(names("", "c1", true), of("user.slice", "kiste-c1.scope"));
    assert_eq!(names_of("machine.slice:libpod:0a1b"), of("machine.slice", "libpod-0a1b.scope"));
    assert_eq!(names_of(":cri:x"), of("system.slice", "cri-x.scope"));
    assert_eq!(names_of("a-b.slice::x"), of("a-b.slice", "x.scope"));
    for wrong in ["/a/b", "a:b", "a:b:c:d", "a:b:c", "a.slice:b:", "../x.slice:a:b", "a.slice:p:../n", "a.slice:p:n/m"]
    {
        assert!(names_of(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn resources_become_properties() {
    let mut resources = Resources { pids_limit: Some(-1), ..Resources::default() };
    (resources.memory.limit, resources.memory.swap) = (Some(1000), Some(1500));
    resources.cpu = Cpu { quota: Some(12_345), period: Some(50_000), cpus: Some("0,9".into()), ..Cpu::default() };
    let list = resource_properties(&resources, None);
    let expected = [
        ("MemoryMax", Value::U64(1000)),
        ("MemorySwapMax", Value::U64(500)),
        ("TasksMax", Value::U64(u64::MAX)),
        ("CPUQuotaPeriodUSec", Value::U64(50_000)),
        ("CPUQuotaPerSecUSec", Value::U64(250_000)),
        ("AllowedCPUs", Value::Bytes(vec![1, 2])),
    ];
    assert_eq!(list, expected.map(|(name, value)| (name.to_owned(), value)));
}

#[test]
fn annotations_become_properties() {
    assert_eq!(annotation("TimeoutStopUSec", "uint64 5"), Some(("TimeoutStopUSec".into(), Value::U64(5))));
    assert_eq!(annotation("TimeoutStopSec", "3"), Some(("TimeoutStopUSec".into(), Value::U64(3_000_000))));
    assert_eq!(annotation("Bad.Name", "3"), None);
    assert_eq!(annotation("Delegate", "maybe"), None);
}

/// A scope with everything: needs systemd, so it does something in the guest and on developers' machines.
#[test]
fn a_scope_is_started_limited_changed_and_stopped() {
    let user = !nix::unistd::geteuid().is_root();
    let layout = Layout::read().unwrap();
    if layout.mode != Mode::V2 || Bus::connect(user).is_err() {
        eprintln!("skipped: no systemd on cgroup v2 here");
        return;
    }
    let id = format!("test-{}", std::process::id());
    let mut resources = Resources { pids_limit: Some(44), ..Resources::default() };
    resources.memory.limit = Some(64 << 20);
    (resources.cpu.quota, resources.cpu.period) = (Some(25_000), Some(100_000));
    resources.unified.insert("memory.high".into(), "50331648".into());
    let options = Options { rootless: user, ..Options::default() };
    let annotations = [("org.systemd.property.Description".to_owned(), "'a test of kiste'".to_owned())].into();
    let request = plan_scope(&resources, &layout, None, &id, &annotations, &options).unwrap();
    let mut child = Command::new("sleep").arg("100").stdout(Stdio::null()).spawn().unwrap();
    let owner = std::path::Path::new("/nowhere/kiste").join(&id);
    let scope = start_scope(&request, child.id() as i32, &owner);
    let checked = scope.and_then(|scope| {
        let result = std::panic::catch_unwind(|| check(&scope, &resources, &options, child.id() as i32, &request));
        scope.group.kill(libc::SIGKILL)?;
        let _ = child.wait();
        scope.group.remove()?;
        scope.group.remove()?;
        assert!(!scope.group.unified().unwrap().exists());
        Ok(result)
    });
    let _ = child.kill();
    let _ = child.wait();
    if let Err(panic) = checked.unwrap() {
        std::panic::resume_unwind(panic);
    }
    let left = systemctl(user, &["list-units", "--all", "--no-legend", &request.unit]);
    assert!(!left.contains(&request.unit), "{left}");
}

fn systemctl(user: bool, arguments: &[&str]) -> String {
    let mut command = Command::new("systemctl");
    let output = command.args(user.then_some("--user")).args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn check(scope: &Scope, resources: &Resources, options: &Options, pid: i32, request: &ScopeRequest) {
    let path = scope.group.unified().unwrap();
    assert!(path.ends_with(&request.unit), "{path:?}");
    assert_eq!(scope.group.pids(true).unwrap(), [pid]);
    assert_eq!(scope.warnings, [] as [String; 0]);
    let file = |name: &str| std::fs::read_to_string(path.join(name)).unwrap().trim().to_owned();
    assert_eq!(file("pids.max"), "44");
    assert_eq!(file("memory.max"), "67108864");
    assert_eq!(file("memory.high"), "50331648");
    assert_eq!(file("cpu.max"), "25000 100000");
    let show = |name: &str| systemctl(request.user, &["show", "--value", "-p", name, &request.unit]).trim().to_owned();
    assert_eq!(show("Description"), "a test of kiste");
    assert_eq!(show("Delegate"), "yes");
    assert_eq!(show("TasksMax"), "44");
    let changed = Resources { pids_limit: Some(55), ..Resources::default() };
    let plan = plan_update(resources, &changed, &scope.group, options).unwrap();
    scope.group.apply(&plan).unwrap();
    assert_eq!((file("pids.max").as_str(), show("TasksMax").as_str()), ("55", "55"));
    if !options.rootless {
        devices_change(scope, resources, options, &show);
    }
    // Another container's record of the same unit and group finds nothing of its own.
    let mut other = scope.group.clone();
    other.unit.as_mut().unwrap().owner = Some("/elsewhere/kiste".into());
    for directories in [other.directories.clone(), Vec::new()] {
        other.directories = directories;
        assert_eq!(other.pids(true).unwrap(), [] as [i32; 0]);
        other.kill(libc::SIGKILL).unwrap();
        other.remove().unwrap();
        assert_eq!(scope.group.pids(true).unwrap(), [pid]);
    }
    // A record without directories, as a killed runtime leaves it, is found by asking systemd.
    let unit = scope.group.unit.as_ref().unwrap();
    assert!(unit.is_ours(Vec::new()).unwrap());
    // A name in use is refused and its owner left alone.
    let error = start_scope(request, pid, std::path::Path::new("/elsewhere")).unwrap_err();
    assert!(error.to_string().contains("cannot start"), "{error}");
    assert_eq!(scope.group.pids(true).unwrap(), [pid]);
}

/// systemd is told of changed rules, and its program stays beside the one that an update replaces.
fn devices_change(scope: &Scope, resources: &Resources, options: &Options, show: &dyn Fn(&str) -> String) {
    use crate::cgroup::devices::{ALL, DeviceKind, DeviceRule, READ};
    let deny = DeviceRule { allow: false, kind: DeviceKind::All, major: None, minor: None, access: ALL };
    let fuse = DeviceRule { allow: true, kind: DeviceKind::Char, major: Some(10), minor: Some(229), access: READ };
    let open = std::fs::File::open(scope.group.unified().unwrap()).unwrap();
    let programs = || {
        let all = crate::kernel::bpf::attached_device_programs(std::os::fd::AsFd::as_fd(&open)).unwrap();
        let ours = |one: &std::os::fd::OwnedFd| crate::kernel::bpf::is_ours(std::os::fd::AsFd::as_fd(one)).unwrap();
        (all.len(), all.iter().filter(|one| ours(one)).count())
    };
    assert_eq!((show("DevicePolicy").as_str(), programs()), ("strict", (2, 1)));
    for (rules, policy, listed, count) in [
        (vec![deny, fuse], "strict", true, (2, 1)),
        (vec![deny], "strict", false, (2, 1)),
        (vec![DeviceRule { allow: true, ..deny }], "auto", false, (0, 0)),
    ] {
        let changed = Resources { devices: rules, ..Resources::default() };
        let plan = plan_update(resources, &changed, &scope.group, options).unwrap();
        scope.group.apply(&plan).unwrap();
        assert_eq!(show("DevicePolicy"), policy);
        let list = show("DeviceAllow");
        assert_eq!(list.contains("/dev/char/10:229 rm"), listed, "{list}");
        assert_eq!(programs(), count, "{changed:?}");
    }
}

/// Every way to the manager that is there leads to it.
#[test]
fn each_socket_answers() {
    let user = !nix::unistd::geteuid().is_root();
    for (path, routed) in bus::addresses(user) {
        let Ok(stream) = std::os::unix::net::UnixStream::connect(&path) else { continue };
        let mut bus = Bus::open(stream, routed).unwrap();
        let ask = |bus: &mut Bus, unit: &str| {
            let mut name = wire::Writer::default();
            name.text(unit);
            bus.manager("GetUnit", "s", name).unwrap()
        };
        let answer = ask(&mut bus, "-.slice").unwrap();
        assert_eq!(answer.texts, ["/org/freedesktop/systemd1/unit/_2d_2eslice"], "{path:?}");
        let refusal = ask(&mut bus, "no-such-thing.service").unwrap_err();
        assert_eq!(refusal.name, "org.freedesktop.systemd1.NoSuchUnit", "{path:?}");
    }
}
