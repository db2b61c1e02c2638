//! What is going on, on stderr: bars on a terminal, plain lines elsewhere.

use std::{
    io::{IsTerminal, stderr},
    time::Duration,
};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

/// Says that something of unknown length has begun; a terminal shows how long it has taken so far.
pub fn step(what: &str) -> ProgressBar {
    if !stderr().is_terminal() {
        eprintln!("{what}");
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {msg}  {elapsed}").unwrap_or_else(|_| template_is_wrong());
    let bar = ProgressBar::new_spinner().with_style(style).with_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Says that so many of something are being dealt with; a terminal shows how many are left.
pub fn counted(what: &str, count: u64) -> ProgressBar {
    if !stderr().is_terminal() {
        eprintln!("{what}: {}", HumanCount(count));
        return ProgressBar::hidden();
    }
    let template = "{msg} {bar:40} {human_pos} of {human_len}  {per_sec}  {eta} left";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| template_is_wrong());
    ProgressBar::new(count).with_style(style).with_message(what.to_owned())
}

/// Says something that stays on the screen.
pub fn say(what: &str) {
    eprintln!("{what}");
}

fn template_is_wrong() -> ProgressStyle {
    ProgressStyle::default_bar()
}
