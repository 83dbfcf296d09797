//! Terminals: the copy loop between the caller's terminal and the container's, and the console socket.
//!
//! Nothing here waits: both directions have a bounded buffer, and poll(2) in [`super::wait`] tells what can go on.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::error::{Error, Result};
use crate::kernel::owned::{c_string, open, own};
use crate::kernel::{parent, raw};

/// How much one direction holds, in bytes.
const BUFFER: usize = 64 << 10;
/// The longest path that fits into a socket address (unix(7)).
const LONGEST_SOCKET_PATH: usize = 107;

/// A descriptor of the caller's terminal or pipe.
#[derive(Debug)]
enum Host {
    /// Opened anew, so that not waiting is our matter alone: the flag belongs to the open file, which the caller's shell
    /// shares.
    Reopened(OwnedFd),
    /// As it was given: a file never makes anybody wait, a socket can't be opened anew.
    Given(i32),
}

impl Host {
    fn descriptor(&self) -> i32 {
        match self {
            Host::Reopened(descriptor) => descriptor.as_raw_fd(),
            Host::Given(descriptor) => *descriptor,
        }
    }

    /// Whether a read or write of it waits.
    fn waits(&self) -> bool {
        matches!(self, Host::Given(_))
    }

    fn of(descriptor: i32, flags: i32) -> Self {
        let kind = raw::statx(descriptor, c"", libc::AT_EMPTY_PATH).map(|stat| u32::from(stat.stx_mode) & libc::S_IFMT);
        if matches!(kind, Ok(libc::S_IFCHR | libc::S_IFIFO)) {
            let flags = flags | libc::O_NONBLOCK | libc::O_NOCTTY;
            let path = c_string(format!("/proc/self/fd/{descriptor}"));
            if let Ok(reopened) = path.and_then(|path| open(libc::AT_FDCWD, &path, flags, 0)) {
                return Host::Reopened(reopened);
            }
        }
        Host::Given(descriptor)
    }
}

/// The caller's terminal in raw mode; as it was when dropped.
#[derive(Debug)]
struct Raw {
    saved: Termios,
}

impl Raw {
    fn enter() -> Option<Self> {
        let stdin = std::io::stdin();
        let saved = tcgetattr(&stdin).ok()?;
        let mut settings = saved.clone();
        cfmakeraw(&mut settings);
        // SIGTTOU is blocked by then, so this works from the background, too.
        tcsetattr(&stdin, SetArg::TCSANOW, &settings).ok()?;
        Some(Raw { saved })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &self.saved);
    }
}

/// The container's terminal joined to descriptors 0 and 1. While it lives, descriptor 0 is in raw mode if it is a
/// terminal.
#[derive(Debug)]
pub struct Console {
    master: OwnedFd,
    /// Held so that the master doesn't hang up while nobody in the container has the terminal open: an init closes and
    /// opens /dev/console as it likes.
    peer: Option<OwnedFd>,
    master_ended: bool,
    input: Option<Host>,
    output: Host,
    to_master: Vec<u8>,
    to_output: Vec<u8>,
    /// How much is still taken after the container's end, in bytes.
    rest: usize,
    /// Put back when this is dropped.
    _raw: Option<Raw>,
}

impl Console {
    /// Takes the master, gives the container's terminal the caller's size, and the caller's terminal raw mode. All
    /// signals must be blocked before ([`super::signals::Blocked`]), so that none ends this process with the terminal
    /// left raw.
    ///
    /// # Errors
    /// When the master refuses not to wait.
    pub fn new(master: OwnedFd) -> Result<Self> {
        set_nonblocking(&master)?;
        let flags = (libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC) as usize;
        let peer = raw::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags).map(|peer| own(peer as i32)).ok();
        let mut console = Console {
            master,
            peer,
            master_ended: false,
            input: Some(Host::of(0, libc::O_RDONLY)),
            output: Host::of(1, libc::O_WRONLY),
            to_master: Vec::new(),
            to_output: Vec::new(),
            rest: 16 * BUFFER,
            _raw: Raw::enter(),
        };
        console.resize();
        Ok(console)
    }

    /// The caller's size becomes the container's; without a caller's terminal nothing happens.
    pub(super) fn resize(&mut self) {
        if let Some((rows, columns)) = caller_size() {
            let _ = raw::set_window_size(self.master.as_raw_fd(), rows, columns);
        }
    }

    /// What to wait for: master, input, output. A negative descriptor is passed over.
    pub(super) fn entries(&self) -> [libc::pollfd; 3] {
        let entry = |descriptor: i32, events: i16| libc::pollfd {
            fd: if events == 0 { -1 } else { descriptor },
            events,
            revents: 0,
        };
        let read = |wanted: bool| if wanted { libc::POLLIN } else { 0 };
        let write = |wanted: bool| if wanted { libc::POLLOUT } else { 0 };
        let master = read(self.to_output.len() < BUFFER) | write(!self.to_master.is_empty());
        let input = self.input.as_ref().map_or(-1, Host::descriptor);
        [
            entry(self.master.as_raw_fd(), if self.master_ended { 0 } else { master }),
            entry(input, read(input >= 0 && self.to_master.len() < BUFFER)),
            entry(self.output.descriptor(), write(!self.to_output.is_empty())),
        ]
    }

    /// Does what can be done without waiting.
    pub(super) fn handle(&mut self, ready: &[libc::pollfd; 3]) {
        if ready[1].revents != 0
            && let Some(input) = &self.input
            && !fill(input.descriptor(), input.waits(), &mut self.to_master)
        {
            self.input = None;
        }
        if !self.to_master.is_empty() && !drain(self.master.as_raw_fd(), false, &mut self.to_master) {
            self.to_master.clear();
        }
        if ready[0].revents & !libc::POLLOUT != 0 {
            self.read_master();
        }
        self.write_output();
    }

    fn read_master(&mut self) {
        if !self.master_ended && !fill(self.master.as_raw_fd(), false, &mut self.to_output) {
            self.master_ended = true;
        }
    }

    fn write_output(&mut self) {
        // A caller that doesn't read any more: what the container writes is lost, but it goes on.
        if !drain(self.output.descriptor(), self.output.waits(), &mut self.to_output) {
            self.to_output.clear();
        }
    }

    /// After the container's end: takes what is still in the terminal. True once all of it is written; else the output
    /// must be waited for. The kernel moves what is on its way before it says that there is nothing more (n_tty), and a
    /// terminal holds less than the bound: more can only come from processes that outlive the first one, and those are
    /// not waited for.
    pub(super) fn finish(&mut self) -> bool {
        self.input = None;
        self.peer = None;
        while self.rest > 0 {
            let before = self.to_output.len();
            self.read_master();
            let more = self.to_output.len() - before;
            self.rest = self.rest.saturating_sub(more);
            self.write_output();
            if !self.to_output.is_empty() {
                return false;
            }
            if more == 0 {
                return true;
            }
        }
        self.write_output();
        self.to_output.is_empty()
    }
}

/// Reads what is there until the buffer is full; false at the end of the input. An input that `waits` when it is empty is
/// read once only for each time poll(2) says that it is ready.
fn fill(descriptor: i32, waits: bool, buffer: &mut Vec<u8>) -> bool {
    let mut part = [0u8; 4096];
    while buffer.len() < BUFFER {
        match raw::read(descriptor, &mut part) {
            Ok(0) => return false,
            Ok(length) => buffer.extend_from_slice(&part[..length]),
            Err(libc::EINTR) => continue,
            Err(libc::EAGAIN) => return true,
            // EIO: nobody has the terminal open, or this process is in the terminal's background.
            Err(_) => return false,
        }
        if waits && !is_ready(descriptor, libc::POLLIN) {
            return true;
        }
    }
    true
}

/// Writes what is taken; false when nobody takes it any more. To an output that `waits` when it is full goes no more than
/// poll(2) promises room for (`PIPE_BUF`, pipe(7)).
fn drain(descriptor: i32, waits: bool, buffer: &mut Vec<u8>) -> bool {
    let mut done = 0;
    let mut open = true;
    while done < buffer.len() {
        if waits && !is_ready(descriptor, libc::POLLOUT) {
            break;
        }
        let end = if waits { buffer.len().min(done + 4096) } else { buffer.len() };
        match raw::write(descriptor, &buffer[done..end]) {
            Ok(length) => done += length,
            Err(libc::EINTR) => {}
            Err(libc::EAGAIN) => break,
            Err(_) => {
                open = false;
                break;
            }
        }
    }
    buffer.drain(..done);
    open
}

fn is_ready(descriptor: i32, events: i16) -> bool {
    raw::poll(&mut [libc::pollfd { fd: descriptor, events, revents: 0 }], 0).is_ok_and(|ready| ready > 0)
}

fn set_nonblocking(descriptor: &OwnedFd) -> Result<()> {
    let failed = |errno| Error::refused("cannot use the terminal").call("fcntl", errno);
    let flags = raw::fcntl(descriptor.as_raw_fd(), libc::F_GETFL, 0).map_err(failed)?;
    raw::fcntl(descriptor.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK as usize).map_err(failed).map(drop)
}

/// Rows and columns of the caller's terminal: the first of descriptors 0, 1 and 2 that is one.
pub fn caller_size() -> Option<(u16, u16)> {
    (0..3).find_map(|descriptor| parent::window_size(descriptor).ok()).filter(|size| *size != (0, 0))
}

/// Connects to the socket that wants the terminal's master (`--console-socket`).
///
/// # Errors
/// `Kind::Refused` when there is no listening socket.
pub fn connect_console_socket(path: &Path) -> Result<OwnedFd> {
    let failed = |error: &std::io::Error| {
        Error::refused(format!("cannot connect to the console socket {}", path.display())).io("connect", error)
    };
    if path.as_os_str().len() <= LONGEST_SOCKET_PATH {
        return UnixStream::connect(path).map(OwnedFd::from).map_err(|error| failed(&error));
    }
    let (directory, name) =
        socket_directory(path).map_err(|errno| failed(&std::io::Error::from_raw_os_error(errno)))?;
    let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
    UnixStream::connect(short).map(OwnedFd::from).map_err(|error| failed(&error))
}

/// A path too long for a socket address: its directory opened, and the name in it.
pub(super) fn socket_directory(path: &Path) -> Result<(OwnedFd, &std::ffi::OsStr), i32> {
    let name = path.file_name().ok_or(libc::EINVAL)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let parent = c_string(parent.as_os_str().as_bytes())?;
    open(libc::AT_FDCWD, &parent, libc::O_PATH | libc::O_DIRECTORY, 0).map(|directory| (directory, name))
}

/// Receives one message and the descriptor that came with it, if any; the bytes go into `buffer`. More than one
/// descriptor, or a message that is longer than the buffer, is refused.
///
/// # Errors
/// When recvmsg(2) fails or the message is not as said.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> Result<(usize, Option<OwnedFd>)> {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    let refused = |errno| Error::refused("cannot receive a descriptor").call("recvmsg", errno);
    let mut vector = [std::io::IoSliceMut::new(buffer)];
    let mut control = nix::cmsg_space!([std::os::fd::RawFd; 4]);
    let message = loop {
        match recvmsg::<()>(socket.as_fd().as_raw_fd(), &mut vector, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC) {
            Err(nix::errno::Errno::EINTR) => {}
            other => break other.map_err(|errno| refused(errno as i32))?,
        }
    };
    let cut = message.flags.intersects(MsgFlags::MSG_CTRUNC | MsgFlags::MSG_TRUNC);
    let length = message.bytes;
    let mut descriptors: Vec<OwnedFd> = Vec::new();
    for part in message.cmsgs().map_err(|errno| refused(errno as i32))? {
        if let ControlMessageOwned::ScmRights(received) = part {
            descriptors.extend(received.into_iter().map(own));
        }
    }
    if cut || descriptors.len() > 1 {
        return Err(Error::refused("cannot receive a descriptor: the message is not as agreed"));
    }
    Ok((length, descriptors.pop()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_descriptor_comes_through() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let file = crate::kernel::spawn::file_of(b"hello").unwrap();
        raw::send_descriptor(theirs.as_raw_fd(), b"tty", file.as_raw_fd()).unwrap();
        raw::send(theirs.as_raw_fd(), b"bare").unwrap();
        let mut buffer = [0u8; 16];
        let (length, received) = receive(&ours, &mut buffer[..3]).unwrap();
        let received = received.unwrap();
        assert_eq!(&buffer[..length], b"tty");
        let mut text = [0u8; 8];
        assert_eq!(raw::read(received.as_raw_fd(), &mut text), Ok(5));
        assert_ne!(raw::fcntl(received.as_raw_fd(), libc::F_GETFD, 0).unwrap() & libc::FD_CLOEXEC as usize, 0);
        let (length, none) = receive(&ours, &mut buffer).unwrap();
        assert!(none.is_none() && &buffer[..length] == b"bare");
        drop(theirs);
        assert_eq!(receive(&ours, &mut buffer).unwrap().0, 0);
    }

    #[test]
    fn console_sockets_with_long_paths() {
        let directory = std::env::temp_dir().join(format!("kiste-console-test-{}", std::process::id()));
        let deep = directory.join("x".repeat(120));
        std::fs::create_dir_all(&deep).unwrap();
        let here = open(libc::AT_FDCWD, &c_string(deep.as_os_str().as_bytes()).unwrap(), libc::O_PATH, 0).unwrap();
        let listener = UnixListener::bind(format!("/proc/self/fd/{}/s", here.as_raw_fd())).unwrap();
        let connected = connect_console_socket(&deep.join("s"));
        let missing = connect_console_socket(&directory.join("no")).unwrap_err().to_string();
        drop(listener);
        std::fs::remove_dir_all(&directory).unwrap();
        connected.unwrap();
        assert!(missing.contains("connect: no such file or directory"), "{missing}");
    }
}
