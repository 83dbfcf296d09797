//! What each value becomes on cgroup v2 (Documentation/admin-guide/cgroup-v2.rst).

use super::plan::{Action, Assignment, ControllerWrites, Writer};
use super::resources::{BlockIo, Cpu, Memory, Resources, Throttle};
use crate::error::{Error, Result};

/// All writes for v2, by controller; `unified` comes last, with an empty controller name for `cgroup.*`.
///
/// # Errors
/// Memory and swap contradict each other, or a key of `unified` is not one that may be set.
pub(super) fn writes(
    resources: &Resources,
    old: Option<&Resources>,
    warnings: &mut Vec<String>,
) -> Result<Vec<ControllerWrites>> {
    let mut all = Vec::new();
    let base = &resources.origin;
    let mut writer = Writer::new(base);
    memory(&resources.memory, old.map(|old| &old.memory), &mut writer)?;
    writer.finish("memory", &mut all);
    let mut writer = Writer::new(base);
    cpu(&resources.cpu, old.map(|old| &old.cpu), &mut writer, warnings);
    writer.finish("cpu", &mut all);
    let mut writer = Writer::new(base);
    if let Some(cpus) = resources.cpu.cpus.as_ref().filter(|cpus| !cpus.is_empty()) {
        writer.set("cpu/cpus", "cpuset.cpus", cpus);
    }
    if let Some(mems) = resources.cpu.mems.as_ref().filter(|mems| !mems.is_empty()) {
        writer.set("cpu/mems", "cpuset.mems", mems);
    }
    writer.finish("cpuset", &mut all);
    let mut writer = Writer::new(base);
    if let Some(limit) = resources.pids_limit {
        writer.set("pids/limit", "pids.max", size(limit));
    }
    writer.finish("pids", &mut all);
    let mut writer = Writer::new(base);
    block_io(&resources.block_io, &mut writer);
    writer.finish("io", &mut all);
    let mut writer = Writer::new(base);
    huge_pages(resources, &mut writer, "max");
    writer.finish("hugetlb", &mut all);
    let mut writer = Writer::new(base);
    rdma(resources, &mut writer);
    writer.finish("rdma", &mut all);
    raw(resources, &mut all)?;
    without_effect(resources, warnings);
    Ok(all)
}

/// The v2 controller that does what this v1 controller did.
pub(super) fn counterpart(legacy: &str) -> Option<&'static str> {
    match legacy {
        "memory" => Some("memory"),
        "cpu" | "cpuacct" => Some("cpu"),
        "cpuset" => Some("cpuset"),
        "pids" => Some("pids"),
        "blkio" => Some("io"),
        "hugetlb" => Some("hugetlb"),
        "rdma" => Some("rdma"),
        _ => None,
    }
}

/// The v1 controller that takes a v2 controller's place on a hybrid machine.
pub(super) fn legacy_counterpart(controller: &'static str) -> Option<&'static str> {
    if controller == "io" { Some("blkio") } else { Some(controller).filter(|name| !name.is_empty()) }
}

/// `max` for anything negative.
fn size(value: i64) -> String {
    if value < 0 { "max".into() } else { value.to_string() }
}

fn given(value: Option<i64>) -> Option<i64> {
    value.filter(|&value| value != 0)
}

fn memory(memory: &Memory, old: Option<&Memory>, writer: &mut Writer<'_>) -> Result<()> {
    let limit = given(memory.limit);
    if let Some(limit) = limit {
        if limit > 0 && memory.check_before_update == Some(true) && old.is_some() {
            writer.add("memory/limit", Action::RefuseIfAbove("memory.current".into(), limit));
        }
        writer.set("memory/limit", "memory.max", size(limit));
    }
    // The file is missing where the kernel was built or booted without swap accounting; that is only an error when
    // there is a limit to keep.
    let mut swap = |value: String| {
        let harmless = value == "max" || value == "0";
        let one = Assignment::new("memory.swap.max", value);
        writer.add("memory/swap", if harmless { Action::SetIfPresent(one) } else { Action::Set(one) });
    };
    match given(memory.swap) {
        Some(total) if total < 0 => swap("max".into()),
        Some(total) => match limit.or(old.and_then(|old| given(old.limit))) {
            Some(limit) if limit > 0 && total >= limit => swap((total - limit).to_string()),
            Some(limit) if limit > 0 => {
                let text = format!("swap {total} is less than the memory limit {limit}, which it includes");
                return Err(Error::input(text).at(&writer.origin("memory/swap")));
            }
            _ => {
                let text = "a limit on memory and swap together needs a memory limit on cgroup v2";
                return Err(Error::input(text).at(&writer.origin("memory/swap")));
            }
        },
        None if limit == Some(-1) => swap("max".into()),
        // With the total unchanged and a new memory limit, the swap part is a new number.
        None => {
            if let (Some(limit), Some(total)) = (limit, old.and_then(|old| given(old.swap)).filter(|&total| total > 0))
            {
                swap((total - limit).max(0).to_string());
            }
        }
    }
    if let Some(reservation) = given(memory.reservation) {
        writer.set("memory/reservation", "memory.low", size(reservation));
    }
    Ok(())
}

fn cpu(cpu: &Cpu, old: Option<&Cpu>, writer: &mut Writer<'_>, warnings: &mut Vec<String>) {
    if let Some(idle) = cpu.idle {
        writer.set("cpu/idle", "cpu.idle", idle);
    }
    if let Some(shares) = cpu.shares.filter(|&shares| shares != 0) {
        // The kernel refuses a weight for an idle group.
        match cpu.idle {
            Some(1) => warnings.push(format!("{} has no effect on an idle group", writer.origin("cpu/shares"))),
            _ => writer.set("cpu/shares", "cpu.weight", weight_of_shares(shares)),
        }
    }
    let period = cpu.period.filter(|&period| period != 0);
    let quota = given(cpu.quota);
    let maximum = match (quota, period) {
        (None, None) => None,
        // One number leaves the period as it is.
        (Some(quota), None) => Some(("cpu/quota", size(quota))),
        (Some(quota), Some(period)) => Some(("cpu/quota", format!("{} {period}", size(quota)))),
        (None, Some(period)) => {
            let quota = old.and_then(|old| given(old.quota)).unwrap_or(-1);
            Some(("cpu/period", format!("{} {period}", size(quota))))
        }
    };
    let burst = cpu.burst.map(|burst| Assignment::new("cpu.max.burst", burst));
    match (maximum, burst) {
        // Burst may not exceed the quota, neither the old nor the new one.
        (Some((pointer, maximum)), Some(burst)) => {
            writer.add(pointer, Action::InEitherOrder(vec![Assignment::new("cpu.max", maximum), burst]));
        }
        (Some((pointer, maximum)), None) => writer.set(pointer, "cpu.max", maximum),
        (None, Some(burst)) => writer.add("cpu/burst", Action::Set(burst)),
        (None, None) => {}
    }
}

/// v1 shares (2 to 262144, normal 1024) as a v2 weight (1 to 10000, normal 100): a quadratic in the logarithm through
/// the three pairs (2, 1), (1024, 100) and (262144, 10000), the mapping of current runc and crun. The older linear
/// one gave a container with normal shares 39, less than half of a process outside of containers.
pub fn weight_of_shares(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let log = (shares as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    10f64.powf(exponent).ceil() as u64
}

/// v1 block weight (10 to 1000) as `io.weight` (1 to 10000).
fn io_weight(weight: u16) -> u64 {
    1 + u64::from(weight.clamp(10, 1000) - 10) * 9999 / 990
}

fn block_io(io: &BlockIo, writer: &mut Writer<'_>) {
    if let Some(weight) = io.weight.filter(|&weight| weight != 0) {
        // BFQ has its own file, and io.weight then belongs to another policy (iocost).
        let files = vec![
            Assignment::new("io.bfq.weight", weight),
            Assignment::new("io.weight", format_args!("default {}", io_weight(weight))),
        ];
        writer.add("blockIO/weight", Action::FirstPresent(files));
    }
    for (index, device) in io.weight_device.iter().enumerate() {
        if let Some(weight) = device.weight.filter(|&weight| weight != 0) {
            let number = format!("{}:{}", device.major, device.minor);
            let files = vec![
                Assignment::new("io.bfq.weight", format_args!("{number} {weight}")),
                Assignment::new("io.weight", format_args!("{number} {}", io_weight(weight))),
            ];
            writer.add(&format!("blockIO/weightDevice/{index}"), Action::FirstPresent(files));
        }
    }
    let mut throttle = |pointer: &str, key: &str, list: &[Throttle]| {
        for (index, one) in list.iter().enumerate() {
            let rate = if one.rate == 0 { "max".to_owned() } else { one.rate.to_string() };
            let value = format!("{}:{} {key}={rate}", one.major, one.minor);
            writer.set(&format!("blockIO/{pointer}/{index}"), "io.max", value);
        }
    };
    throttle("throttleReadBpsDevice", "rbps", &io.throttle_read_bps);
    throttle("throttleWriteBpsDevice", "wbps", &io.throttle_write_bps);
    throttle("throttleReadIOPSDevice", "riops", &io.throttle_read_iops);
    throttle("throttleWriteIOPSDevice", "wiops", &io.throttle_write_iops);
}

/// Reservations first: pages a program has reserved count before it touches them (kernel 5.7), which fails with
/// ENOMEM at mmap instead of SIGBUS at the touch. Shared with v1, where the file is `limit_in_bytes`.
pub(super) fn huge_pages(resources: &Resources, writer: &mut Writer<'_>, file: &str) {
    for (index, pages) in resources.huge_pages.iter().enumerate() {
        let pointer = format!("hugepageLimits/{index}/limit");
        let reserved = Assignment::new(format!("hugetlb.{}.rsvd.{file}", pages.page_size), pages.limit);
        writer.add(&pointer, Action::SetIfPresent(reserved));
        writer.set(&pointer, format!("hugetlb.{}.{file}", pages.page_size), pages.limit);
    }
}

/// Shared with v1.
pub(super) fn rdma(resources: &Resources, writer: &mut Writer<'_>) {
    for (device, limit) in &resources.rdma {
        let mut value = device.clone();
        let parts = [("hca_handle", limit.hca_handles), ("hca_object", limit.hca_objects)];
        for (key, number) in parts {
            if let Some(number) = number {
                value.push_str(&format!(" {key}={number}"));
            }
        }
        writer.set(&format!("rdma/{device}"), "rdma.max", value);
    }
}

/// Files that move processes, stop them or change what a child may be: never a resource.
const NOT_RESOURCES: [&str; 6] =
    ["cgroup.procs", "cgroup.threads", "cgroup.kill", "cgroup.freeze", "cgroup.subtree_control", "cgroup.type"];

/// The `unified` map: file names of v2 as they are.
fn raw(resources: &Resources, all: &mut Vec<ControllerWrites>) -> Result<()> {
    for (key, value) in &resources.unified {
        let origin = resources.origin.child("unified").child(key);
        if key.is_empty() || key.starts_with('.') || key.contains(['/', '\0']) {
            return Err(Error::input(format!("{key:?} is not the name of a cgroup file")).at(&origin));
        }
        if NOT_RESOURCES.contains(&key.as_str()) {
            return Err(Error::input(format!("{key} is not a resource and belongs to the runtime")).at(&origin));
        }
        let Some((prefix, _)) = key.split_once('.') else {
            return Err(Error::input(format!("{key:?} names no controller")).at(&origin));
        };
        let mut writer = Writer::new(&resources.origin);
        writer.set(&format!("unified/{key}"), key.clone(), value);
        all.push(ControllerWrites { controller: controller_of(prefix), writes: writer.writes, raw: true });
    }
    Ok(())
}

/// The controller whose files have this prefix; empty for `cgroup` and for those that need none switched on.
fn controller_of(prefix: &str) -> &'static str {
    const KNOWN: [&str; 10] =
        ["memory", "cpu", "cpuset", "io", "pids", "hugetlb", "rdma", "misc", "perf_event", "dmem"];
    KNOWN.into_iter().find(|known| *known == prefix).unwrap_or("")
}

/// v1 knobs without a v2 meaning: runc goes on without a word, crun fails; kiste goes on and says so.
fn without_effect(resources: &Resources, warnings: &mut Vec<String>) {
    let (memory, cpu) = (&resources.memory, &resources.cpu);
    let list = [
        ("memory/swappiness", memory.swappiness.is_some()),
        ("memory/disableOOMKiller", memory.disable_oom_killer == Some(true)),
        ("memory/kernel", given(memory.kernel).is_some_and(|limit| limit > 0)),
        ("memory/kernelTCP", given(memory.kernel_tcp).is_some_and(|limit| limit > 0)),
        ("cpu/realtimePeriod", cpu.realtime_period.is_some_and(|period| period != 0)),
        ("cpu/realtimeRuntime", given(cpu.realtime_runtime).is_some()),
        ("blockIO/leafWeight", resources.block_io.leaf_weight.is_some_and(|weight| weight != 0)),
        ("network/classID", resources.network.class_id.is_some_and(|class| class != 0)),
        ("network/priorities", !resources.network.priorities.is_empty()),
    ];
    for (pointer, set) in list {
        if set {
            warnings
                .push(format!("{} exists only on cgroup v1 and has no effect here", resources.origin.child(pointer)));
        }
    }
}
