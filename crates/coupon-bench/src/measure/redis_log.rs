//! What Redis itself says of its slow moments: the slow log names commands, the latency monitor everything else that
//! kept it from answering (a fork, a write to the append-only file).

use anyhow::{Context, Result};
use redis::{Value, aio::MultiplexedConnection, from_redis_value};
use serde::Serialize;

/// Settings under which Redis notes what is asked here; whoever changes them puts them back.
/// Commands from 1,000 µs on, room for as many as one measurement has, and events from 1 ms on.
pub const SETTINGS: &[(&str, &str)] =
    &[("slowlog-log-slower-than", "1000"), ("slowlog-max-len", "16384"), ("latency-monitor-threshold", "1")];

/// Slow moments of Redis within a while.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SlowMoments {
    /// Commands that took 1 ms or longer.
    pub slow_commands: usize,
    /// The longest of them, if there was one.
    pub longest: Option<SlowCommand>,
    /// The longest moment of each kind of event of 1 ms or longer.
    pub events: Vec<Event>,
}

/// A command that took long. Time in which it waited for its turn is not counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SlowCommand {
    /// Its name.
    pub name: String,
    /// How long it took, in µs.
    pub micros: u64,
}

/// Something that kept Redis from answering.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Its name, such as `fork` or `aof-write`; `command` is any command.
    pub name: String,
    /// The longest time it took, in ms.
    pub max_ms: u64,
}

/// From when on slow moments count.
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
        let last = slow_commands(&newest)?.first().map(|(number, _)| *number);
        let _: Value = redis::cmd("LATENCY").arg("RESET").query_async(&mut redis).await?;
        Ok(Self { redis, last })
    }

    /// What was noted since.
    pub async fn read(mut self) -> Result<SlowMoments> {
        let all = redis::cmd("SLOWLOG").arg("GET").arg(1_000_000).query_async(&mut self.redis).await?;
        let new = |(number, _): &(u64, SlowCommand)| self.last.is_none_or(|last| *number > last);
        let slow: Vec<SlowCommand> = slow_commands(&all)?.into_iter().filter(new).map(|(_, slow)| slow).collect();
        let latest = redis::cmd("LATENCY").arg("LATEST").query_async(&mut self.redis).await?;
        Ok(SlowMoments {
            slow_commands: slow.len(),
            longest: slow.into_iter().max_by_key(|slow| slow.micros),
            events: events(&latest)?,
        })
    }
}

/// Reply of `SLOWLOG GET`: number, time, µs, arguments and more of each, newest first.
fn slow_commands(reply: &Value) -> Result<Vec<(u64, SlowCommand)>> {
    let read = |entry: &Value| {
        let fields = entry.as_sequence()?;
        let [number, _, micros, arguments, ..] = fields else { return None };
        // Only the name: arguments hold members.
        let name = arguments.as_sequence()?.first()?;
        let slow = SlowCommand { name: text(name)?.to_uppercase(), micros: from_redis_value(micros.clone()).ok()? };
        Some((from_redis_value(number.clone()).ok()?, slow))
    };
    all(reply, read).context("the reply of SLOWLOG GET is not understood")
}

/// Reply of `LATENCY LATEST`: name, time, latest ms, longest ms and more of each event.
fn events(reply: &Value) -> Result<Vec<Event>> {
    let read = |entry: &Value| {
        let fields = entry.as_sequence()?;
        let [name, _, _, longest, ..] = fields else { return None };
        Some(Event { name: text(name)?, max_ms: from_redis_value(longest.clone()).ok()? })
    };
    let mut events = all(reply, read).context("the reply of LATENCY LATEST is not understood")?;
    events.sort_by_key(|event| std::cmp::Reverse(event.max_ms));
    Ok(events)
}

fn all<T>(reply: &Value, read: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    reply.as_sequence()?.iter().map(read).collect()
}

fn text(value: &Value) -> Option<String> {
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
        assert_eq!(read[0], (8, SlowCommand { name: "HSCAN".to_owned(), micros: 1500 }));
        assert_eq!(read[1], (7, SlowCommand { name: "HSET".to_owned(), micros: 9000 }));
        assert!(slow_commands(&word("?")).is_err());
    }

    #[test]
    fn events_come_with_the_longest_first() {
        let event = |name, longest| Value::Array(vec![word(name), Value::Int(1), Value::Int(1), Value::Int(longest)]);
        let read = events(&Value::Array(vec![event("command", 3), event("fork", 17)])).unwrap();
        assert_eq!(read[0], Event { name: "fork".to_owned(), max_ms: 17 });
        assert_eq!(read.len(), 2);
    }
}
