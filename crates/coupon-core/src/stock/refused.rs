//! How many requests the processes of issuer-api have refused, for whoever looks at the campaign. Nothing is decided by it.

use std::collections::BTreeMap;

use super::{Stock, StockError, connection::script, keys, reply::Reply};
use crate::ids::CouponCode;

script!(COUNT_REFUSED, "count_refused.lua");

impl Stock {
    /// Runs `count_refused.lua`: adds these numbers of refused requests by code. Of a coupon without data nothing is counted.
    pub async fn count_refused(&self, code: &CouponCode, refused: &[(&'static str, u64)]) -> Result<(), StockError> {
        let mut call = COUNT_REFUSED.key(keys::meta(code));
        call.key(keys::refused(code));
        for (why, requests) in refused {
            call.arg(why).arg(requests);
        }
        let reply = Reply::read(self.invoke("count what was refused", code.as_str(), &call).await?)?;
        match reply.word() {
            "COUNTED" | "MISSING" => Ok(()),
            _ => Err(reply.unexpected()),
        }
    }

    /// Returns the number of refused requests by code, since the data of the coupon was first filled. An estimate: what a
    /// process had not told yet when it was killed is not in it.
    pub async fn refused(&self, code: &CouponCode) -> Result<BTreeMap<String, i64>, StockError> {
        self.query(code.as_str(), redis::cmd("HGETALL").arg(keys::refused(code))).await
    }
}
