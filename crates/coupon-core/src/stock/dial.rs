//! Making a connection: to the server of the URL, to the master that the Sentinels name, or to a node of a cluster.
//! Every file that a setting names is read each time, so a changed password or certificate needs no restart.

use std::{fmt, str::FromStr, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    RedisError, RedisResult, TlsCertificates, aio::MultiplexedConnection, io::tcp::TcpSettings,
};

use super::{RedisSettings, sentinel};

/// Time between the two tries of a connection that is refused.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Host and port of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

/// Makes connections as the settings say.
pub(super) struct Dialer {
    pub(super) settings: RedisSettings,
    config: AsyncConnectionConfig,
    tcp: TcpSettings,
}

impl Dialer {
    /// Reads no file and makes no connection yet.
    pub(super) fn new(settings: RedisSettings) -> Self {
        // The driver takes the provider of the process; where two are compiled in, none is the default.
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let response = Duration::from_millis(settings.response_timeout_ms);
        let connect = Duration::from_millis(settings.connect_timeout_ms);
        let config =
            AsyncConnectionConfig::new().set_response_timeout(Some(response)).set_connection_timeout(Some(connect));
        // A server that vanished without a word must not hold the connection for the quarter of an hour that the
        // kernel goes on sending.
        let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(response + connect);
        Self { settings, config, tcp }
    }

    /// Whether another server may have taken over from one that does not answer.
    pub(super) fn has_successors(&self) -> bool {
        self.settings.cluster || self.settings.sentinel.is_used()
    }

    /// The host of the URL; empty when the URL cannot be read now.
    pub(super) fn host(&self) -> String {
        match self.login().as_ref().map(ConnectionInfo::addr) {
            Ok(ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. }) => host.clone(),
            _ => String::new(),
        }
    }

    /// Connects to a node, or else to the server of the URL or of the Sentinels. A connection that is refused is tried twice,
    /// because callers wait for it.
    pub(super) async fn dial(&self, node: Option<&Address>) -> RedisResult<MultiplexedConnection> {
        match self.dial_once(node).await {
            Err(error) if error.is_connection_refusal() => {
                tokio::time::sleep(RETRY_PAUSE).await;
                self.dial_once(node).await
            }
            other => other,
        }
    }

    async fn dial_once(&self, node: Option<&Address>) -> RedisResult<MultiplexedConnection> {
        let info = self.login()?;
        match node {
            Some(node) => self.connect(at(info, node)).await,
            None if self.settings.sentinel.is_used() => {
                let master = sentinel::master(self, &info).await?;
                self.connect(at(info, &master)).await
            }
            None => self.connect(info).await,
        }
    }

    /// Connects, with TLS if the address says so.
    pub(super) async fn connect(&self, info: ConnectionInfo) -> RedisResult<MultiplexedConnection> {
        let info = info.set_tcp_settings(self.tcp.clone());
        let client = match info.addr() {
            ConnectionAddr::TcpTls { .. } => Client::build_with_tls(info, self.certificates()?)?,
            _ => Client::open(info)?,
        };
        client.get_multiplexed_async_connection_with_config(&self.config).await
    }

    /// Where the URL leads, and as whom.
    fn login(&self) -> RedisResult<ConnectionInfo> {
        let settings = &self.settings;
        let url = match settings.url_file.as_str() {
            "" => settings.url.expose().to_owned(),
            file => text("redis.url_file cannot be read", file)?,
        };
        // What the parser says may hold a part of the URL.
        let info = url.as_str().into_connection_info().map_err(|_| {
            let allowed = "it must hold a URL of the form redis://[user:password@]host:port/db, with rediss:// for TLS";
            wrong("redis.url_file holds no URL", allowed)
        })?;
        if let Some(allowed) = settings.refusal(&info) {
            return Err(wrong("redis.url_file does not go with the other settings", &format!("it must be {allowed}")));
        }
        if settings.password_file.is_empty() {
            return Ok(info);
        }
        let login = info.redis_settings().clone();
        let password = text("redis.password_file cannot be read", &settings.password_file)?;
        Ok(info.set_redis_settings(login.set_password(password)))
    }

    fn certificates(&self) -> RedisResult<TlsCertificates> {
        let settings = &self.settings;
        let root_cert = match settings.ca_file.as_str() {
            "" => None,
            file => Some(bytes("redis.ca_file cannot be read", file)?),
        };
        let client_tls = match settings.client_cert_file.as_str() {
            "" => None,
            file => Some(ClientTlsConfig {
                client_cert: bytes("redis.client_cert_file cannot be read", file)?,
                client_key: bytes("redis.client_key_file cannot be read", &settings.client_key_file)?,
            }),
        };
        Ok(TlsCertificates { client_tls, root_cert })
    }
}

/// The same login and the same kind of connection at another address.
pub(super) fn at(info: ConnectionInfo, Address { host, port }: &Address) -> ConnectionInfo {
    let addr = match info.addr() {
        ConnectionAddr::TcpTls { .. } => {
            ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None }
        }
        _ => ConnectionAddr::Tcp(host.clone(), *port),
    };
    info.set_addr(addr)
}

/// The text of a file, without white space at its end.
pub(super) fn text(otherwise: &'static str, file: &str) -> RedisResult<String> {
    let text = String::from_utf8(bytes(otherwise, file)?).map_err(|_| wrong(otherwise, "it is no UTF-8"))?;
    Ok(text.trim_end().to_owned())
}

fn bytes(otherwise: &'static str, file: &str) -> RedisResult<Vec<u8>> {
    std::fs::read(file).map_err(|error| wrong(otherwise, &format!("{file}: {error}")))
}

fn wrong(what: &'static str, detail: &str) -> RedisError {
    RedisError::from((ErrorKind::InvalidClientConfig, what, detail.to_owned()))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl FromStr for Address {
    type Err = ();

    /// Reads `host:port`; an IPv6 address may stand in brackets or not.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (host, port) = text.rsplit_once(':').ok_or(())?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = port.parse().map_err(|_| ())?;
        if host.contains(char::is_whitespace) || host.contains('/') {
            return Err(());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}
