//! O6: every process is killed, again and again, under load.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::Result;
use coupon_e2e::{
    chance,
    failures::FailMode,
    member::Member,
    process::Process,
    wait::{eventually, pause},
    world::World,
};
use rand::Rng;
use tokio::sync::RwLock;

const MEMBERS: usize = 600;
const STOCK: u64 = 400;
const KILLS: usize = 30;

/// Two processes of each service, any of which may have been killed.
struct Fleet<'w> {
    world: &'w World,
    processes: [RwLock<Option<Process>>; 6],
}

impl Fleet<'_> {
    async fn start(&self, index: usize) -> Result<()> {
        let launch = match index / 2 {
            0 => self.world.start_api(),
            1 => self.world.start_issue_consumer(),
            _ => self.world.start_dlq_consumer(),
        };
        *self.processes[index].write().await = Some(launch.without_waiting().await?);
        Ok(())
    }

    async fn kill(&self, index: usize) {
        if let Some(process) = self.processes[index].write().await.take() {
            process.kill();
        }
    }

    /// A member who asks one of the two, whichever is there.
    async fn member(&self, id: &str, api: usize) -> Result<Option<Member>> {
        let process = self.processes[api].read().await;
        process.as_ref().map(|process| self.world.member(process, id)).transpose()
    }

    /// Asks until there is an answer that is one.
    async fn ask(&self, id: &str) -> Result<()> {
        let turn = AtomicUsize::new(0);
        eventually(&format!("{id} gets an answer"), Duration::from_mins(3), async || -> Result<bool> {
            let api = turn.fetch_add(1, Ordering::Relaxed) % 2;
            let Some(member) = self.member(id, api).await? else { return Ok(false) };
            let answer = member.ask("KILLED").await;
            Ok(answer.is_held() || answer.is_refused_as(409, "SOLD_OUT"))
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o6_whatever_is_killed_nothing_is_lost_and_nothing_is_there_twice() -> Result<()> {
    let mut chance = chance::seeded("o6");
    let world = World::new().await?;
    world.open_campaign("KILLED", STOCK).await?;
    for number in 0..5 {
        world.fail_member("KILLED", &format!("member-{number}"), FailMode::Permanently).await?;
    }
    let fleet = Fleet { world: &world, processes: Default::default() };
    for index in 0..6 {
        fleet.start(index).await?;
    }
    let next = AtomicUsize::new(0);
    let asking = async || -> Result<()> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= MEMBERS {
                return Ok(());
            }
            fleet.ask(&format!("member-{number}")).await?;
        }
    };
    let killing = async {
        for _ in 0..KILLS {
            pause(Duration::from_millis(chance.random_range(100..1500))).await;
            let index = chance.random_range(0..6);
            fleet.kill(index).await;
            pause(Duration::from_millis(chance.random_range(0..300))).await;
            fleet.start(index).await?;
        }
        Ok(())
    };
    tokio::try_join!(killing, asking(), asking(), asking(), asking(), asking(), asking())?;
    // Whoever has not come up, because somebody had taken its port.
    for index in 0..6 {
        let is_gone = fleet.processes[index].read().await.as_ref().is_none_or(|process| !process.is_running());
        if is_gone {
            fleet.start(index).await?;
        }
    }
    let verdict = world.quiet(Duration::from_mins(2), &[]).await?;
    println!("o6: {KILLS} kills; {verdict}");
    assert!(verdict.compensated <= 5, "{verdict}");
    Ok(())
}
