//! What a sandbox has beyond a container: files made for it, a second user namespace, a reaper, Landlock.

use super::Placed;
use crate::error::Origin;

/// The part of an intent that only sandboxes have.
#[derive(Clone, Debug, Default)]
pub struct Sandbox {
    /// Files, directories and links made in the root, each before the mount of this number (or after all of them).
    pub entries: Vec<(usize, Entry)>,
    /// The payload's ids inside, if they are not 0: a second user namespace maps them to the set-up's root.
    pub ids: Option<Placed<(u32, u32)>>,
    /// The payload may make user namespaces of its own.
    pub nested_users: bool,
    /// A process of kiste's own stays between kiste and the payload, its child: it tells the payload's status and reaps
    /// until nobody is left; in a pid namespace it is the first.
    pub reaper: bool,
    /// A descriptor of the caller's that the reaper keeps open.
    pub sync: Option<i32>,
    /// Files inside that the reaper locks for reading.
    pub locks: Vec<Placed<String>>,
    /// A descriptor of the caller's that must give a byte before the payload starts.
    pub gate: Option<i32>,
    /// Somebody outside is told of the processes and namespaces before the payload starts.
    pub announced: bool,
    /// seccomp programs in the kernel's form, installed in this order right before the payload.
    pub filters: Vec<Placed<Vec<u8>>>,
    /// The payload ends when kiste does (`PR_SET_PDEATHSIG`).
    pub dies_with_parent: bool,
    /// The payload stays in the caller's session and keeps its controlling terminal.
    pub keeps_session: bool,
    /// Where the payload starts: the first of these that can be entered.
    pub directories: Vec<String>,
    /// `argv[0]`, if it is not the program's name.
    pub argv0: Option<String>,
    /// The ruleset of landlock(7), if the payload gets one.
    pub landlock: Option<Landlock>,
}

/// Something made in an empty root.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Absolute path inside; its missing parents are made with mode 0755.
    pub path: String,
    /// What.
    pub kind: EntryKind,
    /// Its place in the input.
    pub origin: Origin,
}

/// What an [`Entry`] is.
#[derive(Clone, Debug)]
pub enum EntryKind {
    /// A directory, with these permission bits if it is new.
    Directory(u32),
    /// A new file with these bytes and permission bits.
    File(Vec<u8>, u32),
    /// A mount of a file that holds these bytes and exists nowhere else; read-only if the last is set.
    Data(Vec<u8>, u32, bool),
    /// A symbolic link to this.
    Link(String),
    /// The permission bits of what is there.
    Mode(u32),
}

/// landlock(7): what is handled is denied but where a rule allows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Landlock {
    /// `LANDLOCK_ACCESS_FS_*` that are handled.
    pub files: u64,
    /// `LANDLOCK_ACCESS_NET_*` that are handled: all denied.
    pub network: u64,
    /// `LANDLOCK_SCOPE_*`.
    pub scopes: u64,
    /// Paths inside and the accesses allowed beneath.
    pub allowed: Vec<(String, u64)>,
}
