//! The bound of pages: whatever is away, whoever looks gets an answer.

use std::time::Duration;

use axum::{
    extract::{Request, State},
    http::{Method, StatusCode},
    middleware::Next,
    response::Response,
};

use crate::{Console, access::rendering, answer::Failure};

/// Longest wait for a part of a page.
pub(crate) const PART: Duration = Duration::from_millis(1_700);
/// Longest wait for a page. Its parts have bounds of their own, so what is left to wait for is PostgreSQL: the login, and the
/// rows without which there is no page.
const PAGE: Duration = Duration::from_millis(2_200);

/// Waits for the answer to a request. A change is waited for however long it takes, because its outcome matters.
pub(crate) async fn bounded(State(console): State<Console>, request: Request, next: Next) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    let rendering = rendering(&request);
    tokio::time::timeout(PAGE, next.run(request)).await.unwrap_or_else(|_| {
        let detail = "PostgreSQL does not answer within 2 s; see whether it runs, and try again";
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", detail).answer(rendering, &console, None)
    })
}
