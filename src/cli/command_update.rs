//! `update`: other limits for a container that exists. Options and files both become the resources object of a
//! configuration, so that one reader checks them. What was changed is kept with the record, over the stored
//! configuration: the kernel takes some values together (swap with memory, quota with period), and the next update must
//! know the other one.

use super::arguments::{Global, LimitOptions, Limits, Rootless, UpdateArguments};
use super::containers;
use crate::cgroup::{self, Resources};
use crate::error::{Error, Origin, Result};
use crate::host::{Facts, Needs};
use crate::intent::from_oci::{self, Unknown};
use crate::log;
use crate::resctrl;
use crate::state::{Container, Record, Status};
use serde_json::{Map, Value, json};
use std::io::Read;
use std::path::Path;

/// Where [`Record::extra`] keeps what updates have changed.
const CHANGED: &str = "resources";

/// The longest file of resources read, in bytes.
const LONGEST: u64 = 1 << 20;

/// Changes the limits.
///
/// # Errors
/// There is no such container or it has stopped, a limit makes no sense, or the kernel refuses one.
pub fn run(global: &Global, arguments: UpdateArguments) -> anyhow::Result<u8> {
    let schemata = schemata(&arguments)?;
    let text = match &arguments.limits {
        Limits::File(path) => read_file(path)?,
        Limits::StandardInput => read(std::io::stdin(), Path::new("standard input"))?,
        Limits::Options(options) => from_options(options).to_string().into_bytes(),
    };
    let (mut changed, warnings) = from_oci::read_resources(&text, global.unknown)?;
    warnings.iter().for_each(|warning| log::warning(warning));
    // Callers send the whole object they keep: device rules in it are not meant as a change.
    changed.devices.clear();
    let (container, _) = containers::find(global, &arguments.id)?;
    let _guard = container.lock()?;
    let mut record = container.record()?;
    if matches!(containers::status(&container, &record)?, Status::Stopped | Status::Creating) {
        return Err(containers::not_running(arguments.id.as_str()).into());
    }
    let group = containers::group(&record)?;
    let options = cgroup::Options { rootless: is_rootless(global)?, ..cgroup::Options::default() };
    let now = now(&container, &record)?;
    let plan = cgroup::plan_update(&typed(&now)?, &changed, &group, &options)?;
    keep(&mut record, &now, &text)?;
    let undo = change_schemata(&record, &schemata)?;
    let done = group.apply(&plan).and_then(|applied| match container.write_record(&record) {
        Ok(()) => {
            applied.warnings.iter().for_each(|warning| log::warning(warning));
            Ok(())
        }
        // The next update would build on something else than what is in force.
        Err(error) => Err(applied.undone(error)),
    });
    if let (Err(_), Some((group, lines))) = (&done, undo) {
        group.write(&lines)?;
    }
    done?;
    Ok(0)
}

/// The lines of `--l3-cache-schema` and `--mem-bw-schema`.
fn schemata(arguments: &UpdateArguments) -> Result<Vec<String>> {
    let line = |text: &Option<String>, option: &'static str| {
        let text = text.as_deref().filter(|text| !text.is_empty());
        text.map(|text| from_oci::schema(text).map_err(|error| error.at(&Origin::fixed(option)))).transpose()
    };
    let cache = line(&arguments.l3_cache_schema, "--l3-cache-schema")?;
    let bandwidth = line(&arguments.memory_bandwidth_schema, "--mem-bw-schema")?;
    Ok(cache.into_iter().chain(bandwidth).collect())
}

/// Writes the lines to the container's resource control group, and gives what undoes it.
fn change_schemata(record: &Record, lines: &[String]) -> Result<Option<(resctrl::Group, Vec<String>)>> {
    if lines.is_empty() {
        return Ok(None);
    }
    let Some(group) = containers::resctrl(record)? else {
        let error = Error::refused("this container has no Intel RDT group");
        return Err(error.hint("only one that was made with /linux/intelRdt in its configuration has"));
    };
    let before = group.schemata()?;
    group.write(lines)?;
    Ok(Some((group, before)))
}

/// The options as a resources object; what was not given is absent.
fn from_options(options: &LimitOptions) -> Value {
    let group = |members: Vec<(&str, Option<Value>)>| {
        Value::Object(members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
    };
    let text = |value: &Option<String>| value.clone().map(Value::from);
    let mut all = Map::new();
    all.insert(
        "memory".into(),
        group(vec![
            ("limit", options.memory.map(Value::from)),
            ("reservation", options.memory_reservation.map(Value::from)),
            ("swap", options.memory_swap.map(Value::from)),
        ]),
    );
    all.insert(
        "cpu".into(),
        group(vec![
            ("shares", options.cpu_shares.map(Value::from)),
            ("quota", options.cpu_quota.map(Value::from)),
            ("period", options.cpu_period.map(Value::from)),
            ("burst", options.cpu_burst.map(Value::from)),
            ("realtimePeriod", options.cpu_realtime_period.map(Value::from)),
            ("realtimeRuntime", options.cpu_realtime_runtime.map(Value::from)),
            ("idle", options.cpu_idle.map(|idle| Value::from(i32::from(idle)))),
            ("cpus", text(&options.cpuset_cpus)),
            ("mems", text(&options.cpuset_mems)),
        ]),
    );
    if let Some(limit) = options.pids_limit {
        all.insert("pids".into(), json!({ "limit": limit }));
    }
    if let Some(weight) = options.block_weight {
        all.insert("blockIO".into(), json!({ "weight": weight }));
    }
    all.retain(|_, value| value.as_object().is_none_or(|members| !members.is_empty()));
    Value::Object(all)
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    let file = std::fs::File::open(path)
        .map_err(|error| Error::input(format!("cannot read {}", path.display())).at(&origin()).io("open", &error))?;
    read(file, path)
}

fn read(source: impl Read, name: &Path) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    source
        .take(LONGEST + 1)
        .read_to_end(&mut text)
        .map_err(|error| Error::input(format!("cannot read {}", name.display())).at(&origin()).io("read", &error))?;
    match text.len() as u64 > LONGEST {
        true => Err(Error::input(format!("{} is longer than {LONGEST} bytes", name.display())).at(&origin())),
        false => Ok(text),
    }
}

fn origin() -> Origin {
    Origin::fixed("--resources")
}

/// Whether missing rights to cgroups are forgiven.
fn is_rootless(global: &Global) -> Result<bool> {
    Ok(match global.rootless {
        Rootless::Yes => true,
        Rootless::No => false,
        Rootless::Auto => {
            let facts = Facts::for_start(&Needs::default())?;
            facts.uid != 0 || facts.in_user_namespace
        }
    })
}

/// The limits in force: the configuration's, with what updates have changed since.
fn now(container: &Container, record: &Record) -> Result<Value> {
    let mut all = match container.load_config() {
        Ok(text) => {
            // It was read once by the strict reader; here only one part of it matters.
            let mut config: Value = serde_json::from_slice(&text)
                .map_err(|error| Error::refused(format!("the stored configuration is damaged: {error}")))?;
            config.pointer_mut("/linux/resources").map_or(Value::Null, Value::take)
        }
        // The default container has no configuration and no limits.
        Err(error) if error.errno == Some(libc::ENOENT) => Value::Null,
        Err(error) => return Err(error),
    };
    if let Some(changed) = record.extra.get(CHANGED) {
        merge(&mut all, changed.clone());
    }
    Ok(all)
}

/// A resources object, which was read once when it was given.
fn typed(all: &Value) -> Result<Resources> {
    match all {
        Value::Null => Ok(Resources::default()),
        all => from_oci::read_resources(all.to_string().as_bytes(), Unknown::Stored).map(|(resources, _)| resources),
    }
}

/// Remembers a change in the record; `now` is what is in force before it. The same as [`Resources::merged`], for what is stored.
fn keep(record: &mut Record, now: &Value, text: &[u8]) -> Result<()> {
    let mut changed: Value = serde_json::from_slice(text)
        .map_err(|error| Error::input(format!("the resources are not JSON: {error}")).at(&origin()))?;
    let number = |all: &Value, pointer| all.pointer(pointer).and_then(Value::as_i64);
    let (limit, given) = (number(&changed, "/memory/limit"), number(&changed, "/memory/swap"));
    let total = given.or(number(now, "/memory/swap"));
    if let (Some(total), true) = (cgroup::swap_beside(limit, given, total), limit.is_some()) {
        changed["memory"]["swap"] = total.into();
    }
    if let Some(members) = changed.as_object_mut() {
        members.remove("devices");
    }
    if record.extra.is_null() {
        record.extra = Value::Object(Map::new());
    }
    if let Some(extra) = record.extra.as_object_mut() {
        merge(extra.entry(CHANGED).or_insert(Value::Null), changed);
    }
    Ok(())
}

/// Lays `over` upon `under`: objects member by member, lists entry by entry where entries have a name, everything else as a
/// whole; null is absence.
fn merge(under: &mut Value, over: Value) {
    match (under, over) {
        (_, Value::Null) => {}
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                merge(under.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(under), Value::Array(over)) => {
            for value in over {
                match under.iter_mut().find(|other| name_of(other) == name_of(&value)) {
                    Some(other) => *other = value,
                    None => under.push(value),
                }
            }
        }
        (under, over) => *under = over,
    }
}

/// What tells one entry of a list from the others: a device, a page size or an interface.
fn name_of(entry: &Value) -> (Option<&Value>, Option<&Value>) {
    let first = ["major", "pageSize", "name"].iter().find_map(|key| entry.get(key));
    (first, entry.get("minor"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_resources() {
        let options = LimitOptions {
            memory: Some(1 << 29),
            memory_swap: Some(-1),
            cpu_quota: Some(50_000),
            cpu_idle: Some(true),
            cpuset_cpus: Some("0-1".into()),
            pids_limit: Some(7),
            block_weight: Some(500),
            ..LimitOptions::default()
        };
        let resources = from_oci::resources_from_oci(from_options(&options).to_string().as_bytes()).unwrap();
        assert_eq!((resources.memory.limit, resources.memory.swap), (Some(1 << 29), Some(-1)));
        assert_eq!((resources.cpu.quota, resources.cpu.idle), (Some(50_000), Some(1)));
        assert_eq!((resources.cpu.cpus.as_deref(), resources.pids_limit), (Some("0-1"), Some(7)));
        assert_eq!(resources.block_io.weight, Some(500));
        assert_eq!(from_options(&LimitOptions::default()), json!({}));
    }

    #[test]
    fn changes_add_up() {
        let mut record = Record::creating("a", "/b".into(), "/r".into(), 0).unwrap();
        let now = json!({ "memory": { "swap": 90 } });
        keep(&mut record, &now, br#"{"memory":{"limit":1,"swap":2},"devices":[{"allow":true}],"pids":null}"#).unwrap();
        let now = record.extra["resources"].clone();
        keep(&mut record, &now, br#"{"memory":{"limit":3},"unified":{"a":"b"}}"#).unwrap();
        // A total below the new limit follows it.
        let expected = json!({"resources": {"memory": {"limit": 3, "swap": 3}, "unified": {"a": "b"}, "pids": null}});
        assert_eq!(record.extra, expected);
    }

    /// What is stored must be what was planned: else the next update would build on something else.
    #[test]
    fn what_is_kept_is_what_was_planned() {
        let before = json!({
            "memory": { "limit": 100 << 20, "swap": 200 << 20, "checkBeforeUpdate": true }, "pids": { "limit": 5 },
            "cpu": { "shares": 500, "quota": 5000 }, "unified": { "memory.high": "1" },
            "blockIO": { "throttleReadBpsDevice": [{ "major": 8, "minor": 0, "rate": 1 }], "weight": 100 },
            "hugepageLimits": [{ "pageSize": "2MB", "limit": 1 }],
        });
        for changed in [
            json!({ "memory": { "limit": 300 << 20 } }),
            json!({ "memory": { "limit": -1 } }),
            json!({ "memory": { "limit": 50 << 20, "swap": 60 << 20, "checkBeforeUpdate": false } }),
            json!({ "memory": { "swap": -1 }, "pids": { "limit": -1 }, "cpu": { "period": 20_000, "idle": 1 } }),
            json!({ "blockIO": { "throttleReadBpsDevice": [
                { "major": 8, "minor": 0, "rate": 2 }, { "major": 8, "minor": 1, "rate": 3 },
            ] } }),
            json!({ "hugepageLimits": [{ "pageSize": "1GB", "limit": 7 }, { "pageSize": "2MB", "limit": 2 }] }),
            json!({ "unified": { "memory.low": "2" }, "rdma": { "mlx": { "hcaHandles": 3 } }, "network": { "classID": 4 } }),
        ] {
            let mut record = Record::creating("a", "/b".into(), "/r".into(), 0).unwrap();
            keep(&mut record, &before, changed.to_string().as_bytes()).unwrap();
            let mut kept = before.clone();
            merge(&mut kept, record.extra["resources"].clone());
            let planned = typed(&before).unwrap().merged(&typed(&changed).unwrap());
            assert_eq!(typed(&kept).unwrap(), planned, "{changed}");
        }
    }
}
