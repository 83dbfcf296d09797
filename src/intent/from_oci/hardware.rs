//! `linux.memoryPolicy`, `linux.netDevices` and lists of processors: what a container wants of the machine itself.

use super::reader::Node;
use super::{bounds, json::shown, paths};
use crate::cgroup::list;
use crate::error::Result;
use crate::intent::Placed;
use crate::intent::hardware::{MEMORY_FLAGS, MEMORY_MODES, MemoryPolicy, NetDevice, Numbers};

/// The highest number of a processor: the most that a kernel of ours is built for (`NR_CPUS`).
const LAST_PROCESSOR: u32 = 8191;
/// The highest number of a memory node (`MAX_NUMNODES`).
const LAST_NODE: u32 = 1023;

/// Processors; an empty text is none.
pub fn processors(node: Node<'_>) -> Result<Option<Placed<Numbers>>> {
    numbers(node, "processors", LAST_PROCESSOR)
}

fn numbers(node: Node<'_>, what: &str, last: u32) -> Result<Option<Placed<Numbers>>> {
    let text = node.text()?.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let Some(numbers) = list::numbers(text) else {
        return Err(node.error(format!("expected a list of {what} such as \"0-3,7\", found {}", shown(text))));
    };
    let mut words = Vec::new();
    for number in numbers {
        if number > last {
            return Err(node.error(format!("{what} have numbers from 0 to {last}, found {number}")));
        }
        let word = number as usize / 64;
        if words.len() <= word {
            words.resize(word + 1, 0u64);
        }
        words[word] |= 1 << (number % 64);
    }
    Ok(Some(Placed { value: Numbers { list: text.to_owned(), words }, origin: node.origin() }))
}

/// `linux.memoryPolicy`.
pub fn memory_policy(node: Node<'_>) -> Result<MemoryPolicy> {
    let object = node.object(&["mode", "nodes", "flags"])?;
    let mode = object.need("mode", |word| {
        let number = word.word_of("memory policy mode", MEMORY_MODES)?;
        // The table has the word, as it was just found there.
        Ok(MEMORY_MODES.iter().copied().find(|line| line.1 == number).unwrap_or(MEMORY_MODES[0]))
    })?;
    let flags = object.or_default("flags", |list| {
        list.list(bounds::FLAGS, |word| word.word_of("memory policy flag", MEMORY_FLAGS))
    })?;
    Ok(MemoryPolicy {
        mode,
        flags: flags.into_iter().fold(0, |all, flag| all | flag),
        nodes: object.or_default("nodes", |list| numbers(list, "memory nodes", LAST_NODE))?,
        origin: node.origin(),
    })
}

/// An entry of `linux.netDevices`: the key is the device, `name` what it is called in the container.
pub fn net_device(device: &str, node: Node<'_>) -> Result<NetDevice> {
    if !paths::is_interface(device) || device.contains('%') {
        return Err(node.error(format!("{} is no network device's name", shown(device))));
    }
    let object = node.object(&["name"])?;
    let name = object.or_default("name", |name| {
        let text = name.text()?;
        // The kernel takes one number in a name (`__dev_alloc_name`).
        let pattern = text.split_once('%').is_none_or(|(_, rest)| rest.starts_with('d') && !rest.contains('%'));
        if !text.is_empty() && !(paths::is_interface(text) && pattern) {
            let error = name.error(format!("{} is no network device's name", shown(text)));
            return Err(error.hint("at most 15 bytes without / : and white space; one %d stands for a free number"));
        }
        Ok(text.to_owned())
    })?;
    let name = if name.is_empty() { device.to_owned() } else { name };
    Ok(NetDevice { device: device.to_owned(), name, origin: node.origin() })
}

#[cfg(test)]
mod tests {
    use super::super::{json, reader::Notes};
    use super::*;

    fn policy(text: &str) -> Result<MemoryPolicy> {
        let value = json::parse(text.as_bytes(), "t")?;
        memory_policy(Node::root(&value, &Notes::default()))
    }

    #[test]
    fn a_policy_is_read() {
        let policy = policy(r#"{"mode":"MPOL_INTERLEAVE","nodes":"0-1,64","flags":["MPOL_F_STATIC_NODES"]}"#).unwrap();
        assert_eq!((policy.mode, policy.flags), (("MPOL_INTERLEAVE", 3), 1 << 15));
        let nodes = policy.nodes.unwrap();
        assert_eq!((nodes.value.words, nodes.origin.0.as_ref()), (vec![3, 1], "/nodes"));
        for (word, number) in MEMORY_MODES {
            let text = format!(r#"{{"mode":"{word}","nodes":""}}"#);
            assert_eq!(
                (self::policy(&text).unwrap().mode, self::policy(&text).unwrap().nodes),
                ((*word, *number), None)
            );
        }
    }

    #[test]
    fn wrong_policies_are_named() {
        for (text, message) in [
            (r#"{"nodes":"0"}"#, "/mode: missing"),
            (r#"{"mode":"MPOL_BINDS"}"#, "/mode: unknown memory policy mode \"MPOL_BINDS\" (did you mean"),
            (r#"{"mode":"MPOL_BIND","nodes":"0-"}"#, "/nodes: expected a list of memory nodes such as"),
            (r#"{"mode":"MPOL_BIND","nodes":7}"#, "/nodes: expected a string"),
            (
                r#"{"mode":"MPOL_BIND","nodes":"0-1024"}"#,
                "/nodes: memory nodes have numbers from 0 to 1023, found 1024",
            ),
            (r#"{"mode":"MPOL_BIND","flags":["MPOL_F_LOCAL"]}"#, "/flags/0: unknown memory policy flag"),
        ] {
            let error = policy(text).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }

    fn devices(text: &str) -> Result<Vec<NetDevice>> {
        let value = json::parse(text.as_bytes(), "t")?;
        Node::root(&value, &Notes::default()).map(9, net_device)
    }

    #[test]
    fn network_devices_keep_their_name_or_get_another() {
        let devices = devices(r#"{"eth0":{},"ens4":{"name":""},"b.7":{"name":"eth%d"}}"#).unwrap();
        let names: Vec<_> = devices.iter().map(|one| (one.device.as_str(), one.name.as_str())).collect();
        assert_eq!(names, [("eth0", "eth0"), ("ens4", "ens4"), ("b.7", "eth%d")]);
        assert_eq!(devices[2].origin.0, "/b.7");
    }

    #[test]
    fn wrong_device_names_are_named() {
        for (text, message) in [
            (r#"{"":{}}"#, "/: \"\" is no network"),
            (r#"{"eth%d":{}}"#, "/eth%d: \"eth%d\" is no network"),
            (r#"{"a/b":{}}"#, "/a~1b: \"a/b\" is no network"),
            (r#"{"..":{}}"#, "/..: \"..\" is no network"),
            (r#"{"eth0":{"name":"sixteen-bytes-it"}}"#, "/eth0/name: \"sixteen-bytes-it\" is no network"),
            (r#"{"eth0":{"name":"a b"}}"#, "/eth0/name: \"a b\" is no network"),
            (r#"{"eth0":{"name":"a%s"}}"#, "/eth0/name: \"a%s\" is no network"),
            (r#"{"eth0":{"name":"a%d%d"}}"#, "/eth0/name: \"a%d%d\" is no network"),
            (r#"{"eth0":{"name":7}}"#, "/eth0/name: expected a string"),
            (r#"{"eth0":"x"}"#, "/eth0: expected an object"),
        ] {
            let error = devices(text).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
