# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_kiste_global_optspecs
    string join \n debug log= log-format= log-level= root= systemd-cgroup cgroup-manager= rootless= strict criu= v/version h/help
end

function __fish_kiste_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_kiste_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_kiste_using_subcommand
    set -l cmd (__fish_kiste_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c kiste -n "__fish_kiste_needs_command" -l log -d 'Append log messages to FILE' -r
complete -c kiste -n "__fish_kiste_needs_command" -l log-format -d 'How log messages are written' -r -f -a "text\t''
json\t''"
complete -c kiste -n "__fish_kiste_needs_command" -l log-level -d 'The least important messages that are logged' -r -f -a "error\t''
warning\t''
debug\t''"
complete -c kiste -n "__fish_kiste_needs_command" -l root -d 'Where the state of containers is kept' -r
complete -c kiste -n "__fish_kiste_needs_command" -l cgroup-manager -d 'Who makes the container\'s cgroup' -r -f -a "cgroupfs\t''
systemd\t''
disabled\t''"
complete -c kiste -n "__fish_kiste_needs_command" -l rootless -d 'Whether missing rights to cgroups are forgiven' -r -f -a "auto\t''
true\t''
false\t''"
complete -c kiste -n "__fish_kiste_needs_command" -l criu -d 'Accepted as in older releases of runc; has no effect' -r
complete -c kiste -n "__fish_kiste_needs_command" -l debug -d 'Log what is done, not only what fails'
complete -c kiste -n "__fish_kiste_needs_command" -l systemd-cgroup -d 'Let systemd make the container\'s cgroup'
complete -c kiste -n "__fish_kiste_needs_command" -l strict -d 'Refuse every unknown field of a configuration'
complete -c kiste -n "__fish_kiste_needs_command" -s v -l version -d 'Print the version and exit'
complete -c kiste -n "__fish_kiste_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kiste -n "__fish_kiste_needs_command" -f -a "create" -d 'Create a container'
complete -c kiste -n "__fish_kiste_needs_command" -f -a "start" -d 'Run the command of a created container'
complete -c kiste -n "__fish_kiste_needs_command" -f -a "run" -d 'Create a container, run its command and delete it'
complete -c kiste -n "__fish_kiste_needs_command" -f -a "exec" -d 'Run a further command in a running container'
complete -c kiste -n "__fish_kiste_needs_command" -f -a "state" -d 'Print the state of a container'
complete -c kiste -n "__fish_kiste_needs_command" -f -a "list" -d 'List the containers'
complete -c kiste -n "__fish_kiste_needs_command" -f -a "ps" -d 'List the processes of a container'
complete -c kiste -n "__fish_kiste_needs_command" -f -a "kill" -d 'Send a signal to a container'
complete -c kiste -n "__fish_kiste_needs_command" -f -a "delete" -d 'Delete a container and all that was made for it'
complete -c kiste -n "__fish_kiste_needs_command" -f -a "pause" -d 'Stop all processes of a container for a while'
complete -c kiste -n "__fish_kiste_needs_command" -f -a "resume" -d 'Let the processes of a paused container go on'
complete -c kiste -n "__fish_kiste_needs_command" -f -a "update" -d 'Change the limits of a container'
complete -c kiste -n "__fish_kiste_needs_command" -f -a "mounts" -d 'Add mounts to a running container, or remove them'
complete -c kiste -n "__fish_kiste_needs_command" -f -a "checkpoint" -d 'Save the processes of a running container as files'
complete -c kiste -n "__fish_kiste_needs_command" -f -a "restore" -d 'Make a container from a checkpoint'
complete -c kiste -n "__fish_kiste_needs_command" -f -a "events" -d 'Print a container\'s resource usage and out-of-memory events'
complete -c kiste -n "__fish_kiste_needs_command" -f -a "explain" -d 'Print what run or create would do, and do nothing'
complete -c kiste -n "__fish_kiste_needs_command" -f -a "spec" -d 'Write a configuration to start from'
complete -c kiste -n "__fish_kiste_needs_command" -f -a "features" -d 'Print what this runtime can do'
complete -c kiste -n "__fish_kiste_using_subcommand create" -s b -l bundle -d 'The directory with config.json and the root file system' -r
complete -c kiste -n "__fish_kiste_using_subcommand create" -s f -l config -d 'A configuration of another name or place than config.json in the bundle' -r
complete -c kiste -n "__fish_kiste_using_subcommand create" -l console-socket -d 'Send the terminal\'s file descriptor to this AF_UNIX socket' -r
complete -c kiste -n "__fish_kiste_using_subcommand create" -l pidfd-socket -d 'Send a pidfd of the container\'s first process to this AF_UNIX socket' -r
complete -c kiste -n "__fish_kiste_using_subcommand create" -l pid-file -d 'Write the process id of the container\'s first process to FILE' -r
complete -c kiste -n "__fish_kiste_using_subcommand create" -l preserve-fds -d 'Pass N further file descriptors, from 3 upwards, besides those of $LISTEN_FDS' -r
complete -c kiste -n "__fish_kiste_using_subcommand create" -l no-pivot -d 'Change the root with chroot(2) instead of pivot_root(2)'
complete -c kiste -n "__fish_kiste_using_subcommand create" -l no-new-keyring -d 'Leave the caller\'s session keyring to the container'
complete -c kiste -n "__fish_kiste_using_subcommand create" -l no-subreaper -d 'Accepted for compatibility; kiste never needs a subreaper'
complete -c kiste -n "__fish_kiste_using_subcommand create" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kiste -n "__fish_kiste_using_subcommand start" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kiste -n "__fish_kiste_using_subcommand run" -s b -l bundle -d 'The directory with config.json and the root file system' -r
complete -c kiste -n "__fish_kiste_using_subcommand run" -s f -l config -d 'A configuration of another name or place than config.json in the bundle' -r
complete -c kiste -n "__fish_kiste_using_subcommand run" -l console-socket -d 'Send the terminal\'s file descriptor to this AF_UNIX socket' -r
complete -c kiste -n "__fish_kiste_using_subcommand run" -l pidfd-socket -d 'Send a pidfd of the container\'s first process to this AF_UNIX socket' -r
complete -c kiste -n "__fish_kiste_using_subcommand run" -l pid-file -d 'Write the process id of the container\'s first process to FILE' -r
complete -c kiste -n "__fish_kiste_using_subcommand run" -l preserve-fds -d 'Pass N further file descriptors, from 3 upwards, besides those of $LISTEN_FDS' -r
complete -c kiste -n "__fish_kiste_using_subcommand run" -l timings -d 'Write where the time goes to FILE, for ui.perfetto.dev' -r
complete -c kiste -n "__fish_kiste_using_subcommand run" -l no-pivot -d 'Change the root with chroot(2) instead of pivot_root(2)'
complete -c kiste -n "__fish_kiste_using_subcommand run" -l no-new-keyring -d 'Leave the caller\'s session keyring to the container'
complete -c kiste -n "__fish_kiste_using_subcommand run" -l no-subreaper -d 'Accepted for compatibility; kiste never needs a subreaper'
complete -c kiste -n "__fish_kiste_using_subcommand run" -s d -l detach -d 'Return as soon as the container runs'
complete -c kiste -n "__fish_kiste_using_subcommand run" -l keep -d 'Do not delete the container when it has ended'
complete -c kiste -n "__fish_kiste_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kiste -n "__fish_kiste_using_subcommand exec" -l console-socket -d 'Send the terminal\'s file descriptor to this AF_UNIX socket' -r
complete -c kiste -n "__fish_kiste_using_subcommand exec" -l pidfd-socket -d 'Send a pidfd of the new process to this AF_UNIX socket' -r
complete -c kiste -n "__fish_kiste_using_subcommand exec" -l cwd -d 'The directory the command starts in, an absolute path in the container' -r
complete -c kiste -n "__fish_kiste_using_subcommand exec" -s e -l env -d 'Set an environment variable' -r
complete -c kiste -n "__fish_kiste_using_subcommand exec" -s u -l user -d 'Run as this user id and group id, numbers only' -r
complete -c kiste -n "__fish_kiste_using_subcommand exec" -s g -l additional-gids -d 'Add a supplementary group id' -r
complete -c kiste -n "__fish_kiste_using_subcommand exec" -s p -l process -d 'Take everything from FILE, a `process` object as in config.json' -r
complete -c kiste -n "__fish_kiste_using_subcommand exec" -l pid-file -d 'Write the process id of the command to FILE' -r
complete -c kiste -n "__fish_kiste_using_subcommand exec" -l process-label -d 'Run with this SELinux label' -r
complete -c kiste -n "__fish_kiste_using_subcommand exec" -l apparmor -d 'Run with this AppArmor profile' -r
complete -c kiste -n "__fish_kiste_using_subcommand exec" -s c -l cap -d 'Add a capability, like CAP_NET_ADMIN' -r
complete -c kiste -n "__fish_kiste_using_subcommand exec" -l preserve-fds -d 'Pass N further file descriptors, from 3 upwards, besides those of $LISTEN_FDS' -r
complete -c kiste -n "__fish_kiste_using_subcommand exec" -l cgroup -d 'Run in a cgroup below the container\'s, which must exist' -r
complete -c kiste -n "__fish_kiste_using_subcommand exec" -l format -d 'How --explain prints the plan' -r -f -a "text\t''
json\t''"
complete -c kiste -n "__fish_kiste_using_subcommand exec" -s t -l tty -d 'Give the command a terminal'
complete -c kiste -n "__fish_kiste_using_subcommand exec" -s d -l detach -d 'Return as soon as the command runs'
complete -c kiste -n "__fish_kiste_using_subcommand exec" -l no-new-privs -d 'Never let the command gain privileges (PR_SET_NO_NEW_PRIVS)'
complete -c kiste -n "__fish_kiste_using_subcommand exec" -l ignore-paused -d 'Start the command even if the container is paused'
complete -c kiste -n "__fish_kiste_using_subcommand exec" -l explain -d 'Print what would be done, and do nothing'
complete -c kiste -n "__fish_kiste_using_subcommand exec" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kiste -n "__fish_kiste_using_subcommand state" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kiste -n "__fish_kiste_using_subcommand list" -s f -l format -d 'How the result is printed' -r -f -a "table\t''
json\t''"
complete -c kiste -n "__fish_kiste_using_subcommand list" -s q -l quiet -d 'Print the ids only'
complete -c kiste -n "__fish_kiste_using_subcommand list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kiste -n "__fish_kiste_using_subcommand ps" -s f -l format -d 'How the result is printed' -r -f -a "table\t''
json\t''"
complete -c kiste -n "__fish_kiste_using_subcommand ps" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kiste -n "__fish_kiste_using_subcommand kill" -s a -l all -d 'Send it to every process of the container'
complete -c kiste -n "__fish_kiste_using_subcommand kill" -s r -l regex -d 'ID is an extended regular expression; all containers it matches are meant'
complete -c kiste -n "__fish_kiste_using_subcommand kill" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kiste -n "__fish_kiste_using_subcommand delete" -s f -l force -d 'Kill the container first if it still runs'
complete -c kiste -n "__fish_kiste_using_subcommand delete" -s r -l regex -d 'ID is an extended regular expression; all containers it matches are meant'
complete -c kiste -n "__fish_kiste_using_subcommand delete" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kiste -n "__fish_kiste_using_subcommand pause" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kiste -n "__fish_kiste_using_subcommand resume" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kiste -n "__fish_kiste_using_subcommand update" -s r -l resources -d 'Take the limits from FILE, or from standard input if it is -' -r
complete -c kiste -n "__fish_kiste_using_subcommand update" -l blkio-weight -d 'Relative share of block input and output, 10 to 1000' -r
complete -c kiste -n "__fish_kiste_using_subcommand update" -l cpu-period -d 'Length of a CPU period in microseconds; 0 is the kernel\'s default' -r
complete -c kiste -n "__fish_kiste_using_subcommand update" -l cpu-quota -d 'CPU time allowed in a period, in microseconds' -r
complete -c kiste -n "__fish_kiste_using_subcommand update" -l cpu-burst -d 'CPU time that may be saved up for bursts, in microseconds' -r
complete -c kiste -n "__fish_kiste_using_subcommand update" -l cpu-share -d 'Relative share of CPU time, 2 to 262144' -r
complete -c kiste -n "__fish_kiste_using_subcommand update" -l cpu-rt-period -d 'Length of a realtime period in microseconds (cgroup v1)' -r
complete -c kiste -n "__fish_kiste_using_subcommand update" -l cpu-rt-runtime -d 'Realtime CPU time allowed in a period, in microseconds (cgroup v1)' -r
complete -c kiste -n "__fish_kiste_using_subcommand update" -l cpu-idle -d '1 gives the container CPU time only when nobody else wants it' -r
complete -c kiste -n "__fish_kiste_using_subcommand update" -l cpuset-cpus -d 'CPUs to use, like 0-3,7' -r
complete -c kiste -n "__fish_kiste_using_subcommand update" -l cpuset-mems -d 'Memory nodes to use, like 0-1' -r
complete -c kiste -n "__fish_kiste_using_subcommand update" -l kernel-memory -d 'Accepted for compatibility; kernels no longer have it' -r
complete -c kiste -n "__fish_kiste_using_subcommand update" -l kernel-memory-tcp -d 'Accepted for compatibility; kernels no longer have it' -r
complete -c kiste -n "__fish_kiste_using_subcommand update" -l memory -d 'Limit of memory' -r
complete -c kiste -n "__fish_kiste_using_subcommand update" -l memory-reservation -d 'Memory that is protected or taken last when memory is short' -r
complete -c kiste -n "__fish_kiste_using_subcommand update" -l memory-swap -d 'Limit of memory and swap together; -1 means no limit of swap' -r
complete -c kiste -n "__fish_kiste_using_subcommand update" -l pids-limit -d 'Limit of processes and threads; -1 means no limit' -r
complete -c kiste -n "__fish_kiste_using_subcommand update" -l l3-cache-schema -d 'Share of the level 3 cache (Intel RDT), like L3:0=7f0;1=1f' -r
complete -c kiste -n "__fish_kiste_using_subcommand update" -l mem-bw-schema -d 'Share of memory bandwidth (Intel RDT), like MB:0=20;1=70' -r
complete -c kiste -n "__fish_kiste_using_subcommand update" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kiste -n "__fish_kiste_using_subcommand mounts" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kiste -n "__fish_kiste_using_subcommand checkpoint" -l image-path -d 'The directory of the checkpoint\'s images' -r
complete -c kiste -n "__fish_kiste_using_subcommand checkpoint" -l work-path -d 'The directory of CRIU\'s log and temporary files' -r
complete -c kiste -n "__fish_kiste_using_subcommand checkpoint" -l manage-cgroups-mode -d 'What CRIU does with the container\'s control groups' -r -f -a "soft\t''
full\t''
strict\t''
ignore\t''"
complete -c kiste -n "__fish_kiste_using_subcommand checkpoint" -l empty-ns -d 'Leave the contents of this namespace (network) out' -r
complete -c kiste -n "__fish_kiste_using_subcommand checkpoint" -l network-lock -d 'How packets are kept from connections meanwhile' -r -f -a "iptables\t''
nftables\t''
skip\t''"
complete -c kiste -n "__fish_kiste_using_subcommand checkpoint" -l parent-path -d 'Save only what has changed since the images in DIR' -r
complete -c kiste -n "__fish_kiste_using_subcommand checkpoint" -l status-fd -d 'Write a NUL to descriptor N once pages can be asked for' -r
complete -c kiste -n "__fish_kiste_using_subcommand checkpoint" -l page-server -d 'Send memory to the page server there' -r
complete -c kiste -n "__fish_kiste_using_subcommand checkpoint" -l tcp-established -d 'Established TCP connections are part of the checkpoint'
complete -c kiste -n "__fish_kiste_using_subcommand checkpoint" -l tcp-close -d 'TCP connections come back closed'
complete -c kiste -n "__fish_kiste_using_subcommand checkpoint" -l ext-unix-sk -d 'Unix sockets may have their other end outside the container'
complete -c kiste -n "__fish_kiste_using_subcommand checkpoint" -l shell-job -d 'The container uses the terminal of its caller'
complete -c kiste -n "__fish_kiste_using_subcommand checkpoint" -l lazy-pages -d 'Memory is fetched when it is needed, by criu lazy-pages on the restoring side'
complete -c kiste -n "__fish_kiste_using_subcommand checkpoint" -l file-locks -d 'File locks are part of the checkpoint'
complete -c kiste -n "__fish_kiste_using_subcommand checkpoint" -l auto-dedup -d 'Remove pages from earlier images that a later one has'
complete -c kiste -n "__fish_kiste_using_subcommand checkpoint" -l pre-dump -d 'Save memory only, and let the container run'
complete -c kiste -n "__fish_kiste_using_subcommand checkpoint" -l leave-running -d 'Let the container run afterwards'
complete -c kiste -n "__fish_kiste_using_subcommand checkpoint" -l tcp-skip-in-flight -d 'Leave TCP connections out that are being made'
complete -c kiste -n "__fish_kiste_using_subcommand checkpoint" -l link-remap -d 'Files that are open and have no name any more get one meanwhile'
complete -c kiste -n "__fish_kiste_using_subcommand checkpoint" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kiste -n "__fish_kiste_using_subcommand restore" -s b -l bundle -d 'The directory with config.json and the root file system' -r
complete -c kiste -n "__fish_kiste_using_subcommand restore" -l console-socket -d 'Send the terminal\'s file descriptor to this AF_UNIX socket' -r
complete -c kiste -n "__fish_kiste_using_subcommand restore" -l pid-file -d 'Write the process id of the container\'s first process to FILE' -r
complete -c kiste -n "__fish_kiste_using_subcommand restore" -l image-path -d 'The directory of the checkpoint\'s images' -r
complete -c kiste -n "__fish_kiste_using_subcommand restore" -l work-path -d 'The directory of CRIU\'s log and temporary files' -r
complete -c kiste -n "__fish_kiste_using_subcommand restore" -l manage-cgroups-mode -d 'What CRIU does with the container\'s control groups' -r -f -a "soft\t''
full\t''
strict\t''
ignore\t''"
complete -c kiste -n "__fish_kiste_using_subcommand restore" -l empty-ns -d 'Leave the contents of this namespace (network) out' -r
complete -c kiste -n "__fish_kiste_using_subcommand restore" -l network-lock -d 'How packets are kept from connections meanwhile' -r -f -a "iptables\t''
nftables\t''
skip\t''"
complete -c kiste -n "__fish_kiste_using_subcommand restore" -l lsm-profile -d 'A label for the processes instead of the saved one' -r
complete -c kiste -n "__fish_kiste_using_subcommand restore" -l lsm-mount-context -d 'An SELinux label for mounts instead of the saved one' -r
complete -c kiste -n "__fish_kiste_using_subcommand restore" -s d -l detach -d 'Return as soon as the container runs'
complete -c kiste -n "__fish_kiste_using_subcommand restore" -l no-subreaper -d 'Accepted for compatibility; kiste never needs a subreaper'
complete -c kiste -n "__fish_kiste_using_subcommand restore" -l no-pivot -d 'Accepted for compatibility; CRIU changes the root in its own way'
complete -c kiste -n "__fish_kiste_using_subcommand restore" -l tcp-established -d 'Established TCP connections are part of the checkpoint'
complete -c kiste -n "__fish_kiste_using_subcommand restore" -l tcp-close -d 'TCP connections come back closed'
complete -c kiste -n "__fish_kiste_using_subcommand restore" -l ext-unix-sk -d 'Unix sockets may have their other end outside the container'
complete -c kiste -n "__fish_kiste_using_subcommand restore" -l shell-job -d 'The container uses the terminal of its caller'
complete -c kiste -n "__fish_kiste_using_subcommand restore" -l lazy-pages -d 'Memory is fetched when it is needed, by criu lazy-pages on the restoring side'
complete -c kiste -n "__fish_kiste_using_subcommand restore" -l file-locks -d 'File locks are part of the checkpoint'
complete -c kiste -n "__fish_kiste_using_subcommand restore" -l auto-dedup -d 'Remove pages from earlier images that a later one has'
complete -c kiste -n "__fish_kiste_using_subcommand restore" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kiste -n "__fish_kiste_using_subcommand events" -l interval -d 'Time between two statistics, like 5s, 500ms or 1m30s; 5s if not given' -r
complete -c kiste -n "__fish_kiste_using_subcommand events" -l stats -d 'Print the statistics once and exit'
complete -c kiste -n "__fish_kiste_using_subcommand events" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kiste -n "__fish_kiste_using_subcommand explain" -s b -l bundle -d 'The directory with config.json and the root file system' -r
complete -c kiste -n "__fish_kiste_using_subcommand explain" -s f -l config -d 'A configuration of another name or place than config.json in the bundle' -r
complete -c kiste -n "__fish_kiste_using_subcommand explain" -l console-socket -d 'Send the terminal\'s file descriptor to this AF_UNIX socket' -r
complete -c kiste -n "__fish_kiste_using_subcommand explain" -l pidfd-socket -d 'Send a pidfd of the container\'s first process to this AF_UNIX socket' -r
complete -c kiste -n "__fish_kiste_using_subcommand explain" -l pid-file -d 'Write the process id of the container\'s first process to FILE' -r
complete -c kiste -n "__fish_kiste_using_subcommand explain" -l preserve-fds -d 'Pass N further file descriptors, from 3 upwards, besides those of $LISTEN_FDS' -r
complete -c kiste -n "__fish_kiste_using_subcommand explain" -l format -d 'How the plan is printed' -r -f -a "text\t''
json\t''"
complete -c kiste -n "__fish_kiste_using_subcommand explain" -l facts -d 'Plan for the machine described in FILE instead of this one' -r
complete -c kiste -n "__fish_kiste_using_subcommand explain" -l no-pivot -d 'Change the root with chroot(2) instead of pivot_root(2)'
complete -c kiste -n "__fish_kiste_using_subcommand explain" -l no-new-keyring -d 'Leave the caller\'s session keyring to the container'
complete -c kiste -n "__fish_kiste_using_subcommand explain" -l no-subreaper -d 'Accepted for compatibility; kiste never needs a subreaper'
complete -c kiste -n "__fish_kiste_using_subcommand explain" -s d -l detach -d 'Return as soon as the container runs'
complete -c kiste -n "__fish_kiste_using_subcommand explain" -l keep -d 'Do not delete the container when it has ended'
complete -c kiste -n "__fish_kiste_using_subcommand explain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kiste -n "__fish_kiste_using_subcommand spec" -s b -l bundle -d 'The directory to write config.json to' -r
complete -c kiste -n "__fish_kiste_using_subcommand spec" -s f -l file -d 'The file to write, if not config.json in the bundle' -r
complete -c kiste -n "__fish_kiste_using_subcommand spec" -l rootless -d 'Write a configuration for an ordinary user'
complete -c kiste -n "__fish_kiste_using_subcommand spec" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kiste -n "__fish_kiste_using_subcommand features" -s h -l help -d 'Print help (see more with \'--help\')'
