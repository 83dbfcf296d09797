//! From an understood command line to an intent.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Bwrap, File, FileKind};
use crate::cgroup::Resources;
use crate::error::{Error, Origin, Result};
use crate::intent::mount_options::{self, attr};
use crate::intent::sandbox::{Entry, EntryKind, Sandbox};
use crate::intent::{
    Bind, Capabilities, Hooks, IdMap, IdMaps, Intent, Mount, Namespace, NamespaceKind, Placed, Process, Root, RootKind,
    User,
};

/// Who calls.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Effective ids.
    pub uid: u32,
    /// See `uid`.
    pub gid: u32,
    /// May make namespaces without a user namespace.
    pub privileged: bool,
    /// User namespaces and cgroup namespaces can be made on this machine: what `-try` asks.
    pub possible: (bool, bool),
    /// The working directory.
    pub directory: String,
    /// umask(2).
    pub umask: u32,
    /// The terminal on standard output, if it is one: shown as the console of a `--dev`.
    pub terminal: Option<String>,
    /// All that a descriptor gives, from where it stands.
    pub read: fn(i32) -> Result<Vec<u8>>,
}

/// What is not asked for by an option.
const HERE: Origin = Origin::fixed("bwrap");

/// The host's nodes that a small /dev shows.
const NODES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

/// The links in a small /dev.
const LINKS: &[(&str, &str)] = &[
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("fd", "/proc/self/fd"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// Kernel parameters that a new procfs lets nobody change, whoever the payload is.
const PROTECTED: &[&str] = &["sys", "sysrq-trigger", "irq", "bus"];

/// The root under construction.
#[derive(Default)]
struct Build {
    mounts: Vec<Mount>,
    entries: Vec<(usize, Entry)>,
    protected: Vec<Placed<String>>,
}

/// The sandbox that a command line describes.
///
/// # Errors
/// Options that exclude each other, a source that is missing, a descriptor that can't be read.
pub fn intent(wanted: &Bwrap, caller: &Caller) -> Result<Intent> {
    let namespaces = namespaces(wanted, caller)?;
    let own_user = namespaces.iter().any(|namespace| namespace.kind == NamespaceKind::User && namespace.path.is_none());
    let mut build = Build::default();
    for file in &wanted.files {
        build.file(file, caller)?;
    }
    let ids = (wanted.ids.0.unwrap_or(caller.uid), wanted.ids.1.unwrap_or(caller.gid));
    let one = |host: u32| vec![IdMap { container: 0, host, size: 1 }];
    let inner = own_user && (ids != (0, 0) || wanted.disable_user_namespaces);
    let sandbox = Sandbox {
        entries: build.entries,
        ids: inner.then_some(Placed { value: ids, origin: Origin::fixed("--uid") }),
        nested_users: !wanted.disable_user_namespaces,
        reaper: !wanted.as_pid_1 && (wanted.unshare.pid || !wanted.lock_files.is_empty() || wanted.sync.is_some()),
        sync: wanted.sync,
        locks: wanted.lock_files.iter().map(|path| placed(path.clone(), "--lock-file")).collect(),
        gate: wanted.block,
        announced: wanted.info.is_some() || wanted.status.is_some(),
        filters: filters(wanted, caller)?,
        dies_with_parent: wanted.die_with_parent,
        keeps_session: !wanted.new_session,
        directories: directories(wanted, caller),
        argv0: wanted.argv0.clone(),
        landlock: None,
    };
    Ok(Intent {
        version: "1.3.0".into(),
        root: Root { path: PathBuf::new(), kind: RootKind::Empty, readonly: false, propagation: None, origin: HERE },
        namespaces,
        id_maps: if own_user { IdMaps { users: one(caller.uid), groups: one(caller.gid) } } else { IdMaps::default() },
        time_offsets: Vec::new(),
        hostname: wanted.hostname.clone(),
        domainname: None,
        mounts: build.mounts,
        devices: Vec::new(),
        masked_paths: Vec::new(),
        readonly_paths: build.protected,
        sysctls: Vec::new(),
        process: Some(process(wanted, caller, ids)),
        resources: Resources::default(),
        cgroup_path: None,
        seccomp: None,
        hooks: Hooks::default(),
        annotations: BTreeMap::new(),
        extensions: Default::default(),
        personality: None,
        mount_label: None,
        intel_rdt: None,
        memory_policy: None,
        net_devices: Vec::new(),
        sandbox: Some(sandbox),
        unsupported: Vec::new(),
        warnings: Vec::new(),
    })
}

fn placed<T>(value: T, option: &'static str) -> Placed<T> {
    Placed { value, origin: Origin::fixed(option) }
}

/// `BPF_MAXINSNS`, in bytes.
const LONGEST_FILTER: usize = 4096 * 8;

/// The programs of `--seccomp` or `--add-seccomp-fd`; whether they are programs at all, the kernel says.
fn filters(wanted: &Bwrap, caller: &Caller) -> Result<Vec<Placed<Vec<u8>>>> {
    let program = |descriptor: &i32| {
        let bytes =
            (caller.read)(*descriptor).map_err(|error| Error { what: "Can't read seccomp data".into(), ..error })?;
        if bytes.len() % 8 != 0 {
            return Err(Error::input("Invalid seccomp data, must be multiple of 8"));
        }
        if bytes.is_empty() || bytes.len() > LONGEST_FILTER {
            return Err(Error::input("Invalid seccomp data, must have 1 to 4096 instructions"));
        }
        Ok(placed(bytes, "--seccomp"))
    };
    wanted.seccomp.iter().map(program).collect()
}

fn namespaces(wanted: &Bwrap, caller: &Caller) -> Result<Vec<Namespace>> {
    let unshare = &wanted.unshare;
    let refuse = |what: &str, option: &'static str| Err(Error::input(what).at(&Origin::fixed(option)));
    let (may_user, may_cgroup) = caller.possible;
    let user = unshare.user || unshare.user_try && may_user || !caller.privileged;
    if !user && wanted.ids.0.is_some_and(|uid| uid != caller.uid) {
        return refuse("Specifying --uid requires --unshare-user or --userns", "--uid");
    }
    if !user && wanted.ids.1.is_some_and(|gid| gid != caller.gid) {
        return refuse("Specifying --gid requires --unshare-user or --userns", "--gid");
    }
    if !unshare.uts && wanted.hostname.is_some() {
        return refuse("Specifying --hostname requires --unshare-uts", "--hostname");
    }
    if wanted.as_pid_1 && !unshare.pid {
        return refuse("Specifying --as-pid-1 requires --unshare-pid", "--as-pid-1");
    }
    if wanted.disable_user_namespaces && !user {
        return refuse("--disable-userns requires --unshare-user", "--disable-userns");
    }
    if wanted.as_pid_1 && !wanted.lock_files.is_empty() {
        return refuse("Specifying --as-pid-1 and --lock-file is not permitted", "--lock-file");
    }
    if wanted.assert_disabled && !wanted.disable_user_namespaces && may_user {
        return refuse("creation of new user namespaces was not disabled as requested", "--assert-userns-disabled");
    }
    let made = [
        (user, NamespaceKind::User),
        (true, NamespaceKind::Mount),
        (unshare.pid, NamespaceKind::Pid),
        (unshare.net, NamespaceKind::Network),
        (unshare.ipc, NamespaceKind::Ipc),
        (unshare.uts, NamespaceKind::Uts),
        (unshare.cgroup || unshare.cgroup_try && may_cgroup, NamespaceKind::Cgroup),
    ];
    let new = |kind| Namespace { kind, path: None, origin: HERE };
    Ok(made.into_iter().filter(|(wanted, _)| *wanted).map(|(_, kind)| new(kind)).collect())
}

/// Where the command starts: the directory asked for, else the caller's, else its home, else `/`.
fn directories(wanted: &Bwrap, caller: &Caller) -> Vec<String> {
    if let Some(directory) = &wanted.directory {
        return vec![directory.clone()];
    }
    let home = wanted.environment.iter().find_map(|entry| entry.strip_prefix("HOME="));
    let home = home.filter(|home| home.starts_with('/')).map(str::to_owned);
    std::iter::once(caller.directory.clone()).chain(home).chain(std::iter::once("/".to_owned())).collect()
}

fn process(wanted: &Bwrap, caller: &Caller, (uid, gid): (u32, u32)) -> Process {
    let kept = wanted.capabilities;
    // What nobody has chosen is not handed on: root has it from execve as root, and as nobody else.
    let handed = if wanted.chosen_capabilities { kept } else { 0 };
    Process {
        args: wanted.command.clone(),
        env: wanted.environment.clone(),
        cwd: "/".into(),
        user: User { uid, gid, additional_gids: Vec::new(), umask: Some(caller.umask) },
        terminal: false,
        console_size: None,
        capabilities: Capabilities {
            bounding: kept,
            effective: kept,
            permitted: kept,
            inheritable: handed,
            ambient: handed,
        },
        no_new_privileges: true,
        rlimits: Vec::new(),
        oom_score_adj: None,
        apparmor_profile: None,
        selinux_label: None,
        scheduler: None,
        io_priority: None,
        exec_cpu_affinity: (None, None),
        origin: HERE,
    }
}

impl Build {
    fn file(&mut self, file: &File, caller: &Caller) -> Result<()> {
        let (destination, origin) = (absolute(&file.destination), &file.origin);
        if destination == "/"
            && matches!(file.kind, FileKind::Bind { .. } | FileKind::BindDescriptor { .. } | FileKind::Tmpfs)
        {
            // What was made before is hidden.
            *self = Build::default();
            if file.kind == FileKind::Tmpfs {
                return Ok(());
            }
        }
        let bits = |default: u32| file.mode.unwrap_or(default);
        self.parents(&destination, file.mode, origin)?;
        match &file.kind {
            FileKind::Bind { source, read_only, devices, optional } => {
                if *optional && !std::path::Path::new(source).exists() {
                    return Ok(());
                }
                self.bind(source, &destination, (*read_only, *devices), origin)
            }
            FileKind::BindDescriptor { descriptor, read_only } => {
                let source = format!("/proc/self/fd/{descriptor}");
                let target = std::fs::read_link(&source)
                    .map_err(|error| Error::input(format!("Can't read {source}")).at(origin).io("readlink", &error))?;
                if !is_same(&source, &target) {
                    let what = format!("descriptor {descriptor} is not at {} any more", target.display());
                    return Err(Error::input(what).at(origin));
                }
                self.bind(&target.to_string_lossy(), &destination, (*read_only, false), origin)
            }
            FileKind::RemountReadOnly => {
                let words = ["remount", "bind", "ro"];
                self.mount(&destination, None, "", &words.map(str::to_owned), origin)
            }
            FileKind::Proc => self.proc(&destination, origin),
            FileKind::Dev => self.dev(&destination, caller, origin),
            FileKind::Tmpfs => {
                let mut words = vec!["nosuid".to_owned(), "nodev".to_owned(), format!("mode={:o}", bits(0o755))];
                words.extend(file.size.map(|size| format!("size={size}")));
                self.mount(&destination, Some("tmpfs"), "tmpfs", &words, origin)
            }
            FileKind::Mqueue => self.mount(&destination, Some("mqueue"), "mqueue", &[], origin),
            FileKind::Directory => self.entry(destination, EntryKind::Directory(bits(0o755)), origin),
            FileKind::Copy { descriptor } => {
                let bytes = (caller.read)(*descriptor).map_err(|error| error.at(origin))?;
                self.entry(destination, EntryKind::File(bytes, bits(0o666)), origin)
            }
            FileKind::Data { descriptor, read_only } => {
                let bytes = (caller.read)(*descriptor).map_err(|error| error.at(origin))?;
                self.entry(destination, EntryKind::Data(bytes, bits(0o600), *read_only), origin)
            }
            FileKind::Link { target } => self.entry(destination, EntryKind::Link(target.clone()), origin),
            FileKind::Mode { bits } => self.entry(destination, EntryKind::Mode(*bits), origin),
            FileKind::Overlay { .. } | FileKind::TemporaryOverlay | FileKind::ReadOnlyOverlay => {
                Err(Error::input("overlays are not supported")
                    .at(origin)
                    .hint("kiste has not learned them yet: see kiste-bwrap(1)"))
            }
        }
    }

    /// `--perms` that leave nothing to group or others leave nothing of the parents that are made for it to them, either.
    fn parents(&mut self, destination: &str, mode: Option<u32>, origin: &Origin) -> Result<()> {
        let closed = |bits: u32| mode.is_some_and(|mode| mode & bits == 0);
        let taken = [0o070, 0o007].into_iter().filter(|bits| closed(*bits)).sum::<u32>();
        if taken != 0 {
            for (at, _) in destination.match_indices('/').skip(1) {
                let parent = destination.get(..at).unwrap_or_default().to_owned();
                self.entry(parent, EntryKind::Directory(0o755 & !taken), origin)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: String, kind: EntryKind, origin: &Origin) -> Result<()> {
        self.entries.push((self.mounts.len(), Entry { path, kind, origin: origin.clone() }));
        Ok(())
    }

    fn mount(
        &mut self,
        destination: &str,
        fstype: Option<&str>,
        source: &str,
        words: &[String],
        origin: &Origin,
    ) -> Result<()> {
        self.mounts.push(Mount {
            destination: destination.to_owned(),
            fstype: fstype.map(str::to_owned),
            source: Some(source.to_owned()).filter(|source| !source.is_empty()),
            options: mount_options::parse(words, fstype, origin)?.options,
            id_maps: IdMaps::default(),
            origin: origin.clone(),
        });
        Ok(())
    }

    /// The whole tree, never with set-user-ID programs, with devices only where they are wanted.
    fn bind(
        &mut self,
        source: &str,
        destination: &str,
        (read_only, devices): (bool, bool),
        origin: &Origin,
    ) -> Result<()> {
        let found = std::fs::canonicalize(source).map_err(|error| {
            Error::input(format!("Can't find source path {source}")).at(origin).io("realpath", &error)
        })?;
        self.mount(destination, None, &found.to_string_lossy(), &["rbind".to_owned()], origin)?;
        if let Some(mount) = self.mounts.last_mut() {
            mount.options.bind = Some(Bind::Recursive);
            mount.options.recursive_set |=
                attr::NOSUID | if read_only { attr::RDONLY } else { 0 } | if devices { 0 } else { attr::NODEV };
        }
        Ok(())
    }

    fn proc(&mut self, destination: &str, origin: &Origin) -> Result<()> {
        let words = ["nosuid", "noexec", "nodev"].map(str::to_owned);
        self.mount(destination, Some("proc"), "proc", &words, origin)?;
        let protected = PROTECTED.iter().map(|name| format!("{destination}/{name}"));
        self.protected.extend(protected.map(|value| Placed { value, origin: origin.clone() }));
        Ok(())
    }

    fn dev(&mut self, destination: &str, caller: &Caller, origin: &Origin) -> Result<()> {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<String>>();
        self.mount(destination, Some("tmpfs"), "tmpfs", &words(&["nosuid", "nodev", "mode=755"]), origin)?;
        for name in NODES {
            self.bind(&format!("/dev/{name}"), &format!("{destination}/{name}"), (false, true), origin)?;
        }
        for (name, target) in LINKS {
            self.entry(format!("{destination}/{name}"), EntryKind::Link((*target).to_owned()), origin)?;
        }
        self.entry(format!("{destination}/shm"), EntryKind::Directory(0o755), origin)?;
        let options = words(&["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=620"]);
        self.mount(&format!("{destination}/pts"), Some("devpts"), "devpts", &options, origin)?;
        if let Some(terminal) = &caller.terminal {
            self.bind(terminal, &format!("{destination}/console"), (false, true), origin)?;
        }
        Ok(())
    }
}

/// Whether two paths lead to the same file.
fn is_same(one: &str, other: &std::path::Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    matches!((std::fs::metadata(one).map(id), std::fs::metadata(other).map(id)), (Ok(one), Ok(other)) if one == other)
}

/// Destinations are paths inside, whether they begin with a slash or not.
fn absolute(path: &str) -> String {
    format!("/{}", path.trim_start_matches('/'))
}
