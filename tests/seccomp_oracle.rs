//! kiste's seccomp programs beside libseccomp's: the same answer to every (architecture, number, arguments), but for the
//! differences `src/seccomp/mod.rs` lists.

mod seccomp;

use kiste::seccomp::{
    Action, Architecture, Instruction, Profile, Verdict, compile, evaluate, syscall_name, syscall_number,
};
use seccomp::containers;
use seccomp::oracle::{Filter, Oracle, newest};
use seccomp::random::Random;
use seccomp::skip;

const X86_64: u32 = 0xC000_003E;
const X86: [Architecture; 3] = [Architecture::X86_64, Architecture::X86, Architecture::X32];
const ARM: [Architecture; 2] = [Architecture::Aarch64, Architecture::Arm];

/// What a profile should do on some ABIs.
struct Wanted<'a> {
    profile: &'a Profile,
    listed: &'a [Architecture],
    newest: Vec<Option<u32>>,
    filter: &'a Filter,
}

impl<'a> Wanted<'a> {
    fn new(profile: &'a Profile, listed: &'a [Architecture], filter: &'a Filter) -> Self {
        Wanted { profile, listed, newest: listed.iter().map(|abi| newest(profile, *abi)).collect(), filter }
    }

    /// What libseccomp's filter and runc's ENOSYS rule say together, foreign calls killing the process.
    fn answer(&self, audit: u32, nr: u32, args: [u64; 6]) -> (Action, u16) {
        let x32 = audit == X86_64 && nr & 0x4000_0000 != 0;
        let skipped = nr == u32::MAX && audit == X86_64 && !self.listed.contains(&Architecture::X32);
        let belongs =
            |abi: &Architecture| abi.audit() == Some(audit) && (skipped || (*abi == Architecture::X32) == x32);
        let Some(place) = self.listed.iter().position(belongs) else { return (Action::KillProcess, 0) };
        let sequence = match self.listed[place] {
            Architecture::X32 => !(512..=547).contains(&(nr & 0x3FFF_FFFF)),
            Architecture::Arm => !(0x000F_0000..0x000F_0018).contains(&nr),
            _ => true,
        };
        let allows = matches!(self.profile.default_action, Action::Allow | Action::Log | Action::Trace);
        if !allows && sequence && self.newest[place].is_some_and(|newest| nr > newest) {
            return (Action::Errno, libc::ENOSYS as u16);
        }
        told(evaluate(&self.filter.program, audit, nr, args))
    }

    /// Compares kiste's answer to one call.
    fn compare(&self, ours: &[Instruction], audit: u32, nr: u32, args: [u64; 6]) {
        let (mine, wanted) = (told(evaluate(ours, audit, nr, args)), self.answer(audit, nr, args));
        if mine != wanted {
            let default = (self.profile.default_action, self.profile.default_errno);
            let rules = rules_of(self.profile, audit, nr);
            panic!(
                "{audit:#x} {nr:#x} {args:x?}: {mine:?}, libseccomp {wanted:?}; default {default:?}, rules:\n{rules}"
            );
        }
    }
}

/// The part of a verdict a program can notice.
fn told(verdict: Verdict) -> (Action, u16) {
    (verdict.action, if matches!(verdict.action, Action::Errno | Action::Trace) { verdict.data } else { 0 })
}

/// The rules that name a call, for a message.
fn rules_of(profile: &Profile, audit: u32, nr: u32) -> String {
    let architectures = Architecture::ALL.iter().filter(|(a, _)| a.audit() == Some(audit));
    let names: Vec<_> = architectures.filter_map(|(a, _)| syscall_name(*a, nr)).collect();
    let rules = profile.rules.iter().filter(|rule| rule.names.iter().any(|name| names.contains(&name.as_str())));
    rules.map(|rule| format!("{:?} {:?} {:x?}\n", rule.action, rule.errno, rule.args)).collect()
}

/// Every number once, then random ones.
fn compare_all(wanted: &Wanted, ours: &[Instruction], random: &mut Random) {
    let mut audits: Vec<u32> = wanted.listed.iter().filter_map(|a| a.audit()).collect();
    audits.extend([0xC000_00F3, 0, 0x8000_0016]);
    for audit in audits {
        let ranges = [0..700, 0x4000_0000..0x4000_0300, 0x000E_FFF0..0x000F_0020, u32::MAX - 2..u32::MAX];
        for nr in ranges.into_iter().flatten().chain([u32::MAX, 0x3FFF_FFFF, 0x8000_0000]) {
            wanted.compare(ours, audit, nr, random.arguments());
        }
        for _ in 0..20_000 {
            let nr = random.below(480) as u32 | random.pick(&[0, 0, 0x4000_0000]);
            wanted.compare(ours, audit, nr, random.arguments());
        }
    }
}

fn default_profile(test: &str, name: &str, native: Architecture, listed: &[Architecture]) {
    let folder = std::env::temp_dir().join(format!("kiste-seccomp-{}-{name}-{native:?}", std::process::id()));
    let (file, capabilities) = match name {
        "docker" => (containers::docker(&folder), &containers::DOCKER_CAPABILITIES[..]),
        _ => (containers::podman(&folder), &containers::PODMAN_CAPABILITIES[..]),
    };
    let _ = std::fs::remove_dir_all(&folder);
    let oracle = Oracle::compile(&format!("{name}-{native:?}"));
    let (file, oracle) = match (file, oracle) {
        (Ok(file), Ok(oracle)) => (file, oracle),
        (Err(reason), _) | (_, Err(reason)) => return skip(test, &reason),
    };
    for capabilities in [capabilities, &["CAP_SYS_ADMIN", "CAP_AUDIT_WRITE"], &[]] {
        let profile = containers::profile(&file, native, capabilities);
        assert_eq!(&profile.architectures, listed);
        let program = compile(&profile, native).expect("a shipped profile compiles");
        assert!(program.instructions.len() < 4096);
        let filter = &oracle.filters(&[(&profile, native)])[0];
        assert!(!filter.refused && filter.is_sound());
        println!(
            "{name} on {native:?}: {} instructions, libseccomp {}; warnings: {:?}",
            program.instructions.len(),
            filter.program.len(),
            program.warnings
        );
        compare_all(&Wanted::new(&profile, listed, filter), &program.instructions, &mut Random(0x6B69_7374));
    }
}

#[test]
fn dockers_default_profile_on_x86() {
    default_profile("dockers_default_profile_on_x86", "docker", Architecture::X86_64, &X86);
}

#[test]
fn podmans_default_profile_on_x86() {
    default_profile("podmans_default_profile_on_x86", "podman", Architecture::X86_64, &X86);
}

#[test]
fn dockers_default_profile_on_arm() {
    default_profile("dockers_default_profile_on_arm", "docker", Architecture::Aarch64, &ARM);
}

#[test]
fn podmans_default_profile_on_arm() {
    default_profile("podmans_default_profile_on_arm", "podman", Architecture::Aarch64, &ARM);
}

/// Random profiles on some ABIs beside libseccomp; returns how many it compiled rightly.
fn random_profiles(oracle: &Oracle, native: Architecture, listed: &[Architecture], seed: u64) -> usize {
    let actions = [Action::Allow, Action::Errno, Action::KillThread, Action::Trace, Action::Trap, Action::Log];
    let mut random = Random(seed);
    let profiles: Vec<_> = (0..400).map(|_| random.plain_profile(&actions, listed)).collect();
    let asked: Vec<_> = profiles.iter().map(|profile| (profile, native)).collect();
    let mut compared = 0;
    for (profile, filter) in profiles.iter().zip(oracle.filters(&asked)) {
        let ours = compile(profile, native).expect("a random profile compiles").instructions;
        if filter.refused || !filter.is_sound() {
            continue;
        }
        compared += 1;
        let numbers = numbers(profile, listed);
        let wanted = Wanted::new(profile, listed, &filter);
        for _ in 0..400 {
            let (audit, nr) = random.pick(&numbers);
            wanted.compare(&ours, audit, nr, random.arguments());
        }
    }
    compared
}

/// The calls a profile is about, those they can hide behind on i386, and one nobody knows.
fn numbers(profile: &Profile, listed: &[Architecture]) -> Vec<(u32, u32)> {
    let names = profile.rules.iter().flat_map(|rule| &rule.names);
    let numbers = names.flat_map(|name| listed.iter().map(move |abi| (abi.audit(), syscall_number(*abi, name))));
    let numbers = numbers.filter_map(|(audit, number)| Some((audit?, number?)));
    numbers.chain([(0x4000_0003, 102), (0x4000_0003, 117), (listed[0].audit().unwrap_or(0), 9999)]).collect()
}

#[test]
fn random_profiles_answer_as_libseccomps() {
    let oracle = match Oracle::compile("random") {
        Ok(oracle) => oracle,
        Err(reason) => return skip("random_profiles_answer_as_libseccomps", &reason),
    };
    let (x86_64, riscv64) = (Architecture::X86_64, Architecture::Riscv64);
    for (native, listed) in
        [(x86_64, &X86[..]), (x86_64, &X86[..2]), (x86_64, &X86[..1]), (ARM[0], &ARM), (riscv64, &[riscv64])]
    {
        let compared = random_profiles(&oracle, native, listed, 7 + listed.len() as u64);
        println!("{listed:?}: {compared} of 400 profiles compared");
        assert!(compared > 100, "libseccomp refused too many on {listed:?}: {compared} left");
    }
}

/// Every name of kiste's tables that libseccomp knows has the same number there.
#[test]
fn the_numbers_are_libseccomps() {
    let oracle = match Oracle::compile("numbers") {
        Ok(oracle) => oracle,
        Err(reason) => return skip("the_numbers_are_libseccomps", &reason),
    };
    for architecture in X86.into_iter().chain(ARM).chain([Architecture::Riscv64]) {
        let numbers = oracle.numbers(architecture);
        assert!(numbers.len() > 300, "{architecture:?}: {}", numbers.len());
        for (name, number) in numbers {
            assert_eq!(syscall_number(architecture, &name), Some(number), "{name} on {architecture:?}");
        }
    }
}
