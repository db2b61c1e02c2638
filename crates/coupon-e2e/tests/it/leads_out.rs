//! A verb that an alarm asks for leads out, whatever state it finds.
//!
//! A campaign is damaged at random, once or twice. Then only what is said of it is done, at most three commands: the verb that
//! its alarm names, or that the row of a drift names which `reconcile --apply` has printed. Where nothing is said, because no
//! alarm is raised of what no member meets, it is the runbook's: `rebuild` for what is SUSPECT or lost, `reconcile --apply`
//! otherwise. In some of the cases `rebuild` comes first. Afterwards the campaign is OPEN or CLOSED as before, and I1 to I6
//! hold.
//!
//! What is left out: a request whose row and holder entry are both lost is known to Kafka alone, and neither side misses
//! anything. That takes the runbook's reset of the offsets.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    chance,
    kafka::record::Record,
    process::Process,
    wait::{eventually, pause},
    world::World,
};
use rand::rngs::StdRng;

use crate::{
    SOON, Services,
    damage::{
        Case,
        Damage::{self, OffsetsBack, OffsetsForward},
        strike,
    },
    issued, issued_rows,
    rebuild::status,
    write::accepted,
};

/// Commands that an operator may need.
const COMMANDS: usize = 3;
/// Checks for an alarm, a tenth of a second apart.
const LOOKS: usize = 30;
/// The verb that fills Redis anew.
const REBUILD: &str = "rebuild";
/// The verb that repairs single members.
const RECONCILE: &str = "reconcile";

/// Runs so many cases, one after the other in one world.
pub(crate) async fn every_case_leads_out(cases: usize) -> Result<()> {
    let mut chance = chance::seeded("damage");
    let world = World::new().await?;
    let mut services = Services::start(&world).await?;
    for number in 0..cases {
        let case = Case::any(&mut chance);
        let code = format!("CASE-{number}");
        println!("{code}: {case:?}");
        services =
            leads_out(&world, services, &code, case, &mut chance).await.with_context(|| format!("{code}: {case:?}"))?;
    }
    Ok(())
}

async fn leads_out(
    world: &World,
    mut services: Services,
    code: &str,
    case: Case,
    chance: &mut StdRng,
) -> Result<Services> {
    let members = if case.is_sold_out { 6 } else { 4 };
    world.open_campaign(code, 6).await?;
    for number in 0..members {
        accepted(world, &services.api, code, &format!("{code}-{number}")).await?;
    }
    issued_rows(world, code, members, SOON).await?;
    if case.is_closed {
        world.coupon(&["close", code]).await?.succeeded()?;
    }
    let before = status(world, code).await?;
    for damage in std::iter::once(case.first).chain(case.second) {
        if [OffsetsBack, OffsetsForward].contains(&damage) {
            services = damage_offsets(world, services, code, damage).await?;
        } else {
            strike(world, code, damage, chance).await?;
        }
    }
    let mut did = Vec::new();
    // The alarms of this campaign are of this damage.
    let mut verb = if case.rebuild_first { REBUILD.to_owned() } else { said(world, &services.api, code, 0).await? };
    while did.len() < COMMANDS {
        let output = if verb == REBUILD {
            world.run("dlq-consumer", &["rebuild", code, "--yes", "--by", "olga", "--wait", "20"]).await?
        } else {
            world.run("dlq-consumer", &["reconcile", code, "--apply", "--by", "olga"]).await?
        };
        let alarms_before = sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM alarm_notices");
        let alarms_before: i64 = alarms_before.fetch_one(&world.db).await?;
        did.push(format!("{verb}: {:?} {} {}", output.code, output.stdout, output.stderr));
        // A row for each kind of drift, with what puts it right.
        let asks_for_rebuild = verb == RECONCILE && output.stdout.contains(REBUILD);
        if output.code == Some(0) && !takes_a_rebuild(world, &services.api, code).await? {
            // What was published again arrives, and the next comparison finds nothing.
            if world.quiet(SOON, &[]).await.is_ok() && status(world, code).await? == before {
                return Ok(services);
            }
        }
        verb =
            if asks_for_rebuild { REBUILD.to_owned() } else { said(world, &services.api, code, alarms_before).await? };
    }
    let verdict = world.quiet(SOON, &[]).await.map(|_| ());
    ensure!(status(world, code).await? == before, "{} instead of {before}: {did:#?}", status(world, code).await?);
    verdict.with_context(|| format!("{did:#?}"))?;
    Ok(services)
}

/// The verb that the newest alarm of the campaign after this one names; the runbook's where none is raised.
async fn said(world: &World, api: &Process, code: &str, after: i64) -> Result<String> {
    let takes_a_rebuild = takes_a_rebuild(world, api, code).await?;
    for _ in 0..LOOKS {
        let command: Option<String> = sqlx::query_scalar(
            "SELECT command FROM alarm_notices WHERE coupon_code = $1 AND id > $2 ORDER BY id DESC LIMIT 1",
        )
        .bind(code)
        .bind(after)
        .fetch_optional(&world.db)
        .await?;
        if let Some(command) = command {
            let verb = command.strip_prefix("dlq-consumer ").and_then(|words| words.split(' ').next());
            let verb = verb.filter(|verb| [REBUILD, RECONCILE].contains(verb));
            return Ok(verb.with_context(|| format!("an alarm that names no verb: {command}"))?.to_owned());
        }
        if !takes_a_rebuild {
            break;
        }
        // It is noted beside the answer.
        pause(Duration::from_millis(100)).await;
    }
    Ok(if takes_a_rebuild { REBUILD } else { RECONCILE }.to_owned())
}

/// What the runbook says: a SUSPECT campaign takes a rebuild, and so does one whose data Redis has lost.
async fn takes_a_rebuild(world: &World, api: &Process, code: &str) -> Result<bool> {
    // A member who asks is what makes a loss be noticed while the campaign is open.
    world.member(api, &format!("{code}-0"))?.ask(code).await;
    let stock = world.stock.of(code).await?;
    let fields = ["epoch", "total", "total_version", "opens_at", "closes_at", "seq"];
    let is_whole = fields.iter().all(|field| stock.number(field).is_some());
    let is_suspect = stock.meta.get("status").is_none_or(|gate| gate == "SUSPECT");
    Ok(!is_whole || is_suspect || status(world, code).await? == "SUSPECT")
}

/// Sets the offsets of a group, which Kafka allows only while the group has no members. Where no request can be accepted
/// any more, they are set back.
async fn damage_offsets(world: &World, services: Services, code: &str, damage: Damage) -> Result<Services> {
    let Services { api, issue_consumer, dlq_consumer } = services;
    drop(issue_consumer);
    let group = world.group_of("issue-consumer");
    let mut offsets = world.topic.committed(&group).await?;
    if damage == OffsetsForward && accepted_unread(world, &api, code).await? {
        // Not beyond the end: what is out of range is read from the beginning.
        for record in world.topic.read().await? {
            let end = offsets.entry(record.partition).or_default();
            *end = (record.offset + 1).max(*end);
        }
    } else {
        for offset in offsets.values_mut() {
            *offset = 0;
        }
    }
    let commit = async || -> Result<bool> {
        for (partition, offset) in &offsets {
            if world.topic.commit(&group, *partition, *offset).await.is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    };
    eventually("the group has no members", SOON, commit).await?;
    let issue_consumer = world.start_issue_consumer().await?;
    Ok(Services { api, issue_consumer, dlq_consumer })
}

/// Has one more member accepted, whose record is in Kafka and nowhere else; `false` when the campaign takes nobody any more.
async fn accepted_unread(world: &World, api: &Process, code: &str) -> Result<bool> {
    let answer = world.member(api, &late(code))?.ask(code).await;
    let Some(id) = answer.request_id.filter(|_| answer.is_held()) else { return Ok(false) };
    let entry = id.to_string();
    eventually("its record is acknowledged", SOON, async || -> Result<bool> {
        let is_there = world.topic.read().await?.iter().filter_map(Record::event).any(|event| event.request_id == id);
        let is_promised = world.stock.of(code).await?.outbox.iter().any(|promise| promise.starts_with(&entry));
        Ok(is_there && !is_promised)
    })
    .await?;
    Ok(true)
}

/// The member whose record is passed over.
fn late(code: &str) -> String {
    format!("{code}-late")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_record_was_passed_over_gets_the_coupon_by_either_verb() -> Result<()> {
    let mut chance = chance::seeded("passed over");
    let world = World::new().await?;
    let mut services = Services::start(&world).await?;
    for (code, rebuild_first) in [("BY-RECONCILE", false), ("BY-REBUILD", true)] {
        let case = Case { first: OffsetsForward, second: None, is_closed: false, is_sold_out: false, rebuild_first };
        services = leads_out(&world, services, code, case, &mut chance).await.context(code)?;
        assert_eq!(issued(&world, code).await?, 5, "{code}");
        let records = world.topic.read().await?;
        let events = records.iter().filter_map(Record::event).filter(|event| event.member_id == late(code));
        assert_eq!(events.count(), 2, "{code}: nobody had read the first, and the verb published it again");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verb_that_an_alarm_asks_for_leads_out_whatever_was_damaged() -> Result<()> {
    every_case_leads_out(8).await
}
