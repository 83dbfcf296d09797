//! `run --timings`: the file tells the steps of `explain`, with times that fit together.

mod harness;

use harness::{Bundle, Output, Value, json, only_kiste};

/// Runs the bundle with --timings, gives the output and the events.
fn timed(bundle: &Bundle) -> (Output, Vec<Value>) {
    let file = bundle.dir.join("timings.json");
    let output = bundle.run_with(&["--timings", &file.display().to_string()]);
    let text = std::fs::read_to_string(file).expect("the timings");
    let value: Value = serde_json::from_str(&text).expect("JSON");
    (output, value["traceEvents"].as_array().expect("events").clone())
}

/// The complete events of one process, and where each begins and ends, in microseconds.
fn of(events: &[Value], process: u8) -> Vec<(&Value, f64, f64)> {
    let is_of = |event: &&Value| event["ph"] == "X" && event["pid"] == process;
    let times = |event: &Value| (event["ts"].as_f64().expect("ts"), event["dur"].as_f64().expect("dur"));
    events.iter().filter(is_of).map(|event| (event, times(event).0, times(event).0 + times(event).1)).collect()
}

const KISTE: u8 = 1;
const CHILD: u8 = 2;

#[test]
fn the_steps_are_those_of_explain_and_follow_each_other() {
    only_kiste!();
    let bundle = Bundle::with_args(&["exit", "0"]);
    let explained = bundle.call(&["explain", "--format", "json", "--bundle", "bundle", &bundle.id]).ok().json();
    let (output, events) = timed(&bundle);
    output.ok();
    let steps: Vec<_> =
        explained["steps"].as_array().expect("steps").iter().filter(|step| step["who"] == "child").collect();
    assert!(steps.len() > 30, "{} steps", steps.len());

    let mut child = of(&events, CHILD);
    let born = child.remove(0);
    assert_eq!(child.len(), steps.len(), "an event for each step");
    for (event, step) in child.iter().zip(&steps) {
        assert_eq!(event.0["name"], format!("{} {}", step["step"], step["what"].as_str().unwrap_or_default()));
        assert_eq!(event.0["args"]["step"], step["step"]);
        assert_eq!(event.0["args"]["stage"], step["stage"]);
        assert_eq!(event.0["args"]["origin"], step["origin"]);
    }
    for pair in child.windows(2) {
        assert!(
            pair[0].1 > 0.0 && (pair[0].2 - pair[1].1).abs() < 0.01,
            "{} ends where {} begins",
            pair[0].0,
            pair[1].0
        );
        assert!(pair[0].1 <= pair[1].1, "{} after {}", pair[1].0, pair[0].0);
    }

    let kiste = of(&events, KISTE);
    for pair in kiste.windows(2) {
        assert!(pair[0].1 <= pair[1].1 && (pair[0].2 - pair[1].1).abs() < 0.01, "{} then {}", pair[0].0, pair[1].0);
    }
    // The child's life lies inside what the parent did meanwhile.
    let part = |name: &str| kiste.iter().find(|event| event.0["name"] == name).unwrap_or_else(|| panic!("no {name}"));
    assert!(born.1 >= part("C clone3").1);
    assert!(child.last().expect("a step").1 <= part("F record the container").1);
    assert_eq!(part("C clone3").0["args"]["steps"].as_array().map(Vec::len), Some(made(&explained)));
}

/// How many lines of stage C `explain` has.
fn made(explained: &Value) -> usize {
    explained["steps"].as_array().expect("steps").iter().filter(|step| step["stage"] == "C").count()
}

#[test]
fn a_failed_run_tells_how_far_it_came() {
    only_kiste!();
    let bundle = Bundle::with_args(&["exit", "0"]);
    // A file can't be attached at a directory.
    bundle.mount("/tmp", "bind", &bundle.host_file("").display().to_string(), &["bind"]);
    let (output, events) = timed(&bundle);
    assert_ne!(output.code, 0);
    let step = output.err.split("[step ").nth(1).and_then(|rest| rest.split(']').next()).expect("a step");
    let step: usize = step.parse().expect("a number");
    let child = of(&events, CHILD);
    assert_eq!(child.last().expect("an event").0["args"]["step"], json!(step), "{}", output.err);
    bundle.assert_nothing_left();
}

#[test]
fn a_file_that_cannot_be_written_is_told_before_anything_is_made() {
    only_kiste!();
    let bundle = Bundle::with_args(&["exit", "0"]);
    bundle
        .run_with(&["--timings", "/nowhere/timings.json"])
        .fails_with(&["cannot write the timings to /nowhere/timings.json"]);
    bundle.assert_nothing_left();
}
