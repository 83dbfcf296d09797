//! `mounts`: one entry into one [`Mount`].

use std::path::Path;

use super::reader::{self, Node};
use super::{bounds, linux, paths};
use crate::error::{Error, Result};
use crate::intent::mount_options::{self, Parsed};
use crate::intent::{Bind, IdMap, IdMaps, IdmapScope, Mount, Placed};

const KNOWN: &[&str] = &["destination", "type", "source", "options", "uidMappings", "gidMappings"];

/// Reads a mount. `container` are the maps of the container's user namespace, for maps that are relative to it.
pub fn read(node: Node<'_>, bundle: &Path, container: &IdMaps) -> Result<Mount> {
    let object = node.object(KNOWN)?;
    let destination = object.need("destination", paths::from_root)?;
    let text = |node: Node<'_>| Ok(Some(reader::string(node)?).filter(|text| !text.is_empty()));
    let mut fstype = object.or_default("type", text)?;
    let mut source = object.or_default("source", text)?;
    let words = object.or_default("options", |list| list.strings(bounds::OPTIONS))?;
    let Parsed { mut options, id_maps: custom, relative } =
        mount_options::parse(&words, fstype.as_deref(), &node.origin().child("options"))?;

    if fstype.as_deref() == Some("bind") && !options.remount {
        options.bind.get_or_insert(Bind::Single);
    }
    if options.bind.is_some() {
        // The type of a bind is meaningless and often "none".
        fstype = Some("bind".to_owned());
        source = bind_source(source, bundle, options.remount).map_err(|error| error.at(&node.origin()))?;
    } else if fstype.is_none() && !options.remount && options.propagation.is_empty() {
        return Err(object.error("a mount needs a type, or the option bind or rbind"));
    }

    let written = IdMaps {
        users: object.or_default("uidMappings", linux::id_maps)?,
        groups: object.or_default("gidMappings", linux::id_maps)?,
    };
    let id_maps = match (written == IdMaps::default(), custom == IdMaps::default()) {
        (false, false) => return Err(object.error("maps both in uidMappings or gidMappings and in the option idmap=")),
        (false, true) => {
            // Maps without the option mean the option: the spec gives them no other use.
            options.idmap.get_or_insert(IdmapScope::Single);
            written
        }
        (true, _) => absolute(custom, relative, container).map_err(|error| error.at(&node.origin()))?,
    };
    Ok(Mount { destination, fstype, source, options, id_maps, origin: node.origin() })
}

/// The destinations of a list of mounts, each at its place: what `mounts remove` reads of it.
pub fn destinations(list: Node<'_>) -> Result<Vec<Placed<String>>> {
    list.list(bounds::MOUNTS, |node| {
        let value = node.object(KNOWN)?.need("destination", paths::from_root)?;
        Ok(Placed { value, origin: node.origin() })
    })
}

/// A bind's source as an absolute path of the host.
fn bind_source(source: Option<String>, bundle: &Path, remount: bool) -> Result<Option<String>> {
    let Some(source) = source else {
        return if remount { Ok(None) } else { Err(Error::input("a bind mount needs a source")) };
    };
    if source.starts_with('/') {
        return Ok(Some(source));
    }
    let path = bundle.join(&source).into_os_string();
    let path = path.into_string().map_err(|_| Error::input("a relative source in a bundle whose path is not UTF-8"))?;
    Ok(Some(path))
}

/// `idmap=uids=@…`: the second numbers are ids of the container's user namespace; they become ids of the host.
fn absolute(maps: IdMaps, relative: (bool, bool), container: &IdMaps) -> Result<IdMaps> {
    let list = |list: Vec<IdMap>, relative: bool, through: &[IdMap], what: &str| {
        if !relative {
            return Ok(list);
        }
        let mut all = Vec::new();
        for map in &list {
            translate(*map, through, &mut all)
                .ok_or_else(|| Error::input(format!("idmap {what}: {} is not mapped in the container", map.host)))?;
        }
        Ok(all)
    };
    Ok(IdMaps {
        users: list(maps.users, relative.0, &container.users, "uids")?,
        groups: list(maps.groups, relative.1, &container.groups, "gids")?,
    })
}

/// Cuts one range where the container's ranges end; nothing if a part of it is not mapped.
fn translate(mut map: IdMap, through: &[IdMap], all: &mut Vec<IdMap>) -> Option<()> {
    while map.size > 0 {
        let range =
            through.iter().find(|range| map.host.checked_sub(range.container).is_some_and(|at| at < range.size))?;
        let at = map.host - range.container;
        let size = map.size.min(range.size - at);
        all.push(IdMap { container: map.container, host: range.host.checked_add(at)?, size });
        map = IdMap {
            container: map.container.checked_add(size)?,
            host: map.host.checked_add(size)?,
            size: map.size - size,
        };
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::{json, reader::Notes};
    use super::*;

    fn map(container: u32, host: u32, size: u32) -> IdMap {
        IdMap { container, host, size }
    }

    fn mount(text: &str) -> Result<Mount> {
        let value = json::parse(text.as_bytes(), "t")?;
        let users = vec![map(0, 1000, 1), map(1, 100_000, 65_536)];
        let container = IdMaps { groups: users.clone(), users };
        read(Node::root(&value, &Notes::default()), Path::new("/bundle"), &container)
    }

    #[test]
    fn binds_are_known_by_their_options_and_lie_in_the_bundle() {
        let bind =
            mount(r#"{"destination":"/a/../x/","type":"none","source":"data","options":["rbind","ro"]}"#).unwrap();
        assert_eq!((bind.destination.as_str(), bind.source.as_deref()), ("/x", Some("/bundle/data")));
        assert_eq!((bind.fstype.as_deref(), bind.options.bind), (Some("bind"), Some(Bind::Recursive)));
        let typed = mount(r#"{"destination":"x","type":"bind","source":"/y"}"#).unwrap();
        assert_eq!((typed.destination.as_str(), typed.options.bind), ("/x", Some(Bind::Single)));
    }

    #[test]
    fn maps_mean_an_idmapped_mount() {
        let bind = mount(
            r#"{"destination":"/x","source":"/y","options":["bind"],"uidMappings":[{"containerID":0,"hostID":5,"size":1}],
            "gidMappings":[{"containerID":0,"hostID":6,"size":1}]}"#,
        )
        .unwrap();
        assert_eq!(bind.options.idmap, Some(IdmapScope::Single));
        assert_eq!((bind.id_maps.users, bind.id_maps.groups), (vec![map(0, 5, 1)], vec![map(0, 6, 1)]));
    }

    #[test]
    fn relative_maps_go_through_the_containers() {
        let bind =
            mount(r#"{"destination":"/x","source":"/y","options":["bind","idmap=uids=@7-0-3;gids=0-9-1"]}"#).unwrap();
        assert_eq!(bind.id_maps.users, [map(7, 1000, 1), map(8, 100_000, 2)]);
        assert_eq!(bind.id_maps.groups, [map(0, 9, 1)]);
        let wrong =
            mount(r#"{"destination":"/x","source":"/y","options":["bind","idmap=uids=@0-70000-3;gids=0-9-1"]}"#);
        assert!(wrong.unwrap_err().to_string().contains("70000 is not mapped"));
    }

    #[test]
    fn each_rule_names_its_place() {
        for (text, message) in [
            (r#"{}"#, "/destination: missing"),
            (r#"{"destination":""}"#, "/destination: the path is empty"),
            (r#"{"destination":"/x"}"#, "a mount needs a type"),
            (r#"{"destination":"/x","options":["bind"]}"#, "a bind mount needs a source"),
            (r#"{"destination":"/x","source":"/y","options":["bind","size=3"]}"#, "/options/1: a bind mount takes no"),
            (
                r#"{"destination":"/x","type":"tmpfs","options":["ro",3]}"#,
                "/options/1: expected a string, found the number 3",
            ),
        ] {
            let error = mount(text).unwrap_err().to_string();
            let error = error.trim_start_matches(": ");
            assert!(error.starts_with(message), "{error}");
        }
    }
}
