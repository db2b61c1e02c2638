//! How far a partition is done: the offset below which nothing is outstanding.

use std::collections::BTreeSet;

/// Tracks the delivered and the outstanding offsets of one partition, for one assignment of it.
///
/// Offsets may have gaps (compaction, transaction markers), so it goes by the offsets that were delivered.
#[derive(Clone, Debug, Default)]
pub struct Watermark {
    outstanding: BTreeSet<i64>,
    highest_delivered: Option<i64>,
}

impl Watermark {
    /// Notes a delivery. `false`, and nothing is noted, when the offset is not above the highest one: this log is not the one
    /// that was delivered before.
    pub fn deliver(&mut self, offset: i64) -> bool {
        if self.highest_delivered.is_some_and(|highest| offset <= highest) {
            return false;
        }
        self.highest_delivered = Some(offset);
        self.outstanding.insert(offset);
        true
    }

    /// Notes that everything there is to do about an offset is durable. Gives the offset to store (the next one to
    /// consume) when that moved the watermark.
    pub fn complete(&mut self, offset: i64) -> Option<i64> {
        let before = self.watermark();
        self.outstanding.remove(&offset);
        self.watermark().filter(|after| Some(*after) > before)
    }

    /// The lowest outstanding offset, or the one after the highest delivered; `None` before the first delivery.
    pub fn watermark(&self) -> Option<i64> {
        self.outstanding.first().copied().or_else(|| self.highest_delivered.map(|highest| highest + 1))
    }

    /// Offsets from the watermark to the one after the highest delivered: what would be consumed again after a crash.
    pub fn lag(&self) -> i64 {
        self.highest_delivered.zip(self.watermark()).map_or(0, |(highest, watermark)| highest + 1 - watermark)
    }

    /// The highest offset that was delivered.
    pub fn highest_delivered(&self) -> Option<i64> {
        self.highest_delivered
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_lowest_outstanding_offset_bounds_what_is_stored() {
        let mut watermark = Watermark::default();
        for offset in [5, 7, 9] {
            assert!(watermark.deliver(offset));
        }
        assert_eq!((watermark.complete(7), watermark.lag()), (None, 5));
        assert_eq!(watermark.complete(5), Some(9), "7 was done before and 9 is outstanding");
        assert_eq!((watermark.complete(9), watermark.lag()), (Some(10), 0));
        assert_eq!(watermark.complete(9), None, "a completion that comes twice moves nothing");
        assert!(!watermark.deliver(9), "a delivery that is not above the highest one is none of this log");
    }

    proptest! {
        /// Whatever the order of completions, what is stored never passes an outstanding record, never goes back,
        /// and ends after the last delivery.
        #[test]
        fn no_order_of_completions_stores_too_much(
            gaps in proptest::collection::vec(1i64..4, 1..60),
            order in any::<proptest::sample::Index>().prop_flat_map(|_| proptest::collection::vec(any::<u32>(), 60)),
        ) {
            let offsets: Vec<i64> = gaps.iter().scan(100, |offset, gap| { *offset += gap; Some(*offset) }).collect();
            let mut watermark = Watermark::default();
            let mut outstanding = BTreeSet::new();
            for offset in &offsets {
                prop_assert!(watermark.deliver(*offset));
                outstanding.insert(*offset);
            }
            let mut shuffled: Vec<(u32, i64)> = order.into_iter().zip(offsets.iter().copied()).collect();
            shuffled.sort_unstable();
            let mut stored = i64::MIN;
            for (_, offset) in shuffled {
                outstanding.remove(&offset);
                if let Some(next) = watermark.complete(offset) {
                    prop_assert!(next > stored);
                    prop_assert!(outstanding.first().is_none_or(|lowest| next <= *lowest));
                    stored = next;
                }
            }
            prop_assert_eq!(stored, offsets.last().unwrap() + 1);
            prop_assert_eq!(watermark.lag(), 0);
        }
    }
}
