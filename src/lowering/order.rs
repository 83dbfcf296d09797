//! The whole sequence, one line a step: read this first.
//!
//! ```text
//! parent  A  open what needs the host: root, bind sources, namespaces to join, sockets
//!         B  control group, limits, resource control      → the child is born inside
//!         C  clone3: all new namespaces at once, with a pidfd
//!         D  [identity]  id maps · systemd scope · idmapped trees · network devices · raised limits
//!         E  [hooks]     prestart, createRuntime
//!         F  [ready]     record, pid file, console, seccomp agent   (run: only end-of-file)
//! child   1 … 10         the functions below
//! ```
//!
//! Where the kernel contradicted the first design (experiments on Linux 6.18):
//! - Masks and read-only paths come *before* pivot_root: their sources (the host's /dev/null, a procfs) may be cloned only
//!   while the old root is part of the namespace. They still come after the createContainer hooks.
//! - oom_score_adj is written at birth: once the child became root of its user namespace, its /proc files belong to the
//!   host's root and it may not open them any more.
//! - The child becomes non-dumpable after the identity barrier in a user namespace: before, an unprivileged parent could
//!   not write its id maps.
//! - The root is attached over `/` of the namespace and entered by descriptor, so that its host path need not be
//!   reachable for the container's root user. Exactly one mount may lie there when the old root is detached.
//! - A time namespace needs no first stage: the child unshares it, writes its offsets and joins it.

use super::story::{Request, Story};
use super::{devices, files, kernel_state, mounts, namespaces, privileges, process, root, sandbox, session};
use crate::error::{Error, Origin, Result};
use crate::plan::{Plan, Stage};

/// Lowers a container: `create` and `run`.
///
/// # Errors
/// What the input wants and this machine or any can't give, with its place; a defect of kiste that the verifier found.
pub fn lower(request: Request<'_>) -> Result<Plan> {
    if request.intent.process.is_none() {
        return Err(Error::input("the configuration has no process").at(&Origin::fixed("/process")));
    }
    let mut story = Story::new(request);
    let story_ref = &mut story;
    parent(story_ref)?;
    setup(story_ref)?;
    payload(story_ref)?;
    story.finish()
}

/// A to D: what the parent does before and around clone3.
fn parent(story: &mut Story<'_>) -> Result<()> {
    root::open(story)?; //                    A  the root's tree
    namespaces::open(story)?; //              A  namespaces to join
    session::open_console(story)?; //         A  the console socket
    namespaces::control_group(story)?; //     B  the control group
    namespaces::resource_control(story)?; //  B  the resource control group
    namespaces::own_image(story)?; //         C  kiste's own executable out of reach
    namespaces::clone_flags(story)?; //       C  what clone3 makes
    namespaces::id_maps(story)?; //           D  identity
    namespaces::network_devices(story)?; //   D  network devices
    process::raised_limits(story)?; //        D  limits that only the parent may raise
    sandbox::announce(story)?; //             D  a sandbox that somebody is told of
    process::runtime_hooks(story)?; //        E  prestart, createRuntime
    Ok(())
}

/// 1 to 6: from birth to the final root.
fn setup(story: &mut Story<'_>) -> Result<()> {
    story.chapter(Stage::Birth);
    namespaces::release_image(story)?; //     1  kiste's own executable, where only the child may
    process::birth(story)?; //                1  signals, descriptors, cgroup v1
    sandbox::die_with_parent(story)?; //      1  a sandbox that ends with kiste
    process::oom_score(story)?; //            1  oom_score_adj, while /proc is still ours
    story.chapter(Stage::Identity);
    namespaces::become_root(story)?; //       2  [identity], root of the user namespace, non-dumpable
    story.chapter(Stage::Kernel);
    namespaces::join(story)?; //              3  namespaces by path, cgroup and time namespace
    kernel_state::names(story)?; //           3  host and domain name
    kernel_state::network(story)?; //         3  loopback
    kernel_state::sysctls(story)?; //         3  sysctls, the procfs for labels
    kernel_state::keyring(story)?; //         3  session keyring
    sandbox::prepare(story)?; //              3  a sandbox's limit of user namespaces
    story.chapter(Stage::Files);
    root::enter(story)?; //                   4  propagation, root attached
    mounts::all(story)?; //                   4  mounts in the user's order
    devices::all(story)?; //                  4  nodes and links in /dev
    session::terminal(story)?; //             4  the pty, while its devpts can be bound
    files::working_directory(story)?; //      4  a missing cwd is made
    story.chapter(Stage::Hooks);
    process::container_hooks(story)?; //      5  [hooks], createContainer
    story.chapter(Stage::Root);
    mounts::filled(story)?; //                6  tmpfs that are filled now, read-only
    files::readonly_paths(story)?; //         6  read-only paths
    files::masked_paths(story)?; //           6  masked paths
    root::leave_host(story)?; //              6  root read-only, propagation, pivot_root, detach
    namespaces::devices(story)?; //           6  the device program is there, which the parent attaches since C
    Ok(())
}

/// 7 to 10: the payload.
pub(super) fn payload(story: &mut Story<'_>) -> Result<()> {
    story.chapter(Stage::Session);
    session::session(story)?; //              7  setsid, controlling terminal, pipes
    process::attributes(story)?; //           7  personality, scheduler, memory policy, umask
    story.chapter(Stage::Privileges);
    privileges::labels(story)?; //            8  LSM label for execve
    privileges::early_filter(story)?; //      8  the filter, if no_new_privs is off
    process::limits(story)?; //               8  rlimits
    sandbox::inner_user(story)?; //           8  a sandbox's second user namespace
    privileges::drop(story)?; //              8  bounding set, ids, capabilities, ambient, no_new_privs
    sandbox::confine(story)?; //              8  a sandbox's Landlock, its reaper
    story.chapter(Stage::Check);
    process::check(story)?; //                9  cwd inside the root, HOME, executable there
    story.chapter(Stage::Handover);
    process::handover(story)?; //            10  close, ready, gate, startContainer, filter, execve
    Ok(())
}
