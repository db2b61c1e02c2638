//! What a plan counts while somebody waits for it: in steps, so that no statement takes long, and up to a bound.

use std::time::{Duration, Instant};

use coupon_core::repo::{
    replays::{Plan, SampledRow},
    work_list::Filter,
};

use super::Change;
use crate::{Operations, OperationsError};

/// Rows that one statement judges: some 200 ms on a busy machine.
const STEP_ROWS: i64 = 10_000;
/// Rows of the change after which the count ends.
const MAX_COUNTED: i64 = 100_000;
/// Time after which the count ends with the step it is at: where few rows are found among very many.
const COUNT_WITHIN: Duration = Duration::from_secs(2);
/// Examples of a plan.
const SAMPLED_ROWS: usize = 10;

impl Operations {
    /// Counts the rows of a change, lowest number first, and gives some as examples. A count that is ended says so, and its upper
    /// number is then that of the newest row: the plan is about all of them.
    pub(super) async fn count(&self, change: &Change) -> Result<(Plan, Vec<SampledRow>), OperationsError> {
        let (mut plan, mut sample, began) = (Plan::default(), Vec::new(), Instant::now());
        let Some((list, filter)) = change.rows() else { return Ok((plan, sample)) };
        let work_list = self.database.work_list();
        // What comes while it counts is not meant.
        let newest = work_list.newest(list).await?.unwrap_or(0);
        let up_to = filter.up_to.map_or(newest, |up_to| up_to.min(newest));
        let mut rest = Filter { above: Some(0), up_to: Some(up_to), ..filter.clone() };
        while let Some(last) = work_list.step(list, &rest, STEP_ROWS).await? {
            if plan.counted() >= MAX_COUNTED || began.elapsed() >= COUNT_WITHIN {
                (plan.at_least, plan.up_to) = (true, up_to);
                break;
            }
            let mut step = change.clone();
            if let Some(filter) = step.filter_mut() {
                *filter = Filter { up_to: Some(last), ..rest.clone() };
            }
            let counted = self.plan_of(&step).await?;
            if counted.eligible > 0 && sample.len() < SAMPLED_ROWS {
                sample.extend(self.sample_of(&step).await?);
                sample.truncate(SAMPLED_ROWS);
            }
            plan.add(counted);
            rest.above = Some(last);
        }
        Ok((plan, sample))
    }
}
