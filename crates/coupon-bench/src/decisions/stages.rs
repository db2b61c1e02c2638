//! The stages in which a relay publishes: beside a drain, at half load, and after its topic was gone.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use coupon_e2e::{kafka::Topic, wait::eventually};
use tokio::time::sleep;
use uuid::Uuid;

use super::told::Told;
use crate::{
    drain::{load::Load, site::Site, watch::Drained},
    environment::Environment,
};

/// Longest time until everything that was decided is published.
const PUBLISHED_WITHIN: Duration = Duration::from_mins(2);
/// Partitions of the topic of decisions.
const PARTITIONS: i32 = 8;
/// The time of a record is that at which the broker has it.
const BY_THE_BROKER: (&str, &str) = ("message.timestamp.type", "LogAppendTime");

/// One drain beside a relay, and how long after it everything is published.
pub(super) async fn beside(environment: &Environment, load: Load) -> Result<(Drained, Duration)> {
    let (site, topic) = publishing(Site::filled(environment, load).await?)?;
    create(&topic).await?;
    let _relay = site.world.start_dlq_consumer().await?;
    let drained = site.drain().await?;
    Ok((drained, published(&site).await?))
}

/// What was told, and how soon, while so many events a second come for some seconds.
pub(super) async fn at_rate(environment: &Environment, rate: f64, seconds: f64) -> Result<Told> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of events")]
    let load = Load::of((rate * seconds).max(1000.0) as u32, 1);
    let (mut site, topic) = publishing(Site::empty(environment, load).await?)?;
    create(&topic).await?;
    let (_relay, _consumer) = tokio::try_join!(
        site.world.start_dlq_consumer().into_future(),
        site.world.start_issue_consumer().into_future()
    )?;
    site.fill_at(rate).await?;
    site.check().await?;
    published(&site).await?;
    told(&site, &topic).await
}

/// A drain while the topic is gone, so long from the start of the relay; then how long until everything is published, and what was
/// told by then.
pub(super) async fn gone(environment: &Environment, load: Load, away: Duration) -> Result<(Drained, Duration, Told)> {
    let (site, topic) = publishing(Site::filled(environment, load).await?)?;
    let _relay = site.world.start_dlq_consumer().await?;
    let began = Instant::now();
    let drained = site.drain().await?;
    sleep(away.saturating_sub(began.elapsed())).await;
    create(&topic).await?;
    let behind = published(&site).await?;
    Ok((drained, behind, told(&site, &topic).await?))
}

fn publishing(mut site: Site) -> Result<(Site, Topic)> {
    site.world = site.world.publishing_decisions();
    let topic = site.world.decisions.clone().context("a topic of decisions")?;
    Ok((site, topic))
}

async fn create(topic: &Topic) -> Result<()> {
    topic.create(PARTITIONS, &[BY_THE_BROKER]).await
}

/// Waits until everything is published, and returns how long that took.
async fn published(site: &Site) -> Result<Duration> {
    let began = Instant::now();
    eventually("everything is published", PUBLISHED_WITHIN, async || -> Result<bool> {
        let is_behind = "SELECT EXISTS (SELECT FROM coupons LEFT JOIN coupon_decision_marks USING (coupon_id)
                                        WHERE decision_no > coalesce(relayed_to, 0))";
        let is_behind: bool = sqlx::query_scalar(is_behind).fetch_one(&site.world.db).await?;
        Ok(!is_behind)
    })
    .await?;
    Ok(began.elapsed())
}

async fn told(site: &Site, topic: &Topic) -> Result<Told> {
    let decided: Vec<Uuid> =
        sqlx::query_scalar("SELECT request_id FROM coupon_issues").fetch_all(&site.world.db).await?;
    Told::of(&topic.read().await?, &decided)
}
