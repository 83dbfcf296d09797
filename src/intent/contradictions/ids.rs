//! Ids: maps that make sense, and a payload that is in them.

use crate::error::{Error, Origin, Result};
use crate::intent::{IdMap, IdMaps, Intent, NamespaceKind, Process};

/// Checks the lines of one map: no line leaves the 32-bit numbers, no two share an id on either side
/// (user_namespaces(7)).
///
/// # Errors
/// The index of the wrong line, and what is wrong.
pub fn id_map(maps: &[IdMap]) -> Result<(), (usize, String)> {
    let wraps = |first: u32, size: u32| first.checked_add(size).is_none();
    for (index, map) in maps.iter().enumerate() {
        if map.size == 0 {
            return Err((index, "the range is empty".into()));
        }
        if wraps(map.container, map.size) || wraps(map.host, map.size) {
            return Err((index, format!("{} ids from {} or {} leave 32 bits", map.size, map.container, map.host)));
        }
        let overlap = |a: u32, a_size: u32, b: u32, b_size: u32| a < b + b_size && b < a + a_size;
        for earlier in &maps[..index] {
            let (inside, outside) = (
                overlap(map.container, map.size, earlier.container, earlier.size),
                overlap(map.host, map.size, earlier.host, earlier.size),
            );
            if inside || outside {
                let side = if inside { "in the container" } else { "on the host" };
                return Err((index, format!("the range overlaps an earlier one {side}")));
            }
        }
    }
    Ok(())
}

/// Maps and user namespace belong together, and the payload's ids must be mapped: the kernel would give it the overflow id.
pub fn check(intent: &Intent) -> Result<()> {
    let maps = &intent.id_maps;
    match intent.namespace(NamespaceKind::User) {
        None => {
            let place = if maps.users.is_empty() { "/linux/gidMappings" } else { "/linux/uidMappings" };
            if !maps.users.is_empty() || !maps.groups.is_empty() {
                let error = Error::input("id maps without a user namespace").at(&Origin::fixed(place));
                return Err(error.hint("add {\"type\": \"user\"} to /linux/namespaces"));
            }
            Ok(())
        }
        Some(namespace) if namespace.path.is_none() => {
            for (list, key) in [(&maps.users, "uidMappings"), (&maps.groups, "gidMappings")] {
                if list.is_empty() {
                    return Err(Error::input(format!("a new user namespace needs {key}")).at(&namespace.origin));
                }
            }
            // Behind an inner user namespace the ids are what it says.
            if intent.sandbox.as_ref().is_some_and(|sandbox| sandbox.ids.is_some()) {
                return Ok(());
            }
            intent.process.as_ref().map_or(Ok(()), |process| payload(maps, process))
        }
        // Joined: the maps are the other's, lowering reads them.
        Some(_) => Ok(()),
    }
}

/// Every id of the process is mapped.
pub fn payload(maps: &IdMaps, process: &Process) -> Result<()> {
    let mapped =
        |list: &[IdMap], id: u32| list.iter().any(|map| id.checked_sub(map.container).is_some_and(|at| at < map.size));
    let refuse = |id: u32, what: &str, key: &str| {
        let error = Error::input(format!("{what} {id} is not mapped in the user namespace"));
        Err(error.at(&process.origin.child("user").child(key)))
    };
    let user = &process.user;
    if !mapped(&maps.users, user.uid) {
        return refuse(user.uid, "user", "uid");
    }
    if !mapped(&maps.groups, user.gid) {
        return refuse(user.gid, "group", "gid");
    }
    match user.additional_gids.iter().position(|gid| !mapped(&maps.groups, *gid)) {
        None => Ok(()),
        Some(index) => refuse(user.additional_gids[index], "group", &format!("additionalGids/{index}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(container: u32, host: u32, size: u32) -> IdMap {
        IdMap { container, host, size }
    }

    #[test]
    fn lines_stay_in_32_bits_and_apart() {
        assert_eq!(id_map(&[map(0, 0, u32::MAX)]), Ok(()));
        assert_eq!(id_map(&[map(0, 1000, 1), map(1, 100_000, 65_536), map(70_000, 1001, 1)]), Ok(()));
        for (maps, index, text) in [
            (vec![map(1, 0, u32::MAX)], 0, "leave 32 bits"),
            (vec![map(0, 4_294_967_000, 1000)], 0, "leave 32 bits"),
            (vec![map(0, 0, 0)], 0, "empty"),
            (vec![map(0, 0, 10), map(9, 100, 1)], 1, "in the container"),
            (vec![map(0, 0, 10), map(10, 9, 5)], 1, "on the host"),
            (vec![map(5, 50, 1), map(0, 0, 10)], 1, "in the container"),
        ] {
            let (at, what) = id_map(&maps).unwrap_err();
            assert!(at == index && what.contains(text), "{what}");
        }
    }
}
