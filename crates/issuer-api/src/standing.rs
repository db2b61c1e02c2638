//! Where a request of a member stands, by Redis and PostgreSQL together.
//!
//! What one of them cannot tell is never read as "nothing": it is an error, and the member asks again. Redis is always
//! asked first: a holder entry only goes after its decision is there to be read, so this order misses none in between.

use chrono::{DateTime, Utc};
use coupon_core::{
    ids::{CouponCode, MemberId, RequestId},
    repo::coupon_issues::{Decided, Decision},
    stock::{Holder, Refused, StockError},
};

use crate::accept::{Accept, NotHeld};

/// How far a request has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The outbox entry is there.
    Reserved,
    /// Kafka has acknowledged it, and the outbox entry is deleted.
    Accepted,
    /// The coupon is written to PostgreSQL.
    Issued,
    /// The request was compensated: the unit goes back, and the member holds nothing by it.
    Compensated,
}

impl State {
    /// All states, in the order in which a request goes through them.
    pub const ALL: [Self; 4] = [Self::Reserved, Self::Accepted, Self::Issued, Self::Compensated];

    /// The state as it stands in an answer.
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
    /// How far the request has got.
    pub state: State,
    /// When an issued coupon expires.
    pub expires_at: Option<DateTime<Utc>>,
    /// Of a compensated one: the request by which the member holds a coupon of this campaign now.
    pub replaced_by: Option<Box<Standing>>,
}

impl Standing {
    /// A request that is not decided, as far as is known.
    pub fn undecided(code: CouponCode, request_id: RequestId, is_pending: bool) -> Self {
        let state = if is_pending { State::Reserved } else { State::Accepted };
        Self { code, request_id, state, expires_at: None, replaced_by: None }
    }

    pub(crate) fn decided(code: &CouponCode, decided: &Decided) -> Self {
        let state = match decided.decision {
            Decision::Issued => State::Issued,
            Decision::Compensated => State::Compensated,
        };
        let (code, request_id) = (code.clone(), decided.request_id);
        Self { code, request_id, state, expires_at: decided.expires_at, replaced_by: None }
    }

    /// Where a request stands by the decisions on a member's requests of a campaign; `None` when none is on this request.
    fn by(code: &CouponCode, id: RequestId, decisions: &[Decided]) -> Option<Self> {
        let own = decisions.iter().find(|decided| decided.request_id == id)?;
        let mut standing = Self::decided(code, own);
        if standing.state == State::Compensated {
            let issued = decisions.iter().find(|decided| decided.decision == Decision::Issued);
            standing.replaced_by = issued.map(|issued| Box::new(Self::decided(code, issued)));
        }
        Some(standing)
    }

    /// Where the same request stands after these decisions.
    pub(crate) fn or_by(self, decisions: &[Decided]) -> Self {
        Self::by(&self.code, self.request_id, decisions).unwrap_or(self)
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
        let decisions = self.lookup.decisions(code, member, Some(id)).await?;
        if let Some(mut standing) = Standing::by(code, id, &decisions) {
            if standing.state == State::Compensated && standing.replaced_by.is_none() {
                let held = self.held(code, member, holder).await?;
                standing.replaced_by = held.filter(|held| held.request_id != id).map(Box::new);
            }
            return Ok(Some(standing));
        }
        match holder {
            Ok(Holder::Holds { request_id, pending }) if request_id == id => {
                return Ok(Some(Standing::undecided(code.clone(), id, pending)));
            }
            Ok(Holder::Holds { .. } | Holder::Nothing) => {}
            other => self.tell_by_postgresql(code, other).await?,
        }
        // A rebuild may have left it to the dead letter that holds it.
        let letters = self.lookup.lettered(member, Some(code), None, i64::MAX).await?;
        if letters.iter().any(|letter| letter.request_id == id) {
            return Ok(Some(Standing::undecided(code.clone(), id, false)));
        }
        // The dead letter may have been decided since the first question.
        let decisions = self.lookup.decisions(code, member, Some(id)).await?;
        Ok(Standing::by(code, id, &decisions))
    }

    /// What the member holds of a campaign; `None`: surely nothing.
    pub async fn held_by(&self, code: &CouponCode, member: &MemberId) -> Result<Option<Standing>, NotHeld> {
        let holder = self.stock.holder(code, member).await;
        self.held(code, member, holder).await
    }

    /// What the member holds of a campaign by PostgreSQL and by what Redis has answered before.
    async fn held(
        &self,
        code: &CouponCode,
        member: &MemberId,
        holder: Result<Holder, StockError>,
    ) -> Result<Option<Standing>, NotHeld> {
        // Dead letters before decisions, so that one that is decided in between is seen by its decision.
        let letters = self.lookup.lettered(member, Some(code), None, i64::MAX).await?;
        let letter = letters.first().map(|letter| letter.request_id);
        let decisions = self.lookup.decisions(code, member, letter).await?;
        if let Some(issued) = decisions.iter().find(|decided| decided.decision == Decision::Issued) {
            return Ok(Some(Standing::decided(code, issued)));
        }
        match holder {
            Ok(Holder::Holds { request_id, pending }) => {
                let decisions = self.lookup.decisions(code, member, Some(request_id)).await?;
                return Ok(match decisions.first() {
                    None => Some(Standing::undecided(code.clone(), request_id, pending)),
                    // Compensated: its holder entry is about to go.
                    Some(decided) => Some(Standing::decided(code, decided)).filter(|held| held.state == State::Issued),
                });
            }
            Ok(Holder::Nothing) => {}
            other => self.tell_by_postgresql(code, other).await?,
        }
        let letter = letter.filter(|id| decisions.iter().all(|decided| decided.request_id != *id));
        Ok(letter.map(|id| Standing::undecided(code.clone(), id, false)))
    }

    /// Redis cannot tell what the member holds. `Ok`: PostgreSQL, which has no row of the request, can.
    async fn tell_by_postgresql(&self, code: &CouponCode, holder: Result<Holder, StockError>) -> Result<(), NotHeld> {
        match holder {
            Ok(Holder::Missing) => match self.missing(code).await {
                // Nothing was ever reserved, or everything is decided.
                NotHeld::Refused(Refused::NotOpen(_) | Refused::Closed) => Ok(()),
                why => Err(why),
            },
            Ok(Holder::Filling) => Err(Refused::Filling.into()),
            Ok(_) => Err(Refused::Suspect.into()),
            Err(_) => Err(NotHeld::NoAnswer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_is_decided_while_the_list_is_made_is_on_it_as_decided() {
        let code: CouponCode = "SPRING".parse().unwrap();
        let [own, other] = [1, 2].map(|n| RequestId::from(uuid::Uuid::from_u128(n)));
        let decided = |request_id, decision| Decided { request_id, decision, expires_at: None };
        let after = |decisions: &[Decided]| Standing::undecided(code.clone(), own, false).or_by(decisions);
        assert_eq!(after(&[]).state, State::Accepted);
        assert_eq!(after(&[decided(other, Decision::Issued)]).state, State::Accepted);
        assert_eq!(after(&[decided(own, Decision::Issued)]).state, State::Issued);
        let replaced = after(&[decided(other, Decision::Issued), decided(own, Decision::Compensated)]);
        assert_eq!((replaced.state, replaced.request_id), (State::Compensated, own));
        assert_eq!(replaced.replaced_by.map(|standing| standing.request_id), Some(other));
    }
}
