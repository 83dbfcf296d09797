//! Every byte of a plan in one mapping: C strings, programs, tables. The child reads it; nothing is copied for it.

use std::ffi::CStr;

/// A NUL-terminated string in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    /// Offset.
    pub start: u32,
    /// Length with the NUL.
    pub length: u32,
}

/// Plain bytes in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes {
    /// Offset, a multiple of 8.
    pub start: u32,
    /// Length.
    pub length: u32,
}

/// A run of entries in one of the plan's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First entry.
    pub start: u32,
    /// How many.
    pub count: u32,
}

/// One option of a file system context (fsconfig(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// A word.
    Flag(Text),
    /// `key=value`.
    Value(Text, Text),
}

/// The owner of something made in the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// User inside.
    pub uid: u32,
    /// Group inside.
    pub gid: u32,
}

/// A hook run by the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HookEntry {
    /// Program.
    pub path: Text,
    /// argv, in `texts`.
    pub arguments: Range,
    /// envp, in `texts`.
    pub environment: Range,
    /// Seconds, 0: no limit.
    pub timeout: u32,
}

/// The bytes and tables of a plan.
#[derive(Debug, Default)]
pub struct Arena {
    bytes: Vec<u8>,
    /// Lists of strings: argv, envp, executable candidates, hook arguments.
    pub texts: Vec<Text>,
    /// File system options.
    pub parameters: Vec<Parameter>,
    /// Mount attributes.
    pub attributes: Vec<crate::kernel::abi::MountAttr>,
    /// Hooks the child runs.
    pub hooks: Vec<HookEntry>,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// The ruleset of landlock(7): handled accesses to files, to the network, scopes; paths below the root and what is allowed
    /// beneath.
    pub landlock: Option<([u64; 3], Vec<(Text, u64)>)>,
    /// The five capability sets.
    pub capabilities: Option<crate::plan::operation::CapabilitySets>,
}

impl Arena {
    /// An arena with room for a usual container, so that building it allocates once.
    pub fn new() -> Self {
        Arena {
            bytes: Vec::with_capacity(32 << 10),
            texts: Vec::with_capacity(64),
            parameters: Vec::with_capacity(32),
            attributes: Vec::with_capacity(16),
            ..Arena::default()
        }
    }

    /// Puts a string with its NUL; what follows an inner NUL would be lost, so lowering has refused those.
    pub fn text(&mut self, text: &str) -> Text {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
        Text { start, length: text.len() as u32 + 1 }
    }

    /// Puts bytes, aligned to 8.
    pub fn bytes(&mut self, bytes: &[u8]) -> Bytes {
        while self.bytes.len() % 8 != 0 {
            self.bytes.push(0);
        }
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        Bytes { start, length: bytes.len() as u32 }
    }

    /// Puts a list of strings.
    pub fn list<S: AsRef<str>>(&mut self, texts: impl IntoIterator<Item = S>) -> Range {
        let start = self.texts.len() as u32;
        for text in texts {
            let text = self.text(text.as_ref());
            self.texts.push(text);
        }
        Range { start, count: self.texts.len() as u32 - start }
    }

    /// The string, empty if out of range (the verifier proves that none is).
    pub fn c_str(&self, text: Text) -> &CStr {
        self.slice(text.start, text.length).and_then(|bytes| CStr::from_bytes_with_nul(bytes).ok()).unwrap_or(c"")
    }

    /// The string for printing.
    pub fn show(&self, text: Text) -> String {
        self.c_str(text).to_string_lossy().into_owned()
    }

    /// The bytes, empty if out of range.
    pub fn get(&self, bytes: Bytes) -> &[u8] {
        self.slice(bytes.start, bytes.length).unwrap_or(&[])
    }

    /// A list of strings.
    pub fn texts(&self, range: Range) -> &[Text] {
        self.texts.get(range.start as usize..range.start as usize + range.count as usize).unwrap_or(&[])
    }

    /// File system options of a range.
    pub fn parameters(&self, range: Range) -> &[Parameter] {
        self.parameters.get(range.start as usize..range.start as usize + range.count as usize).unwrap_or(&[])
    }

    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was put.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn slice(&self, start: u32, length: u32) -> Option<&[u8]> {
        self.bytes.get(start as usize..start as usize + length as usize)
    }
}
