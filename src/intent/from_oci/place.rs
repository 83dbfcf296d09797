//! Where in the text: JSON pointers (RFC 6901), made only when a message needs one.

use std::fmt::Write;

use crate::error::{Error, Origin};

/// A place in the tree, as a chain on the stack: nothing is allocated until it is shown.
#[derive(Clone, Copy)]
pub enum Place<'p> {
    /// The whole text.
    Root,
    /// A member of an object.
    Member(&'p Place<'p>, &'p str),
    /// An item of a list.
    Item(&'p Place<'p>, usize),
}

impl Place<'_> {
    /// The place as an [`Origin`].
    pub fn origin(&self) -> Origin {
        let mut pointer = String::with_capacity(32);
        self.write(&mut pointer);
        Origin::found(pointer)
    }

    /// Names the place in an error; the whole text needs no name.
    pub fn blame(&self, error: Error) -> Error {
        if matches!(self, Place::Root) { error } else { error.at(&self.origin()) }
    }

    fn write(&self, pointer: &mut String) {
        match self {
            Place::Root => {}
            Place::Member(parent, key) => {
                parent.write(pointer);
                push_key(pointer, key);
            }
            Place::Item(parent, index) => {
                parent.write(pointer);
                // Writing to a String cannot fail.
                let _ = write!(pointer, "/{index}");
            }
        }
    }
}

/// Appends `/key` with RFC 6901's escapes, control characters made visible.
fn push_key(pointer: &mut String, key: &str) {
    pointer.push('/');
    if key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'~' && byte != b'/') {
        return pointer.push_str(key);
    }
    for character in key.chars() {
        match character {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            control if control.is_control() => pointer.extend(control.escape_default()),
            other => pointer.push(other),
        }
    }
}

/// One level of nesting while scanning.
enum Level {
    Object { key: String, value: bool },
    List { index: usize },
}

/// The pointer of the value at byte `end` of a text that may be broken there; the scan is lenient because it
/// runs only after the parser has refused the text.
pub fn pointer_at(text: &[u8], end: usize) -> String {
    let mut levels: Vec<Level> = Vec::new();
    let mut at = 0;
    let end = end.min(text.len());
    while at < end {
        match text[at] {
            b'{' => levels.push(Level::Object { key: String::new(), value: false }),
            b'[' => levels.push(Level::List { index: 0 }),
            // The closing bracket the parser stopped at still belongs to the value it closes.
            b'}' | b']' if at + 1 < end => drop(levels.pop()),
            b',' if at + 1 < end => match levels.last_mut() {
                Some(Level::Object { value, .. }) => *value = false,
                Some(Level::List { index }) => *index += 1,
                None => {}
            },
            b':' => {
                if let Some(Level::Object { value, .. }) = levels.last_mut() {
                    *value = true;
                }
            }
            b'"' => {
                let close = string_end(text, at + 1);
                if let Some(Level::Object { key, value: false }) = levels.last_mut() {
                    let inner = &text[at + 1..close.min(text.len())];
                    *key = serde_json::from_slice(&text[at..(close + 1).min(text.len())])
                        .unwrap_or_else(|_| String::from_utf8_lossy(inner).into_owned());
                }
                at = close;
            }
            _ => {}
        }
        at += 1;
    }
    let mut pointer = String::new();
    for level in &levels {
        match level {
            Level::Object { key, value } if *value || !key.is_empty() => push_key(&mut pointer, key),
            Level::Object { .. } => {}
            Level::List { index } => {
                let _ = write!(pointer, "/{index}");
            }
        }
    }
    pointer
}

/// The index of the closing quote of a string whose first byte is at `at`, or the text's length.
fn string_end(text: &[u8], mut at: usize) -> usize {
    while at < text.len() {
        match text[at] {
            b'\\' => at += 2,
            b'"' => return at,
            _ => at += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_escaped() {
        let root = Place::Root;
        let linux = Place::Member(&root, "a/b~c\n");
        assert_eq!(Place::Item(&linux, 3).origin().0, "/a~1b~0c\\n/3");
        assert_eq!(Place::Root.origin().0, "");
    }

    #[test]
    fn the_scan_finds_the_place() {
        let text = br#"{"a":{"x":"},["},"b":[1,{"c\"d":[true, fals]}]}"#;
        let at = |needle: &str| {
            let text = std::str::from_utf8(text).unwrap();
            text.find(needle).unwrap() + 1
        };
        assert_eq!(pointer_at(text, at("fals")), "/b/1/c\"d/1");
        assert_eq!(pointer_at(text, at("1,{")), "/b/0");
        assert_eq!(pointer_at(text, at("\"b\"") + 3), "/b");
        assert_eq!(pointer_at(text, text.len() * 2), "/b");
        assert_eq!(pointer_at(b"{\"open", 99), "/open");
        assert_eq!(pointer_at(b"\"\\", 99), "");
    }
}
