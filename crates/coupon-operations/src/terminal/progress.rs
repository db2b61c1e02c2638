//! The progress of an operation: a bar on a terminal, lines on standard error elsewhere.

use std::{
    io::{IsTerminal, stderr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

/// Least time between two lines where there is no terminal.
const MIN_LINE_PERIOD: Duration = Duration::from_secs(5);

/// A progress bar, or lines on standard error where there is no terminal.
pub struct Progress {
    bar: Option<ProgressBar>,
    what: String,
    last_line: Mutex<(Instant, String)>,
}

impl Progress {
    /// Returns a bar that counts `what`, such as `requests`.
    pub fn new(what: &str) -> Self {
        let bar = stderr().is_terminal().then(ProgressBar::no_length);
        Self { bar, what: what.to_owned(), last_line: Mutex::new((Instant::now(), String::new())) }
    }

    /// Shows that `done` of `all` are done.
    pub fn of(&self, done: u64, all: u64) {
        if let Some(bar) = &self.bar {
            bar.set_style(style("{bar:30} {human_pos} of {human_len} {msg}, {eta} to go"));
            bar.set_message(self.what.clone());
            bar.set_length(all.max(done));
            bar.set_position(done);
        } else {
            self.line(&format!("{} of {} {}", HumanCount(done), HumanCount(all), self.what));
        }
    }

    /// Shows two counts whose ends are not known.
    pub fn both(&self, first: u64, second: u64) {
        self.wait_for(&format!("{} and {} {}", HumanCount(first), HumanCount(second), self.what));
    }

    /// Shows what the operation waits for.
    pub fn wait_for(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_style(style("{spinner} {msg}"));
            bar.set_message(what.to_owned());
            bar.tick();
        } else {
            self.line(what);
        }
    }

    /// Prints a line that stays above the bar.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    /// Removes the bar.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Prints a line, unless it is the last one again or the last one was printed moments ago.
    fn line(&self, line: &str) {
        let mut last = self.last_line.lock().unwrap_or_else(PoisonError::into_inner);
        if last.1 != line && (last.1.is_empty() || last.0.elapsed() >= MIN_LINE_PERIOD) {
            *last = (Instant::now(), line.to_owned());
            eprintln!("{line}");
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates are written here")
}
