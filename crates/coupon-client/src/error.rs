//! What went wrong, and what it means for the caller.

use std::time::Duration;

use serde::Deserialize;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request has to be put right first; asking again in the same way changes nothing.
    #[error("the request was refused: {0}")]
    Request(Problem),
    /// No answer came by the deadline. The member may hold a coupon: the same call later tells, and nobody gets two.
    #[error("the outcome is unknown after {tries} tries")]
    Unknown {
        /// Number of tries.
        tries: u32,
        /// What came of the last one.
        source: Failure,
    },
    /// The request could not be made, or an answer could not be read: a wrong address, a body that is not the API's.
    #[error("this is not the API, or not as it is known")]
    Protocol(#[source] Failure),
}

/// What came of one try instead of an answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// An answer that is not what was asked for.
    #[error("{0}")]
    Problem(Problem),
    /// No answer: no connection, a timeout, a connection that was torn.
    #[error("no answer came")]
    NoAnswer(#[from] reqwest::Error),
    /// An answer that the API does not give.
    #[error("the answer {status} has another body than the API's")]
    Unreadable {
        /// HTTP status.
        status: u16,
        /// What is wrong with the body.
        source: serde_json::Error,
    },
}

/// An answer that is not what was asked for (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, thiserror::Error)]
#[error("{status} {code}: {detail}")]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// Stable code, such as `SOLD_OUT`; new ones come. Empty if the answer had none, as that of a proxy.
    #[serde(default)]
    pub code: String,
    /// A sentence for developers.
    #[serde(default)]
    pub detail: String,
    /// Id of this occurrence, which stands in the log of the server.
    #[serde(default)]
    pub instance: Option<String>,
    /// Header `Retry-After`.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

/// What a problem means for whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The member holds none, and all coupons are taken.
    SoldOut,
    /// The member holds none, and the campaign has not opened yet; `retry_after` says when it does.
    NotOpen,
    /// The member holds none, and the campaign is closed or over.
    Closed,
    /// The member holds none, for a reason that this build does not know (409).
    Refused,
    /// There is no token that counts (401).
    Unauthenticated,
    /// There is no such campaign or request (404).
    NotFound,
    /// The request is wrong otherwise (any other 4xx).
    Invalid,
    /// Too many ask, or a server is away: later it passes (429, 503).
    Passing,
    /// A fault of the server; the outcome is unknown (any other status).
    Fault,
}

impl Problem {
    /// Returns what the problem means: by the code where it is known, else by the status.
    pub fn meaning(&self) -> Meaning {
        match (self.code.as_str(), self.status) {
            ("SOLD_OUT", _) => Meaning::SoldOut,
            ("NOT_OPEN", _) => Meaning::NotOpen,
            ("CLOSED", _) => Meaning::Closed,
            (_, 409) => Meaning::Refused,
            (_, 401) => Meaning::Unauthenticated,
            (_, 404) => Meaning::NotFound,
            (_, 429 | 503) => Meaning::Passing,
            (_, 400..500) => Meaning::Invalid,
            _ => Meaning::Fault,
        }
    }
}

impl Failure {
    /// Whether the same request may be answered otherwise a moment later, and sending it again is safe.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Problem(problem) => matches!(problem.meaning(), Meaning::Passing | Meaning::Fault),
            Self::NoAnswer(error) => !error.is_builder() && !error.is_redirect(),
            Self::Unreadable { .. } => false,
        }
    }

    /// Whether the request may have been carried out all the same.
    pub(crate) fn is_unknown(&self) -> bool {
        match self {
            Self::Problem(problem) => problem.status >= 500,
            Self::NoAnswer(error) => !error.is_connect() && !error.is_builder(),
            Self::Unreadable { .. } => true,
        }
    }

    /// Least time that the server asks to wait for.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Problem(problem) => problem.retry_after,
            _ => None,
        }
    }
}

#[cfg(test)]
pub(crate) fn problem(status: u16, code: &str) -> Problem {
    Problem { status, code: code.to_owned(), detail: String::new(), instance: None, retry_after: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_that_is_not_known_means_what_its_status_means() {
        for (status, meaning) in [
            (401, Meaning::Unauthenticated),
            (403, Meaning::Invalid),
            (404, Meaning::NotFound),
            (409, Meaning::Refused),
            (418, Meaning::Invalid),
            (429, Meaning::Passing),
            (500, Meaning::Fault),
            (502, Meaning::Fault),
            (503, Meaning::Passing),
        ] {
            assert_eq!(problem(status, "CODE_OF_TOMORROW").meaning(), meaning, "{status}");
        }
        assert_eq!(problem(409, "SOLD_OUT").meaning(), Meaning::SoldOut);
    }

    #[test]
    fn nothing_that_has_to_be_put_right_is_sent_again() {
        for status in (400..500).filter(|status| *status != 429) {
            assert!(!Failure::Problem(problem(status, "")).may_pass(), "{status}");
        }
        for status in [429, 500, 502, 503, 504] {
            assert!(Failure::Problem(problem(status, "")).may_pass(), "{status}");
        }
    }
}
