//! What the seccomp tests stand on: default profiles as Docker and Podman ship them, libseccomp as an oracle, and a small
//! random generator.
// Every test binary includes all of this and uses a part.
#![allow(dead_code)]

pub mod containers;
pub mod oracle;
pub mod random;

use std::io::Write as _;

/// Tells that a test can't run here, as tests/run counts it.
pub fn skip(test: &str, reason: &str) {
    let line = format!("SKIP {test}: {reason}\n");
    eprint!("{line}");
    if let Some(file) = std::env::var_os("KISTE_SKIP_FILE") {
        let mut options = std::fs::OpenOptions::new();
        let told = options.append(true).create(true).open(file).and_then(|mut f| f.write_all(line.as_bytes()));
        told.expect("KISTE_SKIP_FILE is writable");
    }
}
