//! set_mempolicy(2)'s rules for mode, flags and nodes.

use crate::error::{Error, Result};
use crate::intent::Intent;
use crate::intent::hardware::MEMORY_FLAGS;

pub(super) fn check(intent: &Intent) -> Result<()> {
    let Some(policy) = &intent.memory_policy else { return Ok(()) };
    let mode = policy.mode.0;
    let flag = |word: &str| MEMORY_FLAGS.iter().any(|(name, bit)| *name == word && policy.flags & bit != 0);
    let (fixed, relative) = (flag("MPOL_F_STATIC_NODES"), flag("MPOL_F_RELATIVE_NODES"));
    let refuse = |key: &str, what: String| Err(Error::input(what).at(&policy.origin.child(key)));
    if fixed && relative {
        return refuse("flags", "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other".into());
    }
    if flag("MPOL_F_NUMA_BALANCING") && !matches!(mode, "MPOL_BIND" | "MPOL_PREFERRED_MANY") {
        return refuse(
            "flags",
            format!("MPOL_F_NUMA_BALANCING is for MPOL_BIND and MPOL_PREFERRED_MANY, not for {mode}"),
        );
    }
    match (mode, &policy.nodes) {
        ("MPOL_DEFAULT" | "MPOL_LOCAL", Some(_)) => refuse("nodes", format!("{mode} takes no nodes")),
        // The kernel drops the flags of the default, and refuses those of the others.
        ("MPOL_LOCAL" | "MPOL_PREFERRED", None) if fixed || relative => {
            refuse("flags", format!("{mode} without nodes takes no flag about nodes"))
        }
        ("MPOL_DEFAULT" | "MPOL_LOCAL" | "MPOL_PREFERRED", None) | (_, Some(_)) => Ok(()),
        (_, None) => refuse("nodes", format!("{mode} needs nodes")),
    }
}
