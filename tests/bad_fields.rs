//! A wrong value in every field: one sentence that begins with the field's JSON pointer, status 1, and nothing is made.
//! The values are tests/spec_fields.md's; a value of a wrong type is made for every field and every object on the way.

mod harness;
#[path = "spec/table.rs"]
mod table;

use harness::{Bundle, Value, json, only_kiste};
use std::collections::BTreeSet;
use std::fs;

/// The example as a bundle's configuration, with one value exchanged, is refused at a pointer.
#[track_caller]
fn refused(bundle: &Bundle, place: &str, value: &Value, pointer: &str) {
    let mut config = table::example();
    config["linux"]["cgroupsPath"] = json!(format!("/kiste-test/{}", bundle.id));
    *config.pointer_mut(place).unwrap_or_else(|| panic!("no {place}")) = value.clone();
    fs::write(bundle.config_path(), config.to_string()).expect("config.json");
    let output = bundle.create().fails_with(&[]).code(1);
    let case = format!("{value} at {place}: {}", output.err);
    let sentence = output.err.lines().find_map(|line| line.strip_prefix("kiste: "));
    let sentence = sentence.unwrap_or_else(|| panic!("no sentence: {case}"));
    assert!(sentence.starts_with(&format!("{pointer}: ")), "not at {pointer}: {case}");
    assert!(output.out.is_empty(), "{case}");
    let state: Vec<_> = fs::read_dir(&bundle.runtime.root).expect("the state directory").flatten().collect();
    assert!(state.is_empty(), "{state:?} is left of {case}");
}

/// A value of another type.
fn other_type(value: &Value) -> Value {
    match value {
        Value::String(_) => json!(7),
        Value::Array(_) => json!({ "a": 1 }),
        Value::Object(_) => json!([1]),
        _ => json!("text"),
    }
}

/// Tries all rows whose path begins so, and those of the objects and lists on the way.
fn try_below(prefix: &str) {
    let bundle = Bundle::new();
    let (example, mut places) = (table::example(), BTreeSet::new());
    let mut tried = 0;
    for row in table::rows().iter().filter(|row| row.path.starts_with(prefix)) {
        for (value, pointer) in row.wrong_values() {
            refused(&bundle, &row.pointer(), &value, &pointer);
            tried += 1;
        }
        if row.wrong.starts_with("none: ") {
            continue;
        }
        let whole = row.pointer();
        let ends = whole.match_indices('/').skip(1).map(|(at, _)| at).chain([whole.len()]);
        places.extend(ends.map(|end| whole[..end].to_owned()));
        places.extend(table::pointers(&example, &format!("{}/*", row.path)));
    }
    for place in &places {
        let value = example.pointer(place).unwrap_or_else(|| panic!("no {place}"));
        refused(&bundle, place, &other_type(value), place);
    }
    assert!(tried > 10 && places.len() > 5, "{tried} values, {} places", places.len());
    bundle.assert_nothing_left();
}

#[test]
fn wrong_values_of_the_process() {
    only_kiste!();
    try_below("/process/");
}

#[test]
fn wrong_values_of_mounts() {
    only_kiste!();
    try_below("/mounts/");
}

#[test]
fn wrong_values_of_hooks() {
    only_kiste!();
    try_below("/hooks/");
}

#[test]
fn wrong_values_of_resources() {
    only_kiste!();
    try_below("/linux/resources/");
}

#[test]
fn wrong_values_of_seccomp() {
    only_kiste!();
    try_below("/linux/seccomp/");
}

#[test]
fn wrong_values_of_everything_else() {
    only_kiste!();
    let tried = ["/process/", "/mounts/", "/hooks/", "/linux/resources/", "/linux/seccomp/"];
    for row in table::rows().iter().filter(|row| !tried.iter().any(|prefix| row.path.starts_with(prefix))) {
        let bundle = Bundle::new();
        for (value, pointer) in row.wrong_values() {
            refused(&bundle, &row.pointer(), &value, &pointer);
        }
        if !row.wrong.starts_with("none: ") {
            let value = table::example().pointer(&row.pointer()).cloned().expect("the example has it");
            refused(&bundle, &row.pointer(), &other_type(&value), &row.pointer());
        }
        bundle.assert_nothing_left();
    }
}
