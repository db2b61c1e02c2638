//! Filling a coupon's data: the data of an epoch with the gate closed, then the holder entries.

use super::{Stock, StockError, connection::script, keys, reply::Reply};
use crate::ids::{CouponCode, MemberId, RequestId};

script!(BEGIN_FILL, "begin_fill.lua");
script!(COPY, "copy.lua");
script!(ADOPT, "adopt.lua");

/// Holder entries copied by one command: about 200 µs of Redis.
const MAX_HOLDERS_PER_COPY: usize = 100;

/// What the data of a coupon begins with.
#[derive(Clone, Copy, Debug)]
pub struct Fill {
    /// Generation of the data, from the coupon's row.
    pub epoch: i64,
    /// Coupons in all.
    pub total: i64,
    /// Version of the total.
    pub total_version: i64,
    /// Version of the window.
    pub window_version: i64,
    /// First moment requests are accepted, ms since 1970.
    pub opens_at_ms: i64,
    /// First moment they are no longer, ms since 1970; `None`: until closed by hand.
    pub closes_at_ms: Option<i64>,
    /// Sequence to go on from.
    pub seq: i64,
    /// Whether data of an older epoch, or without meta, is replaced: a rebuild.
    pub replace: bool,
}

/// Whether the holder entries may now be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FillOutcome {
    /// Yes: copy the holder entries, then open the gate.
    Filling,
    /// This epoch was filled before.
    Filled,
    /// Holder or outbox entries are there without meta: part of the data was lost.
    Leftover,
    /// Data of this other epoch is there.
    OtherEpoch(i64),
    /// The data to be replaced has this many outbox entries that still have to be published.
    Unpublished(i64),
}

impl Stock {
    /// Runs `begin_fill.lua` and registers the coupon.
    pub async fn begin_fill(&self, code: &CouponCode, fill: &Fill) -> Result<FillOutcome, StockError> {
        let mut call = BEGIN_FILL.key(keys::meta(code));
        call.key(keys::issued(code)).key(keys::outbox(code));
        call.arg(fill.epoch).arg(fill.total).arg(fill.total_version);
        call.arg(fill.opens_at_ms).arg(fill.closes_at_ms.unwrap_or(0)).arg(fill.seq);
        call.arg(i32::from(fill.replace)).arg(fill.window_version);
        let mut reply = Reply::read(self.invoke("begin a fill", code.as_str(), &call).await?)?;
        let outcome = match reply.word() {
            "FILLING" => FillOutcome::Filling,
            "FILLED" => FillOutcome::Filled,
            "LEFTOVER" => return Ok(FillOutcome::Leftover),
            "OTHER" => return Ok(FillOutcome::OtherEpoch(reply.next()?)),
            "UNPUBLISHED" => return Ok(FillOutcome::Unpublished(reply.next()?)),
            _ => return Err(reply.unexpected()),
        };
        // Before the gate opens: no relay would publish the reservations of a coupon that is not registered.
        self.register(code).await?;
        Ok(outcome)
    }

    /// Runs `adopt.lua`: completes what is left of a coupon's data, with the gate closed. `true` when it had to.
    pub async fn adopt(&self, code: &CouponCode, fill: &Fill) -> Result<bool, StockError> {
        let mut call = ADOPT.key(keys::meta(code));
        call.key(keys::issued(code)).key(keys::outbox(code));
        call.arg(fill.epoch).arg(fill.total).arg(fill.total_version);
        call.arg(fill.opens_at_ms).arg(fill.closes_at_ms.unwrap_or(0)).arg(fill.seq);
        let reply = Reply::read(self.invoke("adopt data", code.as_str(), &call).await?)?;
        match reply.word() {
            "ADOPTED" => Ok(true),
            "WHOLE" | "NOTHING" => Ok(false),
            _ => Err(reply.unexpected()),
        }
    }

    /// Puts the coupon on the list from which relays take their coupons. May be repeated.
    pub async fn register(&self, code: &CouponCode) -> Result<(), StockError> {
        self.change("make a coupon known", keys::COUPONS, redis::cmd("SADD").arg(keys::COUPONS).arg(code.as_str()))
            .await
    }

    /// Copies the holder entries of ISSUED rows; only between [`Stock::begin_fill`] and the opening of the gate.
    pub async fn copy_holders(&self, code: &CouponCode, holders: &[(MemberId, RequestId)]) -> Result<(), StockError> {
        // One command after the other: Redis would run commands that stand in line before those of other campaigns.
        for some in holders.chunks(MAX_HOLDERS_PER_COPY) {
            let mut call = COPY.key(keys::meta(code));
            call.key(keys::issued(code));
            for (member, request_id) in some {
                call.arg(member.as_str()).arg(request_id.to_string());
            }
            let reply = Reply::read(self.invoke("copy marks", code.as_str(), &call).await?)?;
            if reply.word() != "COPIED" {
                return Err(reply.unexpected());
            }
        }
        Ok(())
    }
}
