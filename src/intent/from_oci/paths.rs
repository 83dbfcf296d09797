//! Texts with a form of their own: paths in the container, lists of processors.

use super::json::shown;
use super::reader::Node;
use crate::error::Result;
use crate::intent::Placed;

/// An absolute path in the container without `.`, `..` and doubled slashes. A `..` is resolved in the text, as every
/// runtime does it, with a warning: through a symlink of the image it would mean something else.
pub fn absolute(node: Node<'_>) -> Result<String> {
    let text = node.text()?;
    if !text.starts_with('/') {
        return Err(node.error(format!("the path must be absolute, found {}", shown(text))));
    }
    Ok(cleaned(node, text))
}

/// [`absolute`], but a relative path counts from `/`: a mount's destination, which the spec deprecates and demands.
pub fn from_root(node: Node<'_>) -> Result<String> {
    let text = node.text()?;
    if text.is_empty() {
        return Err(node.error("the path is empty"));
    }
    if !text.starts_with('/') {
        node.warn(format!("the relative path {} is taken from /", shown(text)));
    }
    Ok(cleaned(node, text))
}

fn cleaned(node: Node<'_>, text: &str) -> String {
    let path = clean(text);
    if text.split('/').any(|part| part == "..") {
        node.warn(format!("the path {} is taken as {}", shown(text), shown(&path)));
    }
    path
}

/// A path from `/` with `.`, `..` and doubled slashes resolved in the text.
pub fn clean(text: &str) -> String {
    let mut path = String::with_capacity(text.len() + 1);
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => path.truncate(path.rfind('/').unwrap_or(0)),
            name => {
                path.push('/');
                path.push_str(name);
            }
        }
    }
    if path.is_empty() {
        path.push('/');
    }
    path
}

/// Whether the kernel takes a text as a network device's name, or as a pattern of one (`dev_valid_name`).
pub fn is_interface(text: &str) -> bool {
    let forbidden = |byte: u8| matches!(byte, b'/' | b':') || byte.is_ascii_whitespace() || byte == 0x0b;
    (1..16).contains(&text.len()) && !matches!(text, "." | "..") && !text.bytes().any(forbidden)
}

/// A list of [`absolute`] paths with their places.
pub fn list(node: Node<'_>, most: usize) -> Result<Vec<Placed<String>>> {
    node.list(most, |item| Ok(Placed { value: absolute(item)?, origin: item.origin() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_in_the_text() {
        for (text, path) in
            [("/", "/"), ("//a/./b/", "/a/b"), ("/a/../../b", "/b"), ("a/b", "/a/b"), ("/..", "/"), ("/a..", "/a..")]
        {
            assert_eq!(clean(text), path);
            assert_eq!(clean(path), path);
        }
    }
}
