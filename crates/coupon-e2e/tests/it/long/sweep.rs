//! The crash sweep: each process ends at each of its failpoints in turn, before and after the effect, under load; it is
//! started again, and every promise holds.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    failures::{FailMode, Rule},
    kafka::record::{NewRecord, Record},
    oracle::Kind,
    process::{Process, launch::Launch},
    stock::key,
    wait::eventually,
    world::World,
};
use redis::AsyncCommands;

use super::points::{OF_API, OF_DLQ_CONSUMER, OF_ISSUE_CONSUMER};
use crate::SOON;

/// Time to converge after a crash: a session time-out, a lease, back-offs.
pub(super) const CONVERGED: Duration = Duration::from_mins(1);
/// Members who ask one after the other, and who ask the victim.
const MEMBERS: usize = 12;
/// Members who ask another process meanwhile, all the time.
const LOAD: usize = 60;
pub(crate) const ABORTED: &str = "signal: 6";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Victim {
    Api,
    IssueConsumer,
    DlqConsumer,
}

/// The services of one run, one of which is to end at a point.
pub(super) struct Run<'w> {
    pub(super) world: &'w World,
    pub(super) victim: Victim,
    pub(super) point: String,
}

/// Waits until a process has ended at its point.
pub(super) async fn aborted(process: &Process) -> Result<()> {
    let status = process.exit(SOON * 2).await.context("it never came to the point")?;
    ensure!(status.to_string().contains(ABORTED), "{status}");
    Ok(())
}

impl Run<'_> {
    pub(super) fn launch(&self, which: Victim) -> Launch {
        match which {
            Victim::Api => self.world.start_api(),
            Victim::IssueConsumer => self.world.start_issue_consumer(),
            Victim::DlqConsumer => self.world.start_dlq_consumer(),
        }
    }

    pub(super) async fn start(&self, which: Victim) -> Result<Process> {
        let launch = self.launch(which);
        if which == self.victim {
            return launch.env("COUPON_CRASH_AT", &self.point).without_waiting().await;
        }
        launch.await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn issuer_api_may_end_at_each_of_its_points() -> Result<()> {
    sweep(Victim::Api, OF_API).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn issue_consumer_may_end_at_each_of_its_points() -> Result<()> {
    sweep(Victim::IssueConsumer, OF_ISSUE_CONSUMER).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dlq_consumer_may_end_at_each_of_its_points() -> Result<()> {
    sweep(Victim::DlqConsumer, OF_DLQ_CONSUMER).await
}

async fn sweep(victim: Victim, effects: &[(&str, u32)]) -> Result<()> {
    for (effect, nth) in effects {
        for moment in ["before", "after"] {
            // The attempt is no effect of its own: what follows it is.
            if (*effect, moment) != ("attempt", "after") {
                let point = format!("{effect}:{moment}#{nth}");
                flow(victim, &point).await.with_context(|| point.clone())?;
                println!("swept {point}");
            }
        }
    }
    Ok(())
}

/// Members ask, while many others do, two of them for coupons that cannot be written; a record that nobody can read; a duplicate of a
/// compensated request; a dead letter that can be written after all. Somewhere in this the victim ends.
async fn flow(victim: Victim, point: &str) -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("SWEPT", (MEMBERS + LOAD) as u64).await?;
    let mut rules = Vec::new();
    for unlucky in ["member-0", "member-1"] {
        rules.push(world.fail_member("SWEPT", unlucky, FailMode::Permanently).await?);
    }
    world.topic.write(&NewRecord::of("nobody", "no event")).await?;
    // An outbox is leased again and again while it has an entry, and this one no relay can publish.
    let unreadable = point.starts_with("lease an outbox").then_some("no entry");
    if let Some(entry) = unreadable {
        world.stock.set_outbox("SWEPT", entry).await?;
    }
    let run = Run { world: &world, victim, point: point.to_owned() };
    let (api, issue, dlq) =
        tokio::try_join!(run.start(Victim::Api), run.start(Victim::IssueConsumer), run.start(Victim::DlqConsumer))?;
    let mut processes = [api, issue, dlq];
    let other = world.start_api().await?;
    let load = async {
        for number in 0..LOAD {
            let member = world.member(&other, &format!("load-{number}"))?;
            eventually("the load goes on", SOON, async || member.ask("SWEPT").await.is_held()).await?;
        }
        Ok(())
    };
    let one_by_one = async {
        for number in 0..MEMBERS {
            ask(&world, &mut processes[0], &run, number).await?;
        }
        redrive(&world, &rules, &processes[victim as usize]).await
    };
    tokio::try_join!(load, one_by_one)?;
    let ended = &processes[victim as usize];
    if victim != Victim::Api || !is_restarted(ended) {
        aborted(ended).await?;
        processes[victim as usize] = run.launch(victim).await?;
    }
    for number in 0..MEMBERS {
        ask(&world, &mut processes[0], &run, number).await?;
    }
    if let Some(entry) = unreadable {
        let _: i64 = world.stock.redis().zrem(key("SWEPT", "outbox"), entry).await?;
    }
    let expected = [Kind::DeadLetterUnlabelled];
    let verdict = world.quiet(CONVERGED, &expected).await?;
    ensure!(verdict.compensated <= 4 && verdict.issued + 2 >= MEMBERS + LOAD, "{verdict}");
    Ok(())
}

/// Whether this process was started anew without a point.
fn is_restarted(process: &Process) -> bool {
    !process.log_contains("crash point") && process.is_running()
}

/// A member asks until there is an answer; an API that has ended on the way is started again.
async fn ask(world: &World, api: &mut Process, run: &Run<'_>, number: usize) -> Result<()> {
    let deadline = Instant::now() + SOON * 2;
    loop {
        if !api.is_running() {
            ensure!(run.victim == Victim::Api, "the API has ended: {:?}", api.exit(SOON).await?);
            aborted(api).await?;
            *api = run.launch(Victim::Api).await?;
        }
        let answer = world.member(api, &format!("member-{number}"))?.ask("SWEPT").await;
        if answer.is_held() || answer.status == Some(409) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{answer:?}");
        coupon_e2e::wait::pause(Duration::from_millis(50)).await;
    }
}

/// Writes the records of compensated requests to both topics again, and those of issued ones to the dead letter topic.
async fn redrive(world: &World, rules: &[Rule], victim: &Process) -> Result<()> {
    let started = Instant::now();
    let compensated = async || -> Result<Option<Option<uuid::Uuid>>> {
        let id = sqlx::query_scalar("SELECT request_id FROM coupon_issues WHERE decision = 'COMPENSATED' LIMIT 1");
        let found: Option<uuid::Uuid> = id.fetch_optional(&world.db).await?;
        // While the victim is gone nothing may be decided, and then there is nothing to repeat.
        let is_hopeless = !victim.is_running() && started.elapsed() > Duration::from_secs(5);
        Ok((found.is_some() || is_hopeless).then_some(found))
    };
    let Some(compensated) = eventually("something is compensated", SOON * 2, compensated).await? else {
        return Ok(());
    };
    // Otherwise the database would refuse the repeated request before it finds the decision.
    for rule in rules {
        rule.lift().await?;
    }
    let records = world.topic.read().await?;
    let is_it = |record: &&Record| record.event().is_some_and(|event| event.request_id == compensated);
    let issued = records.iter().find(|record| record.event().is_some_and(|event| event.request_id != compensated));
    let again = records.iter().find(is_it).context("the event of the compensated request")?.again();
    world.topic.write(&again).await?;
    world.dlq.write_all(&[again, issued.context("another event")?.again()]).await?;
    Ok(())
}
