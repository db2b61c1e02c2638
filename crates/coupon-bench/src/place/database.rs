//! A database of its own, with the schema as the real binary lays it down.

use std::path::Path;

use anyhow::{Context, Result};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::measure::process;

/// Creates an empty database of this name beside the one of the URL.
pub async fn create(url: &str, name: &str) -> Result<()> {
    execute(url, format!("CREATE DATABASE {name}")).await
}

/// Lays down the schema.
pub async fn migrate(issue_consumer: &Path, variables: &[(&str, &str)]) -> Result<()> {
    process::run(issue_consumer, &["migrate"], variables).await?;
    Ok(())
}

/// Removes it with whoever is still connected. An absent one is no error.
pub async fn remove(url: &str, name: &str) -> Result<()> {
    execute(url, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await
}

async fn execute(url: &str, statement: String) -> Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(&mut connection).await.context(statement)?;
    Ok(connection.close().await?)
}
