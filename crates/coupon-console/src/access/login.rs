//! Secrets of operators: tokens and cookies, of which the database has the digests only.

use axum::http::HeaderMap;
pub(crate) use coupon_operations::operators::{digest, new_secret};

/// Name of the session's cookie. The prefix binds it to this host and to encrypted connections; browsers count loopback
/// among these.
pub(crate) const COOKIE: &str = "__Host-coupon-session";

/// Returns the value of the session's cookie.
pub(super) fn session_cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all("cookie").iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|line| line.split(';')).find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// Returns the token of `Authorization: Bearer`.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get("authorization")?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
