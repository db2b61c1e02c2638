//! Giving back: what happens to the mark of a request that was decided COMPENSATED.

use redis::FromRedisValue;

use super::{Stock, StockError, connection::script, keys};
use crate::ids::{CouponCode, MemberId, RequestId};

script!(GIVE_BACK, "give_back.lua");

/// What Redis did with a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GiveBack {
    /// The mark carried the compensated request; the unit is free, or the mark names its successor.
    Done,
    /// The mark was gone, or belongs to a newer reservation; nothing was changed.
    NotItsMark,
}

impl Stock {
    /// Frees the unit that `request_id` holds; with `superseded_by` the mark goes to that request and nothing is
    /// freed. May be repeated, and may come late.
    pub async fn give_back(
        &self,
        code: &CouponCode,
        member: &MemberId,
        request_id: RequestId,
        superseded_by: Option<RequestId>,
    ) -> Result<GiveBack, StockError> {
        let successor = superseded_by.map_or_else(String::new, |id| id.to_string());
        let mut call = GIVE_BACK.key(keys::issued(code));
        call.key(keys::meta(code)).arg(member.as_str()).arg(request_id.to_string()).arg(successor);
        match i64::from_redis_value(self.invoke("give a unit back", &call).await?) {
            Ok(1) => Ok(GiveBack::Done),
            Ok(0) => Ok(GiveBack::NotItsMark),
            other => Err(StockError::Reply(format!("{other:?}"))),
        }
    }
}
