//! From what is wanted to what will be written: pure functions, no system call.
//!
//! A [`CgroupPlan`] lists, for each hierarchy, the directory, the files in order with their bytes and the place in the
//! input that asked for them, and the device program. `explain` prints it, tests compare it,
//! [`create`](super::create()) carries it out.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use super::devices::{self, Devices};
use super::layout::{Layout, Mode};
use super::path::Path;
use super::resources::Resources;
use super::{Group, legacy, systemd, unified};
use crate::error::{Error, Origin, Result};

/// What a plan depends on beside the resources.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// This process is not root on the machine: what the kernel refuses is collected into one warning.
    pub rootless: bool,
    /// Which v1 hierarchies get a group.
    pub placement: Placement,
    /// The group's owner in this user namespace, for a container that manages its own sub-groups: the directory
    /// and the files of `/sys/kernel/cgroup/delegate` are given to it (v2), and all controllers are switched on where the parents allow it.
    pub delegate_to: Option<(u32, u32)>,
}

/// Which v1 hierarchies get a group. Each costs a directory, a migration and a removal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// All that are mounted, as other runtimes do; tools find statistics where they expect them.
    #[default]
    Every,
    /// Those with something to write, and one to keep the processes together.
    Needed,
}

/// Everything that will be done to the cgroup file systems, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct CgroupPlan {
    /// The machine's layout.
    pub mode: Mode,
    /// What happens in each hierarchy.
    pub hierarchies: Vec<HierarchyPlan>,
    /// Collect refusals into one warning instead of failing.
    pub rootless: bool,
    /// What systemd is told in an update of a group that it made.
    pub properties: Vec<(String, systemd::Value)>,
    /// What systemd is told to undo that.
    pub former_properties: Vec<(String, systemd::Value)>,
    /// What is asked for and has no effect here.
    pub warnings: Vec<String>,
}

/// What happens in one hierarchy.
#[derive(Clone, Debug, PartialEq)]
pub struct HierarchyPlan {
    /// Empty for v2, else the v1 hierarchy's controllers or name.
    pub legacy: Vec<String>,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// The group, relative to the mount point, without leading slash.
    pub group: String,
    /// v2 controllers whose files are written; switched on in the parents only if their files are missing.
    pub controllers: Vec<&'static str>,
    /// Files in order.
    pub writes: Vec<Write>,
    /// What devices may be used.
    pub devices: Option<Devices>,
    /// Only a convenience (the v2 half of a hybrid machine): a refusal is no failure.
    pub optional: bool,
    /// Not made now: an update that needs the controller makes it and moves the processes ([`Placement::Needed`]).
    pub late: bool,
    /// See [`Options::delegate_to`].
    pub delegate_to: Option<(u32, u32)>,
}

/// One file's new value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The file's name.
    pub file: Cow<'static, str>,
    /// The bytes.
    pub value: String,
}

impl Assignment {
    pub(super) fn new(file: impl Into<Cow<'static, str>>, value: impl fmt::Display) -> Self {
        Assignment { file: file.into(), value: value.to_string() }
    }
}

impl fmt::Display for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} to {}", self.value, self.file)
    }
}

/// A write or a choice of writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Where the value was asked for.
    pub origin: Origin,
    /// What to do.
    pub action: Action,
}

/// The kinds of write. All but the first look at the world, because only the kernel knows the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write the value.
    Set(Assignment),
    /// Write the value if the kernel has such a file.
    SetIfPresent(Assignment),
    /// Write to the first of these files that the kernel has.
    FirstPresent(Vec<Assignment>),
    /// Write all, in this order or, where a value is invalid before a later one is written, after it.
    InEitherOrder(Vec<Assignment>),
    /// Fail if the first number of this file is above this one.
    RefuseIfAbove(Cow<'static, str>, i64),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join =
            |list: &[Assignment], word: &str| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(word);
        match self {
            Action::Set(one) => write!(f, "write {one}"),
            Action::SetIfPresent(one) => write!(f, "write {one} if there is such a file"),
            Action::FirstPresent(list) => write!(f, "write {}", join(list, ", or without such a file ")),
            Action::InEitherOrder(list) => write!(f, "write {}, in the order the kernel takes", join(list, " and ")),
            Action::RefuseIfAbove(file, limit) => write!(f, "fail if {file} is above {limit}"),
        }
    }
}

/// One line of `explain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is done.
    pub text: String,
    /// Who asked for it.
    pub origin: Origin,
}

impl CgroupPlan {
    /// How many v1 groups the first process moves itself into: the length of [`Created::join`](super::Created::join).
    pub fn legacy_joins(&self) -> usize {
        self.hierarchies.iter().filter(|hierarchy| !hierarchy.is_unified() && !hierarchy.late).count()
    }

    /// The device program for the v2 group, if there is one.
    pub fn device_program(&self) -> Option<&Devices> {
        self.hierarchies.iter().filter(|hierarchy| !hierarchy.late).find_map(HierarchyPlan::device_program)
    }

    /// The plan as a story.
    pub fn steps(&self) -> impl Iterator<Item = Step> + '_ {
        self.hierarchies.iter().flat_map(HierarchyPlan::steps)
    }
}

impl HierarchyPlan {
    /// The group's directory.
    pub fn directory(&self) -> PathBuf {
        self.mount_point.join(&self.group)
    }

    /// Whether this is the v2 hierarchy.
    pub fn is_unified(&self) -> bool {
        self.legacy.is_empty()
    }

    /// The device program, if this is the v2 hierarchy and not everything is allowed.
    pub(super) fn device_program(&self) -> Option<&Devices> {
        self.devices.as_ref().filter(|devices| !devices.program.is_empty())
    }

    fn steps(&self) -> Vec<Step> {
        if self.late {
            return Vec::new();
        }
        let path = Origin::fixed("/linux/cgroupsPath");
        let optional = if self.optional { ", if this is allowed" } else { "" };
        let controllers = match self.controllers.is_empty() {
            true => String::new(),
            false => format!(", controllers {}", self.controllers.join(" ")),
        };
        let text = format!("create cgroup {}{controllers}{optional}", self.directory().display());
        let mut steps = vec![Step { text, origin: path.clone() }];
        if self.legacy.iter().any(|name| name == "cpuset") {
            steps
                .push(Step { text: "copy cpuset.cpus and cpuset.mems of the parent where empty".into(), origin: path });
        }
        let writes = self.writes.iter();
        steps.extend(writes.map(|write| Step { text: write.action.to_string(), origin: write.origin.clone() }));
        steps.extend(self.devices.iter().map(Devices::step));
        if let Some((uid, gid)) = self.delegate_to {
            let text = format!("give the directory and its delegation files to {uid}:{gid}");
            steps.push(Step { text, origin: Origin::fixed("/linux/cgroupsPath") });
        }
        steps
    }
}

/// The writes of one controller, before it is known which hierarchy has it.
pub(super) struct ControllerWrites {
    /// The controller's name in that version.
    pub controller: &'static str,
    /// Files in order.
    pub writes: Vec<Write>,
    /// Named by `unified`, so it is this v2 controller or an error, even where v1 has the controller.
    pub raw: bool,
}

/// Collects the writes of one controller; shared by the v1 and v2 tables.
pub(super) struct Writer<'a> {
    base: &'a Origin,
    pub writes: Vec<Write>,
}

impl<'a> Writer<'a> {
    pub fn new(base: &'a Origin) -> Self {
        Writer { base, writes: Vec::new() }
    }

    pub fn origin(&self, pointer: &str) -> Origin {
        self.base.child(pointer)
    }

    pub fn add(&mut self, pointer: &str, action: Action) {
        self.writes.push(Write { origin: self.base.child(pointer), action });
    }

    pub fn set(&mut self, pointer: &str, file: impl Into<Cow<'static, str>>, value: impl fmt::Display) {
        self.add(pointer, Action::Set(Assignment::new(file, value)));
    }

    pub fn finish(self, controller: &'static str, all: &mut Vec<ControllerWrites>) {
        if !self.writes.is_empty() {
            all.push(ControllerWrites { controller, writes: self.writes, raw: false });
        }
    }
}

/// Plans a new group.
///
/// # Errors
/// A value no kernel takes, a limit this machine has no controller for, or device rules v1 cannot express.
pub fn plan(resources: &Resources, layout: &Layout, path: &Path, options: &Options) -> Result<CgroupPlan> {
    resources.check()?;
    let mut plan = CgroupPlan {
        mode: layout.mode,
        hierarchies: hierarchies(layout, path),
        rootless: options.rootless,
        properties: Vec::new(),
        former_properties: Vec::new(),
        warnings: Vec::new(),
    };
    if layout.mode == Mode::None {
        return no_hierarchy(resources, options, plan);
    }
    fill(&mut plan, None, resources)?;
    plan_devices(&mut plan, resources)?;
    let hybrid = layout.mode == Mode::Hybrid;
    if let Some(hierarchy) = plan.hierarchies.iter_mut().find(|hierarchy| hierarchy.is_unified()) {
        hierarchy.delegate_to = options.delegate_to;
        hierarchy.optional = hybrid && options.rootless && !hierarchy.has_work();
    }
    let read_only = layout.unified.as_ref().is_some_and(|mount| mount.read_only);
    plan.hierarchies.retain(|hierarchy| !(hybrid && read_only && hierarchy.is_unified() && !hierarchy.has_work()));
    if options.placement == Placement::Needed {
        only_needed(&mut plan.hierarchies);
    }
    Ok(plan)
}

/// Plans a change of an existing group: the difference between the plans of what was and of what is wanted now, and what
/// `changed` names even if it was so before, because somebody else may have written to the files. Device rules are replaced
/// when `changed` has any.
///
/// What can't be undone comes last: a memory limit below what is in use ends processes on v2.
///
/// # Errors
/// As [`plan`].
pub fn plan_update(old: &Resources, changed: &Resources, group: &Group, options: &Options) -> Result<CgroupPlan> {
    changed.check()?;
    let new = old.merged(changed);
    new.check()?;
    let planned = |resources: &Resources| {
        let mut plan = CgroupPlan {
            mode: group.mode,
            hierarchies: group.hierarchies(),
            rootless: options.rootless,
            properties: Vec::new(),
            former_properties: Vec::new(),
            warnings: Vec::new(),
        };
        fill(&mut plan, Some(old), resources).map(|()| plan)
    };
    let (mut plan, before, asked) = (planned(&new)?, planned(old)?, planned(changed)?);
    plan.warnings = asked.warnings;
    for (index, hierarchy) in plan.hierarchies.iter_mut().enumerate() {
        let (before, asked) = (&before.hierarchies[index].writes, &asked.hierarchies[index].writes);
        difference(&mut hierarchy.writes, before, asked);
        hierarchy.writes.sort_by_key(Write::is_of_memory);
    }
    plan.hierarchies.sort_by_key(|hierarchy| hierarchy.has("memory"));
    if let Some(unit) = &group.unit {
        let on_legacy = plan.hierarchies.iter().any(|hierarchy| hierarchy.has("devices"));
        let devices = (!unit.user).then(|| systemd::Decides::on(on_legacy));
        (plan.properties, plan.former_properties) = systemd::changed_properties((old, changed, &new), devices);
    }
    if !changed.devices.is_empty() {
        plan_devices(&mut plan, changed)?;
    }
    plan.hierarchies.retain(HierarchyPlan::has_work);
    Ok(plan)
}

/// Leaves of the new writes those that the old plan has not, and those that are asked for: these with the place that asks.
fn difference(writes: &mut Vec<Write>, before: &[Write], asked: &[Write]) {
    let file = |write: &Write| write.assignments().first().map(|one| one.file.clone());
    writes.retain_mut(|write| {
        let named = asked.iter().find(|other| file(other).is_some() && file(other) == file(write));
        if let Some(named) = named {
            write.origin = named.origin.clone();
        }
        let is_check = matches!(write.action, Action::RefuseIfAbove(..));
        is_check || named.is_some() || !before.iter().any(|other| other.action == write.action)
    });
    let limits = writes.iter().any(|write| !write.assignments().is_empty() && write.is_of_memory());
    writes.retain(|write| limits || !matches!(write.action, Action::RefuseIfAbove(..)));
}

impl Write {
    /// Everything that may be written.
    pub(super) fn assignments(&self) -> &[Assignment] {
        match &self.action {
            Action::Set(one) | Action::SetIfPresent(one) => std::slice::from_ref(one),
            Action::FirstPresent(list) | Action::InEitherOrder(list) => list,
            Action::RefuseIfAbove(..) => &[],
        }
    }

    fn is_of_memory(&self) -> bool {
        self.assignments().iter().any(|one| one.file.starts_with("memory."))
    }
}

/// One empty entry for each hierarchy, v2 first.
fn hierarchies(layout: &Layout, path: &Path) -> Vec<HierarchyPlan> {
    let mut all = Vec::with_capacity(1 + layout.legacy.len());
    if let Some(mount) = &layout.unified {
        all.push(HierarchyPlan::empty(Vec::new(), mount.mount_point.clone(), path.in_unified(&mount.own_group)));
    }
    for mount in &layout.legacy {
        let group = path.in_legacy(&mount.own_group);
        all.push(HierarchyPlan::empty(mount.controllers.clone(), mount.mount_point.clone(), group));
    }
    all
}

impl HierarchyPlan {
    pub(super) fn empty(legacy: Vec<String>, mount_point: PathBuf, group: String) -> Self {
        HierarchyPlan {
            legacy,
            mount_point,
            group,
            controllers: Vec::new(),
            writes: Vec::new(),
            devices: None,
            optional: false,
            late: false,
            delegate_to: None,
        }
    }

    fn has_work(&self) -> bool {
        !self.writes.is_empty() || self.devices.is_some()
    }

    fn has(&self, controller: &str) -> bool {
        self.legacy.iter().any(|have| have == controller)
    }
}

/// Puts every controller's writes into the hierarchy that has the controller: v1 where mounted, else v2.
fn fill(plan: &mut CgroupPlan, old: Option<&Resources>, resources: &Resources) -> Result<()> {
    let has_unified = plan.hierarchies.iter().any(HierarchyPlan::is_unified);
    let has_legacy = plan.hierarchies.iter().any(|hierarchy| !hierarchy.is_unified());
    let on_legacy = |plan: &CgroupPlan, name: &str| plan.hierarchies.iter().any(|hierarchy| hierarchy.has(name));
    let mut in_unified = Vec::new();
    if has_legacy {
        for writes in legacy::writes(resources, old, &mut plan.warnings) {
            if let Some(hierarchy) = plan.hierarchies.iter_mut().find(|hierarchy| hierarchy.has(writes.controller)) {
                hierarchy.writes.extend(writes.writes);
            } else if !has_unified || unified::counterpart(writes.controller).is_none() {
                return Err(missing(&writes));
            }
        }
    }
    if has_unified {
        let mut warnings = Vec::new();
        for writes in unified::writes(resources, old, &mut warnings)? {
            let on_v1 = unified::legacy_counterpart(writes.controller).is_some_and(|name| on_legacy(plan, name));
            match (on_v1, writes.raw) {
                (false, _) => in_unified.push(writes),
                (true, true) => return Err(on_other_version(&writes)),
                (true, false) => {}
            }
        }
        if !has_legacy {
            plan.warnings.append(&mut warnings);
        }
    } else if let Some(key) = resources.unified.keys().next() {
        let text = format!("{key} is a file of cgroup v2, and only v1 hierarchies are mounted");
        return Err(Error::input(text).at(&resources.origin.child("unified").child(key)));
    }
    if let Some(hierarchy) = plan.hierarchies.iter_mut().find(|hierarchy| hierarchy.is_unified()) {
        for writes in in_unified {
            if !writes.controller.is_empty() && !hierarchy.controllers.contains(&writes.controller) {
                hierarchy.controllers.push(writes.controller);
            }
            hierarchy.writes.extend(writes.writes);
        }
    }
    Ok(())
}

fn missing(writes: &ControllerWrites) -> Error {
    let error = Error::input(format!("this machine has no {} controller mounted", writes.controller));
    match writes.writes.first() {
        Some(write) => error.at(&write.origin),
        None => error,
    }
}

fn on_other_version(writes: &ControllerWrites) -> Error {
    let text = format!("the {} controller of this machine belongs to a v1 hierarchy", writes.controller);
    let error = Error::input(text).hint("unified is for cgroup v2");
    match writes.writes.first() {
        Some(write) => error.at(&write.origin),
        None => error,
    }
}

/// Device rules go to the v1 controller if mounted, else to a program on the v2 group.
fn plan_devices(plan: &mut CgroupPlan, resources: &Resources) -> Result<()> {
    let origin = resources.origin.child("devices");
    if let Some(hierarchy) = plan.hierarchies.iter_mut().find(|hierarchy| hierarchy.has("devices")) {
        hierarchy.writes.extend(devices::legacy_writes(&resources.devices, &origin)?);
    } else if let Some(hierarchy) = plan.hierarchies.iter_mut().find(|hierarchy| hierarchy.is_unified()) {
        hierarchy.devices = devices::program(&resources.devices, &origin);
    } else if !plan.rootless {
        let text = "devices cannot be restricted: neither the v1 devices controller nor cgroup v2 is mounted";
        return Err(Error::refused(text).at(&origin));
    }
    Ok(())
}

/// Without any cgroup file system only a rootless container without root's duties can go on.
fn no_hierarchy(resources: &Resources, options: &Options, mut plan: CgroupPlan) -> Result<CgroupPlan> {
    if !options.rootless {
        return Err(Error::refused("no cgroup file system is mounted")
            .hint("mount cgroup2 on /sys/fs/cgroup, or start the container without cgroups"));
    }
    let lost: Vec<String> = unified::writes(resources, None, &mut Vec::new())?
        .iter()
        .flat_map(|writes| writes.writes.iter().map(|write| write.origin.to_string()))
        .collect();
    let lost = if lost.is_empty() { String::new() } else { format!(": not applied: {}", lost.join(", ")) };
    plan.warnings.push(format!("no cgroup file system is mounted{lost}"));
    Ok(plan)
}

/// Leaves hierarchies without work for later, but for one that holds the processes: v2, else the freezer.
fn only_needed(hierarchies: &mut [HierarchyPlan]) {
    let holds = |hierarchy: &HierarchyPlan| hierarchy.is_unified() && !hierarchy.optional;
    let freezer = |hierarchy: &HierarchyPlan| hierarchy.has("freezer");
    let keeper = hierarchies.iter().position(holds).or_else(|| hierarchies.iter().position(freezer)).unwrap_or(0);
    for (index, hierarchy) in hierarchies.iter_mut().enumerate() {
        hierarchy.late = !(hierarchy.has_work() || hierarchy.is_unified() || index == keeper);
    }
}
