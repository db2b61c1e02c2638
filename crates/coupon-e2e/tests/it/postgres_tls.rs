//! PostgreSQL by TLS, with certificates made here: who is let in, and what a refusal says.

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    process::logs::LogLine,
    servers::{
        Servers,
        certificates::Authority,
        encrypted::{certify_postgres, put_into_postgres},
        private::{PrivateServers, Server},
    },
    wait::eventually,
    world::{Setup, World},
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::{SOON, issued_rows, write::accepted};

/// What it is, the URL, further settings, and what `doctor` says of it.
type Case<'a> = (&'a str, String, &'a [(&'a str, &'a str)], &'a str);

/// Lets the server speak TLS, and ask for it.
async fn turn_tls_on(admin: &mut PgConnection, own: &Authority) -> Result<()> {
    put_into_postgres(admin, "root.crt", &std::fs::read_to_string(own.root())?).await?;
    put_into_postgres(
        admin,
        "pg_hba.conf",
        "hostssl all certified 127.0.0.1/32 cert\nhostssl all all 127.0.0.1/32 scram-sha-256\n\
         hostnossl all plain 127.0.0.1/32 reject\nhostnossl all all 127.0.0.1/32 scram-sha-256",
    )
    .await?;
    for statement in [
        "ALTER SYSTEM SET ssl_ca_file = 'root.crt'",
        "ALTER SYSTEM SET ssl = on",
        "CREATE ROLE certified LOGIN SUPERUSER",
        "CREATE ROLE plain LOGIN SUPERUSER PASSWORD 'hunter2'",
        "CREATE ROLE barred LOGIN PASSWORD 'hunter2'",
        "REVOKE CONNECT ON DATABASE postgres FROM PUBLIC",
    ] {
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut *admin).await?;
    }
    certify_postgres(admin, &own.sign_for("server", "127.0.0.1", "server", false)?).await
}

/// The URL with other parameters, and with another user when there is one.
fn url(world: &World, user: Option<&str>, parameters: &str) -> String {
    let url = match user {
        Some(login) => {
            let (_, place) = world.database_url.split_once('@').unwrap_or_default();
            format!("postgres://{login}@{place}")
        }
        None => world.database_url.clone(),
    };
    format!("{url}?{parameters}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_that_asks_for_tls_is_verified_and_each_refusal_names_the_setting() -> Result<()> {
    let private = PrivateServers::start(&[Server::Postgres]).await?;
    let world = World::with(Setup::on(private.servers())).await?;
    let authority = |name: &str| Authority::new(&world.folder().join(name));
    let (own, another) = (authority("own")?, authority("another")?);
    let mut admin = PgConnection::connect(&world.database_url).await?;
    let client = own.sign_for("client", "client", "certified", false)?;
    let strange = another.sign_for("client", "client", "certified", false)?;
    let [ca, other_ca, cert, key, strange_cert, strange_key] =
        [own.root(), another.root(), client.certificate, client.key, strange.certificate, strange.key]
            .map(|path| path.display().to_string());

    turn_tls_on(&mut admin, &own).await?;

    let doctor = async |url: String, sets: &[(&str, &str)]| {
        let sets = sets.iter().flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]);
        let arguments: Vec<String> = sets.chain(["doctor".to_owned()]).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        world.run_with("issue-consumer", &arguments, &[("DATABASE_URL", url.as_str())]).await
    };
    let trusts = ("database.ca_file", ca.as_str());
    let certified = [trusts, ("database.client_cert_file", cert.as_str()), ("database.client_key_file", key.as_str())];
    for (user, sets) in
        [(None, &certified[..1]), (Some("certified"), &certified[..]), (Some("plain:hunter2"), &certified[..1])]
    {
        let done = doctor(url(&world, user, ""), sets).await?;
        ensure!(done.stdout.contains("writes commit"), "{user:?}: {}{}", done.stdout, done.stderr);
    }

    let strange = [
        trusts,
        ("database.client_cert_file", strange_cert.as_str()),
        ("database.client_key_file", strange_key.as_str()),
    ];
    let shared = Servers::from_env()?;
    let (redis, _) = shared.redis_url.trim_start_matches("redis://").split_once('/').context("an address")?;
    let speaks_redis = format!("postgres://me:hunter2@{redis}/db?sslmode=");
    let speaks_kafka = format!("postgres://me:hunter2@{}/db?sslmode=", shared.kafka_brokers);
    let distrusts = [("database.ca_file", other_ca.as_str())];
    let refused: Vec<Case<'_>> = vec![
        ("an unknown authority", url(&world, None, ""), &distrusts, "`database.ca_file`"),
        ("a private authority without its root", url(&world, None, "sslmode=verify-full"), &[], "`database.ca_file`"),
        ("no TLS where it is asked for", url(&world, Some("plain:hunter2"), "sslmode=disable"), &[], "pg_hba.conf"),
        ("no client certificate", url(&world, Some("certified"), ""), &certified[..1], "`database.client_cert_file`"),
        ("a strange client certificate", url(&world, Some("certified"), ""), &strange, "`database.client_cert_file`"),
        ("no such database", url(&world, Some("plain:hunter2"), "dbname=none"), &certified, "a database that exists"),
        ("a wrong password", url(&world, Some("plain:hunter3"), ""), &certified[..1], "`database.password_file`"),
        (
            "no right to the database",
            url(&world, Some("barred:hunter2"), "dbname=postgres"),
            &certified[..1],
            "grant the role",
        ),
        ("no TLS at the server", format!("{}?sslmode=require", shared.database_url), &[], "sslmode=disable"),
        ("another protocol", format!("{speaks_redis}disable"), &[], "`database.url`"),
        ("another protocol, asked for TLS", format!("{speaks_redis}require"), &[], "`database.url`"),
        ("a protocol that hangs up", format!("{speaks_kafka}require"), &[], "`database.url`"),
    ];
    for (what, url, sets, says) in refused {
        let done = doctor(url, sets).await?;
        let said = format!("{}{}", done.stdout, done.stderr);
        ensure!(done.code == Some(1) && said.contains(says) && !said.contains("hunter"), "{what}: {said}");
    }
    for (is_expired, host, says) in [
        (false, "db.example.org", "name a host of the server's certificate"),
        (true, "127.0.0.1", "renew the server's certificate"),
    ] {
        certify_postgres(&mut admin, &own.sign_for("server", host, "server", is_expired)?).await?;
        let done = doctor(url(&world, None, ""), &certified[..1]).await?;
        ensure!(done.code == Some(1) && done.stdout.contains(says), "{says}: {}{}", done.stdout, done.stderr);
        let by_authority = doctor(url(&world, None, "sslmode=verify-ca"), &certified[..1]).await?;
        ensure!(by_authority.stdout.contains("writes commit") != is_expired, "{by_authority:?}");
    }

    says_it_once_and_waits(&world, &mut admin, &own, &ca).await
}

/// A service says once that the certificate has expired, waits, and goes on when it is renewed.
async fn says_it_once_and_waits(world: &World, admin: &mut PgConnection, own: &Authority, ca: &str) -> Result<()> {
    world.open_campaign("TLS", 10).await?;
    let issue = world.start_issue_consumer().set("database.ca_file", ca).without_waiting().await?;
    eventually("it says what it waits for", SOON, async || -> Result<bool> {
        Ok(issue.admin_page("/readyz").await?.contains("renew the server's certificate"))
    })
    .await?;
    let says_so = |line: &LogLine| line.text.contains("renew the server's certificate");
    eventually("the log says it too", SOON, async || issue.log().iter().any(says_so)).await?;
    ensure!(issue.log().iter().filter(|line| says_so(line)).count() == 1, "said once: {:?}", issue.log());
    certify_postgres(admin, &own.sign_for("server", "127.0.0.1", "server", false)?).await?;
    eventually("it is ready", SOON, async || issue.admin_status("/readyz").await == Some(200)).await?;
    let api = world.start_api().await?;
    accepted(world, &api, "TLS", "someone").await?;
    issued_rows(world, "TLS", 1, SOON).await?;
    let encrypted: Option<bool> = sqlx::query_scalar(
        "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'issue-consumer'",
    )
    .fetch_one(admin)
    .await?;
    ensure!(encrypted == Some(true), "{encrypted:?}");
    Ok(())
}
