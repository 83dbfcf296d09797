//! Parts of the report: what one descriptor, file, mount or set of capabilities is.

use crate::sys;
use serde_json::{Value, json};
use std::fs;

const CAPABILITIES: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The names of the capabilities for which `has` says yes, with `CAP_`, sorted.
fn names(has: impl Fn(usize) -> bool) -> Value {
    let mut names: Vec<String> =
        CAPABILITIES.iter().enumerate().filter(|(n, _)| has(*n)).map(|(_, name)| format!("CAP_{name}")).collect();
    names.sort();
    json!(names)
}

/// The five sets, by capget(2) and prctl(2), so that no /proc is needed.
pub fn capabilities() -> Value {
    #[repr(C)]
    struct Header(u32, i32);
    let header = Header(0x2008_0522, 0);
    let mut data = [[0u32; 3]; 2];
    // SAFETY: the header is version 3, for which the kernel writes two triples of u32.
    if unsafe { libc::syscall(libc::SYS_capget, &header, data.as_mut_ptr()) } != 0 {
        return Value::Null;
    }
    let set = |which: usize| names(move |n| data[n / 32][which] >> (n % 32) & 1 == 1);
    let ambient = |n| {
        // SAFETY: only reads its numbers.
        unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_IS_SET as u64, n as u64, 0, 0) == 1 }
    };
    json!({
        "effective": set(0), "permitted": set(1), "inheritable": set(2), "ambient": names(ambient),
        "bounding": names(|n| sys::prctl(libc::PR_CAPBSET_READ, n as u64) == Some(1)),
    })
}

/// Type of a file by its mode.
pub fn kind(mode: u32) -> &'static str {
    match mode & libc::S_IFMT {
        libc::S_IFREG => "file",
        libc::S_IFDIR => "directory",
        libc::S_IFLNK => "symlink",
        libc::S_IFCHR => "char",
        libc::S_IFBLK => "block",
        libc::S_IFIFO => "fifo",
        libc::S_IFSOCK => "socket",
        _ => "other",
    }
}

/// lstat(2) and readlink(2) of a path; null if there is none, {"error": errno} if it can't be looked at.
pub fn file(path: &str) -> Value {
    use std::os::unix::fs::MetadataExt;
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Value::Null,
        Err(e) => return json!({ "error": sys::errno_name(e.raw_os_error().unwrap_or(0)) }),
    };
    let link = fs::read_link(path).ok().map(|l| l.to_string_lossy().into_owned());
    json!({
        "type": kind(meta.mode()), "mode": format!("{:04o}", meta.mode() & 0o7777), "uid": meta.uid(), "gid": meta.gid(),
        "size": meta.size(), "ino": meta.ino(), "dev": meta.dev(), "nlink": meta.nlink(), "link": link,
        "rdev": [libc::major(meta.rdev()), libc::minor(meta.rdev())],
    })
}

/// Every open descriptor: number, flags, what it is. Called first, before we open anything.
pub fn descriptors() -> Value {
    let mut all = Vec::new();
    for fd in 0..4096 {
        // SAFETY: F_GETFD and F_GETFL only read; a closed number gives EBADF.
        let (close, flags) = unsafe { (libc::fcntl(fd, libc::F_GETFD), libc::fcntl(fd, libc::F_GETFL)) };
        if close < 0 {
            continue;
        }
        // SAFETY: an all-zero stat is valid, and fstat fills it.
        let meta = unsafe {
            let mut meta: libc::stat = std::mem::zeroed();
            libc::fstat(fd, &mut meta);
            meta
        };
        let target = fs::read_link(format!("/proc/self/fd/{fd}")).ok().map(|l| l.to_string_lossy().into_owned());
        all.push(json!({
            "fd": fd, "cloexec": close & libc::FD_CLOEXEC != 0, "flags": flags, "path_only": flags & libc::O_PATH != 0,
            "type": kind(meta.st_mode), "dev": meta.st_dev, "ino": meta.st_ino, "target": target,
        }));
    }
    json!(all)
}

/// /proc/self/mountinfo, see proc_pid_mountinfo(5).
pub fn mounts() -> Value {
    let Ok(text) = fs::read_to_string("/proc/self/mountinfo") else { return Value::Null };
    let list = |s: &str| s.split(',').map(str::to_owned).collect::<Vec<_>>();
    let parse = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        Some(json!({
            "id": left[0].parse::<u64>().ok()?, "parent": left[1].parse::<u64>().ok()?, "dev": left[2],
            "root": unescape(left[3]), "target": unescape(left[4]), "options": list(left[5]), "propagation": left[6..],
            "fstype": right[0], "source": unescape(right[1]), "super": list(right.get(2).unwrap_or(&"")),
        }))
    };
    json!(text.lines().filter_map(parse).collect::<Vec<_>>())
}

/// Undoes mountinfo's `\040` for a space.
fn unescape(word: &str) -> String {
    ["\\040 ", "\\011\t", "\\012\n", "\\134\\"].iter().fold(word.to_owned(), |w, e| w.replace(&e[..4], &e[4..]))
}

/// The namespaces we are in: {"pid": inode, …}, null without /proc.
pub fn namespaces() -> Value {
    let mut all = serde_json::Map::new();
    for name in ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"] {
        let link = fs::read_link(format!("/proc/self/ns/{name}")).ok();
        let inode = link.and_then(|l| l.to_string_lossy().split(['[', ']']).nth(1).and_then(|n| n.parse::<u64>().ok()));
        all.insert(name.to_owned(), json!(inode));
    }
    Value::Object(all)
}

/// Resource limits by the names of the OCI configuration: {"RLIMIT_NOFILE": {"soft": …, "hard": …}}; null for unlimited.
pub fn limits() -> Value {
    let names = [
        "CPU",
        "FSIZE",
        "DATA",
        "STACK",
        "CORE",
        "RSS",
        "NPROC",
        "NOFILE",
        "MEMLOCK",
        "AS",
        "LOCKS",
        "SIGPENDING",
        "MSGQUEUE",
        "NICE",
        "RTPRIO",
        "RTTIME",
    ];
    let mut all = serde_json::Map::new();
    for (number, name) in names.iter().enumerate() {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: fills the struct it is given.
        unsafe { libc::getrlimit(number as _, &mut limit) };
        let number = |n: u64| (n != libc::RLIM_INFINITY).then_some(n);
        all.insert(format!("RLIMIT_{name}"), json!({ "soft": number(limit.rlim_cur), "hard": number(limit.rlim_max) }));
    }
    Value::Object(all)
}

/// Signals that are ignored, and signals that are blocked: two lists of numbers.
pub fn signals() -> (Vec<i32>, Vec<i32>) {
    // SAFETY: a null new action or mask changes nothing; the old ones are filled in.
    unsafe {
        let mut blocked: libc::sigset_t = std::mem::zeroed();
        libc::sigprocmask(libc::SIG_BLOCK, std::ptr::null(), &mut blocked);
        let ignored = |number: &i32| {
            let mut action: libc::sigaction = std::mem::zeroed();
            libc::sigaction(*number, std::ptr::null(), &mut action) == 0 && action.sa_sigaction == libc::SIG_IGN
        };
        ((1..=64).filter(ignored).collect(), (1..=64).filter(|n| libc::sigismember(&blocked, *n) == 1).collect())
    }
}

/// Size of the terminal on a descriptor, `[rows, columns]`.
pub fn window(fd: i32) -> Option<[u16; 2]> {
    // SAFETY: TIOCGWINSZ fills the struct it is given.
    unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        (libc::ioctl(fd, libc::TIOCGWINSZ, &mut size) == 0).then_some([size.ws_row, size.ws_col])
    }
}
