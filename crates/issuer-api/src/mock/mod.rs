//! `mock`: the API without a server behind it, for the tests of a shop.
//!
//! The routes, handlers, answers and problems are those of `serve`. Only what is behind them differs: requests are kept in
//! memory, and the name of a member forces what the member is told ([`HELP`]).

mod names;
mod serve;
mod token;

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::http::StatusCode;
use chrono::{DateTime, TimeDelta, Utc};
use coupon_core::{
    clock::{Clock, SystemClock},
    event::{self, CouponIssued},
    ids::{CouponCode, MemberId, RequestId},
    stock::{Held, View},
};

use self::names::{Forced, Name};
use crate::{
    http::{Code, Problem},
    request_list::RequestPage,
    standing::{Standing, State},
};

pub use names::HELP;
pub use serve::serve;
pub(crate) use token::member_of;

/// Least `Retry-After` of a problem that passes.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// `Retry-After` of `NOT_OPEN`.
const OPENS_IN: Duration = Duration::from_mins(1);
/// Total of every campaign.
const TOTAL: i64 = 1_000_000;
/// Validity of a coupon.
const VALID: TimeDelta = TimeDelta::days(30);

/// What the members of the mock hold, and how often their names have forced something.
#[derive(Default)]
pub struct Mock {
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    /// In the order in which they were made.
    requests: Vec<Request>,
    forced: HashMap<MemberId, u32>,
}

struct Request {
    id: RequestId,
    code: CouponCode,
    member: MemberId,
    end: State,
    /// How many GETs the request is `accepted` for before it is in its state.
    looks_left: u32,
}

impl Request {
    fn state(&self) -> State {
        if self.looks_left > 0 { State::Accepted } else { self.end }
    }

    fn is_held(&self) -> bool {
        self.state() != State::Compensated
    }

    fn standing(&self) -> Standing {
        let expires_at = (self.state() == State::Issued).then(|| SystemClock.now() + VALID);
        Standing { code: self.code.clone(), request_id: self.id, state: self.state(), expires_at, replaced_by: None }
    }
}

impl Memory {
    /// Whether a name forces once more.
    fn forces(&mut self, member: &MemberId, name: Name) -> bool {
        let forced = self.forced.entry(member.clone()).or_default();
        let is_forced = *forced < name.times;
        *forced = forced.saturating_add(u32::from(is_forced));
        is_forced
    }

    fn of(&self, code: &CouponCode, member: &MemberId) -> impl DoubleEndedIterator<Item = &Request> {
        self.requests.iter().filter(move |request| request.code == *code && request.member == *member)
    }

    /// Where a request stands; the next look sees it further.
    fn look(&mut self, id: RequestId) -> Option<Standing> {
        let request = self.requests.iter_mut().find(|request| request.id == id)?;
        let mut standing = request.standing();
        request.looks_left = request.looks_left.saturating_sub(1);
        if standing.state == State::Compensated {
            let (code, member) = (request.code.clone(), request.member.clone());
            let other = self.of(&code, &member).rfind(|other| other.is_held());
            standing.replaced_by = other.map(|other| Box::new(other.standing()));
        }
        Some(standing)
    }
}

impl Mock {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The status that a name forces with a code that no client knows, and whether the answer is to come late.
    pub(super) fn disturbs(&self, member: &MemberId) -> (Option<StatusCode>, bool) {
        match Name::read(member.as_str()) {
            Some(name @ Name { forced: Forced::Unknown(status), .. }) => {
                (self.memory().forces(member, name).then_some(status), false)
            }
            Some(name @ Name { forced: Forced::Slow, .. }) => (None, self.memory().forces(member, name)),
            _ => (None, false),
        }
    }

    /// The problem that a name forces: what decides on a request only on a POST, any other on every route.
    pub fn forced(&self, member: &MemberId, is_ask: bool) -> Result<(), Problem> {
        match Name::read(member.as_str()) {
            Some(name @ Name { forced: Forced::Problem(code), .. })
                if is_ask == is_of_asking(code) && self.memory().forces(member, name) =>
            {
                Err(problem(code))
            }
            _ => Ok(()),
        }
    }

    /// Reserves a coupon.
    pub fn accept(&self, code: &CouponCode, member: &MemberId) -> Held {
        let mut memory = self.memory();
        let held = memory.of(code, member).rfind(|request| request.is_held());
        if let Some(request) = held {
            return held_by(request, true);
        }
        let forced = match Name::read(member.as_str()) {
            Some(name @ Name { forced: Forced::End(state), .. }) => memory.forces(member, name).then_some(state),
            _ => None,
        };
        let request = Request {
            id: RequestId::make(&SystemClock),
            code: code.clone(),
            member: member.clone(),
            end: forced.unwrap_or(State::Issued),
            looks_left: u32::from(forced.is_none()),
        };
        let answer = held_by(&request, false);
        memory.requests.push(request);
        answer
    }

    /// Where a request stands; `None`: no request of this member.
    pub fn standing(&self, code: &CouponCode, member: &MemberId, id: RequestId) -> Option<Standing> {
        let mut memory = self.memory();
        let is_own = memory.of(code, member).any(|request| request.id == id);
        if is_own { memory.look(id) } else { None }
    }

    /// What the member holds of a campaign.
    pub fn held_by(&self, code: &CouponCode, member: &MemberId) -> Option<Standing> {
        let mut memory = self.memory();
        let id = memory.of(code, member).rfind(|request| request.is_held())?.id;
        memory.look(id)
    }

    /// The requests of a member, newest first.
    pub fn requests_of(&self, member: &MemberId, before: Option<RequestId>, limit: usize) -> RequestPage {
        let mut memory = self.memory();
        let own = memory.requests.iter().filter(|request| request.member == *member);
        let older = own.filter(|request| before.is_none_or(|before| request.id < before));
        let mut ids: Vec<RequestId> = older.map(|request| request.id).collect();
        // The ids of one millisecond are in no order.
        ids.sort_unstable_by_key(|id| std::cmp::Reverse(*id));
        let requests = ids.iter().take(limit).filter_map(|id| memory.look(*id)).collect();
        RequestPage { requests, has_more: ids.len() > limit, is_complete: true }
    }

    /// A campaign: every one is open.
    pub fn view(&self, code: &CouponCode) -> View {
        let memory = self.memory();
        let issued = memory.requests.iter().filter(|request| request.code == *code && request.is_held()).count();
        View {
            status: "OPEN".to_owned(),
            shut_from: None,
            epoch: 1,
            seq: 0,
            total: TOTAL,
            issued: i64::try_from(issued).unwrap_or(TOTAL),
            outbox: 0,
            opens_at_ms: 0,
            closes_at_ms: None,
        }
    }

    /// The time.
    pub fn now(&self) -> DateTime<Utc> {
        SystemClock.now()
    }
}

/// Whether a code is an answer to a POST alone: a decision on the request.
fn is_of_asking(code: Code) -> bool {
    matches!(code.status(), StatusCode::CONFLICT | StatusCode::FORBIDDEN)
}

/// The problem of a code, with the headers that it has when servers are behind it.
fn problem(code: Code) -> Problem {
    let problem = Problem::new(code, "the mock tells a member of this name so");
    match code.status() {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => problem.after_about(RETRY_AFTER),
        StatusCode::UNAUTHORIZED => problem.invalid_token(),
        _ if code == Code::NotOpen => problem.after(OPENS_IN),
        _ => problem,
    }
}

fn held_by(request: &Request, is_repeat: bool) -> Held {
    let is_pending = request.end == State::Reserved;
    let pending = is_pending.then(|| CouponIssued {
        version: event::VERSION,
        request_id: request.id,
        coupon_code: request.code.clone(),
        member_id: request.member.clone(),
        reserved_at: SystemClock.now().timestamp_millis(),
        epoch: 1,
        seq: 1,
        traceparent: None,
    });
    Held { request_id: request.id, is_repeat, pending }
}

#[cfg(test)]
mod tests;
