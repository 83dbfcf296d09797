//! Terminals: in the foreground, and handed to a console socket.

mod harness;

use harness::pty::{ConsoleSocket, Terminal};
use harness::{Bundle, Value, json, wait_for};

fn with_terminal(words: &[&str]) -> Bundle {
    let bundle = Bundle::with_args(words);
    bundle.set("/process/terminal", json!(true));
    bundle
}

/// The report that came through a terminal.
fn parse(text: &str) -> Value {
    serde_json::from_str(text.trim()).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn run_in_a_terminal_gives_the_process_one_of_its_own() {
    let bundle = with_terminal(&["report"]);
    let mut command = bundle.runtime.command(&["run", "--bundle", "bundle", &bundle.id]);
    let (mut terminal, mut child) = Terminal::spawn(&mut command, 24, 80);
    let report = parse(terminal.rest());
    assert_eq!(wait_for(&mut child, 10.0).and_then(|s| s.code()), Some(0));
    let tty = &report["tty"];
    assert_eq!((&tty["is"], &tty["controlling"]), (&json!([true, true, true]), &json!(true)));
    assert_eq!(report["ids"]["sid"], 1);
    assert_eq!(tty["foreground"], 1);
    assert_eq!(report["fds"][0]["target"], "/dev/pts/0");
}

#[test]
fn a_console_socket_receives_the_terminal() {
    let bundle = with_terminal(&["report"]);
    let socket = ConsoleSocket::listen(&bundle.dir);
    bundle.create_with(&["--console-socket", socket.path.to_str().expect("UTF-8")]).ok();
    let mut terminal = socket.receive();
    bundle.start().ok();
    let report = parse(terminal.rest());
    assert_eq!(report["tty"]["is"], json!([true, true, true]));
    assert_eq!(report["tty"]["controlling"], true);
}

#[test]
fn the_terminal_has_the_size_asked_for() {
    let bundle = with_terminal(&["winsize"]);
    bundle.set("/process/consoleSize", json!({ "height": 33, "width": 99 }));
    let socket = ConsoleSocket::listen(&bundle.dir);
    bundle.create_with(&["--console-socket", socket.path.to_str().expect("UTF-8")]).ok();
    let mut terminal = socket.receive();
    bundle.start().ok();
    assert_eq!(terminal.rest().trim(), "33 99");
}

#[test]
fn a_change_of_size_reaches_the_process() {
    let bundle = with_terminal(&["winsize", "--wait"]);
    let socket = ConsoleSocket::listen(&bundle.dir);
    bundle.create_with(&["--console-socket", socket.path.to_str().expect("UTF-8")]).ok();
    let mut terminal = socket.receive();
    bundle.start().ok();
    terminal.expect("ready");
    terminal.resize(41, 101);
    terminal.expect("41 101");
}

#[test]
fn the_size_of_the_callers_terminal_is_passed_on() {
    let bundle = with_terminal(&["winsize", "--wait"]);
    let mut command = bundle.runtime.command(&["run", "--bundle", "bundle", &bundle.id]);
    let (mut terminal, mut child) = Terminal::spawn(&mut command, 30, 90);
    terminal.expect("ready");
    terminal.resize(31, 91);
    terminal.expect("31 91");
    assert_eq!(wait_for(&mut child, 10.0).and_then(|s| s.code()), Some(0));
}

#[test]
fn what_is_typed_reaches_the_process() {
    // Only after its prompt is the caller's own terminal known to be raw.
    let bundle = with_terminal(&["seq", "echo", "prompt", "--", "cat"]);
    let mut command = bundle.runtime.command(&["run", "--bundle", "bundle", &bundle.id]);
    let (mut terminal, mut child) = Terminal::spawn(&mut command, 24, 80);
    terminal.expect("prompt");
    terminal.write("typed\n");
    // Once as the echo.
    terminal.expect("typed");
    terminal.write("\u{4}");
    terminal.expect("typed\r\ntyped");
    assert_eq!(wait_for(&mut child, 10.0).and_then(|s| s.code()), Some(0));
}

#[test]
fn an_interrupt_typed_ends_the_process_not_the_runtime() {
    let bundle = with_terminal(&["trap"]);
    let mut command = bundle.runtime.command(&["run", "--bundle", "bundle", &bundle.id]);
    let (mut terminal, mut child) = Terminal::spawn(&mut command, 24, 80);
    terminal.expect("ready");
    terminal.write("\u{3}");
    terminal.expect("2\r\n");
    assert_eq!(wait_for(&mut child, 10.0).and_then(|s| s.code()), Some(0));
}

#[test]
fn exec_gets_a_terminal_of_its_own() {
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.launch();
    let mut command = bundle.runtime.command(&["exec", "--tty", &bundle.id, "/init", "report"]);
    let (mut terminal, mut child) = Terminal::spawn(&mut command, 24, 80);
    let report = parse(terminal.rest());
    assert_eq!(wait_for(&mut child, 10.0).and_then(|s| s.code()), Some(0));
    assert_eq!(report["tty"]["is"], json!([true, true, true]));
    assert_eq!(report["tty"]["controlling"], true);
    assert_eq!(report["ids"]["sid"], report["ids"]["pid"]);
}

#[test]
fn the_device_console_is_the_terminal() {
    let bundle = with_terminal(&["seq", "stat", "/dev/console", "--", "open", "/dev/console", "w"]);
    let mut command = bundle.runtime.command(&["run", "--bundle", "bundle", &bundle.id]);
    let (mut terminal, mut child) = Terminal::spawn(&mut command, 24, 80);
    let seen = terminal.rest().to_owned();
    assert_eq!(wait_for(&mut child, 10.0).and_then(|s| s.code()), Some(0));
    let (stat, open) = seen.trim().split_once("\r\n").expect("two lines");
    let stat = parse(stat);
    // A mount of the terminal (Unix98 ones have the majors 136 to 143), or a link to it.
    let is_terminal = stat["rdev"][0].as_u64().is_some_and(|major| (136..=143).contains(&major));
    assert!(is_terminal || stat["link"] == "/dev/pts/0", "{stat}");
    assert_eq!(open, "ok");
}

#[test]
fn a_terminal_in_the_background_needs_a_socket() {
    let bundle = with_terminal(&["report"]);
    assert_ne!(bundle.create().code, 0);
    bundle.assert_nothing_left();
}

#[test]
fn a_console_socket_without_terminal_is_refused() {
    let bundle = Bundle::new();
    let socket = ConsoleSocket::listen(&bundle.dir);
    assert_ne!(bundle.create_with(&["--console-socket", socket.path.to_str().expect("UTF-8")]).code, 0);
    bundle.assert_nothing_left();
}
