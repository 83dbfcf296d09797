//! The manual pages (man/) and the shells' completions (config/completions/) say what the option table says. With
//! `KISTE_BLESS=1` they are written anew; otherwise a difference is a failure.

use clap_complete::Shell;
use clap_mangen::Man;
use kiste::cli::options::{self, CommandRow, Contract};
use kiste::intent::annotations;
use std::fs;
use std::path::{Path, PathBuf};

/// The hand-written part of kiste(1): what stands before and behind the options and commands.
const OVERVIEW: &str = include_str!("../man/kiste.1.in");
/// Where kiste-annotations(5) has the table.
const GENERATED_KEYS: &str = ".\\\" the table\n";
const GENERATED: &str = ".\\\" options and commands\n";

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Compares, or writes when blessed.
#[track_caller]
fn same(path: &str, generated: &str) {
    let path = file(path);
    if std::env::var_os("KISTE_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        return fs::write(path, generated).unwrap();
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    let differs = stored.lines().zip(generated.lines()).position(|(a, b)| a != b);
    assert!(
        stored == generated,
        "{} is not what the option table says (first at line {:?}); KISTE_BLESS=1 cargo test --test manual writes it",
        path.display(),
        differs.map(|line| line + 1)
    );
}

fn manual(command: clap::Command, title: &str) -> Man {
    Man::new(command).title(title.to_uppercase()).section("1").date("").source("kiste").manual("User Commands")
}

/// Renders some sections of a page to text.
fn rendered(sections: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut bytes = Vec::new();
    sections(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Text as roff: no line may start with a control character, dashes and backslashes are literal.
fn roff(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    match escaped.starts_with(['.', '\'']) {
        true => format!("\\&{escaped}"),
        false => escaped,
    }
}

fn page(row: &CommandRow) -> String {
    // clap keeps names for the life of the program.
    let name: &'static str = format!("kiste-{}", row.name).leak();
    let command = row.clap().name(name).bin_name(format!("kiste {}", row.name)).disable_help_flag(true);
    let man = manual(command, name);
    let mut text = rendered(|out| {
        man.render_title(out)?;
        man.render_name_section(out)?;
        man.render_synopsis_section(out)?;
        man.render_description_section(out)?;
        if row.all_options().any(|option| !option.hidden) || !row.operands.is_empty() {
            man.render_options_section(out)?;
        }
        Ok(())
    });
    text += ".SH \"EXIT STATUS\"\n";
    text += match row.name {
        "run" => {
            "The status of the container's command, or 128 and the number of the signal that ended it; 0 with\n\
             \\-\\-detach; 1 if the container could not be run.\n"
        }
        "exec" => {
            "The status of the command, or 128 and the number of the signal that ended it; 0 with \\-\\-detach; 255 \
             if the\ncommand could not be run.\n"
        }
        _ => "0, or 1 after a failure.\n",
    };
    text += ".SH EXAMPLES\n";
    for (line, meaning) in row.examples {
        text += &format!(".TP\n\\fB{}\\fR\n{}\n", roff(line), roff(meaning));
    }
    text += ".SH STANDARDS\n";
    text += match row.contract {
        Contract::Both => "runc and crun have this command; kiste takes the options of both.\n",
        Contract::Runc => "runc has this command.\n",
        Contract::Crun => "crun has this command.\n",
        Contract::Kiste => "Only kiste has this command.\n",
    };
    text + ".SH \"SEE ALSO\"\n\\fBkiste\\fR(1)\n"
}

#[test]
fn every_command_has_its_page() {
    for row in options::COMMANDS {
        same(&format!("man/kiste-{}.1", row.name), &page(row));
    }
    let pages = fs::read_dir(file("man")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    for page in pages.filter(|page| page.starts_with("kiste-") && page.ends_with(".1")) {
        let name = page.trim_start_matches("kiste-").trim_end_matches(".1");
        assert!(name == "bwrap" || options::command(name).is_some(), "man/{page} describes no command");
    }
}

/// kiste-bwrap(1): bubblewrap's words, from the table that reads them.
#[test]
fn bubblewraps_words_have_their_page() {
    let mut text = String::from(
        ".TH KISTE\\-BWRAP 1 \"\" kiste \"User Commands\"\n.SH NAME\nkiste\\-bwrap \\- bubblewrap\\(aqs command line on kiste\n.SH SYNOPSIS\n\
         .B kiste bwrap\n[\\fIOPTION\\fR...] [\\-\\-] \\fICOMMAND\\fR [\\fIARGUMENT\\fR...]\n.br\n.B bwrap\n[\\fIOPTION\\fR...] \
         [\\-\\-] \\fICOMMAND\\fR [\\fIARGUMENT\\fR...]\n.SH DESCRIPTION\nRuns a command in a sandbox that is made of nothing but \
         what the options say, in their order, with the\nmeaning and the messages of bubblewrap 0.13: see\n.BR bwrap (1).\nA \
         symbolic link named bwrap that leads to kiste does the same as\n.BR \"kiste bwrap\" .\n.P\nAn option that says \
         \\(lqrefused, for now\\(rq ends the command with a message that names it: nothing is ever ignored.\n.SH OPTIONS\n",
    );
    for row in kiste::intent::from_bwrap::OPTIONS {
        let values: String = row.values.iter().map(|value| format!(" \\fI{}\\fR", roff(value))).collect();
        text += &format!(".TP\n\\fB{}\\fR{values}\n{}.\n", roff(row.name), roff(row.help));
    }
    text += ".TP\n\\fB\\-\\-args\\fR \\fIFD\\fR\nRead options, separated by NUL bytes, from FD.\n";
    text += ".SH \"EXIT STATUS\"\nThe command\\(aqs, 128 and the number of the signal that ended it, 1 if it could not be run.\n";
    same("man/kiste-bwrap.1", &(text + ".SH \"SEE ALSO\"\n.BR kiste (1),\n.BR bwrap (1)\n"));
}

#[test]
fn the_overview_lists_options_and_commands() {
    let man = manual(options::global("kiste").disable_help_flag(true), "kiste");
    let mut text = rendered(|out| man.render_title(out));
    let (before, behind) = OVERVIEW.split_once(GENERATED).expect("man/kiste.1.in says where the options go");
    text += before;
    text += &rendered(|out| man.render_options_section(out));
    text += ".SH COMMANDS\n";
    for row in options::COMMANDS {
        text += &format!(".TP\n\\fBkiste\\-{}\\fR(1)\n{}\n", row.name, roff(row.about));
    }
    same("man/kiste.1", &(text + behind));
}

#[test]
fn annotations_have_their_page() {
    let mut text = String::from(include_str!("../man/kiste-annotations.5.in"));
    let (before, behind) = text.split_once(GENERATED_KEYS).expect("man/kiste-annotations.5.in says where they go");
    let mut keys = String::new();
    for row in annotations::TABLE {
        let name = if row.key.ends_with('.') { format!("{}NAME", row.key) } else { row.key.to_owned() };
        keys += &format!(".TP\n\\fB{}\\fR=\\fI{}\\fR\n{}\n", roff(&name), roff(row.value), roff(row.help));
    }
    text = format!("{before}{keys}{behind}");
    same("man/kiste-annotations.5", &text);
}

#[test]
fn shells_complete_what_the_table_says() {
    for (shell, path) in [(Shell::Bash, "kiste.bash"), (Shell::Zsh, "_kiste"), (Shell::Fish, "kiste.fish")] {
        let mut bytes = Vec::new();
        clap_complete::generate(shell, &mut options::whole("kiste"), "kiste", &mut bytes);
        same(&format!("config/completions/{path}"), &String::from_utf8(bytes).unwrap());
    }
}

#[test]
fn hidden_options_stay_hidden() {
    let page = page(options::command("update").unwrap());
    assert!(page.contains("memory\\-swap") && !page.contains("kernel\\-memory"));
}
