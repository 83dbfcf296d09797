//! What a start costs, in figures that do not depend on the clock: system calls, page faults, bytes. The bounds are a few
//! per cent above what is there; whoever raises one tells why in the commit. `benches/run` has the times.

mod harness;

use harness::{Bundle, Value, host, json, only_kiste, requires, runtime_path};
use std::path::Path;

/// System calls of `kiste run` itself, from its execve to its end (debug builds ask for memory more often).
const PARENT_CALLS: usize = 180;
const DEBUG_PARENT_CALLS: usize = 205;
/// System calls of the container's process, up to and with the execve of its program.
const CHILD_CALLS: usize = 255;
/// Page faults (getrusage(2): with those of mmap(2) for MAP_POPULATE) of `kiste run` and of the container's process before its execve.
const PARENT_FAULTS: u64 = 280;
const CHILD_FAULTS: u64 = 36;
/// The program.
const BYTES: usize = 3_300_000;
const RELOCATIONS: u64 = 29;

/// The bundle that `kiste spec` writes, with a command that ends at once.
fn default_bundle() -> Bundle {
    let bundle = Bundle::with_args(&["exit", "0"]);
    let folder = bundle.host_folder();
    bundle.call(&["spec", "--bundle", &folder.display().to_string()]).ok();
    let spec = std::fs::read(folder.join("config.json")).expect("the configuration");
    bundle.edit(|config| *config = serde_json::from_slice(&spec).expect("JSON"));
    bundle.set("/process/terminal", json!(false));
    bundle.args(&["exit", "0"]);
    bundle
}

/// A shell's words before a command: on bare cgroup v2, in a mount namespace of their own.
const ON_V2: &str = "umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup || exit 1;";

fn run_on_v2(bundle: &Bundle, before: &str, options: &str) {
    let runtime = runtime_path().display().to_string();
    let (root, place) = (bundle.dir.join("state"), bundle.dir.join("bundle"));
    let (root, place, id) = (root.display(), place.display(), &bundle.id);
    let script = format!("{ON_V2} exec {before} {runtime} --root {root} run {options} --bundle {place} {id}");
    bundle.host_command("unshare", &["-m", "--propagation", "private", "sh", "-c", &script]).ok();
}

/// A number in an ELF file of 64 bits, little-endian.
fn word(elf: &[u8], at: usize, length: usize) -> u64 {
    elf[at..at + length].iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// Where the entries of a table lie, from where the header has its place, the size of an entry and their number.
fn entries(elf: &[u8], table: usize, size: usize, count: usize) -> impl Iterator<Item = usize> {
    let (table, size) = (word(elf, table, 8) as usize, word(elf, size, 2) as usize);
    (0..word(elf, count, 2) as usize).map(move |index| table + index * size)
}

fn program_headers(elf: &[u8]) -> impl Iterator<Item = usize> {
    entries(elf, 32, 54, 56)
}

fn sections(elf: &[u8]) -> impl Iterator<Item = usize> {
    entries(elf, 40, 58, 60)
}

/// Whether this is the program as it is shipped: without symbols (SHT_SYMTAB).
fn is_release(elf: &[u8]) -> bool {
    sections(elf).all(|at| word(elf, at + 4, 4) != 2)
}

fn program() -> Vec<u8> {
    std::fs::read(runtime_path()).expect("the program")
}

/// The lines of one process in a trace, without signals and the exit.
fn calls(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).expect("a trace");
    text.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase())).map(str::to_owned).collect()
}

#[test]
fn system_calls_of_a_run() {
    only_kiste!();
    requires!(host::is_root(), "needs root");
    requires!(host::program("strace").is_some(), "needs strace");
    let bundle = default_bundle();
    let folder = bundle.host_folder();
    run_on_v2(&bundle, &format!("strace -ff -o {}/trace", folder.display()), "");
    let traces: Vec<_> =
        std::fs::read_dir(&folder).expect("traces").map(|entry| calls(&entry.expect("a trace").path())).collect();
    let is_parent = |calls: &&Vec<String>| calls.first().is_some_and(|call| call.starts_with("execve("));
    let [parent] = traces.iter().filter(is_parent).collect::<Vec<_>>()[..] else { panic!("not one parent") };
    let [child] = traces.iter().filter(|calls| !is_parent(calls)).collect::<Vec<_>>()[..] else {
        panic!("a run makes one process")
    };
    let executed = child.iter().position(|call| call.starts_with("execve(")).expect("the child's execve") + 1;
    let bound = if is_release(&program()) { PARENT_CALLS } else { DEBUG_PARENT_CALLS };
    assert!(parent.len() <= bound, "{} > {bound} calls of the parent:\n{}", parent.len(), parent.join("\n"));
    assert!(
        executed <= CHILD_CALLS,
        "{executed} > {CHILD_CALLS} calls of the child:\n{}",
        child[..executed].join("\n")
    );
    assert!(
        parent.len() > bound / 2 && executed > CHILD_CALLS / 2,
        "the bounds are far too high: {} {executed}",
        parent.len()
    );
}

#[test]
fn page_faults_of_a_run() {
    only_kiste!();
    requires!(host::is_root(), "needs root");
    requires!(is_release(&program()), "a debug build has more pages");
    let bundle = default_bundle();
    let file = bundle.dir.join("timings.json");
    run_on_v2(&bundle, "", &format!("--timings {}", file.display()));
    let timings: Value = serde_json::from_slice(&std::fs::read(file).expect("the timings")).expect("JSON");
    let of = |process: u8| {
        let events = timings["traceEvents"].as_array().expect("events").iter();
        let own = events.filter(|event| {
            event["pid"] == process && event["name"] != "describe the plan's steps, for this file only"
        });
        own.filter_map(|event| event["args"]["page faults"].as_u64()).sum::<u64>()
    };
    let (parent, child) = (of(1), of(2));
    assert!(parent > 10 && parent <= PARENT_FAULTS, "{parent} page faults of the parent, at most {PARENT_FAULTS}");
    assert!(child > 0 && child <= CHILD_FAULTS, "{child} page faults of the child, at most {CHILD_FAULTS}");
}

#[test]
fn the_program_is_small_and_needs_no_relocation() {
    only_kiste!();
    let bytes = program();
    requires!(is_release(&bytes), "a debug build is larger");
    assert!(bytes.len() <= BYTES, "{} bytes, at most {BYTES}", bytes.len());
    // elf(5): e_type; p_type of each program header; sh_type and sh_size of each section.
    assert_eq!(word(&bytes, 16, 2), 2, "an executable at a fixed address (ET_EXEC)");
    let dynamic = program_headers(&bytes).filter(|at| matches!(word(&bytes, *at, 4), 2 | 3)).count();
    assert_eq!(dynamic, 0, "neither an interpreter nor dynamic linking (PT_INTERP, PT_DYNAMIC)");
    // IRELATIVE ones of the C library: the best memcpy for this processor, and such.
    let tables = sections(&bytes).filter(|at| word(&bytes, at + 4, 4) == 4);
    let relocations: u64 = tables.map(|at| word(&bytes, at + 32, 8) / 24).sum();
    assert!(relocations <= RELOCATIONS, "{relocations} relocations, at most {RELOCATIONS}");
}
