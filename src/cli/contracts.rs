//! What callers really pass (features.md §1.5), word for word, and what must come of it.

use super::arguments::*;
use super::*;
use proptest::strategy::Strategy;
use std::ffi::OsString;
use std::path::Path;

fn typed(line: &str) -> Result<Invocation, Exit> {
    parse(line.split_whitespace().map(OsString::from))
}

fn command(line: &str) -> Command {
    match typed(line) {
        Ok(invocation) => invocation.command,
        Err(exit) => panic!("{line}: {exit:?}"),
    }
}

fn refusal(line: &str) -> String {
    match typed(line) {
        Err(Exit::Failure(error, _)) => error.to_string(),
        other => panic!("{line}: {other:?}"),
    }
}

fn created(line: &str) -> RunArguments {
    match command(line) {
        Command::Create(arguments) | Command::Run(arguments) => arguments,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn containerd_creates() {
    let line = "runc --root /run/containerd/runc/k8s.io --log /b/log.json --log-format json --systemd-cgroup create \
                --bundle /b --pid-file /b/init.pid --console-socket /s --no-pivot --no-new-keyring --pidfd-socket /p web";
    let Invocation { global, command: Command::Create(arguments) } = typed(line).unwrap() else { panic!() };
    assert_eq!(global.called_as, CalledAs::Runc);
    assert_eq!(global.root.as_deref(), Some(Path::new("/run/containerd/runc/k8s.io")));
    assert_eq!(global.log.target, log::Target::File("/b/log.json".into()));
    assert_eq!(global.log.format, log::Format::Json);
    assert_eq!(global.cgroup_manager, CgroupManager::Systemd);
    assert_eq!(arguments.source, Source::Bundle { directory: "/b".into(), config: None });
    assert_eq!(arguments.pid_file.as_deref(), Some(Path::new("/b/init.pid")));
    assert_eq!(arguments.console_socket.as_deref(), Some(Path::new("/s")));
    assert_eq!(arguments.pidfd_socket.as_deref(), Some(Path::new("/p")));
    assert!(arguments.no_pivot && arguments.no_new_keyring && !arguments.detach);
    assert_eq!(arguments.id.as_str(), "web");
}

#[test]
fn containerd_does_the_rest() {
    let Command::Exec(exec) = command("runc exec --process /f --console-socket /s --detach --pid-file /p web") else {
        panic!()
    };
    assert!(exec.detach && exec.command.is_empty() && exec.process.is_some());
    let Command::Kill(kill) = command("runc kill --all web 9") else { panic!() };
    assert_eq!((kill.signal, kill.all), (9, true));
    let Command::Delete(delete) = command("runc delete --force web") else { panic!() };
    assert!(delete.force && matches!(delete.target, Target::One(id) if id.as_str() == "web"));
    for line in ["runc update --resources=- web", "runc update --resources - web", "runc update -r - web"] {
        let Command::Update(update) = command(line) else { panic!() };
        assert_eq!(update.limits, Limits::StandardInput, "{line}");
    }
    let Command::Ps(ps) = command("runc ps --format json web") else { panic!() };
    assert_eq!(ps.format, Format::Json);
    let Command::List(list) = command("runc list --format=json") else { panic!() };
    assert_eq!(list.format, Format::Json);
    let Command::Events(events) = command("runc events --interval=5s web") else { panic!() };
    assert_eq!((events.interval.as_secs(), events.once), (5, false));
    let Command::Events(events) = command("runc events --stats web") else { panic!() };
    assert!(events.once);
    assert!(created("runc run --detach -no-subreaper --bundle /b web").detach);
    for line in ["runc pause web", "runc resume web", "runc start web", "runc state web", "runc features"] {
        command(line);
    }
}

#[test]
fn buildkit_runs() {
    let arguments = created("runc --log /l --log-format json run --bundle /b --keep --no-pivot id");
    assert!(arguments.keep && arguments.no_pivot && !arguments.detach);
}

#[test]
fn conmon_and_podman_create() {
    let line = "crun --systemd-cgroup --log-format=json --log=/l create --bundle /b --pid-file /p --no-pivot \
                --no-new-keyring --preserve-fds 2 --console-socket /s web";
    assert_eq!(created(line).preserve_fds, 2);
    assert_eq!(typed(line).unwrap().global.called_as, CalledAs::Crun);
    let none = typed("kiste --cgroup-manager disabled create --bundle /b web").unwrap();
    assert_eq!(none.global.cgroup_manager, CgroupManager::Disabled);
    let Command::Exec(exec) = command("kiste exec --pid-file /p --process /f --detach --preserve-fds 1 web") else {
        panic!()
    };
    assert_eq!(exec.preserve_fds, 1);
    let Command::Update(update) = command("kiste update --resources=/f web") else { panic!() };
    assert_eq!(update.limits, Limits::File("/f".into()));
}

#[test]
fn crio_kills() {
    for (line, signal, all) in [
        ("kiste kill web KILL", 9, false),
        ("kiste kill web SIGTERM", 15, false),
        ("kiste kill -a web 10", 10, true),
        ("kiste kill web", 15, false),
    ] {
        let Command::Kill(kill) = command(line) else { panic!() };
        assert_eq!((kill.signal, kill.all), (signal, all), "{line}");
    }
}

/// The must-accept list for a drop-in.
#[test]
fn harmless_words_are_accepted() {
    for (word, rootless) in [("auto", Rootless::Auto), ("true", Rootless::Yes), ("false", Rootless::No)] {
        let invocation = typed(&format!("kiste --rootless={word} state web")).unwrap();
        assert_eq!(invocation.global.rootless, rootless);
    }
    command("kiste run -no-subreaper web");
    command("kiste run --no-subreaper web");
    command("kiste --criu /usr/sbin/criu list");
    let Command::Update(update) = command("kiste update --kernel-memory 1g --kernel-memory-tcp=2g web") else {
        panic!()
    };
    assert_eq!(update.limits, Limits::Options(Box::default()));
    let Command::Ps(ps) = command("kiste ps web -ef --format json") else { panic!() };
    assert_eq!(ps.ps_options, ["-ef", "--format", "json"]);
    let Command::Ps(ps) = command("kiste ps web") else { panic!() };
    assert_eq!(ps.ps_options, ["-ef"]);
    assert!(
        matches!(command("kiste kill --regex ^web- 9"), Command::Kill(kill) if matches!(kill.target, Target::Matching(_)))
    );
    // Given twice, the last one counts, as with runc and crun.
    assert_eq!(
        created("kiste create --bundle /a --bundle /b x").source,
        Source::Bundle { directory: "/b".into(), config: None }
    );
}

#[test]
fn versions() {
    for line in ["kiste --version", "kiste -v", "kiste -V", "runc --root /x -version"] {
        assert_eq!(command(line), Command::Version, "{line}");
    }
}

#[test]
fn global_options_belong_before_the_command() {
    assert!(refusal("kiste state --root /x web").contains("--root"));
    assert!(refusal("kiste --bundle /b create web").contains("--bundle"));
}

#[test]
fn exec_reads_everything() {
    let line = "kiste exec --cwd /w -e A=1 --env B=2 -t -u 1000:100 -g 10 -g 20 --process-label l --apparmor p \
                --no-new-privs -c CAP_KILL --cap net_admin --cgroup cpu,memory:/a --cgroup b --ignore-paused -d web ls -la";
    let Command::Exec(exec) = command(line) else { panic!() };
    assert_eq!(exec.command, ["ls", "-la"]);
    assert_eq!(exec.environment, ["A=1", "B=2"]);
    assert_eq!(exec.user, Some((1000, Some(100))));
    assert_eq!(exec.additional_gids, [10, 20]);
    assert_eq!(exec.capabilities, [caps::Capability::CAP_KILL, caps::Capability::CAP_NET_ADMIN]);
    assert_eq!(exec.cgroups, [(Some("cpu,memory".into()), "/a".into()), (None, "b".into())]);
    assert!(exec.terminal && exec.detach && exec.ignore_paused && exec.no_new_privileges);
    assert!(refusal("kiste exec web").contains("command"));
    assert!(refusal("kiste exec -u root web ls").starts_with("--user: "));
    assert!(refusal("kiste exec --cwd w web ls").starts_with("--cwd: "));
    assert!(refusal("kiste exec -e =x web ls").starts_with("--env: "));
    assert_eq!(typed("kiste exec web ls").unwrap().command.failure_status(), 255);
    assert_eq!(typed("kiste run web").unwrap().command.failure_status(), 1);
}

#[test]
fn update_reads_amounts() {
    let line = "kiste update --memory 512m --memory-swap -1 --cpu-quota -1 --cpu-period=100000 --pids-limit -1 \
                --blkio-weight 500 --cpuset-cpus 0-1 --cpu-idle 1 --l3-cache-schema L3:0=f web";
    let Command::Update(update) = command(line) else { panic!() };
    assert_eq!(update.l3_cache_schema.as_deref(), Some("L3:0=f"));
    let Limits::Options(limits) = update.limits else { panic!() };
    assert_eq!((limits.memory, limits.memory_swap, limits.memory_reservation), (Some(512 << 20), Some(-1), None));
    assert_eq!((limits.cpu_quota, limits.cpu_period, limits.pids_limit), (Some(-1), Some(100_000), Some(-1)));
    assert_eq!((limits.block_weight, limits.cpu_idle), (Some(500), Some(true)));
    assert_eq!(limits.cpuset_cpus.as_deref(), Some("0-1"));
    assert!(refusal("kiste update --memory 1x web").starts_with("--memory: "));
    assert!(refusal("kiste update --blkio-weight 5 web").starts_with("--blkio-weight: "));
}

#[test]
fn run_has_a_default_container() {
    for line in ["kiste run", "kiste explain"] {
        let (Command::Run(arguments) | Command::Explain(ExplainArguments { run: arguments, .. })) = command(line)
        else {
            panic!()
        };
        assert_eq!(arguments.source, Source::Host { command: vec![] }, "{line}");
        assert!(arguments.id.as_str().starts_with("kiste-"));
    }
    assert_eq!(created("kiste run -- ls -la").source, Source::Host { command: vec!["ls".into(), "-la".into()] });
    let named = created("kiste run -d box -- sleep 5");
    assert_eq!(named.id.as_str(), "box");
    assert!(named.detach && matches!(named.source, Source::Host { .. }));
    assert_eq!(created("kiste run box").source, Source::Bundle { directory: ".".into(), config: None });
    assert!(refusal("kiste run --bundle /b").contains("ID is missing"));
    assert!(refusal("kiste run --bundle /b box -- ls").contains("default container"));
    // Called by another runtime's name, that runtime's rules hold.
    assert!(refusal("runc run").contains("ID is missing"));
    assert!(refusal("kiste create").contains("ID"));
}

#[test]
fn what_cannot_be_understood_is_one_sentence() {
    assert_eq!(refusal("kiste"), "a command is missing (kiste --help lists them)");
    assert_eq!(refusal("kiste frobnicate"), "unknown command \"frobnicate\" (kiste --help lists them)");
    assert_eq!(refusal("kiste state a b"), "unexpected argument 'b' found (see kiste state --help)");
    assert_eq!(
        refusal("kiste create --bundle"),
        "a value is required for '--bundle <DIR>' but none was supplied (see kiste create --help)"
    );
    assert!(refusal("kiste --log-format xml list").contains("xml"));
    assert!(refusal("kiste state").contains("ID"), "{}", refusal("kiste state"));
    for line in ["kiste state ../x", "kiste create .x", "kiste delete a/b"] {
        let text = refusal(line);
        assert!(text.starts_with("invalid container ID") && !text.contains('\n'), "{text}");
    }
}

/// A failure behind the log options goes to that log: containerd looks for the reason there.
#[test]
fn failures_know_their_log() {
    let Err(Exit::Failure(_, log)) = typed("runc --log /l --log-format json create --nonsense x") else { panic!() };
    assert_eq!((log.target, log.format), (log::Target::File("/l".into()), log::Format::Json));
}

#[test]
fn help_is_given() {
    for line in ["kiste --help", "kiste -h", "kiste help", "kiste run --help", "kiste help run", "kiste exec -h"] {
        let Err(Exit::Help(text)) = typed(line) else { panic!("{line}") };
        assert!(text.contains("Usage: kiste"), "{line}: {text}");
        assert!(!text.contains("--kernel-memory"));
    }
    let Err(Exit::Help(text)) = typed("kiste --help") else { panic!() };
    for row in options::COMMANDS {
        assert!(text.contains(row.about), "{}", row.name);
    }
}

/// Every row of the table leads to a command.
#[test]
fn every_command_is_read() {
    for row in options::COMMANDS {
        let words = match row.operands {
            [] => "",
            _ if row.name == "mounts" => "add web x",
            _ => "web x",
        };
        let line = format!("kiste {} {words}", row.name);
        let read = typed(&line).or_else(|_| typed(&line.replace(" x", "")));
        assert!(read.is_ok(), "{}: {read:?}", row.name);
    }
}

proptest::proptest! {
    /// Whatever is typed, the answer is a command, help or one sentence.
    #[test]
    fn nothing_typed_is_a_panic(words in proptest::collection::vec(
        proptest::prop_oneof![
            proptest::sample::select(vec![
                "create", "run", "exec", "ps", "kill", "update", "events", "spec", "list", "delete", "--", "-", "--bundle",
                "-b", "--bundle=", "-bundle=x", "--root", "--log", "-dt", "--env", "-e", "A=B", "--user", "1:", "web", "-1",
                "--detach=false", "--detach=maybe", "--regex", "(", "--memory", "9e9", "--interval", "--", "-ü", "--=x", "-=",
            ]).prop_map(std::ffi::OsString::from),
            proptest::collection::vec(proptest::prelude::any::<u8>(), 0..6).prop_map(|bytes| {
                std::os::unix::ffi::OsStringExt::from_vec(bytes)
            }),
        ], 0..8)) {
        let words = std::iter::once(OsString::from("kiste")).chain(words);
        if let Err(Exit::Failure(error, _)) = parse(words) {
            proptest::prop_assert!(!error.to_string().contains('\n'), "{error}");
        }
    }
}
