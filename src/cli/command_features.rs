//! `features`: what this runtime can do, as the runtime specification's features.md describes it. The words come from
//! the tables the parsers use, so that nothing is claimed that would be refused. The kernel is asked about one thing only,
//! the flags of seccomp(2), because the specification has a list for what it supports.

use super::arguments::Global;
use super::command_version::{COMMIT, OWN, SPECIFICATION};
use crate::intent::hardware::{MEMORY_FLAGS, MEMORY_MODES};
use crate::intent::{NamespaceKind, annotations, from_oci::HOOKS, mount_options};
use crate::seccomp;
use serde_json::{Value, json};

/// The oldest runtime specification whose configurations are accepted.
const OLDEST_SPECIFICATION: &str = "1.0.0";

/// Prints the features.
///
/// # Errors
/// Standard output cannot be written to.
pub fn run(_global: &Global) -> anyhow::Result<u8> {
    super::output::print(&format!("{:#}\n", features()))?;
    Ok(0)
}

fn features() -> Value {
    json!({
        "ociVersionMin": OLDEST_SPECIFICATION,
        "ociVersionMax": SPECIFICATION,
        "hooks": HOOKS,
        "mountOptions": mount_options::words().collect::<Vec<_>>(),
        "linux": {
            "namespaces": namespaces(),
            "capabilities": capabilities(),
            "cgroup": {"v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true},
            "seccomp": seccomp(),
            "apparmor": {"enabled": true},
            "selinux": {"enabled": true},
            "intelRdt": {"enabled": true, "schemata": true, "monitoring": true},
            "mountExtensions": {"idmap": {"enabled": true}},
            "memoryPolicy": {"modes": words(MEMORY_MODES), "flags": words(MEMORY_FLAGS)},
            "netDevices": {"enabled": true},
        },
        "annotations": {
            "org.opencontainers.runc.version": super::command_version::LIKE_RUNC,
            "kiste.version": OWN,
            "kiste.commit": COMMIT,
        },
        // Callers that let users set annotations must know which of them reach the host.
        "potentiallyUnsafeConfigAnnotations":
            std::iter::once("bundle").chain(annotations::unsafe_keys()).collect::<Vec<_>>(),
    })
}

fn namespaces() -> Vec<&'static str> {
    let mut all: Vec<&str> = NamespaceKind::ALL.iter().map(|row| row.1).collect();
    all.sort_unstable();
    all
}

fn words<T>(table: &[(&'static str, T)]) -> Vec<&'static str> {
    table.iter().map(|line| line.0).collect()
}

fn capabilities() -> Vec<String> {
    let mut all: Vec<caps::Capability> = caps::all().into_iter().collect();
    all.sort_by_key(caps::Capability::index);
    all.iter().map(caps::Capability::to_string).collect()
}

fn seccomp() -> Value {
    fn words<T>(table: &[(T, &'static str)]) -> Vec<&'static str> {
        table.iter().map(|(_, word)| *word).collect()
    }
    let supported = seccomp::Flag::ALL.iter().filter(|(flag, _)| flag.is_supported());
    json!({
        "enabled": true,
        "actions": words(seccomp::Action::ALL),
        "operators": words(seccomp::Operator::ALL),
        "archs": words(seccomp::Architecture::ALL),
        "knownFlags": words(seccomp::Flag::ALL),
        "supportedFlags": supported.map(|(_, word)| *word).collect::<Vec<_>>(),
    })
}
