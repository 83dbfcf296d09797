//! What may be limited: the resources of the OCI runtime specification (`linux.resources`), whatever the way in.
//!
//! Every field is an `Option` or a list that may be empty: nothing given means nothing written. The meaning of the
//! numbers is that of the specification (config-linux.md, "Control groups"), not of one kernel interface.

use std::collections::BTreeMap;

use super::devices::DeviceRule;
use crate::error::Origin;

/// Everything that can be asked of a control group.
#[derive(Clone, Debug, PartialEq)]
pub struct Resources {
    /// Where this was asked for; the origin of each value is derived from it (`/linux/resources/memory/limit`).
    pub origin: Origin,
    /// Memory.
    pub memory: Memory,
    /// Processor time and placement.
    pub cpu: Cpu,
    /// The most tasks; -1 is no limit, 0 forbids every fork.
    pub pids_limit: Option<i64>,
    /// Block devices.
    pub block_io: BlockIo,
    /// Huge pages, one entry a page size.
    pub huge_pages: Vec<HugePages>,
    /// Marks on network traffic (cgroup v1 only).
    pub network: Network,
    /// RDMA limits by device name (`mlx5_1`).
    pub rdma: BTreeMap<String, Rdma>,
    /// Device rules in order; nothing listed means nothing beyond what every container may use.
    pub devices: Vec<DeviceRule>,
    /// Files of cgroup v2 by name, written last and as they are.
    pub unified: BTreeMap<String, String>,
}

impl Default for Resources {
    fn default() -> Self {
        Resources {
            origin: Origin::fixed("/linux/resources"),
            memory: Memory::default(),
            cpu: Cpu::default(),
            pids_limit: None,
            block_io: BlockIo::default(),
            huge_pages: Vec::new(),
            network: Network::default(),
            rdma: BTreeMap::new(),
            devices: Vec::new(),
            unified: BTreeMap::new(),
        }
    }
}

/// Memory, in bytes; -1 is no limit, 0 counts as not given (as in runc).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// Hard limit.
    pub limit: Option<i64>,
    /// Soft limit: v1 `soft_limit_in_bytes`, v2 `memory.low`.
    pub reservation: Option<i64>,
    /// Memory and swap together; on v2 the difference to `limit` goes to `memory.swap.max`.
    pub swap: Option<i64>,
    /// 0 to 100 (cgroup v1 only).
    pub swappiness: Option<u64>,
    /// Suspend instead of kill when out of memory (cgroup v1 only).
    pub disable_oom_killer: Option<bool>,
    /// Account sub-groups too (cgroup v1 only; the kernel always does since 5.11).
    pub use_hierarchy: Option<bool>,
    /// Refuse an update below what is in use.
    pub check_before_update: Option<bool>,
    /// Kernel memory: gone from the kernel, ignored with a warning.
    pub kernel: Option<i64>,
    /// Kernel memory of TCP buffers (cgroup v1 only).
    pub kernel_tcp: Option<i64>,
}

/// Processor time in microseconds, shares and placement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cpu {
    /// Relative share, 2 to 262144, 1024 is normal; 0 counts as not given.
    pub shares: Option<u64>,
    /// Time in each period; -1 is no limit, 0 counts as not given.
    pub quota: Option<i64>,
    /// Length of a period; 0 counts as not given.
    pub period: Option<u64>,
    /// Unused time that may be saved up.
    pub burst: Option<u64>,
    /// Period of the real-time scheduler (cgroup v1 only).
    pub realtime_period: Option<u64>,
    /// Time for real-time tasks in each such period (cgroup v1 only).
    pub realtime_runtime: Option<i64>,
    /// 1 makes the whole group run only when nothing else wants to.
    pub idle: Option<i64>,
    /// Processors as a list (`0-3,7`).
    pub cpus: Option<String>,
    /// Memory nodes as a list.
    pub mems: Option<String>,
}

/// Block devices.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BlockIo {
    /// Relative weight, 10 to 1000; 0 counts as not given.
    pub weight: Option<u16>,
    /// Weight against own sub-groups (only kernels before 5.0).
    pub leaf_weight: Option<u16>,
    /// Weights by device.
    pub weight_device: Vec<WeightDevice>,
    /// Bytes read each second.
    pub throttle_read_bps: Vec<Throttle>,
    /// Bytes written each second.
    pub throttle_write_bps: Vec<Throttle>,
    /// Reads each second.
    pub throttle_read_iops: Vec<Throttle>,
    /// Writes each second.
    pub throttle_write_iops: Vec<Throttle>,
}

/// The weight of one block device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WeightDevice {
    /// Device number, major part.
    pub major: i64,
    /// Device number, minor part.
    pub minor: i64,
    /// 10 to 1000.
    pub weight: Option<u16>,
    /// Only kernels before 5.0.
    pub leaf_weight: Option<u16>,
}

/// The rate of one block device, bytes or operations a second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Throttle {
    /// Device number, major part.
    pub major: i64,
    /// Device number, minor part.
    pub minor: i64,
    /// Per second; 0 takes a limit away.
    pub rate: u64,
}

/// Huge pages of one size.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HugePages {
    /// As the kernel spells it: `2MB`, `1GB`, `64KB`.
    pub page_size: String,
    /// Bytes.
    pub limit: u64,
}

/// Marks on network traffic.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Network {
    /// `net_cls.classid`.
    pub class_id: Option<u32>,
    /// Interface name and priority, for `net_prio.ifpriomap`.
    pub priorities: Vec<(String, u32)>,
}

/// Limits of one RDMA device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rdma {
    /// HCA handles.
    pub hca_handles: Option<u32>,
    /// HCA objects.
    pub hca_objects: Option<u32>,
}

/// What `changed` gives, else what was there before.
macro_rules! keep {
    ($old:expr, $changed:expr, $($field:ident),+) => {
        $( if $changed.$field.is_some() { $old.$field = $changed.$field.clone(); } )+
    };
}

impl Resources {
    /// These resources after an update: what `changed` gives replaces what was there, in lists by device, page size or
    /// interface; device rules stay, as in runc's `update`.
    ///
    /// A new memory limit alone takes the limit on memory and swap along where that would contradict it: without memory
    /// limit there is none, and it is never below the memory limit.
    pub fn merged(&self, changed: &Resources) -> Resources {
        let mut all = self.clone();
        keep!(all.memory, changed.memory, limit, reservation, swap, swappiness, disable_oom_killer);
        keep!(all.memory, changed.memory, use_hierarchy, check_before_update, kernel, kernel_tcp);
        keep!(all.cpu, changed.cpu, shares, quota, period, burst, realtime_period, realtime_runtime, idle, cpus, mems);
        keep!(all, changed, pids_limit);
        keep!(all.block_io, changed.block_io, weight, leaf_weight);
        keep!(all.network, changed.network, class_id);
        let (io, new) = (&mut all.block_io, &changed.block_io);
        replace(&mut io.weight_device, &new.weight_device, |one| (one.major, one.minor));
        replace(&mut io.throttle_read_bps, &new.throttle_read_bps, Throttle::device);
        replace(&mut io.throttle_write_bps, &new.throttle_write_bps, Throttle::device);
        replace(&mut io.throttle_read_iops, &new.throttle_read_iops, Throttle::device);
        replace(&mut io.throttle_write_iops, &new.throttle_write_iops, Throttle::device);
        replace(&mut all.huge_pages, &changed.huge_pages, |one| one.page_size.clone());
        replace(&mut all.network.priorities, &changed.network.priorities, |one| one.0.clone());
        all.memory.swap = swap_beside(changed.memory.limit, changed.memory.swap, all.memory.swap);
        all.rdma.extend(changed.rdma.clone());
        all.unified.extend(changed.unified.clone());
        all
    }
}

/// What becomes of the limit on memory and swap together when an update gives this memory limit and this total.
pub fn swap_beside(limit: Option<i64>, given: Option<i64>, total: Option<i64>) -> Option<i64> {
    match (limit, given, total) {
        (Some(-1), None, Some(1..)) => Some(-1),
        (Some(limit), None, Some(total @ 1..)) if limit > total => Some(limit),
        (_, _, total) => total,
    }
}

fn replace<T: Clone, K: PartialEq>(old: &mut Vec<T>, new: &[T], key: impl Fn(&T) -> K) {
    for one in new {
        match old.iter_mut().find(|other| key(other) == key(one)) {
            Some(other) => *other = one.clone(),
            None => old.push(one.clone()),
        }
    }
}

impl Throttle {
    fn device(&self) -> (i64, i64) {
        (self.major, self.minor)
    }
}
