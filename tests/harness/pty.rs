//! Terminals: a pair of our own, and the socket a runtime sends a container's to.

use std::fs::File;
use std::io::{IoSliceMut, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// The outer end of a terminal, with what has been read from it.
pub struct Terminal {
    master: File,
    /// Everything read so far.
    pub seen: String,
}

impl Terminal {
    /// The outer end, made non-blocking.
    pub fn new(master: OwnedFd) -> Terminal {
        // SAFETY: sets a flag of a descriptor we own.
        unsafe { libc::fcntl(master.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
        Terminal { master: master.into(), seen: String::new() }
    }

    /// Starts a command in a session of its own, with a new terminal of this size as its controlling one.
    pub fn spawn(command: &mut Command, rows: u16, columns: u16) -> (Terminal, Child) {
        let size = nix::pty::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = nix::pty::openpty(&size, None).expect("a terminal");
        let [input, output, errors] = [0, 1, 2].map(|_| pair.slave.try_clone().expect("dup"));
        command.stdin(input).stdout(output).stderr(errors);
        // SAFETY: setsid and ioctl are async-signal-safe; descriptor 0 is the slave by then.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                match libc::ioctl(0, libc::TIOCSCTTY, 0) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        let child = command.spawn().expect("spawn");
        // The command holds copies of the inner end until it is dropped or gets others.
        command
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        (Terminal::new(pair.master), child)
    }

    /// Types text.
    pub fn write(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("write to the terminal");
    }

    /// Reads until the text has been seen; fails the test after ten seconds.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> &str {
        self.read_until(|seen| seen.contains(text));
        assert!(self.seen.contains(text), "{text:?} did not come: {:?}", self.seen);
        &self.seen
    }

    /// Reads until the inner end is closed or ten seconds are over.
    pub fn rest(&mut self) -> &str {
        self.read_until(|_| false);
        &self.seen
    }

    fn read_until(&mut self, enough: impl Fn(&str) -> bool) {
        let end = Instant::now() + Duration::from_secs_f64(10.0 * super::slow());
        let mut buffer = [0; 4096];
        while !enough(&self.seen) && Instant::now() < end {
            match self.master.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => self.seen.push_str(&String::from_utf8_lossy(&buffer[..n])),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(5)),
                // EIO: nobody holds the inner end.
                Err(_) => break,
            }
        }
    }

    /// Changes the window's size.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: reads the struct it is given.
        assert_eq!(unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, &size) }, 0);
    }
}

/// A socket for `--console-socket`.
pub struct ConsoleSocket {
    /// Its path, for the option.
    pub path: PathBuf,
    listener: UnixListener,
}

impl ConsoleSocket {
    /// Listens in a folder. The path must be short: a socket's address has 108 bytes.
    pub fn listen(dir: &Path) -> ConsoleSocket {
        let path = dir.join("console.sock");
        ConsoleSocket { listener: UnixListener::bind(&path).expect("bind"), path }
    }

    /// The terminal the runtime sends (SCM_RIGHTS); waits for at most ten seconds.
    #[track_caller]
    pub fn receive(&self) -> Terminal {
        self.listener.set_nonblocking(true).expect("non-blocking");
        let mut connection = None;
        super::wait_until("a connection to the console socket", || {
            connection = self.listener.accept().ok().map(|(stream, _)| stream);
            connection.is_some()
        });
        Terminal::new(receive_descriptor(&connection.expect("a connection")))
    }
}

/// One descriptor from a socket.
#[track_caller]
pub fn receive_descriptor(stream: &UnixStream) -> OwnedFd {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    stream.set_nonblocking(false).expect("blocking");
    let timeout = Duration::from_secs_f64(10.0 * super::slow());
    stream.set_read_timeout(Some(timeout)).expect("a time limit");
    let mut space = nix::cmsg_space!([i32; 4]);
    let mut data = [0u8; 4096];
    let mut buffers = [IoSliceMut::new(&mut data)];
    let message =
        recvmsg::<()>(stream.as_raw_fd(), &mut buffers, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC).expect("recvmsg");
    for control in message.cmsgs().expect("control messages") {
        if let ControlMessageOwned::ScmRights(descriptors) = control {
            // SAFETY: the kernel just made this descriptor for us.
            return unsafe { OwnedFd::from_raw_fd(descriptors[0]) };
        }
    }
    panic!("the message holds no descriptor");
}
