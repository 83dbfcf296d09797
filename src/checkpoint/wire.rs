//! The encoding of CRIU's messages: Protocol Buffers (protobuf.dev, "Encoding"), as far as CRIU uses it: numbers, and
//! bytes with their length.

/// A message being written: fields one after the other.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

/// Wire types.
const NUMBER: u64 = 0;
const EIGHT_BYTES: u64 = 1;
const BYTES: u64 = 2;
const FOUR_BYTES: u64 = 5;

impl Writer {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    /// A number; a negative one is written with its sign over 64 bits.
    pub(super) fn number(&mut self, field: u64, number: i64) -> &mut Self {
        self.varint(field << 3 | NUMBER);
        self.varint(number as u64);
        self
    }

    /// A flag, if it is set: not set is the default.
    pub(super) fn flag(&mut self, field: u64, set: bool) -> &mut Self {
        if set { self.number(field, 1) } else { self }
    }

    /// Text or bytes.
    pub(super) fn text(&mut self, field: u64, text: impl AsRef<[u8]>) -> &mut Self {
        let text = text.as_ref();
        self.varint(field << 3 | BYTES);
        self.varint(text.len() as u64);
        self.bytes.extend_from_slice(text);
        self
    }

    /// A message as a field.
    pub(super) fn message(&mut self, field: u64, message: &Writer) -> &mut Self {
        self.text(field, &message.bytes)
    }

    /// The finished message.
    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A number, flag or choice.
    Number(u64),
    /// Text or a message.
    Bytes(&'a [u8]),
}

/// The fields of a message. A damaged one ends with an error.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

/// The message is cut off or no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damaged;

impl<'a> Reader<'a> {
    /// The message in `bytes`.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    fn varint(&mut self) -> Result<u64, Damaged> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(Damaged)?;
            self.rest = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Damaged)
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], Damaged> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Damaged)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// The next field; nothing at the end. Fields of a kind CRIU does not use are passed over.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, Damaged> {
        while !self.rest.is_empty() {
            let tag = self.varint()?;
            match tag & 7 {
                NUMBER => return Ok(Some((tag >> 3, Value::Number(self.varint()?)))),
                BYTES => {
                    let length = usize::try_from(self.varint()?).map_err(|_| Damaged)?;
                    return Ok(Some((tag >> 3, Value::Bytes(self.bytes(length)?))));
                }
                EIGHT_BYTES => drop(self.bytes(8)?),
                FOUR_BYTES => drop(self.bytes(4)?),
                _ => return Err(Damaged),
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_examples() {
        // protobuf.dev: field 1 = 150 is 08 96 01; field 2 = "testing" is 12 07 …; field 3 = {1: 150} is 1a 03 08 96 01.
        let mut inner = Writer::default();
        inner.number(1, 150);
        let mut writer = Writer::default();
        writer.number(1, 150).text(2, "testing").message(3, &inner).flag(4, false).flag(5, true).number(6, -1);
        let bytes = writer.finish();
        let known = [
            &[0x08, 0x96, 0x01, 0x12, 0x07][..],
            b"testing",
            &[0x1a, 0x03, 0x08, 0x96, 0x01, 0x28, 0x01, 0x30],
            &[0xff; 9],
            &[0x01],
        ];
        assert_eq!(bytes, known.concat());
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.next(), Ok(Some((1, Value::Number(150)))));
        assert_eq!(reader.next(), Ok(Some((2, Value::Bytes(b"testing")))));
        assert_eq!(reader.next(), Ok(Some((3, Value::Bytes(&[0x08, 0x96, 0x01])))));
        assert_eq!(reader.next(), Ok(Some((5, Value::Number(1)))));
        assert_eq!(reader.next(), Ok(Some((6, Value::Number(u64::MAX)))));
        assert_eq!(reader.next(), Ok(None));
    }

    #[test]
    fn damage_is_noticed() {
        for bytes in [&[0x08][..], &[0x12, 0x07, b't'], &[0xff; 11], &[0x0b], &[0x12, 0xff, 0xff, 0xff, 0xff, 0x7f]] {
            assert_eq!(Reader::new(bytes).next(), Err(Damaged), "{bytes:?}");
        }
        // Fixed-width fields are passed over.
        let mut reader = Reader::new(&[0x0d, 1, 2, 3, 4, 0x11, 1, 2, 3, 4, 5, 6, 7, 8, 0x18, 9]);
        assert_eq!(reader.next(), Ok(Some((3, Value::Number(9)))));
    }
}
