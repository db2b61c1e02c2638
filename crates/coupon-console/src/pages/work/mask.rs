//! Members as the operator may see them, in everything that a page shows of a row.

use coupon_core::repo::{
    audit::AuditRow, dlq_events::DlqEvent, failed_coupon_issues::FailedCouponIssue, work_list::Note,
};

use serde_json::Value;

use crate::access::{Caller, Role};

/// What stands in place of words that may name a member.
pub(crate) const HIDDEN: &str = "…";

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

/// Hides why somebody changed single rows, or those of one member, from who may not see members: such words may name one.
/// `filter` is the choice of rows, as JSON.
pub(crate) fn reason(caller: &Caller, filter: &Value, reason: &mut String) {
    let is_of_few = filter["ids"].as_array().is_some_and(|ids| !ids.is_empty()) || filter["member"].is_string();
    if is_of_few {
        reason_of_row(caller, reason);
    }
}

/// Hides why somebody changed a row from who may not see members.
pub(crate) fn reason_of_row(caller: &Caller, reason: &mut String) {
    if !caller.may(Role::Support) && !reason.is_empty() {
        HIDDEN.clone_into(reason);
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
    let Some(member) = row.member_id.take() else {
        // The record cannot be read, and what is wrong with it quotes what stands in the member's place.
        if !caller.may(Role::Support) {
            row.error_message.clone_from(&row.cause);
            row.stack_trace.clear();
        }
        return;
    };
    let mask = Mask::of(caller, &member);
    for text in [&mut row.error_message, &mut row.stack_trace, &mut row.cause] {
        mask.text(text);
    }
    row.member_id = Some(mask.shown);
}
