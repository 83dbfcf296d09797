//! Docker's default profile in force on real payloads, 64-bit and 32-bit: what it denies is denied, whatever door the call
//! takes.

mod harness;
mod seccomp {
    #[allow(dead_code)]
    pub mod containers;
}

use harness::{Bundle, Value, json, requires};
use kiste::seccomp::{Architecture, Profile, compile};
use std::process::Command;

/// The profile as config.json writes it.
fn to_json(profile: &Profile) -> Value {
    let rules: Vec<Value> = profile
        .rules
        .iter()
        .map(|rule| {
            let args: Vec<Value> = rule
                .args
                .iter()
                .map(|arg| {
                    json!({ "index": arg.index, "value": arg.value, "valueTwo": arg.value_two, "op": arg.op.word() })
                })
                .collect();
            let mut rule_json = json!({ "names": rule.names, "action": rule.action.word(), "args": args });
            if let Some(errno) = rule.errno {
                rule_json["errnoRet"] = errno.into();
            }
            rule_json
        })
        .collect();
    let architectures: Vec<&str> = profile.architectures.iter().map(|architecture| architecture.word()).collect();
    let mut whole = json!({
        "defaultAction": profile.default_action.word(), "architectures": architectures, "syscalls": rules,
    });
    if let Some(errno) = profile.default_errno {
        whole["defaultErrnoRet"] = errno.into();
    }
    whole
}

fn docker(folder: &std::path::Path) -> Option<Profile> {
    let native = Architecture::NATIVE?;
    let file = seccomp::containers::docker(folder).ok()?;
    Some(seccomp::containers::profile(&file, native, &seccomp::containers::DOCKER_CAPABILITIES))
}

/// A bundle under Docker's profile.
macro_rules! confined {
    ($words:expr) => {{
        let bundle = Bundle::with_args($words);
        let profile = docker(&bundle.dir);
        requires!(
            profile.is_some(),
            "Docker's profile can't be fetched: no Debian package golang-github-docker-docker-dev"
        );
        let profile = profile.expect("checked");
        bundle.set("/linux/seccomp", to_json(&profile));
        (bundle, profile)
    }};
}

/// The number of a call on this machine.
fn number(name: &str) -> String {
    let native = Architecture::NATIVE.expect("a machine with a table");
    kiste::seccomp::syscall_number(native, name).expect("a call of this machine").to_string()
}

#[test]
fn dockers_profile_is_in_force_on_a_64_bit_payload() {
    let (bundle, profile) = confined!(&["report"]);
    let program = compile(&profile, Architecture::NATIVE.expect("checked")).expect("a program");
    println!("Docker's default profile: {} instructions", program.instructions.len());
    assert!(program.instructions.len() < 4096);
    let report = bundle.report();
    assert_eq!(report["seccomp"]["mode"], 2, "{}", report["seccomp"]);
    for (call, arguments, answer) in [
        ("unshare", &["268435456"][..], "EPERM"),
        ("keyctl", &["0", "0", "0"][..], "EPERM"),
        ("reboot", &["0", "0", "0"][..], "EPERM"),
        ("bpf", &["0", "0", "0"][..], "EPERM"),
        ("clone3", &["0", "0"][..], "ENOSYS"),
        ("personality", &["64"][..], "EPERM"),
        ("getpid", &[][..], "1"),
    ] {
        let number = number(call);
        let words: Vec<&str> = ["syscall", &number].into_iter().chain(arguments.iter().copied()).collect();
        let bundle = Bundle::with_args(&words);
        bundle.set("/linux/seccomp", to_json(&profile));
        assert_eq!(bundle.run().ok().out.trim(), answer, "{call}");
    }
    // A number no kernel had when the profile was written: the C library must see a missing call, not a forbidden one.
    let bundle = Bundle::with_args(&["syscall", "600"]);
    bundle.set("/linux/seccomp", to_json(&profile));
    assert_eq!(bundle.run().ok().out.trim(), "ENOSYS");
}

#[test]
fn dockers_profile_is_in_force_on_a_32_bit_payload() {
    requires!(cfg!(target_arch = "x86_64"), "32-bit payloads are tried on x86_64");
    let (bundle, _) = confined!(&["report"]);
    let payload = bundle.inside("/calls32");
    let made = Command::new("gcc")
        .args(["-m32", "-nostdlib", "-static", "-ffreestanding", "-fno-stack-protector", "-fno-pic", "-O1", "-o"])
        .arg(&payload)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/seccomp/calls32.c"))
        .output();
    requires!(made.is_ok_and(|made| made.status.success()), "gcc can't make 32-bit programs here");
    let runs = Command::new(&payload).output().is_ok_and(|output| output.status.success());
    requires!(runs, "this kernel runs no 32-bit programs");
    bundle.set("/process/args", json!(["/calls32"]));
    let output = bundle.run().ok().out;
    let answers: Vec<(&str, &str)> = output.lines().filter_map(|line| line.split_once(' ')).collect();
    // getppid runs; unshare, reboot, keyctl: EPERM; 600: ENOSYS; clone3: ENOSYS. ptrace(PTRACE_TRACEME) is allowed.
    let expected =
        [("64", "0"), ("310", "-1"), ("88", "-1"), ("288", "-1"), ("26", "0"), ("600", "-38"), ("435", "-38")];
    assert_eq!(answers, expected, "{output}");
}
