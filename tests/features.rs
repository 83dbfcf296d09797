//! `features` says what the parsers take: all of it, and nothing else. What each list must equal is the parser's own
//! table; what each word must do is to be understood.

mod harness;

use harness::{Value, json, only_kiste, requires};
use kiste::error::{Origin, Result};
use kiste::intent::hardware::{MEMORY_FLAGS, MEMORY_MODES};
use kiste::intent::{Intent, NamespaceKind, from_oci, mount_options};
use kiste::seccomp;
use std::collections::BTreeSet;
use std::path::Path;

fn features() -> Value {
    harness::Bundle::new().call(&["features"]).ok().json()
}

/// A list of words in the features.
#[track_caller]
fn words(features: &Value, pointer: &str) -> Vec<String> {
    let list = features.pointer(pointer).and_then(Value::as_array).unwrap_or_else(|| panic!("no {pointer}"));
    list.iter().map(|word| word.as_str().expect("a word").to_owned()).collect()
}

/// A configuration with a value at a place.
fn read(pointer: &str, value: Value) -> Result<Intent> {
    let mut config = json!({
        "ociVersion": "1.3.0", "root": { "path": "rootfs" },
        "process": { "args": ["a"], "cwd": "/", "capabilities": {} },
        "linux": {
            "namespaces": [{ "type": "mount" }, { "type": "network" }],
            "uidMappings": [{ "containerID": 0, "hostID": 1, "size": 1 }],
            "gidMappings": [{ "containerID": 0, "hostID": 1, "size": 1 }],
            "seccomp": { "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/agent" },
        },
    });
    if pointer != "/linux/namespaces" || value != json!([{ "type": "user" }]) {
        for maps in ["uidMappings", "gidMappings"] {
            config["linux"].as_object_mut().expect("linux").remove(maps);
        }
    }
    let mut place = &mut config;
    for key in pointer.split('/').skip(1) {
        place = &mut place[key];
    }
    *place = value;
    from_oci::from_oci(config.to_string().as_bytes(), Path::new("/b"))
}

/// Each word is taken without a warning, and a word like it is not.
#[track_caller]
fn taken(list: &[String], of: impl Fn(&str) -> Result<Intent>) {
    for word in list {
        let intent = of(word).unwrap_or_else(|error| panic!("{word}: {error}"));
        assert_eq!(intent.warnings, Vec::<String>::new(), "{word}");
        assert!(intent.unsupported.is_empty(), "{word}");
        let other = of(&format!("{word}_"));
        assert!(other.is_err() || other.is_ok_and(|intent| !intent.warnings.is_empty()), "{word}_ is taken, too");
    }
}

/// A list is a table, whatever the order.
#[track_caller]
fn equals<'t>(list: &[String], table: impl Iterator<Item = &'t str>) {
    let listed: BTreeSet<&str> = list.iter().map(String::as_str).collect();
    assert_eq!(listed, table.collect::<BTreeSet<_>>());
    assert_eq!(listed.len(), list.len(), "a word is there twice");
}

#[test]
fn each_list_is_the_parsers_table() {
    only_kiste!();
    let all = features();
    let list = |pointer: &str| words(&all, pointer);
    equals(&list("/hooks"), from_oci::HOOKS.iter().copied());
    equals(&list("/mountOptions"), mount_options::words());
    equals(&list("/linux/namespaces"), NamespaceKind::ALL.iter().map(|row| row.1));
    equals(&list("/linux/seccomp/actions"), seccomp::Action::ALL.iter().map(|row| row.1));
    equals(&list("/linux/seccomp/operators"), seccomp::Operator::ALL.iter().map(|row| row.1));
    equals(&list("/linux/seccomp/archs"), seccomp::Architecture::ALL.iter().map(|row| row.1));
    equals(&list("/linux/seccomp/knownFlags"), seccomp::Flag::ALL.iter().map(|row| row.1));
    equals(&list("/linux/memoryPolicy/modes"), MEMORY_MODES.iter().map(|row| row.0));
    equals(&list("/linux/memoryPolicy/flags"), MEMORY_FLAGS.iter().map(|row| row.0));
    let known = list("/linux/seccomp/knownFlags");
    assert!(list("/linux/seccomp/supportedFlags").iter().all(|flag| known.contains(flag)));
    let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").expect("proc");
    let last: usize = last.trim().parse().expect("a number");
    // A newer kernel may have more; of those of its own time kiste knows all.
    assert!(list("/linux/capabilities").len() > last.min(40));
}

#[test]
fn each_word_is_understood() {
    only_kiste!();
    let all = features();
    let list = |pointer: &str| words(&all, pointer);
    let filter = |key: &str, value: Value| read(&format!("/linux/seccomp/{key}"), value);
    let rule = |rule: Value| filter("syscalls", json!([rule]));
    taken(&list("/hooks"), |word| read("/hooks", json!({ word: [{ "path": "/x" }] })));
    taken(&list("/linux/namespaces"), |word| read("/linux/namespaces", json!([{ "type": word }])));
    taken(&list("/linux/capabilities"), |word| read("/process/capabilities/bounding", json!([word])));
    taken(&list("/linux/seccomp/actions"), |word| rule(json!({ "names": ["bpf"], "action": word })));
    taken(&list("/linux/seccomp/operators"), |word| {
        let args = json!([{ "index": 0, "value": 1, "op": word }]);
        rule(json!({ "names": ["bpf"], "action": "SCMP_ACT_LOG", "args": args }))
    });
    taken(&list("/linux/seccomp/archs"), |word| filter("architectures", json!([word])));
    taken(&list("/linux/seccomp/knownFlags"), |word| filter("flags", json!([word])));
    let policy = |mode: &str, nodes: &str| read("/linux/memoryPolicy", json!({ "mode": mode, "nodes": nodes }));
    taken(&list("/linux/memoryPolicy/modes"), |word| {
        policy(word, if matches!(word, "MPOL_DEFAULT" | "MPOL_LOCAL") { "" } else { "0" })
    });
    taken(&list("/linux/memoryPolicy/flags"), |word| {
        read("/linux/memoryPolicy", json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": [word] }))
    });
    for word in list("/mountOptions") {
        // A bind takes no word that is not kiste's own.
        let parsed =
            mount_options::parse(std::slice::from_ref(&word), Some("bind"), &Origin::fixed("/mounts/0/options"));
        assert_eq!(parsed.unwrap_or_else(|error| panic!("{word}: {error}")).options.data, [], "{word}");
    }
}

#[test]
fn what_is_enabled_is_not_refused() {
    only_kiste!();
    let all = features();
    let linux = &all["linux"];
    for (claimed, pointer, value) in [
        (&linux["netDevices"]["enabled"], "/linux/netDevices", json!({ "eth0": { "name": "x%d" } })),
        (&linux["intelRdt"]["enabled"], "/linux/intelRdt", json!({ "closID": "gold", "l3CacheSchema": "L3:0=f" })),
        (&linux["intelRdt"]["schemata"], "/linux/intelRdt", json!({ "schemata": ["L2:0=f"] })),
        (&linux["intelRdt"]["monitoring"], "/linux/intelRdt", json!({ "enableMonitoring": true })),
        (&linux["cgroup"]["rdma"], "/linux/resources", json!({ "rdma": { "mlx": { "hcaHandles": 1 } } })),
        (&linux["apparmor"]["enabled"], "/process/apparmorProfile", json!("profile")),
        (&linux["selinux"]["enabled"], "/process/selinuxLabel", json!("a:b:c:d")),
        (&linux["mountExtensions"]["idmap"]["enabled"], "/mounts", {
            let maps = json!([{ "containerID": 0, "hostID": 7, "size": 1 }]);
            json!([{ "destination": "/x", "source": "/y", "options": ["bind"], "uidMappings": maps, "gidMappings": maps }])
        }),
    ] {
        assert_eq!(claimed, &json!(true), "{pointer}");
        let intent = read(pointer, value).unwrap_or_else(|error| panic!("{pointer}: {error}"));
        assert!(intent.warnings.is_empty() && intent.unsupported.is_empty(), "{pointer}");
    }
    assert_eq!((&all["ociVersionMin"], &all["ociVersionMax"]), (&json!("1.0.0"), &json!("1.3.0")));
}

/// What follows a text in a source, up to the quote.
fn quoted_after<'t>(text: &'t str, before: &str) -> Vec<&'t str> {
    text.split(before).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[test]
fn annotations_that_reach_the_host_are_listed() {
    only_kiste!();
    let listed = words(&features(), "/potentiallyUnsafeConfigAnnotations");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    requires!(std::fs::read_dir(&sources).is_ok(), "no sources here");
    let mut folders = vec![sources];
    let mut found = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("src").flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
                continue;
            }
            let text = std::fs::read_to_string(entry.path()).expect("a source");
            let names = ["annotations.get(\"", "strip_prefix(\"org.systemd"].map(|before| quoted_after(&text, before));
            found.extend(names[0].iter().map(|name| (*name).to_owned()));
            found.extend(names[1].iter().map(|rest| format!("org.systemd{rest}")));
        }
    }
    assert!(found.len() > 1, "{found:?}");
    for name in found {
        assert!(listed.contains(&name), "{name} is read and not listed in features");
    }
}
