//! Promises and the ways in which each can be seen to be broken.

use std::fmt;

/// A promise of DESIGN §2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// No oversell.
    I1,
    /// One coupon each.
    I2,
    /// No accepted request is lost.
    I3,
    /// Redis and PostgreSQL agree.
    I4,
    /// One decision for each request.
    I5,
    /// A unit is given back once, and only while its mark is that request's.
    I6,
    /// Offsets tell the truth.
    I7,
    /// Every dead letter is heard, and is what it was.
    I10,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// More ISSUED rows than the campaign's total.
    Oversold,
    /// `issued_quantity` is not the number of ISSUED rows.
    CounterWrong,
    /// Two ISSUED rows of one member.
    IssuedTwice,
    /// Two request ids promised to one member, none of them taken back.
    AcceptedTwice,
    /// A promised request id without a decision, neither held nor parked.
    Lost,
    /// An event in the main topic that led to nothing.
    EventUndecided,
    /// An ISSUED row whose request id no event carries.
    IssuedFromNothing,
    /// A COMPENSATED row without a `failed_coupon_issues` record.
    FailureUnrecorded,
    /// A `failed_coupon_issues` record without a COMPENSATED row.
    FailureUnfounded,
    /// A reservation still waits in the outbox.
    OutboxLeft,
    /// A mark in Redis whose request id has no ISSUED row.
    MarkWithoutRow,
    /// An ISSUED row whose member has no mark in Redis.
    RowWithoutMark,
    /// Redis and PostgreSQL have different totals.
    TotalsDiffer,
    /// One request id in two rows.
    DecidedTwice,
    /// A client was told the contrary of the decision.
    AnswerContradicted,
    /// A COMPENSATED row whose give-back is not finished.
    GiveBackOpen,
    /// A mark that still carries a request id which was given back.
    GiveBackUndone,
    /// A committed offset above a record that led to nothing.
    OffsetAhead,
    /// A dead letter without decision and without `dlq_events` row.
    DeadLetterUnheard,
    /// A dead letter that does not say where it comes from.
    DeadLetterUnlabelled,
    /// A dead letter that differs from the record it stands for.
    DeadLetterChanged,
}

impl Kind {
    /// The promise that is broken.
    pub fn promise(self) -> Promise {
        match self {
            Self::Oversold | Self::CounterWrong => Promise::I1,
            Self::IssuedTwice | Self::AcceptedTwice => Promise::I2,
            Self::Lost
            | Self::EventUndecided
            | Self::IssuedFromNothing
            | Self::FailureUnrecorded
            | Self::FailureUnfounded
            | Self::OutboxLeft => Promise::I3,
            Self::MarkWithoutRow | Self::RowWithoutMark | Self::TotalsDiffer => Promise::I4,
            Self::DecidedTwice | Self::AnswerContradicted => Promise::I5,
            Self::GiveBackOpen | Self::GiveBackUndone => Promise::I6,
            Self::OffsetAhead => Promise::I7,
            Self::DeadLetterUnheard | Self::DeadLetterUnlabelled | Self::DeadLetterChanged => Promise::I10,
        }
    }
}

/// One broken promise, with the thing by which it was seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// What is wrong.
    pub kind: Kind,
    /// Campaign, member, request id, record: whatever is needed to look closer.
    pub detail: String,
}

impl Violation {
    /// A violation of this kind.
    pub fn new(kind: Kind, detail: String) -> Self {
        Self { kind, detail }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?} {:?}: {}", self.kind.promise(), self.kind, self.detail)
    }
}
