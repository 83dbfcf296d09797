//! Seccomp: from an OCI profile to one BPF program.
