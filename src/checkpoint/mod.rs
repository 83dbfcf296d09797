//! Checkpoint and restore: processes become files and files become processes. That is CRIU's work (criu.org); here is
//! what it must be told, what is asked of the container before, and what is looked at after.
//!
//! - CRIU is run by an absolute path of the host and spoken to in its own protocol ([`program`], [`protocol`], [`wire`]).
//! - What a container has from outside (binds, joined namespaces, 0 to 2) is named to CRIU by keys that kiste makes up
//!   ([`mount_table`]); no path of the container is a key (INV-21).
//! - Before a dump, [`check`] tells in a sentence what CRIU can't dump. A failure of CRIU's own quotes its log ([`log`]).
//! - After a restore, before the processes run, the mounts are compared with what they must be.

mod check;
mod dump;
mod images;
mod log;
mod mount_table;
mod program;
mod protocol;
mod restore;
mod staging;
mod wire;

pub use dump::{Checkpoint, checkpoint};
pub use mount_table::Bound;
pub use protocol::{CgroupMode, NetworkLock, PageServer, Wishes};
pub use restore::{Event, Groups, Restore, has_bind, restore};
pub use staging::Tree;
