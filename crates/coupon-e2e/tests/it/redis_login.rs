//! How a process comes to Redis: TLS, certificates, logins, rights; and what it says when one of them is wrong.

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    failures::FailMode,
    process::ports,
    servers::{Servers, certificates::Authority, redis::OwnRedis},
    wait::eventually,
    world::{Setup, World},
};

use crate::{AFTER_ALL_ATTEMPTS, SOON, Services, issued_rows, rebuild::rebuild, write::accepted};

/// What it is, the settings, and two texts that are said of it.
type Case = (&'static str, Vec<(&'static str, String)>, [&'static str; 2]);

const PASSWORD: &str = "first-secret";
const README: &str = include_str!("../../../../deploy/README.md");

struct Tls {
    redis: OwnRedis,
    port: u16,
    files: tempfile::TempDir,
}

impl Tls {
    /// A server with a plain port and one for TLS, at which it asks for certificates, and with the user `service`.
    async fn start(is_expired: bool) -> Result<Self> {
        let (files, port) = (tempfile::tempdir()?, ports::free()?);
        let authority = Authority::new(&files.path().join("own"))?;
        Authority::new(&files.path().join("stranger"))?;
        let server = authority.sign("server", "localhost", is_expired)?;
        authority.sign("client", "localhost", false)?;
        std::fs::write(files.path().join("password"), format!("{PASSWORD}\n"))?;
        let [certificate, key, ca] =
            [server.certificate, server.key, authority.root()].map(|path| path.display().to_string());
        let port_text = port.to_string();
        let password = format!(">{PASSWORD}");
        let tls = [
            "--tls-port",
            &port_text,
            "--tls-cert-file",
            &certificate,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &ca,
        ];
        let user = ["--tls-auth-clients", "yes", "--user", "service", "on", &password, "~*", "&*", "+@all"];
        let redis = OwnRedis::start(&[&tls[..], &user[..]].concat()).await?;
        Ok(Self { redis, port, files })
    }

    fn file(&self, name: &str) -> String {
        self.files.path().join(name).display().to_string()
    }

    async fn world(&self) -> Result<World> {
        let servers = Servers { redis_url: self.redis.url(), ..Servers::from_env()? };
        let mut world = World::with(Setup::on(&servers)).await?;
        let database = database_of(&world);
        world.redis_settings = vec![
            ("url", format!("rediss://service@localhost:{}/{database}", self.port)),
            ("password_file", self.file("password")),
            ("ca_file", self.file("own/root.pem")),
            ("client_cert_file", self.file("own/client.crt")),
            ("client_key_file", self.file("own/client.key")),
        ];
        Ok(world)
    }
}

fn database_of(world: &World) -> String {
    world.redis_url.rsplit('/').next().unwrap_or("0").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_over_tls_takes_a_changed_password_without_a_restart() -> Result<()> {
    let tls = Tls::start(false).await?;
    let world = tls.world().await?;
    world.open_campaign("TLS", 10).await?;
    let services = Services::start(&world).await?;
    accepted(&world, &services.api, "TLS", "before").await?;
    let _: String = tls.redis.ask(&["ACL", "SETUSER", "service", "resetpass", ">second-secret"]).await?;
    std::fs::write(tls.file("password"), "second-secret\n")?;
    let killed: i64 = tls.redis.ask(&["CLIENT", "KILL", "USER", "service"]).await?;
    ensure!(killed > 0, "they came as this user");
    eventually("members are served over new connections", SOON, async || -> Result<bool> {
        Ok(world.member(&services.api, "after")?.ask("TLS").await.is_held())
    })
    .await?;
    issued_rows(&world, "TLS", 2, SOON).await?;
    world.quiet(SOON, &[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_login_is_said_with_its_setting_and_no_secret() -> Result<()> {
    let tls = Tls::start(false).await?;
    let expired = Tls::start(true).await?;
    let mut world = tls.world().await?;
    world.run("issuer-api", &["doctor"]).await?.succeeded()?;
    std::fs::write(tls.file("wrong"), "wrong-secret")?;
    let no_rights = ["ACL", "SETUSER", "weak", "on", ">first-secret", "~*", "+@all", "-evalsha"];
    let _: String = tls.redis.ask(&no_rights).await?;
    let good = world.redis_settings.clone();
    let (port, plain) = (tls.port, tls.redis.port());
    let no_certificates =
        [("ca_file", String::new()), ("client_cert_file", String::new()), ("client_key_file", String::new())];
    let url = |text: String| ("url", text);
    let cases: [Case; 9] = [
        ("an unknown authority", vec![("ca_file", tls.file("stranger/root.pem"))], ["UnknownIssuer", "redis.ca_file"]),
        (
            "another name",
            vec![url(format!("rediss://service@127.0.0.1:{port}/0"))],
            ["not valid for name", "redis.url"],
        ),
        (
            "an expired certificate",
            vec![
                url(format!("rediss://service@localhost:{}/0", expired.port)),
                ("ca_file", expired.file("own/root.pem")),
            ],
            ["expired", "renew the certificate"],
        ),
        ("no certificate", no_certificates[1..].to_vec(), ["cannot be connected to", "redis.client_cert_file"]),
        (
            "plain at the port of TLS",
            [&no_certificates[..], &[url(format!("redis://service@localhost:{port}/0"))]].concat(),
            ["redis.url", "rediss://"],
        ),
        ("TLS at the plain port", vec![url(format!("rediss://service@localhost:{plain}/0"))], ["redis.url", "TLS"]),
        (
            "a wrong password",
            vec![("password_file", tls.file("wrong"))],
            ["authentication failed", "redis.password_file"],
        ),
        (
            "no file",
            vec![("password_file", tls.file("gone"))],
            ["redis.password_file cannot be read", "mount the file"],
        ),
        ("no right", vec![url(format!("rediss://weak@localhost:{port}/0"))], ["evalsha", "Rights in Redis"]),
    ];
    let mut wrong = Vec::new();
    for (what, changed, words) in cases {
        world.redis_settings = [&good[..], &changed].concat();
        let doctor = world.run("issuer-api", &["doctor"]).await?;
        let lines: Vec<&str> = doctor.stdout.lines().filter(|line| line.contains("redis")).collect();
        let said = lines.join("\n");
        if doctor.code != Some(1) || !words.iter().all(|word| doctor.stdout.contains(word)) {
            wrong.push(format!("{what}: {said} {}", doctor.stderr));
        }
        ensure!(!doctor.stdout.contains("-secret") && !doctor.stderr.contains("-secret"), "{doctor:?}");
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));

    world.redis_settings = [&good[..], &[("password_file", tls.file("wrong"))]].concat();
    let api = world.start_api().without_waiting().await?;
    eventually("it says so in /readyz", SOON, async || -> Result<bool> {
        Ok(api.admin_status("/readyz").await == Some(503)
            && api.admin_page("/readyz").await?.contains("redis.password_file"))
    })
    .await?;
    let said = api.log().iter().filter(|line| line.text.contains("redis.password_file")).count();
    ensure!(said == 1, "{said} lines");
    std::fs::copy(tls.file("password"), tls.file("wrong"))?;
    eventually("a mended file is taken up", SOON, async || api.admin_status("/readyz").await == Some(200)).await?;

    for (changed, words) in [
        (vec![url(format!("redis://service@localhost:{plain}/0"))], "but must be one that begins with rediss://"),
        (vec![("client_key_file", String::new())], "a certificate needs its key"),
        (vec![url(format!("rediss://service:first-secret@localhost:{port}/0"))], "one without a password"),
        (vec![("sentinel.master", "coupon".to_owned())], "redis.sentinel.addresses"),
    ] {
        world.redis_settings = [&good[..], &changed].concat();
        let refused = world.run("issuer-api", &["doctor"]).await?;
        ensure!(
            refused.code == Some(2) && format!("{}{}", refused.stdout, refused.stderr).contains(words),
            "{words}: {refused:?}"
        );
        ensure!(!refused.stderr.contains("-secret"), "{refused:?}");
    }
    Ok(())
}

/// A world whose processes have exactly the rights of the README.
async fn with_rights_of_the_readme(redis: &OwnRedis) -> Result<World> {
    let line = README.lines().find(|line| line.starts_with("ACL SETUSER coupon ")).context("the recipe")?;
    let words: Vec<String> = line.split(' ').map(|word| word.replace("PASSWORD", PASSWORD)).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let _: String = redis.ask(&words).await?;
    let servers = Servers { redis_url: redis.url(), ..Servers::from_env()? };
    let mut world = World::with(Setup::on(&servers)).await?;
    let file = world.folder().join("redis.password");
    std::fs::write(&file, PASSWORD)?;
    let url = format!("redis://coupon@127.0.0.1:{}/{}", redis.port(), database_of(&world));
    world.redis_settings = vec![("url", url), ("password_file", file.display().to_string())];
    Ok(world)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rights_of_the_readme_are_enough_from_accept_to_rebuild() -> Result<()> {
    let redis = OwnRedis::start(&[]).await?;
    let world = with_rights_of_the_readme(&redis).await?;
    world.open_campaign("RIGHTS", 10).await?;
    world.fail_member("RIGHTS", "unlucky", FailMode::Permanently).await?;
    let services = Services::start(&world).await?;
    for member in ["one", "two", "unlucky"] {
        accepted(&world, &services.api, "RIGHTS", member).await?;
    }
    issued_rows(&world, "RIGHTS", 2, SOON).await?;
    world.quiet(AFTER_ALL_ATTEMPTS, &[]).await?;
    // Drift of each kind that reconcile mends: a lost holder entry, and one that nobody has decided.
    world.stock.set_holder("RIGHTS", "one", None).await?;
    let mended = world.run("dlq-consumer", &["reconcile", "RIGHTS", "--apply", "--by", "olga"]).await?;
    ensure!(mended.code == Some(0), "{mended:?}");
    rebuild(&world, "RIGHTS").await?.succeeded()?;
    world.set_total("RIGHTS", 20).await?.succeeded()?;
    world.coupon(&["close", "RIGHTS"]).await?.succeeded()?;
    world.run("issuer-api", &["doctor"]).await?.succeeded()?;
    world.quiet(SOON, &[]).await?;
    let denied: Vec<Vec<redis::Value>> = redis.ask(&["ACL", "LOG"]).await?;
    for entry in denied {
        let fields: Vec<String> = entry.iter().map(|field| format!("{field:?}")).collect();
        let object = fields.iter().skip_while(|field| !field.contains("object")).nth(1).context("what was denied")?;
        ensure!(object.contains("client"), "a right is missing: {fields:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_forbids_info_is_used_once_somebody_vouches_for_it() -> Result<()> {
    let redis = OwnRedis::start(&[]).await?;
    let mut world = with_rights_of_the_readme(&redis).await?;
    world.open_campaign("SILENT", 10).await?;
    let _: String = redis.ask(&["ACL", "SETUSER", "coupon", "-info"]).await?;
    let doctor = world.run("issuer-api", &["doctor"]).await?;
    ensure!(doctor.code == Some(1) && doctor.stdout.contains("redis.assert_noeviction = true"), "{doctor:?}");
    let waits = world.start_api().without_waiting().await?;
    eventually("it says so", SOON, async || -> Result<bool> {
        Ok(waits.admin_page("/readyz").await?.contains("redis.assert_noeviction"))
    })
    .await?;
    world.redis_settings.push(("assert_noeviction", "true".to_owned()));
    let doctor = world.run("issuer-api", &["doctor"]).await?;
    ensure!(doctor.code == Some(0) && doctor.stdout.contains("are not checked"), "{doctor:?}");
    let api = world.start_api().await?;
    accepted(&world, &api, "SILENT", "somebody").await?;
    Ok(())
}
