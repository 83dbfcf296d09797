//! Handing the seccomp listener to its agent: one message with the container's state and the descriptor
//! (runtime-spec config-linux.md, "The Container Process State").

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use crate::error::{Error, Origin, Result};
use crate::kernel::raw;
use crate::seccomp::Profile;

/// Sends the listener to the profile's `listenerPath`.
///
/// # Errors
/// There is no path, or nobody listens there.
pub fn hand_over(profile: &Profile, listener: &OwnedFd, state: &serde_json::Value, pid: i32) -> Result<()> {
    let origin = Origin::fixed("/linux/seccomp/listenerPath");
    let Some(path) = &profile.listener_path else {
        return Err(Error::input("the profile notifies and names no listenerPath").at(&origin));
    };
    let socket = super::console::connect_console_socket(Path::new(path))
        .map_err(|error| Error { what: format!("cannot reach the seccomp agent at {path}"), ..error }.at(&origin))?;
    let message = serde_json::json!({
        "ociVersion": state["ociVersion"],
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": profile.listener_metadata.clone().unwrap_or_default(),
        "state": state,
    });
    raw::send_descriptor(socket.as_raw_fd(), message.to_string().as_bytes(), listener.as_raw_fd()).map(drop).map_err(
        |errno| Error::refused(format!("cannot send the listener to {path}")).call("sendmsg", errno).at(&origin),
    )
}

/// Sends a pidfd to the socket of `--pidfd-socket`.
///
/// # Errors
/// Nobody listens there.
pub fn send_pidfd(path: &Path, pidfd: &OwnedFd) -> Result<()> {
    let socket = super::console::connect_console_socket(path)
        .map_err(|error| Error { what: format!("cannot reach --pidfd-socket {}", path.display()), ..error })?;
    raw::send_descriptor(socket.as_raw_fd(), b"pidfd", pidfd.as_raw_fd())
        .map(drop)
        .map_err(|errno| Error::refused("cannot send the pidfd").call("sendmsg", errno))
}
