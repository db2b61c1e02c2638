//! What a writer expects of its next batch, by what the last ones held.

use crate::repo::issues::Expected;

/// Batches for which it is kept: one record in a hundred is in every third batch of forty, and then it pays to expect it.
const KEPT_FOR: u32 = 16;

/// Nothing special, until a batch held something.
#[derive(Debug)]
pub(super) struct Expectation {
    next: Expected,
    /// Batches for which it is kept.
    left: u32,
}

impl Expectation {
    pub(super) const NOTHING_SPECIAL: Self = Self { next: Expected::AllNew, left: 0 };

    /// What the next batch is written as.
    pub(super) fn of_next(&self) -> Expected {
        self.next
    }

    /// A batch that was written held this.
    pub(super) fn learn(&mut self, held: Expected) {
        self.left = self.left.saturating_sub(1);
        if held > Expected::AllNew && held >= self.next {
            *self = Self { next: held, left: KEPT_FOR };
        } else if self.left == 0 {
            *self = Self::NOTHING_SPECIAL;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_batch_held_is_expected_of_the_next_sixteen_and_the_worse_of_two_counts() {
        let mut expectation = Expectation::NOTHING_SPECIAL;
        expectation.learn(Expected::AllNew);
        assert_eq!(expectation.of_next(), Expected::AllNew);
        expectation.learn(Expected::SomeRefused);
        for batch in 1..=16 {
            assert_eq!(expectation.of_next(), Expected::SomeRefused, "{batch}");
            expectation.learn(if batch == 3 { Expected::SomeThere } else { Expected::AllNew });
        }
        assert_eq!(expectation.of_next(), Expected::AllNew);
        expectation.learn(Expected::SomeThere);
        assert_eq!(expectation.of_next(), Expected::SomeThere);
        expectation.learn(Expected::SomeRefused);
        assert_eq!(expectation.of_next(), Expected::SomeRefused);
    }
}
