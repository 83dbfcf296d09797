//! The commands that need a container but no engine: a record is written for a process of the test's own, and the binary
//! is asked about it.

mod harness;

use kiste::cgroup::{self, Group, Layout};
use kiste::error::Origin;
use kiste::state::{Phase, ProcessIdentity, Record, StateRoot};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of state with one container in it, whose first process is a sleep(1); gone when dropped.
struct World {
    directory: PathBuf,
    sleeper: Child,
    group: Option<Group>,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl World {
    fn new() -> World {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("kiste-commands-{}-{number}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let sleeper = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
        let world = World { directory, sleeper, group: None };
        world.container("web", world.sleeper.id() as i32);
        world
    }

    fn container(&self, id: &str, pid: i32) {
        let root = StateRoot::open(Some(&self.directory.join("state"))).unwrap();
        let mut reserved = root.reserve(id).unwrap();
        let mut record = Record::creating(id, "/b".into(), "/b/rootfs".into(), 0).unwrap();
        record.annotations.insert("a".into(), "1".into());
        record.phase = Phase::Created;
        record.cgroup = serde_json::to_value(&self.group).unwrap();
        record.init = Some(ProcessIdentity::read(pid).unwrap());
        reserved.write_record(&record).unwrap();
        reserved.keep();
    }

    /// A world whose container has a cgroup; none where this user may make none.
    fn with_cgroup(test: &str) -> Option<World> {
        let mut world = World::new();
        world.good("delete --force web");
        world.sleeper.wait().unwrap();
        let path = format!("/{}", world.directory.file_name().unwrap().to_str().unwrap());
        let path = cgroup::Path::new(&path, "web", &Origin::fixed("test")).unwrap();
        let layout = Layout::read().unwrap();
        let plan = cgroup::plan(&cgroup::Resources::default(), &layout, &path, &cgroup::Options::default()).unwrap();
        let created = match cgroup::create(&plan, &world.directory) {
            Ok(created) if !created.group.directories.is_empty() => created,
            other => {
                harness::skip(test, &format!("no cgroup can be made: {other:?}"));
                return None;
            }
        };
        let enter: Vec<String> = created
            .group
            .directories
            .iter()
            .filter(|directory| !directory.late)
            .map(|directory| format!("echo 0 > {}/cgroup.procs", directory.path().display()))
            .collect();
        let script = format!("{} && exec sleep 600", enter.join(" && "));
        world.sleeper = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).spawn().unwrap();
        let pid = world.sleeper.id() as i32;
        let comm = format!("/proc/{pid}/comm");
        while std::fs::read_to_string(&comm).unwrap() != "sleep\n" {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        world.group = Some(created.group);
        world.container("web", pid);
        Some(world)
    }

    /// A file of the group, in the v2 hierarchy or that of a v1 controller.
    fn read(&self, unified: &str, controller: &str, legacy: &str) -> Option<String> {
        let group = self.group.as_ref()?;
        let path = match group.legacy(controller) {
            Some(path) => path.join(legacy),
            None => group.unified()?.join(unified),
        };
        std::fs::read_to_string(path).ok()
    }

    fn kiste(&self, words: &str) -> Output {
        Command::new(harness::runtime_path())
            .arg("--root")
            .arg(self.directory.join("state"))
            .args(words.split_whitespace())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Standard output of a command that must succeed.
    #[track_caller]
    fn good(&self, words: &str) -> String {
        let output = self.kiste(words);
        assert!(output.status.success(), "{words}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Standard error of a command that must fail: with status 255 if it is exec, as runc has it, else with 1.
    #[track_caller]
    fn bad(&self, words: &str) -> String {
        let output = self.kiste(words);
        let expected = if words.starts_with("exec ") { 255 } else { 1 };
        assert_eq!(output.status.code(), Some(expected), "{words}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn state(&self, id: &str) -> serde_json::Value {
        serde_json::from_str(&self.good(&format!("state {id}"))).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.sleeper.kill().ok();
        if let Some(group) = &self.group {
            group.kill(9).ok();
            group.remove().ok();
        }
        self.sleeper.wait().ok();
        std::fs::remove_dir_all(&self.directory).ok();
    }
}

#[test]
fn a_container_is_shown_killed_and_deleted() {
    let mut world = World::new();
    let pid = world.sleeper.id();
    let state = world.state("web");
    assert_eq!((state["status"].as_str(), state["pid"].as_u64()), (Some("running"), Some(u64::from(pid))));
    assert_eq!((state["bundle"].as_str(), state["annotations"]["a"].as_str()), (Some("/b"), Some("1")));

    assert_eq!(world.good("list --quiet"), "web\n");
    let table = world.good("list");
    assert!(table.lines().nth(1).unwrap().starts_with("web ") && table.contains("running"), "{table}");
    let list: serde_json::Value = serde_json::from_str(&world.good("list --format=json")).unwrap();
    assert_eq!(list[0]["owner"], "root");

    assert_eq!(world.good("ps --format json web"), format!("[{pid}]\n"));
    let table = world.good("ps web -o pid,comm");
    assert_eq!(table.lines().count(), 2, "{table}");
    assert!(table.contains("sleep"), "{table}");
    assert!(world.bad("ps web -o comm").contains("PID"));

    assert!(world.bad("start web").contains("cannot start an already running container"));
    assert!(world.bad("delete web").contains("not stopped: running"));
    world.good("kill web 0");
    world.good("kill web TERM");
    world.sleeper.wait().unwrap();
    let state = world.state("web");
    assert_eq!((state["status"].as_str(), state["pid"].as_u64()), (Some("stopped"), Some(0)));
    assert!(world.bad("kill web").contains("container not running"));
    assert!(world.bad("exec web true").contains("cannot exec in a stopped container"));
    assert!(world.bad("start web").contains("cannot start a container that has stopped"));
    world.good("kill --all web 9");
    world.good("delete web");
    assert!(world.bad("state web").contains("does not exist"));
    assert!(world.bad("delete web").contains("does not exist"));
    world.good("delete --force web");
    assert_eq!(world.good("list --format json"), "[]\n");
}

#[test]
fn force_kills_before_it_deletes() {
    let mut world = World::new();
    world.good("delete --force web");
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(world.sleeper.wait().unwrap().signal(), Some(9));
    assert_eq!(world.good("list -q"), "");
}

#[test]
fn expressions_reach_many() {
    let mut world = World::new();
    world.container("web-1", world.sleeper.id() as i32);
    world.container("db", world.sleeper.id() as i32);
    // Both are one process here, and the second kill may come after its end.
    world.good("kill --all --regex ^web KILL");
    world.sleeper.wait().unwrap();
    world.good("delete -r ^web");
    assert_eq!(world.good("list -q"), "db\n");
    // Nothing matches: nothing to do.
    world.good("delete -r ^web");
}

#[test]
fn a_container_without_cgroup_cannot_be_paused() {
    let world = World::new();
    assert!(world.bad("pause web").contains("without cgroup"));
    assert!(world.bad("resume web").contains("not paused"));
    assert!(world.bad("pause none").contains("does not exist"));
}

#[test]
fn a_cgroup_is_paused_changed_and_watched() {
    let Some(mut world) = World::with_cgroup("a_cgroup_is_paused_changed_and_watched") else { return };
    world.good("pause web");
    assert_eq!(world.state("web")["status"], "paused");
    assert!(world.bad("exec web true").contains("cannot exec in a paused container"));
    assert!(world.bad("pause web").contains("paused already"));
    world.good("resume web");
    assert_eq!(world.state("web")["status"], "running");
    assert!(world.bad("resume web").contains("not paused"));

    let stats: serde_json::Value = serde_json::from_str(&world.good("events --stats web")).unwrap();
    assert_eq!((stats["type"].as_str(), stats["id"].as_str()), (Some("stats"), Some("web")));
    assert!(stats["data"]["memory"]["usage"].is_object());

    if world.read("pids.max", "pids", "pids.max").is_some() {
        world.good("update --pids-limit 77 web");
        assert_eq!(world.read("pids.max", "pids", "pids.max").unwrap(), "77\n");
        world.good("update --pids-limit -1 web");
        assert_eq!(world.read("pids.max", "pids", "pids.max").unwrap(), "max\n");
    }
    if world.read("memory.max", "memory", "memory.limit_in_bytes").is_some() {
        let file = world.directory.join("limits.json");
        std::fs::write(&file, r#"{"memory":{"limit":67108864},"devices":[{"allow":false,"access":"rwm"}]}"#).unwrap();
        world.good(&format!("update -r {} web", file.display()));
        assert_eq!(world.read("memory.max", "memory", "memory.limit_in_bytes").unwrap(), "67108864\n");
    }
    assert!(world.bad("update --memory 1x web").contains("--memory"));
    assert!(world.bad("update --l3-cache-schema x web").contains("--l3-cache-schema"));

    // Killed while frozen: it ends all the same, and its group goes with it.
    world.good("pause web");
    world.good("delete --force web");
    world.sleeper.wait().unwrap();
    let left: Vec<PathBuf> = world.group.as_ref().unwrap().directories.iter().map(|one| one.path()).collect();
    assert!(left.iter().all(|path| !path.exists()), "{left:?}");
}

#[test]
fn events_end_with_the_container() {
    let Some(mut world) = World::with_cgroup("events_end_with_the_container") else { return };
    let mut events = Command::new(harness::runtime_path());
    events.arg("--root").arg(world.directory.join("state")).args(["events", "--interval", "10ms", "web"]);
    let mut events = events.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(events.stdout.take().unwrap()));
    let first = lines.next();
    world.good("kill web KILL");
    world.sleeper.wait().unwrap();
    let read: Vec<String> = first.into_iter().chain(lines).map(Result::unwrap).collect();
    let output = events.wait_with_output().unwrap();
    // A container without a memory controller has no such events to wait for.
    if String::from_utf8_lossy(&output.stderr).contains("no memory cgroup") {
        return harness::skip("events_end_with_the_container", "no memory controller");
    }
    assert!(output.status.success(), "{output:?}");
    assert!(!read.is_empty() && read.iter().all(|line| line.starts_with("{\"type\":\"stats\"")), "{read:?}");
}

/// A failed `exec` must not look like a command that failed; runc's 255 for all of it.
#[test]
fn a_failed_exec_is_255() {
    let world = World::new();
    for words in ["exec none true", "exec web true", "exec --process /nonexistent web"] {
        assert_eq!(world.kiste(words).status.code(), Some(255), "{words}");
    }
    // What cannot be understood is no exec yet.
    assert_eq!(world.kiste("exec web").status.code(), Some(1));
    assert_eq!(world.kiste("run --bundle /nonexistent web-1").status.code(), Some(1));
}

/// runtime-spec runtime.md, "Lifecycle" 13: after the container is deleted, before the operation returns.
#[test]
fn poststop_hooks_run_when_the_container_is_gone() {
    let world = World::new();
    let told = world.directory.join("told");
    let script = format!("test ! -e {}/state/web && cat > {}", world.directory.display(), told.display());
    let config = serde_json::json!({
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs"},
        "hooks": {"poststop": [
            {"path": "/bin/false"},
            {"path": "/bin/sh", "args": ["sh", "-c", script]},
        ]},
    });
    let root = StateRoot::open(Some(&world.directory.join("state"))).unwrap();
    let container = root.container("web").unwrap();
    container.store_config(config.to_string().as_bytes()).unwrap();
    let record = Record { bundle: world.directory.clone(), ..container.record().unwrap() };
    container.write_record(&record).unwrap();
    world.good("delete --force web");
    let state: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(told).unwrap()).unwrap();
    assert_eq!((state["id"].as_str(), state["status"].as_str()), (Some("web"), Some("stopped")));
}

#[test]
fn a_damaged_record_can_be_got_rid_of() {
    let world = World::new();
    std::fs::write(world.directory.join("state/web/record"), "{").unwrap();
    assert!(world.bad("state web").contains("damaged"));
    assert_eq!(world.good("list -q"), "");
    assert!(world.bad("delete web").contains("damaged"));
    world.good("delete --force web");
    assert!(world.bad("state web").contains("does not exist"));
}

/// The last `level:error` of the JSON log is what containerd and podman show.
#[test]
fn failures_are_logged() {
    let world = World::new();
    let log = world.directory.join("log.json");
    let words = format!("--log {} --log-format json state none", log.display());
    let printed = world.bad(&words);
    let text = std::fs::read_to_string(&log).unwrap();
    let line: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(line["level"], "error");
    assert!(line["msg"].as_str().unwrap().contains("does not exist"), "{line}");
    assert!(line["time"].as_str().unwrap().ends_with('Z'));
    assert_eq!(printed, format!("kiste: {}\n", line["msg"].as_str().unwrap()));
    // Appended to, and by what cannot be understood as well.
    world.bad(&format!("--log {} --log-format json state a b", log.display()));
    assert_eq!(std::fs::read_to_string(&log).unwrap().lines().count(), 2);
    assert!(world.bad("--log /nonexistent/x list").contains("--log: cannot open"));
}

#[test]
fn features_are_what_the_specification_says() {
    let world = World::new();
    let text = world.good("features");
    let features: oci_spec::runtime::Features = serde_json::from_str(&text).unwrap();
    assert_eq!(features.oci_version_max(), "1.3.0");
    let linux = features.linux().as_ref().unwrap();
    assert_eq!(linux.namespaces().as_ref().unwrap().len(), 8);
    assert!(linux.capabilities().as_ref().unwrap().contains(&"CAP_CHECKPOINT_RESTORE".to_owned()));
    // The kubelet lets pods with user namespaces run only if this is so.
    assert_eq!(*linux.mount_extensions().as_ref().unwrap().idmap().as_ref().unwrap().enabled(), Some(true));
}

#[test]
fn called_as_another_runtime() {
    use std::os::unix::process::CommandExt;
    for (name, first) in [("kiste", "runc version 1."), ("runc", "runc version 1."), ("/x/crun", "crun version 1.")] {
        let output = Command::new(harness::runtime_path()).arg0(name).arg("--version").output().unwrap();
        assert!(output.status.success() && output.stdout.starts_with(first.as_bytes()), "{name}: {output:?}");
    }
}
