//! The crash sweep of alarms: a process that ends between telling and noting it tells twice, never not at all.

use anyhow::{Result, ensure};
use coupon_e2e::{
    process::launch::Launch,
    wait::eventually,
    webhook::{Manner, Received, Webhook},
    world::World,
};

use super::sweep::aborted;
use crate::{
    SOON,
    alarms::{SENT_WITHIN, all_sent, plant, telling},
};

fn crashing(launch: Launch, effect: &str, moment: &str) -> Launch {
    launch.env("COUPON_CRASH_AT", format!("{effect}:{moment}")).without_waiting()
}

/// Returns the number of dead letters in all alarms; one that was sent twice counts twice.
fn counted(slack: &Webhook) -> u64 {
    slack.taken().iter().map(Received::count).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dlq_consumer_may_end_while_it_tells() -> Result<()> {
    for (effect, moment, times) in [
        ("claim an alarm", "before", 1),
        ("claim an alarm", "after", 1),
        ("note an alarm as told", "before", 2),
        ("note an alarm as told", "after", 1),
    ] {
        let (world, slack) = (World::new().await?, Webhook::start().await?);
        plant(&world, "told", 3).await?;
        let process = crashing(telling(&world, &slack, 1_000), effect, moment).await?;
        aborted(&process).await?;
        // Another takes over when the claim has run out: twelve seconds after it was made.
        let _again = telling(&world, &slack, 1_000).await?;
        slack.takes(times, SENT_WITHIN).await?;
        all_sent(&world).await?;
        ensure!(counted(&slack) == 3 * times as u64, "{effect}:{moment}: {:?}", slack.taken());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dlq_consumer_may_end_while_it_notes_how_a_channel_fares() -> Result<()> {
    for effect in ["let an alarm go", "note how a channel fares", "note that a channel works"] {
        for moment in ["before", "after"] {
            let (world, slack) = (World::new().await?, Webhook::start().await?);
            slack.turn(Manner::Answers(500)).await?;
            plant(&world, "told", 3).await?;
            let process = crashing(telling(&world, &slack, 500), effect, moment).await?;
            let mut least = 1;
            if effect == "note that a channel works" {
                eventually("it has failed", SOON, async || !slack.received().is_empty()).await?;
                slack.turn(Manner::Takes).await?;
                // The alarm was sent, and is not noted as sent yet.
                least = 2;
            }
            aborted(&process).await?;
            slack.turn(Manner::Takes).await?;
            let _again = telling(&world, &slack, 500).await?;
            slack.takes(least, SENT_WITHIN).await?;
            all_sent(&world).await?;
            ensure!(counted(&slack) == 3 * least as u64, "{effect}:{moment}: {:?}", slack.taken());
            eventually("it is known to work", SOON, async || -> Result<bool> {
                let down: i64 = sqlx::query_scalar("SELECT count(*) FROM alarm_channels WHERE down_since IS NOT NULL")
                    .fetch_one(&world.db)
                    .await?;
                Ok(down == 0)
            })
            .await?;
        }
    }
    Ok(())
}

/// A campaign whose data Redis has lost: the process that notices it ends while it notes an alarm.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn issuer_api_may_end_while_it_leaves_a_notice() -> Result<()> {
    for moment in ["before", "after"] {
        let (world, slack) = (World::new().await?, Webhook::start().await?);
        world.open_campaign("GONE", 10).await?;
        world.stock.flush().await?;
        let api = world.start_api().env("COUPON_CRASH_AT", format!("leave a notice:{moment}")).await?;
        ensure!(world.member(&api, "somebody")?.ask("GONE").await.status != Some(202));
        aborted(&api).await?;
        let again = world.start_api().await?;
        ensure!(world.member(&again, "somebody")?.ask("GONE").await.status == Some(503));
        let _dlq_consumer = telling(&world, &slack, 60_000).await?;
        // The campaign becomes SUSPECT by it, which is a notice of its own.
        let told = |what: &str| slack.taken().iter().filter(|taken| taken.slack_text().contains(what)).count();
        eventually("both are told", SOON, async || told("lost the data of GONE") > 0 && told("GONE is SUSPECT") > 0)
            .await?;
        all_sent(&world).await?;
        ensure!((told("lost the data of GONE"), told("GONE is SUSPECT")) == (1, 1), "{:?}", slack.taken());
    }
    Ok(())
}
