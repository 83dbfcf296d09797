//! Every command and option, once, as data. The parser, `--help`, the manual pages (`man/`) and the completions
//! (`config/completions/`) are all made from these rows, so they cannot disagree.
//!
//! A row says whose command line it comes from ([`Contract`]): kiste takes the union of what runc and crun accept,
//! because callers (containerd, conmon, CRI-O, BuildKit) pass their flags without asking which runtime is behind them.

mod checkpoint;
mod exec;
mod lifecycle;
mod mounts;
mod update;

use clap::{Arg, ArgAction, Command, builder::OsStringValueParser, builder::PossibleValuesParser};

/// Whose command line a word belongs to; breaking it breaks that runtime's callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contract {
    /// runc and crun have it with this meaning.
    Both,
    /// Only runc has it.
    Runc,
    /// Only crun has it.
    Crun,
    /// Only kiste has it.
    Kiste,
}

/// What follows an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Nothing; `--flag=true` and `--flag=false` are understood as Go programs write them.
    Nothing,
    /// One value of this name; the last one given wins.
    One(&'static str),
    /// One value of this name each time; all are kept, in order.
    Each(&'static str),
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct OptionRow {
    /// The long name, without dashes.
    pub long: &'static str,
    /// The one-letter name.
    pub short: Option<char>,
    /// Further one-letter names.
    pub other_shorts: &'static [char],
    /// What follows it.
    pub takes: Takes,
    /// The only values allowed; empty if any will do.
    pub choices: &'static [&'static str],
    /// One line, no full stop.
    pub help: &'static str,
    /// Further sentences for `--help` and the manual; may be empty.
    pub detail: &'static str,
    /// Accepted but not advertised.
    pub hidden: bool,
    /// Whose command line it comes from.
    pub contract: Contract,
}

/// One operand (a word that is no option).
#[derive(Clone, Copy, Debug)]
pub struct Operand {
    /// Its name in usage lines.
    pub name: &'static str,
    /// One line, no full stop.
    pub help: &'static str,
    /// How often it may occur.
    pub count: Count,
}

/// How often an operand occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Exactly once.
    One,
    /// Once or not at all.
    Optional,
    /// Everything that remains, dashes and all.
    Rest,
    /// Everything behind `--`.
    BehindDashes,
}

/// One command.
#[derive(Clone, Copy, Debug)]
pub struct CommandRow {
    /// Its name.
    pub name: &'static str,
    /// One line, no full stop.
    pub about: &'static str,
    /// What it does, in sentences.
    pub description: &'static str,
    /// Its options, in groups that commands share.
    pub options: &'static [&'static [OptionRow]],
    /// Its operands, in order.
    pub operands: &'static [Operand],
    /// Option parsing ends at the first operand: the rest belongs to the payload (`exec`) or to ps(1).
    pub ends_at_operand: bool,
    /// Command lines worth knowing, each with what it does.
    pub examples: &'static [(&'static str, &'static str)],
    /// Whose command line it comes from.
    pub contract: Contract,
}

impl CommandRow {
    /// All options of this command.
    pub fn all_options(&self) -> impl Iterator<Item = &'static OptionRow> {
        self.options.iter().flat_map(|group| group.iter())
    }

    /// The command for clap: only this one is built, because a parser for all of them costs start-up time.
    pub fn clap(&self) -> Command {
        let mut command = Command::new(self.name)
            .about(self.about)
            .long_about(self.description)
            .disable_version_flag(true)
            .args_override_self(true)
            .args(self.all_options().map(OptionRow::clap));
        for operand in self.operands {
            command = command.arg(operand.clap());
        }
        command
    }
}

impl OptionRow {
    const fn new(long: &'static str, takes: Takes, help: &'static str) -> Self {
        OptionRow {
            long,
            short: None,
            other_shorts: &[],
            takes,
            choices: &[],
            help,
            detail: "",
            hidden: false,
            contract: Contract::Both,
        }
    }

    const fn short(self, short: char) -> Self {
        OptionRow { short: Some(short), ..self }
    }

    const fn choices(self, choices: &'static [&'static str]) -> Self {
        OptionRow { choices, ..self }
    }

    const fn detail(self, detail: &'static str) -> Self {
        OptionRow { detail, ..self }
    }

    const fn hidden(self) -> Self {
        OptionRow { hidden: true, ..self }
    }

    const fn of(self, contract: Contract) -> Self {
        OptionRow { contract, ..self }
    }

    fn clap(&self) -> Arg {
        let mut arg = Arg::new(self.long).long(self.long).help(self.help).hide(self.hidden);
        if !self.detail.is_empty() {
            arg = arg.long_help(format!("{}. {}", self.help, self.detail));
        }
        if let Some(short) = self.short {
            arg = arg.short(short).short_aliases(self.other_shorts.iter().copied());
        }
        match self.takes {
            Takes::Nothing => arg.action(ArgAction::SetTrue),
            Takes::One(name) => self.valued(arg.action(ArgAction::Set).value_name(name)),
            Takes::Each(name) => self.valued(arg.action(ArgAction::Append).value_name(name)),
        }
    }

    fn valued(&self, arg: Arg) -> Arg {
        match self.choices {
            [] => arg.value_parser(OsStringValueParser::new()),
            choices => arg.value_parser(PossibleValuesParser::new(choices)),
        }
        .allow_hyphen_values(true)
    }
}

impl Operand {
    const fn new(name: &'static str, count: Count, help: &'static str) -> Self {
        Operand { name, help, count }
    }

    fn clap(&self) -> Arg {
        let arg = Arg::new(self.name).value_name(self.name).help(self.help).value_parser(OsStringValueParser::new());
        match self.count {
            Count::One => arg.required(true),
            Count::Optional => arg,
            Count::Rest => arg.num_args(0..).trailing_var_arg(true).allow_hyphen_values(true),
            Count::BehindDashes => arg.num_args(0..).last(true),
        }
    }
}

const fn flag(long: &'static str, help: &'static str) -> OptionRow {
    OptionRow::new(long, Takes::Nothing, help)
}

const fn value(long: &'static str, name: &'static str, help: &'static str) -> OptionRow {
    OptionRow::new(long, Takes::One(name), help)
}

const fn each(long: &'static str, name: &'static str, help: &'static str) -> OptionRow {
    OptionRow::new(long, Takes::Each(name), help)
}

/// The container's name, the first operand of nearly every command.
const ID: Operand = Operand::new("ID", Count::One, "The container's name on this host: letters, digits, and _ + - .");

/// Options that stand before the command.
pub const GLOBAL: &[OptionRow] = &[
    flag("debug", "Log what is done, not only what fails").detail("The same as --log-level=debug."),
    value("log", "FILE", "Append log messages to FILE").detail(
        "Also file:PATH, journald:IDENTIFIER and syslog:IDENTIFIER. Errors are printed to standard error as well.",
    ),
    value("log-format", "FORMAT", "How log messages are written")
        .choices(&["text", "json"])
        .detail("json writes one object a line with level, msg and time, as containerd and podman read them."),
    value("log-level", "LEVEL", "The least important messages that are logged")
        .choices(&["error", "warning", "debug"])
        .of(Contract::Crun),
    value("root", "DIR", "Where the state of containers is kept").detail(
        "The default is /run/kiste, or $XDG_RUNTIME_DIR/kiste for an ordinary user. It should be on a tmpfs. It must \
             belong to the caller and be writable for nobody else; a missing one is made so.",
    ),
    flag("systemd-cgroup", "Let systemd make the container's cgroup").detail(
        "The configuration's cgroupsPath then has the form slice:prefix:name. The same as --cgroup-manager=systemd.",
    ),
    value("cgroup-manager", "MANAGER", "Who makes the container's cgroup")
        .choices(&["cgroupfs", "systemd", "disabled"])
        .detail("disabled leaves the container in the caller's cgroup and applies no limits.")
        .of(Contract::Crun),
    value("rootless", "WHEN", "Whether missing rights to cgroups are forgiven")
        .choices(&["auto", "true", "false"])
        .detail("auto forgives them when kiste was not started by the host's root."),
    flag("strict", "Refuse every unknown field of a configuration")
        .detail(
            "Without it an unknown field of config.json, of exec's process file or of update's resources is a warning \
             that names its place, as the runtime specification demands, and only one that looks like a misspelt \
             field is refused: what it says would be lost.",
        )
        .of(Contract::Kiste),
    value("criu", "PATH", "Accepted as in older releases of runc; has no effect").hidden().of(Contract::Runc),
    OptionRow { other_shorts: &['V'], ..flag("version", "Print the version and exit").short('v') },
];

/// All commands, in the order `--help` shows them.
pub const COMMANDS: &[&CommandRow] = &[
    &lifecycle::CREATE,
    &lifecycle::START,
    &lifecycle::RUN,
    &exec::EXEC,
    &lifecycle::STATE,
    &lifecycle::LIST,
    &lifecycle::PS,
    &lifecycle::KILL,
    &lifecycle::DELETE,
    &lifecycle::PAUSE,
    &lifecycle::RESUME,
    &update::UPDATE,
    &mounts::MOUNTS,
    &checkpoint::CHECKPOINT,
    &checkpoint::RESTORE,
    &lifecycle::EVENTS,
    &lifecycle::EXPLAIN,
    &lifecycle::SPEC,
    &lifecycle::FEATURES,
];

/// The command of that name.
pub fn command(name: &str) -> Option<&'static CommandRow> {
    COMMANDS.iter().copied().find(|row| row.name == name)
}

/// The global options for clap, without any command.
pub fn global(name: &'static str) -> Command {
    Command::new(name)
        .about("Runs containers, guests and sandboxes")
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .args_override_self(true)
        .args(GLOBAL.iter().map(OptionRow::clap))
}

/// Everything, for `--help`, the manual and the completions.
pub fn whole(name: &'static str) -> Command {
    global(name).subcommand_value_name("COMMAND").subcommands(COMMANDS.iter().map(|row| row.clap()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn clap_finds_no_contradiction() {
        whole("kiste").debug_assert();
    }

    #[test]
    fn names_are_unique_and_help_is_a_clause() {
        for row in COMMANDS {
            let mut names = HashSet::new();
            for option in row.all_options() {
                assert!(names.insert(option.long.to_string()), "{} --{} twice", row.name, option.long);
                for short in option.short.iter().chain(option.other_shorts) {
                    assert!(names.insert(short.to_string()), "{} -{short} twice", row.name);
                }
                assert!(!option.help.ends_with('.') && !option.help.is_empty(), "{} --{}", row.name, option.long);
                assert!(option.detail.is_empty() || option.detail.ends_with('.'), "{} --{}", row.name, option.long);
            }
            assert!(!row.about.ends_with('.') && row.description.ends_with('.'), "{}", row.name);
        }
    }

    /// features.md §1.2: no flag that runc or crun accept may be missing.
    #[test]
    fn every_flag_of_runc_and_crun_is_there() {
        let contracts: &[(&str, &str)] = &[
            (
                "create",
                "bundle b console-socket pidfd-socket pid-file no-pivot no-new-keyring preserve-fds config f no-subreaper",
            ),
            (
                "run",
                "bundle b console-socket pidfd-socket pid-file no-pivot no-new-keyring preserve-fds config f detach d keep no-subreaper",
            ),
            (
                "exec",
                "console-socket pidfd-socket cwd env e tty t user u additional-gids g process p detach d pid-file \
                      process-label apparmor no-new-privs cap c preserve-fds cgroup ignore-paused",
            ),
            ("kill", "all a regex r"),
            ("delete", "force f regex r"),
            ("list", "format f quiet q"),
            ("ps", "format f"),
            (
                "update",
                "resources r blkio-weight cpu-period cpu-quota cpu-burst cpu-share cpu-rt-period cpu-rt-runtime \
                        cpu-idle cpuset-cpus cpuset-mems memory memory-reservation memory-swap pids-limit l3-cache-schema \
                        mem-bw-schema kernel-memory kernel-memory-tcp",
            ),
            (
                "checkpoint",
                "image-path work-path parent-path leave-running tcp-established tcp-skip-in-flight link-remap ext-unix-sk \
                      shell-job lazy-pages status-fd page-server file-locks pre-dump manage-cgroups-mode empty-ns \
                      auto-dedup network-lock",
            ),
            (
                "restore",
                "console-socket image-path work-path tcp-established tcp-close ext-unix-sk shell-job file-locks \
                      manage-cgroups-mode bundle b detach d pid-file no-subreaper no-pivot empty-ns auto-dedup lazy-pages \
                      lsm-profile lsm-mount-context network-lock",
            ),
            ("events", "interval stats"),
            ("spec", "bundle b rootless file f"),
            ("features", ""),
            ("start", ""),
            ("state", ""),
            ("pause", ""),
            ("resume", ""),
            ("mounts", ""),
        ];
        for (name, flags) in contracts {
            let row = command(name).unwrap_or_else(|| panic!("no command {name}"));
            for flag in flags.split_whitespace() {
                let there = row.all_options().any(|o| o.long == flag || o.short.is_some_and(|s| s.to_string() == flag));
                assert!(there, "{name} lacks {flag}");
            }
        }
        for flag in "debug log log-format log-level root systemd-cgroup cgroup-manager rootless version".split(' ') {
            assert!(GLOBAL.iter().any(|o| o.long == flag), "--{flag}");
        }
    }
}
