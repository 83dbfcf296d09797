//! Finding containers and telling what they are: what state, list, ps, kill, delete, pause and resume share.

use super::arguments::{Global, Target};
use super::output::ContainerState;
use super::words::Id;
use crate::cgroup::Group;
use crate::error::{Error, Kind, Result};
use crate::log;
use crate::state::{Container, Record, StateRoot, Status};

/// Opens the directory of state.
pub(super) fn root(global: &Global) -> Result<StateRoot> {
    StateRoot::open(global.root.as_deref())
}

/// The container's cgroup; one that has none behaves as an empty one.
pub(super) fn group(record: &Record) -> Result<Group> {
    if record.cgroup.is_null() {
        return Ok(Group::none());
    }
    serde_json::from_value(record.cgroup.clone())
        .map_err(|error| Error::refused(format!("the record of container \"{}\" is damaged: {error}", record.id)))
}

/// Where the container is in its life.
pub(super) fn status(container: &Container, record: &Record) -> Result<Status> {
    let group = group(record)?;
    // A group that is gone belongs to a container that is ending.
    container.status(record, || group.frozen().unwrap_or(false))
}

/// The container as `state` and `list` show it; `owner` is for list.
pub(super) fn shown(container: &Container, owner: impl FnOnce(u32) -> String) -> Result<ContainerState> {
    let record = container.record()?;
    let status = status(container, &record)?;
    let live = !matches!(status, Status::Stopped | Status::Creating);
    Ok(ContainerState {
        oci_version: super::command_version::SPECIFICATION.to_owned(),
        pid: record.init.filter(|_| live).map_or(0, |init| init.pid),
        status: status.word(),
        bundle: record.bundle.to_string_lossy().into_owned(),
        rootfs: record.rootfs.to_string_lossy().into_owned(),
        owner: owner(record.owner),
        id: record.id,
        created: record.created,
        annotations: record.annotations,
    })
}

/// Does something with each container meant. With an expression every container gets its turn: failures are logged and
/// the last one is returned.
pub(super) fn for_each(global: &Global, target: &Target, act: impl Fn(&StateRoot, &str) -> Result<()>) -> Result<()> {
    let root = root(global)?;
    let pattern = match target {
        Target::One(id) => return act(&root, id.as_str()),
        Target::Matching(pattern) => pattern,
    };
    let mut outcome = Ok(());
    for (id, _) in root.list()?.filter(|(id, _)| pattern.is_found_in(id)) {
        if let Err(error) = act(&root, &id) {
            if let Err(earlier) = std::mem::replace(&mut outcome, Err(error)) {
                log::error(&earlier.to_string());
            }
        }
    }
    outcome
}

/// The container and its record.
pub(super) fn find(global: &Global, id: &Id) -> Result<(Container, Record)> {
    let container = root(global)?.container(id.as_str())?;
    let record = container.record()?;
    Ok((container, record))
}

/// The container's resource control group.
///
/// # Errors
/// When the record of it is damaged.
pub(super) fn resctrl(record: &Record) -> Result<Option<crate::resctrl::Group>> {
    let Some(stored) = record.extra.get(crate::launch::container::RESCTRL) else { return Ok(None) };
    serde_json::from_value(stored.clone())
        .map(Some)
        .map_err(|error| Error::refused(format!("the record of the resctrl group is damaged: {error}")))
}

/// What callers read as "already finished".
pub(super) fn not_running(id: &str) -> Error {
    Error::new(Kind::NotRunning, format!("container not running: \"{id}\""))
}

/// Names of users by /etc/passwd, or `#UID`. Not asked of the C library: in a static program its answer would come
/// from shared libraries that need not fit.
pub(super) struct UserNames(String);

impl UserNames {
    /// Reads the file; without one nobody has a name.
    pub(super) fn read() -> Self {
        UserNames(std::fs::read_to_string("/etc/passwd").unwrap_or_default())
    }

    /// One user's.
    pub(super) fn of(&self, uid: u32) -> String {
        name_in(&self.0, uid).unwrap_or_else(|| format!("#{uid}"))
    }
}

fn name_in(passwd: &str, uid: u32) -> Option<String> {
    let wanted = uid.to_string();
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == wanted).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_looked_up_by_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n1000:x:7:7::/:\nbroken\nweb:x:1000:1000::/:/bin/sh\n";
        assert_eq!(name_in(passwd, 0).as_deref(), Some("root"));
        assert_eq!(name_in(passwd, 1000).as_deref(), Some("web"));
        assert_eq!(name_in(passwd, 5), None);
    }
}
