//! Finding the payload and HOME in the final root, and execve.

use super::{Child, Done, Naming, fail};
use crate::kernel::{abi, raw};
use crate::plan::arena::Range;
use crate::plan::report::Call;

impl Child<'_> {
    pub(super) fn find_executable(&mut self, candidates: Range) -> Done {
        let arena = self.arena;
        let mut errno = libc::ENOENT;
        for (index, candidate) in arena.texts(candidates).iter().enumerate() {
            let path = arena.c_str(*candidate);
            match raw::faccessat2(abi::AT_FDCWD, path, libc::X_OK, libc::AT_EACCESS) {
                Ok(_) => {
                    let status = raw::statx(abi::AT_FDCWD, path, 0).named(Call::Statx)?;
                    if status.stx_mode as u32 & libc::S_IFMT == libc::S_IFREG {
                        self.chosen = index;
                        return Ok(());
                    }
                    // What execve says of both is EACCES, which is not what is wrong with a directory.
                    let directory = status.stx_mode as u32 & libc::S_IFMT == libc::S_IFDIR;
                    errno = if directory { libc::EISDIR } else { libc::EACCES };
                }
                Err(libc::ENOENT | libc::ENOTDIR) => {}
                Err(other) => errno = other,
            }
        }
        fail(Call::Access, errno)
    }

    pub(super) fn execute(&self, candidates: Range) -> Done {
        let arena = self.arena;
        let mut errno = libc::ENOENT;
        for candidate in arena.texts(candidates).get(self.chosen..).unwrap_or(&[]) {
            errno = raw::execve(arena.c_str(*candidate), &self.argv.pointers(), &self.environment.pointers());
            if errno != libc::ENOENT && errno != libc::ENOTDIR {
                break;
            }
        }
        fail(Call::Execve, errno)
    }

    /// HOME of the user in the container's own /etc/passwd, read as a stream (INV-10, INV-20): a regular file, at most
    /// 1 MiB, no NSS.
    pub(super) fn find_home(&mut self, uid: u32) -> Done {
        // No magic links: the image's /etc/passwd may point to /proc/self/fd, where our own descriptors still are.
        let how = abi::OpenHow {
            flags: (abi::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY | abi::O_CLOEXEC) as u64,
            mode: 0,
            resolve: abi::RESOLVE_NO_MAGICLINKS,
        };
        let file = match raw::openat2(abi::AT_FDCWD, c"/etc/passwd", &how) {
            Ok(file) => file,
            Err(_) => return Ok(()),
        };
        if self.file_type(file)? == libc::S_IFREG {
            let mut scan = PasswdScan::new(uid);
            let mut buffer = [0u8; 1024];
            for _ in 0..1024 {
                let length = match raw::read(file, &mut buffer) {
                    Ok(0) | Err(_) => 0,
                    Ok(length) => length,
                };
                let done = scan.feed(buffer.get(..length).unwrap_or(&[]), length == 0);
                if done || length == 0 {
                    break;
                }
            }
            if let Some(home) = scan.home() {
                // The room holds "HOME=" and at least two bytes more; a longer home is left at "/".
                if let Some(place) = self.environment.home().get_mut(5..5 + home.len() + 1) {
                    for (to, from) in place.iter_mut().zip(home.iter().chain(&[0])) {
                        *to = *from;
                    }
                }
            }
        }
        let _ = raw::close(file);
        Ok(())
    }
}

/// Field by field over `name:password:uid:gid:gecos:home:shell`.
struct PasswdScan {
    wanted: u32,
    field: usize,
    number: Option<u64>,
    matched: bool,
    found: bool,
    home: [u8; 256],
    length: usize,
}

impl PasswdScan {
    fn new(wanted: u32) -> Self {
        PasswdScan { wanted, field: 0, number: None, matched: false, found: false, home: [0; 256], length: 0 }
    }

    /// Takes bytes; true once the line of the user is complete.
    fn feed(&mut self, bytes: &[u8], end: bool) -> bool {
        for byte in bytes {
            match byte {
                b'\n' => {
                    if self.end_line() {
                        return true;
                    }
                }
                b':' => self.end_field(),
                byte => self.take(*byte),
            }
        }
        end && self.end_line()
    }

    fn end_line(&mut self) -> bool {
        self.found = self.matched && self.field >= 5 && self.length > 0;
        if !self.found {
            (self.field, self.number, self.matched, self.length) = (0, None, false, 0);
        }
        self.found
    }

    fn end_field(&mut self) {
        if self.field == 2 {
            self.matched = self.number == Some(self.wanted as u64);
        }
        self.field += 1;
        self.number = None;
    }

    fn take(&mut self, byte: u8) {
        if self.field == 2 {
            // A field with anything but digits is no number; a huge one matches nobody.
            self.number = match (byte.is_ascii_digit(), self.number) {
                (true, number) => Some((number.unwrap_or(0) * 10 + (byte - b'0') as u64).min(u64::MAX / 16)),
                (false, _) => Some(u64::MAX / 16),
            };
        } else if self.field == 5 && self.matched {
            match self.home.get_mut(self.length) {
                Some(place) => {
                    *place = byte;
                    self.length += 1;
                }
                None => self.matched = false,
            }
        }
    }

    fn home(&self) -> Option<&[u8]> {
        if self.found { self.home.get(..self.length) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::PasswdScan;

    fn home(text: &str, uid: u32) -> Option<Vec<u8>> {
        let mut scan = PasswdScan::new(uid);
        for chunk in text.as_bytes().chunks(3) {
            if scan.feed(chunk, false) {
                break;
            }
        }
        scan.feed(&[], true);
        scan.home().map(<[u8]>::to_vec)
    }

    #[test]
    fn the_home_is_that_of_the_numeric_id() {
        let text = "root:x:0:0:root:/root:/bin/sh\n1000:x:0:0::/evil:/bin/sh\nuser:x:1000:1000:,,,:/home/user:/bin/sh";
        assert_eq!(home(text, 0).as_deref(), Some(&b"/root"[..]));
        assert_eq!(home(text, 1000).as_deref(), Some(&b"/home/user"[..]));
        assert_eq!(home(text, 7), None);
        assert_eq!(home("a:x:99999999999999999999999:0::/x:\n", 0), None);
        assert_eq!(home("a:x:0x0:0::/x:\n::::::\n", 0), None);
        assert_eq!(home(&format!("a:x:0:0::/{}:/bin/sh\n", "x".repeat(300)), 0), None);
    }
}
