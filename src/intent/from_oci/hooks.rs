//! `hooks`: programs run along the container's life.

use super::json::shown;
use super::reader::Node;
use super::{bounds, process};
use crate::error::Result;
use crate::intent::{Hook, Hooks};

/// The six lists.
pub const KNOWN: &[&str] = &["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// Reads all six lists.
pub fn read(node: Node<'_>) -> Result<Hooks> {
    let object = node.object(KNOWN)?;
    let list = |node: Node<'_>| node.list(bounds::HOOKS, hook);
    Ok(Hooks {
        prestart: object.or_default("prestart", list)?,
        create_runtime: object.or_default("createRuntime", list)?,
        create_container: object.or_default("createContainer", list)?,
        start_container: object.or_default("startContainer", list)?,
        poststart: object.or_default("poststart", list)?,
        poststop: object.or_default("poststop", list)?,
    })
}

fn hook(node: Node<'_>) -> Result<Hook> {
    let object = node.object(&["path", "args", "env", "timeout"])?;
    // Not cleaned: it is a path of the host or the image, and only the kernel resolves those.
    let path = object.need("path", |path| {
        let text = path.text()?;
        if !text.starts_with('/') {
            return Err(path.error(format!("a hook's path must be absolute, found {}", shown(text))));
        }
        Ok(text.to_owned())
    })?;
    let mut args = object.or_default("args", |list| list.strings(bounds::STRINGS))?;
    if args.is_empty() {
        args.push(path.clone());
    }
    Ok(Hook {
        args,
        env: object.or_default("env", process::environment)?,
        timeout: object.get("timeout", |seconds| seconds.number(1, i128::from(i32::MAX)))?,
        path,
        origin: node.origin(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::{json, reader::Notes};
    use super::*;

    fn hooks(text: &str) -> Result<Hooks> {
        let value = json::parse(text.as_bytes(), "t")?;
        read(Node::root(&value, &Notes::default()))
    }

    #[test]
    fn lists_are_read_in_order() {
        let hooks = hooks(
            r#"{"prestart":[{"path":"/a"}],"poststop":[{"path":"/b","args":["b","-x"],"env":["A=1"],"timeout":3},
            {"path":"/c"}]}"#,
        )
        .unwrap();
        assert_eq!((hooks.prestart[0].args.as_slice(), hooks.prestart[0].timeout), (&["/a".to_owned()][..], None));
        assert_eq!((hooks.poststop[0].args.len(), hooks.poststop[0].timeout), (2, Some(3)));
        assert_eq!(hooks.poststop[1].origin.0, "/poststop/1");
    }

    #[test]
    fn wrong_hooks_are_named() {
        for (text, message) in [
            (r#"{"prestart":[{"path":"a"}]}"#, "/prestart/0/path: a hook's path must be absolute"),
            (r#"{"poststart":[{}]}"#, "/poststart/0/path: missing"),
            (r#"{"createRuntime":[{"path":"/a","timeout":0}]}"#, "/createRuntime/0/timeout: expected"),
            (r#"{"startContainer":[{"path":"/a","env":["x"]}]}"#, "/startContainer/0/env/0: an environment entry"),
            (r#"{"createContainer":{}}"#, "/createContainer: expected a list, found an object"),
        ] {
            let error = hooks(text).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
