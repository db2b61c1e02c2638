//! What Redis has counted: calls and time of each command, and how often it was asked anything at all. Of the whole server.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use redis::{aio::MultiplexedConnection, pipe};

use crate::machine::field;

/// Counts since Redis started, or between two looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commands {
    by_name: BTreeMap<String, Counted>,
    reads: u64,
}

/// One command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Calls, those of scripts included.
    pub calls: u64,
    /// Time in µs in which Redis ran it; of a script with all commands that the script calls.
    pub micros: u64,
}

impl Commands {
    /// Counts so far.
    pub async fn read(redis: &mut MultiplexedConnection) -> Result<Self> {
        let mut both = pipe();
        both.cmd("INFO").arg("commandstats").cmd("INFO").arg("stats");
        let (commands, stats): (String, String) = both.query_async(redis).await?;
        Self::parse(&commands, &stats).context("Redis does not count its commands")
    }

    /// Reads lines like `cmdstat_evalsha:calls=…,usec=…,…`, and `total_reads_processed:…`.
    fn parse(commands: &str, stats: &str) -> Option<Self> {
        let counted = |line: &str| {
            let (name, fields) = line.strip_prefix("cmdstat_")?.split_once(':')?;
            let number = |name: &str| {
                fields.split(',').find_map(|field| field.strip_prefix(name)?.strip_prefix('=')?.trim_end().parse().ok())
            };
            Some((name.to_owned(), Counted { calls: number("calls")?, micros: number("usec")? }))
        };
        let reads = field(stats, "total_reads_processed")?.parse().ok()?;
        Some(Self { by_name: commands.lines().filter_map(counted).collect(), reads })
    }

    /// What was counted since then.
    pub fn since(&self, before: &Self) -> Self {
        let difference = |(name, now): (&String, &Counted)| {
            let then = before.of(name);
            let calls = now.calls.saturating_sub(then.calls);
            (name.clone(), Counted { calls, micros: now.micros.saturating_sub(then.micros) })
        };
        // The question by which this was read is one of the reads.
        let reads = self.reads.saturating_sub(before.reads).saturating_sub(1);
        Self { by_name: self.by_name.iter().map(difference).collect(), reads }
    }

    /// One command, by its name in lower case.
    pub fn of(&self, name: &str) -> Counted {
        self.by_name.get(name).copied().unwrap_or_default()
    }

    /// Calls of all commands but `INFO`, those of scripts included.
    pub fn calls(&self) -> u64 {
        self.by_name.iter().filter(|(name, _)| *name != "info").map(|(_, counted)| counted.calls).sum()
    }

    /// How often Redis has read from a client: questions, each of one command or of many that came together.
    pub fn questions(&self) -> u64 {
        self.reads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMANDS: &str = "# Commandstats\r\ncmdstat_evalsha:calls=20,usec=700,usec_per_call=35.00,failed_calls=1\r\ncmdstat_info:calls=3,usec=9\r\n";

    #[test]
    fn each_command_is_read_and_info_is_no_command_of_others() {
        let read = Commands::parse(COMMANDS, "# Stats\r\ntotal_reads_processed:12\r\n").unwrap();
        assert_eq!(read.of("evalsha"), Counted { calls: 20, micros: 700 });
        assert_eq!((read.of("zrem").calls, read.calls(), read.questions()), (0, 20, 12));
        assert_eq!(Commands::parse(COMMANDS, ""), None);
    }

    #[tokio::test]
    async fn the_look_itself_is_not_counted() {
        let url = std::env::var("REDIS_URL").expect("REDIS_URL is set; see scripts/test");
        let mut redis = redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
        let before = Commands::read(&mut redis).await.unwrap();
        let _: Option<String> = redis::cmd("GETDEL").arg("coupon-bench:nothing").query_async(&mut redis).await.unwrap();
        let counted = Commands::read(&mut redis).await.unwrap().since(&before);
        // Others may use this server meanwhile, but not this command.
        assert_eq!(counted.of("getdel").calls, 1);
        assert!(counted.questions() >= 1 && counted.calls() >= 1, "{counted:?}");
    }
}
