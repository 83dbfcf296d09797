//! landlock(7).

use super::{Raw, syscall};

/// landlock_create_ruleset(2): handled accesses to files, to the network, and scopes, as the running kernel's ABI knows them.
pub fn landlock_create(handled: [u64; 3]) -> Raw<i32> {
    let arguments = [handled.as_ptr() as usize, size_of_val(&handled), 0, 0, 0, 0];
    // SAFETY: the kernel reads `struct landlock_ruleset_attr`, three words, of the size that is given.
    unsafe { syscall(libc::SYS_landlock_create_ruleset, arguments) }.map(|descriptor| descriptor as i32)
}

/// landlock_add_rule(2) `LANDLOCK_RULE_PATH_BENEATH`.
pub fn landlock_allow(ruleset: i32, path: i32, access: u64) -> Raw {
    /// `struct landlock_path_beneath_attr`.
    #[repr(C, packed)]
    struct Beneath {
        access: u64,
        parent: i32,
    }
    const PATH_BENEATH: usize = 1;
    let rule = Beneath { access, parent: path };
    // SAFETY: the kernel reads one packed `struct landlock_path_beneath_attr`.
    unsafe { syscall(libc::SYS_landlock_add_rule, [ruleset as usize, PATH_BENEATH, &raw const rule as usize, 0, 0, 0]) }
}

/// landlock_restrict_self(2); needs no_new_privs.
pub fn landlock_restrict(ruleset: i32) -> Raw {
    // SAFETY: two integers.
    unsafe { syscall(libc::SYS_landlock_restrict_self, [ruleset as usize, 0, 0, 0, 0, 0]) }
}
