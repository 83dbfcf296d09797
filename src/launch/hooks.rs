//! Hooks that run in the runtime's namespaces: prestart, createRuntime, poststart, poststop (runtime-spec config.md,
//! "POSIX-platform Hooks"). The two others run in the container and belong to the child half.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use crate::error::{Error, Origin, Result};
use crate::kernel::owned::c_string;

use super::helper::Call;

/// One hook, checked by intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookCall {
    /// Absolute path.
    pub path: String,
    /// argv, including argv\[0\].
    pub args: Vec<String>,
    /// The whole environment: nothing of the runtime's and nothing of the container's is added.
    pub env: Vec<String>,
    /// Seconds until its process group is killed.
    pub timeout: Option<u32>,
    /// Files of the host that its standard output and standard error are appended to.
    pub outputs: [Option<String>; 2],
    /// Its place in the input.
    pub origin: Origin,
}

/// Runs the hooks one after the other, each with the container's state on its standard input, no other descriptor but
/// its output, and `directory` (the bundle) as working directory. The first failure ends it.
///
/// # Errors
/// `Kind::Refused` with the hook's place, why it failed, and the end of what it wrote.
pub fn run_hooks(hooks: &[HookCall], state_json: &[u8], directory: &Path) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let directory = c_string(directory.as_os_str().as_bytes())
        .map_err(|errno| Error::refused("the hooks' working directory is no path").call("chdir", errno))?;
    for hook in hooks {
        let call = Call {
            path: &hook.path,
            args: &hook.args,
            env: &hook.env,
            directory: &directory,
            outputs: [hook.outputs[0].as_deref(), hook.outputs[1].as_deref()],
            input: Some(state_json),
            timeout: hook.timeout.map(|seconds| Duration::from_secs(seconds.into())),
        };
        call.run().map_err(|mut error| {
            error.what = format!("hook {}", error.what);
            error.at(&hook.origin)
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(number: usize, script: &str) -> HookCall {
        HookCall {
            path: "/bin/sh".into(),
            args: vec!["sh".into(), "-c".into(), script.into()],
            env: vec![],
            timeout: Some(20),
            outputs: [None, None],
            origin: Origin::fixed("/hooks/poststop").child(number),
        }
    }

    #[test]
    fn each_gets_the_state_and_the_first_failure_ends_it() {
        let directory = std::env::temp_dir().join(format!("kiste-hooks-test-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let hooks = [hook(0, "cat > 0"), hook(1, "cat > 1; echo no >&2; exit 1"), hook(2, "cat > 2")];
        let error = run_hooks(&hooks, b"{}", &directory).unwrap_err().to_string();
        let seen = [0, 1, 2].map(|n| std::fs::read(directory.join(n.to_string())).ok());
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(error, "/hooks/poststop/1: hook /bin/sh failed: exit status 1: \"no\"");
        assert_eq!(seen, [Some(b"{}".to_vec()), Some(b"{}".to_vec()), None]);
    }
}
