//! The words of an OCI profile: one table per kind, which the parser, `kiste features` and the manual all read.

/// An enum whose variants are words of the OCI runtime specification (config-linux.md, "Seccomp"). The first word of a
/// variant is its name, further ones are accepted on input.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal $(| $alias:literal)*,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// Every word with its meaning, in the order of the specification.
            pub const ALL: &[($name, &str)] = &[$(($name::$variant, $word), $(($name::$variant, $alias),)*)+];

            /// The meaning of a word of the specification, or nothing for a word it does not have.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().find(|(_, known)| *known == word).map(|(me, _)| *me)
            }

            /// The word of the specification.
            pub fn word(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)+
                }
            }
        }
    };
}

words! {
    /// What happens to a system call (seccomp(2), `SECCOMP_RET_*`).
    Action {
        /// Kills the calling thread with SIGSYS.
        KillThread = "SCMP_ACT_KILL_THREAD" | "SCMP_ACT_KILL",
        /// Kills the whole process with SIGSYS.
        KillProcess = "SCMP_ACT_KILL_PROCESS",
        /// Sends a catchable SIGSYS.
        Trap = "SCMP_ACT_TRAP",
        /// Fails with an errno.
        Errno = "SCMP_ACT_ERRNO",
        /// Asks a ptrace tracer; without one the call fails with ENOSYS.
        Trace = "SCMP_ACT_TRACE",
        /// Runs.
        Allow = "SCMP_ACT_ALLOW",
        /// Runs and is written to the audit log.
        Log = "SCMP_ACT_LOG",
        /// Is decided by the seccomp agent behind `listenerPath` (seccomp_unotify(2)).
        Notify = "SCMP_ACT_NOTIFY",
    }
}

words! {
    /// How an argument of the system call is compared with the rule's value. Comparisons are unsigned.
    Operator {
        /// Differs from `value`.
        NotEqual = "SCMP_CMP_NE",
        /// Is below `value`.
        Less = "SCMP_CMP_LT",
        /// Is `value` or below.
        LessOrEqual = "SCMP_CMP_LE",
        /// Is `value`.
        Equal = "SCMP_CMP_EQ",
        /// Is `value` or above.
        GreaterOrEqual = "SCMP_CMP_GE",
        /// Is above `value`.
        Greater = "SCMP_CMP_GT",
        /// Masked with `value`, is `valueTwo`.
        MaskedEqual = "SCMP_CMP_MASKED_EQ",
    }
}

words! {
    /// An architecture (or ABI) a profile may list.
    Architecture {
        /// 32-bit x86, also as a guest ABI of x86-64.
        X86 = "SCMP_ARCH_X86",
        /// x86-64.
        X86_64 = "SCMP_ARCH_X86_64",
        /// The ABI with 32-bit pointers on x86-64: same AUDIT_ARCH, bit 30 of the number set.
        X32 = "SCMP_ARCH_X32",
        /// 32-bit Arm (EABI), also as a guest ABI of AArch64.
        Arm = "SCMP_ARCH_ARM",
        /// 64-bit Arm.
        Aarch64 = "SCMP_ARCH_AARCH64",
        /// MIPS, o32, big endian.
        Mips = "SCMP_ARCH_MIPS",
        /// MIPS, n64, big endian.
        Mips64 = "SCMP_ARCH_MIPS64",
        /// MIPS, n32, big endian.
        Mips64n32 = "SCMP_ARCH_MIPS64N32",
        /// MIPS, o32, little endian.
        Mipsel = "SCMP_ARCH_MIPSEL",
        /// MIPS, n64, little endian.
        Mipsel64 = "SCMP_ARCH_MIPSEL64",
        /// MIPS, n32, little endian.
        Mipsel64n32 = "SCMP_ARCH_MIPSEL64N32",
        /// 32-bit PowerPC.
        Ppc = "SCMP_ARCH_PPC",
        /// 64-bit PowerPC, big endian.
        Ppc64 = "SCMP_ARCH_PPC64",
        /// 64-bit PowerPC, little endian.
        Ppc64le = "SCMP_ARCH_PPC64LE",
        /// 31-bit IBM Z.
        S390 = "SCMP_ARCH_S390",
        /// 64-bit IBM Z.
        S390x = "SCMP_ARCH_S390X",
        /// 32-bit PA-RISC.
        Parisc = "SCMP_ARCH_PARISC",
        /// 64-bit PA-RISC.
        Parisc64 = "SCMP_ARCH_PARISC64",
        /// 64-bit RISC-V.
        Riscv64 = "SCMP_ARCH_RISCV64",
        /// 64-bit LoongArch.
        Loongarch64 = "SCMP_ARCH_LOONGARCH64",
        /// Motorola 68000.
        M68k = "SCMP_ARCH_M68K",
        /// SuperH, little endian.
        Sh = "SCMP_ARCH_SH",
        /// SuperH, big endian.
        Sheb = "SCMP_ARCH_SHEB",
    }
}

words! {
    /// How the filter is installed (seccomp(2), `SECCOMP_FILTER_FLAG_*`).
    Flag {
        /// Log every action but "allow" as `/proc/sys/kernel/seccomp/actions_logged` permits.
        Log = "SECCOMP_FILTER_FLAG_LOG",
        /// Leave the speculative store bypass mitigation off.
        SpecAllow = "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        /// Let only fatal signals interrupt a call the agent has already received.
        WaitKillableRecv = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        /// Give all threads the filter. Nothing to do: the filter is installed by a process of one thread.
        Tsync = "SECCOMP_FILTER_FLAG_TSYNC",
    }
}

impl Flag {
    /// Whether the running kernel has it: all but one are older than the oldest kernel kiste runs on.
    pub fn is_supported(self) -> bool {
        let killable = libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV | libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
        self != Flag::WaitKillableRecv || crate::kernel::parent::knows_filter_flags(killable as u32)
    }
}

impl Architecture {
    /// The architecture this program was built for, if a profile can name it.
    pub const NATIVE: Option<Architecture> = if cfg!(target_arch = "x86_64") {
        Some(Architecture::X86_64)
    } else if cfg!(target_arch = "aarch64") {
        Some(Architecture::Aarch64)
    } else if cfg!(target_arch = "riscv64") {
        Some(Architecture::Riscv64)
    } else if cfg!(target_arch = "x86") {
        Some(Architecture::X86)
    } else if cfg!(target_arch = "arm") {
        Some(Architecture::Arm)
    } else {
        None
    };

    /// The kernel's `AUDIT_ARCH_*` value of the architectures kiste compiles for (linux/audit.h). x32 shares x86-64's.
    pub fn audit(self) -> Option<u32> {
        match self {
            Architecture::X86_64 | Architecture::X32 => Some(0xC000_003E),
            Architecture::X86 => Some(0x4000_0003),
            Architecture::Aarch64 => Some(0xC000_00B7),
            Architecture::Arm => Some(0x4000_0028),
            Architecture::Riscv64 => Some(0xC000_00F3),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lead_back_to_themselves() {
        assert_eq!(Architecture::ALL.len(), 23);
        for (action, word) in Action::ALL {
            assert_eq!(Action::from_word(word), Some(*action));
        }
        for (operator, word) in Operator::ALL {
            assert_eq!((Operator::from_word(word), operator.word()), (Some(*operator), *word));
        }
        for (flag, word) in Flag::ALL {
            assert_eq!((Flag::from_word(word), flag.word()), (Some(*flag), *word));
        }
        assert_eq!(Action::from_word("SCMP_ACT_KILL"), Some(Action::KillThread));
        assert_eq!(Action::KillThread.word(), "SCMP_ACT_KILL_THREAD");
        assert_eq!(Action::from_word("scmp_act_allow"), None);
    }
}
