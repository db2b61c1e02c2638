//! The options of each new connection: the address, the password and the host that takes writes, as they are now.

use std::{
    process::Stdio,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use sqlx::{
    Connection, PgConnection,
    postgres::{PgConnectOptions, PgSslMode},
};
use tokio::{
    process::Command,
    time::{Instant, timeout},
};

use super::{
    DatabaseSettings,
    address::{hosts_of, is_local},
};
use crate::runtime::{Secret, chain};

/// For so long the answer of `database.password_command` is used: tokens live for minutes, and a full pool would run it
/// once for each connection.
const COMMAND_ANSWER_KEPT: Duration = Duration::from_secs(30);

/// Why no connection can be tried, or none leads to a primary.
#[derive(Debug, thiserror::Error)]
pub(in crate::repo) enum DialError {
    /// A file that is not there now, or says nothing.
    #[error("`{setting}` cannot be read")]
    File {
        setting: &'static str,
        #[source]
        source: std::io::Error,
    },
    /// The file holds no usable address.
    #[error("`database.url_file` must hold {0}")]
    Url(String),
    /// The command gives no password; its output is not shown, as it may hold one.
    #[error("`database.password_command` gives no password: {0}")]
    Command(String),
    /// None of several hosts takes writes.
    #[error("no host of `database.url` takes writes: {0}")]
    NoPrimary(String),
}

/// Makes the options of connections.
pub(in crate::repo) struct Dialer {
    settings: DatabaseSettings,
    service: String,
    fixed: Vec<PgConnectOptions>,
    /// The host and the port that took writes when they were last asked.
    primary: Mutex<Option<(String, u16)>>,
    /// One search for it at a time.
    searching: tokio::sync::Mutex<()>,
    token: tokio::sync::Mutex<Option<(Instant, Secret)>>,
}

impl Dialer {
    /// Tests the address; a file of it is first read when a connection is made.
    pub(super) fn new(settings: &DatabaseSettings, service: &str) -> Result<Self, sqlx::Error> {
        let mut this = Self {
            settings: settings.clone(),
            service: service.to_owned(),
            fixed: Vec::new(),
            primary: Mutex::default(),
            searching: tokio::sync::Mutex::default(),
            token: tokio::sync::Mutex::default(),
        };
        this.fixed = if settings.url_file.is_empty() {
            this.hosts(settings.url.expose()).map_err(|allowed| refused(DialError::Url(allowed)))?
        } else {
            // Never dialled: such a dialer is not fixed.
            vec![PgConnectOptions::new_without_pgpass()]
        };
        if let Some(far) = this.fixed.iter().find(|host| settings.url_file.is_empty() && !is_local(host)) {
            match far.get_ssl_mode() {
                PgSslMode::Disable => tracing::warn!("postgresql is spoken to without TLS, as database.url asks for"),
                PgSslMode::Require => tracing::warn!(
                    "postgresql is not verified, as database.url asks for sslmode=require without a root certificate"
                ),
                _ => {}
            }
        }
        Ok(this)
    }

    /// Whether every connection has the same options, which are known from the start.
    pub(super) fn is_fixed(&self) -> bool {
        self.fixed.len() == 1
            && self.settings.url_file.is_empty()
            && self.settings.password_file.is_empty()
            && self.settings.password_command.is_empty()
    }

    /// The options that were known at the start.
    pub(super) fn first(&self) -> PgConnectOptions {
        self.fixed[0].clone()
    }

    /// Forgets what another look may find changed: the primary, and the answer of the command.
    pub(super) fn forget(&self) {
        *self.known_primary() = None;
        // Who holds it is asking the command at this moment.
        if let Ok(mut token) = self.token.try_lock() {
            *token = None;
        }
    }

    /// Whether another look may help against this failure of a connection: at the password, or for the primary.
    pub(super) fn may_have_changed(&self, error: &sqlx::Error) -> bool {
        let is_login = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code)
            .is_some_and(|code| code.starts_with("28"));
        is_login || self.known_primary().is_some()
    }

    /// Returns the options of a connection to be made now, to the host that takes writes.
    pub(in crate::repo) async fn options(&self) -> Result<PgConnectOptions, sqlx::Error> {
        if self.is_fixed() {
            return Ok(self.first());
        }
        let bound = Duration::from_millis(self.settings.acquire_timeout_ms);
        let mut hosts =
            timeout(bound, self.current()).await.map_err(|_| sqlx::Error::PoolTimedOut)?.map_err(refused)?;
        if hosts.len() == 1 {
            return Ok(hosts.remove(0));
        }
        let _search = self.searching.lock().await;
        let known = self.known_primary().clone();
        let is_known = |host: &&PgConnectOptions| known.as_ref() == Some(&place(host));
        if let Some(host) = hosts.iter().find(is_known) {
            return Ok(host.clone());
        }
        let primary = search(hosts, bound).await.map_err(refused)?;
        let found = place(&primary);
        tracing::info!(host = found.0, port = found.1, "of the hosts of database.url this one takes writes");
        *self.known_primary() = Some(found);
        Ok(primary)
    }

    fn known_primary(&self) -> MutexGuard<'_, Option<(String, u16)>> {
        self.primary.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hosts with the password of this moment.
    async fn current(&self) -> Result<Vec<PgConnectOptions>, DialError> {
        let settings = &self.settings;
        let mut hosts = if settings.url_file.is_empty() {
            self.fixed.clone()
        } else {
            let url = Secret::new(read("database.url_file", &settings.url_file).await?);
            self.hosts(url.expose()).map_err(DialError::Url)?
        };
        let password = if !settings.password_file.is_empty() {
            Secret::new(read("database.password_file", &settings.password_file).await?)
        } else if let [program, arguments @ ..] = settings.password_command.as_slice() {
            self.token(program, arguments).await?
        } else {
            return Ok(hosts);
        };
        hosts = hosts.into_iter().map(|host| host.password(password.expose())).collect();
        Ok(hosts)
    }

    async fn token(&self, program: &str, arguments: &[String]) -> Result<Secret, DialError> {
        let mut token = self.token.lock().await;
        if let Some((_, kept)) = token.as_ref().filter(|(since, _)| since.elapsed() < COMMAND_ANSWER_KEPT) {
            return Ok(kept.clone());
        }
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let failed = DialError::Command;
        let output = command.output().await.map_err(|error| failed(format!("{program}: {error}")))?;
        if !output.status.success() {
            return Err(failed(format!("it ended with {}", output.status)));
        }
        let said = String::from_utf8(output.stdout).map_err(|_| failed("it says no UTF-8".to_owned()))?;
        let said = Secret::new(said.trim_end_matches(['\r', '\n']));
        if said.is_empty() {
            return Err(failed("it says nothing".to_owned()));
        }
        *token = Some((Instant::now(), said.clone()));
        Ok(said)
    }

    fn hosts(&self, url: &str) -> Result<Vec<PgConnectOptions>, String> {
        let settings = &self.settings;
        let hosts = hosts_of(url, settings.is_certified())?;
        Ok(hosts.into_iter().map(|host| self.dressed(host)).collect())
    }

    /// A host with what the settings say of every connection. sqlx reads certificates anew at each connection.
    fn dressed(&self, host: PgConnectOptions) -> PgConnectOptions {
        let settings = &self.settings;
        // PgBouncer takes neither this parameter nor options; the wire carries floats in binary anyway.
        let mut host = host.application_name(&self.service).extra_float_digits(None);
        if !settings.ca_file.is_empty() {
            host = host.ssl_root_cert(&settings.ca_file);
        }
        if !settings.client_cert_file.is_empty() {
            host = host.ssl_client_cert(&settings.client_cert_file).ssl_client_key(&settings.client_key_file);
        }
        if settings.pooled {
            return host;
        }
        let [statement, lock] = [settings.statement_timeout_ms, settings.lock_timeout_ms].map(|ms| ms.to_string());
        host.options([
            ("timezone", "UTC".to_owned()),
            ("statement_timeout", statement.clone()),
            ("lock_timeout", lock),
            // A process that is stopped inside a transaction must not hold a campaign's row for ever.
            ("idle_in_transaction_session_timeout", statement),
        ])
    }
}

/// Without the options, which hold the password.
impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer").finish_non_exhaustive()
    }
}

/// Asks all hosts at once, so that one which is silent delays nothing, and returns the first that takes writes.
async fn search(hosts: Vec<PgConnectOptions>, bound: Duration) -> Result<PgConnectOptions, DialError> {
    let ask = |host: PgConnectOptions| async move {
        let asked = timeout(bound, async {
            let mut connection = PgConnection::connect_with(&host).await?;
            let reads_only = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean";
            let reads_only: bool = sqlx::query_scalar(reads_only).fetch_one(&mut connection).await?;
            connection.close().await.ok();
            Ok::<_, sqlx::Error>(reads_only)
        });
        let why = match asked.await {
            Ok(Ok(false)) => return Ok(host),
            Ok(Ok(true)) => "it only reads".to_owned(),
            Ok(Err(error)) => chain(&error).to_string(),
            Err(_) => format!("no answer within {} ms", bound.as_millis()),
        };
        let (name, port) = place(&host);
        Err(format!("{name}:{port}: {why}"))
    };
    let mut answers: FuturesUnordered<_> = hosts.into_iter().map(ask).collect();
    let mut refusals = Vec::new();
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(host) => return Ok(host),
            Err(refusal) => refusals.push(refusal),
        }
    }
    refusals.sort();
    Err(DialError::NoPrimary(refusals.join("; ")))
}

fn place(host: &PgConnectOptions) -> (String, u16) {
    (host.get_host().to_owned(), host.get_port())
}

/// A file's text without the end of its line; an empty one is an error.
async fn read(setting: &'static str, path: &str) -> Result<String, DialError> {
    let unreadable = |source| DialError::File { setting, source };
    let text = tokio::fs::read_to_string(path).await.map_err(unreadable)?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(unreadable(std::io::Error::other("the file is empty")));
    }
    Ok(text.to_owned())
}

/// In the driver's error type, as everything that fails a connection.
fn refused(error: DialError) -> sqlx::Error {
    sqlx::Error::Configuration(Box::new(error))
}
