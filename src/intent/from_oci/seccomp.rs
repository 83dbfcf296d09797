//! `linux.seccomp`: the words into the seccomp room's own; what the profile means is decided there.

use super::reader::{self, Node};
use super::{bounds, json::shown};
use crate::error::Result;
use crate::seccomp::{Action, Architecture, Argument, Flag, Operator, Profile, Rule};

const KNOWN: &[&str] =
    &["defaultAction", "defaultErrnoRet", "architectures", "flags", "listenerPath", "listenerMetadata", "syscalls"];

/// Reads a profile.
pub fn read(node: Node<'_>) -> Result<Profile> {
    let object = node.object(KNOWN)?;
    Ok(Profile {
        default_action: object.need("defaultAction", action)?,
        default_errno: object.get("defaultErrnoRet", errno)?,
        architectures: object.or_default("architectures", |list| {
            list.list(bounds::FLAGS, |word| {
                word.word("architecture", Architecture::ALL.iter().map(|line| line.1), Architecture::from_word)
            })
        })?,
        flags: object.or_default("flags", |list| {
            list.list(bounds::FLAGS, |word| {
                word.word("filter flag", Flag::ALL.iter().map(|line| line.1), Flag::from_word)
            })
        })?,
        rules: object.or_default("syscalls", |list| list.list(bounds::SECCOMP_RULES, rule))?,
        listener_path: object.or_default("listenerPath", |path| {
            let text = path.text()?;
            if !text.is_empty() && !text.starts_with('/') {
                return Err(path.error(format!("the agent's socket must be absolute, found {}", shown(text))));
            }
            Ok((!text.is_empty()).then(|| text.to_owned()))
        })?,
        listener_metadata: object
            .or_default("listenerMetadata", |text| Ok(Some(reader::string(text)?).filter(|text| !text.is_empty())))?,
        origin: node.origin(),
    })
}

fn action(node: Node<'_>) -> Result<Action> {
    node.word("action", Action::ALL.iter().map(|line| line.1), Action::from_word)
}

fn errno(node: Node<'_>) -> Result<u32> {
    node.number(0, u32::MAX.into())
}

fn rule(node: Node<'_>) -> Result<Rule> {
    let object = node.object(&["names", "action", "errnoRet", "args"])?;
    let names = object.need("names", |list| {
        let names = list.strings(bounds::SECCOMP_NAMES)?;
        if names.is_empty() { Err(list.error("a rule without system calls")) } else { Ok(names) }
    })?;
    Ok(Rule {
        names,
        action: object.need("action", action)?,
        errno: object.get("errnoRet", errno)?,
        args: object.or_default("args", |list| list.list(bounds::FLAGS, argument))?,
        origin: node.origin(),
    })
}

fn argument(node: Node<'_>) -> Result<Argument> {
    let object = node.object(&["index", "value", "valueTwo", "op"])?;
    Ok(Argument {
        index: object.need("index", |index| index.number(0, 5))?,
        value: object.need("value", reader::unsigned)?,
        value_two: object.or_default("valueTwo", reader::unsigned)?,
        op: object
            .need("op", |word| word.word("comparison", Operator::ALL.iter().map(|line| line.1), Operator::from_word))?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{json, reader::Notes};
    use super::*;

    fn profile(text: &str) -> Result<Profile> {
        let value = json::parse(text.as_bytes(), "t")?;
        read(Node::root(&value, &Notes::default()))
    }

    #[test]
    fn a_profile_is_read() {
        let profile = profile(
            r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"architectures":["SCMP_ARCH_X86_64"],
            "flags":["SECCOMP_FILTER_FLAG_LOG"],"listenerPath":"/run/agent","listenerMetadata":"m",
            "syscalls":[{"names":["clone","x_new"],"action":"SCMP_ACT_ALLOW","args":[
            {"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}]},
            {"names":["ptrace"],"action":"SCMP_ACT_NOTIFY","args":null}]}"#,
        )
        .unwrap();
        assert_eq!((profile.default_action, profile.default_errno), (Action::Errno, Some(38)));
        let argument = Argument { index: 0, value: 2_114_060_288, value_two: 0, op: Operator::MaskedEqual };
        assert_eq!(profile.rules[0].args, [argument]);
        assert_eq!(profile.rules[1].origin.0, "/syscalls/1");
        assert_eq!((profile.architectures.len(), profile.flags.len()), (1, 1));
        assert_eq!(profile.listener_path.as_deref(), Some("/run/agent"));
    }

    #[test]
    fn wrong_words_are_named() {
        for (text, message) in [
            (r#"{}"#, "/defaultAction: missing"),
            (r#"{"defaultAction":"SCMP_ACT_ALOW"}"#, "/defaultAction: unknown action \"SCMP_ACT_ALOW\" (did you mean"),
            (r#"{"defaultAction":"SCMP_ACT_LOG","architectures":["X86"]}"#, "/architectures/0: unknown architecture"),
            (r#"{"defaultAction":"SCMP_ACT_LOG","flags":["X"]}"#, "/flags/0: unknown filter flag \"X\" (known: "),
            (
                r#"{"defaultAction":"SCMP_ACT_LOG","syscalls":[{"action":"SCMP_ACT_LOG"}]}"#,
                "/syscalls/0/names: missing",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_LOG","syscalls":[{"names":[],"action":"SCMP_ACT_LOG"}]}"#,
                "/syscalls/0/names: a rule without system calls",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_LOG","syscalls":[{"names":["a"],"action":"SCMP_ACT_LOG",
                "args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#,
                "/syscalls/0/args/0/index: expected a whole number from 0 to 5, found the number 6",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_LOG","syscalls":[{"names":["a"],"action":"SCMP_ACT_LOG",
                "args":[{"index":1,"value":0,"op":"EQ"}]}]}"#,
                "/syscalls/0/args/0/op: unknown comparison \"EQ\"",
            ),
            (r#"{"defaultAction":"SCMP_ACT_LOG","listenerPath":"run/x"}"#, "/listenerPath: the agent's socket"),
        ] {
            let error = profile(text).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
