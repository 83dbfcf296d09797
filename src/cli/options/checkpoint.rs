//! checkpoint and restore.

use super::{CommandRow, Contract, ID, OptionRow, each, flag, value};

/// What both have.
const COMMON: &[OptionRow] = &[
    value("image-path", "DIR", "The directory of the checkpoint's images")
        .detail("The default is checkpoint in the current directory."),
    value("work-path", "DIR", "The directory of CRIU's log and temporary files")
        .detail("The default is the directory of the images."),
    flag("tcp-established", "Established TCP connections are part of the checkpoint")
        .detail("They go on after the restore if the other end has not given up and the address is the same."),
    flag("tcp-close", "TCP connections come back closed").of(Contract::Crun),
    flag("ext-unix-sk", "Unix sockets may have their other end outside the container"),
    flag("shell-job", "The container uses the terminal of its caller")
        .detail("Whoever restores it gives it theirs. A terminal of the container's own needs no option."),
    flag("lazy-pages", "Memory is fetched when it is needed, by criu lazy-pages on the restoring side"),
    flag("file-locks", "File locks are part of the checkpoint")
        .detail("Only if nobody outside the container holds locks on these files."),
    value("manage-cgroups-mode", "MODE", "What CRIU does with the container's control groups")
        .choices(&["soft", "full", "strict", "ignore"])
        .detail(
            "soft, the default, makes groups that are missing, with their properties; full restores the properties of \
             all, strict wants none to exist, and with ignore all processes come back in the container's own group.",
        ),
    each("empty-ns", "NAMESPACE", "Leave the contents of this namespace (network) out"),
    flag("auto-dedup", "Remove pages from earlier images that a later one has"),
    value("network-lock", "METHOD", "How packets are kept from connections meanwhile")
        .choices(&["iptables", "nftables", "skip"])
        .of(Contract::Crun),
];

pub const CHECKPOINT: CommandRow = CommandRow {
    name: "checkpoint",
    about: "Save the processes of a running container as files",
    description: "CRIU (criu.org) saves the container's first process and its descendants: memory, open files, \
                  namespaces, mounts that are the container's own. Then the container is stopped, unless it is left \
                  running. What CRIU can't save is told before it begins, and the container goes on as it was: processes \
                  that exec has brought, traced processes, io_uring, connections, file locks and terminals of the host \
                  without their options. Files of the root are not saved: save them, too, or restore over the same root. \
                  Needs the host's root, and criu 3.16 or newer in /usr/sbin, /usr/bin, /usr/local/sbin or \
                  /usr/local/bin. Further options for CRIU are read from the file that the annotation org.criu.config \
                  names, or else from the first there is of /etc/criu/kiste.conf, /etc/criu/crun.conf and \
                  /etc/criu/runc.conf. A failure quotes CRIU's log, dump.log in the work directory.",
    options: &[
        COMMON,
        &[
            value("parent-path", "DIR", "Save only what has changed since the images in DIR")
                .detail("DIR is relative to the directory of the images, and made by --pre-dump."),
            flag("pre-dump", "Save memory only, and let the container run")
                .detail("A later checkpoint with --parent-path then stops the container for a shorter time."),
            flag("leave-running", "Let the container run afterwards"),
            flag("tcp-skip-in-flight", "Leave TCP connections out that are being made").of(Contract::Runc),
            flag("link-remap", "Files that are open and have no name any more get one meanwhile").of(Contract::Runc),
            value("status-fd", "N", "Write a NUL to descriptor N once pages can be asked for").of(Contract::Runc),
            value("page-server", "ADDRESS:PORT", "Send memory to the page server there")
                .detail("With --lazy-pages: serve it there.")
                .of(Contract::Runc),
        ],
    ],
    operands: &[ID],
    ends_at_operand: false,
    examples: &[
        ("kiste checkpoint --image-path /var/lib/web.1 web", "Save the container web and stop it."),
        (
            "kiste checkpoint --pre-dump --image-path /srv/c/1 web && kiste checkpoint --parent-path ../1 --image-path /srv/c/2 web",
            "The same with a short stop: the first command saves most of the memory while the container runs.",
        ),
    ],
    contract: Contract::Both,
};

pub const RESTORE: CommandRow = CommandRow {
    name: "restore",
    about: "Make a container from a checkpoint",
    description: "Makes a container from a bundle and the images of a checkpoint: under any ID, from the same bundle or a \
                  copy of it. Its mounts are those of the bundle's configuration, opened and checked as create does; its \
                  control group and limits, too. Its processes are those of the checkpoint. Without --detach it waits for \
                  the first process and deletes the container, as run. The directory of the images must belong to root, \
                  and nobody else may be able to write to it. The hooks prestart, createRuntime and poststop run. A \
                  failure quotes CRIU's log, restore.log in the work directory.",
    options: &[
        &[
            value("bundle", "DIR", "The directory with config.json and the root file system")
                .short('b')
                .detail("The default is the current directory."),
            value("console-socket", "SOCKET", "Send the terminal's file descriptor to this AF_UNIX socket"),
            value("pid-file", "FILE", "Write the process id of the container's first process to FILE"),
            flag("detach", "Return as soon as the container runs").short('d'),
            flag("no-subreaper", "Accepted for compatibility; kiste never needs a subreaper"),
            flag("no-pivot", "Accepted for compatibility; CRIU changes the root in its own way"),
        ],
        COMMON,
        &[
            value("lsm-profile", "TYPE:NAME", "A label for the processes instead of the saved one")
                .detail("TYPE is apparmor or selinux."),
            value("lsm-mount-context", "CONTEXT", "An SELinux label for mounts instead of the saved one"),
        ],
    ],
    operands: &[ID],
    ends_at_operand: false,
    examples: &[
        (
            "kiste restore --bundle /srv/web --image-path /var/lib/web.1 web",
            "Bring the container web back and wait for it.",
        ),
        (
            "kiste restore -d --bundle /srv/web2 --image-path /var/lib/web.1 web2",
            "The same under another name, from a copy.",
        ),
    ],
    contract: Contract::Both,
};
