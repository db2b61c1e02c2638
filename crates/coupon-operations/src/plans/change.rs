//! A change, and what is known of it by itself: its verb, its rows, its name, the time it takes.

use coupon_core::{
    ids::CouponCode,
    repo::{
        jobs::ServiceJobKind,
        work_list::{Filter, List, Verb},
    },
};
use serde::{Deserialize, Serialize};

use crate::jobs::JobRef;

/// Rows above which a change has to be confirmed by typing a word.
const TYPED_ABOVE_ROWS: i64 = 100;
/// Rows settled in a second, as measured: a batch of 500 and its audit take some 200 ms.
const SETTLED_PER_SECOND: i64 = 2_000;
/// Dead letters compensated in a second, a transaction each.
const COMPENSATED_PER_SECOND: i64 = 100;

/// A change that a plan shows and a job makes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "lowercase")]
pub enum Change {
    /// Replays rows.
    Replay {
        /// Entries of the work list, or dead letters.
        list: List,
        /// Choice of rows.
        filter: Filter,
        /// Rate: most replays begun in a second.
        per_second: f64,
        /// Whether the campaign's window is ignored.
        after_close: bool,
    },
    /// Moves rows to RESOLVED.
    Resolve {
        /// Entries of the work list, or dead letters.
        list: List,
        /// Choice of rows.
        filter: Filter,
    },
    /// Moves rows to IGNORED.
    Ignore {
        /// Entries of the work list, or dead letters.
        list: List,
        /// Choice of rows.
        filter: Filter,
    },
    /// Moves rows back to PENDING, dead letters to PARKED.
    Reopen {
        /// Entries of the work list, or dead letters.
        list: List,
        /// Choice of rows.
        filter: Filter,
    },
    /// Decides undecided dead letters COMPENSATED.
    Compensate {
        /// Choice of dead letters.
        filter: Filter,
    },
    /// Compares Redis with PostgreSQL.
    Reconcile {
        /// Campaigns; empty: all.
        codes: Vec<CouponCode>,
        /// Whether differences are repaired.
        apply: bool,
    },
    /// Fills a campaign's data in Redis anew.
    Rebuild {
        /// Campaign.
        code: CouponCode,
        /// Whether it goes on although requests are held or parked.
        leave_undecided: bool,
    },
    /// Ends a campaign for good.
    Archive {
        /// Campaign.
        code: CouponCode,
    },
}

impl Change {
    /// Returns the verb, as in the command line.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Replay { .. } => "replay",
            Self::Resolve { .. } => "resolve",
            Self::Ignore { .. } => "ignore",
            Self::Reopen { .. } => "reopen",
            Self::Compensate { .. } => "compensate",
            Self::Reconcile { .. } => "reconcile",
            Self::Rebuild { .. } => "rebuild",
            Self::Archive { .. } => "archive",
        }
    }

    /// Returns the list and the choice of rows; `None` where it is about no rows.
    pub fn rows(&self) -> Option<(List, &Filter)> {
        match self {
            Self::Replay { list, filter, .. }
            | Self::Resolve { list, filter }
            | Self::Ignore { list, filter }
            | Self::Reopen { list, filter } => Some((*list, filter)),
            Self::Compensate { filter } => Some((List::DlqEvents, filter)),
            Self::Reconcile { .. } | Self::Rebuild { .. } | Self::Archive { .. } => None,
        }
    }

    /// Returns how rows are settled; `None`: it settles none.
    pub(crate) fn settles(&self) -> Option<Verb> {
        match self {
            Self::Resolve { .. } => Some(Verb::Resolve),
            Self::Ignore { .. } => Some(Verb::Ignore),
            Self::Reopen { .. } => Some(Verb::Reopen),
            _ => None,
        }
    }

    /// Returns the choice of rows, to be narrowed.
    pub(super) fn filter_mut(&mut self) -> Option<&mut Filter> {
        match self {
            Self::Replay { filter, .. }
            | Self::Resolve { filter, .. }
            | Self::Ignore { filter, .. }
            | Self::Reopen { filter, .. }
            | Self::Compensate { filter } => Some(filter),
            Self::Reconcile { .. } | Self::Rebuild { .. } | Self::Archive { .. } => None,
        }
    }

    /// Returns the kind of its job; `None`: a replay.
    pub(crate) fn kind(&self) -> Option<ServiceJobKind> {
        match self {
            Self::Replay { .. } => None,
            Self::Resolve { .. } | Self::Ignore { .. } | Self::Reopen { .. } => Some(ServiceJobKind::Settle),
            Self::Compensate { .. } => Some(ServiceJobKind::Compensate),
            Self::Reconcile { .. } => Some(ServiceJobKind::Reconcile),
            Self::Rebuild { .. } => Some(ServiceJobKind::Rebuild),
            Self::Archive { .. } => Some(ServiceJobKind::Archive),
        }
    }

    /// Returns its job by the number.
    pub(super) fn job(&self, job: i64) -> JobRef {
        if self.kind().is_none() { JobRef::Replay(job) } else { JobRef::Job(job) }
    }

    /// Returns the word by which it is confirmed: the campaign's name, or `all` where it is about several.
    pub fn name(&self) -> String {
        let code = match self {
            Self::Rebuild { code, .. } | Self::Archive { code } => Some(code),
            Self::Reconcile { codes, .. } => codes.first().filter(|_| codes.len() == 1),
            _ => self.rows().and_then(|(_, filter)| filter.coupon.as_ref()),
        };
        code.map_or_else(|| "all".to_owned(), ToString::to_string)
    }

    /// Whether the name has to be typed: for many rows, and where units go back or data is deleted.
    pub(super) fn has_to_be_typed(&self, eligible: i64) -> bool {
        eligible > TYPED_ABOVE_ROWS
            || matches!(self, Self::Compensate { .. } | Self::Rebuild { .. } | Self::Archive { .. })
    }

    /// Returns the time that it is expected to take, in seconds.
    pub(super) fn seconds(&self, eligible: Option<i64>) -> Option<i64> {
        let rows = eligible?;
        let by = |per_second: i64| rows.div_euclid(per_second) + 1;
        match self {
            Self::Replay { per_second, .. } => Some(replay_seconds(rows, *per_second)),
            Self::Compensate { .. } => Some(by(COMPENSATED_PER_SECOND)),
            _ => Some(by(SETTLED_PER_SECOND)),
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "an estimate, of far fewer than 2^53")]
fn replay_seconds(rows: i64, per_second: f64) -> i64 {
    (rows as f64 / per_second.max(0.001)).ceil() as i64
}
