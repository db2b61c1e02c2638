//! The gate of a coupon: opening and closing it, and changing the total and the window.

use super::{Stock, StockError, connection::script, keys, reply::Reply};
use crate::ids::CouponCode;

script!(GATE, "gate.lua");
script!(SET_TOTAL, "set_total.lua");
script!(SET_WINDOW, "set_window.lua");

/// What became of a change of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateOutcome {
    /// The gate is as asked.
    Done,
    /// Redis has no data of this coupon.
    Missing,
    /// The data is SUSPECT; only a rebuild ends that.
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
    /// A newer change was made already; this one has no effect.
    Newer,
    /// This many members hold a unit, and no member loses one.
    BelowIssued(i64),
}

/// What became of a change of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetWindow {
    /// The window is as asked.
    Set,
    /// Redis has no data of this coupon.
    Missing,
    /// A newer change was made already; this one has no effect.
    Newer,
}

impl Stock {
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

    /// Sets the gate that a rebuild has shut to this status again. `Suspect`, and nothing is changed, when its data is suspect.
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
        let mut reply = Reply::read(self.invoke("set the gate", code.as_str(), &call).await?)?;
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
        let mut reply = Reply::read(self.invoke("set the total in redis", code.as_str(), &call).await?)?;
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
        let reply = Reply::read(self.invoke("set the window in redis", code.as_str(), &call).await?)?;
        match reply.word() {
            "SET" => Ok(SetWindow::Set),
            "MISSING" => Ok(SetWindow::Missing),
            "NEWER" => Ok(SetWindow::Newer),
            _ => Err(reply.unexpected()),
        }
    }
}
