//! A group that exists: its identity, its processes, freezing, killing, removing, changing.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::controllers::initialise_cpuset;
use super::create::{Created, move_process};
use super::files::{self, Failure};
use super::layout::Mode;
use super::plan::{CgroupPlan, HierarchyPlan};
use super::systemd::{self, Unit};
use crate::error::{Error, Origin, Result};
use crate::kernel::raw;

/// The identity of a created group, for the state record: plain paths, no descriptors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The machine's layout when it was made.
    pub mode: Mode,
    /// Its directory in each hierarchy, v2 first; none for a container without cgroup.
    pub directories: Vec<GroupDirectory>,
    /// The systemd unit, if systemd made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
}

/// The group in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupDirectory {
    /// Empty for v2, else the controllers or the name of the v1 hierarchy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub legacy: Vec<String>,
    /// Where the hierarchy is mounted.
    pub mount_point: PathBuf,
    /// The group below it, without leading slash.
    pub group: String,
    /// Not made with the group; an update may have made it since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
}

impl GroupDirectory {
    pub(super) fn of(hierarchy: &HierarchyPlan) -> Self {
        GroupDirectory {
            legacy: hierarchy.legacy.clone(),
            mount_point: hierarchy.mount_point.clone(),
            group: hierarchy.group.clone(),
            late: hierarchy.late,
        }
    }

    fn exists(&self) -> bool {
        !self.late || self.path().exists()
    }

    /// The absolute path.
    pub fn path(&self) -> PathBuf {
        self.mount_point.join(&self.group)
    }
}

/// How long a freeze, a kill or a removal may take.
const PATIENCE: Duration = Duration::from_secs(10);

impl Group {
    /// The group that a plan will make: for the record that must exist before it does.
    pub fn planned(plan: &CgroupPlan) -> Group {
        Group { mode: plan.mode, directories: plan.hierarchies.iter().map(GroupDirectory::of).collect(), unit: None }
    }

    /// A container without cgroup: every operation on it finds nothing to do.
    pub fn none() -> Group {
        Group { mode: Mode::None, directories: Vec::new(), unit: None }
    }

    pub(super) fn single(hierarchy: &HierarchyPlan) -> Group {
        let mode = if hierarchy.is_unified() { Mode::V2 } else { Mode::V1 };
        Group { mode, directories: vec![GroupDirectory::of(hierarchy)], unit: None }
    }

    /// The directory in the v2 hierarchy.
    pub fn unified(&self) -> Option<PathBuf> {
        self.directories.iter().find(|directory| directory.legacy.is_empty()).map(GroupDirectory::path)
    }

    /// The directory in the hierarchy of a v1 controller.
    pub fn legacy(&self, controller: &str) -> Option<PathBuf> {
        let has = |directory: &&GroupDirectory| directory.legacy.iter().any(|name| name == controller);
        self.directories.iter().find(has).filter(|directory| directory.exists()).map(GroupDirectory::path)
    }

    pub(super) fn hierarchies(&self) -> Vec<HierarchyPlan> {
        let empty =
            |one: &GroupDirectory| HierarchyPlan::empty(one.legacy.clone(), one.mount_point.clone(), one.group.clone());
        self.directories.iter().map(empty).collect()
    }

    /// The hierarchy to ask for processes: v2, else the freezer (it can stop what is listed), else any.
    fn main_directory(&self) -> Option<PathBuf> {
        let any = || self.directories.first().map(GroupDirectory::path);
        self.unified().or_else(|| self.legacy("freezer")).or_else(|| self.legacy("pids")).or_else(any)
    }

    /// The group opened for one more process, in a sub-group if asked: `--cgroup [controllers:]path` of `exec`.
    /// A pair without controllers is for every hierarchy that no other pair names.
    ///
    /// # Errors
    /// A path leaves the group, or the directory is not there.
    pub fn open_for_exec(&self, sub: &[(Option<String>, String)]) -> Result<Created> {
        let option = Origin::fixed("--cgroup");
        let mut created = Created {
            group: self.clone(),
            v2_directory: None,
            join: Vec::new(),
            warnings: Vec::new(),
            notes: Vec::new(),
        };
        for (controllers, path) in sub {
            if path.split('/').any(|part| part == "..") || path.contains('\0') {
                return Err(Error::input(format!("cgroup path {path:?} leaves the container's group")).at(&option));
            }
            for name in controllers.iter().flat_map(|list| list.split(',')) {
                if self.legacy(name).is_none() {
                    return Err(Error::input(format!("the container has no v1 {name} cgroup")).at(&option));
                }
            }
        }
        for directory in &self.directories {
            let named = |(controllers, _): &&(Option<String>, String)| {
                let list = controllers.as_deref().unwrap_or_default();
                directory.legacy.iter().any(|name| list.split(',').any(|asked| asked == name))
            };
            let chosen = sub.iter().find(named).or_else(|| sub.iter().find(|(controllers, _)| controllers.is_none()));
            let path = match chosen {
                Some((_, sub)) => directory.path().join(sub.trim_start_matches('/')),
                None => directory.path(),
            };
            let open = match files::open_directory(&path) {
                Err(failure) if directory.late && failure.errno == libc::ENOENT => continue,
                other => other.map_err(|failure| failure.error(&option))?,
            };
            if directory.legacy.is_empty() {
                created.v2_directory = Some(open);
            } else {
                let tasks = files::open_write(open.as_fd(), "tasks").map_err(|failure| failure.error(&option))?;
                created.join.push(tasks);
            }
        }
        Ok(created)
    }

    /// Stops every process of the group and waits until all stand still.
    ///
    /// # Errors
    /// There is no freezer, or a process does not stop within ten seconds.
    pub fn freeze(&self) -> Result<()> {
        self.set_frozen(true)
    }

    /// Lets the processes go on.
    ///
    /// # Errors
    /// There is no freezer, or a parent group is frozen.
    pub fn thaw(&self) -> Result<()> {
        self.set_frozen(false)
    }

    fn set_frozen(&self, frozen: bool) -> Result<()> {
        let word = if frozen { "freeze" } else { "thaw" };
        let (path, file, value, watch) = match (self.unified(), self.legacy("freezer")) {
            (Some(path), _) => (path, "cgroup.freeze", if frozen { "1" } else { "0" }, "cgroup.events"),
            (None, Some(path)) => (path, "freezer.state", if frozen { "FROZEN" } else { "THAWED" }, "freezer.state"),
            (None, None) => return Err(Error::refused(format!("cannot {word} a container without cgroup"))),
        };
        let refused = |call| {
            let what = format!("cannot {word} cgroup {}", path.display());
            move |errno| Error::refused(what.clone()).call(call, errno)
        };
        let directory = files::open_directory(&path).map_err(Failure::error_without_origin)?;
        let set = |value| files::write(directory.as_fd(), file, value);
        set(value).map_err(refused("write"))?;
        let mut polls = 0;
        let done = files::wait_for(directory.as_fd(), watch, PATIENCE.as_millis() as u64, |text| {
            polls += 1;
            if frozen && file == "freezer.state" && polls % 25 == 0 && !is_frozen(text) {
                // v1 can get stuck in FREEZING when a process forks meanwhile; a short thaw gets it going.
                let _ = set("THAWED").and_then(|()| set("FROZEN"));
            }
            is_frozen(text) == frozen
        });
        if done.map_err(refused("read"))? {
            return Ok(());
        }
        if frozen {
            // A half-frozen container is the worst of both.
            let _ = set(if file == "cgroup.freeze" { "0" } else { "THAWED" });
        }
        Err(refused("poll")(libc::ETIMEDOUT))
    }

    /// Whether the group is frozen, by itself or by a parent.
    ///
    /// # Errors
    /// The group is gone.
    pub fn frozen(&self) -> Result<bool> {
        let (path, file) = match (self.unified(), self.legacy("freezer")) {
            (Some(path), _) => (path, "cgroup.events"),
            (None, Some(path)) => (path, "freezer.state"),
            (None, None) => return Ok(false),
        };
        read_file(&path, file).map(|text| is_frozen(&text))
    }

    /// The processes of the group, and of its sub-groups if `recursive`, as seen from this pid namespace.
    ///
    /// # Errors
    /// A group is there and cannot be read. A missing one has no processes.
    pub fn pids(&self, recursive: bool) -> Result<Vec<i32>> {
        let mut pids = Vec::new();
        if let Some(path) = self.main_directory() {
            if !self.is_ours()? {
                return Ok(pids);
            }
            collect_pids(&path, recursive, &mut pids)?;
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// Sends a signal to every process of the group and its sub-groups. SIGKILL goes through `cgroup.kill`, which
    /// nothing escapes; otherwise the group stands still while it is done.
    ///
    /// # Errors
    /// The processes cannot be listed or signalled. An empty or missing group is no error.
    pub fn kill(&self, signal: i32) -> Result<()> {
        let Some(path) = self.main_directory() else { return Ok(()) };
        let Ok(directory) = files::open_directory(&path) else { return Ok(()) };
        if !self.is_ours()? {
            return Ok(());
        }
        if signal == libc::SIGKILL && self.unified().is_some() {
            match files::write(directory.as_fd(), "cgroup.kill", "1") {
                Ok(()) | Err(libc::ENODEV) => return Ok(()),
                // A threaded group or an older kernel: one by one.
                Err(libc::ENOENT | libc::EOPNOTSUPP) => {}
                Err(errno) => {
                    let what = format!("cannot kill the processes of cgroup {}", path.display());
                    return Err(Error::refused(what).call("write(cgroup.kill)", errno));
                }
            }
        }
        let was_frozen = self.frozen().unwrap_or(false);
        let stopped = !was_frozen && self.freeze().is_ok();
        let result = self.signal_all(signal);
        if stopped || (was_frozen && signal == libc::SIGKILL) {
            // SIGKILL reaches frozen processes on v2; on v1 only once they run again.
            self.thaw()?;
        }
        result
    }

    /// Signals what is listed until a list has nothing new, so that children born meanwhile get it too.
    fn signal_all(&self, signal: i32) -> Result<()> {
        let mut done = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let new: Vec<i32> = self.pids(true)?.into_iter().filter(|pid| !done.contains(pid)).collect();
            if new.is_empty() {
                break;
            }
            for pid in new {
                done.insert(pid);
                match raw::kill(pid, signal) {
                    Ok(_) | Err(libc::ESRCH) => {}
                    Err(errno) => {
                        return Err(Error::refused(format!("cannot signal process {pid}")).call("kill", errno));
                    }
                }
            }
        }
        Ok(())
    }

    /// Removes the group and its sub-groups, waiting a while for processes that are still dying.
    ///
    /// # Errors
    /// A process is alive in it after ten seconds.
    pub fn remove(&self) -> Result<()> {
        let mut first = Ok(());
        // Without directories the runtime was killed before it could record them.
        let there = self.directories.is_empty() || self.directories.iter().any(|one| one.path().exists());
        if there && !self.is_ours()? {
            return Ok(());
        }
        if let Some(unit) = self.unit.as_ref().filter(|_| there) {
            // systemd removes the groups it made; what is left after that is ours.
            first = systemd::stop(unit);
        }
        for directory in &self.directories {
            let result = remove_tree(&directory.path());
            first = first.and(result);
        }
        first
    }

    /// Whether the group that is there now is this one. Of cgroupfs's groups a path is enough: they stay until their
    /// container is deleted, and nobody else gets them. systemd takes a scope away with its last process, and the next
    /// container may have one of the same name.
    fn is_ours(&self) -> Result<bool> {
        let Some(unit) = &self.unit else { return Ok(true) };
        unit.is_ours(self.directories.iter().map(GroupDirectory::path).collect())
    }

    /// Makes a v1 group that was not needed until now and moves the container's processes to it.
    pub(super) fn move_to(&self, hierarchy: &HierarchyPlan) -> Result<OwnedFd> {
        let path = hierarchy.directory();
        std::fs::create_dir_all(&path)
            .map_err(|error| Error::refused(format!("cannot create cgroup {}", path.display())).io("mkdir", &error))?;
        if hierarchy.legacy.iter().any(|name| name == "cpuset") {
            initialise_cpuset(&hierarchy.mount_point, &hierarchy.group, false)
                .map_err(Failure::error_without_origin)?;
        }
        let directory = files::open_directory(&path).map_err(Failure::error_without_origin)?;
        for _ in 0..100 {
            let mut moved = Vec::new();
            collect_pids(&path, false, &mut moved)?;
            let left: Vec<i32> = self.pids(true)?.into_iter().filter(|pid| !moved.contains(pid)).collect();
            if left.is_empty() {
                break;
            }
            for pid in left {
                match move_process(&directory, pid) {
                    Ok(()) | Err(libc::ESRCH) => {}
                    Err(errno) => {
                        let what = format!("cannot move process {pid} to cgroup {}", path.display());
                        return Err(Error::refused(what).call("write(cgroup.procs)", errno));
                    }
                }
            }
        }
        Ok(directory)
    }
}

/// `cgroup.events` has a line `frozen 1`; `freezer.state` is one word.
fn is_frozen(text: &str) -> bool {
    text.lines().any(|line| line == "frozen 1" || line == "FROZEN")
}

pub(super) fn read_file(directory: &Path, file: &str) -> Result<String> {
    let path = directory.join(file);
    std::fs::read_to_string(&path)
        .map_err(|error| Error::refused(format!("cannot read {}", path.display())).io("read", &error))
}

fn is_gone(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}

pub(super) fn collect_pids(path: &Path, recursive: bool, pids: &mut Vec<i32>) -> Result<()> {
    match std::fs::read_to_string(path.join("cgroup.procs")) {
        // 0 stands for a process outside of this pid namespace, which cannot be named.
        Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse().ok()).filter(|&pid: &i32| pid > 0)),
        Err(error) if is_gone(&error) => return Ok(()),
        // A threaded group lists its processes at the root of its threaded tree.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
        Err(error) => {
            let what = format!("cannot list the processes of cgroup {}", path.display());
            return Err(Error::refused(what).io("read", &error));
        }
    }
    if recursive {
        for sub in sub_groups(path) {
            collect_pids(&sub, true, pids)?;
        }
    }
    Ok(())
}

fn sub_groups(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
    let is_directory = |entry: &std::fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries.flatten().filter(is_directory).map(|entry| entry.path()).collect()
}

/// rmdir, and only if that is refused a look for the reason: sub-groups, or processes that are still dying.
fn remove_tree(path: &Path) -> Result<()> {
    let end = std::time::Instant::now() + PATIENCE;
    let mut pause = Duration::from_micros(200);
    loop {
        match std::fs::remove_dir(path) {
            Ok(()) => return Ok(()),
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            Err(error) => {
                return Err(Error::refused(format!("cannot remove cgroup {}", path.display())).io("rmdir", &error));
            }
        }
        for sub in sub_groups(path) {
            remove_tree(&sub)?;
        }
        if std::time::Instant::now() > end {
            let mut pids = Vec::new();
            collect_pids(path, true, &mut pids)?;
            return Err(Error::refused(format!("cannot remove cgroup {}", path.display()))
                .call("rmdir", libc::EBUSY)
                .hint(format!("processes {pids:?} are still in it")));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
