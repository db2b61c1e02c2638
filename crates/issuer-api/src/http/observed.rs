//! What is seen of one request from outside: the name under which it is known, its span, its line in the access log.

use std::borrow::Cow;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue},
    response::Response,
};
use coupon_core::{
    ids::{CouponCode, RequestId},
    runtime::{Span, Throttle, TraceParent},
};
use tokio::time::Instant;
use tracing::field::display;
use uuid::Uuid;

use super::{Api, Problem, problem::Told};

/// Header by which a client, or a proxy in front, names a request; the name comes back with the answer.
const REQUEST_NAME: HeaderName = HeaderName::from_static("x-request-id");
/// Header of the trace context.
const TRACE_PARENT: HeaderName = HeaderName::from_static(TraceParent::HEADER);
/// Longest name of a request that is taken over, in bytes.
const MAX_NAME_BYTES: usize = 128;
/// Most lines at `warn` about faults of one code within a minute.
const FAULTS_A_MINUTE: u32 = 100;

/// Observes one request, from its head to its answer. Most requests have no span and no line in a log, and pay for neither.
pub(super) struct Observed {
    /// Method and route, where a span or a line says it.
    what: Cow<'static, str>,
    name: Option<HeaderValue>,
    parent: Option<TraceParent>,
    span: Option<Span>,
    /// Whether the request gets a line in the access log.
    is_logged: bool,
    outcome: Option<&'static str>,
    coupon: Option<CouponCode>,
    /// When the request came.
    pub(super) started: Instant,
}

impl Observed {
    /// Begins with the head of a request. `what` is asked for only if a span or a line needs it.
    pub(super) fn begin(api: &Api, headers: &HeaderMap, what: impl FnOnce() -> Cow<'static, str>) -> Self {
        let is_logged = api.access_log > 0.0 && rand::random::<f64>() < api.access_log;
        let what = if is_logged || Span::may_exist() { what() } else { Cow::Borrowed("") };
        let parent = headers.get(TRACE_PARENT).and_then(|value| TraceParent::parse(value.as_bytes()));
        let span = if Span::may_exist() { Span::server(what.clone(), parent) } else { None };
        let name = headers.get(REQUEST_NAME).filter(|name| is_sane(name)).cloned();
        Self { what, name, parent, span, is_logged, outcome: None, coupon: None, started: Instant::now() }
    }

    /// The trace context of what follows from the request: of its span, or as it came.
    pub(super) fn context(&self) -> Option<TraceParent> {
        self.span.as_ref().map(Span::context).or(self.parent)
    }

    /// Whether somebody will read more than the outcome that [`Observed::note`] is told.
    pub(super) fn is_noted(&self) -> bool {
        self.is_logged || self.span.is_some()
    }

    /// Notes what became of the request, as the metric has it, the campaign, and the request id if there is one.
    pub(super) fn note(&mut self, outcome: &'static str, coupon: Option<CouponCode>, request_id: Option<RequestId>) {
        self.outcome = Some(outcome);
        if let Some(span) = &mut self.span {
            span.set("coupon.outcome", outcome);
            if let Some(coupon) = &coupon {
                span.set("coupon.code", coupon.to_string());
            }
            if let Some(request_id) = request_id {
                span.set("coupon.request_id", request_id.to_string());
            }
        }
        self.coupon = coupon;
    }

    /// Ends with the answer: adds the name of the request, also to a problem, logs a fault of ours under the name that the member
    /// is told, and writes the line of the access log. A request without a name gets one where that stands in a log or a span.
    pub(super) fn finish(mut self, mut answer: Response) -> Response {
        let told = Told::take_from(&mut answer);
        let fault = told.as_ref().and_then(|told| told.fault);
        if self.name.is_none() && (fault.is_some() || self.is_logged || self.span.is_some()) {
            self.name = HeaderValue::from_str(&fault.unwrap_or_else(Uuid::now_v7).to_string()).ok();
        }
        let Some(name) = self.name.take() else { return answer };
        let id = name.to_str().unwrap_or_default();
        if let Some(Told { problem, .. }) = told {
            if fault.is_some() {
                self.log_fault(&problem, id);
            }
            *answer.body_mut() = Body::from(problem.to_json(Some(id)));
        }
        let status = answer.status();
        if self.is_logged {
            let ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::info!(
                target: "issuer_api::access",
                status = status.as_u16(), ms, id, outcome = self.outcome, coupon = self.coupon.as_ref().map(CouponCode::as_str), trace_id = self.trace_id(),
                "{} {}", self.what, status.as_u16()
            );
        }
        if let Some(mut span) = self.span.take() {
            span.set("http.response.status_code", i64::from(status.as_u16()));
            span.set("http.request.header.x-request-id", id.to_owned());
            if status.is_server_error() {
                span.fail(self.outcome.unwrap_or_default());
            }
        }
        answer.headers_mut().insert(REQUEST_NAME, name);
        answer
    }

    fn log_fault(&self, problem: &Problem, id: &str) {
        static LOGGED: Throttle = Throttle::of(FAULTS_A_MINUTE);
        let (code, detail, trace_id) = (problem.code().as_str(), problem.detail(), self.trace_id());
        // An outage makes a fault of every request: the others are logged at debug.
        if let Some(faults) = LOGGED.admit(code) {
            tracing::warn!(
                id,
                code,
                trace_id,
                faults,
                "{faults} members were told {code} since this was last said: {detail}"
            );
        } else {
            tracing::debug!(id, code, trace_id, "a member was told {code}: {detail}");
        }
    }

    fn trace_id(&self) -> Option<impl tracing::Value> {
        self.context().map(|context| display(context.trace_id()))
    }
}

/// Whether a name is taken over: short, and of characters that need no escape in a log, a URI or a header.
fn is_sane(name: &HeaderValue) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:/+=@,".contains(byte);
    (1..=MAX_NAME_BYTES).contains(&name.len()) && name.as_bytes().iter().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_over_if_it_is_short_and_plain() {
        let is_sane = |name: &str| is_sane(&HeaderValue::from_str(name).unwrap());
        for good in ["from-the-shop-7", "0197c9a0-0000-7000-8000-000000000000", "Root=1-67891233-abc", &"x".repeat(128)]
        {
            assert!(is_sane(good), "{good}");
        }
        for bad in ["", "a b", "a\tb", "\"", "{}", "<script>", "a%0ab", "\u{e9}", &"x".repeat(129)] {
            assert!(!is_sane(bad), "{bad}");
        }
    }
}
