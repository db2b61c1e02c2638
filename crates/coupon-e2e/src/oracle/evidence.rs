//! The evidence of the oracle: the content of every store, read while the pipeline is quiet.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{answers::Answer, kafka::record::Record, stock::CampaignStock};

/// A row of `coupons`.
#[derive(Clone, Debug, FromRow)]
pub struct Campaign {
    /// Key in PostgreSQL.
    pub coupon_id: i64,
    /// Code of the campaign.
    pub coupon_code: String,
    /// Total of coupons.
    pub total_quantity: i64,
    /// Counter of issued coupons.
    pub issued_quantity: i64,
}

/// A row of `coupon_issues`.
#[derive(Clone, Debug, FromRow)]
pub struct Decision {
    /// Public name of the campaign; none if `coupons` does not know it.
    pub coupon_code: Option<String>,
    /// Request id.
    pub request_id: Uuid,
    /// Member who asked.
    pub member_id: String,
    /// Decision, ISSUED or COMPENSATED.
    pub decision: String,
    /// When the decision was taken.
    pub decided_at: DateTime<Utc>,
    /// When the coupon was given back in Redis.
    pub given_back_at: Option<DateTime<Utc>>,
    /// The request id that holds the member's coupon instead.
    pub superseded_by: Option<Uuid>,
}

/// A row of `failed_coupon_issues`.
#[derive(Clone, Debug, FromRow)]
pub struct Failure {
    /// Id of the entry of the work list.
    pub id: i64,
    /// Public name of the campaign.
    pub coupon_code: String,
    /// Request that was compensated.
    pub request_id: Uuid,
    /// PENDING, RESOLVED or IGNORED.
    pub status: String,
    /// Message of the last error.
    pub reason: String,
    /// Time of the compensation, UTC.
    pub failed_at: DateTime<Utc>,
}

/// A row of `dlq_events`.
#[derive(Clone, Debug, FromRow)]
pub struct DeadLetter {
    /// Partition of the dead letter topic.
    pub dlq_partition: i32,
    /// Offset in that partition.
    pub dlq_offset: i64,
    /// The request, if the record could be read.
    pub original_event_id: Option<Uuid>,
    /// The campaign, if the record could be read.
    pub coupon_code: Option<String>,
    /// RECOVERED, COMPENSATED, DUPLICATE, HELD, PARKED, RESOLVED or IGNORED.
    pub status: String,
}

/// Everything at one moment. `main` and `dlq` are ordered by partition and offset.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Answers of the API to clients.
    pub answers: Vec<Answer>,
    /// Records of the main topic.
    pub main: Vec<Record>,
    /// Records of the dead letter topic.
    pub dlq: Vec<Record>,
    /// Records of the topic of decisions; none where they are not published.
    pub events: Option<Vec<Record>>,
    /// Committed offsets of `issue-consumer` in the main topic, by partition.
    pub main_committed: BTreeMap<i32, i64>,
    /// Committed offsets of `dlq-consumer` in the dead letter topic, by partition.
    pub dlq_committed: BTreeMap<i32, i64>,
    /// Rows of `coupons`.
    pub campaigns: Vec<Campaign>,
    /// Rows of `coupon_issues`.
    pub decisions: Vec<Decision>,
    /// Rows of `failed_coupon_issues`.
    pub failures: Vec<Failure>,
    /// Rows of `dlq_events`.
    pub dead_letters: Vec<DeadLetter>,
    /// Data in Redis, by code of the campaign.
    pub stock: BTreeMap<String, CampaignStock>,
}

impl Decision {
    /// Whether the coupon is issued.
    pub fn is_issued(&self) -> bool {
        self.decision == "ISSUED"
    }

    /// Returns the code of the campaign, or a text for none.
    pub fn code(&self) -> &str {
        self.coupon_code.as_deref().unwrap_or("(no campaign)")
    }
}

impl Evidence {
    /// The decision on each request id. One that is in two rows is found by a check of its own.
    pub fn decided(&self) -> BTreeMap<Uuid, &Decision> {
        self.decisions.iter().map(|decision| (decision.request_id, decision)).collect()
    }

    /// Request ids that wait for an operator or were put aside by one: undecided, and rightly so.
    pub fn set_aside(&self) -> BTreeSet<Uuid> {
        let aside = ["HELD", "PARKED", "RESOLVED", "IGNORED"];
        let letters = self.dead_letters.iter().filter(|letter| aside.contains(&letter.status.as_str()));
        letters.filter_map(|letter| letter.original_event_id).collect()
    }

    /// Only what belongs to these campaigns: records that cannot be read belong to none.
    #[must_use]
    pub fn of(&self, codes: &[&str]) -> Self {
        let is_one = |code: &str| codes.contains(&code);
        let carries = |record: &&Record| record.event().is_some_and(|event| is_one(&event.coupon_code));
        let mine = |name: Option<&String>| name.is_some_and(|name| is_one(name));
        Self {
            answers: self.answers.iter().filter(|answer| is_one(&answer.coupon)).cloned().collect(),
            main: self.main.iter().filter(carries).cloned().collect(),
            dlq: self.dlq.iter().filter(carries).cloned().collect(),
            events: self.events.as_ref().map(|events| {
                let of_one = |record: &&Record| {
                    let source = record.header("ce_source").and_then(|source| source.strip_prefix("/coupons/"));
                    source.is_some_and(is_one)
                };
                events.iter().filter(of_one).cloned().collect()
            }),
            main_committed: self.main_committed.clone(),
            dlq_committed: self.dlq_committed.clone(),
            campaigns: self.campaigns.iter().filter(|campaign| is_one(&campaign.coupon_code)).cloned().collect(),
            decisions: self.decisions.iter().filter(|row| mine(row.coupon_code.as_ref())).cloned().collect(),
            failures: self.failures.iter().filter(|row| is_one(&row.coupon_code)).cloned().collect(),
            dead_letters: self.dead_letters.iter().filter(|row| mine(row.coupon_code.as_ref())).cloned().collect(),
            stock: self
                .stock
                .iter()
                .filter(|(name, _)| is_one(name))
                .map(|(name, stock)| (name.clone(), stock.clone()))
                .collect(),
        }
    }
}
