//! The commands of a container's life: create, start, run, state, list, ps, kill, delete, pause, resume, events, and
//! those that only print: explain, spec, features.

use super::{CommandRow, Contract, Count, ID, Operand, OptionRow, flag, value};

const OPTIONAL_ID: Operand =
    Operand::new("ID", Count::Optional, "The container's name on this host: letters, digits, and _ + - .");

const DEFAULT_COMMAND: Operand =
    Operand::new("COMMAND", Count::BehindDashes, "What to run in a container made from the host's own programs");

/// What create, run and explain have in common.
const CREATION: &[OptionRow] = &[
    value("bundle", "DIR", "The directory with config.json and the root file system")
        .short('b')
        .detail("The default is the current directory."),
    value("config", "FILE", "A configuration of another name or place than config.json in the bundle")
        .short('f')
        .of(Contract::Crun),
    value("console-socket", "SOCKET", "Send the terminal's file descriptor to this AF_UNIX socket"),
    value("pidfd-socket", "SOCKET", "Send a pidfd of the container's first process to this AF_UNIX socket")
        .of(Contract::Runc),
    value("pid-file", "FILE", "Write the process id of the container's first process to FILE"),
    flag("no-pivot", "Change the root with chroot(2) instead of pivot_root(2)")
        .detail("Needed when the host's root is an initial RAM file system, which cannot be pivoted away. Weaker."),
    flag("no-new-keyring", "Leave the caller's session keyring to the container"),
    value("preserve-fds", "N", "Pass N further file descriptors, from 3 upwards, besides those of $LISTEN_FDS"),
    flag("no-subreaper", "Accepted for compatibility; kiste never needs a subreaper"),
];

pub const CREATE: CommandRow = CommandRow {
    name: "create",
    about: "Create a container",
    description: "Makes everything the bundle's configuration asks for and stops just before its command: `start` \
                  runs it. A plain user's container whose configuration has no user namespace gets one: the user is root \
                  in it, and its ids of subuid(5) and subgid(5) follow from 1 on, if newuidmap(1) and newgidmap(1) are \
                  there; `explain` shows it.",
    options: &[CREATION],
    operands: &[ID],
    ends_at_operand: false,
    examples: &[(
        "kiste create --bundle /srv/web --pid-file /run/web.pid web",
        "Make the container web from the bundle /srv/web; its command waits for `kiste start web`.",
    )],
    contract: Contract::Both,
};

pub const START: CommandRow = CommandRow {
    name: "start",
    about: "Run the command of a created container",
    description: "Lets a container that `create` made run its command, and returns.",
    options: &[],
    operands: &[ID],
    ends_at_operand: false,
    examples: &[("kiste start web", "Run the command of the container web.")],
    contract: Contract::Both,
};

const RUNNING: &[OptionRow] = &[
    flag("detach", "Return as soon as the container runs").short('d'),
    flag("keep", "Do not delete the container when it has ended").of(Contract::Runc),
];

const TIMING: &[OptionRow] = &[value("timings", "FILE", "Write where the time goes to FILE, for ui.perfetto.dev")
    .detail(
        "The file holds trace events in JSON (Trace Event Format), which Perfetto and Chrome's about:tracing open: the \
         work of kiste itself, and every step of the container's process until it executes the command, with the \
         number and the words that `explain` gives it. ts and dur are microseconds, tdur is processor time; page \
         faults and waits are in args. Taking the times adds some tenths of a microsecond to each step.",
    )
    .of(Contract::Kiste)];

pub const RUN: CommandRow = CommandRow {
    name: "run",
    about: "Create a container, run its command and delete it",
    description: "Creates and starts a container, waits for its command, deletes it and exits with the command's \
                  status. Without an ID and a bundle it runs COMMAND (or a shell) in a default container: the host's \
                  programs, seen through a private copy-on-write root, with its own processes, users, devices and host \
                  name, and the host's network. A plain user's container whose configuration has no user namespace gets \
                  one, as kiste-create(1) says.",
    options: &[CREATION, RUNNING, TIMING],
    operands: &[OPTIONAL_ID, DEFAULT_COMMAND],
    ends_at_operand: false,
    examples: &[
        ("kiste run", "A shell in a throw-away container made from this host."),
        ("kiste run -- make -j4", "The same with a command; what it writes is gone afterwards."),
        ("kiste run --bundle /srv/web web", "Run the container web from a bundle."),
        ("kiste run --timings t.json -- true", "Where the time of a start goes, step by step."),
    ],
    contract: Contract::Both,
};

const EXPLAINING: &[OptionRow] = &[
    value("format", "FORMAT", "How the plan is printed").choices(&["text", "json"]).of(Contract::Kiste),
    value("facts", "FILE", "Plan for the machine described in FILE instead of this one")
        .detail("If there is no such file yet, this machine's description is written to it.")
        .of(Contract::Kiste),
];

pub const EXPLAIN: CommandRow = CommandRow {
    name: "explain",
    about: "Print what run or create would do, and do nothing",
    description: "Takes what `run` takes and prints the plan: every kernel operation in its order, with the place in \
                  the configuration that asks for it. Nothing is created, and no privilege is needed. Lines of the \
                  parent are the runtime's work: A opens, B control group, C the new process, D to F what it does \
                  while the process waits. Lines of the child are the container's first process; their numbers are \
                  those that errors give as [step N]. As JSON the plan is one object: steps, a list of objects with \
                  who (parent or child), stage (A to F, or the chapter), step (the number, null for the parent), what \
                  (the text), and origin (JSON pointer, only where the input asked for it); warnings, a list of texts. \
                  The same configuration and the same --facts give the same plan on any machine. For a further command in a running \
                  container there is `kiste exec --explain`.",
    options: &[CREATION, RUNNING, EXPLAINING],
    operands: &[OPTIONAL_ID, DEFAULT_COMMAND],
    ends_at_operand: false,
    examples: &[
        ("kiste explain --bundle /srv/web web", "Print what running the bundle would do."),
        ("kiste explain --format json -- true", "The same for the default container, for programs."),
    ],
    contract: Contract::Kiste,
};

pub const STATE: CommandRow = CommandRow {
    name: "state",
    about: "Print the state of a container",
    description: "Prints the container's state as JSON: ociVersion, id, pid, status, bundle, rootfs, created, owner \
                  and annotations. The status is creating, created, running, paused or stopped; a stopped container \
                  has the pid 0.",
    options: &[],
    operands: &[ID],
    ends_at_operand: false,
    examples: &[("kiste state web", "Print the state of the container web.")],
    contract: Contract::Both,
};

const FORMAT: OptionRow = value("format", "FORMAT", "How the result is printed").short('f').choices(&["table", "json"]);

pub const LIST: CommandRow = CommandRow {
    name: "list",
    about: "List the containers",
    description: "Lists the containers whose state is kept under --root.",
    options: &[&[FORMAT, flag("quiet", "Print the ids only").short('q')]],
    operands: &[],
    ends_at_operand: false,
    examples: &[("kiste list", "List all containers."), ("kiste list --quiet", "List their ids only.")],
    contract: Contract::Both,
};

pub const PS: CommandRow = CommandRow {
    name: "ps",
    about: "List the processes of a container",
    description: "Runs the host's ps(1) with the given options (-ef if there are none) and keeps the lines of the \
                  container's processes. With --format=json it prints the process ids as an array. Everything behind \
                  ID belongs to ps(1).",
    options: &[&[FORMAT]],
    operands: &[ID, Operand::new("PS-OPTIONS", Count::Rest, "Options for ps(1); its output must have a PID column")],
    ends_at_operand: true,
    examples: &[
        ("kiste ps web", "List the processes of the container web."),
        ("kiste ps web -o pid,rss,args", "The same with columns of your choice."),
    ],
    contract: Contract::Both,
};

const REGEX: OptionRow = flag("regex", "ID is an extended regular expression; all containers it matches are meant")
    .short('r')
    .of(Contract::Crun);

pub const KILL: CommandRow = CommandRow {
    name: "kill",
    about: "Send a signal to a container",
    description: "Sends SIGNAL (TERM if none is given) to the container's first process.",
    options: &[&[
        flag("all", "Send it to every process of the container")
            .short('a')
            .detail("With a container that has stopped already this is no error."),
        REGEX,
    ]],
    operands: &[
        ID,
        Operand::new("SIGNAL", Count::Optional, "A name with or without SIG, RTMIN+N, RTMAX-N, or a number"),
    ],
    ends_at_operand: false,
    examples: &[
        ("kiste kill web", "Ask the container web to end (SIGTERM)."),
        ("kiste kill --all web KILL", "Kill all its processes."),
        ("kiste kill --regex '^test-' INT", "Interrupt all containers whose id starts with test-."),
    ],
    contract: Contract::Both,
};

pub const DELETE: CommandRow = CommandRow {
    name: "delete",
    about: "Delete a container and all that was made for it",
    description: "Removes a stopped container: its cgroup, its state and what else was made for it on the host.",
    options: &[&[
        flag("force", "Kill the container first if it still runs")
            .short('f')
            .detail("With a container that does not exist this is no error."),
        REGEX,
    ]],
    operands: &[ID],
    ends_at_operand: false,
    examples: &[("kiste delete --force web", "Kill and delete the container web.")],
    contract: Contract::Both,
};

pub const PAUSE: CommandRow = CommandRow {
    name: "pause",
    about: "Stop all processes of a container for a while",
    description: "Freezes the container's cgroup.",
    options: &[],
    operands: &[ID],
    ends_at_operand: false,
    examples: &[("kiste pause web", "Freeze the container web.")],
    contract: Contract::Both,
};

pub const RESUME: CommandRow = CommandRow {
    name: "resume",
    about: "Let the processes of a paused container go on",
    description: "Thaws the container's cgroup.",
    options: &[],
    operands: &[ID],
    ends_at_operand: false,
    examples: &[("kiste resume web", "Let it go on.")],
    contract: Contract::Both,
};

pub const EVENTS: CommandRow = CommandRow {
    name: "events",
    about: "Print a container's resource usage and out-of-memory events",
    description: "Prints one JSON object a line: {\"type\":\"stats\"|\"oom\",\"id\":ID,\"data\":{...}}.",
    options: &[&[
        value("interval", "DURATION", "Time between two statistics, like 5s, 500ms or 1m30s; 5s if not given")
            .of(Contract::Runc),
        flag("stats", "Print the statistics once and exit").of(Contract::Runc),
    ]],
    operands: &[ID],
    ends_at_operand: false,
    examples: &[("kiste events --stats web", "Print the resource usage of the container web once.")],
    contract: Contract::Runc,
};

pub const SPEC: CommandRow = CommandRow {
    name: "spec",
    about: "Write a configuration to start from",
    description: "Writes a config.json that runs a shell from the directory rootfs of the bundle. An existing file is \
                  never overwritten.",
    options: &[&[
        value("bundle", "DIR", "The directory to write config.json to")
            .short('b')
            .detail("The default is the current directory."),
        value("file", "PATH", "The file to write, if not config.json in the bundle").short('f').of(Contract::Crun),
        flag("rootless", "Write a configuration for an ordinary user")
            .detail("It has a user namespace that maps the caller, no network namespace and no limits."),
    ]],
    operands: &[],
    ends_at_operand: false,
    examples: &[
        ("kiste spec --bundle /srv/web", "Write /srv/web/config.json."),
        ("kiste spec --rootless", "Write ./config.json for an ordinary user."),
    ],
    contract: Contract::Both,
};

pub const FEATURES: CommandRow = CommandRow {
    name: "features",
    about: "Print what this runtime can do",
    description: "Prints JSON as the runtime specification's features.md describes it: namespaces, capabilities, mount \
                  options, seccomp words, cgroup versions and so on, as far as kiste knows them. What the running \
                  kernel lacks is not subtracted.",
    options: &[],
    operands: &[],
    ends_at_operand: false,
    examples: &[("kiste features", "Print what this runtime can do.")],
    contract: Contract::Both,
};
