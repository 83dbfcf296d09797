//! `linux`: everything of it but the process's confinement, which has files of its own.

use std::path::PathBuf;

use super::reader::{self, Node};
use super::{bounds, hardware, json::shown, paths, rdt, resources, seccomp};
use crate::cgroup::Resources;
use crate::error::{Error, Result};
use crate::intent::{
    Device, DeviceKind, IdMap, IdMaps, IntelRdt, MemoryPolicy, Namespace, NamespaceKind, NetDevice, Placed,
    Propagation, TimeOffset, contradictions,
};
use crate::seccomp::Profile;

const KNOWN: &[&str] = &[
    "namespaces",
    "uidMappings",
    "gidMappings",
    "timeOffsets",
    "devices",
    "netDevices",
    "cgroupsPath",
    "resources",
    "intelRdt",
    "memoryPolicy",
    "sysctl",
    "seccomp",
    "rootfsPropagation",
    "maskedPaths",
    "readonlyPaths",
    "mountLabel",
    "personality",
];

/// What `linux` says.
#[derive(Default)]
pub struct Linux {
    pub namespaces: Vec<Namespace>,
    pub id_maps: IdMaps,
    pub time_offsets: Vec<TimeOffset>,
    pub devices: Vec<Device>,
    pub cgroup_path: Option<Placed<String>>,
    pub resources: Resources,
    pub sysctls: Vec<(Placed<String>, String)>,
    pub seccomp: Option<Profile>,
    pub propagation: Option<Placed<Propagation>>,
    pub masked_paths: Vec<Placed<String>>,
    pub readonly_paths: Vec<Placed<String>>,
    pub mount_label: Option<Placed<String>>,
    pub personality: Option<Placed<u32>>,
    pub net_devices: Vec<NetDevice>,
    pub intel_rdt: Option<IntelRdt>,
    pub memory_policy: Option<MemoryPolicy>,
}

/// Reads `linux`.
pub fn read(node: Node<'_>) -> Result<Linux> {
    let object = node.object(KNOWN)?;
    Ok(Linux {
        namespaces: object.or_default("namespaces", |list| list.list(bounds::FLAGS, namespace))?,
        id_maps: IdMaps {
            users: object.or_default("uidMappings", id_maps)?,
            groups: object.or_default("gidMappings", id_maps)?,
        },
        time_offsets: object.or_default("timeOffsets", |node| node.map(bounds::FLAGS, time_offset))?,
        devices: object.or_default("devices", |list| list.list(bounds::DEVICES, device))?,
        cgroup_path: object.or_default("cgroupsPath", cgroup_path)?,
        resources: object.or_default("resources", resources::read)?,
        sysctls: object.or_default("sysctl", |node| node.map(bounds::SYSCTLS, sysctl))?,
        seccomp: object.get("seccomp", seccomp::read)?,
        propagation: object.get("rootfsPropagation", propagation)?.flatten(),
        masked_paths: object.or_default("maskedPaths", |node| paths::list(node, bounds::PATHS))?,
        readonly_paths: object.or_default("readonlyPaths", |node| paths::list(node, bounds::PATHS))?,
        mount_label: object.or_default("mountLabel", reader::placed)?,
        personality: object.get("personality", personality)?,
        net_devices: object.or_default("netDevices", |node| node.map(bounds::NET_DEVICES, hardware::net_device))?,
        intel_rdt: object.get("intelRdt", rdt::read)?,
        memory_policy: object.get("memoryPolicy", hardware::memory_policy)?,
    })
}

fn namespace(node: Node<'_>) -> Result<Namespace> {
    let object = node.object(&["type", "path"])?;
    let words = NamespaceKind::ALL.iter();
    let kind = object.need("type", |word| {
        word.word("namespace", words.clone().map(|row| row.1), |text| {
            words.clone().find(|row| row.1 == text).map(|row| row.0)
        })
    })?;
    let path = object.or_default("path", |path| {
        let text = path.text()?;
        if !text.is_empty() && !text.starts_with('/') {
            return Err(path.error(format!("a namespace's path must be absolute, found {}", shown(text))));
        }
        Ok(Some(PathBuf::from(text)).filter(|_| !text.is_empty()))
    })?;
    Ok(Namespace { kind, path, origin: node.origin() })
}

/// Lines of an id map, of the container or of one mount.
pub fn id_maps(node: Node<'_>) -> Result<Vec<IdMap>> {
    let maps = node.list(bounds::ID_MAPS, |node| {
        let object = node.object(&["containerID", "hostID", "size"])?;
        Ok(IdMap {
            container: object.or_default("containerID", reader::id)?,
            host: object.or_default("hostID", reader::id)?,
            size: object.need("size", |size| size.number(1, u32::MAX.into()))?,
        })
    })?;
    match contradictions::id_map(&maps) {
        Ok(()) => Ok(maps),
        Err((index, what)) => Err(Error::input(what).at(&node.origin().child(index))),
    }
}

fn time_offset(clock: &str, node: Node<'_>) -> Result<TimeOffset> {
    let clock = match clock {
        "monotonic" => "monotonic",
        "boottime" => "boottime",
        _ => return Err(node.error("unknown clock").hint("known: monotonic, boottime")),
    };
    let object = node.object(&["secs", "nanosecs"])?;
    Ok(TimeOffset {
        clock,
        seconds: object.or_default("secs", reader::signed)?,
        nanoseconds: object.or_default("nanosecs", |part| part.number(0, 999_999_999))?,
        origin: node.origin(),
    })
}

fn device(node: Node<'_>) -> Result<Device> {
    const KINDS: &[(&str, DeviceKind)] = &[
        ("c", DeviceKind::Character),
        ("u", DeviceKind::Character),
        ("b", DeviceKind::Block),
        ("p", DeviceKind::Fifo),
    ];
    let object = node.object(&["type", "path", "major", "minor", "fileMode", "uid", "gid"])?;
    let kind = object.need("type", |word| word.word_of("device type", KINDS))?;
    let path = object.need("path", paths::absolute)?;
    if path == "/" {
        return Err(node.error("a device node at / makes no sense"));
    }
    // makedev(3) as the kernel has it: 12 and 20 bits. A FIFO has no numbers.
    let (major, minor) = if kind == DeviceKind::Fifo {
        (0, 0)
    } else {
        let major = object.or_default("major", |part| part.number(0, 0xFFF))?;
        (major, object.or_default("minor", |part| part.number(0, 0xF_FFFF))?)
    };
    Ok(Device {
        path,
        kind,
        major,
        minor,
        // Some callers write the file type's bits too.
        mode: object
            .get("fileMode", |mode| mode.number::<u32>(0, u32::MAX.into()))?
            .map_or(0o666, |mode| mode & 0o7777),
        uid: object.or_default("uid", reader::id)?,
        gid: object.or_default("gid", reader::id)?,
        origin: node.origin(),
    })
}

fn cgroup_path(node: Node<'_>) -> Result<Option<Placed<String>>> {
    let path = reader::placed(node)?;
    if path.as_ref().is_some_and(|path| path.value.split('/').any(|part| part == "..")) {
        return Err(node.error("a control group's path must not have \"..\""));
    }
    Ok(path)
}

/// sysctl(8): the first separator says which one the writer uses. In the result dots separate, and a slash stands for a
/// dot within a name (`net.ipv4.conf.eth0/100.forwarding`).
fn sysctl(name: &str, node: Node<'_>) -> Result<(Placed<String>, String)> {
    let swap = |character| match character {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    let dotted: String = match name.find(['.', '/']) {
        Some(at) if name.as_bytes()[at] == b'/' => name.chars().map(swap).collect(),
        _ => name.to_owned(),
    };
    // Each part is a file's name under /proc/sys: "/" is "." there, and "//" is "..".
    let is_name = dotted.split('.').all(|part| !matches!(part, "" | "/" | "//"));
    if !is_name || !dotted.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(node.error(format!("{} is no kernel parameter's name", shown(name))));
    }
    let value = reader::string(node)?;
    if value.contains('\n') {
        return Err(node.error("a kernel parameter's value must be one line"));
    }
    Ok((Placed { value: dotted, origin: node.origin() }, value))
}

fn propagation(node: Node<'_>) -> Result<Option<Placed<Propagation>>> {
    const fn row(kind: u64, recursive: bool) -> Option<Propagation> {
        Some(Propagation { kind, recursive })
    }
    const WORDS: &[(&str, Option<Propagation>)] = &[
        ("", None),
        ("shared", row(1 << 20, false)),
        ("slave", row(1 << 19, false)),
        ("private", row(1 << 18, false)),
        ("unbindable", row(1 << 17, false)),
        ("rshared", row(1 << 20, true)),
        ("rslave", row(1 << 19, true)),
        ("rprivate", row(1 << 18, true)),
        ("runbindable", row(1 << 17, true)),
    ];
    let value = node.word_of("propagation", WORDS)?;
    Ok(value.map(|value| Placed { value, origin: node.origin() }))
}

fn personality(node: Node<'_>) -> Result<Placed<u32>> {
    // linux/personality.h: PER_LINUX, PER_LINUX32.
    const DOMAINS: &[(&str, u32)] = &[("LINUX", 0), ("LINUX32", 8)];
    let object = node.object(&["domain", "flags"])?;
    let value = object.need("domain", |word| word.word_of("execution domain", DOMAINS))?;
    // The spec reserves the flags and supports none.
    object.get("flags", reader::unsupported)?;
    Ok(Placed { value, origin: node.origin() })
}

#[cfg(test)]
mod tests {
    use super::super::{json, reader::Notes};
    use super::*;

    fn linux(text: &str) -> (Result<Linux>, Notes) {
        let notes = Notes::default();
        let value = json::parse(text.as_bytes(), "t").unwrap();
        (read(Node::root(&value, &notes)), notes)
    }

    #[test]
    fn sections_are_read() {
        let (linux, notes) = linux(
            r#"{"namespaces":[{"type":"pid"},{"type":"network","path":"/run/netns/x"},{"type":"ipc","path":""}],
            "timeOffsets":{"boottime":{"secs":-3,"nanosecs":999999999}},"cgroupsPath":"","personality":{"domain":"LINUX32"},
            "devices":[{"type":"p","path":"/dev/p","major":-1},{"type":"u","path":"/dev//x","major":10,"minor":200,"fileMode":8630}],
            "sysctl":{"net/ipv4/conf/eth0.1/rp_filter":"1","kernel.sem":"1 2"},"rootfsPropagation":"rslave",
            "intelRdt":{"closID":"x"},"netDevices":{},"memoryPolicy":{"mode":"MPOL_LOCAL"},"maskedPaths":["/proc/kcore/"]}"#,
        );
        let linux = linux.unwrap();
        assert_eq!(linux.namespaces.iter().map(|ns| ns.path.is_some()).collect::<Vec<_>>(), [false, true, false]);
        assert_eq!((linux.time_offsets[0].clock, linux.time_offsets[0].seconds), ("boottime", -3));
        assert_eq!((linux.cgroup_path, linux.personality.unwrap().value), (None, 8));
        assert_eq!(
            (linux.devices[0].kind, linux.devices[0].major, linux.devices[0].mode),
            (DeviceKind::Fifo, 0, 0o666)
        );
        assert_eq!((linux.devices[1].path.as_str(), linux.devices[1].mode), ("/dev/x", 0o666));
        assert_eq!(linux.sysctls[0].0.value, "net.ipv4.conf.eth0/1.rp_filter");
        assert_eq!(linux.sysctls[0].0.origin.0, "/sysctl/net~1ipv4~1conf~1eth0.1~1rp_filter");
        assert_eq!(linux.propagation.unwrap().value, Propagation { kind: 1 << 19, recursive: true });
        assert_eq!(linux.masked_paths[0].value, "/proc/kcore");
        assert_eq!(linux.intel_rdt.unwrap().class.as_deref(), Some("x"));
        assert_eq!(*notes.unsupported.borrow(), []);
    }

    #[test]
    fn each_rule_names_its_place() {
        for (text, message) in [
            (r#"{"namespaces":[{"type":"net"}]}"#, "/namespaces/0/type: unknown namespace \"net\" (known: user, mount"),
            (r#"{"namespaces":[{"path":"/x"}]}"#, "/namespaces/0/type: missing"),
            (
                r#"{"namespaces":[{"type":"pid","path":"x"}]}"#,
                "/namespaces/0/path: a namespace's path must be absolute",
            ),
            (r#"{"uidMappings":[{"containerID":0,"hostID":1,"size":0}]}"#, "/uidMappings/0/size: expected"),
            (r#"{"gidMappings":[{"containerID":0,"hostID":4294967295,"size":1}]}"#, "/gidMappings/0/hostID: expected"),
            (r#"{"timeOffsets":{"realtime":{"secs":1}}}"#, "/timeOffsets/realtime: unknown clock"),
            (r#"{"timeOffsets":{"monotonic":{"nanosecs":1000000000}}}"#, "/timeOffsets/monotonic/nanosecs: expected"),
            (r#"{"devices":[{"type":"a","path":"/dev/x"}]}"#, "/devices/0/type: unknown device type \"a\""),
            (r#"{"devices":[{"type":"c","path":"dev/x"}]}"#, "/devices/0/path: the path must be absolute"),
            (r#"{"devices":[{"type":"c","path":"/dev/..","major":1}]}"#, "/devices/0: a device node at /"),
            (r#"{"devices":[{"type":"c","path":"/dev/x","major":4096}]}"#, "/devices/0/major: expected"),
            (r#"{"cgroupsPath":"/a/../../b"}"#, "/cgroupsPath: a control group's path"),
            (r#"{"sysctl":{"kernel..sem":"1"}}"#, "/sysctl/kernel..sem: \"kernel..sem\" is no"),
            (r#"{"sysctl":{"net/../x":"1"}}"#, "/sysctl/net~1..~1x: \"net/../x\" is no"),
            (r#"{"sysctl":{"net.x":"1\n2"}}"#, "/sysctl/net.x: a kernel parameter's value must be one line"),
            (r#"{"sysctl":{"net.x":1}}"#, "/sysctl/net.x: expected a string"),
            (r#"{"rootfsPropagation":"slaves"}"#, "/rootfsPropagation: unknown propagation \"slaves\" (did you mean"),
            (r#"{"maskedPaths":["proc"]}"#, "/maskedPaths/0: the path must be absolute"),
            (r#"{"readonlyPaths":["/a",1]}"#, "/readonlyPaths/1: expected a string"),
            (r#"{"personality":{"domain":"LINUX64"}}"#, "/personality/domain: unknown execution domain"),
        ] {
            let error = linux(text).0.err().expect(text).to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
