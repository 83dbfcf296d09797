//! `--version`.
//!
//! Who reads it, and how (looked up in their sources): go-runc, and so containerd and BuildKit, take the first line only
//! if it starts with `runc version `, and then `commit: ` and `spec: ` lines wherever they stand; Docker takes what is
//! behind the last `version` of any line, and `commit:`; podman and CRI-O show everything as it is. Therefore the first
//! line says `runc version` unless kiste is called as crun, its number is the release whose command line and behaviour
//! kiste offers with kiste's own version behind a plus (as Debian marks its builds), and no other line contains the word.

use super::arguments::CalledAs;

/// The newest runtime specification kiste knows.
pub const SPECIFICATION: &str = "1.3.0";

/// The releases whose command line kiste offers.
pub const LIKE_RUNC: &str = "1.3.0";
const LIKE_CRUN: &str = "1.28";

/// kiste's own version.
pub const OWN: &str = env!("CARGO_PKG_VERSION");

/// What kiste was built from: a commit if the builder says so, else the release.
pub const COMMIT: &str = match option_env!("KISTE_COMMIT") {
    Some(commit) => commit,
    None => concat!("v", env!("CARGO_PKG_VERSION")),
};

/// Capabilities as crun's last line shows them.
const CAN: &str = "+SYSTEMD +SELINUX +APPARMOR +CAP +SECCOMP +EBPF";

/// The text of `--version`.
pub fn text(called_as: CalledAs) -> String {
    let first = match called_as {
        CalledAs::Crun => format!("crun version {LIKE_CRUN}+kiste{OWN}"),
        CalledAs::Kiste | CalledAs::Runc | CalledAs::Bwrap => format!("runc version {LIKE_RUNC}+kiste{OWN}"),
    };
    format!("{first}\ncommit: {COMMIT}\nspec: {SPECIFICATION}\n{CAN}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// go-runc's parseVersion, in Rust.
    fn as_go_runc_reads(text: &str) -> Option<(String, String, String)> {
        let mut lines = text.trim().split('\n');
        let version = lines.next()?.strip_prefix("runc version ")?.to_owned();
        let (mut commit, mut spec) = (String::new(), String::new());
        for line in lines {
            if let Some(rest) = line.strip_prefix("commit: ") {
                commit = rest.into();
            } else if let Some(rest) = line.strip_prefix("spec: ") {
                spec = rest.into();
            }
        }
        Some((version, commit, spec))
    }

    #[test]
    fn every_reader_finds_its_version() {
        for called_as in [CalledAs::Kiste, CalledAs::Runc] {
            let (version, commit, spec) = as_go_runc_reads(&text(called_as)).unwrap();
            assert_eq!(version, format!("1.3.0+kiste{OWN}"));
            assert!(!commit.is_empty());
            assert_eq!(spec, SPECIFICATION);
        }
        assert!(text(CalledAs::Crun).starts_with("crun version 1."));
        for called_as in [CalledAs::Kiste, CalledAs::Crun] {
            // Docker: the last line with the word wins.
            let all = text(called_as);
            let named: Vec<&str> = all.lines().filter(|line| line.contains("version")).collect();
            assert_eq!(named, [all.lines().next().unwrap()]);
        }
    }
}
