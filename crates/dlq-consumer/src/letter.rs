//! A record of the DLQ topic as the database keeps it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coupon_core::{
    failure::{Class, Failure, cut},
    kafka::{Record, read_origin},
    repo::{
        coupon_issues::{IssueOutcome, Remedy},
        dlq_events::NewDlqEvent,
    },
    writing::classify,
};

/// The letter that came in this record, after so many attempts.
pub fn letter(record: &Record, attempts: u32) -> NewDlqEvent {
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

/// The failure that brought the record here, as its headers tell; they are only shown, never acted on.
pub fn arrival(record: &Record) -> Failure {
    let text = |name| record.header(name).map(String::from_utf8_lossy).unwrap_or_default();
    let class = text("x-coupon-disposition").parse().unwrap_or(Class::Unknown);
    let code = cut(&text("x-coupon-error-code"));
    let message = cut(&text("__dlq.errors.message"));
    Failure { class, code, message, chain: cut(&text("kafka_dlt-exception-stacktrace")), by_itself: false }
}

/// What is decided against an event that has come too late, and why: its member has a coupon by another request, or a
/// rebuild has sold its unit again. `None`: the outcome decides nothing against it.
pub fn against(outcome: IssueOutcome) -> Option<(Remedy, Failure)> {
    let remedy = match outcome {
        IssueOutcome::MemberHoldsOne(holder) => Remedy::Supersede(holder),
        IssueOutcome::OldEpoch => Remedy::GiveBack,
        _ => return None,
    };
    classify(outcome).err().map(|failure| (remedy, failure))
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
        let letter = letter(&record, 3);
        assert_eq!(letter.headers[0], serde_json::json!({ "name": "a", "value": "/wA=" }));
        assert_eq!(letter.headers[1], serde_json::json!({ "name": "a", "value": null }));
        let failure = arrival(&record);
        assert_eq!(failure.class, Class::Unknown);
        assert!(failure.message.len() <= coupon_core::failure::MAX_TEXT_BYTES && !failure.message.contains('\0'));
    }
}
