//! A record as it was consumed, byte for byte.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rdkafka::{
    Message,
    message::{BorrowedHeaders, BorrowedMessage, Headers},
};

use crate::runtime::{TraceParent, panics};

/// Headers with unreadable names after which a record's other headers are not looked at.
const MAX_UNREADABLE_HEADERS: usize = 16;

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

    /// Bytes of memory, about; each header counts with its bookkeeping.
    pub(super) fn bytes(&self) -> usize {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers: usize = self.headers.iter().map(|header| header.name.len() + length(&header.value) + 64).sum();
        length(&self.key) + length(&self.value) + headers
    }

    /// The value of the last header of this name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().rev().find(|header| header.name == name)?.value.as_deref()
    }

    /// The trace context of the record, in the form of its header, if its trace is sampled: nobody looks for another one.
    pub fn sampled_trace(&self) -> Option<Box<str>> {
        let trace = TraceParent::parse(self.header(TraceParent::HEADER)?)?;
        trace.is_sampled().then(|| trace.to_string().into())
    }
}

/// The client panics on a header whose name is not UTF-8, which anybody can send; such a header is left out, and after
/// a few of them so is the rest: each panic costs time, and a record has room for a hundred thousand.
fn read_headers(headers: &BorrowedHeaders) -> Vec<Header> {
    let (mut read, mut unreadable) = (Vec::with_capacity(headers.count().min(1000)), 0);
    for index in 0..headers.count() {
        let header = panics::unlogged(|| catch_unwind(AssertUnwindSafe(|| headers.try_get(index))));
        match header {
            Ok(Some(header)) => {
                read.push(Header { name: header.key.to_owned(), value: header.value.map(<[u8]>::to_vec) });
            }
            Ok(None) => {}
            Err(_) => unreadable += 1,
        }
        if unreadable == MAX_UNREADABLE_HEADERS {
            tracing::warn!(
                headers = headers.count(),
                read = read.len(),
                "a record has headers with unreadable names, the rest is left out"
            );
            break;
        }
    }
    read
}
