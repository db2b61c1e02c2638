//! A coupon's data as Redis has it, piece by piece, and the repair of single members: what reconciliation is built on.
//!
//! No command takes longer with the size of the campaign: maps are read in pages, and each change is of one member.

use std::collections::HashMap;

use super::{OutboxEntry, Stock, StockError, connection::script, keys, reply::Reply};
use crate::ids::{CouponCode, MemberId, RequestId};

script!(REQUEUE, "requeue.lua");
script!(RESTORE, "restore.lua");
script!(DELETE_COUPON, "delete_coupon.lua");

/// A coupon as Redis sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// OPEN, CLOSED, FILLING or SUSPECT.
    pub status: String,
    /// What a rebuild found the gate to be when it shut data that nobody suspects; `None` otherwise.
    pub shut_from: Option<String>,
    /// Generation of the data.
    pub epoch: i64,
    /// Highest sequence given out.
    pub seq: i64,
    /// Coupons in all.
    pub total: i64,
    /// Number of holder entries.
    pub issued: i64,
    /// Number of outbox entries: events that Kafka has not acknowledged.
    pub outbox: i64,
    /// First moment requests are accepted, ms since 1970.
    pub opens_at_ms: i64,
    /// First moment they are no longer, ms since 1970; `None`: until closed by hand.
    pub closes_at_ms: Option<i64>,
}

impl View {
    /// Whether the holder entries are being copied: the one status that no campaign's row has.
    pub fn is_filling(&self) -> bool {
        self.status == "FILLING"
    }

    /// The status, or the one from before a rebuild shut the gate.
    pub fn gate(&self) -> &str {
        self.shut_from.as_deref().unwrap_or(&self.status)
    }
}

/// A page of holder entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HolderPage {
    /// Where the next page begins; 0: there is none.
    pub cursor: u64,
    /// Member id and request id of each entry, as texts. An entry may come twice.
    pub holders: Vec<(String, String)>,
}

/// What became of the repair of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepairOutcome {
    /// The entry is there.
    Done,
    /// The data has changed meanwhile; nothing was done.
    Moved,
}

/// What became of the deletion of a coupon's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// Nothing is left.
    Done,
    /// This many outbox entries still have to be published.
    Unpublished(i64),
    /// The gate is not closed but has this status.
    NotClosed(String),
}

impl Stock {
    /// Whether Redis holds anything of this coupon.
    pub async fn has_data(&self, code: &CouponCode) -> Result<bool, StockError> {
        let keys = [keys::meta(code), keys::issued(code), keys::outbox(code)];
        Ok(self.query::<i64>(code.as_str(), redis::cmd("EXISTS").arg(&keys)).await? > 0)
    }

    /// The coupon as Redis sees it; `None` when it has no data of it.
    pub async fn view(&self, code: &CouponCode) -> Result<Option<View>, StockError> {
        let mut pipeline = redis::pipe();
        pipeline.hgetall(keys::meta(code)).hlen(keys::issued(code)).zcard(keys::outbox(code));
        let (meta, issued, outbox): (HashMap<String, String>, i64, i64) =
            self.pipeline(code.as_str(), &pipeline).await?;
        let number = |field: &str| meta.get(field).and_then(|text| text.parse::<i64>().ok());
        // The scripts take data for lost of which any of these fields is missing.
        let view = || {
            number("total_version")?;
            Some(View {
                status: meta.get("status")?.clone(),
                shut_from: meta.get("shut_from").cloned(),
                epoch: number("epoch")?,
                seq: number("seq")?,
                total: number("total")?,
                issued,
                outbox,
                opens_at_ms: number("opens_at")?,
                closes_at_ms: Some(number("closes_at")?).filter(|ms| *ms > 0),
            })
        };
        Ok(view())
    }

    /// The coupons that have data in this Redis.
    pub async fn coupons(&self) -> Result<Vec<CouponCode>, StockError> {
        let codes: Vec<String> = self.query(keys::COUPONS, redis::cmd("SMEMBERS").arg(keys::COUPONS)).await?;
        Ok(codes.iter().filter_map(|code| code.parse().ok()).collect())
    }

    /// About `count` holder entries from `cursor` on; 0 begins. Every entry that is there from the first page to the last is
    /// seen, as long as one server gives all pages (see [`Stock::connection_id`]).
    pub async fn scan_holders(&self, code: &CouponCode, cursor: u64, count: usize) -> Result<HolderPage, StockError> {
        let mut command = redis::cmd("HSCAN");
        command.arg(keys::issued(code)).arg(cursor).arg("COUNT").arg(count);
        let (cursor, holders) = self.query(code.as_str(), &command).await?;
        Ok(HolderPage { cursor, holders })
    }

    /// The request ids in the holder entries of these members, in their order.
    pub async fn holders_of<M: AsRef<str>>(
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
        self.query(code.as_str(), &command).await
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
        let scores: Vec<Option<f64>> = self.query(code.as_str(), &command).await?;
        Ok(scores.into_iter().map(|score| score.is_some()).collect())
    }

    /// Number of outbox entries, also when the rest of the data is gone.
    pub async fn outbox_len(&self, code: &CouponCode) -> Result<i64, StockError> {
        self.query(code.as_str(), redis::cmd("ZCARD").arg(keys::outbox(code))).await
    }

    /// Runs `requeue.lua`: puts the outbox entry of a holder back, so that a relay publishes its event again.
    pub async fn requeue(
        &self,
        code: &CouponCode,
        epoch: i64,
        member: &MemberId,
        request_id: RequestId,
        reserved_at_ms: i64,
    ) -> Result<RepairOutcome, StockError> {
        let mut call = REQUEUE.key(keys::meta(code));
        call.key(keys::issued(code)).key(keys::outbox(code));
        call.arg(request_id.to_string()).arg(member.as_str()).arg(epoch).arg(reserved_at_ms);
        let reply = Reply::read(self.invoke("promise again", code.as_str(), &call).await?)?;
        match reply.word() {
            "REQUEUED" => {
                self.register(code).await?;
                Ok(RepairOutcome::Done)
            }
            "MOVED" => Ok(RepairOutcome::Moved),
            _ => Err(reply.unexpected()),
        }
    }

    /// Runs `restore.lua`: puts the holder entry of an ISSUED row back where the member has none.
    pub async fn restore_holder(
        &self,
        code: &CouponCode,
        epoch: i64,
        member: &MemberId,
        request_id: RequestId,
    ) -> Result<RepairOutcome, StockError> {
        let mut call = RESTORE.key(keys::meta(code));
        call.key(keys::issued(code)).arg(request_id.to_string()).arg(member.as_str()).arg(epoch);
        let reply = Reply::read(self.invoke("restore a mark", code.as_str(), &call).await?)?;
        match reply.word() {
            "RESTORED" => Ok(RepairOutcome::Done),
            "TAKEN" | "MOVED" => Ok(RepairOutcome::Moved),
            _ => Err(reply.unexpected()),
        }
    }

    /// Runs `delete_coupon.lua` and takes the coupon off the list of the relays. May be repeated.
    pub async fn delete_coupon(&self, code: &CouponCode) -> Result<DeleteOutcome, StockError> {
        let mut call = DELETE_COUPON.key(keys::meta(code));
        call.key(keys::issued(code)).key(keys::outbox(code)).key(keys::relay_lease(code)).key(keys::refused(code));
        let mut reply = Reply::read(self.invoke("forget a coupon", code.as_str(), &call).await?)?;
        match reply.word() {
            "DELETED" => {}
            "UNPUBLISHED" => return Ok(DeleteOutcome::Unpublished(reply.next()?)),
            "OPEN" => return Ok(DeleteOutcome::NotClosed(reply.next()?)),
            _ => return Err(reply.unexpected()),
        }
        let mut command = redis::cmd("SREM");
        command.arg(keys::COUPONS).arg(code.as_str());
        self.change("make a coupon unknown", keys::COUPONS, &command).await?;
        Ok(DeleteOutcome::Done)
    }
}
