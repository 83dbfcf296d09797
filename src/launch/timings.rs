//! `run --timings`: where the time of one run goes, as the trace events that Perfetto and Chrome's about:tracing open
//! ("Trace Event Format", complete events). The child's steps have the numbers and words of `explain`, the parent's work
//! the letters.

use std::io::Write;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::kernel::timings::{self, Stamp};
use crate::plan::explain::{Line, lines};
use crate::plan::{Barrier, Plan};

/// What the parent does, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Work {
    /// Configuration and facts.
    Read,
    /// The container's directory.
    Reserve,
    /// Intent and facts to a plan.
    Lower,
    /// The words of this file.
    Explain,
    /// A.
    Open,
    /// The configuration and a first record, before anything is made.
    Record,
    /// B.
    Group,
    /// C, what comes before clone3.
    Prepare,
    /// C.
    Clone,
    /// The child works.
    Child,
    /// D.
    Identity,
    /// E.
    Hooks,
    /// F.
    Finish,
    /// The payload runs.
    Payload,
    /// Control group and directory go.
    End,
    /// The end of the last one.
    Done,
}

impl Work {
    const ALL: [(Work, &str, &str); 16] = [
        (Work::Read, "", "read the configuration and the facts of this machine"),
        (Work::Reserve, "", "make the container's directory"),
        (Work::Lower, "", "lower to a plan, and check it"),
        (Work::Explain, "", "describe the plan's steps, for this file only"),
        (Work::Open, "A", "open what needs the host"),
        (Work::Record, "", "store configuration and record"),
        (Work::Group, "B", "make the control group and its limits"),
        (Work::Prepare, "C", "what is needed for the child, out of reach of the container"),
        (Work::Clone, "C", "clone3"),
        (Work::Child, "", "wait for the child"),
        (Work::Identity, "D", "identity"),
        (Work::Hooks, "E", "prestart and createRuntime hooks"),
        (Work::Finish, "F", "record the container"),
        (Work::Payload, "", "wait for the payload"),
        (Work::End, "", "remove control group and directory"),
        (Work::Done, "", "done"),
    ];

    /// The parent's steps at a barrier.
    pub fn at(barrier: Barrier) -> Self {
        if barrier == Barrier::Identity { Work::Identity } else { Work::Hooks }
    }

    fn words(label: u8) -> (&'static str, &'static str) {
        Work::ALL.iter().find(|row| row.0 as u8 == label).map_or(("", ""), |row| (row.1, row.2))
    }
}

/// The parent begins this; what it did before ends.
#[inline]
pub fn begin(work: Work) {
    timings::mark(work as u8);
}

/// Processes as Perfetto shows them; not their ids, which differ from run to run.
const PARENT: u8 = 1;
const CHILD: u8 = 2;

/// Where the time of a run goes: made before it, written after it.
#[derive(Debug)]
pub struct Timings {
    path: std::path::PathBuf,
    file: std::fs::File,
    steps: Vec<Line>,
}

impl Timings {
    /// Opens the file, while nothing is made yet, and begins.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn to(path: &std::path::Path) -> Result<Self> {
        let file = std::fs::File::create(path).map_err(|error| Self::failed(path).io("open", &error))?;
        timings::begin();
        begin(Work::Read);
        Ok(Timings { path: path.to_owned(), file, steps: Vec::new() })
    }

    fn failed(path: &std::path::Path) -> Error {
        Error::refused(format!("cannot write the timings to {}", path.display()))
    }

    /// The steps that will be timed.
    pub fn explain(&mut self, plan: &Plan) {
        begin(Work::Explain);
        self.steps = lines(plan);
    }

    /// Writes what was kept.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write(mut self) -> Result<()> {
        begin(Work::Done);
        let text = trace(&timings::marks(), &timings::steps(), &self.steps);
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.flush());
        written.map_err(|error| Self::failed(&self.path).io("write", &error))
    }
}

fn trace(marks: &[(u8, Stamp)], steps: &[Stamp], lines: &[Line]) -> String {
    let named = |process: u8, name: &str| json!({ "name": "process_name", "ph": "M", "pid": process, "tid": process, "args": { "name": name } });
    let mut events = vec![named(PARENT, "kiste"), named(CHILD, "the container's process, until execve")];
    events.extend(parents(marks, lines));
    events.extend(childs(marks, steps, lines));
    let events: Vec<_> = events.iter().map(Value::to_string).collect();
    format!("{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n{}\n]}}\n", events.join(",\n"))
}

fn parents(marks: &[(u8, Stamp)], lines: &[Line]) -> Vec<Value> {
    let mut events = Vec::with_capacity(marks.len());
    if let Some((_, first)) = marks.first() {
        // There is no clock from before: its processor time so far tells how long it took, if nothing held it up.
        let before = Stamp { wall: first.wall.saturating_sub((first.user + first.system) * 1000), ..Stamp::default() };
        events.push(event(PARENT, "execve of kiste, start of the program, command line", before, *first, json!({})));
    }
    for pair in marks.windows(2) {
        let [(label, from), (_, to)] = pair else { continue };
        let (stage, what) = Work::words(*label);
        let of_stage = |line: &&Line| line.who == "parent" && !stage.is_empty() && line.stage == stage;
        let steps: Vec<_> = lines.iter().filter(of_stage).map(|line| line.what.as_str()).collect();
        let name = if stage.is_empty() { what.to_owned() } else { format!("{stage} {what}") };
        let arguments = if steps.is_empty() { json!({}) } else { json!({ "stage": stage, "steps": steps }) };
        events.push(event(PARENT, &name, *from, *to, arguments));
    }
    events
}

fn childs(marks: &[(u8, Stamp)], steps: &[Stamp], lines: &[Line]) -> Vec<Value> {
    let began = marks.iter().find(|mark| mark.0 == Work::Clone as u8).map(|mark| mark.1);
    let heard = marks.iter().find(|mark| mark.0 == Work::Finish as u8).map(|mark| mark.1.wall);
    let mut events = Vec::with_capacity(steps.len() + 1);
    if let (Some(began), Some(first)) = (began, steps.first()) {
        let before = Stamp { wall: began.wall, ..Stamp::default() };
        events.push(event(CHILD, "clone3, until the first step", before, *first, json!({})));
    }
    let lines: Vec<_> = lines.iter().filter(|line| line.who == "child").collect();
    for (index, from) in steps.iter().enumerate() {
        let Some(line) = lines.get(index) else { break };
        // What execve took, only the parent can tell, from the end of the child's socket.
        let end = heard.map_or(*from, |wall| Stamp { wall: wall.max(from.wall), ..*from });
        let to = steps.get(index + 1).copied().unwrap_or(end);
        let mut arguments = json!({ "step": line.step, "stage": line.stage });
        if let Some(origin) = &line.origin {
            arguments["origin"] = json!(origin);
        }
        events.push(event(CHILD, &format!("{} {}", index + 1, line.what), *from, to, arguments));
    }
    events
}

fn event(process: u8, name: &str, from: Stamp, to: Stamp, mut arguments: Value) -> Value {
    let microseconds = |nanoseconds: u64| nanoseconds as f64 / 1000.0;
    for (key, before, after) in [("page faults", from.faults, to.faults), ("waits", from.waits, to.waits)] {
        if after > before {
            arguments[key] = json!(after - before);
        }
    }
    let processor = |stamp: Stamp| stamp.user + stamp.system;
    json!({
        "name": name, "cat": "kiste", "ph": "X", "pid": process, "tid": process,
        "ts": microseconds(from.wall), "dur": microseconds(to.wall.saturating_sub(from.wall)),
        "tts": processor(from), "tdur": processor(to).saturating_sub(processor(from)),
        "args": arguments,
    })
}
