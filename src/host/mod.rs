//! Facts of this machine that lowering decides by: plain data, read once, buildable by hand in tests and read back from
//! JSON for `kiste explain --facts FILE`.
//!
//! Every file read costs start-up time, so what a plain container doesn't need is read only when [`Needs`] says so; a
//! fact that was not read is `None`, and never means "no".

mod features;
mod process;
mod resctrl;
mod subordinate;

use serde::{Deserialize, Serialize};

pub use features::{Feature, KernelFeatures, SecurityModules};
pub use process::{IdRange, duplicate, hard_limit, is_inherited};
pub use resctrl::ResourceControl;
pub use subordinate::{Helper, Subordinate};

use crate::error::{Error, Result};

/// What lowering needs to know beside the facts that are always read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The user's name, sub-ids and the programs newuidmap(1), newgidmap(1): for a user namespace without privilege.
    pub subordinate: bool,
    /// Which security modules are in force: for labels.
    pub security_modules: bool,
    /// What differs between kernels: for `features`, Landlock, and to explain a failure.
    pub kernel_features: bool,
    /// Where the resource control file system is: for Intel RDT.
    pub resource_control: bool,
}

impl Needs {
    /// Everything, as `explain` prints it.
    pub const ALL: Needs =
        Needs { subordinate: true, security_modules: true, kernel_features: true, resource_control: true };
}

/// The facts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Effective user id, in the runtime's user namespace.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Whether the runtime is in another user namespace than the first: then no device node can be made and no
    /// capability reaches the machine, even if all ids are mapped onto themselves.
    pub in_user_namespace: bool,
    /// /proc/self/uid_map.
    pub uid_map: Vec<IdRange>,
    /// /proc/self/gid_map.
    pub gid_map: Vec<IdRange>,
    /// Whether setgroups(2) is denied for good in the runtime's user namespace and all below (user_namespaces(7)), as in one
    /// that a plain user made without newgidmap(1).
    #[serde(default)]
    pub setgroups_denied: bool,
    /// The `CLONE_NEW…` flags of the runtime's namespaces that belong to another user namespace: its capabilities mean
    /// nothing there. None in the first.
    #[serde(default)]
    pub foreign_namespaces: u64,
    /// Effective capabilities: bit n is capability n.
    pub capabilities: u64,
    /// The highest capability this kernel has.
    pub last_capability: u8,
    /// Signals ignored when the runtime was started: bit n-1 is signal n. They stay so over execve(2).
    pub ignored_signals: u64,
    /// Signals blocked when the runtime was started.
    pub blocked_signals: u64,
    /// The machine's architecture as uname(2) names it.
    pub architecture: String,
    /// This program's own executable, which no container may get hold of.
    #[serde(default)]
    pub executable: OwnExecutable,
    /// The user's name and sub-ids, if needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subordinate: Option<Subordinate>,
    /// Security modules, if needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_modules: Option<SecurityModules>,
    /// Kernel features, if needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_features: Option<KernelFeatures>,
    /// The resource control file system, if needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_control: Option<ResourceControl>,
}

/// This program's own executable: who could write to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnExecutable {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
    /// Nobody can write to it: immutable or under fs-verity.
    pub frozen: bool,
}

impl OwnExecutable {
    fn read() -> Result<Self> {
        let found = crate::kernel::own_image::executable()
            .map_err(|errno| Error::refused("cannot look at kiste's own executable").call("statx", errno))?;
        Ok(OwnExecutable { uid: found.uid, gid: found.gid, mode: found.mode, frozen: found.frozen })
    }
}

impl Facts {
    /// Reads what `needs` names and what every container needs: /proc/self/ns/user, /proc/thread-self/status, and a
    /// handful of calls that only return a number; in a user namespace also the two maps, whether groups may be set, and
    /// whose the other namespaces are.
    ///
    /// # Errors
    /// When /proc can't be read or holds what proc(5) doesn't say; when a needed file is there and can't be read.
    pub fn for_start(needs: &Needs) -> Result<Self> {
        let uid = nix::unistd::geteuid().as_raw();
        let in_user_namespace = process::in_user_namespace()?;
        let (uid_map, gid_map) = match in_user_namespace {
            true => (process::id_map(c"/proc/self/uid_map")?, process::id_map(c"/proc/self/gid_map")?),
            false => (process::all_ids(), process::all_ids()),
        };
        let (setgroups_denied, foreign_namespaces) = match in_user_namespace {
            true => (process::setgroups_denied()?, process::foreign_namespaces()?),
            false => (false, 0),
        };
        let status = process::Status::read()?;
        let mut facts = Facts {
            uid,
            gid: nix::unistd::getegid().as_raw(),
            in_user_namespace,
            uid_map,
            gid_map,
            setgroups_denied,
            foreign_namespaces,
            capabilities: status.capabilities,
            last_capability: process::last_capability()?,
            ignored_signals: status.ignored_signals,
            blocked_signals: status.blocked_signals,
            architecture: std::env::consts::ARCH.to_owned(),
            executable: OwnExecutable::read()?,
            subordinate: None,
            security_modules: None,
            kernel_features: None,
            resource_control: None,
        };
        facts.add(needs)?;
        Ok(facts)
    }

    /// Reads what is needed and not known yet.
    ///
    /// # Errors
    /// As [`Facts::for_start`].
    pub fn add(&mut self, needs: &Needs) -> Result<()> {
        if needs.subordinate && self.subordinate.is_none() {
            self.subordinate = Some(Subordinate::read(self.uid)?);
        }
        if needs.security_modules && self.security_modules.is_none() {
            self.security_modules = Some(SecurityModules::read()?);
        }
        if needs.kernel_features && self.kernel_features.is_none() {
            self.kernel_features = Some(KernelFeatures::probe()?);
        }
        if needs.resource_control && self.resource_control.is_none() {
            self.resource_control = Some(ResourceControl::read()?);
        }
        Ok(())
    }

    /// Facts from a file that `explain` has written.
    ///
    /// # Errors
    /// `Kind::Input` when it is no such file.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).map_err(|error| Error::input(format!("this is no file of facts: {error}")))
    }

    /// The facts as JSON, for `explain --facts`.
    ///
    /// # Errors
    /// Only if a path of a helper is not UTF-8.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self).map_err(|error| Error::refused(format!("cannot write the facts: {error}")))
    }

    /// Whether the runtime has a capability, by its number (`CAP_SYS_ADMIN` is 21, linux/capability.h).
    pub fn has_capability(&self, number: u8) -> bool {
        number < 64 && self.capabilities & (1 << number) != 0
    }

    /// Every capability this kernel knows, as a mask.
    pub fn all_capabilities(&self) -> u64 {
        u64::MAX >> (63 - u32::from(self.last_capability.min(63)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_of_this_machine_survive_json() {
        let facts = Facts::for_start(&Needs::ALL).unwrap();
        assert_eq!(Facts::from_json(&facts.to_json().unwrap()).unwrap(), facts);
        assert!(Facts::from_json(b"{\"uid\":0}").is_err());
        assert!(facts.subordinate.is_some() && facts.security_modules.is_some() && facts.kernel_features.is_some());
    }

    #[test]
    fn what_is_not_needed_is_not_read() {
        let facts = Facts::for_start(&Needs::default()).unwrap();
        assert_eq!((&facts.subordinate, &facts.security_modules, &facts.kernel_features), (&None, &None, &None));
        assert_eq!(facts.uid_map, process::id_map(c"/proc/self/uid_map").unwrap());
        assert_eq!(facts.gid_map, process::id_map(c"/proc/self/gid_map").unwrap());
        let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap();
        assert_eq!(facts.last_capability.to_string(), last.trim());
        assert_eq!(facts.all_capabilities().count_ones(), u32::from(facts.last_capability) + 1);
        assert_eq!(facts.all_capabilities() & facts.capabilities, facts.capabilities);
        // Rust's start-up ignores SIGPIPE.
        assert_ne!(facts.ignored_signals & (1 << (libc::SIGPIPE - 1)), 0);
    }
}
