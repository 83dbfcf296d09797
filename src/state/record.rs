//! The record: what `state`, `list`, `start`, `exec`, `kill` and `delete` must know of a container, as JSON.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::time::rfc3339;

use super::identity::{self, ProcessIdentity};

/// The version this kiste writes, and the only one it reads.
pub const VERSION: u32 = 1;
/// The longest record read, in bytes. Annotations are the caller's and may be long; everything else is small.
pub const LONGEST: usize = 16 << 20;

/// How far `create` or `run` has come, as it says itself. Whether the process lives is not a matter of record: see
/// [`super::Container::status`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Written before clone3(2): names creator and cgroup, no init yet.
    Creating,
    /// The init is there; if there is a gate it waits for `start`.
    Created,
}

/// One container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Format: [`VERSION`].
    pub version: u32,
    /// The container's id; must be the directory's name.
    pub id: String,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Absolute path of the root file system.
    pub rootfs: PathBuf,
    /// When it was created: RFC 3339 with nanoseconds, UTC.
    pub created: String,
    /// Real user id of who created it.
    pub owner: u32,
    /// Annotations of the configuration.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// How far its making has come.
    pub phase: Phase,
    /// Who makes it; tells an unfinished container from a forsaken one.
    pub creator: ProcessIdentity,
    /// The first process, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<ProcessIdentity>,
    /// The boot the processes belong to; kept only if the state directory is no tmpfs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// The cgroup, as the cgroup room wrote it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub cgroup: Value,
    /// The process has a terminal.
    #[serde(default)]
    pub console: bool,
    /// A seccomp agent holds the listener.
    #[serde(default)]
    pub seccomp_notify: bool,
    /// What other rooms must find again (Intel RDT group, devices moved in), opaque here.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub extra: Value,
}

/// The states of runtime-spec (runtime.md, "State"), and `paused`, which runc has added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// `create` is at work.
    Creating,
    /// The process waits for `start`.
    Created,
    /// The payload runs.
    Running,
    /// It is frozen.
    Paused,
    /// The first process has ended, or the making was never finished.
    Stopped,
}

impl Status {
    /// The word that `state` and `list` print.
    pub const fn word(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

impl Record {
    /// The first record of a container: `creating`, made by this process, now.
    ///
    /// # Errors
    /// When this process's own start time can't be read.
    pub fn creating(id: &str, bundle: PathBuf, rootfs: PathBuf, owner: u32) -> Result<Self> {
        Ok(Record {
            version: VERSION,
            id: id.to_owned(),
            bundle,
            rootfs,
            created: rfc3339(SystemTime::now()),
            owner,
            annotations: BTreeMap::new(),
            phase: Phase::Creating,
            creator: ProcessIdentity::own()?,
            init: None,
            boot_id: None,
            cgroup: Value::Null,
            console: false,
            seccomp_notify: false,
            extra: Value::Null,
        })
    }

    /// The record as it is stored.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self)
            .map_err(|error| Error::input(format!("the record of \"{}\" cannot be written: {error}", self.id)))
    }

    /// Reads a stored record. It is read strictly, although only we write there: an older or newer kiste, or a disk
    /// that lost half a file, must be noticed and not be guessed around.
    pub(super) fn from_bytes(id: &str, bytes: &[u8]) -> Result<Self> {
        let broken = |why: String| {
            Err(Error::refused(format!("the record of container \"{id}\" is damaged: {why}"))
                .hint("`delete --force` removes the container"))
        };
        let version = match serde_json::from_slice::<Version>(bytes) {
            Ok(version) => version.version,
            Err(error) => return broken(error.to_string()),
        };
        if version != VERSION {
            return broken(format!("it has version {version}, this kiste knows {VERSION}"));
        }
        let record: Record = match serde_json::from_slice(bytes) {
            Ok(record) => record,
            Err(error) => return broken(error.to_string()),
        };
        if record.id != id {
            return broken(format!("it belongs to \"{}\"", record.id.escape_default()));
        }
        if record.creator.pid <= 0 || record.init.is_some_and(|init| init.pid <= 1) {
            return broken("its process ids are impossible".to_owned());
        }
        Ok(record)
    }

    /// Whether the record is of this boot. One without a boot id is: it lies on a tmpfs.
    fn is_of_this_boot(&self) -> Result<bool> {
        match &self.boot_id {
            Some(boot) => Ok(*boot == identity::boot_id()?),
            None => Ok(true),
        }
    }

    /// Whether the creator is still at work on it: such a container must be left alone.
    ///
    /// # Errors
    /// When /proc can't be read.
    pub fn is_being_made(&self) -> Result<bool> {
        Ok(self.phase == Phase::Creating && self.is_of_this_boot()? && self.creator.is_alive()?)
    }

    /// The first process if it still runs.
    ///
    /// # Errors
    /// When /proc can't be read.
    pub fn live_init(&self) -> Result<Option<ProcessIdentity>> {
        match self.init {
            Some(init) if self.is_of_this_boot()? && init.is_alive()? => Ok(Some(init)),
            _ => Ok(None),
        }
    }
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_strictly() {
        let mut record = Record::creating("a", "/b".into(), "/b/rootfs".into(), 0).unwrap();
        record.annotations.insert("k\n".into(), "v\",\"pid\":1".into());
        let bytes = record.to_bytes().unwrap();
        assert_eq!(Record::from_bytes("a", &bytes).unwrap(), record);
        assert!(Record::from_bytes("b", &bytes).is_err(), "another container's");
        let text = String::from_utf8(bytes).unwrap();
        for (from, to) in [
            ("\"version\":1", "\"version\":2"),
            ("\"version\":1", "\"version\":1,\"more\":1"),
            ("\"phase\":\"creating\"", "\"phase\":\"running\""),
            ("\"owner\":0", "\"owner\":-1"),
            ("\"pid\":", "\"pid\":-"),
            ("}", ""),
        ] {
            let broken = text.replacen(from, to, 1);
            assert_ne!(broken, text);
            let error = Record::from_bytes("a", broken.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("damaged"), "{error}");
        }
        assert!(Record::from_bytes("a", format!("{text} x").as_bytes()).is_err(), "something after the end");
    }
}
