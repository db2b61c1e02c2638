//! What asks a probe, and what causes and budgets are told apart by.

use super::*;
use crate::failure::Failure;

fn refused(state: &str, message: &str, [constraint, table, column]: [&str; 3]) -> RepoError {
    let named = |name: &str| Some(name).filter(|name| !name.is_empty()).map(Box::from);
    RepoError::Refused {
        doing: "issue a batch",
        state: state.to_owned(),
        message: message.to_owned(),
        constraint: named(constraint),
        table: named(table),
        column: named(column),
    }
}

#[test]
fn what_may_be_an_outage_by_another_name_asks_a_probe_and_two_writers_who_met_do_not() {
    for (state, asks) in [
        // Somebody is in the way, perhaps of all.
        ("55P03", true),
        ("57014", true),
        ("26000", true),
        ("42P05", true),
        ("55006", true),
        ("25P04", true),
        ("72000", true),
        // A row is refused, perhaps every row.
        ("23514", true),
        ("P0001", true),
        ("42501", true),
        ("40001", false),
        ("40P01", false),
        ("CP001", false),
        ("23505", false),
        // An outage by its own name needs no question.
        ("53100", false),
        ("25006", false),
    ] {
        assert_eq!(refused(state, "no", [""; 3]).may_be_an_outage(), asks, "{state}");
    }
}

/// The stored causes of an English server stay what they were.
#[test]
fn what_the_words_name_already_is_not_said_twice() {
    for (words, named) in [
        (
            "new row for relation \"coupon_issues\" violates check constraint \"price_known\"",
            ["price_known", "coupon_issues", ""],
        ),
        ("duplicate key value violates unique constraint \"ledger_pkey\"", ["ledger_pkey", "ledger", ""]),
        (
            "null value in column \"price\" of relation \"coupon_issues\" violates not-null constraint",
            ["", "coupon_issues", "price"],
        ),
        ("no partition of relation \"coupon_issues\" found for row", ["", "coupon_issues", ""]),
        ("not today", ["", "", ""]),
    ] {
        assert_eq!(refused("23514", words, named).summary(), format!("postgresql: issue a batch: {words}"));
    }
}

#[test]
fn two_constraints_are_two_causes_and_two_budgets_whatever_the_language_and_however_long_the_words() {
    let german = |name: &str| format!("neue Zeile für Relation »coupon_issues« verletzt Check-Constraint »{name}_1«");
    let words: [&dyn Fn(&str) -> String; 3] =
        [&german, &|_| "the trigger says no".to_owned(), &|_| "so many words ".repeat(2000)];
    for words in words {
        let of = |name: &str| Failure::from(&refused("23514", &words(name), [name, "coupon_issues", ""]));
        let (price, region) = (of("price_known"), of("region_known"));
        assert_ne!(price.cause(), region.cause());
        assert_eq!(price.budget(), "PERMANENT 23514 price_known");
        assert_eq!(region.budget(), "PERMANENT 23514 region_known");
    }
    let column = |name: &str| Failure::from(&refused("23502", "Wert fehlt", ["", "coupon_issues", name]));
    assert_eq!(column("price").budget(), "PERMANENT 23502 price coupon_issues");
    assert_ne!(column("price").cause(), column("region").cause());
    let table = |name: &str| Failure::from(&refused("23514", "keine Partition", ["", name, ""]));
    assert_eq!(table("coupon_issues").budget(), "PERMANENT 23514 coupon_issues");
}
