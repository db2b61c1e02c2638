//! The rights that a service needs at Kafka, as `doctor` shows them.

use crate::{
    kafka::{Broker, Right},
    runtime::doctor::Finding,
};

/// Tries each of these rights.
pub async fn rights(broker: &Broker, wanted: &[Right]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for right in wanted {
        let (name, does) = match right {
            Right::Publish { topic } => (format!("kafka rights {topic}"), format!("publish to {topic}")),
            Right::Consume { topic, group } => {
                (format!("kafka rights {group}"), format!("consume {topic} in the group {group}"))
            }
        };
        findings.push(match broker.try_right(right).await {
            Ok(true) => Finding::ok(name, format!("this client may {does}")),
            Ok(false) => {
                Finding::ok(name, format!("not tried whether this client may {does}: max.message.bytes is not told"))
            }
            Err(error) => {
                let (what, fix) = error.what_and_fix();
                Finding::fail(name, format!("this client has to {does}: {what}"), fix)
            }
        });
    }
    findings
}
