//! The members: they ask, hang up, repeat, come back, and look what they hold, at a steady pace over the whole run.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use chrono::Utc;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use reqwest::Client;
use uuid::Uuid;

use super::Run;
use crate::{
    answers::Answer,
    member::{Member, http_client},
    wait::pause,
};

/// Questions that a client may have in flight.
pub(super) const ASKERS: usize = 16;
/// Campaigns that members still look at.
const REMEMBERED: usize = 8;
/// Pause of a member whose client gets no answer at all.
const UNREACHED: Duration = Duration::from_millis(200);
const HUNG_UP: &str = "hung up";

/// A campaign as its members know it.
#[derive(Debug)]
pub(super) struct Campaign {
    pub(super) code: String,
    /// Members who have asked so far: numbers from 0 on.
    pub(super) members: AtomicU64,
    held: Mutex<BTreeMap<u64, Uuid>>,
}

/// All members of a run.
#[derive(Debug)]
pub(super) struct Crowd {
    seed: u64,
    requests: u64,
    length: Duration,
    next: AtomicU64,
    campaigns: RwLock<Vec<Arc<Campaign>>>,
}

impl Crowd {
    pub(super) fn new(seed: u64, requests: u64, length: Duration) -> Self {
        Self { seed, requests, length, next: AtomicU64::new(0), campaigns: RwLock::default() }
    }

    /// Lets members ask for a campaign from now on, and for the oldest no more.
    pub(super) fn learns_of(&self, code: &str) {
        let mut campaigns = self.campaigns.write().unwrap_or_else(PoisonError::into_inner);
        let (members, held) = (AtomicU64::new(0), Mutex::default());
        campaigns.push(Arc::new(Campaign { code: code.to_owned(), members, held }));
        let old = campaigns.len().saturating_sub(REMEMBERED);
        campaigns.drain(..old);
    }

    /// The campaigns that members ask for, oldest first.
    pub(super) fn campaigns(&self) -> Vec<Arc<Campaign>> {
        self.campaigns.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Number of questions begun.
    pub(super) fn asked(&self) -> u64 {
        self.next.load(Ordering::Relaxed).min(self.requests)
    }

    /// Number and time of the next question; none when all are asked.
    fn ticket(&self, started: Instant) -> Option<(u64, Instant)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if number >= self.requests {
            return None;
        }
        let due_us = self.length.as_micros() * u128::from(number) / u128::from(self.requests);
        Some((number, started + Duration::from_micros(u64::try_from(due_us).unwrap_or(u64::MAX))))
    }
}

/// The name of a member.
pub(super) fn name(number: u64) -> String {
    format!("m-{number}")
}

/// Asks one question after the other by the way of this client, until the run is over.
pub(super) async fn ask(run: Arc<Run>, client: usize) -> Result<()> {
    let (http, url) = (http_client()?, format!("http://{}", run.fleet.clients[client].address()));
    while let Some((number, due)) = run.crowd.ticket(run.started) {
        tokio::time::sleep_until(due.into()).await;
        if run.is_over() {
            break;
        }
        let mut chance = StdRng::seed_from_u64(run.crowd.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        question(&run, &http, &url, &mut chance).await?;
    }
    Ok(())
}

async fn question(run: &Run, http: &Client, url: &str, chance: &mut StdRng) -> Result<()> {
    let campaigns = run.crowd.campaigns();
    // Most ask for what is new.
    let young = &campaigns[campaigns.len().saturating_sub(REMEMBERED / 2)..];
    let some = if chance.random_bool(0.9) { young } else { &campaigns[..] };
    let Some(campaign) = some.choose(chance) else { return Ok(()) };
    let what: u32 = chance.random_range(0..100);
    let asked = campaign.members.load(Ordering::Relaxed);
    let number = if what < 50 || asked == 0 {
        campaign.members.fetch_add(1, Ordering::Relaxed)
    } else {
        chance.random_range(0..asked)
    };
    let id = name(number);
    let token = run.fleet.world.signer.token(&id).sign()?;
    let member = Member::with_client(&id, &token, url, run.fleet.world.answers.clone(), http.clone());
    let code = &campaign.code;
    let held = campaign.held.lock().unwrap_or_else(PoisonError::into_inner).get(&number).copied();
    let answer = match (what, held) {
        (0..42 | 50..75, _) => member.ask(code).await,
        (42..50 | 75..80, _) => {
            let patience = Duration::from_micros(chance.random_range(0..20_000));
            match tokio::time::timeout(patience, member.ask(code)).await {
                Ok(answer) => answer,
                Err(_) => hung_up(run, &id, code, patience),
            }
        }
        (80..92, Some(held)) => member.status(code, held).await,
        _ => member.ask_mine(code).await,
    };
    if let Some(held) = answer.request_id {
        campaign.held.lock().unwrap_or_else(PoisonError::into_inner).insert(number, held);
    }
    if answer.no_answer.is_some_and(|why| why != HUNG_UP) {
        pause(UNREACHED).await;
    }
    Ok(())
}

/// Logs that a member has not waited for the answer.
fn hung_up(run: &Run, member: &str, code: &str, took: Duration) -> Answer {
    let (member, coupon) = (member.to_owned(), code.to_owned());
    let no_answer = Some(HUNG_UP.to_owned());
    let answer = Answer { at: Utc::now(), took, member, coupon, no_answer, ..Answer::default() };
    run.fleet.world.answers.write(answer.clone());
    answer
}
