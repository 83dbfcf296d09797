//! The program is run by a small interpreter and compared with the meaning of the rules; the v1 writes are run against a
//! model of what the v1 controller keeps.

use proptest::prelude::*;

use super::*;

/// What a program answers for one access; only the instructions that the assembler emits.
fn run(program: &[u64], kind: u32, access: u32, major: u32, minor: u32) -> bool {
    let mut registers = [0u32; 11];
    let mut at = 0;
    for _ in 0..10_000 {
        let bytes = program[at].to_le_bytes();
        let (destination, source) = (usize::from(bytes[1] & 15), usize::from(bytes[1] >> 4));
        let offset = i16::from_le_bytes([bytes[2], bytes[3]]);
        let constant = i32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as u32;
        at += 1;
        match bytes[0] {
            0x61 => registers[destination] = [access << 16 | kind, major, minor][offset as usize / 4],
            0xb4 => registers[destination] = constant,
            0xbc => registers[destination] = registers[source],
            0x54 => registers[destination] &= constant,
            0x74 => registers[destination] >>= constant,
            0x7c => registers[destination] >>= registers[source],
            0x05 => at = at.strict_add_signed(offset.into()),
            0x56 if registers[destination] != constant => at = at.strict_add_signed(offset.into()),
            0x16 if registers[destination] == constant => at = at.strict_add_signed(offset.into()),
            0x26 if registers[destination] > constant => at = at.strict_add_signed(offset.into()),
            0x56 | 0x16 | 0x26 => {}
            0x95 => return registers[0] == 1,
            other => panic!("instruction {other:#x}"),
        }
    }
    panic!("the program does not end")
}

/// The meaning: each wanted bit is decided by the last rule about this device and that bit.
fn meaning(rules: &[DeviceRule], kind: DeviceKind, access: u8, major: u32, minor: u32) -> bool {
    let device = DeviceRule { allow: true, kind, major: Some(major), minor: Some(minor), access };
    [READ, WRITE, MKNOD].into_iter().filter(|bit| access & bit != 0).all(|bit| {
        rules.iter().rev().find(|rule| rule.covers(&device) && rule.access & bit != 0).is_some_and(|rule| rule.allow)
    })
}

fn kernel_access(access: u8) -> u32 {
    [(MKNOD, 1), (READ, 2), (WRITE, 4)].iter().filter(|(bit, _)| access & bit != 0).map(|(_, bit)| bit).sum()
}

/// What a v1 group would keep after these writes (Documentation/admin-guide/cgroup-v1/devices.rst).
fn legacy_answer(writes: &[Write], kind: DeviceKind, access: u8, major: u32, minor: u32) -> bool {
    let (mut default, mut list) = (true, Vec::<String>::new());
    for write in writes {
        let Action::Set(one) = &write.action else { panic!("{write:?}") };
        match (&*one.file, one.value.as_str()) {
            ("devices.allow", "a") => (default, list) = (true, Vec::new()),
            ("devices.deny", "a") => (default, list) = (false, Vec::new()),
            (file, entry) => {
                assert_eq!(file == "devices.allow", !default, "an entry that is no exception: {one}");
                assert!(!entry.starts_with('a'), "the kernel reads {entry} as everything");
                list.push(entry.to_owned());
            }
        }
    }
    let letter = if kind == DeviceKind::Char { "c" } else { "b" };
    let excepted = |bit: u8| {
        let bit = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')].iter().find(|(have, _)| *have == bit).unwrap().1;
        list.iter().any(|entry| {
            let parts: Vec<&str> = entry.split([' ', ':']).collect();
            let same = |part: &str, number: u32| part == "*" || part == number.to_string();
            parts[0] == letter && same(parts[1], major) && same(parts[2], minor) && parts[3].contains(bit)
        })
    };
    let bits = [READ, WRITE, MKNOD].into_iter().filter(|bit| access & bit != 0);
    bits.into_iter().all(|bit| excepted(bit) != default)
}

fn rule() -> impl Strategy<Value = DeviceRule> {
    let kind = prop_oneof![Just(DeviceKind::All), Just(DeviceKind::Char), Just(DeviceKind::Block)];
    let number = || prop_oneof![Just(None), (0..4u32).prop_map(Some), Just(Some(40))];
    (any::<bool>(), kind, number(), number(), prop_oneof![Just(ALL), 0..8u8])
        .prop_map(|(allow, kind, major, minor, access)| DeviceRule { allow, kind, major, minor, access })
}

proptest! {
    #[test]
    fn program_and_v1_writes_mean_the_same_as_the_rules(
        asked in prop::collection::vec(rule(), 0..12),
        char_device in any::<bool>(), access in 1..8u8, major in 0..6u32,
        minor in prop_oneof![0..10u32, Just(40)],
    ) {
        let origin = Origin::fixed("/linux/resources/devices");
        let kind = if char_device { DeviceKind::Char } else { DeviceKind::Block };
        let all: Vec<DeviceRule> = asked.iter().chain(&ALWAYS).copied().collect();
        let wanted = meaning(&all, kind, access, major, minor);
        let devices = program(&asked, &origin).unwrap();
        let number = if char_device { 2 } else { 1 };
        let answer = devices.program.is_empty() || run(&devices.program, number, kernel_access(access), major, minor);
        prop_assert_eq!(answer, wanted, "{:?}", devices.rules);
        if let Ok(writes) = legacy_writes(&asked, &origin) {
            prop_assert_eq!(legacy_answer(&writes, kind, access, major, minor), wanted, "{:?}", writes);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if nix::unistd::geteuid().is_root() { 64 } else { 0 }))]
    /// The kernel's verifier takes every program: it refuses instructions out of reach and unset registers.
    #[test]
    fn the_kernel_takes_every_program(asked in prop::collection::vec(rule(), 0..12), alone in any::<bool>()) {
        let rules = if alone { asked } else { effective(&asked) };
        let loaded = crate::kernel::bpf::load_device_program(&assemble(&rules));
        // Kernels without BPF exist; what they would say is nothing about the program.
        prop_assert!(loaded.is_ok() || loaded.as_ref().is_err_and(|errno| *errno == libc::ENOSYS), "{:?} {:?}", loaded, rules);
    }
}

#[test]
fn a_wildcard_covers_the_rest_of_its_kind() {
    let all_chars = DeviceRule { kind: DeviceKind::Char, ..allow_everything() };
    let program = assemble(&[DeviceRule { major: Some(1), minor: Some(3), ..all_chars }, all_chars]);
    assert!(run(&program, 2, 7, 9, 9) && !run(&program, 1, 2, 1, 3));
    if nix::unistd::geteuid().is_root() {
        assert!(crate::kernel::bpf::load_device_program(&program).is_ok());
    }
}

#[test]
fn the_default_program_is_small() {
    assert!(assemble(&ALWAYS).len() <= 26, "{}", assemble(&ALWAYS).len());
}

fn allow_everything() -> DeviceRule {
    DeviceRule { allow: true, kind: DeviceKind::All, major: None, minor: None, access: ALL }
}

#[test]
fn an_empty_list_and_one_that_starts_with_allow_deny_the_rest() {
    let origin = Origin::fixed("/linux/resources/devices");
    let sda = DeviceRule { allow: true, kind: DeviceKind::Block, major: Some(8), minor: Some(0), access: READ };
    for asked in [vec![], vec![sda]] {
        let devices = program(&asked, &origin).unwrap();
        assert!(!run(&devices.program, 2, 2, 1, 1), "/dev/mem");
        assert!(!run(&devices.program, 1, 4, 8, 0), "write to sda");
        assert_eq!(run(&devices.program, 1, 2, 8, 0), !asked.is_empty(), "read of sda");
        assert!(run(&devices.program, 2, 6, 1, 3), "null");
        assert!(run(&devices.program, 1, 1, 8, 16), "mknod");
    }
}

#[test]
fn everything_allowed_needs_no_program_and_no_write() {
    let origin = Origin::fixed("/linux/resources/devices");
    let deny = DeviceRule { allow: false, ..allow_everything() };
    assert!(program(&[deny, allow_everything()], &origin).is_some_and(|devices| devices.program.is_empty()));
    assert_eq!(legacy_writes(&[deny, allow_everything()], &origin).unwrap(), []);
}

#[test]
fn what_v1_cannot_express_is_an_error() {
    let origin = Origin::fixed("/linux/resources/devices");
    let wide = DeviceRule { allow: true, kind: DeviceKind::Block, major: Some(8), minor: None, access: ALL };
    let hole = DeviceRule { allow: false, minor: Some(1), ..wide };
    let error = legacy_writes(&[wide, hole], &origin).unwrap_err();
    assert!(error.to_string().starts_with("/linux/resources/devices: deny b 8:1 rwm has to leave a hole"), "{error}");
    assert!(program(&[wide, hole], &origin).is_some_and(|devices| !run(&devices.program, 1, 2, 8, 1)));
}
