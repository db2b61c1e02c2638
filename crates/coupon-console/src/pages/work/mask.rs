//! Members as the operator may see them, in everything that a page shows of a row.

use coupon_core::repo::{
    audit::AuditRow, dlq_events::DlqEvent, failed_coupon_issues::FailedCouponIssue, work_list::Note,
};

use crate::access::Caller;

/// Replaces one member's id in texts by what the operator may see of it.
pub(crate) struct Mask {
    member: String,
    shown: String,
}

impl Mask {
    /// For a member.
    pub(crate) fn of(caller: &Caller, member: &str) -> Self {
        Self { shown: caller.member(member), member: member.to_owned() }
    }

    fn text(&self, text: &mut String) {
        if self.shown != self.member && !self.member.is_empty() && text.contains(&self.member) {
            *text = text.replace(&self.member, &self.shown);
        }
    }

    /// Masks what people wrote about a row.
    pub(crate) fn words(&self, audit: &mut [AuditRow], notes: &mut [Note]) {
        for row in audit {
            self.text(&mut row.reason);
        }
        for note in notes {
            self.text(&mut note.note);
        }
    }
}

/// Masks the member of an entry.
pub(crate) fn entry(caller: &Caller, row: &mut FailedCouponIssue) {
    let mask = Mask::of(caller, &row.member_id);
    mask.text(&mut row.reason);
    row.cause.iter_mut().chain(&mut row.resolution).for_each(|text| mask.text(text));
    row.member_id = mask.shown;
}

/// Masks the member of a dead letter.
pub(crate) fn dead_letter(caller: &Caller, row: &mut DlqEvent) {
    let Some(member) = row.member_id.take() else { return };
    let mask = Mask::of(caller, &member);
    for text in [&mut row.error_message, &mut row.stack_trace, &mut row.cause] {
        mask.text(text);
    }
    row.member_id = Some(mask.shown);
}
