//! `exec`: a further process in a running container.

use super::{CommandRow, Contract, Count, ID, Operand, each, flag, value};

pub const EXEC: CommandRow = CommandRow {
    name: "exec",
    about: "Run a further command in a running container",
    description: "Runs COMMAND in the container's namespaces and cgroup, with the container's environment, user and \
                  privileges unless options say otherwise, and exits with its status. The status is 255 if the \
                  command could not be run. Options end at ID: everything behind it belongs to the command.",
    options: &[&[
        value("console-socket", "SOCKET", "Send the terminal's file descriptor to this AF_UNIX socket"),
        value("pidfd-socket", "SOCKET", "Send a pidfd of the new process to this AF_UNIX socket").of(Contract::Runc),
        value("cwd", "DIR", "The directory the command starts in, an absolute path in the container"),
        each("env", "NAME=VALUE", "Set an environment variable").short('e'),
        flag("tty", "Give the command a terminal").short('t'),
        value("user", "UID[:GID]", "Run as this user id and group id, numbers only").short('u'),
        each("additional-gids", "GID", "Add a supplementary group id").short('g').of(Contract::Runc),
        value("process", "FILE", "Take everything from FILE, a `process` object as in config.json").short('p'),
        flag("detach", "Return as soon as the command runs").short('d'),
        value("pid-file", "FILE", "Write the process id of the command to FILE"),
        value("process-label", "LABEL", "Run with this SELinux label"),
        value("apparmor", "PROFILE", "Run with this AppArmor profile"),
        flag("no-new-privs", "Never let the command gain privileges (PR_SET_NO_NEW_PRIVS)"),
        each("cap", "CAPABILITY", "Add a capability, like CAP_NET_ADMIN")
            .short('c')
            .detail("When kiste is called as crun, the capabilities given replace the container's instead."),
        value("preserve-fds", "N", "Pass N further file descriptors, from 3 upwards, besides those of $LISTEN_FDS"),
        each("cgroup", "[CONTROLLER:]PATH", "Run in a cgroup below the container's, which must exist")
            .detail("With cgroup v1 a controller, or several with commas between, may be named."),
        flag("ignore-paused", "Start the command even if the container is paused").of(Contract::Runc),
        flag("explain", "Print what would be done, and do nothing")
            .detail("The plan is printed as kiste-explain(1) prints that of a container; the container must run.")
            .of(Contract::Kiste),
        value("format", "FORMAT", "How --explain prints the plan").choices(&["text", "json"]).of(Contract::Kiste),
    ]],
    operands: &[ID, Operand::new("COMMAND", Count::Rest, "The command and its arguments; not needed with --process")],
    ends_at_operand: true,
    examples: &[
        ("kiste exec -t web sh", "Open a shell in the container web."),
        ("kiste exec --user 1000:100 --env LANG=C web id", "Run a command as another user."),
        ("kiste exec --explain --user 1000:100 web id", "Print the steps of that instead."),
    ],
    contract: Contract::Both,
};
