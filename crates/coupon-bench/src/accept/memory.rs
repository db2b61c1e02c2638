//! Memory of the services: once they are ready, and at their peak.

use anyhow::{Context, Result};

use super::chain::Stage;
use crate::{limits::table::Collected, measure::usage};

/// What is resident now.
pub fn idle(stage: &Stage, collected: &mut Collected) -> Result<()> {
    collected.put("memory.issuer_api_idle_mib", mib(stage.api.pid())?.0);
    collected.put("memory.issue_consumer_idle_mib", mib(stage.issue_consumer.pid())?.0);
    collected.put("memory.dlq_consumer_idle_mib", mib(stage.dlq_consumer.pid())?.0);
    Ok(())
}

/// The peak so far. dlq-consumer is left out: it had nothing to do.
pub fn loaded(stage: &Stage, collected: &mut Collected) -> Result<()> {
    collected.put("memory.issuer_api_loaded_mib", mib(stage.api.pid())?.1);
    collected.put("memory.issue_consumer_loaded_mib", mib(stage.issue_consumer.pid())?.1);
    Ok(())
}

fn mib(pid: u32) -> Result<(f64, f64)> {
    usage::memory_mib(pid).context("a service has ended")
}
