//! PgBouncer in transaction mode between the services and PostgreSQL.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    failures::FailMode,
    process::{ports, signal},
    servers::with_address,
    wait::eventually,
    world::World,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;

use crate::{AFTER_ALL_ATTEMPTS, SOON, issued_rows, write::accepted};

/// The first start fetches the package.
const STARTS_WITHIN: Duration = Duration::from_mins(2);

/// A PgBouncer before the database of a world. It ends when this value is dropped.
struct Pooler {
    child: Child,
    url: String,
    _folder: TempDir,
}

impl Pooler {
    /// `prepared`: how many prepared statements it keeps for each client; 0 is what PgBouncer before 1.21 does.
    async fn before(database_url: &str, role: &str, prepared: u32) -> Result<Self> {
        let (folder, port) = (tempfile::tempdir()?, ports::free()?);
        let url = reqwest::Url::parse(database_url)?;
        let (host, server) = (url.host_str().context("a host")?, url.port().context("a port")?);
        let users = folder.path().join("users.txt");
        std::fs::write(&users, format!("\"{role}\" \"word\"\n"))?;
        let file = folder.path().join("pgbouncer.ini");
        let ini = format!(
            "[databases]\n* = host={host} port={server}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = plain\nauth_file = {}\npool_mode = transaction\ndefault_pool_size = 10\n\
             max_client_conn = 200\nmax_prepared_statements = {prepared}\n",
            users.display()
        );
        std::fs::write(&file, ini)?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/pgbouncer");
        let child = Command::new(script).arg("-q").arg(&file).stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut own = url;
        own.set_username(role).ok().context("a user")?;
        own.set_password(Some("word")).ok().context("a password")?;
        let pooler = Self { child, url: with_address(own.as_str(), ([127, 0, 0, 1], port).into())?, _folder: folder };
        eventually("the pooler listens", STARTS_WITHIN, async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await?;
        Ok(pooler)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        signal::send("QUIT", self.child.id()).ok();
        self.child.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_pgbouncer_in_transaction_mode_everything_works_and_what_cannot_is_refused() -> Result<()> {
    let world = World::new().await?;
    let mut admin = PgConnection::connect(&world.database_url).await?;
    let role = format!("pooled_{}", std::process::id());
    let run = async |admin: &mut PgConnection, statement: String| {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(admin).await
    };
    run(&mut admin, format!("DROP ROLE IF EXISTS {role}")).await?;
    run(&mut admin, format!("CREATE ROLE {role} LOGIN SUPERUSER PASSWORD 'word'")).await?;
    let pooler = Pooler::before(&world.database_url, &role, 100).await?;
    let url = [("DATABASE_URL", pooler.url.as_str())];
    let pooled = ["--set", "database.pooled=true"];
    let with = async |binary: &str, words: &[&str]| world.run_with(binary, &[&pooled[..], words].concat(), &url).await;

    // Each of these is refused in a sentence.
    let unsaid = world.run_with("issue-consumer", &["doctor"], &url).await?;
    ensure!(unsaid.code == Some(1) && unsaid.stdout.contains("set `database.pooled` to true"), "{unsaid:?}");
    let unbound = with("issue-consumer", &["doctor"]).await?;
    ensure!(unbound.code == Some(1) && unbound.stdout.contains("ALTER ROLE … SET statement_timeout"), "{unbound:?}");
    // In a database without a schema: one that fits is left alone.
    let (place, _) = pooler.url.rsplit_once('/').context("a database")?;
    let empty = format!("{place}/postgres");
    let migrate = [&pooled[..], &["migrate"]].concat();
    let migrate = world.run_with("issue-consumer", &migrate, &[("DATABASE_URL", empty.as_str())]).await?;
    ensure!(migrate.code == Some(1) && migrate.stderr.contains("leads to PostgreSQL itself"), "{migrate:?}");
    for (name, value) in
        [("statement_timeout", "5s"), ("lock_timeout", "2s"), ("idle_in_transaction_session_timeout", "5s")]
    {
        run(&mut admin, format!("ALTER ROLE {role} SET {name} = '{value}'")).await?;
    }
    let old = Pooler::before(&world.database_url, &role, 0).await?;
    let unprepared = world
        .run_with("issue-consumer", &["--set", "database.pooled=true", "doctor"], &[("DATABASE_URL", old.url.as_str())])
        .await?;
    ensure!(unprepared.code == Some(1) && unprepared.stdout.contains("PgBouncer 1.21 or later"), "{unprepared:?}");
    drop(old);
    // Sessions that the pooler had opened before the role had its time-outs.
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'");
    run(&mut admin, end).await?;

    world.open_campaign("POOLED", 100).await?;
    world.fail_member("POOLED", "unlucky", FailMode::Permanently).await?;
    let (api, issue, dlq) = tokio::try_join!(
        world.start_api().env("DATABASE_URL", &pooler.url).set("database.pooled", true).into_future(),
        world.start_issue_consumer().env("DATABASE_URL", &pooler.url).set("database.pooled", true).into_future(),
        world.start_dlq_consumer().env("DATABASE_URL", &pooler.url).set("database.pooled", true).into_future()
    )?;
    for binary in ["issuer-api", "issue-consumer", "dlq-consumer"] {
        let doctor = with(binary, &["doctor"]).await?;
        ensure!(doctor.stdout.contains("writes commit"), "{doctor:?}");
    }
    accepted(&world, &api, "POOLED", "unlucky").await?;
    for number in 0..30 {
        accepted(&world, &api, "POOLED", &format!("member-{number}")).await?;
    }
    issued_rows(&world, "POOLED", 30, SOON).await?;
    let verdict = world.quiet(AFTER_ALL_ATTEMPTS, &[]).await?;
    ensure!((verdict.issued, verdict.compensated) == (30, 1), "{verdict}");
    // Each takes a lock, which must be gone with its holder.
    for _ in 0..2 {
        let rebuilt = with("dlq-consumer", &["rebuild", "POOLED", "--yes", "--by", "olga"]).await?;
        ensure!(rebuilt.code == Some(0), "{rebuilt:?}");
        let compared = with("dlq-consumer", &["reconcile", "POOLED", "--apply", "--by", "olga"]).await?;
        ensure!(compared.code == Some(0), "{compared:?}");
    }
    let locks = "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
                 WHERE locktype = 'advisory' AND datname = current_database()";
    eventually("no lock is left", SOON, async || -> Result<bool> {
        let held: i64 = sqlx::query_scalar(locks).fetch_one(&world.db).await?;
        Ok(held == 0)
    })
    .await?;
    ensure!(!issue.log_contains("dependency unavailable") && !dlq.log_contains("dependency unavailable"));
    drop((api, issue, dlq, pooler));
    run(&mut admin, format!("DROP ROLE {role}")).await?;
    Ok(())
}
