//! CRIU's requests and answers (`images/rpc.proto` of CRIU, criu.org/RPC): the fields kiste uses, by their numbers.

use super::wire::{Damaged, Reader, Value, Writer};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Dump = 1,
    Restore = 2,
    PreDump = 4,
    Notify = 6,
    FeatureCheck = 9,
    Version = 10,
}

/// What CRIU does with the tasks' control groups (criu(8), `--manage-cgroups`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupMode {
    /// The tasks stay where they are restored.
    Ignore = 0,
    /// Groups that are missing are made, and get their properties back.
    #[default]
    Soft = 3,
    /// Properties are restored always.
    Full = 4,
    /// Groups must not exist before.
    Strict = 5,
}

/// How CRIU keeps packets from connections while it works on them (criu(8), `--network-lock`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkLock {
    /// By iptables(8).
    Iptables = 1,
    /// By nftables.
    Nftables = 2,
    /// Not at all.
    Skip = 3,
}

/// Where pages go to or come from over the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageServer {
    /// Host name or address.
    pub address: String,
    /// TCP port.
    pub port: u16,
}

/// What a caller may want of either direction (criu(8) has the meaning of each).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Established TCP connections are part of it.
    pub tcp_established: bool,
    /// Connections in the making are left out.
    pub tcp_skip_in_flight: bool,
    /// Connections come back closed.
    pub tcp_close: bool,
    /// Unlinked files get a name meanwhile.
    pub link_remap: bool,
    /// Unix sockets may have their other end outside.
    pub ext_unix_sk: bool,
    /// The container uses the caller's terminal.
    pub shell_job: bool,
    /// Pages come when they are needed.
    pub lazy_pages: bool,
    /// File locks are part of it.
    pub file_locks: bool,
    /// Pages that a later image has are punched out of the earlier.
    pub auto_dedup: bool,
    /// Control groups.
    pub cgroups: CgroupMode,
    /// The network namespace is dumped and restored without its contents.
    pub empty_network: bool,
    /// How connections are held.
    pub network_lock: Option<NetworkLock>,
    /// The page server.
    pub page_server: Option<PageServer>,
    /// A file with further options (`org.criu.config`).
    pub config_file: Option<std::path::PathBuf>,
}

/// Field numbers of `criu_opts`.
mod option {
    pub const IMAGES_DIR_FD: u64 = 1;
    pub const PID: u64 = 2;
    pub const LEAVE_RUNNING: u64 = 3;
    pub const EXT_UNIX_SK: u64 = 4;
    pub const TCP_ESTABLISHED: u64 = 5;
    pub const EVASIVE_DEVICES: u64 = 6;
    pub const SHELL_JOB: u64 = 7;
    pub const FILE_LOCKS: u64 = 8;
    pub const LOG_LEVEL: u64 = 9;
    pub const LOG_FILE: u64 = 10;
    pub const PAGE_SERVER: u64 = 11;
    pub const NOTIFY_SCRIPTS: u64 = 12;
    pub const ROOT: u64 = 13;
    pub const PARENT_IMG: u64 = 14;
    pub const TRACK_MEM: u64 = 15;
    pub const AUTO_DEDUP: u64 = 16;
    pub const WORK_DIR_FD: u64 = 17;
    pub const LINK_REMAP: u64 = 18;
    pub const CG_ROOT: u64 = 25;
    pub const RST_SIBLING: u64 = 26;
    pub const INHERIT_FD: u64 = 27;
    pub const MANAGE_CGROUPS_MODE: u64 = 34;
    pub const EXTERNAL: u64 = 37;
    pub const EMPTY_NS: u64 = 38;
    pub const JOIN_NS: u64 = 39;
    pub const FREEZE_CGROUP: u64 = 44;
    pub const TCP_SKIP_IN_FLIGHT: u64 = 46;
    pub const LAZY_PAGES: u64 = 48;
    pub const ORPHAN_PTS_MASTER: u64 = 50;
    pub const CONFIG_FILE: u64 = 51;
    pub const TCP_CLOSE: u64 = 52;
    pub const LSM_PROFILE: u64 = 53;
    pub const LSM_MOUNT_CONTEXT: u64 = 63;
    pub const NETWORK_LOCK: u64 = 64;
}

/// The options of one request.
#[derive(Debug, Default)]
pub(super) struct Options {
    fields: Writer,
}

impl Options {
    /// What every request has: where images and the log go, what is wanted.
    pub(super) fn new(images: i32, work: i32, log: &str, wishes: &Wishes) -> Self {
        let mut fields = Writer::default();
        fields
            .number(option::IMAGES_DIR_FD, images.into())
            .number(option::WORK_DIR_FD, work.into())
            .number(option::LOG_LEVEL, 4)
            .text(option::LOG_FILE, log)
            .flag(option::NOTIFY_SCRIPTS, true)
            .flag(option::EVASIVE_DEVICES, true)
            .flag(option::ORPHAN_PTS_MASTER, true)
            .flag(option::TCP_ESTABLISHED, wishes.tcp_established)
            .flag(option::TCP_SKIP_IN_FLIGHT, wishes.tcp_skip_in_flight)
            .flag(option::TCP_CLOSE, wishes.tcp_close)
            .flag(option::LINK_REMAP, wishes.link_remap)
            .flag(option::EXT_UNIX_SK, wishes.ext_unix_sk)
            .flag(option::SHELL_JOB, wishes.shell_job)
            .flag(option::LAZY_PAGES, wishes.lazy_pages)
            .flag(option::FILE_LOCKS, wishes.file_locks)
            .flag(option::AUTO_DEDUP, wishes.auto_dedup)
            .number(option::MANAGE_CGROUPS_MODE, wishes.cgroups as i64);
        if wishes.empty_network {
            fields.number(option::EMPTY_NS, libc::CLONE_NEWNET.into());
        }
        if let Some(lock) = wishes.network_lock {
            fields.number(option::NETWORK_LOCK, lock as i64);
        }
        if let Some(server) = &wishes.page_server {
            let mut message = Writer::default();
            message.text(1, &server.address).number(2, server.port.into());
            fields.message(option::PAGE_SERVER, &message);
        }
        if let Some(path) = &wishes.config_file {
            fields.text(option::CONFIG_FILE, path.as_os_str().as_encoded_bytes());
        }
        Options { fields }
    }

    /// Whom to dump.
    pub(super) fn dump(&mut self, pid: i32, leave_running: bool, parent: Option<&std::path::Path>) -> &mut Self {
        self.fields.number(option::PID, pid.into()).flag(option::LEAVE_RUNNING, leave_running);
        if let Some(parent) = parent {
            self.fields.text(option::PARENT_IMG, parent.as_os_str().as_encoded_bytes());
        }
        self
    }

    /// Memory that changes from now on is marked.
    pub(super) fn track_memory(&mut self) -> &mut Self {
        self.fields.flag(option::TRACK_MEM, true);
        self
    }

    /// The directory of the group that is frozen meanwhile.
    pub(super) fn freeze(&mut self, group: &std::path::Path) -> &mut Self {
        self.fields.text(option::FREEZE_CGROUP, group.as_os_str().as_encoded_bytes());
        self
    }

    /// The restored first process becomes a child of the caller; its root.
    pub(super) fn restore(&mut self, root: &str) -> &mut Self {
        self.fields.flag(option::RST_SIBLING, true).text(option::ROOT, root);
        self
    }

    /// Labels that replace the dumped ones.
    pub(super) fn labels(&mut self, profile: Option<&str>, mounts: Option<&str>) -> &mut Self {
        if let Some(profile) = profile {
            self.fields.text(option::LSM_PROFILE, profile);
        }
        if let Some(mounts) = mounts {
            self.fields.text(option::LSM_MOUNT_CONTEXT, mounts);
        }
        self
    }

    /// Something that is not CRIU's to dump or restore: `KIND[WHAT]:KEY` or, at restore, `mnt[KEY]:PATH`.
    pub(super) fn external(&mut self, text: &str) -> &mut Self {
        self.fields.text(option::EXTERNAL, text);
        self
    }

    /// A descriptor that CRIU inherits and puts where the dumped process had what `key` names.
    pub(super) fn inherit(&mut self, key: &str, descriptor: i32) -> &mut Self {
        let mut message = Writer::default();
        message.text(1, key).number(2, descriptor.into());
        self.fields.message(option::INHERIT_FD, &message);
        self
    }

    /// A namespace that is joined instead of made.
    pub(super) fn join(&mut self, name: &str, file: &str) -> &mut Self {
        let mut message = Writer::default();
        message.text(1, name).text(2, file);
        self.fields.message(option::JOIN_NS, &message);
        self
    }

    /// The group that takes the dumped one's place, in all hierarchies or that of a v1 controller.
    pub(super) fn cgroup_root(&mut self, controller: Option<&str>, path: &str) -> &mut Self {
        let mut message = Writer::default();
        if let Some(controller) = controller {
            message.text(1, controller);
        }
        message.text(2, path);
        self.fields.message(option::CG_ROOT, &message);
        self
    }
}

/// A request. `more`: the connection stays for another one.
pub(super) fn request(kind: Kind, options: Option<&Options>, more: bool) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.number(1, kind as i64);
    if let Some(options) = options {
        writer.message(2, &options.fields);
    }
    if kind == Kind::FeatureCheck {
        // What CRIU does not know it leaves out of the answer.
        let mut features = Writer::default();
        features.flag(1, true).flag(2, true);
        writer.message(5, &features);
    }
    writer.flag(4, more);
    writer.finish()
}

/// The answer to a notification.
pub(super) fn acknowledgement(success: bool) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.number(1, Kind::Notify as i64).number(3, success.into());
    writer.finish()
}

/// What CRIU says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Response {
    /// The request it answers, or a notification.
    pub kind: u64,
    /// It succeeded.
    pub success: bool,
    /// The restored first process.
    pub restored: Option<i32>,
    /// A notification's name, and the process it concerns.
    pub notification: Option<(String, Option<i32>)>,
    /// Why it failed.
    pub errno: Option<i32>,
    /// The same in words.
    pub message: Option<String>,
    /// The kernel marks changed memory.
    pub tracks_memory: bool,
    /// The kernel can fetch pages when they are needed.
    pub lazy_pages: bool,
    /// major, minor, sublevel.
    pub version: [u64; 3],
}

impl Response {
    /// Reads one message.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut response = Response::default();
        let mut reader = Reader::new(bytes);
        while let Some(field) = reader.next()? {
            match field {
                (1, Value::Number(kind)) => response.kind = kind,
                (2, Value::Number(success)) => response.success = success != 0,
                (4, Value::Bytes(bytes)) => response.restored = number(bytes, 1)?.map(|pid| pid as i32),
                (5, Value::Bytes(bytes)) => {
                    let name = text(bytes, 1)?.unwrap_or_default();
                    response.notification = Some((name, number(bytes, 2)?.map(|pid| pid as i32)));
                }
                (7, Value::Number(errno)) => response.errno = Some(errno as i32),
                (8, Value::Bytes(bytes)) => {
                    response.tracks_memory = number(bytes, 1)?.unwrap_or_default() != 0;
                    response.lazy_pages = number(bytes, 2)?.unwrap_or_default() != 0;
                }
                (9, Value::Bytes(bytes)) => response.message = Some(String::from_utf8_lossy(bytes).into_owned()),
                (10, Value::Bytes(bytes)) => {
                    for (place, field) in [(0, 1), (1, 2), (2, 4)] {
                        response.version[place] = number(bytes, field)?.unwrap_or_default();
                    }
                }
                _ => {}
            }
        }
        Ok(response)
    }
}

/// The last number in a field of a message.
fn number(bytes: &[u8], wanted: u64) -> Result<Option<u64>, Damaged> {
    let mut found = None;
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.next()? {
        if let (field, Value::Number(number)) = field
            && field == wanted
        {
            found = Some(number);
        }
    }
    Ok(found)
}

/// The last text in a field of a message.
fn text(bytes: &[u8], wanted: u64) -> Result<Option<String>, Damaged> {
    let mut found = None;
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.next()? {
        if let (field, Value::Bytes(text)) = field
            && field == wanted
        {
            found = Some(String::from_utf8_lossy(text).into_owned());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let mut notify = Writer::default();
        notify.text(1, "post-restore").number(2, 4711);
        let mut writer = Writer::default();
        writer.number(1, 6).number(2, 1).message(5, &notify);
        let response = Response::read(&writer.finish()).unwrap();
        assert_eq!(response.notification, Some(("post-restore".to_owned(), Some(4711))));
        assert!(response.success && response.restored.is_none());

        let mut version = Writer::default();
        version.number(1, 4).number(2, 2).text(3, "v4.2").number(4, 1);
        let mut writer = Writer::default();
        writer.number(1, 10).number(2, 1).message(10, &version);
        assert_eq!(Response::read(&writer.finish()).unwrap().version, [4, 2, 1]);

        assert!(Response::read(&[0x2a, 0x05, 0x0a]).is_err());
    }

    #[test]
    fn what_is_not_wanted_is_not_sent() {
        let plain = request(Kind::Dump, Some(&Options::new(3, 4, "dump.log", &Wishes::default())), false);
        let wishes = Wishes { tcp_established: true, empty_network: true, ..Wishes::default() };
        let more = request(Kind::Dump, Some(&Options::new(3, 4, "dump.log", &wishes)), false);
        // Two bytes for the flag, and two more for the number of its field and CLONE_NEWNET's five.
        assert_eq!(more.len(), plain.len() + 2 + 2 + 5);
        assert_eq!(request(Kind::Version, None, true), [0x08, 10, 0x20, 1]);
        assert_eq!(acknowledgement(false), [0x08, 6, 0x18, 0]);
    }
}
