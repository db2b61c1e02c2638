//! Files that change while services run: secrets, and addresses of webhooks. And members whose names are long.

use std::fs;

use anyhow::Result;
use coupon_e2e::{member::Member, process::Process, wait::eventually, webhook::Webhook, world::World};

use crate::{
    SOON, Services,
    alarms::{SENT_WITHIN, plant},
    issued_rows,
    write::accepted,
};

async fn answered(world: &World, api: &Process, secret: &str) -> Result<Option<u16>> {
    let token = world.signer.token("ann").forged_with(secret).sign()?;
    Ok(Member::new("ann", &token, api.http_url()?, world.answers.clone())?.ask("FILES").await.status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_secret_is_taken_up_beside_the_old_one_and_a_broken_one_is_not() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("FILES", 10).await?;
    let (first, second, third) =
        (world.signer.secret(), "the-second-secret-of-32-bytes-or-more", "the-third-secret-of-32-bytes-or-more-");
    let file = world.folder().join("second.secret");
    fs::write(&file, second)?;
    let api = world.start_api().set("auth.hmac_secret_files", file.display()).await?;
    assert_eq!(answered(&world, &api, first).await?, Some(202));
    assert_eq!(answered(&world, &api, second).await?, Some(200), "both count");
    assert_eq!(answered(&world, &api, third).await?, Some(401));

    fs::write(&file, third)?;
    eventually("the file is read again", SOON, async || -> Result<bool> {
        Ok(answered(&world, &api, third).await? == Some(200))
    })
    .await?;
    assert_eq!(answered(&world, &api, second).await?, Some(401), "it has gone with its file");
    assert_eq!(answered(&world, &api, first).await?, Some(200));

    fs::write(&file, "short")?;
    let reason = "but must be a secret of at least 32 bytes for what auth.algorithms allows, not 5";
    let line = api.wait_for_log("it is refused", SOON, |line| line.text.contains(reason)).await?;
    assert!(line.message().contains("`auth.hmac_secret_files` is") && line.level() == "WARN", "{line:?}");
    assert!(api.admin_page("/readyz").await?.contains(reason));
    assert_eq!(api.admin_status("/readyz").await, Some(200), "with the keys before it is as ready as ever");
    assert_eq!(answered(&world, &api, third).await?, Some(200));
    assert!(!api.log().iter().any(|line| [first, second, third].iter().any(|secret| line.text.contains(secret))));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_ends_none_of_the_three() -> Result<()> {
    let world = World::new().await?;
    let Services { api, issue_consumer, dlq_consumer } = Services::start(&world).await?;
    for process in [&api, &issue_consumer, &dlq_consumer] {
        process.hang_up()?;
        process.wait_for_log("it says what it does", SOON, |line| line.message().starts_with("SIGHUP: files")).await?;
        process.hang_up()?;
        eventually("it heard twice", SOON, async || {
            process.log().iter().filter(|line| line.message().starts_with("SIGHUP")).count() == 2
        })
        .await?;
        assert_eq!(process.admin_status("/readyz").await, Some(200));
    }
    api.wait_for_log("and what was read", SOON, |line| line.message().contains("key files of [auth]")).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alarms_go_to_the_address_that_their_file_holds_now() -> Result<()> {
    let (world, before, after) = (World::new().await?, Webhook::start().await?, Webhook::start().await?);
    let file = world.folder().join("slack.url");
    fs::write(&file, before.url())?;
    let launch = world.start_dlq_consumer().set("alarms.slack_webhook_url_file", file.display());
    let dlq_consumer = launch.set("alarms.digest_ms", 500).await?;
    plant(&world, "first", 1).await?;
    before.takes(1, SENT_WITHIN).await?;
    fs::write(&file, "no address")?;
    let refused = |line: &coupon_e2e::process::logs::LogLine| line.message().contains("alarms.slack_webhook_url_file");
    dlq_consumer.wait_for_log("it is refused", SOON, refused).await?;
    plant(&world, "second", 1).await?;
    before.takes(2, SENT_WITHIN).await?;
    fs::write(&file, after.url())?;
    dlq_consumer.wait_for_log("it is taken up", SOON, |line| line.message().contains("addresses of [alarms]")).await?;
    plant(&world, "third", 1).await?;
    after.takes(1, SENT_WITHIN).await?;
    assert_eq!(before.received().len(), 2);
    assert_eq!(dlq_consumer.log().iter().filter(|line| refused(line)).count(), 1, "said once");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_may_have_255_bytes_of_any_script_and_holds_what_it_was_told() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("NAMES", 10).await?;
    let services = Services::start(&world).await?;
    let long = format!("{}x", "é".repeat(127));
    let names = [long.as_str(), "会员|1|二", "O'Brien \"Zoë\" \\ ,;=", "👩\u{200d}👩\u{200d}👧", "{tag}:issued"];
    for name in names {
        accepted(&world, &services.api, "NAMES", name).await?;
    }
    issued_rows(&world, "NAMES", i64::try_from(names.len())?, SOON).await?;
    for name in names {
        let (status, body) = world.member(&services.api, name)?.mine("NAMES").await?;
        assert_eq!(status, 200, "{name}: {body}");
        let issued: i64 = sqlx::query_scalar("SELECT count(*) FROM coupon_issues WHERE member_id = $1")
            .bind(name)
            .fetch_one(&world.db)
            .await?;
        assert_eq!(issued, 1, "{name}");
    }
    world.quiet(SOON, &[]).await?;
    let output = world.run("dlq-consumer", &["reconcile", "NAMES"]).await?;
    assert_eq!(output.code, Some(0), "{} {}", output.stdout, output.stderr);
    let csv = world.run("dlq-consumer", &["issued", "NAMES"]).await?;
    for name in ["会员|1|二", long.as_str()] {
        assert!(csv.stdout.contains(name), "{}", csv.stdout);
    }
    Ok(())
}
