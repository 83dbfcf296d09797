//! Waiting for the out-of-memory killer.
//!
//! On v2 `memory.events` and `cgroup.events` can be polled for changes; on v1 an eventfd is registered for
//! `memory.oom_control` (Documentation/admin-guide/cgroup-v1/memory.rst, section 10).

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Group;
use super::files::{self, Failure};
use super::group::collect_pids;
use crate::error::{Error, Result};
use crate::kernel::{eventfd, raw};

/// What happened to a watched group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OomEvent {
    /// So many processes were killed for memory since the last answer; 0 stands for a limit that was hit without a
    /// kill (the killer is disabled, v1).
    Oom(u64),
    /// The last process has gone, or the group was removed: nothing more will come.
    Empty,
    /// The time is over.
    Timeout,
}

/// A watch on one group.
#[derive(Debug)]
pub struct OomWatch {
    source: Source,
    kills: u64,
}

#[derive(Debug)]
enum Source {
    /// `memory.events` and `cgroup.events`.
    Unified { memory: OwnedFd, life: OwnedFd },
    /// The eventfd, the file it is registered for, and the group to look whether it is still there.
    Legacy { event: OwnedFd, control: OwnedFd, path: PathBuf },
}

impl Group {
    /// Starts to watch for the out-of-memory killer.
    ///
    /// # Errors
    /// The group has no memory controller.
    pub fn oom_events(&self) -> Result<OomWatch> {
        let refused = |path: &Path| {
            let what = format!("cannot watch cgroup {} for out-of-memory events", path.display());
            move |errno| Error::refused(what.clone()).call("open", errno)
        };
        let source = if let Some(path) = self.legacy("memory") {
            watch_legacy(path)?
        } else if let Some(path) = self.unified() {
            let open = files::open_directory(&path).map_err(Failure::error_without_origin)?;
            let file = |name| match files::open_read(open.as_fd(), name) {
                // The group is there, and its memory controller is off or on a v1 hierarchy.
                Err(libc::ENOENT) if path.is_dir() => Err(no_memory()),
                file => file.map_err(refused(&path)),
            };
            Source::Unified { memory: file("memory.events")?, life: file("cgroup.events")? }
        } else {
            return Err(no_memory());
        };
        let mut watch = OomWatch { source, kills: 0 };
        watch.kills = watch.count().unwrap_or(0);
        Ok(watch)
    }
}

fn no_memory() -> Error {
    Error::refused("the container has no memory cgroup to watch")
}

fn watch_legacy(path: PathBuf) -> Result<Source> {
    let refused = |call| {
        let what = format!("cannot watch cgroup {} for out-of-memory events", path.display());
        move |errno| Error::refused(what.clone()).call(call, errno)
    };
    let open = files::open_directory(&path).map_err(Failure::error_without_origin)?;
    let control = files::open_read(open.as_fd(), "memory.oom_control").map_err(refused("open"))?;
    let event = eventfd::eventfd().map_err(refused("eventfd"))?;
    let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
    files::write(open.as_fd(), "cgroup.event_control", &line).map_err(refused("write(cgroup.event_control)"))?;
    Ok(Source::Legacy { event, control, path })
}

impl OomWatch {
    /// Waits for the next event, at most so long; `None` waits for ever.
    ///
    /// # Errors
    /// poll(2) or a read fails.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<OomEvent> {
        let end = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            if let Some(event) = self.look()? {
                return Ok(event);
            }
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(OomEvent::Timeout);
            }
            self.poll(left)?;
        }
    }

    /// What has happened already.
    fn look(&mut self) -> Result<Option<OomEvent>> {
        let kills = self.count();
        if let Some(new) = kills.and_then(|kills| kills.checked_sub(self.kills)).filter(|&new| new > 0) {
            self.kills += new;
            self.drain();
            return Ok(Some(OomEvent::Oom(new)));
        }
        let gone = match &self.source {
            Source::Unified { life, .. } => {
                kills.is_none() || text(life).is_none_or(|text| text.lines().any(|line| line == "populated 0"))
            }
            Source::Legacy { path, .. } => {
                let mut pids = Vec::new();
                collect_pids(path, true, &mut pids)?;
                pids.is_empty()
            }
        };
        if gone {
            return Ok(Some(OomEvent::Empty));
        }
        Ok(self.drain().then_some(OomEvent::Oom(0)))
    }

    /// The kernel's counter; `None` when the group is gone.
    fn count(&self) -> Option<u64> {
        let file = match &self.source {
            Source::Unified { memory, .. } => memory,
            Source::Legacy { control, .. } => control,
        };
        // oom_control has no counter before Linux 4.13, far below what kiste runs on.
        let text = text(file)?;
        Some(text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok()).unwrap_or(0))
    }

    /// Empties the eventfd and says whether it had something.
    fn drain(&self) -> bool {
        match &self.source {
            Source::Legacy { event, .. } => raw::read(event.as_raw_fd(), &mut [0; 8]).is_ok(),
            Source::Unified { .. } => false,
        }
    }

    fn poll(&self, left: Option<Duration>) -> Result<()> {
        let entry = |file: &OwnedFd, events| libc::pollfd { fd: file.as_raw_fd(), events, revents: 0 };
        // v1 tells nothing about the last process leaving, so look once a second.
        let (mut entries, most) = match &self.source {
            Source::Unified { memory, life } => {
                (vec![entry(memory, libc::POLLPRI), entry(life, libc::POLLPRI)], Duration::from_secs(3600))
            }
            Source::Legacy { event, .. } => (vec![entry(event, libc::POLLIN)], Duration::from_secs(1)),
        };
        let pause = left.map_or(most, |left| left.min(most)).max(Duration::from_millis(1));
        match raw::poll(&mut entries, pause.as_millis() as i64) {
            Ok(_) | Err(libc::EINTR) => Ok(()),
            Err(errno) => Err(Error::refused("cannot wait for out-of-memory events").call("poll", errno)),
        }
    }
}

/// The file from its beginning, which also re-arms the poll.
fn text(file: &OwnedFd) -> Option<String> {
    let mut buffer = [0; 1024];
    let count = nix::sys::uio::pread(file.as_fd(), &mut buffer, 0).ok()?;
    Some(String::from_utf8_lossy(&buffer[..count]).into_owned())
}
