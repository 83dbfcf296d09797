//! With the machine's loopback, which is only looked at; devices are moved by tests/hardware.rs, in namespaces of its own.

use super::netlink::Socket;
use super::*;

#[test]
fn devices_are_found_by_name() {
    find("lo").unwrap();
    let error = find("no-such-dev").unwrap_err();
    assert_eq!(error.to_string(), "the runtime's network namespace has no device no-such-dev");
}

#[test]
fn the_list_has_what_is_found() {
    let mut socket = Socket::open().unwrap();
    let own = socket.link("lo").unwrap();
    assert!(socket.links().unwrap().contains(&own));
    assert_eq!(socket.link_at(own.index).unwrap(), own);
    assert_eq!(socket.link_at(i32::MAX), Err(libc::ENODEV));
    // 127.0.0.1 has host scope: it belongs to each loopback, and is never taken along.
    assert!(socket.addresses(own.index).unwrap().iter().all(|address| !address.is_lasting()));
}

#[test]
fn a_number_that_is_taken_is_not_asked_for() {
    let link = |index: i32| Link { name: format!("d{index}"), index, is_up: false };
    assert_eq!(free_index(2, &[link(1)]), 2);
    assert_eq!(free_index(2, &[link(1), link(2), link(7)]), 8);
}
