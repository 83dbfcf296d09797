//! What this machine's kernel does with a group: run as root; the machine's own hierarchies (v1, hybrid or v2).

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::error::Origin;

/// A group that is killed and removed when the test ends, however it ends.
struct Guard(Created);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.group.kill(libc::SIGKILL);
        let _ = self.0.group.remove();
    }
}

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

/// Another container at each call.
fn owner() -> std::path::PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("/run/kiste-test-{}/{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)).into()
}

fn fresh_path() -> Path {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("/kiste-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    Path::new(&name, "t", &Origin::fixed("/linux/cgroupsPath")).unwrap()
}

/// A group of these resources, or `None` where this machine has no such controller.
fn group(resources: &Resources, options: &Options) -> Option<Guard> {
    if !is_root() {
        return None;
    }
    let layout = Layout::read().unwrap();
    let plan = plan(resources, &layout, &fresh_path(), options).unwrap();
    match create(&plan, &owner()) {
        Ok(created) => Some(Guard(created)),
        Err(error) if error.to_string().contains("is not available") => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Waits for a condition, at most half a minute.
#[track_caller]
fn until(mut condition: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if condition() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("the condition did not come true in 30 seconds");
}

/// The shell has entered every hierarchy and become what it was to run.
fn runs_sleep(child: &Child) -> bool {
    std::fs::read_to_string(format!("/proc/{}/comm", child.id())).is_ok_and(|name| name.trim() == "sleep")
}

impl Guard {
    /// Runs a shell script inside the group.
    fn spawn(&self, script: &str) -> Child {
        let mut enter = String::new();
        for directory in &self.0.group.directories {
            let file = if directory.legacy.is_empty() { "cgroup.procs" } else { "tasks" };
            if !directory.late {
                enter.push_str(&format!("echo 0 > {}/{file} || exit 99\n", directory.path().display()));
            }
        }
        Command::new("sh")
            .args(["-c", &format!("{enter}{script}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn run(&self, script: &str) -> (i32, String) {
        let output = self.spawn(script).wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap_or(-1), text)
    }

    fn paths(&self) -> Vec<std::path::PathBuf> {
        self.0.group.directories.iter().map(GroupDirectory::path).collect()
    }
}

#[test]
fn a_group_is_made_entered_listed_killed_and_removed() {
    for placement in [Placement::Every, Placement::Needed] {
        let Some(guard) = group(&Resources::default(), &Options { placement, ..Options::default() }) else { return };
        let mut child = guard.spawn("sleep 100 & exec sleep 101");
        let pid = child.id() as i32;
        until(|| guard.0.group.pids(true).unwrap().len() == 2);
        assert!(guard.0.group.pids(true).unwrap().contains(&pid));
        guard.0.group.kill(libc::SIGKILL).unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), Some(libc::SIGKILL));
        guard.0.group.remove().unwrap();
        assert!(guard.paths().iter().all(|path| !path.exists()));
        guard.0.group.remove().unwrap();
        guard.0.group.kill(libc::SIGKILL).unwrap();
    }
}

#[test]
fn a_group_in_use_is_not_taken() {
    let Some(guard) = group(&Resources::default(), &Options::default()) else { return };
    let mut child = guard.spawn("exec sleep 100");
    until(|| runs_sleep(&child));
    let name = format!("/{}", guard.0.group.directories[0].group);
    let path = Path::new(&name, "t", &Origin::fixed("/linux/cgroupsPath")).unwrap();
    let again = plan(&Resources::default(), &Layout::read().unwrap(), &path, &Options::default()).unwrap();
    let error = create(&again, &owner()).unwrap_err();
    assert!(error.to_string().contains("belongs to the container in /run/kiste-test-"), "{error}");
    super::owner::release(&guard.paths()[0]);
    let error = create(&again, &owner()).unwrap_err();
    assert!(error.to_string().contains("is not empty"), "{error}");
    assert!(guard.paths()[0].exists(), "a refused create removes nothing of the owner's");
    guard.0.group.kill(libc::SIGKILL).unwrap();
    child.wait().unwrap();
}

#[test]
fn the_pids_limit_bites() {
    let resources = Resources { pids_limit: Some(3), ..Resources::default() };
    let Some(guard) = group(&resources, &Options::default()) else { return };
    let (status, text) = guard.run("sleep 0.1 & sleep 0.1 & sleep 0.1 & sleep 0.1 & sleep 0.1 & wait; echo through");
    assert!(status != 0 || !text.contains("through"), "{text}");
    assert!(text.to_lowercase().contains("fork"), "{text}");
}

#[test]
fn the_memory_limit_bites() {
    let mut resources = Resources::default();
    (resources.memory.limit, resources.memory.swap) = (Some(16 << 20), Some(16 << 20));
    let Some(guard) = group(&resources, &Options::default()) else { return };
    // tail keeps its input, which has no line break, in memory.
    let (_, text) = guard.run("head -c 64M /dev/zero | tail | wc -c; sleep 0");
    assert!(!text.contains("67108864"), "64 MiB fitted into 16: {text}");
}

#[test]
fn the_processor_quota_throttles() {
    let mut resources = Resources::default();
    (resources.cpu.quota, resources.cpu.period) = (Some(10_000), Some(100_000));
    let Some(guard) = group(&resources, &Options::default()) else { return };
    let (_, text) = guard.run("timeout 0.6 sh -c 'while :; do :; done'; exit 0");
    let throttled = guard.paths().iter().any(|path| {
        let stat = std::fs::read_to_string(path.join("cpu.stat")).unwrap_or_default();
        stat.lines().any(|line| line.strip_prefix("nr_throttled ").is_some_and(|count| count != "0"))
    });
    assert!(throttled, "{text}");
}

#[test]
fn devices_are_denied_by_default() {
    let Some(guard) = group(&Resources::default(), &Options::default()) else { return };
    let node = format!("/dev/shm/kiste-test-{}", std::process::id());
    let script =
        format!("cat /dev/null && echo null-ok; head -c1 /dev/kmsg; mknod {node} c 1 1 && echo mknod-ok; rm -f {node}");
    let (_, text) = guard.run(&script);
    assert!(text.contains("null-ok") && text.contains("mknod-ok"), "{text}");
    assert!(text.contains("/dev/kmsg") && text.contains("Operation not permitted"), "{text}");
}

#[test]
fn frozen_processes_stand_still() {
    let Some(guard) = group(&Resources::default(), &Options::default()) else { return };
    let mut child = guard.spawn("while :; do :; done");
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        stat.rsplit(')').next().unwrap().split_whitespace().nth(11).unwrap().parse::<u64>().unwrap()
    };
    until(|| !guard.0.group.pids(true).unwrap().is_empty() && ticks() >= 3);
    guard.0.group.freeze().unwrap();
    assert!(guard.0.group.frozen().unwrap());
    let before = ticks();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(ticks(), before);
    guard.0.group.thaw().unwrap();
    assert!(!guard.0.group.frozen().unwrap());
    until(|| ticks() > before);
    guard.0.group.freeze().unwrap();
    guard.0.group.kill(libc::SIGKILL).unwrap();
    child.wait().unwrap();
}

#[test]
fn a_failed_create_leaves_nothing() {
    if !is_root() {
        return;
    }
    let mut resources = Resources::default();
    resources.cpu.cpus = Some("4000".into());
    let path = fresh_path();
    let plan = plan(&resources, &Layout::read().unwrap(), &path, &Options::default()).unwrap();
    let error = create(&plan, &owner()).unwrap_err();
    assert_eq!(error.origin, Some(Origin::fixed("/linux/resources/cpu/cpus")), "{error}");
    assert!(plan.hierarchies.iter().all(|hierarchy| !hierarchy.directory().exists()));
}

#[test]
fn an_update_reaches_a_controller_that_was_not_needed_before() {
    let options = Options { placement: Placement::Needed, ..Options::default() };
    let Some(guard) = group(&Resources::default(), &options) else { return };
    let mut child = guard.spawn("exec sleep 100");
    until(|| runs_sleep(&child));
    let changed = Resources { pids_limit: Some(7), ..Resources::default() };
    let update = plan_update(&Resources::default(), &changed, &guard.0.group, &options).unwrap();
    match guard.0.group.apply(&update) {
        Ok(_) => {}
        Err(error) if error.to_string().contains("is not available") => {
            guard.0.group.kill(libc::SIGKILL).unwrap();
            child.wait().unwrap();
            return;
        }
        Err(error) => panic!("{error}"),
    }
    let directory = guard.0.group.legacy("pids").or(guard.0.group.unified()).unwrap();
    assert_eq!(std::fs::read_to_string(directory.join("pids.max")).unwrap().trim(), "7");
    assert_eq!(std::fs::read_to_string(directory.join("pids.current")).unwrap().trim(), "1");
    guard.0.group.kill(libc::SIGKILL).unwrap();
    child.wait().unwrap();
}

#[test]
fn the_out_of_memory_killer_is_reported_and_counted() {
    let mut resources = Resources::default();
    (resources.memory.limit, resources.memory.swap) = (Some(16 << 20), Some(16 << 20));
    let Some(guard) = group(&resources, &Options::default()) else { return };
    let mut holder = guard.spawn("exec sleep 100");
    until(|| runs_sleep(&holder));
    let mut watch = guard.0.group.oom_events().unwrap();
    let short = std::time::Duration::from_millis(20);
    assert_eq!(watch.wait(Some(short)).unwrap(), OomEvent::Timeout);
    // tail is the largest and dies; an echo is a word that only the living say.
    let eater = guard.spawn("head -c 64M /dev/zero | tail | wc -c");
    let long = std::time::Duration::from_secs(20);
    let mut kills = 0;
    while kills == 0 {
        match watch.wait(Some(long)).unwrap() {
            OomEvent::Oom(count) => kills += count,
            other => panic!("{other:?}"),
        }
    }
    let _ = eater.wait_with_output();
    let stats = guard.0.group.stats().unwrap();
    assert!(stats.memory.event_count["oom_kill"] >= kills, "{stats:?}");
    assert!(stats.memory.usage.max >= 15 << 20 && stats.memory.usage.limit == 16 << 20, "{stats:?}");
    guard.0.group.kill(libc::SIGKILL).unwrap();
    holder.wait().unwrap();
    while let OomEvent::Oom(_) = watch.wait(Some(long)).unwrap() {}
    assert_eq!(watch.wait(Some(long)).unwrap(), OomEvent::Empty);
}

#[test]
fn statistics_show_what_was_used() {
    let resources = Resources { pids_limit: Some(20), ..Resources::default() };
    let Some(guard) = group(&resources, &Options::default()) else { return };
    let mut child = guard.spawn("timeout 0.3 sh -c 'while :; do :; done'; exec sleep 100");
    until(|| guard.0.group.stats().unwrap().cpu.usage.total > 50_000_000);
    until(|| guard.0.group.stats().unwrap().pids.current == 1);
    let stats = guard.0.group.stats().unwrap();
    assert!(stats.cpu.usage.total > 50_000_000, "{:?}", stats.cpu);
    assert!(stats.cpu.usage.user + stats.cpu.usage.kernel > 0, "{:?}", stats.cpu);
    assert_eq!((stats.pids.current, stats.pids.limit), (1, 20));
    if guard.0.group.legacy("memory").is_some() {
        assert!(stats.memory.usage.usage > 0 && stats.memory.raw.len() > 10, "{:?}", stats.memory);
    }
    let json = serde_json::to_string(&stats).unwrap();
    assert_eq!(serde_json::from_str::<Stats>(&json).unwrap(), stats);
    guard.0.group.kill(libc::SIGKILL).unwrap();
    child.wait().unwrap();
    guard.0.group.remove().unwrap();
    assert!(guard.0.group.stats().is_err());
}

/// The value of a file in whichever hierarchy has it.
fn value(guard: &Guard, names: &[&str]) -> Option<String> {
    let files = guard.paths().into_iter().flat_map(|path| names.iter().map(move |name| path.join(name)));
    let mut values = files.filter_map(|file| std::fs::read_to_string(file).ok());
    values.next().map(|text| text.trim().to_owned())
}

#[test]
fn values_arrive_and_updates_change_them_in_any_order() {
    let mut resources = Resources::default();
    (resources.memory.limit, resources.memory.swap) = (Some(64 << 20), Some(128 << 20));
    (resources.memory.reservation, resources.pids_limit) = (Some(8 << 20), Some(50));
    resources.cpu = Cpu { shares: Some(512), quota: Some(20_000), period: Some(100_000), ..Cpu::default() };
    (resources.cpu.cpus, resources.cpu.mems) = (Some("0".into()), Some("0".into()));
    let Some(guard) = group(&resources, &Options::default()) else { return };
    let is = |names: &[&str], values: &[&str]| {
        let found = value(&guard, names).unwrap_or_else(|| panic!("no {names:?}"));
        assert!(values.contains(&found.as_str()), "{names:?}: {found}");
    };
    is(&["memory.max", "memory.limit_in_bytes"], &["67108864"]);
    is(&["memory.swap.max", "memory.memsw.limit_in_bytes"], &["67108864", "134217728"]);
    is(&["cpu.weight", "cpu.shares"], &["59", "512"]);
    is(&["cpu.max", "cpu.cfs_quota_us"], &["20000 100000", "20000"]);
    is(&["cpuset.cpus"], &["0"]);
    is(&["pids.max"], &["50"]);
    // Both limits up, then both down: whichever comes first, one order is invalid on v1.
    for (limit, swap) in [(256i64 << 20, 256i64 << 20), (32 << 20, 48 << 20), (-1, -1)] {
        let mut changed = Resources { pids_limit: Some(-1), ..Resources::default() };
        (changed.memory.limit, changed.memory.swap) = (Some(limit), Some(swap));
        (changed.cpu.quota, changed.cpu.period) = (Some(500_000), Some(1_000_000));
        let plan = plan_update(&resources, &changed, &guard.0.group, &Options::default()).unwrap();
        guard.0.group.apply(&plan).unwrap();
        let limit = if limit < 0 { "max".into() } else { limit.to_string() };
        is(&["memory.max", "memory.limit_in_bytes"], &[&limit, "9223372036854771712"]);
        is(&["cpu.max", "cpu.cfs_quota_us"], &["500000 1000000", "500000"]);
        is(&["pids.max"], &["max"]);
    }
}

#[test]
fn an_update_below_what_is_in_use_is_refused_when_asked() {
    let mut resources = Resources::default();
    resources.memory.limit = Some(64 << 20);
    let Some(guard) = group(&resources, &Options::default()) else { return };
    let mut child = guard.spawn("exec sleep 100");
    until(|| runs_sleep(&child));
    let mut changed = Resources::default();
    (changed.memory.limit, changed.memory.check_before_update) = (Some(4096), Some(true));
    let plan = plan_update(&resources, &changed, &guard.0.group, &Options::default()).unwrap();
    let error = guard.0.group.apply(&plan).unwrap_err();
    assert!(error.to_string().contains("is below what is in use"), "{error}");
    assert_eq!(error.origin, Some(Origin::fixed("/linux/resources/memory/limit")));
    assert_eq!(value(&guard, &["memory.max", "memory.limit_in_bytes"]).unwrap(), "67108864");
    guard.0.group.kill(libc::SIGKILL).unwrap();
    child.wait().unwrap();
}

#[test]
fn device_rules_can_be_replaced() {
    let Some(guard) = group(&Resources::default(), &Options::default()) else { return };
    let read = || guard.run("true </dev/kmsg && echo may").1.contains("may");
    let kmsg = devices::DeviceRule {
        allow: true,
        kind: devices::DeviceKind::Char,
        major: Some(1),
        minor: Some(11),
        access: devices::READ,
    };
    assert!(!read());
    for allow in [true, false, true] {
        let changed = Resources { devices: vec![devices::DeviceRule { allow, ..kmsg }], ..Resources::default() };
        let plan = plan_update(&Resources::default(), &changed, &guard.0.group, &Options::default()).unwrap();
        guard.0.group.apply(&plan).unwrap();
        assert_eq!(read(), allow);
    }
}

#[test]
fn a_child_can_be_born_in_the_v2_group_and_exec_finds_sub_groups() {
    let Some(guard) = group(&Resources::default(), &Options::default()) else { return };
    let Some(unified) = guard.0.group.unified() else { return };
    std::fs::create_dir(unified.join("inner")).unwrap();
    let only_v2 = Group { directories: guard.0.group.directories[..1].to_vec(), ..guard.0.group.clone() };
    let opened = only_v2.open_for_exec(&[(None, "/inner".into())]).unwrap();
    let directory = opened.v2_directory.unwrap();
    // The body makes no allocation, as this process has other threads.
    let body = || crate::kernel::raw::poll(&mut [], 20_000).map_or(1, |_| 0);
    let child = crate::kernel::owned::fork_into(0, Some(std::os::fd::AsFd::as_fd(&directory)), body).unwrap();
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", child.pid)).unwrap();
    let expected = format!("0::/{}/inner", guard.0.group.directories[0].group);
    let pids = (guard.0.group.pids(false).unwrap(), guard.0.group.pids(true).unwrap());
    guard.0.group.kill(libc::SIGKILL).unwrap();
    let (_, status) = crate::kernel::raw::wait4(child.pid, 0).unwrap();
    assert!(groups.lines().any(|line| line == expected), "{groups}");
    assert_eq!(pids, (vec![], vec![child.pid]));
    assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL);
    assert!(only_v2.open_for_exec(&[(None, "../..".into())]).is_err());
    assert!(only_v2.open_for_exec(&[(None, "missing".into())]).is_err());
}

#[test]
fn a_delegated_group_belongs_to_its_owner_and_keeps_its_limits() {
    use std::os::unix::fs::MetadataExt;
    let resources = Resources::default();
    let options = Options { delegate_to: Some((54_321, 54_322)), ..Options::default() };
    let Some(guard) = group(&resources, &options) else { return };
    let Some(path) = guard.0.group.unified() else { return };
    let owner = |name: &str| std::fs::metadata(path.join(name)).map(|data| (data.uid(), data.gid())).unwrap();
    assert_eq!(owner(""), (54_321, 54_322));
    assert_eq!(owner("cgroup.procs"), (54_321, 54_322));
    assert_eq!(owner("cgroup.subtree_control"), (54_321, 54_322));
    assert_eq!(owner("cgroup.max.descendants"), (0, 0));
    let offered = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let available = std::fs::read_to_string(path.join("cgroup.controllers")).unwrap();
    assert!(offered.split_whitespace().all(|name| available.contains(name)), "{offered} / {available}");
}

/// Without privilege: a delegated cgroup works, and without one a single warning names what is lost.
#[test]
fn without_privilege_one_warning_says_what_is_not_applied() {
    if nix::unistd::geteuid().is_root() {
        // The same test once more, as nobody.
        let name = "cgroup::live_tests::without_privilege_one_warning_says_what_is_not_applied";
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .output();
        match output {
            Err(error) => eprintln!("skipped: setpriv: {error}"),
            // 126, 127: nobody may not read the folder this test was built in.
            Ok(output) if matches!(output.status.code(), Some(126 | 127)) => eprintln!("skipped: {output:?}"),
            Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout)),
        }
        return;
    }
    let mut resources = Resources { pids_limit: Some(33), ..Resources::default() };
    resources.memory.limit = Some(64 << 20);
    let layout = Layout::read().unwrap();
    let path = Path::parse(None, &format!("kiste-test-rootless-{}", std::process::id())).unwrap();
    let options = Options { rootless: true, ..Options::default() };
    let plan = plan(&resources, &layout, &path, &options).unwrap();
    let created = Guard(create(&plan, &owner()).unwrap());
    assert_eq!(created.0.join.len(), plan.legacy_joins());
    match created.0.group.unified().filter(|_| layout.mode == Mode::V2) {
        Some(group) => {
            assert_eq!(created.0.warnings, [] as [String; 0]);
            assert_eq!(std::fs::read_to_string(group.join("pids.max")).unwrap().trim(), "33");
        }
        None => {
            let [warning] = created.0.warnings.as_slice() else { panic!("{:?}", created.0.warnings) };
            let start = "not applied: /linux/resources/memory/limit, /linux/resources/pids/limit: cannot ";
            assert!(warning.starts_with(start), "{warning}");
        }
    }
}
