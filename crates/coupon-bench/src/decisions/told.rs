//! What the topic of decisions holds: how late each event came, and what is missing, wrong or out of order.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use coupon_e2e::kafka::record::Record;
use uuid::Uuid;

/// What was told of one campaign.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Told {
    /// Decisions without an event.
    pub(super) lost: u64,
    /// Events that name no decision of the campaign, and numbers that are given twice.
    pub(super) wrong: u64,
    /// Events that come for the first time and after a higher number in their partition.
    pub(super) out_of_order: u64,
    /// From the decision to the append of its event at the broker, in ms, of each event that comes for the first time, sorted.
    pub(super) delays_ms: Vec<f64>,
}

impl Told {
    /// Compares the records, in the order of their offsets, with the decisions of the campaign.
    pub(super) fn of(records: &[Record], decided: &[Uuid]) -> Result<Self> {
        let mut told = Self::default();
        let mut missing: HashSet<Uuid> = decided.iter().copied().collect();
        let (mut by_number, mut highest) = (HashMap::<i64, Uuid>::new(), BTreeMap::<i32, i64>::new());
        for record in records {
            let number: i64 = record.header("ce_decisionno").context("a number")?.parse()?;
            let id: Uuid = record.header("ce_id").context("an id")?.parse()?;
            match by_number.insert(number, id) {
                // At least once: the same may come again.
                Some(before) if before == id => continue,
                Some(_) => told.wrong += 1,
                None => {}
            }
            told.wrong += u64::from(!missing.remove(&id));
            let highest = highest.entry(record.partition).or_default();
            told.out_of_order += u64::from(number < *highest);
            *highest = (*highest).max(number);
            let decided_at: DateTime<Utc> = record.header("ce_time").context("a time")?.parse()?;
            let appended = DateTime::from_timestamp_millis(record.timestamp_ms.context("a timestamp")?);
            let delay = appended.context("a timestamp")? - decided_at;
            told.delays_ms.push((delay.as_seconds_f64() * 1000.0).max(0.0));
        }
        told.lost = missing.len() as u64;
        told.delays_ms.sort_by(f64::total_cmp);
        Ok(told)
    }

    /// Returns a quantile (0 to 1) of the delays, in ms; 0 without an event.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    pub(super) fn delay_ms(&self, quantile: f64) -> f64 {
        let place = (self.delays_ms.len() as f64 * quantile).ceil() as usize;
        self.delays_ms.get(place.saturating_sub(1)).copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: i64, id: u128, late_ms: i64) -> Record {
        let header = |name: &str, value: String| (name.to_owned(), Some(value.into_bytes()));
        Record {
            partition: 0,
            offset: 0,
            key: None,
            value: None,
            headers: vec![
                header("ce_decisionno", number.to_string()),
                header("ce_id", Uuid::from_u128(id).to_string()),
                header("ce_time", "1970-01-01T00:00:00.000000Z".to_owned()),
            ],
            timestamp_ms: Some(late_ms),
        }
    }

    #[test]
    fn what_is_lost_wrong_late_or_out_of_order_is_counted() {
        let decided: Vec<Uuid> = (1..=4).map(Uuid::from_u128).collect();
        let good = [event(1, 1, 10), event(2, 2, 20), event(3, 3, 30), event(2, 2, 900), event(4, 4, 40)];
        let told = Told::of(&good, &decided).unwrap();
        assert_eq!((told.lost, told.wrong, told.out_of_order), (0, 0, 0), "what comes again is no harm");
        assert_eq!((told.delay_ms(0.5), told.delay_ms(0.99)), (20.0, 40.0));
        let bad = [event(2, 2, 1), event(1, 1, 1), event(2, 3, 1), event(5, 9, 1)];
        let told = Told::of(&bad, &decided).unwrap();
        assert_eq!((told.lost, told.wrong, told.out_of_order), (1, 2, 1));
        assert!((Told::default().delay_ms(0.99)).abs() < f64::EPSILON);
    }
}
