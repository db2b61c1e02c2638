//! Metrics of single campaigns, for the few that opened last: what Redis has of them, and what this process answered.
//!
//! A campaign that was closed loses its series a quarter of a minute later, so that their number stays bounded.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use coupon_core::{
    ids::CouponCode,
    repo::Database,
    runtime::{chain, fleeting},
    stock::{Stock, StockError, View},
};

/// How often PostgreSQL is asked which campaigns they are, and Redis what it has of these.
pub const REFRESH_PERIOD: Duration = Duration::from_secs(5);
/// How often Redis is told what was refused, where that has changed.
pub const REFUSED_PERIOD: Duration = Duration::from_secs(1);

/// The campaigns that have metrics of their own.
pub struct Campaigns {
    most: usize,
    /// The labels `outcome` and `answer` of the outcomes, by number.
    outcomes: Vec<(&'static str, &'static str)>,
    open: RwLock<HashMap<String, Arc<Requests>>>,
}

/// The requests for one campaign, by the number of their outcome.
pub struct Requests(Box<[Count]>);

/// Requests of one outcome.
#[derive(Default)]
struct Count {
    requests: AtomicU64,
    /// How many of them Redis was told of. Only the loop that tells it changes it.
    told: AtomicU64,
}

impl Requests {
    /// Counts a request.
    pub fn count(&self, outcome: usize) {
        self.0[outcome].requests.fetch_add(1, Ordering::Relaxed);
    }
}

impl Campaigns {
    /// None yet, and never more than `most`.
    pub fn new(most: usize, outcomes: Vec<(&'static str, &'static str)>) -> Self {
        Self { most, outcomes, open: RwLock::default() }
    }

    /// Whether no campaign ever has metrics of its own.
    pub fn is_off(&self) -> bool {
        self.most == 0
    }

    /// The requests for a campaign, if it has metrics of its own.
    pub fn of(&self, code: &str) -> Option<Arc<Requests>> {
        if self.is_off() {
            return None;
        }
        self.open.read().unwrap_or_else(PoisonError::into_inner).get(code).cloned()
    }

    /// Records the metrics anew. While PostgreSQL is away the campaigns stay those that were seen last. So they do while Redis
    /// is away, and then only the requests are recorded.
    pub async fn refresh(&self, stock: &Stock, database: &Database) {
        match self.latest(stock, database).await {
            Ok(campaigns) => {
                self.replace(&campaigns);
                fleeting(|| record(&campaigns));
            }
            Err(error) => tracing::debug!(error = %chain(&error), "the open campaigns cannot be measured now"),
        }
        fleeting(|| self.record_requests());
    }

    /// Adds what was refused since the last call to what Redis counts of each campaign, for the console. Costs no request
    /// anything. While Redis is away, the next call tells it.
    pub async fn tell_refused(&self, stock: &Stock) {
        for (code, requests) in self.all() {
            let unsent = self.unsent(&requests);
            let Ok(code) = code.parse() else { continue };
            let refused: Vec<_> = unsent.iter().map(|(outcome, number)| (self.outcomes[*outcome].0, *number)).collect();
            if refused.is_empty() {
                continue;
            }
            match stock.count_refused(&code, &refused).await {
                Ok(()) => {
                    for (outcome, number) in unsent {
                        requests.0[outcome].told.fetch_add(number, Ordering::Relaxed);
                    }
                }
                Err(error) => tracing::debug!(error = %chain(&error), "what was refused of {code} cannot be told now"),
            }
        }
    }

    fn all(&self) -> Vec<(String, Arc<Requests>)> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.iter().map(|(code, requests)| (code.clone(), Arc::clone(requests))).collect()
    }

    /// The refusals that Redis was not told of, by the number of their outcome.
    fn unsent(&self, requests: &Requests) -> Vec<(usize, u64)> {
        let of = |(outcome, count): (usize, &Count)| {
            let told = count.told.load(Ordering::Relaxed);
            (outcome, count.requests.load(Ordering::Relaxed).saturating_sub(told))
        };
        let is_refusal = |(outcome, number): &(usize, u64)| self.outcomes[*outcome].1 == "refused" && *number > 0;
        requests.0.iter().enumerate().map(of).filter(is_refusal).collect()
    }

    /// The campaigns that are not closed, of which those that opened last. Redis is asked about these few only.
    async fn latest(&self, stock: &Stock, database: &Database) -> Result<Vec<(CouponCode, View)>, StockError> {
        let limit = i64::try_from(self.most).unwrap_or(i64::MAX);
        let codes = database.coupons().latest_open(limit).await.unwrap_or_else(|error| {
            tracing::debug!(error = %chain(&error), "which campaigns opened last cannot be read now");
            self.all().into_iter().filter_map(|(code, _)| code.parse().ok()).collect()
        });
        let mut campaigns = Vec::with_capacity(codes.len());
        for code in codes {
            if let Some(view) = stock.view(&code).await?
                && view.gate() != "CLOSED"
            {
                campaigns.push((code, view));
            }
        }
        Ok(campaigns)
    }

    fn replace(&self, campaigns: &[(CouponCode, View)]) {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *open);
        for (code, _) in campaigns {
            let (code, requests) = before.remove_entry(code.as_str()).unwrap_or_else(|| {
                let counts = self.outcomes.iter().map(|_| Count::default()).collect();
                (code.to_string(), Arc::new(Requests(counts)))
            });
            open.insert(code, requests);
        }
    }

    fn record_requests(&self) {
        for (code, requests) in &*self.open.read().unwrap_or_else(PoisonError::into_inner) {
            for ((outcome, _), count) in self.outcomes.iter().zip(&requests.0) {
                metrics::counter!("coupon_open_campaign_requests_total", "coupon" => code.clone(), "outcome" => *outcome)
                    .absolute(count.requests.load(Ordering::Relaxed));
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "numbers of coupons are far below 2^53")]
fn record(campaigns: &[(CouponCode, View)]) {
    for (code, view) in campaigns {
        let code = code.as_str().to_owned();
        metrics::gauge!("coupon_open_campaign_coupons", "coupon" => code.clone()).set(view.total as f64);
        metrics::gauge!("coupon_open_campaign_held", "coupon" => code.clone()).set(view.issued as f64);
        metrics::gauge!("coupon_open_campaign_outbox_entries", "coupon" => code).set(view.outbox as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn campaign(code: &str) -> (CouponCode, View) {
        let view = View {
            status: "OPEN".to_owned(),
            shut_from: None,
            epoch: 1,
            seq: 1,
            total: 10,
            issued: 1,
            outbox: 0,
            opens_at_ms: 0,
            closes_at_ms: None,
        };
        (code.parse().unwrap(), view)
    }

    #[test]
    fn a_campaign_keeps_its_counts_while_it_is_among_the_latest_and_is_not_counted_before_or_after() {
        let campaigns = Campaigns::new(2, vec![("ACCEPTED", "held"), ("SOLD_OUT", "refused")]);
        assert!(campaigns.of("A").is_none());
        campaigns.replace(&[campaign("A"), campaign("B")]);
        campaigns.of("A").unwrap().count(1);
        campaigns.replace(&[campaign("C"), campaign("A")]);
        let a = campaigns.of("A").unwrap();
        assert_eq!(a.0[1].requests.load(Ordering::Relaxed), 1);
        a.count(0);
        assert_eq!(campaigns.unsent(&a), [(1, 1)], "what was accepted is no refusal");
        assert!(campaigns.of("B").is_none() && campaigns.of("C").is_some());
    }

    #[test]
    fn with_none_allowed_nothing_is_looked_up() {
        let campaigns = Campaigns::new(0, vec![("ACCEPTED", "held")]);
        campaigns.replace(&[campaign("A")]);
        assert!(campaigns.of("A").is_none());
    }
}
