//! Each rule by a configuration that breaks it and nothing else.

use std::path::Path;

use crate::intent::Intent;
use crate::intent::contradictions::process_in;
use crate::intent::from_oci::{from_oci, process_from_oci, resources_from_oci};

/// A configuration with all namespaces but user and time, into which `linux` and `top` are put.
fn config(namespaces: &str, linux: &str, top: &str) -> String {
    format!(
        r#"{{"ociVersion":"1.0.2","root":{{"path":"rootfs"}},"process":{{"args":["a"],"cwd":"/","user":{{"uid":1,"gid":2}}}},
        "linux":{{"namespaces":[{namespaces}]{linux}}}{top}}}"#
    )
}

const ALL: &str =
    r#"{"type":"pid"},{"type":"mount"},{"type":"ipc"},{"type":"uts"},{"type":"network"},{"type":"cgroup"}"#;
const USER: &str = r#"{"type":"mount"},{"type":"user"}"#;
const MAPS: &str =
    r#","uidMappings":[{"containerID":0,"hostID":9,"size":9}],"gidMappings":[{"containerID":0,"hostID":9,"size":9}]"#;

fn read(namespaces: &str, linux: &str, top: &str) -> crate::error::Result<Intent> {
    from_oci(config(namespaces, linux, top).as_bytes(), Path::new("/b"))
}

fn refusal(namespaces: &str, linux: &str, top: &str) -> String {
    read(namespaces, linux, top).expect_err("a contradiction was written").to_string()
}

#[test]
fn namespaces_are_there_once() {
    let text = refusal(r#"{"type":"pid"},{"type":"uts"},{"type":"pid","path":"/p"}"#, "", "");
    assert_eq!(text, "/linux/namespaces/2: a second pid namespace");
}

#[test]
fn what_would_change_the_host_needs_a_namespace() {
    for (linux, top, place) in [
        ("", r#","hostname":"x""#, "/hostname: a host name without a uts namespace"),
        ("", r#","domainname":"x""#, "/domainname: a domain name without a uts"),
        ("", r#","mounts":[{"destination":"/x","type":"tmpfs"}]"#, "/mounts/0: a mount without a mount namespace"),
        (r#","maskedPaths":["/x"]"#, "", "/linux/maskedPaths/0: a masked path without a mount namespace"),
        (r#","readonlyPaths":["/x"]"#, "", "/linux/readonlyPaths/0: a read-only path without"),
        (r#","rootfsPropagation":"slave""#, "", "/linux/rootfsPropagation: the root's propagation without"),
        (r#","timeOffsets":{"boottime":{"secs":1}}"#, "", "/linux/timeOffsets/boottime: a clock's offset needs"),
        (
            r#","sysctl":{"kernel.sem":"1"}"#,
            "",
            "/linux/sysctl/kernel.sem: kernel.sem would be the host's without a ipc",
        ),
        (
            r#","sysctl":{"net.ipv4.ip_forward":"1"}"#,
            "",
            "/linux/sysctl/net.ipv4.ip_forward: net.ipv4.ip_forward would be",
        ),
        (r#","uidMappings":[{"size":1}]"#, "", "/linux/uidMappings: id maps without a user namespace"),
        (r#","gidMappings":[{"size":1}]"#, "", "/linux/gidMappings: id maps without a user namespace"),
    ] {
        let text = refusal(r#"{"type":"pid"}"#, linux, top);
        assert!(text.starts_with(place), "{text}");
    }
    // The same with the namespaces is fine, but for maps and offsets.
    read(ALL, r#","maskedPaths":["/x"],"sysctl":{"kernel.sem":"1"}"#, r#","hostname":"x","domainname":"y""#).unwrap();
    let joined = r#"{"type":"time","path":"/t"}"#;
    assert!(refusal(joined, r#","timeOffsets":{"boottime":{"secs":1}}"#, "").contains("new time namespace"));
}

#[test]
fn kernel_parameters_of_the_host_are_refused() {
    for (name, words) in [
        ("kernel.core_pattern", "belongs to the host"),
        ("kernel.hostname", "is the field /hostname"),
        ("user.max_user_namespaces", "without a user namespace"),
        ("vm/swappiness", "belongs to the host"),
    ] {
        let text = refusal(ALL, &format!(r#","sysctl":{{"{name}":"1"}}"#), "");
        assert!(text.starts_with("/linux/sysctl/") && text.contains(words), "{text}");
    }
    let twice = r#","sysctl":{"net.core.somaxconn":"1","net/core/somaxconn":"2"}"#;
    assert!(
        refusal(ALL, twice, "").starts_with("/linux/sysctl/net~1core~1somaxconn: net.core.somaxconn is there twice")
    );
    read(USER, &format!(r#"{MAPS},"sysctl":{{"user.max_user_namespaces":"0"}}"#), "").unwrap();
}

#[test]
fn maps_and_user_namespace_belong_together() {
    assert_eq!(refusal(USER, "", ""), "/linux/namespaces/1: a new user namespace needs uidMappings");
    let users = r#","uidMappings":[{"containerID":0,"hostID":9,"size":9}]"#;
    assert_eq!(refusal(USER, users, ""), "/linux/namespaces/1: a new user namespace needs gidMappings");
    read(USER, MAPS, "").unwrap();
    read(r#"{"type":"user","path":"/proc/7/ns/user"}"#, "", "").unwrap();
    let overlap = r#","uidMappings":[{"containerID":0,"hostID":9,"size":9},{"containerID":8,"hostID":90,"size":1}]"#;
    assert!(refusal(USER, overlap, "").starts_with("/linux/uidMappings/1: the range overlaps an earlier one in the"));
    let wrap = r#","gidMappings":[{"containerID":4294967290,"hostID":9,"size":9}]"#;
    assert!(refusal(USER, wrap, "").starts_with("/linux/gidMappings/0: 9 ids from"));
}

#[test]
fn the_payload_must_be_mapped() {
    for (user, place) in [
        (r#"{"uid":9,"gid":0}"#, "/process/user/uid: user 9 is not mapped"),
        (r#"{"uid":8,"gid":10}"#, "/process/user/gid: group 10 is not mapped"),
        (r#"{"uid":8,"gid":8,"additionalGids":[1,99]}"#, "/process/user/additionalGids/1: group 99 is not mapped"),
    ] {
        let text = config(USER, MAPS, "").replace(r#"{"uid":1,"gid":2}"#, user);
        let text = from_oci(text.as_bytes(), Path::new("/b")).unwrap_err().to_string();
        assert!(text.starts_with(place), "{text}");
    }
}

#[test]
fn a_joining_process_must_be_mapped_too() {
    let joining = process_from_oci(br#"{"args":["a"],"cwd":"/","user":{"uid":9,"gid":0}}"#).unwrap();
    let text = process_in(&read(USER, MAPS, "").unwrap(), &joining).unwrap_err().to_string();
    assert_eq!(text, "/user/uid: user 9 is not mapped in the user namespace");
    process_in(&read(ALL, "", "").unwrap(), &joining).unwrap();
}

#[test]
fn mounts_leave_proc_and_the_root_alone() {
    for (mount, words) in [
        (r#"{"destination":"/proc","type":"tmpfs"}"#, "only a proc file system"),
        (r#"{"destination":"/x/../proc/self","source":"/a","options":["bind"]}"#, "/proc/self lies in /proc"),
        (r#"{"destination":"/proc/sys/kernel/core_pattern","source":"/a","options":["bind"]}"#, "may not be covered"),
        (r#"{"destination":"/","source":"/a","options":["bind"]}"#, "would hide the root"),
        (r#"{"destination":"/x","type":"ramfs","options":["tmpcopyup"]}"#, "tmpcopyup is for a tmpfs"),
        (r#"{"destination":"/x","source":"/a","options":["bind","idmap"]}"#, "or a user namespace to take them from"),
        (r#"{"destination":"/x","type":"tmpfs","options":["idmap"]}"#, "on bind mounts only"),
        (
            r#"{"destination":"/x","source":"/a","options":["bind"],"uidMappings":[{"containerID":0,"hostID":0,"size":1}]}"#,
            "needs both",
        ),
    ] {
        let text = refusal(ALL, "", &format!(r#","mounts":[{{"destination":"/y","type":"tmpfs"}},{mount}]"#));
        assert!(text.starts_with("/mounts/1: ") && text.contains(words), "{text}");
    }
    for mount in [
        r#"{"destination":"/proc","type":"proc"}"#,
        r#"{"destination":"/proc","type":"bind","source":"/proc","options":["rbind"]}"#,
        r#"{"destination":"/proc/meminfo","source":"/a","options":["bind"]}"#,
        r#"{"destination":"/procession","type":"tmpfs"}"#,
    ] {
        read(ALL, "", &format!(r#","mounts":[{mount}]"#)).unwrap();
    }
    read(USER, MAPS, r#","mounts":[{"destination":"/x","source":"/a","options":["bind","idmap"]}]"#).unwrap();
}

#[test]
fn devices_are_listed_once() {
    let device = |minor| format!(r#"{{"type":"c","path":"/dev/x","major":10,"minor":{minor}}}"#);
    let intent = read(ALL, &format!(r#","devices":[{},{}]"#, device(1), device(1)), "").unwrap();
    assert_eq!((intent.devices.len(), intent.warnings.len()), (1, 1));
    let text = refusal(ALL, &format!(r#","devices":[{},{}]"#, device(1), device(2)), "");
    assert_eq!(text, "/linux/devices/1: /dev/x is another device at /linux/devices/0");
}

#[test]
fn limits_do_not_contradict_each_other() {
    for (text, place) in [
        (r#"{"memory":{"limit":20,"swap":10}}"#, "/memory/swap: memory and swap together (10)"),
        (r#"{"cpu":{"period":999}}"#, "/cpu/period: a period goes from 1000"),
        (r#"{"cpu":{"quota":999}}"#, "/cpu/quota: a quota is at least 1000"),
        (r#"{"cpu":{"quota":5000,"burst":5001}}"#, "/cpu/burst: a burst of 5001"),
    ] {
        let error = resources_from_oci(text.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(place), "{error}");
    }
    resources_from_oci(br#"{"memory":{"limit":20,"swap":-1},"cpu":{"quota":-1,"burst":5,"period":0}}"#).unwrap();
    resources_from_oci(br#"{"memory":{"limit":-1,"swap":10}}"#).unwrap();
}

#[test]
fn resource_limits_are_there_once() {
    let limit = r#"{"type":"RLIMIT_CPU","soft":1,"hard":1}"#;
    let text = config(ALL, "", "").replace(r#""cwd":"/""#, &format!(r#""cwd":"/","rlimits":[{limit},{limit}]"#));
    let text = from_oci(text.as_bytes(), Path::new("/b")).unwrap_err().to_string();
    assert_eq!(text, "/process/rlimits/1: RLIMIT_CPU is there twice");
}

#[test]
fn memory_policies_are_as_the_kernel_takes_them() {
    let policy = |policy: &str| read(ALL, &format!(r#","memoryPolicy":{{{policy}}}"#), "");
    for good in [
        r#""mode":"MPOL_DEFAULT","nodes":"""#,
        r#""mode":"MPOL_LOCAL""#,
        r#""mode":"MPOL_PREFERRED""#,
        r#""mode":"MPOL_PREFERRED","nodes":"1","flags":["MPOL_F_STATIC_NODES"]"#,
        r#""mode":"MPOL_BIND","nodes":"0-1","flags":["MPOL_F_NUMA_BALANCING","MPOL_F_RELATIVE_NODES"]"#,
    ] {
        policy(good).expect(good);
    }
    for (bad, place) in [
        (r#""mode":"MPOL_DEFAULT","nodes":"0""#, "nodes: MPOL_DEFAULT takes no nodes"),
        (r#""mode":"MPOL_LOCAL","nodes":"0""#, "nodes: MPOL_LOCAL takes no nodes"),
        (r#""mode":"MPOL_BIND""#, "nodes: MPOL_BIND needs nodes"),
        (r#""mode":"MPOL_WEIGHTED_INTERLEAVE","nodes":" ""#, "nodes: MPOL_WEIGHTED_INTERLEAVE needs nodes"),
        (
            r#""mode":"MPOL_BIND","nodes":"0","flags":["MPOL_F_STATIC_NODES","MPOL_F_RELATIVE_NODES"]"#,
            "flags: MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other",
        ),
        (
            r#""mode":"MPOL_INTERLEAVE","nodes":"0","flags":["MPOL_F_NUMA_BALANCING"]"#,
            "flags: MPOL_F_NUMA_BALANCING is",
        ),
        (r#""mode":"MPOL_PREFERRED","flags":["MPOL_F_STATIC_NODES"]"#, "flags: MPOL_PREFERRED without nodes"),
    ] {
        let text = policy(bad).expect_err(bad).to_string();
        assert!(text.starts_with(&format!("/linux/memoryPolicy/{place}")), "{text}");
    }
}

#[test]
fn network_devices_need_a_namespace_and_names_of_their_own() {
    let two = r#","netDevices":{"a":{"name":"x"},"b":{"name":"x"}}"#;
    assert_eq!(refusal(ALL, two, ""), "/linux/netDevices/b/name: x is the name of /linux/netDevices/a already");
    read(ALL, r#","netDevices":{"a":{"name":"x%d"},"b":{"name":"x%d"}}"#, "").unwrap();
    let text = refusal(r#"{"type":"mount"}"#, r#","netDevices":{"a":{}}"#, "");
    assert!(text.starts_with("/linux/netDevices/a: a network device without a network namespace"), "{text}");
}
