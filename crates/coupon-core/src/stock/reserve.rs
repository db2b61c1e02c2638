//! Reserving a coupon: the one step that decides who gets one.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::{Stock, StockError, connection::script, keys, reply::Reply};
use crate::{
    event::{CouponIssued, VERSION},
    ids::{CouponCode, MemberId, RequestId},
};

script!(RESERVE, "reserve.lua");

/// The answer to a request for a coupon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// This request holds the coupon, now or since an earlier call with the same id.
    Reserved(Reserved),
    /// An earlier request of the same member holds it.
    Already(Reserved),
    /// Nobody holds anything by this call.
    Refused(Refused),
}

/// A reservation that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// The event that tells of it.
    pub event: CouponIssued,
    /// Whether the promise to publish is still in the outbox. If not, Kafka has acknowledged the event.
    pub pending: bool,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Every coupon is held by somebody.
    SoldOut,
    /// The campaign opens in this long.
    NotOpen(Duration),
    /// The campaign was closed, or its time is over.
    Closed,
    /// Redis has no data of this coupon: unknown, never opened, or lost.
    Missing,
    /// Redis is being filled.
    Filling,
    /// Redis has lost data; nothing is accepted until a rebuild.
    Suspect,
    /// Too many promises wait for Kafka.
    OutboxFull,
}

/// The highest epoch and sequence this process has seen of each coupon: how it notices a Redis that went back in time.
#[derive(Debug, Default)]
pub struct Seen(Mutex<HashMap<CouponCode, (i64, i64)>>);

impl Seen {
    /// What has been seen of a coupon; zeros when nothing has.
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

impl Stock {
    /// Runs `reserve.lua`. When no answer comes it asks once more with the same request id, within the same bound,
    /// which is safe because a repeat changes nothing; an error then still means that the outcome is unknown.
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
        let (epoch, seq) = self.seen.of(code);
        let mut call = RESERVE.key(keys::meta(code));
        call.key(keys::issued(code)).key(keys::outbox(code));
        call.arg(request_id.to_string()).arg(member.as_str()).arg(epoch).arg(seq).arg(outbox_cap);
        call.arg(i32::from(after_close));
        let reply = self.invoke_repeatable("reserve", &call).await?;
        let reservation = read(Reply::read(reply)?, code, member)?;
        if let Reservation::Reserved(reserved) | Reservation::Already(reserved) = &reservation {
            self.seen.note(code, reserved.event.epoch, reserved.event.seq);
        }
        Ok(reservation)
    }
}

fn read(mut reply: Reply, code: &CouponCode, member: &MemberId) -> Result<Reservation, StockError> {
    let refused = match reply.word() {
        "RESERVED" => return Ok(Reservation::Reserved(read_reserved(reply, code, member)?)),
        "ALREADY" => return Ok(Reservation::Already(read_reserved(reply, code, member)?)),
        "SOLD_OUT" => Refused::SoldOut,
        "NOT_OPEN" => Refused::NotOpen(Duration::from_millis(reply.next()?)),
        "CLOSED" => Refused::Closed,
        "MISSING" => Refused::Missing,
        "FILLING" => Refused::Filling,
        "SUSPECT" => Refused::Suspect,
        "OUTBOX_FULL" => Refused::OutboxFull,
        _ => return Err(reply.unexpected()),
    };
    Ok(Reservation::Refused(refused))
}

fn read_reserved(mut reply: Reply, code: &CouponCode, member: &MemberId) -> Result<Reserved, StockError> {
    let request_id: String = reply.next()?;
    let event = CouponIssued {
        version: VERSION,
        request_id: request_id.parse().map_err(|_| reply.unexpected())?,
        coupon_code: code.clone(),
        member_id: member.clone(),
        epoch: reply.next()?,
        seq: reply.next()?,
        reserved_at: reply.next()?,
    };
    Ok(Reserved { event, pending: reply.next::<i64>()? == 1 })
}
