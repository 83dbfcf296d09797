//! sd_notify(3) for a payload: systemd watches `$NOTIFY_SOCKET` of whoever calls the runtime, which the container can
//! neither reach nor be trusted with. A socket of ours is bound into the container instead; what comes there and says
//! `READY=1` is told to the host, with the init's pid, and nothing else is.
//!
//! The places are those of runc, because images and unit files know them.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::kernel::owned::open;
use crate::kernel::raw;
use crate::state::Container;

/// Where the directory is bound in the container.
pub const DESTINATION: &str = "/run/notify";
/// With which mount options.
pub const OPTIONS: [&str; 5] = ["bind", "nosuid", "noexec", "nodev", "ro"];
/// What the payload's `NOTIFY_SOCKET` says.
pub const ADDRESS: &str = "/run/notify/notify.sock";

const DIRECTORY: &CStr = c"notify";
const NAME: &CStr = c"notify.sock";
/// How long the host may take to say that it has read our messages.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes the directory that is bound into the container, and gives its path: the source of the mount. For `create` and
/// `run`, if the caller has a `NOTIFY_SOCKET`.
///
/// # Errors
/// When it can't be made.
pub fn make_directory(container: &Container) -> Result<PathBuf> {
    let parent = container.directory().as_raw_fd();
    let failed = |call: &'static str| {
        move |errno| Error::refused("cannot make the directory of the notify socket").call(call, errno)
    };
    raw::mkdirat(parent, DIRECTORY, 0o755).map_err(failed("mkdir"))?;
    // Whatever the umask: the payload's user must get through.
    let directory =
        open(parent, DIRECTORY, libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW, 0).map_err(failed("open"))?;
    raw::fchmod(directory.as_raw_fd(), 0o755).map_err(failed("chmod"))?;
    Ok(container.path().join("notify"))
}

/// The container's socket and the host's.
#[derive(Debug)]
pub struct Proxy {
    socket: UnixDatagram,
    host: UnixDatagram,
    /// The init's pid, once it is known.
    pid: Option<i32>,
    told: bool,
}

impl Proxy {
    /// Binds the container's socket and connects to the host's. `host` is the caller's `NOTIFY_SOCKET`: a path, or `@`
    /// and a name. Nothing if `create` made no directory, because it had no `NOTIFY_SOCKET`. To be called before the
    /// payload runs, or its word may come too early.
    ///
    /// # Errors
    /// When either socket refuses.
    pub fn bind(container: &Container, host: &OsStr) -> Result<Option<Self>> {
        let failed = |call: &'static str, error: &std::io::Error| {
            Error::refused("cannot make the notify socket").io(call, error)
        };
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let directory = match open(container.directory().as_raw_fd(), DIRECTORY, flags, 0) {
            Ok(directory) => directory,
            Err(libc::ENOENT) => return Ok(None),
            Err(errno) => return Err(Error::refused("cannot make the notify socket").call("open", errno)),
        };
        // Left by a `start` that failed.
        let _ = raw::unlinkat(directory.as_raw_fd(), NAME, 0);
        // Through the descriptor: a state directory's path may be longer than a socket address.
        let path = format!("/proc/self/fd/{}/notify.sock", directory.as_raw_fd());
        let socket = UnixDatagram::bind(path).map_err(|error| failed("bind", &error))?;
        raw::fchmodat(directory.as_raw_fd(), NAME, 0o777)
            .map_err(|errno| Error::refused("cannot make the notify socket").call("chmod", errno))?;
        socket.set_nonblocking(true).map_err(|error| failed("fcntl", &error))?;
        let host = connect(host)?;
        Ok(Some(Proxy { socket, host, pid: None, told: false }))
    }

    /// Whose pid the host is told.
    pub fn serves(mut self, pid: i32) -> Self {
        self.pid = Some(pid);
        self
    }

    /// What to poll(2) for.
    pub(super) fn descriptor(&self) -> i32 {
        self.socket.as_raw_fd()
    }

    /// Reads what has come; the first `READY=1` is passed on. Later messages are read, so that their senders don't wait,
    /// and dropped. Descriptors that come along (of `BARRIER=1`) are closed by the kernel, which is the answer.
    ///
    /// # Errors
    /// When the host doesn't take the message.
    pub(super) fn handle(&mut self) -> Result<()> {
        let mut buffer = [0u8; 4096];
        // Bounded: a payload that floods the socket must not keep us from signals.
        for _ in 0..64 {
            match self.socket.recv(&mut buffer) {
                Ok(length) => {
                    let ready = buffer[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1");
                    if ready && !std::mem::replace(&mut self.told, true) {
                        self.tell_host()?;
                    }
                }
                Err(_) => break,
            }
        }
        Ok(())
    }

    fn tell_host(&self) -> Result<()> {
        let pid = self.pid.map(|pid| format!("MAINPID={pid}\n"));
        for message in ["READY=1\n".to_owned()].into_iter().chain(pid) {
            self.host.send(message.as_bytes()).map_err(|error| {
                Error::refused("cannot tell NOTIFY_SOCKET that the container is ready").io("send", &error)
            })?;
        }
        Ok(())
    }

    /// For a runtime that will not stay (`start`, `run --detach`): waits until the payload is ready or `init` has ended,
    /// and then until the host has read our messages, because it looks their sender up.
    ///
    /// # Errors
    /// When poll(2) fails or the host doesn't take the messages.
    pub fn forward_until_ready(mut self, init: BorrowedFd<'_>) -> Result<()> {
        loop {
            let mut entries = [
                libc::pollfd { fd: self.descriptor(), events: libc::POLLIN, revents: 0 },
                libc::pollfd { fd: init.as_raw_fd(), events: libc::POLLIN, revents: 0 },
            ];
            match raw::poll(&mut entries, -1) {
                Ok(_) | Err(libc::EINTR) => {}
                Err(errno) => {
                    return Err(Error::refused("cannot wait for the container to be ready").call("poll", errno));
                }
            }
            // Also when the init has ended: its last word may be there.
            self.handle()?;
            if self.told {
                return self.barrier();
            }
            if entries[1].revents != 0 {
                return Ok(());
            }
        }
    }

    /// sd_notify_barrier(3): a pipe's writing end goes to the host, which closes it when it has read all before.
    fn barrier(&self) -> Result<()> {
        let failed = |call: &'static str, errno| Error::refused("cannot wait for NOTIFY_SOCKET").call(call, errno);
        let (reader, writer) =
            nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|errno| failed("pipe2", errno as i32))?;
        raw::send_descriptor(self.host.as_raw_fd(), b"BARRIER=1", writer.as_raw_fd())
            .map_err(|errno| failed("sendmsg", errno))?;
        drop(writer);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let rest = deadline.saturating_duration_since(Instant::now()).as_millis() as i64;
            let mut entry = [libc::pollfd { fd: reader.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
            match raw::poll(&mut entry, rest) {
                // A host that doesn't know barriers (systemd before 246) leaves it open: not our failure.
                Ok(_) => return Ok(()),
                Err(libc::EINTR) => {}
                Err(errno) => return Err(failed("poll", errno)),
            }
        }
    }
}

/// A socket connected to the host's address.
fn connect(host: &OsStr) -> Result<UnixDatagram> {
    let failed = |error: &std::io::Error| {
        Error::refused(format!("cannot connect to NOTIFY_SOCKET \"{}\"", host.to_string_lossy().escape_default()))
            .io("connect", error)
    };
    let socket = UnixDatagram::unbound().map_err(|error| failed(&error))?;
    // Held until the connection is made, if the path goes through it.
    let mut directory: Option<OwnedFd> = None;
    let address = match host.as_bytes() {
        [b'@', name @ ..] if !name.is_empty() => SocketAddr::from_abstract_name(name),
        [b'/', ..] => {
            let path = Path::new(host);
            match SocketAddr::from_pathname(path) {
                Ok(address) => Ok(address),
                Err(_) => {
                    let (opened, name) = super::console::socket_directory(path)
                        .map_err(|errno| failed(&std::io::Error::from_raw_os_error(errno)))?;
                    let short = Path::new("/proc/self/fd").join(opened.as_raw_fd().to_string()).join(name);
                    directory = Some(opened);
                    SocketAddr::from_pathname(short)
                }
            }
        }
        _ => return Err(failed(&std::io::Error::from_raw_os_error(libc::EINVAL)).hint("it must begin with '/' or '@'")),
    };
    let address = address.map_err(|error| failed(&error))?;
    socket.connect_addr(&address).map_err(|error| failed(&error))?;
    drop(directory);
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::StateRoot;

    struct Ground(PathBuf);

    impl Drop for Ground {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn ready_alone_is_passed_on() {
        let ground = Ground(std::env::temp_dir().join(format!("kiste-notify-test-{}", std::process::id())));
        std::fs::create_dir(&ground.0).unwrap();
        let root = StateRoot::open(Some(&ground.0.join("root"))).unwrap();
        let container = root.reserve("a").unwrap();
        assert!(Proxy::bind(&container, OsStr::new("/x")).unwrap().is_none(), "create had no NOTIFY_SOCKET");
        let source = make_directory(&container).unwrap();
        let host_path = ground.0.join("x".repeat(120));
        std::fs::create_dir(&host_path).unwrap();
        let here = open(
            libc::AT_FDCWD,
            &crate::kernel::owned::c_string(host_path.as_os_str().as_bytes()).unwrap(),
            libc::O_PATH,
            0,
        )
        .unwrap();
        let host = UnixDatagram::bind(format!("/proc/self/fd/{}/h", here.as_raw_fd())).unwrap();
        host.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut proxy = Proxy::bind(&container, host_path.join("h").as_os_str()).unwrap().unwrap().serves(4242);

        let payload = UnixDatagram::unbound().unwrap();
        let say = |text: &[u8]| payload.send_to(text, source.join("notify.sock")).unwrap();
        say(b"STATUS=READY=1\nMAINPID=1");
        say(b"READY=0");
        proxy.handle().unwrap();
        say(b"MAINPID=1\nREADY=1\nSTATUS=up");
        say(b"READY=1");
        let own_pidfd = crate::kernel::owned::pidfd(raw::getpid()).unwrap();
        std::thread::scope(|scope| {
            use std::os::fd::AsFd;
            let forward = scope.spawn(|| proxy.forward_until_ready(own_pidfd.as_fd()));
            let mut buffer = [0u8; 100];
            let mut next = || {
                let (length, descriptor) = super::super::console::receive(&host, &mut buffer).unwrap();
                (String::from_utf8(buffer[..length].to_vec()).unwrap(), descriptor)
            };
            assert_eq!(next().0, "READY=1\n");
            assert_eq!(next().0, "MAINPID=4242\n");
            let (text, barrier) = next();
            assert_eq!(text, "BARRIER=1");
            std::thread::sleep(Duration::from_millis(50));
            assert!(!forward.is_finished(), "it waits for the host");
            drop(barrier.unwrap());
            forward.join().unwrap().unwrap();
        });
    }

    #[test]
    fn addresses() {
        for bad in ["", "x", "@", "/no/such"] {
            assert!(connect(OsStr::new(bad)).is_err(), "{bad}");
        }
        let name = format!("kiste-notify-test-{}", std::process::id());
        let _host = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        connect(OsStr::new(&format!("@{name}"))).unwrap();
    }
}
