//! The stable codes of problems: one row each, from which answers, problem pages and the document of the API are made.

use axum::http::StatusCode;

/// Whether asking again helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same request is answered the same, or needs something else first, such as a new token.
    Never,
    /// The same request may be answered otherwise after the seconds of `Retry-After`, which every such answer carries.
    Wait,
}

/// Declares the codes. A row: word, HTTP status, whether asking again helps, title, what it means, what to tell the member.
macro_rules! codes {
    ($($variant:ident = $word:literal, $status:ident, $retry:ident, $title:literal, $meaning:literal, $tell:literal;)+) => {
        /// What went wrong, as a stable word.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code { $(#[doc = $title] $variant,)+ }

        impl Code {
            /// All codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The code as it stands in an answer.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// Path of the page about the problem, the `type` of RFC 9457.
            pub fn page(self) -> &'static str {
                match self { $(Self::$variant => concat!("/problems/", $word),)+ }
            }

            /// The HTTP status of an answer with this code.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)+ }
            }

            /// Whether asking again helps.
            pub fn retry(self) -> Retry {
                match self { $(Self::$variant => Retry::$retry,)+ }
            }

            /// The `title` of RFC 9457: the same for each answer with this code.
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ }
            }

            /// What the code means, for the developer of a client.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)+ }
            }

            /// What a shop may tell the member.
            pub fn tell(self) -> &'static str {
                match self { $(Self::$variant => $tell,)+ }
            }
        }
    };
}

codes! {
    BadRequest = "BAD_REQUEST", BAD_REQUEST, Never, "Bad Request",
        "This cannot be read as an HTTP/1.1 request. It is answered before any route.",
        "Nothing was asked for; the app has a fault.";
    UriTooLong = "URI_TOO_LONG", URI_TOO_LONG, Never, "URI Too Long",
        "The path is too long to be read.",
        "Nothing was asked for; the app has a fault.";
    HeadersTooLarge = "HEADERS_TOO_LARGE", REQUEST_HEADER_FIELDS_TOO_LARGE, Never, "Request Header Fields Too Large",
        "The head of the request is too large to be read, or has too many headers; often too many cookies.",
        "Nothing was asked for; the app has a fault.";
    Unauthenticated = "UNAUTHENTICATED", UNAUTHORIZED, Never, "No valid token",
        "There is no token, or none that counts: WWW-Authenticate then says error=\"invalid_token\". Get a new token, and ask again.",
        "Please log in again.";
    AdmissionRequired = "ADMISSION_REQUIRED", FORBIDDEN, Never, "Admission required",
        "The campaign requires a token of its waiting room in the header Coupon-Admission, and there is none. Send the member through the waiting room. A holder is answered without it.",
        "Please go through the waiting room.";
    AdmissionExpired = "ADMISSION_EXPIRED", FORBIDDEN, Never, "Admission expired",
        "The token of the waiting room in Coupon-Admission has expired. Send the member through the waiting room again. A holder is answered without it.",
        "Your place has expired. Please go through the waiting room again.";
    AdmissionInvalid = "ADMISSION_INVALID", FORBIDDEN, Never, "Admission invalid",
        "The token in Coupon-Admission is broken, signed by somebody else, or admits another member or to another campaign.",
        "Please go through the waiting room again.";
    NotFound = "NOT_FOUND", NOT_FOUND, Never, "No such route",
        "There is no such route.",
        "Nothing was asked for; the app has a fault.";
    MethodNotAllowed = "METHOD_NOT_ALLOWED", METHOD_NOT_ALLOWED, Never, "No such method",
        "The route has no such method; the header Allow names those it has.",
        "Nothing was asked for; the app has a fault.";
    InvalidCouponCode = "INVALID_COUPON_CODE", UNPROCESSABLE_ENTITY, Never, "No coupon code",
        "The path names no possible campaign: a code has 1 to 50 characters of A-Z a-z 0-9 _ -.",
        "There is no such campaign.";
    InvalidBody = "INVALID_BODY", UNPROCESSABLE_ENTITY, Never, "Unknown body",
        "The body is neither empty nor {}. Who asks is said by the token, and for what by the path.",
        "Nothing was asked for; the app has a fault.";
    InvalidQuery = "INVALID_QUERY", UNPROCESSABLE_ENTITY, Never, "Unknown query",
        "The query has an unknown name, or a value out of its range.",
        "The list cannot be shown; the app has a fault.";
    PayloadTooLarge = "PAYLOAD_TOO_LARGE", PAYLOAD_TOO_LARGE, Never, "Body too large",
        "The body is too large; it must be empty or {}.",
        "Nothing was asked for; the app has a fault.";
    RequestTimeout = "REQUEST_TIMEOUT", REQUEST_TIMEOUT, Wait, "Body too slow",
        "The body of the request did not come in time, and nothing was reserved.",
        "The connection is slow. Please try again.";
    TooManyRequests = "TOO_MANY_REQUESTS", TOO_MANY_REQUESTS, Wait, "Too many requests",
        "More requests are being worked on than one process takes. Nothing was done for this one.",
        "Many are asking right now. We try again for you.";
    CouponNotFound = "COUPON_NOT_FOUND", NOT_FOUND, Never, "No such campaign",
        "Nobody has created a campaign of this code.",
        "There is no such campaign.";
    RequestNotFound = "REQUEST_NOT_FOUND", NOT_FOUND, Never, "No such request",
        "It is no request of this member. Requests of others are answered so too.",
        "There is no such request of yours.";
    NothingHeld = "NOTHING_HELD", NOT_FOUND, Never, "Nothing held",
        "The member surely holds no coupon of this campaign.",
        "You hold no coupon of this campaign.";
    SoldOut = "SOLD_OUT", CONFLICT, Never, "Sold out",
        "Every coupon is held by somebody, and the member holds none. A unit that comes back goes to whoever asks then. \
         It may come to somebody to whom another process has given such a unit less than a second ago; issues/mine never misses one.",
        "All coupons are taken.";
    NotOpen = "NOT_OPEN", CONFLICT, Wait, "Not open yet",
        "The campaign has not opened yet, and the member holds none. Retry-After is the time until it opens.",
        "The campaign has not begun yet.";
    Closed = "CLOSED", CONFLICT, Never, "Closed",
        "The campaign is closed or over, and the member holds none.",
        "The campaign is over.";
    GateClosed = "GATE_CLOSED", SERVICE_UNAVAILABLE, Wait, "Gate closed",
        "The campaign is being prepared or repaired, or a server behind this one would not keep what is accepted. \
         The outcome is unknown or negative; asking again is safe.",
        "We cannot say yet whether you hold a coupon. We try again for you.";
    OutboxFull = "OUTBOX_FULL", SERVICE_UNAVAILABLE, Wait, "Outbox full",
        "Too many reservations wait for Kafka, and nothing was reserved. Asking again is safe.",
        "Many are asking right now. We try again for you.";
    StockUnavailable = "STOCK_UNAVAILABLE", SERVICE_UNAVAILABLE, Wait, "Redis gives no answer",
        "Redis gives no answer. The outcome is unknown or negative; asking again is safe.",
        "We cannot say yet whether you hold a coupon. We try again for you.";
    DatabaseUnavailable = "DATABASE_UNAVAILABLE", SERVICE_UNAVAILABLE, Wait, "PostgreSQL gives no answer",
        "PostgreSQL gives no answer, and it was needed. The outcome is unknown or negative; asking again is safe.",
        "We cannot say yet whether you hold a coupon. We try again for you.";
    Starting = "STARTING", SERVICE_UNAVAILABLE, Wait, "Starting",
        "The process has just started, and still connects to what it needs. Nothing was done.",
        "We try again for you.";
    Internal = "INTERNAL", INTERNAL_SERVER_ERROR, Wait, "A fault of ours",
        "A fault of ours, which is in the log under the instance. The outcome is unknown or negative; asking again is safe.",
        "We cannot say yet whether you hold a coupon. We try again for you.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_answered_before_a_handler_has_codes_of_this_api() {
        for (status, word, _) in coupon_core::runtime::http::UNREADABLE {
            let code = Code::ALL.iter().find(|code| code.as_str() == word && code.status() == status).unwrap();
            assert_eq!((code.retry(), Some(code.title())), (Retry::Never, code.status().canonical_reason()), "{word}");
        }
    }

    #[test]
    fn every_429_every_503_and_no_verdict_but_not_open_is_to_be_asked_again() {
        for code in Code::ALL {
            let is_wait = code.retry() == Retry::Wait;
            match code.status().as_u16() {
                408 | 429 | 500 | 503 => assert!(is_wait, "{code:?}"),
                _ => assert_eq!(is_wait, *code == Code::NotOpen, "{code:?}"),
            }
        }
    }
}
