//! The payload's process: what `process` of config.json, a process file or exec's options ask for.

use super::{Numbers, Placed};
use crate::error::Origin;

/// A process to run in the container: the first one, or exec's.
#[derive(Clone, Debug)]
pub struct Process {
    /// argv; never empty.
    pub args: Vec<String>,
    /// Environment, `NAME=value` each; the last of two equal names wins.
    pub env: Vec<String>,
    /// Absolute working directory in the container.
    pub cwd: String,
    /// Ids.
    pub user: User,
    /// Wants a terminal.
    pub terminal: bool,
    /// Terminal size: rows, columns.
    pub console_size: Option<(u16, u16)>,
    /// The five sets.
    pub capabilities: Capabilities,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privileges: bool,
    /// setrlimit(2) values.
    pub rlimits: Vec<Rlimit>,
    /// `/proc/self/oom_score_adj`; unset: untouched.
    pub oom_score_adj: Option<Placed<i32>>,
    /// AppArmor profile to change to on execve.
    pub apparmor_profile: Option<Placed<String>>,
    /// SELinux label of the process.
    pub selinux_label: Option<Placed<String>>,
    /// sched_setattr(2): policy number, flags, nice, priority, runtime, deadline, period.
    pub scheduler: Option<Placed<Scheduler>>,
    /// ioprio_set(2) value: class and priority in one.
    pub io_priority: Option<Placed<u16>>,
    /// Processors of a further process (`exec`): those the runtime itself runs on before it enters the container's control
    /// group, and those of the process once it is in. The first process has none of it.
    pub exec_cpu_affinity: (Option<Placed<Numbers>>, Option<Placed<Numbers>>),
    /// Where the process is described.
    pub origin: Origin,
}

/// sched_setattr(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scheduler {
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// −20 to 19.
    pub nice: i32,
    /// 0 to 99.
    pub priority: u32,
    /// Nanoseconds.
    pub runtime: u64,
    /// Nanoseconds.
    pub deadline: u64,
    /// Nanoseconds.
    pub period: u64,
}

/// The ids of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// User id inside the container.
    pub uid: u32,
    /// Group id inside the container.
    pub gid: u32,
    /// Supplementary groups, set exactly.
    pub additional_gids: Vec<u32>,
    /// umask(2).
    pub umask: Option<u32>,
}

/// capabilities(7): one bit per number, for each of the five sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Ceiling for file capabilities.
    pub bounding: u64,
    /// In force.
    pub effective: u64,
    /// May become effective.
    pub permitted: u64,
    /// Kept over execve of programs with inheritable file capabilities.
    pub inheritable: u64,
    /// Kept over execve of ordinary programs.
    pub ambient: u64,
}

/// One resource limit.
#[derive(Clone, Debug)]
pub struct Rlimit {
    /// `RLIMIT_*`.
    pub resource: u32,
    /// The word, for messages.
    pub name: String,
    /// Soft limit; `u64::MAX` is unlimited.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
    /// Its place in the input.
    pub origin: Origin,
}
