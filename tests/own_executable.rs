//! INV-06 (CVE-2019-5736): no process in the container ever gets at the runtime's own file, by any of the ways a payload can
//! name it. The runtime tried is a copy that belongs to the caller, so that whoever runs it could write to it.

mod harness;

use harness::{Bundle, Output, copy_program, host, json, only_kiste, run_command, runtime_path};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;

/// A container and the copy of the runtime that makes it.
struct Tried {
    bundle: Bundle,
    runtime: PathBuf,
    before: (u64, i64, i64, Vec<u8>),
}

impl Tried {
    fn with_args(words: &[&str]) -> Self {
        let bundle = Bundle::with_args(words);
        let runtime = bundle.dir.join("own-kiste");
        copy_program(&runtime_path(), &runtime);
        let before = fingerprint(&runtime);
        Tried { bundle, runtime, before }
    }

    fn call(&self, words: &[&str]) -> Output {
        let mut command = Command::new(&self.runtime);
        command.arg("--root").arg(&self.bundle.runtime.root).args(words).current_dir(&self.bundle.dir);
        run_command(&mut command, &self.bundle.dir, 30.0)
    }

    /// The payload was no runtime, and the file is as it was.
    fn assert_untouched(&self, output: &Output) {
        assert_ne!(output.code, 0, "{}", output.out);
        assert!(!output.out.contains("kiste"), "the runtime ran inside: {}", output.out);
        assert!(fingerprint(&self.runtime) == self.before, "the runtime's file has changed");
    }
}

/// What must not change: inode, change time, contents.
fn fingerprint(path: &std::path::Path) -> (u64, i64, i64, Vec<u8>) {
    let data = fs::metadata(path).expect("the runtime");
    (data.ino(), data.ctime(), data.ctime_nsec(), fs::read(path).expect("the runtime"))
}

#[test]
fn a_payload_that_is_the_exe_link_is_not_the_runtime() {
    only_kiste!();
    let tried = Tried::with_args(&["report"]);
    tried.bundle.set("/process/args", json!(["/proc/self/exe", "--version"]));
    let output = tried.call(&["run", "--bundle", "bundle", &tried.bundle.id]);
    tried.assert_untouched(&output);
}

#[test]
fn an_interpreter_line_that_names_the_exe_link_is_not_the_runtime() {
    only_kiste!();
    let tried = Tried::with_args(&["report"]);
    let script = tried.bundle.inside("/script");
    fs::write(&script, "#!/proc/self/exe --version\n").expect("a script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("chmod");
    tried.bundle.set("/process/args", json!(["/script"]));
    let output = tried.call(&["run", "--bundle", "bundle", &tried.bundle.id]);
    tried.assert_untouched(&output);
}

#[test]
fn exec_of_the_exe_link_is_not_the_runtime() {
    only_kiste!();
    let tried = Tried::with_args(&["sleep"]);
    tried.bundle.launch();
    let output = tried.call(&["exec", &tried.bundle.id, "/proc/self/exe", "--version"]);
    tried.assert_untouched(&output);
}

#[test]
fn a_created_container_does_not_link_to_the_runtime() {
    only_kiste!();
    harness::requires!(host::is_root(), "only root can look at the link of a process that is not dumpable");
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.create().ok();
    let link = fs::read_link(format!("/proc/{}/exe", bundle.pid())).expect("the link");
    assert!(link.to_string_lossy().starts_with("/memfd:kiste"), "{}", link.display());
    let maps = fs::read_to_string(format!("/proc/{}/maps", bundle.pid())).expect("the maps");
    let name = runtime_path().to_string_lossy().into_owned();
    assert!(!maps.contains(&name), "the runtime's file is still mapped:\n{maps}");
}

#[test]
fn a_running_child_lets_go_of_the_file_before_foreign_code_sees_it() {
    only_kiste!();
    harness::requires!(host::is_root(), "only root can look at the link of a process that is not dumpable");
    let tried = Tried::with_args(&["exit", "0"]);
    let seen = tried.bundle.dir.join("link");
    // Runs while the container's process waits, long before its execve.
    let script = format!(
        "pid=$(tr , '\\n' | sed -n 's/^.*\"pid\": *\\([0-9]*\\).*$/\\1/p'); readlink /proc/$pid/exe >{}",
        seen.display()
    );
    tried.bundle.set("/hooks/createRuntime", json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]));
    let output = tried.call(&["run", "--bundle", "bundle", &tried.bundle.id]);
    output.ok();
    let link = fs::read_to_string(seen).expect("what the hook saw");
    assert!(link.starts_with("/memfd:kiste"), "{link}");
}

#[test]
fn a_runtime_without_a_path_is_kept_from_the_payload_too() {
    only_kiste!();
    let tried = Tried::with_args(&["report"]);
    tried.bundle.set("/process/args", json!(["/proc/self/exe", "--version"]));
    // By the time it runs, its file is removed and its path leads to another one.
    let script = format!(
        "exec 9<{0} && mv {0} {0}.gone && rm {0}.gone && echo other >{0} && exec /proc/self/fd/9 --root {1} run --bundle bundle {2}",
        tried.runtime.display(),
        tried.bundle.runtime.root.display(),
        tried.bundle.id
    );
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &script]).current_dir(&tried.bundle.dir);
    let output = run_command(&mut command, &tried.bundle.dir, 30.0);
    assert_ne!(output.code, 0, "{}", output.out);
    assert!(!output.out.contains("kiste"), "the runtime ran inside: {}", output.out);
    assert!(output.err.contains("/proc/self/exe"), "{}", output.err);
    assert_eq!(fs::read_to_string(&tried.runtime).expect("the other file"), "other\n");
}
