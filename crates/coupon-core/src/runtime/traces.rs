//! Traces: a trace context comes in and goes on, and spans are exported by OTLP over HTTP where a setting says where to.
//!
//! Without that setting there are no spans: [`Span::server`] and [`Span::consumer`] cost one look at a static, and a trace
//! context that came in goes on as it is.

mod export;
mod parent;

use std::{borrow::Cow, sync::OnceLock};

use opentelemetry::{
    Context, KeyValue, Value,
    trace::{Span as _, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer},
};
use opentelemetry_sdk::trace::{SdkTracer, Span as SdkSpan};
use serde::{Deserialize, Serialize};

use super::SettingsError;

pub(super) use self::export::Exporter;
pub use self::parent::TraceParent;

/// The one tracer of the process; absent while traces are off.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// `[telemetry]`: where spans go.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TelemetrySettings {
    /// Where OTLP over HTTP is received: `http://collector:4318`, to which `/v1/traces` is added. Empty: no spans.
    pub otlp_endpoint: String,
}

impl TelemetrySettings {
    /// Refuses what is no URL, and one with a login: the settings are printed.
    pub fn check(&self) -> Result<(), SettingsError> {
        let key = "telemetry.otlp_endpoint";
        let allowed = "empty, or a URL such as `http://collector:4318`, to which /v1/traces is added";
        if self.otlp_endpoint.is_empty() {
            return Ok(());
        }
        let url = reqwest::Url::parse(&self.otlp_endpoint)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none())
            .ok_or_else(|| SettingsError::invalid(key, &self.otlp_endpoint, allowed))?;
        if url.username().is_empty() && url.password().is_none() {
            return Ok(());
        }
        let allowed = "a URL without a login: headers for it are read from the variable OTEL_EXPORTER_OTLP_HEADERS";
        Err(SettingsError::invalid(key, "***", allowed))
    }
}

/// A span that is recorded; it ends when it is dropped.
#[derive(Debug)]
pub struct Span(SdkSpan);

impl Span {
    /// Whether traces are on: without, no span exists anywhere.
    pub fn may_exist() -> bool {
        TRACER.get().is_some()
    }

    /// Begins the span of a request that came. `None` while traces are off, and of a request that is not sampled.
    pub fn server(name: impl Into<Cow<'static, str>>, parent: Option<TraceParent>) -> Option<Self> {
        Self::begin(TRACER.get()?, SpanKind::Server, name.into(), parent)
    }

    /// Begins the span of a record that is consumed. `None` while traces are off, and of a record without a trace context
    /// or of a trace that is not sampled. `parent` is asked for only when traces are on.
    pub fn consumer(name: impl Into<Cow<'static, str>>, parent: impl FnOnce() -> Option<TraceParent>) -> Option<Self> {
        let tracer = TRACER.get()?;
        Self::begin(tracer, SpanKind::Consumer, name.into(), Some(parent()?))
    }

    fn begin(tracer: &SdkTracer, kind: SpanKind, name: Cow<'static, str>, parent: Option<TraceParent>) -> Option<Self> {
        let context = Context::new();
        let context = parent.map_or(context.clone(), |parent| context.with_remote_span_context(parent.into()));
        let span = tracer.build_with_context(SpanBuilder::from_name(name).with_kind(kind), &context);
        span.is_recording().then_some(Self(span))
    }

    /// The trace context of what follows from this span.
    pub fn context(&self) -> TraceParent {
        TraceParent::from(self.0.span_context())
    }

    /// Sets an attribute.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        self.0.set_attribute(KeyValue::new(key, value));
    }

    /// Adds an event that happened now, with attributes.
    pub fn event(&mut self, name: &'static str, attributes: impl IntoIterator<Item = (&'static str, Value)>) {
        let attributes = attributes.into_iter().map(|(key, value)| KeyValue::new(key, value));
        self.0.add_event(name, attributes.collect());
    }

    /// Marks the span as failed.
    pub fn fail(&mut self, why: impl Into<Cow<'static, str>>) {
        self.0.set_status(Status::error(why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_empty_or_a_url_without_a_login() {
        let check = |endpoint: &str| TelemetrySettings { otlp_endpoint: endpoint.to_owned() }.check();
        for good in ["", "http://collector:4318", "https://otlp.example.com/tenant/7/"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["collector:4318", "grpc://collector:4317", "http://", "http://c:4318/?token=x"] {
            let said = check(bad).unwrap_err().to_string();
            assert!(said.contains("telemetry.otlp_endpoint") && said.contains("/v1/traces"), "{said}");
        }
        let said = check("https://me:s3cr3t@collector").unwrap_err().to_string();
        assert!(said.contains("OTEL_EXPORTER_OTLP_HEADERS") && !said.contains("s3cr3t"), "{said}");
    }

    #[test]
    fn without_an_endpoint_there_are_no_spans_and_no_parent_is_asked_for() {
        assert!(Span::server("x", None).is_none());
        assert!(Span::consumer("x", || unreachable!("traces are off")).is_none());
    }
}
