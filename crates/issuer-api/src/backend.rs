//! What stands behind the handlers: the servers, or the mock.
//!
//! The handlers ask here and know neither, so that both give the same answers in the same form. An enum and not a trait: the
//! answer to a POST is on the hot path, and a boxed future would cost an allocation.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use coupon_core::{
    ids::{CouponCode, MemberId, RequestId},
    repo::coupons::Coupon,
    runtime::TraceParent,
    stock::{Held, View},
};

use crate::{
    accept::{Accept, NotHeld},
    http::Problem,
    mock::Mock,
    request_list::RequestPage,
    standing::Standing,
};

/// What decides and remembers.
pub enum Backend {
    /// Redis, Kafka and PostgreSQL.
    Servers(Arc<Accept>),
    /// Memory, and the names of members.
    Mock(Mock),
}

impl Backend {
    /// Returns the problem that the name of a member forces; never of the servers. `is_ask`: the request is a POST.
    pub fn forced(&self, member: &MemberId, is_ask: bool) -> Result<(), Problem> {
        match self {
            Self::Servers(_) => Ok(()),
            Self::Mock(mock) => mock.forced(member, is_ask),
        }
    }

    /// Reserves a coupon for a member; see [`Accept::accept`].
    pub async fn accept(
        &self,
        code: &CouponCode,
        member: &MemberId,
        bound: Duration,
        trace: Option<TraceParent>,
    ) -> Result<Held, NotHeld> {
        match self {
            Self::Servers(accept) => accept.accept(code, member, bound, trace).await,
            Self::Mock(mock) => Ok(mock.accept(code, member)),
        }
    }

    /// Where a request stands; see [`Accept::standing`].
    pub async fn standing(
        &self,
        code: &CouponCode,
        member: &MemberId,
        id: RequestId,
    ) -> Result<Option<Standing>, NotHeld> {
        match self {
            Self::Servers(accept) => accept.standing(code, member, id).await,
            Self::Mock(mock) => Ok(mock.standing(code, member, id)),
        }
    }

    /// What the member holds of a campaign; see [`Accept::held_by`].
    pub async fn held_by(&self, code: &CouponCode, member: &MemberId) -> Result<Option<Standing>, NotHeld> {
        match self {
            Self::Servers(accept) => accept.held_by(code, member).await,
            Self::Mock(mock) => Ok(mock.held_by(code, member)),
        }
    }

    /// The requests of a member, newest first; see [`Accept::requests_of`].
    pub async fn requests_of(
        &self,
        member: &MemberId,
        before: Option<RequestId>,
        limit: usize,
    ) -> Result<RequestPage, NotHeld> {
        match self {
            Self::Servers(accept) => accept.requests_of(member, before, limit).await,
            Self::Mock(mock) => Ok(mock.requests_of(member, before, limit)),
        }
    }

    /// A campaign by Redis; `None`: Redis has no data of it.
    pub async fn view(&self, code: &CouponCode) -> Result<Option<View>, NotHeld> {
        match self {
            Self::Servers(accept) => accept.stock.view(code).await.map_err(|_| NotHeld::NoAnswer),
            Self::Mock(mock) => Ok(Some(mock.view(code))),
        }
    }

    /// A campaign by PostgreSQL, for the public view; `None`: there is no such campaign.
    pub async fn row(&self, code: &CouponCode) -> Result<Option<Coupon>, NotHeld> {
        match self {
            Self::Servers(accept) => accept.lookup.viewed_coupon(code).await.map_err(NotHeld::from),
            Self::Mock(_) => Ok(None),
        }
    }

    /// The time.
    pub fn now(&self) -> DateTime<Utc> {
        match self {
            Self::Servers(accept) => accept.clock.now(),
            Self::Mock(mock) => mock.now(),
        }
    }

    /// Number of requests whose client has hung up and that still go on.
    pub fn abandoned(&self) -> usize {
        match self {
            Self::Servers(accept) => accept.detached.abandoned(),
            Self::Mock(_) => 0,
        }
    }
}
