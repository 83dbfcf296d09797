//! Switching controllers on in the parents (v2), and filling an empty cpuset (v1).

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::files::{self, Failure};
use super::plan::HierarchyPlan;

/// Switches `wanted` on in every parent of the group, from the top, in one write a parent and only where something
/// is off; an empty list means all there are. Says whether anything was changed.
pub(super) fn enable(hierarchy: &HierarchyPlan, wanted: &[&'static str]) -> std::result::Result<bool, Failure> {
    let mut changed = false;
    let mut directory = hierarchy.mount_point.clone();
    for part in hierarchy.group.split('/') {
        changed |= enable_in(&directory, wanted)?;
        directory.push(part);
    }
    Ok(changed)
}

fn enable_in(directory: &Path, wanted: &[&'static str]) -> std::result::Result<bool, Failure> {
    let open = files::open_directory(directory)?;
    let read = |file: &'static str| {
        files::read(open.as_fd(), file)
            .map_err(|errno| Failure::new(format!("cannot read {}/{file}", directory.display()), "read", errno))
    };
    let on = read("cgroup.subtree_control")?;
    let is_on = |name: &str| on.split_whitespace().any(|have| have == name);
    let available;
    let mut missing: Vec<&str> = wanted.iter().copied().filter(|name| !is_on(name)).collect();
    if wanted.is_empty() || !missing.is_empty() {
        available = read("cgroup.controllers")?;
        let offers = |name: &str| available.split_whitespace().any(|have| have == name);
        if let Some(name) = missing.iter().find(|name| !offers(name)) {
            let what = format!("the {name} controller is not available in {}", directory.display());
            let offered = if available.trim().is_empty() { "no controller" } else { available.trim() };
            let hint = format!("it offers {offered}; a v1 hierarchy or a missing delegation may hold the others");
            return Err(Failure { what, call: "", errno: libc::ENOENT, hint: Some(hint) });
        }
        if wanted.is_empty() {
            missing = available.split_whitespace().filter(|name| !is_on(name)).collect();
        }
    }
    if missing.is_empty() {
        return Ok(false);
    }
    let value = missing.iter().map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ");
    files::write(open.as_fd(), "cgroup.subtree_control", &value).map(|()| true).map_err(|errno| Failure {
        what: format!("cannot switch on {} in {}", missing.join(" "), directory.display()),
        call: "write",
        errno,
        hint: (errno == libc::EBUSY)
            .then(|| "processes live in this group: a parent of limited groups has none".into()),
    })
}

/// Gives a v1 cpuset, and its parents, the processors and memory nodes of the parent where it has none: the kernel
/// lets no process into an empty one (cgroup-v1/cpusets.rst). A `fresh` group is known to be empty.
pub(super) fn initialise_cpuset(mount_point: &Path, group: &str, fresh: bool) -> std::result::Result<(), Failure> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let mut path = PathBuf::from(mount_point);
        let mut value = files::read_value(&path.join(file))?;
        let mut parts = group.split('/').peekable();
        while let Some(part) = parts.next() {
            path.push(part);
            let file = path.join(file);
            let last = parts.peek().is_none();
            let own = if fresh && last { String::new() } else { files::read_value(&file)? };
            if own.is_empty() {
                files::write_value(&file, &value)?;
            } else {
                value = own;
            }
        }
    }
    Ok(())
}
