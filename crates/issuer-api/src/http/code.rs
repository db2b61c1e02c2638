//! The stable codes of problems, each with its HTTP status.

use axum::http::StatusCode;

/// Declares the codes with their status.
macro_rules! codes {
    ($($(#[$meta:meta])* $variant:ident = $word:literal, $status:ident;)+) => {
        /// What went wrong, as a stable word.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code { $($(#[$meta])* $variant,)+ }

        impl Code {
            /// All codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The code as it stands in an answer.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// The HTTP status of an answer with this code.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)+ }
            }
        }
    };
}

codes! {
    /// No HTTP request. Answered before it comes to a handler; see [`coupon_core::runtime::http::UNREADABLE`].
    BadRequest = "BAD_REQUEST", BAD_REQUEST;
    /// The path is too long to be read.
    UriTooLong = "URI_TOO_LONG", URI_TOO_LONG;
    /// The head is too large to be read.
    HeadersTooLarge = "HEADERS_TOO_LARGE", REQUEST_HEADER_FIELDS_TOO_LARGE;
    /// No token, or none that counts.
    Unauthenticated = "UNAUTHENTICATED", UNAUTHORIZED;
    /// No such route.
    NotFound = "NOT_FOUND", NOT_FOUND;
    /// The route has no such method.
    MethodNotAllowed = "METHOD_NOT_ALLOWED", METHOD_NOT_ALLOWED;
    /// The path names no possible coupon.
    InvalidCouponCode = "INVALID_COUPON_CODE", UNPROCESSABLE_ENTITY;
    /// The body is neither empty nor `{}`.
    InvalidBody = "INVALID_BODY", UNPROCESSABLE_ENTITY;
    /// The query has an unknown name or a value that is out of its range.
    InvalidQuery = "INVALID_QUERY", UNPROCESSABLE_ENTITY;
    /// The body is too large.
    PayloadTooLarge = "PAYLOAD_TOO_LARGE", PAYLOAD_TOO_LARGE;
    /// The body came too slowly.
    RequestTimeout = "REQUEST_TIMEOUT", REQUEST_TIMEOUT;
    /// Too much is being worked on.
    TooManyRequests = "TOO_MANY_REQUESTS", TOO_MANY_REQUESTS;
    /// No such campaign.
    CouponNotFound = "COUPON_NOT_FOUND", NOT_FOUND;
    /// No such request of this member.
    RequestNotFound = "REQUEST_NOT_FOUND", NOT_FOUND;
    /// The member holds no coupon of this campaign.
    NothingHeld = "NOTHING_HELD", NOT_FOUND;
    /// Every coupon is held by somebody.
    SoldOut = "SOLD_OUT", CONFLICT;
    /// The campaign has not begun.
    NotOpen = "NOT_OPEN", CONFLICT;
    /// The campaign is over.
    Closed = "CLOSED", CONFLICT;
    /// The campaign is being prepared or repaired.
    GateClosed = "GATE_CLOSED", SERVICE_UNAVAILABLE;
    /// Too many reservations wait for Kafka.
    OutboxFull = "OUTBOX_FULL", SERVICE_UNAVAILABLE;
    /// Redis gives no answer.
    StockUnavailable = "STOCK_UNAVAILABLE", SERVICE_UNAVAILABLE;
    /// PostgreSQL gives no answer, and it was needed.
    DatabaseUnavailable = "DATABASE_UNAVAILABLE", SERVICE_UNAVAILABLE;
    /// The process has just started.
    Starting = "STARTING", SERVICE_UNAVAILABLE;
    /// A fault of ours.
    Internal = "INTERNAL", INTERNAL_SERVER_ERROR;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_answered_before_a_handler_has_codes_of_this_api() {
        for (status, word, _) in coupon_core::runtime::http::UNREADABLE {
            assert!(Code::ALL.iter().any(|code| code.as_str() == word && code.status() == status), "{word}");
        }
    }
}
