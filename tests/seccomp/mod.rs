//! What the seccomp tests stand on: default profiles as Docker and Podman ship them, libseccomp as an oracle, and a small
//! random generator.

pub mod containers;
pub mod oracle;
pub mod random;
