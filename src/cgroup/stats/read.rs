//! Reading the files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cgroups_rs::fs::MaxValue;
use cgroups_rs::fs::cpuacct::CpuAcctController;
use cgroups_rs::fs::hugetlb::HugeTlbController;
use cgroups_rs::fs::pid::PidController;

use super::*;
use crate::error::{Error, Result};

/// A v1 or v2 directory that has a controller.
struct Place {
    path: PathBuf,
    v2: bool,
}

impl Place {
    /// The v1 hierarchy of the controller, else v2.
    fn of(group: &Group, legacy: &str) -> Option<Place> {
        let old = group.legacy(legacy).map(|path| Place { path, v2: false });
        old.or_else(|| group.unified().map(|path| Place { path, v2: true }))
    }

    fn text(&self, file: &str) -> String {
        // A controller that is off here has no such file: its figures are zero, as in runc.
        std::fs::read_to_string(self.path.join(file)).unwrap_or_default()
    }

    fn number(&self, file: &str) -> u64 {
        number(&self.text(file))
    }
}

pub(super) fn stats(group: &Group) -> Result<Stats> {
    if group.directories.is_empty() {
        return Err(Error::refused("the container has no cgroup and so no statistics"));
    }
    for directory in group.directories.iter().filter(|directory| !directory.late) {
        let path = directory.path();
        if !path.is_dir() {
            let error = Error::refused(format!("cannot read the statistics of cgroup {}", path.display()));
            return Err(error.call("stat", libc::ENOENT));
        }
    }
    let mut stats = Stats::default();
    cpu(group, &mut stats.cpu);
    if let Some(place) = Place::of(group, "cpuset") {
        cpuset(&place, &mut stats.cpuset);
    }
    if let Some(place) = Place::of(group, "memory") {
        if place.v2 { unified_memory(&place, &mut stats.memory) } else { legacy_memory(&place, &mut stats.memory) }
    }
    if let Some(place) = Place::of(group, "pids") {
        pids(&place, &mut stats.pids);
    }
    if let Some(place) = Place::of(group, "blkio") {
        if place.v2 { unified_io(&place, &mut stats.blkio) } else { legacy_io(&place, &mut stats.blkio) }
    }
    if let Some(place) = Place::of(group, "hugetlb") {
        hugetlb(&place, &mut stats.hugetlb);
    }
    if let Some(path) = group.unified() {
        stats.cpu.psi = pressure(&path, "cpu.pressure");
        stats.memory.psi = pressure(&path, "memory.pressure");
        stats.blkio.psi = pressure(&path, "io.pressure");
    }
    Ok(stats)
}

/// `max` is the largest number; nothing is zero.
fn number(text: &str) -> u64 {
    match text.trim() {
        "max" => u64::MAX,
        text => text.parse().unwrap_or(0),
    }
}

/// Lines of `name number`.
fn table(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?)))
        .collect()
}

fn cpu(group: &Group, stats: &mut CpuStats) {
    let throttled = |place: &Place| table(&place.text("cpu.stat"));
    let get = |table: &BTreeMap<String, u64>, key: &str| table.get(key).copied().unwrap_or(0);
    if let Some(path) = group.legacy("cpuacct") {
        legacy_cpu(&path, &mut stats.usage);
    } else if let Some(path) = group.unified() {
        let table = throttled(&Place { path, v2: true });
        stats.usage.total = get(&table, "usage_usec") * 1000;
        stats.usage.user = get(&table, "user_usec") * 1000;
        stats.usage.kernel = get(&table, "system_usec") * 1000;
    }
    if let Some(place) = Place::of(group, "cpu") {
        let table = throttled(&place);
        stats.throttling.periods = get(&table, "nr_periods");
        stats.throttling.throttled_periods = get(&table, "nr_throttled");
        stats.throttling.throttled_time = match place.v2 {
            true => get(&table, "throttled_usec") * 1000,
            false => get(&table, "throttled_time"),
        };
    }
}

fn legacy_cpu(path: &Path, usage: &mut CpuUsage) {
    // Both paths are the group's own: the second one is only used to tell the root apart.
    let read = CpuAcctController::new(path.into(), path.into()).cpuacct();
    let list = |text: &str| text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    usage.total = read.usage;
    usage.percpu = list(&read.usage_percpu);
    usage.percpu_kernel = list(&read.usage_percpu_sys);
    usage.percpu_user = list(&read.usage_percpu_user);
    usage.kernel = read.usage_sys;
    usage.user = read.usage_user;
}

fn cpuset(place: &Place, stats: &mut CpusetStats) {
    let list = |new: &str, old: &str| numbers(&place.text(if place.v2 { new } else { old }));
    stats.cpus = list("cpuset.cpus.effective", "cpuset.cpus");
    stats.mems = list("cpuset.mems.effective", "cpuset.mems");
    if place.v2 {
        return;
    }
    stats.cpu_exclusive = place.number("cpuset.cpu_exclusive");
    stats.mem_hardwall = place.number("cpuset.mem_hardwall");
    stats.mem_exclusive = place.number("cpuset.mem_exclusive");
    stats.memory_migrate = place.number("cpuset.memory_migrate");
    stats.memory_spread_page = place.number("cpuset.memory_spread_page");
    stats.memory_spread_slab = place.number("cpuset.memory_spread_slab");
    stats.memory_pressure = place.number("cpuset.memory_pressure");
    stats.sched_load_balance = place.number("cpuset.sched_load_balance");
    stats.sched_relax_domain_level = place.text("cpuset.sched_relax_domain_level").trim().parse().unwrap_or(0);
}

/// `0-2,7` as numbers.
pub(in crate::cgroup) fn numbers(list: &str) -> Vec<u16> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u16>().ok()?..=last.parse().ok()?)
    };
    list.trim().split(',').filter_map(range).flatten().collect()
}

fn unified_memory(place: &Place, stats: &mut MemoryStats) {
    stats.raw = table(&place.text("memory.stat"));
    stats.event_count = table(&place.text("memory.events"));
    stats.cache = stats.raw.get("file").copied().unwrap_or(0);
    stats.usage = MemoryEntry {
        limit: place.number("memory.max"),
        usage: place.number("memory.current"),
        max: place.number("memory.peak"),
        failcnt: stats.event_count.get("max").copied().unwrap_or(0),
    };
    // v2 counts swap by itself; readers expect the sum, as v1 has it.
    let limit = place.number("memory.swap.max");
    stats.swap = MemoryEntry {
        limit: if limit == u64::MAX { limit } else { limit.saturating_add(stats.usage.limit) },
        usage: place.number("memory.swap.current") + stats.usage.usage,
        max: 0,
        failcnt: table(&place.text("memory.swap.events")).get("fail").copied().unwrap_or(0),
    };
    // Without a limit Go programs see the largest unsigned number, as the kernel's file says "max".
    stats.kernel.usage = stats.raw.get("kernel").copied().unwrap_or(0);
    stats.kernel_tcp.usage = stats.raw.get("sock").copied().unwrap_or(0);
}

fn legacy_memory(place: &Place, stats: &mut MemoryStats) {
    let entry = |prefix: &str| MemoryEntry {
        limit: place.number(&format!("{prefix}.limit_in_bytes")),
        usage: place.number(&format!("{prefix}.usage_in_bytes")),
        max: place.number(&format!("{prefix}.max_usage_in_bytes")),
        failcnt: place.number(&format!("{prefix}.failcnt")),
    };
    stats.raw = table(&place.text("memory.stat"));
    stats.cache = stats.raw.get("cache").copied().unwrap_or(0);
    stats.usage = entry("memory");
    stats.swap = entry("memory.memsw");
    stats.kernel = entry("memory.kmem");
    stats.kernel_tcp = entry("memory.kmem.tcp");
    let control = table(&place.text("memory.oom_control"));
    stats.event_count = control.into_iter().filter(|(name, _)| name == "oom_kill").collect();
}

fn pids(place: &Place, stats: &mut PidsStats) {
    let controller = PidController::new(place.path.clone(), place.path.clone(), place.v2);
    stats.current = controller.get_pid_current().unwrap_or(0);
    stats.limit = match controller.get_pid_max() {
        Ok(MaxValue::Value(limit)) => u64::try_from(limit).unwrap_or(0),
        // No limit, or no controller.
        Ok(MaxValue::Max) | Err(_) => 0,
    };
}

fn hugetlb(place: &Place, stats: &mut BTreeMap<String, HugetlbStats>) {
    let controller = HugeTlbController::new(place.path.clone(), place.path.clone(), place.v2);
    for size in controller.get_sizes() {
        // Sizes the kernel has while the controller is off in this group have no files.
        let Ok(usage) = controller.usage_in_bytes(&size) else { continue };
        let max = controller.max_usage_in_bytes(&size).unwrap_or(0);
        let failcnt = controller.failcnt(&size).unwrap_or(0);
        stats.insert(size, HugetlbStats { usage, max, failcnt });
    }
}

fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`
fn unified_io(place: &Place, stats: &mut BlkioStats) {
    for line in place.text("io.stat").lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(device) else { continue };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut stats.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut stats.io_service_bytes_recursive, "Write"),
                "dbytes" => (&mut stats.io_service_bytes_recursive, "Discard"),
                "rios" => (&mut stats.io_serviced_recursive, "Read"),
                "wios" => (&mut stats.io_serviced_recursive, "Write"),
                "dios" => (&mut stats.io_serviced_recursive, "Discard"),
                _ => continue,
            };
            list.push(BlkioEntry { major, minor, op: op.into(), value: number(value) });
        }
    }
}

/// BFQ's files, else the old scheduler's, else those of the throttling layer, whichever counts something.
fn legacy_io(place: &Place, stats: &mut BlkioStats) {
    let read = |name: &str, throttled: bool| {
        let files = [format!("blkio.bfq.{name}_recursive"), format!("blkio.{name}_recursive")];
        let throttle = format!("blkio.throttle.{name}_recursive");
        let files = files.iter().chain(throttled.then_some(&throttle));
        files.map(|file| operations(&place.text(file))).find(|list| !list.is_empty()).unwrap_or_default()
    };
    stats.io_service_bytes_recursive = read("io_service_bytes", true);
    stats.io_serviced_recursive = read("io_serviced", true);
    stats.io_queued_recursive = read("io_queued", false);
    stats.io_service_time_recursive = read("io_service_time", false);
    stats.io_wait_time_recursive = read("io_wait_time", false);
    stats.io_merged_recursive = read("io_merged", false);
    stats.io_time_recursive = read("time", false);
    stats.sectors_recursive = read("sectors", false);
}

/// `8:0 Read 4096`, or `8:0 17` where operations are not told apart; the line of the sum has no device.
fn operations(text: &str) -> Vec<BlkioEntry> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (major, minor) = device(words.first()?)?;
        let op = if words.len() > 2 { words[1].to_owned() } else { String::new() };
        Some(BlkioEntry { major, minor, op, value: words.last()?.parse().ok()? })
    };
    text.lines().filter_map(line).collect()
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`; `None` where the kernel was booted without it.
fn pressure(directory: &Path, file: &str) -> Option<Pressure> {
    let text = std::fs::read_to_string(directory.join(file)).ok()?;
    let line = |name: &str| {
        let mut result = PressureLine::default();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        for (key, value) in line.split_whitespace().filter_map(|word| word.split_once('=')) {
            match key {
                "avg10" => result.avg10 = value.parse().unwrap_or(0.0),
                "avg60" => result.avg60 = value.parse().unwrap_or(0.0),
                "avg300" => result.avg300 = value.parse().unwrap_or(0.0),
                "total" => result.total = number(value),
                _ => {}
            }
        }
        result
    };
    Some(Pressure { some: line("some "), full: line("full ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_tables() {
        assert_eq!(numbers("0-2,7\n"), [0, 1, 2, 7]);
        assert_eq!(numbers("\n"), [] as [u16; 0]);
        assert_eq!(table("a 1\nb max\nc 3\n"), BTreeMap::from([("a".into(), 1), ("c".into(), 3)]));
        assert_eq!((number("max\n"), number("12\n"), number("")), (u64::MAX, 12, 0));
    }

    #[test]
    fn block_device_lines() {
        let list = operations("8:16 Read 4096\n8:16 Total 4096\nTotal 4096\n");
        assert_eq!(list.len(), 2);
        assert_eq!(list[0], BlkioEntry { major: 8, minor: 16, op: "Read".into(), value: 4096 });
    }

    #[test]
    fn the_json_has_the_names_that_callers_decode() {
        let mut stats = Stats::default();
        stats.memory.kernel_tcp.limit = 1;
        stats.blkio.io_queued_recursive.push(BlkioEntry { major: 8, ..BlkioEntry::default() });
        stats.cpu.throttling.throttled_periods = 2;
        let json = serde_json::to_value(&stats).unwrap();
        assert_eq!(json["memory"]["kernelTCP"]["limit"], 1);
        assert_eq!(json["blkio"]["ioQueueRecursive"][0]["major"], 8);
        assert_eq!(json["cpu"]["throttling"]["throttledPeriods"], 2);
        assert_eq!(json["cpu"]["usage"]["kernel"], 0);
        assert!(json["cpu"]["usage"].get("total").is_none());
        assert!(json["network_interfaces"].is_null() && json["intel_rdt"].is_object());
    }
}
