//! What the figures of a run are true of: the machine and the versions of its servers.

use anyhow::Result;
use procfs::{CpuInfo, Current, Meminfo};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

/// A machine with its servers. What cannot be found out stays empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Name of the processor.
    pub processor: String,
    /// Processors that this process may use.
    pub cores: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Version of the kernel.
    pub kernel: String,
    /// Version of PostgreSQL.
    pub postgresql: String,
    /// Version of Redis.
    pub redis: String,
}

impl Machine {
    /// Returns the description of this machine and of the servers behind these connections.
    pub async fn look(database: &mut PgConnection, redis: &mut redis::aio::MultiplexedConnection) -> Result<Self> {
        let postgresql = sqlx::query_scalar("SHOW server_version").fetch_one(database).await?;
        let server: String = redis::cmd("INFO").arg("server").query_async(redis).await?;
        let redis = field(&server, "redis_version").unwrap_or_default();
        Ok(Self { postgresql, redis, ..Self::alone() })
    }

    /// This machine, where no server took part.
    pub fn alone() -> Self {
        let processor = CpuInfo::current().ok().and_then(|all| all.model_name(0).map(str::to_owned));
        Self {
            processor: processor.unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: Meminfo::current().map_or(0, |memory| memory.mem_total / 1024 / 1024),
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            ..Self::default()
        }
    }

    /// Returns the description on one line.
    pub fn line(&self) -> String {
        let mut line = format!("{} × {}, {} MiB", self.cores, self.processor, self.memory_mib);
        for (name, version) in [("Linux", &self.kernel), ("PostgreSQL", &self.postgresql), ("Redis", &self.redis)] {
            if !version.is_empty() {
                line.extend([", ", name, " ", version]);
            }
        }
        line
    }
}

/// The value of the first line `name: value`.
pub fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim_end() == name).then(|| value.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_no_part_is_not_named() {
        let mut machine =
            Machine { processor: "A Processor".to_owned(), cores: 2, memory_mib: 512, ..Machine::default() };
        assert_eq!(machine.line(), "2 × A Processor, 512 MiB");
        machine.redis = "7.0.15".to_owned();
        assert_eq!(machine.line(), "2 × A Processor, 512 MiB, Redis 7.0.15");
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "model\t\t: 85\nmodel name\t: A Processor: fast\r\nmodel name\t: another\n";
        assert_eq!(field(text, "model name").as_deref(), Some("A Processor: fast"));
        assert_eq!(field(text, "name"), None);
    }
}
