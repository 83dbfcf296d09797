//! Input that is too large, never ends or never answers costs an error, not the host (INV-20, K10).

mod harness;

use harness::{Bundle, json, only_kiste};
use std::fs;
use std::io::Write as _;
use std::process::Command;
use std::time::Instant;

/// Sixteen MiB of passwd, a FIFO, a device: HOME is not found there, and the container runs.
#[test]
fn a_strange_passwd_is_left_alone() {
    only_kiste!();
    let bundle = Bundle::new();
    fs::create_dir(bundle.inside("etc")).expect("etc");
    let path = bundle.inside("etc/passwd");
    let mut file = fs::File::create(&path).expect("passwd");
    for _ in 0..16 {
        file.write_all(&vec![b'x'; 1 << 20]).expect("write");
    }
    file.write_all(b"\nroot:x:0:0::/found:/bin/sh\n").expect("write");
    assert_eq!(bundle.report()["env"]["HOME"], "/");
    fs::remove_file(&path).expect("remove");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o666)).expect("a FIFO");
    assert_eq!(bundle.report()["env"]["HOME"], "/");
    fs::remove_file(&path).expect("remove");
    // Through a descriptor of the runtime's own: its configuration could be read as passwd.
    for number in 3..12 {
        std::os::unix::fs::symlink(format!("/proc/self/fd/{number}"), &path).expect("a link");
        assert_eq!(bundle.report()["env"]["HOME"], "/");
        fs::remove_file(&path).expect("remove");
    }
}

#[test]
fn a_configuration_longer_than_sixteen_mib_is_refused() {
    only_kiste!();
    let bundle = Bundle::new();
    bundle.set("/annotations", json!({ "a": "x".repeat(17 << 20) }));
    bundle.run().fails_with(&["longer than 16 MiB"]);
}

/// More strings than fit into 16 bits must arrive as they are: a wrapped count would make other strings of the
/// configuration the payload's arguments (CVE-2021-43784's class).
#[test]
fn seventy_thousand_entries_are_themselves() {
    only_kiste!();
    let bundle = Bundle::with_args(&["seq", "echo", "the", "arguments", "--", "sleep", "0"]);
    let entries: Vec<String> = (0..70_000).map(|n| format!("N{n}={n}")).collect();
    bundle.set("/process/env", json!(entries));
    let start = Instant::now();
    assert_eq!(bundle.run().ok().out, "the arguments\n");
    let limit = 20.0 * harness::slow();
    assert!(start.elapsed().as_secs_f64() < limit, "{:?} for a long environment", start.elapsed());
    let report = Bundle::new();
    report.set("/process/env", json!(entries));
    let env = report.report()["env"].clone();
    assert_eq!((&env["N0"], &env["N65536"], &env["N69999"]), (&json!("0"), &json!("65536"), &json!("69999")));
}

/// Thousands of mounts with options: an error or the right result.
#[test]
fn mounts_without_end_are_refused() {
    only_kiste!();
    let bundle = Bundle::new();
    let mount =
        json!({ "destination": "/tmp", "type": "tmpfs", "source": "t", "options": ["ro", "size=4k", "mode=755"] });
    bundle.set("/mounts", json!(vec![mount; 9_000]));
    bundle.run().fails_with(&["too many mounts"]);
    bundle.assert_nothing_left();
}

/// JSON as deep as it is long.
#[test]
fn depth_is_bounded() {
    only_kiste!();
    let bundle = Bundle::new();
    fs::write(bundle.config_path(), "[".repeat(1 << 20)).expect("config.json");
    let output = bundle.run();
    assert!(output.code != 0 && output.code < 128 && output.err.starts_with("kiste"), "{} {}", output.code, output.err);
}

/// A first process that is stopped never answers: `state` and `delete --force` do not wait for it.
#[test]
fn a_first_process_that_never_answers_can_be_deleted() {
    only_kiste!();
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.create().ok();
    let pid = bundle.pid().to_string();
    harness::run_command(Command::new("kill").args(["-STOP", &pid]), &bundle.dir, 5.0).ok();
    assert_eq!(bundle.state()["status"], "created");
    bundle.call(&["delete", "--force", &bundle.id]).ok();
    bundle.assert_nothing_left();
}
