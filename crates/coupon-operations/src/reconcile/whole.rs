//! What can be compared without looking at a single member: the data's presence and age, the gate, the total, the window, the
//! counter.

use coupon_core::{
    ids::CouponCode,
    repo::coupons::{Coupon, CouponStatus},
    stock::{GateOutcome, SetTotal, SetWindow, View},
};

use super::{Drift, Operations, OperationsError, ReconcileOptions, Report};

impl Operations {
    /// Compares the two as wholes. `false` when Redis's data is not worth looking at any further.
    pub(super) async fn compare_whole(
        &self,
        coupon: &Coupon,
        options: ReconcileOptions,
        report: &mut Report,
    ) -> Result<bool, OperationsError> {
        self.compare_counter(coupon, options, report).await?;
        // The row was read before the view, so a healthy Redis can only be ahead of it.
        let view = match self.stock.view(&coupon.coupon_code).await? {
            None => Err("redis has no data of it".to_owned()),
            Some(view) if view.epoch != coupon.epoch => {
                Err(format!("redis holds epoch {}, postgresql is at {}", view.epoch, coupon.epoch))
            }
            Some(view) if !self.is_ahead(coupon, &view).await? => {
                Err(format!("redis is at {}, {} was seen in an event", view.seq, coupon.high_seq))
            }
            // But one that a rebuild shut, and then was killed, is only a closed gate.
            Some(view) if view.gate() == CouponStatus::Suspect.as_str() => Err("redis says SUSPECT".to_owned()),
            Some(view) => Ok(view),
        };
        match view {
            Ok(view) => {
                if view.seq < coupon.high_seq && (options.apply || options.requeue) {
                    self.mend_high_seq(coupon, &view).await?;
                }
                self.compare_gate(coupon, &view, options, report).await?;
                self.compare_totals(coupon, &view, options, report).await?;
                self.compare_window(coupon, &view, options, report).await?;
                self.compare_outbox(&coupon.coupon_code, options, report).await?;
                Ok(true)
            }
            Err(what) => {
                if options.apply {
                    self.close_gate(coupon).await?;
                }
                // The gate is closed then; the data is still lost.
                report.note(Drift::DataLost, what, false);
                Ok(false)
            }
        }
    }

    /// Nothing is sold from data that is not to be trusted: first the row, which is what alarms, then the gate.
    async fn close_gate(&self, coupon: &Coupon) -> Result<(), OperationsError> {
        let code = &coupon.coupon_code;
        let from = &[CouponStatus::Open];
        let changed =
            self.database.coupons().set_status(code.clone(), coupon.epoch, from, CouponStatus::Suspect, self.me());
        changed.await?;
        if let GateOutcome::OtherEpoch(epoch) = self.stock.suspect(code, coupon.epoch).await? {
            self.stock.suspect(code, epoch).await?;
        }
        Ok(())
    }

    /// Whether Redis, of the row's epoch, has reached every sequence that was seen in an event and that it can have given.
    pub(crate) async fn is_ahead(&self, coupon: &Coupon, view: &View) -> Result<bool, OperationsError> {
        Ok(view.seq >= coupon.high_seq
            || view.seq >= self.database.reconciliations().vouched_seq(&coupon.coupon_code, view.seq).await?)
    }

    /// An event claimed a sequence that no Redis gave; it would hide one that a real loss shows by.
    async fn mend_high_seq(&self, coupon: &Coupon, view: &View) -> Result<(), OperationsError> {
        let (code, claimed) = (&coupon.coupon_code, coupon.high_seq);
        let vouched = self.database.reconciliations().vouched_seq(code, view.seq).await?;
        tracing::warn!(coupon = %code, claimed, "an event of {code} claimed sequence {claimed}, which redis never gave; it is not believed");
        Ok(self.database.reconciliations().correct_high_seq(code.clone(), claimed, vouched).await?)
    }

    async fn compare_gate(
        &self,
        coupon: &Coupon,
        view: &View,
        options: ReconcileOptions,
        report: &mut Report,
    ) -> Result<(), OperationsError> {
        let is_open = |status: &str| status == CouponStatus::Open.as_str();
        if is_open(&view.status) == (coupon.status == CouponStatus::Open) {
            return Ok(());
        }
        let code = &coupon.coupon_code;
        if coupon.status == CouponStatus::Open {
            return self.compare_closed_gate(coupon, options, report).await;
        }
        let mut repaired = false;
        if options.apply {
            let outcome = match coupon.status {
                CouponStatus::Suspect => self.stock.suspect(code, coupon.epoch).await?,
                _ => self.stock.close(code, coupon.epoch).await?,
            };
            repaired = outcome == GateOutcome::Done;
        }
        report.note(Drift::GateDiffers, format!("redis {}, postgresql {}", view.status, coupon.status), repaired);
        Ok(())
    }

    /// The row says OPEN and the gate does not: somebody is opening or closing it now, or was killed at it.
    async fn compare_closed_gate(
        &self,
        coupon: &Coupon,
        options: ReconcileOptions,
        report: &mut Report,
    ) -> Result<(), OperationsError> {
        let code = &coupon.coupon_code;
        let is_open = async || {
            let row = self.database.coupons().find(code).await?;
            Ok::<_, OperationsError>(row.filter(|row| row.status == CouponStatus::Open && row.epoch == coupon.epoch))
        };
        let (Some(view), Some(row)) = (self.stock.view(code).await?, is_open().await?) else { return Ok(()) };
        if view.status == CouponStatus::Open.as_str() {
            return Ok(());
        }
        let mut repaired = false;
        if options.apply && view.shut_from.is_some() {
            repaired = self.stock.resume(code, row.epoch, row.status.as_str()).await? == GateOutcome::Done;
        } else if options.apply && view.status == CouponStatus::Closed.as_str() {
            let opened = self.stock.open(code, row.epoch, row.total_quantity, row.total_version).await?;
            repaired = opened == GateOutcome::Done;
            // The row has the last word, as when a campaign is opened.
            if is_open().await?.is_none() {
                self.stock.close(code, row.epoch).await?;
            }
        }
        report.note(Drift::GateDiffers, format!("redis {}, postgresql {}", view.status, row.status), repaired);
        Ok(())
    }

    /// The row, and what Redis has of it, once more: somebody may have been changing it when the two were read.
    async fn look_again(&self, code: &CouponCode) -> Result<Option<(Coupon, View)>, OperationsError> {
        let coupon = self.database.coupons().find(code).await?;
        Ok(coupon.zip(self.stock.view(code).await?))
    }

    async fn compare_totals(
        &self,
        coupon: &Coupon,
        view: &View,
        options: ReconcileOptions,
        report: &mut Report,
    ) -> Result<(), OperationsError> {
        if view.total == coupon.total_quantity {
            return Ok(());
        }
        let code = &coupon.coupon_code;
        let Some((coupon, view)) = self.look_again(code).await? else { return Ok(()) };
        if view.total == coupon.total_quantity {
            return Ok(());
        }
        let (total, version) = (coupon.total_quantity, coupon.total_version);
        let repaired = options.apply && self.stock.set_total(code, total, version).await? == SetTotal::Set;
        report.note(Drift::TotalsDiffer, format!("redis {}, postgresql {total}", view.total), repaired);
        Ok(())
    }

    /// Members meet the window that Redis has; a change that broke off after the row is finished under the row's version.
    async fn compare_window(
        &self,
        coupon: &Coupon,
        view: &View,
        options: ReconcileOptions,
        report: &mut Report,
    ) -> Result<(), OperationsError> {
        if window_of(coupon) == (view.opens_at_ms, view.closes_at_ms) {
            return Ok(());
        }
        let code = &coupon.coupon_code;
        let Some((coupon, view)) = self.look_again(code).await? else { return Ok(()) };
        let (opens_at_ms, closes_at_ms) = window_of(&coupon);
        if (opens_at_ms, closes_at_ms) == (view.opens_at_ms, view.closes_at_ms) {
            return Ok(());
        }
        let (mut repaired, mut newer) = (false, String::new());
        if options.apply {
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
        report.note(Drift::WindowDiffers, format!("redis {redis}, postgresql {postgresql} ms{newer}"), repaired);
        Ok(())
    }

    async fn compare_outbox(
        &self,
        code: &CouponCode,
        options: ReconcileOptions,
        report: &mut Report,
    ) -> Result<(), OperationsError> {
        for entry in self.stock.unreadable(code).await? {
            if options.apply {
                self.stock.delete_entry(code, &entry).await?;
            }
            report.note(Drift::UnreadableEntry, entry, options.apply);
        }
        Ok(())
    }

    async fn compare_counter(
        &self,
        coupon: &Coupon,
        options: ReconcileOptions,
        report: &mut Report,
    ) -> Result<(), OperationsError> {
        let code = &coupon.coupon_code;
        let Some(count) = self.database.reconciliations().count_rows(code).await? else { return Ok(()) };
        let example = format!("counter {}, rows {}, total {}", count.counter, count.rows, count.total);
        if count.rows > count.total {
            report.note(Drift::Oversold, &example, false);
        }
        if count.counter != count.rows {
            let repaired =
                options.apply && self.database.reconciliations().correct_counter(code.clone(), count).await?;
            report.note(Drift::WrongCounter, example, repaired);
        }
        Ok(())
    }
}

/// When the row accepts requests, as Redis has it: from, and until, in ms since 1970.
fn window_of(coupon: &Coupon) -> (i64, Option<i64>) {
    (coupon.opens_at.timestamp_millis(), coupon.closes_at.map(|at| at.timestamp_millis()))
}
