//! bubblewrap's command lines under kiste called as `bwrap`, and, where it is installed, under bubblewrap itself: output and
//! status must be the same. Lines whose reason is not empty may differ, for that reason.

mod harness;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use harness::{as_user, only_kiste, requires, run_command};

/// A command line for sh(1), `$B` is bwrap; the status it must have; what its output must contain; why bubblewrap's may differ.
type Line = (&'static str, i32, &'static str, &'static str);

const LINES: &[Line] = &[
    ("$B --ro-bind / / sh -c 'exit 7'", 7, "", ""),
    ("$B --ro-bind / / sh -c 'kill -9 $$'", 137, "", ""),
    ("$B --ro-bind / / --unshare-pid sh -c 'kill -15 $$'", 143, "", ""),
    // Messages
    ("$B --bind", 1, "bwrap: --bind takes two arguments\n", ""),
    ("$B --uid", 1, "bwrap: --uid takes an argument\n", ""),
    ("$B --overlay a b", 1, "bwrap: --overlay takes three arguments\n", ""),
    ("$B --bogus", 1, "bwrap: Unknown option --bogus\n", ""),
    ("$B --level-prefix --bogus", 1, "<3>bwrap: Unknown option --bogus\n", ""),
    ("$B --ro-bind /nope / true", 1, "bwrap: Can't find source path /nope: No such file or directory\n", ""),
    ("PATH=/usr/bin $B --ro-bind / / nonexist", 1, "bwrap: execvp nonexist: No such file or directory\n", ""),
    ("$B --ro-bind / / /etc/passwd", 1, "bwrap: execvp /etc/passwd: Permission denied\n", ""),
    ("$B --ro-bind / / --chdir /nope pwd", 1, "bwrap: Can't chdir to /nope: No such file or directory\n", ""),
    ("$B --hostname x --ro-bind / / true", 1, "bwrap: Specifying --hostname requires --unshare-uts\n", ""),
    ("$B --as-pid-1 --ro-bind / / true", 1, "bwrap: Specifying --as-pid-1 requires --unshare-pid\n", ""),
    ("$B --as-pid-1 --unshare-pid --lock-file /usr/bin/env --ro-bind / / true", 1, "--as-pid-1 and --lock-file", ""),
    ("$B --perms abc --dir /x true", 1, "bwrap: --perms takes an octal argument <= 07777\n", ""),
    ("$B --perms 0700 --bind / / true", 1, "bwrap: --perms must be followed by an option that creates a file\n", ""),
    ("$B --size 4 --dir /x true", 1, "bwrap: --size must be followed by --tmpfs\n", ""),
    ("$B --size 0 --tmpfs /x true", 1, "bwrap: --size takes a non-zero number of bytes\n", ""),
    ("$B --bind '' / true", 1, "bwrap: --bind does not take an empty path argument\n", "older ones look for it"),
    ("$B --cap-add FOO true", 1, "bwrap: unknown cap: FOO\n", ""),
    ("$B --lock-file /nope --ro-bind / / sleep 5", 1, "bwrap: Unable to open lock file /nope: No such file", ""),
    ("echo abc | $B --seccomp 0 --ro-bind / / true", 1, "Invalid seccomp data, must be multiple of 8\n", ""),
    ("$B", 1, "usage: ", "the help lines are kiste's own"),
    ("$B --exec-label x --ro-bind / / true", 1, "labeling not supported on this system", "a hint follows"),
    // What kiste has not learned is refused by its name, never ignored.
    ("$B --userns 0 --ro-bind / / true </proc/self/ns/user", 1, "--userns is not supported", "kiste refuses it"),
    ("$B --userns2 0 --ro-bind / / true </proc/self/ns/user", 1, "--userns2 is not supported", "kiste refuses it"),
    ("$B --pidns 0 --ro-bind / / true </proc/self/ns/pid", 1, "--pidns is not supported", "kiste refuses it"),
    ("$B --userns-block-fd 0 --ro-bind / / true", 1, "--userns-block-fd is not supported", "kiste refuses it"),
    ("$B --overlay-src /usr --tmp-overlay /usr true", 1, "overlays are not supported", "kiste refuses them"),
    // The environment and the directory
    ("$B --clearenv --setenv A b --ro-bind / / --chdir /etc/../usr env", 0, "A=b\nPWD=/etc/../usr\n", ""),
    ("$B --ro-bind / / --tmpfs /home --chdir /home env | grep ^PWD=", 0, "PWD=/home\n", ""),
    // Files
    ("$B --ro-bind / / --tmpfs /tmp --perms 0700 --dir /tmp/a/b/c stat -c %a /tmp/a /tmp/a/b/c", 0, "700\n700\n", ""),
    ("$B --ro-bind / / --tmpfs /tmp --perms 0750 --dir /tmp/a/b stat -c %a /tmp/a", 0, "750\n", ""),
    ("$B --ro-bind / / --tmpfs /tmp --ro-bind-fd 5 /tmp/x ls -d /tmp/x/bin 5</usr", 0, "/tmp/x/bin\n", ""),
    ("echo data | $B --ro-bind / / --tmpfs /tmp --file 0 /tmp/f cat /tmp/f", 0, "data\n", ""),
    ("$B --ro-bind / / sh -c 'cat <&7' 7</etc/hostname >/dev/null", 0, "", ""),
    ("$B --ro-bind / / --block-fd 7 sh -c 'cat <&7' 7</etc/hostname 2>/dev/null", 2, "", ""),
    // Telling, waiting
    ("$B --ro-bind / / --unshare-all --info-fd 1 sh -c 'exit 3'", 3, "\"child-pid\": ", ""),
    ("$B --ro-bind / / --unshare-all --json-status-fd 1 sh -c 'exit 3'", 3, "{ \"exit-code\": 3 }\n", ""),
    ("$B --ro-bind / / --unshare-uts --json-status-fd 1 sh -c 'kill -9 $$'", 137, "{ \"exit-code\": 137 }\n", ""),
    ("$B --ro-bind / / --json-status-fd 1 nonexist 2>/dev/null | grep -c .", 0, "1\n", ""),
    ("(sleep 0.3; echo first; echo >&3) 3>&1 | $B --ro-bind / / --block-fd 0 echo second", 0, "second\n", ""),
    // A filter that lets everything through, and one that kills the process: BPF_RET of ALLOW and of KILL_PROCESS.
    (
        r"printf '\006\000\000\000\000\000\377\177' | $B --ro-bind / / --seccomp 0 grep -h Seccomp: /proc/self/status",
        0,
        "Seccomp:\t2\n",
        "",
    ),
    // The command's end is bwrap's, its children go on, and --sync-fd is open until the last has ended.
    (
        "$B --dev-bind / / --unshare-pid --sync-fd 5 sh -c 'sleep 0.6 & exit 5' 5>&1 >/dev/null | (cat; echo end) & sleep 0.3; echo first; wait",
        0,
        "first\nend\n",
        "",
    ),
    (
        "$B --dev-bind / / --unshare-pid sh -c '(sleep 0.4; echo late) & exit 0'; echo now; sleep 1",
        0,
        "now\nlate\n",
        "",
    ),
    ("$B --ro-bind / / --lock-file /etc/passwd sh -c 'exit 4'", 4, "", ""),
    // Rights
    ("$B --ro-bind / / --unshare-user --disable-userns --assert-userns-disabled unshare -U true", 1, "unshare", ""),
    ("$B --ro-bind / / --unshare-user --assert-userns-disabled true", 1, "was not disabled as requested\n", ""),
    (
        "$B --ro-bind / / --unshare-user --uid 5 grep -E 'Cap(Eff|Inh|Amb)' /proc/self/status",
        0,
        "CapEff:\t0000000000000000",
        "",
    ),
    (
        "$B --ro-bind / / --unshare-user --cap-drop ALL --cap-add cap_chown grep -E 'Cap(Eff|Inh|Amb)' /proc/self/status",
        0,
        "CapEff:\t0000000000000001",
        "",
    ),
    ("$B --ro-bind / / --cap-add ALL grep -E 'CapEff' /proc/self/status", 0, "CapEff:", ""),
    ("$B --ro-bind / / --unshare-user --cap-drop ALL grep CapEff /proc/self/status", 0, "0000000000000000", ""),
];

/// What programs are known to call bubblewrap with, shortened to paths that every Debian has.
const USERS: &[Line] = &[
    // Flatpak: arguments by descriptor, data files, a merged /usr, the app's status by --info-fd, filter, --sync-fd.
    (
        r"printf '%s\0' --unshare-pid --unshare-ipc --proc /proc --dev /dev --tmpfs /tmp --dir /run/user/1000 \
            --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 \
            --setenv XDG_RUNTIME_DIR /run/user/1000 --unsetenv LD_PRELOAD --die-with-parent >$D/args
          echo '[Application]' | $B --args 9 --perms 0600 --ro-bind-data 0 /.flatpak-info --sync-fd 8 -- \
            sh -c 'cat /.flatpak-info; ls /; echo $XDG_RUNTIME_DIR; echo $$' 9<$D/args 8</dev/null",
        0,
        "[Application]\n",
        "",
    ),
    // nixpkgs' buildFHSEnv: the host's /dev and everything of / bound one by one.
    (
        "$B --dev-bind /dev /dev --proc /proc --chdir /usr --die-with-parent --ro-bind-try /nix /nix --tmpfs /etc \
         --ro-bind /etc/passwd /etc/passwd --symlink /etc/mtab2 /etc/mtab --ro-bind /usr /usr --symlink /usr/bin /bin \
         --symlink /usr/lib /lib --symlink /usr/lib64 /lib64 --bind-try /nope /nope sh -c 'pwd; ls /etc; test -w /dev/null'",
        0,
        "/usr\n",
        "",
    ),
    // Coding agents (Claude Code's sandbox-runtime, Codex): everything read-only, the project writable, no network.
    (
        "mkdir -p $D/project; $B --new-session --die-with-parent --ro-bind / / --bind $D/project $D/project --dev /dev \
         --unshare-net --unshare-pid --proc /proc --chdir $D/project -- \
         sh -c 'touch here; ls; touch /etc/not 2>/dev/null || echo kept; wc -l </proc/net/route'",
        0,
        "here\nkept\n",
        "",
    ),
    // opam's sandbox.sh, `build`.
    (
        "mkdir -p $D/tmp; $B --unshare-net --new-session --proc /proc --dev /dev --bind $D/tmp /tmp --setenv TMPDIR /tmp \
         --setenv TMP /tmp --tmpfs /run --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib \
         --symlink usr/lib64 /lib64 --ro-bind /etc /etc --die-with-parent sh -c 'echo $TMPDIR; ls /run; touch /tmp/x; ls /'",
        0,
        "/tmp\n",
        "",
    ),
    // Steam's pressure-vessel: the runtime as /usr, the host below /run/host, a lock, no boundary.
    (
        "$B --not-a-security-boundary --bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib \
         --symlink usr/lib64 /lib64 --ro-bind /usr /run/host/usr --ro-bind /etc /run/host/etc --lock-file /usr/bin/env \
         --tmpfs /var --perms 0755 --dir /var/lib --dev-bind /dev /dev --proc /proc --cap-drop ALL --unshare-pid \
         sh -c 'ls /run/host /var; echo $$'",
        0,
        "/run/host:\n",
        "",
    ),
];

/// A folder with `bwrap` in it, which is kiste; removed at the end.
struct Ground(PathBuf);

impl Ground {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let parent = std::env::var_os("KISTE_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("kiste-bwrap-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        std::os::unix::fs::symlink(harness::runtime_path(), path.join("bwrap")).unwrap();
        Ground(path)
    }

    /// Status and output, with what names a process or namespace made the same.
    fn run(&self, bwrap: &str, line: &str) -> (i32, String) {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec 2>&1\n{line}")]).env("B", bwrap).env("D", &self.0).stdin(Stdio::null());
        let output = run_command(command.current_dir("/"), &self.0, 30.0);
        let text: String = output.out.lines().filter(|line| !line.contains("libselinux")).map(plain).collect();
        (output.code, text)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn plain(line: &str) -> String {
    let numbers = line.contains("child-pid") || line.contains("-namespace");
    line.chars().map(|letter| if numbers && letter.is_ascii_digit() { '0' } else { letter }).chain(['\n']).collect()
}

fn is_installed() -> bool {
    Command::new("bwrap").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Numbers whose length differs are the same, too.
fn squeezed(text: &str) -> String {
    text.split('0').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("0")
}

fn compare(lines: &[Line]) {
    let ground = Ground::new();
    let ours = ground.0.join("bwrap").display().to_string();
    let theirs = is_installed();
    let mut wrong = String::new();
    for (line, status, words, reason) in lines {
        let found = ground.run(&ours, line);
        if found.0 != *status || !found.1.contains(words) {
            wrong += &format!("{line}\n  wanted {status}: {words:?}\n  found  {}: {:?}\n", found.0, found.1);
        }
        if theirs && reason.is_empty() {
            let wanted = ground.run("bwrap", line);
            // Debian's may be older than an option.
            if wanted.1.contains("Unknown option") {
                continue;
            }
            if (wanted.0, squeezed(&wanted.1)) != (found.0, squeezed(&found.1)) {
                wrong += &format!("{line}\n  bwrap {}: {:?}\n  kiste {}: {:?}\n", wanted.0, wanted.1, found.0, found.1);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn lines_mean_the_same_to_root() {
    only_kiste!();
    requires!(harness::host::is_root(), "needs root");
    compare(LINES);
}

#[test]
fn lines_mean_the_same_to_a_plain_user() {
    only_kiste!();
    as_user!();
    compare(LINES);
}

#[test]
fn users_of_bubblewrap_do_not_notice_as_root() {
    only_kiste!();
    requires!(harness::host::is_root(), "needs root");
    compare(USERS);
}

#[test]
fn users_of_bubblewrap_do_not_notice_as_a_plain_user() {
    only_kiste!();
    as_user!();
    compare(USERS);
}

/// SIGTERM ends bwrap; the sandbox goes with it where --die-with-parent says so, and stays else.
#[test]
fn the_sandbox_ends_with_bwrap_if_it_shall() {
    only_kiste!();
    let ground = Ground::new();
    let ours = ground.0.join("bwrap").display().to_string();
    for (option, left) in [("--die-with-parent", "gone\n"), ("--unshare-uts", "there\n")] {
        let line = format!(
            "$B --ro-bind / / {option} --unshare-pid --json-status-fd 3 sleep 3 3>$D/status & sleep 0.5; kill $!; wait $! 2>&-; \
             sleep 0.3; pid=$(sed -n 's/.*\"child-pid\": \\([0-9]*\\).*/\\1/p' $D/status); \
             if grep -q '^State:.[^Z]' /proc/$pid/status; then echo there; kill -9 $pid; else echo gone; fi 2>&-"
        );
        let found = ground.run(&ours, &line);
        assert!(found.0 == 0 && found.1.ends_with(left), "{option}: {found:?}");
    }
}
