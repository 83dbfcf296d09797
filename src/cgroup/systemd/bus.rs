//! A connection to systemd: its own socket, or the system or user bus. Blocking, without threads.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::wire::{Call, Message, Value, Writer, decode, length};
use crate::error::{Error, Result};

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const OBJECT: &str = "/org/freedesktop/systemd1";
const JOB_REMOVED: &str = "type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";

/// How long systemd may take for a job; runc waits as long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to one systemd manager.
pub(super) struct Bus {
    stream: UnixStream,
    /// Between us and systemd there is a message bus.
    routed: bool,
    serial: u32,
    /// Signals that came while an answer was awaited.
    signals: VecDeque<Message>,
    end: Instant,
}

/// What systemd answered instead of doing it.
#[derive(Debug)]
pub(super) struct Refusal {
    pub name: String,
    pub text: String,
}

/// Where the manager may be found, and whether that is a message bus. systemd's own socket comes first: it is there
/// without a bus daemon, and one hop shorter.
pub(super) fn addresses(user: bool) -> Vec<(PathBuf, bool)> {
    if !user {
        return vec![("/run/systemd/private".into(), false), ("/run/dbus/system_bus_socket".into(), true)];
    }
    let mut list = Vec::new();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR")
        .map_or_else(|| format!("/run/user/{}", nix::unistd::getuid()).into(), PathBuf::from);
    list.push((runtime.join("systemd/private"), false));
    let address = std::env::var("DBUS_SESSION_BUS_ADDRESS").unwrap_or_default();
    if let Some(path) = address.strip_prefix("unix:path=") {
        list.push((path.split(',').next().unwrap_or(path).into(), true));
    }
    list.push((runtime.join("bus"), true));
    list
}

impl Bus {
    /// Connects to the system's manager, or to the user's.
    pub fn connect(user: bool) -> Result<Bus> {
        let mut last = None;
        for (path, routed) in addresses(user) {
            match UnixStream::connect(&path) {
                Ok(stream) => match Bus::open(stream, routed) {
                    Ok(bus) => return Ok(bus),
                    Err(error) => last = Some(error),
                },
                Err(error) => {
                    let what = format!("cannot reach systemd at {}", path.display());
                    last.get_or_insert(Error::refused(what).io("connect", &error));
                }
            }
        }
        let hint = match user {
            true => "the systemd cgroup driver needs the user's service manager: log in, or loginctl enable-linger",
            false => "the systemd cgroup driver needs systemd as init; --cgroup-manager=cgroupfs does without",
        };
        Err(last.unwrap_or_else(|| Error::refused("cannot reach systemd")).hint(hint))
    }

    pub(super) fn open(stream: UnixStream, routed: bool) -> Result<Bus> {
        let end = Instant::now() + PATIENCE;
        let mut bus = Bus { stream, routed, serial: 0, signals: VecDeque::new(), end };
        // Empty credentials: the socket tells who we are, also from inside a user namespace.
        bus.send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        for expected in ["DATA", "OK "] {
            let line = bus.line()?;
            if !line.starts_with(expected) {
                return Err(Error::refused(format!("systemd does not let this user in: {}", line.trim())));
            }
        }
        if routed {
            let bus_call = |member, signature, body| Call {
                destination: Some("org.freedesktop.DBus"),
                path: "/org/freedesktop/DBus",
                interface: "org.freedesktop.DBus",
                member,
                signature,
                body,
            };
            bus.call(bus_call("Hello", "", Writer::default())).and_then(refused)?;
            let mut rule = Writer::default();
            rule.text(JOB_REMOVED);
            bus.call(bus_call("AddMatch", "s", rule)).and_then(refused)?;
            bus.manager("Subscribe", "", Writer::default()).and_then(refused)?;
        }
        Ok(bus)
    }

    /// Calls systemd's manager object.
    pub fn manager(
        &mut self,
        member: &str,
        signature: &str,
        body: Writer,
    ) -> Result<std::result::Result<Message, Refusal>> {
        let destination = self.routed.then_some(SYSTEMD);
        self.call(Call { destination, path: OBJECT, interface: MANAGER, member, signature, body })
    }

    /// Reads a property that is a text.
    pub fn property(
        &mut self,
        object: &str,
        interface: &str,
        name: &str,
    ) -> Result<std::result::Result<String, Refusal>> {
        let mut body = Writer::default();
        body.text(interface);
        body.text(name);
        let destination = self.routed.then_some(SYSTEMD);
        let interface = "org.freedesktop.DBus.Properties";
        let answer = self.call(Call { destination, path: object, interface, member: "Get", signature: "ss", body })?;
        Ok(answer.map(|message| message.texts.into_iter().next().unwrap_or_default()))
    }

    /// Calls a method that gives a job, and waits until the job has ended; gives its result (`done`, `failed`, …).
    pub fn job(&mut self, member: &str, signature: &str, body: Writer) -> Result<std::result::Result<String, Refusal>> {
        let job = match self.manager(member, signature, body)? {
            Ok(answer) => answer.texts.into_iter().next().unwrap_or_default(),
            Err(refusal) => return Ok(Err(refusal)),
        };
        loop {
            let signal = match self.signals.pop_front() {
                Some(signal) => signal,
                None => self.receive()?,
            };
            // The body is: number, job, unit, result.
            if signal.member == "JobRemoved" && signal.texts.first() == Some(&job) {
                return Ok(Ok(signal.texts.into_iter().nth(2).unwrap_or_default()));
            }
        }
    }

    fn call(&mut self, call: Call<'_>) -> Result<std::result::Result<Message, Refusal>> {
        self.serial += 1;
        let serial = self.serial;
        self.send(&call.encode(serial))?;
        loop {
            let message = self.receive()?;
            match message.kind {
                2 if message.answers == serial => return Ok(Ok(message)),
                3 if message.answers == serial => {
                    let text = message.texts.into_iter().next().unwrap_or_default();
                    return Ok(Err(Refusal { name: message.error, text }));
                }
                4 => self.signals.push_back(message),
                _ => {}
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let failed = |error| Error::refused("cannot talk to systemd").io("write", &error);
        self.stream.set_write_timeout(Some(self.left()?)).and_then(|()| self.stream.write_all(bytes)).map_err(failed)
    }

    fn left(&self) -> Result<Duration> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::refused("systemd has not answered in 30 seconds").call("read", libc::ETIMEDOUT));
        }
        Ok(left)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            self.stream.set_read_timeout(Some(self.left()?)).map_err(|error| talk(&error))?;
            match self.stream.read(&mut buffer[filled..]) {
                Ok(0) => return Err(Error::refused("systemd has closed the connection")),
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(talk(&error)),
            }
        }
        Ok(())
    }

    /// A line of the greeting. Byte by byte: what follows it is no line any more.
    fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") && line.len() < 1024 {
            let mut byte = [0];
            self.read(&mut byte)?;
            line.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    fn receive(&mut self) -> Result<Message> {
        let mut bytes = vec![0; 16];
        self.read(&mut bytes)?;
        let strange = || Error::refused("systemd sent something that is not a D-Bus message");
        let total = bytes.first_chunk().and_then(length).ok_or_else(strange)?;
        bytes.resize(total, 0);
        self.read(&mut bytes[16..])?;
        decode(&bytes).ok_or_else(strange)
    }
}

fn talk(error: &std::io::Error) -> Error {
    Error::refused("cannot talk to systemd").io("read", error)
}

fn refused(answer: std::result::Result<Message, Refusal>) -> Result<Message> {
    answer.map_err(|refusal| Error::refused(format!("systemd refused: {}", refusal.text)))
}

/// The body of StartTransientUnit: name, mode, properties, no further units.
pub(super) fn transient_unit(unit: &str, properties: &[(String, Value)]) -> Writer {
    let mut body = Writer::default();
    body.text(unit);
    body.text("fail");
    body.properties(properties);
    body.array(8, |_| {});
    body
}
