//! What a load has shown: every answer, and figures over them.

use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use chrono::{DateTime, TimeDelta, Utc};
use coupon_e2e::answers::{Answer, State};
use hdrhistogram::Histogram;
use serde_json::Value;
use uuid::Uuid;

use super::{Requests, Schedule};

/// Longest latency that the histogram distinguishes, in µs.
const LONGEST_US: u64 = 120_000_000;

/// Answers of one run of the load generator, with their times.
#[derive(Debug)]
pub struct Outcome {
    /// Moment at which the run began.
    pub started_at: DateTime<Utc>,
    /// Requests that were prepared.
    pub requests: Arc<Requests>,
    /// Moment at which each of them was due.
    pub schedule: Schedule,
    /// Number of requests that were sent, from the first one on.
    pub asked: usize,
    /// Every answer, in the order in which they came.
    pub records: Vec<Record>,
    /// Bodies of all answers, one after the other.
    pub bodies: Vec<u8>,
    /// Time from the start of the run to the last answer.
    pub took: Duration,
    /// CPU time of the load generator in ms.
    pub cpu_ms: u64,
}

/// One answer, or its absence.
#[derive(Clone, Debug)]
pub struct Record {
    /// Index of the request.
    pub index: usize,
    /// Time from the start of the run to the arrival of the answer, in ns.
    pub at_ns: u64,
    /// HTTP status.
    pub status: u16,
    /// Range of the answer's body in the bodies of the run.
    pub body: Range<usize>,
}

impl Outcome {
    /// Answers of this status a second, between the first tenth and the last tenth of them.
    pub fn per_second(&self, status: u16) -> f64 {
        let those = self.records.iter().filter(|record| record.status == status);
        middle_rate(those.map(|record| record.at_ns).collect())
    }

    /// Answers of any status a second.
    pub fn answers_per_second(&self) -> f64 {
        middle_rate(self.records.iter().map(|record| record.at_ns).collect())
    }

    /// How much of its one core the load generator was busy.
    pub fn busy(&self) -> f64 {
        Duration::from_millis(self.cpu_ms).as_secs_f64() / self.took.as_secs_f64()
    }

    /// Requests that were sent and never answered.
    pub fn unanswered(&self) -> usize {
        self.asked - self.records.len()
    }

    /// Returns the number of answers of this status.
    pub fn count(&self, status: u16) -> usize {
        self.records.iter().filter(|record| record.status == status).count()
    }

    /// Returns the answers by status as text, such as `202: 30000, without answer: 2`.
    pub fn statuses(&self) -> String {
        let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
        for record in &self.records {
            *counts.entry(record.status).or_default() += 1;
        }
        let mut words: Vec<String> = counts.iter().map(|(status, count)| format!("{status}: {count}")).collect();
        if self.unanswered() > 0 {
            words.push(format!("without answer: {}", self.unanswered()));
        }
        words.join(", ")
    }

    /// Returns the body of an answer.
    pub fn body(&self, record: &Record) -> &[u8] {
        &self.bodies[record.body.clone()]
    }

    /// Latencies in µs, each from the moment the request was due. A request that was never answered counts with the longest
    /// latency, so that it cannot better the figure.
    pub fn latencies(&self) -> Result<Histogram<u64>> {
        let mut latencies = Histogram::new_with_bounds(1, LONGEST_US, 3).context("a histogram of latencies")?;
        for record in &self.records {
            latencies.saturating_record(self.latency_ns(record) / 1000);
        }
        for _ in self.silent() {
            latencies.saturating_record(LONGEST_US);
        }
        Ok(latencies)
    }

    /// Returns every answer as the oracle reads it; a request without an answer is one too.
    pub fn answers(&self) -> Vec<Answer> {
        let at = self.started_at + TimeDelta::from_std(self.took).unwrap_or_default();
        let silent = self.silent().into_iter().map(|index| Answer {
            no_answer: Some("no answer came".to_owned()),
            ..answer(self.requests.member(index), self.requests.code(index), at, self.took)
        });
        self.records.iter().map(|record| self.answer(record)).chain(silent).collect()
    }

    /// Requests that were sent and never answered, by their index.
    fn silent(&self) -> Vec<usize> {
        let mut answered = vec![false; self.asked];
        for record in &self.records {
            answered[record.index] = true;
        }
        (0..self.asked).filter(|index| !answered[*index]).collect()
    }

    fn answer(&self, record: &Record) -> Answer {
        let at = self.started_at + TimeDelta::nanoseconds(i64::try_from(record.at_ns).unwrap_or(i64::MAX));
        let took = Duration::from_nanos(self.latency_ns(record));
        let body: Value = serde_json::from_slice(self.body(record)).unwrap_or_default();
        let text = |field: &str| body.get(field).and_then(Value::as_str);
        Answer {
            status: Some(record.status),
            request_id: text("request_id").and_then(|id| id.parse().ok()),
            state: text("state").and_then(State::parse),
            code: text("code").filter(|_| record.status >= 400).map(str::to_owned),
            ..answer(self.requests.member(record.index), self.requests.code(record.index), at, took)
        }
    }

    /// Time in ms from the moment at which the request was due to its answer.
    pub fn latency_ms(&self, record: &Record) -> f64 {
        Duration::from_nanos(self.latency_ns(record)).as_secs_f64() * 1000.0
    }

    fn latency_ns(&self, record: &Record) -> u64 {
        record.at_ns.saturating_sub(self.schedule.due_ns(record.index).unwrap_or(0))
    }
}

/// Returns a quantile (0 to 1) of the latencies, in ms.
#[expect(clippy::cast_precision_loss, reason = "latencies are below 2^53 µs")]
pub fn quantile_ms(latencies: &Histogram<u64>, quantile: f64) -> f64 {
    latencies.value_at_quantile(quantile) as f64 / 1000.0
}

/// Events a second between the first tenth and the last tenth of them: neither the start, when nothing is warm, nor the
/// end, when connections run dry, is what a system does for longer. Zero for fewer than ten.
#[expect(clippy::cast_precision_loss, reason = "counts and nanoseconds of a run are below 2^53")]
pub fn middle_rate(mut at_ns: Vec<u64>) -> f64 {
    at_ns.sort_unstable();
    let (first, last) = (at_ns.len() / 10, at_ns.len() * 9 / 10);
    if at_ns.len() < 10 || at_ns[first] == at_ns[last] {
        return 0.0;
    }
    (last - first) as f64 * 1e9 / (at_ns[last] - at_ns[first]) as f64
}

/// What the body of an answer says in a field, found without parsing the whole.
pub fn told<'a>(body: &'a [u8], field: &str) -> Option<&'a str> {
    let name = format!("\"{field}\":\"");
    let start = body.windows(name.len()).position(|window| window == name.as_bytes())? + name.len();
    let length = body[start..].iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(&body[start..start + length]).ok()
}

/// The reservation that a body names.
pub fn request_id(body: &[u8]) -> Option<Uuid> {
    told(body, "request_id")?.parse().ok()
}

fn answer(member: &str, coupon: &str, at: DateTime<Utc>, took: Duration) -> Answer {
    Answer { at, took, member: member.to_owned(), coupon: coupon.to_owned(), ..Answer::default() }
}
