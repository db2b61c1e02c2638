//! The settings that the PostgreSQL server has, and those that it has to have.

use std::collections::HashMap;

use sqlx::{Connection, PgConnection};

use super::{Database, RepoError};
use crate::clause::{Breach, Clause, Departure, departures, is_number};

/// Required settings of the server and of the session. A pooler may drop the options of a session, so the timeouts that
/// are in force are checked.
const CONTRACT: &[Clause] = &[
    Clause {
        setting: "server_version_num",
        holds: |version| is_number(version, |version| version >= 150_000),
        breach: Breach::Breaks,
        otherwise: "the schema and the statements are made for version 15 and later",
        fix: "use PostgreSQL 15 or later",
    },
    Clause {
        setting: "in_recovery",
        holds: |recovery| recovery == "false",
        breach: Breach::Breaks,
        otherwise: "a standby takes no decisions",
        fix: "let database.url lead to the primary, or name all hosts in it: host:port,host:port",
    },
    Clause {
        setting: "transaction_read_only",
        holds: |read_only| read_only == "off",
        breach: Breach::Breaks,
        otherwise: "nothing can be written",
        fix: "let database.url lead to a database and a role that may write",
    },
    Clause {
        setting: "server_encoding",
        holds: |encoding| encoding == "UTF8",
        breach: Breach::Breaks,
        otherwise: "members whose names it cannot spell are refused after they were accepted",
        fix: "create the database with ENCODING 'UTF8' TEMPLATE template0, and move the data there",
    },
    Clause {
        setting: "statement_timeout",
        holds: |ms| ms != "0",
        breach: Breach::Breaks,
        otherwise: "a statement may wait for ever; a pooler drops what sessions ask for at their start",
        fix: "set it for the role (ALTER ROLE … SET statement_timeout = '5s'), as PgBouncer passes no options on",
    },
    Clause {
        setting: "lock_timeout",
        holds: |ms| ms != "0",
        breach: Breach::Breaks,
        otherwise: "a row lock may hold a consumer for ever; a pooler drops what sessions ask for at their start",
        fix: "set it for the role (ALTER ROLE … SET lock_timeout = '2s'), as PgBouncer passes no options on",
    },
    Clause {
        setting: "idle_in_transaction_session_timeout",
        holds: |ms| ms != "0",
        breach: Breach::Weakens,
        otherwise: "a process that is stopped inside a transaction may hold a campaign's row for ever",
        fix: "set it for the role, as PgBouncer passes no options on",
    },
    Clause {
        setting: "fsync",
        holds: |fsync| fsync == "on",
        breach: Breach::Weakens,
        otherwise: "a crash of its machine loses decisions, or the database",
        fix: "set fsync = on",
    },
    Clause {
        setting: "full_page_writes",
        holds: |writes| writes == "on",
        breach: Breach::Weakens,
        otherwise: "a crash of its machine may tear pages",
        fix: "set full_page_writes = on",
    },
    Clause {
        setting: "synchronous_commit",
        holds: |commit| commit != "off",
        breach: Breach::Weakens,
        otherwise: "a crash of the server loses decisions that were acknowledged",
        fix: "set synchronous_commit = on",
    },
];

impl Database {
    /// Returns the version of the server, such as `15.14`.
    pub async fn server_version(&self) -> Result<String, RepoError> {
        let select = sqlx::query_scalar("SELECT current_setting('server_version')");
        self.read("ask for the server's version", select.fetch_one(&self.pool())).await
    }

    /// Returns the settings of the server, or of the session, that do not have the required value.
    pub async fn departures(&self) -> Result<Vec<Departure>, RepoError> {
        let names: Vec<&str> = CONTRACT.iter().map(|clause| clause.setting).chain(CONNECTIONS).collect();
        let select = sqlx::query_as(
            "SELECT name, setting FROM pg_settings WHERE name = ANY ($1)
             UNION ALL
             SELECT 'in_recovery', pg_is_in_recovery()::text",
        )
        .bind(names);
        let rows: Vec<(String, String)> =
            self.read("read the settings of the server", select.fetch_all(&self.pool())).await?;
        let settings: HashMap<String, String> = rows.into_iter().collect();
        if self.0.pooled {
            self.read("prepare a statement behind the pooler", self.prepares()).await?;
        }
        let mut found = departures(CONTRACT, |setting| settings.get(setting).cloned());
        if !self.0.pooled {
            found.extend(crowded(&settings, self.0.budget));
        }
        Ok(found)
    }

    /// Prepares a statement on another connection to the pooler. It has the name that the first statement of every
    /// connection has, so a pooler that keeps no statements apart refuses it.
    async fn prepares(&self) -> Result<(), sqlx::Error> {
        let mut other = PgConnection::connect_with(&self.dialer().options().await?).await?;
        sqlx::query("SELECT 1").execute(&mut other).await?;
        other.close().await
    }
}

/// Compares the connections that the installation may open with those that the server has for roles without privileges.
/// Behind a pooler they say nothing of each other.
fn crowded(settings: &HashMap<String, String>, budget: u32) -> Option<Departure> {
    let number = |name: &str| settings.get(name).and_then(|value| value.parse::<u32>().ok()).unwrap_or(0);
    let reserved = number("superuser_reserved_connections") + number("reserved_connections");
    let room = number("max_connections").saturating_sub(reserved);
    (room < budget).then(|| {
        Departure::new(
            Breach::Weakens,
            format!("the server has {room} connections for services, and they may open {budget} (`database.budget`)"),
            "raise max_connections of the server, or lower database.max_connections of the services and database.budget",
        )
    })
}

/// The settings that [`crowded`] reads. The last exists from version 16 on.
const CONNECTIONS: [&str; 3] = ["max_connections", "superuser_reserved_connections", "reserved_connections"];

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: &[(&str, &str)] = &[
        ("server_version_num", "150018"),
        ("in_recovery", "false"),
        ("server_encoding", "UTF8"),
        ("transaction_read_only", "off"),
        ("statement_timeout", "5000"),
        ("lock_timeout", "2000"),
        ("idle_in_transaction_session_timeout", "5000"),
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "remote_apply"),
    ];

    fn breach(setting: &str, value: &str) -> Vec<Breach> {
        let settings: HashMap<&str, &str> = WANTED.iter().copied().chain([(setting, value)]).collect();
        let found = departures(CONTRACT, |setting| settings.get(setting).map(ToString::to_string));
        found.into_iter().map(|departure| departure.breach).collect()
    }

    #[test]
    fn a_server_with_fewer_connections_than_the_services_may_open_is_named() {
        let server =
            [("max_connections", "100"), ("superuser_reserved_connections", "3"), ("reserved_connections", "0")];
        let settings = server.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(crowded(&settings, 97), None);
        let found = crowded(&settings, 98).unwrap();
        assert!(found.what.contains("has 97 connections") && found.what.contains("may open 98"), "{}", found.what);
    }

    #[test]
    fn what_a_server_cannot_do_without_is_refused_and_a_bold_server_is_named() {
        assert_eq!(breach("fsync", "on"), [], "as it is wanted");
        for (setting, value) in [
            ("statement_timeout", "0"),
            ("lock_timeout", "0"),
            ("in_recovery", "true"),
            ("transaction_read_only", "on"),
            ("server_version_num", "140011"),
            ("server_encoding", "SQL_ASCII"),
        ] {
            assert_eq!(breach(setting, value), [Breach::Breaks], "{setting} = {value}");
        }
        for (setting, value) in [("fsync", "off"), ("full_page_writes", "off"), ("synchronous_commit", "off")] {
            assert_eq!(breach(setting, value), [Breach::Weakens], "{setting} = {value}");
        }
    }
}
