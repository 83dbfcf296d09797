//! Checkpoint and restore, by CRIU: what was running goes on, with its memory, its files, its terminal and its connections.

mod harness;

use harness::pty::ConsoleSocket;
use harness::{Bundle, Output, json, requires, run_command, wait_for, wait_until};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Where kiste looks for CRIU.
fn has_criu() -> bool {
    let places = ["/usr/sbin/criu", "/usr/bin/criu", "/usr/local/sbin/criu", "/usr/local/bin/criu"];
    harness::host::is_root() && places.iter().any(|place| Path::new(place).exists())
}

/// A bundle that counts in /tmp/n, a tmpfs of its own, on the host's network.
fn counter() -> Bundle {
    let bundle = Bundle::with_args(&["count", "/tmp/n", "/tmp/end"]);
    bundle.mount("/tmp", "tmpfs", "tmp", &["nosuid", "nodev"]).without_namespace("network");
    bundle
}

/// The count, as the container's memory has it.
fn count(pid: i32) -> i32 {
    let text = fs::read_to_string(format!("/proc/{pid}/root/tmp/n")).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

#[track_caller]
fn wait_count(pid: i32, at_least: i32) {
    wait_until(&format!("a count of {at_least}"), || count(pid) >= at_least);
}

#[track_caller]
fn call(bundle: &Bundle, command: &str, options: &[&str], id: &str) -> Output {
    let words: Vec<&str> = [command, "--image-path", "image"].iter().chain(options).copied().chain([id]).collect();
    let mut command = bundle.runtime.command(&words);
    run_command(&mut command, &bundle.dir, 60.0)
}

#[track_caller]
fn checkpoint(bundle: &Bundle, options: &[&str]) -> Output {
    call(bundle, "checkpoint", options, &bundle.id)
}

/// `restore --detach` under another name, in place of the first container: both have the same control group.
#[track_caller]
fn restore<'a>(bundle: &'a Bundle, options: &[&str]) -> Restored<'a> {
    if bundle.call(&["state", &bundle.id]).code == 0 {
        bundle.delete().ok();
    }
    let id = format!("{}-again", bundle.id);
    let words: Vec<&str> = ["--detach", "--bundle", "bundle"].iter().chain(options).copied().collect();
    call(bundle, "restore", &words, &id).ok();
    let pid = pid_of(bundle, &id);
    Restored { bundle, id, pid }
}

#[track_caller]
fn pid_of(bundle: &Bundle, id: &str) -> i32 {
    bundle.call(&["state", id]).ok().json()["pid"].as_i64().expect("a pid") as i32
}

/// A restored container, deleted at the end of its test.
struct Restored<'a> {
    bundle: &'a Bundle,
    id: String,
    pid: i32,
}

impl Drop for Restored<'_> {
    fn drop(&mut self) {
        let _ = self.bundle.runtime.command(&["delete", "--force", &self.id]).status();
    }
}

/// A mount table without the numbers, which are new each time: place, what of the file system, options, whether it is a
/// slave, type.
fn mounts(pid: i32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("mountinfo");
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| {
            let (own, superblock) = line.split_once(" - ").expect("a line of mountinfo");
            let fields: Vec<&str> = own.split(' ').collect();
            let fstype = superblock.split(' ').next().expect("a type");
            let slave = if own.contains(" master:") { "slave " } else { "" };
            format!("{} {} {} {slave}{fstype}", fields[4], fields[3], fields[5])
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn a_counter_goes_on_under_another_name() {
    requires!(has_criu(), "needs CRIU");
    let bundle = counter();
    let folder = bundle.host_folder();
    fs::write(folder.join("file"), "of the host").expect("a file");
    bundle.mount("/data", "bind", folder.to_str().expect("UTF-8"), &["bind", "ro", "nosuid"]);
    bundle.set("/linux/maskedPaths", json!(["/proc/kcore", "/proc/keys", "/proc/acpi"]));
    bundle.set("/linux/readonlyPaths", json!(["/proc/sys"])).set("/root/readonly", json!(true));
    bundle.launch();
    let first = bundle.pid();
    wait_count(first, 3);
    let before = mounts(first);
    checkpoint(&bundle, &[]).ok();
    assert_eq!(bundle.state()["status"], "stopped");
    assert_eq!(fs::metadata(bundle.dir.join("image")).expect("the images").permissions().mode() & 0o777, 0o700);
    bundle.delete().ok();

    let file = bundle.dir.join("pid");
    let again = restore(&bundle, &["--pid-file", file.to_str().expect("UTF-8")]);
    assert_eq!(fs::read_to_string(&file).expect("the pid file"), again.pid.to_string());
    assert_eq!(bundle.call(&["state", &again.id]).ok().json()["status"], "running");
    // In its memory, not in the file: that is written anew from there.
    let saved = count(again.pid);
    assert!(saved >= 3, "it began again: {saved}");
    wait_count(again.pid, saved + 3);
    assert_eq!(mounts(again.pid), before);
    let tried =
        bundle.call(&["exec", &again.id, "/init", "seq", "write", "/data/file", "x", "--", "cat", "/data/file"]);
    assert_eq!(tried.lines(), ["EROFS", "of the host"]);
    // What was restored can be saved and restored as well.
    call(&bundle, "checkpoint", &[], &again.id).ok();
    bundle.call(&["delete", &again.id]).ok();
    let third = restore(&bundle, &[]);
    wait_count(third.pid, saved + 4);
    assert_eq!(mounts(third.pid), before);
}

#[test]
fn a_container_may_go_on_and_is_saved_in_steps() {
    requires!(has_criu(), "needs CRIU");
    let bundle = counter();
    bundle.launch();
    let pid = bundle.pid();
    wait_count(pid, 2);
    checkpoint(&bundle, &["--leave-running"]).ok();
    assert_eq!((bundle.pid(), bundle.state()["status"].as_str()), (pid, Some("running")));
    wait_count(pid, count(pid) + 2);
    let words = ["checkpoint", "--pre-dump", "--image-path", "first", &bundle.id];
    let first = run_command(&mut bundle.runtime.command(&words), &bundle.dir, 60.0);
    if first.err.contains("CONFIG_MEM_SOFT_DIRTY") {
        return harness::skip(&harness::test_name!(), "needs CONFIG_MEM_SOFT_DIRTY");
    }
    first.ok();
    assert_eq!((bundle.pid(), bundle.state()["status"].as_str()), (pid, Some("running")));
    checkpoint(&bundle, &["--parent-path", "../nowhere"]).fails_with(&["--parent-path", "no directory"]);
    checkpoint(&bundle, &["--parent-path", "/first"]).fails_with(&["--parent-path", "relative"]);
    let last = count(pid);
    checkpoint(&bundle, &["--parent-path", "../first"]).ok();
    assert!(fs::symlink_metadata(bundle.dir.join("image/parent")).expect("the link").is_symlink());
    assert_eq!(bundle.state()["status"], "stopped");
    let again = restore(&bundle, &[]);
    wait_count(again.pid, last + 2);
}

#[test]
fn a_restore_in_the_foreground_has_the_process_s_status() {
    requires!(has_criu(), "needs CRIU");
    let bundle = counter();
    bundle.launch();
    let pid = bundle.pid();
    wait_count(pid, 2);
    checkpoint(&bundle, &[]).ok();
    bundle.delete().ok();
    let mut command = bundle.runtime.command(&["restore", "--image-path", "image", "--bundle", "bundle", &bundle.id]);
    // What was a file when it was saved must be one of the same length now.
    let output = || fs::File::create(bundle.dir.join("output")).expect("a file");
    let mut child = command.stdout(output()).stderr(output()).spawn().expect("restore");
    let pid = || {
        let state = bundle.call(&["state", &bundle.id]);
        if state.code == 0 { state.json()["pid"].as_i64().unwrap_or(0) as i32 } else { 0 }
    };
    wait_until("the restored container", || pid() > 0);
    let pid = pid();
    wait_until("its files", || count(pid) > 0);
    fs::write(format!("/proc/{pid}/root/tmp/end"), "").expect("a file in the container");
    let status = wait_for(&mut child, 20.0).and_then(|status| status.code()).expect("a status");
    assert!((5..=83).contains(&status), "status {status}");
    bundle.assert_nothing_left();
}

#[test]
fn a_terminal_is_handed_over_anew() {
    requires!(has_criu(), "needs CRIU");
    let bundle = Bundle::with_args(&["seq", "echo", "prompt", "--", "cat"]);
    bundle.set("/process/terminal", json!(true)).without_namespace("network");
    let socket = ConsoleSocket::listen(&bundle.dir);
    bundle.create_with(&["--console-socket", socket.path.to_str().expect("UTF-8")]).ok();
    let mut terminal = socket.receive();
    bundle.start().ok();
    terminal.expect("prompt");
    checkpoint(&bundle, &[]).ok();
    drop((terminal, socket));
    fs::remove_file(bundle.dir.join("console.sock")).expect("the old socket");
    let socket = ConsoleSocket::listen(&bundle.dir);
    let _again = restore(&bundle, &["--console-socket", socket.path.to_str().expect("UTF-8")]);
    let mut terminal = socket.receive();
    terminal.write("typed\n");
    terminal.expect("typed");
    terminal.write("\u{4}");
    terminal.expect("typed\r\ntyped");
}

#[test]
fn file_locks_are_told_of_and_kept() {
    requires!(has_criu(), "needs CRIU");
    let bundle = Bundle::with_args(&["seq", "lock", "/lock", "--", "count", "/tmp/n"]);
    bundle.mount("/tmp", "tmpfs", "tmp", &[]).without_namespace("network");
    bundle.set("/process/args", json!(["/init", "seq", "lock", "/tmp/lock", "--", "count", "/tmp/n"]));
    // What it prints would make the file of its output another than the restored one's.
    let words = ["run", "--detach", "--bundle", "bundle", &bundle.id];
    let mut command = bundle.runtime.command(&words);
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    assert!(command.status().expect("run").success());
    let pid = bundle.pid();
    wait_count(pid, 2);
    checkpoint(&bundle, &[]).fails_with(&["holds a file lock", "--file-locks"]);
    assert_eq!((bundle.pid(), bundle.state()["status"].as_str()), (pid, Some("running")));
    checkpoint(&bundle, &["--file-locks"]).ok();
    let again = restore(&bundle, &["--file-locks"]);
    wait_count(again.pid, 3);
    let taken = bundle.call(&["exec", &again.id, "/init", "lock", "/tmp/lock"]);
    assert_eq!(taken.ok().out.trim(), "EAGAIN");
}

/// A server with state and the client of the test.
const SERVER: &str = r#"
import socket
listener = socket.create_server(("127.0.0.1", 0))
open("/tmp/port", "w").write(str(listener.getsockname()[1]))
state = {}
client, _ = listener.accept()
for line in client.makefile():
    words = line.split()
    if words[0] == "set":
        state[words[1]] = words[2]
    client.sendall((state.get(words[1], "nothing") + "\n").encode())
"#;

/// The host's programs, read-only.
fn with_python(bundle: &Bundle) {
    bundle.mount("/usr", "bind", "/usr", &["rbind", "ro"]);
    for name in ["bin", "lib", "lib64", "sbin"] {
        let target = fs::read_link(Path::new("/").join(name)).unwrap_or_else(|_| PathBuf::from(format!("usr/{name}")));
        fs::create_dir_all(bundle.inside("usr")).expect("a folder");
        symlink(target, bundle.inside(name)).expect("a link");
    }
}

#[test]
fn a_server_keeps_its_state_and_its_client() {
    use std::io::{BufRead as _, BufReader, Write as _};
    requires!(has_criu(), "needs CRIU");
    requires!(Path::new("/usr/bin/python3").exists(), "needs python3");
    let bundle = counter();
    with_python(&bundle);
    bundle.set("/process/args", json!(["/usr/bin/python3", "-c", SERVER]));
    bundle.launch();
    let pid = bundle.pid();
    let mut port = 0u16;
    wait_until("the server's port", || {
        let text = fs::read_to_string(format!("/proc/{pid}/root/tmp/port")).unwrap_or_default();
        port = text.parse().unwrap_or(0);
        port != 0
    });
    let client = std::net::TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    client.set_read_timeout(Some(std::time::Duration::from_secs_f64(20.0 * harness::slow()))).expect("a time limit");
    let mut lines = BufReader::new(client.try_clone().expect("dup")).lines();
    let mut ask = |words: &str| {
        (&client).write_all(format!("{words}\n").as_bytes()).expect("a question");
        lines.next().expect("an answer").expect("an answer")
    };
    assert_eq!(ask("set colour blue"), "blue");
    checkpoint(&bundle, &[]).fails_with(&["established TCP connection", "--tcp-established"]);
    assert_eq!(ask("get colour"), "blue");
    checkpoint(&bundle, &["--tcp-established"]).ok();
    assert_eq!(bundle.state()["status"], "stopped");
    let _again = restore(&bundle, &["--tcp-established"]);
    // The same connection, the same memory.
    assert_eq!(ask("get colour"), "blue");
    assert_eq!(ask("set colour red"), "red");
    assert_eq!(ask("get shape"), "nothing");
}

#[test]
fn mount_points_with_odd_names_stay_where_they_were() {
    requires!(has_criu(), "needs CRIU");
    let bundle = counter();
    let folders: Vec<PathBuf> = (0..4).map(|_| bundle.host_folder()).collect();
    let destinations = ["/with space", "/a:b", "/c]d", "/link/inside"];
    fs::create_dir(bundle.inside("real")).expect("a folder");
    symlink("real", bundle.inside("link")).expect("a link");
    for (number, (folder, destination)) in folders.iter().zip(destinations).enumerate() {
        fs::write(folder.join("number"), number.to_string()).expect("a file");
        let options: &[&str] = if number == 0 { &["bind", "ro"] } else { &["bind"] };
        bundle.mount(destination, "bind", folder.to_str().expect("UTF-8"), options);
    }
    bundle.launch();
    let pid = bundle.pid();
    wait_count(pid, 2);
    let before = mounts(pid);
    checkpoint(&bundle, &[]).ok();
    // Another copy of the root, where the mount points are missing.
    for name in ["with space", "a:b", "c]d"] {
        fs::remove_dir(bundle.inside(name)).expect("an empty mount point");
    }
    let again = restore(&bundle, &[]);
    assert_eq!(mounts(again.pid), before);
    for (number, place) in ["with space", "a:b", "c]d", "real/inside"].iter().enumerate() {
        let text = fs::read_to_string(format!("/proc/{}/root/{place}/number", again.pid)).expect(place);
        assert_eq!(text, number.to_string(), "{place}");
    }
}

#[test]
fn a_link_in_the_new_root_leads_no_mount_away() {
    requires!(has_criu(), "needs CRIU");
    let bundle = counter();
    let folder = bundle.host_folder();
    bundle.mount("/data/here", "bind", folder.to_str().expect("UTF-8"), &["bind"]);
    bundle.launch();
    wait_count(bundle.pid(), 2);
    checkpoint(&bundle, &[]).ok();
    bundle.delete().ok();
    fs::remove_dir_all(bundle.inside("data")).expect("the mount point");
    symlink("/etc", bundle.inside("data")).expect("a link");
    call(&bundle, "restore", &["--detach", "--bundle", "bundle"], &bundle.id)
        .fails_with(&["/data/here", "symbolic link"]);
    bundle.assert_nothing_left();
    // A configuration without that mount is not guessed around, either.
    fs::remove_file(bundle.inside("data")).expect("the link");
    bundle.unmount("/data/here");
    call(&bundle, "restore", &["--detach", "--bundle", "bundle"], &bundle.id)
        .fails_with(&["/data/here", "configuration lacks"]);
    bundle.assert_nothing_left();
}

#[test]
fn what_can_not_be_saved_is_told_and_the_container_goes_on() {
    requires!(has_criu(), "needs CRIU");
    let bundle = counter();
    let folder = bundle.host_folder();
    bundle.mount("/a]:kiste-0", "bind", folder.to_str().expect("UTF-8"), &["bind"]);
    bundle.create().ok();
    checkpoint(&bundle, &[]).fails_with(&["that is created", "start"]);
    bundle.start().ok();
    let pid = bundle.pid();
    wait_count(pid, 2);
    checkpoint(&bundle, &[]).fails_with(&["/a]:kiste-0", "no ]:"]);
    let mut exec = bundle.runtime.command(&["exec", &bundle.id, "/init", "sleep"]).spawn().expect("exec");
    wait_until("the other process", || bundle.call(&["ps", "--format", "json", &bundle.id]).out.contains(','));
    checkpoint(&bundle, &[]).fails_with(&["is no descendant of the first one", "exec has brought it"]);
    exec.kill().expect("kill");
    exec.wait().expect("wait");
    assert!(!bundle.dir.join("image").exists(), "images were made");
    assert_eq!((bundle.pid(), bundle.state()["status"].as_str()), (pid, Some("running")));
    let before = count(pid);
    wait_count(pid, before + 2);
    bundle.kill("KILL").ok();
    bundle.wait_status("stopped");
    checkpoint(&bundle, &[]).fails_with(&["container not running"]);
    call(&bundle, "checkpoint", &[], "no-such").fails_with(&["does not exist"]);
}

#[test]
fn a_checkpoint_that_others_can_write_to_or_that_is_damaged_is_refused() {
    requires!(has_criu(), "needs CRIU");
    let bundle = counter();
    bundle.launch();
    wait_count(bundle.pid(), 2);
    checkpoint(&bundle, &[]).ok();
    bundle.delete().ok();
    let again = |words: &[&str]| {
        call(&bundle, "restore", &["--detach", "--bundle", "bundle"], &bundle.id).fails_with(words);
        bundle.assert_nothing_left();
    };
    let image = bundle.dir.join("image");
    fs::set_permissions(&image, PermissionsExt::from_mode(0o777)).expect("chmod");
    again(&["may be written to by others", "0777"]);
    fs::set_permissions(&image, PermissionsExt::from_mode(0o700)).expect("chmod");
    fs::remove_file(image.join("core-1.img")).expect("an image");
    // CRIU's own words, and where there are more of them.
    again(&["cannot restore the container: CRIU failed", "empty-image", "its log is", "restore.log"]);
    fs::remove_file(image.join("kiste.json")).expect("the manifest");
    again(&["no checkpoint of kiste's"]);
}

#[test]
fn limits_hooks_and_namespaces_are_those_of_the_new_container() {
    requires!(has_criu(), "needs CRIU");
    let bundle = Bundle::with_args(&["count", "/tmp/n"]);
    bundle.mount("/tmp", "tmpfs", "tmp", &[]).set("/linux/resources/pids/limit", json!(50));
    bundle.push("/linux/namespaces", json!({ "type": "cgroup" }));
    bundle.launch();
    let pid = bundle.pid();
    wait_count(pid, 2);
    checkpoint(&bundle, &[]).ok();
    let told = bundle.dir.join("hooks");
    for name in ["prestart", "createRuntime", "poststop"] {
        let script = format!("echo {name} $(grep -o '\"status\":\"[a-z]*\"') >> {}", told.display());
        bundle.push(&format!("/hooks/{name}"), json!({ "path": "/bin/sh", "args": ["sh", "-c", script] }));
    }
    bundle.set("/linux/resources/pids/limit", json!(60));
    bundle.set("/linux/cgroupsPath", json!(format!("/kiste-test/{}-again", bundle.id)));
    let again = restore(&bundle, &[]);
    wait_count(again.pid, 3);
    let group = format!("/kiste-test/{}-again", bundle.id);
    assert_eq!(harness::host::cgroup_value("pids", &group, "pids.max"), "60");
    let members = harness::host::cgroup_value("pids", &group, "cgroup.procs");
    assert!(members.lines().any(|line| line == again.pid.to_string()), "{members}");
    assert_ne!(fs::read_link(format!("/proc/{}/ns/net", again.pid)).ok(), fs::read_link("/proc/self/ns/net").ok());
    bundle.call(&["delete", "--force", &again.id]).ok();
    let told = fs::read_to_string(&told).expect("what the hooks told");
    let creating = "\"status\":\"creating\"";
    assert_eq!(told, format!("prestart {creating}\ncreateRuntime {creating}\npoststop \"status\":\"stopped\"\n"));
}
