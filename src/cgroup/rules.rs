//! Rules of limits: what no kernel takes, contradicts itself or would be no file's name. Every way in comes through here before
//! anything is made, and so does [`plan`](super::plan()).

use super::list;
use super::resources::Resources;
use crate::error::{Error, Origin, Result};

impl Resources {
    /// Checks all of them.
    ///
    /// # Errors
    /// The first that is broken, with its place.
    pub fn check(&self) -> Result<()> {
        self.check_memory()?;
        self.check_time()?;
        self.check_names()
    }

    fn place(&self, key: &str) -> Origin {
        self.origin.child(key)
    }

    fn check_memory(&self) -> Result<()> {
        let memory = &self.memory;
        let sizes = [
            ("memory/limit", memory.limit),
            ("memory/reservation", memory.reservation),
            ("memory/swap", memory.swap),
            ("cpu/quota", self.cpu.quota),
        ];
        for (key, value) in sizes {
            if let Some(value) = value.filter(|&value| value < -1) {
                let what = format!("{value} is neither a size nor -1 for unlimited");
                return Err(Error::input(what).at(&self.place(key)));
            }
        }
        match (memory.limit, memory.swap) {
            (Some(limit @ 1..), Some(swap @ 1..)) if swap < limit => {
                let what = format!("memory and swap together ({swap}) are less than memory alone ({limit})");
                Err(Error::input(what).at(&self.place("memory/swap")))
            }
            _ => Ok(()),
        }
    }

    /// The kernel's bounds (kernel/sched/core.c): periods from 1 ms to 1 s, at least 1 ms of time in each.
    fn check_time(&self) -> Result<()> {
        let cpu = &self.cpu;
        if let Some(period) = cpu.period.filter(|period| *period != 0 && !(1_000..=1_000_000).contains(period)) {
            let what = format!("a period goes from 1000 to 1000000 microseconds, found {period}");
            return Err(Error::input(what).at(&self.place("cpu/period")));
        }
        if let Some(quota) = cpu.quota.filter(|quota| (1..1_000).contains(quota)) {
            let what = format!("a quota is at least 1000 microseconds, found {quota}");
            return Err(Error::input(what).at(&self.place("cpu/quota")));
        }
        match (cpu.burst, cpu.quota) {
            (Some(burst), Some(quota @ 1..)) if burst > quota.unsigned_abs() => {
                let what = format!("a burst of {burst} is above the quota of {quota}");
                Err(Error::input(what).at(&self.place("cpu/burst")))
            }
            _ => Ok(()),
        }
    }

    /// Texts that become a file's name or a line in one.
    fn check_names(&self) -> Result<()> {
        for (key, text) in [("cpu/cpus", &self.cpu.cpus), ("cpu/mems", &self.cpu.mems)] {
            if let Some(text) = text.as_ref().filter(|text| !list::is_list(text)) {
                let what = format!("expected a list such as \"0-3,7\", found {}", shown(text));
                return Err(Error::input(what).at(&self.place(key)));
            }
        }
        for (index, pages) in self.huge_pages.iter().enumerate() {
            let size = &pages.page_size;
            let digits = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit)).unwrap_or("");
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                let what = format!("expected a page size such as \"2MB\", found {}", shown(size));
                return Err(Error::input(what).at(&self.place(&format!("hugepageLimits/{index}/pageSize"))));
            }
        }
        for (index, device) in self.block_io.weight_device.iter().enumerate() {
            // 0 is how Go callers leave it out.
            if device.weight.unwrap_or(0) == 0 && device.leaf_weight.unwrap_or(0) == 0 {
                let place = self.place(&format!("blockIO/weightDevice/{index}"));
                return Err(Error::input("neither a weight nor a leafWeight").at(&place));
            }
        }
        for (name, limits) in &self.rdma {
            let place = || self.place("rdma").child(name.replace('~', "~0").replace('/', "~1"));
            if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
                return Err(Error::input("no RDMA device's name").at(&place()));
            }
            if limits.hca_handles.is_none() && limits.hca_objects.is_none() {
                return Err(Error::input("neither hcaHandles nor hcaObjects").at(&place()));
            }
        }
        Ok(())
    }
}

/// A text of the input, quoted, no longer than a sentence bears.
fn shown(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}
