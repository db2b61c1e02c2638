//! A database that was migrated with an edited migration is refused.

use anyhow::Result;
use coupon_e2e::world::World;

use crate::SOON;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_made_by_another_form_of_a_migration_ends_every_service_and_doctor_with_a_sentence() -> Result<()> {
    const WHY: &str = "migration 3 was applied to this database in another form";
    let world = World::new().await?;
    let edited = "UPDATE _sqlx_migrations SET checksum = sha384('another 0003') WHERE version = 3";
    sqlx::raw_sql(edited).execute(&world.db).await?;
    for binary in ["issuer-api", "issue-consumer", "dlq-consumer"] {
        let doctor = world.run(binary, &["doctor"]).await?;
        assert_eq!(doctor.code, Some(1), "{binary}");
        assert!(doctor.stdout.contains("FAIL") && doctor.stdout.contains(WHY), "{binary}: {}", doctor.stdout);
    }
    let migrate = world.run("issue-consumer", &["migrate"]).await?;
    assert_eq!(migrate.code, Some(1), "{}", migrate.stderr);
    for launch in [world.start_api(), world.start_issue_consumer(), world.start_dlq_consumer()] {
        let process = launch.without_waiting().await?;
        assert_eq!(process.exit(SOON).await?.code(), Some(1));
        process.wait_for_log("why", SOON, |line| line.text.contains(WHY)).await?;
    }
    Ok(())
}
