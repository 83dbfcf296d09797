//! What sandboxes are lowered with: no id, no record, no control group; the caller's own descriptors are the payload's.

use std::collections::BTreeMap;

use crate::cgroup::Layout;
use crate::error::{Error, Result};
use crate::host::{Facts, Needs};
use crate::intent::Intent;
use crate::lowering::{CgroupDriver, Console, Request, lower};
use crate::plan::Plan;

/// What a sandbox is lowered with.
#[derive(Debug)]
pub(super) struct Surroundings {
    /// The machine.
    pub facts: Facts,
    /// Its control groups.
    pub layout: Layout,
    /// The caller's highest open descriptor.
    pub highest: i32,
}

impl Surroundings {
    /// Reads them, before anything is opened.
    ///
    /// # Errors
    /// When /proc can't be read.
    pub(super) fn read() -> Result<Self> {
        let failed = |error: std::io::Error| Error::refused("cannot list the open descriptors").io("readdir", &error);
        let mut highest = 2;
        for entry in std::fs::read_dir("/proc/self/fd").map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let number = name.to_str().and_then(|name| name.parse::<i32>().ok()).unwrap_or(0);
            // The listing has a descriptor of its own, which is closed by execve.
            if crate::host::is_inherited(number) {
                highest = highest.max(number);
            }
        }
        Ok(Surroundings { facts: Facts::for_start(&Needs::default())?, layout: Layout::read()?, highest })
    }

    /// The plan of a sandbox.
    ///
    /// # Errors
    /// What this machine can't give.
    pub(super) fn plan(&self, intent: &Intent) -> Result<Plan> {
        lower(Request {
            intent,
            facts: &self.facts,
            layout: &self.layout,
            id: "sandbox",
            console: Console::None,
            gated: false,
            no_pivot: false,
            no_new_keyring: true,
            preserved: (self.highest - 2) as u32,
            extra_env: Vec::new(),
            notify_directory: None,
            host_entries: Vec::new(),
            pinned: Vec::new(),
            symlinks: BTreeMap::new(),
            cgroups: CgroupDriver::Disabled,
            hard_limits: BTreeMap::new(),
        })
    }
}
