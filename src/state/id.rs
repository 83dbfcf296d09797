//! Which words are ids.

use crate::error::{Error, Result};

/// The longest id, in bytes: it must be a file name, and fit into cgroup and unit names with something around it.
const LONGEST: usize = 255;

/// Whether the word may be a container's id: `[A-Za-z0-9_+-][A-Za-z0-9_+.-]*`, at most 255 bytes. So neither `.` nor
/// `..`, no slash, nothing hidden.
///
/// # Errors
/// `Kind::Input` with `invalid container ID format`.
pub fn check_id(id: &str) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'+' | b'-');
    let problem = match id.as_bytes() {
        [] => "it is empty",
        bytes if bytes.len() > LONGEST => "it is longer than 255 bytes",
        [first, rest @ ..] if allowed(*first) && rest.iter().all(|byte| allowed(*byte) || *byte == b'.') => {
            return Ok(());
        }
        _ => "only letters, digits, '_', '+', '-' and, after the first, '.' are allowed",
    };
    let shown: String = id.chars().take(64).flat_map(char::escape_default).collect();
    Err(Error::input(format!("invalid container ID format: \"{shown}\": {problem}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        for good in ["a", "0", "_x", "+1", "-", "a.b", "a..", "Web-1_2+3.4", &"x".repeat(255)] {
            assert!(check_id(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", ".a", "a/b", "a b", "a\n", "ä", "a\0", "a:b", &"x".repeat(256)] {
            assert!(check_id(bad).is_err(), "{bad}");
        }
        let text = check_id("a\x1b[31m").unwrap_err().to_string();
        assert!(text.contains("invalid container ID format") && !text.contains('\x1b'), "{text}");
    }
}
