//! The replies of the scripts: a word, then what belongs to it.

use redis::{FromRedisValue, Value};

use super::StockError;

/// A reply `{word, field, …}` being taken apart.
pub(super) struct Reply {
    word: String,
    fields: std::vec::IntoIter<Value>,
    shown: String,
}

impl Reply {
    /// Takes the word off.
    pub(super) fn read(value: Value) -> Result<Self, StockError> {
        let shown = format!("{value:?}");
        let Value::Array(fields) = value else { return Err(StockError::Reply(shown)) };
        let mut reply = Self { word: String::new(), fields: fields.into_iter(), shown };
        reply.word = reply.next()?;
        Ok(reply)
    }

    /// The word.
    pub(super) fn word(&self) -> &str {
        &self.word
    }

    /// The next field as a `T`.
    pub(super) fn next<T: FromRedisValue>(&mut self) -> Result<T, StockError> {
        let field = self.fields.next().and_then(|value| T::from_redis_value(value).ok());
        field.ok_or_else(|| StockError::Reply(self.shown.clone()))
    }

    /// The error for a word nobody expects.
    pub(super) fn unexpected(&self) -> StockError {
        StockError::Reply(self.shown.clone())
    }
}
