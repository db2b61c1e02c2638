//! Looking at a coupon's data piece by piece, and putting single members right: what reconciliation stands on.
//!
//! Nothing here takes longer with the size of the campaign: maps are read in pages, and each change is of one member.

use super::{OutboxEntry, Stock, StockError, connection::script, keys, reply::Reply};
use crate::ids::{CouponCode, MemberId, RequestId};

script!(PROMISE, "promise.lua");
script!(RESTORE, "restore.lua");
script!(FORGET, "forget.lua");

/// A page of a scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Where the next page begins; 0: there is none.
    pub cursor: u64,
    /// Member and what their mark says, as they stand there. One may come twice.
    pub marks: Vec<(String, String)>,
}

/// What became of a change of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mended {
    /// It is as it should be.
    Done,
    /// Something has changed meanwhile; nothing was done.
    Moved,
}

/// What became of the removal of a coupon's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forgotten {
    /// Nothing is left.
    Done,
    /// So many events still have to be published.
    Promises(i64),
    /// The gate is not closed but has this status.
    NotClosed(String),
}

impl Stock {
    /// About `count` marks from `cursor` on; 0 begins. Every mark that is there from the first page to the last is
    /// seen, as long as one server gives all of them (see [`Stock::server_id`]).
    pub async fn scan_marks(&self, code: &CouponCode, cursor: u64, count: usize) -> Result<Marks, StockError> {
        let mut command = redis::cmd("HSCAN");
        command.arg(keys::issued(code)).arg(cursor).arg("COUNT").arg(count);
        let (cursor, marks) = self.query(&command).await?;
        Ok(Marks { cursor, marks })
    }

    /// What the marks of these members say now, in their order.
    pub async fn marks_of<M: AsRef<str>>(
        &self,
        code: &CouponCode,
        members: &[M],
    ) -> Result<Vec<Option<String>>, StockError> {
        if members.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = redis::cmd("HMGET");
        command.arg(keys::issued(code));
        for member in members {
            command.arg(member.as_ref());
        }
        self.query(&command).await
    }

    /// Which of these entries are in the outbox, in their order.
    pub async fn are_pending(&self, code: &CouponCode, entries: &[OutboxEntry]) -> Result<Vec<bool>, StockError> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = redis::cmd("ZMSCORE");
        command.arg(keys::outbox(code));
        for entry in entries {
            command.arg(entry.encode());
        }
        let scores: Vec<Option<f64>> = self.query(&command).await?;
        Ok(scores.into_iter().map(|score| score.is_some()).collect())
    }

    /// Promises in the outbox, also when the rest of the data is gone.
    pub async fn promises(&self, code: &CouponCode) -> Result<i64, StockError> {
        self.query(redis::cmd("ZCARD").arg(keys::outbox(code))).await
    }

    /// Runs `promise.lua`: the event of this mark is published again.
    pub async fn promise_again(
        &self,
        code: &CouponCode,
        epoch: i64,
        member: &MemberId,
        request_id: RequestId,
        reserved_at_ms: i64,
    ) -> Result<Mended, StockError> {
        let mut call = PROMISE.key(keys::meta(code));
        call.key(keys::issued(code)).key(keys::outbox(code));
        call.arg(request_id.to_string()).arg(member.as_str()).arg(epoch).arg(reserved_at_ms);
        let reply = Reply::read(self.invoke("promise again", &call).await?)?;
        match reply.word() {
            "PROMISED" => {
                self.make_known(code).await?;
                Ok(Mended::Done)
            }
            "MOVED" => Ok(Mended::Moved),
            _ => Err(reply.unexpected()),
        }
    }

    /// Runs `restore.lua`: the mark of an ISSUED row comes back where the member has none.
    pub async fn restore_mark(
        &self,
        code: &CouponCode,
        epoch: i64,
        member: &MemberId,
        request_id: RequestId,
    ) -> Result<Mended, StockError> {
        let mut call = RESTORE.key(keys::meta(code));
        call.key(keys::issued(code)).arg(request_id.to_string()).arg(member.as_str()).arg(epoch);
        let reply = Reply::read(self.invoke("restore a mark", &call).await?)?;
        match reply.word() {
            "RESTORED" => Ok(Mended::Done),
            "TAKEN" | "MOVED" => Ok(Mended::Moved),
            _ => Err(reply.unexpected()),
        }
    }

    /// Runs `forget.lua` and makes the coupon unknown to the relays. May be repeated.
    pub async fn forget(&self, code: &CouponCode) -> Result<Forgotten, StockError> {
        let mut call = FORGET.key(keys::meta(code));
        call.key(keys::issued(code)).key(keys::outbox(code)).key(keys::relay_lease(code));
        let mut reply = Reply::read(self.invoke("forget a coupon", &call).await?)?;
        match reply.word() {
            "FORGOTTEN" => {}
            "PROMISES" => return Ok(Forgotten::Promises(reply.next()?)),
            "OPEN" => return Ok(Forgotten::NotClosed(reply.next()?)),
            _ => return Err(reply.unexpected()),
        }
        let mut command = redis::cmd("SREM");
        command.arg(keys::COUPONS).arg(code.as_str());
        self.change("make a coupon unknown", &command).await?;
        Ok(Forgotten::Done)
    }
}
