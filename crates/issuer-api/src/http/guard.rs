//! Around every handler: load is shed before any work, a panic becomes an answer, and both are counted.

use std::{
    borrow::Cow,
    sync::{Arc, atomic::Ordering},
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, Method, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use coupon_core::{runtime::panics, stock::Held};
use metrics::{Counter, Histogram};
use tokio::time::Instant;

use super::{Api, Code, Problem, observed::Observed, refusal::RETRY_AFTER_OUTAGE};
use crate::campaign_metrics::Requests;

/// The outcomes of a POST that are no problem.
const HELD: [&str; 3] = ["ACCEPTED", "RESERVED", "REPEATED"];

/// The labels `outcome` and `answer` of every outcome of a POST, in the order of [`number`].
pub(super) fn outcomes() -> impl Iterator<Item = (&'static str, &'static str)> {
    let problems = Code::ALL.iter().map(|code| (code.as_str(), meaning(code.status())));
    HELD.into_iter().map(|outcome| (outcome, meaning(StatusCode::OK))).chain(problems)
}

/// Which of the outcomes an answer is.
fn number(answer: Result<&Held, Code>) -> usize {
    match answer {
        Ok(Held { is_repeat: true, .. }) => 2,
        Ok(Held { pending: Some(_), .. }) => 1,
        Ok(_) => 0,
        Err(code) => HELD.len() + code as usize,
    }
}

/// The metrics of all outcomes of a POST, looked up once: a look-up for each request costs more than the counting. Members
/// are no labels, and coupons only of a few campaigns: there are too many of them.
pub(super) struct Meters(Vec<Meter>);

struct Meter {
    outcome: &'static str,
    requests: Counter,
    seconds: Histogram,
}

impl Meters {
    /// Registers the metrics of all outcomes with 0, so that the first answer counts as an increase.
    pub(super) fn from_zero() -> Self {
        let meter = |(outcome, answer): (&'static str, &'static str)| Meter {
            outcome,
            requests: metrics::counter!("coupon_requests_total", "outcome" => outcome, "answer" => answer),
            seconds: metrics::histogram!("coupon_request_seconds", "answer" => answer),
        };
        Self(outcomes().map(meter).collect())
    }

    /// Counts an answer to a request that began at `started`, also for its campaign if that has metrics of its own; gives the
    /// outcome.
    pub(super) fn count(
        &self,
        answer: Result<&Held, Code>,
        started: Instant,
        campaign: Option<&Requests>,
    ) -> &'static str {
        let number = number(answer);
        let meter = &self.0[number];
        meter.requests.increment(1);
        meter.seconds.record(started.elapsed().as_secs_f64());
        if let Some(campaign) = campaign {
            campaign.count(number);
        }
        meter.outcome
    }
}

/// The layer of the router around every handler but the one of the POST.
pub(super) async fn guard(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let what = || {
        let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
        Cow::Owned(format!("{} {route}", request.method()))
    };
    let observed = Observed::begin(&api, request.headers(), what);
    let answer = guarded(&api, async { Ok(next.run(request).await) }).await.unwrap_or_else(Problem::into_response);
    observed.finish(answer)
}

/// Sheds load and catches a panic around one handler. The POST, which a crowd sends, calls this by itself: a layer of the
/// router costs as much as the rest of this.
pub(super) async fn guarded<T>(api: &Api, handler: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let Some(_slot) = Slot::take(api) else {
        return Err(Problem::new(Code::TooManyRequests, "too many requests are being worked on")
            .after_about(RETRY_AFTER_OUTAGE));
    };
    if !api.is_open() {
        return Err(Problem::new(Code::Starting, "the service is still connecting to what it needs")
            .after_about(RETRY_AFTER_OUTAGE));
    }
    caught(handler).await
}

/// The place of one request among the `http.max_in_flight`.
struct Slot<'a>(&'a Api);

impl<'a> Slot<'a> {
    /// Takes a place; `None` when all are taken. Requests whose client has hung up meanwhile count too. A semaphore would do,
    /// and take a lock for each request.
    fn take(api: &'a Api) -> Option<Self> {
        let slot = Self(api);
        let others = api.in_flight.fetch_add(1, Ordering::Relaxed) + api.accept.abandoned();
        (others < api.max_in_flight).then_some(slot)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Answers a request that has no handler.
pub(super) fn no_handler(api: &Api, method: &Method, headers: &HeaderMap, problem: Problem) -> Response {
    // The path is whatever somebody writes, and stands in no log.
    let observed = Observed::begin(api, headers, || Cow::Owned(format!("{method} (no route)")));
    if method == Method::POST {
        api.meters.count(Err(problem.code()), observed.started, None);
    }
    observed.finish(problem.into_response())
}

/// The label `answer` of a status, by what it means for the objectives: `held` and `refused` are decisions, `failed` is a
/// fault of ours, `shed` and `invalid` are neither.
fn meaning(status: StatusCode) -> &'static str {
    match status {
        StatusCode::CONFLICT => "refused",
        StatusCode::TOO_MANY_REQUESTS => "shed",
        status if status.is_success() => "held",
        status if status.is_client_error() => "invalid",
        _ => "failed",
    }
}

/// Answers a panic of a handler, which the process logs, with a problem instead of a torn connection.
async fn caught<T>(handler: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let panicked = || Err(Problem::new(Code::Internal, "a fault of ours; asking again is safe"));
    panics::caught(handler).await.unwrap_or_else(panicked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_an_answer() {
        let answer = caught::<()>(async {
            tokio::task::yield_now().await;
            panic!("on purpose")
        });
        assert_eq!(answer.await.map_err(|problem| problem.code()), Err(Code::Internal));
    }
}
