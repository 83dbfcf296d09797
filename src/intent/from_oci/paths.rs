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

/// Whether a text is a list as cpuset(7) takes it: `0-3,7`, also with groups of a stride (`0-15:1/4`).
pub fn is_cpu_list(text: &str) -> bool {
    text.split(',').map(str::trim).all(|part| range(part).is_some())
}

/// The numbers of such a list, in its order; nothing if it is none. At most six digits each.
pub fn numbers(text: &str) -> Option<impl Iterator<Item = u32>> {
    let ranges: Vec<_> = text.split(',').map(|part| range(part.trim())).collect::<Option<_>>()?;
    Some(
        ranges.into_iter().flat_map(|(first, last, used, group)| {
            (first..=last).filter(move |number| (number - first) % group < used)
        }),
    )
}

/// `7`, `0-3` or `0-15:1/4`: first, last, and of each group so many are used (bitmap_parselist of the kernel).
fn range(part: &str) -> Option<(u32, u32, u32, u32)> {
    let number = |text: &str| {
        let digits = text.len() <= 6 && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u32>().ok()).flatten()
    };
    let Some((first, last)) = part.split_once('-') else { return number(part).map(|one| (one, one, 1, 1)) };
    let (last, stride) = last.split_once(':').unwrap_or((last, "1/1"));
    let (used, group) = stride.split_once('/')?;
    let (first, last, used, group) = (number(first)?, number(last)?, number(used)?, number(group)?);
    (first <= last && (1..=group).contains(&used)).then_some((first, last, used, group))
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

    #[test]
    fn processor_lists_have_a_form() {
        for good in ["0", "0-3", "0-3,7", "1, 2", "0-15:1/4"] {
            assert!(is_cpu_list(good), "{good}");
        }
        for bad in ["", "-", "3-1", "a", "1,,2", "1-", "+1", "99999999", "0-3:x", "0:1/2", "0-3:0/2", "0-3:3/2"] {
            assert!(!is_cpu_list(bad), "{bad}");
        }
        let all = |text| numbers(text).map(|numbers| numbers.collect::<Vec<_>>());
        assert_eq!(all("7,0-2, 4").as_deref(), Some(&[7, 0, 1, 2, 4][..]));
        assert_eq!(all("0-9:2/4").as_deref(), Some(&[0, 1, 4, 5, 8, 9][..]));
        assert_eq!(all("0-"), None);
    }
}
