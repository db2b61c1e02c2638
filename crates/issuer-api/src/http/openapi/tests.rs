use std::collections::BTreeSet;

use super::{
    super::{Code, code::Retry},
    operations::{ANY_ROUTE, EVERYWHERE},
    *,
};
use crate::standing::State;
use coupon_core::repo::coupons::ShownStatus;

/// The copies from which clients are generated, and with which the next document is compared.
const COPIES: [&str; 2] = [
    include_str!("../../../../../deploy/contract/openapi.json"),
    include_str!("../../../../../deploy/contract/openapi-3.0.json"),
];

fn responses(document: &Value) -> impl Iterator<Item = (&String, &Map<String, Value>)> {
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values());
    operations.flat_map(|operation| operation["responses"].as_object().unwrap()).filter_map(|(status, response)| {
        let response = response["$ref"].as_str().map_or(response, |to| document.pointer(&to[1..]).unwrap());
        Some((status, response.as_object()?))
    })
}

#[test]
fn every_code_is_an_answer_of_an_operation_or_of_any_route() {
    let named: BTreeSet<&str> = OPERATIONS
        .iter()
        .flat_map(|operation| operation.codes)
        .chain(EVERYWHERE)
        .chain(ANY_ROUTE)
        .map(|code| code.as_str())
        .collect();
    assert_eq!(named, Code::ALL.iter().map(|code| code.as_str()).collect());
}

#[test]
fn every_reference_of_both_renderings_leads_somewhere() {
    for document in [document(), as_3_0(document())] {
        let text = document.to_string();
        let references = text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next());
        let mut found = 0;
        for reference in references {
            assert!(document.pointer(reference).is_some(), "{reference}");
            found += 1;
        }
        assert!(found > 50, "{found}");
    }
}

#[test]
fn every_response_is_described_and_says_when_to_ask_again_and_how_to_log_in() {
    let document = document();
    for (status, response) in responses(&document) {
        assert!(response["description"].as_str().is_some_and(|says| !says.is_empty()), "{status}");
        let has = |header: &str| response["headers"].get(header).is_some();
        let waits = Code::ALL
            .iter()
            .filter(|code| code.retry() == Retry::Wait)
            .any(|code| response["description"].as_str().unwrap().contains(&format!("`{}`", code.as_str())));
        assert_eq!(has("Retry-After"), waits, "{status} {response:?}");
        assert_eq!(has("WWW-Authenticate"), status == "401", "{status}");
        assert_eq!(has("Location"), status == "202" || response.contains_key("links"), "{status}");
    }
}

#[test]
fn closed_words_are_described_each_and_the_codes_are_open() {
    let schemas = schemas();
    let states: Vec<&str> = State::ALL.iter().map(|state| state.as_str()).collect();
    for (name, words) in [("IssueState", &states[..]), ("CouponStatus", ShownStatus::WORDS)] {
        let schema = &schemas[name];
        assert_eq!((&schema["type"], &schema["enum"]), (&json!("string"), &json!(words)));
        for word in words {
            assert!(schema["description"].as_str().unwrap().contains(&format!("- `{word}`: ")), "{word}");
        }
    }
    let code = &schemas["Problem"]["properties"]["code"];
    assert_eq!((&code["type"], code.get("enum")), (&json!("string"), None));
    for known in Code::ALL {
        assert!(code["description"].as_str().unwrap().contains(&format!("| `{}` | ", known.as_str())), "{known:?}");
    }
}

#[test]
fn what_may_be_missing_is_not_required_and_what_may_be_null_says_so_in_both_renderings() {
    let schemas = schemas();
    assert_eq!(schemas["Issue"]["required"], json!(["request_id", "coupon_code", "state"]));
    assert_eq!(schemas["Problem"]["required"], json!(["type", "title", "status", "code", "detail", "retryable"]));
    assert_eq!(schemas["Coupon"]["properties"]["closes_at"]["type"], json!(["string", "null"]));
    let closes_at = &as_3_0(document())["components"]["schemas"]["Coupon"]["properties"]["closes_at"];
    assert_eq!((&closes_at["type"], &closes_at["nullable"]), (&json!("string"), &json!(true)));
}

#[test]
fn the_copies_in_deploy_contract_are_what_is_served() {
    for (copy, served) in COPIES.iter().zip(&*DOCUMENTS) {
        assert!(
            copy == served,
            "scripts/contract-check --accept takes the new document over; name the change in the changelog"
        );
    }
}
