//! The outbox: the reservations whose events Kafka has not acknowledged. The reservation script makes an entry, and whoever gets
//! the acknowledgement deletes it.

use std::time::Duration;

use super::{Stock, StockError, connection::script, keys, reply::Reply};
use crate::{
    event::{CouponIssued, VERSION},
    ids::{CouponCode, MemberId, RequestId},
    runtime::Throttle,
};

script!(RELAY, "relay.lua");

/// An outbox entry: `request_id|epoch|member_id`. The member id comes last because it may itself hold a `|`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OutboxEntry {
    /// The reservation.
    pub request_id: RequestId,
    /// Generation of the Redis data it was made in.
    pub epoch: i64,
    /// Member of the reservation.
    pub member_id: MemberId,
}

/// The outbox of a coupon as a relay lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboxListing {
    /// Number of entries, also those too young to be due.
    pub waiting: u64,
    /// How long the oldest entry has waited.
    pub oldest: Duration,
    /// Events to publish again, oldest first. `None` without the lease: it was not asked for, another process has it, or the
    /// outbox is empty.
    pub due: Option<Vec<CouponIssued>>,
}

impl OutboxEntry {
    /// The entry of this event.
    pub fn of(event: &CouponIssued) -> Self {
        Self { request_id: event.request_id, epoch: event.epoch, member_id: event.member_id.clone() }
    }

    pub(super) fn encode(&self) -> String {
        format!("{}|{}|{}", self.request_id, self.epoch, self.member_id.as_str())
    }

    fn decode(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '|');
        Some(Self {
            request_id: parts.next()?.parse().ok()?,
            epoch: parts.next()?.parse().ok()?,
            member_id: parts.next()?.parse().ok()?,
        })
    }
}

impl Stock {
    /// Takes or keeps `owner`'s lease for `lease` and lists up to `limit` entries older than `min_age`, or dated in the
    /// future. A `lease` of zero only counts, and releases the one that `owner` has.
    ///
    /// The sequence in the events is the coupon's present one: the entry does not keep its own, and a sequence
    /// only has to be one that Redis had reached.
    pub async fn relay(
        &self,
        code: &CouponCode,
        owner: &str,
        lease: Duration,
        min_age: Duration,
        limit: usize,
    ) -> Result<OutboxListing, StockError> {
        let mut call = RELAY.key(keys::meta(code));
        call.key(keys::outbox(code)).key(keys::relay_lease(code));
        call.arg(owner).arg(millis(lease)).arg(millis(min_age)).arg(limit);
        let mut reply = Reply::read(self.invoke("lease an outbox", code.as_str(), &call).await?)?;
        let is_leased = match reply.word() {
            "EMPTY" => return Ok(OutboxListing::default()),
            "COUNTED" => false,
            "LEASED" => true,
            _ => return Err(reply.unexpected()),
        };
        let (waiting, oldest) = (reply.next()?, Duration::from_millis(reply.next()?));
        let due = if is_leased { Some(due(code, reply.next()?, &reply.next::<Vec<_>>()?)) } else { None };
        Ok(OutboxListing { waiting, oldest, due })
    }

    /// Deletes entries whose events Kafka has acknowledged. May be repeated.
    pub async fn acknowledge(&self, code: &CouponCode, entries: &[OutboxEntry]) -> Result<(), StockError> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut command = redis::cmd("ZREM");
        command.arg(keys::outbox(code));
        for entry in entries {
            command.arg(entry.encode());
        }
        self.change("delete promises", code.as_str(), &command).await
    }

    /// Entries of the outbox that name no request: nobody can publish them, and a rebuild would wait for them for ever.
    pub async fn unreadable(&self, code: &CouponCode) -> Result<Vec<String>, StockError> {
        let (mut cursor, mut unreadable) = (0_u64, Vec::new());
        loop {
            let mut command = redis::cmd("ZSCAN");
            command.arg(keys::outbox(code)).arg(cursor).arg("COUNT").arg(1_000);
            let (next, entries): (u64, Vec<(String, String)>) = self.query(code.as_str(), &command).await?;
            let entries = entries.into_iter().map(|(entry, _)| entry);
            unreadable.extend(entries.filter(|entry| OutboxEntry::decode(entry).is_none()));
            cursor = next;
            if cursor == 0 {
                return Ok(unreadable);
            }
        }
    }

    /// Deletes an entry that [`Stock::unreadable`] gave.
    pub async fn delete_entry(&self, code: &CouponCode, entry: &str) -> Result<(), StockError> {
        self.change("delete promises", code.as_str(), redis::cmd("ZREM").arg(keys::outbox(code)).arg(entry)).await
    }
}

static UNREADABLE: Throttle = Throttle::new();

fn due(code: &CouponCode, seq: i64, entries: &[(String, f64)]) -> Vec<CouponIssued> {
    let event = |(text, score): &(String, f64)| {
        let Some(OutboxEntry { request_id, epoch, member_id }) = OutboxEntry::decode(text) else {
            // Somebody else wrote into our key. It stays there for an operator to look at.
            if let Some(count) = UNREADABLE.admit(code.as_str()) {
                tracing::error!(coupon = %code, count, "outbox entries of {code} cannot be read and are left alone");
            }
            return None;
        };
        #[expect(clippy::cast_possible_truncation, reason = "a score is a time in ms, far below 2^53")]
        let reserved_at = *score as i64;
        Some(CouponIssued {
            version: VERSION,
            request_id,
            coupon_code: code.clone(),
            member_id,
            reserved_at,
            epoch,
            // What no event may have would park a request that was accepted.
            seq: seq.max(1),
            traceparent: None,
        })
    };
    entries.iter().filter_map(event).collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_survives_a_member_id_with_the_separator_in_it() {
        let entry = OutboxEntry {
            request_id: "018f3f5e-7b1a-7000-8000-000000000001".parse().unwrap(),
            epoch: 3,
            member_id: "a|b|7".parse().unwrap(),
        };
        assert_eq!(OutboxEntry::decode(&entry.encode()), Some(entry));
        assert_eq!(OutboxEntry::decode("rubbish"), None);
    }
}
