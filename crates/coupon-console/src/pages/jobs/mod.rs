//! What runs in the services: replays, and all other jobs.

mod act;
mod progress;
mod replays;
mod service;

pub(super) use act::{JobForm, cancel_job, cancel_replay, pause_replay, rate_replay, resume_replay};
pub(super) use replays::{list as list_replays, show as show_replay};
pub(super) use service::{list as list_jobs, show as show_job};

use serde::Deserialize;

use crate::answer::Failure;

/// Rows of a page.
const PAGE_ROWS: i64 = 50;
/// Seconds without a heartbeat from which a page says that nobody works on a job.
const SILENT_SECONDS: i64 = 10;

/// The query of a list of jobs.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Asked {
    /// Only lower numbers: the next page.
    before: Option<i64>,
}

/// Returns the number of a job in an address.
fn number(text: &str, what: &str) -> Result<i64, Failure> {
    text.parse().map_err(|_| Failure::not_found(format!("there is no {what} {text}")))
}
