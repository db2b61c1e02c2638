//! The alarm sender: claims causes whose alarms are unsent, and sends them.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use coupon_core::{
    clock::Clock,
    crash::{self, Moment},
    repo::{Database, RepoError, alarms::Claiming},
    runtime::{SettingsError, Shutdown, chain, panics},
};
use tokio::{sync::Notify, time::sleep};
use uuid::Uuid;

use super::{
    channels::Channels,
    log::{self, Logged},
    round::Round,
    settings::{AlarmSettings, milliseconds},
    unsent::{UnsentAlarm, messages, together},
    view::Alarm,
};

/// Time between two passes, when nothing wakes the sender earlier.
const PASS_INTERVAL: Duration = Duration::from_secs(1);
/// Time between a wake-up and its pass: dead letters of one burst are sent together.
const BURST_WAIT: Duration = Duration::from_millis(100);
/// Causes claimed together; first alarms among them stand in one message.
const MAX_BURST_CAUSES: usize = 16;

/// Sends alarms of dead letters and notices.
pub struct AlarmSender {
    database: Database,
    clock: Arc<dyn Clock>,
    alarms_wakeup: Arc<Notify>,
    settings: AlarmSettings,
    channels: Channels,
    by: String,
    digest: TimeDelta,
    lease: TimeDelta,
}

impl AlarmSender {
    /// A sender over the channels that are set. `alarms_wakeup` begins a pass early.
    pub fn new(
        settings: &AlarmSettings,
        database: Database,
        clock: Arc<dyn Clock>,
        alarms_wakeup: Arc<Notify>,
    ) -> Result<Self, SettingsError> {
        log::set_installation(&settings.installation);
        Ok(Self {
            channels: Channels::new(settings)?,
            database,
            clock,
            alarms_wakeup,
            by: Uuid::now_v7().to_string(),
            digest: milliseconds(settings.digest_ms),
            // Time to call two channels, and to note what they took.
            lease: milliseconds(settings.timeout_ms) * 4 + TimeDelta::seconds(10),
            settings: settings.clone(),
        })
    }

    /// Sends until the shutdown begins. What could not be sent stays unsent in the database.
    pub async fn run(mut self, shutdown: Shutdown) {
        let (mut logged, mut failed) = (Logged::default(), false);
        loop {
            self.channels.read_again(&self.settings);
            match self.pass(&mut logged, &shutdown).await {
                Ok(()) => failed = false,
                Err(error) if std::mem::replace(&mut failed, true) => {
                    tracing::debug!("unsent alarms still cannot be read: {}", chain(&error));
                }
                Err(error) => tracing::warn!("unsent alarms cannot be read now: {}", chain(&error)),
            }
            // While PostgreSQL is away, wake-ups by dead letters do not call it more often.
            let woken =
                async { if failed { std::future::pending().await } else { self.alarms_wakeup.notified().await } };
            tokio::select! {
                () = shutdown.stopping() => return,
                () = woken => sleep(BURST_WAIT).await,
                () = sleep(PASS_INTERVAL) => {}
            }
        }
    }

    async fn pass(&self, logged: &mut Logged, shutdown: &Shutdown) -> Result<(), RepoError> {
        let mut round = Round::begin(&self.channels, &self.database).await?;
        let mut goes_on = true;
        while goes_on && !shutdown.is_stopping() && round.can_send(self.clock.now()) {
            // A claim must not run out while alarms of others are sent before it.
            let until = self.clock.now() + self.lease / 2;
            let messages = messages(self.claim_some(logged).await?);
            if messages.is_empty() {
                break;
            }
            for message in messages {
                goes_on = goes_on && self.send(&mut round, message, until, logged).await?;
            }
        }
        while goes_on && !shutdown.is_stopping() && round.can_send(self.clock.now()) {
            goes_on = self.send_all_clear(&mut round).await?;
        }
        self.report_undelivered(&round, logged).await
    }

    /// Claims some of the causes whose alarms may be sent now, and logs them.
    async fn claim_some(&self, logged: &mut Logged) -> Result<Vec<UnsentAlarm>, RepoError> {
        let mut some = Vec::new();
        while some.len() < MAX_BURST_CAUSES {
            let Some(claim) = self.database.alarms().claim(self.claiming()).await? else { break };
            let group = self.database.alarms().group(&claim).await?;
            let composed = async {
                crash::pass("word an alarm", Moment::Before);
                let masked = Alarm::of(&claim, &group, true)?;
                logged.log_once(&claim, &group, &masked);
                if self.settings.mask_members { Some(masked) } else { Alarm::of(&claim, &group, false) }
            };
            // Anybody may have written the text of a dead letter. One whose alarm cannot be composed would otherwise end
            // every replica in turn, and with it all other alarms.
            match panics::caught(composed).await {
                Some(Some(alarm)) => some.push(UnsentAlarm { claim, group, alarm }),
                Some(None) => self.database.alarms().release(claim, self.clock.now()).await?,
                None => {
                    log::log_not_composed(&claim);
                    self.database.alarms().release(claim, self.clock.now() + self.digest).await?;
                }
            }
        }
        Ok(some)
    }

    /// Sends some causes in one message. Returns `false` when no channel takes it: nothing more is sent in this round.
    async fn send(
        &self,
        round: &mut Round<'_>,
        message: Vec<UnsentAlarm>,
        until: DateTime<Utc>,
        logged: &mut Logged,
    ) -> Result<bool, RepoError> {
        let Some(alarm) = together(&message) else { return Ok(true) };
        if self.clock.now() >= until {
            self.release(message, self.clock.now()).await?;
            return Ok(true);
        }
        // The layout for a channel is made of the same foreign text, and may panic too.
        let Some(delivered) = panics::caught(self.deliver(round, alarm)).await else {
            if let [unsent] = message.as_slice() {
                log::log_not_composed(&unsent.claim);
                self.release(message, self.clock.now() + self.digest).await?;
                return Ok(true);
            }
            // One cause is at fault: each is sent alone, so that the others arrive.
            for unsent in message {
                if !Box::pin(self.send(round, vec![unsent], until, logged)).await? {
                    return Ok(false);
                }
            }
            return Ok(true);
        };
        let Some(channel) = delivered? else {
            self.release(message, round.again_at(self.clock.now(), self.digest)).await?;
            return Ok(false);
        };
        for unsent in message {
            unsent.note_sent(&self.database, &*self.clock).await?;
            logged.note_sent(&unsent.claim.cause);
        }
        metrics::counter!("coupon_alarms_told_total", "channel" => channel).increment(1);
        Ok(true)
    }

    /// Sends the all-clear of one cause. Returns `false` when there is no such cause, or no channel takes it.
    async fn send_all_clear(&self, round: &mut Round<'_>) -> Result<bool, RepoError> {
        let Some(claim) = self.database.alarms().claim_all_clear(self.claiming()).await? else { return Ok(false) };
        let alarm = Alarm::all_clear(&claim, self.clock.now());
        let channel = self.deliver(round, alarm).await?;
        if channel.is_some() {
            self.database.alarms().note_all_clear(claim).await?;
        } else {
            self.database.alarms().release(claim, round.again_at(self.clock.now(), self.digest)).await?;
        }
        Ok(channel.is_some())
    }

    /// Returns the channel that took the alarm; `None` when none did.
    async fn deliver(&self, round: &mut Round<'_>, alarm: Alarm) -> Result<Option<&'static str>, RepoError> {
        let alarm = alarm.signed(&self.settings);
        let Some(channel) = round.deliver(&alarm, || self.clock.now()).await? else { return Ok(None) };
        let (severity, count, headline) = (alarm.severity.as_str(), alarm.count, &alarm.headline);
        if alarm.kind == "ALL_CLEAR" {
            tracing::info!(channel, severity, "sent to {channel}: {headline}");
        } else {
            tracing::info!(channel, severity, count, "an alarm is sent to {channel}");
        }
        Ok(Some(channel))
    }

    /// Releases the claims of a message: no replica tries its causes again before `until`.
    async fn release(&self, message: Vec<UnsentAlarm>, until: DateTime<Utc>) -> Result<(), RepoError> {
        for unsent in message {
            self.database.alarms().release(unsent.claim, until).await?;
        }
        Ok(())
    }

    fn claiming(&self) -> Claiming {
        Claiming { by: self.by.clone(), now: self.clock.now(), quiet: self.digest, lease: self.lease }
    }

    /// Sets the gauge of undelivered alarms, and logs them when no channel works.
    async fn report_undelivered(&self, round: &Round<'_>, logged: &mut Logged) -> Result<(), RepoError> {
        let unsent =
            if round.reaches_nobody(self.clock.now()) { self.database.alarms().count_unsent().await? } else { 0 };
        metrics::gauge!("coupon_alarms_undelivered").set(u32::try_from(unsent).unwrap_or(u32::MAX));
        logged.log_undelivered(unsent, round, self.digest.to_std().unwrap_or(PASS_INTERVAL));
        Ok(())
    }
}
