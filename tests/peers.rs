//! The same bundles under kiste, crun and runc: what the reporter sees inside and what the host sees, key by key. Each
//! difference has a line with its reason in tests/peers/differences.md, or the test fails.
//!
//! The peers are those on the PATH, or those in the folder KISTE_PEERS. One that is older than a bundle's fields is passed over.

#[path = "peers/bundles.rs"]
mod bundles;
mod harness;
#[path = "peers/look.rs"]
mod look;

use bundles::Case;
use harness::{Bundle, Value, host, only_kiste, requires};
use look::Seen;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

/// Another runtime.
struct Peer {
    name: &'static str,
    program: PathBuf,
    version: (u32, u32),
}

/// crun and runc, as far as they are here.
fn peers() -> Vec<Peer> {
    let folder = std::env::var_os("KISTE_PEERS").map(PathBuf::from);
    let find = |name: &'static str| {
        let program = match &folder {
            Some(folder) => Some(folder.join(name)).filter(|path| path.exists()),
            None => host::program(name),
        }?;
        let output = Command::new(&program).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // "crun version 1.28", "runc version 1.3.6+ds1"
        let mut numbers = text.split_whitespace().nth(2)?.split(['.', '+', '-', '~']).map(|n| n.parse().unwrap_or(0));
        let version = (numbers.next()?, numbers.next().unwrap_or(0));
        // crun takes no v1 hierarchies beside a v2 one with controllers: it is compared where cgroups are v2's alone.
        let unified = std::fs::read_to_string("/sys/fs/cgroup/unified/cgroup.controllers").unwrap_or_default();
        (name != "crun" || unified.trim().is_empty()).then_some(Peer { name, program, version })
    };
    ["crun", "runc"].into_iter().filter_map(find).collect()
}

/// A line of the table of differences.
struct Known {
    peer: String,
    bundle: String,
    key: String,
    kiste: String,
    other: String,
}

fn known() -> Vec<Known> {
    let lines = include_str!("peers/differences.md").lines().filter(|line| line.starts_with("| ")).skip(1);
    let line = |line: &str| {
        let cells: Vec<String> = line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
        let [peer, bundle, key, kiste, other, reason] = &cells[..] else { panic!("not six cells: {line}") };
        assert!(reason.len() > 15, "no reason: {line}");
        let [peer, bundle, key, kiste, other] = [peer, bundle, key, kiste, other].map(|cell| cell.replace('`', ""));
        Known { peer, bundle, key, kiste, other }
    };
    lines.map(line).collect()
}

/// Whether a text is of a form in which `*` stands for anything.
fn fits(form: &str, text: &str) -> bool {
    match form.split_once('*') {
        None => form == text,
        Some((head, tail)) => text
            .strip_prefix(head)
            .is_some_and(|rest| (0..=rest.len()).any(|at| rest.is_char_boundary(at) && fits(tail, &rest[at..]))),
    }
}

/// "crun", "crun <1.9" (older), "crun 1.9" (since then), or "*".
fn is_meant(form: &str, peer: &Peer) -> bool {
    let (name, version) = form.split_once(' ').unwrap_or((form, ""));
    let numbers = |text: &str| {
        let (major, minor) = text.split_once('.').expect("a version of two numbers");
        (major.parse::<u32>().expect("a number"), minor.parse::<u32>().expect("a number"))
    };
    let age = match version.strip_prefix('<') {
        Some(text) => peer.version < numbers(text),
        None => version.is_empty() || peer.version >= numbers(version),
    };
    (name == "*" || name == peer.name) && age
}

fn shown(value: Option<&Value>) -> String {
    value.map_or("nothing".to_owned(), Value::to_string)
}

/// Differences between two looks that no line explains.
fn unexplained(case: &Case, peer: &Peer, ours: &Seen, theirs: &Seen) -> Vec<String> {
    let mut keys: BTreeSet<&str> = ours.keys().chain(theirs.keys()).map(String::as_str).collect();
    if ours["outcome"] != theirs["outcome"] {
        keys = BTreeSet::from(["outcome"]);
    }
    let lines = known();
    let mut found = Vec::new();
    for key in keys {
        let (mine, other) = (shown(ours.get(key)), shown(theirs.get(key)));
        let explains = |line: &Known| {
            is_meant(&line.peer, peer)
                && fits(&line.bundle, case.name)
                && fits(&line.key, key)
                && fits(&line.kiste, &mine)
                && fits(&line.other, &other)
        };
        if mine != other && !lines.iter().any(explains) {
            let (major, minor) = peer.version;
            found.push(format!("{} {major}.{minor} | {} | {key} | {mine} | {other}", peer.name, case.name));
        }
    }
    found
}

/// Runs all cases under all runtimes.
fn compare(cases: &[Case]) {
    let peers = peers();
    let mut found = Vec::new();
    let there = |names: [&str; 2]| {
        let name = names[usize::from(host::cgroup_is_v2())];
        !name.is_empty() && host::has_controller(name)
    };
    for case in cases.iter().filter(|case| case.controller.is_none_or(there)) {
        let look = |peer: Option<&Peer>| {
            let mut bundle = Bundle::new();
            if let Some(peer) = peer {
                bundle.runtime.program.clone_from(&peer.program);
            }
            (case.make)(&bundle);
            look::look(&bundle)
        };
        let ours = look(None);
        assert_eq!(ours["outcome"], "start gave 0", "kiste runs {:?}", case.name);
        for peer in &peers {
            let since = case.since[usize::from(peer.name == "runc")];
            if since.is_some_and(|since| peer.version >= since) {
                found.extend(unexplained(case, peer, &ours, &look(Some(peer))));
            }
        }
    }
    assert!(found.is_empty(), "{} differences without a reason:\n{}", found.len(), found.join("\n"));
}

/// Leaves the test where nothing can be compared.
macro_rules! requires_peers {
    () => {
        only_kiste!();
        requires!(host::is_root(), "needs root to run the peers' bundles");
        requires!(!peers().is_empty(), "neither crun nor runc is here");
    };
}

#[test]
fn processes_are_as_the_peers() {
    requires_peers!();
    compare(bundles::PROCESS);
}

#[test]
fn rights_are_as_the_peers() {
    requires_peers!();
    compare(bundles::RIGHTS);
}

#[test]
fn namespaces_are_as_the_peers() {
    requires_peers!();
    compare(bundles::NAMESPACES);
}

#[test]
fn files_are_as_the_peers() {
    requires_peers!();
    compare(bundles::FILES);
}

#[test]
fn resources_and_hooks_are_as_the_peers() {
    requires_peers!();
    compare(bundles::RESOURCES);
}

#[test]
fn forms_and_versions_are_compared() {
    let peer = Peer { name: "crun", program: PathBuf::new(), version: (1, 8) };
    for (form, meant) in [
        ("*", true),
        ("crun", true),
        ("runc", false),
        ("crun <1.9", true),
        ("crun <1.8", false),
        ("crun 1.8", true),
        ("* 1.9", false),
    ] {
        assert_eq!(is_meant(form, &peer), meant, "{form}");
    }
    for (form, text, fit) in
        [("a*c", "abc", true), ("*", "", true), ("a*b*c", "aXbYc", true), ("a*", "ba", false), ("ab", "a", false)]
    {
        assert_eq!(fits(form, text), fit, "{form} {text}");
    }
    let all = [bundles::PROCESS, bundles::RIGHTS, bundles::NAMESPACES, bundles::FILES, bundles::RESOURCES];
    assert!(all.iter().map(|cases| cases.len()).sum::<usize>() >= 40 && !known().is_empty());
}
