//! The ways in which Redis and PostgreSQL can differ, each with a name, what it means and what puts it right.

use serde::{Serialize, Serializer};

/// A kind of drift.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Drift {
    /// A mark on whose request nobody has decided, though Kafka has nothing of it left: its event was lost.
    Orphan,
    /// A mark on whose request nobody has decided, though an operator has settled its dead letter by a word.
    SettledMark,
    /// A mark of a request that was decided COMPENSATED and given back before.
    CompensatedMark,
    /// An ISSUED row whose member has no mark.
    MissingMark,
    /// A mark that names the request of another member.
    ForeignMark,
    /// A mark that is no request id.
    UnreadableMark,
    /// An outbox entry that names no request: no relay can publish it.
    UnreadableEntry,
    /// `issued_quantity` is not the number of ISSUED rows.
    WrongCounter,
    /// More ISSUED rows than coupons in all.
    Oversold,
    /// The two have different totals.
    TotalsDiffer,
    /// The two open or close at different moments.
    WindowDiffers,
    /// The gate in Redis is open although the campaign is not.
    GateDiffers,
    /// Redis has lost the campaign's data, or has gone back in time.
    DataLost,
    /// Redis has data of a campaign that PostgreSQL does not know.
    UnknownCoupon,
}

impl Drift {
    /// Every kind, for metrics that must also say 0.
    pub const ALL: [Self; 14] = [
        Self::Orphan,
        Self::SettledMark,
        Self::CompensatedMark,
        Self::MissingMark,
        Self::ForeignMark,
        Self::UnreadableMark,
        Self::UnreadableEntry,
        Self::WrongCounter,
        Self::Oversold,
        Self::TotalsDiffer,
        Self::WindowDiffers,
        Self::GateDiffers,
        Self::DataLost,
        Self::UnknownCoupon,
    ];

    /// The textual form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Orphan => "ORPHAN",
            Self::SettledMark => "SETTLED_MARK",
            Self::CompensatedMark => "COMPENSATED_MARK",
            Self::MissingMark => "MISSING_MARK",
            Self::ForeignMark => "FOREIGN_MARK",
            Self::UnreadableMark => "UNREADABLE_MARK",
            Self::UnreadableEntry => "UNREADABLE_ENTRY",
            Self::WrongCounter => "WRONG_COUNTER",
            Self::Oversold => "OVERSOLD",
            Self::TotalsDiffer => "TOTALS_DIFFER",
            Self::WindowDiffers => "WINDOW_DIFFERS",
            Self::GateDiffers => "GATE_DIFFERS",
            Self::DataLost => "DATA_LOST",
            Self::UnknownCoupon => "UNKNOWN_COUPON",
        }
    }

    /// What it means and what puts it right, in a sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Orphan => "reserved, and its event was lost; --apply publishes it again",
            Self::SettledMark => {
                "its dead letter was settled by a word and never decided; `dlq-consumer reopen ID --reason WHY --by NAME`, then `replay` or `compensate` it"
            }
            Self::CompensatedMark => "given up, and its mark is here again; --apply gives the unit back again",
            Self::MissingMark => "issued, and has no mark; --apply restores it",
            Self::ForeignMark => "its mark names the request of another member; rebuild",
            Self::UnreadableMark => "its mark is no request id; rebuild",
            Self::UnreadableEntry => "an outbox entry names no request, and nobody can publish it; --apply deletes it",
            Self::WrongCounter => "issued_quantity is not the number of rows; --apply counts anew",
            Self::Oversold => "more rows than coupons in all; a person has to look",
            Self::TotalsDiffer => "a change of the total broke off; --apply finishes it",
            Self::WindowDiffers => "a change of the window broke off; --apply finishes it",
            Self::GateDiffers => "the gate is open and the campaign is not; --apply closes it",
            Self::DataLost => {
                "redis has lost data; --apply closes the gate, `dlq-consumer rebuild CODE --by NAME` puts it right"
            }
            Self::UnknownCoupon => "redis has data of a campaign postgresql does not know; a person has to look",
        }
    }
}

impl std::fmt::Display for Drift {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Drift {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
