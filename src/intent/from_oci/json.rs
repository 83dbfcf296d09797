//! JSON text as a tree that borrows from it, with the bounds an untrusted input needs.
//!
//! serde_json does the parsing (and bounds the depth at 128); the tree is ours because the tools at hand each lack
//! something the runtime needs: `serde_json::Value` silently keeps the last of two equal keys, and a derived reader's error
//! has a line but no JSON pointer. The reader of this tree ([`super::reader`]) knows its place at every step.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::place::pointer_at;
use crate::error::{Error, Origin, Result};

/// The longest text that is parsed, in bytes.
pub const LONGEST: usize = 16 << 20;

/// The most values one text may have. The largest real profiles have some ten thousand; without a bound 16 MiB of `[0,0,…`
/// would cost 200 MiB of memory.
pub const MOST_VALUES: u32 = 500_000;

/// One JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// `null`; Go programs write it for an absent list.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number without sign, fraction or exponent.
    Unsigned(u64),
    /// A negative number without fraction or exponent.
    Negative(i64),
    /// Any other number.
    Float(f64),
    /// A string; borrowed unless it has escapes.
    Text(Cow<'a, str>),
    /// An array.
    Array(Vec<Value<'a>>),
    /// An object in the order of the text; no two keys are equal.
    Object(Vec<(Cow<'a, str>, Value<'a>)>),
}

impl Value<'_> {
    /// What it is, for a message; numbers and words are shown, long ones shortened.
    pub fn describe(&self) -> String {
        match self {
            Value::Null => "null".into(),
            Value::Bool(value) => value.to_string(),
            Value::Unsigned(value) => format!("the number {value}"),
            Value::Negative(value) => format!("the number {value}"),
            Value::Float(value) => format!("the number {value}"),
            Value::Text(text) => format!("the string {}", shown(text)),
            Value::Array(items) => format!("a list of {}", items.len()),
            Value::Object(_) => "an object".into(),
        }
    }
}

/// A string as a message shows it: quoted, control characters escaped, at most 64 characters.
pub fn shown(text: &str) -> String {
    match text.char_indices().nth(64) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", &text[..end]),
    }
}

/// Parses a whole text. `what` names it in messages (`config.json`).
///
/// # Errors
/// The text is longer than [`LONGEST`], is not UTF-8 or not JSON (RFC 8259), is nested deeper than 127 levels, has more than
/// [`MOST_VALUES`] values, or an object has a key twice. The error's origin is the JSON pointer of the place.
pub fn parse<'a>(text: &'a [u8], what: &str) -> Result<Value<'a>> {
    if text.len() > LONGEST {
        return Err(Error::input(format!("{what} has {} bytes, at most {LONGEST} are read", text.len())));
    }
    // Once for the whole text, instead of serde_json's check of each string.
    let utf8 = std::str::from_utf8(text).map_err(|error| {
        let place = pointer_at(text, error.valid_up_to());
        let error = Error::input(format!("{what} byte {}: not UTF-8", error.valid_up_to()));
        if place.is_empty() { error } else { error.at(&Origin::found(place)) }
    })?;
    let left = Cell::new(MOST_VALUES);
    let mut deserializer = serde_json::Deserializer::from_str(utf8);
    Seed(&left)
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| refused(text, what, &error))
}

/// The error path: serde_json's words without its position, and the position as pointer, line and column.
fn refused(text: &[u8], what: &str, error: &serde_json::Error) -> Error {
    let words = error.to_string();
    let words = words.rfind(" at line ").map_or(words.as_str(), |end| &words[..end]);
    let (line, column) = (error.line(), error.column());
    let start =
        text.split_inclusive(|byte| *byte == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len).sum::<usize>();
    let pointer = pointer_at(text, (start + column).min(text.len()));
    let message = Error::input(format!("{what} line {line} column {column}: {words}"));
    if pointer.is_empty() { message } else { message.at(&Origin::found(pointer)) }
}

/// Carries how many values may still come.
#[derive(Clone, Copy)]
struct Seed<'c>(&'c Cell<u32>);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        match self.0.get().checked_sub(1) {
            Some(left) => self.0.set(left),
            None => return Err(D::Error::custom(format_args!("more than {MOST_VALUES} values"))),
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value<'de>, E> {
        Ok(Value::Unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value<'de>, E> {
        Ok(u64::try_from(value).map_or(Value::Negative(value), Value::Unsigned))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value<'de>, E> {
        Ok(Value::Float(value))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        let mut members: Vec<(Cow<'de, str>, Value<'de>)> = Vec::new();
        while let Some(Key(key)) = map.next_key()? {
            // Small objects are the rule: a scan at each key names the place exactly. Large ones are sorted at the end.
            if members.len() < 64 && members.iter().any(|(known, _)| *known == key) {
                return Err(A::Error::custom(format_args!("the key {} is there twice", shown(&key))));
            }
            members.push((key, map.next_value_seed(self)?));
        }
        if members.len() > 64 {
            let mut keys: Vec<&str> = members.iter().map(|(key, _)| key.as_ref()).collect();
            keys.sort_unstable();
            if let Some(twice) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(A::Error::custom(format_args!("the key {} is there twice", shown(twice[0]))));
            }
        }
        Ok(Value::Object(members))
    }
}

/// An object's key, borrowed if it has no escapes (`Cow` itself would always copy).
struct Key<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl<'de> Visitor<'de> for Words {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        parse(text.as_bytes(), "config.json").unwrap_err().to_string()
    }

    #[test]
    fn a_tree_keeps_order_and_kinds() {
        let value = parse(br#"{"b":[1,-2,0.5,null,true],"a":"x\u0041"}"#, "t").unwrap();
        let Value::Object(members) = value else { panic!("an object was written") };
        assert_eq!(members[0].0, "b");
        let list = vec![Value::Unsigned(1), Value::Negative(-2), Value::Float(0.5), Value::Null, Value::Bool(true)];
        assert_eq!(members[0].1, Value::Array(list));
        assert_eq!(members[1].1, Value::Text("xA".into()));
    }

    #[test]
    fn a_key_twice_is_refused_with_its_place() {
        let text = refusal("{\"process\":{\"cwd\":\"/\",\n\"cwd\":\"/root\"}}");
        assert!(text.starts_with("/process/cwd: config.json line 2"), "{text}");
        assert!(text.contains("\"cwd\" is there twice"), "{text}");
    }

    #[test]
    fn a_key_twice_is_refused_in_a_large_object_too() {
        let mut text: String = (0..200).map(|n| format!("\"k{n}\":1,")).collect();
        text.push_str("\"k150\":2");
        assert!(refusal(&format!("{{{text}}}")).contains("\"k150\" is there twice"));
    }

    #[test]
    fn broken_text_is_named_by_pointer_line_and_column() {
        let text = refusal("{\"mounts\":[{},{\"type\": nul}]}");
        assert!(text.starts_with("/mounts/1/type: config.json line 1"), "{text}");
        assert!(refusal("").contains("config.json line 1 column 0"));
        let latin = parse(b"{\"process\":{\"cwd\":\"/\xE9\"}}", "config.json").unwrap_err().to_string();
        assert_eq!(latin, "/process/cwd: config.json byte 20: not UTF-8");
        assert!(refusal("{} x").contains("trailing characters"));
    }

    #[test]
    fn size_depth_and_count_are_bounded() {
        let spaces = vec![b' '; LONGEST + 1];
        assert!(parse(&spaces, "t").unwrap_err().to_string().contains("at most 16777216"));
        assert!(refusal(&"[".repeat(4000)).contains("recursion limit"));
        let zeros = format!("[{}0]", "0,".repeat(MOST_VALUES as usize));
        assert!(refusal(&zeros).contains("more than 500000 values"));
    }
}
