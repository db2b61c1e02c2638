//! The kinds of difference between Redis and PostgreSQL, with their textual forms, meanings and repairs.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// A kind of drift.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Drift {
    /// A holder entry of an undecided request of which Kafka has no record left: its event was lost.
    Orphan,
    /// A holder entry of an undecided request whose dead letter an operator has resolved or ignored.
    SettledHolder,
    /// A holder entry of a request that was decided COMPENSATED and given back before.
    CompensatedHolder,
    /// An ISSUED row whose member has no holder entry.
    MissingHolder,
    /// A holder entry that names the request of another member.
    ForeignHolder,
    /// A holder entry that is no request id.
    UnreadableHolder,
    /// An outbox entry that names no request: no relay can publish it.
    UnreadableEntry,
    /// `issued_quantity` is not the number of ISSUED rows.
    WrongCounter,
    /// The number of the last decision is not the number of decisions.
    NumbersDiffer,
    /// More ISSUED rows than coupons in all.
    Oversold,
    /// Redis and PostgreSQL have different totals.
    TotalsDiffer,
    /// Redis and PostgreSQL have different windows.
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
    pub const ALL: [Self; 15] = [
        Self::Orphan,
        Self::SettledHolder,
        Self::CompensatedHolder,
        Self::MissingHolder,
        Self::ForeignHolder,
        Self::UnreadableHolder,
        Self::UnreadableEntry,
        Self::WrongCounter,
        Self::NumbersDiffer,
        Self::Oversold,
        Self::TotalsDiffer,
        Self::WindowDiffers,
        Self::GateDiffers,
        Self::DataLost,
        Self::UnknownCoupon,
    ];

    /// The textual form.
    pub fn as_str(self) -> &'static str {
        self.texts().0
    }

    /// Returns the meaning and the repair, in a sentence.
    pub fn meaning(self) -> &'static str {
        self.texts().1
    }

    fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::Orphan => ("ORPHAN", "reserved, and its event was lost; --apply publishes it again"),
            Self::SettledHolder => (
                "SETTLED_MARK",
                "its dead letter was resolved or ignored, and nobody decided the request; `dlq-consumer reopen ID --reason WHY --by NAME`, then `replay` or `compensate` it",
            ),
            Self::CompensatedHolder => (
                "COMPENSATED_MARK",
                "compensated, and its holder entry is here again; --apply gives the unit back again",
            ),
            Self::MissingHolder => ("MISSING_MARK", "issued, and has no holder entry; --apply restores it"),
            Self::ForeignHolder => ("FOREIGN_MARK", "the holder entry names the request of another member; rebuild"),
            Self::UnreadableHolder => ("UNREADABLE_MARK", "the holder entry is no request id; rebuild"),
            Self::UnreadableEntry => {
                ("UNREADABLE_ENTRY", "an outbox entry names no request, and nobody can publish it; --apply deletes it")
            }
            Self::WrongCounter => ("WRONG_COUNTER", "issued_quantity is not the number of rows; --apply counts anew"),
            Self::NumbersDiffer => (
                "NUMBERS_DIFFER",
                "the number of the last decision is not that of the decisions; somebody has changed rows: put them back, or accept it with `dlq-consumer decisions accept-missing --coupon CODE --reason WHY --by NAME`",
            ),
            Self::Oversold => ("OVERSOLD", "more rows than coupons in all; a person has to look"),
            Self::TotalsDiffer => ("TOTALS_DIFFER", "a change of the total broke off; --apply finishes it"),
            Self::WindowDiffers => ("WINDOW_DIFFERS", "a change of the window broke off; --apply finishes it"),
            Self::GateDiffers => ("GATE_DIFFERS", "the gate is open and the campaign is not; --apply closes it"),
            Self::DataLost => (
                "DATA_LOST",
                "redis has lost data; --apply closes the gate, `dlq-consumer rebuild CODE --by NAME` puts it right",
            ),
            Self::UnknownCoupon => {
                ("UNKNOWN_COUPON", "redis has data of a campaign postgresql does not know; a person has to look")
            }
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

impl<'de> Deserialize<'de> for Drift {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let known = Self::ALL.into_iter().find(|drift| drift.as_str() == text);
        known.ok_or_else(|| D::Error::custom(format!("{text} is no kind of drift")))
    }
}
