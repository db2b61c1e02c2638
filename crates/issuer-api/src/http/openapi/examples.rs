//! Examples of answers, made by what makes the answers. A test of coupon-e2e (`contract_examples`) has the binary give each.

use chrono::{DateTime, Duration, Utc};
use coupon_core::{
    clock::from_unix_ms,
    ids::{CouponCode, RequestId},
    repo::coupons::ShownStatus,
};
use serde_json::{Map, Value, json};

use super::super::{Code, Problem, coupon, problem_page, status};
use crate::standing::{Standing, State};

/// 2026-11-29T10:00:00Z.
const OPENED_AT_MS: i64 = 1_795_946_400_000;

/// The examples by name: those of answers that are no problem, and one of each code.
pub(super) fn all() -> Map<String, Value> {
    let mut all = Map::new();
    let mut add = |name: &str, summary: &str, value: Value| {
        all.insert(name.to_owned(), json!({ "summary": summary, "value": value }));
    };
    let first = |state| standing("01a226bf-4900-7000-8000-000000000001", state);
    let issued = || Standing { expires_at: Some(opened_at() + Duration::days(30)), ..first(State::Issued) };
    let again = Standing {
        expires_at: Some(opened_at() + Duration::days(30)),
        ..standing("01a226bf-4ce8-7000-8000-000000000002", State::Issued)
    };
    let compensated = || Standing { replaced_by: Some(Box::new(again.clone())), ..first(State::Compensated) };
    add("Accepted", "Kafka has the request", issue(first(State::Accepted)));
    add("Reserved", "The request is on its way to Kafka", issue(first(State::Reserved)));
    add("Repeated", "The member asked before", issue(first(State::Accepted)));
    add("Issued", "The coupon is the member's", issue(issued()));
    add("Compensated", "The request failed for good, and another one brought a coupon", issue(compensated()));
    let page = status::PageAnswer { issues: vec![issued().into()], next: None, complete: true };
    add("Requests", "One request, and no further page", value(&page));
    let campaign = coupon::Answer {
        code: code(),
        status: ShownStatus::Open,
        opens_at: coupon::text(opened_at()),
        closes_at: None,
        total: 10_000,
        remaining: 4_711,
        server_time: "2026-11-29T10:00:07Z".to_owned(),
    };
    add("Campaign", "A campaign that accepts requests", value(&campaign));
    add("SoldOutPage", "About one code", value(&problem_page::Page::from(Code::SoldOut)));
    for code in Code::ALL {
        add(code.as_str(), code.title(), problem(*code));
    }
    all
}

fn opened_at() -> DateTime<Utc> {
    from_unix_ms(OPENED_AT_MS)
}

fn code() -> CouponCode {
    "SUMMER".parse().expect("a code")
}

fn standing(id: &str, state: State) -> Standing {
    let request_id: RequestId = id.parse().expect("an id");
    Standing { state, ..Standing::undecided(code(), request_id, false) }
}

fn issue(standing: Standing) -> Value {
    value(&status::Answer::from(standing))
}

fn value(of: &impl serde::Serialize) -> Value {
    serde_json::to_value(of).expect("a struct of texts, numbers and lists always serialises")
}

fn problem(code: Code) -> Value {
    let unreadable = coupon_core::runtime::http::UNREADABLE.into_iter().find(|(_, word, _)| *word == code.as_str());
    let instance = code.status().is_server_error().then_some("01a226bf-4900-7000-8000-00000000000f");
    let detail = unreadable.map_or(code.meaning(), |(_, _, detail)| detail);
    let mut problem: Value =
        serde_json::from_slice(&Problem::new(code, detail).to_json(instance)).expect("a problem is JSON");
    if unreadable.is_some() {
        // Answered by the listener, which knows no pages.
        problem["type"] = "about:blank".into();
    }
    problem
}
