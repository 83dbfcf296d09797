//! `process`: of config.json, and alone in the file that `exec --process` names.

use std::str::FromStr;

use super::json::shown;
use super::reader::{self, Node, Object, nearest};
use super::{bounds, hardware};
use crate::error::Result;
use crate::intent::process::{Capabilities, Process, Rlimit, Scheduler, User};
use crate::intent::{Numbers, Placed};

const KNOWN: &[&str] = &[
    "terminal",
    "consoleSize",
    "user",
    "args",
    "commandLine",
    "env",
    "cwd",
    "capabilities",
    "rlimits",
    "noNewPrivileges",
    "apparmorProfile",
    "oomScoreAdj",
    "scheduler",
    "selinuxLabel",
    "ioPriority",
    "execCPUAffinity",
];

/// The resources of setrlimit(2) by the runtime-spec's words; the numbers are those of every architecture kiste builds for.
pub const RLIMITS: &[(&str, u32)] = &[
    ("RLIMIT_CPU", 0),
    ("RLIMIT_FSIZE", 1),
    ("RLIMIT_DATA", 2),
    ("RLIMIT_STACK", 3),
    ("RLIMIT_CORE", 4),
    ("RLIMIT_RSS", 5),
    ("RLIMIT_NPROC", 6),
    ("RLIMIT_NOFILE", 7),
    ("RLIMIT_MEMLOCK", 8),
    ("RLIMIT_AS", 9),
    ("RLIMIT_LOCKS", 10),
    ("RLIMIT_SIGPENDING", 11),
    ("RLIMIT_MSGQUEUE", 12),
    ("RLIMIT_NICE", 13),
    ("RLIMIT_RTPRIO", 14),
    ("RLIMIT_RTTIME", 15),
];

/// sched(7) policies.
const POLICIES: &[(&str, u32)] = &[
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", 1),
    ("SCHED_RR", 2),
    ("SCHED_BATCH", 3),
    ("SCHED_ISO", 4),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", 6),
];

/// sched_setattr(2) flags.
const SCHEDULER_FLAGS: &[(&str, u64)] = &[
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];

/// ioprio_set(2) classes.
const IO_CLASSES: &[(&str, u16)] = &[("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)];
/// How far ioprio_set(2)'s class is shifted (linux/ioprio.h, `IOPRIO_CLASS_SHIFT`).
const IO_CLASS_SHIFT: u32 = 13;

/// Reads a process.
pub fn read(node: Node<'_>) -> Result<Process> {
    let object = node.object(KNOWN)?;
    let terminal = object.or_default("terminal", reader::boolean)?;
    let (initial, last) = object.or_default("execCPUAffinity", affinity)?;
    Ok(Process {
        args: arguments(object)?,
        env: object.or_default("env", environment)?,
        cwd: object.need("cwd", |cwd| {
            let text = cwd.text()?;
            if !text.starts_with('/') {
                return Err(cwd.error(format!("the working directory must be absolute, found {}", shown(text))));
            }
            Ok(text.to_owned())
        })?,
        user: object.or_default("user", user)?,
        // The spec: consoleSize must be ignored without a terminal.
        console_size: object.get("consoleSize", console_size)?.flatten().filter(|_| terminal),
        terminal,
        capabilities: object.or_default("capabilities", capabilities)?,
        no_new_privileges: object.or_default("noNewPrivileges", reader::boolean)?,
        rlimits: object.or_default("rlimits", |list| list.list(bounds::RLIMITS, rlimit))?,
        oom_score_adj: object
            .get("oomScoreAdj", |node| Ok(Placed { value: node.number(-1000, 1000)?, origin: node.origin() }))?,
        apparmor_profile: object.or_default("apparmorProfile", reader::placed)?,
        selinux_label: object.or_default("selinuxLabel", reader::placed)?,
        scheduler: object.get("scheduler", scheduler)?,
        io_priority: object.get("ioPriority", io_priority)?,
        exec_cpu_affinity: (initial, last),
        origin: node.origin(),
    })
}

fn arguments(object: Object<'_>) -> Result<Vec<String>> {
    object.need("args", |list| {
        let args = list.strings(bounds::STRINGS)?;
        match args.first() {
            None => Err(list.error("no program: the list is empty")),
            Some(program) if program.is_empty() => Err(list.error("no program: the first argument is empty")),
            Some(_) => Ok(args),
        }
    })
}

/// `NAME=value` each; what has no name or no `=` would reach the payload as something no program can read.
pub fn environment(list: Node<'_>) -> Result<Vec<String>> {
    list.list(bounds::STRINGS, |entry| {
        let text = entry.text()?;
        match text.find('=') {
            Some(0) => Err(entry.error(format!("an environment entry without a name: {}", shown(text)))),
            // The value may be a secret, so the text is not shown: without "=" there is none.
            None => Err(entry.error(format!("an environment entry without \"=\": {}", shown(text)))),
            Some(_) => Ok(text.to_owned()),
        }
    })
}

fn user(node: Node<'_>) -> Result<User> {
    let object = node.object(&["uid", "gid", "umask", "additionalGids", "username"])?;
    Ok(User {
        uid: object.or_default("uid", reader::id)?,
        gid: object.or_default("gid", reader::id)?,
        additional_gids: object.or_default("additionalGids", |list| list.list(bounds::GROUPS, reader::id))?,
        umask: object.get("umask", |mask| mask.number(0, 0o777))?,
    })
}

fn console_size(node: Node<'_>) -> Result<Option<(u16, u16)>> {
    let object = node.object(&["height", "width"])?;
    let height = object.or_default("height", |size| size.number(0, u16::MAX.into()))?;
    let width = object.or_default("width", |size| size.number(0, u16::MAX.into()))?;
    Ok((height != 0 && width != 0).then_some((height, width)))
}

fn capabilities(node: Node<'_>) -> Result<Capabilities> {
    let object = node.object(&["bounding", "effective", "inheritable", "permitted", "ambient"])?;
    let sets = Capabilities {
        bounding: object.or_default("bounding", capability_set)?,
        effective: object.or_default("effective", capability_set)?,
        permitted: object.or_default("permitted", capability_set)?,
        inheritable: object.or_default("inheritable", capability_set)?,
        ambient: object.or_default("ambient", capability_set)?,
    };
    if let Some(number) = lowest(sets.effective & !sets.permitted) {
        let what = format!("{} is in the effective set but not in the permitted one", capability_name(number));
        return Err(node.error(what));
    }
    // capabilities(7): the kernel refuses these, and runc's and crun's own default configurations ask for them (ambient
    // without inheritable), so nobody is warned: fewer rights are the safe side.
    let vain = sets.ambient & !(sets.permitted & sets.inheritable);
    Ok(Capabilities { ambient: sets.ambient & !vain, ..sets })
}

/// A list of names as bits. A name that has the form of one may belong to a newer kernel: it is left out with a
/// warning, as the spec asks. Any other text is an error.
fn capability_set(list: Node<'_>) -> Result<u64> {
    let mut set = 0;
    list.list(bounds::CAPABILITIES, |item| {
        let name = item.text()?;
        match caps::Capability::from_str(name) {
            Ok(capability) => set |= capability.bitmask(),
            Err(_) => {
                let names = capability_names();
                let guess = nearest(name, names.iter().map(String::as_str));
                let hint = guess.map(|guess| format!("did you mean {guess:?}?"));
                let form = name.strip_prefix("CAP_").is_some_and(|rest| {
                    !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
                });
                if !form {
                    let error = item.error(format!("{} is no capability's name", shown(name)));
                    return Err(error.hint(hint.unwrap_or_else(|| "names look like CAP_NET_ADMIN".into())));
                }
                let hint = hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
                item.warn(format!("unknown capability {name}, left out{hint}"));
            }
        }
        Ok(())
    })?;
    Ok(set)
}

fn lowest(set: u64) -> Option<u32> {
    (set != 0).then(|| set.trailing_zeros())
}

/// The names of capabilities(7) by number. Only messages need it, so that its cost does not matter.
fn capability_names() -> Vec<String> {
    let mut all: Vec<caps::Capability> = caps::all().into_iter().collect();
    all.sort_unstable_by_key(caps::Capability::index);
    all.iter().map(ToString::to_string).collect()
}

fn capability_name(number: u32) -> String {
    let mut names = capability_names();
    if (number as usize) < names.len() { names.swap_remove(number as usize) } else { format!("capability {number}") }
}

fn rlimit(node: Node<'_>) -> Result<Rlimit> {
    let object = node.object(&["type", "soft", "hard"])?;
    let (name, resource) = object.need("type", |word| {
        let resource = word.word_of("resource limit", RLIMITS)?;
        Ok((reader::string(word)?, resource))
    })?;
    let (soft, hard) = (object.need("soft", reader::unsigned)?, object.need("hard", reader::unsigned)?);
    Ok(Rlimit { resource, name, soft, hard, origin: node.origin() })
}

fn scheduler(node: Node<'_>) -> Result<Placed<Scheduler>> {
    let object = node.object(&["policy", "nice", "priority", "flags", "runtime", "deadline", "period"])?;
    let (name, policy) = object.need("policy", |word| {
        let policy = word.word_of("scheduling policy", POLICIES)?;
        Ok((reader::string(word)?, policy))
    })?;
    let flags = object
        .or_default("flags", |list| list.list(bounds::FLAGS, |word| word.word_of("scheduler flag", SCHEDULER_FLAGS)))?;
    let value = Scheduler {
        policy,
        flags: flags.into_iter().fold(0, |all, flag| all | flag),
        nice: object.or_default("nice", |nice| nice.number(-20, 19))?,
        priority: object.or_default("priority", |priority| priority.number(0, 99))?,
        runtime: object.or_default("runtime", reader::unsigned)?,
        deadline: object.or_default("deadline", reader::unsigned)?,
        period: object.or_default("period", reader::unsigned)?,
    };
    if value.priority != 0 && !matches!(name.as_str(), "SCHED_FIFO" | "SCHED_RR") {
        return Err(node.error(format!("priority is for SCHED_FIFO and SCHED_RR, not for {name}")));
    }
    let deadline = value.runtime != 0 || value.deadline != 0 || value.period != 0;
    if deadline && name != "SCHED_DEADLINE" {
        return Err(node.error(format!("runtime, deadline and period are for SCHED_DEADLINE, not for {name}")));
    }
    Ok(Placed { value, origin: node.origin() })
}

fn io_priority(node: Node<'_>) -> Result<Placed<u16>> {
    let object = node.object(&["class", "priority"])?;
    let class = object.need("class", |word| word.word_of("I/O priority class", IO_CLASSES))?;
    let priority: u16 = object.or_default("priority", |priority| priority.number(0, 7))?;
    Ok(Placed { value: (class << IO_CLASS_SHIFT) | priority, origin: node.origin() })
}

type Affinity = (Option<Placed<Numbers>>, Option<Placed<Numbers>>);

fn affinity(node: Node<'_>) -> Result<Affinity> {
    let object = node.object(&["initial", "final"])?;
    Ok((object.or_default("initial", hardware::processors)?, object.or_default("final", hardware::processors)?))
}

#[cfg(test)]
mod tests {
    use super::super::Unknown;
    use super::*;
    use crate::intent::from_oci::read_process;

    fn with(extra: &str) -> Result<Process> {
        read_process(format!(r#"{{"args":["sh"],"cwd":"/"{extra}}}"#).as_bytes(), Unknown::Reported)
            .map(|(process, _)| process)
    }

    fn refusal(extra: &str) -> String {
        with(extra).unwrap_err().to_string()
    }

    #[test]
    fn the_name_tables_agree_with_libc() {
        assert_eq!((capability_name(0), capability_name(40)), ("CAP_CHOWN".into(), "CAP_CHECKPOINT_RESTORE".into()));
        assert_eq!(capability_name(63), "capability 63");
        assert_eq!(RLIMITS.len(), 16);
        for (name, number) in [("RLIMIT_NOFILE", libc::RLIMIT_NOFILE), ("RLIMIT_RTTIME", libc::RLIMIT_RTTIME)] {
            assert!(RLIMITS.contains(&(name, number)));
        }
    }

    #[test]
    fn a_full_process_is_read() {
        let process = with(
            r#","env":["A=1","A=2","E="],"terminal":true,"consoleSize":{"height":24,"width":80},
            "user":{"uid":1,"gid":2,"umask":18,"additionalGids":[3,4]},"oomScoreAdj":-5,
            "capabilities":{"bounding":["CAP_CHOWN","CAP_BPF"],"effective":[],"permitted":["CAP_CHOWN"]},
            "rlimits":[{"type":"RLIMIT_NOFILE","soft":1,"hard":18446744073709551615}],
            "scheduler":{"policy":"SCHED_BATCH","nice":-3,"flags":["SCHED_FLAG_RESET_ON_FORK"]},
            "ioPriority":{"class":"IOPRIO_CLASS_BE","priority":4},"noNewPrivileges":true,"selinuxLabel":"",
            "apparmorProfile":"x","execCPUAffinity":{"initial":"0-3,7"}"#,
        )
        .unwrap();
        assert_eq!((process.console_size, process.env.len()), (Some((24, 80)), 3));
        let user = User { uid: 1, gid: 2, additional_gids: vec![3, 4], umask: Some(0o22) };
        assert_eq!(process.user, user);
        assert_eq!((process.capabilities.bounding, process.capabilities.permitted), (1 | 1 << 39, 1));
        assert_eq!((process.rlimits[0].resource, process.rlimits[0].hard), (7, u64::MAX));
        let scheduler = process.scheduler.unwrap();
        assert_eq!((scheduler.value.policy, scheduler.value.nice, scheduler.value.flags), (3, -3, 1));
        assert_eq!(process.io_priority.unwrap().value, 2 << 13 | 4);
        assert_eq!(
            (process.selinux_label, process.apparmor_profile.unwrap().origin.0.as_ref()),
            (None, "/apparmorProfile")
        );
        assert_eq!(process.exec_cpu_affinity.0.unwrap().value.words, [0x8f]);
    }

    #[test]
    fn each_rule_names_its_place() {
        for (extra, message) in [
            (r#","env":["A"]"#, "/env/0: an environment entry without \"=\""),
            (r#","env":["A=","=x"]"#, "/env/1: an environment entry without a name"),
            (r#","user":{"uid":-1}"#, "/user/uid: expected a whole number from 0 to 4294967294"),
            (r#","user":{"umask":512}"#, "/user/umask: expected a whole number from 0 to 511"),
            (r#","rlimits":[{"type":"RLIMIT_NOFILES","soft":1,"hard":1}]"#, "/rlimits/0/type: unknown resource limit"),
            (r#","rlimits":[{"type":"RLIMIT_CPU","soft":2,"hard":1}]"#, "/rlimits/0: RLIMIT_CPU: the soft limit 2"),
            (r#","rlimits":[{"type":"RLIMIT_CPU","soft":2}]"#, "/rlimits/0/hard: missing"),
            (
                r#","capabilities":{"bounding":["NET_ADMIN"]}"#,
                "/capabilities/bounding/0: \"NET_ADMIN\" is no capability",
            ),
            (r#","capabilities":{"effective":["CAP_KILL"]}"#, "/capabilities: CAP_KILL is in the effective set"),
            (r#","scheduler":{"policy":"SCHED_OTHER","priority":1}"#, "/scheduler: priority is for"),
            (r#","scheduler":{"policy":"SCHED_RR","period":1}"#, "/scheduler: runtime, deadline and period"),
            (r#","scheduler":{}"#, "/scheduler/policy: missing"),
            (
                r#","scheduler":{"policy":"SCHED_FIFA"}"#,
                "/scheduler/policy: unknown scheduling policy \"SCHED_FIFA\" (did",
            ),
            (r#","ioPriority":{"class":"IOPRIO_CLASS_BE","priority":8}"#, "/ioPriority/priority: expected"),
            (r#","execCPUAffinity":{"final":"0-"}"#, "/execCPUAffinity/final: expected a list of processors"),
            (
                r#","execCPUAffinity":{"initial":"8192"}"#,
                "/execCPUAffinity/initial: processors have numbers from 0 to 8191",
            ),
            (r#","oomScoreAdj":1001"#, "/oomScoreAdj: expected a whole number from -1000 to 1000"),
            (r#","terminal":"yes""#, "/terminal: expected true or false, found the string \"yes\""),
        ] {
            let text = refusal(extra);
            assert!(text.starts_with(message), "{extra}\n{text}");
        }
    }

    #[test]
    fn program_and_directory_are_needed() {
        let refusal = |text: &str| read_process(text.as_bytes(), Unknown::Reported).unwrap_err().to_string();
        assert!(refusal(r#"{"cwd":"/"}"#).starts_with("/args: missing"));
        assert!(refusal(r#"{"cwd":"/","args":[]}"#).starts_with("/args: no program"));
        assert!(refusal(r#"{"cwd":"/","args":[""]}"#).starts_with("/args: no program"));
        assert!(refusal(r#"{"cwd":"x","args":["a"]}"#).starts_with("/cwd: the working directory must be absolute"));
        assert!(refusal(r#"{"args":["a"]}"#).starts_with("/cwd: missing"));
        assert!(refusal(r#"{"cwd":"/","args":["a\u0000"]}"#).starts_with("/args/0: the string has a NUL byte"));
    }

    #[test]
    fn newer_capabilities_are_warnings_and_vain_ambient_ones_left_out() {
        let text = r#"{"args":["a"],"cwd":"/","capabilities":{"bounding":["CAP_NEW_THING","CAP_SYS_ADMN"],
            "ambient":["CAP_KILL"]}}"#;
        let (process, warnings) = read_process(text.as_bytes(), Unknown::Reported).unwrap();
        assert_eq!(process.capabilities, Capabilities::default());
        assert_eq!(warnings[0], "/capabilities/bounding/0: unknown capability CAP_NEW_THING, left out");
        assert!(warnings[1].ends_with("CAP_SYS_ADMN, left out (did you mean \"CAP_SYS_ADMIN\"?)"));
        assert_eq!(warnings.len(), 2);
    }

    #[test]
    fn a_size_without_terminal_is_ignored() {
        assert_eq!(with(r#","consoleSize":{"height":24,"width":80}"#).unwrap().console_size, None);
        assert_eq!(with(r#","terminal":true,"consoleSize":{"height":0,"width":0}"#).unwrap().console_size, None);
    }
}
