//! `linux.cgroupsPath` for the cgroupfs driver.
//!
//! As runc reads it: an absolute path starts at the mount point of each hierarchy; a relative one, and the
//! container's id when none is given, starts at this process's own group (cgroup v1) or beside it (cgroup v2, where
//! a group with processes cannot have limited children).

use super::layout::parent_group;
use crate::error::{Error, Origin, Result};

/// A checked cgroup path: no `..`, no NUL, no line break, never the root itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    absolute: bool,
    inner: String,
}

impl Path {
    /// Reads `cgroupsPath` as [`Path::new`]; the caller knows where it came from.
    ///
    /// # Errors
    /// As [`Path::new`], without origin.
    pub fn parse(cgroups_path: Option<&str>, id: &str) -> Result<Path> {
        let nowhere = Origin::fixed("");
        Path::new(cgroups_path.unwrap_or_default(), id, &nowhere).map_err(|error| Error { origin: None, ..error })
    }

    /// Reads `cgroupsPath`; `id` names the group when the path is empty.
    ///
    /// # Errors
    /// The path is not one a cgroup can have, or has the form `slice:prefix:name` of the systemd driver.
    pub fn new(cgroups_path: &str, id: &str, origin: &Origin) -> Result<Path> {
        let wrong = |why: &str| Err(Error::input(format!("cgroup path {cgroups_path:?} {why}")).at(origin));
        let text = if cgroups_path.is_empty() { id } else { cgroups_path };
        if text.contains(['\0', '\n']) {
            return wrong("contains a NUL or a line break");
        }
        if !text.starts_with('/') && text.matches(':').count() == 2 {
            return wrong("is one for systemd: use --systemd-cgroup, or a path with slashes");
        }
        let mut parts = Vec::new();
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." => return wrong("contains \"..\""),
                _ if part.len() > 255 => return wrong("has a component of more than 255 bytes"),
                _ => parts.push(part),
            }
        }
        if parts.is_empty() {
            return wrong("is the root of the hierarchy, which is not a container's");
        }
        Ok(Path { absolute: text.starts_with('/'), inner: parts.join("/") })
    }

    /// The group in a v1 hierarchy, relative to its mount point, when this process's group there is `own`.
    pub(super) fn in_legacy(&self, own: &str) -> String {
        self.below(own)
    }

    /// The group in the v2 hierarchy, relative to its mount point, when this process's group there is `own`.
    pub(super) fn in_unified(&self, own: &str) -> String {
        self.below(parent_group(own))
    }

    fn below(&self, base: &str) -> String {
        // A group outside the cgroup namespace reads "/../…"; the namespace's root is the nearest place we can use.
        let base = if base.split('/').any(|part| part == "..") { "" } else { base.trim_matches('/') };
        if self.absolute || base.is_empty() { self.inner.clone() } else { format!("{base}/{}", self.inner) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Result<Path> {
        Path::new(text, "c1", &Origin::fixed("/linux/cgroupsPath"))
    }

    #[test]
    fn absolute_relative_and_empty() {
        let own = "/user.slice/session-1.scope";
        assert_eq!(path("/a//b/./c/").unwrap().in_unified(own), "a/b/c");
        assert_eq!(path("a/b").unwrap().in_unified(own), "user.slice/a/b");
        assert_eq!(path("a/b").unwrap().in_legacy(own), "user.slice/session-1.scope/a/b");
        assert_eq!(path("").unwrap().in_unified("/"), "c1");
        assert_eq!(path("").unwrap().in_legacy("/../../x"), "c1");
    }

    #[test]
    fn what_could_leave_the_tree_is_refused() {
        for bad in ["/a/../b", "..", "/", "//./", "a\nb", "a\0b", "system.slice:kiste:c1"] {
            let error = path(bad).unwrap_err();
            assert_eq!(error.origin, Some(Origin::fixed("/linux/cgroupsPath")), "{bad:?}");
        }
    }
}
