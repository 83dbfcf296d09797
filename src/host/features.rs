//! What differs between kernels, probed and never guessed from a version number.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::kernel::owned::open;
use crate::kernel::{parent, raw};

/// Whether the kernel has a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// It is there.
    Present,
    /// The call failed with this errno: `ENOSYS`, or `EPERM` from a seccomp filter around this process.
    Missing(i32),
}

/// Security modules that labels are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecurityModules {
    /// AppArmor is in force.
    pub apparmor: bool,
    /// SELinux is in force (selinuxfs is mounted).
    pub selinux: bool,
}

impl SecurityModules {
    /// Asks the kernel. A missing file means that the module is absent.
    ///
    /// # Errors
    /// When a file is there and can't be read: that is no answer.
    pub(super) fn read() -> Result<Self> {
        let path = "/sys/module/apparmor/parameters/enabled";
        let apparmor = match std::fs::read(path) {
            Ok(bytes) => bytes.first() == Some(&b'Y'),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => return Err(Error::refused("cannot find out whether AppArmor is enabled").io("read", &error)),
        };
        let failed = |call: &'static str| {
            move |errno| Error::refused("cannot find out whether SELinux is enabled").call(call, errno)
        };
        let selinux = match open(libc::AT_FDCWD, c"/sys/fs/selinux", libc::O_PATH | libc::O_DIRECTORY, 0) {
            Ok(directory) => is_selinuxfs(&directory).map_err(failed("fstatfs"))?,
            Err(libc::ENOENT) => false,
            Err(errno) => return Err(failed("open")(errno)),
        };
        Ok(SecurityModules { apparmor, selinux })
    }
}

fn is_selinuxfs(directory: &std::os::fd::OwnedFd) -> raw::Raw<bool> {
    use std::os::fd::AsRawFd;
    // SELINUX_MAGIC of linux/magic.h.
    raw::file_system_magic(directory.as_raw_fd()).map(|magic| magic == 0xf97c_ff8c)
}

/// System calls and interfaces that kiste stands on or makes use of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelFeatures {
    /// clone3(2).
    pub clone3: Feature,
    /// openat2(2).
    pub openat2: Feature,
    /// open_tree(2).
    pub open_tree: Feature,
    /// move_mount(2).
    pub move_mount: Feature,
    /// mount_setattr(2).
    pub mount_setattr: Feature,
    /// close_range(2).
    pub close_range: Feature,
    /// pidfd_open(2).
    pub pidfd_open: Feature,
    /// Landlock's ABI; 0 when it is not built in or not switched on.
    pub landlock_abi: u32,
    /// `vm.memfd_noexec` of this pid namespace: 2 forbids executable memfds. Absent before Linux 6.3.
    pub memfd_noexec: Option<u8>,
}

impl KernelFeatures {
    pub(super) fn probe() -> Result<Self> {
        let feature = |number| match parent::probe(number) {
            Ok(()) => Feature::Present,
            Err(errno) => Feature::Missing(errno),
        };
        let landlock_abi = match parent::landlock_abi() {
            Ok(abi) => abi as u32,
            // EPERM: an outer seccomp filter; then it can't be used either.
            Err(libc::ENOSYS | libc::EOPNOTSUPP | libc::EPERM) => 0,
            Err(errno) => {
                return Err(Error::refused("cannot find Landlock's ABI").call("landlock_create_ruleset", errno));
            }
        };
        Ok(KernelFeatures {
            clone3: feature(libc::SYS_clone3),
            openat2: feature(libc::SYS_openat2),
            open_tree: feature(libc::SYS_open_tree),
            // It asks for CAP_SYS_ADMIN before it looks at its arguments: to a plain user, EPERM says nothing.
            move_mount: match feature(libc::SYS_move_mount) {
                Feature::Missing(libc::EPERM) if !nix::unistd::geteuid().is_root() => Feature::Present,
                answer => answer,
            },
            mount_setattr: feature(libc::SYS_mount_setattr),
            close_range: feature(libc::SYS_close_range),
            pidfd_open: feature(libc::SYS_pidfd_open),
            landlock_abi,
            memfd_noexec: memfd_noexec()?,
        })
    }

    /// One clear error for what kiste can't do without, before anything is made.
    ///
    /// # Errors
    /// `Kind::Refused` naming the first missing call.
    pub fn check_floor(&self) -> Result<()> {
        let calls = [
            ("clone3", self.clone3),
            ("openat2", self.openat2),
            ("open_tree", self.open_tree),
            ("move_mount", self.move_mount),
            ("mount_setattr", self.mount_setattr),
            ("close_range", self.close_range),
            ("pidfd_open", self.pidfd_open),
        ];
        for (call, feature) in calls {
            if let Feature::Missing(errno) = feature {
                return Err(Error::refused("this kernel lacks a system call that kiste needs").call(call, errno).hint(
                    "kiste needs Linux 5.14; on a newer one, a seccomp filter around this process forbids the call: is \
                     kiste inside another container with an old seccomp profile?",
                ));
            }
        }
        Ok(())
    }
}

fn memfd_noexec() -> Result<Option<u8>> {
    let path = "/proc/sys/vm/memfd_noexec";
    match std::fs::read_to_string(path) {
        Ok(text) => match text.trim().parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(Error::refused(format!("{path} holds no number"))),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::refused(format!("cannot read {path}")).io("read", &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_has_what_kiste_needs() {
        let mut features = KernelFeatures::probe().unwrap();
        features.check_floor().unwrap();
        features.openat2 = Feature::Missing(libc::ENOSYS);
        let text = features.check_floor().unwrap_err().to_string();
        assert!(text.contains("openat2: function not implemented") && text.contains("seccomp filter"), "{text}");
    }
}
