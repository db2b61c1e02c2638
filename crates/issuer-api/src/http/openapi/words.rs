//! The words that answers are made of, as schemas: closed where a client may rely on the list, open where words are added.

use std::borrow::Cow;

use coupon_core::repo::coupons::ShownStatus;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::super::Code;
use crate::standing::State;

/// The `state` of a request: closed.
pub(in super::super) struct IssueState;
/// The `status` of a campaign: closed.
pub(in super::super) struct CouponStatus;
/// The `code` of a problem: open.
pub(in super::super) struct ProblemCode;

impl JsonSchema for IssueState {
    fn schema_name() -> Cow<'static, str> {
        "IssueState".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let says = |state: &State| match state {
            State::Reserved => "a unit is set aside, and the request is on its way to Kafka",
            State::Accepted => "Kafka has the request; it will be decided",
            State::Issued => "final: the coupon is the member's, until `expires_at`",
            State::Compensated => {
                "final: the request failed for good and was compensated, so the member holds nothing by it, and the unit went \
                 back. The member may ask again, which is a new request"
            }
        };
        closed(
            "How far a request has got: reserved, then accepted, then one of the two final states. It never goes back, unless a \
             repair publishes the request again. The list is closed.",
            State::ALL.iter().map(|state| (state.as_str(), says(state))),
        )
    }
}

impl JsonSchema for CouponStatus {
    fn schema_name() -> Cow<'static, str> {
        "CouponStatus".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let says = |status: ShownStatus| match status {
            ShownStatus::Draft => "created, and never opened",
            ShownStatus::Opening => "being prepared; a POST is 503 GATE_CLOSED",
            ShownStatus::Scheduled => "opens at `opens_at`; a POST is 409 NOT_OPEN",
            ShownStatus::Open => "accepts requests while coupons remain",
            ShownStatus::Over => "its window has ended; a POST of somebody who holds none is 409 CLOSED",
            ShownStatus::Closed => "closed by an operator; a POST of somebody who holds none is 409 CLOSED",
            ShownStatus::Suspect => "being repaired; a POST is 503 GATE_CLOSED",
            ShownStatus::Archived => "final: closed for good, and everything is decided",
        };
        let words = ShownStatus::WORDS.iter().filter_map(|word| Some((*word, says(word.parse().ok()?))));
        closed("What a campaign does now. The list is closed.", words)
    }
}

impl JsonSchema for ProblemCode {
    // A name of its own would make generators declare a type for a plain text.
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ProblemCode".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut description = String::from(
            "What went wrong, as a stable word. The list is open: codes are added, and whoever does not know one acts by the \
             status. Known are:\n\n| code | status | retryable | means |\n| --- | --- | --- | --- |\n",
        );
        for code in Code::ALL {
            let (word, status) = (code.as_str(), code.status().as_u16());
            let retryable = if code.retry() == super::super::code::Retry::Wait { "yes" } else { "no" };
            let row = format!("| `{word}` | {status} | {retryable} | {} |\n", code.meaning());
            description.push_str(&row);
        }
        let known: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        json_schema!({ "type": "string", "description": description, "x-known-values": known })
    }
}

/// A closed enum, each word of it described.
fn closed<'a>(says: &str, words: impl Iterator<Item = (&'a str, &'a str)>) -> Schema {
    let mut description = format!("{says}\n");
    let mut list = Vec::new();
    for (word, meaning) in words {
        description.extend(["\n- `", word, "`: ", meaning]);
        list.push(word);
    }
    json_schema!({ "type": "string", "enum": list, "description": description })
}
