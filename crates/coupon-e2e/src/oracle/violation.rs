//! The promises of the pipeline, and the kinds of evidence that one is broken.

use std::fmt;

/// A promise of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// No coupon is issued beyond the total.
    I1,
    /// A member gets one coupon of a campaign.
    I2,
    /// No accepted request is lost.
    I3,
    /// Redis and PostgreSQL agree.
    I4,
    /// One decision for each request.
    I5,
    /// A coupon is given back once, and only while the holder entry is of that request.
    I6,
    /// A committed offset has only finished records below it.
    I7,
    /// Every dead letter is decided or kept, and equals its origin.
    I10,
    /// Other systems are told of every decision, by its number.
    Events,
}

/// Kind of the violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// More ISSUED rows than the campaign's total.
    Oversold,
    /// `issued_quantity` is not the number of ISSUED rows.
    CounterWrong,
    /// Two ISSUED rows of one member.
    IssuedTwice,
    /// Two request ids accepted for one member, and neither compensated.
    AcceptedTwice,
    /// An accepted request id without a decision, neither held nor parked.
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
    /// A holder entry in Redis whose request id has no ISSUED row.
    HolderWithoutRow,
    /// An ISSUED row whose member has no holder entry in Redis.
    RowWithoutHolder,
    /// Redis and PostgreSQL have different totals.
    TotalsDiffer,
    /// One request id in two rows.
    DecidedTwice,
    /// An answer contradicts the decision.
    AnswerContradicted,
    /// A COMPENSATED row whose give-back is not finished.
    GiveBackOpen,
    /// A holder entry with a request id that was given back.
    GiveBackUndone,
    /// A committed offset above a record that led to nothing.
    OffsetAhead,
    /// A dead letter without decision and without `dlq_events` row.
    DeadLetterUnheard,
    /// A dead letter that does not name its origin.
    DeadLetterUnlabelled,
    /// A dead letter that differs from the record it stands for.
    DeadLetterChanged,
    /// A decision without an event, or a number without one.
    EventMissing,
    /// An event that says something else than the decision.
    EventWrong,
    /// An event that comes for the first time after one with a higher number, in one partition.
    EventOutOfOrder,
}

impl Kind {
    /// Returns the promise that is broken.
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
            Self::HolderWithoutRow | Self::RowWithoutHolder | Self::TotalsDiffer => Promise::I4,
            Self::DecidedTwice | Self::AnswerContradicted => Promise::I5,
            Self::GiveBackOpen | Self::GiveBackUndone => Promise::I6,
            Self::OffsetAhead => Promise::I7,
            Self::DeadLetterUnheard | Self::DeadLetterUnlabelled | Self::DeadLetterChanged => Promise::I10,
            Self::EventMissing | Self::EventWrong | Self::EventOutOfOrder => Promise::Events,
        }
    }
}

/// One violation, with its evidence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Kind of the violation.
    pub kind: Kind,
    /// Campaign, member, request id or record: what is needed to investigate.
    pub detail: String,
}

impl Violation {
    /// Returns a violation of this kind.
    pub fn new(kind: Kind, detail: String) -> Self {
        Self { kind, detail }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?} {:?}: {}", self.kind.promise(), self.kind, self.detail)
    }
}
