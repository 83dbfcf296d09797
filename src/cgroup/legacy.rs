//! What each value becomes on cgroup v1 (Documentation/admin-guide/cgroup-v1/).

use super::plan::{Action, Assignment, ControllerWrites, Writer};
use super::resources::{BlockIo, Cpu, Memory, Resources, Throttle};
use super::unified::{huge_pages, rdma};

/// All writes for v1, by controller. Device rules are planned by themselves.
pub(super) fn writes(
    resources: &Resources,
    old: Option<&Resources>,
    warnings: &mut Vec<String>,
) -> Vec<ControllerWrites> {
    let mut all = Vec::new();
    let base = &resources.origin;
    let mut writer = Writer::new(base);
    memory(&resources.memory, old.map(|old| &old.memory), &mut writer, warnings);
    writer.finish("memory", &mut all);
    let mut writer = Writer::new(base);
    cpu(&resources.cpu, &mut writer, warnings);
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
        writer.set("pids/limit", "pids.max", if limit < 0 { "max".into() } else { limit.to_string() });
    }
    writer.finish("pids", &mut all);
    let mut writer = Writer::new(base);
    block_io(&resources.block_io, &mut writer);
    writer.finish("blkio", &mut all);
    let mut writer = Writer::new(base);
    huge_pages(resources, &mut writer, "limit_in_bytes");
    writer.finish("hugetlb", &mut all);
    let mut writer = Writer::new(base);
    rdma(resources, &mut writer);
    writer.finish("rdma", &mut all);
    let mut writer = Writer::new(base);
    if let Some(class) = resources.network.class_id.filter(|&class| class != 0) {
        writer.set("network/classID", "net_cls.classid", class);
    }
    writer.finish("net_cls", &mut all);
    let mut writer = Writer::new(base);
    for (index, (name, priority)) in resources.network.priorities.iter().enumerate() {
        writer.set(&format!("network/priorities/{index}"), "net_prio.ifpriomap", format_args!("{name} {priority}"));
    }
    writer.finish("net_prio", &mut all);
    all
}

fn given(value: Option<i64>) -> Option<i64> {
    value.filter(|&value| value != 0)
}

fn memory(memory: &Memory, old: Option<&Memory>, writer: &mut Writer<'_>, warnings: &mut Vec<String>) {
    let limit = given(memory.limit);
    // Taking the memory limit away takes the one on memory and swap away with it, unless that one is given.
    let both = given(memory.swap).or(limit.filter(|&limit| limit == -1));
    if let Some(limit) = limit.filter(|&limit| limit > 0) {
        if memory.check_before_update == Some(true) && old.is_some() {
            writer.add("memory/limit", Action::RefuseIfAbove("memory.usage_in_bytes".into(), limit));
        }
    }
    let limit_write = limit.map(|limit| Assignment::new("memory.limit_in_bytes", limit));
    let both_write = both.map(|both| Assignment::new("memory.memsw.limit_in_bytes", both));
    match (limit_write, both_write) {
        (Some(limit), Some(both)) if both.value == "-1" && memory.swap.is_none() => {
            // Without swap accounting there is no such file, and nothing to take away.
            writer.add("memory/limit", Action::SetIfPresent(both));
            writer.add("memory/limit", Action::Set(limit));
        }
        // Memory may not exceed memory and swap, neither before nor between.
        (Some(limit), Some(both)) => writer.add("memory/limit", Action::InEitherOrder(vec![limit, both])),
        (Some(limit), None) => writer.add("memory/limit", Action::Set(limit)),
        (None, Some(both)) => writer.add("memory/swap", Action::Set(both)),
        (None, None) => {}
    }
    if let Some(reservation) = given(memory.reservation) {
        writer.set("memory/reservation", "memory.soft_limit_in_bytes", reservation);
    }
    if let Some(limit) = given(memory.kernel_tcp) {
        writer.set("memory/kernelTCP", "memory.kmem.tcp.limit_in_bytes", limit);
    }
    if given(memory.kernel).is_some_and(|limit| limit > 0) {
        warnings
            .push(format!("{} is no longer a limit in any kernel and has no effect", writer.origin("memory/kernel")));
    }
    if memory.use_hierarchy == Some(true) {
        writer.set("memory/useHierarchy", "memory.use_hierarchy", 1);
    }
    if let Some(swappiness) = memory.swappiness {
        writer.set("memory/swappiness", "memory.swappiness", swappiness);
    }
    match (memory.disable_oom_killer, old) {
        (Some(true), _) => writer.set("memory/disableOOMKiller", "memory.oom_control", 1),
        (Some(false), Some(_)) => writer.set("memory/disableOOMKiller", "memory.oom_control", 0),
        _ => {}
    }
}

fn cpu(cpu: &Cpu, writer: &mut Writer<'_>, warnings: &mut Vec<String>) {
    if let Some(idle) = cpu.idle {
        writer.set("cpu/idle", "cpu.idle", idle);
    }
    if let Some(shares) = cpu.shares.filter(|&shares| shares != 0) {
        match cpu.idle {
            Some(1) => warnings.push(format!("{} has no effect on an idle group", writer.origin("cpu/shares"))),
            _ => writer.set("cpu/shares", "cpu.shares", shares),
        }
    }
    // A period that is invalid with the old quota is valid with the new one, and so on.
    let mut pair = Vec::new();
    pair.extend(cpu.period.filter(|&period| period != 0).map(|period| Assignment::new("cpu.cfs_period_us", period)));
    pair.extend(given(cpu.quota).map(|quota| Assignment::new("cpu.cfs_quota_us", quota)));
    pair.extend(cpu.burst.map(|burst| Assignment::new("cpu.cfs_burst_us", burst)));
    together("cpu/quota", pair, writer);
    let mut pair = Vec::new();
    pair.extend(
        cpu.realtime_period.filter(|&period| period != 0).map(|period| Assignment::new("cpu.rt_period_us", period)),
    );
    pair.extend(given(cpu.realtime_runtime).map(|runtime| Assignment::new("cpu.rt_runtime_us", runtime)));
    together("cpu/realtimeRuntime", pair, writer);
}

/// Values the kernel checks against each other.
fn together(pointer: &str, mut list: Vec<Assignment>, writer: &mut Writer<'_>) {
    match list.len() {
        0 => {}
        1 => {
            let one = list.remove(0);
            let pointer = match &*one.file {
                "cpu.cfs_period_us" => "cpu/period",
                "cpu.cfs_burst_us" => "cpu/burst",
                "cpu.rt_period_us" => "cpu/realtimePeriod",
                _ => pointer,
            };
            writer.add(pointer, Action::Set(one));
        }
        _ => writer.add(pointer, Action::InEitherOrder(list)),
    }
}

fn block_io(io: &BlockIo, writer: &mut Writer<'_>) {
    let mut weight = |pointer: &str, file: &str, device: Option<(i64, i64)>, weight: Option<u16>| {
        let Some(weight) = weight.filter(|&weight| weight != 0) else { return };
        let (suffix, value) = match device {
            Some((major, minor)) => ("_device", format!("{major}:{minor} {weight}")),
            None => ("", weight.to_string()),
        };
        let files = match file {
            "weight" => vec![
                Assignment::new(format!("blkio.bfq.weight{suffix}"), &value),
                Assignment::new(format!("blkio.weight{suffix}"), &value),
            ],
            _ => vec![Assignment::new(format!("blkio.leaf_weight{suffix}"), &value)],
        };
        writer.add(pointer, Action::FirstPresent(files));
    };
    weight("blockIO/weight", "weight", None, io.weight);
    weight("blockIO/leafWeight", "leaf", None, io.leaf_weight);
    for (index, one) in io.weight_device.iter().enumerate() {
        let device = Some((one.major, one.minor));
        weight(&format!("blockIO/weightDevice/{index}/weight"), "weight", device, one.weight);
        weight(&format!("blockIO/weightDevice/{index}/leafWeight"), "leaf", device, one.leaf_weight);
    }
    let mut throttle = |pointer: &str, file: &'static str, list: &[Throttle]| {
        for (index, one) in list.iter().enumerate() {
            let value = format!("{}:{} {}", one.major, one.minor, one.rate);
            writer.set(&format!("blockIO/{pointer}/{index}"), file, value);
        }
    };
    throttle("throttleReadBpsDevice", "blkio.throttle.read_bps_device", &io.throttle_read_bps);
    throttle("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", &io.throttle_write_bps);
    throttle("throttleReadIOPSDevice", "blkio.throttle.read_iops_device", &io.throttle_read_iops);
    throttle("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", &io.throttle_write_iops);
}
