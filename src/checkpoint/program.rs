//! CRIU as a program: where it is, how it is started, and the conversation with it (`criu swrk`, criu.org/RPC).

use std::ffi::CString;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::sys::socket::{AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, socketpair};

use super::protocol::{self, Kind, Options, Response};
use crate::error::{Error, Result};
use crate::kernel::owned::{Forked, c_string, open};
use crate::kernel::raw;
use crate::kernel::service::{Service, serve};
use crate::kernel::spawn::file_of;

/// Where CRIU is looked for: folders of the host that root alone can write to, never `$PATH` and never the container's
/// root (INV-16).
const PLACES: &[&str] =
    &["/usr/sbin/criu", "/usr/bin/criu", "/usr/local/sbin/criu", "/usr/local/bin/criu", "/sbin/criu"];

/// The oldest CRIU that mounts and pid namespaces are restored with as kiste needs it.
const OLDEST: [u64; 2] = [3, 16];

/// The number of the conversation's socket in CRIU, after 0, 1 and 2; what is inherited follows.
const SOCKET: usize = 3;

/// The number that the first inherited descriptor has in CRIU.
pub(super) const FIRST_INHERITED: i32 = SOCKET as i32 + 1;

/// The environment CRIU runs with: it calls tar(1), ip(8), nft(8) and iptables(8).
const ENVIRONMENT: &[&str] = &["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"];

/// A running CRIU.
#[derive(Debug)]
pub(super) struct Criu {
    path: &'static str,
    process: Forked,
    socket: OwnedFd,
    /// What it writes before its log is open.
    messages: OwnedFd,
    ended: bool,
}

/// What CRIU is born with.
#[derive(Debug, Default)]
pub(super) struct Birth<'a> {
    /// The v2 control group.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// The v1 control groups.
    pub joins: Vec<BorrowedFd<'a>>,
    /// Descriptors from [`FIRST_INHERITED`] on.
    pub inherited: Vec<BorrowedFd<'a>>,
    /// It has the caller's terminal on 0, and its process group: what it restores then has them, too.
    pub shell_job: bool,
}

/// A notification: what CRIU has come to, the process it concerns, and the descriptor that came along.
pub(super) struct Notification {
    /// `post-restore`, `orphan-pts-master` and so on (criu.org/Action_scripts).
    pub name: String,
    /// The first process, where it is known.
    pub pid: Option<i32>,
    /// The terminal's master, for `orphan-pts-master`.
    pub descriptor: Option<OwnedFd>,
}

/// The CRIU of this host.
pub(super) fn find() -> Result<&'static str> {
    PLACES.iter().copied().find(|place| is_executable(Path::new(place))).ok_or_else(|| {
        Error::refused("CRIU is not installed: checkpoint and restore are its work")
            .hint(format!("install the package criu; kiste looks for {}", PLACES.join(", ")))
    })
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

impl Criu {
    /// Starts CRIU and asks it for its version.
    ///
    /// # Errors
    /// It is not installed, too old, or doesn't answer.
    pub(super) fn start(birth: &Birth<'_>) -> Result<Self> {
        let path = find()?;
        let failed = |call: &'static str| move |errno| Error::refused(format!("cannot run {path}")).call(call, errno);
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
            .map_err(|errno| failed("socketpair")(errno as i32))?;
        let null = open(libc::AT_FDCWD, c"/dev/null", libc::O_RDWR, 0).map_err(failed("open"))?;
        let messages = file_of(b"").map_err(failed("memfd_create"))?;
        let words = |words: &[&str]| -> Result<Vec<CString>> {
            words.iter().map(|word| c_string(*word).map_err(failed("execve"))).collect()
        };
        let (program, arguments) =
            (c_string(path).map_err(failed("execve"))?, words(&["criu", "swrk", &SOCKET.to_string()])?);
        let environment = words(ENVIRONMENT)?;
        let stdin = std::io::stdin();
        let input = if birth.shell_job { stdin.as_fd() } else { null.as_fd() };
        let mut descriptors = vec![input, null.as_fd(), messages.as_fd(), theirs.as_fd()];
        descriptors.extend(&birth.inherited);
        let process = serve(&Service {
            path: &program,
            arguments: &arguments,
            environment: &environment,
            descriptors: &descriptors,
            cgroup: birth.cgroup,
            joins: &birth.joins,
            own_group: !birth.shell_job,
        })
        .map_err(failed("execve"))?;
        drop(theirs);
        let mut criu = Criu { path, process, socket: ours, messages, ended: false };
        let [major, minor, _] = criu.call(&protocol::request(Kind::Version, None, true))?.version;
        if [major, minor] < OLDEST {
            let [wanted, at_least] = OLDEST;
            return Err(Error::refused(format!(
                "{path} is version {major}.{minor}, and {wanted}.{at_least} is needed"
            )));
        }
        Ok(criu)
    }

    /// Its process.
    pub(super) fn pid(&self) -> i32 {
        self.process.pid
    }

    /// Whether the kernel marks changed memory, and whether it can fetch pages when they are needed.
    pub(super) fn features(&mut self) -> Result<(bool, bool)> {
        let answer = self.call(&protocol::request(Kind::FeatureCheck, None, true))?;
        Ok((answer.tracks_memory, answer.lazy_pages))
    }

    fn call(&mut self, request: &[u8]) -> Result<Response> {
        self.send(request)?;
        match self.receive()? {
            (answer, _) if answer.success => Ok(answer),
            (answer, _) => Err(Error::refused(format!("{} refuses to answer{}", self.path, self.said(&answer)))),
        }
    }

    /// A request that takes its time: CRIU tells how far it is, and waits for `meet` each time. When `meet` fails, CRIU
    /// undoes what it can, and that error is the one to tell.
    ///
    /// # Errors
    /// That of `meet`; or nothing but the fact that CRIU failed, with its own words as far as it has any outside its log.
    pub(super) fn work(
        &mut self,
        kind: Kind,
        options: &Options,
        mut meet: impl FnMut(Notification) -> Result<()>,
    ) -> Result<Response> {
        self.send(&protocol::request(kind, Some(options), false))?;
        let mut first_error = None;
        loop {
            let (answer, descriptor) = match self.receive() {
                Err(error) => return Err(first_error.unwrap_or(error)),
                Ok(answer) => answer,
            };
            if let Some((name, pid)) = answer.notification {
                let met = meet(Notification { name, pid, descriptor });
                self.send(&protocol::acknowledgement(met.is_ok()))?;
                first_error = first_error.or(met.err());
                continue;
            }
            return match (answer.success, first_error) {
                (true, None) => Ok(answer),
                (_, Some(error)) => Err(error),
                (false, None) => Err(Error::refused(format!("CRIU failed{}", self.words(&answer)))),
            };
        }
    }

    fn send(&self, message: &[u8]) -> Result<()> {
        match raw::send(self.socket.as_raw_fd(), message) {
            Ok(_) => Ok(()),
            Err(libc::EMSGSIZE) => Err(Error::refused("the container has too much to tell CRIU about")
                .hint("it has thousands of mounts from outside")),
            Err(errno) => Err(Error::refused("CRIU does not listen").call("send", errno)),
        }
    }

    /// One message, and the descriptor that came along.
    fn receive(&mut self) -> Result<(Response, Option<OwnedFd>)> {
        let mut bytes = vec![0u8; 64 << 10];
        let mut control = nix::cmsg_space!([i32; 1]);
        let (length, descriptor) = loop {
            let mut slices = [IoSliceMut::new(&mut bytes)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            match recvmsg::<()>(self.socket.as_raw_fd(), &mut slices, Some(&mut control), flags) {
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(Error::refused("CRIU does not answer").call("recvmsg", errno as i32)),
                Ok(message) => {
                    let mut found = None;
                    let messages = message
                        .cmsgs()
                        .map_err(|errno| Error::refused("CRIU does not answer").call("recvmsg", errno as i32))?;
                    for control in messages {
                        if let ControlMessageOwned::ScmRights(descriptors) = control {
                            found = descriptors.first().map(|descriptor| crate::kernel::owned::own(*descriptor));
                        }
                    }
                    break (message.bytes, found);
                }
            }
        };
        if length == 0 {
            return Err(self.gone());
        }
        let response =
            Response::read(&bytes[..length]).map_err(|_| Error::refused("CRIU's answer can't be understood"))?;
        Ok((response, descriptor))
    }

    /// CRIU has ended without an answer.
    fn gone(&mut self) -> Error {
        let status = self.reap();
        let how = match status {
            Some(status) if libc::WIFSIGNALED(status) => format!("was killed by signal {}", libc::WTERMSIG(status)),
            Some(status) => format!("ended with status {}", libc::WEXITSTATUS(status)),
            None => "ended".to_owned(),
        };
        Error::refused(format!("{} {how}{}", self.path, self.said(&Response::default())))
    }

    fn reap(&mut self) -> Option<i32> {
        self.ended = true;
        loop {
            match raw::wait4(self.process.pid, libc::__WALL) {
                Err(libc::EINTR) => {}
                other => return other.ok().map(|(_, status)| status),
            }
        }
    }

    /// The reason its answer has.
    fn words(&self, answer: &Response) -> String {
        match (&answer.message, answer.errno.filter(|errno| *errno != 0)) {
            (None, Some(errno)) => format!(": {}", crate::error::errno_text(errno)),
            // The first line of its log, which need not be the reason.
            _ => String::new(),
        }
    }

    /// What it has said where it has no log.
    fn said(&self, answer: &Response) -> String {
        let mut text = self.words(answer);
        if let Ok(said) = std::fs::read(format!("/proc/self/fd/{}", self.messages.as_raw_fd()))
            && let Some(lines) = super::log::errors(&String::from_utf8_lossy(&said))
        {
            text.push_str(&format!(": {lines}"));
        }
        text
    }
}

impl Drop for Criu {
    /// An answer was its last act, or it is not wanted any more: either way it is reaped.
    fn drop(&mut self) {
        if !self.ended {
            // It goes by itself once nobody is at the other end; while it works on a container it must not be killed.
            let _ = nix::sys::socket::shutdown(self.socket.as_raw_fd(), nix::sys::socket::Shutdown::Both);
            self.reap();
        }
    }
}
