//! What Redis knows of holders, asked without changing anything: what a member holds, and whether members hold all units.

use futures_util::future::try_join_all;

use super::{Stock, StockError, connection::script, keys, reply::Reply};
use crate::ids::{CouponCode, MemberId, RequestId};

script!(HOLDER, "holder.lua");
script!(SOLD_OUT, "sold_out.lua");

/// Look-ups that are sent together; the connection writes them as one pipeline.
const AT_ONCE: usize = 50;

/// The holder entry of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The member holds a coupon by this request.
    Holds {
        /// The reservation.
        request_id: RequestId,
        /// Whether the event still has to be acknowledged by Kafka.
        pending: bool,
    },
    /// The member holds none.
    Nothing,
    /// Redis cannot tell: it has no data of the campaign.
    Missing,
    /// Redis cannot tell: its data is being filled.
    Filling,
    /// Redis cannot tell: it has lost data.
    Suspect,
}

/// A coupon of which members hold all units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoldOut {
    /// Generation of the Redis data.
    pub epoch: i64,
    /// Sequence of the coupon. Nobody has got a unit while it is the same.
    pub seq: i64,
    /// Number of holder entries.
    pub holders: u64,
}

impl Stock {
    /// Runs `sold_out.lua`; `None` when the coupon is not sold out, or not open.
    pub async fn sold_out(&self, code: &CouponCode) -> Result<Option<SoldOut>, StockError> {
        let mut call = SOLD_OUT.key(keys::meta(code));
        call.key(keys::issued(code));
        let mut reply = Reply::read(self.ask(code.as_str(), &call).await?)?;
        match reply.word() {
            "OTHERWISE" => Ok(None),
            "SOLD_OUT" => Ok(Some(SoldOut { epoch: reply.next()?, seq: reply.next()?, holders: reply.next()? })),
            _ => Err(reply.unexpected()),
        }
    }

    /// Runs `holder.lua`: what this member holds of a campaign, if Redis can tell.
    pub async fn holder(&self, code: &CouponCode, member: &MemberId) -> Result<Holder, StockError> {
        let (epoch, seq) = self.seen.of(code);
        let mut call = HOLDER.key(keys::meta(code));
        call.key(keys::issued(code)).key(keys::outbox(code)).arg(member.as_str()).arg(epoch).arg(seq);
        let mut reply = Reply::read(self.ask(code.as_str(), &call).await?)?;
        match reply.word() {
            "HOLDS" => Ok(Holder::Holds { request_id: reply.next_request_id()?, pending: reply.next::<i64>()? == 1 }),
            "NOTHING" => Ok(Holder::Nothing),
            "MISSING" => Ok(Holder::Missing),
            "FILLING" => Ok(Holder::Filling),
            "SUSPECT" => Ok(Holder::Suspect),
            _ => Err(reply.unexpected()),
        }
    }

    /// The holder entries of a member in many campaigns, in their order. 50 questions are on the way at a time: one after the
    /// other would wait for Redis once for each, and all at once would keep other calls waiting.
    pub async fn holders(&self, codes: &[CouponCode], member: &MemberId) -> Result<Vec<Holder>, StockError> {
        let mut found = Vec::with_capacity(codes.len());
        for some in codes.chunks(AT_ONCE) {
            found.extend(try_join_all(some.iter().map(|code| self.holder(code, member))).await?);
        }
        Ok(found)
    }
}
