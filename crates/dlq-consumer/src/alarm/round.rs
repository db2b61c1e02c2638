//! One round of sending alarms: which channel is called, and the state of each.

use chrono::{DateTime, TimeDelta, Utc};
use coupon_core::{
    repo::{Database, RepoError, alarms::ChannelState},
    runtime::chain,
};

use super::{
    channels::{Channel, Channels},
    view::Alarm,
};

/// The states of the channels, as far as this process knows them while it sends alarms.
pub struct Round<'c> {
    channels: &'c Channels,
    database: &'c Database,
    states: Vec<ChannelState>,
    /// Whether the first channel has failed in this round: it is not called again for each of many causes.
    first_failed: bool,
}

impl<'c> Round<'c> {
    /// Begins a round with the states of the channels that all replicas have noted.
    pub async fn begin(channels: &'c Channels, database: &'c Database) -> Result<Self, RepoError> {
        let states = if channels.in_order.is_empty() { Vec::new() } else { database.alarms().channels().await? };
        Ok(Self { channels, database, states, first_failed: false })
    }

    /// Whether a channel may take an alarm now, or none is set and the log alone takes it.
    pub fn can_send(&self, now: DateTime<Utc>) -> bool {
        let Some(first) = self.first() else { return true };
        !self.first_failed && self.may_ask(first, now) || self.stand_in(now).is_some()
    }

    /// Sends an alarm and returns the name of the first channel that takes it, `log` if none is set; `None` if none takes
    /// it.
    pub async fn deliver(
        &mut self,
        alarm: &Alarm,
        now: impl Fn() -> DateTime<Utc>,
    ) -> Result<Option<&'static str>, RepoError> {
        let Some(first) = self.first() else { return Ok(Some("log")) };
        if !self.first_failed && self.may_ask(first, now()) {
            if self.ask(first, alarm, &now).await? {
                return Ok(Some(first.kind.name()));
            }
            self.first_failed = true;
        }
        let Some(second) = self.stand_in(now()) else { return Ok(None) };
        let since = self.down_since(first).unwrap_or_else(&now);
        let error = self.last_error(first);
        let mut alarm = alarm.clone();
        alarm.notes.push(format!("{} has been down since {}: {error}", first.kind.name(), since.to_rfc3339()));
        Ok(self.ask(second, &alarm, &now).await?.then_some(second.kind.name()))
    }

    /// Returns when to try an alarm again that no channel took, at the latest after `longest`.
    pub fn again_at(&self, now: DateTime<Utc>, longest: TimeDelta) -> DateTime<Utc> {
        let pauses = self.states.iter().filter_map(|state| state.not_before);
        pauses.chain(self.takeover_at()).filter(|at| *at > now).fold(now + longest, DateTime::min)
    }

    /// Returns since when no channel works, and the last error of each; `None` while one works.
    pub fn all_down(&self) -> Option<(DateTime<Utc>, String)> {
        let (mut since, mut errors) = (None, Vec::new());
        for channel in &self.channels.in_order {
            since = since.max(Some(self.down_since(channel)?));
            errors.push(format!("{}: {}", channel.kind.name(), self.last_error(channel)));
        }
        Some((since?, errors.join("; ")))
    }

    /// Whether no alarm is delivered: the first channel is down, and no other works in its place.
    pub fn reaches_nobody(&self, now: DateTime<Utc>) -> bool {
        let is_down = |channel: &Channel| self.down_since(channel).is_some();
        self.first().is_some_and(is_down) && self.stand_in(now).is_none_or(is_down)
    }

    fn first(&self) -> Option<&'c Channel> {
        self.channels.in_order.first()
    }

    /// Returns the second channel, if it has taken over and may be called.
    fn stand_in(&self, now: DateTime<Utc>) -> Option<&'c Channel> {
        let second = self.channels.in_order.get(1)?;
        (self.takeover_at()? <= now && self.may_ask(second, now)).then_some(second)
    }

    /// Returns when the second channel takes over from the first; `None` if there is no second, or the first is not down.
    fn takeover_at(&self) -> Option<DateTime<Utc>> {
        let [first, _] = self.channels.in_order.as_slice() else { return None };
        Some(self.down_since(first)? + self.channels.takeover_after)
    }

    fn may_ask(&self, channel: &Channel, now: DateTime<Utc>) -> bool {
        self.state(channel).and_then(|state| state.not_before).is_none_or(|not_before| not_before <= now)
    }

    fn down_since(&self, channel: &Channel) -> Option<DateTime<Utc>> {
        self.state(channel)?.down_since
    }

    fn last_error(&self, channel: &Channel) -> &str {
        self.state(channel).and_then(|state| state.last_error.as_deref()).unwrap_or("unknown")
    }

    fn state(&self, channel: &Channel) -> Option<&ChannelState> {
        self.states.iter().find(|state| state.channel == channel.kind.name())
    }

    async fn ask(
        &mut self,
        channel: &Channel,
        alarm: &Alarm,
        now: impl Fn() -> DateTime<Utc>,
    ) -> Result<bool, RepoError> {
        let name = channel.kind.name();
        let sent = channel.send(alarm, now()).await;
        if let Err(refusal) = sent {
            metrics::counter!("coupon_alarm_refusals_total", "channel" => name).increment(1);
            tracing::warn!(channel = name, "an alarm could not be sent to {name}: {refusal}");
            let noted =
                self.database.alarms().note_channel_failed(name, refusal.what, refusal.not_before, now()).await?;
            self.states.retain(|state| state.channel != name);
            self.states.push(noted);
            return Ok(false);
        }
        if let Some(since) = self.down_since(channel) {
            tracing::info!(channel = name, "{name} takes alarms again; it was down since {since}");
            self.states.retain(|state| state.channel != name);
            // The alarm was sent all the same; the next one that the channel takes notes that it works.
            if let Err(error) = self.database.alarms().note_channel_works(name).await {
                tracing::warn!(channel = name, "it is not noted that {name} works: {}", chain(&error));
            }
        }
        Ok(true)
    }
}
