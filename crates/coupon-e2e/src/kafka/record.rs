//! Records, byte for byte, and the event that most of them carry.

use serde_json::{Value, json};
use uuid::Uuid;

/// A header: name and value, which may be null.
pub type Header = (String, Option<Vec<u8>>);

/// A record as it lies in a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Partition of the topic.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
    /// Key, if the record has one.
    pub key: Option<Vec<u8>>,
    /// Value; null is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers, in their order.
    pub headers: Vec<Header>,
    /// Timestamp in ms since 1970-01-01 UTC.
    pub timestamp_ms: Option<i64>,
}

/// A record to be written to a topic.
#[derive(Clone, Debug, Default)]
pub struct NewRecord {
    /// Key, if the record has one.
    pub key: Option<Vec<u8>>,
    /// Value; null is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers, in their order.
    pub headers: Vec<Header>,
    /// Timestamp in ms since 1970-01-01 UTC; now, if none.
    pub timestamp_ms: Option<i64>,
    /// Partition; by the key, if none.
    pub partition: Option<i32>,
}

/// What a `coupon-issued` event says; read leniently, by the contract's field names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Request id of the reservation.
    pub request_id: Uuid,
    /// Code of the campaign.
    pub coupon_code: String,
    /// Member whose coupon it is.
    pub member_id: String,
    /// When Redis reserved it, in ms since 1970-01-01 UTC.
    pub reserved_at: i64,
    /// Generation of the Redis data.
    pub epoch: i64,
    /// Sequence of the reservation.
    pub seq: i64,
}

impl Record {
    /// The event in the value; none if it is not one of version 1.
    pub fn event(&self) -> Option<Event> {
        let value: Value = serde_json::from_slice(self.value.as_deref()?).ok()?;
        let text = |field: &str| value.get(field)?.as_str().map(str::to_owned);
        let number = |field: &str| value.get(field)?.as_i64();
        if number("version")? != 1 {
            return None;
        }
        Some(Event {
            request_id: text("request_id")?.parse().ok()?,
            coupon_code: text("coupon_code")?,
            member_id: text("member_id")?,
            reserved_at: number("reserved_at")?,
            epoch: number("epoch")?,
            seq: number("seq")?,
        })
    }

    /// The value of a header that is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(header, _)| header == name)?;
        std::str::from_utf8(value.as_deref()?).ok()
    }

    /// Returns a new record with the same key, value and headers.
    pub fn again(&self) -> NewRecord {
        NewRecord {
            key: self.key.clone(),
            value: self.value.clone(),
            headers: self.headers.clone(),
            timestamp_ms: self.timestamp_ms,
            partition: None,
        }
    }
}

impl NewRecord {
    /// A record of this value and key.
    pub fn of(key: &str, value: impl Into<Vec<u8>>) -> Self {
        Self { key: Some(key.into()), value: Some(value.into()), ..Self::default() }
    }

    /// The record to which `issuer-api` turns a reservation.
    pub fn event(event: &Event) -> Self {
        Self::of(&event.member_id, event.to_json(1).to_string())
    }

    /// Sets the partition, whatever the key.
    #[must_use]
    pub fn in_partition(self, partition: i32) -> Self {
        Self { partition: Some(partition), ..self }
    }
}

impl Event {
    /// An event of a member in the first epoch, reserved now.
    pub fn of(coupon_code: &str, member_id: &str, seq: i64) -> Self {
        Self {
            request_id: Uuid::now_v7(),
            coupon_code: coupon_code.to_owned(),
            member_id: member_id.to_owned(),
            reserved_at: chrono::Utc::now().timestamp_millis(),
            epoch: 1,
            seq,
        }
    }

    /// The value of the record, in a version of choice.
    pub fn to_json(&self, version: u64) -> Value {
        json!({
            "version": version,
            "request_id": self.request_id,
            "coupon_code": self.coupon_code,
            "member_id": self.member_id,
            "reserved_at": self.reserved_at,
            "epoch": self.epoch,
            "seq": self.seq,
        })
    }
}
