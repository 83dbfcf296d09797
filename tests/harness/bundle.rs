//! A bundle: configuration, root file system, state directory and id of one test, gone when it is dropped.

use super::{Output, Runtime, cleanup, host, run_command, wait_until};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A test's container and everything it needs.
pub struct Bundle {
    /// Holds everything of the test: `bundle/`, `state/` and output files.
    pub dir: PathBuf,
    /// The container's id, unique on the machine.
    pub id: String,
    /// The runtime with this test's state directory.
    pub runtime: Runtime,
    config: Mutex<Value>,
    create: Mutex<Option<Output>>,
    files: AtomicUsize,
}

static COUNTER: AtomicUsize = AtomicUsize::new(0);

impl Bundle {
    /// A bundle whose process is `/init report`.
    pub fn new() -> Bundle {
        Bundle::with_args(&["report"])
    }

    /// A bundle whose process is the reporter with these words.
    pub fn with_args(words: &[&str]) -> Bundle {
        let base = std::env::var_os("KISTE_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        // Of fixed width: no id is the beginning of another one.
        let id = format!("kiste-test-{}-{:04}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let dir = base.join(&id);
        let rootfs = dir.join("bundle/rootfs");
        for part in [&rootfs, &dir.join("state")] {
            fs::create_dir_all(part).unwrap_or_else(|e| panic!("{}: {e}", part.display()));
        }
        for part in ["dev", "proc", "sys", "tmp"] {
            fs::create_dir(rootfs.join(part)).expect("a folder in the new root file system");
        }
        super::copy_program(&super::reporter_path(), &rootfs.join("init"));
        let program = super::runtime_path();
        let runtime = Runtime { program, dir: dir.clone(), root: dir.join("state"), options: Vec::new() };
        let config = Mutex::new(default_config(&id, host::is_root()));
        let bundle = Bundle { dir, id, runtime, config, create: Mutex::new(None), files: AtomicUsize::new(0) };
        bundle.args(words);
        bundle
    }

    /// The root file system's folder on the host.
    pub fn rootfs(&self) -> PathBuf {
        self.dir.join("bundle/rootfs")
    }

    /// A file or folder below the root file system, on the host.
    pub fn inside(&self, path: &str) -> PathBuf {
        self.rootfs().join(path.trim_start_matches('/'))
    }

    /// config.json's path.
    pub fn config_path(&self) -> PathBuf {
        self.dir.join("bundle/config.json")
    }

    /// Changes the configuration.
    pub fn edit(&self, change: impl FnOnce(&mut Value)) -> &Self {
        let mut config = self.config.lock().expect("the configuration");
        change(&mut config);
        fs::write(self.config_path(), config.to_string()).expect("config.json");
        self
    }

    /// The process becomes the reporter with these words.
    pub fn args(&self, words: &[&str]) -> &Self {
        let args: Vec<&str> = ["/init"].iter().chain(words).copied().collect();
        self.edit(|c| c["process"]["args"] = json!(args))
    }

    /// Sets the value at a JSON pointer; objects on the way are made.
    pub fn set(&self, pointer: &str, value: Value) -> &Self {
        self.edit(|c| *place(c, pointer) = value)
    }

    /// Takes away a member.
    pub fn remove(&self, pointer: &str) -> &Self {
        let (parent, key) = pointer.rsplit_once('/').expect("a JSON pointer");
        self.edit(|c| {
            if let Some(parent) = c.pointer_mut(parent).and_then(Value::as_object_mut) {
                parent.remove(key);
            }
        })
    }

    /// Appends to the array at a JSON pointer, which is made if it isn't there.
    pub fn push(&self, pointer: &str, value: Value) -> &Self {
        self.edit(|c| {
            let array = place(c, pointer);
            if array.is_null() {
                *array = json!([]);
            }
            array.as_array_mut().expect("an array").push(value);
        })
    }

    /// Appends a mount.
    pub fn mount(&self, destination: &str, kind: &str, source: &str, options: &[&str]) -> &Self {
        self.push("/mounts", json!({ "destination": destination, "type": kind, "source": source, "options": options }))
    }

    /// Takes away the mount at a destination.
    pub fn unmount(&self, destination: &str) -> &Self {
        self.edit(|c| {
            let mounts = c["mounts"].as_array_mut().expect("mounts");
            mounts.retain(|m| m["destination"] != destination);
        })
    }

    /// Takes away a namespace.
    pub fn without_namespace(&self, name: &str) -> &Self {
        self.edit(|c| {
            let namespaces = c["linux"]["namespaces"].as_array_mut().expect("namespaces");
            namespaces.retain(|n| n["type"] != name);
        })
    }

    /// Runs the runtime with these words.
    #[track_caller]
    pub fn call(&self, words: &[&str]) -> Output {
        self.runtime.call(words)
    }

    /// `run` in the foreground.
    #[track_caller]
    pub fn run(&self) -> Output {
        self.run_with(&[])
    }

    /// `run` with more options.
    #[track_caller]
    pub fn run_with(&self, options: &[&str]) -> Output {
        self.call(&self.words("run", options))
    }

    /// `run`, which must succeed, and the JSON it prints.
    #[track_caller]
    pub fn report(&self) -> Value {
        self.run().ok().json()
    }

    /// `create`.
    #[track_caller]
    pub fn create(&self) -> Output {
        self.create_with(&[])
    }

    /// `create` with more options. The process's output goes where `create`'s goes: see [`Bundle::output`].
    #[track_caller]
    pub fn create_with(&self, options: &[&str]) -> Output {
        self.call(&self.words("create", options))
    }

    /// `create` and `start`, which must succeed; afterwards [`Bundle::output`] is the process's.
    #[track_caller]
    pub fn launch(&self) -> &Self {
        *self.create.lock().expect("the output") = Some(self.create().ok());
        self.start().ok();
        self
    }

    /// What the process of [`Bundle::launch`] has written to standard output so far.
    pub fn output(&self) -> String {
        self.create.lock().expect("the output").as_ref().map(Output::again).unwrap_or_default()
    }

    /// Waits until the process of [`Bundle::launch`] has written this.
    #[track_caller]
    pub fn wait_output(&self, text: &str) {
        wait_until(&format!("{text:?} in the output"), || self.output().contains(text));
    }

    /// Waits until the process of [`Bundle::launch`] has ended, and parses its output as JSON.
    #[track_caller]
    pub fn launched_report(&self) -> Value {
        self.wait_status("stopped");
        let out = self.output();
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"))
    }

    /// `start`.
    #[track_caller]
    pub fn start(&self) -> Output {
        self.call(&["start", &self.id])
    }

    /// `state`, which must succeed.
    #[track_caller]
    pub fn state(&self) -> Value {
        self.call(&["state", &self.id]).ok().json()
    }

    /// The state's pid.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        self.state()["pid"].as_i64().expect("a pid") as i32
    }

    /// `kill`.
    #[track_caller]
    pub fn kill(&self, signal: &str) -> Output {
        self.call(&["kill", &self.id, signal])
    }

    /// `delete`.
    #[track_caller]
    pub fn delete(&self) -> Output {
        self.call(&["delete", &self.id])
    }

    /// `exec` of the reporter with these words.
    #[track_caller]
    pub fn exec(&self, words: &[&str]) -> Output {
        self.exec_with(&[], words)
    }

    /// `exec` of the reporter with options.
    #[track_caller]
    pub fn exec_with(&self, options: &[&str], words: &[&str]) -> Output {
        let all: Vec<&str> =
            ["exec"].iter().chain(options).chain(&[self.id.as_str(), "/init"]).chain(words).copied().collect();
        self.call(&all)
    }

    /// Waits for a status.
    #[track_caller]
    pub fn wait_status(&self, status: &str) {
        wait_until(&format!("status {status}"), || self.state()["status"] == status);
    }

    /// `create` or `run` with `--bundle` and the id.
    fn words<'a>(&'a self, command: &'a str, options: &[&'a str]) -> Vec<&'a str> {
        [command, "--bundle", "bundle"].into_iter().chain(options.iter().copied()).chain([self.id.as_str()]).collect()
    }

    /// A new file outside the root file system, with this content.
    pub fn host_file(&self, content: &str) -> PathBuf {
        let n = self.files.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(format!("file-{}", n));
        fs::write(&path, content).expect("a file of the test");
        path
    }

    /// A new folder outside the root file system.
    pub fn host_folder(&self) -> PathBuf {
        let n = self.files.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(format!("folder-{}", n));
        fs::create_dir(&path).expect("a folder of the test");
        path
    }

    /// A program of the host, which must succeed.
    #[track_caller]
    pub fn host_command(&self, program: &str, words: &[&str]) -> Output {
        run_command(std::process::Command::new(program).args(words), &self.dir, 30.0).ok()
    }

    /// Fails the test if something of the container is left: a process, a cgroup, a mount, state.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        assert_eq!(self.left_over(), Vec::<String>::new(), "something is left");
    }

    /// What is left of the container: processes, cgroups, mounts, state.
    pub fn left_over(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.runtime.root).into_iter().flatten().flatten().map(|e| e.path());
        let state = entries.filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().contains(&self.id)));
        let paths = state.chain(cleanup::cgroups(&self.id)).chain(cleanup::mounts(&self.dir));
        let processes = cleanup::processes(&self.dir).into_iter().map(|pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            format!("process {pid} {:?}", status.lines().take(4).collect::<Vec<_>>())
        });
        paths.map(|p| p.display().to_string()).chain(processes).collect()
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        if fs::read_dir(&self.runtime.root).is_ok_and(|mut d| d.next().is_some()) {
            let mut command = self.runtime.command(&["delete", "--force", &self.id]);
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
            if let Ok(mut child) = command.spawn() {
                if super::wait_for(&mut child, 15.0).is_none() {
                    let _ = child.kill();
                    let _ = child.wait();
                }
            }
        }
        cleanup::everything(&self.id, &self.dir);
    }
}

/// The value at a JSON pointer; objects on the way are made.
fn place<'a>(mut value: &'a mut Value, pointer: &str) -> &'a mut Value {
    for key in pointer.split('/').skip(1) {
        let key = key.replace("~1", "/").replace("~0", "~");
        value = match value {
            Value::Array(_) => &mut value[key.parse::<usize>().expect("an index")],
            _ => &mut value[key],
        };
    }
    value
}

/// The configuration tests start from: what `spec` gives, with the reporter, without terminal, seccomp and masks; for a
/// plain user with a user namespace that maps root to them.
pub fn default_config(id: &str, root: bool) -> Value {
    let capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    let mut config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": { "uid": 0, "gid": 0 }, "args": ["/init"], "env": ["PATH=/bin:/usr/bin:/"], "cwd": "/",
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs" },
        "hostname": "kiste-test",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] },
        ],
        "linux": {
            "namespaces": [{ "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }],
        },
    });
    if root {
        config["linux"]["cgroupsPath"] = json!(format!("/kiste-test/{id}"));
    } else {
        let (uid, gid) = host::ids();
        config["linux"]["namespaces"].as_array_mut().expect("an array").push(json!({ "type": "user" }));
        config["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": uid, "size": 1 }]);
        config["linux"]["gidMappings"] = json!([{ "containerID": 0, "hostID": gid, "size": 1 }]);
    }
    config
}
