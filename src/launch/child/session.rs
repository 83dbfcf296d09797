//! Session and terminal (INV-11), groups and keyring.

use super::{Child, Done, Naming, fail};
use crate::kernel::{abi, raw};
use crate::plan::arena::Bytes;
use crate::plan::report::{Call, Message, Record};
use crate::plan::{Slot, Text};

/// devpts' magic (statfs(2)); the libc crate has no constant for it.
const DEVPTS_MAGIC: i64 = 0x1cd1;
/// That of pipe(2)'s file system (linux/magic.h).
const PIPEFS_MAGIC: i64 = 0x5049_5045;

impl Child<'_> {
    pub(super) fn become_root(&self, groups: bool) -> Done {
        raw::setresgid(0).named(Call::SetGid)?;
        if groups {
            raw::setgroups(&[]).named(Call::SetGroups)?;
        }
        raw::setresuid(0).named(Call::SetUid)?;
        Ok(())
    }

    /// `0` is the process that writes.
    pub(super) fn join_group(&self, tasks: Slot) -> Done {
        raw::write(self.slot(tasks)?, b"0").named(Call::Write).map(drop)
    }

    pub(super) fn keyring(&self, name: Text) -> Done {
        let mut serial = match raw::join_session_keyring(Some(self.arena.c_str(name))) {
            Ok(serial) => serial,
            // A kernel without keyrings has none of the caller's to leave behind.
            Err(libc::ENOSYS) => return Ok(()),
            Err(errno) => return fail(Call::Keyctl, errno),
        };
        if !is_own_keyring(serial) {
            // Somebody guessed the name, made it before and lets everybody search it: it could be read and filled from there.
            serial = raw::join_session_keyring(None).named(Call::Keyctl)?;
        }
        // Possessor: all; user: view, read, write, search, link, as the peers leave it (keyctl(2)).
        match raw::keyring_permissions(serial, 0x3f1b_0000) {
            Ok(_) | Err(libc::EACCES) => Ok(()),
            Err(errno) => fail(Call::Keyctl, errno),
        }
    }

    pub(super) fn open_terminal(&mut self, root: Slot, size: (u16, u16), master: Slot, peer: Slot) -> Done {
        let flags = abi::O_RDWR | libc::O_NOCTTY;
        let ptmx = self.open_ptmx(self.slot(root)?, flags)?;
        raw::unlock_pty(ptmx).named(Call::Ioctl)?;
        // The peer by descriptor, never by name: the image can't put another node in between.
        let options = (flags | abi::O_CLOEXEC) as usize;
        let terminal = raw::ioctl(ptmx, libc::TIOCGPTPEER, options).named(Call::Terminal)? as i32;
        if size != (0, 0) {
            raw::set_window_size(terminal, size.0, size.1).named(Call::Ioctl)?;
        }
        self.put(master, ptmx)?;
        self.put(peer, terminal)
    }

    /// ptmx of the container's devpts. Nothing but a devpts is opened for more than looking at it: an image may have a
    /// FIFO or any device at this place, and opening one may block or do something.
    fn open_ptmx(&self, root: i32, flags: i32) -> Done<i32> {
        const PTMX: (u32, u32) = (5, 2);
        let devpts = self.open_in(root, c"dev/pts", abi::O_PATH | abi::O_DIRECTORY).named(Call::Open)?;
        if raw::file_system_magic(devpts).named(Call::Statx)? != DEVPTS_MAGIC {
            return fail(Call::Verify, libc::ENOTTY);
        }
        // devpts itself lets nobody make or rename names; what is mounted over one is refused.
        let how = abi::OpenHow {
            flags: (flags | abi::O_CLOEXEC) as u64,
            mode: 0,
            resolve: libc::RESOLVE_BENEATH | abi::RESOLVE_NO_XDEV | libc::RESOLVE_NO_SYMLINKS,
        };
        let ptmx = raw::openat2(devpts, c"ptmx", &how).named(Call::Open)?;
        let _ = raw::close(devpts);
        let status = raw::statx(ptmx, c"", abi::AT_EMPTY_PATH).named(Call::Statx)?;
        let device = (status.stx_rdev_major, status.stx_rdev_minor);
        if device == PTMX { Ok(ptmx) } else { fail(Call::Verify, libc::ENOTTY) }
    }

    pub(super) fn send_descriptor(&self, socket: Slot, descriptor: Slot, payload: Text) -> Done {
        let descriptor = self.slot(descriptor)?;
        // Slot 0 is the report socket: the parent's own loop takes the terminal there.
        if socket.0 == 0 {
            let record = Record::new(Message::Terminal, 0).encode();
            raw::send_descriptor(self.report, &record, descriptor).named(Call::SendMessage)?;
            return Ok(());
        }
        let payload = self.arena.c_str(payload).to_bytes();
        raw::send_descriptor(self.slot(socket)?, payload, descriptor).named(Call::SendMessage)?;
        Ok(())
    }

    pub(super) fn bind_console(&self, root: Slot, peer: Slot) -> Done {
        let root = self.slot(root)?;
        let console = match self.open_in(root, c"dev/console", abi::O_PATH | abi::O_NOFOLLOW) {
            Ok(console) => console,
            Err(libc::ENOENT) => {
                let dev = self.open_in(root, c"dev", abi::O_PATH | abi::O_DIRECTORY).named(Call::Open)?;
                raw::mknodat(dev, c"console", libc::S_IFREG | 0o600, 0).named(Call::Mknod)?;
                self.open_in(root, c"dev/console", abi::O_PATH | abi::O_NOFOLLOW).named(Call::Open)?
            }
            Err(errno) => return fail(Call::Open, errno),
        };
        let tree = self.clone_of(self.slot(peer)?, false)?;
        raw::move_mount(tree, console).named(Call::MoveMount)?;
        Ok(())
    }

    pub(super) fn adopt_terminal(&self, peer: Slot, uid: u32) -> Done {
        let peer = self.slot(peer)?;
        raw::ioctl(peer, libc::TIOCSCTTY, 0).named(Call::Ioctl)?;
        for number in 0..3 {
            raw::dup3(peer, number, 0).named(Call::Dup)?;
        }
        if uid != 0 {
            raw::fchownat(peer, c"", uid, u32::MAX, abi::AT_EMPTY_PATH).named(Call::Chown)?;
        }
        Ok(())
    }

    pub(super) fn own_pipes(&self, uid: u32) -> Done {
        for number in 0..3 {
            let Ok(status) = raw::statx(number, c"", abi::AT_EMPTY_PATH) else { continue };
            let is_pipe = status.stx_mode as u32 & libc::S_IFMT == libc::S_IFIFO;
            // A FIFO with a name is a file of the host and keeps its owner; only pipe(2)'s are given away.
            if is_pipe && status.stx_uid != uid && raw::file_system_magic(number) == Ok(PIPEFS_MAGIC) {
                // A pipe of another user namespace can't be given away: the payload has it open all the same.
                let _ = raw::fchownat(number, c"", uid, u32::MAX, abi::AT_EMPTY_PATH);
            }
        }
        Ok(())
    }

    pub(super) fn scheduler(&self, attributes: Bytes) -> Done {
        let mut words = [0u64; 7];
        for (word, bytes) in words.iter_mut().zip(self.arena.get(attributes).chunks_exact(8)) {
            *word = bytes.iter().rev().fold(0, |number, byte| number << 8 | *byte as u64);
        }
        raw::sched_setattr(0, &words).named(Call::SchedSetattr)?;
        Ok(())
    }
}

/// Whether a keyring belongs to this process's user: "keyring;UID;GID;PERMISSIONS;NAME" (keyctl_describe(3)).
fn is_own_keyring(serial: usize) -> bool {
    // The kernel writes nothing into a buffer that is too small; an id has at most 1024 bytes.
    let mut text = [0u8; 1536];
    let own = raw::geteuid();
    if raw::describe_keyring(serial, &mut text).is_err() {
        return false;
    }
    let digits = text.split(|byte| *byte == b';').nth(1).unwrap_or(&[]);
    let number = digits.iter().fold(0, |number, digit| number * 10 + digit.wrapping_sub(b'0') as usize);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) && digits.len() <= 10 && own == Ok(number)
}
