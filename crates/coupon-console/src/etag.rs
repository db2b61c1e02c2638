//! Conditional answers: a page that has not changed is not sent again to a browser that asks every few seconds.

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    body::{Body, HttpBody, to_bytes},
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// Gives pages and JSON an `ETag` (RFC 9110, 8.8.3), and answers 304 to who has the same already. Streams pass as they are.
pub(crate) async fn tag(request: Request, next: Next) -> Response {
    let is_get = *request.method() == Method::GET;
    let known = request.headers().get(header::IF_NONE_MATCH).cloned();
    let answer = next.run(request).await;
    if !is_get || answer.status() != StatusCode::OK || !is_page(answer.headers()) {
        return answer;
    }
    let (mut parts, body) = answer.into_parts();
    if body.size_hint().exact().is_none() {
        return Response::from_parts(parts, body);
    }
    let Ok(bytes) = to_bytes(body, usize::MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let tag = of(&bytes);
    if known.is_some_and(|known| is_among(&known, &tag)) {
        (parts.status, parts.headers) = (StatusCode::NOT_MODIFIED, HeaderMap::from_iter([(header::ETAG, tag)]));
        return Response::from_parts(parts, Body::empty());
    }
    parts.headers.insert(header::ETAG, tag);
    Response::from_parts(parts, Body::from(bytes))
}

fn is_page(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    kind.starts_with(b"text/html") || kind.starts_with(b"application/json")
}

fn of(body: &[u8]) -> HeaderValue {
    let digest = URL_SAFE_NO_PAD.encode(&digest(&SHA256, body).as_ref()[..16]);
    HeaderValue::from_str(&format!("\"{digest}\"")).expect("base64 is ASCII")
}

fn is_among(known: &HeaderValue, tag: &HeaderValue) -> bool {
    let known = known.to_str().unwrap_or_default().split(',');
    known.map(|known| known.trim().trim_start_matches("W/")).any(|known| known.as_bytes() == tag.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_in_a_list_and_another_body_has_another() {
        let tag = of(b"a page");
        let list = HeaderValue::from_str(&format!("\"x\", W/{}", tag.to_str().unwrap())).unwrap();
        assert!(is_among(&list, &tag));
        assert!(!is_among(&list, &of(b"another page")));
    }
}
