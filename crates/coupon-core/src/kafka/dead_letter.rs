//! The dead letter record: the headers that are added to a record for the DLQ topic, and how they are read again.
//!
//! Key, value and timestamp stay as they are, and so does every header that is not ours. The first origin stays, the
//! last error is replaced, so that a record that fails again does not grow.
//!
//! Three groups of headers say the same to three kinds of readers: `__dlq.errors.*` (the names of Kafka's own dead
//! letter queues for share groups, KIP-1191, as texts), `kafka_dlt-*` (Spring Kafka's `DeadLetterPublishingRecoverer`:
//! texts in UTF-8, the partition as 4 bytes, offset and timestamp as 8 bytes, big-endian) and `x-coupon-*` (ours).

use chrono::{DateTime, SecondsFormat, Utc};

use super::{Header, Record};
use crate::failure::Failure;

/// Limit on the message and on the chain of errors, so that with everything else the headers of ours stay below 16 KiB
/// together: the message goes out twice, the chain once.
const MAX_TEXT_BYTES: usize = 4 * 1024;

/// What the DLQ record says about a failure.
#[derive(Clone, Copy, Debug)]
pub struct DeadLetter<'a> {
    /// Consumer group that dead-letters the record.
    pub group: &'a str,
    /// Request id, if the record could be read.
    pub request_id: Option<&'a str>,
    /// The last failure.
    pub failure: &'a Failure,
    /// Number of attempts.
    pub attempts: u32,
    /// When the first attempt failed.
    pub first_failed_at: DateTime<Utc>,
    /// When the last attempt failed.
    pub last_failed_at: DateTime<Utc>,
}

/// Where a record first came from, by its headers. Anybody can write headers, so nothing is decided by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Topic.
    pub topic: Option<String>,
    /// Partition.
    pub partition: Option<i32>,
    /// Offset.
    pub offset: Option<i64>,
}

/// Headers that say where a record first failed: kept when they are there.
const FIRST_FAILURE_HEADERS: &[&str] = &[
    "__dlq.errors.topic",
    "__dlq.errors.partition",
    "__dlq.errors.offset",
    "kafka_dlt-original-topic",
    "kafka_dlt-original-partition",
    "kafka_dlt-original-offset",
    "kafka_dlt-original-timestamp",
    "kafka_dlt-original-timestamp-type",
    "kafka_dlt-original-consumer-group",
    "x-coupon-first-failed-at",
];

impl DeadLetter<'_> {
    /// The record to publish.
    pub fn of(&self, record: &Record) -> Record {
        let mut ours = self.headers(record);
        if FIRST_FAILURE_HEADERS.iter().all(|name| record.header(name).is_some()) {
            ours.retain(|header| !FIRST_FAILURE_HEADERS.contains(&header.name.as_str()));
        }
        let stays = |header: &Header| !ours.iter().any(|our| our.name == header.name);
        let mut headers: Vec<Header> = record.headers.iter().filter(|header| stays(header)).cloned().collect();
        headers.extend(ours);
        Record { headers, ..record.clone() }
    }

    fn headers(&self, record: &Record) -> Vec<Header> {
        let (message, chain) = (beginning(&self.failure.message), beginning(&self.failure.chain));
        let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
        let timestamp_type = if record.timestamp_ms.is_some() { "CreateTime" } else { "NoTimestampType" };
        vec![
            Header::new("__dlq.errors.topic", record.topic.as_bytes()),
            Header::new("__dlq.errors.partition", record.partition.to_string()),
            Header::new("__dlq.errors.offset", record.offset.to_string()),
            Header::new("__dlq.errors.group", self.group),
            Header::new("__dlq.errors.delivery.count", self.attempts.to_string()),
            Header::new("__dlq.errors.message", message),
            Header::new("kafka_dlt-original-topic", record.topic.as_bytes()),
            Header::new("kafka_dlt-original-partition", record.partition.to_be_bytes()),
            Header::new("kafka_dlt-original-offset", record.offset.to_be_bytes()),
            Header::new("kafka_dlt-original-timestamp", record.timestamp_ms.unwrap_or(-1).to_be_bytes()),
            Header::new("kafka_dlt-original-timestamp-type", timestamp_type),
            Header::new("kafka_dlt-original-consumer-group", self.group),
            Header::new("kafka_dlt-exception-fqcn", format!("coupon.{}", self.failure.class)),
            Header::new("kafka_dlt-exception-message", message),
            Header::new("kafka_dlt-exception-stacktrace", chain),
            Header::new("x-coupon-request-id", self.request_id.unwrap_or_default()),
            Header::new("x-coupon-disposition", self.failure.class.as_str()),
            Header::new("x-coupon-error-code", self.failure.code.as_str()),
            Header::new("x-coupon-attempts", self.attempts.to_string()),
            Header::new("x-coupon-first-failed-at", time(self.first_failed_at)),
            Header::new("x-coupon-last-failed-at", time(self.last_failed_at)),
            Header::new("x-coupon-replay-count", replay_count(record).to_string()),
        ]
    }
}

/// How often the record was replayed, by the header of ours; 0 where a forged header is no number.
fn replay_count(record: &Record) -> u32 {
    let text = record.header("x-coupon-replay-count").and_then(|value| std::str::from_utf8(value).ok());
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT_BYTES)]
}

/// Reads the first origin. Whatever is missing or broken is `None`; nothing here can fail.
pub fn read_origin(record: &Record) -> Origin {
    let text = |name| record.header(name).and_then(|value| std::str::from_utf8(value).ok());
    // Larger than a topic can be named, or unprintable: not ours.
    let topic = text("__dlq.errors.topic").filter(|topic| super::check_topic("", topic).is_ok());
    Origin {
        topic: topic.map(str::to_owned),
        partition: text("__dlq.errors.partition").and_then(|text| text.parse().ok()),
        offset: text("__dlq.errors.offset").and_then(|text| text.parse().ok()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::failure::Class;

    /// Limit on all headers of ours together, in bytes (DESIGN §5).
    const MAX_HEADER_BYTES: usize = 16 * 1024;

    fn size(headers: &[Header]) -> usize {
        headers.iter().map(|header| header.name.len() + header.value.as_ref().map_or(0, Vec::len)).sum()
    }

    fn record(headers: Vec<Header>) -> Record {
        Record {
            topic: "coupon-issued".into(),
            partition: 3,
            offset: 0x0102_0304_0506,
            timestamp_ms: Some(1_760_000_000_000),
            key: None,
            value: Some(b"\xff\x00".to_vec()),
            headers,
        }
    }

    fn letter<'a>(failure: &'a Failure, at: &str) -> DeadLetter<'a> {
        let at = at.parse().unwrap();
        DeadLetter {
            group: "issue-consumer",
            request_id: None,
            failure,
            attempts: 4,
            first_failed_at: at,
            last_failed_at: at,
        }
    }

    #[test]
    fn the_record_stays_and_the_origin_is_written_in_both_encodings() {
        let failure = Failure::new(Class::Unknown, "P0001", "no");
        let before = record(vec![
            Header::new("trace", "1"),
            Header { name: "null".into(), value: None },
            Header::new("trace", "2"),
        ]);
        let after = letter(&failure, "2026-11-23T00:00:00Z").of(&before);
        assert_eq!((&after.key, &after.value, after.timestamp_ms), (&before.key, &before.value, before.timestamp_ms));
        assert_eq!(after.headers[..3], before.headers[..]);
        assert_eq!(after.header("kafka_dlt-original-partition"), Some(&[0, 0, 0, 3][..]));
        assert_eq!(after.header("kafka_dlt-original-offset"), Some(&[0, 0, 1, 2, 3, 4, 5, 6][..]));
        assert_eq!(after.header("__dlq.errors.message"), Some(&b"no"[..]));
        let origin = Origin { topic: Some("coupon-issued".into()), partition: Some(3), offset: Some(0x0102_0304_0506) };
        assert_eq!(read_origin(&after), origin);
    }

    #[test]
    fn a_second_failure_keeps_the_origin_replaces_the_error_and_does_not_grow() {
        let first = letter(&Failure::new(Class::Unknown, "A", "one"), "2026-11-23T00:00:00Z").of(&record(vec![]));
        let redriven = Record { topic: "elsewhere".into(), partition: 9, offset: 9, ..first.clone() };
        let second = letter(&Failure::new(Class::Unknown, "B", "two"), "2026-11-23T01:00:00Z").of(&redriven);
        assert_eq!(read_origin(&second), read_origin(&first));
        assert_eq!(second.header("x-coupon-first-failed-at"), first.header("x-coupon-first-failed-at"));
        assert_eq!(second.header("x-coupon-error-code"), Some(&b"B"[..]));
        assert_eq!(second.headers.len(), first.headers.len());
    }

    #[test]
    fn a_megabyte_of_error_is_cut_and_forged_headers_are_harmless() {
        let failure = Failure::new(Class::Unknown, "X", &"é".repeat(1 << 20));
        let forged = vec![
            Header { name: "__dlq.errors.partition".into(), value: None },
            Header::new("__dlq.errors.topic", vec![0xff; 5000]),
            Header::new("__dlq.errors.offset", "1e99"),
            Header::new("x-coupon-replay-count", vec![b'7'; 20_000]),
        ];
        assert_eq!(read_origin(&record(forged.clone())), Origin::default());
        let after = letter(&failure, "2026-11-23T00:00:00Z").of(&record(forged));
        assert!(size(&after.headers) <= MAX_HEADER_BYTES);
        assert_eq!(read_origin(&after).partition, Some(3), "an origin that is not whole is replaced whole");
    }

    fn any_header() -> impl Strategy<Value = Header> {
        let ours =
            FIRST_FAILURE_HEADERS.iter().chain(&["x-coupon-replay-count", "x-coupon-attempts", "__dlq.errors.message"]);
        let ours: Vec<String> = ours.map(|name| (*name).to_owned()).collect();
        let name = prop_oneof![proptest::sample::select(ours), "\\PC{0,20}"];
        let value = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..2000));
        (name, value).prop_map(|(name, value)| Header { name, value })
    }

    proptest! {
        /// Whatever headers anybody writes: reading them does not fail, those of others stay as they are, and a second
        /// failure adds nothing.
        #[test]
        fn no_headers_make_a_dead_letter_grow_or_lose_what_others_wrote(headers in proptest::collection::vec(any_header(), 0..40)) {
            let failure = Failure::new(Class::Unknown, "X", &"long ".repeat(5000));
            let record = record(headers);
            let _ = read_origin(&record);
            let once = letter(&failure, "2026-11-23T00:00:00Z").of(&record);
            let is_ours = |header: &&Header| ["__dlq.", "kafka_dlt-", "x-coupon-"].iter().any(|prefix| header.name.starts_with(prefix));
            let others = |record: &Record| record.headers.iter().filter(|header| !is_ours(header)).cloned().collect::<Vec<_>>();
            prop_assert_eq!(others(&once), others(&record));
            prop_assert_eq!((&once.key, &once.value, once.timestamp_ms), (&record.key, &record.value, record.timestamp_ms));
            let twice = letter(&failure, "2026-11-23T00:00:00Z").of(&once);
            prop_assert_eq!(size(&twice.headers), size(&once.headers));
            prop_assert_eq!(read_origin(&twice), read_origin(&once));
        }
    }
}
