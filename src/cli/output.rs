//! What state, list and ps print, as pure functions over plain values. Names, order and spelling are runc's, because
//! programs read them.

use super::arguments::{CalledAs, Format};
use crate::error::{Error, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;

/// A container as `state` and `list` show it; the fields are in the order they are printed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ContainerState {
    /// The version of the runtime specification the container was made after.
    #[serde(rename = "ociVersion")]
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// Its first process in the host's numbering; 0 when stopped.
    pub pid: i32,
    /// creating, created, running, paused or stopped.
    pub status: &'static str,
    /// The bundle, an absolute path.
    pub bundle: String,
    /// The root file system, an absolute path.
    pub rootfs: String,
    /// When it was created, RFC 3339.
    pub created: String,
    /// The configuration's annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The name of the user who owns its state, `#UID` if that user has none; empty in `state`.
    pub owner: String,
}

/// `state`: JSON with two spaces of indentation.
pub fn state(state: &ContainerState) -> String {
    // These types always serialise: the keys are text.
    let mut text = serde_json::to_string_pretty(state).unwrap_or_default();
    text.push('\n');
    text
}

/// `list`.
pub fn list(states: &[ContainerState], format: Format, quiet: bool, called_as: CalledAs) -> String {
    if quiet {
        return states.iter().map(|state| format!("{}\n", state.id)).collect();
    }
    if format == Format::Json {
        let mut text = serde_json::to_string(states).unwrap_or_default();
        text.push('\n');
        return text;
    }
    if called_as == CalledAs::Crun { crun_table(states) } else { runc_table(states) }
}

/// runc's: columns as wide as their longest cell and three spaces, but at least twelve.
fn runc_table(states: &[ContainerState]) -> String {
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
    rows.extend(states.iter().map(|state| {
        let pid = state.pid.to_string();
        [&state.id, &pid, state.status, &state.bundle, &state.created, &state.owner].map(str::to_owned)
    }));
    let mut widths = [12; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count() + 3);
        }
    }
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row[..5].iter().zip(widths) {
            text += &format!("{cell:width$}");
        }
        text += &row[5];
        text.push('\n');
    }
    text
}

/// crun's: fixed columns, the first as wide as the longest name.
fn crun_table(states: &[ContainerState]) -> String {
    let width = states.iter().map(|state| state.id.len()).max().unwrap_or(0).max(4);
    let row = |id: &str, pid: &str, status: &str, bundle: &str, created: &str, owner: &str| {
        format!("{id:width$} {pid:<9} {status:<8} {bundle:<39} {created:<30} {owner}\n")
    };
    let mut text = row("NAME", "PID", "STATUS", "BUNDLE PATH", "CREATED", "OWNER");
    for state in states {
        text += &row(&state.id, &state.pid.to_string(), state.status, &state.bundle, &state.created, &state.owner);
    }
    text
}

/// `ps --format json`.
pub fn process_ids(pids: &[i32]) -> String {
    let words: Vec<String> = pids.iter().map(i32::to_string).collect();
    format!("[{}]\n", words.join(","))
}

/// Keeps the headline of ps(1)'s output and the lines whose PID is one of `pids`.
///
/// # Errors
/// There is no PID column, or a line has no number there.
pub fn process_table(printed: &str, pids: &[i32]) -> Result<String> {
    let wrong = |what: String| Error::input(what).hint("the options for ps(1) must leave a column PID in its output");
    let mut lines = printed.lines();
    let headline = lines.next().unwrap_or_default();
    let column = headline
        .split_whitespace()
        .position(|title| title == "PID")
        .ok_or_else(|| wrong("ps printed no column PID".to_owned()))?;
    let mut table = format!("{headline}\n");
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let cell = line.split_whitespace().nth(column).unwrap_or_default();
        // ps marks what is no process (`-` in thread views) without a number: that line belongs to nobody.
        if cell == "-" {
            continue;
        }
        let pid: i32 = cell.parse().map_err(|_| wrong(format!("ps printed {cell:?} where a PID is due")))?;
        if pids.contains(&pid) {
            table += line;
            table.push('\n');
        }
    }
    Ok(table)
}

/// Writes a result to standard output. A reader that went away (`kiste list | head -1`) is no failure.
///
/// # Errors
/// Standard output is closed or full.
pub fn print(text: &str) -> Result<()> {
    write(text).map(drop)
}

/// [`print`](print()), and whether there still is a reader: who goes on printing must stop without one.
///
/// # Errors
/// As [`print`](print()).
pub fn write(text: &str) -> Result<bool> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::refused("cannot write to standard output").io("write", &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web() -> ContainerState {
        ContainerState {
            oci_version: "1.0.2".into(),
            id: "web".into(),
            pid: 42,
            status: "running",
            bundle: "/b".into(),
            rootfs: "/b/rootfs".into(),
            created: "2026-11-22T11:07:48.123456789Z".into(),
            annotations: BTreeMap::from([("a".into(), "1".into())]),
            owner: "root".into(),
        }
    }

    #[test]
    fn state_has_runcs_fields_in_runcs_order() {
        let text = state(&web());
        let keys: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("  \"")?.split('"').next()).collect();
        assert_eq!(keys, ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "annotations", "owner"]);
        let stopped = ContainerState { pid: 0, annotations: BTreeMap::new(), ..web() };
        assert!(state(&stopped).contains("\"pid\": 0,") && !state(&stopped).contains("annotations"));
    }

    #[test]
    fn lists() {
        let (states, kiste) = ([web()], CalledAs::Kiste);
        assert_eq!(list(&states, Format::Text, true, kiste), "web\n");
        assert_eq!(list(&[], Format::Json, false, kiste), "[]\n");
        assert_eq!(
            list(&states, Format::Text, false, kiste),
            "ID          PID         STATUS      BUNDLE      CREATED                          OWNER\n\
             web         42          running     /b          2026-11-22T11:07:48.123456789Z   root\n"
        );
        assert_eq!(
            list(&[], Format::Text, false, CalledAs::Crun),
            "NAME PID       STATUS   BUNDLE PATH                             CREATED                        OWNER\n"
        );
        let json: serde_json::Value = serde_json::from_str(&list(&states, Format::Json, false, kiste)).unwrap();
        assert_eq!((json[0]["id"].as_str(), json[0]["pid"].as_i64()), (Some("web"), Some(42)));
        // containerd's client reads these with their types.
        assert!(json[0]["created"].is_string() && json[0]["rootfs"].is_string() && json[0]["owner"].is_string());
    }

    #[test]
    fn ps_keeps_the_containers_processes() {
        let printed = "UID          PID    PPID CMD\nroot           1       0 init\nroot          42       1 a 1\n";
        assert_eq!(
            process_table(printed, &[42]).unwrap(),
            "UID          PID    PPID CMD\nroot          42       1 a 1\n"
        );
        assert!(process_table("USER CMD\nroot x\n", &[1]).is_err());
        assert!(process_table("PID\nx\n", &[1]).is_err());
        assert_eq!(process_ids(&[1, 2]), "[1,2]\n");
        assert_eq!(process_ids(&[]), "[]\n");
    }
}
