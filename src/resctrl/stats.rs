//! What `events` tells of a group, in the words of runc's types/events.go.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::Group;

/// A small file, if it is there.
fn text(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// What the processor can do for a resource: the files of `info/RESOURCE` that are there.
fn info(root: &Path, resource: &str, names: &[&str]) -> Value {
    let directory = root.join("info").join(resource);
    let member = |name: &&str| {
        let text = text(&directory.join(name))?;
        // A mask stays a text.
        let value = if *name == "cbm_mask" { Value::from(text) } else { Value::from(text.parse::<u64>().ok()?) };
        Some(((*name).to_owned(), value))
    };
    let members: Map<_, _> = names.iter().filter_map(member).collect();
    if members.is_empty() { Value::Null } else { Value::Object(members) }
}

/// The lines of a `schemata` file for one resource.
fn schema(directory: &Path, resource: &str) -> Value {
    let file = text(&directory.join("schemata")).unwrap_or_default();
    let lines: Vec<_> = file.lines().map(str::trim).filter(|line| line.starts_with(resource)).collect();
    if lines.is_empty() { Value::Null } else { Value::from(lines.join("\n")) }
}

/// Each domain's counters, by its number: `mon_data/mon_L3_00/llc_occupancy`.
fn monitored(directory: &Path, names: &[&str]) -> Value {
    let entries = std::fs::read_dir(directory.join("mon_data")).into_iter().flatten().flatten();
    let mut domains: Vec<_> = entries.map(|entry| entry.path()).collect();
    domains.sort();
    let of = |domain: &std::path::PathBuf| {
        let counter = |name: &&str| {
            // "Unavailable" where the processor has no counter left: absent.
            let value = text(&domain.join(name))?.parse::<u64>().ok()?;
            Some(((*name).to_owned(), Value::from(value)))
        };
        let counters: Map<_, _> = names.iter().filter_map(counter).collect();
        (!counters.is_empty()).then_some(Value::Object(counters))
    };
    let all: Vec<Value> = domains.iter().filter_map(of).collect();
    if all.is_empty() { Value::Null } else { Value::Array(all) }
}

impl Group {
    /// What is there of a group's figures; what is missing is left out.
    pub fn stats(&self) -> Map<String, Value> {
        // Counters of a class that others share are not the container's.
        let watched = self.monitor.as_deref().or_else(|| self.own.then_some(&*self.directory));
        let counters = |names: &[&str]| watched.map_or(Value::Null, |directory| monitored(directory, names));
        let bandwidth = ["bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids"];
        let all = json!({
            "l3_cache_info": info(&self.root, "L3", &["cbm_mask", "min_cbm_bits", "num_closids"]),
            "l3_cache_schema_root": schema(&self.root, "L3"),
            "l3_cache_schema": schema(&self.directory, "L3"),
            "mem_bw_info": info(&self.root, "MB", &bandwidth),
            "mem_bw_schema_root": schema(&self.root, "MB"),
            "mem_bw_schema": schema(&self.directory, "MB"),
            "mbm_stats": counters(&["mbm_total_bytes", "mbm_local_bytes"]),
            "cmt_stats": counters(&["llc_occupancy"]),
        });
        let Value::Object(members) = all else { return Map::new() };
        members.into_iter().filter(|(_, value)| !value.is_null()).collect()
    }
}
