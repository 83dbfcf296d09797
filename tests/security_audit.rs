//! What the runtime asks the kernel, seen from outside (K6): no string names a path in the container's root, nothing of the
//! host is looked up from inside, and nothing stands between the system call filter and execve but what the plan says.

mod harness;
mod security;

use harness::{Bundle, host, json, only_kiste, requires};
use security::audit::{Container, faults};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A command under strace, into a file.
fn traced(bundle: &Bundle, words: &[&str], file: &Path) -> Child {
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-e", "signal=none", "-o"]).arg(file).arg(harness::runtime_path());
    command.arg("--root").arg(&bundle.runtime.root).args(words).current_dir(&bundle.dir);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().expect("strace")
}

#[track_caller]
fn ends_well(mut child: Child, what: &str) {
    let status = harness::wait_for(&mut child, 60.0).unwrap_or_else(|| panic!("{what} hung"));
    assert!(status.success(), "{what}: {status}");
}

/// The trace keeps the rules, and is one: the payload was executed in it, or the gate opened.
#[track_caller]
fn audit(bundle: &Bundle, what: &str, file: &Path, must_have: &str) {
    let trace = fs::read_to_string(file).expect("a trace");
    let (rootfs, folder) = (bundle.rootfs(), bundle.dir.join("bundle"));
    let own = [rootfs.to_str().expect("UTF-8"), folder.to_str().expect("UTF-8")];
    let runtime = harness::runtime_path().canonicalize().expect("the runtime");
    let container = Container {
        rootfs: own[0],
        cwd: bundle.dir.to_str().expect("UTF-8"),
        payload: &["/init"],
        payload_cwd: "/work",
        programs: &["/bin/true"],
        runtime: runtime.to_str().expect("UTF-8"),
        // Hooks start in the bundle, and the root itself is looked at again after them.
        sources: if what == "with hooks" { &own } else { &[] },
    };
    let faults = faults(&trace, &container);
    assert!(faults.is_empty(), "{what}:\n{}", faults.join("\n"));
    let filter = (what.starts_with("filtered") && must_have.starts_with("execve")).then_some("SECCOMP_SET_MODE_FILTER");
    for word in filter.iter().chain([&must_have]) {
        assert!(trace.lines().any(|line| line.contains(word)), "{what}: the trace lacks {word}");
    }
}

/// One of the containers: a bundle with much to do in it.
fn bundle(kind: &str) -> Bundle {
    let bundle = Bundle::with_args(&["exit", "0"]);
    bundle.set("/process/cwd", json!("/work"));
    let file = bundle.host_file("of the host");
    let folder = bundle.host_folder();
    let path = |path: &PathBuf| path.to_str().expect("UTF-8").to_owned();
    bundle.mount("/a/b/file", "none", &path(&file), &["bind", "ro"]);
    bundle.mount("/a/folder", "none", &path(&folder), &["rbind", "nosuid"]);
    bundle.set("/linux/maskedPaths", json!(["/proc/kcore", "/proc/acpi", "/sys/firmware", "/masked"]));
    bundle.set("/linux/readonlyPaths", json!(["/proc/sys", "/readonly"]));
    for folder in ["masked", "readonly", "etc"] {
        fs::create_dir_all(bundle.inside(folder)).expect("a folder");
    }
    fs::write(bundle.inside("etc/passwd"), "root:x:0:0::/work:/init\n").expect("passwd");
    let filter = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["getppid"], "action": "SCMP_ACT_ERRNO" }],
    });
    match kind {
        "bare" => {}
        "filtered last" => drop(bundle.set("/linux/seccomp", filter)),
        "filtered early" => drop(bundle.set("/linux/seccomp", filter).set("/process/noNewPrivileges", json!(false))),
        "in a user namespace" => {
            bundle.push("/linux/namespaces", json!({ "type": "user" })).set("/linux/seccomp", filter);
            let map = json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]);
            bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
        }
        "with hooks" => {
            let hook = json!([{ "path": "/bin/true", "args": ["true"] }]);
            bundle.set("/hooks", json!({ "createRuntime": hook, "createContainer": hook, "poststop": hook }));
        }
        other => panic!("{other}"),
    }
    bundle
}

const KINDS: [&str; 5] = ["bare", "filtered last", "filtered early", "in a user namespace", "with hooks"];

#[test]
fn no_call_names_a_path_in_the_root() {
    only_kiste!();
    requires!(host::is_root(), "needs root to trace what hides");
    requires!(host::program("strace").is_some(), "no strace");
    for kind in KINDS {
        let bundle = bundle(kind);
        let file = bundle.dir.join("trace");
        ends_well(traced(&bundle, &["run", "--bundle", "bundle", &bundle.id], &file), kind);
        audit(&bundle, kind, &file, "execve(\"/init\"");
        bundle.assert_nothing_left();
    }
}

#[test]
fn nor_does_one_of_create_start_and_delete() {
    only_kiste!();
    requires!(host::is_root(), "needs root to trace what hides");
    requires!(host::program("strace").is_some(), "no strace");
    for kind in KINDS {
        let bundle = bundle(kind);
        let files = ["create", "start", "delete"].map(|name| bundle.dir.join(name));
        let begin = std::time::Instant::now();
        // It ends with the container's process, which it traces too.
        let creation = traced(&bundle, &["create", "--bundle", "bundle", &bundle.id], &files[0]);
        while !bundle.call(&["state", &bundle.id]).out.contains("\"status\": \"created\"") {
            assert!(begin.elapsed().as_secs_f64() < 60.0 * harness::slow(), "{kind}: not created");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        ends_well(traced(&bundle, &["start", &bundle.id], &files[1]), kind);
        ends_well(creation, kind);
        bundle.wait_status("stopped");
        ends_well(traced(&bundle, &["delete", &bundle.id], &files[2]), kind);
        for (file, must_have) in files.iter().zip(["execve(\"/init\"", "flock(", "unlinkat("]) {
            audit(&bundle, kind, file, must_have);
        }
    }
}

#[test]
fn nor_does_one_of_exec() {
    only_kiste!();
    requires!(host::is_root(), "needs root to trace what hides");
    requires!(host::program("strace").is_some(), "no strace");
    for kind in KINDS {
        let bundle = bundle(kind);
        bundle.args(&["sleep"]);
        bundle.launch();
        let file = bundle.dir.join("trace");
        ends_well(traced(&bundle, &["exec", &bundle.id, "/init", "exit", "0"], &file), kind);
        audit(&bundle, kind, &file, "execve(\"/init\"");
    }
}

/// Each line breaks one rule when it comes into a trace that keeps them all.
#[test]
fn a_trace_that_breaks_a_rule_is_found() {
    let container = Container {
        rootfs: "/b/rootfs",
        cwd: "/b",
        payload: &["/bin/sh"],
        payload_cwd: "/work",
        programs: &["/usr/bin/hook"],
        runtime: "/usr/bin/kiste",
        sources: &[],
    };
    let good = |parent: &str, before: &str, inside: &str, filtered: &str| {
        format!(
            "1 execve(\"/usr/bin/kiste\", [\"kiste\"], 0x1 /* 9 vars */) = 0\n\
             1 openat(AT_FDCWD</b>, \"rootfs\", O_PATH|O_CLOEXEC) = 6</b/rootfs>\n{parent}\
             1 clone3({{flags=CLONE_NEWNS}} => {{pidfd=[7]}}, 88) = 2\n\
             2 openat2(6</b/rootfs>, \"a/b\", {{flags=O_PATH, resolve=RESOLVE_NO_MAGICLINKS|RESOLVE_IN_ROOT}}, 24) = 8</b/rootfs/a/b>\n\
             2 mkdirat(8</b/rootfs/a/b>, \"c, d\", 0755) = 0\n{before}\
             2 pivot_root(\".\", \".\" <unfinished ...>\n1 close(6</b/rootfs>) = 0\n2 <... pivot_root resumed>) = 0\n\
             2 umount2(\".\", MNT_DETACH) = 0\n2 chdir(\"/work\") = 0\n{inside}\
             2 prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) = 0\n\
             2 seccomp(SECCOMP_SET_MODE_FILTER, 0, {{len=9, filter=0x1}}) = 0\n{filtered}\
             2 close_range(3, 4294967295, 0) = 0\n2 execve(\"/bin/sh\", [\"sh\"], 0x1 /* 1 var */) = 0\n\
             2 open(\"/anything/of/the/payload\", O_RDWR) = 3\n"
        )
    };
    assert_eq!(faults(&good("", "", "", ""), &container), [""; 0]);
    for (place, line, rule) in [
        (0, "1 mkdir(\"/b/rootfs/dev\", 0755) = 0", "into the root"),
        (0, "1 openat(AT_FDCWD</b>, \"rootfs/etc/passwd\", O_RDONLY) = 9", "into the root"),
        (0, "1 mount(\"/dev/null\", \"/b/rootfs/dev/null\", NULL, MS_BIND, NULL) = 0", "into the root"),
        (
            0,
            "1 unlink(\"/b/rootfs/dev/ptmx\" <unfinished ...>\n1 <... unlink resumed>) = -1 ENOENT (none)",
            "into the root",
        ),
        (0, "1 symlinkat(\"pts/ptmx\", AT_FDCWD</b>, \"/b/rootfs/dev/ptmx\") = 0", "into the root"),
        (0, "1 execve(\"newuidmap\", [\"newuidmap\"], 0x1) = -1 ENOENT (none)", "absolute path"),
        (0, "1 execve(\"/b/rootfs/bin/hook\", [\"hook\"], 0x1) = 0", "absolute path"),
        (1, "2 openat(AT_FDCWD</b>, \"/proc/self/attr/exec\", O_WRONLY) = 9", "before it has its root"),
        (1, "2 mknod(\"/dev/null\", S_IFCHR|0666, makedev(0x1, 0x3)) = 0", "before it has its root"),
        (1, "2 openat(8</b/rootfs/a/b>, \"c\", O_RDONLY) = 9", "followed"),
        (1, "2 fchmodat(6</>, \"dev/null\", 0666) = 0", "several names"),
        (1, "2 openat2(6</>, \"dev\", {flags=O_PATH, resolve=RESOLVE_IN_ROOT}, 24) = 9", "not kept there"),
        (1, "2 openat2(6</>, \"dev\", {flags=O_PATH, resolve=RESOLVE_NO_MAGICLINKS}, 24) = 9", "not kept there"),
        (1, "2 execve(\"/usr/bin/other\", [\"other\"], 0x1) = -1 ENOENT (none)", "absolute path"),
        (2, "2 openat(AT_FDCWD</>, \"/etc/group\", O_RDONLY) = 3", "in the container's root"),
        (2, "2 openat2(AT_FDCWD</>, \"/etc/passwd\", {flags=O_RDONLY, resolve=0}, 24) = 3", "in the container's root"),
        (2, "2 execve(\"/bin/other\", [\"other\"], 0x1) = -1 ENOENT (none)", "in the container's root"),
        (2, "2 chdir(\"/elsewhere\") = 0", "in the container's root"),
        (3, "2 setresuid(1, 1, 1) = 0", "between the filter and execve"),
        (3, "2 openat(9</proc>, \"x\", O_RDONLY|O_NOFOLLOW) = 3", "between the filter and execve"),
    ] {
        let at = |index: usize| if index == place { format!("{line}\n") } else { String::new() };
        let found = faults(&good(&at(0), &at(1), &at(2), &at(3)), &container);
        assert!(found.iter().any(|fault| fault.contains(rule)), "{line}: {found:?}");
        assert_eq!(found.len(), 1, "{line}: {found:?}");
    }
}
