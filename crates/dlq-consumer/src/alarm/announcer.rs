//! The announcer: looks for what nobody has been told of, and tells it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono::TimeDelta;
use coupon_core::{
    clock::Clock,
    crash::{self, Moment},
    repo::{
        Database, RepoError,
        alarms::{Claim, Claiming, Group},
    },
    runtime::{SettingsError, Shutdown, chain, panics},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};
use uuid::Uuid;

use super::{
    channels::Channels,
    critical,
    round::{Delivered, Round},
    view::Alarm,
};
use crate::config::AlarmSettings;

/// How often it looks, when nothing wakes it earlier.
const SWEEP: Duration = Duration::from_secs(1);
/// How long it waits after it was woken: what comes together is told together.
const TOGETHER: Duration = Duration::from_millis(100);
/// Letters noted as told in one statement, far below what takes as long as a statement may.
const BATCH: usize = 5_000;
/// Causes of which is remembered what the log has said; beyond that it may say something again.
const REMEMBERED: usize = 1_000;

/// Tells of dead letters and notices.
pub struct Announcer {
    database: Database,
    clock: Arc<dyn Clock>,
    silent: Arc<Notify>,
    channels: Channels,
    by: String,
    digest: TimeDelta,
    lease: TimeDelta,
    mask_members: bool,
}

/// What this process has said in its log.
#[derive(Default)]
struct Said {
    /// Of each cause, the highest letter and notice.
    causes: HashMap<String, (i64, i64)>,
    /// When it last said that alarms reach nobody.
    undelivered: Option<Instant>,
}

impl Announcer {
    /// Over the channels that are set. Woken by `silent`.
    pub fn new(
        settings: &AlarmSettings,
        database: Database,
        clock: Arc<dyn Clock>,
        silent: Arc<Notify>,
    ) -> Result<Self, SettingsError> {
        let ms = |ms: u64| TimeDelta::milliseconds(ms.try_into().unwrap_or(i64::MAX));
        Ok(Self {
            channels: Channels::new(settings)?,
            database,
            clock,
            silent,
            by: Uuid::now_v7().to_string(),
            digest: ms(settings.digest_ms),
            // Two channels may be asked, and what they took is noted.
            lease: ms(settings.timeout_ms) * 4 + TimeDelta::seconds(10),
            mask_members: settings.mask_members,
        })
    }

    /// Tells until the shutdown begins. What it could not tell stays untold in the database.
    pub async fn run(self, shutdown: Shutdown) {
        let (mut said, mut failed) = (Said::default(), false);
        loop {
            match self.sweep(&mut said, &shutdown).await {
                Ok(()) => failed = false,
                Err(error) if std::mem::replace(&mut failed, true) => {
                    tracing::debug!("alarms still cannot be looked for: {}", chain(&error));
                }
                Err(error) => tracing::warn!("alarms cannot be looked for now: {}", chain(&error)),
            }
            // A database that is away is not asked as often as dead letters come.
            let woken = async { if failed { std::future::pending().await } else { self.silent.notified().await } };
            tokio::select! {
                () = shutdown.stopping() => return,
                () = woken => sleep(TOGETHER).await,
                () = sleep(SWEEP) => {}
            }
        }
    }

    async fn sweep(&self, said: &mut Said, shutdown: &Shutdown) -> Result<(), RepoError> {
        let mut round = Round::begin(&self.channels, &self.database).await?;
        while !shutdown.is_stopping() && round.can_tell(self.clock.now()) {
            let Some(claim) = self.database.claim_alarm(self.claiming()).await? else { break };
            let group = self.database.alarm_group(&claim).await?;
            let tell = async {
                crash::pass("word an alarm", Moment::Before);
                let Some(alarm) = Alarm::of(&claim, &group, self.mask_members) else { return Ok(None) };
                said.once(&claim, &group);
                let delivered = round.deliver(&alarm, || self.clock.now()).await?;
                Ok::<_, RepoError>(Some((delivered, alarm.count)))
            };
            // Anybody may have written what a letter holds. One that cannot be put into words would otherwise end every
            // replica in turn, and with it all other alarms.
            let Some(told) = panics::caught(tell).await else {
                critical::unspeakable(&claim);
                let now = self.clock.now();
                self.database.let_alarm_go(claim, now + self.digest).await?;
                continue;
            };
            let Some((delivered, count)) = told? else {
                let now = self.clock.now();
                self.database.let_alarm_go(claim, now).await?;
                continue;
            };
            let channel = match delivered {
                Delivered::By(kind) => kind.name(),
                Delivered::Nowhere if self.channels.first.is_none() => "log",
                Delivered::Nowhere => {
                    let now = self.clock.now();
                    self.database.let_alarm_go(claim, round.again_at(now, now + self.digest)).await?;
                    break;
                }
            };
            self.note_told(&claim, &group).await?;
            // Remembered only while it is untold: what is told anew, a letter with another status, is said anew.
            said.causes.remove(&claim.cause);
            metrics::counter!("coupon_alarms_told_total", "channel" => channel).increment(1);
            tracing::info!(channel, count, "an alarm is told by {channel}");
        }
        self.say_undelivered(&round, said).await
    }

    fn claiming(&self) -> Claiming {
        Claiming { by: self.by.clone(), now: self.clock.now(), quiet: self.digest, lease: self.lease }
    }

    /// Exactly what was read is noted: what came meanwhile is told the next time.
    async fn note_told(&self, claim: &Claim, group: &Group) -> Result<(), RepoError> {
        let letters = group.letters.as_ref().map_or(&[][..], |letters| &letters.ids);
        metrics::counter!("coupon_dead_letters_announced_total").increment(letters.len() as u64);
        let notice = group.notice.as_ref().map(|notice| notice.id);
        let mut batches = letters.chunks(BATCH).peekable();
        loop {
            let batch = batches.next().unwrap_or_default().to_vec();
            let is_last = batches.peek().is_none();
            let notice = notice.filter(|_| is_last);
            self.database.note_told(claim, batch, notice, is_last, self.clock.now()).await?;
            if is_last {
                return Ok(());
            }
        }
    }

    async fn say_undelivered(&self, round: &Round<'_>, said: &mut Said) -> Result<(), RepoError> {
        let untold = if round.is_silent(self.clock.now()) { self.database.untold().await? } else { 0 };
        metrics::gauge!("coupon_alarms_undelivered").set(u32::try_from(untold).unwrap_or(u32::MAX));
        let digest = self.digest.to_std().unwrap_or(SWEEP);
        let is_news = said.undelivered.is_none_or(|at| at.elapsed() >= digest);
        if let Some((since, errors)) = round.all_down().filter(|_| untold > 0 && is_news) {
            said.undelivered = Some(Instant::now());
            tracing::error!(
                count = untold,
                "[CRITICAL] {untold} alarms cannot be delivered anywhere since {}: {errors}",
                since.to_rfc3339()
            );
        }
        Ok(())
    }
}

impl Said {
    /// Says it in the log, unless all of it was said when it could not be told.
    fn once(&mut self, claim: &Claim, group: &Group) {
        if self.causes.len() >= REMEMBERED {
            self.causes.clear();
        }
        let letter = group.letters.as_ref().and_then(|letters| letters.ids.last().copied()).unwrap_or(0);
        let notice = group.notice.as_ref().map_or(0, |notice| notice.id);
        let known = self.causes.entry(claim.cause.clone()).or_default();
        if letter > known.0 || notice > known.1 {
            *known = (letter.max(known.0), notice.max(known.1));
            critical::told(claim, group);
        }
    }
}
