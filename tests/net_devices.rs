//! Network devices that move into containers. Every device here is made in a network namespace of the test's own
//! (`unshare --net`); the machine's are left alone.

mod harness;

use harness::{Bundle, Output, Value, host, json, only_kiste};
use std::process::Command;

/// Runs a script as the caller of kiste, in a network namespace of its own: `$RUN` is kiste with its `--root`.
#[track_caller]
fn script(bundle: &Bundle, text: &str) -> Output {
    let kiste = format!("{} --root {}", harness::runtime_path().display(), bundle.runtime.root.display());
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-ec", text]).env("RUN", kiste).env("ID", &bundle.id).current_dir(&bundle.dir);
    harness::run_command(command.stdin(std::process::Stdio::null()), &bundle.dir, 30.0)
}

/// Makes a pair of devices, of which kd0 has addresses of all sorts. With either one the kernel removes the other.
const PAIR: &str = "ip link add kd0 address 02:00:00:00:00:07 mtu 1400 type veth peer name kp0
    ip address add 192.0.2.7/24 broadcast 192.0.2.255 dev kd0 label kd0:web
    ip address add 198.51.100.7/32 peer 198.51.100.8 dev kd0
    ip address add 2001:db8::7/64 dev kd0 nodad
    ip address add 192.0.2.99/24 valid_lft 1000 preferred_lft 1000 dev kd0
    ip address add 169.254.7.7/16 scope link dev kd0
    ip link set kd0 up\n";

/// A running container's devices, as ip(8) in its network namespace lists them.
fn devices(bundle: &Bundle) -> Value {
    let pid = bundle.pid().to_string();
    bundle.host_command("nsenter", &["--target", &pid, "--net", "ip", "-json", "address"]).json()
}

/// One of ip's list by name.
#[track_caller]
fn device<'v>(all: &'v Value, name: &str) -> &'v Value {
    let mut list = all.as_array().expect("a list").iter();
    list.find(|one| one["ifname"] == name).unwrap_or_else(|| panic!("no {name} in {all}"))
}

/// `local/prefixlen` of all addresses but those the kernel gives (fe80::), sorted.
fn addresses(device: &Value) -> Vec<String> {
    let info = device["addr_info"].as_array().expect("addresses");
    let text = |one: &Value| format!("{}/{}", one["local"].as_str().unwrap_or("?"), one["prefixlen"]);
    let mut all: Vec<_> = info.iter().map(text).filter(|one| !one.starts_with("fe80:")).collect();
    all.sort();
    all
}

fn can_show(test: &str) -> bool {
    let possible = host::is_root() && host::program("ip").is_some();
    if !possible {
        harness::skip(test, "needs root and ip(8)");
    }
    possible
}

#[test]
fn a_device_moves_with_what_is_its_own() {
    if !can_show(&harness::test_name!()) {
        return;
    }
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.set("/linux/netDevices", json!({ "kd0": { "name": "lan0" }, "kp0": {} }));
    bundle.set("/linux/sysctl", json!({ "net.ipv4.conf.lan0.forwarding": "1" }));
    let end = "$RUN create --bundle bundle $ID; $RUN start $ID; ip -json link";
    let left = script(&bundle, &format!("{PAIR}{end}")).ok().json();
    assert!(left.as_array().expect("a list").iter().all(|one| one["ifname"] != "kd0"), "{left}");
    let all = devices(&bundle);
    let found = device(&all, "lan0");
    assert_eq!((&found["mtu"], &found["address"]), (&json!(1400), &json!("02:00:00:00:00:07")), "{found}");
    assert!(found["flags"].as_array().is_some_and(|flags| flags.contains(&json!("UP"))), "{found}");
    // Neither the one that ends nor the one of link scope.
    assert_eq!(addresses(found), ["192.0.2.7/24", "198.51.100.7/32", "2001:db8::7/64"], "{found}");
    let labelled = found["addr_info"].as_array().expect("addresses").iter().find(|one| one["local"] == "192.0.2.7");
    assert_eq!(
        labelled.map(|one| (&one["label"], &one["broadcast"])),
        Some((&json!("lan0:web"), &json!("192.0.2.255")))
    );
    let peer = found["addr_info"].as_array().expect("addresses").iter().find(|one| one["local"] == "198.51.100.7");
    assert_eq!(peer.map(|one| &one["address"]), Some(&json!("198.51.100.8")));
    let inside = bundle.exec(&["report", "--sysctl", "net.ipv4.conf.lan0.forwarding"]).ok().json();
    assert_eq!(inside["interfaces"], json!({ "lo": true, "lan0": true, "kp0": true }));
    if harness::runtime_is_kiste() {
        assert_eq!(inside["sysctls"]["net.ipv4.conf.lan0.forwarding"], "1");
    }
}

#[test]
fn a_device_keeps_its_name_or_gets_a_free_number() {
    if !can_show(&harness::test_name!()) {
        return;
    }
    let bundle = Bundle::new();
    bundle.set("/linux/netDevices", json!({ "kd0": {}, "kd1": { "name": "web%d" }, "kd2": { "name": "web%d" } }));
    let text = "for n in 0 1 2; do ip link add kd$n type veth peer name kp$n; done; $RUN run --bundle bundle $ID";
    let report = script(&bundle, text).ok().json();
    assert_eq!(report["interfaces"], json!({ "lo": true, "kd0": true, "web0": true, "web1": true }));
    bundle.assert_nothing_left();
}

#[test]
fn a_device_moves_into_a_namespace_that_is_joined() {
    only_kiste!();
    if !can_show(&harness::test_name!()) {
        return;
    }
    let bundle = Bundle::new();
    // The holder of the other namespace is this script's own child: it is ended with it.
    bundle
        .without_namespace("network")
        .push("/linux/namespaces", json!({ "type": "network", "path": "/proc/self/pod" }));
    bundle.set("/linux/netDevices", json!({ "kd0": { "name": "eth0" } }));
    let text = "ip link add kd0 type veth peer name kp0
        unshare --net sleep 60 & holder=$!
        while [ $(readlink /proc/$holder/ns/net) = $(readlink /proc/self/ns/net) ]; do sleep 0.01; done
        sed -i s,/proc/self/pod,/proc/$holder/ns/net, bundle/config.json
        $RUN run --bundle bundle $ID; nsenter --target $holder --net ip link show eth0 >&2; kill $holder";
    let output = script(&bundle, text).ok();
    assert_eq!(output.json()["interfaces"]["eth0"], true);
    assert!(output.err.contains("eth0"), "the device stays in the namespace: {}", output.err);
}

#[test]
fn a_container_that_fails_gives_its_devices_back() {
    only_kiste!();
    if !can_show(&harness::test_name!()) {
        return;
    }
    let bundle = Bundle::new();
    bundle.set("/linux/netDevices", json!({ "kd0": { "name": "lan0" }, "kd1": {} }));
    bundle.set("/hooks", json!({ "createRuntime": [{ "path": "/bin/false" }] }));
    let text = format!(
        "{PAIR}ip link add kd1 type veth peer name kp1\n$RUN create --bundle bundle $ID && exit 9\nip -json address"
    );
    let output = script(&bundle, &text).ok();
    let all = output.json();
    let found = device(&all, "kd0");
    assert!(found["flags"].as_array().is_some_and(|flags| flags.contains(&json!("UP"))), "{found}");
    assert_eq!(addresses(found), ["192.0.2.7/24", "198.51.100.7/32", "2001:db8::7/64"], "{found}");
    let other = device(&all, "kd1");
    assert!(other["flags"].as_array().is_some_and(|flags| !flags.contains(&json!("UP"))), "{other}");
    bundle.assert_nothing_left();
}

#[test]
fn what_can_not_move_is_told_with_its_place() {
    only_kiste!();
    if !can_show(&harness::test_name!()) {
        return;
    }
    for (wanted, words) in [
        (json!({ "no-such": {} }), "/linux/netDevices/no-such: the runtime's network namespace has no device no-such"),
        // Each namespace has a loopback of its own.
        (json!({ "lo": { "name": "lo9" } }), "/linux/netDevices/lo: cannot move network device lo"),
        (
            json!({ "kd0": { "name": "lo" } }),
            "/linux/netDevices/kd0: the container's network namespace has a device lo",
        ),
        (json!({ "kd0": { "name": "a b" } }), "/linux/netDevices/kd0/name: \"a b\" is no network device's name"),
        (json!({ "kd0": 7 }), "/linux/netDevices/kd0: expected an object"),
    ] {
        let bundle = Bundle::new();
        bundle.set("/linux/netDevices", wanted);
        let text = "ip link add kd0 type veth peer name kp0; if $RUN run --bundle bundle $ID; then exit 9; fi; ip link show kd0";
        let output = script(&bundle, text).ok();
        assert!(output.err.contains(words), "{}", output.err);
        bundle.assert_nothing_left();
    }
}

#[test]
fn without_a_network_namespace_no_device_moves() {
    only_kiste!();
    let bundle = Bundle::new();
    bundle.without_namespace("network").set("/linux/netDevices", json!({ "kd0": {} }));
    bundle.run().fails_with(&["/linux/netDevices/kd0: a network device without a network namespace"]);
    if !host::is_root() {
        let bundle = Bundle::new();
        bundle.set("/linux/netDevices", json!({ "kd0": {} }));
        bundle.run().fails_with(&["/linux/netDevices/kd0: moving network device kd0 needs CAP_NET_ADMIN"]);
    }
}

#[test]
fn what_restore_does_not_bring_back_is_told() {
    only_kiste!();
    for (pointer, value, words) in [
        (
            "/linux/netDevices",
            json!({ "kd0": {} }),
            "/linux/netDevices/kd0: restore gives no container a network device",
        ),
        (
            "/linux/intelRdt",
            json!({ "closID": "gold" }),
            "/linux/intelRdt: restore gives no container a class of service",
        ),
    ] {
        let bundle = Bundle::new();
        bundle.set(pointer, value);
        bundle.call(&["restore", "--bundle", "bundle", "--image-path", "images", &bundle.id]).fails_with(&[words]);
        bundle.assert_nothing_left();
    }
}
