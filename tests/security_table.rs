//! tests/cve.md: every flaw and every invariant has its row, every row names tests, and they exist.

use std::fs;
use std::path::{Path, PathBuf};

/// Flaws of runc, crun and youki that concern a runtime of this kind, to November 2026: advisories, and what was fixed without one.
const FLAWS: &[&str] = &[
    "CVE-2016-3697",
    "CVE-2016-9962",
    "CVE-2019-5736",
    "CVE-2019-16884",
    "CVE-2019-19921",
    "GHSA-g54h-m393-cpwq",
    "CVE-2021-30465",
    "CVE-2021-43784",
    "CVE-2022-29162",
    "CVE-2023-25809",
    "CVE-2023-27561",
    "CVE-2023-28642",
    "CVE-2024-21626",
    "CVE-2024-45310",
    "CVE-2025-31133",
    "CVE-2025-52565",
    "CVE-2025-52881",
    "CVE-2026-41579",
    "CVE-2026-119101",
    "host propagation (runc 1.3.7)",
    "CVE-2019-18837",
    "CVE-2022-27650",
    "CVE-2025-24965",
    "CVE-2026-30892",
    "CVE-2026-47766",
    "CVE-2026-84042",
    "CVE-2026-88264",
    "CVE-2026-88265",
    "CVE-2026-115520",
    "CVE-2026-115521",
    "AppArmor in user namespaces (crun)",
    "crun 2264",
    "crun 2155",
    "crun 1.31 hardening",
    "CVE-2025-27612",
    "CVE-2025-54867",
    "CVE-2025-62161",
    "CVE-2025-62596",
    "unchecked no_new_privs (youki)",
];

/// Invariants of an OCI runtime.
const INVARIANTS: std::ops::RangeInclusive<u32> = 0..=18;
/// Ways to look at them.
const CHECKS: std::ops::RangeInclusive<u32> = 1..=11;

struct Row {
    /// The table's first heading and this row's first cell.
    table: String,
    id: String,
    cells: Vec<String>,
}

/// The rows of all tables.
fn rows(text: &str) -> Vec<Row> {
    let (mut rows, mut table) = (Vec::new(), None);
    for line in text.lines() {
        let Some(line) = line.strip_prefix("| ") else {
            // The line of dashes below the headings.
            table = table.filter(|_| line.starts_with('|'));
            continue;
        };
        let cells: Vec<String> = line.trim_end_matches(" |").split(" | ").map(str::to_owned).collect();
        match &table {
            None => table = Some(cells[1].clone()),
            Some(table) => rows.push(Row { table: table.clone(), id: cells[0].clone(), cells }),
        }
    }
    rows
}

/// What is wrong with the tables; `known` are the names of all tests.
fn faults(text: &str, known: &[String]) -> Vec<String> {
    let rows = rows(text);
    let mut faults = Vec::new();
    for row in &rows {
        let tests = row.cells.last().map_or("", String::as_str);
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        if names.is_empty() && !tests.contains("no test: ") {
            faults.push(format!("{}: no test", row.id));
        }
        let missing = names.iter().filter(|name| !known.iter().any(|known| known == *name));
        faults.extend(missing.map(|name| format!("{}: there is no test {name}", row.id)));
    }
    let has = |table: &str, id: &str| rows.iter().any(|row| row.table == table && row.id == id);
    let flaws = FLAWS.iter().filter(|id| !has("what went wrong", id));
    faults.extend(flaws.map(|id| format!("{id}: no row")));
    let invariants = INVARIANTS.map(|number| format!("INV-{number:02}"));
    faults.extend(invariants.filter(|id| !has("what holds", id)).map(|id| format!("{id}: no row")));
    for check in CHECKS.map(|number| format!("K{number}")) {
        let of_row = |row: &Row| row.table == "what holds" && row.cells[2].split(' ').any(|word| word == check);
        if !rows.iter().any(of_row) {
            faults.push(format!("{check}: no invariant is checked by it"));
        }
    }
    faults
}

fn sources(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push(path);
        }
    }
}

/// The names of all tests in the source.
fn tests(home: &Path) -> Vec<String> {
    let mut files = Vec::new();
    sources(&home.join("src"), &mut files);
    sources(&home.join("tests"), &mut files);
    let mut names = Vec::new();
    for path in files {
        let text = fs::read_to_string(path).expect("a source");
        for part in text.split("#[test]\n").skip(1) {
            let head = part.split('{').next().unwrap_or_default();
            let name = head.split_once("fn ").and_then(|(_, rest)| rest.split_once('('));
            names.extend(name.map(|(name, _)| name.to_owned()));
        }
    }
    names
}

#[test]
fn every_known_flaw_and_every_invariant_has_tests_that_exist() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(home.join("tests/cve.md")).expect("the table");
    let faults = faults(&table, &tests(home));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_row_that_is_missing_or_names_nothing_is_found() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(home.join("tests/cve.md")).expect("the table");
    let known = tests(home);
    let without = |id: &str| {
        let rest: Vec<&str> = table.lines().filter(|line| !line.starts_with(&format!("| {id} |"))).collect();
        faults(&rest.join("\n"), &known)
    };
    for id in ["CVE-2016-3697", "crun 2155", "INV-00", "INV-12", "INV-18"] {
        assert!(without(id).contains(&format!("{id}: no row")), "{id}");
    }
    assert!(without("INV-06").contains(&"K9: no invariant is checked by it".to_owned()));
    let renamed = table.replace("`parameters_of_the_host_are_refused`", "`no_such_test`");
    assert!(faults(&renamed, &known).contains(&"INV-17: there is no test no_such_test".to_owned()));
    let emptied =
        table.replace("`a_session_keyring_is_new_unless_refused` `a_keyring_of_another_user_is_not_joined`", "later");
    assert!(faults(&emptied, &known).contains(&"INV-14: no test".to_owned()));
}
