//! The list of a member's requests, by Redis and PostgreSQL together.

use coupon_core::{
    ids::{MemberId, RequestId},
    repo::{coupon_issues::Requested, dlq_events::DeadLetteredRequest},
    stock::Holder,
};

use crate::{
    accept::{Accept, NotHeld},
    standing::{Standing, State},
};

/// Requests of a member, newest first.
#[derive(Debug)]
pub struct RequestPage {
    /// The requests.
    pub requests: Vec<Standing>,
    /// Whether older ones may follow.
    pub has_more: bool,
    /// Whether all requests that are not decided yet could be looked up.
    pub is_complete: bool,
}

impl Accept {
    /// Up to `limit` requests of a member made before the request `before`, newest first: those that are decided, those that
    /// dead letters hold, and of each campaign that has not ended for good the one by which the member holds a coupon.
    pub async fn requests_of(
        &self,
        member: &MemberId,
        before: Option<RequestId>,
        limit: usize,
    ) -> Result<RequestPage, NotHeld> {
        let wanted = limit.saturating_add(1);
        let rows_wanted = i64::try_from(wanted).unwrap_or(i64::MAX);
        let Undecided { held, lettered, is_complete } = self.undecided_of(member, before, rows_wanted).await?;
        let rows = self.lookup.requests_of(member, before, rows_wanted).await?;
        let mut requests: Vec<Standing> = rows.iter().map(|row| decided(row, &held)).collect();
        // What is older than a whole page is on a later one.
        let from = requests.last().filter(|_| requests.len() >= wanted).map(|last| last.request_id);
        for entry in held.into_iter().chain(lettered) {
            let id = entry.request_id;
            let is_there = requests.iter().any(|standing| standing.request_id == id);
            let is_elsewhere = before.is_some_and(|before| id >= before) || from.is_some_and(|from| id < from);
            if is_there || is_elsewhere {
                continue;
            }
            // Not decided, or decided since the page was read.
            let decisions = self.lookup.decisions(&entry.code, member, Some(id)).await?;
            requests.push(entry.or_by(&decisions));
        }
        requests.sort_by_key(|standing| std::cmp::Reverse(standing.request_id));
        let has_more = requests.len() > limit;
        requests.truncate(limit);
        Ok(RequestPage { requests, has_more, is_complete })
    }

    /// The requests of a member that may be undecided. Looked up for few members at a time; for those beyond it is incomplete.
    async fn undecided_of(
        &self,
        member: &MemberId,
        before: Option<RequestId>,
        limit: i64,
    ) -> Result<Undecided, NotHeld> {
        let mut all = Undecided::default();
        let Ok(_turn) = self.lookup.list_turn().await else { return Ok(all) };
        let (codes, is_all) = self.lookup.live().await?;
        let holders = self.stock.holders(&codes, member).await;
        let lettered = self.lookup.lettered(member, None, before, limit).await?;
        all.is_complete = is_all && holders.is_ok();
        for (code, holder) in codes.iter().zip(holders.unwrap_or_default()) {
            match holder {
                Holder::Holds { request_id, pending } => {
                    all.held.push(Standing::undecided(code.clone(), request_id, pending));
                }
                Holder::Nothing => {}
                _ => all.is_complete = false,
            }
        }
        let standing = |letter: DeadLetteredRequest| Standing::undecided(letter.coupon_code, letter.request_id, false);
        all.lettered = lettered.into_iter().map(standing).collect();
        Ok(all)
    }
}

/// Requests that may be undecided.
#[derive(Default)]
struct Undecided {
    /// Those of the holder entries.
    held: Vec<Standing>,
    /// Those of the dead letters.
    lettered: Vec<Standing>,
    /// Whether all could be looked up.
    is_complete: bool,
}

/// A decided request; one that is compensated with the request by which the member holds a coupon of the campaign now.
fn decided(row: &Requested, held: &[Standing]) -> Standing {
    let mut standing = Standing::decided(&row.coupon_code, &row.decided);
    if standing.state == State::Compensated {
        let issued = row.issued_by.map(|id| Standing {
            request_id: id.into(),
            state: State::Issued,
            expires_at: row.issued_until,
            replaced_by: None,
            code: row.coupon_code.clone(),
        });
        let is_other = |entry: &&Standing| entry.code == row.coupon_code && entry.request_id != standing.request_id;
        standing.replaced_by = issued.or_else(|| held.iter().find(is_other).cloned()).map(Box::new);
    }
    standing
}
