//! tests/spec_fields.md: no field of the specification lacks a row, and no row lacks what it needs.

#[allow(dead_code)]
mod source;
#[path = "spec/table.rs"]
mod table;
#[path = "spec/walk.rs"]
mod walk;

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// What oci-spec's types have and the specification for Linux hasn't.
const FOREIGN: &[&str] = &["/solaris", "/vm", "/windows", "/zos", "/uidMappings", "/gidMappings"];

/// What oci-spec spells in another way than the specification.
const MISSPELT: &[(&str, &str)] = &[("/enableCmt", "/enableCMT"), ("/enableMbm", "/enableMBM")];

/// The fields that oci-spec's types have, by their names in the specification.
fn fields() -> BTreeSet<String> {
    let all = walk::fields::<oci_spec::runtime::Spec>();
    let ours = all.into_iter().filter(|path| !FOREIGN.iter().any(|other| path.starts_with(&format!("{other}/"))));
    ours.map(|path| MISSPELT.iter().fold(path, |path, (from, to)| path.replace(from, to))).collect()
}

fn rows() -> BTreeSet<String> {
    table::rows().into_iter().map(|row| row.path).collect()
}

/// Paths of everything in a configuration that has no members itself; lists and maps of such are one of them.
fn leaves(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    let mut members: Vec<(&str, &Value)> = match value {
        Value::Object(all) => all.iter().map(|(key, value)| (key.as_str(), value)).collect(),
        Value::Array(items) => items.iter().map(|value| ("*", value)).collect(),
        _ => Vec::new(),
    };
    // Keys that are the user's.
    if ["/annotations", "/linux/sysctl", "/linux/timeOffsets", "/linux/netDevices"].contains(&path)
        || ["/linux/resources/unified", "/linux/resources/rdma"].contains(&path)
    {
        members.iter_mut().for_each(|member| member.0 = "*");
    }
    for (key, member) in &members {
        leaves(member, &format!("{path}/{key}"), found);
    }
    if members.is_empty() {
        found.insert(path.strip_suffix("/*").unwrap_or(path).to_owned());
    }
}

#[test]
fn every_field_of_the_specification_has_a_row() {
    let (fields, rows) = (fields(), rows());
    assert!(fields.len() > 150, "the walk found {} fields", fields.len());
    assert_eq!(fields.difference(&rows).collect::<Vec<_>>(), Vec::<&String>::new(), "without a row");
    assert_eq!(rows.difference(&fields).collect::<Vec<_>>(), Vec::<&String>::new(), "rows of no field");
    assert_eq!(table::rows().len(), rows.len(), "rows that are there twice");
}

#[test]
fn every_row_names_tests_that_exist() {
    let tests = source::tests();
    for row in table::rows() {
        let names: Vec<&str> = row.shown.split('`').skip(1).step_by(2).collect();
        let reason = row.shown.strip_prefix("none: ");
        assert!(!names.is_empty() || reason.is_some_and(|r| r.len() > 15), "{}: shown by nothing", row.path);
        for name in names {
            assert!(tests.contains(name), "{}: there is no test {name}", row.path);
        }
    }
}

#[test]
fn every_row_has_wrong_values() {
    for row in table::rows() {
        let reason = row.wrong.strip_prefix("none: ");
        assert!(!row.wrong_values().is_empty() || reason.is_some_and(|r| !r.is_empty()), "{}", row.path);
    }
}

#[test]
fn the_example_has_every_field_and_no_other() {
    let mut found = BTreeSet::new();
    leaves(&table::example(), "", &mut found);
    // No flag of the execution domain is defined: its list is empty.
    assert_eq!(found, rows());
}

#[test]
fn kistes_reader_knows_every_field() {
    let intent = kiste::intent::from_oci::from_oci(table::EXAMPLE.as_bytes(), Path::new("/bundle"));
    let intent = intent.unwrap_or_else(|e| panic!("the example is right: {e}"));
    let unknown: Vec<&String> = intent.warnings.iter().filter(|text| text.contains("unknown")).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    // That is how an unknown one would be told.
    let text = table::EXAMPLE.replacen("\"burst\":", "\"novelty\":", 1);
    let intent = kiste::intent::from_oci::from_oci(text.as_bytes(), Path::new("/bundle")).expect("a warning only");
    assert!(intent.warnings.iter().any(|text| text.contains("/cpu/novelty: unknown")), "{:?}", intent.warnings);
}

#[test]
fn the_example_is_right_for_oci_spec_too() {
    // oci-spec misspells two of the scheduler's flags.
    let text = table::EXAMPLE.replace("SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM");
    let spec: oci_spec::runtime::Spec = serde_json::from_str(&text).expect("oci-spec reads it");
    assert_eq!(spec.version(), "1.3.0");
}
