//! `update`: other limits for a container that exists.

use super::{CommandRow, Contract, ID, value};

pub const UPDATE: CommandRow = CommandRow {
    name: "update",
    about: "Change the limits of a container",
    description: "Changes the resource limits given and leaves the others alone: all or, if one is refused, none; the \
                  error then says that nothing was changed, or what could not be undone. Amounts of memory take the suffixes \
                  b, k, m, g, t and p (powers of 1024); -1 means no limit. With --resources all other options are \
                  ignored.",
    options: &[&[
        value("resources", "FILE", "Take the limits from FILE, or from standard input if it is -")
            .short('r')
            .detail("A JSON object like `linux.resources` in config.json. Device rules in it are skipped."),
        value("blkio-weight", "WEIGHT", "Relative share of block input and output, 10 to 1000"),
        value("cpu-period", "USEC", "Length of a CPU period in microseconds; 0 is the kernel's default"),
        value("cpu-quota", "USEC", "CPU time allowed in a period, in microseconds"),
        value("cpu-burst", "USEC", "CPU time that may be saved up for bursts, in microseconds").of(Contract::Runc),
        value("cpu-share", "SHARES", "Relative share of CPU time, 2 to 262144"),
        value("cpu-rt-period", "USEC", "Length of a realtime period in microseconds (cgroup v1)"),
        value("cpu-rt-runtime", "USEC", "Realtime CPU time allowed in a period, in microseconds (cgroup v1)"),
        value("cpu-idle", "0|1", "1 gives the container CPU time only when nobody else wants it").of(Contract::Runc),
        value("cpuset-cpus", "LIST", "CPUs to use, like 0-3,7"),
        value("cpuset-mems", "LIST", "Memory nodes to use, like 0-1"),
        value("kernel-memory", "BYTES", "Accepted for compatibility; kernels no longer have it").hidden(),
        value("kernel-memory-tcp", "BYTES", "Accepted for compatibility; kernels no longer have it").hidden(),
        value("memory", "BYTES", "Limit of memory")
            .detail("A limit of memory and swap together that is less follows it, unless it is given too."),
        value("memory-reservation", "BYTES", "Memory that is protected or taken last when memory is short"),
        value("memory-swap", "BYTES", "Limit of memory and swap together; -1 means no limit of swap"),
        value("pids-limit", "N", "Limit of processes and threads; -1 means no limit"),
        value("l3-cache-schema", "SCHEMA", "Share of the level 3 cache (Intel RDT), like L3:0=7f0;1=1f")
            .of(Contract::Runc),
        value("mem-bw-schema", "SCHEMA", "Share of memory bandwidth (Intel RDT), like MB:0=20;1=70").of(Contract::Runc),
    ]],
    operands: &[ID],
    ends_at_operand: false,
    examples: &[
        ("kiste update --memory 512m --pids-limit 200 web", "Set two limits of the container web."),
        ("kiste update --resources - web", "Take the limits from standard input."),
    ],
    contract: Contract::Both,
};
