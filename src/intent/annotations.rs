//! The annotations that mean something to kiste: one table of key, effect and help, from which the reader, `features` and the
//! manual (kiste-annotations(5)) come.
//!
//! They are crun's `run.oci.*` and systemd's properties, which runc has too. What kiste can't give is refused by name and not
//! passed over: whoever asks for a handler or a raw filter gets it or an error. Any other annotation is the caller's own.

use std::collections::BTreeMap;

use super::from_oci::nearest;
use super::{Intent, Placed};
use crate::error::{Error, Origin, Result};

/// What annotations ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// A file that all hooks' standard output is appended to.
    pub hooks_stdout: Option<Placed<String>>,
    /// The same for their standard error.
    pub hooks_stderr: Option<Placed<String>>,
    /// The payload keeps the groups that the runtime has.
    pub keep_groups: Option<Origin>,
    /// A socket that gets a pidfd of the first process.
    pub pidfd_receiver: Option<Placed<String>>,
    /// The option that the mount label is given by; `context` if unset.
    pub mount_context: Option<&'static str>,
    /// A filter as seccomp(2) takes it, in the place of a profile.
    pub raw_filter: Option<Placed<Vec<u8>>>,
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// [`Extensions::hooks_stdout`].
    HooksStdout,
    /// [`Extensions::hooks_stderr`].
    HooksStderr,
    /// [`Extensions::keep_groups`].
    KeepGroups,
    /// [`Extensions::pidfd_receiver`].
    PidfdReceiver,
    /// [`Extensions::mount_context`].
    MountContext,
    /// [`Extensions::raw_filter`].
    RawFilter,
    /// The profile's listenerPath.
    Receiver,
    /// An unknown system call in the profile is an error.
    FailUnknown,
    /// Properties of the systemd scope: read where the scope is planned.
    SystemdProperty,
    /// A file of options for CRIU: read when the container is checkpointed or restored.
    Criu,
    /// Accepted with an empty value only, which is what kiste does.
    EmptyOnly(&'static str),
    /// Refused: why.
    Refused(&'static str),
    /// Refused unless the value is the one word that leaves the choice.
    Wasm,
}

/// A line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The annotation's key; with a dot at its end, the beginning of many.
    pub key: &'static str,
    /// What it does.
    pub effect: Effect,
    /// What follows the equals sign in the manual.
    pub value: &'static str,
    /// Sentences for the manual.
    pub help: &'static str,
}

const fn row(key: &'static str, effect: Effect, value: &'static str, help: &'static str) -> Row {
    Row { key, effect, value, help }
}

/// All keys, in the alphabet's order.
pub static TABLE: &[Row] = &[
    row(
        "module.wasm.image/variant",
        Effect::Wasm,
        "compat-smart",
        "compat and any other word ask for a WebAssembly handler, which kiste does not have: that is refused. compat-smart \
         leaves the choice to the runtime and is accepted.",
    ),
    row(
        "org.criu.config",
        Effect::Criu,
        "FILE",
        "Further options for CRIU are read from this file of the host: see kiste-checkpoint(1).",
    ),
    row(
        "org.systemd.property.",
        Effect::SystemdProperty,
        "VALUE",
        "Sets a property of the container's systemd scope; the rest of the key is its name (TimeoutStopUSec). VALUE is \
         GVariant text: true, 5, 1.5, 'text', a number with its type before it (uint64 5; byte, int16, uint16, int32, uint32, \
         int64, uint64, double), lists and tuples of all these ([('/dev/sda', uint64 1000)]), and any of them with a \
         signature before it (@a(st) []). Dictionaries, maybes and variants are refused. A property whose name ends in Sec is given in seconds and becomes the one that ends in USec. Without \
         --systemd-cgroup it has no effect.",
    ),
    row(
        "run.oci.delegate-cgroup",
        Effect::EmptyOnly("the container's own cgroup is given to it whole where its cgroup mount is writable"),
        "",
        "Only an empty value is accepted: a container that mounts its cgroup writable owns its cgroup itself.",
    ),
    row(
        "run.oci.handler",
        Effect::Refused("kiste executes programs itself and has no handlers: neither krun nor any for WebAssembly"),
        "HANDLER",
        "Refused: kiste has no handlers.",
    ),
    row(
        "run.oci.hooks.stderr",
        Effect::HooksStderr,
        "FILE",
        "The standard error of all hooks is appended to this file of the host, which is made if it is missing.",
    ),
    row(
        "run.oci.hooks.stdout",
        Effect::HooksStdout,
        "FILE",
        "The standard output of all hooks is appended to this file of the host, which is made if it is missing.",
    ),
    row(
        "run.oci.keep_original_groups",
        Effect::KeepGroups,
        "1",
        "The container's process keeps the supplementary groups that kiste was started with, and additionalGids has no \
         effect. Files of these groups are open to it, though in a user namespace they show as the overflow group.",
    ),
    row(
        "run.oci.mount_context_type",
        Effect::MountContext,
        "TYPE",
        "The mount option that linux.mountLabel is given by: context (the default), fscontext, defcontext or \
         rootcontext, as in mount(8).",
    ),
    row(
        "run.oci.pidfd_receiver",
        Effect::PidfdReceiver,
        "SOCKET",
        "A pidfd of the container's first process is sent to this AF_UNIX socket, as with --pidfd-socket, which goes \
         before it.",
    ),
    row(
        "run.oci.seccomp.plugins",
        Effect::Refused("kiste loads no code into itself: name an agent's socket in linux.seccomp.listenerPath"),
        "PLUGINS",
        "Refused: kiste loads no plugins.",
    ),
    row(
        "run.oci.seccomp.receiver",
        Effect::Receiver,
        "SOCKET",
        "Takes the place of linux.seccomp.listenerPath: the absolute path of the socket that the seccomp listener is \
         sent to. $RUN_OCI_SECCOMP_RECEIVER is heeded where neither is there.",
    ),
    row(
        "run.oci.seccomp_bpf_data",
        Effect::RawFilter,
        "BASE64",
        "A filter as seccomp(2) takes it, in base64; linux.seccomp is then ignored. It is checked as the kernel would: \
         its length, its instructions, its jumps; and that it allows the calls that kiste still makes after it.",
    ),
    row(
        "run.oci.seccomp_fail_unknown_syscall",
        Effect::FailUnknown,
        "1",
        "A system call that kiste does not know is an error in linux.seccomp; otherwise its rule is left out.",
    ),
    row(
        "run.oci.systemd.force_cgroup_v1",
        Effect::Refused(
            "a cgroup v1 hierarchy of systemd's own on a machine with cgroup v2 is for systemd older than 226",
        ),
        "PATH",
        "Refused: every systemd since 226 runs on cgroup v2.",
    ),
    row(
        "run.oci.systemd.subgroup",
        Effect::EmptyOnly("the container's processes are in the scope itself"),
        "",
        "Only an empty value is accepted: kiste makes no sub-group in the scope.",
    ),
];

/// Keys that reach the host: callers that let users set annotations must know them (features.md of the runtime-spec).
pub fn unsafe_keys() -> impl Iterator<Item = &'static str> {
    TABLE.iter().filter(|row| row.effect.is_unsafe()).map(|row| row.key)
}

impl Effect {
    /// Whether it reaches beyond the container, or loosens what confines it. What is refused does nothing.
    fn is_unsafe(self) -> bool {
        !matches!(self, Effect::Refused(_) | Effect::EmptyOnly(_) | Effect::Wasm | Effect::FailUnknown)
    }
}

fn find(key: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| key == row.key || (row.key.ends_with('.') && key.starts_with(row.key)))
}

/// Applies a container's annotations to its intent.
///
/// # Errors
/// A value that its key does not take, or something that kiste can't give, at `/annotations/KEY`.
pub fn apply(intent: &mut Intent) -> Result<()> {
    let annotations: BTreeMap<String, String> = intent.annotations.clone();
    for (key, value) in &annotations {
        // `/` and `~` in a JSON pointer (RFC 6901).
        let origin = Origin::fixed("/annotations").child(key.replace('~', "~0").replace('/', "~1"));
        match find(key) {
            Some(row) => effect(intent, row.effect, value, &origin).map_err(|error| error.at(&origin))?,
            // Others may mean something to a newer crun or to the caller; one that is nearly ours is a mistake.
            None if key.starts_with("run.oci.") => {
                if let Some(word) = nearest(key, TABLE.iter().map(|row| row.key)) {
                    intent.warnings.push(format!("{origin}: unknown, ignored (did you mean {word:?}?)"));
                }
            }
            None => {}
        }
    }
    Ok(())
}

fn effect(intent: &mut Intent, effect: Effect, value: &str, origin: &Origin) -> Result<()> {
    let extensions = &mut intent.extensions;
    let placed = |value: String| Some(Placed { value, origin: origin.clone() });
    match effect {
        Effect::HooksStdout => extensions.hooks_stdout = placed(absolute(value)?),
        Effect::HooksStderr => extensions.hooks_stderr = placed(absolute(value)?),
        Effect::PidfdReceiver => extensions.pidfd_receiver = placed(absolute(value)?),
        Effect::KeepGroups => {
            extensions.keep_groups = yes(value)?.then(|| origin.clone());
            let groups = intent.process.as_ref().map_or(&[][..], |process| &process.user.additional_gids);
            if extensions.keep_groups.is_some() && !groups.is_empty() {
                let note = "/process/user/additionalGids: without effect, as the original groups are kept";
                intent.warnings.push(note.into());
            }
        }
        Effect::MountContext => {
            const TYPES: [&str; 4] = ["context", "fscontext", "defcontext", "rootcontext"];
            let found = TYPES.into_iter().find(|word| *word == value);
            extensions.mount_context = Some(found.ok_or_else(|| {
                Error::input(format!("unknown type {value:?}")).hint(format!("known: {}", TYPES.join(", ")))
            })?);
        }
        Effect::RawFilter => {
            let bytes = base64(value).ok_or_else(|| Error::input("this is not base64 (RFC 4648)"))?;
            extensions.raw_filter = Some(Placed { value: bytes, origin: origin.clone() });
            intent.seccomp = None;
        }
        Effect::Receiver => {
            let path = absolute(value)?;
            if let Some(profile) = &mut intent.seccomp {
                profile.listener_path = Some(path);
            }
        }
        Effect::FailUnknown if yes(value)? => unknown_calls(intent)?,
        Effect::FailUnknown | Effect::SystemdProperty | Effect::Criu => {}
        Effect::EmptyOnly(why) if !value.is_empty() => {
            return Err(Error::input("kiste makes no such sub-group").hint(why));
        }
        Effect::EmptyOnly(_) => {}
        Effect::Refused(why) => return Err(Error::input("kiste can't give that").hint(why)),
        Effect::Wasm if value == "compat-smart" => {}
        Effect::Wasm => {
            let error = Error::input(format!("{value:?} asks for a WebAssembly handler, and kiste has none"));
            return Err(error.hint("a runtime that has one must run this container"));
        }
    }
    Ok(())
}

fn absolute(value: &str) -> Result<String> {
    match value.starts_with('/') && !value.contains('\0') {
        true => Ok(value.to_owned()),
        false => Err(Error::input(format!("{value:?} is no absolute path"))),
    }
}

/// crun heeds the key alone; `0` and `false` can only mean no.
fn yes(value: &str) -> Result<bool> {
    match value {
        "1" | "true" | "" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(Error::input(format!("{value:?} is neither 1 nor 0"))),
    }
}

fn unknown_calls(intent: &Intent) -> Result<()> {
    for rule in intent.seccomp.iter().flat_map(|profile| &profile.rules) {
        for (index, name) in rule.names.iter().enumerate() {
            if !crate::seccomp::is_known(name) {
                let error = Error::input(format!("unknown system call {name:?}"));
                return Err(error.at(&rule.origin.child("names").child(index)));
            }
        }
    }
    Ok(())
}

/// RFC 4648, with or without padding and with white space between lines.
fn base64(text: &str) -> Option<Vec<u8>> {
    let text: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let end = text.iter().position(|byte| *byte == b'=').unwrap_or(text.len());
    let (digits, padding) = text.split_at(end);
    if padding.len() > 2 || padding.iter().any(|byte| *byte != b'=') || digits.len() % 4 == 1 {
        return None;
    }
    if !padding.is_empty() && text.len() % 4 != 0 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    let (mut word, mut bits) = (0u32, 0);
    for byte in digits {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        (word, bits) = (word << 6 | u32::from(six), bits + 6);
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits) as u8);
        }
    }
    (word & ((1 << bits) - 1) == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn intent(annotations: serde_json::Value, rest: serde_json::Value) -> Result<Intent> {
        let mut config = serde_json::json!({
            "ociVersion": "1.2.0", "root": { "path": "r" }, "annotations": annotations,
            "process": { "args": ["sh"], "cwd": "/", "user": { "uid": 0, "gid": 0, "additionalGids": [7] } },
        });
        if let (Some(config), Some(rest)) = (config.as_object_mut(), rest.as_object()) {
            config.extend(rest.clone());
        }
        crate::intent::from_oci::from_oci(config.to_string().as_bytes(), Path::new("/b"))
    }

    fn one(key: &str, value: &str) -> Result<Intent> {
        intent(serde_json::json!({ key: value }), serde_json::json!({}))
    }

    #[test]
    fn the_table_is_sorted() {
        assert!(TABLE.windows(2).all(|pair| pair[0].key < pair[1].key));
        assert!(TABLE.iter().all(|row| row.help.ends_with('.')));
    }

    #[test]
    fn wrong_values_are_named_by_their_key() {
        for (key, value, message) in [
            ("run.oci.hooks.stdout", "log", "/annotations/run.oci.hooks.stdout: \"log\" is no absolute path"),
            ("run.oci.pidfd_receiver", "", "/annotations/run.oci.pidfd_receiver: \"\" is no absolute path"),
            ("run.oci.seccomp.receiver", "agent", "/annotations/run.oci.seccomp.receiver: \"agent\" is no absolute"),
            ("run.oci.keep_original_groups", "maybe", "\"maybe\" is neither 1 nor 0"),
            ("run.oci.mount_context_type", "ctx", "unknown type \"ctx\" (known: context, fscontext"),
            ("run.oci.seccomp_bpf_data", "A", "this is not base64"),
            ("run.oci.handler", "krun", "/annotations/run.oci.handler: kiste can't give that (kiste executes"),
            ("run.oci.systemd.subgroup", "x", "kiste makes no such sub-group"),
            ("run.oci.delegate-cgroup", "x", "kiste makes no such sub-group"),
            ("run.oci.systemd.force_cgroup_v1", "/x", "kiste can't give that"),
            ("run.oci.seccomp.plugins", "/x.so", "kiste can't give that"),
            ("module.wasm.image/variant", "compat", "/annotations/module.wasm.image~1variant: \"compat\" asks for"),
        ] {
            let error = one(key, value).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
        assert!(
            one("module.wasm.image/variant", "compat-smart").is_ok() && one("run.oci.systemd.subgroup", "").is_ok()
        );
    }

    #[test]
    fn what_is_asked_for_is_in_the_intent() {
        let extensions = one("run.oci.hooks.stderr", "/log").unwrap().extensions;
        assert_eq!(extensions.hooks_stderr.map(|path| path.value).as_deref(), Some("/log"));
        let kept = one("run.oci.keep_original_groups", "1").unwrap();
        assert!(kept.extensions.keep_groups.is_some() && kept.warnings[0].contains("additionalGids"));
        assert!(one("run.oci.keep_original_groups", "0").unwrap().extensions.keep_groups.is_none());
        let near = one("run.oci.hooks.stdour", "/log").unwrap();
        assert!(near.warnings[0].contains("did you mean \"run.oci.hooks.stdout\""), "{:?}", near.warnings);
        assert!(one("org.example.anything", "x").unwrap().warnings.is_empty());
    }

    #[test]
    fn the_profile_is_changed() {
        let profile = serde_json::json!({ "linux": { "seccomp": {
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/other",
            "syscalls": [{ "names": ["getcwd", "no_such_call"], "action": "SCMP_ACT_NOTIFY" }],
        } } });
        let with = |key: &str, value: &str| intent(serde_json::json!({ key: value }), profile.clone());
        let path = with("run.oci.seccomp.receiver", "/agent").unwrap().seccomp.unwrap().listener_path;
        assert_eq!(path.as_deref(), Some("/agent"));
        let error = with("run.oci.seccomp_fail_unknown_syscall", "1").unwrap_err().to_string();
        assert_eq!(error, "/linux/seccomp/syscalls/0/names/1: unknown system call \"no_such_call\"");
        let raw = with("run.oci.seccomp_bpf_data", "BgAAAAAA/38=").unwrap();
        assert_eq!(raw.extensions.raw_filter.unwrap().value, [6, 0, 0, 0, 0, 0, 0xff, 0x7f]);
        assert!(raw.seccomp.is_none());
    }

    #[test]
    fn base64_is_read_strictly() {
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zg", "f"), ("Zm8=", "fo"), ("Zm9v\nYmFy", "foobar")] {
            assert_eq!(base64(text).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        for wrong in ["Z", "Zg=", "Zg===", "Zh==", "Z*==", "=Zg="] {
            assert_eq!(base64(wrong), None, "{wrong}");
        }
    }
}
