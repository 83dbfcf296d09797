//! argv and envp ready for execve(2), made before clone3 so that the child only hands them over.

use std::ffi::CStr;
use std::marker::PhantomData;

use super::raw::Pointers;

/// Bytes for `HOME=…`: the longest home directory a child takes from /etc/passwd is 256 bytes.
const HOME_ROOM: usize = 5 + 256 + 2;

/// A NULL-terminated array of C strings that stay borrowed.
#[derive(Debug)]
pub struct Strings<'a> {
    addresses: Vec<usize>,
    strings: PhantomData<&'a CStr>,
}

impl<'a> Strings<'a> {
    /// The strings in order.
    pub fn new(strings: impl IntoIterator<Item = &'a CStr>) -> Self {
        let addresses = strings.into_iter().map(|string| string.as_ptr() as usize).chain([0]).collect();
        Strings { addresses, strings: PhantomData }
    }

    /// As execve(2) takes them.
    pub fn pointers(&self) -> Pointers<'_> {
        // SAFETY: every address is that of a `CStr` borrowed for `'a`, which outlives `self`; the last is 0.
        unsafe { Pointers::from_terminated(&self.addresses) }
    }
}

/// An environment whose last entry may be a HOME that the child fills in.
#[derive(Debug)]
pub struct Environment<'a> {
    strings: Strings<'a>,
    home: Box<[u8; HOME_ROOM]>,
}

impl<'a> Environment<'a> {
    /// The strings in order, and `HOME=/` behind them if wanted.
    pub fn new(strings: impl IntoIterator<Item = &'a CStr>, with_home: bool) -> Self {
        let mut home = Box::new([0u8; HOME_ROOM]);
        home[..6].copy_from_slice(b"HOME=/");
        let mut strings = Strings::new(strings);
        if with_home {
            let end = strings.addresses.len() - 1;
            strings.addresses.insert(end, home.as_ptr() as usize);
        }
        Environment { strings, home }
    }

    /// The room of `HOME=…`, NUL-terminated: the last byte stays 0.
    pub fn home(&mut self) -> &mut [u8] {
        &mut self.home[..HOME_ROOM - 1]
    }

    /// Puts another string into the place of the last; nothing where there is none.
    pub fn replace_last(&mut self, string: &'a CStr) {
        let addresses: &mut [usize] = &mut self.strings.addresses;
        if let [.., last, _end] = addresses {
            *last = string.as_ptr() as usize;
        }
    }

    /// As execve(2) takes them.
    pub fn pointers(&self) -> Pointers<'_> {
        // SAFETY: as for `Strings`; the room of HOME lives as long as `self` and always ends in a NUL, because `home`
        // gives out all but the last byte.
        unsafe { Pointers::from_terminated(&self.strings.addresses) }
    }
}
