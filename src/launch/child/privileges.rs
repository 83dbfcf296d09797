//! Giving up rights: each step succeeds or the payload never starts (INV-00, INV-07 to INV-09).

use super::{Child, Done, Naming, fail};
use crate::kernel::raw;
use crate::plan::Slot;
use crate::plan::arena::Bytes;
use crate::plan::report::{Call, Message, Record};

impl Child<'_> {
    pub(super) fn prctl(&self, option: i32, argument: usize) -> Done {
        raw::prctl(option, argument, 0, 0, 0).named(Call::Prctl).map(drop)
    }

    pub(super) fn no_new_privileges(&self) -> Done {
        self.prctl(libc::PR_SET_NO_NEW_PRIVS, 1)?;
        match raw::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0).named(Call::Prctl)? {
            1 => Ok(()),
            _ => fail(Call::Verify, libc::EPERM),
        }
    }

    pub(super) fn install_filter(&mut self, index: usize, program: Bytes, flags: u32, listener: Option<Slot>) -> Done {
        let result = raw::seccomp_filter(flags, self.arena.get(program)).named(Call::Seccomp)?;
        if listener.is_some() {
            let mut record = Record::new(Message::Listener, index as u32);
            record.errno = result as i32;
            raw::send_descriptor(self.report, &record.encode(), result as i32).named(Call::SendMessage)?;
            let _ = raw::close(result as i32);
        }
        Ok(())
    }

    pub(super) fn drop_bounding(&self, keep: u64, last: u8) -> Done {
        for capability in 0..=last.min(63) {
            if keep & (1u64 << capability) == 0 {
                self.prctl(libc::PR_CAPBSET_DROP, capability as usize)?;
            }
        }
        Ok(())
    }

    pub(super) fn set_ids(&self, uid: u32, gid: u32) -> Done {
        raw::setresgid(gid).named(Call::SetGid)?;
        raw::setresuid(uid).named(Call::SetUid)?;
        Ok(())
    }

    pub(super) fn set_capabilities(&self) -> Done {
        let Some(sets) = self.arena.capabilities else { return fail(Call::Verify, libc::EINVAL) };
        let wanted = (sets.effective, sets.permitted, sets.inheritable);
        raw::capset(wanted.0, wanted.1, wanted.2).named(Call::Capset)?;
        // Some outer sandbox may answer in the kernel's place: what is in force is what counts (INV-07).
        if raw::capget().named(Call::Capset)? == wanted { Ok(()) } else { fail(Call::Verify, libc::EPERM) }
    }

    pub(super) fn ambient(&self, mask: u64) -> Done {
        let command = libc::PR_CAP_AMBIENT;
        raw::prctl(command, libc::PR_CAP_AMBIENT_CLEAR_ALL as usize, 0, 0, 0).named(Call::Prctl)?;
        for capability in (0..64).filter(|number| mask & (1u64 << number) != 0) {
            raw::prctl(command, libc::PR_CAP_AMBIENT_RAISE as usize, capability, 0, 0).named(Call::Prctl)?;
        }
        Ok(())
    }
}
