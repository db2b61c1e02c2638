//! Around every handler: load is shed before any work, a panic becomes an answer, and both are counted.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use axum::{
    extract::{Request, State},
    http::{Method, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::time::Instant;

use super::{Api, Code, Problem, issue};

/// What a response stands for in the metrics. Members and coupons are no labels: there are too many of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome(pub &'static str);

/// Runs the rest of the stack.
pub(super) async fn guard(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let (started, is_post) = (Instant::now(), request.method() == Method::POST);
    let response = limited(&api, request, next).await;
    if is_post {
        let outcome = response.extensions().get::<Outcome>().map_or("OTHER", |outcome| outcome.0);
        let answer = meaning(response.status());
        metrics::counter!("coupon_requests_total", "outcome" => outcome, "answer" => answer).increment(1);
        metrics::histogram!("coupon_request_seconds", "answer" => answer).record(started.elapsed().as_secs_f64());
    }
    response
}

/// Shows every answer that has not been given yet as 0, so that the first one counts.
pub(super) fn measure_from_zero() {
    let held = issue::HELD.iter().map(|outcome| (*outcome, meaning(StatusCode::OK)));
    let problems = Code::ALL.iter().map(|code| (code.as_str(), meaning(code.status())));
    for (outcome, answer) in held.chain(problems) {
        metrics::counter!("coupon_requests_total", "outcome" => outcome, "answer" => answer).increment(0);
        drop(metrics::histogram!("coupon_request_seconds", "answer" => answer));
    }
}

/// What an answer means for the objectives: `held` and `refused` are decisions, `failed` is a fault of ours, and the
/// others say something of the request or of its like.
fn meaning(status: StatusCode) -> &'static str {
    match status {
        StatusCode::CONFLICT => "refused",
        StatusCode::TOO_MANY_REQUESTS => "shed",
        status if status.is_success() => "held",
        status if status.is_client_error() => "invalid",
        _ => "failed",
    }
}

async fn limited(api: &Api, request: Request, next: Next) -> Response {
    let Ok(_slot) = api.slots.try_acquire() else {
        let problem = Problem::new(Code::TooManyRequests, "too many requests are being worked on");
        return problem.after(Duration::from_secs(1)).into_response();
    };
    if !api.is_open() {
        let problem = Problem::new(Code::Starting, "the service is still connecting to what it needs");
        return problem.after(Duration::from_secs(1)).into_response();
    }
    caught(next.run(request)).await
}

/// The process logs the panic; the client gets an answer instead of a torn connection.
async fn caught(handler: impl Future<Output = Response>) -> Response {
    let mut handler = pin!(handler);
    let polled = std::future::poll_fn(|context| {
        catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(context)))
            .map_or_else(|_| Poll::Ready(None), |poll| poll.map(Some))
    });
    match polled.await {
        Some(response) => response,
        None => Problem::new(Code::Internal, "a fault of ours; asking again is safe").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_an_answer() {
        let response = caught(async {
            tokio::task::yield_now().await;
            panic!("on purpose")
        });
        assert_eq!(response.await.status(), 500);
    }
}
