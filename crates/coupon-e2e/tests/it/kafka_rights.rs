//! The rights at Kafka: the recipe of deploy/README.md is enough, and less is found by `doctor` and `rebuild`.

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    kafka::record::NewRecord,
    servers::brokers::{Brokers, PASSWORD, Way},
    wait::eventually,
};

use crate::{
    SOON, issued_rows,
    kafka_secure::{login, parked, run, start, world_on},
    write::accepted,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pipeline_runs_with_exactly_the_rights_of_the_readme_and_each_that_is_missing_is_found() -> Result<()> {
    let brokers = Brokers::start(1, None).await?;
    let world = world_on(&brokers).await?;
    world.open_campaign("LEAST", 20).await?;
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/README.md");
    let readme = std::fs::read_to_string(readme)?;
    let (_, recipe) = readme.split_once("### Rights in Kafka").context("the recipe")?;
    let recipe = recipe.split("\n### ").next().unwrap_or_default();
    let commands = recipe.lines().filter_map(|line| line.strip_prefix("kafka-acls.sh --bootstrap-server $BROKERS "));
    let commands: Vec<Vec<String>> = commands
        .map(|line| {
            let mut is_group = false;
            let words = line.split_whitespace().map(|word| {
                let named = match word {
                    "coupon-issued" => world.topic.name().to_owned(),
                    "coupon-issued.DLQ" => world.dlq.name().to_owned(),
                    group if is_group => world.group_of(group),
                    other => other.to_owned(),
                };
                is_group = word == "--group";
                named
            });
            words.collect()
        })
        .collect();
    ensure!(commands.len() == 7, "{commands:?}");
    let (last, first) = commands.split_last().context("commands")?;
    let grant = async |words: &[String]| brokers.grant(&words.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for command in first {
        grant(command).await?;
    }
    let password = world.folder().join("password");
    std::fs::write(&password, PASSWORD)?;
    let at = brokers.addresses(Way::Login);
    let of = |binary: &str| login(&brokers, "SCRAM-SHA-512", binary, &password);

    // The last right is that of dlq-consumer to see the group of issue-consumer, which only reconcile and rebuild need.
    let rebuild = ["rebuild", "LEAST", "--yes", "--by", "olga"];
    let refused = run(&world, "dlq-consumer", &at, &of("dlq-consumer"), &rebuild).await?;
    ensure!(refused.code == Some(1) && refused.stderr.contains("a right on the consumer group"), "{refused:?}");
    assert_eq!(world.stock.of("LEAST").await?.meta["status"], "OPEN", "the gate was closed first");
    let doctor = run(&world, "dlq-consumer", &at, &of("dlq-consumer"), &["doctor"]).await?;
    ensure!(doctor.code == Some(1) && doctor.stdout.contains("a right on the consumer group"), "{doctor:?}");
    // Each of the others does what another may.
    for (binary, user) in
        [("issuer-api", "dlq-consumer"), ("issue-consumer", "issuer-api"), ("dlq-consumer", "issue-consumer")]
    {
        let doctor = run(&world, binary, &at, &of(user), &["doctor"]).await?;
        ensure!(doctor.code == Some(1) && doctor.stdout.contains("Rights in Kafka"), "{binary} as {user}: {doctor:?}");
    }
    grant(last).await?;

    for binary in ["issuer-api", "issue-consumer", "dlq-consumer"] {
        let doctor = eventually("the rights have arrived", SOON, async || -> Result<bool> {
            let doctor = run(&world, binary, &at, &of(binary), &["doctor"]).await?;
            ensure!(doctor.code == Some(0) && !doctor.stdout.contains("warn  kafka"), "{doctor:?}");
            Ok(true)
        });
        doctor.await.context(binary)?;
    }
    let services = start(&world, &at, of).await?;
    accepted(&world, &services.api, "LEAST", "somebody").await?;
    issued_rows(&world, "LEAST", 1, SOON).await?;
    world.topic.write(&NewRecord::of("k", "no event")).await?;
    parked(&world, 1).await?;
    run(&world, "dlq-consumer", &at, &of("dlq-consumer"), &["reconcile", "LEAST", "--by", "olga"])
        .await?
        .succeeded()?;
    run(&world, "dlq-consumer", &at, &of("dlq-consumer"), &rebuild).await?.succeeded()?;
    accepted(&world, &services.api, "LEAST", "another").await?;
    issued_rows(&world, "LEAST", 2, SOON).await?;
    for process in [&services.api, &services.issue_consumer, &services.dlq_consumer] {
        assert_eq!(process.admin_status("/readyz").await, Some(200));
    }
    Ok(())
}
