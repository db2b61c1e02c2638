//! Why a campaign was not changed.

use chrono::{DateTime, Utc};
use coupon_core::{
    ids::CouponCode,
    repo::{RepoError, coupons::Coupon},
    stock::StockError,
};

/// Why a campaign was not changed, in a sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum CampaignError {
    /// PostgreSQL does not know the campaign.
    #[error("there is no coupon {0}; `coupon list` shows them all")]
    Unknown(CouponCode),
    /// A campaign has this code already.
    #[error("there is a coupon {0} already, and it is left as it is")]
    Taken(CouponCode),
    /// The campaign is SUSPECT.
    #[error(
        "{0} is SUSPECT: Redis has lost data of it, and it stays closed until `dlq-consumer rebuild {0} --by NAME`"
    )]
    Suspect(CouponCode),
    /// The campaign was opened before, and Redis has lost its data or has data of another epoch.
    #[error("{code} cannot be opened: {what}; it stays closed until `dlq-consumer rebuild {code} --by NAME`")]
    NeedsRebuild {
        /// The campaign.
        code: CouponCode,
        /// The state of Redis, in words.
        what: String,
    },
    /// The campaign is archived.
    #[error("{0} was ended for good; nothing about it can be changed any more")]
    Archived(CouponCode),
    /// The window of a new campaign would end before it begins.
    #[error("--closes-at must be later than --opens-at: {} is not later than {}; nothing was created", .closes_at.to_rfc3339(), .opens_at.to_rfc3339())]
    ClosesBeforeItOpens {
        /// Start of the window.
        opens_at: DateTime<Utc>,
        /// End of the window.
        closes_at: DateTime<Utc>,
    },
    /// The campaign's window is over.
    #[error("{code} was over at {closes_at}: `coupon set-window {code} --closes-at TIME --by NAME` moves that")]
    Over {
        /// The campaign.
        code: CouponCode,
        /// End of the window.
        closes_at: DateTime<Utc>,
    },
    /// The new window would end before it begins.
    #[error("a window from {} to {} would end before it begins; nothing was changed", .0.opens_at, .0.closes_at.unwrap_or_default())]
    Backwards(Box<Coupon>),
    /// The campaign is being opened or rebuilt.
    #[error("{0} is being opened or rebuilt; nothing was changed, ask again when that is done")]
    Filling(CouponCode),
    /// A later change of the window was made meanwhile.
    #[error("a newer change of the window of {0} is there already, and this one is void; `coupon show {0}` tells it")]
    WindowSuperseded(CouponCode),
    /// The campaign is more than a draft.
    #[error("{code} {}, and cannot be deleted; `coupon close {code} --by NAME` and `dlq-consumer campaign archive {code} --reason WHY --by NAME` end it", if *.is_draft {"has decisions"} else {"was opened before"})]
    NotDeleted {
        /// The campaign.
        code: CouponCode,
        /// Whether it was never opened.
        is_draft: bool,
    },
    /// The id of a member of the campaign was replaced by a pseudonym.
    #[error(
        "members of {0} were erased (`dlq-consumer member erase`), and each could get a second coupon: it stays closed"
    )]
    MembersErased(CouponCode),
    /// The campaign was never opened.
    #[error("{0} was never opened, there is nothing to close; `coupon delete {0} --by NAME` removes it")]
    NeverOpened(CouponCode),
    /// The campaign is being opened.
    #[error("{0} is being opened; finish that with `coupon open {0} --by NAME`, then close it")]
    Opening(CouponCode),
    /// Another process has changed the campaign meanwhile.
    #[error("{0} was changed by somebody else meanwhile; look at it with `coupon show {0}`, then ask again")]
    Changed(CouponCode),
    /// A later change of the total was made meanwhile.
    #[error(
        "a newer change of the total of {0} is there already, and this one is void; `coupon show {0}` tells the total"
    )]
    Superseded(CouponCode),
    /// The total would be below the number of holders.
    #[error("{held} members hold a coupon of {code}, and nobody loses one: the total stays as it was")]
    BelowIssued {
        /// The campaign.
        code: CouponCode,
        /// Members that hold a coupon.
        held: i64,
    },
    /// The campaign was opened before, and Redis has no data of it.
    #[error(
        "the total of {0} stays as it was: Redis has no data of it; `dlq-consumer rebuild {0} --by NAME` first, then ask again"
    )]
    NoData(CouponCode),
    /// PostgreSQL failed.
    #[error("the command did not end, and may be repeated")]
    Repo(#[from] RepoError),
    /// Redis failed.
    #[error("the command did not end, and may be repeated")]
    Stock(#[from] StockError),
}
