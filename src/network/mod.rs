//! Network devices of the runtime's own namespace into a container's (runtime-spec config-linux.md, "Network devices").
//!
//! A device keeps what it is: hardware address, MTU, and its permanent addresses of global scope, which the kernel drops
//! on the way and which are put back on the other side. It is up afterwards. Routes and rules are not a device's, and go.
//!
//! What becomes of the device when the container ends is the kernel's: with the last process of the namespace (or its last
//! holder, where the container joined it) physical devices go back to the first network namespace under the name they have
//! then, virtual ones are destroyed (network_namespaces(7)). Only a container that could not be made gives its devices
//! back: then all is as before.

mod netlink;

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use crate::error::{Error, Result};
use crate::kernel::owned::open;
use crate::kernel::raw;
use netlink::{Address, Link, Socket};

/// Looks for a device in the runtime's own network namespace.
///
/// # Errors
/// There is none of this name, or netlink can't be asked.
pub fn find(device: &str) -> Result<()> {
    found(&mut Socket::open().map_err(no_netlink)?, device).map(drop)
}

fn found(socket: &mut Socket, device: &str) -> Result<Link> {
    socket.link(device).map_err(|errno| match errno {
        libc::ENODEV => Error::input(format!("the runtime's network namespace has no device {device}")),
        _ => Error::refused(format!("cannot look for network device {device}")).call("RTM_GETLINK", errno),
    })
}

fn no_netlink(errno: i32) -> Error {
    Error::refused("cannot ask for network devices").call("socket", errno)
}

/// A device that was moved, and how it was before. It keeps both namespaces alive.
#[derive(Debug)]
pub struct Moved {
    before: Link,
    addresses: Vec<Address>,
    home: OwnedFd,
    there: Socket,
    index: i32,
}

/// Moves a device of the runtime's own network namespace into another one. `name` is its name there; with `%d` in it the
/// kernel puts the first free number.
///
/// # Errors
/// There is no such device, the name is taken there, or the kernel refuses. The device is then where it was.
pub fn move_device(device: &str, name: &str, namespace: BorrowedFd<'_>) -> Result<Moved> {
    let home = open(libc::AT_FDCWD, c"/proc/self/ns/net", libc::O_RDONLY, 0)
        .map_err(|errno| Error::refused("cannot open the runtime's network namespace").call("open", errno))?;
    let mut here = Socket::open().map_err(no_netlink)?;
    let before = found(&mut here, device)?;
    let mut there = socket_in(namespace, &home)?;
    let taken =
        there.links().map_err(|errno| Error::refused("cannot list network devices").call("RTM_GETLINK", errno))?;
    if taken.iter().any(|link| link.name == name) {
        return Err(Error::refused(format!("the container's network namespace has a device {name} already")));
    }
    let addresses = here.addresses(before.index).map_err(|errno| {
        Error::refused(format!("cannot read the addresses of network device {device}")).call("RTM_GETADDR", errno)
    })?;
    let addresses = addresses.into_iter().filter(Address::is_lasting).collect();
    let index = free_index(before.index, &taken);
    let answer = here.send_away(before.index, namespace.as_raw_fd(), name, index);
    let moved = Moved { before, addresses, home, there, index };
    match answer {
        Ok(()) => moved.settle(),
        Err(errno) => {
            let error = Error::refused(format!("cannot move network device {device} into the container as {name}"));
            let error = error.call("RTM_SETLINK", errno);
            let error = match errno {
                libc::EPERM => error.hint("it needs CAP_NET_ADMIN over both network namespaces"),
                libc::EINVAL => error.hint("this kind of device may not change its network namespace"),
                _ => error,
            };
            // A name that is taken by then is noticed after the move.
            Err(moved.back_after(error))
        }
    }
}

/// The device's own number, or one above all that are taken.
fn free_index(own: i32, taken: &[Link]) -> i32 {
    match taken.iter().any(|link| link.index == own) {
        false => own,
        true => taken.iter().map(|link| link.index).max().unwrap_or(own).saturating_add(1),
    }
}

/// A socket that speaks to another network namespace: it belongs to where it was made.
fn socket_in(namespace: BorrowedFd<'_>, home: &OwnedFd) -> Result<Socket> {
    let flag = libc::CLONE_NEWNET as u64;
    let failed = |what: &'static str| move |errno| Error::refused(what).call("setns", errno);
    raw::setns(namespace.as_raw_fd(), flag).map_err(failed("cannot enter the container's network namespace"))?;
    let socket = Socket::open();
    raw::setns(home.as_raw_fd(), flag).map_err(failed("cannot come back from the container's network namespace"))?;
    socket.map_err(no_netlink)
}

impl Moved {
    /// Addresses and state on the other side.
    fn settle(mut self) -> Result<Self> {
        match self.furnish() {
            Ok(()) => Ok(self),
            Err(error) => Err(self.back_after(error)),
        }
    }

    fn furnish(&mut self) -> Result<()> {
        let failed = |call: &'static str| {
            let what = format!("cannot set up network device {} in the container", self.before.name);
            move |errno| Error::refused(what).call(call, errno)
        };
        let now = self.there.link_at(self.index).map_err(failed("RTM_GETLINK"))?;
        for address in &self.addresses {
            let renamed = address.renamed(&self.before.name, &now.name);
            self.there.add_address(self.index, &renamed).map_err(|errno| match errno {
                libc::EACCES => failed("RTM_NEWADDR")(errno).hint("is IPv6 disabled there?"),
                _ => failed("RTM_NEWADDR")(errno),
            })?;
        }
        self.there.bring_up(self.index).map_err(failed("RTM_SETLINK"))
    }

    /// The device goes back, and the error says so if it can't.
    fn back_after(self, error: Error) -> Error {
        if self.is_away() {
            if let Err(second) = self.put_back() {
                let what = format!("{}; {second}", error.what);
                return Error { what, ..error };
            }
        }
        error
    }

    fn is_away(&self) -> bool {
        Socket::open().and_then(|mut here| here.link(&self.before.name)) == Err(libc::ENODEV)
    }

    /// Puts the device back where it was, with its name, addresses and state.
    ///
    /// # Errors
    /// When the kernel refuses: somebody took the name meanwhile.
    pub fn put_back(mut self) -> Result<()> {
        let Link { name, index, is_up } = &self.before;
        let failed = |call: &'static str| {
            let what = format!("cannot put network device {name} back");
            move |errno| Error::refused(what).call(call, errno)
        };
        let mut here = Socket::open().map_err(no_netlink)?;
        let taken = here.links().map_err(failed("RTM_GETLINK"))?;
        let back = free_index(*index, &taken);
        self.there.send_away(self.index, self.home.as_raw_fd(), name, back).map_err(failed("RTM_SETLINK"))?;
        for address in &self.addresses {
            here.add_address(back, address).map_err(failed("RTM_NEWADDR"))?;
        }
        if *is_up { here.bring_up(back).map_err(failed("RTM_SETLINK")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
