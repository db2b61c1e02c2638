//! What `/metrics` says, and what it never names.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use coupon_e2e::{failures::FailMode, kafka::record::NewRecord, wait::eventually, world::World};

use crate::{SOON, Services, write::accepted};

const MEMBER: &str = "secret-member";
const COUPON: &str = "SECRET-COUPON";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_name_no_member_and_no_coupon() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign(COUPON, 10).await?;
    world.fail_member(COUPON, MEMBER, FailMode::Permanently).await?;
    let services = Services {
        // But for those few that a setting allows.
        api: world.start_api().set("telemetry.campaigns", 0).await?,
        issue_consumer: world.start_issue_consumer().await?,
        dlq_consumer: world.start_dlq_consumer().await?,
    };
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
        let page = page.await?;
        assert_eq!(without_help(&page), Vec::<&str>::new(), "they have a TYPE and no HELP in\n{page}");
        let page = page.to_lowercase();
        for secret in [MEMBER, COUPON] {
            assert!(!page.contains(&secret.to_lowercase()), "{page}");
        }
    }
    Ok(())
}

/// Reads the names in the sources, because a page has only what was recorded until then.
#[test]
fn every_metric_has_its_help_text() -> Result<()> {
    let mut found = 0;
    let core = sources("coupon-core")?;
    for name in ["coupon-core", "issuer-api", "issue-consumer", "dlq-consumer"] {
        // dlq-consumer serves the console.
        let console = if name == "dlq-consumer" { sources("coupon-console")? } else { String::new() };
        let own = sources(name)? + &console;
        for recorded in ["counter!(\"", "gauge!(\"", "histogram!(\"", "count_from_zero(\""] {
            for after in own.split(recorded).skip(1) {
                let metric = after.split('"').next().unwrap_or_default();
                if metric.starts_with("coupon_") {
                    found += 1;
                    let has_row = ["Counter", "Gauge", "Histogram"].iter().any(|kind| {
                        let row = format!("({kind}, \"{metric}\", \"");
                        own.contains(&row) || core.contains(&row)
                    });
                    ensure!(has_row, "{metric} of {name} is absent from its metrics_help.rs");
                }
            }
        }
    }
    ensure!(found > 40, "only {found} places that record were found");
    Ok(())
}

/// All of a crate's `src` in one text.
fn sources(name: &str) -> Result<String> {
    let mut all = String::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("{}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                all.push_str(&fs::read_to_string(&path)?);
            }
        }
    }
    Ok(all)
}

/// The metrics of a page that have a `# TYPE` line and no `# HELP` line.
fn without_help(page: &str) -> Vec<&str> {
    let names = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    names.filter(|name| !page.contains(&format!("# HELP {name} "))).collect()
}
