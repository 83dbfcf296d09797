//! What was typed, checked and typed: the structs every command receives. Nothing here has been looked up on the host;
//! paths are as given.

use super::words::Id;
use crate::checkpoint::Wishes;
use crate::intent::from_oci::Unknown;
use crate::log;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// The name kiste was called by, which decides how it presents itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalledAs {
    /// By its own or an unknown name.
    Kiste,
    /// By a name that starts with runc.
    Runc,
    /// By a name that starts with crun.
    Crun,
    /// By the name bwrap.
    Bwrap,
}

/// Who makes the container's cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupManager {
    /// kiste, in the cgroup file system.
    #[default]
    Cgroupfs,
    /// systemd, as a scope.
    Systemd,
    /// Nobody: the container stays in the caller's cgroup.
    Disabled,
}

/// `--rootless`: whether missing rights to cgroups are forgiven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rootless {
    /// Decide by who the caller is.
    #[default]
    Auto,
    /// Forgive.
    Yes,
    /// Do not.
    No,
}

/// What stands before the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    /// The name kiste was called by.
    pub called_as: CalledAs,
    /// `--root`: the directory of state, if not the default one of [`crate::state::default_root`].
    pub root: Option<PathBuf>,
    /// `--log`, `--log-format`, `--log-level`, `--debug`.
    pub log: log::Settings,
    /// `--cgroup-manager`, `--systemd-cgroup`.
    pub cgroup_manager: CgroupManager,
    /// `--rootless`.
    pub rootless: Rootless,
    /// `--strict`: what is made of unknown fields of a configuration.
    pub unknown: Unknown,
}

impl Global {
    /// Nothing said.
    pub fn plain(called_as: CalledAs) -> Self {
        Global {
            called_as,
            root: None,
            log: log::Settings::default(),
            cgroup_manager: CgroupManager::default(),
            rootless: Rootless::default(),
            unknown: Unknown::Reported,
        }
    }
}

/// The whole command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// What stands before the command.
    pub global: Global,
    /// The command.
    pub command: Command,
}

/// A command and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `create`; `detach` and `keep` have no meaning there.
    Create(RunArguments),
    /// `run`.
    Run(RunArguments),
    /// `start ID`.
    Start(Id),
    /// `exec`.
    Exec(Box<ExecArguments>),
    /// `state ID`.
    State(Id),
    /// `list`.
    List(ListArguments),
    /// `ps`.
    Ps(PsArguments),
    /// `kill`.
    Kill(KillArguments),
    /// `delete`.
    Delete(DeleteArguments),
    /// `pause ID`.
    Pause(Id),
    /// `resume ID`.
    Resume(Id),
    /// `update`.
    Update(Box<UpdateArguments>),
    /// `mounts`.
    Mounts(MountsArguments),
    /// `checkpoint`.
    Checkpoint(Box<CheckpointArguments>),
    /// `restore`.
    Restore(Box<RestoreArguments>),
    /// `events`.
    Events(EventsArguments),
    /// `bwrap`: its own words.
    Bwrap(Vec<OsString>),
    /// `explain`.
    Explain(ExplainArguments),
    /// `spec`.
    Spec(SpecArguments),
    /// `features`.
    Features,
    /// `--version`.
    Version,
}

impl Command {
    /// The exit status when the command itself fails: 255 for `exec`, so that callers can tell it from the status of
    /// what they wanted to run (runc's choice; crun says 1), else 1.
    pub fn failure_status(&self) -> u8 {
        if matches!(self, Command::Exec(_)) { 255 } else { 1 }
    }
}

/// Where a container comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A bundle: its directory (as given; `.` if not), and another configuration than its config.json.
    Bundle {
        /// `--bundle`.
        directory: PathBuf,
        /// `--config`: relative to the caller's directory.
        config: Option<PathBuf>,
    },
    /// The embedded default: the host's programs seen through a private copy-on-write root. No words mean a shell.
    Host {
        /// The words behind `--`.
        command: Vec<OsString>,
    },
}

/// The arguments of create, run and explain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunArguments {
    /// The id, made up if none was given.
    pub id: Id,
    /// Where the container comes from.
    pub source: Source,
    /// `--console-socket`.
    pub console_socket: Option<PathBuf>,
    /// `--pidfd-socket`.
    pub pidfd_socket: Option<PathBuf>,
    /// `--pid-file`.
    pub pid_file: Option<PathBuf>,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// `--no-new-keyring`.
    pub no_new_keyring: bool,
    /// `--preserve-fds`: how many file descriptors from 3 upwards, besides $LISTEN_FDS.
    pub preserve_fds: u32,
    /// `--detach`.
    pub detach: bool,
    /// `--keep`.
    pub keep: bool,
    /// `--timings`.
    pub timings: Option<PathBuf>,
}

/// Text or JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Text or a table.
    #[default]
    Text,
    /// JSON.
    Json,
}

/// The arguments of explain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainArguments {
    /// What run would be given.
    pub run: RunArguments,
    /// `--format`.
    pub format: Format,
    /// `--facts`: the machine to plan for.
    pub facts: Option<PathBuf>,
}

/// The arguments of exec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecArguments {
    /// The container.
    pub id: Id,
    /// The words behind the id; not empty unless `process` is given.
    pub command: Vec<OsString>,
    /// `--process`: everything but the sockets, the pid file, cgroup and detaching comes from this file.
    pub process: Option<PathBuf>,
    /// `--console-socket`.
    pub console_socket: Option<PathBuf>,
    /// `--pidfd-socket`.
    pub pidfd_socket: Option<PathBuf>,
    /// `--pid-file`.
    pub pid_file: Option<PathBuf>,
    /// `--cwd`.
    pub cwd: Option<PathBuf>,
    /// `--env`: NAME=VALUE, in order.
    pub environment: Vec<OsString>,
    /// `--tty`.
    pub terminal: bool,
    /// `--user`: uid and gid.
    pub user: Option<(u32, Option<u32>)>,
    /// `--additional-gids`.
    pub additional_gids: Vec<u32>,
    /// `--detach`.
    pub detach: bool,
    /// `--process-label`: an SELinux label.
    pub selinux_label: Option<String>,
    /// `--apparmor`: a profile.
    pub apparmor_profile: Option<String>,
    /// `--no-new-privs`.
    pub no_new_privileges: bool,
    /// `--cap`: added to the container's, or instead of them when called as crun ([`Global::called_as`]).
    pub capabilities: Vec<caps::Capability>,
    /// `--preserve-fds`: how many file descriptors from 3 upwards, besides $LISTEN_FDS.
    pub preserve_fds: u32,
    /// `--cgroup`: controllers (v1, comma-separated) and a path below the container's cgroup.
    pub cgroups: Vec<(Option<String>, PathBuf)>,
    /// `--ignore-paused`.
    pub ignore_paused: bool,
    /// `--explain`, in the form of `--format`: print the plan and do nothing.
    pub explain: Option<Format>,
}

/// Which containers kill and delete mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One.
    One(Id),
    /// `--regex`: all whose id the expression is found in.
    Matching(super::pattern::Pattern),
}

/// The arguments of kill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KillArguments {
    /// Which containers.
    pub target: Target,
    /// The signal's number; 0 only asks.
    pub signal: i32,
    /// `--all`: every process; a stopped container is no error.
    pub all: bool,
}

/// The arguments of delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteArguments {
    /// Which containers.
    pub target: Target,
    /// `--force`: kill first; a missing container is no error.
    pub force: bool,
}

/// The arguments of list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListArguments {
    /// `--format`.
    pub format: Format,
    /// `--quiet`: ids only.
    pub quiet: bool,
}

/// The arguments of ps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PsArguments {
    /// The container.
    pub id: Id,
    /// `--format`.
    pub format: Format,
    /// Options for ps(1); `-ef` if none were given.
    pub ps_options: Vec<OsString>,
}

/// What mounts does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountsAction {
    /// `mounts add`.
    Add,
    /// `mounts remove`.
    Remove,
}

/// The arguments of mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountsArguments {
    /// What to do.
    pub action: MountsAction,
    /// The container.
    pub id: Id,
    /// The list of mounts.
    pub file: PathBuf,
}

/// The arguments of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventsArguments {
    /// The container.
    pub id: Id,
    /// `--interval`.
    pub interval: Duration,
    /// `--stats`: once.
    pub once: bool,
}

/// The arguments of checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointArguments {
    /// The container.
    pub id: Id,
    /// `--image-path`.
    pub image_path: PathBuf,
    /// `--work-path`.
    pub work_path: Option<PathBuf>,
    /// `--parent-path`: relative to the images.
    pub parent_path: Option<PathBuf>,
    /// `--pre-dump`.
    pub pre_dump: bool,
    /// `--leave-running`.
    pub leave_running: bool,
    /// `--status-fd`.
    pub status_fd: Option<i32>,
    /// The other options.
    pub wishes: Wishes,
}

/// The arguments of restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreArguments {
    /// The new container.
    pub id: Id,
    /// `--bundle`.
    pub bundle: PathBuf,
    /// `--image-path`.
    pub image_path: PathBuf,
    /// `--work-path`.
    pub work_path: Option<PathBuf>,
    /// `--console-socket`.
    pub console_socket: Option<PathBuf>,
    /// `--pid-file`.
    pub pid_file: Option<PathBuf>,
    /// `--detach`.
    pub detach: bool,
    /// `--lsm-profile`: `apparmor:NAME` or `selinux:LABEL`.
    pub lsm_profile: Option<String>,
    /// `--lsm-mount-context`.
    pub lsm_mount_context: Option<String>,
    /// The other options.
    pub wishes: Wishes,
}

/// The arguments of spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecArguments {
    /// `--bundle`.
    pub bundle: PathBuf,
    /// `--file`.
    pub file: Option<PathBuf>,
    /// `--rootless`.
    pub rootless: bool,
}

/// Where update's limits come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limits {
    /// `--resources FILE`.
    File(PathBuf),
    /// `--resources -`.
    StandardInput,
    /// The other options.
    Options(Box<LimitOptions>),
}

/// The arguments of update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateArguments {
    /// The container.
    pub id: Id,
    /// Where the limits come from.
    pub limits: Limits,
    /// `--l3-cache-schema`.
    pub l3_cache_schema: Option<String>,
    /// `--mem-bw-schema`.
    pub memory_bandwidth_schema: Option<String>,
}

/// Limits given as options; what is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitOptions {
    /// `--blkio-weight`, 10 to 1000.
    pub block_weight: Option<u16>,
    /// `--cpu-period`, microseconds.
    pub cpu_period: Option<u64>,
    /// `--cpu-quota`, microseconds; negative is no limit.
    pub cpu_quota: Option<i64>,
    /// `--cpu-burst`, microseconds.
    pub cpu_burst: Option<u64>,
    /// `--cpu-share`.
    pub cpu_shares: Option<u64>,
    /// `--cpu-rt-period`, microseconds.
    pub cpu_realtime_period: Option<u64>,
    /// `--cpu-rt-runtime`, microseconds.
    pub cpu_realtime_runtime: Option<i64>,
    /// `--cpu-idle`.
    pub cpu_idle: Option<bool>,
    /// `--cpuset-cpus`.
    pub cpuset_cpus: Option<String>,
    /// `--cpuset-mems`.
    pub cpuset_mems: Option<String>,
    /// `--memory`, bytes; -1 is no limit.
    pub memory: Option<i64>,
    /// `--memory-reservation`, bytes; -1 is no limit.
    pub memory_reservation: Option<i64>,
    /// `--memory-swap`, bytes of memory and swap together; -1 is no limit.
    pub memory_swap: Option<i64>,
    /// `--pids-limit`; -1 is no limit.
    pub pids_limit: Option<i64>,
}
