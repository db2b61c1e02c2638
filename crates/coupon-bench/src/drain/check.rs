//! Whether everything that was to be written is, and nothing else. A fast run that lost something is no result.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use anyhow::{Result, bail};
use coupon_e2e::{kafka::record::Record, wait::eventually, world::World};
use uuid::Uuid;

use super::load::Load;
use crate::seed::members::Reservation;

/// Longest time until offsets are committed. It happens each second, but what fails is tried for 7 s first (1 s, 2 s, 4 s).
const COMMITTED_WITHIN: Duration = Duration::from_mins(1);

/// How often a record that can never be written is tried before it is handed over.
const ATTEMPTS: &str = "4";

/// Coupon, request id, member, sequence and decision of a row.
type Row = (i64, Uuid, String, i64, String);

/// What the check reads in PostgreSQL and in the dead letter topic.
#[derive(Clone, Debug, Default)]
struct Found {
    /// Rows of these events, and whatever else has a sequence like theirs.
    rows: Vec<Row>,
    /// Number of all rows of `coupon_issues`.
    in_all: i64,
    /// Key and issued counter of each coupon.
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
    let wrong = verify(&found, load, coupon_ids)?;
    if !wrong.is_empty() {
        bail!("everything was counted, but not everything is as it should be:\n  {}", wrong.join("\n  "));
    }
    Ok(())
}

async fn look(world: &World, load: &Load) -> Result<Found> {
    let rows = sqlx::query_as(
        "SELECT coupon_id, request_id, member_id, seq, decision FROM coupon_issues
         WHERE seq > $1 OR decision <> 'ISSUED' OR epoch <> 1",
    );
    let rows = rows.bind(i64::try_from(load.before())?).fetch_all(&world.db).await?;
    let in_all = sqlx::query_scalar("SELECT count(*) FROM coupon_issues").fetch_one(&world.db).await?;
    let counters = sqlx::query_as("SELECT coupon_id, issued_quantity FROM coupons").fetch_all(&world.db).await?;
    let dead = world.dlq.read().await?;
    let dead = dead.iter().map(|letter: &Record| {
        let attempts = letter.header("x-coupon-attempts").map(str::to_owned);
        (letter.event().map(|event| event.request_id), attempts)
    });
    Ok(Found { rows, in_all, counters, dead: dead.collect() })
}

/// Everything that is wrong, in words; no member is named.
fn verify(found: &Found, load: &Load, coupon_ids: &[i64]) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let mut expect = |holds: bool, what: String| {
        if !holds {
            wrong.push(what);
        }
    };
    let (mut unwritten, mut awaited) = (HashMap::new(), BTreeMap::new());
    for number in 0..load.events() {
        let Reservation { member, request_id, seq } = load.reservation(number);
        if load.is_poison(number) {
            awaited.insert(request_id, 0);
        } else {
            let coupon_id = coupon_ids[usize::try_from(load.coupon_of(number))?];
            unwritten.insert(request_id, (coupon_id, request_id, member, i64::try_from(seq)?, "ISSUED".to_owned()));
        }
    }
    let before = i64::try_from(load.before())?;
    let mut counters: BTreeMap<i64, i64> = coupon_ids.iter().map(|id| (*id, before)).collect();
    let mut foreign = 0;
    for row in &found.rows {
        if unwritten.get(&row.1) == Some(row) {
            unwritten.remove(&row.1);
            *counters.entry(row.0).or_default() += 1;
        } else {
            foreign += 1;
        }
    }
    expect(unwritten.is_empty(), format!("{} of {} events have no row", unwritten.len(), load.healthy()));
    let odd = "rows are of no event that can be written, are there twice or differ from theirs";
    expect(foreign == 0, format!("{foreign} {odd}"));
    let in_all = before + i64::try_from(found.rows.len())? - foreign;
    expect(found.in_all == in_all, format!("{} rows in all instead of {in_all}", found.in_all));
    let off = found.counters.iter().filter(|(id, count)| counters.get(id) != Some(count)).count();
    expect(
        off == 0 && found.counters.len() == counters.len(),
        format!("{off} coupons count other than they have rows"),
    );
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
    Ok(wrong)
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
        assert_eq!(verify(&whole, &load, &IDS).unwrap(), Vec::<String>::new());
        let damages: [(&str, Damage); 10] = [
            ("have no row", |found| drop(found.rows.pop())),
            ("are there twice", |found| found.rows.push(found.rows[0].clone())),
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
            let wrong = verify(&found, &load, &IDS).unwrap().join("\n");
            assert!(wrong.contains(told), "{told}: {wrong}");
        }
    }
}
