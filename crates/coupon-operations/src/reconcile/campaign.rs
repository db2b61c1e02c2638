//! The comparison of a campaign as a whole, without its members: the data's presence and age, the gate, the total, the
//! window, the outbox, the counter.

use chrono::TimeDelta;
use coupon_core::{
    repo::coupons::{Coupon, CouponStatus},
    stock::{GateOutcome, SetTotal, SetWindow, View},
};

use super::{Comparison, Drift, OperationsError};
use crate::operations::is_ahead;

impl Comparison<'_> {
    /// Compares every value that the campaign has once. Returns `false` when Redis has lost data: comparing its holder
    /// entries would only find that loss again.
    pub(super) async fn compare_campaign(&mut self) -> Result<bool, OperationsError> {
        self.compare_counter().await?;
        self.compare_numbers().await?;
        let coupon = self.coupon;
        // The row was read before the view, so a healthy Redis can only be ahead of it.
        let view = match self.stock.view(self.code()).await? {
            None => Err("redis has no data of it".to_owned()),
            Some(view) if view.epoch != coupon.epoch => {
                Err(format!("redis holds epoch {}, postgresql is at {}", view.epoch, coupon.epoch))
            }
            Some(view) if !is_ahead(self.database, coupon, &view).await? => {
                Err(format!("redis is at {}, {} was seen in an event", view.seq, coupon.high_seq))
            }
            // But a gate that a rebuild shut before it was killed is only closed.
            Some(view) if view.gate() == CouponStatus::Suspect.as_str() => Err("redis says SUSPECT".to_owned()),
            Some(view) => Ok(view),
        };
        match view {
            Ok(view) => {
                if view.seq < coupon.high_seq && (self.options.apply || self.options.requeue) {
                    self.correct_high_seq(&view).await?;
                }
                self.compare_gate(&view).await?;
                self.compare_totals(&view).await?;
                self.compare_window(&view).await?;
                self.compare_outbox().await?;
                Ok(true)
            }
            Err(what) => {
                if self.options.apply {
                    self.close_gate().await?;
                }
                // The gate is closed then; the data is still lost.
                self.report.note(Drift::DataLost, what, false);
                Ok(false)
            }
        }
    }

    /// Makes a campaign with lost data SUSPECT: first the row, which raises the alarm, then the gate.
    async fn close_gate(&self) -> Result<(), OperationsError> {
        let (code, epoch) = (self.code(), self.coupon.epoch);
        let (from, me) = (&[CouponStatus::Open], self.operations.me());
        self.database.coupons().set_status(code.clone(), epoch, from, CouponStatus::Suspect, me).await?;
        if let GateOutcome::OtherEpoch(epoch) = self.stock.suspect(code, epoch).await? {
            self.stock.suspect(code, epoch).await?;
        }
        Ok(())
    }

    /// Lowers `high_seq` after an event claimed a sequence that Redis never gave: the claim would hide a real loss.
    async fn correct_high_seq(&self, view: &View) -> Result<(), OperationsError> {
        let (code, claimed) = (self.code(), self.coupon.high_seq);
        let vouched = self.database.reconciliations().vouched_seq(code, view.seq).await?;
        tracing::warn!(coupon = %code, claimed, "an event of {code} claimed sequence {claimed}, which redis never gave; it is not believed");
        Ok(self.database.reconciliations().correct_high_seq(code.clone(), claimed, vouched).await?)
    }

    async fn compare_gate(&mut self, view: &View) -> Result<(), OperationsError> {
        let (code, coupon) = (self.code(), self.coupon);
        let is_open = view.status == CouponStatus::Open.as_str();
        if is_open == (coupon.status == CouponStatus::Open) {
            return Ok(());
        }
        if coupon.status == CouponStatus::Open {
            return self.compare_closed_gate().await;
        }
        let mut repaired = false;
        if self.options.apply {
            let outcome = match coupon.status {
                CouponStatus::Suspect => self.stock.suspect(code, coupon.epoch).await?,
                _ => self.stock.close(code, coupon.epoch).await?,
            };
            repaired = outcome == GateOutcome::Done;
        }
        let example = format!("redis {}, postgresql {}", view.status, coupon.status);
        self.report.note(Drift::GateDiffers, example, repaired);
        Ok(())
    }

    /// Compares a closed gate with a row that says OPEN: another process opens or closes the campaign now, or was killed
    /// while doing so.
    async fn compare_closed_gate(&mut self) -> Result<(), OperationsError> {
        let (code, epoch, database) = (self.code(), self.coupon.epoch, self.database);
        let find_open = async || {
            let row = database.coupons().find(code).await?;
            Ok::<_, OperationsError>(row.filter(|row| row.status == CouponStatus::Open && row.epoch == epoch))
        };
        let (Some(view), Some(row)) = (self.stock.view(code).await?, find_open().await?) else { return Ok(()) };
        if view.status == CouponStatus::Open.as_str() {
            return Ok(());
        }
        let mut repaired = false;
        if self.options.apply && view.shut_from.is_some() {
            repaired = self.stock.resume(code, row.epoch, row.status.as_str()).await? == GateOutcome::Done;
        } else if self.options.apply && view.status == CouponStatus::Closed.as_str() {
            let opened = self.stock.open(code, row.epoch, row.total_quantity, row.total_version).await?;
            repaired = opened == GateOutcome::Done;
            // The row has the last word, as when a campaign is opened.
            if find_open().await?.is_none() {
                self.stock.close(code, row.epoch).await?;
            }
        }
        let example = format!("redis {}, postgresql {}", view.status, row.status);
        self.report.note(Drift::GateDiffers, example, repaired);
        Ok(())
    }

    /// Reads the row and Redis's data once more: another process may have been changing them at the first reading.
    async fn read_again(&self) -> Result<Option<(Coupon, View)>, OperationsError> {
        let coupon = self.database.coupons().find(self.code()).await?;
        Ok(coupon.zip(self.stock.view(self.code()).await?))
    }

    async fn compare_totals(&mut self, view: &View) -> Result<(), OperationsError> {
        if view.total == self.coupon.total_quantity {
            return Ok(());
        }
        let Some((coupon, view)) = self.read_again().await? else { return Ok(()) };
        let (total, version) = (coupon.total_quantity, coupon.total_version);
        if view.total == total {
            return Ok(());
        }
        let repaired = self.options.apply && self.stock.set_total(self.code(), total, version).await? == SetTotal::Set;
        self.report.note(Drift::TotalsDiffer, format!("redis {}, postgresql {total}", view.total), repaired);
        Ok(())
    }

    /// Compares the windows. Members meet the one in Redis; a change that broke off after the row was written is finished
    /// under the row's version.
    async fn compare_window(&mut self, view: &View) -> Result<(), OperationsError> {
        let code = self.code();
        if window_of(self.coupon) == (view.opens_at_ms, view.closes_at_ms) {
            return Ok(());
        }
        let Some((coupon, view)) = self.read_again().await? else { return Ok(()) };
        let (opens_at_ms, closes_at_ms) = window_of(&coupon);
        if (opens_at_ms, closes_at_ms) == (view.opens_at_ms, view.closes_at_ms) {
            return Ok(());
        }
        let (mut repaired, mut newer) = (false, String::new());
        if self.options.apply {
            match self.stock.set_window(code, opens_at_ms, closes_at_ms, coupon.window_version).await? {
                SetWindow::Set => repaired = true,
                // A PostgreSQL that was restored has forgotten a change that Redis still has.
                SetWindow::Newer => {
                    newer = format!(
                        "; redis has the newer one: say with `issuer-api coupon set-window {code}` which counts"
                    );
                }
                SetWindow::Missing => {}
            }
        }
        let shown =
            |opens: i64, closes: Option<i64>| format!("{opens} to {}", closes.map_or("-".into(), |ms| ms.to_string()));
        let (redis, postgresql) = (shown(view.opens_at_ms, view.closes_at_ms), shown(opens_at_ms, closes_at_ms));
        let example = format!("redis {redis}, postgresql {postgresql} ms{newer}");
        self.report.note(Drift::WindowDiffers, example, repaired);
        Ok(())
    }

    async fn compare_outbox(&mut self) -> Result<(), OperationsError> {
        for entry in self.stock.unreadable(self.code()).await? {
            if self.options.apply {
                self.stock.delete_entry(self.code(), &entry).await?;
            }
            self.report.note(Drift::UnreadableEntry, entry, self.options.apply);
        }
        Ok(())
    }

    /// Compares the number of the last decision with that of the decisions. Those without a number, which builds from before
    /// the numbers have made, get one, also without `apply`: nobody was told anything else. A difference that an operator has
    /// accepted is none.
    async fn compare_numbers(&mut self) -> Result<(), OperationsError> {
        let (code, batches) = (self.code(), self.database.coupon_decision_batches());
        let begun = self.operations.clock.now();
        let Some(mut count) = batches.count(code).await? else { return Ok(()) };
        while count.difference() < 0 && batches.number_some(code).await? > 0 {
            let Some(again) = batches.count(code).await? else { return Ok(()) };
            count = again;
        }
        if count.difference() == 0 {
            return Ok(batches.note_complete(code, begun - COMMITTED_WITHIN).await?);
        }
        let accepted = if count.accepted == 0 { String::new() } else { format!(", accepted {}", count.accepted) };
        let example = format!("last number {}, decisions {}{accepted}", count.last, count.decisions);
        self.report.note(Drift::NumbersDiffer, example, false);
        Ok(())
    }

    async fn compare_counter(&mut self) -> Result<(), OperationsError> {
        let (code, reconciliations) = (self.code(), self.database.reconciliations());
        let Some(count) = reconciliations.count_rows(code).await? else { return Ok(()) };
        let example = format!("counter {}, rows {}, total {}", count.counter, count.rows, count.total);
        if count.rows > count.total {
            self.report.note(Drift::Oversold, &example, false);
        }
        if count.counter != count.rows {
            let repaired = self.options.apply && reconciliations.correct_counter(code.clone(), count).await?;
            self.report.note(Drift::WrongCounter, example, repaired);
        }
        Ok(())
    }
}

/// Time by which a decision may carry an earlier time than that of its commit, and by which clocks differ, with much to spare.
const COMMITTED_WITHIN: TimeDelta = TimeDelta::hours(1);

/// Returns the row's window as Redis has it: from, and until, in ms since 1970.
fn window_of(coupon: &Coupon) -> (i64, Option<i64>) {
    (coupon.opens_at.timestamp_millis(), coupon.closes_at.map(|at| at.timestamp_millis()))
}
