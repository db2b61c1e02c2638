//! Jobs about rows: bulk settling, and compensation.

use std::future::pending;

use coupon_core::repo::{
    jobs::Beat,
    work_list::{Filter, List, Settling, Verb},
};
use serde_json::Value;

use super::work::Turn;
use crate::{OperationsError, replay::Compensated, terminal::counted};

/// Rows settled in one transaction.
const SETTLE_BATCH_ROWS: i64 = 500;
/// Dead letters compensated between two notes of the progress.
const COMPENSATE_BATCH_ROWS: i64 = 20;

impl Turn<'_> {
    /// Settles the rows of a filter, batch by batch, each with the job's progress in its transaction.
    pub(super) async fn settle(
        &self,
        list: List,
        verb: Verb,
        filter: &Filter,
        reason: &str,
        progress: &Value,
    ) -> Result<String, OperationsError> {
        let number = |name: &str| progress.get(name).and_then(Value::as_i64).unwrap_or(0);
        let (mut after, mut done) = (number("cursor"), number("done"));
        let settling = Settling { list, verb, reason: reason.to_owned() };
        loop {
            let (hold, settling, filter) = ((self.job_id, self.worker.clone()), settling.clone(), filter.clone());
            let me = self.operations.me();
            let jobs = self.operations.database.jobs();
            match jobs.settle(hold, settling, filter, (after, SETTLE_BATCH_ROWS), me).await? {
                None => self.lost().await,
                Some(batch) => match batch.last() {
                    None => return Ok(format!("{} became {}", rows(list, done), verb.transition(list).1)),
                    Some(last) => {
                        after = *last;
                        done += i64::try_from(batch.len()).unwrap_or(0);
                    }
                },
            }
        }
    }

    /// Compensates the dead letters of a filter.
    pub(super) async fn compensate(
        &self,
        filter: &Filter,
        reason: &str,
        mut progress: Value,
    ) -> Result<String, OperationsError> {
        let mut after = progress.get("cursor").and_then(Value::as_i64).unwrap_or(0);
        let mut sum: Compensated = serde_json::from_value(progress.clone()).unwrap_or_default();
        let operations = self.operations;
        while let Some(last) =
            operations.compensate_page(filter, (after, COMPENSATE_BATCH_ROWS), reason, &mut sum, &|_| {}).await?
        {
            after = last;
            progress["cursor"] = after.into();
            progress["done"] = (sum.compensated + sum.decided_before + sum.left).into();
            progress["compensated"] = sum.compensated.into();
            progress["decided_before"] = sum.decided_before.into();
            progress["left"] = sum.left.into();
            let jobs = operations.database.jobs();
            // Before the next batch: a worker that has lost the job, or whose job was cancelled, stops here.
            if jobs.beat(self.job_id, self.worker.clone(), Some(progress.clone())).await? != Beat::Held {
                self.lost().await;
            }
        }
        Ok(format!(
            "{} compensated, {} had been decided before, {} left as they are",
            sum.compensated, sum.decided_before, sum.left
        ))
    }

    /// Waits to be dropped: the next heartbeat finds that the job is not this worker's any more.
    async fn lost(&self) {
        pending::<()>().await;
    }
}

/// Returns a count of rows with the noun of their list.
fn rows(list: List, count: i64) -> String {
    match list {
        List::Requests => counted(count, "entry", "entries"),
        List::DlqEvents => counted(count, "dead letter", "dead letters"),
    }
}
