//! Whole configurations: what callers write is read without a word, and what is broken never more than refused.

use std::path::Path;

use super::*;
use crate::error::Kind;

/// The corpus: what each caller writes, with shortened seccomp profiles where one is as good as another.
const CORPUS: &[(&str, &[u8])] = &[
    ("buildkit.json", include_bytes!("../../../tests/configs/buildkit.json")),
    ("containerd-kubernetes-userns.json", include_bytes!("../../../tests/configs/containerd-kubernetes-userns.json")),
    ("containerd-kubernetes.json", include_bytes!("../../../tests/configs/containerd-kubernetes.json")),
    ("crio.json", include_bytes!("../../../tests/configs/crio.json")),
    ("crun-spec.json", include_bytes!("../../../tests/configs/crun-spec.json")),
    ("docker.json", include_bytes!("../../../tests/configs/docker.json")),
    ("podman-limits.json", include_bytes!("../../../tests/configs/podman-limits.json")),
    ("podman-privileged.json", include_bytes!("../../../tests/configs/podman-privileged.json")),
    ("podman-root.json", include_bytes!("../../../tests/configs/podman-root.json")),
    ("podman-rootless.json", include_bytes!("../../../tests/configs/podman-rootless.json")),
    ("podman-systemd-hooks.json", include_bytes!("../../../tests/configs/podman-systemd-hooks.json")),
    ("podman-userns.json", include_bytes!("../../../tests/configs/podman-userns.json")),
    ("runc-rootless.json", include_bytes!("../../../tests/configs/runc-rootless.json")),
    ("runc-spec.json", include_bytes!("../../../tests/configs/runc-spec.json")),
];

fn bundle() -> &'static Path {
    Path::new("/run/bundle")
}

fn refusal(text: &str) -> String {
    let error = from_oci(text.as_bytes(), bundle()).unwrap_err();
    assert_eq!(error.kind, Kind::Input);
    error.to_string()
}

#[test]
fn the_corpus_is_read_without_warnings() {
    for (name, text) in CORPUS {
        let intent = from_oci(text, bundle()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(intent.warnings, [] as [String; 0], "{name}");
        assert_eq!(intent.unsupported, [], "{name}");
    }
}

#[test]
fn the_least_configuration_is_read() {
    let intent =
        from_oci(br#"{"ociVersion":"1.3.0","root":{"path":"./rootfs/"},"vm":{},"windows":{"x":1}}"#, bundle()).unwrap();
    assert_eq!(intent.root.path, Path::new("/run/bundle/rootfs"));
    assert!(intent.process.is_none() && intent.warnings.is_empty() && intent.namespaces.is_empty());
}

#[test]
fn the_top_level_is_checked() {
    for (text, message) in [
        ("[]", "expected an object, found a list of 0"),
        ("{}", "/ociVersion: missing"),
        (r#"{"ociVersion":"2.0.0"}"#, "/ociVersion: version 2.0.0"),
        (r#"{"ociVersion":"1.0"}"#, "/ociVersion: \"1.0\" is no version"),
        (r#"{"ociVersion":1}"#, "/ociVersion: expected a string, found the number 1"),
        (r#"{"ociVersion":"1.0.0"}"#, "/root: missing"),
        (r#"{"ociVersion":"1.0.0","root":{}}"#, "/root/path: missing"),
        (r#"{"ociVersion":"1.0.0","root":{"path":""}}"#, "/root/path: the root's path is empty"),
        (r#"{"ociVersion":"1.0.0","root":{"path":"r"},"root":{}}"#, "/root: config.json line 1 column"),
        (r#"{"ociVersion":"1.0.0","root":{"path":"r"},"annotations":{"":"x"}}"#, "/annotations/: an annotation"),
        (r#"{"ociVersion":"1.0.0","root":{"path":"r"},"annotations":{"a":1}}"#, "/annotations/a: expected a string"),
    ] {
        let error = refusal(text);
        assert!(error.starts_with(message), "{error}");
    }
    let long = format!(r#"{{"ociVersion":"1.0.0","root":{{"path":"r"}},"hostname":"{}"}}"#, "x".repeat(65));
    assert!(refusal(&long).starts_with("/hostname: a host name has at most 64 bytes"));
}

#[test]
fn versions_with_a_suffix_are_kept() {
    for version in ["1.0.2-dev", "1.1.0+dev", "1.0.0-rc5", "1.2.1"] {
        let text = format!(r#"{{"ociVersion":"{version}","root":{{"path":"/r"}}}}"#);
        let intent = from_oci(text.as_bytes(), bundle()).unwrap();
        assert_eq!((intent.version.as_str(), intent.root.path.as_path()), (version, Path::new("/r")));
    }
}

/// xorshift64*: the same mutations in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % most
    }
}

/// Values that break arithmetic, types and syntax when they stand where another was.
const ODD: &[&str] = &[
    "null",
    "-1",
    "0",
    "4294967295",
    "4294967296",
    "18446744073709551615",
    "-9223372036854775808",
    "1e400",
    "\"\"",
    "\"\\u0000\"",
    "\"/\"",
    "\"..\"",
    "\"a=b=c,d\\\\,\\\"e\"",
    "[]",
    "{}",
    "[[[[]]]]",
    "{\"a\":1,\"a\":2}",
    "\\ud800",
];

fn mutate(text: &mut Vec<u8>, random: &mut Random) {
    let (at, length) = (random.below(text.len()), 1 + random.below(40));
    let end = (at + length).min(text.len());
    match random.below(6) {
        0 => text[at] ^= 1 << random.below(8),
        1 => drop(text.drain(at..end)),
        2 => {
            let part = text[at..end].to_vec();
            text.splice(at..at, part);
        }
        3 => text.truncate(at),
        // A whole value: from behind a colon to the next comma or bracket.
        _ => {
            let Some(start) = text[at..].iter().position(|byte| *byte == b':').map(|offset| at + offset + 1) else {
                return;
            };
            let end =
                text[start..].iter().position(|byte| b",]}".contains(byte)).map_or(text.len(), |offset| start + offset);
            text.splice(start..end, ODD[random.below(ODD.len())].bytes());
        }
    }
}

#[test]
fn broken_configurations_are_refused_or_read_but_never_a_panic() {
    let mut random = Random(0x6B69_7374_6500_0001);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..200 {
        for (name, original) in CORPUS {
            let mut text = original.to_vec();
            for _ in 0..1 + random.below(3) {
                if !text.is_empty() {
                    mutate(&mut text, &mut random);
                }
            }
            match from_oci(&text, bundle()) {
                Ok(intent) => {
                    assert!(!intent.warnings.iter().any(|text| text.contains('\n')), "{:?}", intent.warnings);
                    read += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind, Kind::Input, "{name}");
                    assert!(!error.to_string().contains('\n'), "one sentence is one line: {error}");
                    refused += 1;
                }
            }
        }
    }
    assert!(read > 200 && refused > 200, "{read} read, {refused} refused: the mutations reach both sides");
}

/// oci-spec's reader as the second opinion on what callers write.
#[test]
fn oci_spec_reads_the_same_from_the_corpus() {
    for (name, text) in CORPUS {
        let theirs: oci_spec::runtime::Spec =
            serde_json::from_slice(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let ours = from_oci(text, bundle()).unwrap();
        assert_eq!(ours.version, *theirs.version(), "{name}");
        assert_eq!(ours.root.path, bundle().join(theirs.root().as_ref().unwrap().path()), "{name}");
        same_mounts(&ours, &theirs);
        same_process(ours.process.as_ref().unwrap(), theirs.process().as_ref().unwrap());
        same_linux(&ours, theirs.linux().as_ref().unwrap());
        let mut annotations: Vec<_> = theirs.annotations().iter().flatten().collect();
        annotations.sort();
        assert_eq!(ours.annotations.iter().collect::<Vec<_>>(), annotations, "{name}");
        let hooks = theirs.hooks().as_ref().and_then(|hooks| hooks.poststop().clone()).unwrap_or_default();
        assert_eq!(ours.hooks.poststop.len(), hooks.len(), "{name}");
    }
}

fn same_mounts(ours: &Intent, theirs: &oci_spec::runtime::Spec) {
    let theirs = theirs.mounts().clone().unwrap_or_default();
    assert_eq!(ours.mounts.len(), theirs.len());
    for (mine, other) in ours.mounts.iter().zip(&theirs) {
        assert_eq!(Path::new(&mine.destination), other.destination());
        let options = other.options().clone().unwrap_or_default();
        assert_eq!(mine.options.bind.is_some(), options.iter().any(|word| word == "bind" || word == "rbind"));
        assert_eq!(mine.options.set & 1 == 1, options.iter().any(|word| word == "ro"));
        assert_eq!(mine.id_maps.users.len(), other.uid_mappings().as_ref().map_or(0, Vec::len));
    }
}

fn same_process(ours: &Process, theirs: &oci_spec::runtime::Process) {
    assert_eq!(&ours.args, theirs.args().as_ref().unwrap());
    assert_eq!(&ours.env, theirs.env().as_ref().unwrap());
    assert_eq!((ours.user.uid, ours.user.gid), (theirs.user().uid(), theirs.user().gid()));
    assert_eq!(ours.user.umask, theirs.user().umask());
    assert_eq!(&ours.user.additional_gids, &theirs.user().additional_gids().clone().unwrap_or_default());
    assert_eq!(ours.no_new_privileges, theirs.no_new_privileges().unwrap_or(false));
    let limits = theirs.rlimits().clone().unwrap_or_default();
    let mine: Vec<_> = ours.rlimits.iter().map(|limit| (limit.name.clone(), limit.soft, limit.hard)).collect();
    assert_eq!(mine, limits.iter().map(|l| (l.typ().to_string(), l.soft(), l.hard())).collect::<Vec<_>>());
    let bounding = theirs.capabilities().as_ref().and_then(|sets| sets.bounding().clone()).unwrap_or_default();
    assert_eq!(ours.capabilities.bounding.count_ones() as usize, bounding.len());
}

fn same_linux(ours: &Intent, theirs: &oci_spec::runtime::Linux) {
    let namespaces = theirs.namespaces().clone().unwrap_or_default();
    let mine: Vec<_> = ours.namespaces.iter().map(|ns| (ns.kind.proc_name().to_owned(), ns.path.clone())).collect();
    assert_eq!(mine, namespaces.iter().map(|ns| (ns.typ().to_string(), ns.path().clone())).collect::<Vec<_>>());
    let masked: Vec<_> = ours.masked_paths.iter().map(|path| path.value.clone()).collect();
    assert_eq!(masked, theirs.masked_paths().clone().unwrap_or_default());
    assert_eq!(ours.sysctls.len(), theirs.sysctl().as_ref().map_or(0, |map| map.len()));
    let resources = theirs.resources().clone().unwrap_or_default();
    let memory = resources.memory().unwrap_or_default();
    assert_eq!((ours.resources.memory.limit, ours.resources.memory.swap), (memory.limit(), memory.swap()));
    assert_eq!(ours.resources.devices.len(), resources.devices().as_ref().map_or(0, Vec::len));
    let rules = |profile: &oci_spec::runtime::LinuxSeccomp| {
        let rules = profile.syscalls().clone().unwrap_or_default();
        rules.iter().map(|rule| (rule.names().clone(), rule.args().as_ref().map_or(0, Vec::len))).collect::<Vec<_>>()
    };
    let mine = ours
        .seccomp
        .as_ref()
        .map(|profile| profile.rules.iter().map(|rule| (rule.names.clone(), rule.args.len())).collect::<Vec<_>>());
    assert_eq!(mine, theirs.seccomp().as_ref().map(rules));
}
