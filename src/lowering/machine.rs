//! All that a plan depends on beside the input, as `explain --facts FILE` keeps it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::story::HostEntry;
use crate::cgroup::Layout;
use crate::host::Facts;

/// One machine and one user on it. The same input and the same machine give the same plan, wherever it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// What [`Facts`] reads.
    pub facts: Facts,
    /// The control groups.
    pub cgroups: Layout,
    /// What the embedded default shows of the host's root.
    #[serde(default)]
    pub host_entries: Vec<HostEntry>,
    /// Where mount namespaces are pinned, if a bind asks for a tree that may hold one.
    #[serde(default)]
    pub pinned: Vec<std::path::PathBuf>,
    /// The runtime's own hard limits, by `RLIMIT_*`; one that is not listed is unlimited.
    #[serde(default)]
    pub hard_limits: BTreeMap<u32, u64>,
}
