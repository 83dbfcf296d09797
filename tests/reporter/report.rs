//! `report` and `hook`: everything a process can tell about itself, as JSON.

use crate::{describe, sys};
use serde_json::{Map, Value, json};
use std::ffi::CStr;
use std::fs;
use std::io::Write as _;

/// Prints the report; fields that need /proc are null without it.
pub fn report(words: &[String]) -> i32 {
    // First, so that nothing of ours is in it.
    let descriptors = describe::descriptors();
    let mut report = everything();
    report["fds"] = descriptors;
    let mut sysctls = Map::new();
    let mut to = None;
    for pair in words.chunks(2) {
        match pair {
            [option, key] if option == "--sysctl" => {
                let value = fs::read_to_string(format!("/proc/sys/{}", key.replace('.', "/"))).ok();
                sysctls.insert(key.clone(), json!(value.map(|v| v.trim_end().to_owned())));
            }
            [option, file] if option == "--to" => to = Some(file),
            _ => return 125,
        }
    }
    report["sysctls"] = Value::Object(sysctls);
    match to {
        Some(file) => sys::tell_io(fs::write(file, format!("{report}\n"))),
        None => {
            println!("{report}");
            0
        }
    }
}

/// A hook's view: appends a line to the file.
pub fn hook(words: &[String]) -> i32 {
    let Some(file) = words.first() else { return 125 };
    let descriptors = describe::descriptors();
    let input = std::io::read_to_string(std::io::stdin()).unwrap_or_default();
    let mut report = everything();
    report["fds"] = descriptors;
    report["stdin"] = serde_json::from_str(&input).unwrap_or(json!(input));
    let mut options = fs::OpenOptions::new();
    let written =
        options.create(true).append(true).open(file).and_then(|mut f| f.write_all(format!("{report}\n").as_bytes()));
    if written.is_ok() { 0 } else { 1 }
}

fn everything() -> Value {
    let (ignored, blocked) = describe::signals();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
        line.map(|v| v.trim().to_owned())
    };
    let number = |name: &str| field(name).and_then(|v| v.parse::<u64>().ok());
    json!({
        "ids": ids(),
        "capabilities": describe::capabilities(),
        "no_new_privileges": sys::prctl(libc::PR_GET_NO_NEW_PRIVS, 0),
        "seccomp": { "mode": sys::prctl(libc::PR_GET_SECCOMP, 0), "filters": number("Seccomp_filters") },
        "securebits": sys::prctl(libc::PR_GET_SECUREBITS, 0),
        "dumpable": sys::prctl(libc::PR_GET_DUMPABLE, 0),
        "subreaper": subreaper_and_death_signal()[0],
        "death_signal": subreaper_and_death_signal()[1],
        "namespaces": describe::namespaces(),
        "mounts": describe::mounts(),
        "cwd": cwd(),
        "argv": std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect::<Vec<_>>(),
        "env": std::env::vars_os().map(|(k, v)| (k.to_string_lossy().into_owned(), json!(v.to_string_lossy()))).collect::<Map<_, _>>(),
        "umask": format!("{:04o}", umask()),
        "rlimits": describe::limits(),
        "uts": uts(),
        "oom_score_adj": read("/proc/self/oom_score_adj").and_then(|v| v.trim().parse::<i64>().ok()),
        "tty": tty(),
        "personality": personality(),
        "cgroup": read("/proc/self/cgroup").map(|t| t.lines().map(str::to_owned).collect::<Vec<_>>()),
        "signals": { "ignored": ignored, "blocked": blocked },
        "keyring": keyring(),
        "scheduler": scheduler(),
        "memory_policy": memory_policy(),
        "timens_offsets": read("/proc/self/timens_offsets"),
        "uptime": uptime(),
        "uid_map": map("uid_map"),
        "gid_map": map("gid_map"),
        "setgroups": read("/proc/self/setgroups").map(|t| t.trim().to_owned()),
        "attr": read("/proc/self/attr/current").map(|t| t.trim_end_matches(['\n', '\0']).to_owned()),
        "interfaces": interfaces(),
        "root": names("/"),
    })
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn names(path: &str) -> Option<Vec<String>> {
    let mut names: Vec<_> =
        fs::read_dir(path).ok()?.filter_map(|e| Some(e.ok()?.file_name().to_string_lossy().into_owned())).collect();
    names.sort();
    Some(names)
}

fn map(name: &str) -> Value {
    let rows = read(&format!("/proc/self/{name}")).map(|t| {
        let row = |l: &str| l.split_whitespace().filter_map(|n| n.parse::<u64>().ok()).collect::<Vec<_>>();
        t.lines().map(row).collect::<Vec<_>>()
    });
    json!(rows)
}

fn ids() -> Value {
    let (mut uid, mut gid, mut groups) = ([0u32; 3], [0u32; 3], [0u32; 65536]);
    // SAFETY: each call fills the variables it is given pointers to; groups holds the kernel's maximum.
    let (count, pid, ppid, sid, pgid) = unsafe {
        libc::getresuid(&mut uid[0], &mut uid[1], &mut uid[2]);
        libc::getresgid(&mut gid[0], &mut gid[1], &mut gid[2]);
        let count = libc::getgroups(groups.len() as i32, groups.as_mut_ptr());
        (count, libc::getpid(), libc::getppid(), libc::getsid(0), libc::getpgid(0))
    };
    let mut groups = groups[..count.max(0) as usize].to_vec();
    groups.sort();
    json!({ "pid": pid, "ppid": ppid, "sid": sid, "pgid": pgid, "uid": uid, "gid": gid, "groups": groups })
}

/// The raw system call: the C library's getcwd hides "(unreachable)".
fn cwd() -> Value {
    let mut buffer = [0u8; 4096];
    // SAFETY: the kernel writes at most the length given, with a NUL.
    let result = unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) };
    match sys::check(result) {
        Ok(_) => {
            json!(CStr::from_bytes_until_nul(&buffer).map(|c| c.to_string_lossy().into_owned()).unwrap_or_default())
        }
        Err(name) => json!({ "error": name }),
    }
}

fn umask() -> u32 {
    // SAFETY: umask(2) can't fail; the first value is put back.
    unsafe {
        let old = libc::umask(0o77);
        libc::umask(old);
        old
    }
}

fn subreaper_and_death_signal() -> [i32; 2] {
    let mut values = [0i32; 2];
    // SAFETY: both options write one int to the pointer given.
    unsafe {
        libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &mut values[0]);
        libc::prctl(libc::PR_GET_PDEATHSIG, &mut values[1]);
    }
    values
}

fn uts() -> Value {
    // SAFETY: uname fills the struct with NUL-terminated strings.
    let uts = unsafe {
        let mut uts: libc::utsname = std::mem::zeroed();
        libc::uname(&mut uts);
        uts
    };
    // SAFETY: see above.
    let text = |field: &[libc::c_char]| unsafe { CStr::from_ptr(field.as_ptr()) }.to_string_lossy().into_owned();
    json!({ "hostname": text(&uts.nodename), "domainname": text(&uts.domainname), "machine": text(&uts.machine), "release": text(&uts.release) })
}

fn tty() -> Value {
    let stat = read("/proc/self/stat").unwrap_or_default();
    let number = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(4)?.parse::<i64>().ok());
    // SAFETY: isatty and tcgetpgrp only look at the descriptor.
    let of = |fd| unsafe { (libc::isatty(fd) == 1, libc::tcgetpgrp(fd)) };
    json!({
        "number": number, "is": [of(0).0, of(1).0, of(2).0], "foreground": of(0).1, "winsize": describe::window(0),
        "controlling": fs::OpenOptions::new().read(true).custom_no_ctty().open("/dev/tty").is_ok(),
    })
}

/// O_NOCTTY, so that looking doesn't take the terminal.
trait NoCtty {
    fn custom_no_ctty(&mut self) -> &mut Self;
}

impl NoCtty for fs::OpenOptions {
    fn custom_no_ctty(&mut self) -> &mut Self {
        std::os::unix::fs::OpenOptionsExt::custom_flags(self, libc::O_NOCTTY)
    }
}

fn personality() -> i32 {
    // SAFETY: the all-ones argument only asks.
    unsafe { libc::personality(0xffff_ffff) }
}

fn keyring() -> Value {
    // SAFETY: KEYCTL_GET_KEYRING_ID (0) of the session keyring (-3), without creating one.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, 0u64, -3i64, 0u64) };
    sys::check(result).map_or_else(|name| json!({ "error": name }), |id| json!(id))
}

fn scheduler() -> Value {
    #[repr(C)]
    #[derive(Default)]
    struct Attr {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
    }
    let mut attr = Attr::default();
    // SAFETY: the size given is the struct's; the kernel writes no more. The others only read.
    let (affinity, io) = unsafe {
        libc::syscall(libc::SYS_sched_getattr, 0, &mut attr, std::mem::size_of::<Attr>(), 0);
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, std::mem::size_of_val(&set), &mut set);
        let affinity: Vec<usize> = (0..1024).filter(|n| libc::CPU_ISSET(*n, &set)).collect();
        (affinity, libc::syscall(libc::SYS_ioprio_get, 1, 0))
    };
    json!({
        "policy": attr.policy, "flags": attr.flags, "nice": attr.nice, "priority": attr.priority, "runtime": attr.runtime,
        "deadline": attr.deadline, "period": attr.period, "affinity": affinity, "io_class": io >> 13, "io_level": io & 0x1fff,
    })
}

/// get_mempolicy(2) of this thread: the mode with its flags, and the nodes.
fn memory_policy() -> Value {
    let (mut mode, mut nodes) = (0i32, [0u64; 16]);
    // SAFETY: the kernel writes one int and at most the bits it is told of.
    let result =
        unsafe { libc::syscall(libc::SYS_get_mempolicy, &mut mode, nodes.as_mut_ptr(), 1024usize, 0usize, 0usize) };
    let set: Vec<usize> = (0..1024).filter(|n| nodes[n / 64] >> (n % 64) & 1 == 1).collect();
    sys::check(result).map_or_else(|name| json!({ "error": name }), |_| json!({ "mode": mode, "nodes": set }))
}

fn uptime() -> Value {
    let now = |clock| {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: fills the struct.
        unsafe { libc::clock_gettime(clock, &mut time) };
        time.tv_sec
    };
    json!({ "monotonic": now(libc::CLOCK_MONOTONIC), "boottime": now(libc::CLOCK_BOOTTIME) })
}

/// The network interfaces: {"lo": true} if it is up.
fn interfaces() -> Value {
    let mut all = Map::new();
    // SAFETY: the list ends with an entry whose index is 0; the request holds a copy of the name, which fits (IFNAMSIZ).
    unsafe {
        let list = libc::if_nameindex();
        if list.is_null() {
            return Value::Null;
        }
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        let mut entry = list;
        while (*entry).if_index != 0 {
            let name = CStr::from_ptr((*entry).if_name);
            let mut request: libc::ifreq = std::mem::zeroed();
            for (to, from) in request.ifr_name.iter_mut().zip(name.to_bytes()) {
                *to = *from as libc::c_char;
            }
            let known = libc::ioctl(socket, libc::SIOCGIFFLAGS, &mut request) == 0;
            let up = known && i32::from(request.ifr_ifru.ifru_flags) & libc::IFF_UP != 0;
            all.insert(name.to_string_lossy().into_owned(), json!(up));
            entry = entry.add(1);
        }
        libc::close(socket);
        libc::if_freenameindex(list);
    }
    Value::Object(all)
}
