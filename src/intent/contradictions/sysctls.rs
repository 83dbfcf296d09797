//! Kernel parameters: only those that belong to a namespace the container has, since all others are the host's.

use crate::error::{Error, Result};
use crate::intent::{Intent, NamespaceKind};

/// The System V limits of ipc_namespaces(7).
const IPC: &[&str] = &[
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// The namespace a parameter belongs to.
fn owner(name: &str) -> Option<NamespaceKind> {
    match name {
        "kernel.domainname" => Some(NamespaceKind::Uts),
        _ if IPC.contains(&name) || name.starts_with("fs.mqueue.") => Some(NamespaceKind::Ipc),
        _ if name.starts_with("net.") => Some(NamespaceKind::Network),
        _ if name.starts_with("user.") => Some(NamespaceKind::User),
        _ => None,
    }
}

pub fn check(intent: &Intent) -> Result<()> {
    for (index, (name, _)) in intent.sysctls.iter().enumerate() {
        let refuse = |what: String| Err(Error::input(what).at(&name.origin));
        if name.value == "kernel.hostname" {
            return refuse("the host name is the field /hostname".into());
        }
        match owner(&name.value) {
            None => return refuse(format!("{} belongs to the host, to no namespace", name.value)),
            Some(kind) if intent.namespace(kind).is_none() => {
                let word = kind.word();
                return refuse(format!("{} would be the host's without a {word} namespace", name.value));
            }
            // A user namespace's limits are written from inside; one that is joined has an owner who set them.
            Some(NamespaceKind::User) if !intent.makes(NamespaceKind::User) => {
                return refuse(format!("{} needs a new user namespace", name.value));
            }
            Some(_) => {}
        }
        if intent.sysctls[..index].iter().any(|(earlier, _)| earlier.value == name.value) {
            return refuse(format!("{} is there twice", name.value));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_has_one_owner_or_none() {
        for (name, kind) in [
            ("kernel.msgmax", Some(NamespaceKind::Ipc)),
            ("fs.mqueue.msg_max", Some(NamespaceKind::Ipc)),
            ("net.ipv4.ip_forward", Some(NamespaceKind::Network)),
            ("user.max_user_namespaces", Some(NamespaceKind::User)),
            ("kernel.domainname", Some(NamespaceKind::Uts)),
            ("kernel.core_pattern", None),
            ("kernel.shm_next_id", None),
            ("vm.overcommit_memory", None),
            ("fs.file-max", None),
            ("network.x", None),
            ("net", None),
        ] {
            assert_eq!(owner(name), kind, "{name}");
        }
    }
}
