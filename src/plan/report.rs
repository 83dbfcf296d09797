//! What the child tells the parent: one fixed-size record a message, no strings of ours, nothing truncated.
//!
//! ```text
//! child                                   parent
//!   │ Reached(identity)  ───────────────►   id maps, idmaps, raised limits
//!   │ ◄─────────────────────  one byte      go on (end-of-file: the parent is gone, the child leaves)
//!   │ Reached(hooks)     ───────────────►   prestart, createRuntime
//!   │ ◄─────────────────────  one byte
//!   │ Terminal + descriptor ────────────►   the pty's master (foreground only)
//!   │ Listener + descriptor ────────────►   the seccomp listener
//!   │ Mount              ───────────────►   `mounts`: the id of one that was attached or detached
//!   │ Ready, then closes ───────────────►   create: record, pid file      (run: absent)
//!   ╎ end-of-file            at execve      run: the payload runs
//!   │ Failed             ───────────────►   step, call, errno, the kernel's own words if it had any
//! ```
//! After `Ready` failures go into the FIFO `outcome`, where `start` reads the same record.

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// A barrier is reached: its number.
    Reached(u32),
    /// A step failed.
    Failed,
    /// Everything is done but the gate.
    Ready,
    /// A terminal's master comes along.
    Terminal,
    /// A seccomp listener comes along.
    Listener,
    /// A mount was attached or detached: its id is in the words.
    Mount,
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it is.
    pub message: Message,
    /// The step it is about.
    pub step: u32,
    /// The call that failed.
    pub call: Call,
    /// Its errno, or another number.
    pub errno: i32,
    /// The kernel's words (the log of an fsopen context), NUL-padded.
    pub words: [u8; WORDS],
}

/// Bytes for the kernel's words.
pub const WORDS: usize = 108;
/// Bytes of a message.
pub const SIZE: usize = 20 + WORDS;
const MAGIC: u32 = 0x6b69_7374;

impl Record {
    /// A message about a step.
    pub const fn new(message: Message, step: u32) -> Self {
        Record { message, step, call: Call::None, errno: 0, words: [0; WORDS] }
    }

    /// A message about a mount.
    pub fn mount(step: u32, id: u64) -> Self {
        let mut record = Record::new(Message::Mount, step);
        record.words.iter_mut().zip(id.to_ne_bytes()).for_each(|(place, byte)| *place = byte);
        record
    }

    /// The id that a message about a mount carries.
    pub fn mount_id(&self) -> u64 {
        self.words.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    }

    /// As bytes on the wire.
    pub fn encode(&self) -> [u8; SIZE] {
        let (kind, number) = match self.message {
            Message::Reached(number) => (1u32, number),
            Message::Failed => (2, 0),
            Message::Ready => (3, 0),
            Message::Terminal => (4, 0),
            Message::Listener => (5, 0),
            Message::Mount => (6, 0),
        };
        let mut bytes = [0u8; SIZE];
        let head = [MAGIC, kind | number << 8, self.step, self.call as u32, self.errno as u32];
        let mut all = bytes.iter_mut();
        for word in head {
            for byte in word.to_ne_bytes() {
                if let Some(slot) = all.next() {
                    *slot = byte;
                }
            }
        }
        for (slot, byte) in all.zip(self.words) {
            *slot = byte;
        }
        bytes
    }

    /// From bytes that came from a process in the container: anything but a whole, known record is refused.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != SIZE {
            return None;
        }
        let word = |index: usize| {
            let four = bytes.get(index * 4..index * 4 + 4)?;
            four.try_into().ok().map(u32::from_ne_bytes)
        };
        if word(0)? != MAGIC {
            return None;
        }
        let message = match word(1)? & 0xff {
            1 => Message::Reached(word(1)? >> 8),
            2 => Message::Failed,
            3 => Message::Ready,
            4 => Message::Terminal,
            5 => Message::Listener,
            6 => Message::Mount,
            _ => return None,
        };
        let call = Call::from_number(word(3)?)?;
        let mut words = [0; WORDS];
        words.copy_from_slice(bytes.get(20..)?);
        Some(Record { message, step: word(2)?, call, errno: word(4)? as i32, words })
    }
}

/// Which call failed: what the sentence names. One line each.
macro_rules! calls {
    ($($name:ident = $text:literal,)*) => {
        /// The calls a child makes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Call { $(#[doc = concat!("`", $text, "`")] $name,)* }
        const CALLS: &[(Call, &str)] = &[$((Call::$name, $text),)*];
    };
}

calls! {
    None = "", Access = "faccessat2", Capset = "capset", Chdir = "chdir", Chown = "fchownat", Chmod = "fchmod",
    Chroot = "chroot", Clone = "clone3", CloseRange = "close_range", Dup = "dup3", Execve = "execve", Fsconfig = "fsconfig",
    Fsmount = "fsmount", Fsopen = "fsopen", Getcwd = "getcwd", Getdents = "getdents64", Hook = "hook", Ioctl = "ioctl",
    IoprioSet = "ioprio_set", Keyctl = "keyctl", Mkdir = "mkdirat", Mknod = "mknodat", Mmap = "mmap", Mount = "mount",
    MountSetattr = "mount_setattr", MoveMount = "move_mount", Open = "openat2", OpenTree = "open_tree",
    Personality = "personality", PivotRoot = "pivot_root", Prctl = "prctl", Prlimit = "prlimit", Read = "read",
    Readlink = "readlinkat", SchedSetaffinity = "sched_setaffinity", SchedSetattr = "sched_setattr", Seccomp = "seccomp", SendMessage = "sendmsg",
    SetDomainName = "setdomainname", SetMempolicy = "set_mempolicy", SetGroups = "setgroups", SetHostName = "sethostname", SetGid = "setresgid",
    SetUid = "setresuid", SetNs = "setns", SetSid = "setsid", Sigaction = "rt_sigaction", Sigmask = "rt_sigprocmask",
    Statx = "statx", Symlink = "symlinkat", Terminal = "TIOCGPTPEER", Umount = "umount2", Unlink = "unlinkat",
    Unshare = "unshare", Landlock = "landlock", Verify = "check", Write = "write", Sendfile = "sendfile", Parent = "the runtime's answer",
}

impl Call {
    /// The call's name in the manual.
    pub fn name(self) -> &'static str {
        CALLS.iter().find(|entry| entry.0 == self).map_or("", |entry| entry.1)
    }

    fn from_number(number: u32) -> Option<Self> {
        CALLS.get(number as usize).map(|entry| entry.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_the_wire_and_nonsense_does_not() {
        let mut record = Record::new(Message::Failed, 52);
        (record.call, record.errno) = (Call::MoveMount, libc::ENOTDIR);
        record.words[..3].copy_from_slice(b"why");
        assert_eq!(Record::decode(&record.encode()), Some(record));
        let mount = Record::mount(3, u64::MAX - 1);
        assert_eq!(Record::decode(&mount.encode()).map(|record| record.mount_id()), Some(u64::MAX - 1));
        assert_eq!(Record::decode(&[0; SIZE]), None);
        assert_eq!(Record::decode(&record.encode()[..SIZE - 1]), None);
        for (index, (call, _)) in CALLS.iter().enumerate() {
            assert_eq!(*call as usize, index);
        }
    }
}
