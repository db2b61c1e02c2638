//! The Redis server behind the stock: what it says of itself, and what it has to be.

use super::{Stock, StockError};
use crate::clause::{Breach, Clause, Departure, departures, is_number};
use redis::ErrorKind;

/// What is asked of a server, from `INFO`: managed services forbid `CONFIG GET`.
const CONTRACT: &[Clause] = &[
    Clause {
        setting: "redis_mode",
        holds: |mode| mode != "sentinel",
        breach: Breach::Ends,
        otherwise: "this is a Sentinel, which keeps no reservations",
        fix: "name it in redis.sentinel.addresses, and the master in redis.sentinel.master",
    },
    Clause {
        setting: "maxmemory_policy",
        holds: |policy| policy == "noeviction",
        breach: Breach::Ends,
        otherwise: "redis evicts keys under memory pressure, and reservations with them",
        fix: "set maxmemory-policy noeviction",
    },
    Clause {
        setting: "redis_version",
        holds: |version| version.split('.').next().is_some_and(|major| is_number(major, |major| major >= 7)),
        breach: Breach::Ends,
        otherwise: "it does not understand the scripts of the reservation",
        fix: "use Redis 7 or later, or Valkey",
    },
    Clause {
        setting: "role",
        holds: |role| role == "master",
        breach: Breach::Breaks,
        otherwise: "a replica takes no reservations",
        fix: "let redis.url lead to the master",
    },
    Clause {
        setting: "aof_enabled",
        holds: |enabled| enabled == "1",
        breach: Breach::Weakens,
        otherwise: "without an append-only file a restart of redis loses reservations",
        fix: "set appendonly yes",
    },
];

/// What is asked of a server that is no cluster.
const ALONE: &[Clause] = &[Clause {
    setting: "cluster_enabled",
    holds: |enabled| enabled == "0",
    breach: Breach::Ends,
    otherwise: "this is a node of a redis cluster, and campaigns on its other nodes could not be reached",
    fix: "set redis.cluster = true, or use a server with cluster-enabled no",
}];

/// The sections of `INFO` in which the settings stand.
const SECTIONS: &[&str] = &["server", "memory", "persistence", "replication", "cluster"];

impl Stock {
    /// Returns the version of each server: of the only one, or of each master of a cluster. `None`: it forbids INFO.
    pub async fn server_versions(&self) -> Result<Option<Vec<String>>, StockError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("INFO").arg("server");
        let told: Vec<(String, Vec<String>)> = match self.of_each(&pipeline).await {
            Err(error) if forbids_info(&error) => return Ok(None),
            other => other?,
        };
        let version = |texts: Vec<String>| texts.iter().find_map(|text| field(text, "redis_version"));
        Ok(Some(told.into_iter().filter_map(|(_, texts)| version(texts)).collect()))
    }

    /// Where the server, in a cluster each master, departs from what the reservations need. A server that forbids INFO tells
    /// nothing: then only the operator can vouch for it that it evicts nothing.
    pub async fn departures(&self) -> Result<Vec<Departure>, StockError> {
        let mut pipeline = redis::pipe();
        for section in SECTIONS {
            pipeline.cmd("INFO").arg(section);
        }
        let told: Vec<(String, Vec<String>)> = match self.of_each(&pipeline).await {
            Err(error) if forbids_info(&error) => return Ok(vec![self.unchecked()]),
            other => other?,
        };
        let mut found = Vec::new();
        for (server, texts) in told {
            let value = |setting: &str| texts.iter().find_map(|text| field(text, setting));
            let mut of_server = if value("redis_mode").as_deref() == Some("sentinel") {
                departures(&CONTRACT[..1], value)
            } else if self.is_cluster() {
                departures(CONTRACT, value)
            } else {
                [departures(ALONE, value), departures(CONTRACT, value)].concat()
            };
            if !server.is_empty() {
                for departure in &mut of_server {
                    departure.what = format!("{server}: {}", departure.what);
                }
            }
            found.extend(of_server);
        }
        Ok(found)
    }

    fn unchecked(&self) -> Departure {
        let unknown = "redis lets this user not call INFO, so its version, role and append-only file are not checked";
        if self.is_noeviction_asserted {
            return Departure::new(Breach::Weakens, unknown, "allow INFO, or see to them yourself");
        }
        Departure::new(
            Breach::Breaks,
            format!("{unknown}, and nobody knows whether it evicts reservations"),
            "allow INFO, or set redis.assert_noeviction = true once maxmemory-policy is noeviction",
        )
    }
}

/// Whether a server answers and does not let this user call INFO, by a right or because the command has another name there.
fn forbids_info(error: &StockError) -> bool {
    let Some(redis) = error.redis() else { return false };
    let is_answer = matches!(redis.kind(), ErrorKind::Server(_) | ErrorKind::Extension);
    let text = redis.to_string().to_lowercase();
    is_answer && text.contains("info") && (text.contains("no permissions") || text.contains("unknown command"))
}

/// A field of what `INFO` says.
fn field(text: &str, name: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(value.trim().to_owned())
}
