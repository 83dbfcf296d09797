//! `linux.memoryPolicy` and lists of processors: what a container wants of the machine itself.

use super::reader::Node;
use super::{bounds, json::shown, paths};
use crate::error::Result;
use crate::intent::Placed;
use crate::intent::hardware::{MEMORY_FLAGS, MEMORY_MODES, MemoryPolicy, Numbers};

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
    let Some(numbers) = paths::numbers(text) else {
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
}
