//! Striking with a fault, and ending it.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use chrono::Utc;
use rand::{Rng, seq::IndexedRandom};
use serde_json::json;
use uuid::Uuid;

use super::{
    Run,
    crowd::{self, Campaign},
    fault::{Fault, Kind},
    fleet::until_done,
    strike_servers,
};
use crate::{
    failures::FailMode,
    kafka::record::{Event, NewRecord},
    proxy::Proxy,
    wait::pause,
    webhook::Manner,
};

/// Delay of each chunk of bytes on a slow way.
const SLOW: Duration = Duration::from_millis(300);
/// Members whose coupons cannot be written, of those who ask next.
const UNLUCKY: u64 = 5;
/// A campaign that nobody knows.
const UNKNOWN: &str = "NO-SUCH";

/// Strikes, waits, and ends the fault; `false` when it could not strike, which is noted. Fails when it cannot be ended.
pub(super) async fn strike(run: &Run, fault: &Fault) -> Result<bool> {
    println!("{:>5} s  fault {} {:?}", run.started.elapsed().as_secs(), fault.number, fault.kind);
    let begun = Utc::now();
    let outcome = by_kind(run, fault).await;
    let (what, error) = match &outcome {
        Ok(what) => (what.clone(), None),
        Err(error) => (String::new(), Some(format!("{error:#}"))),
    };
    let mut line = fault.to_json();
    line["begun"] = json!(begun);
    line["ended"] = json!(Utc::now());
    line["what"] = json!(what);
    line["error"] = json!(error);
    run.kept.line("faults.jsonl", &line)?;
    if let Some(error) = &error {
        println!("       fault {} {:?}: {error}", fault.number, fault.kind);
    }
    Ok(outcome.is_ok())
}

/// Returns what was struck.
async fn by_kind(run: &Run, fault: &Fault) -> Result<String> {
    match fault.kind {
        Kind::KillProcess | Kind::RestartProcess | Kind::FreezeProcess | Kind::FreezeService => {
            processes(run, fault).await
        }
        Kind::CutKafka | Kind::StallKafka | Kind::DelayKafka => {
            way(run.fleet.private.way_to_kafka(), fault).await?;
            Ok("all to Kafka".to_owned())
        }
        Kind::CutWay | Kind::StallWay | Kind::DelayWay => {
            let fleet = &run.fleet;
            let mut ways: Vec<(String, &Proxy)> = Vec::new();
            for (slot, of_slot) in fleet.ways.iter().enumerate() {
                ways.push((format!("slot {slot} to PostgreSQL"), &of_slot.database));
                if slot / 2 != 1 {
                    ways.push((format!("slot {slot} to Redis"), &of_slot.redis));
                }
            }
            ways.extend(fleet.clients.iter().enumerate().map(|(number, proxy)| (format!("client {number}"), proxy)));
            let (name, chosen) = ways.choose(&mut fault.chance()).context("a way")?;
            way(chosen, fault).await?;
            Ok(name.clone())
        }
        Kind::FailMembers | Kind::FailCampaign => rows(run, fault).await,
        Kind::BrokenRecords => broken_records(run, fault).await,
        Kind::RepeatedRecords => repeated_records(run).await,
        Kind::ChannelAway => channel(run, fault).await,
        _ => strike_servers::strike(run, fault).await,
    }
}

async fn processes(run: &Run, fault: &Fault) -> Result<String> {
    let (fleet, service) = (&run.fleet, fault.chance().random_range(0..3));
    let mortal = service * 2 + 1;
    let frozen: Vec<usize> = match fault.kind {
        Kind::FreezeProcess => vec![service * 2 + usize::from(fault.lasts.as_millis().is_multiple_of(2))],
        Kind::FreezeService => vec![service * 2, mortal],
        _ => Vec::new(),
    };
    for slot in &frozen {
        fleet.freeze(*slot, true).await?;
    }
    match fault.kind {
        Kind::KillProcess => fleet.kill(mortal).await,
        Kind::RestartProcess if !fleet.terminate(mortal).await => {
            run.note_wrong(format!("fault {}: slot {mortal} did not stop within 30 s of SIGTERM", fault.number))?;
        }
        _ => {}
    }
    pause(fault.lasts).await;
    if frozen.is_empty() {
        fleet.start_again(mortal).await?;
        return Ok(format!("slot {mortal}"));
    }
    for slot in &frozen {
        fleet.freeze(*slot, false).await?;
    }
    Ok(format!("slots {frozen:?}"))
}

async fn way(way: &Proxy, fault: &Fault) -> Result<()> {
    match fault.kind {
        Kind::CutWay | Kind::CutKafka => way.cut().await?,
        Kind::StallWay | Kind::StallKafka => way.stall().await?,
        _ => way.delay(SLOW).await?,
    }
    pause(fault.lasts).await;
    way.restore().await
}

/// The campaign that members ask for most.
pub(super) fn newest(run: &Run) -> Result<Arc<Campaign>> {
    run.crowd.campaigns().last().cloned().context("a campaign")
}

async fn rows(run: &Run, fault: &Fault) -> Result<String> {
    let (world, campaign, mut chance) = (&run.fleet.world, newest(run)?, fault.chance());
    let code = &campaign.code;
    let (mut rules, mut what) = (Vec::new(), code.clone());
    if fault.kind == Kind::FailCampaign {
        rules.push(world.fail_campaign(code, FailMode::Always).await?);
    } else {
        let next = campaign.members.load(std::sync::atomic::Ordering::Relaxed);
        let modes = [
            FailMode::Always,
            FailMode::For(Duration::from_secs(5)),
            FailMode::Permanently,
            FailMode::With("40001"),
            FailMode::Wordy(100_000),
            FailMode::Disconnects,
        ];
        for number in next..next + UNLUCKY {
            let mode = *modes.choose(&mut chance).context("a mode")?;
            what = format!("{what} {} {mode:?}", crowd::name(number));
            rules.push(world.fail_member(code, &crowd::name(number), mode).await?);
        }
    }
    // So long that some have had their last attempt.
    pause(fault.lasts * 2).await;
    until_done("the rules are lifted", async || {
        for rule in &rules {
            rule.lift().await?;
        }
        Ok(())
    })
    .await?;
    Ok(what)
}

async fn broken_records(run: &Run, fault: &Fault) -> Result<String> {
    let mut chance = fault.chance();
    let event = || Event::of(UNKNOWN, "nobody", 1);
    let mut garbage = vec![0; chance.random_range(1..2_000)];
    chance.fill(&mut garbage[..]);
    let null = NewRecord { key: None, value: None, ..NewRecord::default() };
    let records = [
        NewRecord::of("nobody", garbage),
        null,
        NewRecord::of("nobody", event().to_json(99).to_string()),
        NewRecord::event(&event()),
        NewRecord::of("nobody", vec![b'x'; 900_000]),
    ];
    run.fleet.world.topic.write_all(&records).await?;
    Ok(format!("{} records", records.len()))
}

async fn repeated_records(run: &Run) -> Result<String> {
    let rows: Vec<(Uuid, String, String, i64, i64, i64)> = sqlx::query_as(
        "SELECT request_id, coupon_code, member_id, (extract(epoch FROM reserved_at) * 1000)::bigint, i.epoch, seq
           FROM coupon_issues i JOIN coupons USING (coupon_id) ORDER BY decision, decided_at DESC LIMIT 40",
    )
    .fetch_all(&run.fleet.world.db)
    .await?;
    let records: Vec<NewRecord> = rows
        .into_iter()
        .map(|(request_id, coupon_code, member_id, reserved_at, epoch, seq)| {
            NewRecord::event(&Event { request_id, coupon_code, member_id, reserved_at, epoch, seq })
        })
        .collect();
    run.fleet.world.topic.write_all(&records).await?;
    Ok(format!("{} records", records.len()))
}

async fn channel(run: &Run, fault: &Fault) -> Result<String> {
    let mut chance = fault.chance();
    let manners = [
        Manner::Refuses,
        Manner::Hangs,
        Manner::HangsUp,
        Manner::Babbles,
        Manner::Answers(500),
        Manner::TooMany("1".to_owned()),
        Manner::LogsIn,
    ];
    let (name, channel) = if chance.random() { ("slack", &run.fleet.slack) } else { ("shop", &run.fleet.shop) };
    let manner = manners.choose(&mut chance).context("a manner")?;
    channel.turn(manner.clone()).await?;
    pause(fault.lasts).await;
    channel.turn(Manner::Takes).await?;
    Ok(format!("{name} {manner:?}"))
}
