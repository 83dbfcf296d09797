//! State of the container's own kernel namespaces: names, loopback, sysctls, keyring.

use super::story::{OWN, Story};
use crate::error::{Origin, Result};
use crate::intent::NamespaceKind;
use crate::plan::Operation;

/// Child: host and domain name.
pub fn names(story: &mut Story<'_>) -> Result<()> {
    let intent = story.request.intent;
    if let Some(name) = &intent.hostname {
        let name = story.plan.arena.bytes(name.as_bytes());
        story.step(Operation::HostName(name), &Origin::fixed("/hostname"));
    }
    if let Some(name) = &intent.domainname {
        let name = story.plan.arena.bytes(name.as_bytes());
        story.step(Operation::DomainName(name), &Origin::fixed("/domainname"));
    }
    Ok(())
}

/// Child: loopback of a new network namespace.
pub fn network(story: &mut Story<'_>) -> Result<()> {
    if story.request.intent.makes(NamespaceKind::Network) {
        let name = story.plan.arena.text("lo");
        story.own(Operation::InterfaceUp(name));
    }
    Ok(())
}

/// Child: sysctls, through the private procfs.
pub fn sysctls(story: &mut Story<'_>) -> Result<()> {
    let intent = story.request.intent;
    for (name, value) in &intent.sysctls {
        let path = format!("sys/{}", sysctl_path(&name.value));
        story.write_proc(&path, value, &name.origin);
    }
    if super::privileges::wants_label(story) {
        // Written through later, when masks over /proc would keep a user namespace from a procfs of its own (INV-03).
        story.proc();
    }
    Ok(())
}

/// `net.ipv4.conf.eth0/1.forwarding` → `net/ipv4/conf/eth0.1/forwarding` (sysctl.d(5)): the first separator decides.
fn sysctl_path(name: &str) -> String {
    match name.find(['.', '/']).map(|first| name.as_bytes()[first]) {
        Some(b'.') => name
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect(),
        _ => name.to_owned(),
    }
}

/// Child: a session keyring of its own (INV-14).
pub fn keyring(story: &mut Story<'_>) -> Result<()> {
    if !story.request.no_new_keyring {
        let name = format!("_ses.{}", story.request.id);
        let name = story.plan.arena.text(&name);
        story.step(Operation::Keyring(name), &OWN);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::sysctl_path;

    #[test]
    fn names_become_paths_as_sysctl_reads_them() {
        assert_eq!(sysctl_path("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(sysctl_path("net/ipv4/conf/eth0.1/forwarding"), "net/ipv4/conf/eth0.1/forwarding");
        assert_eq!(sysctl_path("net.ipv4.conf.eth0/1.forwarding"), "net/ipv4/conf/eth0.1/forwarding");
    }
}
