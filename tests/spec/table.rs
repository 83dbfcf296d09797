//! tests/spec_fields.md and tests/spec_fields.json, read.

use serde_json::Value;

/// Every field with a right value.
pub const EXAMPLE: &str = include_str!("../spec_fields.json");

/// One field.
pub struct Row {
    /// Its path, `*` for an item of a list or a member of a map.
    pub path: String,
    /// What shows its effect, as written.
    #[allow(dead_code)] // tests/bad_fields.rs has no use for it
    pub shown: String,
    /// What is wrong in it, as written.
    pub wrong: String,
}

/// All rows.
pub fn rows() -> Vec<Row> {
    let lines = include_str!("../spec_fields.md").lines().filter(|line| line.starts_with("| /"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [path, shown, wrong] = cells[..] else { panic!("not three cells: {line}") };
        Row { path: path.to_owned(), shown: shown.to_owned(), wrong: wrong.to_owned() }
    };
    lines.map(row).collect()
}

/// The example as JSON.
pub fn example() -> Value {
    serde_json::from_str(EXAMPLE).expect("the example is JSON")
}

impl Row {
    /// The wrong values, each with the pointer its error begins with; none if nothing is looked at.
    pub fn wrong_values(&self) -> Vec<(Value, String)> {
        if self.wrong.starts_with("none: ") {
            return Vec::new();
        }
        let quoted: Vec<&str> = self.wrong.split('`').skip(1).step_by(2).collect();
        let mut values: Vec<(Value, String)> = Vec::new();
        for text in quoted {
            match values.last_mut() {
                Some(last) if text.starts_with('/') => last.1 = text.to_owned(),
                _ => {
                    let value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{}: {text}: {e}", self.path));
                    values.push((value, self.pointer()));
                }
            }
        }
        values
    }

    /// The pointer of the field in the example.
    pub fn pointer(&self) -> String {
        pointers(&example(), &self.path).into_iter().next().unwrap_or_else(|| panic!("no {} in the example", self.path))
    }
}

/// Where a path leads in a configuration.
pub fn pointers(config: &Value, path: &str) -> Vec<String> {
    let mut places = vec![String::new()];
    for part in path.split('/').skip(1) {
        let mut next = Vec::new();
        for place in &places {
            match config.pointer(place) {
                Some(Value::Array(items)) if part == "*" => {
                    next.extend((0..items.len()).map(|n| format!("{place}/{n}")))
                }
                Some(Value::Object(all)) if part == "*" => next.extend(all.keys().map(|key| format!("{place}/{key}"))),
                Some(Value::Object(all)) if all.contains_key(part) => next.push(format!("{place}/{part}")),
                _ => {}
            }
        }
        places = next;
    }
    places
}
