//! `linux.intelRdt`: class of service, schemata, monitoring.

use super::reader::{self, Node};
use super::{bounds, json::shown};
use crate::error::{Error, Result};
use crate::intent::IntelRdt;
use crate::resctrl;

const KNOWN: &[&str] =
    &["closID", "l3CacheSchema", "memBwSchema", "schemata", "enableMonitoring", "enableCMT", "enableMBM"];

/// Reads the section.
pub fn read(node: Node<'_>) -> Result<IntelRdt> {
    let object = node.object(KNOWN)?;
    let text = |node: Node<'_>| Ok(Some(reader::string(node)?).filter(|text| !text.is_empty()));
    let class = object.or_default("closID", |node| {
        let class = text(node)?;
        match class.as_deref().filter(|name| !is_class(name)) {
            Some(name) => Err(node.error(format!("{} is no class of service's name", shown(name)))),
            None => Ok(class),
        }
    })?;
    let bandwidth = object.or_default("memBwSchema", |node| {
        let line = text(node)?;
        match line.as_deref().filter(|line| !line.starts_with("MB:")) {
            Some(line) => Err(node.error(format!("a bandwidth schema begins with MB:, found {}", shown(line)))),
            None => line.map(|line| schema(&line).map_err(|error| error.at(&node.origin()))).transpose(),
        }
    })?;
    // One line by today's specification; earlier ones let callers put several in, of which memBwSchema replaces MB's.
    let mut schemata: Vec<String> = object.or_default("l3CacheSchema", |node| {
        let text = node.text()?;
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let kept = lines.filter(|line| bandwidth.is_none() || !line.starts_with("MB:"));
        kept.map(|line| schema(line).map_err(|error| error.at(&node.origin()))).collect()
    })?;
    schemata.extend(bandwidth);
    schemata.extend(object.or_default("schemata", |list| {
        list.list(bounds::SCHEMATA, |node| schema(node.text()?).map_err(|error| error.at(&node.origin())))
    })?);
    let mut monitoring = object.or_default("enableMonitoring", reader::boolean)?;
    for key in ["enableCMT", "enableMBM"] {
        // Before 1.3 one could ask for one kind of counters; the kernel gives those the processor has.
        monitoring |= object.or_default(key, reader::boolean)?;
    }
    Ok(IntelRdt { class, schemata, monitoring, origin: node.origin() })
}

/// A directory's name below the root of resctrl, or `/` for the root.
fn is_class(name: &str) -> bool {
    let plain = name.len() <= 255 && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    name == "/" || plain && !matches!(name, "." | "..") && !resctrl::RESERVED.contains(&name)
}

/// One line of a schemata file.
///
/// # Errors
/// It has not the form of one.
pub fn schema(line: &str) -> Result<String> {
    let line = line.trim();
    if !resctrl::is_line(line) {
        let what = format!("expected a schema such as \"L3:0=7f0;1=1f\", found {}", shown(line));
        return Err(Error::input(what));
    }
    Ok(line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::{json, reader::Notes};
    use super::*;

    fn rdt(text: &str) -> Result<IntelRdt> {
        let value = json::parse(text.as_bytes(), "t")?;
        read(Node::root(&value, &Notes::default()))
    }

    #[test]
    fn lines_come_in_the_specifications_order() {
        let all = rdt(
            r#"{"schemata":["L2:0=f"," SMBA:0=7"],"memBwSchema":"MB:0=20","l3CacheSchema":"L3:0=7f0\nMB:0=9","closID":"gold"}"#,
        )
        .unwrap();
        assert_eq!(all.schemata, ["L3:0=7f0", "MB:0=20", "L2:0=f", "SMBA:0=7"]);
        assert_eq!((all.class.as_deref(), all.monitoring), (Some("gold"), false));
        let own = rdt(r#"{"closID":"","l3CacheSchema":"","memBwSchema":"","enableMonitoring":true}"#).unwrap();
        assert_eq!((own.class, own.schemata.len(), own.monitoring), (None, 0, true));
        assert_eq!(rdt(r#"{"closID":"/"}"#).unwrap().class.as_deref(), Some("/"));
        for old in ["enableCMT", "enableMBM"] {
            assert!(rdt(&format!(r#"{{"{old}":true}}"#)).unwrap().monitoring);
        }
    }

    #[test]
    fn wrong_values_are_named() {
        for (text, message) in [
            (r#"{"closID":"a/b"}"#, "/closID: \"a/b\" is no class"),
            (r#"{"closID":".."}"#, "/closID: \"..\" is no class"),
            (r#"{"closID":"info"}"#, "/closID: \"info\" is no class"),
            (r#"{"closID":7}"#, "/closID: expected a string"),
            (r#"{"l3CacheSchema":"L3"}"#, "/l3CacheSchema: expected a schema such as"),
            (r#"{"memBwSchema":"L3:0=f"}"#, "/memBwSchema: a bandwidth schema begins with MB:"),
            (r#"{"memBwSchema":"MB:0=f\nL3:0=f"}"#, "/memBwSchema: expected a schema"),
            (r#"{"schemata":["L3:0=f","L3:0=f\nMB:0=7"]}"#, "/schemata/1: expected a schema"),
            (r#"{"schemata":"L3:0=f"}"#, "/schemata: expected a list"),
            (r#"{"enableMonitoring":1}"#, "/enableMonitoring: expected true or false"),
        ] {
            let error = rdt(text).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
