//! What `/metrics` says, and what it never names.

use anyhow::{Result, ensure};
use coupon_e2e::{failures::FailMode, kafka::record::NewRecord, wait::eventually, world::World};

use crate::{SOON, Services, write::accepted};

const MEMBER: &str = "secret-member";
const COUPON: &str = "SECRET-COUPON";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_name_no_member_and_no_coupon() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign(COUPON, 10).await?;
    world.fail_member(COUPON, MEMBER, FailMode::Permanently).await?;
    let services = Services::start(&world).await?;
    accepted(&world, &services.api, COUPON, MEMBER).await?;
    accepted(&world, &services.api, COUPON, "secret-member-too").await?;
    world.topic.write(&NewRecord::of(MEMBER, "no event")).await?;
    let wanted = [
        (&services.api, &["coupon_requests_total", "coupon_request_seconds", "coupon_outbox_entries"][..]),
        (
            &services.issue_consumer,
            &[
                "coupon_attempts_total",
                "coupon_outcomes_total",
                "coupon_dead_letters_written_total",
                "coupon_batch_events",
                "coupon_consumer_partitions",
                "coupon_consumer_paused_partitions",
                "coupon_consumer_outstanding_records",
                "coupon_consumer_running_records",
                "coupon_consumer_backoff_records",
                "coupon_consumer_window_fill_ratio",
                "coupon_consumer_watermark_lag_records",
                "coupon_consumer_oldest_outstanding_seconds",
                "coupon_consumer_lag_records",
            ][..],
        ),
        (
            &services.dlq_consumer,
            &[
                "coupon_attempts_total",
                "coupon_give_ups_total",
                "coupon_dead_letters_total",
                "coupon_give_backs_due",
                "coupon_dead_letters_announced_total",
            ][..],
        ),
    ];
    for (process, names) in wanted {
        let page = eventually("everything is measured", SOON, async || -> Result<Option<String>> {
            let page = process.metrics().await?;
            let absent: Vec<_> = names.iter().filter(|name| !page.contains(&format!("\n{name}"))).collect();
            ensure!(absent.is_empty(), "{absent:?} are absent from\n{page}");
            Ok(Some(page))
        });
        let page = page.await?.to_lowercase();
        for secret in [MEMBER, COUPON] {
            assert!(!page.contains(&secret.to_lowercase()), "{page}");
        }
    }
    Ok(())
}
