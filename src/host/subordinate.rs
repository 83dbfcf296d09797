//! Sub-ids of the calling user and the helpers that may map them: subuid(5), newuidmap(1), newgidmap(1).

use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::kernel::owned::c_string;
use crate::kernel::parent;

/// What an unprivileged user may map.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subordinate {
    /// The user's name in /etc/passwd.
    pub user_name: Option<String>,
    /// First id and count of each range of /etc/subuid, in its order.
    pub users: Vec<(u32, u32)>,
    /// The same of /etc/subgid.
    pub groups: Vec<(u32, u32)>,
    /// newuidmap(1).
    pub newuidmap: Helper,
    /// newgidmap(1).
    pub newgidmap: Helper,
}

/// A helper program with privilege.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Helper {
    /// It is in none of the trusted directories.
    #[default]
    Absent,
    /// It is there, with neither the set-user-id bit nor a file capability: it can't do its work.
    WithoutPrivilege(PathBuf),
    /// It can be used.
    Usable(PathBuf),
}

impl Helper {
    /// Its path if it can be used.
    ///
    /// # Errors
    /// What is missing, with what would help.
    pub fn path(&self, name: &str) -> Result<&Path> {
        match self {
            Helper::Usable(path) => Ok(path),
            Helper::Absent => Err(Error::refused(format!("{name} is not installed, so no sub-ids can be mapped"))
                .hint("it comes in the package uidmap or shadow-utils")),
            Helper::WithoutPrivilege(path) => {
                Err(Error::refused(format!("{} has no privilege, so no sub-ids can be mapped", path.display()))
                    .hint("it needs the set-user-id bit or a file capability; reinstall its package"))
            }
        }
    }
}

/// Where helpers are looked for: only root writes there. `PATH` is the caller's and is not asked. The one below /run is
/// where NixOS has them.
const TRUSTED: [&str; 5] = ["/usr/bin", "/bin", "/usr/sbin", "/usr/local/bin", "/run/wrappers/bin"];
/// The longest of these files read, in bytes; longer ones are refused.
const LONGEST: u64 = 16 << 20;

impl Subordinate {
    /// Reads /etc/passwd, /etc/subuid and /etc/subgid. Missing files give no ranges.
    ///
    /// The files are read and not the name service, which a static binary doesn't have: for ranges kept elsewhere the
    /// helpers have the last word anyway.
    ///
    /// # Errors
    /// When a file is there and can't be read.
    pub(super) fn read(uid: u32) -> Result<Self> {
        let user_name = user_name(&contents("/etc/passwd")?, uid);
        let users = ranges(&contents("/etc/subuid")?, uid, user_name.as_deref());
        let groups = ranges(&contents("/etc/subgid")?, uid, user_name.as_deref());
        Ok(Subordinate { user_name, users, groups, newuidmap: find("newuidmap")?, newgidmap: find("newgidmap")? })
    }
}

/// The file, or nothing if there is none.
fn contents(path: &str) -> Result<String> {
    let failed = |error: &std::io::Error| Error::refused(format!("cannot read {path}")).io("read", error);
    let file = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    let file = match file {
        Ok(file) => file,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(String::new()),
        Err(error) => return Err(failed(&error)),
    };
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    if bytes.len() as u64 > LONGEST {
        return Err(Error::refused(format!("{path} is longer than {LONGEST} bytes")));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// passwd(5): `name:password:uid:…`.
fn user_name(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// subuid(5): `name-or-uid:first:count`. A line that isn't so, or whose range leaves the 32 bits, is none of ours.
fn ranges(text: &str, uid: u32, name: Option<&str>) -> Vec<(u32, u32)> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let owner = fields.next()?;
            if Some(owner) != name && owner.parse() != Ok(uid) {
                return None;
            }
            let (first, count) = (fields.next()?.parse::<u32>().ok()?, fields.next()?.trim().parse::<u32>().ok()?);
            // The last id, u32::MAX, means "no id" to the kernel.
            (count > 0 && first.checked_add(count).is_some() && fields.next().is_none()).then_some((first, count))
        })
        .collect()
}

fn find(name: &str) -> Result<Helper> {
    let mut found = Helper::Absent;
    for directory in TRUSTED {
        let path = Path::new(directory).join(name);
        let failed =
            |call: &'static str, errno| Error::refused(format!("cannot check {}", path.display())).call(call, errno);
        let metadata = match std::fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::EACCES)) => continue,
            Err(error) => return Err(failed("stat", error.raw_os_error().unwrap_or(0))),
        };
        if !metadata.is_file() || metadata.mode() & 0o002 != 0 {
            continue;
        }
        let c_path = c_string(path.as_os_str().as_bytes()).map_err(|errno| failed("getxattr", errno))?;
        let set_user_id = metadata.uid() == 0 && metadata.mode() & libc::S_ISUID != 0;
        let capable = match parent::attribute_length(&c_path, c"security.capability") {
            Ok(_) => true,
            Err(libc::ENODATA | libc::ENOTSUP) => false,
            Err(errno) => return Err(failed("getxattr", errno)),
        };
        if set_user_id || capable {
            return Ok(Helper::Usable(path));
        }
        if found == Helper::Absent {
            found = Helper::WithoutPrivilege(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let passwd = "root:x:0:0::/root:/bin/sh\n#x:x:7:7\n:x:8:8\nann:x:1000:1000:Ann:/home/ann:/bin/sh\nbad\n";
        assert_eq!(user_name(passwd, 1000).as_deref(), Some("ann"));
        assert_eq!(user_name(passwd, 0).as_deref(), Some("root"));
        for uid in [7, 8, 9] {
            assert_eq!(user_name(passwd, uid), None);
        }
    }

    #[test]
    fn sub_ids_by_name_and_by_number() {
        let text = "ann:100000:65536\nbob:165536:65536\n1000:300000:10\nann:x:1\nann:1:0\nann:4294967295:1\nann:5:6:7\nann:9:1\n";
        assert_eq!(ranges(text, 1000, Some("ann")), [(100_000, 65536), (300_000, 10), (9, 1)]);
        assert_eq!(ranges(text, 1000, None), [(300_000, 10)]);
        assert_eq!(ranges(text, 2, Some("bo")), []);
    }

    #[test]
    fn helpers_say_what_is_missing() {
        assert!(Helper::Absent.path("newuidmap").unwrap_err().to_string().contains("not installed"));
        let weak = Helper::WithoutPrivilege("/usr/bin/newuidmap".into());
        assert!(weak.path("newuidmap").unwrap_err().to_string().contains("set-user-id"));
        // cat is everywhere and has no privilege.
        assert!(matches!(find("cat").unwrap(), Helper::WithoutPrivilege(_)));
        assert!(matches!(find("su").unwrap(), Helper::Usable(_)));
        assert_eq!(find("no-such-helper").unwrap(), Helper::Absent);
    }
}
