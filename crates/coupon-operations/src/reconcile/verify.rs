//! The verification of candidates after every event under way has arrived, and the repair of what is confirmed.

use std::collections::{HashMap, HashSet};

use chrono::DateTime;
use coupon_core::{
    ids::{MemberId, RequestId},
    repo::{coupon_issues::Decision, dlq_events::OperatorState, reconciliations::RequestDecision},
    stock::{GiveBack, OutboxEntry, RepairOutcome},
};
use uuid::Uuid;

use super::{
    Comparison, Drift, OperationsError,
    scan::{Candidate, request},
};
use crate::barrier::CatchUp;

/// Candidates verified by one set of queries.
const VERIFY_PAGE: usize = 1_000;

/// The state of a page of candidates.
struct Facts {
    /// The holder entry of each candidate's member, in the order of the candidates.
    entries: Vec<Option<String>>,
    decisions: HashMap<Uuid, RequestDecision>,
    /// The ISSUED request of a member.
    holders: HashMap<String, RequestId>,
    /// Requests with a dead letter, by what operators have done to it.
    dead_letters: HashMap<Uuid, OperatorState>,
    in_outbox: HashSet<Uuid>,
}

impl Comparison<'_> {
    /// Verifies candidates, adds what is confirmed to the report, and repairs it if the options say so.
    pub(super) async fn verify(&mut self, candidates: Vec<Candidate>) -> Result<(), OperationsError> {
        // A request in the outbox is under way. Every other was acknowledged before this moment, so its event lies below the
        // end offsets that the barrier reads next.
        let mut left = Vec::new();
        for page in candidates.chunks(VERIFY_PAGE) {
            let in_outbox = self.in_outbox(page).await?;
            for candidate in page {
                match candidate {
                    Candidate::Holder(_, entry) if request(entry).is_some_and(|id| in_outbox.contains(&id)) => {
                        self.report.in_flight += 1;
                    }
                    other => left.push(other.clone()),
                }
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        let caught_up = self.operations.wait_for_consumers(self.options.wait).await?;
        if caught_up != CatchUp::Done {
            self.report.in_flight += left.len() as u64;
            self.report.waiting_for = Some(caught_up.to_string());
            self.report.conclude();
            return Ok(());
        }
        for page in left.chunks(VERIFY_PAGE) {
            let facts = self.facts(page).await?;
            for (candidate, entry) in page.iter().zip(&facts.entries) {
                match candidate {
                    Candidate::Holder(member, was) if entry.as_ref() == Some(was) => {
                        self.verify_holder(member, was, &facts).await?;
                    }
                    Candidate::Row(member, id) if entry.is_none() => {
                        let (code, epoch) = (self.code(), self.coupon.epoch);
                        let repaired = self.options.apply
                            && self.stock.restore_holder(code, epoch, member, *id).await? == RepairOutcome::Done;
                        self.report.note(Drift::MissingHolder, id, repaired);
                    }
                    // The entry has changed meanwhile, so its request is alive; or the entry names another request, and was
                    // verified by that.
                    Candidate::Holder(..) | Candidate::Row(..) => {}
                }
            }
        }
        Ok(())
    }

    async fn verify_holder(&mut self, member: &str, entry: &str, facts: &Facts) -> Result<(), OperationsError> {
        let (Some(id), Ok(member)) = (request(entry), member.parse::<MemberId>()) else {
            self.report.note(Drift::UnreadableHolder, entry, false);
            return Ok(());
        };
        let (code, options) = (self.code(), self.options);
        let request_id = RequestId::from(id);
        match facts.decisions.get(&id) {
            Some(found) if found.member_id != member.as_str() => self.report.note(Drift::ForeignHolder, id, false),
            Some(found) if found.decision == Decision::Issued => {}
            // The give-back worker is about to remove the entry.
            Some(found) if found.given_back_at.is_none() => self.report.in_flight += 1,
            Some(_) => {
                let holder = facts.holders.get(member.as_str()).copied();
                let repaired =
                    options.apply && self.stock.give_back(code, &member, request_id, holder).await? == GiveBack::Done;
                self.report.note(Drift::CompensatedHolder, id, repaired);
            }
            // An operator decides it, or it is in the outbox again already.
            None if facts.dead_letters.get(&id) == Some(&OperatorState::Waits) || facts.in_outbox.contains(&id) => {
                self.report.in_flight += 1;
            }
            // An operator has said that nothing is to be done, so only an operator may undo that.
            None if facts.dead_letters.contains_key(&id) => self.report.note(Drift::SettledHolder, id, false),
            None => {
                let (epoch, made_at) = (self.coupon.epoch, self.made_at(id));
                let repaired = (options.apply || options.requeue)
                    && self.stock.requeue(code, epoch, &member, request_id, made_at).await? == RepairOutcome::Done;
                self.report.note(Drift::Orphan, id, repaired);
            }
        }
        Ok(())
    }

    /// Returns the time inside a request id, in ms since 1970, which is within moments of the reservation; now, if the id
    /// has none.
    fn made_at(&self, id: Uuid) -> i64 {
        let made_at = id.get_timestamp().and_then(|time| {
            let (seconds, nanos) = time.to_unix();
            DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanos)
        });
        made_at.unwrap_or_else(|| self.operations.clock.now()).timestamp_millis()
    }

    /// Returns the requests of these candidates that have an outbox entry.
    async fn in_outbox(&self, page: &[Candidate]) -> Result<HashSet<Uuid>, OperationsError> {
        let entry = |candidate: &Candidate| match candidate {
            Candidate::Holder(member, entry) => Some(OutboxEntry {
                request_id: request(entry)?.into(),
                epoch: self.coupon.epoch,
                member_id: member.parse().ok()?,
            }),
            Candidate::Row(..) => None,
        };
        let entries: Vec<OutboxEntry> = page.iter().filter_map(entry).collect();
        let pending = self.stock.are_pending(self.code(), &entries).await?;
        let in_outbox = entries.iter().zip(pending).filter(|(_, pending)| *pending);
        Ok(in_outbox.map(|(entry, _)| entry.request_id.as_uuid()).collect())
    }

    async fn facts(&self, page: &[Candidate]) -> Result<Facts, OperationsError> {
        let code = self.code();
        let (mut members, mut ids) = (Vec::new(), Vec::new());
        for candidate in page {
            match candidate {
                Candidate::Holder(member, entry) => {
                    members.push(member.clone());
                    ids.extend(request(entry));
                }
                Candidate::Row(member, _) => members.push(member.as_str().to_owned()),
            }
        }
        // The holder entries before the decisions: an entry that was still there was not given back by a later decision.
        let entries = self.stock.holders_of(code, &members).await?;
        Ok(Facts {
            entries,
            in_outbox: self.in_outbox(page).await?,
            decisions: self.database.reconciliations().decisions(code, &ids).await?,
            holders: self.database.reconciliations().holders(code, &members).await?,
            dead_letters: self.database.dlq_events().by_operators(&ids).await?,
        })
    }
}
