//! The words that do one thing each. Those that try something print `ok` or the errno's name.

use crate::{describe, sys};
use serde_json::json;
use std::fs;
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

fn word(words: &[String], n: usize) -> &str {
    words.get(n).map_or("", String::as_str)
}

/// Decimal, or hexadecimal after `0x`, octal after `0o`; negative as the kernel would see it.
fn number(words: &[String], n: usize) -> i64 {
    let text = word(words, n);
    let parsed = if let Some(hex) = text.strip_prefix("0x") {
        u64::from_str_radix(hex, 16).map(|n| n as i64)
    } else if let Some(octal) = text.strip_prefix("0o") {
        i64::from_str_radix(octal, 8)
    } else {
        text.parse()
    };
    parsed.unwrap_or(0)
}

fn flush() {
    let _ = std::io::stdout().flush();
}

pub fn exit(words: &[String]) -> i32 {
    number(words, 0) as i32
}

pub fn signal(words: &[String]) -> i32 {
    flush();
    // SAFETY: a signal to ourselves.
    unsafe { libc::raise(number(words, 0) as i32) };
    // The first process of a pid namespace is deaf to signals it has no handler for.
    println!("survived");
    0
}

pub fn kill_parent(_: &[String]) -> i32 {
    // SAFETY: a signal to the parent.
    unsafe { libc::kill(libc::getppid(), libc::SIGKILL) };
    0
}

pub fn sleep(words: &[String]) -> i32 {
    match words.first().and_then(|w| w.parse::<f64>().ok()) {
        Some(seconds) => std::thread::sleep(Duration::from_secs_f64(seconds)),
        None => loop {
            std::thread::sleep(Duration::from_secs(3600));
        },
    }
    0
}

pub fn trap(words: &[String]) -> i32 {
    // SAFETY: the set is filled before it is used; sigwait writes one int.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &all, std::ptr::null_mut());
        println!("ready");
        flush();
        for _ in 0..number(words, 0).max(1) {
            let mut got = 0;
            libc::sigwait(&all, &mut got);
            println!("{got}");
            flush();
        }
    }
    0
}

pub fn count(words: &[String]) -> i32 {
    for count in 1i32.. {
        // Beside its place and renamed: a reader sees a whole number.
        let beside = format!("{}.new", word(words, 0));
        if fs::write(&beside, count.to_string()).and_then(|()| fs::rename(&beside, word(words, 0))).is_err() {
            return 99;
        }
        if words.len() > 1 && std::path::Path::new(word(words, 1)).exists() {
            return 3 + count.min(80);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    0
}

pub fn lock(words: &[String]) -> i32 {
    let file = match fs::OpenOptions::new().append(true).create(true).open(word(words, 0)) {
        Ok(file) => std::os::fd::OwnedFd::from(file),
        Err(error) => return sys::tell_io::<()>(Err(error)),
    };
    // Open for as long as this process lives: the lock belongs to the open file.
    let descriptor = std::os::fd::IntoRawFd::into_raw_fd(file);
    // SAFETY: flock(2) takes integers only.
    match unsafe { libc::flock(descriptor, libc::LOCK_EX | libc::LOCK_NB) } {
        0 => println!("ok"),
        _ => println!("{}", sys::errno_name(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))),
    }
    0
}

pub fn wait_file(words: &[String]) -> i32 {
    while !std::path::Path::new(word(words, 0)).exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    0
}

pub fn echo(words: &[String]) -> i32 {
    println!("{}", words.join(" "));
    0
}

pub fn complain(words: &[String]) -> i32 {
    eprintln!("{}", words.join(" "));
    0
}

pub fn cat(words: &[String]) -> i32 {
    let mut data = Vec::new();
    let read = match words.first() {
        Some(path) => fs::File::open(path).and_then(|mut f| f.read_to_end(&mut data)),
        None => std::io::stdin().read_to_end(&mut data),
    };
    if let Err(e) = read {
        println!("{}", sys::errno_name(e.raw_os_error().unwrap_or(0)));
        return 1;
    }
    i32::from(std::io::stdout().write_all(&data).is_err())
}

pub fn write(words: &[String]) -> i32 {
    // No O_CREAT: files of /proc and /sys refuse it on read-only mounts with another errno.
    let mut options = fs::OpenOptions::new();
    options.write(true).create(!std::path::Path::new(word(words, 0)).exists());
    sys::tell_io(options.open(word(words, 0)).and_then(|mut f| f.write_all(word(words, 1).as_bytes())))
}

pub fn touch(words: &[String]) -> i32 {
    sys::tell_io(fs::OpenOptions::new().append(true).create(true).open(word(words, 0)))
}

pub fn open(words: &[String]) -> i32 {
    let mut options = fs::OpenOptions::new();
    let write = word(words, 1) == "w";
    sys::tell_io(options.read(!write).write(write).open(word(words, 0)))
}

pub fn mkdir(words: &[String]) -> i32 {
    sys::tell_io(fs::create_dir(word(words, 0)))
}

pub fn unlink(words: &[String]) -> i32 {
    sys::tell_io(fs::remove_file(word(words, 0)))
}

pub fn list(words: &[String]) -> i32 {
    let names = fs::read_dir(word(words, 0)).map(|all| {
        let mut names: Vec<_> = all.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    });
    match names {
        Ok(names) => println!("{}", json!(names)),
        Err(e) => return sys::tell_io::<()>(Err(e)),
    }
    0
}

pub fn stat(words: &[String]) -> i32 {
    for path in words {
        println!("{}", describe::file(path));
    }
    0
}

pub fn mknod(words: &[String]) -> i32 {
    let kind = match word(words, 1) {
        "c" => libc::S_IFCHR,
        "b" => libc::S_IFBLK,
        _ => libc::S_IFIFO,
    };
    let device = libc::makedev(number(words, 2) as u32, number(words, 3) as u32);
    // SAFETY: the path is a C string that lives over the call.
    sys::tell(sys::check(unsafe { libc::mknod(sys::c(word(words, 0)).as_ptr(), kind | 0o600, device) }.into()))
}

pub fn mount(words: &[String]) -> i32 {
    let [source, target, kind] = [0, 1, 2].map(|n| sys::c(word(words, n)));
    // SAFETY: the strings live over the call.
    let result = unsafe {
        libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), number(words, 3) as u64, std::ptr::null())
    };
    sys::tell(sys::check(result.into()))
}

pub fn umount(words: &[String]) -> i32 {
    // SAFETY: the path lives over the call.
    sys::tell(sys::check(unsafe { libc::umount2(sys::c(word(words, 0)).as_ptr(), libc::MNT_DETACH) }.into()))
}

pub fn syscall(words: &[String]) -> i32 {
    let a = |n| number(words, n);
    // SAFETY: the tests ask for calls without pointers, or with null ones, which give EFAULT.
    let result = unsafe { libc::syscall(a(0), a(1), a(2), a(3), a(4), a(5), a(6)) };
    match sys::check(result) {
        Ok(value) => println!("{value}"),
        Err(name) => println!("{name}"),
    }
    0
}

pub fn exec(words: &[String]) -> i32 {
    use std::os::unix::process::CommandExt as _;
    flush();
    let error = std::process::Command::new(word(words, 0)).args(words.get(1..).unwrap_or_default()).exec();
    sys::tell_io::<()>(Err(error))
}

pub fn setuid(words: &[String]) -> i32 {
    let id = number(words, 0) as u32;
    // SAFETY: takes three numbers.
    sys::tell(sys::check(unsafe { libc::setresuid(id, id, id) }.into()))
}

pub fn fork(words: &[String]) -> i32 {
    let mut children = Vec::new();
    for _ in 0..number(words, 0) {
        // SAFETY: one thread; the child only waits and is killed.
        match unsafe { libc::fork() } {
            0 => loop {
                // SAFETY: waits for a signal.
                unsafe { libc::pause() };
            },
            -1 => break,
            child => children.push(child),
        }
    }
    for child in &children {
        // SAFETY: our own children, not yet waited for.
        unsafe {
            libc::kill(*child, libc::SIGKILL);
            libc::waitpid(*child, std::ptr::null_mut(), 0);
        }
    }
    println!("{}", children.len());
    0
}

pub fn orphan(_: &[String]) -> i32 {
    flush();
    let mut pipe = [0; 2];
    // SAFETY: one thread; pipe fills two ints; the children only write, sleep and leave.
    unsafe {
        libc::pipe(pipe.as_mut_ptr());
        if libc::fork() == 0 {
            let middle = libc::getpid();
            if libc::fork() == 0 {
                while libc::getppid() == middle {
                    libc::usleep(1000);
                }
                let parent = libc::getppid().to_le_bytes();
                libc::write(pipe[1], parent.as_ptr().cast(), 4);
            }
            libc::_exit(0);
        }
        let mut adopter = [0u8; 4];
        libc::read(pipe[0], adopter.as_mut_ptr().cast(), 4);
        println!("{}", i32::from_le_bytes(adopter));
    }
    0
}

pub fn background(_: &[String]) -> i32 {
    flush();
    // SAFETY: one thread; the child waits until it is killed.
    match unsafe { libc::fork() } {
        0 => loop {
            // SAFETY: waits for a signal.
            unsafe { libc::pause() };
        },
        child => println!("{child}"),
    }
    0
}

/// Maps and touches so many MiB; false if the kernel refused the map.
fn take(mib: usize) -> bool {
    let size = mib << 20;
    // SAFETY: an anonymous mapping of our own, written within its size.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let start = libc::mmap(std::ptr::null_mut(), size, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        if start == libc::MAP_FAILED {
            return false;
        }
        for offset in (0..size).step_by(4096) {
            start.cast::<u8>().add(offset).write_volatile(1);
        }
    }
    true
}

pub fn alloc(words: &[String]) -> i32 {
    let mib = number(words, 0) as usize;
    if take(mib) {
        println!("took {mib} MiB");
        return 0;
    }
    println!("{}", sys::errno_name(sys::errno()));
    1
}

pub fn oom(_: &[String]) -> i32 {
    while take(1) {}
    println!("{}", sys::errno_name(sys::errno()));
    1
}

pub fn spin(words: &[String]) -> i32 {
    let end = Instant::now() + Duration::from_secs_f64(word(words, 0).parse().unwrap_or(1.0));
    while Instant::now() < end {
        std::hint::spin_loop();
    }
    let mut used = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: fills the struct.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut used) };
    println!("{}", used.tv_sec * 1000 + used.tv_nsec / 1_000_000);
    0
}

pub fn listen_fds(_: &[String]) -> i32 {
    let env = |name| std::env::var(name).ok();
    let count = env("LISTEN_FDS").and_then(|n| n.parse::<i32>().ok()).unwrap_or(0);
    let all = describe::descriptors();
    let passed: Vec<_> = all
        .as_array()
        .into_iter()
        .flatten()
        .filter(|d| (3..3 + count as i64).contains(&d["fd"].as_i64().unwrap_or(0)))
        .collect();
    println!(
        "{}",
        json!({ "LISTEN_FDS": env("LISTEN_FDS"), "LISTEN_PID": env("LISTEN_PID"), "LISTEN_FDNAMES": env("LISTEN_FDNAMES"), "fds": passed })
    );
    0
}

pub fn notify(words: &[String]) -> i32 {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        println!("no NOTIFY_SOCKET");
        return 1;
    };
    let sent = std::os::unix::net::UnixDatagram::unbound().and_then(|s| s.send_to(words.join("\n").as_bytes(), path));
    sys::tell_io(sent)
}

pub fn winsize(words: &[String]) -> i32 {
    if word(words, 0) == "--wait" {
        // SAFETY: the set is emptied before use; sigwait writes one int.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, libc::SIGWINCH);
            libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
            println!("ready");
            flush();
            libc::sigwait(&set, &mut 0);
        }
    }
    match describe::window(0) {
        Some([rows, columns]) => println!("{rows} {columns}"),
        None => println!("{}", sys::errno_name(sys::errno())),
    }
    0
}
