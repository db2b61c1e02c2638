//! Exporting spans: a queue that never waits, and the task that empties it.

use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{Sampler, SdkTracerProvider, Span, SpanData, SpanExporter as _, SpanProcessor},
};
use tokio::{
    sync::mpsc::{Receiver, Sender, channel, error::TryRecvError},
    time::{interval, timeout},
};

use super::{TRACER, TelemetrySettings};
use crate::runtime::{SettingsError, Shutdown, Throttle, admin::count_from_zero};

/// Spans that wait to be exported; more are lost.
const QUEUE_SPANS: usize = 8192;
/// Most spans in one request.
const MAX_BATCH_SPANS: usize = 512;
/// How often the queue is emptied.
const EXPORT_PERIOD: Duration = Duration::from_secs(1);
/// Longest wait for the receiver, attempts and the waits between them together.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last spans may take when the service stops.
const LAST_EXPORT_TIMEOUT: Duration = Duration::from_secs(1);

/// Exports what the tracer of the process records.
pub(in crate::runtime) struct Exporter {
    spans: Receiver<SpanData>,
    otlp: SpanExporter,
    endpoint: String,
}

impl Exporter {
    /// Turns traces on for the process; `None` when the settings have no endpoint. `ratio` is the share of the traces begun
    /// here that are sampled; a trace that was begun elsewhere is sampled or not as its context says.
    pub(in crate::runtime) fn begin(
        settings: &TelemetrySettings,
        service: &'static str,
        ratio: f64,
    ) -> Result<Option<Self>, SettingsError> {
        count_from_zero("coupon_spans_lost_total", "reason", ["QUEUE_FULL", "EXPORT_FAILED"]);
        metrics::counter!("coupon_spans_exported_total").increment(0);
        if settings.otlp_endpoint.is_empty() {
            return Ok(None);
        }
        let endpoint = format!("{}/v1/traces", settings.otlp_endpoint.trim_end_matches('/'));
        let refused = |why: String| {
            let allowed = format!("one that can be exported to: {why}");
            SettingsError::invalid("telemetry.otlp_endpoint", &settings.otlp_endpoint, allowed)
        };
        // `reqwest` takes the provider that the process has installed; each call after the first finds it there.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(EXPORT_TIMEOUT).build();
        let otlp = SpanExporter::builder()
            .with_http()
            .with_http_client(client.map_err(|error| refused(error.to_string()))?)
            .with_endpoint(&endpoint)
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(EXPORT_TIMEOUT);
        let mut otlp = otlp.build().map_err(|error| refused(error.to_string()))?;
        let resource = Resource::builder().with_service_name(service).build();
        otlp.set_resource(&resource);
        let (sender, spans) = channel(QUEUE_SPANS);
        let provider = SdkTracerProvider::builder()
            .with_span_processor(Queue(sender))
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))))
            .with_resource(resource)
            .build();
        if TRACER.set(provider.tracer("coupon")).is_err() {
            tracing::error!("traces were turned on before, in the same process");
        }
        Ok(Some(Self { spans, otlp, endpoint }))
    }

    /// Exports until the stop begins, and then what is left.
    pub(in crate::runtime) async fn run(mut self, stop: Shutdown) {
        tracing::info!("spans are exported to {}", self.endpoint);
        let mut ticks = interval(EXPORT_PERIOD);
        loop {
            tokio::select! {
                biased;
                () = stop.stopping() => break,
                _ = ticks.tick() => self.export_all().await,
            }
        }
        // What is not exported by then is lost, as it is when the process is killed.
        let _ = timeout(LAST_EXPORT_TIMEOUT, self.export_all()).await;
    }

    async fn export_all(&mut self) {
        static FAILED: Throttle = Throttle::new();
        loop {
            let mut batch = Vec::new();
            while batch.len() < MAX_BATCH_SPANS {
                match self.spans.try_recv() {
                    Ok(span) => batch.push(span),
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
            }
            if batch.is_empty() {
                return;
            }
            let spans = batch.len() as u64;
            match self.otlp.export(batch).await {
                Ok(()) => metrics::counter!("coupon_spans_exported_total").increment(spans),
                Err(error) => {
                    metrics::counter!("coupon_spans_lost_total", "reason" => "EXPORT_FAILED").increment(spans);
                    if let Some(count) = FAILED.admit("") {
                        tracing::warn!(
                            spans, count, %error,
                            "{} does not take spans, which are lost (telemetry.otlp_endpoint)", self.endpoint
                        );
                    }
                }
            }
        }
    }
}

/// Takes the spans that have ended.
#[derive(Debug)]
struct Queue(Sender<SpanData>);

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &opentelemetry::Context) {}

    fn on_end(&self, span: SpanData) {
        // A request must not wait because a receiver is slow.
        if self.0.try_send(span).is_err() {
            metrics::counter!("coupon_spans_lost_total", "reason" => "QUEUE_FULL").increment(1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}
