//! Around every handler: load is shed before any work, a panic becomes an answer, and both are counted.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use coupon_core::runtime::Throttle;
use metrics::{Counter, Histogram};
use tokio::time::Instant;

use super::{Api, Code, Problem, issue, problem::Fault};

/// By what a caller, or what stands in front of us, names a request; it comes back with the answer.
pub(super) const REQUEST_NAME: HeaderName = HeaderName::from_static("x-request-id");
/// Longest name of a request that is taken over, in bytes.
const LONGEST_NAME: usize = 128;
/// Faults of a code that are a line of the log each within a minute.
const FAULTS_A_MINUTE: u32 = 100;

/// What a response to a member who asks stands for in the metrics. Members and coupons are no labels: there are too many
/// of them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    /// The member holds a coupon.
    Held(issue::Held),
    /// Another answer.
    Problem(Code),
}

/// The metrics of all outcomes, looked up once: a look-up for each request costs more than the counting.
pub(super) struct Meters {
    held: Vec<Meter>,
    problems: Vec<Meter>,
}

struct Meter {
    requests: Counter,
    seconds: Histogram,
}

impl Meters {
    /// Shows every answer that has not been given yet as 0, so that the first one counts.
    pub(super) fn from_zero() -> Self {
        let meter = |outcome: &'static str, answer: &'static str| Meter {
            requests: metrics::counter!("coupon_requests_total", "outcome" => outcome, "answer" => answer),
            seconds: metrics::histogram!("coupon_request_seconds", "answer" => answer),
        };
        let held = issue::Held::ALL.iter().map(|held| meter(held.as_str(), meaning(StatusCode::OK)));
        let problems = Code::ALL.iter().map(|code| meter(code.as_str(), meaning(code.status())));
        Self { held: held.collect(), problems: problems.collect() }
    }

    /// Counts an answer to a request that began at this time.
    pub(super) fn count(&self, outcome: Outcome, started: Instant) {
        let meter = match outcome {
            Outcome::Held(held) => self.held.get(held as usize),
            Outcome::Problem(code) => self.problems.get(code as usize),
        };
        if let Some(meter) = meter {
            meter.requests.increment(1);
            meter.seconds.record(started.elapsed().as_secs_f64());
        }
    }
}

/// Runs the rest of the stack.
pub(super) async fn guard(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let name = request.headers().get(REQUEST_NAME).cloned();
    let answer = guarded(&api, async { Ok(next.run(request).await) }).await.unwrap_or_else(Problem::into_response);
    finish(answer, name.as_ref())
}

/// Gives an answer the name of its request, and a fault of ours a line in the log by the id that the member was told.
pub(super) fn finish(mut answer: Response, name: Option<&HeaderValue>) -> Response {
    static SAID: Throttle = Throttle::of(FAULTS_A_MINUTE);
    let name = name.filter(|name| name.len() <= LONGEST_NAME && name.to_str().is_ok());
    if let Some(Fault { id, problem }) = answer.extensions_mut().remove::<Fault>() {
        let (code, detail) = (problem.code().as_str(), problem.detail());
        let request = name.and_then(|name| name.to_str().ok()).unwrap_or_default();
        // An outage makes a fault of every request: what is beyond these is for debug.
        if let Some(faults) = SAID.admit(code) {
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

/// The same around a handler by itself: for the one that a crowd comes to, a layer of the router costs as much as the rest
/// of this.
pub(super) async fn guarded<T>(api: &Api, handler: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let again = Duration::from_secs(1);
    let Some(_slot) = Slot::take(api) else {
        return Err(Problem::new(Code::TooManyRequests, "too many requests are being worked on").after_about(again));
    };
    if !api.is_open() {
        return Err(Problem::new(Code::Starting, "the service is still connecting to what it needs").after_about(again));
    }
    caught(handler).await
}

/// One of the requests that are worked on at a time.
struct Slot<'a>(&'a Api);

impl<'a> Slot<'a> {
    /// `None` when there are as many as may be; those whose client has hung up meanwhile count too. A semaphore would do,
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

/// The answer to a request that no handler is for.
pub(super) fn no_handler(api: &Api, method: &Method, headers: &HeaderMap, problem: Problem) -> Response {
    if method == Method::POST {
        api.meters.count(Outcome::Problem(problem.code()), Instant::now());
    }
    finish(problem.into_response(), headers.get(REQUEST_NAME))
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

/// The process logs the panic; the client gets an answer instead of a torn connection.
async fn caught<T>(handler: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let mut handler = pin!(handler);
    let polled = std::future::poll_fn(|context| {
        catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(context)))
            .map_or_else(|_| Poll::Ready(None), |poll| poll.map(Some))
    });
    let panicked = || Err(Problem::new(Code::Internal, "a fault of ours; asking again is safe"));
    polled.await.unwrap_or_else(panicked)
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
