//! libseccomp as an oracle: a C program, compiled here, takes descriptions of filters and prints their instructions.

use kiste::seccomp::{Action, Architecture, Instruction, Operator, Profile, syscall_number};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A filter of libseccomp and the rules it did not take.
pub struct Filter {
    /// The instructions.
    pub program: Vec<Instruction>,
    /// Whether libseccomp refused a rule (two actions under the same conditions).
    pub refused: bool,
}

impl Filter {
    /// Whether every ABI's part begins with loading the number (or with an answer). libseccomp 2.5.4 sometimes forgets
    /// to, when x32 is among the ABIs, and then compares AUDIT_ARCH with system call numbers.
    pub fn is_sound(&self) -> bool {
        const AUDITS: [u32; 5] = [0xC000_003E, 0x4000_0003, 0xC000_00B7, 0x4000_0028, 0xC000_00F3];
        let starts = |at: usize| self.program.get(at).is_some_and(|i| matches!(i.code, 0x20 | 0x06));
        let mut at = 1;
        while let Some(Instruction { code: 0x15, jt, jf, .. }) = self.program.get(at).filter(|i| AUDITS.contains(&i.k))
        {
            if !starts(at + 1 + usize::from(*jt)) {
                return false;
            }
            at += 1 + usize::from(*jf);
        }
        true
    }
}

/// The compiled oracle; removed with its folder when dropped.
pub struct Oracle {
    folder: PathBuf,
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Oracle {
    /// Compiles the oracle, or tells why that is impossible here.
    pub fn compile(test: &str) -> Result<Oracle, String> {
        let folder = std::env::temp_dir().join(format!("kiste-seccomp-{}-{test}", std::process::id()));
        std::fs::create_dir(&folder).map_err(|e| format!("cannot create {}: {e}", folder.display()))?;
        let oracle = Oracle { folder };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seccomp/libseccomp.c");
        let compiler = Command::new("gcc").arg("-o").arg(oracle.program()).arg(source).arg("-lseccomp").output();
        match compiler {
            Ok(output) if output.status.success() => Ok(oracle),
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stderr);
                Err(format!("no libseccomp-dev: {}", text.lines().next().unwrap_or_default()))
            }
            Err(e) => Err(format!("no gcc: {e}")),
        }
    }

    fn program(&self) -> PathBuf {
        self.folder.join("oracle")
    }

    /// The filters libseccomp makes of profiles, called as runc calls it.
    pub fn filters(&self, profiles: &[(&Profile, Architecture)]) -> Vec<Filter> {
        let input: String = profiles.iter().map(|(profile, native)| describe(profile, *native)).collect();
        let mut child = Command::new(self.program())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the oracle was just compiled");
        let mut stdin = child.stdin.take().expect("piped");
        let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().expect("output of the oracle");
        writer.join().expect("the writer does not panic").expect("the oracle reads everything");
        assert!(output.status.success(), "the oracle failed");
        let text = String::from_utf8(output.stdout).expect("hexadecimal text");
        let mut refused = false;
        let mut filters = Vec::new();
        for line in text.lines() {
            if line.starts_with("refused") {
                refused = true;
            } else {
                let program = line.split_ascii_whitespace().map(instruction).collect();
                filters.push(Filter { program, refused: std::mem::take(&mut refused) });
            }
        }
        assert_eq!(filters.len(), profiles.len());
        filters
    }
}

impl Oracle {
    /// The names libseccomp has for the numbers of an architecture.
    pub fn numbers(&self, architecture: Architecture) -> Vec<(String, u32)> {
        let output =
            Command::new(self.program()).arg(token(architecture).to_string()).output().expect("the oracle runs");
        let text = String::from_utf8(output.stdout).expect("names");
        let line = |line: &str| line.split_once(' ').map(|(name, nr)| (name.to_owned(), nr.parse().expect("a number")));
        // libseccomp knows x32's numbers without their bit, too.
        let own = |number: &u32| architecture != Architecture::X32 || number & 0x4000_0000 != 0;
        text.lines().filter_map(line).filter(|(_, number)| own(number)).collect()
    }
}

fn instruction(text: &str) -> Instruction {
    let number = |from, to| u32::from_str_radix(&text[from..to], 16).expect("hexadecimal");
    Instruction { code: number(0, 4) as u16, jt: number(4, 6) as u8, jf: number(6, 8) as u8, k: number(8, 16) }
}

/// `SCMP_ACT_*` of seccomp.h, which are the kernel's values.
fn action(action: Action, errno: Option<u32>) -> u32 {
    let data = errno.unwrap_or(1);
    match action {
        Action::KillThread => 0,
        Action::KillProcess => 0x8000_0000,
        Action::Trap => 0x0003_0000,
        Action::Errno => 0x0005_0000 | data,
        Action::Trace => 0x7FF0_0000 | data,
        Action::Allow => 0x7FFF_0000,
        Action::Log => 0x7FFC_0000,
        Action::Notify => 0x7FC0_0000,
    }
}

/// `SCMP_ARCH_*`: the AUDIT_ARCH, but x32 has one of its own.
fn token(architecture: Architecture) -> u32 {
    if architecture == Architecture::X32 { 0x4000_003E } else { architecture.audit().expect("a compilable one") }
}

fn operator(operator: Operator) -> u32 {
    match operator {
        Operator::NotEqual => 1,
        Operator::Less => 2,
        Operator::LessOrEqual => 3,
        Operator::Equal => 4,
        Operator::GreaterOrEqual => 5,
        Operator::Greater => 6,
        Operator::MaskedEqual => 7,
    }
}

fn describe(profile: &Profile, native: Architecture) -> String {
    let default = action(profile.default_action, profile.default_errno);
    let mut text = format!("default {default}\narch {}\n", token(native));
    for architecture in profile.architectures.iter().filter(|a| **a != native) {
        let _ = writeln!(text, "arch {}", token(*architecture));
    }
    for rule in &profile.rules {
        let act = action(rule.action, rule.errno);
        let repeated = rule.args.iter().enumerate().any(|(i, a)| rule.args[..i].iter().any(|b| a.index == b.index));
        let groups: Vec<_> =
            if repeated { rule.args.iter().map(std::slice::from_ref).collect() } else { vec![&rule.args[..]] };
        for name in rule.names.iter().filter(|_| act != default) {
            for group in &groups {
                let _ = write!(text, "rule {act} {name} {}", group.len());
                for a in *group {
                    let _ = write!(text, " {} {} {} {}", a.index, operator(a.op), a.value, a.value_two);
                }
                text.push('\n');
            }
        }
    }
    // The machine's own architecture goes when the first rule comes.
    text.push_str(&format!("rule {default} kiste_no_such_call 0\nend\n"));
    text
}

/// The newest call a profile names on an ABI, as far as the ENOSYS rule counts it.
pub fn newest(profile: &Profile, architecture: Architecture) -> Option<u32> {
    let counts = |number: &u32| match architecture {
        Architecture::X32 => !(512..=547).contains(&(number & 0x3FFF_FFFF)),
        Architecture::Arm => *number < 0x000F_0000,
        _ => true,
    };
    let names = profile.rules.iter().flat_map(|rule| &rule.names);
    names.filter_map(|name| syscall_number(architecture, name)).filter(counts).max()
}
