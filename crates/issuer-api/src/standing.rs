//! Where the requests of a member stand, by Redis and PostgreSQL together.
//!
//! What one of them cannot tell is never read as "nothing": it is an error, and the member asks again. Redis is always
//! asked first: a holder entry only goes after its decision is there to be read, so this order misses none in between.

use chrono::{DateTime, Utc};
use coupon_core::{
    ids::{CouponCode, MemberId, RequestId},
    repo::coupon_issues::{Decided, Decision, Lettered, Requested},
    stock::{Holder, StockError},
};

use crate::accept::{Accept, NotHeld};

/// How far a request has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// In the outbox.
    Reserved,
    /// Kafka has it, and the outbox no longer.
    Accepted,
    /// The coupon is in PostgreSQL.
    Issued,
    /// Given up; the member has been refused the coupon that was reserved.
    Compensated,
}

impl State {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Accepted => "accepted",
            Self::Issued => "issued",
            Self::Compensated => "compensated",
        }
    }
}

/// Where one request stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The campaign.
    pub code: CouponCode,
    /// The request.
    pub request_id: RequestId,
    /// How far it has got.
    pub state: State,
    /// When an issued coupon expires.
    pub expires_at: Option<DateTime<Utc>>,
    /// Of a compensated one: the request by which the member holds a coupon of this campaign now.
    pub replaced_by: Option<Box<Standing>>,
}

/// Requests of a member, newest first.
#[derive(Debug)]
pub struct Page {
    /// The requests.
    pub requests: Vec<Standing>,
    /// Whether older ones may follow.
    pub has_more: bool,
    /// Whether all requests that are not decided yet could be looked up.
    pub is_complete: bool,
}

impl Standing {
    fn of(code: &CouponCode, decided: &Decided) -> Self {
        let state = match decided.decision {
            Decision::Issued => State::Issued,
            Decision::Compensated => State::Compensated,
        };
        let (code, request_id) = (code.clone(), decided.request_id);
        Self { code, request_id, state, expires_at: decided.expires_at, replaced_by: None }
    }

    /// By the decisions on a member's requests of a campaign; `None` when none is on this one.
    fn by(code: &CouponCode, id: RequestId, decisions: &[Decided]) -> Option<Self> {
        let own = decisions.iter().find(|decided| decided.request_id == id)?;
        let mut standing = Self::of(code, own);
        if standing.state == State::Compensated {
            let issued = decisions.iter().find(|decided| decided.decision == Decision::Issued);
            standing.replaced_by = issued.map(|issued| Box::new(Self::of(code, issued)));
        }
        Some(standing)
    }

    /// The same by its decision, if one of these is on it.
    fn or_by(self, decisions: &[Decided]) -> Self {
        Self::by(&self.code, self.request_id, decisions).unwrap_or(self)
    }

    fn undecided(code: &CouponCode, request_id: RequestId, pending: bool) -> Self {
        let state = if pending { State::Reserved } else { State::Accepted };
        Self { code: code.clone(), request_id, state, expires_at: None, replaced_by: None }
    }
}

impl Accept {
    /// Where a request stands; `None`: surely no request of this member.
    pub async fn standing(
        &self,
        code: &CouponCode,
        member: &MemberId,
        id: RequestId,
    ) -> Result<Option<Standing>, NotHeld> {
        let holder = self.stock.holder(code, member).await;
        let decisions = self.campaigns.decisions(code, member, Some(id)).await.map_err(|_| NotHeld::DatabaseAway)?;
        if let Some(own) = decisions.iter().find(|decided| decided.request_id == id) {
            let mut standing = Standing::of(code, own);
            if standing.state == State::Compensated {
                let held = self.held(code, member, holder).await?;
                standing.replaced_by = held.filter(|held| held.request_id != id).map(Box::new);
            }
            return Ok(Some(standing));
        }
        match holder {
            Ok(Holder::Holds { request_id, pending }) if request_id == id => {
                return Ok(Some(Standing::undecided(code, id, pending)));
            }
            Ok(Holder::Holds { .. } | Holder::Nothing) => {}
            other => self.untold(code, other).await?,
        }
        // A rebuild may have left it to the dead letter that holds it.
        let letters = self.letters(code, member).await?;
        if letters.iter().any(|letter| letter.request_id == id) {
            return Ok(Some(Standing::undecided(code, id, false)));
        }
        // The letter may have been decided since the first look.
        let decisions = self.campaigns.decisions(code, member, Some(id)).await.map_err(|_| NotHeld::DatabaseAway)?;
        Ok(Standing::by(code, id, &decisions))
    }

    /// The requests of a member that dead letters of a campaign hold undecided.
    async fn letters(&self, code: &CouponCode, member: &MemberId) -> Result<Vec<Lettered>, NotHeld> {
        self.campaigns.lettered(member, Some(code), None, i64::MAX).await.map_err(|_| NotHeld::DatabaseAway)
    }

    /// What the member holds of a campaign; `None`: surely nothing.
    pub async fn held_by(&self, code: &CouponCode, member: &MemberId) -> Result<Option<Standing>, NotHeld> {
        let holder = self.stock.holder(code, member).await;
        self.held(code, member, holder).await
    }

    /// The same after Redis has answered.
    async fn held(
        &self,
        code: &CouponCode,
        member: &MemberId,
        holder: Result<Holder, StockError>,
    ) -> Result<Option<Standing>, NotHeld> {
        // Letters before decisions, so that one that is decided in between is seen by its decision.
        let letter = self.letters(code, member).await?.first().map(|letter| letter.request_id);
        let decisions = self.campaigns.decisions(code, member, letter).await.map_err(|_| NotHeld::DatabaseAway)?;
        if let Some(issued) = decisions.iter().find(|decided| decided.decision == Decision::Issued) {
            return Ok(Some(Standing::of(code, issued)));
        }
        match holder {
            Ok(Holder::Holds { request_id, pending }) => {
                let decided = self.campaigns.decisions(code, member, Some(request_id)).await;
                return Ok(match decided.map_err(|_| NotHeld::DatabaseAway)?.first() {
                    None => Some(Standing::undecided(code, request_id, pending)),
                    // Compensated: its holder entry is about to go.
                    Some(decided) => Some(Standing::of(code, decided)).filter(|held| held.state == State::Issued),
                });
            }
            Ok(Holder::Nothing) => {}
            other => self.untold(code, other).await?,
        }
        let letter = letter.filter(|id| decisions.iter().all(|decided| decided.request_id != *id));
        Ok(letter.map(|id| Standing::undecided(code, id, false)))
    }

    /// Redis cannot tell. `Ok`: PostgreSQL, which has no row, can.
    async fn untold(&self, code: &CouponCode, holder: Result<Holder, StockError>) -> Result<(), NotHeld> {
        match holder {
            Ok(Holder::Missing) => match self.missing(code).await {
                // Nothing was ever reserved, or everything is decided.
                NotHeld::NotOpen(_) | NotHeld::Closed => Ok(()),
                why => Err(why),
            },
            Ok(Holder::Filling) => Err(NotHeld::GateClosed),
            Ok(_) => Err(NotHeld::Suspect),
            Err(_) => Err(NotHeld::NoAnswer),
        }
    }

    /// Up to `limit` requests of a member made before the request `before`, newest first: those that are decided, those that
    /// dead letters hold, and of each campaign that has not ended for good the one by which the member holds a coupon.
    pub async fn requests_of(
        &self,
        member: &MemberId,
        before: Option<RequestId>,
        limit: usize,
    ) -> Result<Page, NotHeld> {
        let wanted = limit.saturating_add(1);
        let rows_wanted = i64::try_from(wanted).unwrap_or(i64::MAX);
        let Undecided { held, lettered, is_complete } = self.undecided_of(member, before, rows_wanted).await?;
        let rows = self.campaigns.requests_of(member, before, rows_wanted).await.map_err(|_| NotHeld::DatabaseAway)?;
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
            let decisions = self.campaigns.decisions(&entry.code, member, Some(id)).await;
            requests.push(entry.or_by(&decisions.map_err(|_| NotHeld::DatabaseAway)?));
        }
        requests.sort_by_key(|standing| std::cmp::Reverse(standing.request_id));
        let has_more = requests.len() > limit;
        requests.truncate(limit);
        Ok(Page { requests, has_more, is_complete })
    }

    /// What a member has asked for and may not be decided yet. Of few members at a time; for those beyond it is left out,
    /// which is said.
    async fn undecided_of(
        &self,
        member: &MemberId,
        before: Option<RequestId>,
        limit: i64,
    ) -> Result<Undecided, NotHeld> {
        let mut all = Undecided::default();
        let Ok(_turn) = self.campaigns.turn_of_list().await else { return Ok(all) };
        let (codes, is_all) = self.campaigns.live().await.map_err(|_| NotHeld::DatabaseAway)?;
        let holders = self.stock.holders(&codes, member).await;
        let lettered = self.campaigns.lettered(member, None, before, limit).await.map_err(|_| NotHeld::DatabaseAway)?;
        all.is_complete = is_all && holders.is_ok();
        for (code, holder) in codes.iter().zip(holders.unwrap_or_default()) {
            match holder {
                Holder::Holds { request_id, pending } => {
                    all.held.push(Standing::undecided(code, request_id, pending));
                }
                Holder::Nothing => {}
                _ => all.is_complete = false,
            }
        }
        let standing = |letter: Lettered| Standing::undecided(&letter.coupon_code, letter.request_id, false);
        all.lettered = lettered.into_iter().map(standing).collect();
        Ok(all)
    }
}

/// What may not be decided yet.
#[derive(Default)]
struct Undecided {
    /// By the holder entries.
    held: Vec<Standing>,
    /// By the dead letters.
    lettered: Vec<Standing>,
    /// Whether all could be looked up.
    is_complete: bool,
}

/// A decided request; one that is compensated with the request by which the member holds a coupon of the campaign now.
fn decided(row: &Requested, held: &[Standing]) -> Standing {
    let mut standing = Standing::of(&row.coupon_code, &row.decided);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_is_decided_while_the_list_is_made_is_on_it_as_decided() {
        let code: CouponCode = "SPRING".parse().unwrap();
        let [own, other] = [1, 2].map(|n| RequestId::from(uuid::Uuid::from_u128(n)));
        let decided = |request_id, decision| Decided { request_id, decision, expires_at: None };
        let after = |decisions: &[Decided]| Standing::undecided(&code, own, false).or_by(decisions);
        assert_eq!(after(&[]).state, State::Accepted);
        assert_eq!(after(&[decided(other, Decision::Issued)]).state, State::Accepted);
        assert_eq!(after(&[decided(own, Decision::Issued)]).state, State::Issued);
        let replaced = after(&[decided(other, Decision::Issued), decided(own, Decision::Compensated)]);
        assert_eq!((replaced.state, replaced.request_id), (State::Compensated, own));
        assert_eq!(replaced.replaced_by.map(|standing| standing.request_id), Some(other));
    }
}
