//! Classes of service and monitoring (`linux.intelRdt`). Few machines have the hardware, so the container is made here by
//! the library with a tree that looks like the kernel's in its facts; every other command is the program's own, which
//! finds that tree in the container's record. Nothing of the program itself takes a path for it.

mod harness;

use std::fs;
use std::path::PathBuf;

use harness::{Bundle, Value, host, json, only_kiste, requires};
use kiste::cgroup::Layout;
use kiste::host::{Facts, Needs, ResourceControl};
use kiste::intent::from_oci::from_oci;
use kiste::launch::container::{Made, Making, make};
use kiste::lowering::{CgroupDriver, Console, Request, lower};
use kiste::state::StateRoot;

/// A tree like resctrl's: a default class and one called gold.
fn tree(bundle: &Bundle) -> PathBuf {
    let root = bundle.host_folder();
    for directory in ["info/L3", "gold/mon_groups", "mon_groups"] {
        fs::create_dir_all(root.join(directory)).expect("a tree");
    }
    for (file, text) in [
        ("schemata", "L3:0=fffff\nMB:0=100\n"),
        ("gold/schemata", "L3:0=007f0\nMB:0=50\n"),
        ("gold/tasks", ""),
        ("info/L3/cbm_mask", "fffff\n"),
        ("info/last_cmd_status", "ok\n"),
    ] {
        fs::write(root.join(file), text).expect("a tree");
    }
    root
}

/// Makes the container as `run --detach` does, with the tree in its facts.
fn make_with(bundle: &Bundle, root: PathBuf) -> kiste::error::Result<Made> {
    let config = fs::read(bundle.config_path()).expect("config.json");
    let directory = bundle.dir.join("bundle");
    let intent = from_oci(&config, &directory).expect("a right configuration");
    let mut facts = Facts::for_start(&Needs::default()).expect("facts");
    facts.resource_control = Some(ResourceControl { root: Some(root) });
    // This program's own image is no secret.
    facts.executable.frozen = true;
    let layout = Layout::read().expect("a layout");
    let plan = lower(Request {
        intent: &intent,
        facts: &facts,
        layout: &layout,
        id: &bundle.id,
        console: Console::None,
        gated: false,
        no_pivot: false,
        no_new_keyring: false,
        preserved: 0,
        extra_env: Vec::new(),
        notify_directory: None,
        host_entries: Vec::new(),
        pinned: Vec::new(),
        symlinks: Default::default(),
        cgroups: CgroupDriver::Cgroupfs,
        hard_limits: Default::default(),
    })?;
    let reserved =
        StateRoot::open(Some(&bundle.runtime.root)).and_then(|root| root.reserve(&bundle.id)).expect("an id");
    let making = Making {
        plan: &plan,
        intent: &intent,
        config: &config,
        bundle: &directory,
        owner: facts.uid,
        gated: false,
        helpers: None,
        pid_file: None,
        pidfd_socket: None,
    };
    make(reserved, &making)
}

#[test]
fn a_container_lives_in_its_class_of_service() {
    only_kiste!();
    requires!(host::is_root(), "needs root");
    let bundle = Bundle::with_args(&["sleep"]);
    let root = tree(&bundle);
    bundle.set(
        "/linux/intelRdt",
        json!({ "l3CacheSchema": "L3:0=7f0", "memBwSchema": "MB:0=20", "schemata": ["L2:0=f"] }),
    );
    let made = make_with(&bundle, root.clone()).expect("a container");
    let own = root.join(&bundle.id);
    let read = |file: &str| fs::read_to_string(own.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    assert_eq!(read("schemata"), "L3:0=7f0\nMB:0=20\nL2:0=f\n");
    // The child wrote it: the process that writes joins.
    assert_eq!(read("tasks"), "0");
    let stats = bundle.call(&["events", "--stats", &bundle.id]).ok().json();
    assert_eq!(stats["data"]["intel_rdt"]["l3_cache_schema"], "L3:0=7f0");
    assert_eq!(stats["data"]["intel_rdt"]["l3_cache_info"], json!({ "cbm_mask": "fffff" }));
    fs::write(own.join("tasks"), "").expect("tasks");
    bundle.exec(&["exit", "0"]).ok();
    assert_eq!(read("tasks"), "0", "a further process joins, too");
    fs::write(own.join("schemata"), "").expect("schemata");
    bundle.call(&["update", "--l3-cache-schema", "L3:0=3", "--mem-bw-schema", "MB:0=10", &bundle.id]).ok();
    assert_eq!(read("schemata"), "L3:0=3\nMB:0=10\n");
    // The kernel removes a group with its files.
    for file in ["tasks", "schemata"] {
        fs::remove_file(own.join(file)).expect("remove");
    }
    drop(made);
    bundle.call(&["delete", "--force", &bundle.id]).ok();
    assert!(!own.exists(), "the class goes with the container");
    bundle.assert_nothing_left();
}

#[test]
fn a_class_of_others_is_shared_and_watched_apart() {
    only_kiste!();
    requires!(host::is_root(), "needs root");
    let bundle = Bundle::with_args(&["sleep"]);
    let root = tree(&bundle);
    bundle.set("/linux/intelRdt", json!({ "closID": "gold", "schemata": ["MB:0=50"], "enableMonitoring": true }));
    let made = make_with(&bundle, root.clone()).expect("a container");
    let monitor = root.join("gold/mon_groups").join(&bundle.id);
    for tasks in [root.join("gold/tasks"), monitor.join("tasks")] {
        assert_eq!(fs::read_to_string(&tasks).expect("tasks"), "0", "{}", tasks.display());
    }
    fs::remove_file(monitor.join("tasks")).expect("remove");
    drop(made);
    bundle.call(&["delete", "--force", &bundle.id]).ok();
    assert!(!monitor.exists() && root.join("gold/tasks").exists());
    assert_eq!(fs::read_to_string(root.join("gold/schemata")).expect("schemata"), "L3:0=007f0\nMB:0=50\n");
}

#[test]
fn what_the_class_of_service_can_not_be_is_told_with_its_place() {
    only_kiste!();
    requires!(host::is_root(), "needs root");
    for (wanted, words) in [
        (json!({ "closID": "silver" }), "there is no class of service \"silver\""),
        (json!({ "closID": "gold", "memBwSchema": "MB:0=60" }), "has not the schema \"MB:0=60\""),
    ] {
        let bundle = Bundle::new();
        let root = tree(&bundle);
        bundle.set("/linux/intelRdt", wanted);
        let error = make_with(&bundle, root.clone()).expect_err("it can't be").to_string();
        assert!(error.starts_with("/linux/intelRdt: ") && error.contains(words), "{error}");
        bundle.assert_nothing_left();
        assert!(!root.join(&bundle.id).exists());
    }
}

#[test]
fn without_the_file_system_there_is_no_class_of_service() {
    only_kiste!();
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("the mount table");
    requires!(!mounts.contains(" - resctrl "), "resctrl is mounted");
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.set("/linux/intelRdt", json!({ "closID": "gold" }));
    bundle.run().fails_with(&["/linux/intelRdt: no resource control file system is mounted", "mount -t resctrl"]);
    bundle.remove("/linux/intelRdt").launch();
    let update = |schema: &str| bundle.call(&["update", "--l3-cache-schema", schema, &bundle.id]);
    update("L3:0=f").fails_with(&["this container has no Intel RDT group"]);
    update("L3").fails_with(&["--l3-cache-schema: expected a schema"]);
    if host::is_root() {
        let stats: Value = bundle.call(&["events", "--stats", &bundle.id]).ok().json();
        assert_eq!(stats["data"]["intel_rdt"], json!({}));
    }
}
