//! What the host sees of a process: everything that limits it (security.md K2 and K8).

use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;

/// Everything that must be the same for two processes that shall have the same rights. `outer`: filters that the runtime
/// itself was started under.
pub fn of(pid: i32, outer: u64) -> Value {
    let proc = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let status = proc("status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let mut state = Map::new();
    let names = "Uid Gid Groups CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs Seccomp Umask";
    for name in names.split(' ') {
        state.insert(name.to_owned(), json!(field(name)));
    }
    let filters = field("Seccomp_filters").and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    state.insert("filters".into(), json!(filters.saturating_sub(outer)));
    for name in ["cgroup", "uid_map", "gid_map", "setgroups", "limits", "oom_score_adj", "personality"] {
        state.insert(name.to_owned(), json!(proc(name)));
    }
    state.insert("mounts".into(), json!(mounts(&proc("mountinfo"))));
    for name in ["cwd", "root"] {
        state.insert(name.to_owned(), json!(fs::read_link(format!("/proc/{pid}/{name}")).ok()));
    }
    let mut fds: Vec<i32> = entries(format!("/proc/{pid}/fd")).iter().filter_map(|name| name.parse().ok()).collect();
    fds.sort_unstable();
    state.insert("fds".into(), json!(fds));
    let own: Vec<String> = entries("/proc/self/ns").into_iter().filter(|name| !name.ends_with("_children")).collect();
    let differs = |name: &&String| {
        fs::read_link(format!("/proc/{pid}/ns/{name}")).ok() != fs::read_link(format!("/proc/self/ns/{name}")).ok()
    };
    let mut namespaces: Vec<&String> = own.iter().filter(differs).collect();
    namespaces.sort();
    state.insert("namespaces".into(), json!(namespaces));
    Value::Object(state)
}

/// Names in a folder.
pub fn entries(path: impl AsRef<Path>) -> Vec<String> {
    let all = fs::read_dir(path).into_iter().flatten().flatten();
    all.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// mountinfo without numbers: root, target, options, whether it is shared, type and the superblock's options.
pub fn mounts(text: &str) -> Vec<String> {
    let line = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        let kinds: Vec<&str> = left.get(6..)?.iter().filter_map(|kind| kind.split(':').next()).collect();
        Some(format!("{} {} {} {} {}", left[3], left[4], left[5], kinds.join(","), [right[0], right[2]].join(" ")))
    };
    text.lines().filter_map(line).collect()
}

/// The names of the parts that differ, with both values.
pub fn differences(golden: &Value, found: &Value) -> Vec<String> {
    let parts = golden.as_object().cloned().unwrap_or_default();
    let differs = |(name, value): (String, Value)| {
        (found[&name] != value).then(|| format!("{name}:\n  expected {value}\n  found    {}", found[&name]))
    };
    parts.into_iter().filter_map(differs).collect()
}
