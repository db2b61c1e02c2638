//! The span of a record: from its arrival to its end, with an event for each failure.

use super::{Engine, Entry, Handler, Key, Record};
use crate::{
    failure::Failure,
    ids::RequestId,
    runtime::{Span, TraceParent},
};

/// Begins the span of a record that carries a trace context, if traces are on.
pub(super) fn span_of(record: &Record, request_id: Option<RequestId>) -> Option<Span> {
    let parent = || TraceParent::parse(record.header(TraceParent::HEADER)?);
    let mut span = Span::consumer("process", parent)?;
    span.set("messaging.system", "kafka");
    span.set("messaging.operation.name", "process");
    span.set("messaging.destination.name", record.topic.clone());
    span.set("messaging.destination.partition.id", record.partition.to_string());
    span.set("messaging.kafka.offset", record.offset);
    if let Some(request_id) = request_id {
        span.set("coupon.request_id", request_id.to_string());
    }
    Some(span)
}

impl<I> Entry<I> {
    /// Notes a failure of the record in its span.
    pub(super) fn trace_failure(&mut self, failure: &Failure) {
        if let Some(span) = &mut self.span {
            let class = ("coupon.error.class", failure.class.as_str().into());
            span.event("failure", [class, ("coupon.error.code", failure.code.clone().into())]);
        }
    }
}

impl<H: Handler> Engine<H> {
    /// Ends the span of a record that is done. One whose last attempt failed has failed, whatever followed.
    pub(super) fn end_span(&mut self, key: Key) {
        if !Span::may_exist() {
            return;
        }
        if let Some(Entry { span: Some(span), attempts, exhausted, .. }) = self.tracker.get_mut(key) {
            span.set("coupon.failed_attempts", i64::from(*attempts));
            if let Some(exhausted) = exhausted {
                span.fail(exhausted.failure.code.clone());
            }
        }
    }
}
