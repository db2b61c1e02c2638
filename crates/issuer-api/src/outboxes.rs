//! What this process knows of the outboxes of all campaigns, and which of them it asks Redis about next.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use coupon_core::{
    ids::CouponCode,
    runtime::{Throttle, chain},
    stock::{Stock, StockError},
};
use futures_util::future::join_all;

/// Most questions of one pass about outboxes that were empty when last seen. One question is about up to 1,000 campaigns of a
/// server, but in a cluster about those of one slot: there each pass asks about the 100 that were asked about longest ago.
const MAX_QUESTIONS: usize = 100;

/// An outbox as it was listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outbox {
    /// Number of entries.
    pub waiting: u64,
    /// How long the oldest entry has waited.
    pub oldest: Duration,
    /// Whether Kafka did not acknowledge what was published from it.
    pub has_failed: bool,
}

/// Each outbox as it was seen last: one that cannot be seen is not empty.
#[derive(Debug, Default)]
pub struct Outboxes {
    seen: HashMap<CouponCode, Seen>,
    pass: u64,
}

#[derive(Debug, Default)]
struct Seen {
    outbox: Outbox,
    /// Number of the pass in which Redis was asked about it.
    pass: u64,
}

impl Outboxes {
    /// Begins a pass over these campaigns. Returns those whose outbox has to be listed: it had entries when it was seen last, or
    /// Redis says now that it has. Outboxes of no other campaign are kept.
    pub async fn begin_pass(&mut self, stock: &Stock, codes: Vec<CouponCode>) -> Vec<CouponCode> {
        self.pass += 1;
        let known: HashSet<&CouponCode> = codes.iter().collect();
        self.seen.retain(|code, _| known.contains(code));
        let (mut listed, others): (Vec<_>, Vec<_>) = codes.into_iter().partition(|code| self.has_entries(code));
        let questions = self.due(stock.outbox_questions(others));
        let answers = join_all(questions.iter().map(|codes| stock.waiting(codes))).await;
        for (codes, answer) in questions.into_iter().zip(answers) {
            match answer {
                Ok(waiting) => {
                    for code in codes.into_iter().filter(|code| !waiting.contains(code)) {
                        self.note(code, Outbox::default());
                    }
                    listed.extend(waiting);
                }
                Err(error) => {
                    report_unlisted(&format!("{} campaigns", codes.len()), &error);
                    // It answers, but not this question: a server that shards without saying so refuses one about several keys.
                    if matches!(error, StockError::Refused(_) | StockError::Reply(_)) {
                        listed.extend(codes.iter().cloned());
                    }
                    // Or a part of a cluster that is away would have all questions of each pass.
                    for code in codes {
                        self.seen.entry(code).or_default().pass = self.pass;
                    }
                }
            }
        }
        // Beginning with another one each time: where a pass ends early, the same coupons must not be served every time.
        let first = usize::try_from(self.pass).unwrap_or_default() % listed.len().max(1);
        listed.rotate_left(first);
        listed
    }

    /// Notes how an outbox was listed in this pass.
    pub fn note(&mut self, code: CouponCode, outbox: Outbox) {
        self.seen.insert(code, Seen { outbox, pass: self.pass });
    }

    /// Number of entries of all outboxes.
    pub fn waiting(&self) -> u64 {
        self.seen.values().map(|seen| seen.outbox.waiting).sum()
    }

    /// How long the oldest entry of all outboxes has waited.
    pub fn oldest(&self) -> Duration {
        self.seen.values().map(|seen| seen.outbox.oldest).max().unwrap_or_default()
    }

    fn has_entries(&self, code: &CouponCode) -> bool {
        self.seen.get(code).is_some_and(|seen| seen.outbox.waiting > 0)
    }

    /// The questions of this pass: about campaigns never asked about, then those asked about longest ago.
    fn due(&self, mut questions: Vec<Vec<CouponCode>>) -> Vec<Vec<CouponCode>> {
        let asked = |code: &CouponCode| self.seen.get(code).map_or(0, |seen| seen.pass);
        questions.sort_by_cached_key(|codes| codes.iter().map(asked).min());
        questions.truncate(MAX_QUESTIONS);
        questions
    }
}

/// Counts what Redis could not list, and logs it once a minute: an outbox that cannot be listed is not empty.
pub fn report_unlisted(what: &str, error: &StockError) {
    static UNLISTED: Throttle = Throttle::new();
    metrics::counter!("coupon_relay_failures_total").increment(1);
    if let Some(count) = UNLISTED.admit("") {
        tracing::warn!(
            count,
            error = %chain(error),
            "the outbox of {what} cannot be listed, and what waits in it is not published again ({count} times)"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(number: usize) -> CouponCode {
        format!("C{number}").parse().unwrap()
    }

    #[test]
    fn each_pass_asks_a_bounded_number_of_questions_and_every_campaign_has_its_turn_new_ones_first() {
        let all = |campaigns: usize| (0..campaigns).map(|number| vec![code(number)]).collect::<Vec<_>>();
        let mut outboxes = Outboxes::default();
        let mut pass = |questions: Vec<Vec<CouponCode>>| {
            outboxes.pass += 1;
            let asked = outboxes.due(questions).concat();
            for code in &asked {
                outboxes.note(code.clone(), Outbox::default());
            }
            asked
        };
        let first = pass(all(2 * MAX_QUESTIONS));
        let second = pass(all(2 * MAX_QUESTIONS + 1));
        assert_eq!((first.len(), second.len()), (MAX_QUESTIONS, MAX_QUESTIONS));
        assert_eq!(first.iter().chain(&second).collect::<HashSet<_>>().len(), 2 * MAX_QUESTIONS);
        let third = pass(all(2 * MAX_QUESTIONS + 2));
        let new = [2 * MAX_QUESTIONS, 2 * MAX_QUESTIONS + 1].map(code);
        assert!(new.iter().all(|code| third.contains(code)), "{third:?}");
        assert_eq!(third.iter().filter(|code| first.contains(code)).count() + new.len(), third.len(), "{third:?}");
    }
}
