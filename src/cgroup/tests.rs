//! Plans as text, and what this machine's kernel does with them.

use super::*;

fn v2() -> Layout {
    let unified = UnifiedMount {
        mount_point: "/sys/fs/cgroup".into(),
        own_group: "/user.slice/x.scope".into(),
        read_only: false,
    };
    Layout { mode: Mode::V2, unified: Some(unified), legacy: Vec::new() }
}

fn v1(controllers: &[&str]) -> Layout {
    let mount = |name: &&str| LegacyMount {
        controllers: name.split(',').map(str::to_owned).collect(),
        mount_point: format!("/sys/fs/cgroup/{name}").into(),
        own_group: "/".into(),
    };
    Layout { mode: Mode::V1, unified: None, legacy: controllers.iter().map(mount).collect() }
}

fn path() -> Path {
    Path::new("/c1", "c1", &crate::error::Origin::fixed("/linux/cgroupsPath")).unwrap()
}

fn everything() -> Resources {
    Resources {
        memory: Memory { limit: Some(64 << 20), swap: Some(96 << 20), reservation: Some(1 << 20), ..Memory::default() },
        cpu: Cpu {
            shares: Some(1024),
            quota: Some(50_000),
            period: Some(100_000),
            cpus: Some("0".into()),
            ..Cpu::default()
        },
        pids_limit: Some(0),
        huge_pages: vec![HugePages { page_size: "2MB".into(), limit: 4 << 20 }],
        block_io: BlockIo {
            weight: Some(100),
            throttle_read_bps: vec![Throttle { major: 8, minor: 0, rate: 1000 }],
            ..BlockIo::default()
        },
        ..Resources::default()
    }
}

fn lines(plan: &CgroupPlan) -> Vec<String> {
    plan.steps().map(|step| format!("{} [{}]", step.text, step.origin)).collect()
}

#[test]
fn a_v2_plan_reads_like_this() {
    let mut resources = everything();
    resources.unified.insert("memory.high".into(), "60M".into());
    let plan = plan(&resources, &v2(), &path(), &Options::default()).unwrap();
    let lines = lines(&plan);
    let expected = "\
create cgroup /sys/fs/cgroup/c1, controllers memory cpu cpuset pids io hugetlb [/linux/cgroupsPath]
write \"67108864\" to memory.max [/linux/resources/memory/limit]
write \"33554432\" to memory.swap.max [/linux/resources/memory/swap]
write \"1048576\" to memory.low [/linux/resources/memory/reservation]
write \"100\" to cpu.weight [/linux/resources/cpu/shares]
write \"50000 100000\" to cpu.max [/linux/resources/cpu/quota]
write \"0\" to cpuset.cpus [/linux/resources/cpu/cpus]
write \"0\" to pids.max [/linux/resources/pids/limit]
write \"100\" to io.bfq.weight, or without such a file \"default 910\" to io.weight [/linux/resources/blockIO/weight]
write \"8:0 rbps=1000\" to io.max [/linux/resources/blockIO/throttleReadBpsDevice/0]
write \"4194304\" to hugetlb.2MB.rsvd.max if there is such a file [/linux/resources/hugepageLimits/0/limit]
write \"4194304\" to hugetlb.2MB.max [/linux/resources/hugepageLimits/0/limit]
write \"60M\" to memory.high [/linux/resources/unified/memory.high]";
    assert_eq!(lines[..lines.len() - 1].join("\n"), expected);
    assert!(lines.last().unwrap().starts_with("attach a device program of "), "{lines:?}");
}

#[test]
fn a_v1_plan_reads_like_this() {
    let layout = v1(&["memory", "cpu,cpuacct", "cpuset", "pids", "blkio", "hugetlb", "devices"]);
    let lines = lines(&plan(&everything(), &layout, &path(), &Options::default()).unwrap());
    assert!(
        lines.contains(
            &"write \"67108864\" to memory.limit_in_bytes and \"100663296\" to memory.memsw.limit_in_bytes, \
              in the order the kernel takes [/linux/resources/memory/limit]"
                .to_owned()
        ),
        "{lines:#?}"
    );
    assert!(lines.contains(&"write \"0\" to pids.max [/linux/resources/pids/limit]".to_owned()), "{lines:#?}");
    assert!(lines.contains(&"write \"a\" to devices.deny [/linux/resources/devices]".to_owned()), "{lines:#?}");
}

#[test]
fn a_missing_v1_controller_is_named_with_its_place() {
    let error = plan(&everything(), &v1(&["memory", "devices"]), &path(), &Options::default()).unwrap_err();
    assert_eq!(error.to_string(), "/linux/resources/cpu/shares: this machine has no cpu controller mounted");
}

#[test]
fn unified_needs_v2_and_names_files_only() {
    let mut resources = Resources::default();
    resources.unified.insert("memory.high".into(), "1G".into());
    let error = plan(&resources, &v1(&["memory", "devices"]), &path(), &Options::default()).unwrap_err();
    assert!(error.to_string().starts_with("/linux/resources/unified/memory.high: "), "{error}");
    let mut hybrid = v1(&["memory", "devices"]);
    (hybrid.mode, hybrid.unified) = (Mode::Hybrid, v2().unified);
    let error = plan(&resources, &hybrid, &path(), &Options::default()).unwrap_err();
    assert!(error.to_string().contains("belongs to a v1 hierarchy"), "{error}");
    for bad in ["../memory.max", "cgroup.procs", "memory", "a/b.c", ""] {
        let unified = [(bad.to_owned(), "1".to_owned())].into();
        let resources = Resources { unified, ..Resources::default() };
        assert!(plan(&resources, &v2(), &path(), &Options::default()).is_err(), "{bad:?}");
    }
}

#[test]
fn values_no_kernel_takes_are_refused_before_anything_is_made() {
    let mut low_swap = Resources::default();
    (low_swap.memory.limit, low_swap.memory.swap) = (Some(10 << 20), Some(5 << 20));
    let mut negative = Resources::default();
    negative.memory.limit = Some(-2);
    let mut alone = Resources::default();
    alone.memory.swap = Some(5 << 20);
    let pages = vec![HugePages { page_size: "../x".into(), limit: 1 }];
    let pages = Resources { huge_pages: pages, ..Resources::default() };
    for resources in [low_swap, negative, alone, pages] {
        let error = plan(&resources, &v2(), &path(), &Options::default()).unwrap_err();
        assert!(error.origin.is_some_and(|origin| origin.0.starts_with("/linux/resources/")));
    }
}

#[test]
fn an_update_writes_only_the_change_and_completes_pairs() {
    let group = Group {
        mode: Mode::V2,
        directories: vec![GroupDirectory {
            legacy: vec![],
            mount_point: "/sys/fs/cgroup".into(),
            group: "c1".into(),
            late: false,
        }],
        unit: None,
    };
    let mut changed = Resources::default();
    changed.memory.limit = Some(80 << 20);
    changed.cpu.period = Some(200_000);
    let plan = plan_update(&everything(), &changed, &group, &Options::default()).unwrap();
    let values: Vec<String> = lines(&plan).into_iter().skip(1).collect();
    assert_eq!(
        values,
        [
            "write \"50000 200000\" to cpu.max [/linux/resources/cpu/period]",
            "write \"83886080\" to memory.max [/linux/resources/memory/limit]",
            "write \"16777216\" to memory.swap.max [/linux/resources/memory/swap]",
        ]
    );
    assert_eq!(everything().merged(&changed).memory.limit, Some(80 << 20));
    assert_eq!(everything().merged(&changed).cpu.quota, Some(50_000));
}

#[test]
fn shares_map_to_weights_through_three_fixed_points() {
    let pairs = [(0, 1), (2, 1), (1024, 100), (262_144, 10_000), (1 << 40, 10_000)];
    for (shares, weight) in pairs {
        assert_eq!(weight_of_shares(shares), weight, "{shares}");
    }
    assert!((3..262_144).step_by(97).all(|shares| weight_of_shares(shares) <= weight_of_shares(shares + 97)));
}

#[test]
fn only_needed_hierarchies_are_made_now() {
    let layout = v1(&["memory", "cpu", "pids", "devices", "freezer", "name=systemd"]);
    let options = Options { placement: Placement::Needed, ..Options::default() };
    let resources = Resources { pids_limit: Some(5), ..Resources::default() };
    let plan = plan(&resources, &layout, &path(), &options).unwrap();
    let now: Vec<&str> = plan.hierarchies.iter().filter(|one| !one.late).map(|one| one.legacy[0].as_str()).collect();
    assert_eq!(now, ["pids", "devices", "freezer"]);
}

/// What the kernel tests can't show everywhere: weights of devices, RDMA, classes of the network.
#[test]
fn every_limit_is_a_write() {
    let weight = WeightDevice { major: 8, minor: 16, weight: Some(505), leaf_weight: Some(20) };
    let throttle = vec![Throttle { major: 8, minor: 0, rate: 7 }];
    let resources = Resources {
        block_io: BlockIo {
            weight: Some(10),
            leaf_weight: Some(30),
            weight_device: vec![weight],
            throttle_write_bps: throttle.clone(),
            throttle_read_iops: throttle.clone(),
            throttle_write_iops: throttle,
            ..BlockIo::default()
        },
        network: Network { class_id: Some(0x10_0001), priorities: vec![("eth0".into(), 5)] },
        rdma: [("mlx5_1".into(), Rdma { hca_handles: Some(3), hca_objects: Some(100) })].into(),
        ..Resources::default()
    };
    let layout = v1(&["blkio", "net_cls,net_prio", "rdma", "devices"]);
    let lines = |layout: &Layout, resources: &Resources| {
        lines(&plan(resources, layout, &path(), &Options::default()).unwrap())
            .into_iter()
            .filter(|line| line.starts_with("write") && !line.contains("devices."))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let at = "/linux/resources";
    let v1 = format!(
        "\
write \"10\" to blkio.bfq.weight, or without such a file \"10\" to blkio.weight [{at}/blockIO/weight]
write \"30\" to blkio.leaf_weight [{at}/blockIO/leafWeight]
write \"8:16 505\" to blkio.bfq.weight_device, or without such a file \"8:16 505\" to blkio.weight_device [{at}/blockIO/weightDevice/0/weight]
write \"8:16 20\" to blkio.leaf_weight_device [{at}/blockIO/weightDevice/0/leafWeight]
write \"8:0 7\" to blkio.throttle.write_bps_device [{at}/blockIO/throttleWriteBpsDevice/0]
write \"8:0 7\" to blkio.throttle.read_iops_device [{at}/blockIO/throttleReadIOPSDevice/0]
write \"8:0 7\" to blkio.throttle.write_iops_device [{at}/blockIO/throttleWriteIOPSDevice/0]
write \"1048577\" to net_cls.classid [{at}/network/classID]
write \"eth0 5\" to net_prio.ifpriomap [{at}/network/priorities/0]
write \"mlx5_1 hca_handle=3 hca_object=100\" to rdma.max [{at}/rdma/mlx5_1]"
    );
    assert_eq!(lines(&layout, &resources), v1);
    let unified = format!(
        "\
write \"10\" to io.bfq.weight, or without such a file \"default 1\" to io.weight [{at}/blockIO/weight]
write \"8:16 505\" to io.bfq.weight, or without such a file \"8:16 5000\" to io.weight [{at}/blockIO/weightDevice/0]
write \"8:0 wbps=7\" to io.max [{at}/blockIO/throttleWriteBpsDevice/0]
write \"8:0 riops=7\" to io.max [{at}/blockIO/throttleReadIOPSDevice/0]
write \"8:0 wiops=7\" to io.max [{at}/blockIO/throttleWriteIOPSDevice/0]
write \"mlx5_1 hca_handle=3 hca_object=100\" to rdma.max [{at}/rdma/mlx5_1]"
    );
    assert_eq!(lines(&v2(), &resources), unified);
}
