//! The lag of the group of a consumer, as the brokers see it: a consumer that may not fetch, or is given no records, cannot know
//! its own lag.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Mutex as AsyncMutex, mpsc::UnboundedSender},
    time::Instant,
};

use super::{ConsumerProgress, PublishError, progress::Gap};
use crate::runtime::{Condition, SettingsError, chain, within};

/// How often the lag is measured.
pub(super) const LAG_PERIOD: Duration = Duration::from_secs(2);

/// The `[lag]` section.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LagSettings {
    /// How long a committed offset may stand still below the end, in ms.
    pub stalled_after_ms: u64,
}

impl LagSettings {
    /// Tests what the types cannot.
    pub fn check(&self) -> Result<(), SettingsError> {
        within("lag.stalled_after_ms", self.stalled_after_ms, 1_000..=3_600_000, "ms")
    }
}

/// The partitions of this consumer, each with whether it works on records of the partition, or has paused it. Clones share the
/// map.
#[derive(Clone, Default)]
pub(super) struct Assigned(Arc<Mutex<Option<BTreeMap<i32, bool>>>>);

impl Assigned {
    pub(super) fn set(&self, partitions: BTreeMap<i32, bool>) {
        let mut assigned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if assigned.is_some() || !partitions.is_empty() {
            *assigned = Some(partitions);
        }
    }

    /// Whether this consumer should fetch the unread records of this partition. A consumer that never had a partition is
    /// responsible for each: it may lack the right to be in the group. One that had some and has none now is a spare.
    fn is_responsible_for(&self, partition: i32) -> bool {
        let assigned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match assigned.as_ref() {
            None => true,
            Some(assigned) => assigned.get(&partition).is_some_and(|is_busy| !is_busy),
        }
    }
}

/// Watches the lag of one group.
pub(super) struct LagWatch {
    progress: ConsumerProgress,
    assigned: Assigned,
    stalled_after: Duration,
    condition: Condition,
    /// Receives the partitions whose log was cut or made anew.
    rewound: UnboundedSender<i32>,
    seen: AsyncMutex<Seen>,
}

#[derive(Default)]
struct Seen {
    ends: BTreeMap<i32, i64>,
    standing: BTreeMap<i32, Standing>,
    /// Gaps that were read and hold no record.
    empty: BTreeMap<i32, Gap>,
    is_failing: bool,
}

/// A partition in which the group lags.
struct Standing {
    gap: Gap,
    since: Instant,
    /// The gap in which a record was looked for.
    read: Option<Gap>,
}

impl LagWatch {
    pub(super) fn new(
        progress: ConsumerProgress,
        assigned: Assigned,
        settings: &LagSettings,
        condition: Condition,
        rewound: UnboundedSender<i32>,
    ) -> Self {
        condition.ready();
        let stalled_after = Duration::from_millis(settings.stalled_after_ms);
        Self { progress, assigned, stalled_after, condition, rewound, seen: AsyncMutex::default() }
    }

    pub(super) async fn measure(&self) {
        let mut seen = self.seen.lock().await;
        match self.measure_lag(&mut seen).await {
            Ok(()) => seen.is_failing = false,
            Err(error) if !seen.is_failing => {
                seen.is_failing = true;
                tracing::warn!(
                    topic = self.progress.topic(),
                    "how far the group {} has come cannot be asked now: {}",
                    self.progress.group(),
                    chain(&error)
                );
            }
            Err(_) => {}
        }
    }

    async fn measure_lag(&self, seen: &mut Seen) -> Result<(), PublishError> {
        let ends = self.progress.end_offsets().await?;
        for (partition, end) in ends.by_partition() {
            if seen.ends.insert(partition, end).is_some_and(|before| end < before) {
                // The engine is gone only at the end.
                let _ = self.rewound.send(partition);
            }
        }
        let mut gaps = self.progress.gaps(&ends).await?;
        gaps.retain(|partition, gap| seen.empty.get(partition) != Some(gap));
        let now = Instant::now();
        seen.stand(&gaps, now);
        let unread = seen.take_old(self.stalled_after / 2, now);
        if !unread.is_empty() {
            let records = self.progress.unread(unread.clone()).await?;
            seen.have_read(unread, &records);
        }
        self.report(seen);
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "numbers of records are far below 2^53")]
    fn report(&self, seen: &Seen) {
        let records: i64 = seen.standing.values().map(|standing| standing.gap.end - standing.gap.at).sum();
        let longest = seen.standing.values().map(|standing| standing.since.elapsed()).max().unwrap_or_default();
        metrics::gauge!("coupon_group_lag_records").set(records as f64);
        metrics::gauge!("coupon_group_lag_seconds").set(longest.as_secs_f64());
        let stalled = seen.standing.iter().find(|(partition, standing)| {
            standing.since.elapsed() >= self.stalled_after && self.assigned.is_responsible_for(**partition)
        });
        match stalled {
            None => self.condition.ready(),
            Some((partition, Standing { gap, since, .. })) => self.condition.unready(format!(
                "kafka gives no records: partition {partition} of {} has {} that the group {} has not passed, and its \
                 offset has stood still for {} s",
                self.progress.topic(),
                gap.end - gap.at,
                self.progress.group(),
                since.elapsed().as_secs()
            )),
        }
    }
}

impl Seen {
    /// Notes the gaps of the group. Each step forward begins the time anew.
    fn stand(&mut self, gaps: &BTreeMap<i32, Gap>, now: Instant) {
        self.standing.retain(|partition, _| gaps.contains_key(partition));
        for (partition, gap) in gaps {
            match self.standing.get_mut(partition) {
                Some(standing) if standing.gap.at == gap.at => standing.gap = *gap,
                _ => {
                    let standing = Standing { gap: *gap, since: now, read: None };
                    self.standing.insert(*partition, standing);
                }
            }
        }
    }

    /// Takes the gaps that have stood still for so long that they are to be read, once: a gap may hold no record.
    fn take_old(&mut self, still: Duration, now: Instant) -> BTreeMap<i32, Gap> {
        let old = self
            .standing
            .iter_mut()
            .filter(|(_, standing)| now.duration_since(standing.since) >= still && standing.read != Some(standing.gap));
        old.map(|(partition, standing)| (*partition, *standing.read.insert(standing.gap))).collect()
    }

    fn have_read(&mut self, asked: BTreeMap<i32, Gap>, records: &BTreeMap<i32, Gap>) {
        for (partition, gap) in asked {
            if !records.contains_key(&partition) {
                self.standing.remove(&partition);
                self.empty.insert(partition, gap);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_that_are_no_records_are_no_lag_and_a_step_forward_begins_the_time_anew() {
        let mut seen = Seen::default();
        let gaps = |at, end| BTreeMap::from([(0, Gap { at, end })]);
        let still = Duration::from_secs(30);
        let begin = Instant::now();
        seen.stand(&gaps(5, 7), begin);
        assert!(seen.take_old(still, begin).is_empty());
        seen.stand(&gaps(5, 8), begin + still);
        assert_eq!(
            seen.take_old(still, begin + still),
            gaps(5, 8),
            "more has come, and the group stands where it stood"
        );
        assert!(seen.take_old(still, begin + still).is_empty(), "once");
        seen.stand(&gaps(6, 8), begin + still);
        assert!(seen.take_old(still, begin + still).is_empty(), "it has moved");
        let asked = seen.take_old(still, begin + still * 2);
        seen.have_read(asked.clone(), &asked);
        assert_eq!(seen.standing.len(), 1, "there is a record");
        seen.have_read(asked, &BTreeMap::new());
        assert!(seen.standing.is_empty() && seen.empty.get(&0) == Some(&Gap { at: 6, end: 8 }));
    }
}
