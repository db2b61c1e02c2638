//! A receiver of OTLP over HTTP that remembers the spans it got.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result, ensure};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{Span, status::StatusCode},
};
use prost::Message;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::webhook::read;

/// A span as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedSpan {
    /// Name of the service.
    pub service: String,
    /// What the span is of.
    pub name: String,
    /// Id of the trace, in hexadecimal digits.
    pub trace_id: String,
    /// Id of the span.
    pub span_id: String,
    /// Id of the span that caused it; empty: none.
    pub parent_id: String,
    /// Attributes, as texts.
    pub attributes: BTreeMap<String, String>,
    /// Number of events.
    pub events: usize,
    /// Whether its status is an error.
    pub is_failed: bool,
}

/// The receiver; dropping it refuses what comes then.
#[derive(Debug)]
pub struct OtlpReceiver {
    url: String,
    spans: Arc<Mutex<Vec<ReceivedSpan>>>,
    task: JoinHandle<()>,
}

impl OtlpReceiver {
    /// Listens on a free port.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let spans = Arc::<Mutex<Vec<_>>>::default();
        let received = Arc::clone(&spans);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(answer(client, Arc::clone(&received)));
            }
        });
        Ok(Self { url, spans, task })
    }

    /// The endpoint: `http://…` without a path.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Every span so far of a trace.
    pub fn trace(&self, trace_id: &str) -> Vec<ReceivedSpan> {
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.iter().filter(|span| span.trace_id == trace_id).cloned().collect()
    }

    /// Every span so far.
    pub fn all(&self) -> Vec<ReceivedSpan> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for OtlpReceiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut client: TcpStream, received: Arc<Mutex<Vec<ReceivedSpan>>>) -> Result<()> {
    let (path, body) = read(&mut client).await?;
    ensure!(path == "/v1/traces", "{path}");
    let request = ExportTraceServiceRequest::decode(&*body).context("no OTLP")?;
    for of in request.resource_spans {
        let service =
            of.resource.map(|resource| texts(resource.attributes)).and_then(|mut all| all.remove("service.name"));
        let service = service.unwrap_or_default();
        let spans = of.scope_spans.into_iter().flat_map(|scope| scope.spans).map(|span| read_span(&service, span));
        received.lock().unwrap_or_else(PoisonError::into_inner).extend(spans);
    }
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    client.write_all(head.as_bytes()).await?;
    client.shutdown().await?;
    Ok(())
}

fn read_span(service: &str, span: Span) -> ReceivedSpan {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    ReceivedSpan {
        service: service.to_owned(),
        name: span.name,
        trace_id: hex(&span.trace_id),
        span_id: hex(&span.span_id),
        parent_id: hex(&span.parent_span_id),
        events: span.events.len(),
        is_failed: span.status.is_some_and(|status| status.code() == StatusCode::Error),
        attributes: texts(span.attributes),
    }
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Option<AnyValue>| match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.into_iter().map(|attribute| (attribute.key, text(attribute.value))).collect()
}
