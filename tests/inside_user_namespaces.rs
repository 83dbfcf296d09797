//! kiste as root of a user namespace that somebody else made: `unshare -r`, with a mount namespace and without, and with a
//! range of ids as `podman unshare` has it.

mod harness;

use harness::{Bundle, Output, as_user, json, only_kiste, requires};
use std::process::Command;

/// kiste below `unshare` with these options.
fn below(bundle: &Bundle, unshare: &[&str], words: &[&str]) -> Output {
    let plain = bundle.runtime.command(words);
    let mut command = Command::new("unshare");
    command.args(unshare).arg("--").arg(plain.get_program()).args(plain.get_args()).current_dir(&bundle.dir);
    harness::run_command(command.stdin(std::process::Stdio::null()), &bundle.dir, 30.0)
}

/// What `spec` writes here, with another payload.
fn spec(bundle: &Bundle, words: &[&str]) {
    std::fs::remove_file(bundle.config_path()).expect("remove");
    bundle.call(&["spec", "--bundle", "bundle"]).ok();
    let text = std::fs::read(bundle.config_path()).expect("config.json");
    bundle.edit(|config| *config = serde_json::from_slice(&text).expect("JSON"));
    bundle.set("/process/terminal", json!(false)).args(words);
}

/// The default container and what `spec` writes, started, entered and deleted.
fn works(unshare: &[&str]) {
    let bundle = Bundle::new();
    let output = below(&bundle, unshare, &["run", "--", "sh", "-c", "id -u; cat /proc/self/setgroups"]).ok();
    assert_eq!((output.lines()[0], output.err.as_str()), ("0", ""), "{unshare:?}");

    spec(&bundle, &["report"]);
    let report = below(&bundle, unshare, &["run", "--bundle", "bundle", &bundle.id]).ok().json();
    assert_eq!(report["ids"]["uid"], json!([0, 0, 0]), "{unshare:?}");
    // The range is the only one of these namespaces in which setgroups(2) works.
    assert_eq!(report["setgroups"], if unshare.contains(&"--map-auto") { "allow" } else { "deny" });
    bundle.assert_nothing_left();

    // All in one user namespace: another can't enter it.
    spec(&bundle, &["sleep"]);
    let kiste = format!("\"{}\" --root \"{}\"", harness::runtime_path().display(), bundle.runtime.root.display());
    let id = &bundle.id;
    let script = format!(
        "set -e; {kiste} run --detach --bundle bundle {id}; {kiste} exec {id} /init echo entered; {kiste} delete --force {id}"
    );
    let mut command = Command::new("unshare");
    command.args(unshare).args(["--", "sh", "-c", &script]).current_dir(&bundle.dir);
    let output = harness::run_command(&mut command, &bundle.dir, 60.0).ok();
    assert_eq!(output.out, "entered\n", "{unshare:?} {}", output.err);
    bundle.assert_nothing_left();
}

/// Groups that are asked for can't be had where they are denied, which is an error.
fn refuses_groups(unshare: &[&str]) {
    let bundle = Bundle::new();
    spec(&bundle, &["touch", "/tmp/ran"]);
    bundle.set("/root/readonly", json!(false)).set("/process/user/additionalGids", json!([0]));
    let output = below(&bundle, unshare, &["run", "--bundle", "bundle", &bundle.id]);
    output.fails_with(&["/process/user/additionalGids", "setgroups(2) is denied"]);
    assert!(!bundle.inside("tmp/ran").exists());
    bundle.assert_nothing_left();
}

#[test]
fn root_in_one_of_a_single_id() {
    only_kiste!();
    requires!(harness::host::is_root(), "a plain user has a test of its own");
    for unshare in [&["-r"][..], &["-rm"], &["-rmn"], &["-rmpf", "--mount-proc"]] {
        works(unshare);
        refuses_groups(unshare);
    }
}

#[test]
fn a_plain_user_in_one_of_a_single_id() {
    only_kiste!();
    as_user!();
    for unshare in [&["-r"][..], &["-rm"], &["-rmn"]] {
        works(unshare);
        refuses_groups(unshare);
    }
}

#[test]
fn a_plain_user_in_one_with_a_range() {
    only_kiste!();
    as_user!();
    requires!(harness::host::subordinate_ids().is_some(), "a plain user without subordinate ids");
    for unshare in [&["--map-root-user", "--map-auto"][..], &["--map-root-user", "--map-auto", "-m"]] {
        works(unshare);
    }
}
