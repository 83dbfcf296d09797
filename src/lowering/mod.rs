//! Intent + facts of this host → plan. The only place that decides; it reads nothing and makes nothing.
//!
//! [`order`] is the whole sequence, one line a step. Each line is a function of one of the other files, which appends
//! operations to a [`Story`].

#![forbid(unsafe_code)]

mod cgroup_view;
mod devices;
mod files;
mod host_view;
mod joining;
mod kernel_state;
mod live_mounts;
mod machine;
mod mounts;
mod namespaces;
pub mod order;
mod privileges;
mod process;
mod root;
mod sandbox;
mod session;
mod story;

pub use joining::{JoinRequest, lower_exec};
pub use live_mounts::{lower_add_mounts, lower_remove_mounts};
pub use machine::Machine;
pub use order::lower;
pub use story::{CgroupDriver, Console, HostEntry, HostEntryKind, Request, Story};
