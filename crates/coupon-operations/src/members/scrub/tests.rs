use coupon_core::repo::personal_data::PLACES;
use proptest::prelude::*;
use serde_json::json;

use super::*;

const PSEUDONYM: &str = "erased-00112233445566778899aabbccddeeff";

fn scrub(member: &str) -> Scrub {
    Scrub::new(&member.parse().unwrap(), &PSEUDONYM.parse().unwrap())
}

fn place(table: &str) -> &'static Place {
    PLACES.iter().find(|place| place.table == table).unwrap()
}

/// What becomes of a note that names somebody.
fn noted(member: &str, note: &str) -> String {
    let row = json!({ "id": 1, "note": note });
    let row = scrub(member).row(place("row_notes"), &row).unwrap_or(row);
    row["note"].as_str().unwrap().to_owned()
}

#[test]
fn an_id_is_replaced_where_it_is_a_word_of_its_own_and_nowhere_else() {
    for found in [
        "@ asked",
        "called @.",
        "(@)",
        "\"@\"",
        "a line\\n@",
        "/members/@",
        "/work?q=member%3A@&x=1",
        "id|1|@",
        "@, @ and @",
    ] {
        assert_eq!(noted("alice-1", &found.replace('@', "alice-1")), found.replace('@', PSEUDONYM), "{found}");
    }
    for other in ["alice-10", "malice-1", "alice-1-b", "alice-1@example.org", "alice-1.b", "Alice-1", "alice"] {
        assert_eq!(noted("alice-1", other), other);
    }
}

#[test]
fn an_id_is_found_however_it_is_written() {
    let odd = "zoë \"the/1st\"+漢";
    for written in [
        "zoë \"the/1st\"+漢",
        "zoë \\\"the/1st\\\"+漢",
        "zoë \\\"the\\/1st\\\"+漢",
        "zo\\u00eb \\\"the/1st\\\"+\\u6f22",
        "zo\\u00EB \\\"the/1st\\\"+\\u6F22",
        "zo%C3%AB%20%22the%2F1st%22%2B%E6%BC%A2",
        "zo%c3%ab%20%22the%2f1st%22%2b%e6%bc%a2",
        "zo%C3%AB+%22the%2F1st%22%2B%E6%BC%A2",
        "em/DqyAidGhlLzFzdCIr5ryi",
        "em_DqyAidGhlLzFzdCIr5ryi",
        "7a6fc3ab20227468652f31737422 2be6bca2".replace(' ', "").as_str(),
    ] {
        assert_eq!(noted(odd, &format!("of {written}.")), format!("of {PSEUDONYM}."), "{written}");
    }
}

#[test]
fn a_short_id_or_a_number_is_found_in_rows_of_the_member_and_where_it_is_said_to_be_one() {
    for (member, kept) in [("10", "10 of 10 in 10 ms"), ("bob", "bob is your uncle"), ("1234567", "offset 1234567")] {
        assert_eq!(noted(member, kept), kept);
        for found in ["/members/@", "--member @", "member \"@\"", "?member=@&x=1", "member%3A@"] {
            assert_eq!(noted(member, &found.replace('@', member)), found.replace('@', PSEUDONYM), "{member}: {found}");
        }
        let plan = json!({ "parameters": { "filter": { "member": member, "ids": [member] } }, "refused": {} });
        let new = scrub(member).row(place("plans"), &plan).unwrap();
        assert_eq!(new["parameters"]["filter"], json!({ "member": PSEUDONYM, "ids": [member] }));
        let entry = json!({ "member_id": member, "reason": kept, "cause": null });
        let new = scrub(member).row(place("failed_coupon_issues"), &entry).unwrap();
        assert_eq!((&new["member_id"], &new["reason"]), (&PSEUDONYM.into(), &kept.replace(member, PSEUDONYM).into()));
    }
}

#[test]
fn a_reason_names_the_member_by_any_id_that_is_a_word_of_its_own() {
    for member in ["alice-0001", "bob", "4711"] {
        for named in ["asked by @", "@", "member @ asked", "@: asked", "see /members/@"] {
            assert!(scrub(member).is_named_in(&named.replace('@', member)), "{member}: {named}");
        }
        for other in ["ticket 0815", "asked by malice-0001, bobby and 47110", "member"] {
            assert!(!scrub(member).is_named_in(other), "{member}: {other}");
        }
    }
}

#[test]
fn a_dead_letter_loses_the_id_in_key_value_and_headers_and_keeps_every_other_byte() {
    let hex = |text: &str| format!("\\x{}", hex(text.as_bytes()));
    let header = |value: &str| json!({ "name": "x-error", "value": STANDARD.encode(value) });
    let letter = |member: &str, id: Value| {
        json!({
            "member_id": id, "record_key": hex(member), "error_message": "no",
            "payload": hex(&format!("{{\"member_id\": \"{member}\",  \"seq\":7}}")),
            "headers": [header(&format!("of {member}")), { "name": "none", "value": null }, header("\u{1}\u{2}")],
        })
    };
    let (old, new) = (letter("alice-0001", "alice-0001".into()), letter(PSEUDONYM, PSEUDONYM.into()));
    assert_eq!(scrub("alice-0001").row(place("dlq_events"), &old), Some(new));
    // One that could not be read is of nobody.
    let (old, new) = (letter("alice-0001", Value::Null), letter(PSEUDONYM, Value::Null));
    assert_eq!(scrub("alice-0001").row(place("dlq_events"), &old), Some(new));
    assert_eq!(scrub("bob-000001").row(place("dlq_events"), &old), None);
    let escaped = json!({ "payload": hex(r#"{"member_id":"\u0061lice-0001"}"#) });
    let new = scrub("alice-0001").row(place("dlq_events"), &escaped).unwrap();
    assert_eq!(new["payload"], hex(&format!("{{\"member_id\":\"{PSEUDONYM}\"}}")));
}

proptest! {
    /// Whatever the id and whatever stands around it: no row of the member names it afterwards, and a second run changes nothing.
    #[test]
    fn what_was_erased_is_not_found_again(
        member in "[a-z][a-zA-Z0-9|/+ \"\\\\é漢]{4,18}[a-z]",
        texts in proptest::collection::vec("[ -~é\n]{0,12}", 2),
    ) {
        prop_assume!(member.parse::<MemberId>().is_ok());
        let row = json!({
            "member_id": member,
            "reason": format!("{} {member} {}", texts[0], texts[1]),
            "resolution": json!({ texts[0].clone(): member }).to_string(),
        });
        let scrub = scrub(&member);
        let new = scrub.row(place("failed_coupon_issues"), &row).unwrap();
        prop_assert!(!new.to_string().contains(member.as_str()) || PSEUDONYM.contains(member.as_str()), "{new}");
        prop_assert_eq!(scrub.row(place("failed_coupon_issues"), &new), None);
    }
}
