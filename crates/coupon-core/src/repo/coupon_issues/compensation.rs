//! A request to be compensated, and the outcome.

use chrono::{DateTime, Utc};

use crate::{
    budget::Budget,
    event::CouponIssued,
    failure::Failure,
    ids::RequestId,
    repo::{audit::Identity, dlq_events::NewDlqEvent},
};

/// A request to be decided COMPENSATED.
#[derive(Clone, Debug)]
pub struct Compensation {
    /// The event that could not be written.
    pub event: CouponIssued,
    /// Last failure of its attempts.
    pub failure: Failure,
    /// Dead letter that holds the event.
    pub record: NewDlqEvent,
    /// What is to become of the member's holder entry.
    pub remedy: Remedy,
    /// Limit of compensations; `None`: no limit, because no faulty deployment can be the cause.
    pub budget: Option<Budget>,
    /// Time of the decision.
    pub now: DateTime<Utc>,
    /// Operator who decides, if one does: for the audit.
    pub by: Option<Operator>,
}

/// An operator who has a request compensated.
#[derive(Clone, Debug)]
pub struct Operator {
    /// The operator.
    pub identity: Identity,
    /// Reason that the operator gave.
    pub reason: String,
    /// Whether the operator asked for this decision: the entry is RESOLVED with the reason, and no replay by a filter
    /// takes it. Otherwise a replay has found that no other decision is possible.
    pub is_by_hand: bool,
}

impl Compensation {
    /// The operator, if the decision is theirs.
    pub(super) fn by_hand(&self) -> Option<&Operator> {
        self.by.as_ref().filter(|by| by.is_by_hand)
    }

    /// The request that holds the member's coupon instead.
    pub(super) fn superseded_by(&self) -> Option<RequestId> {
        match self.remedy {
            Remedy::Supersede(id) => Some(id),
            Remedy::GiveBack | Remedy::GiveBackAndSuspect => None,
        }
    }
}

/// What a compensation changes in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The unit is given back.
    GiveBack,
    /// The unit is given back, and the campaign becomes SUSPECT: Redis reserved more units than there are.
    GiveBackAndSuspect,
    /// The member holds a coupon by this other request: the holder entry is handed over to it, and no unit is given
    /// back.
    Supersede(RequestId),
}

/// Outcome of a compensation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompensationOutcome {
    /// Decided COMPENSATED by this call.
    Compensated {
        /// Number of the row of the work list.
        failed_issue_id: i64,
    },
    /// The request was decided COMPENSATED before.
    CompensatedBefore,
    /// The request was decided ISSUED before.
    Issued,
    /// The budget is spent: undecided, kept as HELD.
    Held,
    /// PostgreSQL has no such coupon: undecided, kept as PARKED.
    Parked,
}
