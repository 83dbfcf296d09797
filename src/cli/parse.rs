//! From words to typed arguments: argv is split at the command, brought into one spelling, given to clap together with
//! this command's rows alone, and every value is checked.

use super::arguments::*;
use super::pattern::Pattern;
use super::words::{self, Id};
use super::{Exit, normalise, options, parse_checkpoint};
use crate::error::{Error, Origin, Result};
use crate::intent::from_oci::Unknown;
use crate::log;
use clap::ArgMatches;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

/// Reads the whole command line, argv\[0\] included.
///
/// # Errors
/// [`Exit::Help`] if help was asked for, [`Exit::Failure`] for anything that cannot be understood.
pub fn parse(mut argv: impl Iterator<Item = OsString>) -> Result<Invocation, Exit> {
    let called_as = called_as(argv.next().as_deref());
    if called_as == CalledAs::Bwrap {
        return Ok(Invocation { global: Global::plain(called_as), command: Command::Bwrap(argv.collect()) });
    }
    let split = normalise::split(argv);
    let mut log = log::Settings::default();
    let fail = |error: Error, log: &log::Settings| Exit::Failure(Box::new(error), log.clone());
    let matches = clap(options::global("kiste"), split.global, &log, || options::whole("kiste"))?;
    let (global, log) = match global(called_as, &matches, &mut log) {
        Ok(global) => (global, log),
        Err(error) => return Err(fail(error, &log)),
    };
    if matches.get_flag("version") {
        return Ok(Invocation { global, command: Command::Version });
    }
    let Some(name) = split.command else {
        return Err(fail(Error::input("a command is missing").hint("kiste --help lists them"), &log));
    };
    let name = name.to_string_lossy();
    if name == "bwrap" {
        return Ok(Invocation { global, command: Command::Bwrap(split.rest) });
    }
    if name == "help" {
        return Err(help(split.rest.first()));
    }
    let Some(row) = options::command(&name) else {
        return Err(fail(Error::input(format!("unknown command {name:?}")).hint("kiste --help lists them"), &log));
    };
    let whole = || row.clap().bin_name(format!("kiste {}", row.name));
    let matches = clap(whole(), normalise::command(row, split.rest), &log, whole)?;
    match command(row.name, &global, &matches) {
        Ok(command) => Ok(Invocation { global, command }),
        Err(error) => Err(fail(error, &log)),
    }
}

/// `kiste help` and `kiste help COMMAND`.
fn help(of: Option<&OsString>) -> Exit {
    let row = of.and_then(|name| name.to_str()).and_then(options::command);
    let text = match row {
        Some(row) => row.clap().bin_name(format!("kiste {}", row.name)).render_long_help(),
        None => options::whole("kiste").render_long_help(),
    };
    Exit::Help(text.to_string())
}

/// Gives words to clap. Its help is printed from `whole`, its errors become one sentence.
fn clap(
    parser: clap::Command,
    words: Vec<OsString>,
    log: &log::Settings,
    whole: impl Fn() -> clap::Command,
) -> Result<ArgMatches, Exit> {
    let name = parser.get_bin_name().unwrap_or(parser.get_name()).to_owned();
    let long = words.iter().any(|word| word == "--help");
    parser.no_binary_name(true).try_get_matches_from(words).map_err(|error| match error.kind() {
        clap::error::ErrorKind::DisplayHelp if long => Exit::Help(whole().render_long_help().to_string()),
        clap::error::ErrorKind::DisplayHelp => Exit::Help(whole().render_help().to_string()),
        _ => Exit::Failure(Box::new(sentence(&error, &name)), log.clone()),
    })
}

/// clap's message without its decoration: the lines up to the first empty one, as one.
fn sentence(error: &clap::Error, name: &str) -> Error {
    let text = error.render().to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let joined = lines.join(" ");
    Error::input(joined.strip_prefix("error: ").unwrap_or(&joined)).hint(format!("see {name} --help"))
}

fn called_as(name: Option<&OsStr>) -> CalledAs {
    let name = name.and_then(|name| std::path::Path::new(name).file_name()?.to_str()).unwrap_or("");
    if name.starts_with("runc") {
        CalledAs::Runc
    } else if name.starts_with("crun") {
        CalledAs::Crun
    } else if name == "bwrap" {
        CalledAs::Bwrap
    } else {
        CalledAs::Kiste
    }
}

/// The global options. The log's settings come first, so that what fails afterwards is logged.
fn global(called_as: CalledAs, matches: &ArgMatches, settings: &mut log::Settings) -> Result<Global> {
    if let Some(word) = raw(matches, "log") {
        settings.target = log::target(word)?;
    }
    if choice(matches, "log-format") == Some("json") {
        settings.format = log::Format::Json;
    }
    settings.least = match choice(matches, "log-level") {
        _ if matches.get_flag("debug") => log::Level::Debug,
        Some("debug") => log::Level::Debug,
        Some("error") => log::Level::Error,
        _ => log::Level::Warning,
    };
    let manager = match choice(matches, "cgroup-manager") {
        Some("systemd") => CgroupManager::Systemd,
        Some("disabled") => CgroupManager::Disabled,
        Some(_) => CgroupManager::Cgroupfs,
        None if matches.get_flag("systemd-cgroup") => CgroupManager::Systemd,
        None => CgroupManager::Cgroupfs,
    };
    let rootless = match choice(matches, "rootless") {
        Some("true") => Rootless::Yes,
        Some("false") => Rootless::No,
        _ => Rootless::Auto,
    };
    let unknown = if matches.get_flag("strict") { Unknown::Refused } else { Unknown::Reported };
    let (root, log) = (path(matches, "root"), settings.clone());
    Ok(Global { called_as, root, log, cgroup_manager: manager, rootless, unknown })
}

fn command(name: &str, global: &Global, matches: &ArgMatches) -> Result<Command> {
    Ok(match name {
        "create" => Command::Create(run(matches, global, false)?),
        "run" => Command::Run(run(matches, global, true)?),
        "explain" => Command::Explain(ExplainArguments {
            // A plan that is printed twice is the same twice: no id by chance.
            run: RunArguments {
                id: Id::new(text(matches, "ID")?.unwrap_or("kiste-explained"))?,
                ..run(matches, global, true)?
            },
            format: format(matches),
            facts: path(matches, "facts"),
        }),
        "start" => Command::Start(id(matches)?),
        "exec" => Command::Exec(Box::new(exec(matches)?)),
        "state" => Command::State(id(matches)?),
        "list" => Command::List(ListArguments { format: format(matches), quiet: matches.get_flag("quiet") }),
        "ps" => Command::Ps(ps(matches)?),
        "kill" => Command::Kill(KillArguments {
            target: target(matches)?,
            signal: text(matches, "SIGNAL")?.map_or(Ok(libc::SIGTERM), words::signal)?,
            all: matches.get_flag("all"),
        }),
        "delete" => Command::Delete(DeleteArguments { target: target(matches)?, force: matches.get_flag("force") }),
        "pause" => Command::Pause(id(matches)?),
        "resume" => Command::Resume(id(matches)?),
        "update" => Command::Update(Box::new(update(matches)?)),
        "mounts" => Command::Mounts(MountsArguments {
            action: match text(matches, "ACTION")? {
                Some("add") => MountsAction::Add,
                Some("remove") => MountsAction::Remove,
                other => {
                    let what = format!("{:?} is neither add nor remove", other.unwrap_or_default());
                    return Err(Error::input(what).at(&Origin::fixed("ACTION")));
                }
            },
            id: id(matches)?,
            file: path(matches, "FILE").unwrap_or_default(),
        }),
        "events" => Command::Events(EventsArguments {
            id: id(matches)?,
            interval: checked(matches, "interval", words::duration)?.unwrap_or(Duration::from_secs(5)),
            once: matches.get_flag("stats"),
        }),
        "checkpoint" => Command::Checkpoint(Box::new(parse_checkpoint::checkpoint(matches)?)),
        "restore" => Command::Restore(Box::new(parse_checkpoint::restore(matches)?)),
        "spec" => Command::Spec(SpecArguments {
            bundle: path(matches, "bundle").unwrap_or_else(|| ".".into()),
            file: path(matches, "file"),
            rootless: matches.get_flag("rootless"),
        }),
        "features" => Command::Features,
        // A row without a reader would be a bug that `every_command_is_read` finds.
        _ => return Err(Error::input(format!("unknown command {name:?}"))),
    })
}

/// create's, run's and explain's. `defaults`: whether the embedded default container may be meant.
fn run(matches: &ArgMatches, global: &Global, defaults: bool) -> Result<RunArguments> {
    // An option this command does not have is an error in debug builds of clap, and absent in release builds.
    let switch = |name: &str| matches!(matches.try_contains_id(name), Ok(true)) && matches.get_flag(name);
    let words = match matches.try_get_many::<OsString>("COMMAND") {
        Ok(Some(words)) => Some(words.cloned().collect::<Vec<_>>()),
        _ => None,
    };
    let typed = text(matches, "ID")?;
    let bundle = path(matches, "bundle");
    let config = path(matches, "config");
    let from_bundle = bundle.is_some() || config.is_some();
    let source = match words {
        Some(_) if from_bundle => {
            return Err(Error::input("a command after -- is for the default container")
                .hint("the command of a bundle is process.args in its configuration"));
        }
        Some(command) => Source::Host { command },
        None if typed.is_none() && !from_bundle && defaults && global.called_as == CalledAs::Kiste => {
            Source::Host { command: Vec::new() }
        }
        None if typed.is_none() => return Err(Error::input("a container ID is missing")),
        None => Source::Bundle { directory: bundle.unwrap_or_else(|| ".".into()), config },
    };
    Ok(RunArguments {
        id: typed.map_or_else(|| Ok(Id::generated()), Id::new)?,
        source,
        console_socket: path(matches, "console-socket"),
        pidfd_socket: path(matches, "pidfd-socket"),
        pid_file: path(matches, "pid-file"),
        no_pivot: matches.get_flag("no-pivot"),
        no_new_keyring: matches.get_flag("no-new-keyring"),
        preserve_fds: checked(matches, "preserve-fds", words::count)?.unwrap_or(0),
        detach: switch("detach"),
        keep: switch("keep"),
        timings: if matches!(matches.try_contains_id("timings"), Ok(_)) { path(matches, "timings") } else { None },
    })
}

fn exec(matches: &ArgMatches) -> Result<ExecArguments> {
    let command: Vec<OsString> = all(matches, "COMMAND");
    let process = path(matches, "process");
    if command.is_empty() && process.is_none() {
        return Err(Error::input("exec needs a command or --process"));
    }
    if choice(matches, "format").is_some() && !matches.get_flag("explain") {
        return Err(Error::input("only a plan has a format")
            .at(&Origin::fixed("--format"))
            .hint("--explain is missing"));
    }
    let cwd = path(matches, "cwd");
    if cwd.as_ref().is_some_and(|cwd| !cwd.is_absolute()) {
        return Err(Error::input("the directory must be an absolute path").at(&Origin::fixed("--cwd")));
    }
    let environment: Vec<OsString> = all(matches, "env");
    if let Some(bad) = environment.iter().find(|word| !is_assignment(word)) {
        return Err(Error::input(format!("{bad:?} is not NAME=VALUE")).at(&Origin::fixed("--env")));
    }
    let cgroup = |word: &OsString| {
        let word = utf8(word, "cgroup")?;
        Ok(match word.split_once(':') {
            Some((controllers, path)) => (Some(controllers.to_owned()), path.into()),
            None => (None, word.into()),
        })
    };
    Ok(ExecArguments {
        id: id(matches)?,
        command,
        process,
        console_socket: path(matches, "console-socket"),
        pidfd_socket: path(matches, "pidfd-socket"),
        pid_file: path(matches, "pid-file"),
        cwd,
        environment,
        terminal: matches.get_flag("tty"),
        user: checked(matches, "user", words::user)?,
        additional_gids: each(matches, "additional-gids", words::id_number)?,
        detach: matches.get_flag("detach"),
        selinux_label: text(matches, "process-label")?.map(str::to_owned),
        apparmor_profile: text(matches, "apparmor")?.map(str::to_owned),
        no_new_privileges: matches.get_flag("no-new-privs"),
        capabilities: each(matches, "cap", words::capability)?,
        preserve_fds: checked(matches, "preserve-fds", words::count)?.unwrap_or(0),
        cgroups: all(matches, "cgroup").iter().map(cgroup).collect::<Result<_>>()?,
        ignore_paused: matches.get_flag("ignore-paused"),
        explain: matches.get_flag("explain").then(|| format(matches)),
    })
}

fn is_assignment(word: &OsStr) -> bool {
    use std::os::unix::ffi::OsStrExt;
    word.as_bytes().iter().position(|byte| *byte == b'=').is_some_and(|at| at > 0)
}

fn ps(matches: &ArgMatches) -> Result<PsArguments> {
    let mut ps_options: Vec<OsString> = all(matches, "PS-OPTIONS");
    if ps_options.is_empty() {
        ps_options.push("-ef".into());
    }
    Ok(PsArguments { id: id(matches)?, format: format(matches), ps_options })
}

fn update(matches: &ArgMatches) -> Result<UpdateArguments> {
    let limits = match path(matches, "resources") {
        Some(file) if file.as_os_str() == "-" => Limits::StandardInput,
        Some(file) => Limits::File(file),
        None => Limits::Options(Box::new(limit_options(matches)?)),
    };
    Ok(UpdateArguments {
        id: id(matches)?,
        limits,
        l3_cache_schema: text(matches, "l3-cache-schema")?.map(str::to_owned),
        memory_bandwidth_schema: text(matches, "mem-bw-schema")?.map(str::to_owned),
    })
}

fn limit_options(matches: &ArgMatches) -> Result<LimitOptions> {
    let weight = |word: &str| match words::natural(word)? {
        weight @ 10..=1000 => Ok(weight as u16),
        _ => Err(Error::input("the weight must be from 10 to 1000")),
    };
    let idle = |word: &str| match word {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(Error::input("0 or 1 is expected")),
    };
    let own = |name: &'static str| Ok::<_, Error>(text(matches, name)?.map(str::to_owned));
    Ok(LimitOptions {
        block_weight: checked(matches, "blkio-weight", weight)?,
        cpu_period: checked(matches, "cpu-period", words::natural)?,
        cpu_quota: checked(matches, "cpu-quota", words::integer)?,
        cpu_burst: checked(matches, "cpu-burst", words::natural)?,
        cpu_shares: checked(matches, "cpu-share", words::natural)?,
        cpu_realtime_period: checked(matches, "cpu-rt-period", words::natural)?,
        cpu_realtime_runtime: checked(matches, "cpu-rt-runtime", words::integer)?,
        cpu_idle: checked(matches, "cpu-idle", idle)?,
        cpuset_cpus: own("cpuset-cpus")?,
        cpuset_mems: own("cpuset-mems")?,
        memory: checked(matches, "memory", words::memory)?,
        memory_reservation: checked(matches, "memory-reservation", words::memory)?,
        memory_swap: checked(matches, "memory-swap", words::memory)?,
        pids_limit: checked(matches, "pids-limit", words::integer)?,
    })
}

fn target(matches: &ArgMatches) -> Result<Target> {
    if matches.get_flag("regex") {
        return Ok(Target::Matching(Pattern::new(text(matches, "ID")?.unwrap_or_default())?));
    }
    Ok(Target::One(id(matches)?))
}

pub(super) fn id(matches: &ArgMatches) -> Result<Id> {
    match text(matches, "ID")? {
        Some(word) => Id::new(word),
        None => Err(Error::input("a container ID is missing")),
    }
}

fn format(matches: &ArgMatches) -> Format {
    if choice(matches, "format") == Some("json") { Format::Json } else { Format::Text }
}

fn raw<'m>(matches: &'m ArgMatches, name: &str) -> Option<&'m OsStr> {
    matches.get_one::<OsString>(name).map(OsString::as_os_str)
}

pub(super) fn all(matches: &ArgMatches, name: &str) -> Vec<OsString> {
    matches.get_many::<OsString>(name).map(|words| words.cloned().collect()).unwrap_or_default()
}

pub(super) fn path(matches: &ArgMatches, name: &str) -> Option<PathBuf> {
    raw(matches, name).map(PathBuf::from)
}

pub(super) fn choice<'m>(matches: &'m ArgMatches, name: &str) -> Option<&'m str> {
    matches.get_one::<String>(name).map(String::as_str)
}

fn utf8<'m>(word: &'m OsStr, name: &'static str) -> Result<&'m str> {
    word.to_str().ok_or_else(|| Error::input(format!("{word:?} is not UTF-8")).at(&place(name)))
}

/// The option as people type it.
fn place(name: &'static str) -> Origin {
    let operand = name.starts_with(|c: char| c.is_ascii_uppercase());
    if operand { Origin::fixed(name) } else { Origin::found(format!("--{name}")) }
}

pub(super) fn text<'m>(matches: &'m ArgMatches, name: &'static str) -> Result<Option<&'m str>> {
    raw(matches, name).map(|word| utf8(word, name)).transpose()
}

pub(super) fn checked<T>(
    matches: &ArgMatches,
    name: &'static str,
    read: impl Fn(&str) -> Result<T>,
) -> Result<Option<T>> {
    text(matches, name)?.map(|word| read(word).map_err(|error| error.at(&place(name)))).transpose()
}

fn each<T>(matches: &ArgMatches, name: &'static str, read: impl Fn(&str) -> Result<T>) -> Result<Vec<T>> {
    all(matches, name).iter().map(|word| read(utf8(word, name)?).map_err(|error| error.at(&place(name)))).collect()
}
