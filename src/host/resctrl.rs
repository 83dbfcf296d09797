//! Where the resource control file system is mounted (resctrl.rst).

use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The file system for classes of service and monitoring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceControl {
    /// Where it is mounted in the runtime's mount namespace; none: it isn't.
    pub root: Option<PathBuf>,
}

impl ResourceControl {
    /// Reads the mount table.
    ///
    /// # Errors
    /// When it can't be read.
    pub(super) fn read() -> Result<Self> {
        let table = std::fs::read("/proc/self/mountinfo")
            .map_err(|error| Error::refused("cannot read the mount table").io("read", &error))?;
        Ok(ResourceControl { root: mounted(&table) })
    }
}

/// The last mount of type resctrl (proc_pid_mountinfo(5)): root, mount point; behind the dash the type.
fn mounted(table: &[u8]) -> Option<PathBuf> {
    let point = |line: &[u8]| {
        let mut fields = line.split(|byte| *byte == b' ');
        let (root, point) = (fields.nth(3)?, fields.next()?);
        let mut rest = fields.skip_while(|field| *field != b"-");
        (rest.nth(1)? == b"resctrl" && root == b"/").then(|| plain(point))
    };
    table.split(|byte| *byte == b'\n').rev().find_map(point)
}

/// A path of the table as it is: `\040` is a space.
fn plain(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, others)) = rest.split_first() {
        let digits =
            others.get(..3).filter(|digits| *first == b'\\' && digits.iter().all(|d| (b'0'..b'8').contains(d)));
        match digits {
            Some(digits) => {
                bytes.push(digits.iter().fold(0u8, |byte, digit| byte.wrapping_mul(8).wrapping_add(digit - b'0')));
                rest = &others[3..];
            }
            None => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_is_found_by_its_type() {
        let table = b"25 30 0:23 / /sys rw shared:7 - sysfs sysfs rw\n\
            40 25 0:35 / /sys/fs/resctrl rw,relatime shared:12 master:3 - resctrl resctrl rw\n\
            41 25 0:35 /gold /mnt rw - resctrl resctrl rw\n42 25 0:36 / /x rw - tmpfs resctrl rw\n";
        assert_eq!(mounted(table), Some("/sys/fs/resctrl".into()));
        let odd = b"40 25 0:35 / /a\\040b\\134 rw - resctrl none rw\n";
        assert_eq!(mounted(odd), Some("/a b\\".into()));
        assert_eq!(mounted(b"25 30 0:23 / /sys/fs/resctrl rw - sysfs sysfs rw\n\n"), None);
    }
}
