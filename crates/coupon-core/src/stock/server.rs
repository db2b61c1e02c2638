//! The Redis server behind the stock: what it says of itself, and what it has to be.

use super::{Stock, StockError};
use crate::clause::{Breach, Clause, Departure, departures, is_number};

/// What is asked of a server, from `INFO`: managed services forbid `CONFIG GET`.
const CONTRACT: &[Clause] = &[
    Clause {
        setting: "maxmemory_policy",
        holds: |policy| policy == "noeviction",
        breach: Breach::Ends,
        otherwise: "redis evicts keys under memory pressure, and reservations with them",
        fix: "set maxmemory-policy noeviction",
    },
    Clause {
        setting: "cluster_enabled",
        holds: |enabled| enabled == "0",
        breach: Breach::Ends,
        otherwise: "this is a redis cluster, which is not supported: campaigns on its other nodes could not be reached",
        fix: "use a server with cluster-enabled no",
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

/// The sections of `INFO` in which the settings stand.
const SECTIONS: &[&str] = &["server", "memory", "persistence", "replication", "cluster"];

impl Stock {
    /// Where the server departs from what the reservations need.
    pub async fn departures(&self) -> Result<Vec<Departure>, StockError> {
        let mut pipeline = redis::pipe();
        for section in SECTIONS {
            pipeline.cmd("INFO").arg(section);
        }
        let texts: Vec<String> = self.pipeline(&pipeline).await?;
        Ok(departures(CONTRACT, |setting| texts.iter().find_map(|text| field(text, setting))))
    }

    /// Which server answers: another one, or the same one started again, has another id. `None` where a managed service
    /// does not tell.
    pub async fn server_id(&self) -> Result<Option<String>, StockError> {
        let text: String = self.query(redis::cmd("INFO").arg("server")).await?;
        Ok(field(&text, "run_id"))
    }
}

/// A field of what `INFO` says.
fn field(text: &str, name: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(value.trim().to_owned())
}
