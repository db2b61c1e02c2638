//! The demo itself, on a small campaign of a world.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result};
use coupon_e2e::world::World;
use tokio::{process::Command, time::timeout};

use crate::Services;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_tells_the_whole_story_on_one_screen_and_its_verdict_can_be_read() -> Result<()> {
    let world = World::new().await?;
    let services = Services::start(&world).await?;
    let mut demo = Command::new(env!("CARGO_BIN_EXE_coupon-demo"));
    demo.args(["--coupons", "100", "--members", "300"]).stdin(Stdio::null()).kill_on_drop(true);
    demo.envs(world.environment());
    demo.env("ISSUER_API_URL", services.api.http_url()?);
    demo.env("ISSUER_API__AUTH__ISSUER", world.signer.issuer());
    demo.env("ISSUER_API__AUTH__AUDIENCE", world.signer.audience());
    demo.env("ISSUER_API__AUTH__ALGORITHMS", "HS256");
    demo.env("ISSUER_API__AUTH__HMAC_SECRET_FILE", world.secret_file());
    demo.env("ISSUER_API__KAFKA__TOPIC", world.topic.name());
    demo.env("DLQ_CONSUMER__KAFKA__DLQ_TOPIC", world.dlq.name());
    demo.env("STACK_LOG_DIR", world.folder());
    let output =
        timeout(Duration::from_mins(1), demo.output()).await.context("the demo takes more than a minute")??;
    let screen = String::from_utf8(output.stdout)?;
    let shown = format!("{screen}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{shown}");
    let verdict = "verdict: accepted=101 refused=199 issued=100 compensated=1 stock=0 lost=0 oversold=0 duplicates=0";
    assert!(screen.lines().any(|line| line == verdict), "{shown}");
    for told in ["attempt 4 of 4", "attempt 3 of 3", "[CRITICAL]", "failed_coupon_issues", "stock 1", "asks again"] {
        assert!(screen.contains(told), "{told:?} is not told: {shown}");
    }
    assert!(screen.lines().count() <= 45, "{shown}");
    assert!(screen.contains("Try next") && screen.lines().all(|line| line.chars().count() <= 100), "{shown}");
    let left: bool =
        sqlx::query_scalar("SELECT to_regnamespace('forced_failures') IS NULL").fetch_one(&world.db).await?;
    assert!(left, "the trigger is still there");
    Ok(())
}
