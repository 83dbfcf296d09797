//! The arguments of checkpoint and restore.

use clap::ArgMatches;
use std::ffi::OsString;
use std::path::PathBuf;

use super::arguments::{CheckpointArguments, RestoreArguments};
use super::parse::{all, checked, choice, id, path, text};
use super::words;
use crate::checkpoint::{CgroupMode, NetworkLock, PageServer, Wishes};
use crate::error::{Error, Origin, Result};

/// The directory of images, if none is given: below the current one, as in runc and crun.
const IMAGES: &str = "checkpoint";

pub(super) fn checkpoint(matches: &ArgMatches) -> Result<CheckpointArguments> {
    let wishes = Wishes {
        tcp_skip_in_flight: matches.get_flag("tcp-skip-in-flight"),
        link_remap: matches.get_flag("link-remap"),
        page_server: checked(matches, "page-server", page_server)?,
        ..wishes(matches)?
    };
    let descriptor = |word: &str| match words::count(word)? as i32 {
        number @ 0.. if crate::host::is_inherited(number) => Ok(number),
        number => Err(Error::input(format!("descriptor {number} is not open"))),
    };
    Ok(CheckpointArguments {
        id: id(matches)?,
        image_path: path(matches, "image-path").unwrap_or_else(|| IMAGES.into()),
        work_path: path(matches, "work-path"),
        parent_path: path(matches, "parent-path"),
        pre_dump: matches.get_flag("pre-dump"),
        leave_running: matches.get_flag("leave-running"),
        status_fd: checked(matches, "status-fd", descriptor)?,
        wishes,
    })
}

pub(super) fn restore(matches: &ArgMatches) -> Result<RestoreArguments> {
    let profile = |word: &str| match word.split_once(':') {
        Some(("apparmor" | "selinux", name)) if !name.is_empty() => Ok(word.to_owned()),
        _ => Err(Error::input(format!("{word:?} is not apparmor:NAME or selinux:LABEL"))),
    };
    Ok(RestoreArguments {
        id: id(matches)?,
        bundle: path(matches, "bundle").unwrap_or_else(|| ".".into()),
        image_path: path(matches, "image-path").unwrap_or_else(|| PathBuf::from(IMAGES)),
        work_path: path(matches, "work-path"),
        console_socket: path(matches, "console-socket"),
        pid_file: path(matches, "pid-file"),
        detach: matches.get_flag("detach"),
        lsm_profile: checked(matches, "lsm-profile", profile)?,
        lsm_mount_context: text(matches, "lsm-mount-context")?.map(str::to_owned),
        wishes: wishes(matches)?,
    })
}

/// What both have.
fn wishes(matches: &ArgMatches) -> Result<Wishes> {
    let set = |name: &str| matches.get_flag(name);
    let cgroups = match choice(matches, "manage-cgroups-mode") {
        Some("full") => CgroupMode::Full,
        Some("strict") => CgroupMode::Strict,
        Some("ignore") => CgroupMode::Ignore,
        _ => CgroupMode::Soft,
    };
    let network_lock = match choice(matches, "network-lock") {
        Some("iptables") => Some(NetworkLock::Iptables),
        Some("nftables") => Some(NetworkLock::Nftables),
        Some("skip") => Some(NetworkLock::Skip),
        _ => None,
    };
    Ok(Wishes {
        tcp_established: set("tcp-established"),
        tcp_close: set("tcp-close"),
        ext_unix_sk: set("ext-unix-sk"),
        shell_job: set("shell-job"),
        lazy_pages: set("lazy-pages"),
        file_locks: set("file-locks"),
        auto_dedup: set("auto-dedup"),
        cgroups,
        empty_network: empty_network(&all(matches, "empty-ns"))?,
        network_lock,
        ..Wishes::default()
    })
}

/// The one namespace CRIU can leave empty.
fn empty_network(names: &[OsString]) -> Result<bool> {
    match names.iter().find(|name| *name != "network") {
        Some(other) => {
            let error =
                Error::input(format!("{other:?}: CRIU can leave the contents of the network namespace out only"));
            Err(error.at(&Origin::fixed("--empty-ns")))
        }
        None => Ok(!names.is_empty()),
    }
}

/// `ADDRESS:PORT`; an IPv6 address may be in brackets.
fn page_server(word: &str) -> Result<PageServer> {
    let wrong = || Error::input(format!("{word:?} is not ADDRESS:PORT"));
    let (address, port) = word.rsplit_once(':').ok_or_else(wrong)?;
    let address = address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address);
    let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
    if address.is_empty() { Err(wrong()) } else { Ok(PageServer { address: address.to_owned(), port }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, Exit, parse};

    fn parsed(line: &str) -> Result<Command, String> {
        let words = std::iter::once("kiste").chain(line.split_whitespace()).map(OsString::from);
        match parse(words) {
            Ok(invocation) => Ok(invocation.command),
            Err(Exit::Failure(error, _)) => Err(error.to_string()),
            Err(Exit::Help(_)) => Err("help".to_owned()),
        }
    }

    #[test]
    fn callers_command_lines() {
        let go_runc = "checkpoint --image-path /i --work-path /w --leave-running --tcp-established --ext-unix-sk --shell-job \
                       --file-locks --manage-cgroups-mode strict --empty-ns network --page-server [::1]:99 c";
        let Ok(Command::Checkpoint(arguments)) = parsed(go_runc) else { panic!("no checkpoint") };
        assert_eq!((arguments.image_path.as_path(), arguments.leave_running), ("/i".as_ref(), true));
        let wishes = &arguments.wishes;
        assert!(wishes.tcp_established && wishes.ext_unix_sk && wishes.shell_job && wishes.file_locks);
        assert_eq!((wishes.cgroups, wishes.empty_network), (CgroupMode::Strict, true));
        assert_eq!(wishes.page_server, Some(PageServer { address: "::1".into(), port: 99 }));

        let shim = "restore --image-path /i --work-path /w --manage-cgroups-mode soft --detach -no-subreaper \
                    --pid-file /p --console-socket /s --bundle /b c";
        let Ok(Command::Restore(arguments)) = parsed(shim) else { panic!("no restore") };
        assert!(arguments.detach && arguments.console_socket.is_some() && arguments.bundle.as_os_str() == "/b");
        let podman = "restore --detach --image-path /i --work-path /w --tcp-close --lsm-profile=apparmor:x \
                      --lsm-mount-context=y --bundle /b c";
        let Ok(Command::Restore(arguments)) = parsed(podman) else { panic!("no restore") };
        assert_eq!(arguments.lsm_profile.as_deref(), Some("apparmor:x"));
        assert!(arguments.wishes.tcp_close);
    }

    #[test]
    fn wrong_values_are_named() {
        for (line, place) in [
            ("checkpoint --page-server host c", "--page-server: "),
            ("checkpoint --page-server host:0 c", "--page-server: "),
            ("checkpoint --empty-ns mount c", "--empty-ns: "),
            ("checkpoint --status-fd 900 c", "--status-fd: "),
            ("restore --lsm-profile smack:x c", "--lsm-profile: "),
            ("checkpoint --manage-cgroups-mode hard c", "manage-cgroups-mode"),
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.contains(place), "{line}: {error}");
        }
    }
}
