//! A record as it was consumed, byte for byte.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rdkafka::{
    Message,
    message::{BorrowedHeaders, BorrowedMessage, Headers},
};

/// A consumed record, detached from the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Topic it was consumed from.
    pub topic: String,
    /// Partition there.
    pub partition: i32,
    /// Offset there.
    pub offset: i64,
    /// Timestamp in ms since 1970; `None` when the producer gave none.
    pub timestamp_ms: Option<i64>,
    /// Key; `None` is not the same as empty.
    pub key: Option<Vec<u8>>,
    /// Value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers in order, duplicates included.
    pub headers: Vec<Header>,
}

/// A header: a name, and a value that may be null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Name.
    pub name: String,
    /// Value.
    pub value: Option<Vec<u8>>,
}

impl Header {
    /// A header with a value.
    pub fn new(name: &str, value: impl Into<Vec<u8>>) -> Self {
        Self { name: name.to_owned(), value: Some(value.into()) }
    }
}

impl Record {
    /// Copies a message out of the client.
    pub(super) fn detach(message: &BorrowedMessage<'_>) -> Self {
        Self {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: message.headers().map(read_headers).unwrap_or_default(),
        }
    }

    /// The value of the last header of this name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().rev().find(|header| header.name == name)?.value.as_deref()
    }
}

/// The client panics on a header whose name is not UTF-8, which anybody can send; such a header is left out.
fn read_headers(headers: &BorrowedHeaders) -> Vec<Header> {
    let read = |index| {
        let header = catch_unwind(AssertUnwindSafe(|| headers.try_get(index))).ok().flatten()?;
        Some(Header { name: header.key.to_owned(), value: header.value.map(<[u8]>::to_vec) })
    };
    (0..headers.count()).filter_map(read).collect()
}
