//! From what was typed to a request for lowering: the bundle or the embedded default, the facts, the descriptors that are
//! passed on. What `create`, `run` and `explain` share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::arguments::{CgroupManager, Global, RunArguments, Source};
use crate::cgroup::Layout;
use crate::error::{Error, Origin, Result};
use crate::host::{Facts, Helper, IdRange, Needs, Subordinate};
use crate::intent::automatic;
use crate::intent::from_oci::{self, Unknown};
use crate::intent::host_view::{HostView, host_view};
use crate::intent::{Intent, NamespaceKind, RootKind};
pub(super) use crate::launch::own_image::protect;
use crate::lowering::{CgroupDriver, Console, HostEntry, HostEntryKind, Machine, Request};

/// The longest configuration, in bytes (INV-20).
const LONGEST_CONFIG: u64 = 16 << 20;

/// Everything that was read before anything is made.
pub(super) struct Prepared {
    /// What is wanted.
    pub intent: Intent,
    /// As it is stored.
    pub config: Vec<u8>,
    /// The bundle, absolute.
    pub bundle: PathBuf,
    /// The machine.
    pub facts: Facts,
    /// Its control groups.
    pub layout: Layout,
    /// What the host's root has, for the embedded default.
    pub host_entries: Vec<HostEntry>,
    /// Where mount namespaces are pinned.
    pub pinned: Vec<PathBuf>,
    /// Sources of binds with `copy-symlink` that are symlinks, and what they say.
    pub symlinks: BTreeMap<PathBuf, String>,
    /// Own hard limits.
    pub hard_limits: BTreeMap<u32, u64>,
}

/// Reads the bundle, or makes up the embedded default, and the facts it needs. A machine is given by `explain --facts`:
/// then nothing of this one is read.
///
/// # Errors
/// What is wrong with the input, with its place.
pub(super) fn prepare(global: &Global, arguments: &RunArguments, machine: Option<Machine>) -> Result<Prepared> {
    let facts = machine.as_ref().map(|machine| machine.facts.clone());
    let (mut intent, config, bundle, mut facts) = match &arguments.source {
        Source::Bundle { directory, config } => {
            let (bundle, config) = read_bundle(directory, config.as_deref())?;
            let mut intent = from_oci::read_config(&config, &bundle, global.unknown)?;
            receiver(&mut intent)?;
            let needs = needs(&intent);
            let facts = facts.map_or_else(|| Facts::for_start(&needs), Ok)?;
            let (config, facts) = own_user_namespace(&mut intent, config, facts)?;
            (intent, config, bundle, facts)
        }
        Source::Host { command } => {
            let facts = facts.map_or_else(|| Facts::for_start(&Needs { subordinate: true, ..Needs::default() }), Ok)?;
            let wanted = embedded(command, &facts)?;
            let config = to_config(&wanted)?;
            (host_view(wanted)?, config, PathBuf::from("/"), facts)
        }
    };
    refuse_unsupported(&intent)?;
    for warning in std::mem::take(&mut intent.warnings) {
        crate::log::warning(&warning);
    }
    if let Some(Machine { cgroups: layout, host_entries, pinned, hard_limits, .. }) = machine {
        let symlinks = BTreeMap::new();
        return Ok(Prepared { intent, config, bundle, facts, layout, host_entries, pinned, symlinks, hard_limits });
    }
    let unprivileged = facts.capabilities & (1 << 21) == 0;
    facts.add(&Needs { subordinate: unprivileged && intent.makes(NamespaceKind::User), ..Needs::default() })?;
    if intent.root.kind == RootKind::Directory {
        check_root(&intent)?;
    }
    let host_entries = if intent.root.kind == RootKind::HostView { host_entries()? } else { Vec::new() };
    let hard_limits = hard_limits(&intent);
    let pinned = if may_hold_pins(&intent) { pinned()? } else { Vec::new() };
    let (symlinks, layout) = (symlinks(&intent)?, Layout::read()?);
    Ok(Prepared { intent, config, bundle, facts, layout, host_entries, pinned, symlinks, hard_limits })
}

/// This machine with everything that any plan could depend on, for `explain --facts`.
///
/// # Errors
/// When it can't be read.
pub(super) fn this_machine() -> Result<Machine> {
    // RLIMIT_CPU to RLIMIT_RTTIME (getrlimit(2)).
    let limits = (0..16).filter_map(|resource| Some((resource, crate::host::hard_limit(resource)?)));
    Ok(Machine {
        facts: Facts::for_start(&Needs::ALL)?,
        cgroups: Layout::read()?,
        host_entries: host_entries()?,
        pinned: pinned()?,
        hard_limits: limits.filter(|(_, limit)| *limit != u64::MAX).collect(),
    })
}

fn needs(intent: &Intent) -> Needs {
    let labelled =
        |process: &crate::intent::Process| process.apparmor_profile.is_some() || process.selinux_label.is_some();
    let security_modules = intent.mount_label.is_some() || intent.process.as_ref().is_some_and(labelled);
    Needs { security_modules, resource_control: intent.intel_rdt.is_some(), ..Needs::default() }
}

/// The user namespace of a plain user whose configuration has none, and the configuration to store.
fn own_user_namespace(intent: &mut Intent, config: Vec<u8>, mut facts: Facts) -> Result<(Vec<u8>, Facts)> {
    if !automatic::is_wanted(intent, facts.uid, facts.capabilities) {
        return Ok((config, facts));
    }
    facts.add(&Needs { subordinate: true, ..Needs::default() })?;
    let (users, groups) = helpers(&facts).and(facts.subordinate.as_ref()).map_or_else(Default::default, |sub| {
        (existing(&sub.users, &facts.uid_map), existing(&sub.groups, &facts.gid_map))
    });
    let (uid, gid, capabilities) = (facts.uid, facts.gid, facts.capabilities);
    let caller = automatic::Caller { uid, gid, capabilities, sub_users: users, sub_groups: groups };
    if let Some(notice) = automatic::user_namespace(intent, &caller) {
        crate::log::debug(&notice);
    }
    let stored = automatic::written_out(intent, &config)
        .ok_or_else(|| Error::refused("the configuration cannot be stored with its automatic user namespace"))?;
    Ok((stored, facts))
}

/// Ranges whose ids exist here: in a user namespace the files may be the host's.
fn existing(ranges: &[(u32, u32)], map: &[IdRange]) -> Vec<(u32, u32)> {
    let exists = |(first, count): &(u32, u32)| {
        let inside = |range: &IdRange| {
            first.checked_sub(range.inside).is_some_and(|at| at <= range.count && *count <= range.count - at)
        };
        map.iter().any(inside)
    };
    ranges.iter().copied().filter(exists).collect()
}

fn read_bundle(directory: &Path, config: Option<&Path>) -> Result<(PathBuf, Vec<u8>)> {
    let failed = |path: &Path, call: &'static str| {
        let what = format!("cannot read the bundle {}", path.display());
        move |error: std::io::Error| Error::input(what).io(call, &error)
    };
    let bundle = std::path::absolute(directory).map_err(failed(directory, "getcwd"))?;
    let bundle = std::fs::canonicalize(&bundle).map_err(failed(directory, "realpath"))?;
    let path = config.map_or_else(|| bundle.join("config.json"), Path::to_owned);
    Ok((bundle, read_config(&path)?))
}

/// The seccomp agent that crun's callers name in the environment, where the configuration names none.
fn receiver(intent: &mut Intent) -> Result<()> {
    const NAME: &str = "RUN_OCI_SECCOMP_RECEIVER";
    let Some(profile) = intent.seccomp.as_mut().filter(|profile| profile.listener_path.is_none()) else {
        return Ok(());
    };
    match std::env::var(NAME) {
        Ok(path) if path.starts_with('/') => profile.listener_path = Some(path),
        Ok(path) => return Err(Error::input(format!("{path:?} is no absolute path")).at(&Origin::fixed(NAME))),
        Err(_) => {}
    }
    Ok(())
}

/// A configuration of at most 16 MiB.
///
/// # Errors
/// When it can't be read, is no file or is longer.
pub(super) fn read_config(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read;
    let failed = |call: &'static str| {
        let what = format!("cannot read {}", path.display());
        move |error: std::io::Error| Error::input(what).io(call, &error)
    };
    // Without waiting: a FIFO nobody writes to would hold us for ever.
    let mut options = std::fs::File::options();
    let options = std::os::unix::fs::OpenOptionsExt::custom_flags(options.read(true), libc::O_NONBLOCK);
    let file = options.open(path).map_err(failed("open"))?;
    let metadata = file.metadata().map_err(failed("fstat"))?;
    if !metadata.is_file() {
        return Err(Error::input(format!("{} is no regular file", path.display())));
    }
    let length = metadata.len();
    let mut bytes = Vec::with_capacity(length.min(LONGEST_CONFIG) as usize + 1);
    file.take(LONGEST_CONFIG + 1).read_to_end(&mut bytes).map_err(failed("read"))?;
    if bytes.len() as u64 > LONGEST_CONFIG {
        return Err(Error::input(format!("{} is longer than 16 MiB", path.display())));
    }
    Ok(bytes)
}

/// The root must be a directory: told before anything is made.
fn check_root(intent: &Intent) -> Result<()> {
    let path = &intent.root.path;
    let error = match std::fs::metadata(path) {
        Ok(data) if data.is_dir() => return Ok(()),
        Ok(_) => Error::input(format!("the root {} is no directory", path.display())),
        Err(error) => Error::input(format!("cannot find the root {}", path.display())).io("stat", &error),
    };
    Err(error.at(&intent.root.origin.child("path")))
}

fn refuse_unsupported(intent: &Intent) -> Result<()> {
    match intent.unsupported.first() {
        Some(origin) => Err(Error::input("this version of kiste can't give that").at(origin)),
        None => Ok(()),
    }
}

/// Own hard limits, for a container that wants more in a user namespace.
fn hard_limits(intent: &Intent) -> BTreeMap<u32, u64> {
    let process = intent.process.iter().filter(|_| intent.makes(NamespaceKind::User));
    let limits = process.flat_map(|process| &process.rlimits);
    limits.filter_map(|limit| Some((limit.resource, crate::host::hard_limit(limit.resource)?))).collect()
}

/// The embedded default, for this user on this machine.
fn embedded(command: &[std::ffi::OsString], facts: &Facts) -> Result<HostView> {
    let text = |word: &std::ffi::OsString| {
        word.to_str().map(str::to_owned).ok_or_else(|| Error::input("a word of the command is not UTF-8"))
    };
    let args: Vec<String> = command.iter().map(text).collect::<Result<_>>()?;
    let privileged = facts.capabilities & (1 << 7) != 0;
    let usable = |sub: &&Subordinate| {
        privileged || matches!((&sub.newuidmap, &sub.newgidmap), (Helper::Usable(_), Helper::Usable(_)))
    };
    let sub = facts.subordinate.as_ref().filter(usable);
    Ok(HostView {
        args: Some(args).filter(|args| !args.is_empty()),
        terminal: std::io::IsTerminal::is_terminal(&std::io::stdin())
            && std::io::IsTerminal::is_terminal(&std::io::stdout()),
        uid: facts.uid,
        gid: facts.gid,
        first_user_namespace: !facts.in_user_namespace,
        sub_users: sub.and_then(|sub| existing(&sub.users, &facts.uid_map).first().copied()),
        sub_groups: sub.and_then(|sub| existing(&sub.groups, &facts.gid_map).first().copied()),
        term: std::env::var("TERM").ok(),
        home: None,
        shown: Vec::new(),
        seccomp: None,
    })
}

/// How a container without bundle is stored: the wishes it was made from, which make the same intent again.
fn to_config(wanted: &HostView) -> Result<Vec<u8>> {
    serde_json::to_vec(&serde_json::json!({ "hostView": wanted }))
        .map_err(|error| Error::refused(format!("the embedded container cannot be stored: {error}")))
}

/// The intent of a stored configuration.
///
/// # Errors
/// When it is damaged.
pub(super) fn stored_intent(config: &[u8], bundle: &Path) -> Result<Intent> {
    #[derive(serde::Deserialize)]
    struct Stored {
        #[serde(rename = "hostView")]
        wanted: HostView,
    }
    if config.starts_with(b"{\"hostView\":") {
        let stored: Stored = serde_json::from_slice(config)
            .map_err(|error| Error::refused(format!("the stored configuration is damaged: {error}")))?;
        return host_view(stored.wanted);
    }
    from_oci::read_config(config, bundle, Unknown::Stored)
}

/// A stored container, prepared again: for `exec` and for the words of a failed `start`.
///
/// # Errors
/// When the stored configuration is damaged.
pub(super) fn again(config: &[u8], bundle: &Path) -> Result<Prepared> {
    let mut intent = stored_intent(config, bundle)?;
    receiver(&mut intent)?;
    let facts = Facts::for_start(&needs(&intent))?;
    Ok(Prepared {
        intent,
        config: config.to_vec(),
        bundle: bundle.to_owned(),
        facts,
        layout: Layout::read()?,
        host_entries: Vec::new(),
        pinned: Vec::new(),
        symlinks: BTreeMap::new(),
        hard_limits: BTreeMap::new(),
    })
}

/// Whether a bind takes a tree in which programs pin mount namespaces: only then the mount table is worth reading.
fn may_hold_pins(intent: &Intent) -> bool {
    let recursive = |mount: &&crate::intent::Mount| mount.options.bind == Some(crate::intent::Bind::Recursive);
    intent
        .mounts
        .iter()
        .filter(recursive)
        .filter_map(|mount| mount.source.as_deref())
        .any(|source| source == "/" || source == "/var" || source.starts_with("/run") || source.starts_with("/var/run"))
}

/// Mount points of pinned mount namespaces: nsfs, whose root reads `mnt:[…]` (proc_pid_mountinfo(5)).
fn pinned() -> Result<Vec<PathBuf>> {
    let text = std::fs::read_to_string("/proc/self/mountinfo")
        .map_err(|error| Error::refused("cannot read the mount table").io("read", &error))?;
    let point = |line: &str| {
        let mut fields = line.split(' ').skip(3);
        fields.next().filter(|root| root.starts_with("mnt:["))?;
        fields.next().map(PathBuf::from)
    };
    Ok(text.lines().filter_map(point).collect())
}

/// What binds with `copy-symlink` have as source, where that is a symlink.
fn symlinks(intent: &Intent) -> Result<BTreeMap<PathBuf, String>> {
    let mut found = BTreeMap::new();
    for mount in intent.mounts.iter().filter(|mount| mount.options.copy_symlink) {
        let Some(source) = mount.source.as_deref() else { continue };
        let failed = |call: &'static str| {
            let what = format!("cannot read the symlink {source}");
            move |error: std::io::Error| Error::refused(what).io(call, &error).at(&mount.origin)
        };
        if std::fs::symlink_metadata(source).is_ok_and(|data| data.is_symlink()) {
            let target = std::fs::read_link(source).map_err(failed("readlink"))?;
            let target = target.into_os_string().into_string();
            let target = target.map_err(|_| Error::input("the symlink's target is not UTF-8").at(&mount.origin))?;
            found.insert(source.into(), target);
        }
    }
    Ok(found)
}

/// What of the host's root the embedded default shows: programs and their data, nobody's home.
fn host_entries() -> Result<Vec<HostEntry>> {
    const SHOWN: &[&str] =
        &["bin", "etc", "lib", "lib32", "lib64", "libx32", "nix", "opt", "sbin", "srv", "usr", "var"];
    let failed = |error: std::io::Error| Error::refused("cannot read the host's root").io("readdir", &error);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").map_err(failed)?;
    let mut entries = Vec::new();
    for name in SHOWN {
        let path = format!("/{name}");
        let Ok(data) = std::fs::symlink_metadata(&path) else { continue };
        let kind = if data.is_symlink() {
            let target = std::fs::read_link(&path).map_err(failed)?;
            HostEntryKind::Link(target.to_string_lossy().into_owned())
        } else if data.is_dir() {
            let below = format!("{path}/");
            let nested = mounts.lines().filter_map(|line| line.split(' ').nth(4)).any(|at| at.starts_with(&below));
            if nested { HostEntryKind::ReadOnly } else { HostEntryKind::Layered }
        } else {
            continue;
        };
        entries.push(HostEntry { name: (*name).to_owned(), kind });
    }
    Ok(entries)
}

/// Descriptors the payload inherits beside 0, 1, 2: LISTEN_FDS and `--preserve-fds`, and what the payload is told of them.
///
/// # Errors
/// When one of them is not open: a descriptor of our own would take its number.
pub(super) fn preserved(preserve_fds: u32, pid_one: bool) -> Result<(u32, Vec<String>)> {
    let listen = std::env::var("LISTEN_FDS").ok().filter(|text| !text.is_empty());
    let mut environment = Vec::new();
    let mut count = preserve_fds;
    if let Some(text) = listen {
        let number: u32 = text.parse().map_err(|_| {
            Error::input(format!("{text:?} is no number of descriptors")).at(&Origin::fixed("LISTEN_FDS"))
        })?;
        count = count.saturating_add(number);
        environment.push(format!("LISTEN_FDS={number}"));
        if pid_one {
            environment.push("LISTEN_PID=1".to_owned());
        }
        if let Ok(names) = std::env::var("LISTEN_FDNAMES") {
            environment.push(format!("LISTEN_FDNAMES={names}"));
        }
    }
    if count > 4096 {
        return Err(Error::input(format!("{count} descriptors are too many to pass on")));
    }
    for descriptor in 3..3 + count as i32 {
        if !crate::host::is_inherited(descriptor) {
            return Err(Error::input(format!("descriptor {descriptor} is to be passed on and is not open"))
                .at(&Origin::fixed("--preserve-fds")));
        }
    }
    Ok((count, environment))
}

/// Where the terminal goes: to the console socket, or to this process if it stays.
pub(super) fn console(socket: Option<&Path>, terminal: bool, stays: bool) -> Console {
    match (socket, terminal, stays) {
        (Some(path), ..) => Console::Socket(path.to_owned()),
        (None, true, true) => Console::Foreground(crate::launch::console::caller_size()),
        _ => Console::None,
    }
}

/// The driver that `--cgroup-manager` and `--systemd-cgroup` name.
pub(super) fn driver(global: &Global) -> CgroupDriver {
    match global.cgroup_manager {
        CgroupManager::Cgroupfs => CgroupDriver::Cgroupfs,
        CgroupManager::Systemd => CgroupDriver::Systemd,
        CgroupManager::Disabled => CgroupDriver::Disabled,
    }
}

/// newuidmap(1) and newgidmap(1), where facts know them.
pub(super) fn helpers(facts: &Facts) -> Option<(PathBuf, PathBuf)> {
    match facts.subordinate.as_ref().map(|sub| (&sub.newuidmap, &sub.newgidmap)) {
        Some((Helper::Usable(users), Helper::Usable(groups))) => Some((users.clone(), groups.clone())),
        _ => None,
    }
}

impl Prepared {
    /// Reads what the mounts that were put in the place of the container's own need of the host.
    ///
    /// # Errors
    /// When it can't be read.
    pub(super) fn need_mounts(&mut self) -> Result<()> {
        self.pinned = if may_hold_pins(&self.intent) { pinned()? } else { Vec::new() };
        self.symlinks = symlinks(&self.intent)?;
        self.need_labels()
    }

    /// Reads the security modules if the process wants a label: exec may bring one that the container had not.
    ///
    /// # Errors
    /// When they can't be read.
    pub(super) fn need_labels(&mut self) -> Result<()> {
        let needs = needs(&self.intent);
        self.facts.add(&needs)
    }

    /// The request for a container.
    pub(super) fn request<'a>(&'a self, global: &Global, id: &'a str) -> Request<'a> {
        Request {
            intent: &self.intent,
            facts: &self.facts,
            layout: &self.layout,
            id,
            console: Console::None,
            gated: false,
            no_pivot: false,
            no_new_keyring: false,
            preserved: 0,
            extra_env: Vec::new(),
            notify_directory: None,
            host_entries: self.host_entries.clone(),
            pinned: self.pinned.clone(),
            symlinks: self.symlinks.clone(),
            cgroups: driver(global),
            hard_limits: self.hard_limits.clone(),
        }
    }
}
