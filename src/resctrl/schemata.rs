//! Lines of `schemata`: `L3:0=7f0;1=1f`, `MB:0=20;1=70` (resctrl.rst, "Schemata files").

/// Whether a text has the form of a line: a resource, a colon, `domain=value` between semicolons.
pub fn is_line(text: &str) -> bool {
    let Some((resource, domains)) = text.split_once(':') else { return false };
    let word = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let pair = |text: &str| {
        let Some((domain, value)) = text.split_once('=') else { return false };
        let domain = domain.trim();
        !domain.is_empty() && domain.bytes().all(|byte| byte.is_ascii_digit()) && word(value.trim())
    };
    word(resource.trim()) && domains.split(';').all(pair)
}

/// Whether two values are one number: masks have leading zeros when the kernel prints them.
pub fn same(one: &str, other: &str) -> bool {
    let number = |text: &str| u64::from_str_radix(text.trim(), 16);
    one.trim() == other.trim() || matches!((number(one), number(other)), (Ok(one), Ok(other)) if one == other)
}

/// The first wanted line that a `schemata` file has not: each domain that it names must have its value.
pub(super) fn first_other<'l>(wanted: &'l [String], file: &str) -> Option<&'l str> {
    wanted.iter().map(String::as_str).find(|line| !has(file, line))
}

fn has(file: &str, line: &str) -> bool {
    let Some((resource, domains)) = line.split_once(':') else { return false };
    let found = file.lines().filter_map(|line| line.split_once(':')).find(|(name, _)| name.trim() == resource.trim());
    let Some((_, found)) = found else { return false };
    domains.split(';').filter_map(|pair| pair.split_once('=')).all(|(domain, value)| {
        let pairs = found.split(';').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().any(|(name, is)| name.trim() == domain.trim() && same(is, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_a_form() {
        for good in ["L3:0=7f0;1=1f", "MB:0=20", "  L3:0=ff", "L3CODE:0=f;1=f", "SMBA:0=2048; 1 = 5"] {
            assert!(is_line(good), "{good}");
        }
        for bad in ["", "L3", "L3:", "L3:0", "L3:0=", "L3:=f", ":0=f", "L3:a=f", "L3:0=f\nMB:0=1", "L3:0=f;"] {
            assert!(!is_line(bad), "{bad:?}");
        }
    }

    #[test]
    fn values_are_compared_as_numbers() {
        let file = "    MB:0=100;1= 70\n    L3:0=0007f0;1=fffff\n";
        let other = |lines: &[&str]| {
            let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            first_other(&lines, file).map(str::to_owned)
        };
        assert_eq!(other(&["L3:0=7f0", "L3:1=fffff;0=7f0", "MB:1=70"]), None);
        assert_eq!(other(&["L3:0=7f0", "L3:0=7f"]).as_deref(), Some("L3:0=7f"));
        assert_eq!(other(&["L2:0=7f0"]).as_deref(), Some("L2:0=7f0"));
        assert_eq!(other(&["MB:2=70"]).as_deref(), Some("MB:2=70"));
    }
}
