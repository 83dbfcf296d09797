//! Labels of security modules (INV-12): in force as asked, or the payload never starts.

mod harness;

use harness::{Bundle, Output, host, json, only_kiste, requires};
use std::fs;
use std::path::Path;
use std::process::Command;

const LABELS: [(&str, &str, bool); 2] = [
    ("/process/apparmorProfile", "/sys/kernel/security/apparmor", true),
    ("/process/selinuxLabel", "/sys/fs/selinux/enforce", false),
];

fn apparmor() -> bool {
    Path::new("/sys/kernel/security/apparmor").exists()
}

/// Both modules are never in force at once, so one label at least is refused everywhere.
#[test]
fn a_label_without_its_module_is_an_error_and_nothing_is_made() {
    only_kiste!();
    for (pointer, module, is_profile) in LABELS {
        if Path::new(module).exists() {
            continue;
        }
        let bundle = Bundle::with_args(&["echo", "the payload"]);
        bundle.set(pointer, json!("some-label"));
        for output in [bundle.create(), bundle.run()] {
            let output = output.fails_with(&[pointer, "is not enabled"]).code(1);
            assert!(output.out.is_empty(), "{}", output.out);
            bundle.assert_nothing_left();
        }

        let bundle = Bundle::with_args(&["sleep"]);
        bundle.launch();
        let option = if is_profile { "--apparmor" } else { "--process-label" };
        let output = bundle.exec_with(&[option, "some-label"], &["echo", "the payload"]);
        let output = output.fails_with(&[option, "is not enabled"]).code(255);
        assert!(output.out.is_empty(), "{}", output.out);
        let process = bundle.dir.join("process.json");
        let member = pointer.rsplit('/').next().expect("a member");
        let text = json!({ "args": ["/init", "echo", "the payload"], "cwd": "/", member: "some-label" });
        fs::write(&process, text.to_string()).expect("a process file");
        let output = bundle.call(&["exec", "--process", process.to_str().expect("UTF-8"), &bundle.id]);
        output.fails_with(&[member, "is not enabled"]).code(255);
    }
}

/// The runtime, told in a mount namespace of its own that AppArmor is in force, which the kernel's attr files deny.
fn with_pretended_apparmor(bundle: &Bundle, words: &[&str]) -> Output {
    let script = "mount -t tmpfs none /sys/module && mkdir -p /sys/module/apparmor/parameters && \
                  echo Y >/sys/module/apparmor/parameters/enabled && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]).arg(harness::runtime_path());
    command.arg("--root").arg(&bundle.runtime.root).args(words).current_dir(&bundle.dir);
    harness::run_command(&mut command, &bundle.dir, 30.0)
}

/// The module is there for the probe and not for the write: no label, no payload.
#[test]
fn a_label_that_can_not_be_set_ends_the_start() {
    only_kiste!();
    requires!(host::is_root(), "needs root to mount");
    requires!(!apparmor(), "AppArmor is enabled here");
    for user_namespace in [false, true] {
        let bundle = Bundle::with_args(&["echo", "the payload"]);
        bundle.set("/process/apparmorProfile", json!("some-label"));
        if user_namespace {
            // Below the pretence a user namespace gets no sysfs.
            bundle.unmount("/sys").push("/linux/namespaces", json!({ "type": "user" }));
            let map = json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]);
            bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
        }
        let output = with_pretended_apparmor(&bundle, &["run", "--bundle", "bundle", &bundle.id]);
        let output = output.fails_with(&["/process/apparmorProfile: ", "attr/apparmor/exec"]).code(1);
        assert!(output.out.is_empty(), "{}", output.out);
        bundle.assert_nothing_left();
    }

    let bundle = Bundle::with_args(&["sleep"]);
    bundle.launch();
    let words = ["exec", "--apparmor", "some-label", &bundle.id, "/init", "echo", "the payload"];
    let output = with_pretended_apparmor(&bundle, &words).fails_with(&["attr/apparmor/exec"]).code(255);
    assert!(output.out.is_empty(), "{}", output.out);
}

/// CVE-2019-16884: files where a label would be written, in the image and in a tmpfs over /proc: they stay empty.
#[test]
fn a_false_procfs_of_the_image_gets_no_label() {
    only_kiste!();
    requires!(host::is_root(), "needs root to mount");
    requires!(!apparmor(), "AppArmor is enabled here");
    let bundle = Bundle::with_args(&["echo", "the payload"]);
    bundle.set("/process/apparmorProfile", json!("some-label"));
    bundle.unmount("/proc").set("/linux/maskedPaths", json!([])).set("/linux/readonlyPaths", json!([]));
    let mut traps = Vec::new();
    for process in ["self", "thread-self", "1", "self/task/1"] {
        for folder in ["attr/apparmor", "attr"] {
            let folder = bundle.inside(&format!("proc/{process}/{folder}"));
            fs::create_dir_all(&folder).expect("a folder");
            traps.push(folder.join("exec"));
            fs::write(folder.join("exec"), "").expect("a trap");
        }
    }
    let output = with_pretended_apparmor(&bundle, &["run", "--bundle", "bundle", &bundle.id]);
    let output = output.fails_with(&["/process/apparmorProfile: ", "attr/apparmor/exec"]).code(1);
    assert!(output.out.is_empty(), "{}", output.out);
    for trap in traps {
        assert_eq!(fs::read_to_string(&trap).expect("the trap"), "", "{}", trap.display());
    }
    bundle.assert_nothing_left();
}

/// A profile of the test's own, loaded until it is dropped: everything but reading /secret.
struct Profile {
    name: String,
    file: std::path::PathBuf,
}

impl Profile {
    fn load(bundle: &Bundle, name: &str) -> Profile {
        let name = format!("{}-{name}", bundle.id);
        let file = bundle.dir.join(&name);
        let rules = "file,\n capability,\n network,\n mount,\n signal,\n ptrace,\n unix,\n deny /secret r,\n";
        fs::write(&file, format!("profile {name} flags=(attach_disconnected) {{\n {rules}}}\n")).expect("a profile");
        let profile = Profile { name, file };
        let output =
            Command::new("apparmor_parser").args(["-r", "-K"]).arg(&profile.file).output().expect("apparmor_parser");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        profile
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        let _ = Command::new("apparmor_parser").args(["-R", "-K"]).arg(&self.file).output();
    }
}

#[test]
fn an_apparmor_profile_is_in_force() {
    requires!(apparmor(), "AppArmor is not enabled here");
    requires!(host::is_root(), "needs root to load profiles");
    let bundle = Bundle::new();
    let profile = Profile::load(&bundle, "first");
    let other = Profile::load(&bundle, "other");
    fs::write(bundle.inside("secret"), "a secret").expect("a secret");
    // The status is that of the refused open.
    let look = ["seq", "cat", "/proc/self/attr/apparmor/current", "--", "open", "/secret", "--", "open", "/init"];
    let confined = |name: &str| format!("{name} (enforce)\nEACCES\nok\n");
    bundle.set("/process/apparmorProfile", json!(profile.name));
    for no_new_privileges in [false, true] {
        bundle.set("/process/noNewPrivileges", json!(no_new_privileges)).args(&look);
        assert_eq!(bundle.run().code(1).out, confined(&profile.name), "noNewPrivileges {no_new_privileges}");

        bundle.args(&["sleep"]);
        bundle.launch();
        let label = fs::read_to_string(format!("/proc/{}/attr/apparmor/current", bundle.pid())).expect("the label");
        assert_eq!(label.trim(), format!("{} (enforce)", profile.name), "seen from the host");
        assert_eq!(bundle.exec(&look).code(1).out, confined(&profile.name), "exec has the first process's profile");
        assert_eq!(bundle.exec_with(&["--apparmor", &other.name], &look).code(1).out, confined(&other.name));
        bundle.call(&["delete", "--force", &bundle.id]).ok();
    }
}

#[test]
fn an_unknown_apparmor_profile_ends_the_start() {
    requires!(apparmor(), "AppArmor is not enabled here");
    requires!(host::is_root(), "needs root as the profiles' owner");
    let bundle = Bundle::with_args(&["echo", "the payload"]);
    bundle.set("/process/apparmorProfile", json!("kiste-no-such-profile"));
    let output = bundle.run().fails_with(&["apparmor"]);
    assert!(output.out.is_empty(), "{}", output.out);
    bundle.assert_nothing_left();
    bundle.remove("/process/apparmorProfile").args(&["sleep"]);
    bundle.launch();
    let output = bundle.exec_with(&["--apparmor", "kiste-no-such-profile"], &["echo", "the payload"]);
    let output = output.fails_with(&["apparmor"]);
    assert!(output.out.is_empty(), "{}", output.out);
}
