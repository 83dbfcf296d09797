//! The systemd driver: the container lives in a transient scope that systemd makes and knows
//! (systemd.io/CGROUP_DELEGATION, systemd.scope(5), org.freedesktop.systemd1(5)).
//!
//! systemd wants a process for a scope, so this comes after clone3 while the child waits. What systemd has properties for
//! is told to it, or the next `daemon-reload` would undo it; then the same plan as for the cgroupfs driver is written to
//! the group, which has what systemd has no word for, and the device program. D-Bus is spoken here, in few words: the
//! usual libraries start threads.
//!
//! Devices are restricted twice: see [`devices`] for what systemd is told. Our own rules decide, as a program on v2 and as
//! writes on v1; an update changes our program by its name and leaves systemd's to systemd.
//!
//! A unit's name says nothing about whose it is: a container that has stopped has no unit any more, and one of the same name
//! in another root may have it. So the group is marked like those of the cgroupfs driver, and [`Unit::is_ours`] is asked
//! before anything is killed or stopped.

mod bus;
mod devices;
mod gvariant;
mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::create::adopt;
use super::plan::{CgroupPlan, Options, Step, plan};
use super::resources::Resources;
use super::unified::weight_of_shares;
use super::{Group, Layout, Path, owner};
use crate::error::{Error, Origin, Result};
use bus::{Bus, Refusal, transient_unit};
pub(in crate::cgroup) use devices::Decides;
pub use wire::Value;

/// Names and values, in order.
type Properties = Vec<(String, Value)>;

/// A scope to be started.
#[derive(Clone, Debug, PartialEq)]
pub struct ScopeRequest {
    /// Its name: `kiste-c1.scope`.
    pub unit: String,
    /// The slice it is in.
    pub slice: String,
    /// Ask the user's manager, not the system's.
    pub user: bool,
    /// What systemd is told beside slice and process.
    pub properties: Vec<(String, Value)>,
    /// What is asked for and has no effect here.
    pub warnings: Vec<String>,
    resources: Resources,
    layout: Layout,
    options: Options,
}

/// Which unit the group belongs to, for the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// It is one of the user's manager.
    pub user: bool,
    /// The container's directory of state, with which the group is marked; nothing where a plain user could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<PathBuf>,
}

/// A started scope.
#[derive(Debug)]
pub struct Scope {
    /// Its group.
    pub group: Group,
    /// What could not be applied.
    pub warnings: Vec<String>,
}

/// Plans a scope. `cgroups_path` is `slice:prefix:name` or empty; `annotations` are those of the container, of which
/// `org.systemd.property.*` become properties.
///
/// # Errors
/// The path or an annotation has another form, or the resources cannot be planned.
pub fn plan_scope(
    resources: &Resources,
    layout: &Layout,
    cgroups_path: Option<&str>,
    id: &str,
    annotations: &BTreeMap<String, String>,
    options: &Options,
) -> Result<ScopeRequest> {
    let (slice, unit) = names(cgroups_path.unwrap_or_default(), id, options.rootless)?;
    let mut properties = vec![
        ("Description".to_owned(), Value::Text(format!("kiste container {id}"))),
        ("Delegate".to_owned(), Value::Bool(true)),
        ("DefaultDependencies".to_owned(), Value::Bool(false)),
        // A scope whose processes failed shall not stay behind as a failed unit.
        ("CollectMode".to_owned(), Value::Text("inactive-or-failed".into())),
        ("MemoryAccounting".to_owned(), Value::Bool(true)),
        ("CPUAccounting".to_owned(), Value::Bool(true)),
        ("TasksAccounting".to_owned(), Value::Bool(true)),
        ("IOAccounting".to_owned(), Value::Bool(true)),
    ];
    properties.extend(resource_properties(resources, None));
    if !options.rootless {
        // A user's manager may not restrict devices.
        let legacy = layout.legacy.iter().any(|mount| mount.controllers.iter().any(|name| name == "devices"));
        properties.extend(devices::properties(&resources.devices, Decides::on(legacy)));
    }
    for (key, text) in annotations {
        if let Some(name) = key.strip_prefix("org.systemd.property.") {
            let property = annotation(name, text).ok_or_else(|| {
                let origin = Origin::fixed("/annotations").child(key);
                Error::input(format!("{text:?} is no value for a property of systemd")).at(&origin)
            })?;
            properties.retain(|(have, _)| *have != property.0);
            properties.push(property);
        }
    }
    let mut request = ScopeRequest {
        unit,
        slice,
        user: options.rootless,
        properties,
        warnings: Vec::new(),
        resources: resources.clone(),
        layout: layout.clone(),
        options: options.clone(),
    };
    // Everything that is wrong with the input comes to light now, with a group that only has the right shape.
    request.warnings = request.plan_in("/a/b")?.warnings;
    Ok(request)
}

/// Slice and unit of `slice:prefix:name`.
fn names(path: &str, id: &str, user: bool) -> Result<(String, String)> {
    let wrong = |why: &str| {
        let origin = Origin::fixed("/linux/cgroupsPath");
        Error::input(format!("cgroup path {path:?} {why}")).at(&origin).hint("slice:prefix:name")
    };
    let parts: Vec<&str> = if path.is_empty() { vec!["", "kiste", id] } else { path.split(':').collect() };
    let [slice, prefix, name] = parts[..] else { return Err(wrong("is not one for systemd")) };
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b));
    let slice = match slice {
        "" if user => "user.slice",
        "" => "system.slice",
        slice => slice,
    };
    if !slice.ends_with(".slice") || !plain(slice) {
        return Err(wrong("does not begin with a slice"));
    }
    if name.is_empty() || name.ends_with(".slice") || !plain(name) || !plain(prefix) {
        return Err(wrong("does not end with a name for a scope"));
    }
    let unit = if prefix.is_empty() { format!("{name}.scope") } else { format!("{prefix}-{name}.scope") };
    if unit.len() > 255 {
        return Err(wrong("makes a unit name of more than 255 bytes"));
    }
    Ok((slice.to_owned(), unit))
}

/// A property from an annotation. Times may be given in seconds: `TimeoutStopSec` is systemd's `TimeoutStopUSec`.
fn annotation(name: &str, text: &str) -> Option<(String, Value)> {
    let value = Value::parse(text)?;
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric());
    match name.strip_suffix("Sec").filter(|rest| plain && !rest.ends_with('U')) {
        Some(rest) => {
            let micros = match value {
                Value::I32(seconds) => u64::try_from(seconds).ok()?.checked_mul(1_000_000)?,
                Value::U32(seconds) => u64::from(seconds) * 1_000_000,
                Value::U64(seconds) => seconds.checked_mul(1_000_000)?,
                Value::I64(seconds) => u64::try_from(seconds).ok()?.checked_mul(1_000_000)?,
                Value::F64(seconds) if (0.0..1e12).contains(&seconds) => (seconds * 1e6) as u64,
                _ => return None,
            };
            Some((format!("{rest}USec"), Value::U64(micros)))
        }
        None => plain.then(|| (name.to_owned(), value)),
    }
}

/// What systemd has words for. `old` completes pairs in an update.
pub(super) fn resource_properties(resources: &Resources, old: Option<&Resources>) -> Vec<(String, Value)> {
    let mut list: Vec<(String, Value)> = Vec::new();
    let mut number = |name: &str, value: u64| list.push((name.to_owned(), Value::U64(value)));
    let size = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    let given = |value: Option<i64>| value.filter(|&value| value != 0);
    let (memory, cpu) = (&resources.memory, &resources.cpu);
    let limit = given(memory.limit);
    if let Some(limit) = limit {
        number("MemoryMax", size(limit));
    }
    let limit = limit.or(old.and_then(|old| given(old.memory.limit)));
    match (given(memory.swap), limit) {
        (Some(-1), _) => number("MemorySwapMax", u64::MAX),
        (Some(total), Some(limit)) if limit > 0 && total >= limit => number("MemorySwapMax", size(total - limit)),
        _ => {}
    }
    if let Some(reservation) = given(memory.reservation) {
        number("MemoryLow", size(reservation));
    }
    if let Some(limit) = resources.pids_limit {
        // systemd reads 0 as "not set"; the file gets the real 0 afterwards.
        number("TasksMax", if limit == 0 { 1 } else { size(limit) });
    }
    if let Some(shares) = cpu.shares.filter(|&shares| shares != 0 && cpu.idle != Some(1)) {
        number("CPUWeight", weight_of_shares(shares));
    }
    let period = cpu.period.filter(|&period| period != 0).or(old.and_then(|old| old.cpu.period));
    if let Some(period) = cpu.period.filter(|&period| period != 0) {
        number("CPUQuotaPeriodUSec", period);
    }
    if let Some(quota) = given(cpu.quota) {
        number("CPUQuotaPerSecUSec", quota_per_second(quota, period.filter(|&period| period != 0).unwrap_or(100_000)));
    }
    for (name, cpus) in [("AllowedCPUs", &cpu.cpus), ("AllowedMemoryNodes", &cpu.mems)] {
        if let Some(cpus) = cpus.as_ref().filter(|cpus| !cpus.is_empty()) {
            list.push((name.to_owned(), Value::Bytes(mask(cpus))));
        }
    }
    list
}

/// What systemd is told of an update, and what undoes that.
pub(super) fn changed_properties(
    (old, changed, new): (&Resources, &Resources, &Resources),
    devices: Option<Decides>,
) -> (Properties, Properties) {
    let (before, asked) = (resource_properties(old, None), resource_properties(changed, Some(old)));
    let named = |name: &String| asked.iter().any(|(other, _)| other == name);
    let now: Properties = resource_properties(new, None)
        .into_iter()
        .filter(|property| named(&property.0) || !before.contains(property))
        .collect();
    let former = |(name, value): &(String, Value)| {
        let there = before.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone());
        // What systemd has for "not set" (systemd.resource-control(5)).
        let none = match value {
            Value::U64(_) if name == "MemoryLow" => Value::U64(0),
            Value::U64(_) => Value::U64(u64::MAX),
            _ => Value::Bytes(Vec::new()),
        };
        (name.clone(), there.unwrap_or(none))
    };
    let mut former: Properties = now.iter().map(former).collect();
    let mut now = now;
    if let Some(decides) = devices.filter(|_| !changed.devices.is_empty()) {
        now.extend(devices::replacing(&changed.devices, decides));
        former.extend(devices::replacing(&old.devices, decides));
    }
    (now, former)
}

/// Microseconds a second, rounded up to the ten milliseconds that systemd works with.
fn quota_per_second(quota: i64, period: u64) -> u64 {
    match u64::try_from(quota) {
        Ok(quota) => (quota.saturating_mul(1_000_000) / period).next_multiple_of(10_000),
        Err(_) => u64::MAX,
    }
}

/// `0-2,9` as the bytes of a bit mask, lowest first.
fn mask(list: &str) -> Vec<u8> {
    let mut mask = Vec::new();
    for number in super::stats::numbers(list) {
        let byte = usize::from(number / 8);
        if mask.len() <= byte {
            mask.resize(byte + 1, 0);
        }
        mask[byte] |= 1 << (number % 8);
    }
    mask
}

impl ScopeRequest {
    /// What is known of the group before systemd makes it: enough to stop the unit if this process is killed meanwhile.
    pub fn planned(&self, owner: &std::path::Path) -> Group {
        let unit = Unit { name: self.unit.clone(), user: self.user, owner: Some(owner.to_owned()) };
        Group { mode: self.layout.mode, directories: Vec::new(), unit: Some(unit) }
    }

    /// The plan as a story.
    pub fn steps(&self) -> Vec<Step> {
        let who = if self.user { "the user's systemd" } else { "systemd" };
        let text = format!("ask {who} for {} in {}, with the container's process", self.unit, self.slice);
        let mut steps = vec![Step { text, origin: Origin::fixed("/linux/cgroupsPath") }];
        let property = |(name, value): &(String, Value)| Step {
            text: format!("property {name} = {value:?}"),
            origin: self.resources.origin.clone(),
        };
        steps.extend(self.properties.iter().map(property));
        if let Ok(plan) = self.plan_in(&format!("/{}/{}", self.slice, self.unit)) {
            steps.extend(plan.steps().skip(1));
        }
        steps
    }

    fn plan_in(&self, group: &str) -> Result<CgroupPlan> {
        let path = Path::new(group, "", &Origin::fixed("/linux/cgroupsPath"))?;
        plan(&self.resources, &self.layout, &path, &self.options)
    }
}

/// Starts the scope with a process that waits, and writes the limits that systemd has no property for. `owner` is the
/// container's directory of state.
///
/// # Errors
/// systemd cannot be reached or refuses, a unit of that name is in use, or the kernel refuses a value.
pub fn start_scope(request: &ScopeRequest, pid: i32, owner: &std::path::Path) -> Result<Scope> {
    let mut bus = Bus::connect(request.user)?;
    let mut properties = request.properties.clone();
    properties.push(("Slice".into(), Value::Text(request.slice.clone())));
    properties.push(("PIDs".into(), Value::Numbers(vec![pid as u32])));
    let origin = Origin::fixed("/linux/cgroupsPath");
    let failed = |text: String| Error::refused(format!("systemd cannot start {}: {text}", request.unit)).at(&origin);
    let start =
        |bus: &mut Bus| bus.job("StartTransientUnit", "ssa(sv)a(sa(sv))", transient_unit(&request.unit, &properties));
    let mut result = start(&mut bus)?;
    if result.as_ref().is_err_and(|refusal| refusal.name.ends_with(".UnitExists")) {
        // A failed one of an earlier container may go; one in use answers the same again.
        let mut name = wire::Writer::default();
        name.text(&request.unit);
        let _ = bus.manager("ResetFailedUnit", "s", name)?;
        result = start(&mut bus)?;
    }
    match result {
        Ok(result) if result == "done" => {}
        Ok(result) => return Err(failed(format!("the job ended with {result:?}"))),
        Err(refusal) => return Err(failed(refusal.text)),
    }
    let unit = Unit { name: request.unit.clone(), user: request.user, owner: Some(owner.to_owned()) };
    let started = finish(request, pid, unit.clone());
    if started.is_err() {
        // The first error is the one to tell.
        let _ = stop(&unit);
    }
    started
}

/// Finds the group systemd made and does the rest.
fn finish(request: &ScopeRequest, pid: i32, mut unit: Unit) -> Result<Scope> {
    let path = format!("/proc/{pid}/cgroup");
    let groups = std::fs::read_to_string(&path)
        .map_err(|error| Error::refused(format!("cannot read {path}")).io("read", &error))?;
    let of = |prefix: &str| groups.lines().find_map(|line| line.split_once(prefix).map(|(_, group)| group));
    let group = of(":name=systemd:").or_else(|| of("0::")).unwrap_or_default();
    if !group.ends_with(&format!("/{}", unit.name)) {
        let what = format!("systemd has put the container into {group:?} instead of {}", unit.name);
        return Err(Error::refused(what).at(&Origin::fixed("/linux/cgroupsPath")));
    }
    let (mut group, warnings) = adopt(&request.plan_in(group)?, pid, &mut unit.owner)?;
    group.unit = Some(unit);
    Ok(Scope { group, warnings })
}

impl Unit {
    /// Whether the unit that has this name now is the container's, by the mark on its group. `recorded` are the group's
    /// directories as far as they are known: a runtime that was killed early has written none, so systemd is asked.
    ///
    /// # Errors
    /// systemd cannot be asked.
    pub(super) fn is_ours(&self, recorded: Vec<PathBuf>) -> Result<bool> {
        let Some(owner) = &self.owner else { return Ok(true) };
        let directories = if recorded.is_empty() { self.directories()? } else { recorded };
        let owner = std::os::unix::ffi::OsStrExt::as_bytes(owner.as_os_str());
        // One without mark is no reason to stop it: its process waits for a runtime that either goes on to mark it or is
        // gone, and leaves by itself then.
        Ok(directories.iter().any(|directory| owner::of(directory).is_some_and(|mark| mark == owner)))
    }

    /// Where the group would be that systemd has for the unit.
    fn directories(&self) -> Result<Vec<PathBuf>> {
        let mut bus = Bus::connect(self.user)?;
        let mut name = wire::Writer::default();
        name.text(&self.name);
        let failed =
            |refusal: Refusal| Err(Error::refused(format!("systemd cannot tell of {}: {}", self.name, refusal.text)));
        let unit = match bus.manager("GetUnit", "s", name)? {
            Ok(answer) => answer.texts.into_iter().next().unwrap_or_default(),
            Err(refusal) if refusal.name.ends_with(".NoSuchUnit") => return Ok(Vec::new()),
            Err(refusal) => return failed(refusal),
        };
        let group = match bus.property(&unit, "org.freedesktop.systemd1.Scope", "ControlGroup")? {
            Ok(group) => group,
            // Gone meanwhile.
            Err(refusal) if refusal.name.ends_with(".UnknownObject") => return Ok(Vec::new()),
            Err(refusal) => return failed(refusal),
        };
        if group.is_empty() {
            return Ok(Vec::new());
        }
        let layout = Layout::read()?;
        let mounts = layout.unified.into_iter().map(|mount| mount.mount_point);
        let mounts = mounts.chain(layout.legacy.into_iter().map(|mount| mount.mount_point));
        Ok(mounts.map(|mount| mount.join(group.trim_start_matches('/'))).collect())
    }
}

/// Ends a unit and forgets it. A unit that is gone is fine.
pub(super) fn stop(unit: &Unit) -> Result<()> {
    let mut bus = Bus::connect(unit.user)?;
    let mut body = wire::Writer::default();
    body.text(&unit.name);
    body.text("replace");
    match bus.job("StopUnit", "ss", body)? {
        Ok(_) => {}
        Err(refusal) if refusal.name.ends_with(".NoSuchUnit") => return Ok(()),
        Err(refusal) => return Err(Error::refused(format!("systemd cannot stop {}: {}", unit.name, refusal.text))),
    }
    let mut name = wire::Writer::default();
    name.text(&unit.name);
    // Fails when there is nothing to reset, which is what we want.
    let _ = bus.manager("ResetFailedUnit", "s", name)?;
    Ok(())
}

/// Tells systemd about changed limits, until the machine restarts.
pub(super) fn set_properties(unit: &Unit, properties: &[(String, Value)]) -> Result<()> {
    if properties.is_empty() {
        return Ok(());
    }
    let mut bus = Bus::connect(unit.user)?;
    let mut body = wire::Writer::default();
    body.text(&unit.name);
    body.flag(true);
    body.properties(properties);
    match bus.manager("SetUnitProperties", "sba(sv)", body)? {
        Ok(_) => Ok(()),
        Err(refusal) => Err(Error::refused(format!("systemd cannot change {}: {}", unit.name, refusal.text))),
    }
}

#[cfg(test)]
mod tests;
