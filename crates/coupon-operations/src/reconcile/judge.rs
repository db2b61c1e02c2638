//! The second look at what looked wrong, after everything that was under way has arrived; and the repair.

use std::collections::{HashMap, HashSet};

use chrono::DateTime;
use coupon_core::{
    ids::{MemberId, RequestId},
    repo::{coupon_issues::Decision, coupons::Coupon, dlq_events::OperatorState, reconciliations::RequestDecision},
    stock::{GiveBack, OutboxEntry, RepairOutcome},
};
use uuid::Uuid;

use super::{
    Drift, Operations, OperationsError, ReconcileOptions, Report,
    scan::{Candidate, request},
};
use crate::barrier::Passed;

/// Candidates looked at together.
const PAGE: usize = 1_000;

/// What is known of a page of candidates.
struct Facts {
    marks: Vec<Option<String>>,
    words: HashMap<Uuid, RequestDecision>,
    holders: HashMap<String, RequestId>,
    aside: HashMap<Uuid, OperatorState>,
    promised: HashSet<Uuid>,
}

impl Operations {
    /// Judges what was put aside and, if asked to, repairs it.
    pub(super) async fn judge(
        &self,
        coupon: &Coupon,
        aside: Vec<Candidate>,
        options: ReconcileOptions,
        report: &mut Report,
    ) -> Result<(), OperationsError> {
        // What is in the outbox is under way. The rest was acknowledged before this look, so its events lie below the
        // ends of the topics that the barrier reads next.
        let mut left = Vec::new();
        for page in aside.chunks(PAGE) {
            let promised = self.promised(coupon, page).await?;
            for candidate in page {
                match candidate {
                    Candidate::Mark(_, mark) if request(mark).is_some_and(|id| promised.contains(&id)) => {
                        report.in_flight += 1;
                    }
                    other => left.push(other.clone()),
                }
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        match self.wait_for_consumers(options.wait).await? {
            Passed::Yes => {}
            not_yet @ Passed::NotYet { .. } => {
                report.in_flight += left.len() as u64;
                report.blocked(&not_yet);
                return Ok(());
            }
        }
        for page in left.chunks(PAGE) {
            let facts = self.facts(coupon, page).await?;
            for (candidate, mark) in page.iter().zip(&facts.marks) {
                match candidate {
                    Candidate::Mark(member, was) if mark.as_ref() == Some(was) => {
                        self.judge_mark(coupon, member, was, &facts, options, report).await?;
                    }
                    Candidate::Row(member, id) if mark.is_none() => {
                        let repaired = options.apply
                            && self.stock.restore_holder(&coupon.coupon_code, coupon.epoch, member, *id).await?
                                == RepairOutcome::Done;
                        report.note(Drift::MissingMark, id, repaired);
                    }
                    // The mark has changed meanwhile: somebody lives. Or it names another request, and was judged by that.
                    Candidate::Mark(..) | Candidate::Row(..) => {}
                }
            }
        }
        Ok(())
    }

    async fn judge_mark(
        &self,
        coupon: &Coupon,
        member: &str,
        mark: &str,
        facts: &Facts,
        options: ReconcileOptions,
        report: &mut Report,
    ) -> Result<(), OperationsError> {
        let (Some(id), Ok(member)) = (request(mark), member.parse::<MemberId>()) else {
            report.note(Drift::UnreadableMark, mark, false);
            return Ok(());
        };
        let code = &coupon.coupon_code;
        let request_id = RequestId::from(id);
        match facts.words.get(&id) {
            Some(word) if word.member_id != member.as_str() => report.note(Drift::ForeignMark, id, false),
            Some(word) if word.decision == Decision::Issued => {}
            // The sweeper is about to do it.
            Some(word) if word.given_back_at.is_none() => report.in_flight += 1,
            Some(_) => {
                let holder = facts.holders.get(member.as_str()).copied();
                let repaired =
                    options.apply && self.stock.give_back(code, &member, request_id, holder).await? == GiveBack::Done;
                report.note(Drift::CompensatedMark, id, repaired);
            }
            // An operator decides it, or it is on its way again already.
            None if facts.aside.get(&id) == Some(&OperatorState::Waits) || facts.promised.contains(&id) => {
                report.in_flight += 1;
            }
            // A person has said that nothing is to be done. Whatever becomes of it now is a person's word too.
            None if facts.aside.contains_key(&id) => report.note(Drift::SettledMark, id, false),
            None => {
                let repaired = (options.apply || options.requeue)
                    && self.stock.requeue(code, coupon.epoch, &member, request_id, self.made_at(id)).await?
                        == RepairOutcome::Done;
                report.note(Drift::Orphan, id, repaired);
            }
        }
        Ok(())
    }

    /// What a request id says of its time, which is within moments of the reservation; now, if it says nothing.
    fn made_at(&self, id: Uuid) -> i64 {
        let said = id.get_timestamp().and_then(|time| {
            let (seconds, nanos) = time.to_unix();
            DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanos)
        });
        said.unwrap_or_else(|| self.clock.now()).timestamp_millis()
    }

    async fn promised(&self, coupon: &Coupon, page: &[Candidate]) -> Result<HashSet<Uuid>, OperationsError> {
        let entries: Vec<OutboxEntry> = page
            .iter()
            .filter_map(|candidate| match candidate {
                Candidate::Mark(member, mark) => Some(OutboxEntry {
                    request_id: request(mark)?.into(),
                    epoch: coupon.epoch,
                    member_id: member.parse().ok()?,
                }),
                Candidate::Row(..) => None,
            })
            .collect();
        let pending = self.stock.are_pending(&coupon.coupon_code, &entries).await?;
        let promised = entries.iter().zip(pending).filter(|(_, pending)| *pending);
        Ok(promised.map(|(entry, _)| entry.request_id.as_uuid()).collect())
    }

    async fn facts(&self, coupon: &Coupon, page: &[Candidate]) -> Result<Facts, OperationsError> {
        let code = &coupon.coupon_code;
        let members: Vec<String> = page
            .iter()
            .map(|candidate| match candidate {
                Candidate::Mark(member, _) => member.clone(),
                Candidate::Row(member, _) => member.as_str().to_owned(),
            })
            .collect();
        let ids: Vec<Uuid> = page
            .iter()
            .filter_map(|candidate| match candidate {
                Candidate::Mark(_, mark) => request(mark),
                Candidate::Row(..) => None,
            })
            .collect();
        // The marks before the decisions: a mark that was still there was not given back by a later one.
        let marks = self.stock.holders_of(code, &members).await?;
        Ok(Facts {
            marks,
            promised: self.promised(coupon, page).await?,
            words: self.database.reconciliations().decisions(code, &ids).await?,
            holders: self.database.reconciliations().holders(code, &members).await?,
            aside: self.database.dlq_events().by_operators(&ids).await?,
        })
    }
}
