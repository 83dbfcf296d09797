//! The dispatch: which method carries out which operation. One line each.

use super::{Child, Done, Naming};
use crate::kernel::raw;
use crate::plan::report::Call;
use crate::plan::{Operation as Op, Step};

impl Child<'_> {
    /// Carries out one step.
    pub(super) fn step(&mut self, index: usize, step: &Step) -> Done {
        let arena = self.arena;
        match step.operation {
            Op::ReleaseImage => self.release_image(),
            Op::SignalMask(mask) => raw::set_signal_mask(mask).named(Call::Sigmask).map(drop),
            Op::DefaultSignal(signal) => raw::default_signal(signal).named(Call::Sigaction).map(drop),
            Op::NonDumpable => self.prctl(libc::PR_SET_DUMPABLE, 0),
            Op::CloseOnExec(from) => {
                raw::close_range(from, u32::MAX, libc::CLOSE_RANGE_CLOEXEC).named(Call::CloseRange).map(drop)
            }
            Op::JoinCgroup(tasks) | Op::JoinResctrl(tasks) => self.join_group(tasks),
            Op::Umask(mask) => raw::umask(mask).named(Call::None).map(drop),
            Op::Wait(barrier) => self.wait(barrier),
            Op::WaitForDevices => self.hear(),
            Op::BecomeRoot { groups } => self.become_root(groups),
            Op::Join { namespace, flags } => raw::setns(self.slot(namespace)?, flags).named(Call::SetNs).map(drop),
            Op::Unshare(flags) => raw::unshare(flags).named(Call::Unshare).map(drop),
            Op::TimeNamespace(offsets) => self.time_namespace(offsets),
            Op::HostName(name) => raw::sethostname(arena.get(name)).named(Call::SetHostName).map(drop),
            Op::DomainName(name) => raw::setdomainname(arena.get(name)).named(Call::SetDomainName).map(drop),
            Op::InterfaceUp(name) => raw::interface_up(arena.c_str(name).to_bytes()).named(Call::Ioctl).map(drop),
            Op::Keyring(name) => self.keyring(name),
            Op::PrivateProc(into) => self.private_proc(into),
            Op::WriteProc { proc, path, value } => self.write_proc(proc, path, value),
            Op::NewSession => raw::setsid().named(Call::SetSid).map(drop),
            Op::OwnPipes(uid) => self.own_pipes(uid),
            Op::OpenTerminal { root, rows, columns, master, peer } => {
                self.open_terminal(root, (rows, columns), master, peer)
            }
            Op::SendDescriptor { socket, descriptor, payload } => self.send_descriptor(socket, descriptor, payload),
            Op::BindConsole { root, peer } => self.bind_console(root, peer),
            Op::AdoptTerminal { peer, uid } => self.adopt_terminal(peer, uid),
            Op::Personality(persona) => raw::personality(persona).named(Call::Personality).map(drop),
            Op::Rlimit { resource, soft, hard } => {
                raw::set_rlimit(0, resource, soft, hard).named(Call::Prlimit).map(drop)
            }
            Op::Scheduler(attributes) => self.scheduler(attributes),
            Op::Affinity(mask) => raw::sched_setaffinity(0, arena.get(mask)).named(Call::SchedSetaffinity).map(drop),
            Op::MemoryPolicy { mode, nodes } => {
                raw::set_mempolicy(mode, arena.get(nodes)).named(Call::SetMempolicy).map(drop)
            }
            Op::IoPriority(value) => raw::ioprio_set(0, value).named(Call::IoprioSet).map(drop),
            Op::NoNewPrivileges => self.no_new_privileges(),
            Op::InstallFilter { program, flags, listener } => self.install_filter(index, program, flags, listener),
            Op::DropBounding { keep, last } => self.drop_bounding(keep, last),
            Op::KeepCapabilities => self.prctl(libc::PR_SET_KEEPCAPS, 1),
            Op::SetGroups => raw::setgroups(&arena.groups).named(Call::SetGroups).map(drop),
            Op::SetIds { uid, gid } => self.set_ids(uid, gid),
            Op::SetCapabilities => self.set_capabilities(),
            Op::Ambient(mask) => self.ambient(mask),
            Op::ChangeDirectory { path } => raw::chdir(arena.c_str(path)).named(Call::Chdir).map(drop),
            Op::FindDirectory { candidates, names } => self.find_directory(candidates, names),
            Op::CheckDirectory => self.check_directory(),
            Op::FindHome(uid) => self.find_home(uid),
            Op::FindExecutable(candidates) => self.find_executable(candidates),
            Op::CloseAll { from, keep } => self.close_all(from, &keep),
            Op::Ready => self.ready(),
            Op::WaitGate { gate, outcome } => self.wait_gate(gate, outcome),
            Op::SpawnHook { hook, state, output, errors } => self.spawn_hook(hook, state, [output, errors]),
            Op::Execute { candidates, .. } => self.execute(candidates),
            Op::TellMount(tree) => self.tell_mount(index, tree),
            Op::Detach { proc, mount } => self.detach(index, proc, mount),
            Op::Leave => raw::exit(0),
            Op::DieWithParent => self.die_with_parent(),
            Op::InnerUserNamespace { proc, uid, gid } => self.inner_user_namespace(proc, uid, gid),
            Op::Await(descriptor) => self.await_byte(descriptor),
            Op::Reaper { status, sync, locks } => self.reaper(index, self.slot(status)?, sync, locks),
            other => self.file_step(other),
        }
    }

    /// The operations on the root, its mounts and what may be opened below it.
    fn file_step(&mut self, operation: Op) -> Done {
        let arena = self.arena;
        match operation {
            Op::NamespacePropagation(kind) => self.namespace_propagation(kind),
            Op::OpenTree { path, recursive, nofollow, into } => self.open_tree(path, recursive, nofollow, into),
            Op::OpenTreeLate { root, path, recursive, nofollow, into } => {
                self.open_tree_late(root, path, (recursive, nofollow), into)
            }
            Op::Filesystem { fstype, parameters, attributes, into } => {
                self.filesystem(fstype, parameters, attributes, into)
            }
            Op::SetAttributes { tree, attributes, recursive } => self.set_attributes(tree, attributes, recursive),
            Op::OverlayStore => self.overlay_store(),
            Op::EnterRoot { tree, at, into } => self.enter_root(tree, at, into),
            Op::OpenRoot { path, into } => self.open_root(path, into),
            Op::Ensure { root, path, missing, nofollow, into } => self.ensure(root, path, missing, nofollow, into),
            Op::Attach { tree, target } => self.attach(tree, target),
            Op::BindByMount { source, target } => self.bind_by_mount(source, target),
            Op::CopyUp { from, to } => self.copy_up(from, to),
            Op::InheritMode { from, to } => self.inherit_mode(from, to),
            Op::Directory { at, name, mode } => self.directory(at, name, mode),
            Op::Node { at, name, mode, device } => self.node(at, name, mode, device),
            Op::ChangeOwner { at, name, uid, gid } => self.change_owner(at, name, uid, gid),
            Op::VerifyDevice { tree, mode, device } => self.verify_device(tree, mode, device),
            Op::Link { at, name, target, existing } => self.link(at, name, target, existing),
            Op::Remount { root, path, attributes, recursive } => self.remount(root, path, attributes, recursive),
            Op::FindMount { root, path, id, into } => self.find_mount(root, path, id, into),
            Op::File { at, name, mode, bytes } => self.file(at, name, mode, bytes),
            Op::Unlink { at, name } => {
                raw::unlinkat(self.slot(at)?, arena.c_str(name), 0).named(Call::Unlink).map(drop)
            }
            Op::Mode { root, path, mode } => self.mode(root, path, mode),
            Op::NullSource(into) => self.null_source(into),
            Op::Hide { root, path, null, empty } => self.hide(root, path, null, empty),
            Op::ReadOnly { root, path } => self.read_only(root, path),
            Op::RootAttributes { root, attributes, recursive } => self.set_attributes(root, attributes, recursive),
            Op::PivotRoot(root) => self.pivot_root(root),
            Op::MoveRoot(root) => self.move_root(root),
            Op::Chroot(root) => self.chroot(root),
            Op::Landlock(root) => self.landlock(root),
            // `step` has taken every other operation: this arm is never reached, and would be a failed check.
            _ => super::fail(Call::Verify, libc::ENOSYS),
        }
    }
}
