//! Decisions as events: what other systems are told of each decision, and the documents that describe it.
//!
//! An event is a `CloudEvent` (1.0) in the binary mode of Kafka: the attributes are headers, the value is JSON. Its key is the
//! member, so the decisions on one member keep their order; the number tells whether a campaign's are complete.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    ids::CouponCode,
    kafka::{Header, Holds, Record, Topic},
    repo::{coupon_decision_batches::NumberedDecision, coupon_issues::Decision},
    runtime::TraceParent,
};

/// JSON Schema of the value of each type, by the type.
pub const SCHEMAS: [(&str, &str); 2] = [
    ("coupon.issue.issued.v1", include_str!("../schemas/coupon.issue.issued.v1.json")),
    ("coupon.issue.compensated.v1", include_str!("../schemas/coupon.issue.compensated.v1.json")),
];

/// The value of an event; its fields are those of the schemas.
#[derive(Serialize)]
struct Data<'a> {
    coupon_code: &'a str,
    number: i64,
    request_id: uuid::Uuid,
    member_id: &'a str,
    decision: &'static str,
    epoch: i64,
    reserved_at: String,
    decided_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    superseded_by: Option<uuid::Uuid>,
}

/// Returns the type of the events of a decision.
pub fn type_of(decision: Decision) -> &'static str {
    let [(issued, _), (compensated, _)] = SCHEMAS;
    match decision {
        Decision::Issued => issued,
        Decision::Compensated => compensated,
    }
}

/// Returns what is required of the topic that the setting `decisions.topic` names.
pub fn topic(name: &str) -> Topic {
    Topic { name: name.to_owned(), setting: "decisions.topic", min_partitions: 1, holds: Holds::Events }
}

/// Returns the event of a decision, as a record of `topic`.
pub fn event(topic: &str, code: &CouponCode, decided: &NumberedDecision) -> Record {
    let decision = decided.decision;
    let data = Data {
        coupon_code: code.as_str(),
        number: decided.number,
        request_id: decided.request_id,
        member_id: &decided.member_id,
        decision: decision.as_str(),
        epoch: decided.epoch,
        reserved_at: time(decided.reserved_at),
        decided_at: time(decided.decided_at),
        expires_at: decided.expires_at.map(time),
        superseded_by: decided.superseded_by,
    };
    let headers = [
        ("ce_specversion", "1.0".to_owned()),
        ("ce_id", decided.request_id.to_string()),
        ("ce_source", format!("/coupons/{code}")),
        ("ce_type", type_of(decision).to_owned()),
        ("ce_time", time(decided.decided_at)),
        ("ce_subject", decided.request_id.to_string()),
        ("ce_partitionkey", decided.member_id.clone()),
        ("ce_decisionno", decided.number.to_string()),
        ("ce_epoch", decided.epoch.to_string()),
        ("content-type", "application/json".to_owned()),
    ];
    let traced = decided.traceparent.iter().map(|trace| Header::new(TraceParent::HEADER, trace.as_bytes()));
    Record {
        topic: topic.to_owned(),
        partition: 0,
        offset: 0,
        // The time of the publication: retention counts from when it could be read.
        timestamp_ms: None,
        key: Some(decided.member_id.clone().into_bytes()),
        value: serde_json::to_vec(&data).ok(),
        headers: headers.iter().map(|(name, value)| Header::new(name, value.as_bytes())).chain(traced).collect(),
    }
}

/// Returns the `AsyncAPI` document (3.0) of the topic, with the schemas in it.
pub fn asyncapi() -> Value {
    let header = |text: &str| json!({ "type": "string", "description": text });
    let headers = json!({
        "type": "object",
        "required": ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "ce_decisionno", "ce_epoch", "content-type"],
        "properties": {
            "ce_specversion": { "const": "1.0" },
            "ce_id": header("The request id. An event may come more than once; two with one id and one source are the same."),
            "ce_source": header("/coupons/ and the code of the campaign."),
            "ce_type": header("The type of the event, with the version of its value."),
            "ce_time": header("When the decision was made, RFC 3339."),
            "ce_subject": header("The request id."),
            "ce_partitionkey": header("The member, which is also the key of the record."),
            "ce_decisionno": header("Number among the decisions of the campaign: from 1, without gaps."),
            "ce_epoch": header("Epoch of the Redis data in which the request was reserved."),
            "content-type": { "const": "application/json" },
            "traceparent": header("Trace context (W3C) of the request, if it came in a trace that is sampled."),
        },
    });
    let (mut schemas, mut messages, mut carried) = (json!({}), json!({}), json!({}));
    for (name, schema) in SCHEMAS {
        let schema: Value = serde_json::from_str(schema).unwrap_or_default();
        messages[name] = json!({
            "name": name,
            "title": name,
            "summary": schema["description"],
            "contentType": "application/json",
            "headers": { "$ref": "#/components/schemas/headers" },
            "payload": { "$ref": format!("#/components/schemas/{name}") },
            "bindings": { "kafka": { "key": { "type": "string", "description": "The member." } } },
        });
        schemas[name] = schema;
        carried[name] = json!({ "$ref": format!("#/components/messages/{name}") });
    }
    schemas["headers"] = headers;
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Decisions of the coupon pipeline",
            "version": "1.0.0",
            "description": "One event for each decision on a request. Each decision of a campaign has a number, from 1 without gaps; in a \
                partition the numbers of a campaign only grow, but for events that come once more. Whoever has all numbers up to N has \
                every decision up to then; what is missing can be asked for (`dlq-consumer decisions replay`).",
        },
        "defaultContentType": "application/json",
        "channels": { "decisions": { "address": "coupon-decisions", "messages": carried } },
        "operations": { "receiveDecisions": { "action": "receive", "channel": { "$ref": "#/channels/decisions" } } },
        "components": { "messages": messages, "schemas": schemas },
    })
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn decided(decision: Decision) -> NumberedDecision {
        let is_issued = decision == Decision::Issued;
        NumberedDecision {
            number: 7,
            request_id: uuid::Uuid::from_u128(1),
            member_id: "anna".to_owned(),
            decision,
            epoch: 2,
            reserved_at: DateTime::UNIX_EPOCH,
            decided_at: DateTime::UNIX_EPOCH,
            expires_at: is_issued.then_some(DateTime::UNIX_EPOCH),
            superseded_by: (!is_issued).then(|| uuid::Uuid::from_u128(2)),
            traceparent: is_issued.then(|| TRACE.to_owned()),
        }
    }

    #[test]
    fn an_event_has_what_its_schema_asks_for_and_nothing_that_it_does_not_name() {
        for (decision, (name, schema)) in [Decision::Issued, Decision::Compensated].into_iter().zip(SCHEMAS) {
            let record = event("t", &"SPRING".parse().unwrap(), &decided(decision));
            assert_eq!(record.header("ce_type"), Some(name.as_bytes()));
            assert_eq!(record.header("ce_decisionno"), Some(&b"7"[..]));
            assert_eq!(record.key.as_deref(), Some(&b"anna"[..]));
            let trace = (decision == Decision::Issued).then_some(TRACE.as_bytes());
            assert_eq!(record.header("traceparent"), trace, "only where the request has one");
            let schema: Value = serde_json::from_str(schema).unwrap();
            assert_eq!(schema["title"], name);
            let value: Value = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
            let value = value.as_object().unwrap();
            for required in schema["required"].as_array().unwrap() {
                assert!(value.contains_key(required.as_str().unwrap()), "{name}: {required}");
            }
            let properties = schema["properties"].as_object().unwrap();
            for (field, value) in value {
                let kind = properties[field].get("type").and_then(Value::as_str).unwrap_or("string");
                assert!(
                    if kind == "integer" { value.is_i64() } else { value.is_string() },
                    "{name}: {field} is {value}"
                );
            }
            assert_eq!(value["decision"], properties["decision"]["const"]);
        }
    }

    #[test]
    fn every_reference_of_the_document_leads_somewhere_and_every_header_stands_in_it() {
        let document = asyncapi();
        let text = document.to_string();
        let references: Vec<&str> =
            text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(references.len() > 5);
        for reference in references {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
        let record = event("t", &"SPRING".parse().unwrap(), &decided(Decision::Issued));
        for Header { name, .. } in &record.headers {
            assert!(!document["components"]["schemas"]["headers"]["properties"][name].is_null(), "{name}");
        }
    }
}
