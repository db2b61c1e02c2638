//! The `[redis]` section: where Redis is, how its servers are found, and how this process logs in.

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use serde::{Deserialize, Serialize};

use super::dial::Address;
use crate::runtime::{Secret, SecretUrl, SettingsError, within};

/// The `[redis]` section.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RedisSettings {
    /// Where Redis is: `redis[s]://[user:password@]host:port/db`.
    pub url: SecretUrl,
    /// File with that URL, read at each new connection; empty: `url` counts.
    pub url_file: String,
    /// File with the password, read at each new connection; empty: the one of the URL, if any.
    pub password_file: String,
    /// PEM file with the authorities that sign the server's certificate; empty: the public ones.
    pub ca_file: String,
    /// PEM file with the certificate of this client; empty: none.
    pub client_cert_file: String,
    /// PEM file with the key of that certificate; empty: none.
    pub client_key_file: String,
    /// Whether the URL leads to a node of a Redis Cluster, whose other nodes are asked for.
    pub cluster: bool,
    /// Whether the operator vouches for `maxmemory-policy noeviction` where the server forbids INFO.
    pub assert_noeviction: bool,
    /// How long an answer is waited for, in ms. After that the outcome of the call is unknown.
    pub response_timeout_ms: u64,
    /// How long a connection may take to be made, in ms.
    pub connect_timeout_ms: u64,
    /// The Sentinels that know the master.
    pub sentinel: SentinelSettings,
}

/// The `[redis.sentinel]` section.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SentinelSettings {
    /// Addresses of the Sentinels, each `host:port`; none: Redis is where `redis.url` says.
    pub addresses: Vec<String>,
    /// Name by which the Sentinels know the master.
    pub master: String,
    /// User of the Sentinels; empty: the default one.
    pub username: String,
    /// Password of the Sentinels; empty: none.
    pub password: Secret,
    /// File with that password, read each time they are asked; empty: none.
    pub password_file: String,
}

impl RedisSettings {
    /// One server at this URL; the rest as by default.
    pub fn at(url: SecretUrl, response_timeout_ms: u64, connect_timeout_ms: u64) -> Self {
        Self { url, response_timeout_ms, connect_timeout_ms, ..Self::default() }
    }

    /// Tests what the types cannot and what needs no file: the forms, what excludes what, and the bounds of the times.
    pub fn check(&self) -> Result<(), SettingsError> {
        within("redis.response_timeout_ms", self.response_timeout_ms, 10..=60_000, "ms")?;
        within("redis.connect_timeout_ms", self.connect_timeout_ms, 10..=60_000, "ms")?;
        if self.client_cert_file.is_empty() != self.client_key_file.is_empty() {
            let allowed = "set together with redis.client_cert_file: a certificate needs its key";
            return Err(SettingsError::invalid("redis.client_key_file", &self.client_key_file, allowed));
        }
        self.check_sentinel()?;
        if !self.url_file.is_empty() {
            return Ok(());
        }
        let allowed = "a URL of the form redis://[user:password@]host:port/db, with rediss:// for TLS";
        let invalid = |allowed: &str| SettingsError::invalid("redis.url", &self.url, allowed);
        let info = self.url.expose().into_connection_info().map_err(|_| invalid(allowed))?;
        match self.refusal(&info) {
            Some(allowed) => Err(invalid(allowed)),
            None => Ok(()),
        }
    }

    /// The reason for which a URL does not go with the other settings, as the end of "must be …".
    pub(super) fn refusal(&self, info: &ConnectionInfo) -> Option<&'static str> {
        let has_certificates = !self.ca_file.is_empty() || !self.client_cert_file.is_empty();
        match info.addr() {
            ConnectionAddr::TcpTls { insecure: true, .. } => {
                Some("a URL without #insecure: set redis.ca_file, and the server is verified")
            }
            ConnectionAddr::Tcp(..) if has_certificates => Some(
                "one that begins with rediss:// while redis.ca_file or redis.client_cert_file is set: redis:// is plain text",
            ),
            _ if self.cluster && info.redis_settings().db() != 0 => {
                Some("one that ends with /0 while redis.cluster is true: a cluster has one database")
            }
            _ if !self.password_file.is_empty() && info.redis_settings().password().is_some() => {
                Some("one without a password while redis.password_file is set: there is one password")
            }
            _ => None,
        }
    }

    fn check_sentinel(&self) -> Result<(), SettingsError> {
        let SentinelSettings { addresses, master, password, password_file, .. } = &self.sentinel;
        for address in addresses {
            if address.parse::<Address>().is_err() {
                return Err(SettingsError::invalid(
                    "redis.sentinel.addresses",
                    address,
                    "some host:port, such as sentinel-0:26379",
                ));
            }
        }
        if addresses.is_empty() != master.is_empty() {
            let allowed = "set together with redis.sentinel.addresses: the name by which the Sentinels know the master";
            return Err(SettingsError::invalid("redis.sentinel.master", master, allowed));
        }
        if !addresses.is_empty() && self.cluster {
            let allowed = "false while redis.sentinel.addresses is set: a cluster has no Sentinels";
            return Err(SettingsError::invalid("redis.cluster", self.cluster, allowed));
        }
        if !password.is_empty() && !password_file.is_empty() {
            let allowed = "empty while redis.sentinel.password is set: there is one password";
            return Err(SettingsError::invalid("redis.sentinel.password_file", password_file, allowed));
        }
        Ok(())
    }
}

impl SentinelSettings {
    /// Whether the master is asked for.
    pub(super) fn is_used(&self) -> bool {
        !self.addresses.is_empty()
    }
}
