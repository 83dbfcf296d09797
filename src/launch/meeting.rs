//! What the parent does while the child waits at a barrier: the plan's steps, in order.

use std::cell::RefCell;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use super::hooks::{HookCall, run_hooks};
use super::id_maps::{How, Range, write_maps};
use super::opening::Slots;
use crate::cgroup::systemd::ScopeRequest;
use crate::error::{Error, Origin, Result};
use crate::intent::annotations::Extensions;
use crate::intent::{Hook, Intent, Placed};
use crate::kernel::abi::{AT_EMPTY_PATH, AT_RECURSIVE, MOUNT_ATTR_IDMAP, MountAttr};
use crate::kernel::owned::{Forked, c_string, fork_into, open};
use crate::kernel::raw;
use crate::network::{self, Moved};
use crate::plan::{Barrier, ParentStep, Plan};

/// What the steps need beside the plan.
pub struct Meeting<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Its descriptors.
    pub slots: &'a Slots,
    /// The hooks' programs.
    pub intent: &'a Intent,
    /// newuidmap(1) and newgidmap(1), where the plan wants them.
    pub helpers: Option<(PathBuf, PathBuf)>,
    /// The hooks' working directory.
    pub bundle: &'a std::path::Path,
    /// The state for hooks, from the child's pid.
    pub state_json: &'a dyn Fn(i32, &str) -> Vec<u8>,
    /// Network devices that were moved, to be put back if the container can't be made.
    pub moved: &'a RefCell<Vec<Moved>>,
    /// Moves the child into its systemd scope.
    pub scope: &'a dyn Fn(&ScopeRequest, i32) -> Result<()>,
}

impl Meeting<'_> {
    /// Does the steps of one barrier.
    ///
    /// # Errors
    /// The first step that fails, with its place in the input.
    pub fn at(&self, barrier: Barrier, child: &Forked) -> Result<()> {
        let steps = self.plan.barriers.iter().find(|entry| entry.0 == barrier).map_or(&[][..], |entry| &entry.1);
        for (step, origin) in steps {
            self.step(step, child).map_err(|error| match self.plan.origin(*origin) {
                Some(origin) => error.at(origin),
                None => error,
            })?;
        }
        Ok(())
    }

    fn step(&self, step: &ParentStep, child: &Forked) -> Result<()> {
        match step {
            ParentStep::WriteIdMaps { users, groups, helpers, deny_setgroups } => {
                let direct = How::Direct { deny_setgroups: *deny_setgroups };
                let how = match (&self.helpers, helpers) {
                    (Some((newuidmap, newgidmap)), true) => How::Helpers { newuidmap, newgidmap },
                    (None, true) => {
                        return Err(Error::refused("mapping these ids needs newuidmap and newgidmap").hint(
                            "install the package uidmap, and give the user ranges in /etc/subuid and /etc/subgid",
                        ));
                    }
                    _ => direct,
                };
                write_maps(child.pid, users, groups, &how)
            }
            ParentStep::Idmap { tree, recursive, users, groups } => {
                let tree = self.slots.get(*tree).ok_or_else(|| Error::refused("the tree to idmap was not opened"))?;
                let namespace = if users.is_empty() && groups.is_empty() {
                    super::start::namespace_of(child.pid, "user")?
                } else {
                    mapped_namespace(users, groups)?
                };
                idmap(tree, &namespace, *recursive)
            }
            ParentStep::MoveDevice { device, name, namespace } => {
                let own;
                let namespace = match namespace {
                    Some(slot) => self.slots.get(*slot),
                    None => {
                        own = super::start::namespace_of(child.pid, "net")?;
                        Some(&own)
                    }
                };
                let namespace = namespace.ok_or_else(|| Error::refused("the network namespace was not opened"))?;
                self.moved.borrow_mut().push(network::move_device(device, name, namespace.as_fd())?);
                Ok(())
            }
            ParentStep::Rlimit { resource, soft, hard } => {
                raw::set_rlimit(child.pid, *resource, *soft, *hard).map(drop).map_err(|errno| {
                    let error = Error::refused(format!("cannot raise resource limit {resource} to {hard}"));
                    error.call("prlimit", errno).hint("raising a hard limit needs CAP_SYS_RESOURCE")
                })
            }
            ParentStep::SystemdScope(request) => (self.scope)(request, child.pid),
            ParentStep::WriteState { file, status } => {
                let file = self.slots.get(*file).ok_or_else(|| Error::refused("the hooks' state has no file"))?;
                raw::write(file.as_raw_fd(), &(self.state_json)(child.pid, status))
                    .map(drop)
                    .map_err(|errno| Error::refused("cannot write the hooks' state").call("write", errno))
            }
            ParentStep::RunHooks { list, .. } => {
                let hooks = &self.intent.hooks;
                let hooks = if *list == "prestart" { &hooks.prestart } else { &hooks.create_runtime };
                run_hooks(
                    &calls(hooks, &self.intent.extensions),
                    &(self.state_json)(child.pid, "creating"),
                    self.bundle,
                )
            }
        }
    }
}

/// Hooks as the parent runs them.
pub fn calls(hooks: &[Hook], extensions: &Extensions) -> Vec<HookCall> {
    let file = |file: &Option<Placed<String>>| file.as_ref().map(|file| file.value.clone());
    let outputs = [file(&extensions.hooks_stdout), file(&extensions.hooks_stderr)];
    let call = |hook: &Hook| HookCall {
        path: hook.path.clone(),
        args: hook.args.clone(),
        env: hook.env.clone(),
        timeout: hook.timeout,
        outputs: outputs.clone(),
        origin: hook.origin.clone(),
    };
    hooks.iter().map(call).collect()
}

/// A user namespace with the maps of the plan's own.
///
/// # Errors
/// When the maps can't be written.
pub(super) fn user_namespace(plan: &Plan) -> Result<Option<OwnedFd>> {
    let mut steps = plan.barriers.iter().flat_map(|(_, steps)| steps);
    let maps = steps.find_map(|(step, _)| match step {
        ParentStep::WriteIdMaps { users, groups, .. } => Some((users, groups)),
        _ => None,
    });
    maps.map(|(users, groups)| mapped_namespace(users, groups)).transpose()
}

/// The same step for a container that CRIU makes: its own user namespace is not there yet, one with the same maps is, or
/// it is joined.
///
/// # Errors
/// The file system has no idmapped mounts, or the maps can't be written.
pub(super) fn idmap_tree(plan: &Plan, slots: &Slots, tree: &OwnedFd, step: &ParentStep) -> Result<()> {
    let ParentStep::Idmap { recursive, users, groups, .. } = step else { return Ok(()) };
    let joined = plan.opens.iter().find_map(|(open, _)| match open {
        crate::plan::Open::Namespace { flag, into, .. } if *flag == libc::CLONE_NEWUSER as u64 => slots.get(*into),
        _ => None,
    });
    let own = plan.barriers.iter().flat_map(|(_, steps)| steps).find_map(|(step, _)| match step {
        ParentStep::WriteIdMaps { users, groups, .. } => Some((users, groups)),
        _ => None,
    });
    match (users.is_empty() && groups.is_empty(), joined, own) {
        (true, Some(namespace), _) => idmap(tree, namespace, *recursive),
        (true, None, Some((users, groups))) => idmap(tree, &mapped_namespace(users, groups)?, *recursive),
        _ => idmap(tree, &mapped_namespace(users, groups)?, *recursive),
    }
}

fn idmap(tree: &OwnedFd, namespace: &OwnedFd, recursive: bool) -> Result<()> {
    let attributes =
        MountAttr { attr_set: MOUNT_ATTR_IDMAP, userns_fd: namespace.as_raw_fd() as u64, ..MountAttr::default() };
    let flags = AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    raw::mount_setattr(tree.as_raw_fd(), c"", flags as u32, &attributes).map(drop).map_err(|errno| {
        let error = Error::refused("cannot idmap the mount").call("mount_setattr", errno);
        match errno {
            libc::EINVAL => error.hint("its file system (or one below it) has no idmapped mounts"),
            libc::EPERM => error.hint("it is idmapped already"),
            _ => error,
        }
    })
}

/// A user namespace that exists for its maps alone: a child waits in it while they are written, then ends.
fn mapped_namespace(users: &[Range], groups: &[Range]) -> Result<OwnedFd> {
    let failed = |call: &'static str| {
        move |errno| Error::refused("cannot make a user namespace for the mount's maps").call(call, errno)
    };
    let holder = fork_into(libc::CLONE_NEWUSER as u64, None, || {
        // Until the parent has what it wants: it kills.
        loop {
            let _ = raw::poll(&mut [], -1);
        }
    })
    .map_err(failed("clone3"))?;
    let result = write_maps(holder.pid, users, groups, &How::Direct { deny_setgroups: false }).and_then(|()| {
        let path = c_string(format!("/proc/{}/ns/user", holder.pid)).map_err(failed("open"))?;
        open(libc::AT_FDCWD, &path, libc::O_RDONLY, 0).map_err(failed("open"))
    });
    let _ = raw::pidfd_send_signal(holder.pidfd.as_raw_fd(), libc::SIGKILL);
    let _ = raw::wait4(holder.pid, libc::__WALL);
    result.map_err(|error| error.at(&Origin::fixed("/mounts")))
}
