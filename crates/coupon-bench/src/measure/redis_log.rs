//! What Redis itself says of its slow moments: the slow log names commands, the latency monitor everything else that
//! kept it from answering (a fork, a write to the append-only file).

use std::collections::HashMap;

use anyhow::{Context, Result};
use redis::{FromRedisValue, Value, aio::MultiplexedConnection, from_redis_value};

use super::spread::as_f64;
use crate::progress;

/// Settings under which Redis notes what is asked here: commands from 1,000 µs on, room for as many as one measurement
/// has, and events from 1 ms on.
const SETTINGS: [(&str, &str); 3] =
    [("slowlog-log-slower-than", "1000"), ("slowlog-max-len", "16384"), ("latency-monitor-threshold", "1")];

/// A Redis that notes its slow moments. Dropping this puts its settings back as they were.
pub struct Noting {
    url: String,
    before: Vec<(&'static str, String)>,
}

impl Noting {
    /// Begins to log: sets the latency settings of the server behind this URL.
    pub fn begin(url: &str) -> Result<Self> {
        let mut noting = Self { url: url.to_owned(), before: Vec::new() };
        let mut redis = redis::Client::open(url)?.get_connection()?;
        for (name, value) in SETTINGS {
            let found: HashMap<String, String> = redis::cmd("CONFIG").arg("GET").arg(name).query(&mut redis)?;
            let was = found.get(name).with_context(|| format!("Redis has no setting {name}"))?;
            noting.before.push((name, was.clone()));
            let () = redis::cmd("CONFIG").arg("SET").arg(name).arg(value).query(&mut redis)?;
        }
        Ok(noting)
    }

    fn end(&self) -> Result<()> {
        let mut redis = redis::Client::open(&*self.url)?.get_connection()?;
        for (name, value) in &self.before {
            let () = redis::cmd("CONFIG").arg("SET").arg(name).arg(value).query(&mut redis)?;
        }
        Ok(())
    }
}

impl Drop for Noting {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            progress::say(&format!("left behind: settings of Redis, which were {:?}: {error:#}", self.before));
        }
    }
}

/// Slow moments of Redis within a while. Time in which a command waited for its turn is not counted.
#[derive(Clone, Debug, Default)]
pub struct SlowMoments {
    /// Commands that took 1 ms or longer.
    pub slow_commands: f64,
    /// The longest of them, if there was one: its name and ms.
    pub longest: Option<(String, f64)>,
    /// The longest moment of each kind of event of 1 ms or longer, such as `fork` or `aof-write`: its name and ms;
    /// `command` is any command.
    pub events: Vec<(String, u64)>,
}

/// Reader of Redis' slow log and latency events from a moment on.
pub struct RedisLog {
    redis: MultiplexedConnection,
    /// Number of the last command that was noted before.
    last: Option<u64>,
}

impl RedisLog {
    /// From now on. The latency monitor begins anew; the slow log keeps what it has.
    pub async fn from_now(redis: &MultiplexedConnection) -> Result<Self> {
        let mut redis = redis.clone();
        let newest = redis::cmd("SLOWLOG").arg("GET").arg(1).query_async(&mut redis).await?;
        let last = slow_commands(&newest)?.first().map(|(number, ..)| *number);
        let _: Value = redis::cmd("LATENCY").arg("RESET").query_async(&mut redis).await?;
        Ok(Self { redis, last })
    }

    /// Returns the slow commands and latency events since the measurement began.
    pub async fn read(mut self) -> Result<SlowMoments> {
        let all = redis::cmd("SLOWLOG").arg("GET").arg(1_000_000).query_async(&mut self.redis).await?;
        let mut slow = slow_commands(&all)?;
        slow.retain(|(number, ..)| self.last.is_none_or(|last| *number > last));
        let latest = redis::cmd("LATENCY").arg("LATEST").query_async(&mut self.redis).await?;
        Ok(SlowMoments {
            slow_commands: as_f64(slow.len() as u64),
            longest: slow
                .into_iter()
                .max_by_key(|(_, _, micros)| *micros)
                .map(|(_, name, us)| (name, as_f64(us) / 1000.0)),
            events: events(&latest)?,
        })
    }
}

/// Number, name and µs of each command in the reply of `SLOWLOG GET`: number, time, µs, arguments and more, newest first.
fn slow_commands(reply: &Value) -> Result<Vec<(u64, String, u64)>> {
    let read = |entry: &Value| {
        let [number, _, micros, arguments, ..] = entry.as_sequence()? else { return None };
        // Only the name: arguments hold members.
        let name: String = of(arguments.as_sequence()?.first()?)?;
        Some((of(number)?, name.to_uppercase(), of(micros)?))
    };
    all(reply, read).context("the reply of SLOWLOG GET is not understood")
}

/// Name and longest ms of each event in the reply of `LATENCY LATEST`: name, time, latest ms, longest ms and more.
fn events(reply: &Value) -> Result<Vec<(String, u64)>> {
    let read = |entry: &Value| {
        let [name, _, _, longest, ..] = entry.as_sequence()? else { return None };
        Some((of(name)?, of(longest)?))
    };
    all(reply, read).context("the reply of LATENCY LATEST is not understood")
}

fn all<T>(reply: &Value, read: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    reply.as_sequence()?.iter().map(read).collect()
}

fn of<T: FromRedisValue>(value: &Value) -> Option<T> {
    from_redis_value(value.clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn the_slow_log_is_read_without_its_arguments() {
        let entry = |number, micros, name| {
            let arguments = Value::Array(vec![word(name), word("member")]);
            Value::Array(vec![
                Value::Int(number),
                Value::Int(1),
                Value::Int(micros),
                arguments,
                word("client"),
                word(""),
            ])
        };
        let read = slow_commands(&Value::Array(vec![entry(8, 1500, "hscan"), entry(7, 9000, "HSET")])).unwrap();
        assert_eq!(read[0], (8, "HSCAN".to_owned(), 1500));
        assert_eq!(read[1], (7, "HSET".to_owned(), 9000));
        assert!(slow_commands(&word("?")).is_err());
    }

    #[test]
    fn the_longest_moment_of_each_event_is_read() {
        let event = |name, longest| Value::Array(vec![word(name), Value::Int(1), Value::Int(1), Value::Int(longest)]);
        let read = events(&Value::Array(vec![event("command", 3), event("fork", 17)])).unwrap();
        assert_eq!(read, [("command".to_owned(), 3), ("fork".to_owned(), 17)]);
    }
}
