//! Whether a coupon is sold out, and until what happens that stays so.

use super::{Stock, StockError, connection::script, keys, reply::Reply};
use crate::ids::CouponCode;

script!(SOLD_OUT, "sold_out.lua");

/// A coupon of which every unit is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoldOut {
    /// Generation of the Redis data.
    pub epoch: i64,
    /// Sequence of the coupon: while it stands still, nobody has got a unit.
    pub seq: i64,
    /// How many members hold one.
    pub holders: u64,
}

impl Stock {
    /// Runs `sold_out.lua`; `None` when the coupon is not sold out, or not open.
    pub async fn sold_out(&self, code: &CouponCode) -> Result<Option<SoldOut>, StockError> {
        let mut call = SOLD_OUT.key(keys::meta(code));
        call.key(keys::issued(code));
        let mut reply = Reply::read(self.ask(&call).await?)?;
        match reply.word() {
            "OTHERWISE" => Ok(None),
            "SOLD_OUT" => Ok(Some(SoldOut { epoch: reply.next()?, seq: reply.next()?, holders: reply.next()? })),
            _ => Err(reply.unexpected()),
        }
    }
}
