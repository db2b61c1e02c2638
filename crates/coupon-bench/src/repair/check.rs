//! Whether a run has left the campaign as it should be. A fast run that went wrong is no result.

use std::collections::HashMap;

use anyhow::{Result, ensure};
use redis::AsyncCommands;
use uuid::Uuid;

use super::campaign::Campaign;
use crate::seed::{CODE, key, members::Reservation};

/// Rows in PostgreSQL and entries in Redis after a run.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    /// Number of ISSUED rows.
    rows: i64,
    /// Entries of the `issued` hash.
    holder_entries: i64,
    /// `coupons`: status, total, counter and epoch.
    coupon: (String, i64, i64, i64),
    /// `meta`: status, epoch and total, as they stand there.
    meta: [Option<String>; 3],
    /// Whether `seq` in `meta` is a number. How high is nobody's promise: a rebuild begins a new epoch, whose sequence
    /// counts its own reservations.
    seq_is_number: bool,
    /// Reservations that were not published.
    outbox: i64,
    /// Members of the sample without a row, or with the row of another request.
    without_row: usize,
    /// Members of the sample without a holder entry, or with that of another request.
    without_holder_entry: usize,
}

/// Checks the whole campaign, and request id by request id these members. An error names no member.
pub async fn is_whole(campaign: &mut Campaign, sample: &[Reservation], epoch: i64) -> Result<()> {
    verify(&look(campaign, sample).await?, &whole(i64::try_from(campaign.members.count)?, epoch))
}

fn verify(found: &Found, whole: &Found) -> Result<()> {
    let odd = "the run ended well, but the campaign is not as it should be";
    ensure!(found == whole, "{odd}:\n  {found:?}\n  instead of\n  {whole:?}");
    Ok(())
}

async fn look(campaign: &mut Campaign, sample: &[Reservation]) -> Result<Found> {
    let Campaign { database, redis, coupon_id, .. } = campaign;
    let rows = "SELECT count(*) FROM coupon_issues WHERE coupon_id = $1 AND decision = 'ISSUED'";
    let rows = sqlx::query_scalar(rows).bind(*coupon_id).fetch_one(&mut *database).await?;
    let coupon = "SELECT status, total_quantity, issued_quantity, epoch FROM coupons WHERE coupon_code = $1";
    let coupon = sqlx::query_as(coupon).bind(CODE).fetch_one(&mut *database).await?;
    let members: Vec<&str> = sample.iter().map(|one| one.member.as_str()).collect();
    let held: Vec<(String, Uuid)> = sqlx::query_as(
        "SELECT member_id, request_id FROM coupon_issues
         WHERE coupon_id = $1 AND member_id = ANY($2) AND decision = 'ISSUED'",
    )
    .bind(*coupon_id)
    .bind(&members)
    .fetch_all(&mut *database)
    .await?;
    let held: HashMap<String, Uuid> = held.into_iter().collect();
    let entries: Vec<Option<String>> =
        redis::cmd("HMGET").arg(key("issued")).arg(&members).query_async(&mut *redis).await?;
    let [status, epoch, total, seq]: [Option<String>; 4] =
        redis.hmget(key("meta"), &["status", "epoch", "total", "seq"]).await?;
    Ok(Found {
        rows,
        holder_entries: redis.hlen(key("issued")).await?,
        coupon,
        meta: [status, epoch, total],
        seq_is_number: seq.is_some_and(|seq| seq.parse::<i64>().is_ok()),
        outbox: redis.zcard(key("outbox")).await?,
        without_row: without(sample, members.iter().map(|member| held.get(*member).copied())),
        without_holder_entry: without(sample, entries.into_iter().map(|entry| entry?.parse().ok())),
    })
}

/// Of these reservations, how many have no request id or another's.
fn without(sample: &[Reservation], held: impl Iterator<Item = Option<Uuid>>) -> usize {
    sample.len() - sample.iter().zip(held).filter(|(meant, held)| *held == Some(meant.request_id)).count()
}

/// What is to be there: all members hold a coupon, and nothing is under way.
fn whole(count: i64, epoch: i64) -> Found {
    Found {
        rows: count,
        holder_entries: count,
        coupon: ("OPEN".to_owned(), count, count, epoch),
        meta: ["OPEN".to_owned(), epoch.to_string(), count.to_string()].map(Some),
        seq_is_number: true,
        outbox: 0,
        without_row: 0,
        without_holder_entry: 0,
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;
    use crate::seed::members::Members;

    type Damage = fn(&mut Found);

    #[test]
    fn a_whole_campaign_has_nothing_wrong_and_each_damage_is_told() {
        let verified = |damage: Damage| {
            let mut found = whole(1000, 2);
            damage(&mut found);
            verify(&found, &whole(1000, 2))
        };
        assert!(verified(|_| {}).is_ok());
        let damages: [(Damage, &str); 10] = [
            (|found| found.rows -= 1, "rows: 999"),
            (|found| found.holder_entries += 1, "holder_entries: 1001"),
            (|found| found.coupon.0 = "OPENING".to_owned(), "coupon: (\"OPENING\", 1000, 1000, 2)"),
            (|found| found.coupon.2 = 999, "coupon: (\"OPEN\", 1000, 999, 2)"),
            (|found| found.coupon.3 = 1, "coupon: (\"OPEN\", 1000, 1000, 1)"),
            (|found| found.meta[0] = None, "meta: [None,"),
            (|found| found.seq_is_number = false, "seq_is_number: false"),
            (|found| found.outbox = 1, "outbox: 1"),
            (|found| found.without_row = 1, "without_row: 1"),
            (|found| found.without_holder_entry = 1, "without_holder_entry: 1"),
        ];
        for (damage, told) in damages {
            let error = verified(damage).unwrap_err().to_string();
            assert!(error.contains(told), "{told}: {error}");
        }
    }

    #[test]
    fn a_member_without_its_own_request_id_is_counted() {
        let members = Members::until(Utc::now(), 1000);
        let sample: Vec<Reservation> = (0..10).map(|number| members.reservation(number)).collect();
        let mut held: Vec<Option<Uuid>> = sample.iter().map(|one| Some(one.request_id)).collect();
        assert_eq!(without(&sample, held.iter().copied()), 0);
        (held[3], held[7]) = (Some(Uuid::nil()), None);
        assert_eq!(without(&sample, held.iter().copied()), 2);
        assert_eq!(without(&sample, held.into_iter().take(5)), 6, "not every member was looked at");
    }
}
