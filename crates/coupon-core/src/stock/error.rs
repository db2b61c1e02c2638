//! What can go wrong with Redis, and what it means.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::failure::{Class, Classified};

/// A call to Redis that gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum StockError {
    /// No connection could be made, so nothing was asked.
    #[error("redis cannot be connected to")]
    NotConnected(#[source] RedisError),
    /// The connection broke, or no answer in time: the call may or may not have happened.
    #[error("redis did not answer")]
    NoAnswer(#[source] RedisError),
    /// No answer within the bound of this many milliseconds: the call may or may not have happened.
    #[error("redis did not answer within {0} ms")]
    TimedOut(u64),
    /// Reached, but not able to take the call now, whatever it is called: loading, read-only, out of memory, failing over,
    /// a login or a right that is missing.
    #[error("redis cannot take this now")]
    NotNow(#[source] RedisError),
    /// Refused for good: a wrong type, an error in a script.
    #[error("redis refused")]
    Refused(#[source] RedisError),
    /// A reply no script of ours gives.
    #[error("redis replied {0}, which is none of the expected replies")]
    Reply(String),
}

impl StockError {
    /// What the driver says; `None` where it is not the driver that says it.
    pub(super) fn redis(&self) -> Option<&RedisError> {
        match self {
            Self::NotConnected(error) | Self::NoAnswer(error) | Self::NotNow(error) | Self::Refused(error) => {
                Some(error)
            }
            Self::TimedOut(_) | Self::Reply(_) => None,
        }
    }

    /// Whether nothing was said of the call, so that it may be sent again if a repeat does no harm.
    pub(super) fn is_unanswered(&self) -> bool {
        matches!(self, Self::NotConnected(_) | Self::NoAnswer(_))
    }

    /// Whether the call got no answer: it may or may not have happened.
    pub(super) fn is_no_answer(error: &RedisError) -> bool {
        error.is_timeout() || error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error()
    }

    /// Whether an answer says nothing of what was asked, and so of the server, the node, the user or the login. The driver
    /// makes a new connection only where the old one broke.
    pub(super) fn says_that_the_server_is_wrong(error: &RedisError) -> bool {
        let broke = error.is_timeout() || error.is_io_error() || error.is_connection_dropped();
        !broke && !is_of_the_call(error)
    }
}

/// Whether an answer is about what was asked: a wrong type, an error of a script or of its arguments, a reply that cannot be
/// read. All else that Redis may say is an outage of it.
fn is_of_the_call(error: &RedisError) -> bool {
    // An error of a right that a script lacks has no code of its own, only a text, which changed with Redis 7.2.
    let of_the_user = ["The user executing the script", "ACL failure", "unknown command"];
    let text = error.detail().unwrap_or_default();
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::ResponseError) => !of_the_user.iter().any(|words| text.contains(words)),
        ErrorKind::UnexpectedReturnType | ErrorKind::Client | ErrorKind::Server(ServerErrorKind::CrossSlot) => true,
        ErrorKind::Extension => error.code() == Some("WRONGTYPE"),
        _ => false,
    }
}

impl StockError {
    /// Whether Redis has no memory left for the call: it reads, and frees, and takes nothing new.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::NotNow(error) if error.code() == Some("OOM"))
    }
}

impl From<RedisError> for StockError {
    fn from(error: RedisError) -> Self {
        if Self::is_no_answer(&error) {
            Self::NoAnswer(error)
        } else if is_of_the_call(&error) {
            Self::Refused(error)
        } else {
            Self::NotNow(error)
        }
    }
}

impl Classified for StockError {
    fn class(&self) -> Class {
        match self {
            Self::NotConnected(_) | Self::NoAnswer(_) | Self::TimedOut(_) | Self::NotNow(_) => Class::Unavailable,
            Self::Refused(_) | Self::Reply(_) => Class::Unknown,
        }
    }

    fn code(&self) -> String {
        match self {
            Self::NotConnected(_) | Self::NoAnswer(_) | Self::TimedOut(_) => "REDIS_NO_ANSWER".to_owned(),
            Self::NotNow(error) | Self::Refused(error) => format!("REDIS_{}", error.code().unwrap_or("REFUSED")),
            Self::Reply(_) => "REDIS_REPLY".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(line: &str) -> RedisError {
        let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        value.extract_error().unwrap_err()
    }

    #[test]
    fn an_answer_that_is_not_about_the_call_is_an_outage_and_drops_the_connection() {
        for line in [
            "READONLY You can't write against a read only replica.",
            "MOVED 3999 127.0.0.1:6381",
            "ASK 3999 127.0.0.1:6381",
            "CLUSTERDOWN Hash slot not served",
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "LOADING Redis is loading the dataset in memory",
            "BUSY Redis is busy running a script.",
            "OOM command not allowed when used memory > 'maxmemory'.",
            "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
            "NOREPLICAS Not enough good replicas to write.",
            "NOAUTH Authentication required.",
            "WRONGPASS invalid username-password pair or user is disabled.",
            "NOPERM this user has no permissions to run the 'evalsha' command",
            "ERR unknown command 'EVALSHA', with args beginning with: ",
            "ERR The user executing the script can't run this command or subcommand script: 1",
            "NEWWORD that nobody has heard of yet",
        ] {
            let error = answer(line);
            assert!(StockError::says_that_the_server_is_wrong(&error), "{line}");
            assert_eq!(StockError::from(error).class(), Class::Unavailable, "{line}");
        }
    }

    #[test]
    fn an_answer_about_the_call_keeps_the_connection_and_is_charged() {
        for line in [
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            "ERR value is not an integer or out of range",
            "ERR user_script:1: planted script: 1",
            "CROSSSLOT Keys in request don't hash to the same slot",
        ] {
            let error = answer(line);
            assert!(!StockError::says_that_the_server_is_wrong(&error), "{line}");
            assert_eq!(StockError::from(error).class(), Class::Unknown, "{line}");
        }
    }
}
