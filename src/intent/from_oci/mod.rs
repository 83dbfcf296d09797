//! OCI's config.json into an [`Intent`] (runtime-spec 1.3, config.md and config-linux.md).
//!
//! ```text
//! bytes ──json──► tree ──reader──► values, each with its pointer ──contradictions──► Intent
//! ```
//!
//! # Policy
//! - Unknown members are warnings (the spec's "Extensibility"), misspelt ones errors, with [`Unknown::Refused`] both are
//!   (`reader` says why); equal keys, wrong types and unknown words are errors. `null` is absence. Sections of other
//!   platforms are passed over.
//! - A capability of the right form but unknown is a warning, as the spec says; any other unknown word is an error,
//!   since leaving it out would change what is confined.
//! - What is understood but cannot be given is listed in [`Intent::unsupported`].
//!
//! # Why not oci-spec's types
//! Measured with static release programs (fat LTO, stripped, x86-64) that only read the corpus's `docker.json` (11 kB, 437
//! system calls in its seccomp profile), beside one that only loads the file:
//!
//! | reader | program grows by | first read of a process | best of 2,000 |
//! |---|---|---|---|
//! | oci-spec 0.10, `serde_json::from_slice::<Spec>` | 1,614 kB (regex is reached from `Process`) | 131 µs | 56 µs, no checks |
//! | this one, to the checked [`Intent`] | 424 kB | 137 µs | 67 µs, of it 25 µs the tree |
//!
//! A runtime's size is start-up time, and 1.2 MB of it for the same speed is too much. Besides, a derived reader knows line and column
//! but no pointer, keeps silent about unknown members, takes equal keys of maps, and its closed enums refuse a whole configuration
//! for one capability of a newer kernel. oci-spec stays the second opinion: the tests compare both readers on the corpus.

mod bounds;
mod hardware;
mod hooks;
mod json;
mod linux;
mod mounts;
mod paths;
mod place;
mod process;
mod rdt;
mod reader;
mod resources;
mod seccomp;

use std::path::Path;

pub use hooks::KNOWN as HOOKS;
use json::shown;
pub use paths::clean as clean_path;
pub use process::RLIMITS;
pub use rdt::schema;
use reader::{Node, Notes};
pub use reader::{Unknown, nearest};

use super::process::Process;
use super::{Intent, Placed, Root, RootKind, contradictions};
use crate::cgroup::Resources;
use crate::error::Result;

const KNOWN: &[&str] = &[
    "ociVersion",
    "root",
    "process",
    "hostname",
    "domainname",
    "mounts",
    "hooks",
    "annotations",
    "linux",
    // Other platforms: accepted, not looked into.
    "vm",
    "windows",
    "solaris",
    "zos",
    "freebsd",
];

/// Reads a whole config.json. `bundle` is the bundle's absolute path; relative paths of the root and of bind sources
/// count from it. Nothing of the host is looked at.
///
/// # Errors
/// One [`crate::error::Kind::Input`] error with the JSON pointer of the first wrong place.
pub fn from_oci(text: &[u8], bundle: &Path) -> Result<Intent> {
    read_config(text, bundle, Unknown::default())
}

/// [`from_oci`], and what is made of unknown members.
///
/// # Errors
/// As [`from_oci`].
pub fn read_config(text: &[u8], bundle: &Path, unknown: Unknown) -> Result<Intent> {
    let value = json::parse(text, "config.json")?;
    let notes = Notes { unknown, ..Notes::default() };
    let mut intent = read(Node::root(&value, &notes), bundle)?;
    intent.unsupported = notes.unsupported.into_inner();
    intent.warnings = notes.warnings.into_inner();
    super::annotations::apply(&mut intent)?;
    contradictions::check(&mut intent)?;
    Ok(intent)
}

/// Reads a process, as `exec --process` names it in a file.
///
/// # Errors
/// As [`from_oci`].
pub fn process_from_oci(text: &[u8]) -> Result<Process> {
    read_process(text, Unknown::default()).map(|(process, _)| process)
}

/// [`process_from_oci`] with its warnings, and what is made of unknown members.
///
/// # Errors
/// As [`from_oci`].
pub fn read_process(text: &[u8], unknown: Unknown) -> Result<(Process, Vec<String>)> {
    let value = json::parse(text, "process file")?;
    let notes = Notes { unknown, ..Notes::default() };
    let process = process::read(Node::root(&value, &notes))?;
    contradictions::process(&process)?;
    Ok((process, notes.warnings.into_inner()))
}

/// The rules of a process that `exec`'s options made.
///
/// # Errors
/// The first that is broken.
pub fn check_process(process: &Process) -> Result<()> {
    contradictions::process(process)
}

/// Reads resources, as `update --resources` names them in a file or on standard input.
///
/// # Errors
/// As [`from_oci`].
pub fn resources_from_oci(text: &[u8]) -> Result<Resources> {
    read_resources(text, Unknown::default()).map(|(resources, _)| resources)
}

/// [`resources_from_oci`] with its warnings, and what is made of unknown members.
///
/// # Errors
/// As [`from_oci`].
pub fn read_resources(text: &[u8], unknown: Unknown) -> Result<(Resources, Vec<String>)> {
    let value = json::parse(text, "resources file")?;
    let notes = Notes { unknown, ..Notes::default() };
    let resources = resources::read(Node::root(&value, &notes))?;
    resources.check()?;
    Ok((resources, notes.warnings.into_inner()))
}

/// Puts a list of mounts, as `mounts add` names it in a file, in the place of a container's own; gives the warnings.
///
/// # Errors
/// As [`from_oci`]; pointers start at the list.
pub fn replace_mounts(text: &[u8], bundle: &Path, unknown: Unknown, intent: &mut Intent) -> Result<Vec<String>> {
    let value = json::parse(text, "mounts file")?;
    let notes = Notes { unknown, ..Notes::default() };
    let maps = &intent.id_maps;
    intent.mounts = Node::root(&value, &notes).list(bounds::MOUNTS, |node| mounts::read(node, bundle, maps))?;
    contradictions::mounts(intent)?;
    Ok(notes.warnings.into_inner())
}

/// The destinations of such a list, for `mounts remove`.
///
/// # Errors
/// As [`from_oci`]; pointers start at the list.
pub fn mount_destinations(text: &[u8]) -> Result<Vec<Placed<String>>> {
    let value = json::parse(text, "mounts file")?;
    mounts::destinations(Node::root(&value, &Notes::default()))
}

fn read(node: Node<'_>, bundle: &Path) -> Result<Intent> {
    let object = node.object(KNOWN)?;
    let version = object.need("ociVersion", version)?;
    let linux = object.or_default("linux", linux::read)?;
    let annotations = object.or_default("annotations", |node| {
        node.map(bounds::ANNOTATIONS, |key, value| {
            if key.is_empty() {
                return Err(value.error("an annotation without a name"));
            }
            Ok((key.to_owned(), reader::string(value)?))
        })
    })?;
    Ok(Intent {
        version,
        root: root(object.need("root", |node| root_fields(node, bundle))?, linux.propagation),
        mounts: object.or_default("mounts", |list| {
            list.list(bounds::MOUNTS, |node| mounts::read(node, bundle, &linux.id_maps))
        })?,
        namespaces: linux.namespaces,
        id_maps: linux.id_maps,
        time_offsets: linux.time_offsets,
        hostname: object.or_default("hostname", |name| uts_name(name, "host"))?,
        domainname: object.or_default("domainname", |name| uts_name(name, "domain"))?,
        devices: linux.devices,
        masked_paths: linux.masked_paths,
        readonly_paths: linux.readonly_paths,
        sysctls: linux.sysctls,
        process: object.get("process", process::read)?,
        resources: linux.resources,
        cgroup_path: linux.cgroup_path,
        seccomp: linux.seccomp,
        hooks: object.or_default("hooks", hooks::read)?,
        annotations: annotations.into_iter().collect(),
        extensions: Default::default(),
        personality: linux.personality,
        net_devices: linux.net_devices,
        intel_rdt: linux.intel_rdt,
        memory_policy: linux.memory_policy,
        mount_label: linux.mount_label,
        sandbox: None,
        unsupported: Vec::new(),
        warnings: Vec::new(),
    })
}

/// A version of the specification: 1.x.y, whatever follows.
fn version(node: Node<'_>) -> Result<String> {
    let text = node.text()?;
    let core = text.split(['-', '+']).next().unwrap_or("");
    let numbers: Vec<&str> = core.split('.').collect();
    let form = numbers.len() == 3
        && numbers.iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    if !form {
        return Err(node.error(format!("{} is no version such as \"1.3.0\"", shown(text))));
    }
    if numbers[0] != "1" {
        return Err(node.error(format!("version {text} of the runtime-spec; this program knows 1.0.0 to 1.3.x")));
    }
    Ok(text.to_owned())
}

fn root_fields(node: Node<'_>, bundle: &Path) -> Result<Root> {
    let object = node.object(&["path", "readonly"])?;
    let path = object.need("path", |path| {
        let text = path.text()?;
        if text.is_empty() { Err(path.error("the root's path is empty")) } else { Ok(bundle.join(text)) }
    })?;
    Ok(Root {
        // "rootfs/" and "./rootfs" become one spelling; ".." is left to the kernel.
        path: path.components().collect(),
        kind: RootKind::Directory,
        readonly: object.or_default("readonly", reader::boolean)?,
        propagation: None,
        origin: node.origin(),
    })
}

fn root(root: Root, propagation: Option<super::Placed<super::Propagation>>) -> Root {
    Root { propagation, ..root }
}

/// sethostname(2) takes at most 64 bytes.
fn uts_name(node: Node<'_>, what: &str) -> Result<Option<String>> {
    let text = node.text()?;
    if text.len() > 64 {
        return Err(node.error(format!("a {what} name has at most 64 bytes, this one {}", text.len())));
    }
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests;
