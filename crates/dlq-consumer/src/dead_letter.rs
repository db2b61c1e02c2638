//! A record of the dead letter topic as PostgreSQL keeps it: a row of `dlq_events`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coupon_core::{
    failure::{Class, Failure, cut},
    kafka::{Record, read_origin},
    repo::dlq_events::NewDlqEvent,
};

/// Returns the row of `dlq_events` for a record of the dead letter topic that this stage has attempted `attempts` times.
/// Headers keep their order; their values are in Base64, because they may hold any bytes.
pub fn new_dlq_event(record: &Record, attempts: u32) -> NewDlqEvent {
    let origin = read_origin(record);
    let headers = record.headers.iter().map(|header| {
        let value = header.value.as_ref().map(|value| STANDARD.encode(value));
        serde_json::json!({ "name": header.name.replace('\0', "?"), "value": value })
    });
    NewDlqEvent {
        topic: record.topic.clone(),
        partition: record.partition,
        offset: record.offset,
        timestamp_ms: record.timestamp_ms.unwrap_or(0),
        origin: (origin.topic, origin.partition, origin.offset),
        key: record.key.clone(),
        payload: record.value.clone(),
        headers: headers.collect(),
        attempts,
    }
}

/// Returns the failure for which issue-consumer dead-lettered the record, read from its headers. Anybody may have written
/// them, so the failure is only shown and never decides anything.
pub fn original_failure(record: &Record) -> Failure {
    let text = |name| record.header(name).map(String::from_utf8_lossy).unwrap_or_default();
    let class = text("x-coupon-disposition").parse().unwrap_or(Class::Unknown);
    let code = cut(&text("x-coupon-error-code"));
    let message = cut(&text("__dlq.errors.message"));
    Failure { class, code, message, chain: cut(&text("kafka_dlt-exception-stacktrace")), by_itself: false }
}

#[cfg(test)]
mod tests {
    use coupon_core::kafka::Header;

    use super::*;

    #[test]
    fn headers_keep_their_order_and_bytes_and_broken_ones_do_no_harm() {
        let record = Record {
            topic: "t".into(),
            partition: 0,
            offset: 7,
            timestamp_ms: None,
            key: None,
            value: None,
            headers: vec![
                Header::new("a", vec![0xff, 0x00]),
                Header { name: "a".into(), value: None },
                Header::new("x-coupon-disposition", "\u{0}nonsense"),
                Header::new("__dlq.errors.message", vec![0xff; 100_000]),
            ],
        };
        let event = new_dlq_event(&record, 3);
        assert_eq!(event.headers[0], serde_json::json!({ "name": "a", "value": "/wA=" }));
        assert_eq!(event.headers[1], serde_json::json!({ "name": "a", "value": null }));
        let failure = original_failure(&record);
        assert_eq!(failure.class, Class::Unknown);
        assert!(failure.message.len() <= coupon_core::failure::MAX_TEXT_BYTES && !failure.message.contains('\0'));
    }
}
