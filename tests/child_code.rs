//! What the machine code of the child half calls: no allocator, no formatting, no standard library. The sources are held
//! to it by tests/architecture.rs, the running child by the allocator of debug builds; this looks at everything in between,
//! through inlined and generic code of the core library.
//!
//! Panics of debug builds (overflow, bounds) are where the walk ends: they abort.

mod harness;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// The child's own loop; everything it does is reached from here.
const START: &str = "kiste::launch::child::Child::run";

/// What must not be reached, by the beginning of its name.
const FORBIDDEN: &[&str] = &[
    "alloc::",
    "__rust_alloc",
    "__rust_dealloc",
    "__rust_realloc",
    "malloc",
    "free",
    "std::",
    "core::fmt::",
    "printf",
];

/// Where the walk ends: these do not come back.
const ENDS: &[&str] =
    &["core::panicking::", "core::slice::index::", "core::str::slice_error_fail", "core::option::expect_failed"];

/// A function: its name, address and size.
struct Function {
    name: String,
    address: u64,
    size: u64,
}

fn functions(binary: &str) -> Option<Vec<Function>> {
    let output = Command::new("nm").args(["--demangle", "--print-size", "--defined-only", binary]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let function = |line: &str| {
        let mut words = line.splitn(4, ' ');
        let address = u64::from_str_radix(words.next()?, 16).ok()?;
        let size = u64::from_str_radix(words.next()?, 16).ok()?;
        let is_code = words.next()?.eq_ignore_ascii_case("t");
        let name = plain(words.next()?);
        is_code.then_some(Function { name, address, size })
    };
    Some(text.lines().filter_map(function).collect())
}

/// `<kiste::launch::child::Child>::run::h0123…` → `kiste::launch::child::Child::run`.
fn plain(name: &str) -> String {
    let name = match name.rsplit_once("::h") {
        Some((front, hash)) if hash.len() == 16 => front,
        _ => name,
    };
    match name.strip_prefix('<').and_then(|rest| rest.split_once(">::")) {
        Some((kind, method)) if !kind.contains(" as ") => format!("{kind}::{method}"),
        _ => name.to_owned(),
    }
}

/// Where an address of the program lies in the file: the ELF64 program headers (elf(5)).
struct Image {
    bytes: Vec<u8>,
    /// Address, offset, size.
    segments: Vec<(u64, u64, u64)>,
}

impl Image {
    fn read(path: &str) -> Image {
        let bytes = std::fs::read(path).expect("the program");
        let word = |at: usize, length: usize| {
            bytes[at..at + length].iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte))
        };
        let (table, size, count) = (word(32, 8) as usize, word(54, 2) as usize, word(56, 2) as usize);
        let header = |index: usize| table + index * size;
        let loaded = (0..count).map(header).filter(|at| word(*at, 4) == 1);
        let segments = loaded.map(|at| (word(at + 16, 8), word(at + 8, 8), word(at + 32, 8))).collect();
        Image { bytes, segments }
    }

    fn code(&self, function: &Function) -> &[u8] {
        let inside = |(address, _, size): &&(u64, u64, u64)| {
            function.address >= *address && function.address + function.size <= address + size
        };
        let Some((address, offset, _)) = self.segments.iter().find(inside) else { return &[] };
        let start = (function.address - address + offset) as usize;
        &self.bytes[start..start + function.size as usize]
    }
}

/// Addresses that a function may call or jump to: `e8` and `e9` with a 32-bit distance, at any place. What is no
/// instruction hits the beginning of a function once in a hundred thousand times.
fn targets<'a>(function: &'a Function, code: &'a [u8]) -> impl Iterator<Item = u64> + 'a {
    code.windows(5).enumerate().filter(|(_, bytes)| matches!(bytes[0], 0xe8 | 0xe9)).map(|(at, bytes)| {
        let distance = i32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
        (function.address + at as u64 + 5).wrapping_add_signed(i64::from(distance))
    })
}

/// What a walk from one function found: the ways to what is forbidden, and the names of all that it saw.
fn walk(all: &[Function], image: &Image, start: &str) -> (Vec<String>, BTreeSet<String>) {
    let by_address: BTreeMap<u64, &Function> = all.iter().map(|function| (function.address, function)).collect();
    let start = all.iter().find(|function| function.name == start).expect("where to start");
    let (mut known, mut left) = (BTreeSet::from([start.address]), vec![(start, start.name.clone())]);
    let mut found = Vec::new();
    while let Some((function, way)) = left.pop() {
        for target in targets(function, image.code(function)) {
            let Some(called) = by_address.get(&target) else { continue };
            let begins = |names: &[&str]| names.iter().any(|name| called.name.starts_with(name));
            if !known.insert(target) || begins(ENDS) {
                continue;
            }
            let way = format!("{way}\n    → {}", called.name);
            if begins(FORBIDDEN) {
                found.push(way);
            } else {
                left.push((called, way));
            }
        }
    }
    (found, known.iter().map(|address| by_address[address].name.clone()).collect())
}

#[test]
fn the_child_reaches_no_allocator() {
    let binary = env!("CARGO_BIN_EXE_kiste");
    if !cfg!(target_arch = "x86_64") {
        return harness::skip(&harness::test_name!(), "the calls of another architecture");
    }
    let Some(all) = functions(binary).filter(|all| all.iter().any(|function| function.name == START)) else {
        return harness::skip(&harness::test_name!(), "no nm(1), or a program without symbols");
    };
    let image = Image::read(binary);
    let (found, seen) = walk(&all, &image, START);
    // Each operation has a method of its own: a walk that stops early proves nothing.
    let is_own = |name: &&String| name.starts_with("kiste::launch::child::");
    let own: BTreeSet<_> = all.iter().map(|function| &function.name).filter(is_own).collect();
    let missed: Vec<_> = own.iter().filter(|name| !seen.contains(**name)).collect();
    assert!(
        own.len() > 50 && missed.is_empty(),
        "of {} methods of the child these were not seen: {missed:?}",
        own.len()
    );
    assert!(found.is_empty(), "the child reaches\n  {}", found.join("\n  "));
    // It sees what is there: the words of explain are made by the allocator.
    assert!(!walk(&all, &image, "kiste::plan::describe::operation").0.is_empty());
}
