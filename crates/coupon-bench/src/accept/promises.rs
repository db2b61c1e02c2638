//! The oracle of the end-to-end tests over everything that a run was told.

use std::time::Duration;

use anyhow::{Context, Result};
use coupon_e2e::{wait::eventually, world::World};

use crate::progress;

/// Longest time until everything that was accepted is written.
const WRITTEN_WITHIN: Duration = Duration::from_mins(3);

/// Longest time until the rest is quiet: offsets committed, outboxes empty.
const QUIET_WITHIN: Duration = Duration::from_mins(1);

/// Waits until everything is written and fails if a promise does not hold.
pub async fn hold(world: &World) -> Result<()> {
    hold_within(world, QUIET_WITHIN).await
}

async fn hold_within(world: &World, quiet_within: Duration) -> Result<()> {
    let running = progress::step("the oracle");
    written(world).await?;
    let verdict = world.quiet(quiet_within, &[]).await?;
    running.finish_and_clear();
    progress::say(&verdict.to_string());
    Ok(())
}

/// Waits until there are as many rows as members hold a coupon. Returns that number.
pub async fn written(world: &World) -> Result<usize> {
    // The oracle reads everything at each look; counting first makes it look once or twice.
    let held = world.answers.read().iter().filter(|answer| answer.is_held()).count();
    let wanted = i64::try_from(held)?;
    let all = eventually("everything accepted is written", WRITTEN_WITHIN, async || {
        let rows: Result<i64, _> = sqlx::query_scalar("SELECT count(*) FROM coupon_issues").fetch_one(&world.db).await;
        rows.is_ok_and(|rows| rows >= wanted)
    });
    all.await.with_context(|| format!("{held} were accepted"))?;
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        accept::{CODE, address, log},
        load::{Load, Requests, member},
    };

    #[tokio::test]
    async fn a_holder_entry_that_vanished_is_a_broken_promise() {
        let world = World::new().await.unwrap();
        world.open_campaign(CODE, 10).await.unwrap();
        let (api, _consumer) = (world.start_api().await.unwrap(), world.start_issue_consumer().await.unwrap());
        let address = address(&api).unwrap();
        let requests = Requests::make(&world.signer, &address.to_string(), CODE, 0, 10).unwrap();
        let outcome = Load::capacity(address, requests, 30.0).run().await.unwrap();
        log(&world, &outcome);
        written(&world).await.unwrap();
        hold_within(&world, Duration::from_secs(20)).await.unwrap();
        world.stock.set_holder(CODE, &member(3), None).await.unwrap();
        let broken = hold_within(&world, Duration::from_secs(1)).await.unwrap_err();
        assert!(format!("{broken:#}").contains(&member(3)), "{broken:#}");
    }
}
