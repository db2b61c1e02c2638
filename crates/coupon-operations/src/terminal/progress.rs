//! Progress of an operation: a bar on a terminal, plain lines elsewhere.

use std::{
    io::{IsTerminal, stderr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

/// Least time between two lines where there is no terminal.
const LINE_PERIOD: Duration = Duration::from_secs(5);

/// A bar, or lines on standard error.
pub struct Progress {
    bar: Option<ProgressBar>,
    what: String,
    said: Mutex<(Instant, String)>,
}

impl Progress {
    /// A bar that counts one thing.
    pub fn of_one(what: &str) -> Self {
        let bar = stderr().is_terminal().then(ProgressBar::no_length);
        Self { bar, what: what.to_owned(), said: Mutex::new((Instant::now(), String::new())) }
    }

    /// A bar that counts two things.
    pub fn of_two(first: &str, second: &str) -> Self {
        Self::of_one(&format!("{first} and {second}"))
    }

    /// So many of so many.
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

    /// So many of the one and of the other.
    pub fn both(&self, first: u64, second: u64) {
        self.wait_for(&format!("{} and {} {}", HumanCount(first), HumanCount(second), self.what));
    }

    /// What is waited for now.
    pub fn wait_for(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_style(style("{spinner} {msg}"));
            bar.set_message(what.to_owned());
            bar.tick();
        } else {
            self.line(what);
        }
    }

    /// A line that stays.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    /// Takes the bar off the screen.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// The same is not said twice, and nothing more often than every few seconds.
    fn line(&self, line: &str) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.1 != line && (said.1.is_empty() || said.0.elapsed() >= LINE_PERIOD) {
            *said = (Instant::now(), line.to_owned());
            eprintln!("{line}");
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates are written here")
}
