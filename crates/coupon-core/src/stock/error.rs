//! What can go wrong with Redis, and what it means.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::failure::{Class, Classified};

/// A call to Redis that gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum StockError {
    /// Not reached, or no answer in time: the call may or may not have happened.
    #[error("redis did not answer")]
    NoAnswer(#[source] RedisError),
    /// No answer within the bound of this many milliseconds: the call may or may not have happened.
    #[error("redis did not answer within {0} ms")]
    TimedOut(u64),
    /// Reached, but not able to take the call now: loading, read-only, out of memory, failing over.
    #[error("redis cannot take this now")]
    NotNow(#[source] RedisError),
    /// Refused for good: wrong type, no permission, an error in a script.
    #[error("redis refused")]
    Refused(#[source] RedisError),
    /// A reply no script of ours gives.
    #[error("redis replied {0}, which is none of the expected replies")]
    Reply(String),
}

impl From<RedisError> for StockError {
    fn from(error: RedisError) -> Self {
        let not_now = matches!(
            error.kind(),
            ErrorKind::Server(
                ServerErrorKind::BusyLoading
                    | ServerErrorKind::TryAgain
                    | ServerErrorKind::ClusterDown
                    | ServerErrorKind::MasterDown
                    | ServerErrorKind::ReadOnly
                    | ServerErrorKind::Moved
                    | ServerErrorKind::Ask
            )
        ) || matches!(error.code(), Some("OOM" | "MISCONF" | "NOREPLICAS" | "BUSY"));
        if error.is_timeout() || error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error()
        {
            Self::NoAnswer(error)
        } else if not_now {
            Self::NotNow(error)
        } else {
            Self::Refused(error)
        }
    }
}

impl Classified for StockError {
    fn class(&self) -> Class {
        match self {
            Self::NoAnswer(_) | Self::TimedOut(_) | Self::NotNow(_) => Class::Unavailable,
            Self::Refused(_) | Self::Reply(_) => Class::Unknown,
        }
    }

    fn code(&self) -> String {
        match self {
            Self::NoAnswer(_) | Self::TimedOut(_) => "REDIS_NO_ANSWER".to_owned(),
            Self::NotNow(error) | Self::Refused(error) => format!("REDIS_{}", error.code().unwrap_or("REFUSED")),
            Self::Reply(_) => "REDIS_REPLY".to_owned(),
        }
    }
}
