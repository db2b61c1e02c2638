//! The traces of requests, for the events of their decisions: the table `coupon_decision_traces`.

use std::sync::Arc;

use uuid::Uuid;

use crate::{
    event::CouponIssued,
    failure::{Class, Classified},
    repo::{CouponIssueRepository, RepoError},
    runtime::{Throttle, chain},
};

/// Longest wait for the locks of traces, of which somebody who purges or alters them may have some.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '200ms'";

impl CouponIssueRepository<'_> {
    /// Keeps the traces of those of these events that have one, before the events are decided. Nearly always none has, and
    /// nothing is asked of PostgreSQL. A decision is worth more than its trace: only an outage is an error.
    pub(super) async fn keep_traces(self, events: &[Arc<CouponIssued>]) -> Result<(), RepoError> {
        static FAILED: Throttle = Throttle::new();
        let traced =
            events.iter().filter_map(|event| Some((event.request_id.as_uuid(), event.traceparent.as_deref()?)));
        let mut traced: Vec<(Uuid, String)> = traced.map(|(id, trace)| (id, trace.to_owned())).collect();
        if traced.is_empty() {
            return Ok(());
        }
        // In one order, so that batches with the same requests do not deadlock.
        traced.sort_unstable();
        let (ids, traces): (Vec<Uuid>, Vec<String>) = traced.into_iter().unzip();
        let kept = self.write("keep traces", move |pool| async move {
            // A transaction of its own, with which the short wait ends.
            let mut tx = pool.begin().await?;
            sqlx::query(LOCK_TIMEOUT).execute(&mut *tx).await?;
            sqlx::query(
                "INSERT INTO coupon_decision_traces (request_id, traceparent)
                 SELECT * FROM UNNEST($1::uuid[], $2::text[]) ON CONFLICT DO NOTHING",
            )
            .bind(ids)
            .bind(traces)
            .execute(&mut *tx)
            .await?;
            tx.commit().await
        });
        match kept.await {
            Err(error) if matches!(error.class(), Class::Unavailable | Class::Interrupted) => Err(error),
            Err(error) => {
                if let Some(count) = FAILED.admit("") {
                    let error = chain(&error);
                    tracing::warn!(count, %error, "decisions are published without the trace of their request ({count} times)");
                }
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}
