//! What to do when no connection is made, as one clause that names the setting.

use std::io::ErrorKind;

use rustls::{CertificateError, Error as TlsError};
use sqlx::Error as Driver;

use super::RepoError;

const CHECK_ADDRESS: &str = "check the host and the port in `database.url`, and that PostgreSQL runs there";
/// A server that asks for a certificate may just close the connection of a client with the wrong one.
const CHECK_PROTOCOL: &str = "check that PostgreSQL listens at the port in `database.url`, and, if it asks for certificates, \
                              `database.client_cert_file`";
const CHECK_LOGIN: &str = "check the user in `database.url`, and the password there or in `database.password_file` or `database.password_command`";
const CHECK_POOLER: &str =
    "use PgBouncer 1.21 or later with max_prepared_statements above 0, or let `database.url` lead past the pooler";

/// Refusals of the server, by the beginning of their SQLSTATE or, where one stands for many, by words of the message.
/// PgBouncer has SQLSTATE 08P01 for most of what it says.
const BY_ANSWER: &[(&str, &str, &str)] = &[
    ("08P01", "startup parameter", "set `database.pooled` to true: a pooler takes no options of a session"),
    ("", "pg_hba.conf", "let pg_hba.conf admit this role from here, and with TLS or without as `database.url` asks"),
    ("", "requires a valid client certificate", "set `database.client_cert_file` and `database.client_key_file`"),
    (
        "",
        "certificate authentication failed",
        "let `database.client_cert_file` be a certificate for the user in `database.url`",
    ),
    ("08P01", "no such database", "let `database.url` name a database that the pooler knows"),
    ("08P01", "", CHECK_LOGIN),
    ("28", "", CHECK_LOGIN),
    ("3D", "", "let `database.url` name a database that exists"),
    ("42501", "", "grant the role in `database.url` the right that the server misses"),
    ("53300", "", "raise max_connections of the server, or lower `database.max_connections` of the services"),
    ("42P05", "", CHECK_POOLER),
    ("26", "", CHECK_POOLER),
];

impl RepoError {
    /// Returns what to do about an error that keeps the database from being used.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NoConnection { source, .. } | Self::Database { source, .. } => of_driver(source),
            Self::Away(refusal) => refusal.remedy(),
            Self::Refused { .. } | Self::Silent { .. } | Self::Task { .. } => CHECK_ADDRESS,
        }
    }
}

fn of_driver(error: &Driver) -> &'static str {
    match error {
        Driver::Database(answer) => {
            let (code, message) = (answer.code().unwrap_or_default(), answer.message());
            let fits = |(state, words, _): &&(&str, &str, &str)| code.starts_with(state) && message.contains(words);
            BY_ANSWER.iter().find(fits).map_or(CHECK_ADDRESS, |(.., remedy)| remedy)
        }
        Driver::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(error) => of_tls(error),
            None if matches!(
                error.kind(),
                ErrorKind::UnexpectedEof
                    | ErrorKind::ConnectionReset
                    | ErrorKind::ConnectionAborted
                    | ErrorKind::BrokenPipe
            ) =>
            {
                CHECK_PROTOCOL
            }
            None if error.kind() == ErrorKind::PermissionDenied => {
                "let the service read `database.ca_file`, `database.client_cert_file` and `database.client_key_file`"
            }
            None if error.kind() == ErrorKind::NotFound => {
                "check that `database.ca_file`, `database.client_cert_file` and `database.client_key_file` are there, or the \
                 socket in `database.url`"
            }
            None => CHECK_ADDRESS,
        },
        Driver::Tls(error) => match error.downcast_ref() {
            Some(error) => of_tls(error),
            None => {
                "let the server speak TLS (ssl = on), or, where the way to it is safe, add sslmode=disable to `database.url`"
            }
        },
        Driver::Protocol(_) => CHECK_PROTOCOL,
        Driver::Configuration(_) => "correct what it says",
        _ => CHECK_ADDRESS,
    }
}

fn of_tls(error: &TlsError) -> &'static str {
    match error {
        TlsError::InvalidCertificate(why) => match why {
            CertificateError::UnknownIssuer => "set `database.ca_file` to the root certificate that signs the server's",
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "let `database.url` name a host of the server's certificate, or add sslmode=verify-ca to it"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "renew the server's certificate, or put the clock of this machine right"
            }
            _ => "give the server a certificate that `database.ca_file` verifies",
        },
        TlsError::AlertReceived(_) => {
            "let `database.client_cert_file` and `database.client_key_file` be a certificate that the server's root signs"
        }
        _ => CHECK_PROTOCOL,
    }
}
