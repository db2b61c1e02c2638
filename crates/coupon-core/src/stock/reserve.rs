//! Reserving a unit of a coupon, which decides who gets one, and giving the unit of a compensated request back.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use redis::{FromRedisValue, Value};

use super::{Stock, StockError, connection::script, keys, reply::Reply};
use crate::{
    event::{CouponIssued, VERSION},
    ids::{CouponCode, MemberId, RequestId},
};

script!(RESERVE, "reserve.lua");
script!(GIVE_BACK, "give_back.lua");

/// The answer to a request for a coupon.
pub type Reservation = Result<Held, Refused>;

/// A coupon that a member holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The request by which the member holds the coupon.
    pub request_id: RequestId,
    /// Whether an earlier request of the member took the coupon, and not this one.
    pub is_repeat: bool,
    /// The event of an outbox entry that is still there; `None` once Kafka has acknowledged the event.
    pub pending: Option<CouponIssued>,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Members hold all units.
    SoldOut,
    /// The campaign opens after this time.
    NotOpen(Duration),
    /// The campaign was closed, or its time is over.
    Closed,
    /// Redis has no data of this coupon: unknown, never opened, or lost.
    Missing,
    /// The data of this coupon is being filled.
    Filling,
    /// Redis has lost data; nothing is accepted until a rebuild.
    Suspect,
    /// The outbox has as many entries as it may have.
    OutboxFull,
}

/// What Redis did with the holder entry of a compensated request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GiveBack {
    /// The entry named the compensated request: now the unit is free, or the entry names the successor.
    Done,
    /// The entry is gone or names a newer reservation; nothing was changed.
    NotHeld,
}

/// The highest epoch and sequence this process has seen of each coupon: how it notices a Redis that went back in time.
#[derive(Debug, Default)]
pub struct Seen(Mutex<HashMap<CouponCode, (i64, i64)>>);

impl Seen {
    /// The highest epoch and sequence seen of a coupon; zeros when none was.
    pub fn of(&self, code: &CouponCode) -> (i64, i64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(code).copied().unwrap_or_default()
    }

    /// Notes what a reply of Redis or an event said. Only coupons that exist come here, so this does not grow with the
    /// inventions of callers.
    pub fn note(&self, code: &CouponCode, epoch: i64, seq: i64) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.get_mut(code) {
            Some(highest) => *highest = (*highest).max((epoch, seq)),
            None => {
                seen.insert(code.clone(), (epoch, seq));
            }
        }
    }
}

/// Most requests that [`Stock::reserve_all`] takes: Redis does nothing else while it decides them.
pub const MAX_RESERVATIONS: usize = 128;

impl Stock {
    /// Runs `reserve.lua` for one request; see [`Stock::reserve_all`].
    pub async fn reserve(
        &self,
        code: &CouponCode,
        member: &MemberId,
        request_id: RequestId,
        outbox_cap: u64,
    ) -> Result<Reservation, StockError> {
        self.reserve_again(code, member, request_id, outbox_cap, false).await
    }

    /// The same for a replay by an operator; with `after_close` also when the campaign is closed or its time is over.
    /// Never more than the total, and only where the data is to be trusted.
    pub async fn reserve_again(
        &self,
        code: &CouponCode,
        member: &MemberId,
        request_id: RequestId,
        outbox_cap: u64,
        after_close: bool,
    ) -> Result<Reservation, StockError> {
        let requests = [(request_id, member)];
        let mut reservations = self.run_reserve(code, &requests, outbox_cap, after_close).await?;
        reservations.pop().unwrap_or_else(|| Err(StockError::Reply("nothing".to_owned())))
    }

    /// Runs `reserve.lua` for up to [`MAX_RESERVATIONS`] requests and gives the reservation of each, in their order. Without an
    /// answer it asks once more with the same request ids, within the same bound; a repeat changes nothing. An error means that
    /// the outcome of all is unknown; one of a single request, that somebody else has written what is no request id into its
    /// holder entry.
    pub async fn reserve_all(
        &self,
        code: &CouponCode,
        requests: &[(RequestId, &MemberId)],
        outbox_cap: u64,
    ) -> Result<Vec<Result<Reservation, StockError>>, StockError> {
        self.run_reserve(code, requests, outbox_cap, false).await
    }

    async fn run_reserve(
        &self,
        code: &CouponCode,
        requests: &[(RequestId, &MemberId)],
        outbox_cap: u64,
        after_close: bool,
    ) -> Result<Vec<Result<Reservation, StockError>>, StockError> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let (epoch, seq) = self.seen.of(code);
        let mut call = RESERVE.key(keys::meta(code));
        call.key(keys::issued(code)).key(keys::outbox(code));
        call.arg(epoch).arg(seq).arg(outbox_cap).arg(i32::from(after_close));
        for (request_id, member) in requests {
            call.arg(request_id.to_string()).arg(member.as_str());
        }
        let reply = self.invoke_repeatable("reserve", code.as_str(), &call).await?;
        self.read_reservations(Reply::read(reply)?, code, requests)
    }

    fn read_reservations(
        &self,
        mut reply: Reply,
        code: &CouponCode,
        requests: &[(RequestId, &MemberId)],
    ) -> Result<Vec<Result<Reservation, StockError>>, StockError> {
        let refused = match reply.word() {
            "DECIDED" => None,
            "MISSING" => Some(Refused::Missing),
            "FILLING" => Some(Refused::Filling),
            "SUSPECT" => Some(Refused::Suspect),
            _ => return Err(reply.unexpected()),
        };
        if let Some(refused) = refused {
            return Ok(requests.iter().map(|_| Ok(Err(refused))).collect());
        }
        let (epoch, now) = (reply.next()?, reply.next()?);
        let mut highest = 0;
        let read = |(request_id, member): &(RequestId, &MemberId)| {
            let (held, seq, reserved_at) = match reply.next()? {
                Value::Int(seq) => (Held { request_id: *request_id, is_repeat: false, pending: None }, seq, Some(now)),
                answer => match read_answer(Reply::read(answer)?)? {
                    Ok(holder) => holder,
                    Err(refused) => return Ok(Err(refused)),
                },
            };
            highest = seq.max(highest);
            let pending = reserved_at.map(|reserved_at| CouponIssued {
                version: VERSION,
                request_id: held.request_id,
                coupon_code: code.clone(),
                member_id: (*member).clone(),
                reserved_at,
                epoch,
                seq,
                traceparent: None,
            });
            Ok(Ok(Held { pending, ..held }))
        };
        let reservations = requests.iter().map(read).collect();
        if highest > 0 {
            self.seen.note(code, epoch, highest);
        }
        Ok(reservations)
    }

    /// Runs `give_back.lua`: frees the unit that `request_id` holds, or hands the holder entry over to `superseded_by`. May be
    /// repeated, and may come late.
    pub async fn give_back(
        &self,
        code: &CouponCode,
        member: &MemberId,
        request_id: RequestId,
        superseded_by: Option<RequestId>,
    ) -> Result<GiveBack, StockError> {
        let successor = superseded_by.map_or_else(String::new, |id| id.to_string());
        let mut call = GIVE_BACK.key(keys::issued(code));
        call.key(keys::meta(code)).arg(member.as_str()).arg(request_id.to_string()).arg(successor);
        match i64::from_redis_value(self.invoke("give a unit back", code.as_str(), &call).await?) {
            Ok(1) => Ok(GiveBack::Done),
            Ok(0) => Ok(GiveBack::NotHeld),
            other => Err(StockError::Reply(format!("{other:?}"))),
        }
    }
}

/// A request that holds a coupon already, with the sequence and, where its event is in the outbox, the time of its reservation in
/// ms; or why a request was refused.
type Answer = Result<(Held, i64, Option<i64>), Refused>;

/// Reads the answer to one request that has not just reserved.
fn read_answer(mut answer: Reply) -> Result<Answer, StockError> {
    let is_repeat = match answer.word() {
        "RESERVED" => false,
        "ALREADY" => true,
        "SOLD_OUT" => return Ok(Err(Refused::SoldOut)),
        "NOT_OPEN" => return Ok(Err(Refused::NotOpen(Duration::from_millis(answer.next()?)))),
        "CLOSED" => return Ok(Err(Refused::Closed)),
        "OUTBOX_FULL" => return Ok(Err(Refused::OutboxFull)),
        _ => return Err(answer.unexpected()),
    };
    let request_id = answer.next_request_id()?;
    let (seq, reserved_at) = (answer.next()?, answer.next()?);
    let is_pending = answer.next::<i64>()? == 1;
    Ok(Ok((Held { request_id, is_repeat, pending: None }, seq, is_pending.then_some(reserved_at))))
}
