//! rtnetlink(7): requests as bytes, one at a time, and their answers.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use crate::kernel::raw::Raw;

// linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h. Those that the libc crate has on all targets are
// taken from there.
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_NEW_IFINDEX: u16 = 49;
const IFA_LABEL: u16 = 3;
const IFA_FLAGS: u16 = 8;
const IFA_F_PERMANENT: u32 = 0x80;
/// Address, local address, broadcast, lifetimes, flags, priority of its route, who gave it.
const IFA_KEPT: &[u16] = &[1, 2, 4, 6, IFA_FLAGS, 9, 11];
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const IFF_UP: u32 = 1;
/// Bits of an attribute's type that are no part of it (`NLA_TYPE_MASK`).
const TYPE: u16 = 0x3fff;
/// The kernel's answers to a dump fit (`NLMSG_GOODSIZE` and its 32 KiB of skb).
const LONGEST: usize = 64 << 10;
/// How often a list is asked for again that changed while it was told.
const TRIES: usize = 8;

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Its name.
    pub name: String,
    /// Its number in its namespace.
    pub index: i32,
    /// It is up.
    pub is_up: bool,
}

/// An address of a device, as the kernel told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// `AF_INET` or `AF_INET6`.
    family: u8,
    prefix: u8,
    scope: u8,
    flags: u32,
    attributes: Vec<(u16, Vec<u8>)>,
}

impl Address {
    /// Permanent and of global scope (`IFA_F_PERMANENT`, `RT_SCOPE_UNIVERSE`).
    pub fn is_lasting(&self) -> bool {
        self.flags & IFA_F_PERMANENT != 0 && self.scope == 0
    }

    /// The same for a device of another name: an IPv4 address's label begins with it (`eth0:1`).
    pub fn renamed(&self, from: &str, to: &str) -> Self {
        let mut address = self.clone();
        for (_, value) in address.attributes.iter_mut().filter(|(kind, _)| *kind == IFA_LABEL) {
            let label = String::from_utf8_lossy(value).trim_end_matches('\0').to_owned();
            let rest = label.strip_prefix(from).unwrap_or("");
            // IFNAMSIZ with its NUL: what has no room loses its suffix.
            let label = if to.len() + rest.len() < 16 { format!("{to}{rest}") } else { to.to_owned() };
            *value = [label.as_bytes(), &[0]].concat();
        }
        address
    }
}

/// A message's payload under construction.
struct Message(Vec<u8>);

impl Message {
    /// `struct ifinfomsg`.
    fn link(index: i32, flags: u32, change: u32) -> Self {
        let mut bytes = vec![0u8; 4];
        bytes.extend_from_slice(&index.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&change.to_ne_bytes());
        Message(bytes)
    }

    /// `struct ifaddrmsg`.
    fn address(index: i32, address: &Address) -> Self {
        let mut bytes = vec![address.family, address.prefix, address.flags as u8, address.scope];
        bytes.extend_from_slice(&index.to_ne_bytes());
        Message(bytes)
    }

    /// `struct rtattr`, padded to four bytes.
    fn with(mut self, kind: u16, value: &[u8]) -> Self {
        self.0.extend_from_slice(&((value.len() + 4) as u16).to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn name(self, name: &str) -> Self {
        self.with(IFLA_IFNAME, &[name.as_bytes(), &[0]].concat())
    }
}

/// A socket to the network namespace it was made in.
#[derive(Debug)]
pub(super) struct Socket {
    descriptor: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// One in the caller's present network namespace.
    pub fn open() -> Raw<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let descriptor = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)
            .map_err(|errno| errno as i32)?;
        Ok(Socket { descriptor, sequence: 0 })
    }

    /// The device of a name.
    pub fn link(&mut self, name: &str) -> Raw<Link> {
        let replies = self.ask(RTM_GETLINK, NLM_F_ACK, &Message::link(0, 0, 0).name(name))?;
        replies.iter().find_map(|reply| read_link(reply)).ok_or(libc::EBADMSG)
    }

    /// The device of a number.
    pub fn link_at(&mut self, index: i32) -> Raw<Link> {
        let replies = self.ask(RTM_GETLINK, NLM_F_ACK, &Message::link(index, 0, 0))?;
        replies.iter().find_map(|reply| read_link(reply)).ok_or(libc::EBADMSG)
    }

    /// All devices.
    pub fn links(&mut self) -> Raw<Vec<Link>> {
        let replies = self.ask(RTM_GETLINK, NLM_F_DUMP, &Message::link(0, 0, 0))?;
        Ok(replies.iter().filter_map(|reply| read_link(reply)).collect())
    }

    /// All addresses of a device.
    pub fn addresses(&mut self, index: i32) -> Raw<Vec<Address>> {
        let replies = self.ask(RTM_GETADDR, NLM_F_DUMP, &Message(vec![0u8; 8]))?;
        let all = replies.iter().filter_map(|reply| read_address(reply));
        Ok(all.filter(|(owner, _)| *owner == index).map(|(_, address)| address).collect())
    }

    /// Moves a device into the namespace of a descriptor, under this name and number.
    pub fn send_away(&mut self, index: i32, namespace: i32, name: &str, new_index: i32) -> Raw<()> {
        let message = Message::link(index, 0, 0)
            .with(IFLA_NET_NS_FD, &namespace.to_ne_bytes())
            .with(IFLA_NEW_IFINDEX, &new_index.to_ne_bytes())
            .name(name);
        self.ask(RTM_SETLINK, NLM_F_ACK, &message).map(drop)
    }

    /// `ip link set … up`.
    pub fn bring_up(&mut self, index: i32) -> Raw<()> {
        self.ask(RTM_SETLINK, NLM_F_ACK, &Message::link(index, IFF_UP, IFF_UP)).map(drop)
    }

    /// Gives a device an address.
    pub fn add_address(&mut self, index: i32, address: &Address) -> Raw<()> {
        let kept = address.attributes.iter().filter(|(kind, _)| *kind == IFA_LABEL || IFA_KEPT.contains(kind));
        let message = kept.fold(Message::address(index, address), |message, (kind, value)| message.with(*kind, value));
        self.ask(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &message).map(drop)
    }

    /// Sends one request and collects the payloads of the answer until it ends. A list that changed meanwhile is asked
    /// for again.
    fn ask(&mut self, kind: u16, flags: u16, message: &Message) -> Raw<Vec<Vec<u8>>> {
        for _ in 0..TRIES {
            self.sequence += 1;
            let mut bytes = Vec::with_capacity(16 + message.0.len());
            bytes.extend_from_slice(&((16 + message.0.len()) as u32).to_ne_bytes());
            bytes.extend_from_slice(&kind.to_ne_bytes());
            bytes.extend_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
            bytes.extend_from_slice(&self.sequence.to_ne_bytes());
            bytes.extend_from_slice(&[0; 4]);
            bytes.extend_from_slice(&message.0);
            send(self.descriptor.as_raw_fd(), &bytes, MsgFlags::empty()).map_err(|errno| errno as i32)?;
            match self.hear() {
                Err(libc::EINTR) => {}
                other => return other,
            }
        }
        Err(libc::EAGAIN)
    }

    /// `EINTR`: the list changed while it was told.
    fn hear(&self) -> Raw<Vec<Vec<u8>>> {
        let mut buffer = vec![0u8; LONGEST];
        let (mut replies, mut interrupted) = (Vec::new(), false);
        loop {
            let length = match recv(self.descriptor.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC) {
                Err(nix::errno::Errno::EINTR) => continue,
                other => other.map_err(|errno| errno as i32)?,
            };
            let mut rest = buffer.get(..length).ok_or(libc::EMSGSIZE)?;
            while let Some((header, payload, next)) = split_message(rest) {
                rest = next;
                if header.sequence != self.sequence {
                    continue;
                }
                interrupted |= header.flags & NLM_F_DUMP_INTR != 0;
                match header.kind {
                    NLMSG_DONE => return if interrupted { Err(libc::EINTR) } else { Ok(replies) },
                    NLMSG_ERROR => {
                        return match word(payload, 0) {
                            Some(0) => Ok(replies),
                            Some(errno) => Err((errno as i32).wrapping_neg()),
                            None => Err(libc::EBADMSG),
                        };
                    }
                    _ => replies.push(payload.to_owned()),
                }
            }
        }
    }
}

/// `struct nlmsghdr`, as far as it matters.
struct Header {
    kind: u16,
    flags: u16,
    sequence: u32,
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

/// The first message, and what follows it.
fn split_message(bytes: &[u8]) -> Option<(Header, &[u8], &[u8])> {
    let length = word(bytes, 0)? as usize;
    let header = Header { kind: half(bytes, 4)?, flags: half(bytes, 6)?, sequence: word(bytes, 8)? };
    let payload = bytes.get(16..length)?;
    Some((header, payload, bytes.get(length.next_multiple_of(4)..).unwrap_or(&[])))
}

/// The attributes behind a structure of `from` bytes.
fn attributes(payload: &[u8], from: usize) -> Vec<(u16, &[u8])> {
    let mut rest = payload.get(from..).unwrap_or(&[]);
    let mut all = Vec::new();
    while let (Some(length), Some(kind)) = (half(rest, 0), half(rest, 2)) {
        let length = length as usize;
        let Some(value) = rest.get(4..length) else { break };
        all.push((kind & TYPE, value));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    all
}

fn read_link(payload: &[u8]) -> Option<Link> {
    let (index, flags) = (word(payload, 4)? as i32, word(payload, 8)?);
    let name = attributes(payload, 16).into_iter().find(|(kind, _)| *kind == IFLA_IFNAME)?.1;
    let name = String::from_utf8_lossy(name).trim_end_matches('\0').to_owned();
    Some(Link { name, index, is_up: flags & IFF_UP != 0 })
}

fn read_address(payload: &[u8]) -> Option<(i32, Address)> {
    let [family, prefix, flags, scope, ..] = *payload else { return None };
    let index = word(payload, 4)? as i32;
    let attributes: Vec<_> = attributes(payload, 8).into_iter().map(|(kind, value)| (kind, value.to_owned())).collect();
    let wide = attributes.iter().find(|(kind, _)| *kind == IFA_FLAGS).and_then(|(_, value)| word(value, 0));
    Some((index, Address { family, prefix, scope, flags: wide.unwrap_or(u32::from(flags)), attributes }))
}
