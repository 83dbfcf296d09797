//! `--regex`: extended regular expressions over container ids, as regex(7) describes them, without classes like
//! `[:alpha:]` and without bounds `{n}`, which ids do not need.
//!
//! The matcher follows all alternatives at once (a set of positions), so no expression takes exponential time.

use crate::error::{Error, Result};
use std::collections::BTreeSet;

/// A parsed expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    alternatives: Vec<Vec<Node>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Start,
    End,
    Any,
    Byte(u8),
    /// Inclusive ranges; `true` means everything but them.
    Set(bool, Vec<(u8, u8)>),
    Group(Pattern),
    /// At least, and whether more than once.
    Repeat(Box<Node>, usize, bool),
}

impl Pattern {
    /// Parses an expression.
    ///
    /// # Errors
    /// An input error that quotes the expression.
    pub fn new(text: &str) -> Result<Self> {
        let mut parser = Parser { rest: text.as_bytes(), depth: 0 };
        match parser.alternatives() {
            Some(pattern) if parser.rest.is_empty() => Ok(pattern),
            _ => Err(Error::input(format!("{text:?} is not a regular expression")).hint("see regex(7)")),
        }
    }

    /// Whether the expression is found anywhere in the text.
    pub fn is_found_in(&self, text: &str) -> bool {
        let starts = (0..=text.len()).collect();
        !self.ends(text.as_bytes(), &starts).is_empty()
    }

    fn ends(&self, text: &[u8], starts: &BTreeSet<usize>) -> BTreeSet<usize> {
        let sequence = |nodes: &Vec<Node>| nodes.iter().fold(starts.clone(), |at, node| node.ends(text, &at));
        self.alternatives.iter().flat_map(sequence).collect()
    }
}

impl Node {
    fn ends(&self, text: &[u8], starts: &BTreeSet<usize>) -> BTreeSet<usize> {
        let one = |fits: &dyn Fn(u8) -> bool| {
            starts.iter().filter(|at| text.get(**at).is_some_and(|byte| fits(*byte))).map(|at| at + 1).collect()
        };
        match self {
            Node::Start => starts.iter().copied().filter(|at| *at == 0).collect(),
            Node::End => starts.iter().copied().filter(|at| *at == text.len()).collect(),
            Node::Any => one(&|_| true),
            Node::Byte(wanted) => one(&|byte| byte == *wanted),
            Node::Set(negated, ranges) => {
                one(&|byte| ranges.iter().any(|(low, high)| (*low..=*high).contains(&byte)) != *negated)
            }
            Node::Group(pattern) => pattern.ends(text, starts),
            Node::Repeat(node, least, more) => {
                let mut newest = node.ends(text, starts);
                let mut reached = if *least == 0 { starts | &newest } else { newest.clone() };
                while *more && !newest.is_empty() {
                    newest = &node.ends(text, &newest) - &reached;
                    reached.extend(&newest);
                }
                reached
            }
        }
    }
}

struct Parser<'a> {
    rest: &'a [u8],
    depth: usize,
}

impl Parser<'_> {
    /// Groups within groups: enough for people, little for the stack.
    const DEEPEST: usize = 50;

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn accept(&mut self, byte: u8) -> bool {
        let found = self.rest.first() == Some(&byte);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    fn alternatives(&mut self) -> Option<Pattern> {
        let mut alternatives = vec![self.sequence()?];
        while self.accept(b'|') {
            alternatives.push(self.sequence()?);
        }
        Some(Pattern { alternatives })
    }

    fn sequence(&mut self) -> Option<Vec<Node>> {
        let mut nodes = Vec::new();
        while let Some(byte) = self.rest.first().copied() {
            if byte == b'|' || (byte == b')' && self.depth > 0) {
                break;
            }
            let node = Box::new(self.node()?);
            nodes.push(match self.rest.first() {
                Some(b'*') => Node::Repeat(node, 0, true),
                Some(b'+') => Node::Repeat(node, 1, true),
                Some(b'?') => Node::Repeat(node, 0, false),
                _ => {
                    nodes.push(*node);
                    continue;
                }
            });
            self.next();
        }
        Some(nodes)
    }

    fn node(&mut self) -> Option<Node> {
        Some(match self.next()? {
            b'^' => Node::Start,
            b'$' => Node::End,
            b'.' => Node::Any,
            b'\\' => Node::Byte(self.next()?),
            b'[' => self.set()?,
            b'(' => {
                self.depth += 1;
                let inner = (self.depth <= Self::DEEPEST).then(|| self.alternatives())??;
                self.depth -= 1;
                if !self.accept(b')') {
                    return None;
                }
                Node::Group(inner)
            }
            b'*' | b'+' | b'?' | b')' | b'{' => return None,
            byte => Node::Byte(byte),
        })
    }

    fn set(&mut self) -> Option<Node> {
        let negated = self.accept(b'^');
        let mut ranges = Vec::new();
        loop {
            let low = self.next()?;
            if low == b']' && !ranges.is_empty() {
                return Some(Node::Set(negated, ranges));
            }
            let ranged = self.rest.first() == Some(&b'-') && self.rest.get(1).is_some_and(|byte| *byte != b']');
            let high = if ranged {
                self.next();
                self.next()?
            } else {
                low
            };
            if high < low {
                return None;
            }
            ranges.push((low, high));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_find_ids() {
        for (pattern, id, found) in [
            ("web", "my-web-1", true),
            ("^web", "my-web-1", false),
            ("^web-[0-9]+$", "web-12", true),
            ("^web-[0-9]+$", "web-", false),
            ("^(a|bc)*d$", "abcbcad", true),
            ("^(a|bc)*d$", "abcbad", false),
            ("^a?b$", "b", true),
            ("^a?b$", "ab", true),
            ("^a?b$", "aab", false),
            ("^a+b$", "aaab", true),
            ("^a+b$", "b", false),
            ("^[^x-z]*$", "abc", true),
            ("^[^x-z]*$", "aby", false),
            (r"^a\.b$", "a.b", true),
            (r"^a\.b$", "axb", false),
            ("", "anything", true),
            ("^(a*)*$", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", false),
            ("^[a-]$", "-", true),
            ("x|^a$", "a", true),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().is_found_in(id), found, "{pattern} {id}");
        }
        for bad in ["(", ")", "a)", "[", "[]", "*", "a{2}", "a**", "\\", "[z-a]", &"(".repeat(1000)] {
            assert!(Pattern::new(bad).is_err(), "{bad:?}");
        }
    }
}
