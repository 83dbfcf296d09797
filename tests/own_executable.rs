//! INV-06 (CVE-2019-5736): no process in the container ever gets at the runtime's own file, by any of the ways a payload can
//! name it.

mod harness;

use harness::{Bundle, host, only_kiste, runtime_path};
use std::fs;
use std::os::unix::fs::MetadataExt;

/// What must not change: inode, change time, size, contents.
fn fingerprint() -> (u64, i64, i64, Vec<u8>) {
    let path = runtime_path();
    let data = fs::metadata(&path).expect("the runtime");
    (data.ino(), data.ctime(), data.ctime_nsec(), fs::read(&path).expect("the runtime"))
}

#[test]
fn a_payload_that_is_the_exe_link_is_not_the_runtime() {
    only_kiste!();
    let before = fingerprint();
    let bundle = Bundle::with_args(&["report"]);
    bundle.set("/process/args", harness::json!(["/proc/self/exe", "--version"]));
    let output = bundle.run();
    assert_ne!(output.code, 0, "{}", output.out);
    assert!(!output.out.contains("kiste"), "the runtime ran inside: {}", output.out);
    assert_eq!(fingerprint(), before);
}

#[test]
fn an_interpreter_line_that_names_the_exe_link_is_not_the_runtime() {
    only_kiste!();
    let before = fingerprint();
    let bundle = Bundle::with_args(&["report"]);
    fs::write(bundle.inside("/script"), "#!/proc/self/exe --version\n").expect("a script");
    fs::set_permissions(bundle.inside("/script"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    bundle.set("/process/args", harness::json!(["/script"]));
    let output = bundle.run();
    assert_ne!(output.code, 0, "{}", output.out);
    assert!(!output.out.contains("kiste"), "the runtime ran inside: {}", output.out);
    assert_eq!(fingerprint(), before);
}

#[test]
fn exec_of_the_exe_link_is_not_the_runtime() {
    only_kiste!();
    let before = fingerprint();
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.launch();
    let output = bundle.exec(&["/proc/self/exe", "--version"]);
    assert_ne!(output.code, 0, "{}", output.out);
    assert!(!output.out.contains("kiste"), "the runtime ran inside: {}", output.out);
    assert_eq!(fingerprint(), before);
}

#[test]
fn a_created_container_does_not_link_to_the_runtime() {
    only_kiste!();
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.create().ok();
    if !host::is_root() {
        // A plain user's runtime may belong to root, where nothing needs to be done; the link is root's to read then.
        return;
    }
    let link = fs::read_link(format!("/proc/{}/exe", bundle.pid())).expect("the link");
    assert!(link.to_string_lossy().starts_with("/memfd:kiste"), "{}", link.display());
    let maps = fs::read_to_string(format!("/proc/{}/maps", bundle.pid())).expect("the maps");
    let name = runtime_path().to_string_lossy().into_owned();
    assert!(!maps.contains(&name), "the runtime's file is still mapped:\n{maps}");
}
