//! Carrying out an update, all or nothing: what each file said before is kept, and written back when a later value is refused.

use std::borrow::Cow;
use std::os::fd::{AsFd, OwnedFd};

use super::create::{in_either_order, perform, replace_devices};
use super::files::{self, Failure, Writer};
use super::plan::{Action, Assignment, CgroupPlan, HierarchyPlan, Write};
use super::{Group, systemd};
use crate::error::{Error, Result};

/// An update that was carried out and can still be undone.
#[derive(Debug)]
pub struct Applied<'a> {
    /// What is asked for and has no effect, or was not allowed to a plain user.
    pub warnings: Vec<String>,
    group: &'a Group,
    plan: &'a CgroupPlan,
    told_systemd: bool,
    done: Vec<Done>,
}

/// One write of a plan, and what was there before.
#[derive(Debug)]
struct Done {
    directory: std::rc::Rc<OwnedFd>,
    files: Vec<Saved>,
}

/// A file before it was written to.
#[derive(Debug)]
struct Saved {
    file: Cow<'static, str>,
    /// The whole content; nothing where there was no such file.
    content: Option<String>,
    /// What brings it back, if that is known.
    back: Option<String>,
}

impl Group {
    /// Carries out a plan of [`plan_update`](super::plan_update()).
    ///
    /// A v1 group that was made for it and controllers that were switched on stay so: they limit nothing.
    ///
    /// # Errors
    /// The kernel or systemd refuses a value: then the others have their old ones again, and the error says so, or what could
    /// not be undone.
    pub fn apply<'a>(&'a self, plan: &'a CgroupPlan) -> Result<Applied<'a>> {
        let mut applied =
            Applied { warnings: plan.warnings.clone(), group: self, plan, told_systemd: false, done: Vec::new() };
        match applied.carry_out() {
            Ok(()) => Ok(applied),
            Err(error) => Err(applied.undone(error)),
        }
    }

    fn opened(&self, hierarchy: &HierarchyPlan) -> Result<OwnedFd> {
        match files::open_directory(&hierarchy.directory()) {
            Err(failure) if failure.errno == libc::ENOENT && !hierarchy.is_unified() => self.move_to(hierarchy),
            other => other.map_err(Failure::error_without_origin),
        }
    }
}

impl Applied<'_> {
    fn carry_out(&mut self) -> Result<()> {
        let plan = self.plan;
        let opened = |hierarchy| self.group.opened(hierarchy).map(std::rc::Rc::new);
        let directories = plan.hierarchies.iter().map(opened).collect::<Result<Vec<_>>>()?;
        // What only asks comes before what changes.
        for (hierarchy, directory) in plan.hierarchies.iter().zip(&directories) {
            for check in hierarchy.writes.iter().filter(|write| is_check(write)) {
                perform(hierarchy, &mut Writer::new(directory.as_fd()), check)?;
            }
        }
        if let Some(unit) = &self.group.unit {
            systemd::set_properties(unit, &plan.properties)?;
            self.told_systemd = true;
        }
        for (hierarchy, directory) in plan.hierarchies.iter().zip(&directories) {
            self.hierarchy(hierarchy, directory)?;
        }
        for (hierarchy, directory) in plan.hierarchies.iter().zip(&directories) {
            if let Some(devices) = &hierarchy.devices {
                replace_devices(directory, &devices.program, &devices.origin)?;
            }
        }
        Ok(())
    }

    fn hierarchy(&mut self, hierarchy: &HierarchyPlan, directory: &std::rc::Rc<OwnedFd>) -> Result<()> {
        let mut writer = Writer::new(directory.as_fd());
        for write in hierarchy.writes.iter().filter(|write| !is_check(write)) {
            let files = write.assignments().iter().map(|one| saved(directory, one)).collect();
            // Before it is tried: of several values the first may be taken and the second refused.
            self.done.push(Done { directory: directory.clone(), files });
            match perform(hierarchy, &mut writer, write) {
                Err(error) if self.plan.rootless && matches!(error.errno, Some(libc::EACCES | libc::EPERM)) => {
                    self.warnings.push(format!("not applied: {error}"));
                }
                other => other?,
            }
        }
        Ok(())
    }

    /// Undoes everything, and says so in the error that is the reason.
    pub fn undone(self, error: Error) -> Error {
        let left = self.undo();
        let said = match left.is_empty() {
            true => "nothing was changed".to_owned(),
            false => format!("could not be undone: {}", left.join(", ")),
        };
        let hint = error.hint.clone().map_or_else(|| said.clone(), |hint| format!("{hint}; {said}"));
        error.hint(hint)
    }

    /// Gives every file its old value; what could not be undone.
    fn undo(self) -> Vec<String> {
        let mut left = Vec::new();
        for done in self.done.iter().rev() {
            let now = |file: &str| files::read(done.directory.as_fd(), file).ok();
            let changed = |saved: &&Saved| now(&saved.file) != saved.content;
            let mut back = Vec::new();
            for saved in done.files.iter().filter(changed) {
                match &saved.back {
                    Some(value) => back.push(Assignment::new(saved.file.clone(), value)),
                    None => left.push(format!("{} has a new value", saved.file)),
                }
            }
            if let Err(failure) = in_either_order(&mut Writer::new(done.directory.as_fd()), &back) {
                left.push(failure.error_without_origin().to_string());
            }
        }
        if let (Some(unit), true) = (&self.group.unit, self.told_systemd)
            && let Err(error) = systemd::set_properties(unit, &self.plan.former_properties)
        {
            left.push(error.to_string());
        }
        left
    }
}

fn is_check(write: &Write) -> bool {
    matches!(write.action, Action::RefuseIfAbove(..))
}

fn saved(directory: &OwnedFd, one: &Assignment) -> Saved {
    let content = files::read(directory.as_fd(), &one.file).ok();
    let back = match &content {
        Some(content) => former(&one.file, content, &one.value),
        // It comes with its controller, which the write switches on.
        None => fresh(&one.file).map(str::to_owned),
    };
    Saved { file: one.file.clone(), content, back }
}

/// What to write so that a file with this content has it again after this value was written.
fn former(file: &str, content: &str, written: &str) -> Option<String> {
    let lines: Vec<&str> = content.lines().collect();
    if file == "memory.oom_control" {
        return lines.first()?.strip_prefix("oom_kill_disable ").map(str::to_owned);
    }
    // Of a list, the line of the device, the interface or the default that was written.
    let key = written.split_once(' ').map(|(key, _)| key).filter(|key| is_key(file, key));
    if let Some(key) = key {
        let line = lines.iter().find(|line| line.split(' ').next() == Some(key));
        return line.map(|line| (*line).to_owned()).or_else(|| unset(file).map(|value| format!("{key} {value}")));
    }
    match lines[..] {
        // An empty cpuset: a write of nothing would be none.
        [] | [""] => Some("\n".to_owned()),
        // BFQ tells its weight so and does not read it so.
        [only, ..] if only.starts_with("default ") => only.strip_prefix("default ").map(str::to_owned),
        [only] => Some(only.to_owned()),
        _ => None,
    }
}

/// Whether the first word of a value names one entry of the file.
fn is_key(file: &str, word: &str) -> bool {
    let device = word.split_once(':').is_some_and(|(major, minor)| {
        let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        number(major) && number(minor)
    });
    device
        || word == "default"
        || matches!(file, "net_prio.ifpriomap" | "rdma.max" | "misc.max" | "dmem.max" | "dmem.low" | "dmem.min")
}

/// What an entry of a list has before it is set.
fn unset(file: &str) -> Option<&'static str> {
    Some(match file {
        "io.max" => "rbps=max wbps=max riops=max wiops=max",
        "io.weight" => "default",
        "io.latency" => "target=0",
        "rdma.max" => "hca_handle=max hca_object=max",
        "misc.max" | "dmem.max" => "max",
        _ if file.starts_with("blkio.") || file.starts_with("io.bfq.") || file == "net_prio.ifpriomap" => "0",
        _ => return None,
    })
}

/// What a file of cgroup v2 says in a new group (cgroup-v2.rst).
fn fresh(file: &str) -> Option<&'static str> {
    Some(match file {
        "cpu.max" => "max 100000",
        "cpu.weight" => "100",
        "cpu.idle" | "cpu.max.burst" | "memory.low" | "memory.min" | "memory.oom.group" => "0",
        "cpuset.cpus" | "cpuset.mems" => "\n",
        "memory.max" | "memory.high" | "memory.swap.max" | "memory.swap.high" | "pids.max" => "max",
        _ if file.starts_with("hugetlb.") && file.ends_with(".max") => "max",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_brings_a_value_back() {
        for (file, content, written, back) in [
            ("pids.max", "max\n", "5", "max"),
            ("cpu.max", "max 100000\n", "5000 50000", "max 100000"),
            ("cpuset.cpus", "\n", "0", "\n"),
            ("cpuset.cpus", "", "0", "\n"),
            ("memory.oom_control", "oom_kill_disable 1\nunder_oom 0\noom_kill 0\n", "0", "1"),
            ("io.weight", "default 100\n8:0 200\n", "default 300", "default 100"),
            ("io.weight", "default 100\n8:0 200\n", "8:0 300", "8:0 200"),
            ("io.weight", "default 100\n", "8:0 300", "8:0 default"),
            ("io.bfq.weight", "default 100\n", "300", "100"),
            ("io.max", "", "8:0 rbps=7", "8:0 rbps=max wbps=max riops=max wiops=max"),
            (
                "io.max",
                "8:0 rbps=1 wbps=max riops=max wiops=max\n",
                "8:0 rbps=7",
                "8:0 rbps=1 wbps=max riops=max wiops=max",
            ),
            ("blkio.throttle.read_bps_device", "8:16 5\n", "8:0 7", "8:0 0"),
            ("net_prio.ifpriomap", "lo 0\neth0 4\n", "eth0 7", "eth0 4"),
        ] {
            assert_eq!(former(file, content, written).as_deref(), Some(back), "{file}: {written}");
        }
        assert_eq!(former("misc.events", "a 1\nb 2\n", "3"), None);
    }
}
