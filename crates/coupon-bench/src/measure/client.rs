//! A client of Redis that asks something small every millisecond and notes how long it waits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use hdrhistogram::Histogram;
use redis::{AsyncCommands, AsyncConnectionConfig};
use tokio::runtime;

use super::spread::as_f64;

/// Time from one question to the next.
const ASK_PERIOD: Duration = Duration::from_millis(1);

/// A Redis that is silent for so long is no stall any more.
const ANSWER_WITHIN: Duration = Duration::from_mins(1);

/// Name of the thread of a client.
const THREAD_NAME: &str = "stall-client";

/// A client at work, on a connection and a thread of its own. Dropping it stops it.
pub struct Client {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Stalls>>>,
}

/// Waits of a client of Redis for its answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stalls {
    /// Questions that were answered.
    pub asked: f64,
    /// From the moment each was due to its answer, in ms: half of them at most this.
    pub p50_ms: f64,
    /// 99 in 100 of them at most this.
    pub p99_ms: f64,
    /// Longest wait in ms.
    pub max_ms: f64,
    /// How late the client itself woke up to ask, at most, in ms: no fault of Redis, and part of the figures above.
    pub late_ms: f64,
}

impl Client {
    /// Connects, and asks for a field of a hash in this logical database from now on.
    pub fn start(url: &str, asked: (&'static str, &'static str)) -> Result<Self> {
        let redis = redis::Client::open(url)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let (connected, connects) = sync_channel(1);
        let thread = thread::Builder::new().name(THREAD_NAME.to_owned()).spawn(move || {
            // With a runtime of its own and not by blocking reads: those end early when a signal meets this thread, such as
            // the one that tells of the end of a process, because a read that has a time limit is not begun again.
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(ask(redis, connected, asked, &stopped))
        })?;
        let client = Self { stop, thread: Some(thread) };
        // A thread that is gone without a word has met an error, which it hands over as it ends.
        if connects.recv().is_err() {
            client.finish().and(Err(anyhow!("the client has not begun")))
        } else {
            Ok(client)
        }
    }

    /// Stops asking and says how long it waited.
    pub fn finish(mut self) -> Result<Stalls> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("a client finishes once")?;
        thread.join().map_err(|_| anyhow!("the client has panicked"))?
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

async fn ask(
    redis: redis::Client,
    connected: SyncSender<()>,
    (key, field): (&str, &str),
    stop: &AtomicBool,
) -> Result<Stalls> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ANSWER_WITHIN))
        .set_response_timeout(Some(ANSWER_WITHIN));
    let mut redis = redis.get_multiplexed_async_connection_with_config(&config).await?;
    connected.send(())?;
    let mut record = Record::new()?;
    let mut due = Instant::now();
    let mut last = None;
    loop {
        let now = Instant::now();
        if stop.load(Ordering::Relaxed) && due > *last.get_or_insert(now) {
            return Ok(record.read());
        }
        // Whoever is behind asks at once, and each question counts from when it was due, up to the last one: a stall of
        // 20 ms is twenty long waits and not one, as it would be for twenty members.
        if let Some(early) = due.checked_duration_since(now) {
            thread::sleep(early);
            record.woke_late(due.elapsed());
        }
        let _: Option<String> = redis.hget(key, field).await.context("Redis did not answer the client")?;
        record.answered(due.elapsed());
        due += ASK_PERIOD;
    }
}

/// Times in µs, up to ten minutes, to three digits.
struct Record {
    waits: Histogram<u64>,
    late: Duration,
}

impl Record {
    fn new() -> Result<Self> {
        Ok(Self { waits: Histogram::new_with_bounds(1, 600_000_000, 3)?, late: Duration::ZERO })
    }

    fn answered(&mut self, wait: Duration) {
        self.waits.saturating_record(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX));
    }

    fn woke_late(&mut self, late: Duration) {
        self.late = self.late.max(late);
    }

    fn read(&self) -> Stalls {
        Stalls {
            asked: as_f64(self.waits.len()),
            p50_ms: as_f64(self.waits.value_at_quantile(0.50)) / 1000.0,
            p99_ms: as_f64(self.waits.value_at_quantile(0.99)) / 1000.0,
            max_ms: as_f64(self.waits.max()) / 1000.0,
            late_ms: self.late.as_secs_f64() * 1000.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use coupon_e2e::process::signal;

    use super::*;

    #[test]
    fn the_longest_wait_is_never_lost_among_the_short_ones() {
        let mut record = Record::new().unwrap();
        for _ in 0..999 {
            record.answered(Duration::from_micros(100));
        }
        record.answered(Duration::from_millis(250));
        record.woke_late(Duration::from_millis(3));
        record.woke_late(Duration::from_millis(2));
        let stalls = record.read();
        assert!((stalls.asked - 1000.0).abs() < 0.001, "{stalls:?}");
        assert!((stalls.p50_ms - 0.1).abs() < 0.001 && (stalls.p99_ms - 0.1).abs() < 0.001, "{stalls:?}");
        assert!((stalls.max_ms - 250.0).abs() < 1.0 && (stalls.late_ms - 3.0).abs() < 0.001, "{stalls:?}");
    }

    #[tokio::test]
    async fn a_signal_that_meets_the_client_while_it_waits_is_no_silence_of_redis() {
        let url = std::env::var("REDIS_URL").expect("REDIS_URL is set; see scripts/test");
        let mut other = redis::Client::open(url.as_str()).unwrap().get_connection().unwrap();
        // As a process has it that waits for its children.
        let _ended = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::child()).unwrap();
        let client = Client::start(&url, ("coupon-bench:nothing", "here")).unwrap();
        let () = redis::cmd("CLIENT").arg("PAUSE").arg(300).arg("ALL").query(&mut other).unwrap();
        let clients = thread_ids();
        assert!(!clients.is_empty());
        for client in clients {
            signal::send("CHLD", client).unwrap();
        }
        let () = redis::cmd("PING").query(&mut other).unwrap();
        client.finish().unwrap();
    }

    /// Of the clients, by which a signal finds their threads and not another one of the process.
    fn thread_ids() -> Vec<u32> {
        let threads = fs::read_dir("/proc/self/task").unwrap().map(|entry| entry.unwrap().path());
        let clients =
            threads.filter(|path| fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == THREAD_NAME));
        clients.map(|path| path.file_name().unwrap().to_str().unwrap().parse().unwrap()).collect()
    }

    #[test]
    fn a_redis_that_stands_still_is_seen_as_every_question_that_was_due() {
        let url = std::env::var("REDIS_URL").expect("REDIS_URL is set; see scripts/test");
        let mut other = redis::Client::open(url.as_str()).unwrap().get_connection().unwrap();
        let client = Client::start(&url, ("coupon-bench:nothing", "here")).unwrap();
        let () = redis::cmd("CLIENT").arg("PAUSE").arg(500).arg("ALL").query(&mut other).unwrap();
        // Answered when the pause is over.
        let () = redis::cmd("PING").query(&mut other).unwrap();
        let stalls = client.finish().unwrap();
        assert!(stalls.asked >= 450.0, "each that was due was asked: {stalls:?}");
        assert!(stalls.max_ms >= 450.0 && stalls.p50_ms >= 100.0, "{stalls:?}");
    }
}
