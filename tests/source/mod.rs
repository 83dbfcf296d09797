//! Reads the package's own Rust sources for tests/architecture.rs: just enough of a lexer to tell code from comments,
//! strings and test modules.

use std::fs;
use std::path::Path;

/// One source file.
pub struct Source {
    /// Relative to the package.
    pub path: String,
    /// As written.
    pub text: String,
    /// Line by line, with comments and the content of strings blanked out.
    code: Vec<String>,
    /// The same, and test modules blanked out too.
    outside_tests: Vec<String>,
}

/// A function's name, first line and number of lines.
pub struct Function {
    pub name: String,
    pub line: usize,
    pub lines: usize,
}

/// All `.rs` files below folders of the package, sorted.
pub fn sources(folders: &[&str]) -> Vec<Source> {
    let base = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    for folder in folders {
        collect(&base.join(folder), &mut |path| {
            let name = path.strip_prefix(base).expect("below the package").to_string_lossy().into_owned();
            all.push(Source::new(&name, &fs::read_to_string(path).expect("a readable source")));
        });
    }
    all.sort_by(|a, b| a.path.cmp(&b.path));
    all
}

fn collect(folder: &Path, see: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, see);
        } else if path.extension().is_some_and(|e| e == "rs") {
            see(&path);
        }
    }
}

/// Whether code has a word that isn't part of a longer one.
pub fn has_word(code: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let ends_open = !word.ends_with(part);
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back().is_some_and(part);
        let after = code[at + word.len()..].chars().next().is_some_and(part);
        !before && (ends_open || !after)
    })
}

impl Source {
    /// A source by its path below the package and its text.
    pub fn new(path: &str, text: &str) -> Source {
        let blanked = blank(text);
        let code = blanked.lines().map(str::to_owned).collect();
        // A test module may have a file of its own.
        let is_test = path.starts_with("src/") && (path.ends_with("/tests.rs") || path.contains("/tests/"));
        let outside_tests = if is_test { String::new() } else { without_tests(&blanked) };
        let outside_tests = outside_tests.lines().map(str::to_owned).collect();
        Source { path: path.to_owned(), text: text.to_owned(), code, outside_tests }
    }

    /// The room under `src/`; none for `main.rs` and `lib.rs`.
    pub fn room(&self) -> Option<&str> {
        let inner = self.path.strip_prefix("src/")?;
        match inner.split_once('/') {
            Some((room, _)) => Some(room),
            None => inner.strip_suffix(".rs").filter(|name| !["main", "lib"].contains(name)),
        }
    }

    /// Whether this runs between clone3 and execve.
    pub fn is_child(&self) -> bool {
        self.path.starts_with("src/launch/child/") || self.path == "src/launch/child.rs"
    }

    /// Code outside test modules, with line numbers.
    pub fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.outside_tests.iter().enumerate().map(|(n, line)| (n + 1, line.as_str()))
    }

    /// Each `crate::room` outside test modules, also those in groups: (line, room).
    pub fn rooms_used(&self) -> Vec<(usize, String)> {
        let text = self.outside_tests.join("\n");
        let mut used = Vec::new();
        for (at, _) in text.match_indices("crate::") {
            let mut depth = 0;
            let (mut name, mut expecting) = (String::new(), true);
            for (offset, c) in text[at + 7..].char_indices() {
                let line = text[..at + 7 + offset].matches('\n').count() + 1;
                let is_name = c.is_alphanumeric() || c == '_';
                if is_name && expecting {
                    name.push(c);
                    continue;
                }
                if !name.is_empty() {
                    used.push((line, std::mem::take(&mut name)));
                    expecting = false;
                }
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 1 => expecting = true,
                    _ => {}
                }
                if depth <= 0 && (!expecting || c == '}') {
                    break;
                }
            }
        }
        used
    }

    /// Whether a comment in the four lines above (or the line itself, or the doc comment of an unsafe fn) says SAFETY.
    pub fn safety_is_told(&self, line: usize) -> bool {
        let lines: Vec<&str> = self.text.lines().collect();
        let near = lines[line.saturating_sub(5)..line].iter().any(|l| l.contains("SAFETY") || l.contains("# Safety"));
        let above = lines[..line - 1].iter().rev().take_while(|l| {
            let l = l.trim_start();
            l.starts_with("///") || l.starts_with("#[")
        });
        near || above.into_iter().any(|l| l.contains("# Safety"))
    }

    /// Every function with a body.
    pub fn functions(&self) -> Vec<Function> {
        let text = self.code.join("\n");
        let mut found = Vec::new();
        for (at, _) in text.match_indices("fn ") {
            if text[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let name: String = text[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let Some(body) = body(&text[at..]) else { continue };
            if !name.is_empty() {
                let line = text[..at].matches('\n').count() + 1;
                found.push(Function { name, line, lines: text[at..at + body].matches('\n').count() + 1 });
            }
        }
        found
    }
}

/// Bytes up to the end of the body of what starts here; none if a `;` comes before the body.
fn body(text: &str) -> Option<usize> {
    let (mut braces, mut brackets) = (0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets -= 1,
            '{' => braces += 1,
            ';' if braces == 0 && brackets == 0 => return None,
            '}' => {
                braces -= 1;
                if braces == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Blanks modules and items under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    while let Some(at) = out.find("#[cfg(test)]") {
        let end = at + body(&out[at..]).or_else(|| out[at..].find(';').map(|n| n + 1)).unwrap_or(out.len() - at);
        let blank: String = out[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(at..end, &blank);
    }
    out
}

/// The text with comments and the content of strings and characters as spaces; newlines stay.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = skip_end(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Where the comment, string or character that starts here ends; `at` itself if none starts.
fn skip_end(chars: &[char], at: usize) -> usize {
    let rest = &chars[at..];
    let starts = |s: &str| s.chars().enumerate().all(|(n, c)| rest.get(n) == Some(&c));
    let in_name = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    if starts("//") {
        return at + rest.iter().position(|c| *c == '\n').unwrap_or(rest.len());
    }
    if starts("/*") {
        let mut end = at + 2;
        while end < chars.len() && !(chars[end - 1] == '*' && chars[end] == '/' && end > at + 2) {
            end += 1;
        }
        return (end + 1).min(chars.len());
    }
    let raw = rest.iter().take_while(|c| matches!(c, 'b' | 'c' | 'r')).count();
    let hashes = rest[raw..].iter().take_while(|c| **c == '#').count();
    if !in_name && raw > 0 && rest[raw - 1] == 'r' && rest.get(raw + hashes) == Some(&'"') {
        let mut end = at + raw + hashes + 1;
        while end < chars.len()
            && !(chars[end] == '"' && chars[end + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes)
        {
            end += 1;
        }
        return (end + 1 + hashes).min(chars.len());
    }
    match rest[0] {
        '"' => quoted_end(chars, at, '"'),
        // A lifetime has no closing quote right after one character.
        '\'' if rest.get(1) == Some(&'\\') || rest.get(2) == Some(&'\'') => quoted_end(chars, at, '\''),
        _ => at,
    }
}

fn quoted_end(chars: &[char], at: usize, quote: char) -> usize {
    let mut end = at + 1;
    while end < chars.len() && chars[end] != quote {
        end += if chars[end] == '\\' { 2 } else { 1 };
    }
    (end + 1).min(chars.len())
}

/// The names of all tests of the package.
#[allow(dead_code)] // for the tables, not for the architecture
pub fn tests() -> std::collections::BTreeSet<String> {
    let mut names = std::collections::BTreeSet::new();
    for source in sources(&["src", "tests"]) {
        for part in source.text.split("#[test]").skip(1) {
            let head = part.split('{').next().unwrap_or_default();
            let name = head.split("fn ").nth(1).and_then(|rest| rest.split('(').next());
            names.extend(name.map(|name| name.trim().to_owned()));
        }
    }
    names
}
