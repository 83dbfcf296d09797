//! Tests that can't run here say why; tests/run counts them and knows which ones to expect.

use super::run_command;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// The path of the test function it is used in: `lifecycle::a_container_is_created`.
macro_rules! test_name {
    () => {{
        fn here() {}
        let name = std::any::type_name_of_val(&here);
        name.strip_suffix("::here").unwrap_or(name).replace("::{{closure}}", "")
    }};
}
pub(crate) use test_name;

/// Leaves the test, with a reason, unless a condition holds.
macro_rules! requires {
    ($condition:expr, $($reason:tt)+) => {
        if !$condition {
            return $crate::harness::skip(&$crate::harness::test_name!(), &format!($($reason)+));
        }
    };
}
pub(crate) use requires;

/// Leaves the test when another runtime is tried: what follows is more than the specification asks.
macro_rules! only_kiste {
    () => {
        $crate::harness::requires!($crate::harness::runtime_is_kiste(), "only kiste promises this")
    };
}
pub(crate) use only_kiste;

/// Runs the rest of the test as a plain user: as root, the test is run once more by the user `kiste-test`.
macro_rules! as_user {
    () => {
        if $crate::harness::host::is_root() {
            return $crate::harness::as_plain_user(&$crate::harness::test_name!());
        }
    };
}
pub(crate) use as_user;

/// Tells that a test can't run here.
pub fn skip(test: &str, reason: &str) {
    let line = format!("SKIP {test}: {reason}\n");
    eprint!("{line}");
    if let Some(file) = std::env::var_os("KISTE_SKIP_FILE") {
        let mut options = std::fs::OpenOptions::new();
        // One write of one line: tests run in parallel.
        let told = options.append(true).create(true).open(file).and_then(|mut f| f.write_all(line.as_bytes()));
        told.expect("KISTE_SKIP_FILE is writable");
    }
}

/// Runs one test of this binary as the user `kiste-test`, from copies that user can read.
pub fn as_plain_user(test: &str) {
    let Ok(Some(user)) = nix::unistd::User::from_name("kiste-test") else {
        return skip(test, "no user kiste-test (tests/run makes it)");
    };
    let dir = std::env::temp_dir().join(format!("kiste-as-user-{}-{}", std::process::id(), test.replace("::", "-")));
    std::fs::create_dir(&dir).expect("a folder for the copies");
    let _remove = Remove(dir.clone());
    let me = std::env::current_exe().expect("own executable");
    for (from, name) in [(me, "test"), (super::runtime_path(), "runtime"), (super::reporter_path(), "reporter")] {
        let name = if name == "runtime" {
            from.file_name().expect("a file").to_string_lossy().into_owned()
        } else {
            name.into()
        };
        super::copy_program(&from, &dir.join(&name));
        std::fs::set_permissions(dir.join(name), PermissionsExt::from_mode(0o755)).expect("chmod");
    }
    std::fs::create_dir(dir.join("tmp")).expect("folder");
    nix::unistd::chown(&dir.join("tmp"), Some(user.uid), Some(user.gid)).expect("chown");
    let ids = [
        format!("--reuid={}", user.uid),
        format!("--regid={}", user.gid),
        "--init-groups".into(),
        "--reset-env".into(),
    ];
    let mut command = Command::new("setpriv");
    let (_, function) = test.split_once("::").expect("a test's path");
    command.args(ids).arg("env").arg(format!("KISTE_TEST_DIR={}", dir.join("tmp").display()));
    let runtime = dir.join(super::runtime_path().file_name().expect("a file"));
    command
        .arg(format!("KISTE_RUNTIME={}", runtime.display()))
        .arg(format!("KISTE_REPORTER={}", dir.join("reporter").display()));
    command.arg(format!("KISTE_TEST_SLOW={}", super::slow())).arg(dir.join("test")).args([
        "--exact",
        function,
        "--nocapture",
    ]);
    let output = run_command(command.current_dir(&dir), &dir, 120.0);
    assert_eq!(output.code, 0, "as kiste-test:\n{}{}", output.out, output.err);
    assert!(output.out.contains("1 passed"), "no test of that name: {function}\n{}", output.out);
    if let Some(reason) = output.err.lines().find_map(|l| l.strip_prefix("SKIP ")?.split_once(": ").map(|(_, r)| r)) {
        skip(test, reason);
    }
}

struct Remove(std::path::PathBuf);

impl Drop for Remove {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
