//! What profiles mean, by kiste's own reading: its programs beside a plain evaluation of the rules, the errors, the
//! architectures, the sizes.

mod seccomp;

use kiste::error::Origin;
use kiste::seccomp::{
    Action, Architecture, Argument, Flag, Instruction, Operator, Profile, Program, Rule, compile, evaluate,
    syscall_number,
};
use seccomp::random::Random;
use seccomp::{containers, skip};

const X86: [Architecture; 3] = [Architecture::X86_64, Architecture::X86, Architecture::X32];
const X86_64: u32 = 0xC000_003E;
const I386: u32 = 0x4000_0003;
const AARCH64: u32 = 0xC000_00B7;
const ARM: u32 = 0x4000_0028;

fn profile(default_action: Action, rules: Vec<Rule>) -> Profile {
    Profile {
        default_action,
        default_errno: None,
        architectures: vec![Architecture::X86_64],
        flags: Vec::new(),
        rules,
        listener_path: None,
        listener_metadata: None,
        origin: Origin::fixed("/linux/seccomp"),
    }
}

fn rule(names: &[&str], action: Action) -> Rule {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    Rule { names, action, errno: None, args: Vec::new(), origin: Origin::fixed("/linux/seccomp/syscalls/0") }
}

fn with(mut rule: Rule, index: u32, op: Operator, value: u64, value_two: u64) -> Rule {
    rule.args.push(Argument { index, value, value_two, op });
    rule
}

fn program(profile: &Profile) -> Program {
    let program = compile(profile, profile.architectures[0]).expect("the profile compiles");
    loadable(&program.instructions);
    program
}

fn answer(profile: &Profile, audit: u32, nr: u32, args: [u64; 6]) -> (Action, u16) {
    let verdict = evaluate(&program(profile).instructions, audit, nr, args);
    (verdict.action, verdict.data)
}

/// The kernel's checks of a seccomp program (bpf_check_classic, seccomp_check_filter): known instructions, loads within
/// `struct seccomp_data`, jumps that stay inside, an answer at the end; here also that everything can be reached.
#[track_caller]
fn loadable(program: &[Instruction]) {
    assert!(!program.is_empty() && program.len() <= 4096);
    let mut reached = vec![false; program.len()];
    reached[0] = true;
    for (at, instruction) in program.iter().enumerate() {
        let mut reach = |distance: u32| {
            let target = at + 1 + distance as usize;
            assert!(target < program.len(), "instruction {at} jumps out: {instruction:?}");
            reached[target] |= true;
        };
        match instruction.code {
            0x20 => {
                assert!(instruction.k % 4 == 0 && instruction.k < 64);
                reach(0);
            }
            0x54 => reach(0),
            0x05 => reach(instruction.k),
            0x15 | 0x25 | 0x35 | 0x45 => {
                reach(instruction.jt.into());
                reach(instruction.jf.into());
            }
            0x06 => {}
            code => panic!("instruction {at} has code {code:#x}"),
        }
    }
    assert!(reached.iter().all(|reached| *reached), "an instruction nothing leads to");
}

fn holds(argument: &Argument, wide: bool, args: [u64; 6]) -> bool {
    let width = if wide { u64::MAX } else { 0xFFFF_FFFF };
    let (arg, value, two) = (args[argument.index as usize] & width, argument.value & width, argument.value_two & width);
    match argument.op {
        Operator::NotEqual => arg != value,
        Operator::Less => arg < value,
        Operator::LessOrEqual => arg <= value,
        Operator::Equal => arg == value,
        Operator::GreaterOrEqual => arg >= value,
        Operator::Greater => arg > value,
        Operator::MaskedEqual => arg & value == two & value,
    }
}

/// The answers the rules for one call allow: all of rules that match, or only the default's.
fn answers(profile: &Profile, name: &str, wide: bool, args: [u64; 6]) -> Vec<(Action, u16)> {
    let data = |action, errno: Option<u32>| match action {
        Action::Errno | Action::Trace => errno.unwrap_or(1) as u16,
        _ => 0,
    };
    let default = (profile.default_action, data(profile.default_action, profile.default_errno));
    let mut found = Vec::new();
    for rule in profile.rules.iter().filter(|rule| rule.names.iter().any(|known| known == name)) {
        let mine = (rule.action, data(rule.action, rule.errno));
        let repeated = rule.args.iter().enumerate().any(|(i, a)| rule.args[..i].iter().any(|b| a.index == b.index));
        let always =
            |a: &Argument| a.op == Operator::MaskedEqual && a.value & if wide { u64::MAX } else { 0xFFFF_FFFF } == 0;
        let unconditional = if repeated { rule.args.iter().any(always) } else { rule.args.iter().all(always) };
        let hold = |a: &Argument| holds(a, wide, args);
        let matches = if repeated { rule.args.iter().any(hold) } else { rule.args.iter().all(hold) };
        if mine != default && unconditional {
            return vec![mine];
        }
        if mine != default && matches {
            found.push(mine);
        }
    }
    // A later rule without conditions beats those found so far.
    let rest = &profile.rules[..];
    let plain = rest.iter().find(|r| {
        r.args.is_empty() && r.names.iter().any(|n| n == name) && (r.action, data(r.action, r.errno)) != default
    });
    match plain {
        Some(rule) => vec![(rule.action, data(rule.action, rule.errno))],
        None if found.is_empty() => vec![default],
        None => found,
    }
}

#[test]
fn overlapping_rules_answer_with_one_that_matches() {
    let mut random = Random(42);
    let actions = [Action::Allow, Action::Errno, Action::KillThread, Action::Trace, Action::Trap, Action::Log];
    for round in 0..600 {
        let few = if round % 2 == 0 { &actions[round % 6..=round % 6] } else { &actions[..] };
        let profile = random.profile(few, &X86);
        let program = program(&profile).instructions;
        for _ in 0..200 {
            let rule = &profile.rules[random.below(profile.rules.len())];
            let name = rule.names[random.below(rule.names.len())].clone();
            let (architecture, args) = (random.pick(&X86), random.arguments());
            // Behind socketcall(2) and ipc(2) more rules are at work than those of the name.
            let Some(nr) = syscall_number(architecture, &name).filter(|nr| ![102, 117].contains(nr)) else { continue };
            let verdict = evaluate(&program, architecture.audit().unwrap_or(0), nr, args);
            let wide = architecture == Architecture::X86_64;
            let allowed = answers(&profile, &name, wide, args);
            let got = (verdict.action, verdict.data);
            assert!(
                allowed.contains(&got),
                "{name} on {architecture:?} {args:x?}: {got:?}, not of {allowed:?}: {profile:#?}"
            );
        }
    }
}

#[test]
fn a_rule_without_conditions_beats_those_with_them() {
    let plain = rule(&["socket"], Action::Allow);
    let asking = with(rule(&["socket"], Action::Trap), 0, Operator::Equal, 1, 0);
    for rules in [vec![plain.clone(), asking.clone()], vec![asking, plain]] {
        assert_eq!(answer(&profile(Action::Errno, rules), X86_64, 41, [1, 0, 0, 0, 0, 0]).0, Action::Allow);
    }
    let two = profile(Action::Errno, vec![rule(&["read"], Action::Log), rule(&["read"], Action::Allow)]);
    assert_eq!(answer(&two, X86_64, 0, [0; 6]).0, Action::Log);
    // The default's action is no rule, so it hides nothing.
    let asking = with(rule(&["read"], Action::Trap), 0, Operator::Equal, 1, 0);
    let default = profile(Action::Allow, vec![rule(&["read"], Action::Allow), asking]);
    assert_eq!(answer(&default, X86_64, 0, [1, 0, 0, 0, 0, 0]).0, Action::Trap);
}

#[test]
fn one_condition_with_two_actions_is_told() {
    let one = |action| with(rule(&["read"], action), 0, Operator::Equal, 1, 0);
    let program = program(&profile(Action::Errno, vec![one(Action::Log), one(Action::Allow)]));
    assert_eq!(evaluate(&program.instructions, X86_64, 0, [1, 0, 0, 0, 0, 0]).action, Action::Log);
    assert!(program.warnings[0].contains("read has two actions"), "{:?}", program.warnings);
}

#[test]
fn the_upper_half_counts_where_the_abi_has_one() {
    let mut terminal = profile(
        Action::Allow,
        vec![with(rule(&["ioctl"], Action::Errno), 1, Operator::MaskedEqual, 0xFFFF_FFFF, 0x5412)],
    );
    terminal.architectures = X86.to_vec();
    // The kernel looks at 32 bits of an ioctl's number: bits above must not hide it.
    for (audit, nr) in [(X86_64, 16), (I386, 54), (X86_64, 0x4000_0000 | 514)] {
        assert_eq!(answer(&terminal, audit, nr, [0, 0xDEAD_0000_5412, 0, 0, 0, 0]).0, Action::Errno);
    }
    terminal.rules[0].args[0] = Argument { index: 1, value: 0x5412, value_two: 0, op: Operator::Equal };
    assert_eq!(answer(&terminal, X86_64, 16, [0, 0xDEAD_0000_5412, 0, 0, 0, 0]).0, Action::Allow);
    assert_eq!(answer(&terminal, I386, 54, [0, 0xDEAD_0000_5412, 0, 0, 0, 0]).0, Action::Errno);
}

#[test]
fn foreign_architectures_and_unlisted_x32_die() {
    let only = profile(Action::Allow, vec![rule(&["read"], Action::Errno)]);
    let killed = (Action::KillProcess, 0);
    assert_eq!(answer(&only, I386, 3, [0; 6]), killed);
    assert_eq!(answer(&only, AARCH64, 63, [0; 6]), killed);
    for nr in [0x4000_0000, 0x4000_0000 | 514, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFE] {
        assert_eq!(answer(&only, X86_64, nr, [0; 6]), killed, "{nr:#x}");
    }
    // A tracer's "skip this call" is no x32 call.
    assert_eq!(answer(&only, X86_64, u32::MAX, [0; 6]).0, Action::Allow);
    let listed = Profile { architectures: X86.to_vec(), ..only };
    assert_eq!(answer(&listed, X86_64, 0x4000_0000, [0; 6]), (Action::Errno, 1));
    assert_eq!(answer(&listed, X86_64, 0x4000_0001, [0; 6]).0, Action::Allow);
    assert_eq!(answer(&listed, I386, 3, [0; 6]), (Action::Errno, 1));
}

#[test]
fn the_native_architecture_need_not_be_listed() {
    let mut mine = profile(Action::Errno, vec![rule(&["read"], Action::Allow)]);
    mine.architectures = vec![Architecture::Aarch64, Architecture::S390x, Architecture::Mips];
    let program = compile(&mine, Architecture::X86_64).expect("the profile compiles");
    assert_eq!(evaluate(&program.instructions, X86_64, 0, [0; 6]).action, Action::Allow);
    assert_eq!(program.warnings.len(), 1);
    assert!(program.warnings[0].contains("SCMP_ARCH_S390X, SCMP_ARCH_MIPS"), "{:?}", program.warnings);
    let error = compile(&mine, Architecture::S390x).expect_err("no table");
    assert!(error.to_string().contains("SCMP_ARCH_S390X"), "{error}");
}

#[test]
fn calls_newer_than_the_profile_do_not_exist() {
    let enosys = (Action::Errno, libc::ENOSYS as u16);
    let mut old = profile(Action::KillProcess, vec![rule(&["read", "clone3", "set_tls", "ioctl"], Action::Allow)]);
    old.architectures = X86.to_vec();
    for (audit, nr, wanted) in [
        (X86_64, 434, (Action::KillProcess, 0)),
        (X86_64, 435, (Action::Allow, 0)),
        (X86_64, 436, enosys),
        (X86_64, 0x3FFF_FFFF, enosys),
        (I386, 436, enosys),
        (I386, u32::MAX, enosys),
        (X86_64, 0x4000_0000 | 436, enosys),
        (X86_64, 0x4000_0000 | 513, (Action::KillProcess, 0)),
        (X86_64, 0x4000_0000 | 514, (Action::Allow, 0)),
        (X86_64, 0x4000_0000 | 548, enosys),
    ] {
        assert_eq!(answer(&old, audit, nr, [0; 6]), wanted, "{audit:#x} {nr:#x}");
    }
    old.architectures = vec![Architecture::Aarch64, Architecture::Arm];
    for (audit, nr, wanted) in [
        (AARCH64, 436, enosys),
        (ARM, 436, enosys),
        (ARM, 0x000F_0005, (Action::Allow, 0)),
        (ARM, 0x000F_0004, (Action::KillProcess, 0)),
        (ARM, 0x0010_0000, enosys),
    ] {
        assert_eq!(answer(&old, audit, nr, [0; 6]), wanted, "{audit:#x} {nr:#x}");
    }
    for action in [Action::Allow, Action::Log, Action::Trace] {
        let open = profile(action, vec![rule(&["read"], Action::Trap)]);
        assert_eq!(answer(&open, X86_64, 1000, [0; 6]).0, action);
    }
    assert_eq!(answer(&profile(Action::Errno, Vec::new()), X86_64, 1000, [0; 6]), (Action::Errno, 1));
}

#[test]
fn the_error_of_all_other_calls_is_the_profiles() {
    for errno in [0, 38, 4095] {
        let mut closed = profile(Action::Errno, vec![rule(&["read", "clone3"], Action::Allow)]);
        closed.default_errno = Some(errno);
        assert_eq!(answer(&closed, X86_64, 1, [0; 6]), (Action::Errno, errno as u16));
        assert_eq!(answer(&closed, X86_64, 0, [0; 6]), (Action::Allow, 0));
    }
}

#[test]
fn every_action_has_its_answer() {
    for (action, _) in Action::ALL {
        let default = if *action == Action::Allow { Action::Trap } else { Action::Allow };
        let data = if matches!(action, Action::Errno | Action::Trace) { 1 } else { 0 };
        assert_eq!(answer(&profile(default, vec![rule(&["read"], *action)]), X86_64, 0, [0; 6]), (*action, data));
    }
    let mut errno = profile(Action::Allow, vec![rule(&["read"], Action::Errno)]);
    errno.rules[0].errno = Some(4095);
    assert_eq!(answer(&errno, X86_64, 0, [0; 6]), (Action::Errno, 4095));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let wrong = |profile: Profile, place: &str, word: &str| {
        let error = compile(&profile, Architecture::X86_64).expect_err(place);
        assert_eq!(error.origin.as_ref().map(|origin| origin.0.as_ref()), Some(place), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    };
    let first = "/linux/seccomp/syscalls/0";
    wrong(profile(Action::Notify, Vec::new()), "/linux/seccomp/defaultAction", "defaultAction");
    for name in ["write", "sendmsg"] {
        wrong(profile(Action::Errno, vec![rule(&["read", name], Action::Notify)]), first, name);
    }
    let mut errno = rule(&["read"], Action::Errno);
    errno.errno = Some(4096);
    wrong(profile(Action::Allow, vec![errno.clone()]), "/linux/seccomp/syscalls/0/errnoRet", "4095");
    errno.action = Action::Allow;
    wrong(profile(Action::Errno, vec![errno]), "/linux/seccomp/syscalls/0/errnoRet", "SCMP_ACT_ALLOW");
    let mut default = profile(Action::KillProcess, Vec::new());
    default.default_errno = Some(1);
    wrong(default, "/linux/seccomp/defaultErrnoRet", "SCMP_ACT_KILL_PROCESS");
    let sixth = with(with(rule(&["read"], Action::Allow), 0, Operator::Equal, 0, 0), 6, Operator::Equal, 0, 0);
    wrong(profile(Action::Errno, vec![sixth]), "/linux/seccomp/syscalls/0/args/1/index", "0 to 5");
    let mut metadata = profile(Action::Errno, Vec::new());
    metadata.listener_metadata = Some("m".to_owned());
    wrong(metadata, "/linux/seccomp/listenerMetadata", "listenerPath");
}

#[test]
fn flags_are_the_kernels() {
    let mut asking = profile(Action::Allow, vec![rule(&["mkdir"], Action::Notify)]);
    asking.listener_path = Some("/run/agent".to_owned());
    asking.flags = Flag::ALL.iter().map(|(flag, _)| *flag).collect();
    let compiled = program(&asking);
    let listener = (libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) as u32;
    let others = (libc::SECCOMP_FILTER_FLAG_LOG | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW) as u32;
    assert!(compiled.notifies && compiled.warnings.is_empty());
    assert_eq!(compiled.flags, listener | others);
    asking.rules.clear();
    let compiled = program(&asking);
    assert_eq!((compiled.notifies, compiled.flags, compiled.warnings.len()), (false, others, 1));
    assert_eq!(compiled.bytes().len(), compiled.instructions.len() * 8);
}

#[test]
fn unknown_calls_are_skipped_and_told() {
    let compiled = program(&profile(Action::Errno, vec![rule(&["no_such_call", "read", ""], Action::Allow)]));
    assert_eq!(evaluate(&compiled.instructions, X86_64, 0, [0; 6]).action, Action::Allow);
    assert!(compiled.warnings[0].contains("no_such_call"), "{:?}", compiled.warnings);
}

/// Conditions of every call's own, so that nothing can be shared.
fn large(each: usize) -> Profile {
    let mut random = Random(5);
    let names =
        ["read", "write", "open", "close", "stat", "fstat", "lstat", "poll", "lseek", "mmap", "mprotect", "ioctl"];
    let rules = names.iter().flat_map(|name| (0..each).map(move |i| (name, i))).map(|(name, i)| {
        let action = random.pick(&[Action::Allow, Action::Trap, Action::Log]);
        with(rule(&[name], action), i as u32 % 6, Operator::Equal, random.next(), 0)
    });
    let rules = rules.collect();
    Profile { architectures: X86.to_vec(), ..profile(Action::Errno, rules) }
}

#[test]
fn long_programs_jump_far_and_too_long_ones_are_refused() {
    let large_one = large(26);
    let instructions = program(&large_one).instructions;
    assert!(instructions.len() > 2500, "{} instructions test no far jump", instructions.len());
    for rule in &large_one.rules {
        for (architecture, wide) in [(X86[0], true), (X86[1], false), (X86[2], false)] {
            let Some(nr) = syscall_number(architecture, &rule.names[0]) else { continue };
            let mut args = [7; 6];
            args[rule.args[0].index as usize] = rule.args[0].value;
            let verdict = evaluate(&instructions, architecture.audit().unwrap_or(0), nr, args);
            let allowed = answers(&large_one, &rule.names[0], wide, args);
            assert!(allowed.contains(&(verdict.action, verdict.data)) && allowed.contains(&(rule.action, 0)));
        }
    }
    let error = compile(&large(60), Architecture::X86_64).expect_err("too long");
    assert!(error.to_string().starts_with("/linux/seccomp: the filter needs "), "{error}");
}

/// Runs `check` in a thread under a profile.
fn under(profile: &Profile, check: impl FnOnce() + Send + 'static) {
    let native = Architecture::NATIVE.expect("tests run where kiste does");
    let program = compile(profile, native).expect("the profile compiles");
    let checked = std::thread::spawn(move || {
        nix::sys::prctl::set_no_new_privs().expect("no_new_privs");
        kiste::kernel::raw::seccomp_filter(program.flags, &program.bytes()).expect("the kernel takes the program");
        let status = std::fs::read_to_string("/proc/thread-self/status").expect("the thread's status");
        assert!(status.contains("\nSeccomp:\t2\n"), "{status}");
        check();
    });
    checked.join().expect("what the thread saw is right");
}

#[test]
fn the_kernel_does_what_the_profile_says() {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    let mut rules = vec![
        rule(&["mkdir", "mkdirat"], Action::Errno),
        with(rule(&["socket"], Action::Errno), 0, Operator::Equal, 16, 0),
        with(with(rule(&["socket"], Action::Errno), 0, Operator::Equal, 2, 0), 1, Operator::MaskedEqual, 0xF, 2),
    ];
    rules[0].errno = Some(libc::EXDEV as u32);
    rules[1].errno = Some(libc::EAFNOSUPPORT as u32);
    let mut profile = profile(Action::Allow, rules);
    profile.flags = vec![Flag::SpecAllow, Flag::Tsync];
    under(&profile, || {
        let error = std::fs::create_dir(std::env::temp_dir().join("kiste-never-made")).expect_err("a denied mkdir");
        assert_eq!(error.raw_os_error(), Some(libc::EXDEV));
        let open = |family, kind| socket(family, kind, SockFlag::SOCK_CLOEXEC, None).map(drop);
        assert_eq!(open(AddressFamily::Netlink, SockType::Raw), Err(nix::Error::EAFNOSUPPORT));
        assert_eq!(open(AddressFamily::Inet, SockType::Datagram), Err(nix::Error::EPERM));
        assert_eq!(open(AddressFamily::Inet, SockType::Stream), Ok(()));
        assert_eq!(open(AddressFamily::Unix, SockType::Datagram), Ok(()));
    });
}

#[test]
fn the_kernel_takes_podmans_default_profile() {
    let folder = std::env::temp_dir().join(format!("kiste-seccomp-{}-load", std::process::id()));
    let file = containers::podman(&folder);
    let _ = std::fs::remove_dir_all(&folder);
    let file = match file {
        Ok(file) => file,
        Err(reason) => return skip("the_kernel_takes_podmans_default_profile", &reason),
    };
    let native = Architecture::NATIVE.expect("tests run where kiste does");
    under(&containers::profile(&file, native, &containers::PODMAN_CAPABILITIES), || {
        use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
        let open = |family, kind, protocol| socket(family, kind, SockFlag::SOCK_CLOEXEC, protocol).map(drop);
        assert_eq!(open(AddressFamily::Unix, SockType::Stream, None), Ok(()));
        assert_eq!(open(AddressFamily::Netlink, SockType::Raw, Some(SockProtocol::NetlinkRoute)), Ok(()));
        // The profile's one denial by two arguments: audit messages need CAP_AUDIT_WRITE.
        assert_eq!(
            open(AddressFamily::Netlink, SockType::Raw, Some(SockProtocol::NetlinkAudit)),
            Err(nix::Error::EINVAL)
        );
        assert!(std::fs::read_to_string("/proc/self/comm").is_ok());
    });
}
