//! `coupon-bench rows`.

use anyhow::Result;

use crate::bench::Bench;

#[tokio::test]
async fn rows_and_the_pipeline_are_loaded_alike_and_each_is_checked() -> Result<()> {
    let _alone = Bench::new().await?;
    let run = Bench::run(&["rows", "--rounds", "1", "--seconds", "0.3", "--half-seconds", "1"]).await?;
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(run.stderr.matches("lost=0 oversold=0 duplicates=0").count(), 2, "{}", run.stderr);
    assert_eq!(run.stderr.matches("have the row of their request").count(), 2, "{}", run.stderr);
    for figure in ["accepted by rows, one hot coupon", "accepted by the pipeline, 100 coupons in turn"] {
        assert!(run.stdout.contains(figure), "{figure}: {}", run.stdout);
    }
    Ok(())
}
