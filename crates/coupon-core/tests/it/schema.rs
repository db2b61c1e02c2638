//! Which databases a build takes for its own, and which files it may have been built with.

use std::{fs, path::Path, process::Command};

use coupon_core::repo::schema::{Schema, newest};
use sqlx::{Connection, PgConnection};

use crate::servers::OwnDatabase;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

#[tokio::test]
async fn a_database_migrated_with_an_edited_file_is_refused_with_a_sentence() {
    let own = OwnDatabase::create("edited").await;
    let (database, url) = own.parts();
    assert_eq!(database.schema().await.unwrap(), Schema::Fits { version: newest() });
    let mut raw = PgConnection::connect(&url).await.unwrap();
    // As the build of fdbc98b left it, whose 0003 was another one.
    sqlx::query("UPDATE _sqlx_migrations SET checksum = sha384('another 0003') WHERE version = 3")
        .execute(&mut raw)
        .await
        .unwrap();
    let schema = database.schema().await.unwrap();
    assert_eq!(schema, Schema::Edited { version: 3 });
    let said = schema.to_string();
    assert!(said.contains("migration 3 was applied") && said.contains("migrations/README.md"), "{said}");
    // Nor does `migrate` pass over it.
    assert!(database.migrate().await.is_err());
    own.drop().await;
}

#[tokio::test]
async fn a_database_that_lacks_a_migration_in_between_is_too_old_and_one_with_newer_ones_fits() {
    let own = OwnDatabase::create("gaps").await;
    let (database, url) = own.parts();
    let mut raw = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (999, 'of a newer build', true, sha384('newer'), 0)",
    )
    .execute(&mut raw)
    .await
    .unwrap();
    assert_eq!(database.schema().await.unwrap(), Schema::Fits { version: 999 });
    sqlx::raw_sql("DELETE FROM _sqlx_migrations WHERE version = 2").execute(&mut raw).await.unwrap();
    let schema = database.schema().await.unwrap();
    assert_eq!(schema, Schema::TooOld { version: Some(999), needed: 2 });
    assert!(schema.to_string().contains("lacks version 2"), "{schema}");
    sqlx::raw_sql("UPDATE _sqlx_migrations SET success = false WHERE version = 3").execute(&mut raw).await.unwrap();
    assert_eq!(database.schema().await.unwrap(), Schema::TooOld { version: Some(999), needed: 3 });
    own.drop().await;
}

#[test]
fn the_check_of_migrations_refuses_an_edited_file_and_an_edited_list() {
    let folder = std::env::temp_dir().join(format!("migrations-check-{}", std::process::id()));
    let (scripts, migrations) = (folder.join("scripts"), folder.join("migrations"));
    fs::create_dir_all(&scripts).unwrap();
    fs::create_dir_all(&migrations).unwrap();
    fs::copy(Path::new(ROOT).join("scripts/migrations-check"), scripts.join("migrations-check")).unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&folder).env("GIT_CONFIG_GLOBAL", "/dev/null");
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let commit = |message: &str| {
        let who = ["-c", "user.name=test", "-c", "user.email=test@localhost"];
        assert!(run("git", &["add", "-A"]).0);
        assert!(run("git", &[&who[..], &["commit", "-qm", message]].concat()).0);
    };
    let check = || run("scripts/migrations-check", &[]);
    let (first, second) = (migrations.join("0001_first.sql"), migrations.join("0002_second.sql"));
    fs::write(&first, "SELECT 1;\n").unwrap();
    fs::write(migrations.join("checksums"), "").unwrap();
    assert!(run("git", &["init", "-q"]).0);
    assert!(run("scripts/migrations-check", &["--land"]).0);
    commit("Land the first");
    assert_eq!(check(), (true, String::new()));
    // What has not landed may still change.
    fs::write(&second, "SELECT 2;\n").unwrap();
    assert_eq!(check(), (true, String::new()));

    fs::write(&first, "SELECT 3;\n").unwrap();
    let (passed, why) = check();
    assert!(!passed && why.contains("0001_first.sql was edited after it had landed"), "{why}");
    // Whoever takes the list along is found by its history, before the commit and after it.
    fs::write(migrations.join("checksums"), "").unwrap();
    assert!(run("scripts/migrations-check", &["--land"]).0);
    for round in ["before", "after"] {
        let (passed, why) = check();
        assert!(!passed && why.contains("the checksum of 0001_first.sql was changed"), "{round}: {why}");
        if round == "before" {
            commit("Edit a file and its checksum");
        }
    }
    fs::remove_dir_all(&folder).unwrap();
}
