//! GVariant text, the form of `org.systemd.property.*` annotations (GLib Reference Manual, "GVariant Text Format"):
//! booleans, numbers, texts, lists and tuples of them, each with its type before it (`uint64 5`, `@a(st) []`) or found from the
//! elements beside it. No property of systemd is a dictionary, a maybe or an object path: these are no values here.

use super::wire::Value;

/// How deep lists and tuples may go (D-Bus Specification, "Valid Signatures": 32 of each).
const DEEPEST: usize = 32;

/// The longest signature, in bytes (the same section).
const LONGEST_SIGNATURE: usize = 255;

/// What is written, before its type is known.
enum Node {
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Node>),
    Tuple(Vec<Node>),
    Typed(Type, Box<Node>),
}

/// A type, as far as it is known.
#[derive(Clone, PartialEq)]
enum Type {
    /// Any: the element of an empty list.
    Any,
    /// Some number: `i` if nothing says more.
    Number,
    /// A letter of D-Bus.
    Basic(char),
    List(Box<Type>),
    Tuple(Vec<Type>),
}

/// The numbers that have a word of their own, and their letters.
const WORDS: &[(&str, char)] = &[
    ("boolean", 'b'),
    ("byte", 'y'),
    ("int16", 'n'),
    ("uint16", 'q'),
    ("int32", 'i'),
    ("uint32", 'u'),
    ("int64", 'x'),
    ("uint64", 't'),
    ("double", 'd'),
    ("string", 's'),
];

/// The value of a text; `None` for what is none.
pub(super) fn parse(text: &str) -> Option<Value> {
    let mut reader = Reader { rest: text };
    let node = reader.value(0)?;
    reader.skip();
    let value = reader.rest.is_empty().then(|| build(&node, &type_of(&node)?))??;
    (value.signature().len() <= LONGEST_SIGNATURE).then_some(value)
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, letter: char) -> bool {
        self.skip();
        let rest = self.rest.strip_prefix(letter);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// As many letters as belong to a number or a word.
    fn word(&mut self) -> String {
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && !"+-._".contains(c));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        word.to_owned()
    }

    fn value(&mut self, depth: usize) -> Option<Node> {
        self.skip();
        match self.rest.chars().next().filter(|_| depth < DEEPEST)? {
            '[' => self.items('[', ']', depth).map(Node::List),
            '(' => self.items('(', ')', depth).map(Node::Tuple),
            '\'' | '"' => self.text().map(Node::Text),
            '@' => {
                self.take('@');
                let kind = self.kind(depth)?;
                self.rest.starts_with(char::is_whitespace).then_some(())?;
                Some(Node::Typed(kind, Box::new(self.value(depth + 1)?)))
            }
            _ => match self.word().as_str() {
                "true" => Some(Node::Bool(true)),
                "false" => Some(Node::Bool(false)),
                word => match WORDS.iter().find(|(name, _)| *name == word) {
                    Some((_, letter)) => Some(Node::Typed(Type::Basic(*letter), Box::new(self.value(depth + 1)?))),
                    None => Some(Node::Number(word.to_owned())),
                },
            },
        }
    }

    fn items(&mut self, open: char, close: char, depth: usize) -> Option<Vec<Node>> {
        let (mut items, _) = (Vec::new(), self.take(open));
        while !self.take(close) {
            if !items.is_empty() && !self.take(',') {
                return None;
            }
            // A tuple of one has a comma behind it, nothing else has.
            if !items.is_empty() && self.take(close) {
                return (open == '(' && items.len() == 1).then_some(items);
            }
            items.push(self.value(depth + 1)?);
        }
        Some(items)
    }

    fn text(&mut self) -> Option<String> {
        let mut letters = self.rest.chars();
        let (quote, mut text) = (letters.next()?, String::new());
        loop {
            text.push(match letters.next()? {
                letter if letter == quote => break,
                '\0' => return None,
                '\\' => match letters.next()? {
                    'a' => '\x07',
                    'b' => '\x08',
                    'f' => '\x0c',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'v' => '\x0b',
                    kind @ ('u' | 'U') => {
                        let digits: String = letters.by_ref().take(if kind == 'u' { 4 } else { 8 }).collect();
                        let code = u32::from_str_radix(&digits, 16).ok()?;
                        char::from_u32(code).filter(|letter| *letter != '\0')?
                    }
                    other => other,
                },
                letter => letter,
            });
        }
        self.rest = letters.as_str();
        Some(text)
    }

    /// A signature.
    fn kind(&mut self, depth: usize) -> Option<Type> {
        let letter = self.rest.chars().next().filter(|_| depth < DEEPEST)?;
        self.rest = &self.rest[letter.len_utf8()..];
        match letter {
            'a' => Some(Type::List(Box::new(self.kind(depth + 1)?))),
            '(' => {
                let mut parts = Vec::new();
                while !self.rest.starts_with(')') {
                    parts.push(self.kind(depth + 1)?);
                }
                self.rest = &self.rest[1..];
                Some(Type::Tuple(parts))
            }
            letter => WORDS.iter().any(|(_, known)| *known == letter).then_some(Type::Basic(letter)),
        }
    }
}

fn type_of(node: &Node) -> Option<Type> {
    Some(match node {
        Node::Bool(_) => Type::Basic('b'),
        Node::Text(_) => Type::Basic('s'),
        Node::Number(text) if is_decimal(text) => Type::Basic('d'),
        Node::Number(_) => Type::Number,
        Node::List(items) => {
            let one = |sofar: Type, item: &Node| common(&sofar, &type_of(item)?);
            Type::List(Box::new(items.iter().try_fold(Type::Any, one)?))
        }
        Node::Tuple(parts) => Type::Tuple(parts.iter().map(type_of).collect::<Option<_>>()?),
        Node::Typed(kind, inner) => common(kind, &type_of(inner)?).filter(|found| found == kind)?,
    })
}

fn is_decimal(text: &str) -> bool {
    text.contains('.') || !text.contains(['x', 'X']) && text.contains(['e', 'E'])
}

/// The one type that two beside each other have.
fn common(one: &Type, other: &Type) -> Option<Type> {
    match (one, other) {
        (Type::Any, known) | (known, Type::Any) => Some(known.clone()),
        (Type::Number, Type::Number) => Some(Type::Number),
        (Type::Number, Type::Basic(letter)) | (Type::Basic(letter), Type::Number) => {
            "ynqiuxtd".contains(*letter).then_some(Type::Basic(*letter))
        }
        (Type::Basic(a), Type::Basic(b)) => (a == b).then_some(Type::Basic(*a)),
        (Type::List(a), Type::List(b)) => Some(Type::List(Box::new(common(a, b)?))),
        (Type::Tuple(a), Type::Tuple(b)) if a.len() == b.len() => {
            a.iter().zip(b).map(|(a, b)| common(a, b)).collect::<Option<_>>().map(Type::Tuple)
        }
        _ => None,
    }
}

/// D-Bus letters. What nothing tells is a list of texts, and a number of 32 bits.
fn signature(kind: &Type) -> String {
    match kind {
        Type::Any => "s".into(),
        Type::Number => "i".into(),
        Type::Basic(letter) => letter.to_string(),
        Type::List(of) => format!("a{}", signature(of)),
        Type::Tuple(parts) => format!("({})", parts.iter().map(signature).collect::<String>()),
    }
}

fn build(node: &Node, kind: &Type) -> Option<Value> {
    Some(match (node, kind) {
        (Node::Typed(_, inner), kind) => build(inner, kind)?,
        (Node::Bool(flag), Type::Basic('b')) => Value::Bool(*flag),
        (Node::Text(text), Type::Basic('s')) => Value::Text(text.clone()),
        (Node::Number(text), Type::Basic('d')) => Value::F64(float(text)?),
        (Node::Number(text), Type::Number) => Value::I32(whole(text)?.try_into().ok()?),
        (Node::Number(text), Type::Basic(letter)) => number(whole(text)?, *letter)?,
        (Node::Tuple(parts), Type::Tuple(kinds)) if !parts.is_empty() => {
            Value::Tuple(parts.iter().zip(kinds).map(|(part, kind)| build(part, kind)).collect::<Option<_>>()?)
        }
        (Node::List(items), Type::List(of)) => {
            let items: Vec<Value> = items.iter().map(|item| build(item, of)).collect::<Option<_>>()?;
            let element = signature(of);
            (!element.contains("()")).then(|| list(element, items))?
        }
        _ => return None,
    })
}

/// The lists that systemd is told by kiste itself have a form of their own.
fn list(element: String, items: Vec<Value>) -> Value {
    let texts = |item| if let Value::Text(text) = item { Some(text) } else { None };
    let numbers = |item| if let Value::U32(number) = item { Some(number) } else { None };
    let bytes = |item| if let Value::Byte(byte) = item { Some(byte) } else { None };
    match element.as_str() {
        "s" => Value::Texts(items.into_iter().filter_map(texts).collect()),
        "u" => Value::Numbers(items.into_iter().filter_map(numbers).collect()),
        "y" => Value::Bytes(items.into_iter().filter_map(bytes).collect()),
        _ => Value::List(element, items),
    }
}

fn number(value: i128, letter: char) -> Option<Value> {
    Some(match letter {
        'y' => Value::Byte(value.try_into().ok()?),
        'n' => Value::I16(value.try_into().ok()?),
        'q' => Value::U16(value.try_into().ok()?),
        'i' => Value::I32(value.try_into().ok()?),
        'u' => Value::U32(value.try_into().ok()?),
        'x' => Value::I64(value.try_into().ok()?),
        't' => Value::U64(value.try_into().ok()?),
        _ => return None,
    })
}

fn float(text: &str) -> Option<f64> {
    // Not the words that Rust reads, too: inf, nan.
    text.parse().ok().filter(|_| text.contains(|c: char| c.is_ascii_digit())).filter(|number: &f64| number.is_finite())
}

/// As in C: `0x` before sixteens, 0 before eights.
fn whole(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, radix) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(rest) => (rest, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (digits, 8),
        None => (digits, 10),
    };
    let number =
        digits.starts_with(|c: char| c.is_ascii_hexdigit()).then(|| i128::from_str_radix(digits, radix).ok())??;
    Some(if negative { -number } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature_of(text: &str) -> Option<String> {
        parse(text).map(|value| value.signature())
    }

    #[test]
    fn tuples_and_nested_lists_are_values() {
        let limit = Value::Tuple(vec![Value::Text("/dev/sda".into()), Value::U64(1000)]);
        assert_eq!(parse("[(\"/dev/sda\", uint64 1000)]"), Some(Value::List("(st)".into(), vec![limit])));
        assert_eq!(parse("@a(st) []"), Some(Value::List("(st)".into(), vec![])));
        assert_eq!(parse("@a(st) [('a', 7)]"), parse("[('a', uint64 7)]"));
        let cases = [
            ("[('a', 1), ('b', uint64 2)]", "a(st)"),
            ("[[1, 2], [], [int64 3]]", "aax"),
            ("('x', true, [byte 1, 0xff], (1.5, -3))", "(sbay(di))"),
            ("(5,)", "(i)"),
            ("[]", "as"),
            ("@au []", "au"),
            ("int16 -5", "n"),
            ("[1, double 2]", "ad"),
        ];
        for (text, expected) in cases {
            assert_eq!(signature_of(text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!((parse("0x10"), parse("010")), (Some(Value::I32(16)), Some(Value::I32(8))));
        assert_eq!(parse(r#""\u00e4\n""#), Some(Value::Text("ä\n".into())));
    }

    #[test]
    fn what_is_none_is_refused() {
        let wrong = [
            "[1, 'a']",
            "[(1, 2), (1,)]",
            "()",
            "[()]",
            "@a() []",
            "(1",
            "[1,]",
            "[1 2]",
            "1 2",
            "byte 256",
            "uint32 -1",
            "@s 5",
            "@as 5",
            "@a{sv} {}",
            "<5>",
            "just 5",
            "inf",
            "nan",
            "double inf",
            "'\\u0000'",
            "09",
            "0x",
            "-",
            "--5",
            "0x-5",
            "3000000000",
            "@au[]",
        ];
        for text in wrong {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse(&"[".repeat(100_000)), None);
        assert_eq!(parse(&format!("@{}s []", "a".repeat(100_000))), None);
    }
}
