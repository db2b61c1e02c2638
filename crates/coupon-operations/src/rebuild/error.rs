//! Why a rebuild does not go on.

use coupon_core::{filling::FillError, ids::CouponCode};

use crate::{OperationsError, server_errors};

/// Why a rebuild was refused, or cannot go on. Nothing is lost. Until the epoch has moved on, an open gate is open again.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// No such campaign.
    #[error("there is no coupon {0}; `issuer-api coupon list` shows them all")]
    Unknown(CouponCode),
    /// Never opened, or ended for good.
    #[error("{0} was never opened or was ended for good: there is nothing to rebuild")]
    Nothing(CouponCode),
    /// Somebody else is at it.
    #[error(
        "somebody else is at the data of {0} now: another rebuild, or a reconciliation; ask again when it has ended"
    )]
    Busy(CouponCode),
    /// The outbox does not get empty.
    #[error(
        "{waiting} reservations of {code} still wait to be published: is an issuer-api running, and kafka there? Then \
         `dlq-consumer rebuild {code} --by NAME` again, with --wait SECONDS if it only takes longer"
    )]
    Outbox {
        /// The campaign.
        code: CouponCode,
        /// Promises left.
        waiting: i64,
    },
    /// A consumer has not passed.
    #[error("{0} Then `dlq-consumer rebuild CODE --by NAME` again, with --wait SECONDS if it only takes longer")]
    Behind(String),
    /// More ISSUED rows than coupons.
    #[error(
        "{code} has {rows} issued rows and {total} coupons in all: nobody loses theirs, so raise the total with \
         `issuer-api coupon set-total {code} {rows} --by NAME`, then rebuild"
    )]
    Oversold {
        /// The campaign.
        code: CouponCode,
        /// ISSUED rows.
        rows: i64,
        /// Coupons in all.
        total: i64,
    },
    /// Marks that lead to nothing, however often they are published.
    #[error(
        "{orphans} members hold a mark of {code} in redis, and their requests do not get decided: look at them with \
         `dlq-consumer reconcile {code}`, and at what issue-consumer says"
    )]
    Orphans {
        /// The campaign.
        code: CouponCode,
        /// Such marks.
        orphans: u64,
    },
    /// Requests without a decision.
    #[error(
        "{held} requests of {code} are held and {parked} parked, undecided: after a rebuild they could only be compensated. \
         Decide them first (`dlq-consumer replay --dead-letters --coupon {code} --reason WHY --by NAME`, \
         `dlq-consumer compensate --coupon {code} --up-to ID --reason WHY --by NAME`), or go on with --leave-undecided"
    )]
    Undecided {
        /// The campaign.
        code: CouponCode,
        /// HELD letters.
        held: i64,
        /// PARKED letters that can be read.
        parked: i64,
    },
    /// The row is not what this rebuild left it as.
    #[error("{0} was changed by somebody else meanwhile; look at it with `issuer-api coupon show {0}`, then ask again")]
    Changed(CouponCode),
    /// Redis could not be filled.
    #[error("{0}")]
    Fill(FillError),
    /// What was copied is not what is there.
    #[error(
        "{copied} marks of {code} were copied and {found} are there: somebody else writes to its keys; the gate stays closed"
    )]
    Marks {
        /// The campaign.
        code: CouponCode,
        /// Rows copied.
        copied: i64,
        /// Marks found.
        found: i64,
    },
    /// A server.
    #[error(transparent)]
    Operations(#[from] OperationsError),
}

impl RebuildError {
    /// Whether something was waited for in vain: the same command may work later.
    pub fn is_of_time(&self) -> bool {
        matches!(self, Self::Outbox { .. } | Self::Behind(_) | Self::Orphans { .. } | Self::Busy(_))
    }
}

server_errors!(RebuildError);
