//! Lists of processors and memory nodes as cpuset(7) writes them.

/// Whether a text is a list as cpuset(7) takes it: `0-3,7`, also with groups of a stride (`0-15:1/4`).
pub fn is_list(text: &str) -> bool {
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
    fn processor_lists_have_a_form() {
        for good in ["0", "0-3", "0-3,7", "1, 2", "0-15:1/4"] {
            assert!(is_list(good), "{good}");
        }
        for bad in ["", "-", "3-1", "a", "1,,2", "1-", "+1", "99999999", "0-3:x", "0:1/2", "0-3:0/2", "0-3:3/2"] {
            assert!(!is_list(bad), "{bad}");
        }
        let all = |text| numbers(text).map(|numbers| numbers.collect::<Vec<_>>());
        assert_eq!(all("7,0-2, 4").as_deref(), Some(&[7, 0, 1, 2, 4][..]));
        assert_eq!(all("0-9:2/4").as_deref(), Some(&[0, 1, 4, 5, 8, 9][..]));
        assert_eq!(all("0-"), None);
    }
}
