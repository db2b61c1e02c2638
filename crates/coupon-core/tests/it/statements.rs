//! An upgrade needs no order: the statements of the builds before find in the newest schema what they found in theirs.
//!
//! `statements/NNNN.sql` holds those of the last build on main whose newest migration was NNNN. Whoever adds the first migration
//! after it adds them.

use std::{fs, path::PathBuf};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::servers::EmptyDatabase;

const MIGRATIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations");
const STATEMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/statements");

/// The `.sql` files of a folder in the order of their names, and their numbers.
fn files(folder: &str) -> Vec<(u32, String)> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    paths.sort();
    let number = |path: &PathBuf| path.file_name().unwrap().to_string_lossy()[..4].parse().unwrap();
    paths.iter().map(|path| (number(path), fs::read_to_string(path).unwrap())).collect()
}

/// A database with the migrations up to a number.
async fn migrated(name: &str, up_to: u32) -> (EmptyDatabase, PgConnection) {
    let database = EmptyDatabase::create(name).await;
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    for (_, migration) in files(MIGRATIONS).into_iter().filter(|(number, _)| *number <= up_to) {
        connection.execute(sqlx::raw_sql(AssertSqlSafe(migration))).await.unwrap();
    }
    // As `migrate` would have noted it.
    connection
        .execute(
            "CREATE TABLE IF NOT EXISTS _sqlx_migrations
                 (version bigint PRIMARY KEY, success boolean NOT NULL, checksum bytea NOT NULL)",
        )
        .await
        .unwrap();
    (database, connection)
}

/// Runs a statement with a value of each parameter's type and gives what came of it: the columns, or the SQLSTATE.
async fn result(connection: &mut PgConnection, statement: &str) -> String {
    let mut tx = connection.begin().await.unwrap();
    let run = async {
        tx.execute(AssertSqlSafe(format!("PREPARE old AS {statement}"))).await?;
        let types: Vec<String> =
            sqlx::query_scalar("SELECT unnest(parameter_types)::text FROM pg_prepared_statements WHERE name = 'old'")
                .fetch_all(&mut *tx)
                .await?;
        let values: Vec<String> = types.iter().map(|kind| sample(kind)).collect();
        let values = if values.is_empty() { String::new() } else { format!("({})", values.join(", ")) };
        let done = tx.execute(AssertSqlSafe(format!("EXECUTE old{values}"))).await?;
        Ok::<_, sqlx::Error>(format!("{} rows", done.rows_affected()))
    };
    let result = match run.await {
        Ok(done) => done,
        Err(sqlx::Error::Database(error)) => error.code().unwrap_or_default().into_owned(),
        Err(error) => panic!("{statement}: {error}"),
    };
    tx.rollback().await.unwrap();
    // A transaction that is rolled back keeps what was prepared; there is nothing where that failed.
    connection.execute("DEALLOCATE old").await.ok();
    result
}

fn sample(kind: &str) -> String {
    if let Some(element) = kind.strip_suffix("[]") {
        return format!("ARRAY[{}]::{kind}", sample(element));
    }
    let value = match kind {
        "boolean" => "true",
        "uuid" => "01900000-0000-7000-8000-000000000000",
        "timestamp with time zone" => "2026-01-01T00:00:00Z",
        "jsonb" => "{}",
        _ => "1",
    };
    format!("'{value}'::{kind}")
}

#[tokio::test]
async fn the_statements_of_the_builds_before_do_in_the_newest_schema_what_they_did_in_theirs() {
    let newest = files(MIGRATIONS).last().unwrap().0;
    let builds: Vec<(u32, String)> = files(STATEMENTS);
    // Migrations that land together are of one build, so numbers may be missing, but never that of the newest on main.
    let landed = fs::read_to_string(format!("{MIGRATIONS}/checksums")).unwrap();
    let landed: u32 = landed.lines().last().unwrap().split_once("  ").unwrap().1[..4].parse().unwrap();
    let known = builds.iter().map(|(number, _)| *number).max();
    assert!(newest == landed || known == Some(landed), "statements/ has those of the build before: {landed:04}.sql");
    let (new, mut in_new) = migrated("statements_new", newest).await;
    for (number, statements) in builds {
        let (old, mut in_old) = migrated("statements_old", number).await;
        let statements = statements.split(";\n").map(str::trim).filter(|statement| !statement.is_empty());
        for statement in statements {
            let was = result(&mut in_old, statement).await;
            // A value of a sample may break a CHECK. Whatever else goes wrong is a mistake of the list.
            assert!(was.ends_with("rows") || was == "23514", "{was} in its own schema: {statement}");
            assert_eq!(result(&mut in_new, statement).await, was, "{statement}");
        }
        in_old.close().await.unwrap();
        old.drop().await;
    }
    in_new.close().await.unwrap();
    new.drop().await;
}
