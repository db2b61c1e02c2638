//! What a campaign's page shows of Redis, and how far its requests have come.

use std::{collections::BTreeMap, time::Duration};

use coupon_core::{ids::CouponCode, repo::coupon_issues::CampaignCounts, stock::StockError};
use serde::Serialize;

use super::Campaigns;

/// Name under which the outbox is counted. It never takes the lease of a relay.
const OWNER: &str = "console";

/// A campaign as Redis has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InRedis {
    /// Status of the gate.
    pub status: String,
    /// Epoch of the data.
    pub epoch: i64,
    /// Sequence of the last reservation.
    pub seq: i64,
    /// Number of units.
    pub total: i64,
    /// Number of holder entries.
    pub held: i64,
    /// Units that nobody holds.
    pub remaining: i64,
    /// Number of outbox entries: events that Kafka has not acknowledged.
    pub outbox: i64,
    /// Age of the oldest outbox entry, in ms; 0 while there is none.
    pub oldest_outbox_ms: u64,
    /// Requests that were refused, by code, as the processes of issuer-api told it in the last second.
    pub refused: BTreeMap<String, i64>,
}

/// How far the accepted requests of a campaign have come. What Redis would have to say is `None` while it does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Funnel {
    /// Requests that were accepted: holder entries, and units given back. An estimate: both are read one after the other.
    pub accepted: Option<i64>,
    /// Of these, requests whose event Kafka has acknowledged.
    pub published: Option<i64>,
    /// Of these, requests that PostgreSQL has a decision of.
    pub written: i64,
    /// Of these, requests decided COMPENSATED whose unit was given back.
    pub given_back: i64,
    /// Dead letters that wait for an operator.
    pub held: i64,
}

impl Funnel {
    /// Returns the funnel of a campaign with this number of ISSUED decisions.
    pub fn of(issued: i64, counts: &CampaignCounts, redis: Option<&InRedis>) -> Self {
        let given_back = (counts.compensated - counts.give_backs_due).max(0);
        let accepted = redis.map(|redis| redis.held + given_back);
        let published = redis.map(|redis| (redis.held + given_back - redis.outbox).max(0));
        Self { accepted, published, written: issued + counts.compensated, given_back, held: counts.held }
    }
}

impl Campaigns {
    /// Returns the campaign as Redis has it; `None`: Redis has no data of it.
    pub async fn in_redis(&self, code: &CouponCode) -> Result<Option<InRedis>, StockError> {
        let outbox = self.stock.relay(code, OWNER, Duration::ZERO, Duration::ZERO, 0);
        let (view, outbox, refused) = tokio::try_join!(self.stock.view(code), outbox, self.stock.refused(code))?;
        Ok(view.map(|view| InRedis {
            remaining: (view.total - view.issued).max(0),
            status: view.status,
            epoch: view.epoch,
            seq: view.seq,
            total: view.total,
            held: view.issued,
            outbox: view.outbox,
            oldest_outbox_ms: u64::try_from(outbox.oldest.as_millis()).unwrap_or(u64::MAX),
            refused,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_funnel_narrows_and_says_what_is_not_known() {
        let counts = CampaignCounts {
            compensated: 5,
            pending: 4,
            give_backs_due: 2,
            held: 1,
            last_reserved_at: None,
            last_seq: None,
        };
        let redis = InRedis {
            status: "OPEN".to_owned(),
            epoch: 1,
            seq: 110,
            total: 200,
            held: 100,
            remaining: 100,
            outbox: 4,
            oldest_outbox_ms: 7,
            refused: BTreeMap::new(),
        };
        let funnel = Funnel::of(90, &counts, Some(&redis));
        assert_eq!((funnel.accepted, funnel.published, funnel.written), (Some(103), Some(99), 95));
        assert_eq!((funnel.given_back, funnel.held), (3, 1));
        let blind = Funnel::of(90, &counts, None);
        assert_eq!((blind.accepted, blind.published, blind.written), (None, None, 95));
    }
}
