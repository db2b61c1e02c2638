//! Kafka with TLS, logins and rights: the pipeline runs by each way in, and what is wrong is named with its setting.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    kafka::record::NewRecord,
    process::launch::Launch,
    servers::{
        Servers,
        brokers::{ADMIN, Brokers, PASSWORD, Way},
        certificates::Authority,
        token_server::{TokenKey, TokenServer},
    },
    wait::eventually,
    world::{Setup, World},
};

use crate::{SOON, Services, issued_rows, write::accepted};

pub(crate) type Settings = Vec<(String, String)>;

fn settings(pairs: &[(&str, &str)]) -> Settings {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The settings by which a client trusts the brokers.
fn tls(brokers: &Brokers, protocol: &str) -> Settings {
    let root = brokers.authority.root();
    settings(&[
        ("kafka.properties.security.protocol", protocol),
        ("kafka.properties.ssl.ca.location", &root.display().to_string()),
    ])
}

pub(crate) fn login(brokers: &Brokers, mechanism: &str, user: &str, password_file: &Path) -> Settings {
    let mut login = tls(brokers, "sasl_ssl");
    login.extend(settings(&[
        ("kafka.properties.sasl.mechanism", mechanism),
        ("kafka.properties.sasl.username", user),
        ("kafka.property_files.sasl.password", &password_file.display().to_string()),
    ]));
    login
}

fn configured(launch: Launch, brokers: &str, settings: &Settings) -> Launch {
    let launch = launch.env("KAFKA_BROKERS", brokers);
    settings.iter().fold(launch, |launch, (key, value)| launch.set(key, value))
}

pub(crate) async fn start(world: &World, brokers: &str, of: impl Fn(&str) -> Settings) -> Result<Services> {
    let (api, issue_consumer, dlq_consumer) = tokio::try_join!(
        configured(world.start_api(), brokers, &of("issuer-api")).into_future(),
        configured(world.start_issue_consumer(), brokers, &of("issue-consumer")).into_future(),
        configured(world.start_dlq_consumer(), brokers, &of("dlq-consumer")).into_future()
    )?;
    Ok(Services { api, issue_consumer, dlq_consumer })
}

pub(crate) async fn world_on(brokers: &Brokers) -> Result<World> {
    let servers = Servers { kafka_brokers: brokers.addresses(Way::Plain), ..Servers::from_env()? };
    World::with(Setup { partitions: 2, dlq_partitions: 1, ..Setup::on(&servers) }).await
}

/// Runs a command with these settings.
pub(crate) async fn run(
    world: &World,
    binary: &str,
    brokers: &str,
    settings: &Settings,
    words: &[&str],
) -> Result<coupon_e2e::process::command::Output> {
    let sets: Vec<String> =
        settings.iter().flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]).collect();
    let all: Vec<&str> = sets.iter().map(String::as_str).chain(words.iter().copied()).collect();
    world.run_with(binary, &all, &[("KAFKA_BROKERS", brokers)]).await
}

pub(crate) async fn parked(world: &World, count: i64) -> Result<()> {
    eventually("the dead letter is parked", SOON, async || -> Result<bool> {
        let parked = sqlx::query_scalar("SELECT count(*) FROM dlq_events WHERE status = 'PARKED'");
        let parked: i64 = parked.fetch_one(&world.db).await?;
        Ok(parked == count)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pipeline_runs_over_tls_mutual_tls_plain_and_scram_and_with_zstd() -> Result<()> {
    let brokers = Brokers::start(1, None).await?;
    let world = world_on(&brokers).await?;
    world.open_campaign("SAFE", 20).await?;
    // One small record may be sent as it is, so the broker compresses too.
    world.topic.configure(&[("compression.type", "zstd")]).await?;
    let password = world.folder().join("password");
    std::fs::write(&password, format!("{PASSWORD}\n \n"))?;
    let client = brokers.authority.sign("client", ADMIN, false)?;
    let encrypted = brokers.authority.encrypt(&client, PASSWORD).await?;
    let mut mutual = tls(&brokers, "ssl");
    mutual.extend(settings(&[
        ("kafka.properties.ssl.certificate.location", &client.certificate.display().to_string()),
        ("kafka.properties.ssl.key.location", &encrypted.display().to_string()),
        ("kafka.property_files.ssl.key.password", &password.display().to_string()),
    ]));
    let ways = [
        (Way::Tls, tls(&brokers, "ssl")),
        (Way::Mutual, mutual),
        (Way::Login, login(&brokers, "PLAIN", ADMIN, &password)),
        (Way::Login, login(&brokers, "SCRAM-SHA-256", ADMIN, &password)),
        (Way::Login, login(&brokers, "SCRAM-SHA-512", ADMIN, &password)),
    ];
    for (number, (way, login)) in ways.into_iter().enumerate() {
        let number = i64::try_from(number)? + 1;
        let at = brokers.addresses(way);
        let of = |binary: &str| {
            let mut all = login.clone();
            if binary == "issuer-api" {
                all.extend(settings(&[("kafka.producer.compression.type", "zstd")]));
            } else {
                all.extend(settings(&[("kafka.consumer.client.rack", "zone-a")]));
            }
            all
        };
        let services = start(&world, &at, of).await?;
        accepted(&world, &services.api, "SAFE", &format!("member-{number}")).await?;
        issued_rows(&world, "SAFE", number, SOON).await?;
        world.topic.write(&NewRecord::of("k", format!("no event {number}"))).await?;
        parked(&world, number).await?;
        for binary in ["issuer-api", "issue-consumer", "dlq-consumer"] {
            let doctor = run(&world, binary, &at, &of(binary), &["doctor"]).await?;
            ensure!(
                doctor.code == Some(0) && doctor.stdout.contains("this client may"),
                "{way:?} {binary}: {doctor:?}"
            );
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pipeline_logs_in_by_tokens_that_are_renewed_and_says_why_there_is_none() -> Result<()> {
    let key = TokenKey::new()?;
    let brokers = Brokers::start(1, Some(&key.jwks)).await?;
    let world = world_on(&brokers).await?;
    world.open_campaign("TOKEN", 20).await?;
    let certificate = brokers.authority.sign("tokens", "localhost", false)?;
    let server = TokenServer::start(key, &certificate, "s3cret", 10)?;
    let secret = world.folder().join("client-secret");
    TokenServer::write_secret(&secret, "s3cret")?;
    let mut oauth = tls(&brokers, "sasl_ssl");
    let root = brokers.authority.root().display().to_string();
    oauth.extend(settings(&[
        ("kafka.oauth.token_url", &server.url()),
        ("kafka.oauth.client_id", "pipeline"),
        ("kafka.oauth.client_secret_file", &secret.display().to_string()),
        ("kafka.oauth.scope", "kafka"),
        ("kafka.oauth.ca_file", &root),
    ]));
    let at = brokers.addresses(Way::Login);
    let services = start(&world, &at, |_| oauth.clone()).await?;
    accepted(&world, &services.api, "TOKEN", "first").await?;
    issued_rows(&world, "TOKEN", 1, SOON).await?;
    let given = server.given();
    eventually("tokens are renewed", SOON * 2, async || server.given() >= given + 6).await?;
    accepted(&world, &services.api, "TOKEN", "second").await?;
    issued_rows(&world, "TOKEN", 2, SOON).await?;
    let doctor = run(&world, "dlq-consumer", &at, &oauth, &["doctor"]).await?;
    ensure!(doctor.code == Some(0) && doctor.stdout.contains("cannot be asked for with kafka.oauth"), "{doctor:?}");

    server.refuse(true);
    let launch = configured(world.start_issue_consumer(), &at, &oauth).without_waiting();
    let process = launch.await?;
    eventually("it says why", SOON * 2, async || -> Result<bool> {
        let page = process.admin_page("/readyz").await?;
        Ok(page.contains("no token to log in") && page.contains("kafka.oauth.token_url") && page.contains("503"))
    })
    .await?;
    server.refuse(false);
    eventually("it goes on", SOON * 2, async || process.admin_status("/readyz").await == Some(200)).await?;
    ensure!(!process.log_contains("s3cret"), "the secret is in the log");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_tls_login_and_rights_is_one_sentence_with_the_setting() -> Result<()> {
    let brokers = Brokers::start(1, None).await?;
    let world = world_on(&brokers).await?;
    let (right, wrong) = (world.folder().join("right"), world.folder().join("wrong"));
    std::fs::write(&right, PASSWORD)?;
    std::fs::write(&wrong, "hunter3")?;
    let none = Settings::new;
    let cases = [
        (
            "unknown authority",
            Way::Tls,
            settings(&[("kafka.properties.security.protocol", "ssl")]),
            "is signed by an authority that is not among",
            "set kafka.properties.ssl.ca.location",
        ),
        ("another host", Way::Elsewhere, tls(&brokers, "ssl"), "is for another host name", "kafka.brokers"),
        ("expired", Way::Expired, tls(&brokers, "ssl"), "has expired", "renew it at the broker"),
        ("plain at TLS", Way::Tls, none(), "its port wants TLS", "set kafka.properties.security.protocol"),
        ("TLS at plain", Way::Plain, tls(&brokers, "ssl"), "speaks no TLS", "set kafka.brokers"),
        (
            "no certificate",
            Way::Mutual,
            tls(&brokers, "ssl"),
            "does not take this client's certificate",
            "set kafka.properties.ssl.certificate.location",
        ),
        (
            "wrong password",
            Way::Login,
            login(&brokers, "SCRAM-SHA-512", ADMIN, &wrong),
            "refuses the login by SCRAM-SHA-512",
            "kafka.property_files.sasl.password",
        ),
        (
            "wrong plain password",
            Way::Login,
            login(&brokers, "PLAIN", ADMIN, &wrong),
            "refuses the login by PLAIN",
            "kafka.property_files.sasl.password",
        ),
        (
            "no rights",
            Way::Login,
            login(&brokers, "PLAIN", "issue-consumer", &right),
            "refuse this client a right on the topic",
            "Rights in Kafka",
        ),
    ];
    for (case, way, settings, what, fix) in &cases {
        let at = brokers.addresses(*way);
        let process = configured(world.start_issue_consumer(), &at, settings).without_waiting().await?;
        let said = eventually(case, SOON * 2, async || -> Result<bool> {
            let page = process.admin_page("/readyz").await?;
            ensure!(page.contains(what) && page.contains(fix), "{page}");
            Ok(true)
        });
        said.await.with_context(|| format!("{:#?}", process.log()))?;
        let lines = process.log().iter().filter(|line| line.message().starts_with("waiting for kafka")).count();
        ensure!(lines == 1, "{case}: {:#?}", process.log());
        ensure!(!process.log_contains("hunter"), "{case}: a password is in the log");
        let loud: Vec<_> = process.log().into_iter().filter(|line| line.text.contains("librdkafka")).collect();
        ensure!(loud.is_empty(), "{case}: {loud:#?}");
        let doctor = run(&world, "issue-consumer", &at, settings, &["doctor"]).await?;
        let line = doctor.stdout.lines().find(|line| line.starts_with("FAIL") && line.contains(what));
        ensure!(doctor.code == Some(1) && line.is_some_and(|line| line.contains(fix)), "{case}: {doctor:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_missing_or_a_key_that_does_not_open_ends_the_command_with_2() -> Result<()> {
    let world = World::new().await?;
    let wrong = world.folder().join("wrong");
    std::fs::write(&wrong, "hunter3")?;
    let authority = Authority::new(&world.folder().join("tls"))?;
    let client = authority.sign("client", ADMIN, false)?;
    let encrypted = authority.encrypt(&client, PASSWORD).await?;
    let mut locked = settings(&[("kafka.properties.security.protocol", "ssl")]);
    locked.extend(settings(&[
        ("kafka.properties.ssl.certificate.location", &client.certificate.display().to_string()),
        ("kafka.properties.ssl.key.location", &encrypted.display().to_string()),
        ("kafka.property_files.ssl.key.password", &wrong.display().to_string()),
    ]));
    for (settings, named) in [
        (
            settings(&[
                ("kafka.properties.security.protocol", "ssl"),
                ("kafka.properties.ssl.ca.location", "/there/is/none"),
            ]),
            "kafka.properties.ssl.ca.location` is `/there/is/none`",
        ),
        (locked, "kafka.properties.ssl.key.location"),
        (settings(&[("kafka.property_files.sasl.password", "/there/is/none")]), "kafka.property_files.sasl.password"),
    ] {
        let doctor = run(&world, "issue-consumer", "localhost:1", &settings, &["doctor"]).await?;
        ensure!(doctor.code == Some(2) && doctor.stderr.contains(named), "{named}: {doctor:?}");
        ensure!(doctor.stderr.lines().count() == 1 && !doctor.stderr.contains("hunter"), "{named}: {doctor:?}");
    }
    Ok(())
}
