//! One spelling for what callers write: Go's flag package, GNU getopt and clap disagree, and all three dialects must be
//! accepted. What comes out is always `--name` or `--name=value`, then `--`-free operands as clap expects them.
//!
//! Understood: `-bundle X`, `-bundle=X` (Go), `--bundle=X`, `--bundle X`, `-bX` (getopt), `--detach=true` (Go). Values
//! are joined to their option here, so that a value may start with a dash (`--memory-swap -1`, `--resources -`).

use super::options::{CommandRow, GLOBAL, OptionRow, Takes};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The arguments before the command, the command if there is one, and what follows it.
pub struct Split {
    /// The global options, in clap's spelling.
    pub global: Vec<OsString>,
    /// The command's name.
    pub command: Option<OsString>,
    /// What follows the command, as typed.
    pub rest: Vec<OsString>,
}

/// Splits the arguments (without the program's name) at the command.
pub fn split(arguments: impl Iterator<Item = OsString>) -> Split {
    let mut arguments = arguments.peekable();
    let mut global = Vec::new();
    while let Some(word) = arguments.next_if(|word| is_option(word)) {
        option(&word, &mut arguments, &mut global, &|name| GLOBAL.iter().find(|row| name.fits(row)));
    }
    let command = arguments.next();
    Split { global, command, rest: arguments.collect() }
}

/// A command's arguments in clap's spelling.
pub fn command(row: &CommandRow, arguments: Vec<OsString>) -> Vec<OsString> {
    let mut arguments = arguments.into_iter().peekable();
    let (mut options, mut operands) = (Vec::new(), Vec::new());
    while let Some(word) = arguments.next() {
        if word == "--" {
            // For a command that ends at its operand the dashes only end the options; otherwise clap must see them.
            if !row.ends_at_operand {
                operands.push(word);
            }
            operands.extend(arguments.by_ref());
        } else if is_option(&word) {
            option(&word, &mut arguments, &mut options, &|name| row.all_options().find(|row| name.fits(row)));
        } else {
            operands.push(word);
            if row.ends_at_operand {
                // `exec ID -- COMMAND` means `exec ID COMMAND`.
                arguments.next_if(|word| word == "--");
                operands.extend(arguments.by_ref());
            }
        }
    }
    if row.ends_at_operand && !operands.is_empty() {
        options.push("--".into());
    }
    options.append(&mut operands);
    options
}

/// `-` alone is an operand or a value, `--` ends the options.
fn is_option(word: &OsStr) -> bool {
    let bytes = word.as_bytes();
    bytes.len() > 1 && bytes[0] == b'-' && bytes != b"--"
}

/// How an option was named.
enum Name<'a> {
    Long(&'a [u8]),
    Short(u8),
}

impl Name<'_> {
    fn fits(&self, row: &OptionRow) -> bool {
        match self {
            Name::Long(name) => row.long.as_bytes() == *name,
            Name::Short(name) => row.short.iter().chain(row.other_shorts).any(|short| *short == *name as char),
        }
    }
}

/// Puts one option, with its value, into clap's spelling. What the table does not know is passed on as it is: clap
/// finds the words for it.
fn option<'r>(
    word: &OsStr,
    following: &mut impl Iterator<Item = OsString>,
    out: &mut Vec<OsString>,
    find: &dyn Fn(Name<'_>) -> Option<&'r OptionRow>,
) {
    let bytes = word.as_bytes();
    let bare = bytes.strip_prefix(b"--").unwrap_or(&bytes[1..]);
    let (name, value) = match bare.iter().position(|byte| *byte == b'=') {
        Some(at) => (&bare[..at], Some(&bare[at + 1..])),
        None => (bare, None),
    };
    if let Some(row) = find(Name::Long(name)) {
        return push(row, value.map(<[u8]>::to_vec), following, out);
    }
    if bytes.starts_with(b"--") {
        // Go does not count dashes: `--b X` is `-b X`.
        return match (name, find(Name::Short(*name.first().unwrap_or(&0)))) {
            ([_], Some(row)) => push(row, value.map(<[u8]>::to_vec), following, out),
            _ => out.push(word.to_owned()),
        };
    }
    // A cluster of letters, the last of which may take a value.
    let mut letters = bare;
    while let Some((letter, rest)) = letters.split_first() {
        let Some(row) = find(Name::Short(*letter)) else {
            return out.push(OsString::from_vec([b"-", letters].concat()));
        };
        let joined = rest.strip_prefix(b"=");
        if row.takes == Takes::Nothing && joined.is_none() {
            push(row, None, following, out);
            letters = rest;
        } else {
            let value = joined.or((!rest.is_empty()).then_some(rest));
            return push(row, value.map(<[u8]>::to_vec), following, out);
        }
    }
}

fn push(
    row: &OptionRow,
    value: Option<Vec<u8>>,
    following: &mut impl Iterator<Item = OsString>,
    out: &mut Vec<OsString>,
) {
    let mut text = [b"--", row.long.as_bytes()].concat();
    let value = match (row.takes, value) {
        (Takes::Nothing, None) => None,
        (Takes::Nothing, Some(value)) => match truth(&value) {
            Some(true) => None,
            Some(false) => return,
            None => Some(value),
        },
        (_, Some(value)) => Some(value),
        (_, None) => following.next().map(OsString::into_vec),
    };
    if let Some(value) = value {
        text.push(b'=');
        text.extend(value);
    }
    out.push(OsString::from_vec(text));
}

/// Go's strconv.ParseBool, and the yes and no of crun.
fn truth(word: &[u8]) -> Option<bool> {
    match word {
        b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" | b"yes" => Some(true),
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" | b"no" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::options;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    fn normal(name: &str, text: &str) -> String {
        let out = command(options::command(name).unwrap(), words(text));
        out.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_dialect_becomes_one() {
        for spelling in ["--bundle B", "--bundle=B", "-bundle B", "-bundle=B", "-b B", "-bB", "-b=B", "--b B", "--b=B"]
        {
            assert_eq!(normal("create", &format!("{spelling} ID")), "--bundle=B ID", "{spelling}");
        }
        assert_eq!(normal("run", "-no-subreaper -d ID"), "--no-subreaper --detach ID");
        assert_eq!(normal("run", "-db B ID"), "--detach --bundle=B ID");
        assert_eq!(normal("run", "--detach=true --keep=false ID"), "--detach ID");
        assert_eq!(normal("update", "-r - ID"), "--resources=- ID");
        assert_eq!(normal("update", "--memory-swap -1 ID"), "--memory-swap=-1 ID");
        assert_eq!(normal("kill", "ID -a 9"), "--all ID 9");
        assert_eq!(normal("kill", "-all ID 9"), "--all ID 9");
        assert_eq!(normal("run", "-- echo -n --bundle"), "-- echo -n --bundle");
        assert_eq!(normal("create", "--bundle"), "--bundle");
    }

    #[test]
    fn options_end_at_the_id_of_ps_and_exec() {
        assert_eq!(normal("ps", "ID -ef"), "-- ID -ef");
        assert_eq!(normal("ps", "--format json ID"), "--format=json -- ID");
        assert_eq!(normal("exec", "-t ID ls -la --env x"), "--tty -- ID ls -la --env x");
        assert_eq!(normal("exec", "ID -- ls --"), "-- ID ls --");
        assert_eq!(normal("exec", "-e A=1=2 -env B=- --tty=false ID ls"), "--env=A=1=2 --env=B=- -- ID ls");
    }

    #[test]
    fn global_options_stand_before_the_command_only() {
        let split = split(
            words("--root /r -log=/l --log-format json --systemd-cgroup=true -rootless auto run --root x").into_iter(),
        );
        assert_eq!(split.global, words("--root=/r --log=/l --log-format=json --systemd-cgroup --rootless=auto"));
        assert_eq!(split.command.unwrap(), "run");
        assert_eq!(split.rest, words("--root x"));
    }
}
