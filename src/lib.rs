//! kiste: one engine for OCI containers, guests and sandboxes.

#![deny(unsafe_op_in_unsafe_fn)]
#![warn(missing_docs)]

pub mod cgroup;
pub mod cli;
pub mod error;
pub mod host;
pub mod intent;
pub mod kernel;
pub mod launch;
pub mod log;
pub mod lowering;
pub mod plan;
pub mod seccomp;
pub mod state;
pub mod time;
