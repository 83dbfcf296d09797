//! The profiles Docker and Podman ship, which are in a format of their own: rules for some architectures, capabilities or
//! kernels only. Docker and Podman turn them into OCI profiles; so does this.

use kiste::error::Origin;
use kiste::seccomp::{Action, Architecture, Argument, Operator, Profile, Rule};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Docker's default capabilities.
pub const DOCKER_CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];
/// Podman's default capabilities.
pub const PODMAN_CAPABILITIES: [&str; 11] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
];

/// A file of a Debian package: installed, or else from the package, downloaded and unpacked into `folder`.
fn shipped(installed: &str, package: &str, folder: &Path) -> Result<Value, String> {
    let mut path = PathBuf::from(installed);
    if !path.exists() {
        std::fs::create_dir_all(folder).map_err(|e| e.to_string())?;
        let script = r#"cd "$1" && apt-get -qq download "$2" && dpkg -x "$2"_*.deb ."#;
        let output = Command::new("sh").args(["-c", script, "sh"]).arg(folder).arg(package).output();
        match output {
            Ok(output) if output.status.success() => path = folder.join(installed.trim_start_matches('/')),
            _ => return Err(format!("the package {package} is neither installed nor can it be downloaded")),
        }
    }
    let text = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    serde_json::from_slice(&text).map_err(|e| format!("{}: {e}", path.display()))
}

/// Docker's default profile as Debian ships it.
pub fn docker(folder: &Path) -> Result<Value, String> {
    let path = "/usr/share/gocode/src/github.com/docker/docker/profiles/seccomp/default.json";
    shipped(path, "golang-github-docker-docker-dev", &folder.join("docker"))
}

/// Podman's default profile as Debian ships it.
pub fn podman(folder: &Path) -> Result<Value, String> {
    shipped("/usr/share/containers/seccomp.json", "golang-github-containers-common", &folder.join("podman"))
}

/// The OCI profile Docker or Podman make of their file.
pub fn profile(file: &Value, native: Architecture, capabilities: &[&str]) -> Profile {
    let go_name = if native == Architecture::Aarch64 { "arm64" } else { "amd64" };
    let has = |list: &Value, has: &dyn Fn(&str) -> bool| strings(list).iter().any(|word| has(word));
    let applies = |rule: &Value| {
        let (includes, excludes) = (&rule["includes"], &rule["excludes"]);
        let capable = |cap: &str| capabilities.contains(&cap);
        let here = |architecture: &str| architecture == go_name;
        !has(&excludes["arches"], &here)
            && !has(&excludes["caps"], &capable)
            && (strings(&includes["arches"]).is_empty() || has(&includes["arches"], &here))
            && strings(&includes["caps"]).iter().all(|cap| capable(cap))
    };
    let map = file["archMap"].as_array().expect("archMap");
    let entry = map.iter().find(|entry| entry["architecture"] == native.word()).expect("the machine in archMap");
    let architecture = |word: &str| Architecture::from_word(word).expect("a word of the specification");
    let architectures = std::iter::once(native)
        .chain(strings(&entry["subArchitectures"]).iter().map(|word| architecture(word)))
        .collect();
    let syscalls = file["syscalls"].as_array().expect("syscalls");
    let rules = syscalls.iter().enumerate().filter(|(_, entry)| applies(entry)).map(rule).collect();
    Profile {
        default_action: action(&file["defaultAction"]),
        default_errno: errno(&file["defaultErrno"]).or_else(|| errno(&file["defaultErrnoRet"])),
        architectures,
        flags: Vec::new(),
        rules,
        listener_path: None,
        listener_metadata: None,
        origin: Origin::fixed("/linux/seccomp"),
    }
}

fn rule((place, entry): (usize, &Value)) -> Rule {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let argument = |argument: &Value| Argument {
        index: number(&argument["index"]) as u32,
        value: number(&argument["value"]),
        value_two: number(&argument["valueTwo"]),
        op: Operator::from_word(argument["op"].as_str().expect("op")).expect("an operator"),
    };
    Rule {
        names: strings(&entry["names"]).into_iter().map(str::to_owned).collect(),
        action: action(&entry["action"]),
        errno: errno(&entry["errnoRet"]),
        args: entry["args"].as_array().into_iter().flatten().map(argument).collect(),
        origin: Origin::fixed("/linux/seccomp/syscalls").child(place),
    }
}

fn action(word: &Value) -> Action {
    Action::from_word(word.as_str().expect("an action")).expect("an action of the specification")
}

/// Podman writes `"errnoRet": 1` beside the newer `"errno": "EPERM"`, and the default the other way round.
fn errno(value: &Value) -> Option<u32> {
    match value {
        Value::String(name) if name == "ENOSYS" => Some(38),
        Value::String(name) if name == "EPERM" => Some(1),
        other => other.as_u64().map(|errno| errno as u32),
    }
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}
