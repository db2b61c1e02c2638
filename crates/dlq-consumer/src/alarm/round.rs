//! One round of sending alarms: which channel is asked, and what is known of each.

use chrono::{DateTime, Utc};
use coupon_core::{
    repo::{Database, RepoError, alarms::ChannelState},
    runtime::chain,
};

use super::{
    channels::{Channel, Channels, Kind},
    view::Alarm,
};

/// How the channels fare as far as this process knows, while it sends alarms.
pub struct Round<'c> {
    channels: &'c Channels,
    database: &'c Database,
    states: Vec<ChannelState>,
    /// The first has failed in this round: it is not asked again for each of many causes.
    first_failed: bool,
}

impl<'c> Round<'c> {
    /// Reads how they fare.
    pub async fn begin(channels: &'c Channels, database: &'c Database) -> Result<Self, RepoError> {
        let states = if channels.first.is_some() { database.alarms().channels().await? } else { Vec::new() };
        Ok(Self { channels, database, states, first_failed: false })
    }

    /// Whether a channel may take an alarm now, or none is set and the log alone takes it.
    pub fn can_send(&self, now: DateTime<Utc>) -> bool {
        let Some(first) = &self.channels.first else { return true };
        !self.first_failed && self.may_ask(first, now) || self.stand_in(now).is_some()
    }

    /// Sends an alarm through the first channel that takes it.
    pub async fn deliver(&mut self, alarm: &Alarm, now: impl Fn() -> DateTime<Utc>) -> Result<Delivered, RepoError> {
        let channels = self.channels;
        let Some(first) = &channels.first else { return Ok(Delivered::Nowhere) };
        if !self.first_failed && self.may_ask(first, now()) {
            if self.ask(first, alarm, &now).await? {
                return Ok(Delivered::By(first.kind));
            }
            self.first_failed = true;
        }
        let Some(second) = self.stand_in(now()) else { return Ok(Delivered::Nowhere) };
        let state = self.state(first);
        let since = state.and_then(|state| state.down_since).unwrap_or_else(&now);
        let error = state.and_then(|state| state.last_error.as_deref()).unwrap_or("unknown");
        let mut alarm = alarm.clone();
        alarm.notes.push(format!("{} has been down since {}: {error}", first.kind.name(), since.to_rfc3339()));
        let is_sent = self.ask(second, &alarm, &now).await?;
        Ok(if is_sent { Delivered::By(second.kind) } else { Delivered::Nowhere })
    }

    /// When an alarm that nobody took is to be tried again, at the latest at `latest`.
    pub fn again_at(&self, now: DateTime<Utc>, latest: DateTime<Utc>) -> DateTime<Utc> {
        let down_since = self.channels.first.as_ref().and_then(|first| self.state(first)?.down_since);
        let taken_over =
            down_since.filter(|_| self.channels.second.is_some()).map(|since| since + self.channels.takeover_after);
        let pauses = self.states.iter().map(|state| state.not_before);
        pauses.chain([taken_over]).flatten().filter(|at| *at > now).fold(latest, DateTime::min)
    }

    /// The moment since when no channel works, and the last error of each; `None` while one works.
    pub fn all_down(&self) -> Option<(DateTime<Utc>, String)> {
        let mut since = None;
        let mut errors = Vec::new();
        for channel in self.channels.all() {
            let state = self.state(channel)?;
            since = since.max(Some(state.down_since?));
            errors.push(format!("{}: {}", channel.kind.name(), state.last_error.as_deref().unwrap_or("unknown")));
        }
        Some((since?, errors.join("; ")))
    }

    /// Whether alarms reach nobody: the first channel is down, and no other works in its place.
    pub fn reaches_nobody(&self, now: DateTime<Utc>) -> bool {
        let is_down = |channel: &Channel| self.state(channel).is_some_and(|state| state.down_since.is_some());
        self.channels.first.as_ref().is_some_and(is_down) && self.stand_in(now).is_none_or(is_down)
    }

    /// The second channel, if it is its turn and it may be asked.
    fn stand_in(&self, now: DateTime<Utc>) -> Option<&'c Channel> {
        let down_since = self.channels.first.as_ref().and_then(|first| self.state(first)?.down_since)?;
        let second = self.channels.second.as_ref().filter(|_| down_since + self.channels.takeover_after <= now)?;
        self.may_ask(second, now).then_some(second)
    }

    fn may_ask(&self, channel: &Channel, now: DateTime<Utc>) -> bool {
        self.state(channel).and_then(|state| state.not_before).is_none_or(|not_before| not_before <= now)
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
        let before = self.state(channel).and_then(|state| state.down_since);
        match channel.send(alarm, now()).await {
            Ok(_) => {
                if let Some(since) = before {
                    tracing::info!(channel = name, "{name} takes alarms again; it was down since {since}");
                    self.states.retain(|state| state.channel != name);
                    // It was sent all the same; the next alarm that it takes says so again.
                    if let Err(error) = self.database.alarms().note_channel_works(name).await {
                        tracing::warn!(channel = name, "it is not noted that {name} works: {}", chain(&error));
                    }
                }
                Ok(true)
            }
            Err(refusal) => {
                metrics::counter!("coupon_alarm_refusals_total", "channel" => name).increment(1);
                tracing::warn!(channel = name, "an alarm could not be told by {name}: {refusal}");
                let noted = self.database.alarms().note_channel_failed(name, refusal.what, refusal.not_before, now());
                let noted = noted.await?;
                self.states.retain(|state| state.channel != name);
                self.states.push(noted);
                Ok(false)
            }
        }
    }
}

/// What became of an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// This channel took it.
    By(Kind),
    /// None did.
    Nowhere,
}
