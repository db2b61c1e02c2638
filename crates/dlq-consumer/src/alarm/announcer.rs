//! The announcer: looks for what nobody has been told of, and tells it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use coupon_core::{
    clock::Clock,
    crash::{self, Moment},
    repo::{
        Database, RepoError,
        alarms::{Claim, Claiming, Group, Told},
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
    signature::Signature,
    together::{belong, is_first, together},
    view::Alarm,
};
use crate::config::AlarmSettings;

/// How often it looks, when nothing wakes it earlier.
const SWEEP: Duration = Duration::from_secs(1);
/// How long it waits after it was woken: what comes together is told together.
const TOGETHER: Duration = Duration::from_millis(100);
/// Letters noted as told in one statement, far below what takes as long as a statement may.
const BATCH: usize = 5_000;
/// Causes claimed in one go; those that are told for the first time stand in one message.
const BURST: usize = 16;
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
    signature: Signature,
}

/// A claimed cause, and what there is to tell of it.
struct Due {
    claim: Claim,
    group: Group,
    alarm: Alarm,
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
        critical::of_installation(&settings.installation);
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
            signature: Signature::of(settings),
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
        let mut goes_on = true;
        while goes_on && !shutdown.is_stopping() && round.can_tell(self.clock.now()) {
            // A claim must not run out while others are told before it.
            let until = self.clock.now() + self.lease / 2;
            let messages = messages(self.claim_some(said).await?);
            if messages.is_empty() {
                break;
            }
            for message in messages {
                goes_on = goes_on && self.tell(&mut round, message, until, said).await?;
            }
        }
        while goes_on && !shutdown.is_stopping() && round.can_tell(self.clock.now()) {
            goes_on = self.tell_all_clear(&mut round).await?;
        }
        self.say_undelivered(&round, said).await
    }

    /// Claims what is due, some of it at a time, and says it in the log.
    async fn claim_some(&self, said: &mut Said) -> Result<Vec<Due>, RepoError> {
        let mut some = Vec::new();
        while some.len() < BURST {
            let Some(claim) = self.database.claim_alarm(self.claiming()).await? else { break };
            let group = self.database.alarm_group(&claim).await?;
            let words = async {
                crash::pass("word an alarm", Moment::Before);
                let alarm = Alarm::of(&claim, &group, self.mask_members);
                if alarm.is_some() {
                    said.once(&claim, &group);
                }
                alarm
            };
            // Anybody may have written what a letter holds. One that cannot be put into words would otherwise end every
            // replica in turn, and with it all other alarms.
            match panics::caught(words).await {
                Some(Some(alarm)) => some.push(Due { claim, group, alarm }),
                Some(None) => self.database.let_alarm_go(claim, self.clock.now()).await?,
                None => {
                    critical::unspeakable(&claim);
                    let now = self.clock.now();
                    self.database.let_alarm_go(claim, now + self.digest).await?;
                }
            }
        }
        Ok(some)
    }

    /// Tells of some causes in one message; `false` when nobody takes it, and nothing is told any more in this round.
    async fn tell(
        &self,
        round: &mut Round<'_>,
        message: Vec<Due>,
        until: DateTime<Utc>,
        said: &mut Said,
    ) -> Result<bool, RepoError> {
        let Some(alarm) = together(message.iter().map(|due| due.alarm.clone()).collect()) else { return Ok(true) };
        if self.clock.now() >= until {
            self.let_go(message, self.clock.now()).await?;
            return Ok(true);
        }
        // The layout for a channel is made of the same foreign text.
        let Some(delivered) = panics::caught(self.deliver(round, alarm)).await else {
            if message.len() == 1 {
                for due in &message {
                    critical::unspeakable(&due.claim);
                }
                self.let_go(message, self.clock.now() + self.digest).await?;
                return Ok(true);
            }
            // One of them is at fault, and the others are told without it.
            for due in message {
                if !Box::pin(self.tell(round, vec![due], until, said)).await? {
                    return Ok(false);
                }
            }
            return Ok(true);
        };
        let Some(channel) = delivered? else {
            let now = self.clock.now();
            self.let_go(message, round.again_at(now, now + self.digest)).await?;
            return Ok(false);
        };
        for due in message {
            self.note_told(&due).await?;
            // Remembered only while it is untold: what is told anew, a letter with another status, is said anew.
            said.causes.remove(&due.claim.cause);
        }
        metrics::counter!("coupon_alarms_told_total", "channel" => channel).increment(1);
        Ok(true)
    }

    /// Tells that nothing of a cause waits any more; `false` when there is none such, or nobody takes it.
    async fn tell_all_clear(&self, round: &mut Round<'_>) -> Result<bool, RepoError> {
        let Some(cleared) = self.database.claim_all_clear(self.claiming()).await? else { return Ok(false) };
        let alarm = Alarm::all_clear(&cleared, self.clock.now());
        let told = self.deliver(round, alarm).await?;
        if told.is_some() {
            self.database.note_all_clear(cleared.claim).await?;
        } else {
            let now = self.clock.now();
            self.database.let_alarm_go(cleared.claim, round.again_at(now, now + self.digest)).await?;
        }
        Ok(told.is_some())
    }

    /// Gives the channel that took it; `None` when none did.
    async fn deliver(&self, round: &mut Round<'_>, alarm: Alarm) -> Result<Option<&'static str>, RepoError> {
        let alarm = self.signature.sign(alarm);
        let channel = match round.deliver(&alarm, || self.clock.now()).await? {
            Delivered::By(kind) => kind.name(),
            Delivered::Nowhere if self.channels.first.is_none() => "log",
            Delivered::Nowhere => return Ok(None),
        };
        let (severity, count, headline) = (alarm.severity.as_str(), alarm.count, &alarm.headline);
        if alarm.kind == "ALL_CLEAR" {
            tracing::info!(channel, severity, "told by {channel}: {headline}");
        } else {
            tracing::info!(channel, severity, count, "an alarm is told by {channel}");
        }
        Ok(Some(channel))
    }

    async fn let_go(&self, message: Vec<Due>, until: DateTime<Utc>) -> Result<(), RepoError> {
        for due in message {
            self.database.let_alarm_go(due.claim, until).await?;
        }
        Ok(())
    }

    fn claiming(&self) -> Claiming {
        Claiming { by: self.by.clone(), now: self.clock.now(), quiet: self.digest, lease: self.lease }
    }

    /// Exactly what was read is noted: what came meanwhile is told the next time.
    async fn note_told(&self, Due { claim, group, alarm }: &Due) -> Result<(), RepoError> {
        let letters = group.letters.as_ref().map_or(&[][..], |letters| &letters.ids);
        metrics::counter!("coupon_dead_letters_announced_total").increment(letters.len() as u64);
        let notice = group.notice.as_ref().map(|notice| notice.id);
        // What was published again is told when it is done, and has no end to be told.
        let has_end = ["SUSPECT ", "LOST ", "DRIFT "].iter().any(|kind| claim.cause.starts_with(kind));
        let ends = !letters.is_empty() || has_end;
        let mut batches = letters.chunks(BATCH).peekable();
        loop {
            let letters = batches.next().unwrap_or_default().to_vec();
            let is_last = batches.peek().is_none();
            let notice = notice.filter(|_| is_last);
            let told = Told { letters, notice, shown: alarm.cause.clone(), ends };
            self.database.note_told(claim, told, is_last, self.clock.now()).await?;
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
                installation = critical::installation(),
                "[CRITICAL] {untold} alarms cannot be delivered anywhere since {}: {errors}",
                since.to_rfc3339()
            );
        }
        Ok(())
    }
}

/// The messages for what is due: causes told for the first time stand together, by kind and severity.
fn messages(due: Vec<Due>) -> Vec<Vec<Due>> {
    let mut messages: Vec<Vec<Due>> = Vec::new();
    for one in due {
        let with = |message: &&mut Vec<Due>| {
            message
                .iter()
                .all(|other| is_first(&one.alarm) && is_first(&other.alarm) && belong(&one.alarm, &other.alarm))
        };
        match messages.iter_mut().find(with) {
            Some(message) => message.push(one),
            None => messages.push(vec![one]),
        }
    }
    messages
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
