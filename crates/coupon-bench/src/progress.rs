//! What is going on, on stderr: bars on a terminal, plain lines elsewhere.

use std::{
    io::{IsTerminal, stderr},
    time::Duration,
};

use indicatif::{HumanCount, ProgressBar, ProgressFinish, ProgressStyle};

/// Says that something of unknown length has begun; a terminal shows how long it has taken so far, until the bar is
/// dropped.
pub fn step(what: &str) -> ProgressBar {
    if !stderr().is_terminal() {
        eprintln!("{what}");
        return ProgressBar::hidden();
    }
    let bar = shown(ProgressBar::new_spinner(), "{spinner} {msg}  {elapsed}", what);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Says that so many of something are being dealt with; a terminal shows how many are left.
pub fn counted(what: &str, count: u64) -> ProgressBar {
    if !stderr().is_terminal() {
        eprintln!("{what}: {}", HumanCount(count));
        return ProgressBar::hidden();
    }
    shown(ProgressBar::new(count), "{msg} {bar:40} {human_pos} of {human_len}  {per_sec}  {eta} left", what)
}

/// Prints a line to stderr, which no progress bar takes away again.
pub fn say(what: &str) {
    eprintln!("{what}");
}

fn shown(bar: ProgressBar, template: &str, what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style).with_message(what.to_owned()).with_finish(ProgressFinish::AndClear)
}
