//! `mounts add` and `mounts remove`: what a running container sees of the host's files, and what nobody can make of it.

mod harness;

use harness::{Bundle, Output, Value, as_user, host, json, only_kiste, requires};
use std::fs;
use std::os::unix::fs::symlink;

/// A container that sleeps.
fn sleeping(prepare: impl FnOnce(&Bundle)) -> Bundle {
    let bundle = Bundle::with_args(&["seq", "echo", "up", "--", "sleep"]);
    prepare(&bundle);
    bundle.launch();
    bundle.wait_output("up");
    bundle
}

#[track_caller]
fn mounts(bundle: &Bundle, action: &str, list: &Value) -> Output {
    let file = bundle.host_file(&list.to_string());
    bundle.call(&["mounts", action, &bundle.id, file.to_str().expect("UTF-8")])
}

#[track_caller]
fn add(bundle: &Bundle, list: &Value) -> Output {
    mounts(bundle, "add", list)
}

#[track_caller]
fn remove(bundle: &Bundle, list: &Value) -> Output {
    mounts(bundle, "remove", list)
}

/// Targets and options of what is mounted below a path, bottom first, as the container's own table has it.
#[track_caller]
fn table(bundle: &Bundle, below: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(format!("/proc/{}/mountinfo", bundle.pid())).expect("mountinfo");
    let fields = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields.filter(|f| f[4].starts_with(below)).map(|f| (f[4].to_owned(), f[5].to_owned())).collect()
}

/// A folder of the host with one file in it.
fn folder(bundle: &Bundle, content: &str) -> String {
    let folder = bundle.host_folder();
    fs::write(folder.join("file"), content).expect("file");
    folder.to_str().expect("UTF-8").to_owned()
}

fn bind(source: &str, destination: &str, options: &[&str]) -> Value {
    let options: Vec<&str> = ["rbind"].iter().chain(options).copied().collect();
    json!({ "destination": destination, "source": source, "options": options })
}

fn tmpfs(destination: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options })
}

/// What any container can be given and loses again.
#[track_caller]
fn added_and_removed(bundle: &Bundle) {
    let before = table(bundle, "/");
    let list = json!([
        bind(&folder(bundle, "of the host"), "/mnt/deep/data", &["ro", "nosuid"]),
        tmpfs("/mnt/tmp", &["size=1m", "noexec"]),
        bind(bundle.host_file("a file").to_str().expect("UTF-8"), "/mnt/tmp/file", &[]),
    ]);
    add(bundle, &list).ok();
    assert_eq!(bundle.exec(&["cat", "/mnt/deep/data/file"]).ok().out, "of the host");
    assert_eq!(bundle.exec(&["touch", "/mnt/deep/data/new"]).out.trim(), "EROFS");
    assert_eq!(bundle.exec(&["touch", "/mnt/tmp/new"]).out.trim(), "ok");
    assert_eq!(bundle.exec(&["cat", "/mnt/tmp/file"]).ok().out, "a file");
    let shown = table(bundle, "/mnt");
    let options = |target: &str| shown.iter().find(|(at, _)| at == target).map(|(_, options)| options.clone());
    assert!(options("/mnt/deep/data").is_some_and(|o| o.contains("ro") && o.contains("nosuid")), "{shown:?}");
    assert!(options("/mnt/tmp").is_some_and(|o| o.contains("noexec")), "{shown:?}");
    remove(bundle, &list).ok();
    assert_eq!(table(bundle, "/"), before);
    assert_eq!(bundle.exec(&["list", "/mnt/deep/data"]).ok().out.trim(), "[]");
    remove(bundle, &list).fails_with(&["/2: `mounts add` has mounted nothing at /mnt/tmp/file"]);
}

#[test]
fn a_running_container_gets_mounts_and_loses_them() {
    only_kiste!();
    added_and_removed(&sleeping(|_| {}));
}

#[test]
fn a_container_of_a_plain_user_gets_mounts_too() {
    only_kiste!();
    as_user!();
    added_and_removed(&sleeping(|_| {}));
}

#[test]
fn a_container_in_a_user_namespace_gets_mounts_too() {
    only_kiste!();
    requires!(host::is_root(), "only root can map ids of others");
    added_and_removed(&sleeping(|bundle| {
        bundle.push("/linux/namespaces", json!({ "type": "user" }));
        for map in ["uidMappings", "gidMappings"] {
            bundle.set(&format!("/linux/{map}"), json!([{ "containerID": 0, "hostID": 200_000, "size": 65536 }]));
        }
        let rootfs = bundle.rootfs();
        bundle.host_command("chown", &["-R", "200000:200000", rootfs.to_str().expect("UTF-8")]);
    }));
}

#[test]
fn a_created_container_gets_mounts_before_it_starts() {
    only_kiste!();
    requires!(host::is_root(), "a process that waits for start shows its namespaces to root only");
    let bundle = Bundle::with_args(&["cat", "/data/file"]);
    let _created = bundle.create().ok();
    add(&bundle, &json!([bind(&folder(&bundle, "early"), "/data", &[])])).ok();
    bundle.start().ok();
    harness::wait_until("the output", || _created.again() == "early");
}

#[test]
fn sources_are_the_hosts_and_not_the_containers() {
    only_kiste!();
    let bundle = sleeping(|bundle| {
        fs::create_dir_all(bundle.inside("etc")).expect("folder");
        fs::write(bundle.inside("etc/passwd"), "the container's").expect("file");
    });
    add(&bundle, &json!([bind("/etc/passwd", "/passwd", &["ro"]), bind("/", "/host", &["rslave"])])).ok();
    let hosts = fs::read_to_string("/etc/passwd").expect("passwd");
    assert_eq!(bundle.exec(&["cat", "/passwd"]).ok().out, hosts);
    assert_eq!(bundle.exec(&["cat", "/host/etc/passwd"]).ok().out, hosts);
    // Relative ones start at the bundle; what lies in the root is the container's.
    fs::write(bundle.dir.join("bundle/beside"), "beside").expect("file");
    add(&bundle, &json!([bind("beside", "/beside", &[]), bind("rootfs/etc", "/etc-again", &[])])).ok();
    assert_eq!(bundle.exec(&["cat", "/beside"]).ok().out, "beside");
    assert_eq!(bundle.exec(&["cat", "/etc-again/passwd"]).ok().out, "the container's");
}

#[test]
fn all_are_added_or_none() {
    only_kiste!();
    let bundle = sleeping(|bundle| fs::create_dir(bundle.inside("dir")).expect("folder"));
    let before = table(&bundle, "/");
    let first = tmpfs("/one", &[]);
    let file = bundle.host_file("");
    for (second, words) in [
        (bind("/nowhere/source", "/two", &[]), "/nowhere/source"),
        (bind(file.to_str().expect("UTF-8"), "/dir", &[]), "/dir"),
        (tmpfs("/two", &["nonsense=1"]), "nonsense"),
    ] {
        let told = add(&bundle, &json!([first, second])).fails_with(&[words]).err;
        assert!(told.contains("/1"), "the place is not named: {told}");
        assert!(!told.contains("stay attached"), "{told}");
        assert_eq!(table(&bundle, "/"), before, "{words}");
    }
    remove(&bundle, &json!([first])).fails_with(&["nothing at /one"]);
}

#[test]
fn wrong_lists_are_named_by_their_place() {
    only_kiste!();
    let bundle = sleeping(|_| {});
    for (list, words) in [
        (json!({ "mounts": [] }), "expected a list"),
        (json!([tmpfs("/a", &[]), { "destination": "/b", "options": ["bind"] }]), "/1: a bind mount needs a source"),
        (json!([bind("/etc", "/a", &["size=1"])]), "/0/options/1: a bind mount takes no"),
        (json!([{ "type": "tmpfs" }]), "/0/destination: missing"),
        (json!([tmpfs("/", &[])]), "/0: a mount at / would hide the root"),
        (json!([tmpfs("/proc/sys", &[])]), "/0: /proc/sys lies in /proc"),
        (json!([{ "destination": "/cg", "type": "cgroup" }]), "/0: a control group file system"),
    ] {
        add(&bundle, &list).fails_with(&[words]);
    }
    remove(&bundle, &json!([{ "source": "/etc" }])).fails_with(&["/0/destination: missing"]);
    bundle.call(&["mounts", "move", &bundle.id, "x"]).fails_with(&["neither add nor remove"]);
    bundle.call(&["mounts", "add", &bundle.id, "/nowhere/list"]).fails_with(&["/nowhere/list"]);
    bundle.call(&["mounts", "add", "no-such-container", "/dev/null"]).fails_with(&["no regular file"]);
    let file = bundle.host_file("[]");
    bundle.call(&["mounts", "add", "no-such-container", file.to_str().expect("UTF-8")]).fails_with(&["does not exist"]);
    bundle.kill("KILL").ok();
    bundle.wait_status("stopped");
    add(&bundle, &json!([tmpfs("/a", &[])])).fails_with(&["container not running"]);
}

#[test]
fn symlinks_lead_nowhere_but_into_the_root() {
    only_kiste!();
    let bundle = sleeping(|bundle| {
        let outside = bundle.dir.join("outside");
        fs::create_dir(&outside).expect("folder");
        symlink(&outside, bundle.inside("absolute")).expect("symlink");
        symlink("../../../../../../../../..", bundle.inside("up")).expect("symlink");
        symlink("/proc/1/root", bundle.inside("magic")).expect("symlink");
        symlink("loop", bundle.inside("loop")).expect("symlink");
        symlink("/missing/below", bundle.inside("dangling")).expect("symlink");
    });
    let outside = bundle.dir.join("outside");
    let source = folder(&bundle, "seen");
    add(&bundle, &json!([bind(&source, "/absolute/here", &[]), bind(&source, "/up/there", &[])])).ok();
    add(&bundle, &json!([bind(&source, "/dangling/too", &[])])).ok();
    assert_eq!(fs::read_dir(&outside).expect("folder").count(), 0, "nothing is made outside");
    assert_eq!(bundle.exec(&["cat", "/there/file"]).ok().out, "seen");
    let inside = format!("{}/here/file", outside.display());
    assert_eq!(bundle.exec(&["cat", &inside]).ok().out, "seen");
    assert_eq!(bundle.exec(&["cat", "/missing/below/too/file"]).ok().out, "seen");
    add(&bundle, &json!([bind(&source, "/magic/data", &[])])).fails_with(&["/0: ", "/magic/data"]);
    add(&bundle, &json!([bind(&source, "/loop/data", &[])])).fails_with(&["too many symbolic links"]);
    add(&bundle, &json!([bind(&source, "/absolute", &["dest-nofollow"])])).fails_with(&["a symbolic link lies where"]);
    remove(&bundle, &json!([{ "destination": "/absolute/here" }, { "destination": "/up/there" }])).ok();
    assert_eq!(bundle.exec(&["cat", &inside]).out.trim(), "ENOENT");
}

/// A mask or a mount of the configuration can't be made to look like what was added.
#[test]
fn only_what_was_added_is_removed() {
    only_kiste!();
    let bundle = sleeping(|bundle| {
        fs::create_dir(bundle.inside("secret")).expect("folder");
        fs::write(bundle.inside("secret/file"), "secret").expect("file");
        bundle.set("/linux/maskedPaths", json!(["/secret"]));
        bundle.mount("/configured", "tmpfs", "tmpfs", &[]);
    });
    for destination in ["/secret", "/configured", "/proc", "/"] {
        remove(&bundle, &json!([{ "destination": destination }])).fails_with(&["has mounted nothing at"]);
    }
    let source = folder(&bundle, "added");
    add(&bundle, &json!([bind(&source, "/place/data", &[]), tmpfs("/other", &[])])).ok();
    // The container exchanges what lies on the way: `rename` in its own root.
    fs::rename(bundle.inside("place"), bundle.inside("gone")).expect("rename");
    fs::create_dir(bundle.inside("place")).expect("folder");
    symlink("/secret", bundle.inside("place/data")).expect("symlink");
    let list = json!([{ "destination": "/other" }, { "destination": "/place/data" }]);
    remove(&bundle, &list).fails_with(&["/1: ", "is gone, or something else is mounted over it"]);
    assert_eq!(bundle.exec(&["list", "/secret"]).ok().out.trim(), "[]", "the mask is still there");
    assert_eq!(table(&bundle, "/other").len(), 1, "all are removed or none");
    fs::remove_file(bundle.inside("place/data")).expect("unlink");
    fs::remove_dir(bundle.inside("place")).expect("rmdir");
    fs::rename(bundle.inside("gone"), bundle.inside("place")).expect("rename");
    remove(&bundle, &list).ok();
    assert!(table(&bundle, "/other").is_empty() && table(&bundle, "/place").is_empty());
}

#[test]
fn the_last_one_added_at_a_place_goes_first() {
    only_kiste!();
    let bundle = sleeping(|_| {});
    for content in ["first", "second"] {
        add(&bundle, &json!([bind(&folder(&bundle, content), "/data", &[])])).ok();
        assert_eq!(bundle.exec(&["cat", "/data/file"]).ok().out, content);
    }
    let list = json!([{ "destination": "/data" }]);
    remove(&bundle, &list).ok();
    assert_eq!(bundle.exec(&["cat", "/data/file"]).ok().out, "first");
    remove(&bundle, &list).ok();
    assert_eq!(bundle.exec(&["cat", "/data/file"]).out.trim(), "ENOENT");
}

#[test]
fn file_systems_show_the_containers_own_namespaces() {
    only_kiste!();
    let bundle = sleeping(|_| {});
    let list = json!([
        { "destination": "/proc2", "type": "proc", "source": "proc" },
        { "destination": "/mq", "type": "mqueue", "source": "mqueue" },
    ]);
    add(&bundle, &list).ok();
    assert_eq!(bundle.exec(&["cat", "/proc2/1/cmdline"]).ok().out, "/init\0seq\0echo\0up\0--\0sleep\0");
    let shown = bundle.exec(&["list", "/proc2"]).ok().json();
    let processes =
        shown.as_array().expect("names").iter().filter(|n| n.as_str().is_some_and(|n| n.parse::<i32>().is_ok()));
    assert!(processes.count() <= 2, "{shown}");
    remove(&bundle, &list).ok();
}

#[test]
fn ids_are_mapped_in_what_is_added() {
    only_kiste!();
    requires!(host::is_root(), "an idmapped mount needs a runtime that is root");
    let bundle = sleeping(|_| {});
    let source = folder(&bundle, "");
    add(&bundle, &json!([bind(&source, "/mapped", &["idmap=uids=0-7000-10;gids=0-8000-10"])])).ok();
    let told = bundle.exec(&["stat", "/mapped/file"]).ok().json();
    assert_eq!((&told["uid"], &told["gid"]), (&json!(7000), &json!(8000)), "{told}");
}

#[test]
fn a_symlink_is_copied_or_mounted() {
    only_kiste!();
    let make = |bundle: &Bundle| {
        let folder = bundle.host_folder();
        fs::write(folder.join("target"), "content").expect("file");
        symlink("target", folder.join("link")).expect("symlink");
        folder.to_str().expect("UTF-8").to_owned()
    };
    let bundle = Bundle::with_args(&["seq", "cat", "/d/link", "--", "stat", "/d/link", "--", "cat", "/plain"]);
    let from = make(&bundle);
    bundle.mount("/d/target", "bind", &format!("{from}/target"), &["bind"]);
    bundle.mount("/d/link", "bind", &format!("{from}/link"), &["bind", "copy-symlink"]);
    bundle.mount("/plain", "bind", &format!("{from}/target"), &["bind", "copy-symlink"]);
    let out = bundle.run().ok().out;
    assert!(out.starts_with("content") && out.contains("link") && out.ends_with("content"), "{out}");
    assert_eq!(fs::read_link(bundle.inside("d/link")).expect("a symlink").to_str(), Some("target"));
    // Again: the same link is there. Then another one.
    bundle.run().ok();
    fs::remove_file(bundle.inside("d/link")).expect("unlink");
    symlink("other", bundle.inside("d/link")).expect("symlink");
    bundle.run().fails_with(&["/mounts/7: ", "something else is there"]);
    let running = sleeping(|_| {});
    add(&running, &json!([bind(&format!("{from}/link"), "/l", &["copy-symlink"]), tmpfs("/t", &[])])).ok();
    assert_eq!(fs::read_link(running.inside("l")).expect("a symlink").to_str(), Some("target"));
    remove(&running, &json!([{ "destination": "/t" }])).ok();
}

#[test]
fn a_symlink_at_the_source_is_not_followed_if_asked() {
    let bundle = Bundle::with_args(&["cat", "/data"]);
    let folder = bundle.host_folder();
    fs::write(folder.join("target"), "content").expect("file");
    symlink("target", folder.join("link")).expect("symlink");
    let link = folder.join("link").to_str().expect("UTF-8").to_owned();
    bundle.mount("/data", "bind", &link, &["bind"]);
    assert_eq!(bundle.run().ok().out, "content");
    // What is mounted then is the symlink itself.
    bundle.unmount("/data").mount("/data", "bind", &link, &["bind", "src-nofollow"]);
    let told = bundle.run();
    assert_ne!(told.out, "content", "{}", told.err);
}

#[test]
fn a_symlink_at_the_destination_is_refused_if_asked() {
    let bundle = Bundle::with_args(&["cat", "/data/file"]);
    fs::create_dir(bundle.inside("real")).expect("folder");
    symlink("real", bundle.inside("data")).expect("symlink");
    bundle.mount("/data", "bind", &folder(&bundle, "content"), &["bind"]);
    assert_eq!(bundle.run().ok().out, "content");
    bundle.unmount("/data").mount("/data", "bind", &folder(&bundle, "content"), &["bind", "dest-nofollow"]);
    bundle.run().fails_with(&["/data"]);
}
