//! What a container looks like, from inside and from the host, as a flat list of key and value in which nothing is left
//! that differs from run to run.

use crate::harness::pty::ConsoleSocket;
use crate::harness::{Bundle, host};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileTypeExt;

/// What was seen, by key (`capabilities/bounding`, `mounts//proc/options`).
pub type Seen = BTreeMap<String, Value>;

/// Files of control groups that limits are written to.
const LIMITS: &[(&str, &[&str])] = &[
    (
        "memory",
        &[
            "memory.limit_in_bytes",
            "memory.memsw.limit_in_bytes",
            "memory.soft_limit_in_bytes",
            "memory.swappiness",
            "memory.oom_control",
            "memory.kmem.tcp.limit_in_bytes",
            "memory.max",
            "memory.low",
            "memory.swap.max",
            "memory.high",
        ],
    ),
    (
        "cpu",
        &[
            "cpu.shares",
            "cpu.cfs_quota_us",
            "cpu.cfs_period_us",
            "cpu.cfs_burst_us",
            "cpu.idle",
            "cpu.rt_runtime_us",
            "cpu.weight",
            "cpu.max",
            "cpu.max.burst",
        ],
    ),
    ("cpuset", &["cpuset.cpus", "cpuset.mems"]),
    ("pids", &["pids.max"]),
    (
        "blkio",
        &[
            "blkio.throttle.read_bps_device",
            "blkio.throttle.write_bps_device",
            "blkio.throttle.read_iops_device",
            "blkio.throttle.write_iops_device",
            "blkio.bfq.weight",
        ],
    ),
    ("io", &["io.max", "io.bfq.weight", "io.weight"]),
    ("devices", &["devices.list"]),
];

/// Runs a bundle through its life and looks at it.
pub fn look(bundle: &Bundle) -> Seen {
    let mut seen = Seen::new();
    let terminal = fs::read_to_string(bundle.config_path()).is_ok_and(|text| text.contains("\"terminal\":true"));
    let socket = terminal.then(|| ConsoleSocket::listen(&bundle.dir));
    let path = socket.as_ref().map(|socket| socket.path.to_str().expect("UTF-8").to_owned());
    let options: Vec<&str> = path.iter().flat_map(|path| ["--console-socket", path]).collect();
    let created = bundle.create_with(&options);
    if created.code != 0 {
        seen.insert("outcome".into(), json!(format!("create gave {}: {}", created.code, created.err.trim())));
        return seen;
    }
    let terminal = socket.map(|socket| socket.receive());
    of_host(bundle, &mut seen);
    let started = bundle.start();
    let text = match terminal {
        Some(mut terminal) => terminal.rest().replace('\r', ""),
        None => {
            bundle.wait_status("stopped");
            created.again()
        }
    };
    seen.insert("outcome".into(), json!(format!("start gave {}", started.code)));
    for (number, line) in text.lines().enumerate() {
        match serde_json::from_str::<Value>(line) {
            Ok(mut report) if report.is_object() => {
                of_report(bundle, &mut report, &format!("{}", number + 1), &mut seen)
            }
            _ => drop(seen.insert(format!("{}/output", number + 1), json!(line))),
        }
    }
    seen.insert("delete".into(), json!(bundle.delete().code));
    for entry in fs::read_dir(bundle.inside("/tmp"))
        .into_iter()
        .flatten()
        .chain(fs::read_dir(&bundle.dir).into_iter().flatten())
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(kind) = name.strip_prefix("hook-") {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            seen.insert(format!("hooks/{kind}/times"), json!(text.lines().count()));
            of_hook(bundle, kind, &text, &mut seen);
        }
    }
    seen.insert("left".into(), json!(bundle.left_over().len()));
    seen
}

/// What the host knows of a created container.
fn of_host(bundle: &Bundle, seen: &mut Seen) {
    let state = bundle.state();
    for key in ["id", "status", "bundle", "annotations"] {
        flatten(&format!("state/{key}"), &tidy(bundle, &state[key]), seen);
    }
    let pid = state["pid"].as_i64().unwrap_or(0);
    for (controller, files) in LIMITS {
        let folder = host::cgroup_folder(controller, &format!("/kiste-test/{}", bundle.id));
        for file in *files {
            if let Ok(text) = fs::read_to_string(folder.join(file)) {
                let mut lines: Vec<&str> = text.lines().collect();
                lines.sort_unstable();
                seen.insert(format!("host/{file}"), json!(lines.join("\n")));
            }
        }
    }
    for file in ["uid_map", "gid_map", "oom_score_adj", "setgroups"] {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let words: Vec<&str> = text.split_whitespace().collect();
        seen.insert(format!("host/{file}"), json!(words.join(" ")));
    }
}

/// The reporter's report.
fn of_report(bundle: &Bundle, report: &mut Value, prefix: &str, seen: &mut Seen) {
    let mounts = report["mounts"].take();
    let fds = report["fds"].take();
    if report["ids"].is_object() {
        report["namespaces"] = namespaces(&report["namespaces"]);
        let host_uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
        let host_uptime: f64 = host_uptime.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0.0);
        for clock in ["monotonic", "boottime"] {
            let ahead = report["uptime"][clock].as_f64().unwrap_or(0.0) - host_uptime;
            report["uptime"][clock] = json!(format!("{} ks ahead", (ahead / 1000.0).round()));
        }
        // SAFETY: KEYCTL_GET_KEYRING_ID of our own session keyring.
        let ours = unsafe { libc::syscall(libc::SYS_keyctl, 0u64, -3i64, 0u64) };
        if report["keyring"].is_number() {
            report["keyring"] = json!(if report["keyring"] == ours { "the caller's" } else { "new" });
        }
        // Without a namespace of their own, processes have any number.
        for key in ["pid", "sid", "pgid"] {
            if report["ids"][key].as_i64().is_some_and(|number| number > 1) {
                report["ids"][key] = json!("a number of the host");
            }
        }
        if let Some(groups) = report["cgroup"].as_array_mut() {
            groups.sort_by_key(Value::to_string);
            // Numbers of hierarchies tell nothing.
            for line in groups.iter_mut() {
                *line = json!(line.as_str().and_then(|l| l.split_once(':')).map_or("", |(_, rest)| rest));
            }
        }
    }
    if prefix != "1" || report["type"].is_string() {
        // A stat: its numbers of inode and device are the file system's.
        for key in ["ino", "dev", "size"] {
            report.as_object_mut().expect("an object").remove(key);
        }
    }
    let key = if report["ids"].is_object() { String::new() } else { format!("{prefix}/") };
    flatten(key.trim_end_matches('/'), &tidy(bundle, report), seen);
    of_mounts(bundle, &mounts, seen);
    of_descriptors(bundle, &fds, seen);
}

/// A mount by its target.
fn of_mounts(bundle: &Bundle, mounts: &Value, seen: &mut Seen) {
    let mut order = Vec::new();
    let all: Vec<&Value> = mounts.as_array().into_iter().flatten().collect();
    for mount in &all {
        let target = mount["target"].as_str().unwrap_or_default();
        let above = order.iter().filter(|earlier| *earlier == target).count();
        order.push(target.to_owned());
        let key = format!("mounts/{target}{}", "#".repeat(above));
        for name in ["fstype", "options", "super", "source", "root"] {
            let mut value = mount[name].clone();
            if let Some(list) = value.as_array_mut() {
                // Where sizes come from the machine, they are the machine's.
                list.retain(|word| !word.as_str().is_some_and(|w| w.starts_with("nr_inodes") || w == "inode64"));
                list.sort_by_key(Value::to_string);
            }
            seen.insert(format!("{key} {name}"), tidy(bundle, &value));
        }
        let kinds = mount["propagation"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let kinds: Vec<&str> = kinds.map(|kind| kind.split(':').next().unwrap_or(kind)).collect();
        seen.insert(format!("{key} propagation"), json!(kinds));
        let parent = all.iter().find(|parent| parent["id"] == mount["parent"]);
        seen.insert(format!("{key} lies on"), parent.map_or(Value::Null, |parent| parent["target"].clone()));
    }
}

fn of_descriptors(bundle: &Bundle, fds: &Value, seen: &mut Seen) {
    for fd in fds.as_array().into_iter().flatten() {
        let mut one = fd.clone();
        for key in ["dev", "ino", "fd"] {
            one.as_object_mut().expect("an object").remove(key);
        }
        // The name the harness gave the file.
        if one["target"].as_str().is_some_and(|target| target.ends_with(".out") || target.ends_with(".err")) {
            one["target"] = json!("a file of the caller");
        }
        flatten(&format!("fds/{}", fd["fd"]), &tidy(bundle, &one), seen);
    }
}

fn of_hook(bundle: &Bundle, kind: &str, text: &str, seen: &mut Seen) {
    let Some(report) = text.lines().next().and_then(|line| serde_json::from_str::<Value>(line).ok()) else { return };
    for key in ["argv", "env", "cwd", "ids", "umask", "capabilities"] {
        flatten(&format!("hooks/{kind}/{key}"), &tidy(bundle, &report[key]), seen);
    }
    flatten(&format!("hooks/{kind}/namespaces"), &namespaces(&report["namespaces"]), seen);
    let state = &report["stdin"];
    for key in ["id", "status", "bundle", "annotations"] {
        flatten(&format!("hooks/{kind}/state/{key}"), &tidy(bundle, &state[key]), seen);
    }
    seen.insert(format!("hooks/{kind}/state/has a pid"), json!(state["pid"].as_i64().unwrap_or(0) > 0));
    let count = report["fds"].as_array().map_or(0, Vec::len);
    seen.insert(format!("hooks/{kind}/descriptors"), json!(count));
    for name in ["ids/pid", "ids/ppid", "ids/sid", "ids/pgid"] {
        seen.remove(&format!("hooks/{kind}/{name}"));
    }
}

/// Which namespaces are the caller's.
fn namespaces(all: &Value) -> Value {
    let own = |name: &str| {
        let link = fs::read_link(format!("/proc/self/ns/{name}")).unwrap_or_default();
        link.to_string_lossy().split(['[', ']']).nth(1).and_then(|n| n.parse::<u64>().ok())
    };
    let one = |(name, inode): (&String, &Value)| {
        let kind = if inode.as_u64() == own(name) { "the caller's" } else { "another" };
        (name.clone(), if inode.is_null() { Value::Null } else { json!(kind) })
    };
    all.as_object().map_or(Value::Null, |all| all.iter().map(one).collect::<serde_json::Map<_, _>>().into())
}

/// Replaces the test's folder and the container's id.
fn tidy(bundle: &Bundle, value: &Value) -> Value {
    match value {
        Value::String(text) => {
            let folder = bundle.dir.to_string_lossy();
            json!(text.replace(&*folder, "DIR").replace(&bundle.id, "ID"))
        }
        Value::Array(items) => items.iter().map(|item| tidy(bundle, item)).collect::<Vec<_>>().into(),
        Value::Object(all) => {
            all.iter().map(|(key, value)| (key.clone(), tidy(bundle, value))).collect::<serde_json::Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

/// Objects become keys with slashes; everything else is a value.
fn flatten(key: &str, value: &Value, seen: &mut Seen) {
    match value {
        Value::Object(all) => {
            for (name, value) in all {
                let key = if key.is_empty() { name.clone() } else { format!("{key}/{name}") };
                flatten(&key, value, seen);
            }
        }
        Value::Null if key.ends_with("mounts") || key.ends_with("fds") => {}
        _ => drop(seen.insert(key.to_owned(), value.clone())),
    }
}

/// Whether a file of the host is a block device, and its numbers.
pub fn disk() -> Option<(u64, u64)> {
    let entries = fs::read_dir("/dev").ok()?.flatten();
    let mut names: Vec<_> = entries.filter(|e| e.file_type().is_ok_and(|t| t.is_block_device())).collect();
    names.sort_by_key(fs::DirEntry::file_name);
    let real = |name: &str| ["vd", "sd", "nvme"].iter().any(|prefix| name.starts_with(prefix));
    let entry = names.into_iter().find(|e| real(&e.file_name().to_string_lossy()))?;
    use std::os::unix::fs::MetadataExt;
    let number = entry.metadata().ok()?.rdev();
    Some((u64::from(libc::major(number)), u64::from(libc::minor(number))))
}
