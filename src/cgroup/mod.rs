//! Control groups: limits, devices, statistics, on v2, v1 and hybrid machines.
//!
//! Three stages that do not mix: [`Layout`] is what this machine has, [`plan()`] decides what will be written (pure, for
//! `explain` and tests), [`create()`] and [`Group`] carry it out and look after what exists.

mod controllers;
mod create;
pub mod devices;
mod files;
mod group;
mod layout;
mod legacy;
pub mod list;
mod oom;
mod owner;
mod path;
mod plan;
mod resources;
mod rules;
pub mod stats;
pub mod systemd;
mod unified;
mod update;

pub use create::{Created, create, create_unrestricted, restrict_devices};
pub use group::{Group, GroupDirectory};
pub use layout::{Layout, LegacyMount, Mode, UnifiedMount};
pub use oom::{OomEvent, OomWatch};
pub use path::Path;
pub use plan::{Action, Assignment, CgroupPlan, HierarchyPlan, Options, Placement, Step, Write, plan, plan_update};
pub use resources::{BlockIo, Cpu, HugePages, Memory, Network, Rdma, Resources, Throttle, WeightDevice, swap_beside};
pub use stats::Stats;
pub use unified::weight_of_shares;
pub use update::Applied;

#[cfg(test)]
mod live_tests;
#[cfg(test)]
mod tests;
