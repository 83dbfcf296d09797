//! kiste: one engine for OCI containers, guests and sandboxes.
//!
//! ```text
//! config.json, stored wishes ──► Intent ──(+ Facts of this host)──► Plan ──► launch ──► execve of the payload
//!                                what is wanted                    which kernel operations, in which order
//! ```
//!
//! Read [`lowering::order`] first: it is the whole start of a container, one line a step. `kiste explain` prints what it
//! gives for a bundle; `tests/golden/` keeps such plans for the cases that matter.
//!
//! # The rooms
//!
//! Each folder of `src/` is a room with one duty. What it may use is held by `tests/architecture.rs`.
//!
//! | room | duty | may use |
//! |---|---|---|
//! | [`cli`] | what was typed: one file a command; options in one table, from which manual and completions are made | all but `kernel` |
//! | [`intent`] | what is wanted, whatever the way in; every value knows its place in the input | the words of `cgroup`, `resctrl`, `seccomp` |
//! | [`host`] | facts of this machine, read once, plain data | `kernel` |
//! | [`lowering`] | intent + facts → plan; the only place that decides; reads and makes nothing | `intent`, `host`, `plan`, `cgroup`, `resctrl`, `seccomp` |
//! | [`plan`] | the plan as data: operations, bytes, origins; the verifier; `explain`; a failure as a sentence | `cgroup`, `resctrl`, `seccomp` |
//! | [`launch`] | carries a plan out and decides nothing: the parent half, and the child half after clone3 | `plan`, `intent`, services |
//! | [`cgroup`] | control groups: limits as writes, v2 and v1, devices, statistics, freezing, killing | `kernel` |
//! | [`network`] | network devices into a container's namespace, by netlink | `kernel` |
//! | [`resctrl`] | groups of the resource control file system (Intel RDT) | `kernel` |
//! | [`seccomp`] | a profile → one BPF program for all ABIs of the machine | `kernel` |
//! | [`checkpoint`] | processes to files and back: what CRIU must be told, is asked before and checked after | `kernel` |
//! | [`state`] | directory, lock, record and gate of each container; identity of its process | `kernel`, `time` |
//! | [`kernel`] | raw system calls, kernel structures, owned descriptors: the only `unsafe` | nothing |
//! | [`log`], [`time`] | text and JSON lines as callers parse them; times as they are written there | nothing |
//! | [`error`] | the one error people see: what, where in the input, which call, errno, what would help | nothing |
//!
//! Every room may use [`error`]. The services `cgroup`, `network`, `resctrl`, `seccomp`, `checkpoint` and `state` do not know
//! each other.
//!
//! # Policy
//!
//! - `unsafe` lives in [`kernel`], each block with its SAFETY comment; `intent`, `lowering`, `plan` and `seccomp` forbid it.
//! - Between clone3 and execve nothing is allocated, printed or allowed to panic ([`launch::child`]): debug builds have an
//!   allocator that ends a child which tries.
//! - One thread until clone3.
//! - A file has at most 600 lines, a function at most 70, exceptions are listed with their reason.
//! - Public items say what they are, in which units, and which errors they give; comments say why.

#![deny(unsafe_op_in_unsafe_fn)]
#![warn(missing_docs)]

pub mod cgroup;
pub mod checkpoint;
pub mod cli;
pub mod error;
pub mod host;
pub mod intent;
pub mod kernel;
pub mod launch;
pub mod log;
pub mod lowering;
pub mod network;
pub mod plan;
pub mod resctrl;
pub mod seccomp;
pub mod state;
pub mod time;
