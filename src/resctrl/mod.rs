//! Groups of the kernel's resource control file system (resctrl.rst): shares of cache and memory bandwidth, and their
//! monitoring. The runtime-spec calls it Intel RDT (config-linux.md, "IntelRdt"); AMD's processors have it, too.
//!
//! ```text
//! ROOT/schemata  ROOT/tasks  ROOT/info/…      the default group, and what the processor can do
//! ROOT/CLOS/schemata, tasks                   a control group: one class of service
//! ROOT/CLOS/mon_groups/ID/tasks, mon_data/…   a monitoring group in it
//! ```
//!
//! Where ROOT is, the caller says: lowering from the facts of the host, tests a tree of their own. A process joins by
//! writing `0` to `tasks` itself, at birth, so that none of its memory is taken before.

mod schemata;
mod stats;

pub use schemata::{is_line, same};

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::kernel::owned::{c_string, open};
use crate::kernel::raw::Raw;

/// Names below the root that are no groups.
pub const RESERVED: &[&str] = &["info", "mon_groups", "mon_data"];

/// What a container wants, by absolute paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Where resctrl is mounted.
    pub root: PathBuf,
    /// The container's id.
    pub id: String,
    /// The class of service by name, `/` for the default one; none: one of the container's own, named like it.
    pub class: Option<String>,
    /// Lines for `schemata`, in their order.
    pub schemata: Vec<String>,
    /// A monitoring group of the container's own.
    pub monitoring: bool,
}

impl Request {
    /// The control group's directory.
    pub fn directory(&self) -> PathBuf {
        match self.class.as_deref() {
            Some("/") => self.root.clone(),
            Some(class) => self.root.join(class),
            None => self.root.join(&self.id),
        }
    }

    fn monitor(&self) -> Option<PathBuf> {
        self.monitoring.then(|| self.directory().join("mon_groups").join(&self.id))
    }

    /// How many `tasks` files a process joins by.
    pub fn joins(&self) -> usize {
        1 + usize::from(self.monitoring)
    }

    /// The group as it will be, for a record written before it is made.
    pub fn planned(&self) -> Group {
        let directory = self.directory();
        Group { own: self.class.is_none(), root: self.root.clone(), monitor: self.monitor(), directory }
    }

    /// What is done, line by line, for `explain`.
    pub fn steps(&self) -> Vec<String> {
        let directory = self.directory();
        let shown = directory.display();
        let written = format!("{:?}", self.schemata.join("\n"));
        let mut lines = vec![match (&self.class, self.schemata.is_empty()) {
            (None, true) => format!("create resctrl group {shown}"),
            (None, false) => format!("create resctrl group {shown}, write {written} to its schemata"),
            (Some(_), true) => format!("find resctrl group {shown}"),
            (Some(_), false) => {
                format!("find resctrl group {shown} with schemata {written} (missing → created with them)")
            }
        }];
        lines.extend(self.monitor().map(|path| format!("create resctrl monitoring group {}", path.display())));
        lines
    }
}

/// The group of a container: what its record keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Where resctrl is mounted.
    root: PathBuf,
    /// The control group.
    directory: PathBuf,
    /// It is the container's own and goes with it.
    own: bool,
    /// The container's monitoring group, which goes with it.
    monitor: Option<PathBuf>,
}

/// A group that was made or found, and its `tasks` files for the child. What was made is removed again unless it is kept.
#[derive(Debug)]
pub struct Made {
    group: Group,
    /// In the order in which they must be written to.
    pub tasks: Vec<OwnedFd>,
    /// Directories made here, the deepest last.
    made: Vec<PathBuf>,
}

impl Made {
    /// The container exists: its groups stay.
    pub fn keep(mut self) -> Group {
        self.made.clear();
        self.group.clone()
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for directory in self.made.iter().rev() {
            // The error that led here is the one to tell.
            let _ = std::fs::remove_dir(directory);
        }
    }
}

/// Makes or finds the group.
///
/// # Errors
/// The class is there with other schemata, or is not there and none are wanted; the kernel refuses a group (there are few)
/// or a line. What was made is gone then.
pub fn create(request: &Request) -> Result<Made> {
    let mut made = Made { group: request.planned(), tasks: Vec::new(), made: Vec::new() };
    let directory = request.directory();
    let found = directory.is_dir();
    match (&request.class, found) {
        (None, true) => {
            let what = format!("there is a resctrl group {} already", directory.display());
            return Err(Error::refused(what).hint("name it in closID to use it, or remove it"));
        }
        (Some(class), false) if request.schemata.is_empty() => {
            let what = format!("there is no class of service {class:?}, and no schemata to make it with");
            return Err(Error::refused(what).hint(format!("the resctrl file system is at {}", request.root.display())));
        }
        (_, false) => make_directory(&directory, &mut made)?,
        (Some(_), true) => {}
    }
    if !request.schemata.is_empty() {
        let has = read_file(&directory.join("schemata"));
        if !found {
            write_schemata(&request.root, &directory, &request.schemata)?;
        } else if let Some(other) = schemata::first_other(&request.schemata, &has?) {
            let what = format!("the class of service at {} has not the schema {other:?}", directory.display());
            return Err(Error::refused(what).hint("a class that exists is shared: it is compared and not changed"));
        }
    }
    if let Some(monitor) = request.monitor() {
        make_directory(&monitor, &mut made)?;
    }
    made.tasks = made.group.tasks()?;
    Ok(made)
}

fn make_directory(path: &Path, made: &mut Made) -> Result<()> {
    std::fs::create_dir(path).map_err(|error| {
        let failed = Error::refused(format!("cannot make the resctrl group {}", path.display())).io("mkdir", &error);
        match error.raw_os_error() {
            Some(libc::ENOSPC) => failed.hint("the processor has no class of service or monitoring id left"),
            Some(libc::EACCES | libc::EPERM | libc::EROFS) => failed.hint("only root may make resctrl groups"),
            _ => failed,
        }
    })?;
    made.made.push(path.to_owned());
    Ok(())
}

fn read_file(path: &Path) -> Result<String> {
    std::fs::read_to_string(path)
        .map_err(|error| Error::refused(format!("cannot read {}", path.display())).io("read", &error))
}

/// All lines in one write: the kernel takes all of them or none.
fn write_schemata(root: &Path, directory: &Path, lines: &[String]) -> Result<()> {
    let path = directory.join("schemata");
    let text = format!("{}\n", lines.join("\n"));
    write_file(&path, text.as_bytes()).map_err(|errno| {
        let error = Error::refused(format!("cannot write {text:?} to {}", path.display())).call("write", errno);
        // In words: "mask 0 must be non-zero" and the like.
        match status(root) {
            Some(words) => error.hint(words),
            None => error,
        }
    })
}

fn status(root: &Path) -> Option<String> {
    let mut text = String::new();
    std::fs::File::open(root.join("info/last_cmd_status")).ok()?.take(500).read_to_string(&mut text).ok()?;
    Some(text.trim().replace('\n', "; ")).filter(|text| !text.is_empty() && text != "ok")
}

fn write_file(path: &Path, bytes: &[u8]) -> Raw<()> {
    let errno = |error: std::io::Error| error.raw_os_error().unwrap_or(libc::EIO);
    let mut file = std::fs::File::options().write(true).create(true).truncate(false).open(path).map_err(errno)?;
    file.write_all(bytes).map_err(errno)
}

impl Group {
    /// The `tasks` files that a process of the container writes `0` to, in their order: a monitoring group takes only
    /// processes of its control group.
    ///
    /// # Errors
    /// When one can't be opened.
    pub fn tasks(&self) -> Result<Vec<OwnedFd>> {
        let directories = std::iter::once(&self.directory).chain(&self.monitor);
        directories.map(|directory| open_tasks(&directory.join("tasks"))).collect()
    }

    /// How many files [`Group::tasks`] has.
    pub fn joins(&self) -> usize {
        1 + usize::from(self.monitor.is_some())
    }

    /// The control group's schemata, line by line.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn schemata(&self) -> Result<Vec<String>> {
        let text = read_file(&self.directory.join("schemata"))?;
        Ok(text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect())
    }

    /// Writes lines to the control group's schemata.
    ///
    /// # Errors
    /// When the kernel refuses one: then none is in force.
    pub fn write(&self, lines: &[String]) -> Result<()> {
        write_schemata(&self.root, &self.directory, lines)
    }

    /// Removes what is the container's own. What is gone already is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove(&self) -> Result<()> {
        let own = Some(&self.directory).filter(|_| self.own);
        for directory in self.monitor.iter().chain(own) {
            match std::fs::remove_dir(directory) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    let what = format!("cannot remove the resctrl group {}", directory.display());
                    return Err(Error::refused(what).io("rmdir", &error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn open_tasks(path: &Path) -> Result<OwnedFd> {
    use std::os::unix::ffi::OsStrExt;
    let failed = |errno| Error::refused(format!("cannot open {}", path.display())).call("open", errno);
    let name = c_string(path.as_os_str().as_bytes()).map_err(failed)?;
    open(libc::AT_FDCWD, &name, libc::O_WRONLY | libc::O_CREAT, 0o600).map_err(failed)
}

#[cfg(test)]
mod tests;
