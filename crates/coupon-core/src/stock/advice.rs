//! What to do about an error of Redis: the setting to look at, or the recipe.

use std::error::Error;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::StockError;

/// Words of an error and what to do about it; the first that fits counts. The words of TLS are those of rustls.
const ADVICE: &[(&[&str], &str)] = &[
    (&["UnknownIssuer"], "set redis.ca_file to the authority that signed the certificate of the server"),
    (
        &["not valid for name", "NotValidForName"],
        "name the server in redis.url as its certificate does, or renew that with this name",
    ),
    (&["certificate expired", "certificate not valid yet"], "renew the certificate of the server"),
    (
        &[
            "CertificateRequired",
            "HandshakeFailure",
            "BadCertificate",
            "UnknownCA",
            "DecryptError",
            "CertificateUnknown",
            "CertificateExpired",
        ],
        "set redis.client_cert_file and redis.client_key_file to a certificate that the server accepts",
    ),
    (
        &["InvalidContentType", "tls handshake eof"],
        "let redis.url lead to the port on which the server speaks TLS, or begin with redis://",
    ),
    (
        &[
            "redis.url_file",
            "redis.password_file",
            "redis.ca_file",
            "redis.client_cert_file",
            "redis.client_key_file",
            "redis.sentinel.password_file",
        ],
        "mount the file, and let this process read it",
    ),
    (
        &["PEM", "trust anchors", "TLS parameters"],
        "let redis.ca_file, redis.client_cert_file and redis.client_key_file hold PEM, and the key fit the certificate",
    ),
    (&["cluster support disabled"], "set redis.cluster = false, or let redis.url lead to a node of a cluster"),
    (
        &["unknown command 'EVALSHA'", "unknown command 'evalsha'"],
        "let redis.url lead to a Redis of version 7 or later; a Sentinel belongs into redis.sentinel.addresses",
    ),
    (
        &["unknown command 'SELECT'"],
        "this may be a Sentinel: name it in redis.sentinel.addresses, and the master in redis.sentinel.master",
    ),
    (&["no Sentinel names"], "check redis.sentinel.addresses, redis.sentinel.master and the password of the Sentinels"),
    (&["the cluster is not whole", "ClusterDown"], "let each slot have a master: `redis-cli --cluster check`"),
];

const LOGIN: &str = "check the user in redis.url and the password there or in redis.password_file";
const RIGHTS: &str = "give the user of redis.url the rights of \"Rights in Redis\" in deploy/README.md";
const CLOSED: &str = "check redis.url: the port may speak TLS and want rediss://, or ask for redis.client_cert_file";
const SILENT: &str =
    "check redis.url, that the server runs, and that it speaks TLS just where the URL begins with rediss://";
const AWAY: &str = "check redis.url, and that the server runs";
const MOVED: &str = "set redis.cluster = true where redis.url leads to a cluster";
const MASTER: &str = "let redis.url lead to the master, one with free memory";

impl StockError {
    /// What to do about it, in a few words that name the setting.
    pub fn advice(&self) -> &'static str {
        let Some(error) = self.redis() else { return AWAY };
        let words = words(error);
        if let Some((_, advice)) = ADVICE.iter().find(|(some, _)| some.iter().any(|word| words.contains(word))) {
            return advice;
        }
        let code = error.code().unwrap_or_default();
        let is_of_login =
            ["WRONGPASS", "NOAUTH"].contains(&code) || words.contains("WRONGPASS") || words.contains("NOAUTH");
        match error.kind() {
            _ if is_of_login => LOGIN,
            ErrorKind::AuthenticationFailed => LOGIN,
            ErrorKind::Server(ServerErrorKind::NoPerm) => RIGHTS,
            ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask) => MOVED,
            _ if words.contains("executing the script") || words.contains("ACL failure") => RIGHTS,
            _ if error.is_connection_refusal() => AWAY,
            _ if matches!(self, Self::NotConnected(_)) && error.is_timeout() => SILENT,
            _ if matches!(self, Self::NotConnected(_))
                && (error.is_connection_dropped() || error.kind() == ErrorKind::Parse) =>
            {
                CLOSED
            }
            _ if matches!(self, Self::NotNow(_)) => MASTER,
            _ => AWAY,
        }
    }
}

/// All that an error says of itself.
fn words(error: &RedisError) -> String {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        words.push_str(": ");
        words.push_str(&cause.to_string());
        next = cause.source();
    }
    words
}
