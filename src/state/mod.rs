//! What is remembered of a container between two calls of kiste: a directory per id below one root, made by mkdir(2)
//! (which makes one winner of all who want the id), a small record replaced by rename(2), the stored configuration, and
//! the two FIFOs of the start gate.
//!
//! Nothing here waits for another process under the lock: it is held for single transitions only. A container that is
//! being made is protected by its record, which names the creator; once that is dead, the container counts as stopped
//! and can be deleted.

mod directory;
mod gate;
mod id;
mod identity;
mod record;
mod root;
#[cfg(test)]
mod tests;

pub use directory::{Container, Guard, Reserved};
pub use gate::{GateEnds, LONGEST_FAILURE, Outcome, open_gate};
pub use id::check_id;
pub use identity::{ProcessIdentity, boot_id};
pub use record::{Phase, Record, Status};
pub use root::{StateRoot, default_root};
