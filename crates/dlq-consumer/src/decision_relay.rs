//! The decision relay: publishes each decision as an event, campaign by campaign, in the order of the numbers.
//!
//! The mark of a campaign moves after Kafka has acknowledged what is behind it, so an event comes at least once. One process
//! at a time has the lease of a campaign. It is no lock: two relays that overlap both publish in the order of the numbers from
//! a mark behind which everything is acknowledged, so whoever reads still sees each decision for the first time in that order.

use std::time::Duration;

use coupon_core::{
    decisions,
    kafka::{Broker, PublishError, Publisher, Topic},
    repo::{Database, RepoError, coupon_decision_batches::Behind},
    runtime::{Condition, Shutdown, Tasks, Throttle, chain},
    startup,
};
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

/// Time between two looks for decisions.
const LOOK_PERIOD: Duration = Duration::from_millis(100);
/// Most decisions that are published at once.
const PAGE: i64 = 2000;
/// Pages after which other campaigns have their turn.
const PAGES_IN_TURN: usize = 20;
/// How long a campaign stays with a relay that is silent.
const LEASE: Duration = Duration::from_secs(10);
/// Pause after a failure.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
/// Longest wait of a stop until the leases are released; they end by themselves too.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);
/// Time between two measurements.
const MEASURE_PERIOD: Duration = Duration::from_secs(5);

/// `[decisions]`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DecisionSettings {
    /// Whether decisions are published.
    pub enabled: bool,
    /// Where to.
    pub topic: String,
}

impl DecisionSettings {
    /// The topic, if decisions are published.
    pub fn topics(&self) -> impl Iterator<Item = Topic> {
        self.enabled.then(|| decisions::topic(&self.topic)).into_iter()
    }
}

/// What the relay works with.
pub struct DecisionRelay {
    database: Database,
    publisher: Publisher,
    broker: Broker,
    /// Met while the topic is there and takes decisions; the service is ready without it.
    condition: Condition,
    /// Name of this process among the relays.
    owner: String,
}

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error("postgresql does not answer the decision relay")]
    Repo(#[from] RepoError),
    #[error("kafka has not acknowledged decisions")]
    Kafka(#[from] PublishError),
}

impl DecisionRelay {
    /// A relay with an owner name of its own, which publishes to the topic of `publisher`.
    pub fn new(database: Database, publisher: Publisher, broker: Broker, condition: Condition) -> Self {
        for counter in ["coupon_decisions_relayed_total", "coupon_decision_relay_failures_total"] {
            metrics::counter!(counter).increment(0);
        }
        Self { database, publisher, broker, condition, owner: uuid::Uuid::now_v7().to_string() }
    }

    /// Starts the relay and its measurement under `tasks`, which `stop` ends.
    pub fn start(self, tasks: &Tasks, stop: &Shutdown) {
        let (database, owner) = (self.database.clone(), self.owner.clone());
        tasks.every("decision gauges", MEASURE_PERIOD, move || {
            let (database, owner) = (database.clone(), owner.clone());
            async move {
                match database.coupon_decision_batches().behind(&owner).await {
                    Ok(behind) => measure(&behind),
                    Err(error) => tracing::debug!("unpublished decisions cannot be counted now: {}", chain(&error)),
                }
            }
        });
        tasks.spawn("decision relay", self.run(stop.clone()));
    }

    async fn run(self, stop: Shutdown) {
        tokio::select! {
            biased;
            () = stop.stopping() => {}
            () = self.relay(&stop) => {}
        }
        let release = self.database.coupon_decision_batches().release_leases(self.owner.clone());
        if !matches!(timeout(RELEASE_TIMEOUT, release).await, Ok(Ok(()))) {
            tracing::debug!("the leases of this decision relay run out by themselves");
        }
    }

    /// Works until it is dropped; what has been queued by then may arrive and comes again.
    async fn relay(&self, stop: &Shutdown) {
        let topic = decisions::topic(self.publisher.topic());
        loop {
            // Whatever is wrong with it, nothing else waits for the topic.
            match startup::topic(&self.broker, &topic, &self.condition, stop).await {
                Ok(true) => {}
                Ok(false) => return stop.stopping().await,
                Err(error) => {
                    self.condition.unready(error.to_string());
                    sleep(FAILURE_PAUSE).await;
                    continue;
                }
            }
            let error = loop {
                match self.pass().await {
                    Ok(true) => {}
                    Ok(false) => sleep(LOOK_PERIOD).await,
                    Err(error) => break error,
                }
            };
            self.report(&error);
            sleep(FAILURE_PAUSE).await;
        }
    }

    /// Publishes from each campaign that is behind and that no other process has. Whether anything was published.
    async fn pass(&self) -> Result<bool, RelayError> {
        let mut has_published = false;
        let behind = self.database.coupon_decision_batches().behind(&self.owner).await?;
        for campaign in behind.iter().filter(|campaign| campaign.is_free) {
            has_published |= self.publish(campaign).await?;
        }
        Ok(has_published)
    }

    async fn publish(&self, campaign: &Behind) -> Result<bool, RelayError> {
        let Behind { coupon_id, coupon_code: code, decision_no: last, .. } = campaign;
        let batches = self.database.coupon_decision_batches();
        let Some(begin) = batches.lease(*coupon_id, self.owner.clone(), LEASE).await? else { return Ok(false) };
        let mut mark = begin;
        for _ in 0..PAGES_IN_TURN {
            if mark >= *last {
                break;
            }
            let page = batches.page(*coupon_id, mark + 1, (*last).min(mark + PAGE)).await?;
            if let Some(reached) = page.decisions.last().map(|decision| decision.number) {
                let records: Vec<_> = page
                    .decisions
                    .iter()
                    .map(|decision| decisions::event(self.publisher.topic(), code, decision))
                    .collect();
                self.publisher.publish_decisions(&records).await?;
                if !batches.move_mark(*coupon_id, self.owner.clone(), (mark, reached), LEASE).await? {
                    tracing::debug!(coupon = %code, "another relay has the decisions of {code} now");
                    return Ok(true);
                }
                metrics::counter!("coupon_decisions_relayed_total").increment(reached.abs_diff(mark));
                mark = reached;
            }
            if let Some(missing) = page.missing {
                if let Some(passed) = batches.pass_over(*coupon_id, self.owner.clone(), missing, LEASE).await? {
                    tracing::warn!(coupon = %code, "decisions {missing} to {passed} of {code} do not exist, as an operator has accepted");
                    mark = passed;
                    continue;
                }
                match batches.lease(*coupon_id, self.owner.clone(), LEASE).await? {
                    // Retention where publishing was off until now has purged it, unpublished, and moved the mark over it.
                    Some(moved) if moved > mark => mark = moved,
                    Some(_) => {
                        report_missing(code.as_str(), missing);
                        break;
                    }
                    None => return Ok(mark > begin),
                }
            }
        }
        Ok(mark > begin)
    }

    fn report(&self, error: &RelayError) {
        static FAILED: Throttle = Throttle::new();
        metrics::counter!("coupon_decision_relay_failures_total").increment(1);
        if let RelayError::Kafka(_) = error {
            self.condition.unready(chain(error).to_string());
        }
        if let Some(count) = FAILED.admit("") {
            let error = chain(error);
            tracing::warn!(count, %error, "decisions wait to be published and go on as soon as they can ({count} times)");
        }
    }
}

/// A number without a decision is not passed over unless an operator has accepted it: a consumer would look for it for ever.
fn report_missing(code: &str, number: i64) {
    static MISSING: Throttle = Throttle::new();
    metrics::counter!("coupon_decision_relay_failures_total").increment(1);
    if let Some(count) = MISSING.admit(code) {
        tracing::error!(
            coupon = code,
            number,
            count,
            "decision {number} of {code} has no row any more, and nothing after it is published: somebody has deleted rows of \
             coupon_decision_batches or coupon_issues; restore them, or, if that is impossible, go on without with \
             `dlq-consumer decisions accept-missing --coupon {code} --reason WHY --by NAME`"
        );
    }
}

fn measure(behind: &[Behind]) {
    #[expect(clippy::cast_precision_loss, reason = "a number of decisions is far below 2^53")]
    let waiting = behind.iter().map(|campaign| campaign.decision_no - campaign.relayed_to).sum::<i64>() as f64;
    let oldest = behind.iter().map(|campaign| campaign.oldest_seconds).fold(0.0, f64::max);
    metrics::gauge!("coupon_decisions_behind").set(waiting);
    metrics::gauge!("coupon_decisions_oldest_seconds").set(oldest);
}
