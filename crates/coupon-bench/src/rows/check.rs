//! Whether every answer of the rows is true: a fast run that lost something is no result.

use std::collections::HashMap;

use anyhow::{Result, bail};
use sqlx::PgPool;
use uuid::Uuid;

use crate::progress;

/// Compares who has a coupon with who was told so.
pub async fn rows(database: &PgPool, told: &HashMap<String, Uuid>) -> Result<()> {
    let held: Vec<(String, Uuid)> =
        sqlx::query_as("SELECT member_id, request_id FROM units WHERE member_id IS NOT NULL")
            .fetch_all(database)
            .await?;
    let wrong = wrong(&held, told);
    if !wrong.is_empty() {
        bail!("the rows are not as they should be: {}", wrong.join("; "));
    }
    progress::say(&format!(
        "all {} that were accepted have the row of their request, and nobody else has one",
        told.len()
    ));
    Ok(())
}

/// Everything that is wrong, in words; no member is named.
fn wrong(held: &[(String, Uuid)], told: &HashMap<String, Uuid>) -> Vec<String> {
    let mut wrong = Vec::new();
    let as_told = held.iter().filter(|(member, id)| told.get(member) == Some(id)).count();
    if as_told < told.len() {
        wrong.push(format!(
            "{} of {} that were accepted have no row of their request",
            told.len() - as_told,
            told.len()
        ));
    }
    if held.len() > as_told {
        wrong.push(format!("{} rows were given to nobody who was told so", held.len() - as_told));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_is_lost_changed_or_given_twice_is_seen() {
        let [one, two, three] = [1, 2, 3].map(Uuid::from_u128);
        let told = HashMap::from([("a".to_owned(), one), ("b".to_owned(), two)]);
        let seen = |held: &[(&str, Uuid)]| {
            let held: Vec<_> = held.iter().map(|(member, id)| ((*member).to_owned(), *id)).collect();
            wrong(&held, &told).join("; ")
        };
        assert_eq!(seen(&[("a", one), ("b", two)]), "");
        assert_eq!(seen(&[("a", one)]), "1 of 2 that were accepted have no row of their request");
        assert!(
            seen(&[("a", one), ("b", three)]).contains("1 of 2")
                && seen(&[("a", one), ("b", three)]).contains("1 rows")
        );
        assert_eq!(seen(&[("a", one), ("b", two), ("b", three)]), "1 rows were given to nobody who was told so");
    }
}
