//! Whether everything that was to be written is, and nothing else. A fast run that lost something is no result.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, bail};
use coupon_e2e::{kafka::record::Record, wait::eventually, world::World};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::load::Load;

/// Longest time until offsets are committed. It happens each second, but what fails is tried for 7 s first (1 s, 2 s, 4 s).
const COMMITTED_WITHIN: Duration = Duration::from_mins(1);

/// How often a record that can never be written is tried before it is handed over.
const ATTEMPTS: &str = "4";

/// Coupon, request id, member, sequence and decision of a row.
type Row = (i64, Uuid, String, i64, String);

/// What is in PostgreSQL and in the dead letter topic.
#[derive(Clone, Debug, Default)]
struct Found {
    /// Rows of these events, and whatever else has a sequence like theirs.
    rows: Vec<Row>,
    /// All rows of the table.
    in_all: i64,
    /// Counter of each coupon.
    counters: Vec<(i64, i64)>,
    /// Request id and attempts of each dead letter.
    dead: Vec<(Option<Uuid>, Option<String>)>,
}

/// Waits until the group has passed all records, then looks at every row, request id by request id.
pub async fn is_whole(world: &World, load: &Load, coupon_ids: &[i64], ends: &BTreeMap<i32, i64>) -> Result<()> {
    let group = world.group_of("issue-consumer");
    eventually("the group has passed every record", COMMITTED_WITHIN, async || -> Result<bool> {
        let committed = world.topic.committed(&group).await?;
        Ok(ends.iter().all(|(partition, end)| committed.get(partition) == Some(end)))
    })
    .await?;
    let found = look(world, load).await?;
    let wrong = judge(&found, load, coupon_ids);
    if !wrong.is_empty() {
        bail!("everything was counted, but not everything is as it should be:\n  {}", wrong.join("\n  "));
    }
    Ok(())
}

async fn look(world: &World, load: &Load) -> Result<Found> {
    let mut database = PgConnection::connect(&world.database_url).await?;
    let rows = sqlx::query_as(
        "SELECT coupon_id, request_id, member_id, seq, decision FROM coupon_issues
         WHERE seq > $1 OR decision <> 'ISSUED' OR epoch <> 1",
    );
    let rows = rows.bind(i64::try_from(load.before())?).fetch_all(&mut database).await?;
    let in_all = sqlx::query_scalar("SELECT count(*) FROM coupon_issues").fetch_one(&mut database).await?;
    let counters = sqlx::query_as("SELECT coupon_id, issued_quantity FROM coupons").fetch_all(&mut database).await?;
    database.close().await?;
    let dead = world.dlq.read().await?;
    let dead = dead.iter().map(|letter: &Record| {
        let attempts = letter.header("x-coupon-attempts").map(str::to_owned);
        (letter.event().map(|event| event.request_id), attempts)
    });
    Ok(Found { rows, in_all, counters, dead: dead.collect() })
}

/// Everything that is wrong, in words; no member is named.
fn judge(found: &Found, load: &Load, coupon_ids: &[i64]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut expect = |holds: bool, what: String| {
        if !holds {
            wrong.push(what);
        }
    };
    let coupons: BTreeMap<i64, u64> = coupon_ids.iter().copied().zip(0..).collect();
    let mut times = vec![0_u32; usize::try_from(load.events()).unwrap_or(0)];
    let mut foreign = 0;
    for (coupon_id, request_id, member, seq, decision) in &found.rows {
        let number = coupons.get(coupon_id).and_then(|coupon| load.number_of(*coupon, u64::try_from(*seq).ok()?));
        let own = number.filter(|number| {
            let meant = load.reservation(*number);
            meant.request_id == *request_id && meant.member == *member && decision == "ISSUED"
        });
        match own.and_then(|number| times.get_mut(usize::try_from(number).ok()?)) {
            Some(times) => *times += 1,
            None => foreign += 1,
        }
    }
    let mut issued = vec![0_i64; coupon_ids.len()];
    let (mut missing, mut twice, mut impossible) = (0, 0, 0);
    for (number, times) in (0..).zip(&times) {
        match (load.is_poison(number), times) {
            (false, 0) => missing += 1,
            (true, 1..) => impossible += 1,
            (_, 2..) => twice += 1,
            _ => {}
        }
        if let Some(issued) = usize::try_from(load.coupon_of(number)).ok().and_then(|coupon| issued.get_mut(coupon)) {
            *issued += i64::from(*times);
        }
    }
    expect(missing == 0, format!("{missing} of {} events have no row", load.healthy()));
    expect(twice == 0, format!("{twice} events have more than one row"));
    expect(impossible == 0, format!("{impossible} rows are of events that cannot be written"));
    expect(foreign == 0, format!("{foreign} rows are of no event, or differ from theirs"));
    let before = i64::try_from(load.before()).unwrap_or(i64::MAX);
    let in_all = before + issued.iter().sum::<i64>();
    expect(found.in_all == in_all, format!("{} rows in all instead of {in_all}", found.in_all));
    let counters: BTreeMap<i64, i64> = found.counters.iter().copied().collect();
    let off = coupon_ids.iter().zip(&issued).filter(|(id, rows)| counters.get(id) != Some(&(before + **rows))).count();
    expect(off == 0, format!("{off} coupons count other than they have rows"));
    let poison = (0..load.events()).filter(|number| load.is_poison(*number));
    let mut awaited: BTreeMap<Uuid, u32> = poison.map(|number| (load.reservation(number).request_id, 0)).collect();
    let (mut strangers, mut tries) = (0, 0);
    for (request_id, attempts) in &found.dead {
        match request_id.and_then(|id| awaited.get_mut(&id)) {
            Some(times) => *times += 1,
            None => strangers += 1,
        }
        tries += u32::from(attempts.as_deref() != Some(ATTEMPTS));
    }
    let not_once = awaited.values().filter(|times| **times != 1).count();
    expect(strangers == 0, format!("{strangers} dead letters are of events that can be written"));
    expect(not_once == 0, format!("{not_once} of {} failing events are not exactly one dead letter", awaited.len()));
    expect(tries == 0, format!("{tries} dead letters were not tried {ATTEMPTS} times"));
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: [i64; 3] = [11, 12, 13];

    type Damage = fn(&mut Found);

    fn load() -> Load {
        Load::of(1000, 3).poisoned()
    }

    fn whole(load: &Load) -> Found {
        let healthy: Vec<u64> = (0..load.events()).filter(|number| !load.is_poison(*number)).collect();
        let id_of = |number: &u64| IDS[usize::try_from(load.coupon_of(*number)).unwrap()];
        let rows = healthy.iter().map(|number| {
            let one = load.reservation(*number);
            (id_of(number), one.request_id, one.member, i64::try_from(one.seq).unwrap(), "ISSUED".to_owned())
        });
        let rows: Vec<Row> = rows.collect();
        let counters = IDS.map(|id| (id, i64::try_from(rows.iter().filter(|row| row.0 == id).count()).unwrap()));
        let poison = (0..load.events()).filter(|number| load.is_poison(*number));
        let dead = poison.map(|number| (Some(load.reservation(number).request_id), Some("4".to_owned())));
        Found { in_all: i64::try_from(rows.len()).unwrap(), rows, counters: counters.to_vec(), dead: dead.collect() }
    }

    #[test]
    fn a_whole_run_has_nothing_wrong_and_each_damage_is_told() {
        let load = load();
        let whole = whole(&load);
        assert_eq!(judge(&whole, &load, &IDS), Vec::<String>::new());
        let damages: [(&str, Damage); 10] = [
            ("have no row", |found| drop(found.rows.pop())),
            ("more than one row", |found| found.rows.push(found.rows[0].clone())),
            ("differ from theirs", |found| found.rows[5].2.push('x')),
            ("differ from theirs", |found| found.rows[5].1 = Uuid::nil()),
            ("differ from theirs", |found| found.rows[5].4 = "COMPENSATED".to_owned()),
            ("rows in all", |found| found.in_all += 1),
            ("count other", |found| found.counters[2].1 += 1),
            ("not exactly one", |found| drop(found.dead.pop())),
            ("can be written", |found| found.dead[0].0 = Some(found.rows[0].1)),
            ("not tried", |found| found.dead[0].1 = Some("3".to_owned())),
        ];
        for (told, damage) in damages {
            let mut found = whole.clone();
            damage(&mut found);
            let wrong = judge(&found, &load, &IDS).join("\n");
            assert!(wrong.contains(told), "{told}: {wrong}");
        }
    }
}
