//! Servers of one test or measurement alone that speak TLS, with certificates made here, each beside a plain way in for the
//! test itself.

use anyhow::Result;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;

use super::{
    Servers,
    brokers::{Brokers, Way},
    certificates::{Authority, Certificate},
    private::{PrivateServers, Server},
    redis::OwnRedis,
};
use crate::{process::ports, world::World};

/// PostgreSQL, Redis and one Kafka broker.
#[derive(Debug)]
pub struct EncryptedServers {
    brokers: Brokers,
    redis: OwnRedis,
    redis_port: u16,
    authority: Authority,
    private: PrivateServers,
    _files: TempDir,
}

impl EncryptedServers {
    /// Starts them.
    pub async fn start() -> Result<Self> {
        let (files, redis_port) = (tempfile::tempdir()?, ports::free()?);
        let authority = Authority::new(&files.path().join("tls"))?;
        let certificate = authority.sign_for("server", "localhost", "server", false)?;
        let tls = ["--tls-port", &redis_port.to_string(), "--tls-auth-clients", "no"].map(str::to_owned);
        let keys =
            [&certificate.certificate, &certificate.key, &authority.root()].map(|path| path.display().to_string());
        let names = ["--tls-cert-file", "--tls-key-file", "--tls-ca-cert-file"];
        let files_of_tls = names.into_iter().zip(&keys).flat_map(|(name, key)| [name, key]);
        let arguments: Vec<&str> = tls.iter().map(String::as_str).chain(files_of_tls).collect();
        let redis = OwnRedis::start(&arguments).await?;
        let private = PrivateServers::start(&[Server::Postgres]).await?;
        let mut admin = PgConnection::connect(&private.servers().database_url).await?;
        certify_postgres(&mut admin, &certificate).await?;
        sqlx::raw_sql("ALTER SYSTEM SET ssl = on").execute(&mut admin).await?;
        reload_postgres(&mut admin).await?;
        let brokers = Brokers::start(1, None).await?;
        Ok(Self { brokers, redis, redis_port, authority, private, _files: files })
    }

    /// The plain ways in.
    pub fn servers(&self) -> Servers {
        let database_url = self.private.servers().database_url.clone();
        Servers { database_url, redis_url: self.redis.url(), kafka_brokers: self.brokers.addresses(Way::Plain) }
    }

    /// Lets each process of a world on these servers come by TLS, and verify whom it meets.
    pub fn encrypt(&self, world: &mut World) {
        let root = |authority: &Authority| authority.root().display().to_string();
        let number = world.redis_url.rsplit('/').next().unwrap_or("0").to_owned();
        world.redis_settings = vec![
            ("url", format!("rediss://localhost:{}/{number}", self.redis_port)),
            ("ca_file", root(&self.authority)),
        ];
        world.settings = vec![
            ("database.ca_file", root(&self.authority)),
            ("kafka.brokers", self.brokers.addresses(Way::Tls)),
            ("kafka.properties.security.protocol", "ssl".to_owned()),
            ("kafka.properties.ssl.ca.location", root(&self.brokers.authority)),
        ];
        world.database_url = world.database_url.replace("127.0.0.1", "localhost") + "?sslmode=verify-full";
    }
}

/// Gives PostgreSQL this certificate.
pub async fn certify_postgres(admin: &mut PgConnection, server: &Certificate) -> Result<()> {
    put_into_postgres(admin, "server.crt", &std::fs::read_to_string(&server.certificate)?).await?;
    put_into_postgres(admin, "server.key", &std::fs::read_to_string(&server.key)?).await?;
    for statement in ["ALTER SYSTEM SET ssl_cert_file = 'server.crt'", "ALTER SYSTEM SET ssl_key_file = 'server.key'"] {
        sqlx::raw_sql(statement).execute(&mut *admin).await?;
    }
    reload_postgres(admin).await
}

/// Has PostgreSQL read its settings and files again.
pub async fn reload_postgres(admin: &mut PgConnection) -> Result<()> {
    // It takes effect a moment after it is asked for.
    sqlx::raw_sql("SELECT pg_reload_conf(), pg_sleep(0.5)").execute(admin).await?;
    Ok(())
}

/// Writes a file into the folder of PostgreSQL's data, for its eyes only, by the server itself.
pub async fn put_into_postgres(admin: &mut PgConnection, name: &str, text: &str) -> Result<()> {
    let copy = format!(
        "COPY (SELECT line FROM unnest(string_to_array($pem${}$pem$, E'\\n')) WITH ORDINALITY AS t (line, n) ORDER BY n)
         TO PROGRAM 'umask 077; cat > {name}'",
        text.trim()
    );
    sqlx::raw_sql(AssertSqlSafe(copy)).execute(admin).await?;
    Ok(())
}
