//! The one error people see: what failed, where in their input, which call, why, and what would help.
//!
//! Every room of the library returns this type. The sentence is made here and nowhere else, so that the JSON log,
//! the terminal and `create`'s caller read the same words.

use std::fmt;

/// Where a value came from: a JSON pointer into config.json (`/mounts/4`), `file:line`, or an option (`--memory`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin(pub std::borrow::Cow<'static, str>);

impl Origin {
    /// A place known when kiste was built: an option's name or a fixed pointer.
    pub const fn fixed(place: &'static str) -> Self {
        Origin(std::borrow::Cow::Borrowed(place))
    }

    /// A place found while reading the input.
    pub fn found(place: impl Into<String>) -> Self {
        Origin(std::borrow::Cow::Owned(place.into()))
    }

    /// The place one level deeper: `Origin("/mounts").child(4)` is `/mounts/4`.
    pub fn child(&self, key: impl fmt::Display) -> Self {
        Origin::found(format!("{}/{key}", self.0))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What callers tell apart. The texts that belong to a kind are contracts: containerd, podman and CRI-O match them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The input is wrong: nothing was created.
    Input,
    /// No container of that id: the text contains `does not exist`.
    NotFound,
    /// The container has no running process: the text contains `container not running`.
    NotRunning,
    /// The id is in use.
    Exists,
    /// The kernel or a helper refused.
    Refused,
}

/// One failure, told to a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What callers may tell apart.
    pub kind: Kind,
    /// What kiste was doing or what is wrong, a clause without full stop.
    pub what: String,
    /// Where in the input, if the input asked for it.
    pub origin: Option<Origin>,
    /// The system call or helper that failed.
    pub call: Option<&'static str>,
    /// Its errno.
    pub errno: Option<i32>,
    /// What would help.
    pub hint: Option<String>,
}

/// The library's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure of the given kind.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Error { kind, what: what.into(), origin: None, call: None, errno: None, hint: None }
    }

    /// The input is wrong.
    pub fn input(what: impl Into<String>) -> Self {
        Error::new(Kind::Input, what)
    }

    /// The kernel or a helper refused.
    pub fn refused(what: impl Into<String>) -> Self {
        Error::new(Kind::Refused, what)
    }

    /// Adds the place in the input, unless one is known already.
    pub fn at(mut self, origin: &Origin) -> Self {
        self.origin.get_or_insert_with(|| origin.clone());
        self
    }

    /// Adds the failed call and its errno.
    pub fn call(mut self, call: &'static str, errno: i32) -> Self {
        (self.call, self.errno) = (Some(call), Some(errno));
        self
    }

    /// Adds what an `io::Error` knows.
    pub fn io(self, call: &'static str, error: &std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => self.call(call, errno),
            None => {
                let mut me = self;
                me.what = format!("{}: {error}", me.what);
                me
            }
        }
    }

    /// Adds what would help.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        f.write_str(&self.what)?;
        if let Some(call) = self.call {
            write!(f, ": {call}")?;
        }
        if let Some(errno) = self.errno {
            write!(f, ": {}", errno_text(errno))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// The C library's words for an errno, in lower case as callers match them (`permission denied`,
/// `no such file or directory`, `operation not permitted`).
pub fn errno_text(errno: i32) -> String {
    nix::errno::Errno::from_raw(errno).desc().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_sentence() {
        let error = Error::refused("cannot attach /run/x at /etc/resolv.conf")
            .at(&Origin::fixed("/mounts").child(4))
            .call("move_mount", 20)
            .hint("the source is a file and the target a directory");
        assert_eq!(
            error.to_string(),
            "/mounts/4: cannot attach /run/x at /etc/resolv.conf: move_mount: not a directory \
             (the source is a file and the target a directory)"
        );
    }
}
