//! The user namespace that a plain user's container gets where its configuration has none: without one the kernel refuses
//! the user everything else. crun makes it too, with the same maps (crun(1), "Automatically create user namespace").

use super::{IdMap, IdMaps, Intent, Mount, Namespace, NamespaceKind};
use crate::error::Origin;

/// Where everything here comes from.
pub const AUTOMATIC: Origin = Origin::fixed("automatic user namespace");

/// Who starts the container, and what it may map; plain data.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// The caller's user id.
    pub uid: u32,
    /// The caller's group id.
    pub gid: u32,
    /// Effective capabilities: bit n is capability n.
    pub capabilities: u64,
    /// Subordinate user ids that can be mapped: first id and count of each range, in the order of subuid(5).
    pub sub_users: Vec<(u32, u32)>,
    /// The same of groups.
    pub sub_groups: Vec<(u32, u32)>,
}

/// Whether the container of this caller gets one: it is not root, has no right to make the other namespaces
/// (`CAP_SYS_ADMIN`), and the configuration neither makes nor joins a user namespace.
pub fn is_wanted(intent: &Intent, uid: u32, capabilities: u64) -> bool {
    const SYS_ADMIN: u64 = 1 << 21;
    uid != 0 && capabilities & SYS_ADMIN == 0 && intent.namespace(NamespaceKind::User).is_none()
}

/// Adds the namespace where [`is_wanted`] says so. The caller is root in it; its subordinate ids follow from 1 on, if it
/// has users and groups: with one of both, setgroups(2) would be allowed on maps that were never granted.
///
/// What to tell those who look for it, if there is one now.
pub fn user_namespace(intent: &mut Intent, caller: &Caller) -> Option<String> {
    if !is_wanted(intent, caller.uid, caller.capabilities) {
        return None;
    }
    let none: &[(u32, u32)] = &[];
    let (users, groups) = match caller.sub_users.is_empty() || caller.sub_groups.is_empty() {
        true => (none, none),
        false => (&caller.sub_users[..], &caller.sub_groups[..]),
    };
    intent.id_maps = IdMaps { users: map(caller.uid, users), groups: map(caller.gid, groups) };
    intent.namespaces.push(Namespace { kind: NamespaceKind::User, path: None, origin: AUTOMATIC });
    let groups = &intent.id_maps.groups;
    intent.mounts.iter_mut().filter(|mount| mount.fstype.as_deref() == Some("devpts")).for_each(|mount| {
        keep_mapped_group(mount, groups);
    });
    let (users, groups) = (count(&intent.id_maps.users), count(groups));
    Some(format!(
        "the container gets a user namespace with {users} user and {groups} group ids: its caller is not root"
    ))
}

/// The most lines of a map (user_namespaces(7), Linux 4.15).
const MOST_LINES: usize = 340;

/// The caller's own id as 0, then the ranges one after the other, as far as 32 bits go. One that overlaps another is left
/// out: no id has two.
fn map(own: u32, ranges: &[(u32, u32)]) -> Vec<IdMap> {
    let mut maps = vec![IdMap { container: 0, host: own, size: 1 }];
    let mut next = 1_u32;
    for &(host, size) in ranges {
        // The last id, u32::MAX, means "no id" to the kernel.
        let size = size.min(u32::MAX - next);
        let apart = |map: &IdMap| {
            let (end, other) = (u64::from(host) + u64::from(size), u64::from(map.host) + u64::from(map.size));
            end <= u64::from(map.host) || other <= u64::from(host)
        };
        if size > 0 && maps.len() < MOST_LINES && maps.iter().all(apart) {
            maps.push(IdMap { container: next, host, size });
            next += size;
        }
    }
    maps
}

fn count(maps: &[IdMap]) -> u64 {
    maps.iter().map(|map| u64::from(map.size)).sum()
}

/// The terminals' group, where it is not mapped: the kernel would refuse the mount. They have the caller's own then, as in
/// the configuration that `spec --rootless` writes.
fn keep_mapped_group(mount: &mut Mount, groups: &[IdMap]) {
    let mapped = |gid: u32| groups.iter().any(|map| gid.checked_sub(map.container).is_some_and(|at| at < map.size));
    let number = |value: &Option<String>| value.as_deref().and_then(|text| text.parse().ok());
    mount.options.data.retain(|(key, value)| key != "gid" || number(value).is_none_or(mapped));
}

/// The configuration as it is stored: with the namespace and its maps written out, so that whoever reads it later sees
/// the container that was made, whatever subuid(5) says by then. `None` if `config` is not the one `intent` was read from.
pub fn written_out(intent: &Intent, config: &[u8]) -> Option<Vec<u8>> {
    let mut config: serde_json::Value = serde_json::from_slice(config).ok()?;
    let linux = config.as_object_mut()?.entry("linux").or_insert_with(|| serde_json::json!({})).as_object_mut()?;
    let list = |maps: &[IdMap]| -> serde_json::Value {
        let line =
            |map: &IdMap| serde_json::json!({ "containerID": map.container, "hostID": map.host, "size": map.size });
        maps.iter().map(line).collect()
    };
    linux.insert("uidMappings".into(), list(&intent.id_maps.users));
    linux.insert("gidMappings".into(), list(&intent.id_maps.groups));
    let namespaces = linux.entry("namespaces").or_insert_with(|| serde_json::json!([]));
    namespaces.as_array_mut()?.push(serde_json::json!({ "type": "user" }));
    serde_json::to_vec(&config).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::from_oci::from_oci;

    const CONFIG: &str = r#"{"ociVersion": "1.0.2", "root": {"path": "/r"}, "process": {"args": ["a"], "cwd": "/"},
        "mounts": [{"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["gid=5", "mode=620"]}],
        "linux": {"namespaces": [{"type": "mount"}]}}"#;

    fn intent(config: &[u8]) -> Intent {
        from_oci(config, std::path::Path::new("/b")).unwrap()
    }

    fn ids(maps: &[IdMap]) -> Vec<(u32, u32, u32)> {
        maps.iter().map(|map| (map.container, map.host, map.size)).collect()
    }

    #[test]
    fn a_plain_user_gets_its_own_and_its_subordinate_ids() {
        let mut caller = Caller { uid: 1000, gid: 100, ..Caller::default() };
        let mut one = intent(CONFIG.as_bytes());
        assert!(user_namespace(&mut one, &caller).unwrap().contains("1 user and 1 group ids"));
        assert_eq!((ids(&one.id_maps.users), ids(&one.id_maps.groups)), (vec![(0, 1000, 1)], vec![(0, 100, 1)]));
        assert_eq!(one.mounts[0].options.data, [("mode".to_owned(), Some("620".to_owned()))]);

        caller.sub_users = vec![(100_000, 10), (100_009, 5), (1000, 1), (200_000, 5)];
        let mut half = intent(CONFIG.as_bytes());
        user_namespace(&mut half, &caller).unwrap();
        assert_eq!(ids(&half.id_maps.users), [(0, 1000, 1)], "users without groups");

        caller.sub_groups = vec![(300_000, u32::MAX)];
        let mut all = intent(CONFIG.as_bytes());
        user_namespace(&mut all, &caller).unwrap();
        assert_eq!(ids(&all.id_maps.users), [(0, 1000, 1), (1, 100_000, 10), (11, 200_000, 5)]);
        assert_eq!(ids(&all.id_maps.groups), [(0, 100, 1), (1, 300_000, u32::MAX - 1)]);
        assert_eq!(all.mounts[0].options.data.len(), 2);
    }

    #[test]
    fn others_keep_what_the_configuration_says() {
        for (uid, capabilities) in [(0, 0), (0, u64::MAX), (1000, 1 << 21)] {
            let mut intent = intent(CONFIG.as_bytes());
            let caller = Caller { uid, capabilities, ..Caller::default() };
            assert_eq!((user_namespace(&mut intent, &caller), intent.namespaces.len()), (None, 1));
        }
        let joins =
            CONFIG.replace(r#"{"type": "mount"}"#, r#"{"type": "mount"}, {"type": "user", "path": "/proc/7/ns/user"}"#);
        let caller = Caller { uid: 1000, ..Caller::default() };
        assert_eq!(user_namespace(&mut intent(joins.as_bytes()), &caller), None);
    }

    #[test]
    fn what_is_stored_is_what_was_made() {
        let mut made = intent(CONFIG.as_bytes());
        let caller = Caller { uid: 1000, gid: 100, sub_users: vec![(7, 9)], sub_groups: vec![(8, 9)], capabilities: 0 };
        user_namespace(&mut made, &caller).unwrap();
        let stored = intent(&written_out(&made, CONFIG.as_bytes()).unwrap());
        assert_eq!(stored.id_maps, made.id_maps);
        assert!(stored.makes(NamespaceKind::User) && stored.namespaces.len() == 2);
    }
}
