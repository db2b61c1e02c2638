//! The schema: migrations are embedded, forward only, and applied by `issue-consumer migrate` alone.

use std::{collections::BTreeMap, time::Duration};

use sqlx::{
    AssertSqlSafe,
    migrate::{Migration, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{Database, RepoError};

static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");

/// Whether the schema of the database fits this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// The schema fits: it has every migration of this build, and admits it.
    Fits {
        /// Newest migration of the database.
        version: i64,
    },
    /// The schema lacks a migration of this build: migrate first.
    TooOld {
        /// Newest migration of the database; `None` without any.
        version: Option<i64>,
        /// Newest migration that the database lacks.
        needed: i64,
    },
    /// A migration was applied in another form than that of this build: the schema is unknown.
    Edited {
        /// Number of the oldest such migration.
        version: i64,
    },
    /// The schema is newer, and does not admit builds as old as this one.
    TooNew {
        /// Newest migration of this build.
        built_with: i64,
        /// Oldest build that the schema admits, by its newest migration.
        oldest_binary: i64,
    },
}

/// A failed migration.
#[derive(Debug, thiserror::Error)]
#[error("the schema could not be migrated")]
pub struct MigrateError(#[from] sqlx::migrate::MigrateError);

/// What `migrate` cannot do behind a pooler: its lock and its lock timeout are those of one session.
const POOLED: &str = "migrate needs a session of its own: run it with a `database.url` that leads to PostgreSQL itself, \
                      and `database.pooled` set to false";

/// Key of the advisory lock of migrations.
const LOCK: i64 = 0x636f_7570_6f6e;
/// Pause between two attempts to take the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(500);

/// Returns the newest migration of this build.
pub fn newest() -> i64 {
    MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0)
}

impl Database {
    /// Applies the missing migrations. Safe to run in several processes at once: an advisory lock lets one at a time.
    ///
    /// Uses a connection of its own, without the timeouts of the service: building an index of a large table takes
    /// long, and waits for readers.
    pub async fn migrate(&self) -> Result<(), MigrateError> {
        let unlimited = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"];
        if self.0.pooled {
            return Err(sqlx::migrate::MigrateError::from(sqlx::Error::Configuration(POOLED.into())).into());
        }
        let options = self.dialer().options().await.map_err(sqlx::migrate::MigrateError::from)?;
        let options = options.options(unlimited.map(|limit| (limit, "0")));
        match tokio::spawn(async move { migrate(&options).await }).await {
            Ok(result) => Ok(result?),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// Compares the database's schema with this build.
    pub async fn schema(&self) -> Result<Schema, RepoError> {
        let needed = newest();
        let select = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL");
        let migrated: bool = self.read("read the schema version", select.fetch_one(&self.pool())).await?;
        if !migrated {
            return Ok(Schema::TooOld { version: None, needed });
        }
        let select = sqlx::query_as("SELECT version, checksum FROM _sqlx_migrations WHERE success");
        let applied: Vec<(i64, Vec<u8>)> = self.read("read the schema version", select.fetch_all(&self.pool())).await?;
        let applied: BTreeMap<i64, Vec<u8>> = applied.into_iter().collect();
        // Every migration: the newest says nothing about the others.
        let is_edited = |migration: &&Migration| {
            applied.get(&migration.version).is_some_and(|checksum| checksum[..] != migration.checksum[..])
        };
        if let Some(Migration { version, .. }) = MIGRATOR.iter().find(is_edited) {
            return Ok(Schema::Edited { version: *version });
        }
        let version = applied.last_key_value().map(|(version, _)| *version);
        let lacking = MIGRATOR.iter().map(|migration| migration.version).filter(|needed| !applied.contains_key(needed));
        let (Some(version), None) = (version, lacking.clone().next()) else {
            return Ok(Schema::TooOld { version, needed: lacking.max().unwrap_or(needed) });
        };
        let select = sqlx::query_scalar("SELECT oldest_binary FROM schema_compatibility");
        let oldest_binary: i64 = self.read("read the schema version", select.fetch_one(&self.pool())).await?;
        if oldest_binary > needed {
            return Ok(Schema::TooNew { built_with: needed, oldest_binary });
        }
        Ok(Schema::Fits { version })
    }
}

async fn migrate(options: &PgConnectOptions) -> Result<(), sqlx::migrate::MigrateError> {
    // One connection, which holds the lock and the settings of the session.
    let one = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
    let pool = one.connect_with(options.clone()).await?;
    // Polled, and not waited for in one statement as sqlx does: that statement keeps a snapshot, for which the holder's
    // CREATE INDEX CONCURRENTLY would wait.
    while !sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(LOCK).fetch_one(&pool).await? {
        tokio::time::sleep(LOCK_PAUSE).await;
    }
    // An index that an interrupted migration has left invalid would fail the next attempt.
    let left: Vec<String> = sqlx::query_scalar(
        "SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
         WHERE NOT indisvalid AND relnamespace = current_schema()::regnamespace",
    )
    .fetch_all(&pool)
    .await?;
    for index in left {
        tracing::warn!("the index {index} was not built to its end and is dropped, to be built again");
        sqlx::raw_sql(AssertSqlSafe(format!("DROP INDEX CONCURRENTLY {index}"))).execute(&pool).await?;
    }
    let mut up_to = Vec::new();
    for migration in MIGRATOR.iter() {
        // A waiting table lock blocks every later statement of the table; building an index blocks none.
        let lock_timeout = if migration.no_tx { "0" } else { "5s" };
        sqlx::raw_sql(AssertSqlSafe(format!("SET lock_timeout = '{lock_timeout}'"))).execute(&pool).await?;
        up_to.push(migration.clone());
        let mut migrator = Migrator::with_migrations(up_to.clone());
        migrator.set_locking(false).set_ignore_missing(true).run(&pool).await?;
    }
    // All at once: refuses a database with migrations that this build does not know.
    Migrator::with_migrations(up_to).set_locking(false).run(&pool).await?;
    pool.close().await;
    Ok(())
}

impl std::fmt::Display for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fits { version } => write!(f, "schema version {version} fits"),
            Self::TooOld { version: None, needed } => {
                write!(f, "the database has no schema, version {needed} is needed: run `issue-consumer migrate`")
            }
            Self::TooOld { version: Some(version), needed } if needed < version => write!(
                f,
                "the schema has version {version} and lacks version {needed}, which is needed: run `issue-consumer migrate`"
            ),
            Self::TooOld { version: Some(version), needed } => {
                write!(f, "the schema has version {version}, version {needed} is needed: run `issue-consumer migrate`")
            }
            Self::Edited { version } => write!(
                f,
                "migration {version} was applied to this database in another form than this build has: deploy a build \
                 with the migrations that were applied, or follow \"A database of another form\" in migrations/README.md"
            ),
            Self::TooNew { built_with, oldest_binary } => write!(
                f,
                "the schema admits builds that know migration {oldest_binary}, this one knows {built_with}: deploy a newer build"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    /// SHA-384 and name of each migration that main has had, as `sha384sum` prints them.
    const LANDED: &str = include_str!("../../../../migrations/checksums");

    /// `scripts/migrations-check` also compares the list with its own history; here it is the files that are compiled
    /// in.
    #[test]
    fn a_landed_migration_is_what_it_was_when_it_landed() {
        let mut landed = LANDED.lines().filter_map(|line| line.split_once("  ")).collect::<Vec<_>>();
        assert!(landed.len() >= 3 && landed.is_sorted_by_key(|(_, file)| *file), "{landed:?}");
        landed.retain(|(checksum, file)| {
            let version: i64 = file[..4].parse().unwrap();
            let migration = MIGRATOR.iter().find(|migration| migration.version == version).unwrap();
            let now = migration.checksum.iter().fold(String::new(), |mut text, byte| {
                write!(text, "{byte:02x}").unwrap();
                text
            });
            now != *checksum
        });
        assert_eq!(landed, [], "edited after they had landed: put them back, and mend it with a migration of its own");
    }

    #[test]
    fn a_schema_that_does_not_fit_says_why_and_what_to_do() {
        let said = |schema: Schema| schema.to_string();
        assert!(
            said(Schema::Edited { version: 3 }).starts_with("migration 3 was applied to this database in another form")
        );
        let gap = said(Schema::TooOld { version: Some(8), needed: 3 });
        assert!(gap.contains("has version 8 and lacks version 3") && gap.contains("migrate"), "{gap}");
        let old = said(Schema::TooOld { version: Some(3), needed: 8 });
        assert!(old.contains("has version 3, version 8 is needed"), "{old}");
    }
}
