//! Why an operation was refused, or did not end.

use coupon_core::{
    failure::{Class, Classified},
    filling::FillError,
    ids::CouponCode,
    kafka::PublishError,
    repo::{RepoError, coupons::CouponStatus, jobs::ServiceJobStatus, rebuilds::Unfinished, replay_jobs::JobStatus},
    stock::StockError,
};

/// Why an operation was refused, or did not end. Nothing is lost, and the operation may be repeated. Until the epoch of a
/// rebuild has moved on, a gate that was open is open again.
#[derive(Debug, thiserror::Error)]
pub enum OperationsError {
    /// PostgreSQL failed.
    #[error("it did not end, and may be repeated")]
    Repo(#[from] RepoError),
    /// Redis failed.
    #[error("it did not end, and may be repeated")]
    Stock(#[from] StockError),
    /// Kafka failed.
    #[error("it did not end, and may be repeated")]
    Kafka(#[from] PublishError),
    /// PostgreSQL does not know the campaign.
    #[error("there is no coupon {0}; `issuer-api coupon list` shows them all")]
    Unknown(CouponCode),
    /// Another process has the lock of the campaign's data.
    #[error(
        "somebody else is at the data of {0} now: a rebuild, a reconciliation or an archive; ask again when it has ended"
    )]
    Busy(CouponCode),
    /// Another process has changed the campaign meanwhile.
    #[error("{0} was changed by somebody else meanwhile; look at it with `issuer-api coupon show {0}`, then ask again")]
    Changed(CouponCode),
    /// The campaign is not CLOSED.
    #[error("{code} is {status}: close it first with `issuer-api coupon close {code} --by NAME`")]
    NotClosed {
        /// The campaign.
        code: CouponCode,
        /// Status of the campaign.
        status: CouponStatus,
    },
    /// Requests are undecided, or units have to be given back, or replays run.
    #[error(
        "{code} is not finished: {} held, {} parked, {} pending on the work list, {} units to be given back, \
         {} replays under way; settle these first",
        left.held, left.parked, left.pending, left.give_backs, left.replays
    )]
    Unfinished {
        /// The campaign.
        code: CouponCode,
        /// The numbers of these.
        left: Unfinished,
    },
    /// Redis and PostgreSQL differ.
    #[error("redis and postgresql differ for {0}: `dlq-consumer reconcile {0} --apply --by NAME` first")]
    Drift(CouponCode),
    /// This many requests are under way, and could not be verified for this reason.
    #[error("{0} requests are still under way: {1}")]
    UnderWay(u64, String),
    /// The campaign was never opened, or is archived.
    #[error("{0} was never opened or was ended for good: there is nothing to rebuild")]
    Nothing(CouponCode),
    /// The outbox did not get empty in time.
    #[error(
        "{waiting} reservations of {code} still wait to be published: is an issuer-api running, and kafka there? Then \
         `dlq-consumer rebuild {code} --by NAME` again, with --wait SECONDS if it only takes longer"
    )]
    Outbox {
        /// The campaign.
        code: CouponCode,
        /// Outbox entries left.
        waiting: i64,
    },
    /// A consumer has not caught up in time: its lag, in a sentence.
    #[error("{0} Then `dlq-consumer rebuild CODE --by NAME` again, with --wait SECONDS if it only takes longer")]
    Lag(String),
    /// The campaign is archived: its rows change no more.
    #[error("{0} was ended for good: its rows change no more")]
    Archived(CouponCode),
    /// A decision has not been made yet.
    #[error("{code} has no decision after number {last} yet")]
    NotDecidedYet {
        /// The campaign.
        code: CouponCode,
        /// Number of its last decision.
        last: i64,
    },
    /// The number of a decision is not kept any more.
    #[error(
        "decision {number} of {code} cannot be published again: numbers before {first_kept} were purged. The decisions themselves          are kept: `dlq-consumer issued {code}` lists who holds a coupon"
    )]
    NumbersPurged {
        /// The campaign.
        code: CouponCode,
        /// The number.
        number: i64,
        /// The first number that is kept.
        first_kept: i64,
    },
    /// Decisions have lost their numbers, and cannot be told from those whose numbers were purged.
    #[error(
        "{decisions} decisions of {code} at least have lost their numbers before they were published, and are too old to be told from \
         those whose numbers retention has purged: restore coupon_decision_batches from a backup; without one, deploy/README.md, \
         \"Rows that cannot be put back\", says how to number and publish all of them again"
    )]
    NumbersLost {
        /// The campaign.
        code: CouponCode,
        /// Such decisions, at least.
        decisions: i64,
    },
    /// There are more ISSUED rows than coupons.
    #[error(
        "{code} has {rows} issued rows and {total} coupons in all: nobody loses theirs, so raise the total with \
         `issuer-api coupon set-total {code} {rows} --by NAME`, then rebuild"
    )]
    Oversold {
        /// The campaign.
        code: CouponCode,
        /// ISSUED rows.
        rows: i64,
        /// The campaign's total.
        total: i64,
    },
    /// Requests stay undecided however often they are requeued.
    #[error(
        "{orphans} members have a holder entry of {code} in redis, and their requests do not get decided: look at them with \
         `dlq-consumer reconcile {code}`, and at what issue-consumer says"
    )]
    Orphans {
        /// The campaign.
        code: CouponCode,
        /// Such requests.
        orphans: u64,
    },
    /// Held or parked requests are undecided.
    #[error(
        "{held} requests of {code} are held and {parked} parked, undecided: after a rebuild they could only be compensated. \
         Decide them first (`dlq-consumer replay --dead-letters --coupon {code} --reason WHY --by NAME`, \
         `dlq-consumer compensate --coupon {code} --up-to ID --reason WHY --by NAME`), or go on with --leave-undecided"
    )]
    Undecided {
        /// The campaign.
        code: CouponCode,
        /// HELD dead letters.
        held: i64,
        /// PARKED dead letters that can be read.
        parked: i64,
    },
    /// Redis could not be filled.
    #[error("{0}")]
    Fill(FillError),
    /// Redis has not as many holder entries as were copied.
    #[error(
        "{copied} holder entries of {code} were copied and {found} are there: somebody else writes to its keys; the gate stays closed"
    )]
    HolderEntries {
        /// The campaign.
        code: CouponCode,
        /// Holder entries copied.
        copied: i64,
        /// Holder entries found.
        found: i64,
    },
    /// There is no such job.
    #[error("there is no replay {0}; `dlq-consumer replay status` shows them all")]
    UnknownReplay(i64),
    /// The job's status does not allow the change.
    #[error("replay {job} is {status}, and cannot be {wish}")]
    ReplayStatus {
        /// The job.
        job: i64,
        /// Status of the job.
        status: JobStatus,
        /// The change asked for.
        wish: &'static str,
    },
    /// There is no such job of the services.
    #[error("there is no job {0}")]
    UnknownJob(i64),
    /// The plan was deleted.
    #[error("there is no plan {0}")]
    PlanGone(i64),
    /// The job has ended, so it cannot be changed.
    #[error("job {job} is {status}, and cannot be {wish}")]
    JobEnded {
        /// The job.
        job: i64,
        /// Status of the job.
        status: ServiceJobStatus,
        /// The change asked for.
        wish: &'static str,
    },
    /// Another process works on the job.
    #[error("another process is at replay {0} now; `dlq-consumer replay pause {0}` stops it there")]
    ReplayBusy(i64),
}

impl OperationsError {
    /// Whether a server is away: a job waits for it.
    pub fn is_outage(&self) -> bool {
        let class = match self {
            Self::Repo(error) => error.class(),
            Self::Stock(error) => error.class(),
            Self::Kafka(error) => error.class(),
            _ => return false,
        };
        matches!(class, Class::Unavailable | Class::Contended | Class::Interrupted)
    }

    /// Whether a wait ended in vain, so that the same command may work later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Outbox { .. } | Self::Lag(_) | Self::Orphans { .. } | Self::Busy(_))
    }
}
