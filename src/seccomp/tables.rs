//! System call names and numbers of every ABI kiste compiles for.
//!
//! `syscalls.txt` is parsed while kiste is compiled, so that the program carries plain bytes: no pointers to relocate and
//! no table to build at start. One name lookup (a hash and, nearly always, one comparison) yields the numbers of all ABIs.
//!
//! The text has one line per name, sorted: the name, then its numbers in the order of [`COLUMNS`], `-` where the ABI does
//! not have it; x32 without its bit 30. Source: the `__NR_*` constants of crate linux-raw-sys 0.12.1, which are generated
//! from the installed headers of Linux 6.17 for each architecture; names that are not in `asm/unistd.h` (Arm's private
//! calls) from libseccomp 2.5.4, with which the rest was compared (`seccomp_syscall_resolve_num_arch` over all numbers);
//! `uprobe` (6.18), `listns` (6.19) and `rseq_slice_yield` (7.0) from the kernel's `syscall*.tbl`. To add calls of a newer
//! kernel, take them from there: new calls have one number on all architectures.

use super::words::Architecture;

/// The ABIs in the order of the text's columns.
pub(super) const COLUMNS: [Architecture; 6] = [
    Architecture::X86_64,
    Architecture::X86,
    Architecture::X32,
    Architecture::Aarch64,
    Architecture::Arm,
    Architecture::Riscv64,
];

/// The bit that tells x32 numbers from x86-64 ones (`__X32_SYSCALL_BIT`).
pub(super) const X32_BIT: u32 = 0x4000_0000;
/// The first of Arm's private calls (`__ARM_NR_BASE`).
const ARM_PRIVATE: u32 = 0x000F_0000;
/// Where Arm's private calls are kept in the slots.
pub(super) const PRIVATE_SLOT: u16 = 1000;
/// Slots of one ABI: 0 to 999 are the numbers themselves, then Arm's private calls.
pub(super) const SLOTS: usize = 1024;

/// A number as the tables keep it: the plain number, without x32's bit, Arm's private calls moved down. Slots keep the
/// order of the numbers.
pub(super) type Slot = u16;
const ABSENT: Slot = Slot::MAX;

const TEXT: &[u8] = include_bytes!("syscalls.txt");
const NAMES: usize = count_lines();
const BUCKETS: usize = 2048;

#[derive(Clone, Copy)]
struct Row {
    start: u16,
    length: u8,
    slots: [Slot; COLUMNS.len()],
}

static ROWS: [Row; NAMES] = parse();
/// Open addressing: the row's index plus one, 0 where free.
static INDEX: [u16; BUCKETS] = index();

const fn count_lines() -> usize {
    let (mut lines, mut at) = (0, 0);
    while at < TEXT.len() {
        if TEXT[at] == b'\n' {
            lines += 1;
        }
        at += 1;
    }
    lines
}

const fn slot(number: u32) -> Slot {
    if number >= ARM_PRIVATE { PRIVATE_SLOT + (number - ARM_PRIVATE) as Slot } else { number as Slot }
}

const fn parse() -> [Row; NAMES] {
    let mut rows = [Row { start: 0, length: 0, slots: [ABSENT; COLUMNS.len()] }; NAMES];
    let (mut at, mut line) = (0, 0);
    while line < NAMES {
        rows[line].start = at as u16;
        while TEXT[at] != b' ' {
            at += 1;
            rows[line].length += 1;
        }
        let mut column = 0;
        while column < COLUMNS.len() {
            at += 1;
            let (mut number, mut known) = (0u32, false);
            while TEXT[at] != b' ' && TEXT[at] != b'\n' {
                if TEXT[at] != b'-' {
                    number = number * 10 + (TEXT[at] - b'0') as u32;
                    known = true;
                }
                at += 1;
            }
            if known {
                rows[line].slots[column] = slot(number);
                assert!((rows[line].slots[column] as usize) < SLOTS, "a number beyond the slots");
            }
            column += 1;
        }
        at += 1;
        line += 1;
    }
    rows
}

/// FNV-1a, folded to the number of buckets.
const fn bucket(name: &[u8], start: usize, length: usize) -> usize {
    let (mut hash, mut at) = (0x811C_9DC5u32, 0);
    while at < length {
        hash = (hash ^ name[start + at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    ((hash ^ (hash >> 15)) as usize) % BUCKETS
}

const fn index() -> [u16; BUCKETS] {
    let mut index = [0; BUCKETS];
    let mut row = 0;
    while row < NAMES {
        let mut at = bucket(TEXT, ROWS[row].start as usize, ROWS[row].length as usize);
        while index[at] != 0 {
            at = (at + 1) % BUCKETS;
        }
        index[at] = row as u16 + 1;
        row += 1;
    }
    index
}

fn name_of(row: &Row) -> &'static str {
    let start = usize::from(row.start);
    std::str::from_utf8(&TEXT[start..start + usize::from(row.length)]).unwrap_or("")
}

/// The slots of a name by column, or nothing for a name no ABI has.
pub(super) fn lookup(name: &str) -> Option<&'static [Slot; COLUMNS.len()]> {
    let name = name.as_bytes();
    let mut at = bucket(name, 0, name.len());
    while INDEX[at] != 0 {
        let row = &ROWS[usize::from(INDEX[at]) - 1];
        if &TEXT[usize::from(row.start)..][..usize::from(row.length)] == name {
            return Some(&row.slots);
        }
        at = (at + 1) % BUCKETS;
    }
    None
}

/// The slot of a column if the ABI has the call.
pub(super) fn known(slots: &[Slot; COLUMNS.len()], column: usize) -> Option<Slot> {
    Some(slots[column]).filter(|slot| *slot != ABSENT)
}

/// The column of an architecture kiste compiles for.
pub(super) fn column(architecture: Architecture) -> Option<usize> {
    COLUMNS.iter().position(|known| *known == architecture)
}

/// The number the kernel sees for a slot of an ABI.
pub(super) fn number(architecture: Architecture, slot: Slot) -> u32 {
    match architecture {
        Architecture::X32 => u32::from(slot) | X32_BIT,
        Architecture::Arm if slot >= PRIVATE_SLOT => ARM_PRIVATE + u32::from(slot - PRIVATE_SLOT),
        _ => u32::from(slot),
    }
}

/// Whether any ABI has a call of this name.
pub fn is_known(name: &str) -> bool {
    lookup(name).is_some()
}

/// The number of a system call on an architecture; nothing if the architecture lacks the call or kiste has no table of
/// it. x32 numbers carry bit 30.
pub fn syscall_number(architecture: Architecture, name: &str) -> Option<u32> {
    let column = column(architecture)?;
    known(lookup(name)?, column).map(|slot| number(architecture, slot))
}

/// The name of a system call number on an architecture; where two names share a number (Arm's `sync_file_range2`), the
/// first of the alphabet.
pub fn syscall_name(architecture: Architecture, wanted: u32) -> Option<&'static str> {
    let column = column(architecture)?;
    let row = ROWS.iter().find(|row| known(&row.slots, column).is_some_and(|s| number(architecture, s) == wanted))?;
    Some(name_of(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_lead_to_each_other() {
        for row in &ROWS {
            for (column, architecture) in COLUMNS.iter().enumerate() {
                let Some(slot) = known(&row.slots, column) else { continue };
                let number = number(*architecture, slot);
                assert_eq!(syscall_number(*architecture, name_of(row)), Some(number));
                let name = syscall_name(*architecture, number).unwrap_or_default();
                assert!(name == name_of(row) || name == "arm_sync_file_range", "{name} is {number} too");
            }
        }
        assert_eq!(syscall_number(Architecture::X86_64, "getppid"), Some(110));
        assert_eq!(syscall_number(Architecture::X32, "ioctl"), Some(514 | X32_BIT));
        assert_eq!(syscall_number(Architecture::Arm, "set_tls"), Some(0x000F_0005));
        assert_eq!(syscall_number(Architecture::Aarch64, "open"), None);
        assert_eq!(syscall_number(Architecture::X86_64, "socketcall"), None);
        assert_eq!(syscall_number(Architecture::Riscv64, "listns"), Some(470));
        assert_eq!(syscall_number(Architecture::S390x, "read"), None);
        assert_eq!(syscall_name(Architecture::X86_64, 0xFFFF_FFFF), None);
    }

    #[test]
    fn the_numbers_of_this_machine_are_the_c_librarys() {
        let Some(native) = Architecture::NATIVE else { return };
        for (name, number) in [
            ("read", libc::SYS_read),
            ("execve", libc::SYS_execve),
            ("clone3", libc::SYS_clone3),
            ("openat2", libc::SYS_openat2),
            ("seccomp", libc::SYS_seccomp),
            ("capset", libc::SYS_capset),
        ] {
            assert_eq!(syscall_number(native, name).map(i64::from), Some(number), "{name}");
        }
    }
}
