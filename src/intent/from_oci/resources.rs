//! `linux.resources`: of config.json, and alone in the file that `update --resources` names. Here are types and bounds of single
//! numbers; rules of values are [`Resources::check`]'s, whatever the way in.

use std::collections::BTreeMap;

use super::reader::{self, Node};
use super::{bounds, json::shown, paths};
use crate::cgroup::devices::{DeviceKind, DeviceRule, MKNOD, READ, WRITE};
use crate::cgroup::{BlockIo, Cpu, HugePages, Memory, Network, Rdma, Resources, Throttle, WeightDevice};
use crate::error::Result;

const KNOWN: &[&str] = &["devices", "memory", "cpu", "pids", "blockIO", "hugepageLimits", "network", "rdma", "unified"];

const MEMORY: &[&str] = &[
    "limit",
    "reservation",
    "swap",
    "kernel",
    "kernelTCP",
    "swappiness",
    "disableOOMKiller",
    "useHierarchy",
    "checkBeforeUpdate",
];

const CPU: &[&str] =
    &["shares", "quota", "burst", "period", "realtimeRuntime", "realtimePeriod", "cpus", "mems", "idle"];

const BLOCK_IO: &[&str] = &[
    "weight",
    "leafWeight",
    "weightDevice",
    "throttleReadBpsDevice",
    "throttleWriteBpsDevice",
    "throttleReadIOPSDevice",
    "throttleWriteIOPSDevice",
];

/// Reads resources.
pub fn read(node: Node<'_>) -> Result<Resources> {
    let object = node.object(KNOWN)?;
    Ok(Resources {
        origin: node.origin(),
        memory: object.or_default("memory", memory)?,
        cpu: object.or_default("cpu", cpu)?,
        pids_limit: object.get("pids", |pids| pids.object(&["limit"])?.get("limit", reader::signed))?.flatten(),
        block_io: object.or_default("blockIO", block_io)?,
        huge_pages: object.or_default("hugepageLimits", |list| list.list(bounds::RESOURCES, huge_page))?,
        network: object.or_default("network", network)?,
        rdma: object.or_default("rdma", rdma)?,
        devices: object.or_default("devices", |list| list.list(bounds::DEVICES, device))?,
        unified: object.or_default("unified", unified)?,
    })
}

/// Bytes; -1 is no limit.
fn bytes(node: Node<'_>) -> Result<i64> {
    node.number(-1, i64::MAX.into())
}

fn memory(node: Node<'_>) -> Result<Memory> {
    let object = node.object(MEMORY)?;
    Ok(Memory {
        limit: object.get("limit", bytes)?,
        reservation: object.get("reservation", bytes)?,
        swap: object.get("swap", bytes)?,
        // Go callers write "unset" as the largest number, or -1 where the type has a sign.
        swappiness: object
            .get("swappiness", |node| {
                let value: i128 = node.number(-1, u64::MAX.into())?;
                match value {
                    0..=200 => Ok(Some(value as u64)),
                    -1 => Ok(None),
                    value if value == i128::from(u64::MAX) => Ok(None),
                    value => Err(node.error(format!("swappiness goes from 0 to 200, found {value}"))),
                }
            })?
            .flatten(),
        disable_oom_killer: object.get("disableOOMKiller", reader::boolean)?,
        use_hierarchy: object.get("useHierarchy", reader::boolean)?,
        check_before_update: object.get("checkBeforeUpdate", reader::boolean)?,
        kernel: object.get("kernel", bytes)?,
        kernel_tcp: object.get("kernelTCP", bytes)?,
    })
}

fn cpu(node: Node<'_>) -> Result<Cpu> {
    let object = node.object(CPU)?;
    let list = |node: Node<'_>| {
        let text = node.text()?.trim();
        Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
    };
    Ok(Cpu {
        shares: object.get("shares", reader::unsigned)?,
        quota: object.get("quota", |quota| quota.number(-1, i64::MAX.into()))?,
        period: object.get("period", reader::unsigned)?,
        burst: object.get("burst", reader::unsigned)?,
        realtime_period: object.get("realtimePeriod", reader::unsigned)?,
        realtime_runtime: object.get("realtimeRuntime", |runtime| runtime.number(-1, i64::MAX.into()))?,
        idle: object.get("idle", |idle| idle.number(0, 1))?,
        cpus: object.or_default("cpus", list)?,
        mems: object.or_default("mems", list)?,
    })
}

/// A part of a device number (makedev(3): 12 bits for the major, 20 for the minor).
fn device_part(node: Node<'_>) -> Result<i64> {
    node.number(0, u32::MAX.into())
}

/// 0 is "not given", 10 to 1000 otherwise.
fn weight(node: Node<'_>) -> Result<u16> {
    let value: u16 = node.number(0, 1000)?;
    if value != 0 && value < 10 {
        return Err(node.error(format!("a block I/O weight goes from 10 to 1000, found {value}")));
    }
    Ok(value)
}

fn block_io(node: Node<'_>) -> Result<BlockIo> {
    let object = node.object(BLOCK_IO)?;
    let throttle = |list: Node<'_>| {
        list.list(bounds::RESOURCES, |node| {
            let object = node.object(&["major", "minor", "rate"])?;
            Ok(Throttle {
                major: object.need("major", device_part)?,
                minor: object.need("minor", device_part)?,
                rate: object.need("rate", reader::unsigned)?,
            })
        })
    };
    let weight_device = |node: Node<'_>| {
        let object = node.object(&["major", "minor", "weight", "leafWeight"])?;
        Ok(WeightDevice {
            major: object.need("major", device_part)?,
            minor: object.need("minor", device_part)?,
            weight: object.get("weight", weight)?,
            leaf_weight: object.get("leafWeight", weight)?,
        })
    };
    Ok(BlockIo {
        weight: object.get("weight", weight)?,
        leaf_weight: object.get("leafWeight", weight)?,
        weight_device: object.or_default("weightDevice", |list| list.list(bounds::RESOURCES, weight_device))?,
        throttle_read_bps: object.or_default("throttleReadBpsDevice", throttle)?,
        throttle_write_bps: object.or_default("throttleWriteBpsDevice", throttle)?,
        throttle_read_iops: object.or_default("throttleReadIOPSDevice", throttle)?,
        throttle_write_iops: object.or_default("throttleWriteIOPSDevice", throttle)?,
    })
}

fn huge_page(node: Node<'_>) -> Result<HugePages> {
    let object = node.object(&["pageSize", "limit"])?;
    let page_size = object.need("pageSize", reader::string)?;
    Ok(HugePages { page_size, limit: object.need("limit", reader::unsigned)? })
}

fn network(node: Node<'_>) -> Result<Network> {
    let object = node.object(&["classID", "priorities"])?;
    let priority = |node: Node<'_>| {
        let object = node.object(&["name", "priority"])?;
        let name = object.need("name", |name| {
            let text = name.text()?;
            // The file takes "NAME PRIORITY" lines.
            if !paths::is_interface(text) {
                return Err(name.error(format!("{} is no network interface's name", shown(text))));
            }
            Ok(text.to_owned())
        })?;
        Ok((name, object.need("priority", |priority| priority.number(0, u32::MAX.into()))?))
    };
    Ok(Network {
        class_id: object.get("classID", |id| id.number(0, u32::MAX.into()))?,
        priorities: object.or_default("priorities", |list| list.list(bounds::RESOURCES, priority))?,
    })
}

fn rdma(node: Node<'_>) -> Result<BTreeMap<String, Rdma>> {
    let most = |node: Node<'_>| node.number(0, u32::MAX.into());
    let devices = node.map(bounds::RESOURCES, |name, node| {
        let object = node.object(&["hcaHandles", "hcaObjects"])?;
        let limits =
            Rdma { hca_handles: object.get("hcaHandles", most)?, hca_objects: object.get("hcaObjects", most)? };
        Ok((name.to_owned(), limits))
    })?;
    Ok(devices.into_iter().collect())
}

fn unified(node: Node<'_>) -> Result<BTreeMap<String, String>> {
    let files = node.map(bounds::RESOURCES, |name, value| {
        // Written into the container's directory: the name must stay in it, and must not move processes.
        let is_file = name.contains('.') && !name.starts_with('.') && !name.contains(['/', '\n']);
        if !is_file || matches!(name, "cgroup.procs" | "cgroup.threads") {
            return Err(value.error(format!("{} is no limit's file of cgroup v2", shown(name))));
        }
        Ok((name.to_owned(), reader::string(value)?))
    })?;
    Ok(files.into_iter().collect())
}

/// Types of a device rule; an empty one is how Go callers leave it out.
const DEVICE_KINDS: &[(&str, DeviceKind)] =
    &[("a", DeviceKind::All), ("c", DeviceKind::Char), ("b", DeviceKind::Block), ("", DeviceKind::All)];

fn device(node: Node<'_>) -> Result<DeviceRule> {
    let object = node.object(&["allow", "type", "major", "minor", "access"])?;
    let part = |node: Node<'_>| {
        let value: i128 = node.number(-1, u32::MAX.into())?;
        Ok(u32::try_from(value).ok())
    };
    let access = object.get("access", |node| {
        node.text()?.bytes().try_fold(0, |all, letter| match letter {
            b'r' => Ok(all | READ),
            b'w' => Ok(all | WRITE),
            b'm' => Ok(all | MKNOD),
            _ => Err(node.error(format!("access is made of r, w and m, found {}", shown(node.text()?)))),
        })
    })?;
    Ok(DeviceRule {
        allow: object.need("allow", reader::boolean)?,
        kind: object.get("type", |kind| kind.word_of("device type", DEVICE_KINDS))?.unwrap_or(DeviceKind::All),
        major: object.get("major", part)?.flatten(),
        minor: object.get("minor", part)?.flatten(),
        // The spec: no access given is all of it; an empty text is how Go callers write that.
        access: access.filter(|bits| *bits != 0).unwrap_or(READ | WRITE | MKNOD),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::from_oci::resources_from_oci;

    fn refusal(text: &str) -> String {
        resources_from_oci(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn all_groups_are_read() {
        let all = resources_from_oci(
            br#"{"memory":{"limit":1024,"swap":-1,"swappiness":18446744073709551615,"checkBeforeUpdate":true},
            "cpu":{"shares":2,"quota":-1,"period":100000,"idle":1,"cpus":"0-1","mems":""},"pids":{"limit":0},
            "blockIO":{"weight":10,"weightDevice":[{"major":8,"minor":0,"weight":500}],
            "throttleReadIOPSDevice":[{"major":8,"minor":16,"rate":7}]},
            "hugepageLimits":[{"pageSize":"2MB","limit":4}],"network":{"classID":1,"priorities":[{"name":"eth0","priority":2}]},
            "rdma":{"mlx5_1":{"hcaHandles":3}},"unified":{"memory.high":"max"},
            "devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":-1,"access":"rm"}]}"#,
        )
        .unwrap();
        assert_eq!((all.memory.limit, all.memory.swap, all.memory.swappiness), (Some(1024), Some(-1), None));
        assert_eq!((all.cpu.quota, all.cpu.cpus.as_deref(), all.cpu.mems), (Some(-1), Some("0-1"), None));
        assert_eq!((all.pids_limit, all.block_io.weight_device[0].weight), (Some(0), Some(500)));
        assert_eq!((all.block_io.throttle_read_iops[0].minor, all.huge_pages[0].limit), (16, 4));
        assert_eq!((all.network.priorities[0].1, all.rdma["mlx5_1"].hca_handles), (2, Some(3)));
        assert_eq!(all.unified["memory.high"], "max");
        let first = DeviceRule { allow: false, kind: DeviceKind::All, major: None, minor: None, access: 7 };
        assert_eq!(all.devices[0], first);
        assert_eq!((all.devices[1].major, all.devices[1].minor, all.devices[1].access), (Some(1), None, READ | MKNOD));
    }

    #[test]
    fn each_rule_names_its_place() {
        for (text, message) in [
            (r#"{"memory":{"limit":-2}}"#, "/memory/limit: expected a whole number from -1"),
            (r#"{"memory":{"limit":"1g"}}"#, "/memory/limit: expected a whole number"),
            (r#"{"memory":{"swappiness":201}}"#, "/memory/swappiness: swappiness goes from 0 to 200"),
            (r#"{"cpu":{"idle":2}}"#, "/cpu/idle: expected a whole number from 0 to 1"),
            (r#"{"cpu":{"cpus":"x"}}"#, "/cpu/cpus: expected a list such as"),
            (r#"{"blockIO":{"weight":9}}"#, "/blockIO/weight: a block I/O weight goes from 10"),
            (
                r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0}]}}"#,
                "/blockIO/throttleReadBpsDevice/0/rate: missing",
            ),
            (
                r#"{"hugepageLimits":[{"pageSize":"../x","limit":1}]}"#,
                "/hugepageLimits/0/pageSize: expected a page size",
            ),
            (r#"{"network":{"priorities":[{"name":"a b","priority":1}]}}"#, "/network/priorities/0/name: \"a b\""),
            (r#"{"rdma":{"a b":{}}}"#, "/rdma/a b: no RDMA"),
            (r#"{"rdma":{"mlx":{}}}"#, "/rdma/mlx: neither hcaHandles nor hcaObjects"),
            (
                r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0,"weight":0}]}}"#,
                "/blockIO/weightDevice/0: neither a weight nor a leafWeight",
            ),
            (r#"{"unified":{"../x.y":"1"}}"#, "/unified/..~1x.y: \"../x.y\" is no limit's file"),
            (r#"{"unified":{"cgroup.procs":"1"}}"#, "/unified/cgroup.procs: \"cgroup.procs\" is no limit's file"),
            (r#"{"unified":{"memory.max":1}}"#, "/unified/memory.max: expected a string, found the number 1"),
            (r#"{"devices":[{"access":"r"}]}"#, "/devices/0/allow: missing"),
            (r#"{"devices":[{"allow":true,"access":"rx"}]}"#, "/devices/0/access: access is made of r, w and m"),
            (r#"{"devices":[{"allow":true,"type":"p"}]}"#, "/devices/0/type: unknown device type \"p\""),
        ] {
            let error = refusal(text);
            assert!(error.starts_with(message), "{error}");
        }
    }
}
