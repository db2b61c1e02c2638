//! Where the requests of a member stand, by Redis and PostgreSQL together.
//!
//! What one of them cannot tell is never read as "nothing": it is an error, and the member asks again. Redis is always
//! asked first: a holder entry only goes after its decision is there to be read, so this order misses none in between.

use chrono::{DateTime, Utc};
use coupon_core::{
    ids::{CouponCode, MemberId, RequestId},
    repo::issues::{Decided, Decision, Requested},
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
                let held = self.held(code, member, holder, &decisions).await?;
                standing.replaced_by = held.filter(|held| held.request_id != id).map(Box::new);
            }
            return Ok(Some(standing));
        }
        match holder {
            Ok(Holder::Holds { request_id, pending }) if request_id == id => {
                Ok(Some(Standing::undecided(code, id, pending)))
            }
            Ok(Holder::Holds { .. } | Holder::Nothing) => Ok(None),
            other => self.untold(code, other).await.map(|()| None),
        }
    }

    /// What the member holds of a campaign; `None`: surely nothing.
    pub async fn held_by(&self, code: &CouponCode, member: &MemberId) -> Result<Option<Standing>, NotHeld> {
        let holder = self.stock.holder(code, member).await;
        let decisions = self.campaigns.decisions(code, member, None).await.map_err(|_| NotHeld::DatabaseAway)?;
        self.held(code, member, holder, &decisions).await
    }

    /// The same from what Redis and, after it, PostgreSQL have answered.
    async fn held(
        &self,
        code: &CouponCode,
        member: &MemberId,
        holder: Result<Holder, StockError>,
        decisions: &[Decided],
    ) -> Result<Option<Standing>, NotHeld> {
        if let Some(issued) = decisions.iter().find(|decided| decided.decision == Decision::Issued) {
            return Ok(Some(Standing::of(code, issued)));
        }
        match holder {
            Ok(Holder::Holds { request_id, pending }) => {
                let decided = self.campaigns.decisions(code, member, Some(request_id)).await;
                Ok(match decided.map_err(|_| NotHeld::DatabaseAway)?.first() {
                    None => Some(Standing::undecided(code, request_id, pending)),
                    // Compensated: its holder entry is about to go.
                    Some(decided) => Some(Standing::of(code, decided)).filter(|held| held.state == State::Issued),
                })
            }
            Ok(Holder::Nothing) => Ok(None),
            other => self.untold(code, other).await.map(|()| None),
        }
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

    /// Up to `limit` requests of a member made before the request `before`, newest first: those that are decided, and of
    /// each campaign that has not ended for good the one by which the member holds a coupon.
    pub async fn requests_of(
        &self,
        member: &MemberId,
        before: Option<RequestId>,
        limit: usize,
    ) -> Result<Page, NotHeld> {
        let (codes, mut is_complete) = self.campaigns.live().await.map_err(|_| NotHeld::DatabaseAway)?;
        let mut held = Vec::new();
        for code in &codes {
            match self.stock.holder(code, member).await {
                Ok(Holder::Holds { request_id, pending }) => held.push(Standing::undecided(code, request_id, pending)),
                Ok(Holder::Nothing) => {}
                Ok(_) => is_complete = false,
                // Each of the others would wait for the same server.
                Err(_) => {
                    is_complete = false;
                    break;
                }
            }
        }
        let wanted = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        let rows = self.campaigns.requests_of(member, before, wanted).await.map_err(|_| NotHeld::DatabaseAway)?;
        let mut requests: Vec<Standing> = rows.iter().map(|row| decided(row, &held)).collect();
        for entry in held {
            let is_there = requests.iter().any(|standing| standing.request_id == entry.request_id);
            let is_later = before.is_some_and(|before| entry.request_id >= before);
            if is_there || is_later {
                continue;
            }
            // Not on this page and not decided, or decided and on a later one.
            let decisions = self.campaigns.decisions(&entry.code, member, Some(entry.request_id)).await;
            if decisions.map_err(|_| NotHeld::DatabaseAway)?.iter().all(|other| other.request_id != entry.request_id) {
                requests.push(entry);
            }
        }
        requests.sort_by_key(|standing| std::cmp::Reverse(standing.request_id));
        let has_more = requests.len() > limit;
        requests.truncate(limit);
        Ok(Page { requests, has_more, is_complete })
    }
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
