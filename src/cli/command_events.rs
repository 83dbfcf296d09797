//! `events`: resource usage and out-of-memory kills, one JSON object a line, as runc prints them.

use super::arguments::{EventsArguments, Global};
use super::{containers, output};
use crate::cgroup::{OomEvent, Stats};
use crate::error::{Error, Result};
use crate::state::Status;
use serde::Serialize;
use std::time::Instant;

#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Stats>,
}

/// Prints statistics once or for as long as the container lives.
///
/// # Errors
/// There is no such container, it has stopped, or it has no cgroup to ask.
pub fn run(global: &Global, arguments: &EventsArguments) -> anyhow::Result<u8> {
    let (container, record) = containers::find(global, &arguments.id)?;
    if matches!(containers::status(&container, &record)?, Status::Stopped | Status::Creating) {
        return Err(containers::not_running(arguments.id.as_str()).into());
    }
    let id = arguments.id.as_str();
    let group = containers::group(&record)?;
    let resctrl = containers::resctrl(&record)?;
    let print_stats = || {
        let mut stats = group.stats()?;
        stats.intel_rdt = resctrl.as_ref().map(|group| group.stats()).unwrap_or_default();
        output::write(&line("stats", id, Some(&stats))?)
    };
    if arguments.once {
        print_stats()?;
        return Ok(0);
    }
    let mut watch = group.oom_events()?;
    let mut next = Instant::now() + arguments.interval;
    loop {
        let read = match watch.wait(Some(next.saturating_duration_since(Instant::now())))? {
            OomEvent::Oom(_) => output::write(&line("oom", id, None)?)?,
            OomEvent::Empty => false,
            OomEvent::Timeout => {
                next = Instant::now() + arguments.interval;
                print_stats()?
            }
        };
        if !read {
            return Ok(0);
        }
    }
}

fn line(kind: &'static str, id: &str, data: Option<&Stats>) -> Result<String> {
    let text = serde_json::to_string(&Event { kind, id, data })
        .map_err(|error| Error::refused(format!("cannot print an event: {error}")))?;
    Ok(text + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_one_object_a_line() {
        assert_eq!(line("oom", "web", None).unwrap(), "{\"type\":\"oom\",\"id\":\"web\"}\n");
        let text = line("stats", "web", Some(&Stats::default())).unwrap();
        assert_eq!(text.lines().count(), 1);
        let event: serde_json::Value = serde_json::from_str(&text).unwrap();
        for key in ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"] {
            assert!(event["data"].get(key).is_some(), "{key}");
        }
    }
}
