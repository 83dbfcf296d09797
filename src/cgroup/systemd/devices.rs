//! Device rules in systemd's words: `DevicePolicy` and `DeviceAllow` (systemd.resource-control(5)).
//!
//! systemd enforces what it is told anew at every `daemon-reload`, and what it is not told as if nothing had been asked for.
//! Its words are a list of devices that are allowed, fewer than the rules of a container may say. What that means depends
//! on who decides:
//!
//! - On v2 systemd attaches a program of its own beside ours, and an access needs the yes of both. So systemd is told
//!   of everything that some rule allows, and the exceptions are left to our program, which alone has all the rules.
//! - On v1 there is one list of the kernel's, which systemd writes to and we write to after it. So systemd is told of nothing
//!   that some rule denies: what it makes of the list at a `daemon-reload` is never more than was asked for.
//!
//! For rules without exceptions, which nearly all configurations have, the two are the same list.

use super::Value;
use crate::cgroup::devices::{DeviceKind, DeviceRule, by_kind, effective, letters};

/// Who has the last word about devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cgroup) enum Decides {
    /// A program of ours and one of systemd's, together (v2).
    Both,
    /// Whoever wrote last (v1).
    TheLast,
}

impl Decides {
    /// Where the controller is: in a v1 hierarchy, or else a program on v2.
    pub fn on(legacy: bool) -> Self {
        if legacy { Decides::TheLast } else { Decides::Both }
    }
}

/// The two properties for a new unit.
pub(super) fn properties(asked: &[DeviceRule], decides: Decides) -> Vec<(String, Value)> {
    let (policy, list) = words(asked, decides);
    let mut properties = vec![("DevicePolicy".to_owned(), Value::Text(policy.to_owned()))];
    if !list.is_empty() {
        properties.push(("DeviceAllow".to_owned(), Value::Pairs(list)));
    }
    properties
}

/// The same for a unit that has some: a list adds to what is there, only an empty one clears.
pub(super) fn replacing(asked: &[DeviceRule], decides: Decides) -> Vec<(String, Value)> {
    let mut properties = properties(asked, decides);
    properties.insert(1, ("DeviceAllow".to_owned(), Value::Pairs(Vec::new())));
    properties
}

fn words(asked: &[DeviceRule], decides: Decides) -> (&'static str, Vec<(String, String)>) {
    let rules = effective(asked);
    let by_default = rules.first().is_some_and(|first| first.is_everything() && first.allow);
    if by_default && (decides == Decides::Both || rules.len() == 1) {
        return ("auto", Vec::new());
    }
    let mut list: Vec<DeviceRule> = Vec::new();
    for rule in by_kind(&rules[usize::from(by_default)..]) {
        match (rule.allow, decides) {
            (true, _) => allow(&mut list, rule, decides),
            (false, Decides::Both) => {}
            (false, Decides::TheLast) => {
                // Also where only some of an entry's devices are meant: it cannot have a hole.
                list.iter_mut().filter(|have| rule.meets(have)).for_each(|have| have.access &= !rule.access);
                list.retain(|have| have.access != 0);
            }
        }
    }
    // systemd wants one entry that allows the whole access, where the rules may take a bit from each of two.
    let whole = |entry: &DeviceRule| {
        let covering = list.iter().filter(|other| other.covers(entry));
        covering.fold(0, |access, other| access | other.access)
    };
    ("strict", list.iter().map(|entry| (pattern(entry), letters(whole(entry)))).collect())
}

/// A further entry; of two with the same name systemd keeps the last. For any major number with one minor there is no name.
fn allow(list: &mut Vec<DeviceRule>, rule: DeviceRule, decides: Decides) {
    let rule = match (rule.major, rule.minor, decides) {
        (None, Some(_), Decides::TheLast) => return,
        (None, Some(_), Decides::Both) => DeviceRule { minor: None, ..rule },
        _ => rule,
    };
    match list.iter_mut().find(|have| have.same_devices(&rule)) {
        Some(have) => have.access |= rule.access,
        None => list.push(rule),
    }
}

/// A device's name for systemd, which reads the numbers from it and needs no such file (systemd 240).
fn pattern(entry: &DeviceRule) -> String {
    let kind = if entry.kind == DeviceKind::Block { "block" } else { "char" };
    match (entry.major, entry.minor) {
        (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
        (Some(major), None) => format!("{kind}-{major}"),
        (None, _) => format!("{kind}-*"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::devices::{ALL, READ, WRITE};

    fn rule(allow: bool, kind: DeviceKind, major: Option<u32>, minor: Option<u32>, access: u8) -> DeviceRule {
        DeviceRule { allow, kind, major, minor, access }
    }

    const DENY: DeviceRule = DeviceRule { allow: false, kind: DeviceKind::All, major: None, minor: None, access: ALL };

    /// What is told beside what every container may use.
    fn told(asked: &[DeviceRule], decides: Decides) -> Vec<(String, String)> {
        let (policy, list) = words(asked, decides);
        assert_eq!(policy, "strict");
        let always = words(&[DENY], decides).1;
        list.into_iter().filter(|entry| !always.contains(entry)).collect()
    }

    fn entries(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, access)| ((*name).to_owned(), (*access).to_owned())).collect()
    }

    #[test]
    fn the_devices_of_every_container_have_names() {
        for decides in [Decides::Both, Decides::TheLast] {
            let (policy, list) = words(&[DENY], decides);
            let expected = entries(&[
                ("char-*", "m"),
                ("block-*", "m"),
                ("/dev/char/1:3", "rwm"),
                ("/dev/char/1:5", "rwm"),
                ("/dev/char/1:7", "rwm"),
                ("/dev/char/1:8", "rwm"),
                ("/dev/char/1:9", "rwm"),
                ("/dev/char/5:0", "rwm"),
                ("/dev/char/5:1", "rwm"),
                ("/dev/char/5:2", "rwm"),
                ("char-136", "rwm"),
            ]);
            assert_eq!((policy, list), ("strict", expected));
        }
    }

    #[test]
    fn everything_allowed_is_no_policy() {
        let all = rule(true, DeviceKind::All, None, None, ALL);
        for decides in [Decides::Both, Decides::TheLast] {
            assert_eq!(words(&[all], decides), ("auto", Vec::new()));
        }
        // With an exception: our program alone knows it; on v1 the list must not forget it.
        let fuse = rule(false, DeviceKind::Char, Some(10), Some(229), ALL);
        assert_eq!(words(&[all, fuse], Decides::Both), ("auto", Vec::new()));
        assert_eq!(told(&[all, fuse], Decides::TheLast), []);
    }

    #[test]
    fn exceptions_are_left_to_who_knows_them() {
        let disks = rule(true, DeviceKind::Block, Some(8), None, ALL);
        let hole = rule(false, DeviceKind::Block, Some(8), Some(0), WRITE);
        assert_eq!(told(&[DENY, disks, hole], Decides::Both), entries(&[("block-8", "rwm")]));
        assert_eq!(told(&[DENY, disks, hole], Decides::TheLast), entries(&[("block-8", "rm")]));
        let any_major = rule(true, DeviceKind::Block, None, Some(7), READ);
        assert_eq!(told(&[DENY, any_major], Decides::Both), entries(&[("block-*", "rm")]));
        assert_eq!(told(&[DENY, any_major], Decides::TheLast), []);
    }

    #[test]
    fn one_entry_has_the_whole_access() {
        let major = rule(true, DeviceKind::Char, Some(10), None, READ);
        let minor = rule(true, DeviceKind::Char, Some(10), Some(200), WRITE);
        let expected = entries(&[("char-10", "rm"), ("/dev/char/10:200", "rwm")]);
        assert_eq!(told(&[DENY, major, minor], Decides::Both), expected);
        assert_eq!(told(&[DENY, major, minor], Decides::TheLast), expected);
    }

    #[test]
    fn a_list_is_emptied_before_it_is_filled() {
        let list = replacing(&[DENY], Decides::Both);
        let names: Vec<&str> = list.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["DevicePolicy", "DeviceAllow", "DeviceAllow"]);
        assert_eq!(list[1].1, Value::Pairs(Vec::new()));
        assert_ne!(list[2].1, Value::Pairs(Vec::new()));
    }
}
