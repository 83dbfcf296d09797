//! By which name was I called → cli; one error; the exit status.

// glibc gives the standard library argv by itself; elsewhere the usual `main` has to.
#![cfg_attr(all(target_env = "gnu", not(test)), no_main)]

use kiste::cli::{self, Exit};
use kiste::kernel::startup;
use kiste::log;

/// The C library's entry: see [`startup`].
#[cfg(all(target_env = "gnu", not(test)))]
#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    startup::begin();
    startup::end(status())
}

#[cfg(any(not(target_env = "gnu"), test))]
fn main() -> std::process::ExitCode {
    startup::end(status())
}

fn status() -> u8 {
    match cli::parse(std::env::args_os()) {
        Ok(invocation) => carry_out(invocation),
        Err(Exit::Help(text)) => match cli::output::print(&text) {
            Ok(()) => 0,
            Err(error) => failed(1, &error.to_string()),
        },
        Err(Exit::Failure(error, settings)) => {
            // Should the log be at fault as well, the first failure is the one to tell.
            log::open(settings).ok();
            failed(1, &error.to_string())
        }
    }
}

fn carry_out(invocation: cli::Invocation) -> u8 {
    let status = invocation.command.failure_status();
    if let Err(error) = log::open(invocation.global.log.clone()) {
        return failed(1, &error.to_string());
    }
    match cli::run(&invocation.global, invocation.command) {
        Ok(status) => status,
        // anyhow's alternate form: the whole chain in one line.
        Err(error) => failed(status, &format!("{error:#}")),
    }
}

fn failed(status: u8, message: &str) -> u8 {
    log::error(message);
    status
}
