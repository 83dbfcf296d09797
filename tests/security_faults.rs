//! Every system call of set-up fails once, in every way a kernel or an outer filter fails it: the payload then runs with all
//! that was asked for in force, or it does not run, and nothing is left (INV-00).

mod harness;
mod security;

use harness::{Bundle, host, json, only_kiste, requires};
use security::fault::{Fault, inject};
use security::state;
use std::process::Command;

/// A call: name, number, and the argument that tells one use from another.
type Call = (&'static str, i64, Option<(usize, i32)>);

const CALLS: &[Call] = &[
    ("prctl(PR_CAPBSET_DROP)", libc::SYS_prctl, Some((0, libc::PR_CAPBSET_DROP))),
    ("prctl(PR_SET_NO_NEW_PRIVS)", libc::SYS_prctl, Some((0, libc::PR_SET_NO_NEW_PRIVS))),
    ("prctl(PR_GET_NO_NEW_PRIVS)", libc::SYS_prctl, Some((0, libc::PR_GET_NO_NEW_PRIVS))),
    ("prctl(PR_SET_KEEPCAPS)", libc::SYS_prctl, Some((0, libc::PR_SET_KEEPCAPS))),
    ("prctl(PR_CAP_AMBIENT)", libc::SYS_prctl, Some((0, libc::PR_CAP_AMBIENT))),
    ("prctl(PR_SET_DUMPABLE)", libc::SYS_prctl, Some((0, libc::PR_SET_DUMPABLE))),
    ("ioctl(SIOCSIFFLAGS)", libc::SYS_ioctl, Some((1, libc::SIOCSIFFLAGS as i32))),
    ("capset", libc::SYS_capset, None),
    ("capget", libc::SYS_capget, None),
    ("setresuid", libc::SYS_setresuid, None),
    ("setresgid", libc::SYS_setresgid, None),
    ("setgroups", libc::SYS_setgroups, None),
    ("seccomp", libc::SYS_seccomp, None),
    ("keyctl", libc::SYS_keyctl, None),
    ("unshare", libc::SYS_unshare, None),
    ("setns", libc::SYS_setns, None),
    ("clone3", libc::SYS_clone3, None),
    ("sethostname", libc::SYS_sethostname, None),
    ("mount_setattr", libc::SYS_mount_setattr, None),
    ("move_mount", libc::SYS_move_mount, None),
    ("open_tree", libc::SYS_open_tree, None),
    ("fsopen", libc::SYS_fsopen, None),
    ("fsconfig", libc::SYS_fsconfig, None),
    ("fsmount", libc::SYS_fsmount, None),
    ("pivot_root", libc::SYS_pivot_root, None),
    ("umount2", libc::SYS_umount2, None),
    ("openat2", libc::SYS_openat2, None),
    ("mkdirat", libc::SYS_mkdirat, None),
    ("mknodat", libc::SYS_mknodat, None),
    ("symlinkat", libc::SYS_symlinkat, None),
    ("fchownat", libc::SYS_fchownat, None),
    ("statx", libc::SYS_statx, None),
    ("fstatfs", libc::SYS_fstatfs, None),
    ("close_range", libc::SYS_close_range, None),
    ("chdir", libc::SYS_chdir, None),
    ("fchdir", libc::SYS_fchdir, None),
    ("getcwd", libc::SYS_getcwd, None),
    ("setsid", libc::SYS_setsid, None),
    ("prlimit64", libc::SYS_prlimit64, None),
    ("personality", libc::SYS_personality, None),
    ("rt_sigprocmask", libc::SYS_rt_sigprocmask, None),
    ("faccessat2", libc::SYS_faccessat2, None),
    ("socketpair", libc::SYS_socketpair, None),
    ("recvmsg", libc::SYS_recvmsg, None),
    ("sendto", libc::SYS_sendto, None),
    ("sendmsg", libc::SYS_sendmsg, None),
    ("pidfd_open", libc::SYS_pidfd_open, None),
    ("flock", libc::SYS_flock, None),
    ("renameat2", libc::SYS_renameat2, None),
    ("bpf", libc::SYS_bpf, None),
];

const ERRNOS: &[i32] = &[libc::ENOSYS, libc::EPERM, libc::EINVAL];

/// Everything that limits a process, in one configuration.
fn strict(no_new_privileges: bool, user: u32) -> Bundle {
    let bundle = Bundle::with_args(&["sleep"]);
    let some = json!(["CAP_NET_BIND_SERVICE", "CAP_KILL"]);
    let one = json!(["CAP_NET_BIND_SERVICE"]);
    bundle.set("/process/user", json!({ "uid": user, "gid": user, "additionalGids": [7, 4321], "umask": 0o077 }));
    let sets = json!({ "bounding": some, "permitted": some, "effective": some, "inheritable": one, "ambient": one });
    bundle.set("/process/capabilities", sets);
    bundle.set("/process/noNewPrivileges", json!(no_new_privileges));
    bundle.set("/process/rlimits", json!([{ "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 }]));
    bundle.set("/process/oomScoreAdj", json!(500));
    bundle.set("/process/cwd", json!("/tmp"));
    bundle.set("/root/readonly", json!(true));
    bundle.set("/linux/maskedPaths", json!(["/proc/kcore", "/proc/keys", "/sys/firmware", "/proc/acpi"]));
    bundle.set("/linux/readonlyPaths", json!(["/proc/sys", "/proc/bus"]));
    bundle.set("/linux/personality", json!({ "domain": "LINUX32" }));
    bundle
        .set("/linux/resources", json!({ "devices": [{ "allow": false, "access": "rwm" }], "pids": { "limit": 50 } }));
    bundle.set(
        "/linux/seccomp",
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["acct"], "action": "SCMP_ACT_ERRNO" }] }),
    );
    bundle.push("/linux/namespaces", json!({ "type": "cgroup" }));
    bundle
}

fn faults(errnos: &[i32]) -> impl Iterator<Item = Fault> + use<'_> {
    CALLS.iter().flat_map(move |(name, call, argument)| {
        let argument = argument.map(|(index, value)| (index, value as u32));
        errnos.iter().map(move |errno| Fault { name, call: *call, argument, errno: *errno })
    })
}

/// The state directory, processes, cgroups and mounts of the container are gone.
fn nothing_left(bundle: &Bundle, fault: Fault) {
    let left = state::entries(&bundle.runtime.root);
    assert_eq!(left, Vec::<String>::new(), "{fault:?}: state is left");
    bundle.assert_nothing_left();
}

fn delete(bundle: &Bundle) {
    bundle.call(&["delete", "--force", &bundle.id]).ok();
}

/// `run --detach` under each fault.
fn runs(bundle: &Bundle, errnos: &[i32]) {
    let words = ["run", "--detach", "--bundle", "bundle", &bundle.id];
    bundle.call(&words).ok();
    let golden = state::of(bundle.pid(), 0);
    delete(bundle);
    bundle.call(&words).ok();
    assert_eq!(state::differences(&golden, &state::of(bundle.pid(), 0)), Vec::<String>::new(), "the golden state");
    delete(bundle);
    let (mut started, mut refused) = (Vec::new(), 0);
    for fault in faults(errnos) {
        let mut command = bundle.runtime.command(&words);
        inject(&mut command, fault);
        let output = harness::run_command(&mut command, &bundle.dir, 20.0);
        assert!(!output.err.contains("panicked"), "{fault:?}: {}", output.err);
        if output.code != 0 {
            refused += 1;
            assert!(output.err.starts_with("kiste"), "{fault:?}: no sentence: {} {:?}", output.code, output.err);
        } else {
            started.push(format!("{} {}", fault.name, fault.errno));
            let found = state::of(bundle.pid(), 1);
            let wrong = state::differences(&golden, &found);
            assert_eq!(wrong, Vec::<String>::new(), "{fault:?}: started with less protection\n{}", wrong.join("\n"));
            delete(bundle);
        }
        nothing_left(bundle, fault);
    }
    eprintln!("{refused} refused; started: {started:?}");
    assert!(refused > 30 * errnos.len() && !started.is_empty(), "{refused} refused, {started:?}");
}

#[test]
fn a_payload_runs_with_all_protection_or_not_at_all() {
    only_kiste!();
    requires!(host::is_root(), "faults need CAP_SYS_ADMIN");
    runs(&strict(true, 1000), ERRNOS);
}

#[test]
fn so_does_one_that_may_gain_privileges() {
    only_kiste!();
    requires!(host::is_root(), "faults need CAP_SYS_ADMIN");
    runs(&strict(false, 0), &[libc::EPERM]);
}

#[test]
fn so_does_one_in_a_user_namespace() {
    only_kiste!();
    requires!(host::is_root(), "faults need CAP_SYS_ADMIN");
    let bundle = strict(true, 1000);
    let maps = json!([{ "containerID": 0, "hostID": 200_000, "size": 65536 }]);
    bundle.push("/linux/namespaces", json!({ "type": "user" }));
    bundle.set("/linux/uidMappings", maps.clone()).set("/linux/gidMappings", maps);
    harness::run_command(Command::new("chmod").args(["-R", "a+rX"]).arg(&bundle.dir), &bundle.dir, 20.0).ok();
    runs(&bundle, &[libc::EPERM]);
}

/// Processes of the container beside its first.
fn others(init: i32) -> Vec<i32> {
    let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let all = state::entries("/proc").into_iter().filter_map(|name| name.parse::<i32>().ok());
    all.filter(|pid| *pid != init && namespace(*pid).is_some() && namespace(*pid) == namespace(init)).collect()
}

#[test]
fn exec_has_all_protection_or_does_not_run() {
    only_kiste!();
    requires!(host::is_root(), "faults need CAP_SYS_ADMIN");
    let bundle = strict(true, 1000);
    bundle.launch();
    let init = bundle.pid();
    let golden = state::of(init, 0);
    let words = ["exec", "--detach", "--pid-file", "pid", &bundle.id, "/init", "sleep"];
    let (mut started, mut refused) = (0, 0);
    for fault in faults(&[libc::EPERM]) {
        let mut command = bundle.runtime.command(&words);
        inject(&mut command, fault);
        let output = harness::run_command(&mut command, &bundle.dir, 20.0);
        assert!(!output.err.contains("panicked"), "{fault:?}: {}", output.err);
        if output.code != 0 {
            refused += 1;
            harness::wait_until("nothing to be left of a refused exec", || others(init).is_empty());
            continue;
        }
        started += 1;
        let text = std::fs::read_to_string(bundle.dir.join("pid")).expect("the pid file");
        let pid: i32 = text.trim().parse().expect("a pid");
        let wrong = state::differences(&golden, &state::of(pid, 1));
        assert_eq!(wrong, Vec::<String>::new(), "{fault:?}: exec with less protection\n{}", wrong.join("\n"));
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL).expect("kill");
        harness::wait_until("its end", || others(init).is_empty());
    }
    assert!(refused > 20 && started > 0, "{refused} refused, {started} started");
    assert_eq!(state::differences(&golden, &state::of(init, 0)), Vec::<String>::new(), "the first process");
}
