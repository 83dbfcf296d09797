//! `cargo bench --bench seccomp`: how long Docker's profile takes to compile, and what its program costs each system call,
//! beside libseccomp's program for the same profile. Prints a table in Markdown; needs gcc and libseccomp-dev for the latter.

#[path = "../tests/seccomp/mod.rs"]
mod seccomp;

use std::process::Command;
use std::time::Instant;

use kiste::kernel::raw;
use kiste::seccomp::{Architecture, Instruction, Profile, compile};
use seccomp::oracle::Oracle;

/// Measured calls, and how often, in turns.
const CALLS: u32 = 1_000_000;
const ROUNDS: usize = 11;

/// One system call to measure: what it stands for, and the call.
type Call = (&'static str, fn());

/// What a filter may have to do. The kernel remembers numbers that are allowed whatever the arguments are (since Linux
/// 5.11), and runs the program for all others.
const KINDS: [Call; 3] = [
    ("`getppid`: always allowed", || drop(std::hint::black_box(nix::unistd::getppid()))),
    ("`personality(0xffffffff)`: allowed by its argument", || drop(std::hint::black_box(raw::personality(u32::MAX)))),
    ("`unshare(0)`: denied", || drop(std::hint::black_box(raw::unshare(0)))),
];

fn main() {
    let words: Vec<String> = std::env::args().collect();
    if let [_, word, kind, file] = &words[..]
        && word == "--loop"
    {
        return measure_one(kind.parse().expect("a number"), file);
    }
    let profile = docker();
    let native = Architecture::X86_64;
    let mut times: Vec<f64> = (0..300)
        .map(|_| {
            let start = Instant::now();
            drop(std::hint::black_box(compile(std::hint::black_box(&profile), native)));
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    let program = compile(&profile, native).expect("Docker's profile compiles").instructions;
    println!(
        "Docker's default profile, x86_64 with x32 and i386: compiled in {:.0} µs (median of 300).\n",
        median(&mut times)
    );
    let folder = std::env::temp_dir().join(format!("kiste-bench-seccomp-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let mut filters = vec![("none", None), ("kiste", Some(program))];
    match Oracle::compile("bench") {
        Ok(oracle) => filters.push(("libseccomp", Some(oracle.filters(&[(&profile, native)]).remove(0).program))),
        Err(reason) => println!("Without libseccomp: {reason}\n"),
    }
    let files: Vec<_> = filters.iter().map(|(name, program)| (folder.join(name), program)).collect();
    for (path, program) in &files {
        std::fs::write(path, bytes(program.as_deref().unwrap_or_default())).expect("a file");
    }
    let length = |program: &Option<Vec<Instruction>>| program.as_ref().map_or(0, Vec::len);
    let heads: Vec<_> =
        filters.iter().map(|(name, program)| format!("{name} ({} instructions)", length(program))).collect();
    println!("| nanoseconds a call | {} |\n|---|{}", heads.join(" | "), "--:|".repeat(heads.len()));
    for (kind, (what, _)) in KINDS.iter().enumerate() {
        let mut found = vec![Vec::new(); files.len()];
        for _ in 0..ROUNDS {
            for (place, (path, _)) in found.iter_mut().zip(&files) {
                place.push(measured(kind, &path.display().to_string()));
            }
        }
        let medians: Vec<_> = found.iter_mut().map(|times| format!("{:.0}", median(times))).collect();
        println!("| {what} | {} |", medians.join(" | "));
    }
    let _ = std::fs::remove_dir_all(&folder);
}

/// The profile as Docker hands it to its runtime.
fn docker() -> Profile {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/configs/docker.json");
    let config = std::fs::read(path).expect("the configuration");
    let intent = kiste::intent::from_oci::from_oci(&config, std::path::Path::new("/bundle")).expect("a configuration");
    intent.seccomp.expect("a profile")
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn bytes(program: &[Instruction]) -> Vec<u8> {
    let one = |step: &Instruction| [&step.code.to_ne_bytes()[..], &[step.jt, step.jf], &step.k.to_ne_bytes()].concat();
    program.iter().flat_map(one).collect()
}

/// A process of its own, for a filter stays.
fn measured(kind: usize, file: &str) -> f64 {
    let own = std::env::current_exe().expect("own path");
    let output = Command::new(own).args(["--loop", &kind.to_string(), file]).output().expect("a process");
    let text = String::from_utf8(output.stdout).expect("a number");
    text.trim().parse().unwrap_or_else(|_| panic!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)))
}

/// In that process: installs the filter, unless it is empty, and prints the nanoseconds of a call.
fn measure_one(kind: usize, file: &str) {
    let program = std::fs::read(file).expect("a program");
    if !program.is_empty() {
        raw::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).expect("no new privileges");
        raw::seccomp_filter(0, &program).expect("the filter");
    }
    let call = KINDS[kind].1;
    (0..CALLS / 10).for_each(|_| call());
    let start = Instant::now();
    (0..CALLS).for_each(|_| call());
    println!("{}", start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS));
}
