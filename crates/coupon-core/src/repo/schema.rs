//! The schema: embedded, forward only, applied by `issue-consumer migrate` and by nobody else.

use sqlx::migrate::Migrator;

use super::{Database, RepoError};

static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");

/// How the database's schema relates to this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// At least what this build needs, and it may use it.
    Fits {
        /// Newest migration the database has.
        version: i64,
    },
    /// Older than this build needs: migrate first.
    TooOld {
        /// Newest migration the database has; `None` when it has none at all.
        version: Option<i64>,
        /// Newest migration this build knows.
        needed: i64,
    },
    /// Newer, and marked as not fit for builds as old as this one.
    TooNew {
        /// Newest migration this build knows.
        built_with: i64,
        /// Oldest newest-migration that is still allowed.
        oldest_binary: i64,
    },
}

/// Why the schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
#[error("the schema could not be migrated")]
pub struct MigrateError(#[from] sqlx::migrate::MigrateError);

/// Newest migration this build knows.
pub fn newest() -> i64 {
    MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0)
}

impl Database {
    /// Applies what is missing. Safe to run at once from several places: an advisory lock lets one at it.
    pub async fn migrate(&self) -> Result<(), MigrateError> {
        let pool = self.pool();
        match tokio::spawn(async move { MIGRATOR.run(&pool.connections).await }).await {
            Ok(result) => Ok(result?),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// Compares the database's schema with this build.
    pub async fn schema(&self) -> Result<Schema, RepoError> {
        let needed = newest();
        let pool = self.pool();
        let question = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL").fetch_one(&pool);
        let migrated: bool = self.bounded("read the schema version", question).await?;
        if !migrated {
            return Ok(Schema::TooOld { version: None, needed });
        }
        let question = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success").fetch_one(&pool);
        let version: Option<i64> = self.bounded("read the schema version", question).await?;
        let Some(version) = version.filter(|version| *version >= needed) else {
            return Ok(Schema::TooOld { version, needed });
        };
        let question = sqlx::query_scalar("SELECT oldest_binary FROM schema_compatibility").fetch_one(&pool);
        let oldest_binary: i64 = self.bounded("read the schema version", question).await?;
        if oldest_binary > needed {
            return Ok(Schema::TooNew { built_with: needed, oldest_binary });
        }
        Ok(Schema::Fits { version })
    }
}

impl std::fmt::Display for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fits { version } => write!(f, "schema version {version} fits"),
            Self::TooOld { version: None, needed } => {
                write!(f, "the database has no schema, version {needed} is needed: run `issue-consumer migrate`")
            }
            Self::TooOld { version: Some(version), needed } => {
                write!(f, "the schema has version {version}, version {needed} is needed: run `issue-consumer migrate`")
            }
            Self::TooNew { built_with, oldest_binary } => write!(
                f,
                "the schema admits builds that know migration {oldest_binary}, this one knows {built_with}: deploy a newer build"
            ),
        }
    }
}
