//! What this process has logged of alarms, so that it logs nothing twice.

use std::{collections::HashMap, time::Duration};

use coupon_core::repo::alarms::{AlarmGroup, Claim};
use tokio::time::Instant;

use super::{critical, round::Round};

/// Causes that are remembered as logged; beyond that some may be logged again.
const MAX_REMEMBERED_CAUSES: usize = 1_000;

/// What this process has logged.
#[derive(Default)]
pub struct Logged {
    /// Of each cause, the highest letter and notice.
    causes: HashMap<String, (i64, i64)>,
    /// When it last logged that alarms reach nobody.
    undelivered: Option<Instant>,
}

impl Logged {
    /// Logs a cause, unless all of it was logged when its alarm could not be sent.
    pub fn log_once(&mut self, claim: &Claim, group: &AlarmGroup) {
        if self.causes.len() >= MAX_REMEMBERED_CAUSES {
            self.causes.clear();
        }
        let letter = group.letters.as_ref().and_then(|letters| letters.ids.last().copied()).unwrap_or(0);
        let notice = group.notice.as_ref().map_or(0, |notice| notice.id);
        let known = self.causes.entry(claim.cause.clone()).or_default();
        if letter > known.0 || notice > known.1 {
            *known = (letter.max(known.0), notice.max(known.1));
            critical::log_alarm(claim, group);
        }
    }

    /// Notes that the alarm of a cause is sent. A cause is remembered only while it is unsent: what is sent anew, a letter
    /// with another status, is logged anew.
    pub fn note_sent(&mut self, cause: &str) {
        self.causes.remove(cause);
    }

    /// Logs that `unsent` dead letters and notices reach nobody, once in `digest`, while all channels are down.
    pub fn log_undelivered(&mut self, unsent: i64, round: &Round<'_>, digest: Duration) {
        let is_news = self.undelivered.is_none_or(|at| at.elapsed() >= digest);
        if let Some((since, errors)) = round.all_down().filter(|_| unsent > 0 && is_news) {
            self.undelivered = Some(Instant::now());
            tracing::error!(
                count = unsent,
                installation = critical::installation(),
                "[CRITICAL] {unsent} alarms cannot be delivered anywhere since {}: {errors}",
                since.to_rfc3339()
            );
        }
    }
}
