//! What the kernel tests stand on: a throw-away bundle with the reporter as `/init`, a runner with a time limit, and
//! clean-up that also happens when a test fails.
//!
//! Environment: `KISTE_RUNTIME` another runtime than the one just built (crun, runc), `KISTE_REPORTER` the reporter's
//! path, `KISTE_TEST_SLOW` a factor for time limits, `KISTE_SKIP_FILE` where skipped tests are told, `KISTE_TEST_DIR`
//! where bundles are made.
// Every test binary includes all of this and uses a part.
#![allow(dead_code, unused_imports, unused_macros)]

mod bundle;
mod cleanup;
pub mod host;
pub mod pty;
mod runner;
mod skip;

pub use bundle::{Bundle, default_config};
pub use runner::{Output, Runtime, run_command, wait_for, wait_until};
pub use serde_json::{Value, json};
pub use skip::{as_plain_user, skip};
pub(crate) use skip::{as_user, only_kiste, requires, test_name};

use std::path::PathBuf;

/// The runtime under test.
pub fn runtime_path() -> PathBuf {
    std::env::var_os("KISTE_RUNTIME").map_or_else(|| env!("CARGO_BIN_EXE_kiste").into(), PathBuf::from)
}

/// False when the tests are tried on another runtime.
pub fn runtime_is_kiste() -> bool {
    runtime_path().file_name().is_some_and(|name| name.to_string_lossy().starts_with("kiste"))
}

/// The static payload: next to the test binaries, in cargo's `examples`.
pub fn reporter_path() -> PathBuf {
    if let Some(path) = std::env::var_os("KISTE_REPORTER") {
        return path.into();
    }
    let me = std::env::current_exe().expect("own executable");
    let path = me.parent().and_then(|deps| deps.parent()).expect("cargo's folders").join("examples/reporter");
    assert!(path.exists(), "{} is missing: cargo build --example reporter", path.display());
    path
}

/// Copies a program by cp(1). A copy by this process would be open for writing in whatever another thread forks at that
/// moment, and could not be executed until then (ETXTBSY).
#[track_caller]
pub fn copy_program(from: &std::path::Path, to: &std::path::Path) {
    let status = std::process::Command::new("cp").arg(from).arg(to).status().expect("cp");
    assert!(status.success(), "copy of {} to {}", from.display(), to.display());
}

/// How much slower than a usual machine this one may be.
pub fn slow() -> f64 {
    std::env::var("KISTE_TEST_SLOW").ok().and_then(|s| s.parse().ok()).unwrap_or(1.0)
}
