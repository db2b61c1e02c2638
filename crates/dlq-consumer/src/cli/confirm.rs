//! Asking before something is done that cannot be undone.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    process::ExitCode,
};

/// Whether to go on: with `--yes`, or when somebody at a terminal types `name`. Otherwise the exit code to end with.
pub fn confirm(what: &str, name: &str, yes: bool) -> Result<(), ExitCode> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        eprintln!("error: {what}: nobody is there to be asked; say --yes if it is meant");
        return Err(ExitCode::from(2));
    }
    eprint!("{what}\nType {name} to go on: ");
    io::stderr().flush().ok();
    let mut answer = String::new();
    if io::stdin().lock().read_line(&mut answer).is_ok() && answer.trim() == name {
        return Ok(());
    }
    eprintln!("nothing was done");
    Err(ExitCode::FAILURE)
}
