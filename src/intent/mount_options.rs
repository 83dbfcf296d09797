//! The words of mount options: one table of word, effect and help. The parser, `features` and the manual all read it,
//! so they cannot disagree.
//!
//! The words are those of the runtime-spec (config.md, "Linux mount options"), and beside them `tmpcopyup` and crun's
//! `copy-symlink`, `src-nofollow`, `dest-nofollow` and `idmap=uids=…;gids=…`. Attribute numbers are those of mount_setattr(2).
//!
//! Five of crun's words have no meaning that a kernel could carry out and are refused: see [`OF_NO_TREE`].
//!
//! What is not in the table belongs to the file system (`size=64k`). A bind has no file system of its own to give it to, and the
//! kernel would ignore it in silence; so there it is an error, as with runc.

use super::{Bind, IdMap, IdMaps, IdmapScope, MountOptions, Propagation};
use crate::error::{Error, Origin, Result};

/// `MOUNT_ATTR_*` of mount_setattr(2).
pub mod attr {
    /// Read-only.
    pub const RDONLY: u64 = 0x1;
    /// Ignore set-user-id and set-group-id bits and file capabilities.
    pub const NOSUID: u64 = 0x2;
    /// Device nodes don't work.
    pub const NODEV: u64 = 0x4;
    /// No execve(2).
    pub const NOEXEC: u64 = 0x8;
    /// The field of the next three. Here no bit is both set and cleared; mount_setattr(2) wants the whole field in `attr_clr`
    /// when either has a bit of it.
    pub const ATIME: u64 = 0x70;
    /// Access times when older than the change (the default).
    pub const RELATIME: u64 = 0x00;
    /// No access times.
    pub const NOATIME: u64 = 0x10;
    /// Access times always.
    pub const STRICTATIME: u64 = 0x20;
    /// No access times of directories.
    pub const NODIRATIME: u64 = 0x80;
    /// Symlinks are not followed.
    pub const NOSYMFOLLOW: u64 = 0x20_0000;
}

const SHARED: u64 = 1 << 20;
const PRIVATE: u64 = 1 << 18;
const SLAVE: u64 = 1 << 19;
const UNBINDABLE: u64 = 1 << 17;

/// What a word does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: the default, or of no meaning to the mount API of today's kernels.
    Nothing,
    /// A bind.
    Bind(Bind),
    /// Sets an attribute of the mount.
    Set(u64),
    /// Clears one.
    Clear(u64),
    /// Chooses in the field [`attr::ATIME`].
    Atime(u64),
    /// Leaves a choice in the field [`attr::ATIME`], back to `relatime`.
    AtimeOff(u64),
    /// Sets an attribute on the whole tree.
    RecursiveSet(u64),
    /// Clears one on the whole tree.
    RecursiveClear(u64),
    /// Chooses in the field [`attr::ATIME`] on the whole tree.
    RecursiveAtime(u64),
    /// A flag of the superblock: for the file system by its word; of no meaning to a bind.
    Superblock,
    /// `ro` and `rw`: the mount's attribute, and the superblock's flag unless it is a bind.
    ReadOnly(bool),
    /// `acl` and `noacl`: for the file systems that know the words.
    Acl,
    /// Changes propagation.
    Propagation(Propagation),
    /// Changes what is mounted already.
    Remount,
    /// Copies the image's content into the new tmpfs.
    CopyUp,
    /// Maps ids.
    Idmap(IdmapScope),
    /// No symlink at the source.
    SourceNofollow,
    /// No symlink at the destination.
    DestinationNofollow,
    /// A symlink at the source is copied.
    CopySymlink,
}

/// A line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    /// As written in `options`.
    pub word: &'static str,
    /// What it does.
    pub effect: Effect,
    /// For the manual.
    pub help: &'static str,
}

const fn word(word: &'static str, effect: Effect, help: &'static str) -> Word {
    Word { word, effect, help }
}

const fn propagation(kind: u64, recursive: bool) -> Effect {
    Effect::Propagation(Propagation { kind, recursive })
}

/// All words, in the alphabet's order.
pub static TABLE: &[Word] = &[
    word("acl", Effect::Acl, "use POSIX access lists, where the file system has the option"),
    word("async", Effect::Superblock, "write in the background"),
    word("atime", Effect::AtimeOff(attr::NOATIME), "leave noatime, back to relatime"),
    word("bind", Effect::Bind(Bind::Single), "mount an existing file or directory, without the mounts below it"),
    word("copy-symlink", Effect::CopySymlink, "if the source is a symlink, make the same symlink instead of mounting"),
    word("defaults", Effect::Nothing, "no change"),
    word("dest-nofollow", Effect::DestinationNofollow, "do not follow a symlink at the destination"),
    word("dev", Effect::Clear(attr::NODEV), "device nodes work"),
    word("diratime", Effect::Clear(attr::NODIRATIME), "access times of directories too"),
    word("dirsync", Effect::Superblock, "write directory changes at once"),
    word("exec", Effect::Clear(attr::NOEXEC), "programs can be executed"),
    word("idmap", Effect::Idmap(IdmapScope::Single), "map ids, the container's way or by uidMappings and gidMappings"),
    word("iversion", Effect::Nothing, "accepted; kernels decide on inode versions by file system"),
    word("lazytime", Effect::Superblock, "keep times in memory until they must be written"),
    word("loud", Effect::Nothing, "accepted; the mount API reports messages to its caller"),
    word("mand", Effect::Superblock, "mandatory locks; no effect since Linux 5.15"),
    word("noacl", Effect::Acl, "no POSIX access lists, where the file system has the option"),
    word("noatime", Effect::Atime(attr::NOATIME), "never update access times"),
    word("nodev", Effect::Set(attr::NODEV), "device nodes do not work"),
    word("nodiratime", Effect::Set(attr::NODIRATIME), "no access times of directories"),
    word("noexec", Effect::Set(attr::NOEXEC), "programs cannot be executed"),
    word("noiversion", Effect::Nothing, "accepted; kernels decide on inode versions by file system"),
    word("nolazytime", Effect::Superblock, "write times as usual"),
    word("nomand", Effect::Superblock, "no mandatory locks"),
    word("norelatime", Effect::Nothing, "accepted; relatime is what kernels do without a choice"),
    word("nostrictatime", Effect::AtimeOff(attr::STRICTATIME), "leave strictatime, back to relatime"),
    word("nosuid", Effect::Set(attr::NOSUID), "ignore set-user-id bits and file capabilities"),
    word("nosymfollow", Effect::Set(attr::NOSYMFOLLOW), "do not follow symlinks in it"),
    word("private", propagation(PRIVATE, false), "no propagation"),
    word("ratime", Effect::RecursiveAtime(attr::RELATIME), "atime for the whole tree"),
    word("rbind", Effect::Bind(Bind::Recursive), "mount an existing tree with all mounts below it"),
    word("rdev", Effect::RecursiveClear(attr::NODEV), "dev for the whole tree"),
    word("rdiratime", Effect::RecursiveClear(attr::NODIRATIME), "diratime for the whole tree"),
    word("relatime", Effect::Atime(attr::RELATIME), "update access times when older than the change"),
    word("remount", Effect::Remount, "change the options of what is mounted there"),
    word("rexec", Effect::RecursiveClear(attr::NOEXEC), "exec for the whole tree"),
    word("ridmap", Effect::Idmap(IdmapScope::Recursive), "idmap for the whole tree"),
    word("rnoatime", Effect::RecursiveAtime(attr::NOATIME), "noatime for the whole tree"),
    word("rnodev", Effect::RecursiveSet(attr::NODEV), "nodev for the whole tree"),
    word("rnodiratime", Effect::RecursiveSet(attr::NODIRATIME), "nodiratime for the whole tree"),
    word("rnoexec", Effect::RecursiveSet(attr::NOEXEC), "noexec for the whole tree"),
    word("rnorelatime", Effect::RecursiveAtime(attr::RELATIME), "norelatime for the whole tree"),
    word("rnostrictatime", Effect::RecursiveAtime(attr::RELATIME), "nostrictatime for the whole tree"),
    word("rnosuid", Effect::RecursiveSet(attr::NOSUID), "nosuid for the whole tree"),
    word("rnosymfollow", Effect::RecursiveSet(attr::NOSYMFOLLOW), "nosymfollow for the whole tree"),
    word("ro", Effect::ReadOnly(true), "read-only; mounts below a bind stay as they are (see rro)"),
    word("rprivate", propagation(PRIVATE, true), "private for the whole tree"),
    word("rrelatime", Effect::RecursiveAtime(attr::RELATIME), "relatime for the whole tree"),
    word("rro", Effect::RecursiveSet(attr::RDONLY), "read-only for the whole tree"),
    word("rrw", Effect::RecursiveClear(attr::RDONLY), "rw for the whole tree"),
    word("rshared", propagation(SHARED, true), "shared for the whole tree"),
    word("rslave", propagation(SLAVE, true), "slave for the whole tree"),
    word("rstrictatime", Effect::RecursiveAtime(attr::STRICTATIME), "strictatime for the whole tree"),
    word("rsuid", Effect::RecursiveClear(attr::NOSUID), "suid for the whole tree"),
    word("rsymfollow", Effect::RecursiveClear(attr::NOSYMFOLLOW), "symfollow for the whole tree"),
    word("runbindable", propagation(UNBINDABLE, true), "unbindable for the whole tree"),
    word("rw", Effect::ReadOnly(false), "writable"),
    word("shared", propagation(SHARED, false), "propagate mounts both ways"),
    word("silent", Effect::Nothing, "accepted; the mount API reports messages to its caller"),
    word("slave", propagation(SLAVE, false), "receive mounts, send none"),
    word("src-nofollow", Effect::SourceNofollow, "do not follow a symlink at the source"),
    word("strictatime", Effect::Atime(attr::STRICTATIME), "always update access times"),
    word("suid", Effect::Clear(attr::NOSUID), "heed set-user-id bits and file capabilities"),
    word("symfollow", Effect::Clear(attr::NOSYMFOLLOW), "follow symlinks in it"),
    word("sync", Effect::Superblock, "write at once"),
    word("tmpcopyup", Effect::CopyUp, "copy what the image has there into the new tmpfs"),
    word("unbindable", propagation(UNBINDABLE, false), "private, and no source of binds"),
];

/// crun's words for flags of the superblock on a whole tree, each with the word for the file system itself. mount_setattr(2)
/// changes attributes of mounts; a flag of the superblock is the file system's, wherever else it is mounted. crun 1.28 passes the
/// numbers on as attributes of mounts, which the kernel refuses (`rsync`, `rasync`, `rmand`, `rnomand`) or takes for
/// `rnodiratime` (`rdirsync`).
const OF_NO_TREE: &[(&str, &str)] =
    &[("rasync", "async"), ("rdirsync", "dirsync"), ("rmand", "mand"), ("rnomand", "nomand"), ("rsync", "sync")];

/// The file systems whose own options include `acl` and `noacl`; others would refuse the words.
const ACL_FILE_SYSTEMS: &[&str] =
    &["btrfs", "ceph", "ext2", "ext3", "ext4", "f2fs", "gfs2", "nfs", "nfs4", "ntfs3", "ocfs2"];

/// The words, as `features` lists them in `mountOptions`.
pub fn words() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|line| line.word)
}

/// What a mount's options say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The effects.
    pub options: MountOptions,
    /// The maps of `idmap=uids=…;gids=…`; empty without the form.
    pub id_maps: IdMaps,
    /// The maps' second numbers are ids in the container's user namespace (`uids=@…`), not on the host: users, groups.
    pub relative: (bool, bool),
}

/// Understands the options of one mount. `fstype` is its type (a bind is decided by the words alone), `origin` the
/// list's place.
///
/// # Errors
/// A file system's option on a bind, one of [`OF_NO_TREE`], or an `idmap=` that is no map.
pub fn parse(words: &[String], fstype: Option<&str>, origin: &Origin) -> Result<Parsed> {
    let mut parsed = Parsed::default();
    let is_bind = words.iter().any(|word| word == "bind" || word == "rbind") || fstype == Some("bind");
    for (index, text) in words.iter().enumerate() {
        if let Ok(line) = TABLE.binary_search_by(|line| line.word.cmp(text)) {
            apply(&mut parsed.options, &TABLE[line], is_bind, fstype);
        } else if let Some((scope, maps)) = custom_idmap(text) {
            parsed.options.idmap = Some(scope);
            read_maps(maps, &mut parsed).map_err(|error| error.at(&origin.child(index)))?;
        } else if let Some((word, single)) = OF_NO_TREE.iter().find(|(word, _)| word == text) {
            let what =
                format!("{word:?} wants a flag of file systems for a tree of mounts, which no system call can give");
            let hint = format!("{single:?} is for the mount that makes a file system");
            return Err(Error::input(what).at(&origin.child(index)).hint(hint));
        } else if is_bind && !text.is_empty() {
            let error = Error::input(format!("a bind mount takes no file-system option {text:?}"));
            let error = error.at(&origin.child(index));
            return Err(match super::from_oci::nearest(text, self::words()) {
                Some(word) => error.hint(format!("did you mean {word:?}?")),
                None => error,
            });
        } else {
            parsed.options.data.extend(split(text));
        }
    }
    Ok(parsed)
}

fn apply(options: &mut MountOptions, line: &Word, is_bind: bool, fstype: Option<&str>) {
    let (set, clear) = (&mut options.set, &mut options.clear);
    match line.effect {
        Effect::Nothing => {}
        Effect::Bind(Bind::Single) => drop(options.bind.get_or_insert(Bind::Single)),
        Effect::Bind(Bind::Recursive) => options.bind = Some(Bind::Recursive),
        Effect::Set(bits) => switch(set, clear, bits, 0),
        Effect::Clear(bits) => switch(set, clear, 0, bits),
        Effect::Atime(choice) => switch(set, clear, choice, attr::ATIME),
        Effect::AtimeOff(choice) if *set & attr::ATIME == choice || *clear & attr::ATIME == 0 => {
            switch(set, clear, 0, attr::ATIME);
        }
        Effect::AtimeOff(_) => {}
        Effect::RecursiveSet(bits) => switch(&mut options.recursive_set, &mut options.recursive_clear, bits, 0),
        Effect::RecursiveClear(bits) => switch(&mut options.recursive_set, &mut options.recursive_clear, 0, bits),
        Effect::RecursiveAtime(choice) => {
            switch(&mut options.recursive_set, &mut options.recursive_clear, choice, attr::ATIME);
        }
        Effect::ReadOnly(yes) => {
            if yes {
                switch(set, clear, attr::RDONLY, 0)
            } else {
                switch(set, clear, 0, attr::RDONLY)
            }
            if !is_bind {
                options.data.push((line.word.into(), None));
            }
        }
        Effect::Superblock if !is_bind => options.data.push((line.word.into(), None)),
        Effect::Superblock => {}
        Effect::Acl if fstype.is_some_and(|name| ACL_FILE_SYSTEMS.contains(&name)) => {
            options.data.push((line.word.into(), None));
        }
        Effect::Acl => {}
        Effect::Propagation(change) => options.propagation.push(change),
        Effect::Remount => options.remount = true,
        Effect::CopyUp => options.copy_up = true,
        Effect::Idmap(scope) => options.idmap = Some(scope),
        Effect::SourceNofollow => options.source_nofollow = true,
        Effect::DestinationNofollow => options.destination_nofollow = true,
        Effect::CopySymlink => options.copy_symlink = true,
    }
}

/// The later word wins: no bit is in both.
fn switch(set: &mut u64, clear: &mut u64, on: u64, off: u64) {
    *set = (*set & !off) | on;
    *clear = (*clear | off) & !on;
}

/// A file system's option: at commas into parts, each at `=` into name and value. Quotes keep commas together
/// (`context="…:c1,c2"`), and are dropped: the mount API takes values as they are.
fn split(text: &str) -> Vec<(String, Option<String>)> {
    let mut parts = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b',' if !quoted && !escaped => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            b'"' => quoted = !quoted,
            _ => {}
        }
        // overlay's own form: `\,` is part of a path.
        escaped = byte == b'\\' && !escaped;
    }
    parts.push(&text[start..]);
    let unquoted =
        |value: &str| value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value).to_owned();
    let pair = |part: &str| match part.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(unquoted(value))),
        None => (part.to_owned(), None),
    };
    parts.into_iter().filter(|part| !part.is_empty()).map(pair).collect()
}

/// `idmap=uids=…` and `ridmap=uids=…`: the scope and what follows.
fn custom_idmap(text: &str) -> Option<(IdmapScope, &str)> {
    match text.split_once('=')? {
        ("idmap", maps) => Some((IdmapScope::Single, maps)),
        ("ridmap", maps) => Some((IdmapScope::Recursive, maps)),
        _ => None,
    }
}

/// `uids=0-1000-1#1-5000-10;gids=@0-0-1`: first id in the file system, first id it becomes, how many.
fn read_maps(text: &str, parsed: &mut Parsed) -> Result<()> {
    for part in text.split(';') {
        let (list, relative, ranges) = match part.split_once('=') {
            Some(("uids", ranges)) => (&mut parsed.id_maps.users, &mut parsed.relative.0, ranges),
            Some(("gids", ranges)) => (&mut parsed.id_maps.groups, &mut parsed.relative.1, ranges),
            _ => return Err(Error::input(format!("idmap has {part:?} where uids=… or gids=… is expected"))),
        };
        *relative = ranges.starts_with('@');
        for range in ranges.strip_prefix('@').unwrap_or(ranges).split('#') {
            list.push(read_range(range)?);
        }
    }
    if parsed.id_maps.users.is_empty() || parsed.id_maps.groups.is_empty() {
        return Err(Error::input("idmap needs both uids and gids"));
    }
    Ok(())
}

fn read_range(text: &str) -> Result<IdMap> {
    let number = |text: &str| {
        // `parse` alone would take a plus sign.
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u32>().ok()).flatten()
    };
    let numbers: Vec<Option<u32>> = text.split('-').map(number).collect();
    match numbers[..] {
        [Some(container), Some(host), Some(size)] => Ok(IdMap { container, host, size }),
        _ => Err(Error::input(format!("idmap range {text:?} is not FIRST-HOST-COUNT"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str], fstype: &str) -> Parsed {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        parse(&words, Some(fstype), &Origin::fixed("/mounts/0/options")).unwrap()
    }

    fn options(words: &[&str], fstype: &str) -> MountOptions {
        parsed(words, fstype).options
    }

    fn refusal(words: &[&str]) -> String {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        parse(&words, None, &Origin::fixed("/mounts/0/options")).unwrap_err().to_string()
    }

    #[test]
    fn the_table_is_sorted_and_complete() {
        assert!(TABLE.windows(2).all(|pair| pair[0].word < pair[1].word));
        assert!(TABLE.iter().all(|line| !line.help.is_empty()));
        // The spec's MUST list and its recursive one.
        for must in [
            "async atime bind defaults dev diratime dirsync exec iversion lazytime loud noatime nodev nodiratime noexec",
            "noiversion nolazytime norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime relatime",
            "remount rexec rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate",
            "rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime",
            "suid symfollow sync unbindable mand nomand tmpcopyup idmap ridmap",
        ]
        .iter()
        .flat_map(|line| line.split(' '))
        {
            assert!(words().any(|word| word == must), "{must}");
        }
    }

    #[test]
    fn flags_of_file_systems_are_refused_for_trees() {
        for word in ["rasync", "rdirsync", "rmand", "rnomand", "rsync"] {
            for (fstype, kind) in [("none", "rbind"), ("tmpfs", "rw")] {
                let error = parse(&[kind.to_owned(), word.to_owned()], Some(fstype), &Origin::fixed("/o")).unwrap_err();
                let text = error.to_string();
                assert!(text.starts_with(&format!("/o/1: {word:?} wants a flag of file systems for a tree")), "{text}");
                assert!(text.contains(&format!("{:?} is for the mount", &word[1..])), "{text}");
            }
            assert!(words().all(|known| known != word), "features must not promise it");
        }
    }

    #[test]
    fn later_words_win() {
        let both = options(&["ro", "nosuid", "rw", "nodev", "suid"], "tmpfs");
        assert_eq!((both.set, both.clear), (attr::NODEV, attr::RDONLY | attr::NOSUID));
        assert_eq!(both.data, [("ro".into(), None), ("rw".into(), None)]);
        assert_eq!(options(&["suid", "nosuid"], "tmpfs").clear, 0);
        let tree = options(&["rro", "rrw", "rnoexec", "rbind"], "none");
        assert_eq!((tree.recursive_set, tree.recursive_clear), (attr::NOEXEC, attr::RDONLY));
    }

    #[test]
    fn no_bit_is_set_and_cleared_whatever_the_words() {
        for first in words() {
            for second in words() {
                for third in ["noatime", "strictatime", "ro", "rrw", "defaults"] {
                    let all = options(&[first, second, third], "tmpfs");
                    assert_eq!(
                        (all.set & all.clear, all.recursive_set & all.recursive_clear),
                        (0, 0),
                        "{first} {second}"
                    );
                    // At most one of the field's choices: 0x10 and 0x20 together are no choice.
                    assert_ne!(all.set & attr::ATIME, attr::NOATIME | attr::STRICTATIME, "{first} {second} {third}");
                }
            }
        }
    }

    #[test]
    fn access_times_are_one_field() {
        let strict = options(&["noatime", "strictatime"], "tmpfs");
        assert_eq!((strict.set, strict.clear), (attr::STRICTATIME, attr::ATIME & !attr::STRICTATIME));
        let back = options(&["noatime", "atime"], "tmpfs");
        assert_eq!((back.set, back.clear), (0, attr::ATIME));
        let kept = options(&["strictatime", "atime"], "tmpfs");
        assert_eq!((kept.set, kept.clear), (attr::STRICTATIME, attr::ATIME & !attr::STRICTATIME));
        let relative = options(&["rnoatime", "rrelatime", "nodiratime"], "none");
        assert_eq!((relative.recursive_set, relative.recursive_clear), (0, attr::ATIME));
        assert_eq!(relative.set, attr::NODIRATIME);
    }

    #[test]
    fn superblock_words_are_for_file_systems_only() {
        assert_eq!(options(&["sync", "ro", "bind"], "none").data, []);
        assert_eq!(options(&["sync", "ro", "bind"], "none").set, attr::RDONLY);
        assert_eq!(options(&["acl"], "tmpfs").data, []);
        assert_eq!(options(&["noacl"], "ext4").data, [("noacl".into(), None)]);
    }

    #[test]
    fn data_is_split_as_the_kernel_would() {
        let some = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
        let label = "context=\"system_u:object_r:container_file_t:s0:c1,c2\"";
        let data = options(&["mode=755,size=64k", "", label, "nr_inodes=5", "noswap"], "tmpfs").data;
        let expected = [
            some("mode", "755"),
            some("size", "64k"),
            some("context", "system_u:object_r:container_file_t:s0:c1,c2"),
            some("nr_inodes", "5"),
            ("noswap".into(), None),
        ];
        assert_eq!(data, expected);
        assert_eq!(options(&["lowerdir=/a\\,b:/c,upperdir=/u"], "overlay").data[0], some("lowerdir", "/a\\,b:/c"));
    }

    #[test]
    fn a_bind_refuses_what_the_kernel_would_ignore() {
        let text = refusal(&["rbind", "size=64k"]);
        assert_eq!(text, "/mounts/0/options/1: a bind mount takes no file-system option \"size=64k\"");
        assert!(refusal(&["nosiud", "bind"]).ends_with("(did you mean \"nosuid\"?)"));
        assert_eq!(options(&["bind", "rbind"], "none").bind, Some(Bind::Recursive));
        assert_eq!(options(&["rbind", "bind"], "none").bind, Some(Bind::Recursive));
    }

    #[test]
    fn custom_maps_are_read_strictly() {
        let map = |container, host, size| IdMap { container, host, size };
        let maps = parsed(&["bind", "idmap=uids=0-1-10#10-11-10;gids=@0-100-10"], "none");
        assert_eq!(maps.options.idmap, Some(IdmapScope::Single));
        assert_eq!(maps.id_maps.users, [map(0, 1, 10), map(10, 11, 10)]);
        assert_eq!((maps.id_maps.groups, maps.relative), (vec![map(0, 100, 10)], (false, true)));
        for wrong in ["idmap=uids=0-1-1", "idmap=uids=0-1;gids=0-1-1", "idmap=uids=+0-1-1;gids=0-1-1", "ridmap=x"] {
            assert!(refusal(&["bind", wrong]).starts_with("/mounts/0/options/1: idmap"), "{wrong}");
        }
        assert!(refusal(&["idmap=uids=0-99999999999-1;gids=0-0-1"]).contains("FIRST-HOST-COUNT"));
    }

    #[test]
    fn propagation_keeps_its_order() {
        let changes = options(&["rslave", "shared"], "none").propagation;
        let expected = [Propagation { kind: SLAVE, recursive: true }, Propagation { kind: SHARED, recursive: false }];
        assert_eq!(changes, expected);
    }
}
