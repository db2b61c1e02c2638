//! Whether a change was asked for by the console's own pages.

use axum::http::{HeaderMap, header};

/// Whether a request with a cookie, or a login, comes from a page of the same origin: browsers say so in
/// `Sec-Fetch-Site`, older ones by an `Origin` that equals the host. A request that says neither is refused.
pub(super) fn is_own(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return site == "same-origin";
    }
    let (Some(origin), Some(host)) = (text(header::ORIGIN.as_str()), text(header::HOST.as_str())) else { return false };
    let authority = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

/// Whether a request says by which page it was sent, as those of browsers do.
pub(super) fn is_told(headers: &HeaderMap) -> bool {
    headers.contains_key("sec-fetch-site") || headers.contains_key(header::ORIGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_own_with(pairs: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        is_own(&headers)
    }

    #[test]
    fn only_the_same_origin_may_change() {
        assert!(is_own_with(&[("sec-fetch-site", "same-origin"), ("host", "c:1")]));
        assert!(is_own_with(&[("origin", "http://c:1"), ("host", "c:1")]));
        for refused in [
            &[("host", "c:1")][..],
            &[("origin", "null"), ("host", "c:1")],
            &[("origin", "http://c:2"), ("host", "c:1")],
            &[("origin", "http://evil"), ("host", "c:1")],
            &[("sec-fetch-site", "cross-site"), ("origin", "http://c:1"), ("host", "c:1")],
            &[("sec-fetch-site", "same-site"), ("host", "c:1")],
            &[("sec-fetch-site", "none"), ("host", "c:1")],
        ] {
            assert!(!is_own_with(refused), "{refused:?}");
        }
    }
}
