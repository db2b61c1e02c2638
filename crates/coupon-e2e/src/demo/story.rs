//! The story, told while it happens: the rush, what it became, and the member whose coupon cannot be written.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{
    cast::{LATER, NEVER},
    follow::Follower,
    rush::{CONNECTIONS, Rush, rush},
    screen::{Timeline, clock, count, first_of},
    stage::Stage,
};
use crate::{answers::Answer, process::logs::LogLine, wait::eventually};

/// Longest time until the next thing happens: the longest back-off is 4 s.
const SOON: Duration = Duration::from_secs(15);

/// Longest time until a coupon that came back is given to a member who asks.
const GIVEN_OUT: Duration = Duration::from_secs(1);

/// Plays everything up to the verdict.
pub(super) async fn play(stage: &Stage) -> Result<()> {
    let mut writing = Follower::at_end_of(&stage.logs, "issue-consumer")?;
    let mut repairing = Follower::at_end_of(&stage.logs, "dlq-consumer")?;
    let (coupons, members) = (count(stage.size.coupons as usize), count(stage.size.members as usize));
    println!("Campaign {}: {coupons} coupons, {members} members, {CONNECTIONS} connections.", stage.code);
    println!("Members {NEVER} and {LATER} ask first, to be among the accepted: a trigger in the database makes the");
    println!("writing of their coupons fail, {NEVER}'s always, {LATER}'s twice. Everybody else asks at once.\n");
    let rush = rush(stage).await?;
    tell_rush(&rush)?;
    tell_rows(stage, &rush).await?;
    let never = rush.of(NEVER).and_then(|answer| answer.request_id).context("member 10 was not accepted")?;
    let later = rush.of(LATER).and_then(|answer| answer.request_id).context("member 20 was not accepted")?;
    let later_failed = later_failures(&mut writing, later).await?;
    println!("\nMember {NEVER}, whose coupon can never be written (times are UTC, from logs and tables):");
    let mut timeline = Timeline::default();
    let handed_over = tell_attempts(&mut timeline, &mut writing, never, "handed over to").await?;
    tell_hand_over(&mut timeline, stage, never, &handed_over).await?;
    let critical = tell_attempts(&mut timeline, &mut repairing, never, "[CRITICAL]").await?;
    tell_give_up(&mut timeline, stage, never, &critical).await?;
    tell_next_in_line(&mut timeline, stage, &rush).await?;
    tell_later(stage, later, &later_failed).await
}

fn tell_rush(rush: &Rush) -> Result<()> {
    let (accepted, refused) = (rush.accepted().count(), rush.sold_out().count());
    println!("  Accepted       {:>6}   {}", count(accepted), first_of(rush.accepted()));
    println!("  Refused        {:>6}   SOLD_OUT: {}", count(refused), first_of(rush.sold_out()));
    let other = rush.answers.iter().find(|answer| !answer.is_held() && !answer.is_refused_as(409, "SOLD_OUT"));
    if let Some(other) = other {
        println!("  Other answers  {:>6}   such as {other:?}", count(rush.answers.len() - accepted - refused));
    }
    let per_second = rush.answers.len() as u128 * 1000 / rush.took.as_millis().max(1);
    println!(
        "  Speed          {:>6}   requests/s; half of the answers within {} ms, 99 of 100 within {} ms",
        count(usize::try_from(per_second)?),
        rush.percentile(50),
        rush.percentile(99)
    );
    if cfg!(debug_assertions) {
        println!("                         in a build that is not optimised; make bench measures the release build");
    }
    Ok(())
}

/// Waits until everything that can be written is written.
async fn tell_rows(stage: &Stage, rush: &Rush) -> Result<()> {
    let writable = rush.accepted().filter(|answer| answer.member != NEVER && answer.member != LATER).count();
    let first = rush.answers.iter().map(|answer| answer.at - answer.took).min().unwrap_or_default();
    let last: Option<DateTime<Utc>> = eventually("all coupons are in PostgreSQL", SOON * 2, async || -> Result<_> {
        let (rows, last): (i64, _) = sqlx::query_as(
            "SELECT count(*), max(decided_at) FROM coupon_issues JOIN coupons USING (coupon_id)
              WHERE coupon_code = $1 AND decision = 'ISSUED' AND member_id NOT IN ($2, $3)",
        )
        .bind(&stage.code)
        .bind(NEVER)
        .bind(LATER)
        .fetch_one(&stage.db)
        .await?;
        Ok((usize::try_from(rows)? == writable).then_some(last))
    })
    .await?;
    let after = last.map_or(0, |last| (last - first).num_milliseconds());
    println!(
        "  In PostgreSQL  {:>6}   rows (without {NEVER} and {LATER}), the last one {after} ms after the first request",
        count(writable)
    );
    Ok(())
}

/// Tells each failed attempt, up to the line with which the service ends its part.
async fn tell_attempts(timeline: &mut Timeline, log: &mut Follower, id: Uuid, end: &str) -> Result<LogLine> {
    loop {
        let line = log.next(id, &["attempt failed", end], SOON).await?;
        if line.message().starts_with(end) {
            return Ok(line);
        }
        timeline.tell_attempt(log.service, &line);
    }
}

async fn tell_hand_over(timeline: &mut Timeline, stage: &Stage, id: Uuid, line: &LogLine) -> Result<()> {
    let letters = stage.dlq.read().await?;
    let mine = letters.iter().find(|letter| letter.event().is_some_and(|event| event.request_id == id));
    let letter = mine.with_context(|| format!("{} holds no record of {id}", stage.dlq.name()))?;
    let place = format!("{}, partition {}, offset {}", stage.dlq.name(), letter.partition, letter.offset);
    timeline.hold(line.at().unwrap_or_default(), "issue-consumer", format!("handed over to {place}"));
    Ok(())
}

/// The row of the work list, the alarm and the unit in Redis.
async fn tell_give_up(timeline: &mut Timeline, stage: &Stage, id: Uuid, alarm: &LogLine) -> Result<()> {
    let (number, status, reason, failed_at): (i64, String, String, DateTime<Utc>) =
        sqlx::query_as("SELECT id, status, reason, failed_at FROM failed_coupon_issues WHERE request_id = $1")
            .bind(id)
            .fetch_one(&stage.db)
            .await
            .context("failed_coupon_issues")?;
    let given_back_at: DateTime<Utc> = eventually("the unit is given back", SOON, async || -> Result<Option<_>> {
        let given_back = sqlx::query_scalar("SELECT given_back_at FROM coupon_issues WHERE request_id = $1");
        Ok(given_back.bind(id).fetch_one(&stage.db).await?)
    })
    .await?;
    let left = stage.stock.of(&stage.code).await?.left().unwrap_or_default();
    timeline.hold(failed_at, "PostgreSQL", format!("failed_coupon_issues {number}, {status}: {reason}"));
    timeline.hold(alarm.at().unwrap_or_default(), "dlq-consumer", alarm.message().to_owned());
    timeline.tell(given_back_at, "Redis", format!("the unit is back: stock {left}"));
    ensure!(left == 1, "one unit was given back, and the stock is {left}");
    Ok(())
}

/// Shows that a member who was refused before asks again and is accepted.
async fn tell_next_in_line(timeline: &mut Timeline, stage: &Stage, rush: &Rush) -> Result<()> {
    let next = rush.sold_out().next().context("nobody was refused")?;
    let member = stage.member(&next.member)?;
    // A process that has refused many remembers for a quarter of a second that nothing is left.
    let (answer, id) =
        eventually("the next in line gets the unit", GIVEN_OUT, async || -> Result<Option<(Answer, Uuid)>> {
            let answer: Answer = member.ask(&stage.code).await;
            let id = answer.request_id.with_context(|| format!("refused: {answer:?}"))?;
            Ok(Some((answer, id)))
        })
        .await?;
    let left = stage.stock.of(&stage.code).await?.left().unwrap_or_default();
    let what = format!("member {}, refused before, asks again: accepted, stock {left}", next.member);
    timeline.hold(answer.at, "issuer-api", what);
    let issued_at = issued_at(stage, id).await?;
    timeline.tell(issued_at, "PostgreSQL", format!("member {} has that coupon", next.member));
    Ok(())
}

/// The two failed attempts of the other member, which come before the first member's story ends.
async fn later_failures(writing: &mut Follower, id: Uuid) -> Result<Vec<DateTime<Utc>>> {
    let failed = eventually("two failed attempts of member 20", SOON, async || -> Result<_> {
        let lines = writing.all(id, "attempt failed")?;
        Ok((lines.len() == 2).then_some(lines))
    });
    Ok(failed.await?.iter().filter_map(LogLine::at).collect())
}

async fn tell_later(stage: &Stage, id: Uuid, failed: &[DateTime<Utc>]) -> Result<()> {
    let failed: Vec<String> = failed.iter().map(|at| clock(*at)).collect();
    let issued_at = issued_at(stage, id).await?;
    let letters = stage.dlq.read().await?;
    let dead = letters.iter().filter(|letter| letter.event().is_some_and(|event| event.request_id == id)).count();
    ensure!(dead == 0, "member {LATER} has {dead} records in {}", stage.dlq.name());
    println!(
        "\nMember {LATER}: failed at {}, written at {}, never in the DLQ.",
        failed.join(" and "),
        clock(issued_at)
    );
    Ok(())
}

async fn issued_at(stage: &Stage, id: Uuid) -> Result<DateTime<Utc>> {
    eventually("the row is written", SOON, async || -> Result<Option<_>> {
        let row =
            sqlx::query_scalar("SELECT decided_at FROM coupon_issues WHERE request_id = $1 AND decision = 'ISSUED'");
        Ok(row.bind(id).fetch_optional(&stage.db).await?)
    })
    .await
}
