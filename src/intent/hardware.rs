//! What a container wants of the machine itself: memory nodes, processors, network devices, shares of
//! cache and memory bandwidth.

use super::Placed;
use crate::error::Origin;

/// Numbers of processors or memory nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// As written: `0-3,7`.
    pub list: String,
    /// Bit n of word n / 64 is number n; no more words than needed.
    pub words: Vec<u64>,
}

/// set_mempolicy(2) modes by the runtime-spec's words (linux/mempolicy.h).
pub const MEMORY_MODES: &[(&str, u32)] = &[
    ("MPOL_DEFAULT", 0),
    ("MPOL_PREFERRED", 1),
    ("MPOL_BIND", 2),
    ("MPOL_INTERLEAVE", 3),
    ("MPOL_LOCAL", 4),
    ("MPOL_PREFERRED_MANY", 5),
    ("MPOL_WEIGHTED_INTERLEAVE", 6),
];

/// Mode flags of set_mempolicy(2).
pub const MEMORY_FLAGS: &[(&str, u32)] =
    &[("MPOL_F_NUMA_BALANCING", 1 << 13), ("MPOL_F_RELATIVE_NODES", 1 << 14), ("MPOL_F_STATIC_NODES", 1 << 15)];

/// `linux.memoryPolicy`: where the container's memory comes from on a machine with several nodes (numa(7)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// The mode, a line of [`MEMORY_MODES`].
    pub mode: (&'static str, u32),
    /// All flags, bits of [`MEMORY_FLAGS`].
    pub flags: u32,
    /// The nodes; `None`: none.
    pub nodes: Option<Placed<Numbers>>,
    /// Its place in the input.
    pub origin: Origin,
}

/// An entry of `linux.netDevices`: a network device of the runtime's own namespace that goes into the container's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetDevice {
    /// Its name in the runtime's network namespace.
    pub device: String,
    /// Its name in the container; `%d` in it becomes the first free number there.
    pub name: String,
    /// Its place in the input.
    pub origin: Origin,
}

/// `linux.intelRdt`: a class of service and monitoring of the resource control file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntelRdt {
    /// The class of service by name, `/` for the default one; none: one of the container's own.
    pub class: Option<String>,
    /// Lines for the class's `schemata`, in their order: cache, memory bandwidth, then the others.
    pub schemata: Vec<String>,
    /// A monitoring group of the container's own.
    pub monitoring: bool,
    /// Its place in the input.
    pub origin: Origin,
}
