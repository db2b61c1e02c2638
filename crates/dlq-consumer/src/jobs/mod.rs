//! Jobs: what the service does at intervals, in every replica: by itself, but for the jobs of operators.
//!
//! | task | period | what it does |
//! | --- | --- | --- |
//! | `gauges` | 10 s | counts the work list, undecided dead letters and campaigns, for `/metrics` |
//! | `newer versions` | 1 min | decides held dead letters of event versions that this build can read |
//! | `replay settling` | 1 s | notes replays whose outcome is known |
//! | `reconcile` | `reconcile.every_ms` | compares Redis with PostgreSQL, in one replica at a time |
//! | `jobs watch` | 1.3 s | looks for what operators asked for, at once where this process made it, and wakes a worker |
//! | `replays`, `jobs` | | work on it, one job a worker; `jobs.workers` of each |
//! | `retention` | 1 h | purges old rows of what is done |

mod gauges;
mod newer_versions;
mod reconcile;
mod replay_settling;
mod retention;
mod workers;

pub use newer_versions::NewerVersions;
pub use workers::JobSettings;

use coupon_core::{
    event::VERSION,
    runtime::{Shutdown, Tasks},
    writing::Writer,
};
use coupon_operations::Operations;

use crate::config::Config;

/// Starts all jobs under `tasks`, which `stop` ends.
pub fn start(operations: &Operations, writer: Writer, config: &Config, tasks: &Tasks, stop: &Shutdown) {
    gauges::start(operations.database.clone(), operations.clock.clone(), tasks);
    let (database, clock) = (operations.database.clone(), operations.clock.clone());
    let events = operations.events.clone();
    let newer_versions = NewerVersions { database, writer, events, clock, supported: VERSION };
    tasks.spawn("newer versions", newer_versions.run(stop.clone()));
    replay_settling::start(operations.clone(), tasks);
    reconcile::start(operations.clone(), &config.reconcile, tasks);
    workers::start(operations, &config.jobs, tasks, stop);
    let publishing = config.decisions.enabled;
    retention::start(operations.clone(), config.retention.days, publishing, tasks, stop.clone());
}
