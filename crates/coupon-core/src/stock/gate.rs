//! Administration of a coupon's data: filling it, opening and closing the gate, changing the total, looking at it.

use std::collections::HashMap;

use super::{Stock, StockError, connection::script, keys, reply::Reply};
use crate::ids::{CouponCode, MemberId, RequestId};

script!(BEGIN_FILL, "begin_fill.lua");
script!(COPY, "copy.lua");
script!(ADOPT, "adopt.lua");
script!(GATE, "gate.lua");
script!(SET_TOTAL, "set_total.lua");
script!(SET_WINDOW, "set_window.lua");

/// Marks in one command: about 200 µs of Redis.
const MARKS_AT_ONCE: usize = 100;

/// What a coupon's data is begun with.
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

/// Whether the marks may now be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FillOutcome {
    /// Yes: copy the marks, then open.
    Filling,
    /// This epoch was filled before.
    Filled,
    /// Marks or promises are there without meta: part of the data was lost.
    Leftover,
    /// Data of this other epoch is there.
    OtherEpoch(i64),
    /// The data to be replaced still holds so many promises to publish.
    Promises(i64),
}

/// What became of a change of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateOutcome {
    /// The gate is as asked.
    Done,
    /// Redis has no data of this coupon.
    Missing,
    /// It is SUSPECT; only a rebuild ends that.
    Suspect,
    /// Data of this other epoch is there.
    OtherEpoch(i64),
}

/// What became of a change of the total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTotal {
    /// The total is as asked.
    Set,
    /// Redis has no data of this coupon.
    Missing,
    /// A newer change is there already; this one is void.
    Newer,
    /// This many members hold one, and nobody loses it.
    BelowIssued(i64),
}

/// What became of a change of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetWindow {
    /// The window is as asked.
    Set,
    /// Redis has no data of this coupon.
    Missing,
    /// A newer change is there already; this one is void.
    Newer,
}

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
    /// Marks in the issued map.
    pub issued: i64,
    /// Promises that Kafka has not acknowledged.
    pub outbox: i64,
    /// First moment requests are accepted, ms since 1970.
    pub opens_at_ms: i64,
    /// First moment they are no longer, ms since 1970; `None`: until closed by hand.
    pub closes_at_ms: Option<i64>,
}

impl View {
    /// Whether the marks are being copied: the one status that no campaign's row has.
    pub fn is_filling(&self) -> bool {
        self.status == "FILLING"
    }

    /// The status, or the one from before a rebuild shut the gate.
    pub fn gate(&self) -> &str {
        self.shut_from.as_deref().unwrap_or(&self.status)
    }
}

impl Stock {
    /// Runs `begin_fill.lua` and makes the coupon known to the relays.
    pub async fn begin_fill(&self, code: &CouponCode, fill: &Fill) -> Result<FillOutcome, StockError> {
        let mut call = BEGIN_FILL.key(keys::meta(code));
        call.key(keys::issued(code)).key(keys::outbox(code));
        call.arg(fill.epoch).arg(fill.total).arg(fill.total_version);
        call.arg(fill.opens_at_ms).arg(fill.closes_at_ms.unwrap_or(0)).arg(fill.seq);
        call.arg(i32::from(fill.replace)).arg(fill.window_version);
        let mut reply = Reply::read(self.invoke("begin a fill", &call).await?)?;
        let outcome = match reply.word() {
            "FILLING" => FillOutcome::Filling,
            "FILLED" => FillOutcome::Filled,
            "LEFTOVER" => return Ok(FillOutcome::Leftover),
            "OTHER" => return Ok(FillOutcome::OtherEpoch(reply.next()?)),
            "PROMISES" => return Ok(FillOutcome::Promises(reply.next()?)),
            _ => return Err(reply.unexpected()),
        };
        // Before the gate opens: a reservation whose coupon no relay knows would be a promise nobody keeps.
        self.make_known(code).await?;
        Ok(outcome)
    }

    /// Runs `adopt.lua`: completes what is left of a coupon's data, with the gate closed. `true` when it had to.
    pub async fn adopt(&self, code: &CouponCode, fill: &Fill) -> Result<bool, StockError> {
        let mut call = ADOPT.key(keys::meta(code));
        call.key(keys::issued(code)).key(keys::outbox(code));
        call.arg(fill.epoch).arg(fill.total).arg(fill.total_version);
        call.arg(fill.opens_at_ms).arg(fill.closes_at_ms.unwrap_or(0)).arg(fill.seq);
        let reply = Reply::read(self.invoke("adopt data", &call).await?)?;
        match reply.word() {
            "ADOPTED" => Ok(true),
            "WHOLE" | "NOTHING" => Ok(false),
            _ => Err(reply.unexpected()),
        }
    }

    /// Makes the coupon known to the relays; may be repeated.
    pub async fn make_known(&self, code: &CouponCode) -> Result<(), StockError> {
        self.change("make a coupon known", redis::cmd("SADD").arg(keys::COUPONS).arg(code.as_str())).await
    }

    /// Copies marks of ISSUED rows; only between [`Stock::begin_fill`] and the opening of the gate.
    pub async fn copy_marks(&self, code: &CouponCode, marks: &[(MemberId, RequestId)]) -> Result<(), StockError> {
        // One after the other: commands that stand in line would make the other campaigns wait for all of them.
        for some in marks.chunks(MARKS_AT_ONCE) {
            let mut call = COPY.key(keys::meta(code));
            call.key(keys::issued(code));
            for (member, request_id) in some {
                call.arg(member.as_str()).arg(request_id.to_string());
            }
            let reply = Reply::read(self.invoke("copy marks", &call).await?)?;
            if reply.word() != "COPIED" {
                return Err(reply.unexpected());
            }
        }
        Ok(())
    }

    /// Opens the gate; a newer total is taken over with it.
    pub async fn open(
        &self,
        code: &CouponCode,
        epoch: i64,
        total: i64,
        total_version: i64,
    ) -> Result<GateOutcome, StockError> {
        self.gate(code, "OPEN", epoch, &total.to_string(), total_version).await
    }

    /// Closes the gate.
    pub async fn close(&self, code: &CouponCode, epoch: i64) -> Result<GateOutcome, StockError> {
        self.gate(code, "CLOSED", epoch, "", 0).await
    }

    /// Marks the data of this epoch as not to be trusted; nothing is accepted until a rebuild.
    pub async fn suspect(&self, code: &CouponCode, epoch: i64) -> Result<GateOutcome, StockError> {
        self.gate(code, "SUSPECT", epoch, "", 0).await
    }

    /// Shuts the gate for a rebuild. With `is_sound` the data is as it should be, and the gate's status is remembered
    /// for [`Stock::resume`].
    pub async fn shut(&self, code: &CouponCode, epoch: i64, is_sound: bool) -> Result<GateOutcome, StockError> {
        self.gate(code, "SUSPECT", epoch, if is_sound { "1" } else { "0" }, 0).await
    }

    /// Gives a gate that a rebuild shut this status again; `Suspect`, and changes nothing, when its data is suspect.
    pub async fn resume(&self, code: &CouponCode, epoch: i64, status: &str) -> Result<GateOutcome, StockError> {
        self.gate(code, "RESUME", epoch, status, 0).await
    }

    async fn gate(
        &self,
        code: &CouponCode,
        status: &str,
        epoch: i64,
        what: &str,
        version: i64,
    ) -> Result<GateOutcome, StockError> {
        let mut call = GATE.key(keys::meta(code));
        call.key(keys::issued(code)).arg(status).arg(epoch).arg(what).arg(version);
        let mut reply = Reply::read(self.invoke("set the gate", &call).await?)?;
        match reply.word() {
            "DONE" => Ok(GateOutcome::Done),
            "MISSING" => Ok(GateOutcome::Missing),
            "SUSPECT" => Ok(GateOutcome::Suspect),
            "OTHER" => Ok(GateOutcome::OtherEpoch(reply.next()?)),
            _ => Err(reply.unexpected()),
        }
    }

    /// Sets the total under a version; see `set_total.lua`.
    pub async fn set_total(&self, code: &CouponCode, total: i64, version: i64) -> Result<SetTotal, StockError> {
        let mut call = SET_TOTAL.key(keys::meta(code));
        call.key(keys::issued(code)).arg(total).arg(version);
        let mut reply = Reply::read(self.invoke("set the total in redis", &call).await?)?;
        match reply.word() {
            "SET" => Ok(SetTotal::Set),
            "MISSING" => Ok(SetTotal::Missing),
            "NEWER" => Ok(SetTotal::Newer),
            "BELOW_ISSUED" => Ok(SetTotal::BelowIssued(reply.next()?)),
            _ => Err(reply.unexpected()),
        }
    }

    /// Sets the window under a version; see `set_window.lua`.
    pub async fn set_window(
        &self,
        code: &CouponCode,
        opens_at_ms: i64,
        closes_at_ms: Option<i64>,
        version: i64,
    ) -> Result<SetWindow, StockError> {
        let mut call = SET_WINDOW.key(keys::meta(code));
        call.arg(opens_at_ms).arg(closes_at_ms.unwrap_or(0)).arg(version);
        let reply = Reply::read(self.invoke("set the window in redis", &call).await?)?;
        match reply.word() {
            "SET" => Ok(SetWindow::Set),
            "MISSING" => Ok(SetWindow::Missing),
            "NEWER" => Ok(SetWindow::Newer),
            _ => Err(reply.unexpected()),
        }
    }

    /// Whether Redis holds anything of this coupon.
    pub async fn has_data(&self, code: &CouponCode) -> Result<bool, StockError> {
        let keys = [keys::meta(code), keys::issued(code), keys::outbox(code)];
        Ok(self.query::<i64>(redis::cmd("EXISTS").arg(&keys)).await? > 0)
    }

    /// The coupon as Redis sees it; `None` when it has no data of it.
    pub async fn view(&self, code: &CouponCode) -> Result<Option<View>, StockError> {
        let mut pipeline = redis::pipe();
        pipeline.hgetall(keys::meta(code)).hlen(keys::issued(code)).zcard(keys::outbox(code));
        let (meta, issued, outbox): (HashMap<String, String>, i64, i64) = self.pipeline(&pipeline).await?;
        let number = |field: &str| meta.get(field).and_then(|text| text.parse::<i64>().ok());
        // The scripts take data for lost of which any of these is missing.
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
        let codes: Vec<String> = self.query(redis::cmd("SMEMBERS").arg(keys::COUPONS)).await?;
        Ok(codes.iter().filter_map(|code| code.parse().ok()).collect())
    }
}
