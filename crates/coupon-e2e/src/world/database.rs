//! A fresh database for each world: copied from a template that the real `issue-consumer migrate` has filled once.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context, Result, ensure};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::claim::Claim;
use crate::{
    process::{binaries, command::Command},
    servers::Servers,
};

/// Advisory lock under which the template is made and copied.
const TEMPLATE_LOCK: i64 = 0x_636f_7570_6f6e;

/// Creates the claim's database with the schema of `migrations/`.
pub async fn create(claim: &Claim, servers: &Servers) -> Result<()> {
    let mut admin =
        PgConnection::connect(&servers.database_url).await.context("PostgreSQL of DATABASE_URL does not answer")?;
    // Held until the connection ends: a template is neither made twice nor dropped while it is copied.
    sqlx::query("SELECT pg_advisory_lock($1)").bind(TEMPLATE_LOCK).execute(&mut admin).await?;
    let migrations = Migrations::read()?;
    let template = format!("it_template_{:016x}", migrations.checksum);
    if !exists(&mut admin, &template).await? {
        drop_templates(&mut admin).await?;
        make(&mut admin, &template, &migrations, servers).await?;
    }
    execute(&mut admin, format!("CREATE DATABASE {} TEMPLATE {template}", claim.database())).await?;
    admin.close().await?;
    Ok(())
}

/// Migrates under a name of its own and renames at the end, so that a template is complete or absent.
async fn make(admin: &mut PgConnection, template: &str, migrations: &Migrations, servers: &Servers) -> Result<()> {
    let draft = format!("{template}_draft");
    migrations.must_not_be_newer_than(&binaries::find("issue-consumer")?)?;
    execute(admin, format!("CREATE DATABASE {draft}")).await?;
    let migrate = Command::new("issue-consumer", &["migrate"])?
        .env("DATABASE_URL", servers.database(&draft)?)
        .env("KAFKA_BROKERS", &servers.kafka_brokers)
        .run()
        .await?;
    ensure!(migrate.code == Some(0), "issue-consumer migrate failed: {migrate:?}");
    execute(admin, format!("ALTER DATABASE {draft} RENAME TO {template}")).await
}

/// Templates of other migrations, and drafts of killed runs.
async fn drop_templates(admin: &mut PgConnection) -> Result<()> {
    let names: Vec<String> =
        sqlx::query_scalar("SELECT datname FROM pg_database WHERE datname LIKE 'it\\_template\\_%'")
            .fetch_all(&mut *admin)
            .await?;
    for name in names {
        execute(admin, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
    }
    Ok(())
}

async fn exists(admin: &mut PgConnection, name: &str) -> Result<bool> {
    let found = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)");
    Ok(found.bind(name).fetch_one(admin).await?)
}

async fn execute(admin: &mut PgConnection, statement: String) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(admin).await.context(statement)?;
    Ok(())
}

struct Migrations {
    checksum: u64,
    changed: SystemTime,
}

impl Migrations {
    fn read() -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
        let mut files: Vec<PathBuf> = fs::read_dir(&folder)
            .with_context(|| format!("{} cannot be read", folder.display()))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
            .collect();
        files.sort();
        let mut checksum = DefaultHasher::new();
        let mut changed = SystemTime::UNIX_EPOCH;
        for file in files {
            fs::read(&file)?.hash(&mut checksum);
            changed = changed.max(fs::metadata(&file)?.modified()?);
        }
        Ok(Self { checksum: checksum.finish(), changed })
    }

    /// An old binary would fill the template with an old schema, for all later runs.
    fn must_not_be_newer_than(&self, binary: &Path) -> Result<()> {
        let built = fs::metadata(binary)?.modified()?;
        ensure!(
            built >= self.changed,
            "{} is older than the newest file of migrations/; build the workspace first",
            binary.display()
        );
        Ok(())
    }
}
