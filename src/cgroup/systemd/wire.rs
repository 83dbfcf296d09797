//! The D-Bus wire format, as much as talking to systemd takes: little-endian messages out, both kinds in
//! (D-Bus Specification, "Marshaling").

use serde::{Deserialize, Serialize};

/// A property's value, by its D-Bus type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// `b`
    Bool(bool),
    /// `u`
    U32(u32),
    /// `t`
    U64(u64),
    /// `i`
    I32(i32),
    /// `x`
    I64(i64),
    /// `d`
    F64(f64),
    /// `s`
    Text(String),
    /// `as`
    Texts(Vec<String>),
    /// `au`
    Numbers(Vec<u32>),
    /// `ay`
    Bytes(Vec<u8>),
    /// `a(ss)`
    Pairs(Vec<(String, String)>),
    /// `y`
    Byte(u8),
    /// `n`
    I16(i16),
    /// `q`
    U16(u16),
    /// `(…)`, never empty
    Tuple(Vec<Value>),
    /// `a…` of any other element: its signature and the elements.
    List(String, Vec<Value>),
}

impl Value {
    pub(super) fn signature(&self) -> String {
        let letters = match self {
            Value::Bool(_) => "b",
            Value::U32(_) => "u",
            Value::U64(_) => "t",
            Value::I32(_) => "i",
            Value::I64(_) => "x",
            Value::F64(_) => "d",
            Value::Text(_) => "s",
            Value::Texts(_) => "as",
            Value::Numbers(_) => "au",
            Value::Bytes(_) => "ay",
            Value::Pairs(_) => "a(ss)",
            Value::Byte(_) => "y",
            Value::I16(_) => "n",
            Value::U16(_) => "q",
            Value::Tuple(parts) => return format!("({})", parts.iter().map(Value::signature).collect::<String>()),
            Value::List(element, _) => return format!("a{element}"),
        };
        letters.to_owned()
    }

    /// Reads GVariant text, the form of `org.systemd.property.*` annotations: `true`, `uint64 5`, `'text'`,
    /// `['a', 'b']`, `[("/dev/sda", uint64 1000)]`, `@a(st) []`. `None` for what is not one of the types above.
    pub fn parse(text: &str) -> Option<Value> {
        super::gvariant::parse(text)
    }
}

/// Where a value of this type may begin: at a multiple of so many bytes (D-Bus Specification, "Summary of D-Bus marshaling").
fn alignment(signature: &str) -> usize {
    match signature.as_bytes().first() {
        Some(b'y') => 1,
        Some(b'n' | b'q') => 2,
        Some(b'x' | b't' | b'd' | b'(') => 8,
        _ => 4,
    }
}

/// Bytes in D-Bus alignment.
#[derive(Default)]
pub(super) struct Writer {
    pub bytes: Vec<u8>,
}

impl Writer {
    pub fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    fn short(&mut self, value: u16) {
        self.align(2);
        self.bytes.extend(value.to_le_bytes());
    }

    fn word(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend(value.to_le_bytes());
    }

    fn long(&mut self, value: u64) {
        self.align(8);
        self.bytes.extend(value.to_le_bytes());
    }

    pub fn flag(&mut self, value: bool) {
        self.word(u32::from(value));
    }

    pub fn text(&mut self, text: &str) {
        self.word(text.len() as u32);
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }

    fn signature(&mut self, signature: &str) {
        self.bytes.push(signature.len() as u8);
        self.bytes.extend(signature.as_bytes());
        self.bytes.push(0);
    }

    /// An array: its length in bytes does not count the padding before the first element.
    pub fn array(&mut self, align: usize, fill: impl FnOnce(&mut Self)) {
        self.word(0);
        let length_at = self.bytes.len() - 4;
        self.align(align);
        let start = self.bytes.len();
        fill(self);
        let length = (self.bytes.len() - start) as u32;
        self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn variant(&mut self, value: &Value) {
        self.signature(&value.signature());
        self.value(value);
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Bool(flag) => self.flag(*flag),
            Value::U32(number) => self.word(*number),
            Value::I32(number) => self.word(*number as u32),
            Value::U64(number) => self.long(*number),
            Value::I64(number) => self.long(*number as u64),
            Value::F64(number) => self.long(number.to_bits()),
            Value::Text(text) => self.text(text),
            Value::Texts(list) => self.array(4, |out| list.iter().for_each(|text| out.text(text))),
            Value::Numbers(list) => self.array(4, |out| list.iter().for_each(|number| out.word(*number))),
            Value::Bytes(list) => self.array(1, |out| out.bytes.extend(list)),
            Value::Pairs(list) => self.array(8, |out| {
                for (first, second) in list {
                    out.align(8);
                    out.text(first);
                    out.text(second);
                }
            }),
            Value::Byte(byte) => self.bytes.push(*byte),
            Value::I16(number) => self.short(*number as u16),
            Value::U16(number) => self.short(*number),
            Value::Tuple(parts) => {
                self.align(8);
                parts.iter().for_each(|part| self.value(part));
            }
            Value::List(element, items) => {
                self.array(alignment(element), |out| items.iter().for_each(|item| out.value(item)));
            }
        }
    }

    /// `a(sv)`
    pub fn properties(&mut self, list: &[(String, Value)]) {
        self.array(8, |out| {
            for (name, value) in list {
                out.align(8);
                out.text(name);
                out.variant(value);
            }
        });
    }
}

/// A method call to be sent.
pub(super) struct Call<'a> {
    /// The receiver's bus name; none on a direct connection.
    pub destination: Option<&'a str>,
    pub path: &'a str,
    pub interface: &'a str,
    pub member: &'a str,
    pub signature: &'a str,
    pub body: Writer,
}

impl Call<'_> {
    /// The whole message.
    pub fn encode(&self, serial: u32) -> Vec<u8> {
        let mut out = Writer::default();
        out.bytes.extend([b'l', 1, 0, 1]);
        out.word(self.body.bytes.len() as u32);
        out.word(serial);
        let fields = [
            (1, "o", Some(self.path)),
            (2, "s", Some(self.interface)),
            (3, "s", Some(self.member)),
            (6, "s", self.destination),
            (8, "g", Some(self.signature).filter(|signature| !signature.is_empty())),
        ];
        out.array(8, |out| {
            for (code, kind, value) in fields {
                let Some(value) = value else { continue };
                out.align(8);
                out.bytes.push(code);
                out.signature(kind);
                if kind == "g" { out.signature(value) } else { out.text(value) }
            }
        });
        out.align(8);
        out.bytes.extend(&self.body.bytes);
        out.bytes
    }
}

/// A message that came in.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Message {
    /// 1 call, 2 answer, 3 error, 4 signal.
    pub kind: u8,
    pub answers: u32,
    pub member: String,
    pub error: String,
    /// The strings and object paths of the body, also in variants, up to the first other type but `u`.
    pub texts: Vec<String>,
}

/// The length of the whole message, once its first 16 bytes are there.
pub(super) fn length(start: &[u8; 16]) -> Option<usize> {
    let word = |at: usize| number(start, at, start[0] == b'l').map(|word| word as usize);
    let (body, fields) = (word(4)?, word(12)?);
    // The specification's own limits: 64 MiB for an array, 128 MiB for a message.
    (fields <= 1 << 26 && body <= 1 << 27).then(|| (16 + fields).next_multiple_of(8) + body)
}

fn number(bytes: &[u8], at: usize, little: bool) -> Option<u32> {
    let word = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(if little { u32::from_le_bytes(word) } else { u32::from_be_bytes(word) })
}

/// Reads a message; `None` if it is not one.
pub(super) fn decode(bytes: &[u8]) -> Option<Message> {
    let little = bytes.first() == Some(&b'l');
    let mut message = Message { kind: *bytes.get(1)?, ..Message::default() };
    let fields = number(bytes, 12, little)? as usize;
    let mut signature = String::new();
    let mut at = 16;
    while at < 16 + fields {
        at = at.next_multiple_of(8);
        let code = *bytes.get(at)?;
        let kind_length = usize::from(*bytes.get(at + 1)?);
        let kind = bytes.get(at + 2..at + 2 + kind_length)?;
        at += 3 + kind_length;
        match kind {
            b"u" => {
                at = at.next_multiple_of(4);
                let value = number(bytes, at, little)?;
                at += 4;
                if code == 5 {
                    message.answers = value;
                }
            }
            b"s" | b"o" => {
                let (text, next) = text(bytes, at, little)?;
                at = next;
                match code {
                    3 => message.member = text,
                    4 => message.error = text,
                    _ => {}
                }
            }
            b"g" => {
                let length = usize::from(*bytes.get(at)?);
                signature = String::from_utf8_lossy(bytes.get(at + 1..at + 1 + length)?).into_owned();
                at += length + 2;
            }
            _ => return None,
        }
    }
    let body = bytes.get((16 + fields).next_multiple_of(8)..)?;
    let mut at = 0;
    for kind in signature.chars() {
        match kind {
            's' | 'o' => {
                let (text, next) = text(body, at, little)?;
                message.texts.push(text);
                at = next;
            }
            'v' => {
                let length = usize::from(*body.get(at)?);
                if !matches!(body.get(at + 1..at + 1 + length)?, b"s" | b"o") {
                    break;
                }
                let (text, next) = text(body, at + length + 2, little)?;
                message.texts.push(text);
                at = next;
            }
            'u' => at = at.next_multiple_of(4) + 4,
            _ => break,
        }
    }
    Some(message)
}

fn text(bytes: &[u8], at: usize, little: bool) -> Option<(String, usize)> {
    let at = at.next_multiple_of(4);
    let length = number(bytes, at, little)? as usize;
    let text = bytes.get(at + 4..(at + 4).checked_add(length)?)?;
    Some((String::from_utf8_lossy(text).into_owned(), at + 4 + length + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_read_as_it_was_written() {
        let mut body = Writer::default();
        body.text("kiste-a.scope");
        body.text("fail");
        body.properties(&[("Delegate".into(), Value::Bool(true)), ("PIDs".into(), Value::Numbers(vec![7]))]);
        let call = Call {
            destination: Some("org.freedesktop.systemd1"),
            path: "/org/freedesktop/systemd1",
            interface: "org.freedesktop.systemd1.Manager",
            member: "StartTransientUnit",
            signature: "ssa(sv)",
            body,
        };
        let bytes = call.encode(3);
        assert_eq!(length(bytes[..16].try_into().unwrap()), Some(bytes.len()));
        let message = decode(&bytes).unwrap();
        assert_eq!((message.kind, message.member.as_str()), (1, "StartTransientUnit"));
        assert_eq!(message.texts, ["kiste-a.scope", "fail"]);
        // Cut anywhere, it is refused or shorter, never a panic.
        assert!((0..bytes.len()).all(|end| decode(&bytes[..end]).is_none_or(|part| part.texts.len() <= 2)));
    }

    #[test]
    fn arrays_have_the_length_of_their_elements() {
        let mut out = Writer::default();
        out.properties(&[("A".into(), Value::U64(1))]);
        // length, padding to 8, "A" (4 + 1 + 1), signature "t" (1 + 1 + 1), padding to 16, the number
        assert_eq!(out.bytes[..8], [24, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(out.bytes.len(), 32);
    }

    #[test]
    fn structures_begin_at_multiples_of_eight() {
        let mut out = Writer::default();
        out.variant(&Value::parse("[('a', uint64 1), ('b', 2)]").unwrap());
        let mut expected = vec![5];
        expected.extend(b"a(st)\0\0");
        // The list's 32 bytes; padding to 16; each: length 1, the letter and NUL, padding to 8, the number.
        expected.extend([32, 0, 0, 0]);
        expected.resize(16, 0);
        expected.extend([1, 0, 0, 0, b'a', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([1, 0, 0, 0, b'b', 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(out.bytes, expected);
    }

    #[test]
    fn annotations_are_gvariant_text() {
        assert_eq!(Value::parse("true"), Some(Value::Bool(true)));
        assert_eq!(Value::parse("uint64 5"), Some(Value::U64(5)));
        assert_eq!(Value::parse("-7"), Some(Value::I32(-7)));
        assert_eq!(Value::parse("'it\\'s'"), Some(Value::Text("it's".into())));
        assert_eq!(Value::parse("['a.service', 'b']"), Some(Value::Texts(vec!["a.service".into(), "b".into()])));
        assert_eq!(Value::parse("[uint32 1, 2]"), Some(Value::Numbers(vec![1, 2])));
        assert_eq!(Value::parse("[byte 0x0f]"), Some(Value::Bytes(vec![15])));
        for wrong in ["", "yes", "'open", "handle 3", "'a' 'b'"] {
            assert_eq!(Value::parse(wrong), None, "{wrong}");
        }
    }
}
