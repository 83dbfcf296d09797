//! Against a tree that looks like resctrl's. A real one fills a new group with files, and removes them with it; here the
//! writers make them, and [`Tree::empty`] takes them away.

use std::fs;
use std::os::fd::AsRawFd;

use serde_json::{Value, json};

use super::*;
use crate::kernel::raw;

struct Tree(PathBuf);

impl Tree {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("kiste-resctrl-{}-{name}", std::process::id()));
        let tree = Tree(root);
        for directory in ["", "info/L3", "info/MB", "mon_groups", "gold/mon_groups", "mon_data"] {
            fs::create_dir_all(tree.0.join(directory)).unwrap();
        }
        for (file, text) in [
            ("schemata", "    MB:0=100;1=100\n    L3:0=fffff;1=fffff\n"),
            ("gold/schemata", "    MB:0= 50;1=100\n    L3:0=007f0;1=fffff\n"),
            ("gold/tasks", ""),
            ("tasks", ""),
            ("info/last_cmd_status", "ok\n"),
            ("info/L3/cbm_mask", "fffff\n"),
            ("info/L3/min_cbm_bits", "1\n"),
            ("info/L3/num_closids", "16\n"),
            ("info/MB/min_bandwidth", "10\n"),
        ] {
            fs::write(tree.0.join(file), text).unwrap();
        }
        tree
    }

    fn request(&self, class: Option<&str>, schemata: &[&str], monitoring: bool) -> Request {
        Request {
            root: self.0.clone(),
            id: "web".into(),
            class: class.map(str::to_owned),
            schemata: schemata.iter().map(|line| (*line).to_owned()).collect(),
            monitoring,
        }
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    /// What the kernel does when a group is removed.
    fn empty(&self, group: &str) {
        for entry in fs::read_dir(self.0.join(group)).into_iter().flatten().flatten() {
            let _ = fs::remove_file(entry.path());
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What the child does.
fn join(made: &Made) {
    for tasks in &made.tasks {
        raw::write(tasks.as_raw_fd(), b"0").unwrap();
    }
}

#[test]
fn a_class_of_its_own_is_made_and_goes_with_the_container() {
    let tree = Tree::new("own");
    let request = tree.request(None, &["L3:0=7f0;1=1f", "MB:0=20;1=70"], false);
    let made = create(&request).unwrap();
    assert_eq!(tree.read("web/schemata"), "L3:0=7f0;1=1f\nMB:0=20;1=70\n");
    join(&made);
    let group = made.keep();
    assert_eq!(tree.read("web/tasks"), "0");
    assert_eq!(group, request.planned());
    let stored: Group = serde_json::from_value(serde_json::to_value(&group).unwrap()).unwrap();
    assert_eq!(stored, group);
    tree.empty("web");
    stored.remove().unwrap();
    assert!(!tree.0.join("web").exists());
    stored.remove().unwrap();
}

#[test]
fn without_schemata_none_are_written() {
    let tree = Tree::new("none");
    let group = create(&tree.request(None, &[], false)).unwrap().keep();
    assert!(!tree.0.join("web/schemata").exists());
    assert_eq!((group.joins(), group.tasks().unwrap().len()), (1, 1));
    assert!(tree.read("tasks").is_empty() && tree.read("schemata").contains("fffff"), "the root is left alone");
}

#[test]
fn a_group_of_the_containers_name_is_not_taken() {
    let tree = Tree::new("taken");
    fs::create_dir(tree.0.join("web")).unwrap();
    let error = create(&tree.request(None, &["L3:0=f"], false)).unwrap_err().to_string();
    assert!(error.contains("there is a resctrl group"), "{error}");
    assert!(tree.0.join("web").is_dir(), "what was there before stays");
}

#[test]
fn a_class_that_exists_is_compared_and_shared() {
    let tree = Tree::new("shared");
    let made = create(&tree.request(Some("gold"), &["L3:0=7f0", "MB:0=50"], false)).unwrap();
    join(&made);
    let group = made.keep();
    assert_eq!(tree.read("gold/tasks"), "0");
    group.remove().unwrap();
    assert!(tree.0.join("gold").is_dir(), "others use it");
    let error = create(&tree.request(Some("gold"), &["L3:0=7f0", "MB:0=60"], false)).unwrap_err().to_string();
    assert!(error.contains("has not the schema \"MB:0=60\""), "{error}");
    // Without schemata it must be there, and the root is the class "/".
    create(&tree.request(Some("gold"), &[], false)).unwrap();
    let error = create(&tree.request(Some("silver"), &[], false)).unwrap_err().to_string();
    assert!(error.contains("there is no class of service \"silver\""), "{error}");
    let root = create(&tree.request(Some("/"), &["MB:0=100"], false)).unwrap();
    join(&root);
    drop(root);
    assert_eq!(tree.read("tasks"), "0");
}

#[test]
fn a_class_that_is_missing_is_made_and_stays() {
    let tree = Tree::new("named");
    let request = tree.request(Some("silver"), &["L3:0=f"], false);
    drop(create(&request));
    assert!(tree.0.join("silver/schemata").is_file(), "the fake tree keeps the directory for its files");
    fs::remove_dir_all(tree.0.join("silver")).unwrap();
    let group = create(&request).unwrap().keep();
    group.remove().unwrap();
    assert_eq!(tree.read("silver/schemata"), "L3:0=f\n");
}

#[test]
fn monitoring_has_a_group_of_its_own() {
    let tree = Tree::new("monitor");
    let made = create(&tree.request(Some("gold"), &[], true)).unwrap();
    join(&made);
    let group = made.keep();
    assert_eq!((tree.read("gold/tasks").as_str(), tree.read("gold/mon_groups/web/tasks").as_str()), ("0", "0"));
    assert_eq!(group.joins(), 2);
    for (domain, occupancy) in [("mon_L3_01", "7"), ("mon_L3_00", "4096")] {
        let directory = tree.0.join("gold/mon_groups/web/mon_data").join(domain);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("llc_occupancy"), occupancy).unwrap();
        fs::write(directory.join("mbm_total_bytes"), "11\n").unwrap();
        fs::write(directory.join("mbm_local_bytes"), "Unavailable\n").unwrap();
    }
    let stats = Value::Object(group.stats());
    assert_eq!(stats["cmt_stats"], json!([{ "llc_occupancy": 4096 }, { "llc_occupancy": 7 }]));
    assert_eq!(stats["mbm_stats"], json!([{ "mbm_total_bytes": 11 }, { "mbm_total_bytes": 11 }]));
    assert_eq!(stats["l3_cache_info"], json!({ "cbm_mask": "fffff", "min_cbm_bits": 1, "num_closids": 16 }));
    assert_eq!(stats["l3_cache_schema_root"], "L3:0=fffff;1=fffff");
    assert_eq!(stats["l3_cache_schema"], "L3:0=007f0;1=fffff");
    assert_eq!(
        (&stats["mem_bw_schema"], &stats["mem_bw_info"]["min_bandwidth"]),
        (&json!("MB:0= 50;1=100"), &json!(10))
    );
    fs::remove_dir_all(tree.0.join("gold/mon_groups/web/mon_data")).unwrap();
    tree.empty("gold/mon_groups/web");
    group.remove().unwrap();
    assert!(tree.0.join("gold/tasks").exists() && !tree.0.join("gold/mon_groups/web").exists());
}

#[test]
fn what_fails_leaves_nothing() {
    let tree = Tree::new("fails");
    // A monitoring group can't be made where mon_groups is missing: a tree without monitoring.
    let error = create(&tree.request(None, &[], true)).unwrap_err().to_string();
    assert!(error.contains("cannot make the resctrl group") && error.contains("mkdir"), "{error}");
    assert!(!tree.0.join("web").exists());
    // The kernel says why in a file of its own.
    fs::write(tree.0.join("info/last_cmd_status"), "mask has non-consecutive 1-bits\n").unwrap();
    fs::remove_file(tree.0.join("gold/schemata")).unwrap();
    fs::create_dir(tree.0.join("gold/schemata")).unwrap();
    let group = tree.request(Some("gold"), &[], false).planned();
    let error = group.write(&["L3:0=5".into()]).unwrap_err().to_string();
    assert!(error.contains("(mask has non-consecutive 1-bits)"), "{error}");
}

#[test]
fn an_update_writes_the_lines() {
    let tree = Tree::new("update");
    let group = create(&tree.request(None, &["L3:0=f"], false)).unwrap().keep();
    fs::remove_file(tree.0.join("web/schemata")).unwrap();
    group.write(&["L3:0=3".into(), "MB:0=10".into()]).unwrap();
    assert_eq!(tree.read("web/schemata"), "L3:0=3\nMB:0=10\n");
    assert_eq!(group.schemata().unwrap(), ["L3:0=3", "MB:0=10"]);
}
