//! `coupon-bench accept`, `refuse` and `limits`.

use anyhow::Result;
use coupon_e2e::world::World;

use crate::bench::Bench;

#[tokio::test]
async fn another_system_is_asked_and_only_what_a_client_sees_is_checked() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("OTHER", 50).await?;
    let api = world.start_api().await?;
    let secret = world.secret_file().display().to_string();
    let ask = async |total: &str| {
        let there = ["accept", "--url", api.http_url()?, "--coupon", "OTHER", "--secret-file", &secret];
        let tokens = ["--issuer", world.signer.issuer(), "--audience", world.signer.audience()];
        Bench::run(&[&there[..], &tokens, &["--rate", "100", "--seconds", "1", "--total", total]].concat()).await
    };
    let first = ask("50").await?;
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    assert!(first.stdout.contains("202: 50, 409: 50"), "{}", first.stdout);
    assert!(first.stdout.contains("no oracle"), "{}", first.stdout);
    // The same members again: those who have one are told so.
    let again = ask("49").await?;
    assert_eq!(again.code, Some(1), "{}", again.stdout);
    assert!(again.stdout.contains("200: 50, 409: 50"), "{}", again.stdout);
    assert!(again.stderr.contains("50 members hold a coupon of 49"), "{}", again.stderr);
    Ok(())
}

#[tokio::test]
async fn each_run_is_judged_by_the_oracle() -> Result<()> {
    let arguments = "accept --rounds 1 --seconds 0.3 --half-seconds 1 --burst 100";
    let run = Bench::run(&arguments.split(' ').collect::<Vec<_>>()).await?;
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(run.stderr.matches("lost=0 oversold=0 duplicates=0").count(), 2, "{}", run.stderr);
    Ok(())
}

#[tokio::test]
async fn whoever_held_a_coupon_holds_it_after_all_the_refusals() -> Result<()> {
    let run = Bench::run(&["refuse", "--rounds", "1", "--seconds", "0.3"]).await?;
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("100 holders hold what they held"), "{}", run.stderr);
    Ok(())
}
