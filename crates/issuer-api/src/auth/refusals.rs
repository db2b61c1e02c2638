//! How many tokens were refused, by what is wrong with them.

use metrics::Counter;

use super::TokenError;

/// Each reason, in the order of [`TokenError`].
const REASONS: [(TokenError, &str); 13] = [
    (TokenError::Missing, "MISSING"),
    (TokenError::Malformed, "MALFORMED"),
    (TokenError::Several, "SEVERAL"),
    (TokenError::TooLong, "TOO_LONG"),
    (TokenError::Algorithm, "ALGORITHM"),
    (TokenError::Key, "UNKNOWN_KEY"),
    (TokenError::Signature, "SIGNATURE"),
    (TokenError::Expired, "EXPIRED"),
    (TokenError::Early, "EARLY"),
    (TokenError::Issuer, "ISSUER"),
    (TokenError::Audience, "AUDIENCE"),
    (TokenError::Claim, "CLAIM"),
    (TokenError::Subject, "MEMBER"),
];

/// The counters, looked up once.
pub struct Refusals(Vec<Counter>);

impl Refusals {
    /// Registers all with 0, so that the first refusal counts as an increase. Once a recorder is installed: what is
    /// registered before counts nothing.
    pub fn from_zero() -> Self {
        let counter = |(_, reason)| metrics::counter!("coupon_unauthenticated_total", "reason" => reason);
        Self(REASONS.map(counter).into())
    }

    /// Counts a refused token.
    pub fn count(&self, error: TokenError) {
        self.0[error as usize].increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_where_its_error_is_counted() {
        for (place, (error, reason)) in REASONS.into_iter().enumerate() {
            assert_eq!(error as usize, place, "{reason}");
        }
    }
}
