//! Around every handler: load is shed before any work, a panic becomes an answer, and both are counted.

use std::sync::{Arc, atomic::Ordering};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use coupon_core::{
    runtime::{Throttle, panics},
    stock::Held,
};
use metrics::{Counter, Histogram};
use tokio::time::Instant;

use super::{Api, Code, Problem, problem::Fault, refusal::RETRY_AFTER_OUTAGE};

/// Header by which a client, or a proxy in front, names a request; it comes back with the answer.
pub(super) const REQUEST_NAME: HeaderName = HeaderName::from_static("x-request-id");
/// Longest name of a request that comes back, in bytes.
const MAX_NAME_BYTES: usize = 128;
/// Most lines at `warn` about faults of one code within a minute.
const FAULTS_A_MINUTE: u32 = 100;

/// The metrics of all outcomes of a POST, looked up once: a look-up for each request costs more than the counting. Members
/// and coupons are no labels: there are too many of them.
pub(super) struct Meters {
    accepted: Meter,
    reserved: Meter,
    repeated: Meter,
    problems: Vec<Meter>,
}

struct Meter {
    requests: Counter,
    seconds: Histogram,
}

impl Meters {
    /// Registers the metrics of all outcomes with 0, so that the first answer counts as an increase.
    pub(super) fn from_zero() -> Self {
        let meter = |outcome: &'static str, answer: &'static str| Meter {
            requests: metrics::counter!("coupon_requests_total", "outcome" => outcome, "answer" => answer),
            seconds: metrics::histogram!("coupon_request_seconds", "answer" => answer),
        };
        let held = |outcome| meter(outcome, meaning(StatusCode::OK));
        Self {
            accepted: held("ACCEPTED"),
            reserved: held("RESERVED"),
            repeated: held("REPEATED"),
            problems: Code::ALL.iter().map(|code| meter(code.as_str(), meaning(code.status()))).collect(),
        }
    }

    /// Counts an answer to a request that began at `started`.
    pub(super) fn count(&self, answer: Result<&Held, Code>, started: Instant) {
        let meter = match answer {
            Ok(Held { is_repeat: true, .. }) => &self.repeated,
            Ok(Held { pending: Some(_), .. }) => &self.reserved,
            Ok(_) => &self.accepted,
            Err(code) => &self.problems[code as usize],
        };
        meter.requests.increment(1);
        meter.seconds.record(started.elapsed().as_secs_f64());
    }
}

/// The layer of the router around every handler but the one of the POST.
pub(super) async fn guard(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let name = request.headers().get(REQUEST_NAME).cloned();
    let answer = guarded(&api, async { Ok(next.run(request).await) }).await.unwrap_or_else(Problem::into_response);
    finish(answer, name.as_ref())
}

/// Adds the name of the request to its answer, and logs a fault of ours by the `instance` that the member was told.
pub(super) fn finish(mut answer: Response, name: Option<&HeaderValue>) -> Response {
    static LOGGED: Throttle = Throttle::of(FAULTS_A_MINUTE);
    let name = name.filter(|name| name.len() <= MAX_NAME_BYTES && name.to_str().is_ok());
    if let Some(Fault { id, problem }) = answer.extensions_mut().remove::<Fault>() {
        let (code, detail) = (problem.code().as_str(), problem.detail());
        let request = name.and_then(|name| name.to_str().ok()).unwrap_or_default();
        // An outage makes a fault of every request: the others are logged at debug.
        if let Some(faults) = LOGGED.admit(code) {
            tracing::warn!(%id, code, request, faults, "{faults} members were told {code} since this was last said: {detail}");
        } else {
            tracing::debug!(%id, code, request, "a member was told {code}: {detail}");
        }
    }
    if let Some(name) = name {
        answer.headers_mut().insert(REQUEST_NAME, name.clone());
    }
    answer
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
        let others = api.in_flight.fetch_add(1, Ordering::Relaxed) + api.accept.detached.abandoned();
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
    if method == Method::POST {
        api.meters.count(Err(problem.code()), Instant::now());
    }
    finish(problem.into_response(), headers.get(REQUEST_NAME))
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
