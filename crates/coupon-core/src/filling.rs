//! Filling a coupon's data in Redis from PostgreSQL: the one routine behind the first opening and every rebuild.

use crate::{
    ids::CouponCode,
    repo::{Database, RepoError, coupons::Coupon},
    stock::{Fill, FillOutcome, Stock, StockError},
};

/// Sequence that an epoch begins with; the first reservation has the next one. Not 0, which no event may have.
const FIRST_SEQ: i64 = 1;

/// Holder entries read from PostgreSQL by one query.
const HOLDERS_PER_PAGE: i64 = 1_000;

/// Why a coupon could not be filled.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// Holder or outbox entries without meta: this is no fresh coupon.
    #[error("redis holds only a part of the data of {0}")]
    Leftover(CouponCode),
    /// Data of another epoch.
    #[error("redis holds data of epoch {found}, postgresql is at epoch {wanted}")]
    OtherEpoch {
        /// Epoch in Redis.
        found: i64,
        /// Epoch in PostgreSQL.
        wanted: i64,
    },
    /// The data to be replaced has outbox entries that still have to be published.
    #[error("{0} reservations still wait in the outbox to be published")]
    Unpublished(i64),
    /// PostgreSQL.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// Redis.
    #[error(transparent)]
    Stock(#[from] StockError),
}

/// The data that the epoch of the coupon's row begins with.
pub fn beginning_of(coupon: &Coupon, replace: bool) -> Fill {
    Fill {
        epoch: coupon.epoch,
        total: coupon.total_quantity,
        total_version: coupon.total_version,
        window_version: coupon.window_version,
        opens_at_ms: coupon.opens_at.timestamp_millis(),
        closes_at_ms: coupon.closes_at.map(|at| at.timestamp_millis()),
        // Sequences are compared within an epoch only, and a new one begins with 0 in the row: what events of an earlier one
        // claimed is left behind with it. More is there when the build before began this rebuild.
        seq: coupon.high_seq.max(FIRST_SEQ),
        replace,
    }
}

/// Fills the data of the row's epoch with the gate closed, and copies the holder entries of all ISSUED rows; calls `copied` with
/// their number so far after each page. With `replace` older data is replaced, otherwise it is refused.
///
/// May be repeated after a crash at any point. Gives the number of holder entries; `None`, and does nothing, when this epoch
/// was filled and opened before.
pub async fn fill(
    database: &Database,
    stock: &Stock,
    coupon: &Coupon,
    replace: bool,
    mut copied: impl FnMut(u64),
) -> Result<Option<u64>, FillError> {
    let code = &coupon.coupon_code;
    match stock.begin_fill(code, &beginning_of(coupon, replace)).await? {
        FillOutcome::Filling => {}
        FillOutcome::Filled => return Ok(None),
        FillOutcome::Leftover => return Err(FillError::Leftover(code.clone())),
        FillOutcome::OtherEpoch(found) => return Err(FillError::OtherEpoch { found, wanted: coupon.epoch }),
        FillOutcome::Unpublished(waiting) => return Err(FillError::Unpublished(waiting)),
    }
    let (mut after, mut total) = (None, 0);
    loop {
        let holders = database.coupon_issues().holder_entries(code, after, HOLDERS_PER_PAGE).await?;
        let Some((_, last)) = holders.last() else { return Ok(Some(total)) };
        after = Some(*last);
        stock.copy_holders(code, &holders).await?;
        total += holders.len() as u64;
        copied(total);
    }
}
