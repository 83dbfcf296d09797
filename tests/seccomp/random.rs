//! Random profiles and system calls, the same in every run.

use kiste::error::Origin;
use kiste::seccomp::{Action, Architecture, Argument, Operator, Profile, Rule};

/// xorshift64*.
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit
    }

    /// One of the choices.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// A value an argument is likely to be compared with, or a neighbour of one, in either half.
    pub fn value(&mut self) -> u64 {
        const LOW: [u64; 12] = [0, 1, 2, 3, 8, 9, 16, 0x0002_0008, 0x5412, 0x7E02_0000, 0x7FFF_FFFF, 0xFFFF_FFFF];
        let near = self.pick(&[0, 0, 0, 1, u64::MAX]);
        let low = (self.pick(&LOW).wrapping_add(near)) & 0xFFFF_FFFF;
        let high = self.pick(&[0, 0, 0, 0, 1, 2, 0xFFFF_FFFF]);
        (high << 32) | low
    }

    /// The arguments of a call.
    pub fn arguments(&mut self) -> [u64; 6] {
        std::array::from_fn(|_| self.value())
    }

    /// A profile of few calls with many conditions, as they come: rules overlap.
    pub fn profile(&mut self, actions: &[Action], architectures: &[Architecture]) -> Profile {
        let rules = (0..1 + self.below(12))
            .map(|place| {
                let names = (0..1 + self.below(3)).map(|_| self.pick(&NAMES).to_owned()).collect();
                let args = (0..self.below(4)).map(|_| self.argument(Operator::ALL)).collect();
                self.rule(place, names, actions, args)
            })
            .collect();
        self.with(rules, architectures)
    }

    /// A profile libseccomp 2.5 compiles rightly. Of several rules for one call, its tree forgets the others once the
    /// upper half of an argument has matched one; and on 32-bit ABIs it takes "or below" for "above" after another
    /// condition. So: one rule for each call, or several that each want one argument to equal something.
    pub fn plain_profile(&mut self, actions: &[Action], architectures: &[Architecture]) -> Profile {
        let mut rules = Vec::new();
        for name in NAMES.into_iter().filter(|name| !["socketcall", "ipc"].contains(name)) {
            let names = || vec![name.to_owned()];
            match self.below(5) {
                0 => rules.push(self.rule(rules.len(), names(), actions, Vec::new())),
                1 => {
                    for value in [self.value(), self.value() ^ 0x100, self.value() ^ 0x1_0000] {
                        let arg = Argument { index: 1, value, value_two: 0, op: Operator::Equal };
                        rules.push(self.rule(rules.len(), names(), actions, vec![arg]));
                    }
                }
                2 if !["socket", "recv", "shmat"].contains(&name) => {
                    let args = vec![self.argument(&[(Operator::LessOrEqual, "")])];
                    rules.push(self.rule(rules.len(), names(), actions, args));
                }
                _ => {
                    let operators: Vec<_> =
                        Operator::ALL.iter().copied().filter(|(op, _)| *op != Operator::LessOrEqual).collect();
                    let mut args: Vec<_> = (0..1 + self.below(3)).map(|_| self.argument(&operators)).collect();
                    args.sort_by_key(|arg| arg.index);
                    args.dedup_by_key(|arg| arg.index);
                    rules.push(self.rule(rules.len(), names(), actions, args));
                }
            }
        }
        self.with(rules, architectures)
    }

    fn rule(&mut self, place: usize, names: Vec<String>, actions: &[Action], args: Vec<Argument>) -> Rule {
        let action = self.pick(actions);
        let errno = matches!(action, Action::Errno | Action::Trace).then(|| self.below(40) as u32);
        Rule { names, action, errno, args, origin: Origin::fixed("/linux/seccomp/syscalls").child(place) }
    }

    fn with(&mut self, rules: Vec<Rule>, architectures: &[Architecture]) -> Profile {
        let default_action = self.pick(&[Action::Errno, Action::Allow, Action::KillProcess, Action::Trap, Action::Log]);
        Profile {
            default_action,
            default_errno: (default_action == Action::Errno).then(|| self.pick(&[1, 38])),
            architectures: architectures.to_vec(),
            flags: Vec::new(),
            rules,
            listener_path: None,
            listener_metadata: None,
            origin: Origin::fixed("/linux/seccomp"),
        }
    }

    fn argument(&mut self, operators: &[(Operator, &'static str)]) -> Argument {
        let op = self.pick(operators).0;
        Argument { index: self.below(4) as u32, value: self.value(), value_two: self.value(), op }
    }
}

const NAMES: [&str; 14] = [
    "read",
    "socket",
    "socketcall",
    "shmat",
    "ipc",
    "personality",
    "clone",
    "ioctl",
    "mmap2",
    "openat",
    "recv",
    "getppid",
    "set_tls",
    "pidfd_open",
];
