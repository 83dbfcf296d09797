//! create, start, state, kill, delete, run, list: what callers see of a container's life.

mod harness;

use harness::{Bundle, wait_until};

#[test]
fn run_gives_the_exit_status_of_the_process() {
    for status in [0, 1, 42, 255] {
        Bundle::with_args(&["exit", &status.to_string()]).run().code(status);
    }
}

#[test]
fn a_signal_is_told_as_128_plus_its_number() {
    let bundle = Bundle::with_args(&["sleep"]);
    let run = std::thread::scope(|scope| {
        let run = scope.spawn(|| bundle.run());
        wait_until("running", || bundle.call(&["state", &bundle.id]).out.contains("\"running\""));
        bundle.kill("KILL").ok();
        run.join().expect("run")
    });
    run.code(128 + 9);
}

#[test]
fn run_leaves_nothing() {
    let bundle = Bundle::with_args(&["exit", "3"]);
    bundle.run().code(3);
    bundle.assert_nothing_left();
}

#[test]
fn run_passes_output_and_errors_through() {
    let bundle = Bundle::with_args(&["seq", "echo", "to", "out", "--", "complain", "to", "err"]);
    let output = bundle.run().ok();
    assert_eq!((output.out.as_str(), output.err.as_str()), ("to out\n", "to err\n"));
}
