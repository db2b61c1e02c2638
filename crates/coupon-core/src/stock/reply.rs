//! The replies of the scripts: a word that names the reply, then its fields.

use redis::{FromRedisValue, Value};

use super::StockError;
use crate::ids::RequestId;

/// A reply `{word, field, …}` being taken apart.
pub(super) struct Reply {
    word: String,
    fields: std::vec::IntoIter<Value>,
}

impl Reply {
    /// Reads the word.
    pub(super) fn read(value: Value) -> Result<Self, StockError> {
        let fields = match value {
            Value::Array(fields) => fields,
            other => return Err(StockError::Reply(format!("{other:?}"))),
        };
        let mut reply = Self { word: String::new(), fields: fields.into_iter() };
        reply.word = reply.next()?;
        Ok(reply)
    }

    /// The word that names the reply.
    pub(super) fn word(&self) -> &str {
        &self.word
    }

    /// The next field as a `T`.
    pub(super) fn next<T: FromRedisValue>(&mut self) -> Result<T, StockError> {
        let Some(field) = self.fields.next() else { return Err(self.unexpected()) };
        T::from_redis_value(field).map_err(|error| StockError::Reply(format!("{} … {error}", self.word)))
    }

    /// The next field as a request id.
    pub(super) fn next_request_id(&mut self) -> Result<RequestId, StockError> {
        let text: String = self.next()?;
        text.parse().map_err(|_| self.unexpected())
    }

    /// The error for an unexpected reply, with the fields that have not been read.
    pub(super) fn unexpected(&self) -> StockError {
        StockError::Reply(format!("{} {:?}", self.word, self.fields.as_slice()))
    }
}
