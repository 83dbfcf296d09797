//! Reading the tree: every value knows its place, so that a wrong one is named by its JSON pointer.
//!
//! # Unknown members
//! The runtime-spec's section on extensibility forbids an error for an unknown property, and newer callers write newer
//! fields: so it is a warning that names its place. One case is no extension: a name one slip of the hand away from a
//! member that this object could have and hasn't (`noNewPrivilges`, `Capabilities`, `maskedPath`). What it says would be
//! lost, and what gets lost there is mostly a reduction of rights. That is an error, as is, with [`Unknown::Refused`],
//! every unknown member.

use std::borrow::Cow;
use std::cell::RefCell;

use super::json::{Value, shown};
use super::place::Place;
use crate::error::{Error, Origin, Result};
use crate::intent::Placed;

/// The most warnings kept: whoever has more learns nothing from the rest.
const MOST_WARNINGS: usize = 100;

/// What is made of a member that the reader doesn't know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// An error: `--strict`.
    Refused,
    /// A warning, but an error if it looks like a misspelt member that is missing: what a caller hands over.
    #[default]
    Reported,
    /// A warning: what kiste stored itself, perhaps in an older version, and took then. A container must not become
    /// unusable because this version knows more names.
    Stored,
}

/// What reading collects beside the values.
#[derive(Debug, Default)]
pub struct Notes {
    /// What is made of unknown members.
    pub unknown: Unknown,
    /// Sentences for [`crate::intent::Intent::warnings`].
    pub warnings: RefCell<Vec<String>>,
    /// Places of [`crate::intent::Intent::unsupported`].
    pub unsupported: RefCell<Vec<Origin>>,
}

/// A value at its place. `null` never becomes a node of a member: it is the same as the member's absence.
#[derive(Clone, Copy)]
pub struct Node<'n> {
    value: &'n Value<'n>,
    place: &'n Place<'n>,
    notes: &'n Notes,
}

/// An object's members.
#[derive(Clone, Copy)]
pub struct Object<'n> {
    members: &'n [(Cow<'n, str>, Value<'n>)],
    place: &'n Place<'n>,
    notes: &'n Notes,
}

impl<'n> Node<'n> {
    /// The whole text.
    pub fn root(value: &'n Value<'n>, notes: &'n Notes) -> Self {
        Node { value, place: &Place::Root, notes }
    }

    /// Its place.
    pub fn origin(self) -> Origin {
        self.place.origin()
    }

    /// An error at this place.
    pub fn error(self, what: impl Into<String>) -> Error {
        self.place.blame(Error::input(what))
    }

    /// A warning that names this place.
    pub fn warn(self, what: impl AsRef<str>) {
        let mut warnings = self.notes.warnings.borrow_mut();
        match warnings.len() {
            0..MOST_WARNINGS => warnings.push(format!("{}: {}", self.origin(), what.as_ref())),
            MOST_WARNINGS => warnings.push("more warnings are left out".into()),
            _ => {}
        }
    }

    /// The error of a wrong type.
    fn wanted(self, expected: &str) -> Error {
        self.error(format!("expected {expected}, found {}", self.value.describe()))
    }

    /// A whole number within a type's or a rule's bounds.
    pub fn number<T: TryFrom<i128>>(self, least: i128, most: i128) -> Result<T> {
        let value = match self.value {
            Value::Unsigned(value) => i128::from(*value),
            Value::Negative(value) => i128::from(*value),
            _ => return Err(self.wanted(&format!("a whole number from {least} to {most}"))),
        };
        Some(value)
            .filter(|value| (least..=most).contains(value))
            .and_then(|value| T::try_from(value).ok())
            .ok_or_else(|| self.wanted(&format!("a whole number from {least} to {most}")))
    }

    /// A string without NUL bytes: every string ends in the kernel, where a NUL would cut it.
    pub fn text(self) -> Result<&'n str> {
        let Value::Text(text) = self.value else { return Err(self.wanted("a string")) };
        // Only an escape can make a NUL, and a string with escapes is owned.
        if matches!(text, Cow::Owned(_)) && text.contains('\0') {
            return Err(self.error("the string has a NUL byte"));
        }
        Ok(text)
    }

    /// One of a closed set of words: `known` lists them all, `find` gives a word's meaning.
    pub fn word<T>(
        self,
        what: &str,
        known: impl Iterator<Item = &'static str> + Clone,
        find: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T> {
        let text = self.text()?;
        find(text).ok_or_else(|| {
            let error = self.error(format!("unknown {what} {}", shown(text)));
            match nearest(text, known.clone()) {
                Some(word) => error.hint(format!("did you mean {word:?}?")),
                None => error.hint(format!("known: {}", known.collect::<Vec<_>>().join(", "))),
            }
        })
    }

    /// [`Node::word`] with a table of word and meaning.
    pub fn word_of<T: Copy>(self, what: &str, table: &'static [(&'static str, T)]) -> Result<T> {
        self.word(what, table.iter().map(|line| line.0), |text| {
            table.iter().find(|line| line.0 == text).map(|line| line.1)
        })
    }

    /// A list, each item read by `item`.
    pub fn list<T>(self, most: usize, mut item: impl FnMut(Node<'_>) -> Result<T>) -> Result<Vec<T>> {
        let Value::Array(items) = self.value else { return Err(self.wanted("a list")) };
        self.bound(items.len(), most)?;
        let mut values = Vec::with_capacity(items.len());
        for (index, value) in items.iter().enumerate() {
            values.push(item(Node { value, place: &Place::Item(self.place, index), notes: self.notes })?);
        }
        Ok(values)
    }

    /// A list of strings.
    pub fn strings(self, most: usize) -> Result<Vec<String>> {
        self.list(most, string)
    }

    /// An object whose keys are the user's, each member read by `member`; `null` members are passed over.
    pub fn map<T>(self, most: usize, mut member: impl FnMut(&str, Node<'_>) -> Result<T>) -> Result<Vec<T>> {
        let Value::Object(members) = self.value else { return Err(self.wanted("an object")) };
        self.bound(members.len(), most)?;
        let mut values = Vec::with_capacity(members.len());
        for (key, value) in members {
            let node = Node { value, place: &Place::Member(self.place, key), notes: self.notes };
            if key.contains('\0') {
                return Err(node.error("the key has a NUL byte"));
            }
            if *value != Value::Null {
                values.push(member(key, node)?);
            }
        }
        Ok(values)
    }

    fn bound(self, count: usize, most: usize) -> Result<()> {
        if count > most {
            return Err(self.error(format!("{count} entries, at most {most} are taken")));
        }
        Ok(())
    }

    /// An object whose keys are the specification's; what becomes of others, [`Unknown`] says.
    pub fn object(self, known: &'static [&'static str]) -> Result<Object<'n>> {
        let Value::Object(members) = self.value else { return Err(self.wanted("an object")) };
        for (key, value) in members {
            if !known.contains(&key.as_ref()) {
                let node = Node { value, place: &Place::Member(self.place, key), notes: self.notes };
                node.unknown(key, known, members)?;
            }
        }
        Ok(Object { members, place: self.place, notes: self.notes })
    }

    /// This node is the member `key` of an object that knows no such member.
    fn unknown(self, key: &str, known: &'static [&'static str], members: &[(Cow<'_, str>, Value<'_>)]) -> Result<()> {
        let absent = |word: &&str| !members.iter().any(|(name, _)| name == word);
        let misspelt = match self.notes.unknown {
            Unknown::Stored => None,
            _ => known.iter().copied().filter(|word| one_slip(key, word)).find(absent),
        };
        if let Some(word) = misspelt {
            return Err(self.error("unknown field").hint(format!("did you mean {word:?}?")));
        }
        if self.notes.unknown == Unknown::Refused {
            return Err(self.error("unknown field").hint("--strict refuses every one"));
        }
        // A flood of unknown keys must not cost a guess each.
        if self.notes.warnings.borrow().len() <= MOST_WARNINGS {
            match nearest(key, known.iter().copied()) {
                Some(word) => self.warn(format!("unknown, ignored (did you mean {word:?}?)")),
                None => self.warn("unknown, ignored"),
            }
        }
        Ok(())
    }
}

impl Object<'_> {
    /// An error at this place.
    pub fn error(self, what: impl Into<String>) -> Error {
        self.place.blame(Error::input(what))
    }

    /// A member, if it is there and not `null`.
    pub fn get<T>(self, key: &'static str, read: impl FnOnce(Node<'_>) -> Result<T>) -> Result<Option<T>> {
        match self.members.iter().find(|(name, _)| name == key) {
            None | Some((_, Value::Null)) => Ok(None),
            Some((_, value)) => {
                read(Node { value, place: &Place::Member(self.place, key), notes: self.notes }).map(Some)
            }
        }
    }

    /// A member, or its type's empty value.
    pub fn or_default<T: Default>(self, key: &'static str, read: impl FnOnce(Node<'_>) -> Result<T>) -> Result<T> {
        Ok(self.get(key, read)?.unwrap_or_default())
    }

    /// A member that must be there.
    pub fn need<T>(self, key: &'static str, read: impl FnOnce(Node<'_>) -> Result<T>) -> Result<T> {
        self.get(key, read)?.ok_or_else(|| {
            Error::input("missing, the runtime-spec requires it").at(&Place::Member(self.place, key).origin())
        })
    }
}

/// `true` or `false`.
pub fn boolean(node: Node<'_>) -> Result<bool> {
    match node.value {
        Value::Bool(value) => Ok(*value),
        _ => Err(node.wanted("true or false")),
    }
}

/// A 64-bit number without sign.
pub fn unsigned(node: Node<'_>) -> Result<u64> {
    node.number(0, u64::MAX.into())
}

/// A 64-bit number with sign.
pub fn signed(node: Node<'_>) -> Result<i64> {
    node.number(i64::MIN.into(), i64::MAX.into())
}

/// A user or group id: 4294967295 is the kernel's "no id".
pub fn id(node: Node<'_>) -> Result<u32> {
    node.number(0, u32::MAX as i128 - 1)
}

/// [`Node::text`], copied.
pub fn string(node: Node<'_>) -> Result<String> {
    node.text().map(str::to_owned)
}

/// A string with its place; empty is absent, as Go programs write it.
pub fn placed(node: Node<'_>) -> Result<Option<Placed<String>>> {
    let text = node.text()?;
    Ok((!text.is_empty()).then(|| Placed { value: text.to_owned(), origin: node.origin() }))
}

/// Notes that something is wanted here which this version cannot give, unless it is an empty object or list.
pub fn unsupported(node: Node<'_>) -> Result<()> {
    let empty = match node.value {
        Value::Object(members) => members.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    if !empty {
        node.notes.unsupported.borrow_mut().push(node.origin());
    }
    Ok(())
}

/// The word that is at most two typing mistakes away, or differs only in case.
pub fn nearest<'w>(typed: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    words
        .filter_map(|word| {
            let far = if typed.eq_ignore_ascii_case(word) { 0 } else { distance(typed, word, 2)? };
            // "b" is not a misspelt "c": more than half must be right.
            (far == 0 || far * 2 < word.len()).then_some((far, word))
        })
        .min_by_key(|(far, _)| *far)
        .map(|(_, word)| word)
}

/// Whether the typed word is that word but for its case, or for one letter too many, too few, wrong, or exchanged with its
/// neighbour. Of a word with one or two letters too little would remain to recognise it by.
fn one_slip(typed: &str, word: &str) -> bool {
    let (a, b) = (typed.as_bytes(), word.as_bytes());
    if a.eq_ignore_ascii_case(b) {
        return true;
    }
    if b.len() < 3 || a.len().abs_diff(b.len()) > 1 {
        return false;
    }
    let same = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[same..], &b[same..]);
    let same = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
    match (&a[..a.len() - same], &b[..b.len() - same]) {
        ([], [_]) | ([_], []) | ([_], [_]) => true,
        ([first, second], [x, y]) => first == y && second == x,
        _ => false,
    }
}

/// Levenshtein's distance, if it is at most `most`.
fn distance(a: &str, b: &str, most: usize) -> Option<usize> {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len().abs_diff(b.len()) > most || a.len() > 64 {
        return None;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().filter(|far| *far <= most)
}

#[cfg(test)]
mod tests {
    use super::super::json;
    use super::*;

    fn read<T>(text: &str, with: impl FnOnce(Node<'_>) -> Result<T>) -> (Result<T>, Vec<String>) {
        read_as(text, Unknown::Reported, with)
    }

    fn read_as<T>(text: &str, unknown: Unknown, with: impl FnOnce(Node<'_>) -> Result<T>) -> (Result<T>, Vec<String>) {
        let value = json::parse(text.as_bytes(), "t").unwrap();
        let notes = Notes { unknown, ..Notes::default() };
        let result = with(Node::root(&value, &notes));
        (result, notes.warnings.into_inner())
    }

    #[test]
    fn wrong_types_name_place_expectation_and_finding() {
        let (result, _) =
            read(r#"{"a":[true,"x"]}"#, |node| node.object(&["a"])?.get("a", |list| list.list(9, boolean)));
        assert_eq!(result.unwrap_err().to_string(), "/a/1: expected true or false, found the string \"x\"");
        for text in ["-1", "4294967295", "1.5", "1e3", "\"1\""] {
            let (result, _) = read(text, id);
            assert!(result.unwrap_err().to_string().contains("from 0 to 4294967294"), "{text}");
        }
        assert_eq!(read("18446744073709551615", unsigned).0.unwrap(), u64::MAX);
    }

    const FIELDS: &[&str] = &["hostname", "mounts", "noNewPrivileges", "op"];

    #[test]
    fn unknown_members_are_warnings_with_a_guess() {
        let (result, warnings) =
            read(r#"{"hostne":"x","new":1,"Mounts":[],"mounts":[],"on":1}"#, |node| node.object(FIELDS).map(|_| ()));
        result.unwrap();
        assert_eq!(warnings[0], "/hostne: unknown, ignored (did you mean \"hostname\"?)", "two letters");
        assert_eq!(warnings[1], "/new: unknown, ignored");
        assert_eq!(warnings[2], "/Mounts: unknown, ignored (did you mean \"mounts\"?)", "the right one is there, too");
        assert_eq!(warnings[3], "/on: unknown, ignored", "too short to be recognised");
        assert_eq!(warnings.len(), 4);
    }

    #[test]
    fn a_misspelt_member_is_an_error() {
        for (typed, meant) in [
            ("hostnme", "hostname"),
            ("hosttname", "hostname"),
            ("hostnane", "hostname"),
            ("hsotname", "hostname"),
            ("HostName", "hostname"),
            ("mount", "mounts"),
            ("noNewPrivilges", "noNewPrivileges"),
            ("NoNewPrivileges", "noNewPrivileges"),
            ("OP", "op"),
        ] {
            let text = format!(r#"{{"new":1,"{typed}":true}}"#);
            for unknown in [Unknown::Reported, Unknown::Refused] {
                let text = text.replace("\"new\":1,", if unknown == Unknown::Refused { "" } else { "\"new\":1," });
                let (result, _) = read_as(&text, unknown, |node| node.object(FIELDS).map(|_| ()));
                let said = result.unwrap_err().to_string();
                assert_eq!(said, format!("/{typed}: unknown field (did you mean {meant:?}?)"));
            }
            let (result, warnings) = read_as(&text, Unknown::Stored, |node| node.object(FIELDS).map(|_| ()));
            result.unwrap();
            assert_eq!(warnings.len(), 2, "what is stored was taken once: {warnings:?}");
        }
    }

    #[test]
    fn a_misspelt_member_behind_a_flood_is_still_an_error() {
        let flood: String = (0..1000).map(|n| format!("\"x{n}\":0,")).collect();
        let (result, _) = read(&format!(r#"{{{flood}"mountz":[]}}"#), |node| node.object(FIELDS).map(|_| ()));
        assert!(result.unwrap_err().to_string().starts_with("/mountz: unknown field"));
    }

    #[test]
    fn strictness_refuses_every_unknown_member() {
        let (result, _) = read_as(r#"{"a":{"new":1}}"#, Unknown::Refused, |node| {
            node.object(&["a"])?.get("a", |a| a.object(FIELDS).map(|_| ()))
        });
        assert_eq!(result.unwrap_err().to_string(), "/a/new: unknown field (--strict refuses every one)");
    }

    #[test]
    fn a_flood_of_warnings_is_cut() {
        let text: Vec<String> = (0..100_000).map(|n| format!("\"k{n}\":{n}")).collect();
        let (result, warnings) = read(&format!("{{{}}}", text.join(",")), |node| node.object(&["kind"]).map(|_| ()));
        result.unwrap();
        assert_eq!((warnings.len(), warnings[100].as_str()), (101, "more warnings are left out"));
    }

    #[test]
    fn null_is_absent_and_a_missing_member_is_named() {
        let (result, _) = read(r#"{"a":null}"#, |node| node.object(&["a"])?.get("a", boolean));
        assert_eq!(result.unwrap(), None);
        let (result, _) = read("{}", |node| node.object(&["a"])?.need("a", boolean));
        assert!(result.unwrap_err().to_string().starts_with("/a: missing"));
    }

    #[test]
    fn nul_bytes_and_floods_are_refused() {
        assert!(read(r#""a\u0000b""#, string).0.unwrap_err().to_string().contains("NUL"));
        let (result, _) = read(r#"{"a\u0000":"b"}"#, |node| node.map(9, |_, value| string(value)));
        assert!(result.unwrap_err().to_string().contains("NUL"));
        assert!(read("[1,2,3]", |node| node.list(2, unsigned)).0.unwrap_err().to_string().contains("at most 2"));
    }

    #[test]
    fn distances_are_right() {
        assert_eq!(distance("kitten", "sitting", 3), Some(3));
        assert_eq!(distance("kitten", "sitting", 2), None);
        assert_eq!(nearest("CAP_SYS_ADMN", ["CAP_KILL", "CAP_SYS_ADMIN"].into_iter()), Some("CAP_SYS_ADMIN"));
        assert_eq!(nearest("x", ["ro", "y"].into_iter()), None);
    }
}
