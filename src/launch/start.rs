//! clone3 and the meeting points: from a plan and open descriptors to a process that runs the payload or waits for
//! `start`.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, socketpair};

use super::child::Child;
use super::opening::Slots;
use super::timings::{Work, begin};
use super::wait::exit_status;
use crate::error::{Error, Result};
use crate::kernel::abi::CLONE_PARENT;
use crate::kernel::own_image::{self, Detached};
use crate::kernel::owned::{Forked, c_string, fork_into, open, own};
use crate::kernel::raw;
use crate::kernel::strings::{Environment, Strings};
use crate::kernel::timings;
use crate::plan::report::{Message, Record, SIZE, WORDS};
use crate::plan::{Barrier, Operation, OwnImage, Plan};
use crate::state::ProcessIdentity;

/// A launched child.
#[derive(Debug)]
pub struct Launched {
    /// Its process: id in the runtime's pid namespace, and pidfd.
    pub init: Forked,
    /// The master of its terminal (foreground).
    pub terminal: Option<OwnedFd>,
    /// Who it is, read once it ran; absent while it waits for `start`.
    pub identity: Option<ProcessIdentity>,
    /// Where a child that is ready waits to hear that it is recorded.
    waiting: Option<OwnedFd>,
}

impl Launched {
    /// One that CRIU has made: it waits for nobody.
    pub(super) fn restored(init: Forked, terminal: Option<OwnedFd>) -> Self {
        Launched { init, terminal, identity: None, waiting: None }
    }

    /// Lets a child that is ready go on to its gate: from here on somebody else can find it. Until then it ends with
    /// the runtime.
    ///
    /// # Errors
    /// When the child is gone.
    pub fn release(&mut self) -> Result<()> {
        match self.waiting.take() {
            Some(socket) if !go_on(&socket) => Err(lost(&self.init)),
            _ => Ok(()),
        }
    }
}

/// What the child asks of the parent on its way.
#[derive(Debug)]
pub enum Event {
    /// It has been born, and works on its own: what needs not be done before can be done now.
    Born,
    /// It waits at a barrier for the parent's steps.
    Barrier(Barrier),
    /// A mount of a running container was attached or detached: its id.
    Mount(u64),
    /// Its filter has a listener, which must reach its agent at once: the child's next call may need an answer.
    Listener(OwnedFd),
}

/// Makes the child and meets it until it is ready or runs. `meet` does the parent's part of each event.
///
/// # Errors
/// The child's failure as a sentence; the child is gone then.
pub fn start(
    plan: &Plan,
    slots: &Slots,
    cgroup: Option<BorrowedFd<'_>>,
    mut meet: impl FnMut(Event, &Forked) -> Result<()>,
) -> Result<Launched> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .map_err(|errno| Error::refused("cannot make a socket pair").call("socketpair", errno as i32))?;
    let forked = clone(plan, slots, cgroup, (&ours, &theirs))?;
    drop(theirs);
    begin(Work::Child);
    let met = meet(Event::Born, &forked).and_then(|()| {
        if plan.child.iter().any(|step| step.operation == Operation::WaitForDevices) {
            // One that has failed by now is gone, and has said why.
            let _ = go_on(&ours);
        }
        listen(plan, &ours, |event| meet(event, &forked))
    });
    let met = met.and_then(|(heard, terminal)| match heard {
        Heard::Ready => Ok(Some((None, terminal))),
        Heard::Lost => Ok(None),
        Heard::End if leaves(plan) || reaps(plan) => Ok(Some((None, terminal))),
        // The start time is wanted for the record anyway: whether it runs comes along.
        Heard::End => ProcessIdentity::read_after_exec(forked.pid)
            .map(|(identity, lost)| (!lost).then_some((Some(identity), terminal))),
    });
    match met {
        Ok(Some((identity, terminal))) => {
            let waiting = is_gated(plan).then_some(ours);
            Ok(Launched { init: forked, terminal, identity, waiting })
        }
        Ok(None) => Err(lost(&forked)),
        // What the parent could not do for a child that is being killed, it could not do because of that.
        Err(error) => match ProcessIdentity::read_after_exec(forked.pid) {
            Ok((_, true)) => Err(killed(&forked).unwrap_or(error)),
            _ => {
                forked.end();
                Err(error)
            }
        },
    }
}

/// Waits for a child that is ending; the sentence, if a signal ended it.
fn killed(child: &Forked) -> Option<Error> {
    let (_, status) = raw::wait4(child.pid, libc::__WALL).ok()?;
    libc::WIFSIGNALED(status).then(|| ended(status))
}

/// A child that ended before it executed anything, without a word: killed, from outside, for want of memory or by its own
/// filter. runc and crun give status 1 for it, too: nothing of the container has run whose status could be passed on.
fn lost(child: &Forked) -> Error {
    ended(raw::wait4(child.pid, libc::__WALL).map_or(0, |(_, status)| status))
}

fn ended(status: i32) -> Error {
    let never = "before it executed its program";
    if !libc::WIFSIGNALED(status) {
        return Error::refused(format!("the container's process ended with status {} {never}", exit_status(status)));
    }
    let signal = libc::WTERMSIG(status);
    let name = nix::sys::signal::Signal::try_from(signal).map_or("a signal", nix::sys::signal::Signal::as_str);
    let error = Error::refused(format!("the container's process was killed by {name} ({signal}) {never}"));
    match signal {
        libc::SIGKILL => error.hint("its memory limit may be too small to start in, or somebody killed it"),
        libc::SIGSYS => error.hint("its seccomp profile kills a system call that the start needs, as execve"),
        _ => error,
    }
}

fn clone(
    plan: &Plan,
    slots: &Slots,
    cgroup: Option<BorrowedFd<'_>>,
    (ours, theirs): (&OwnedFd, &OwnedFd),
) -> Result<Forked> {
    let arena = &plan.arena;
    let strings = |range| Strings::new(arena.texts(range).iter().map(|text| arena.c_str(*text)));
    let (arguments, environment) = payload(plan);
    let with_home = plan.child.iter().any(|step| matches!(step.operation, Operation::FindHome(_)));
    let hooks: Vec<_> = arena.hooks.iter().map(|hook| (strings(hook.arguments), strings(hook.environment))).collect();
    let argv = strings(arguments);
    let mut environment = Environment::new(arena.texts(environment).iter().map(|text| arena.c_str(*text)), with_home);
    let mut numbers = slots.numbers();
    if let Some(report) = numbers.first_mut() {
        *report = theirs.as_raw_fd();
    }
    timings::make_room(plan.child.len())
        .map_err(|errno| Error::refused("there is no room for the timings").call("mmap", errno))?;
    let image = detach_image(plan)?;
    let mut child = Child {
        arena,
        steps: &plan.child,
        slots: &mut numbers,
        report: theirs.as_raw_fd(),
        argv: &argv,
        environment: &mut environment,
        hooks: &hooks,
        image: image.as_ref(),
        outcome: -1,
        chosen: 0,
        made: None,
        words: [0; WORDS],
    };
    let ours = ours.as_raw_fd();
    let mut run = || {
        // The child's copy of our end would keep it waiting at a barrier when we are killed: no end-of-file.
        let _ = raw::close(ours);
        child.run()
    };
    let around = Around::enter(plan, slots)?;
    begin(Work::Clone);
    let result = if plan.first_stage.is_empty() {
        fork_into(plan.clone_flags, cgroup, run).map_err(|errno| clone_error(plan, errno))
    } else {
        staged(plan, slots, cgroup, &mut run)
    };
    around.leave()?;
    result
}

/// Keeps this program's own executable out of the container's reach, as the plan says.
fn detach_image(plan: &Plan) -> Result<Option<Detached>> {
    if plan.own_image == OwnImage::Unreachable {
        return Ok(None);
    }
    let failed = |call: &'static str| {
        move |errno| Error::refused("cannot keep kiste's own executable from the container").call(call, errno)
    };
    if plan.own_image == OwnImage::Reopened
        && let Some(image) = own_image::reopen().map_err(failed("readlink"))?
    {
        return Ok(Some(image));
    }
    let image = own_image::detach().map_err(failed("mremap"))?;
    if plan.own_image == OwnImage::ByParent {
        image.replace().map_err(failed("prctl"))?;
    }
    Ok(Some(image))
}

/// argv and envp of the plan's execve.
fn payload(plan: &Plan) -> (crate::plan::arena::Range, crate::plan::arena::Range) {
    let none = crate::plan::arena::Range { start: 0, count: 0 };
    match plan.child.last().map(|step| step.operation) {
        Some(Operation::Execute { arguments, environment, .. }) => (arguments, environment),
        _ => (none, none),
    }
}

fn clone_error(plan: &Plan, errno: i32) -> Error {
    let error = Error::refused("cannot make the container's process").call("clone3", errno);
    match errno {
        libc::ENOSYS => error.hint("an outer seccomp filter hides clone3, or the kernel is older than 5.14"),
        libc::ENOSPC | libc::EUSERS => error.hint("the limit of nested namespaces is reached: /proc/sys/user/max_*_namespaces"),
        libc::EPERM if plan.clone_flags & libc::CLONE_NEWUSER as u64 != 0 => {
            error.hint("this host forbids user namespaces: see kernel.apparmor_restrict_unprivileged_userns and user.max_user_namespaces")
        }
        libc::EPERM => error.hint("new namespaces need root or a user namespace"),
        libc::ENOMEM if !plan.born_in.is_empty() => error.hint("the joined pid namespace has lost its first process"),
        libc::EAGAIN => error.hint("the limit of processes is reached: a pids cgroup or RLIMIT_NPROC"),
        _ => error,
    }
}

/// The parent's own stay in namespaces that the child shall be born in.
struct Around {
    back: Vec<(OwnedFd, u64)>,
    /// What `PR_GET_DUMPABLE` said, if that was changed.
    dumpable: Option<usize>,
}

/// Whether the child must be born non-dumpable: the processes of a pid namespace it is born into see it from its first
/// moment, and it has the host's descriptors open (CVE-2016-9962). Not with id maps to write, which a parent without
/// privilege on the host may do for a dumpable child only. A first stage hides itself.
fn born_hidden(plan: &Plan) -> bool {
    !plan.born_in.is_empty() && plan.clone_flags & libc::CLONE_NEWUSER as u64 == 0
}

fn not_hidden(errno: i32) -> Error {
    Error::refused("cannot keep the container's processes from tracing this one").call("prctl", errno)
}

impl Around {
    fn enter(plan: &Plan, slots: &Slots) -> Result<Self> {
        let mut around = Around { back: Vec::new(), dumpable: None };
        if let Some((mask, origin)) = plan.own_processors {
            raw::sched_setaffinity(0, plan.arena.get(mask)).map_err(|errno| {
                let error = Error::refused("cannot run on these processors").call("sched_setaffinity", errno);
                plan.origin(origin).map_or(error.clone(), |origin| error.at(origin))
            })?;
        }
        if born_hidden(plan) {
            around.dumpable = Some(raw::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0).map_err(not_hidden)?);
            raw::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0).map_err(not_hidden)?;
        }
        for (slot, flag) in &plan.born_in {
            let failed =
                |call: &'static str| move |errno| Error::refused("cannot join the pid namespace").call(call, errno);
            let own = open(libc::AT_FDCWD, c"/proc/self/ns/pid", libc::O_RDONLY, 0).map_err(failed("open"))?;
            let namespace = slots.get(*slot).ok_or_else(|| failed("setns")(libc::EBADF))?;
            raw::setns(namespace.as_raw_fd(), *flag).map_err(failed("setns"))?;
            around.back.push((own, *flag));
        }
        Ok(around)
    }

    fn leave(self) -> Result<()> {
        if let Some(dumpable) = self.dumpable {
            raw::prctl(libc::PR_SET_DUMPABLE, dumpable, 0, 0, 0).map_err(not_hidden)?;
        }
        for (own, flag) in &self.back {
            raw::setns(own.as_raw_fd(), *flag)
                .map_err(|errno| Error::refused("cannot come back from the pid namespace").call("setns", errno))?;
        }
        Ok(())
    }
}

/// What a first stage tells: how far it came, and the child's number or an errno.
const STAGE_MADE: i32 = 0;
const STAGE_SCORE: i32 = 1;
const STAGE_JOIN: i32 = 2;
const STAGE_CLONE: i32 = 3;

/// A first stage joins namespaces and makes the child as its own sibling; it tells the child's id through a pipe.
fn staged(plan: &Plan, slots: &Slots, cgroup: Option<BorrowedFd<'_>>, mut run: impl FnMut() -> i32) -> Result<Forked> {
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)
        .map_err(|errno| Error::refused("cannot make a pipe").call("pipe2", errno as i32))?;
    let numbers: Vec<(i32, u64)> =
        plan.first_stage.iter().map(|(slot, flag)| (slots.get(*slot).map_or(-1, AsRawFd::as_raw_fd), *flag)).collect();
    let score = plan.inherited_score.map(|(score, _)| score.to_string());
    let stage = fork_into(0, cgroup, || {
        let (word, number) = match first_stage(&numbers, score.as_deref()) {
            Err((word, errno)) => (word, errno),
            Ok(()) => match fork_into(plan.clone_flags | CLONE_PARENT, None, &mut run) {
                Ok(forked) => (STAGE_MADE, forked.pid),
                Err(errno) => (STAGE_CLONE, errno),
            },
        };
        let [a, b, c, d] = word.to_ne_bytes();
        let [e, f, g, h] = number.to_ne_bytes();
        let _ = raw::write(writer.as_raw_fd(), &[a, b, c, d, e, f, g, h]);
        0
    })
    .map_err(|errno| clone_error(plan, errno))?;
    drop(writer);
    let mut bytes = [0u8; 8];
    let read = raw::read(reader.as_raw_fd(), &mut bytes);
    let _ = raw::wait4(stage.pid, libc::__WALL);
    let [a, b, c, d, e, f, g, h] = bytes;
    match (read, i32::from_ne_bytes([a, b, c, d]), i32::from_ne_bytes([e, f, g, h])) {
        (Ok(8), STAGE_MADE, pid) if pid > 0 => {
            let pidfd = raw::pidfd_open(pid)
                .map_err(|errno| Error::refused("the container's process is gone").call("pidfd_open", errno))?;
            Ok(Forked { pid, pidfd: own(pidfd) })
        }
        (Ok(8), STAGE_SCORE, errno) => {
            let error = Error::refused("cannot set oom_score_adj").call("write", errno);
            let place = plan.inherited_score.and_then(|(_, origin)| plan.origin(origin));
            Err(place.map_or(error.clone(), |place| error.at(place)))
        }
        (Ok(8), STAGE_JOIN, errno) => {
            Err(Error::refused("cannot join the container's namespaces").call("setns", errno))
        }
        (Ok(8), _, errno) => Err(clone_error(plan, errno)),
        _ => Err(Error::refused("the first stage ended without a word")),
    }
}

/// In the first stage, without allocation: what is inherited, and the namespaces.
fn first_stage(namespaces: &[(i32, u64)], score: Option<&str>) -> std::result::Result<(), (i32, i32)> {
    if let Some(score) = score {
        let failed = |errno| (STAGE_SCORE, errno);
        let flags = libc::O_WRONLY | libc::O_CLOEXEC;
        // The file of a process that is non-dumpable already, as that of exec is, belongs to the host's root. Nobody of the
        // container sees this one yet.
        raw::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0).map_err(failed)?;
        let file = raw::openat(libc::AT_FDCWD, c"/proc/self/oom_score_adj", flags, 0).map_err(failed)?;
        raw::write(file, score.as_bytes()).map_err(failed)?;
        let _ = raw::close(file);
    }
    let failed = |errno| (STAGE_JOIN, errno);
    // From the moment it is in them, processes of these namespaces could trace this one, which is still in the host's mount
    // namespace (CVE-2016-9962). The child inherits it.
    raw::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0).map_err(failed)?;
    for (namespace, flags) in namespaces {
        raw::setns(*namespace, *flags).map_err(failed)?;
    }
    Ok(())
}

/// Whether the child has no payload: its end is what was wanted.
fn leaves(plan: &Plan) -> bool {
    plan.child.last().is_some_and(|step| step.operation == Operation::Leave)
}

/// Whether the child stays to reap, so that it never executes anything itself: the payload's status comes from it.
fn reaps(plan: &Plan) -> bool {
    plan.child.iter().any(|step| matches!(step.operation, Operation::Reaper { .. }))
}

fn is_gated(plan: &Plan) -> bool {
    plan.child.iter().any(|step| step.operation == Operation::Ready)
}

/// The byte that a child waits for; false when the child is gone, which alone can keep it from arriving.
fn go_on(socket: &OwnedFd) -> bool {
    raw::send(socket.as_raw_fd(), &[1]).is_ok()
}

/// How the child's report ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// It waits to be recorded.
    Ready,
    /// The end-of-file that execve leaves, or a death where it was expected.
    End,
    /// An end-of-file where the child still had to be met.
    Lost,
}

/// Hears the child until it is ready or has become the payload; the master of its terminal.
fn listen(
    plan: &Plan,
    socket: &OwnedFd,
    mut meet: impl FnMut(Event) -> Result<()>,
) -> Result<(Heard, Option<OwnedFd>)> {
    let gated = is_gated(plan);
    let mut expected = plan.barriers.iter().map(|entry| entry.0);
    let mut terminal = None;
    loop {
        let Some((record, descriptor)) = receive(socket)? else {
            // Its end is what execve leaves, too: but not before it has been everywhere it had to be met.
            let lost = gated || expected.next().is_some();
            return Ok((if lost { Heard::Lost } else { Heard::End }, terminal));
        };
        match record.message {
            Message::Reached(_) => {
                let Some(barrier) = expected.next() else {
                    return Err(Error::refused("the container's process spoke out of turn"));
                };
                meet(Event::Barrier(barrier))?;
                if !go_on(socket) {
                    return Ok((Heard::Lost, terminal));
                }
            }
            Message::Terminal => terminal = descriptor,
            Message::Listener => {
                let listener = descriptor.ok_or_else(|| Error::refused("the seccomp listener did not come along"))?;
                meet(Event::Listener(listener))?;
            }
            Message::Mount => meet(Event::Mount(record.mount_id()))?,
            Message::Ready => return Ok((Heard::Ready, terminal)),
            Message::Failed => return Err(crate::plan::explain::failure(plan, &record)),
        }
    }
}

/// One record, and the descriptor that came along. `None`: end-of-file.
fn receive(socket: &OwnedFd) -> Result<Option<(Record, Option<OwnedFd>)>> {
    let mut bytes = [0u8; SIZE];
    let mut control = nix::cmsg_space!([i32; 1]);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let failed =
        |errno: nix::errno::Errno| Error::refused("cannot hear the container's process").call("recvmsg", errno as i32);
    let message = loop {
        match recvmsg::<()>(socket.as_fd().as_raw_fd(), &mut slices, Some(&mut control), flags) {
            Err(nix::errno::Errno::EINTR) => {}
            // It ended without having read our byte (unix(7)).
            Err(nix::errno::Errno::ECONNRESET) => return Ok(None),
            other => break other.map_err(failed)?,
        }
    };
    let length = message.bytes;
    let descriptor = message.cmsgs().map_err(failed)?.find_map(|control| match control {
        ControlMessageOwned::ScmRights(descriptors) => descriptors.first().copied(),
        _ => None,
    });
    let descriptor = descriptor.map(own);
    if length == 0 {
        return Ok(None);
    }
    match Record::decode(&bytes[..length]) {
        Some(record) => Ok(Some((record, descriptor))),
        None => Err(Error::refused("the container's process sent something else than a report")),
    }
}

/// A descriptor of a namespace of a process: `user` for idmapped mounts, `net` for devices.
///
/// # Errors
/// When it can't be opened.
pub fn namespace_of(pid: i32, name: &'static str) -> Result<OwnedFd> {
    let failed = |errno| Error::refused(format!("cannot open the {name} namespace of the child")).call("open", errno);
    let path = c_string(format!("/proc/{pid}/ns/{name}")).map_err(failed)?;
    open(libc::AT_FDCWD, &path, libc::O_RDONLY, 0).map_err(failed)
}

/// Makes this process, and so the child it makes, non-dumpable (prctl(2)). Not before id maps are to be written: the
/// child's /proc files then belong to the host's root.
///
/// # Errors
/// When prctl(2) fails.
pub fn become_opaque() -> Result<()> {
    raw::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0)
        .map(drop)
        .map_err(|errno| Error::refused("cannot become non-dumpable").call("prctl", errno))
}
