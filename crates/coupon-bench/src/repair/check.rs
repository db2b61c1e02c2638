//! Whether a run has left the campaign as it should be. A fast run that went wrong is no result.

use std::collections::HashMap;

use anyhow::{Result, bail};
use redis::AsyncCommands;
use uuid::Uuid;

use super::campaign::Campaign;
use crate::seed::{CODE, key, members::Reservation};

/// What both servers hold after a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Found {
    /// ISSUED rows.
    rows: i64,
    /// Marks.
    marks: i64,
    /// `coupons`: status, total, counter and epoch.
    coupon: (String, i64, i64, i64),
    /// `meta`: status, epoch, total and seq, as they stand there.
    meta: [Option<String>; 4],
    /// Reservations that were not published.
    outbox: i64,
    /// Of each member of the sample, in its order.
    sample: Vec<Held>,
}

/// What one member holds: request ids of the row and of the mark.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Held {
    row: Option<Uuid>,
    mark: Option<Uuid>,
}

/// Looks at the whole campaign and, request id by request id, at these members.
pub async fn is_whole(campaign: &mut Campaign, sample: &[Reservation], epoch: i64) -> Result<()> {
    let found = look(campaign, sample).await?;
    let wrong = judge(&found, sample, i64::try_from(campaign.members.count)?, epoch);
    if !wrong.is_empty() {
        bail!("the run ended well, but the campaign is not as it should be:\n  {}", wrong.join("\n  "));
    }
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
    let marks: Vec<Option<String>> =
        redis::cmd("HMGET").arg(key("issued")).arg(&members).query_async(&mut *redis).await?;
    let of_sample = members.iter().zip(marks).map(|(member, mark)| {
        let mark = mark.and_then(|text| text.parse().ok());
        Held { row: held.get(*member).copied(), mark }
    });
    let meta: Vec<Option<String>> = redis.hmget(key("meta"), &["status", "epoch", "total", "seq"]).await?;
    Ok(Found {
        rows,
        marks: redis.hlen(key("issued")).await?,
        coupon,
        meta: meta.try_into().unwrap_or_default(),
        outbox: redis.zcard(key("outbox")).await?,
        sample: of_sample.collect(),
    })
}

/// Everything that is wrong, in words; no member is named.
fn judge(found: &Found, sample: &[Reservation], count: i64, epoch: i64) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut expect = |holds: bool, what: String| {
        if !holds {
            wrong.push(what);
        }
    };
    expect(found.rows == count, format!("{} ISSUED rows instead of {count}", found.rows));
    expect(found.marks == count, format!("{} marks instead of {count}", found.marks));
    let coupon = ("OPEN".to_owned(), count, count, epoch);
    expect(
        found.coupon == coupon,
        format!("status, total, issued and epoch in PostgreSQL are {:?} instead of {coupon:?}", found.coupon),
    );
    let [status, meta_epoch, total, seq] = &found.meta;
    let meta = [status.as_deref(), meta_epoch.as_deref(), total.as_deref()];
    let (epoch, total) = (epoch.to_string(), count.to_string());
    let expected = [Some("OPEN"), Some(epoch.as_str()), Some(total.as_str())];
    expect(meta == expected, format!("status, epoch and total in Redis are {meta:?} instead of {expected:?}"));
    let seq = seq.as_ref().and_then(|seq| seq.parse::<i64>().ok());
    // How high is nobody's promise: a rebuild begins a new epoch, whose sequence counts its own reservations.
    expect(seq.is_some(), "seq in Redis is no number".to_owned());
    expect(found.outbox == 0, format!("{} entries in the outbox", found.outbox));
    let other = |read: fn(&Held) -> Option<Uuid>| {
        found.sample.iter().zip(sample).filter(|(held, meant)| read(held) != Some(meant.request_id)).count()
    };
    let (rows, marks) = (other(|held| held.row), other(|held| held.mark));
    let looked_at = sample.len();
    expect(rows == 0, format!("{rows} of {looked_at} members have no row or another request's"));
    expect(marks == 0, format!("{marks} of {looked_at} members have no mark or another request's"));
    expect(found.sample.len() == looked_at, "not every member of the sample was looked at".to_owned());
    wrong
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;
    use crate::seed::members::Members;

    const COUNT: u32 = 1000;

    type Damage = fn(&mut Found);

    fn sample() -> Vec<Reservation> {
        let members = Members::until(Utc::now(), COUNT);
        (0..10).map(|number| members.reservation(number)).collect()
    }

    fn whole(sample: &[Reservation]) -> Found {
        let some = |text: &str| Some(text.to_owned());
        Found {
            rows: 1000,
            marks: 1000,
            coupon: ("OPEN".to_owned(), 1000, 1000, 2),
            meta: [some("OPEN"), some("2"), some("1000"), some("1000")],
            outbox: 0,
            sample: sample.iter().map(|one| Held { row: Some(one.request_id), mark: Some(one.request_id) }).collect(),
        }
    }

    #[test]
    fn a_whole_campaign_has_nothing_wrong_and_each_damage_is_told() {
        let sample = sample();
        let judged = |damage: Damage| {
            let mut found = whole(&sample);
            damage(&mut found);
            judge(&found, &sample, 1000, 2)
        };
        assert!(judged(|_| {}).is_empty());
        let damages: [(Damage, &str); 10] = [
            (|found| found.rows -= 1, "999 ISSUED rows"),
            (|found| found.marks += 1, "1001 marks"),
            (|found| found.coupon.0 = "OPENING".to_owned(), "in PostgreSQL"),
            (|found| found.coupon.2 = 999, "in PostgreSQL"),
            (|found| found.coupon.3 = 1, "in PostgreSQL"),
            (|found| found.meta[0] = None, "in Redis"),
            (|found| found.meta[3] = None, "seq in Redis"),
            (|found| found.outbox = 1, "outbox"),
            (|found| found.sample[3].row = Some(Uuid::nil()), "1 of 10 members have no row"),
            (|found| found.sample[3].mark = None, "1 of 10 members have no mark"),
        ];
        for (damage, told) in damages {
            let wrong = judged(damage);
            assert!(wrong.len() == 1 && wrong[0].contains(told), "{told}: {wrong:?}");
        }
    }
}
