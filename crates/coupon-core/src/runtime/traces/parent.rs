//! The trace context of the W3C, <https://www.w3.org/TR/trace-context/>: the header `traceparent`. `tracestate` is left out,
//! which the recommendation allows.

use std::fmt::{self, Display};

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// Which trace something belongs to, and by which span it was caused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace: TraceId,
    span: SpanId,
    is_sampled: bool,
}

impl TraceParent {
    /// Name of the header, of a request and of a record alike.
    pub const HEADER: &str = "traceparent";

    /// Reads the value of the header; `None` for what the recommendation tells to ignore.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let mut parts = text.splitn(5, '-');
        let mut part = |length: usize| {
            let is_hex = |part: &&str| {
                part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            };
            parts.next().filter(is_hex)
        };
        let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        // A later version may add parts, this one has none; ff is none at all.
        if version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
        let is_sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        (trace != TraceId::INVALID && span != SpanId::INVALID).then_some(Self { trace, span, is_sampled })
    }

    /// Whether spans of the trace are recorded.
    pub fn is_sampled(self) -> bool {
        self.is_sampled
    }

    /// The id of the trace, for a log line: 32 hexadecimal digits.
    pub fn trace_id(self) -> impl Display {
        self.trace
    }
}

/// The value of the header.
impl Display for TraceParent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "00-{}-{}-{:02x}", self.trace, self.span, u8::from(self.is_sampled))
    }
}

impl From<&SpanContext> for TraceParent {
    fn from(context: &SpanContext) -> Self {
        Self { trace: context.trace_id(), span: context.span_id(), is_sampled: context.is_sampled() }
    }
}

impl From<TraceParent> for SpanContext {
    fn from(TraceParent { trace, span, is_sampled }: TraceParent) -> Self {
        let flags = if is_sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        SpanContext::new(trace, span, flags, true, TraceState::NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_header_comes_out_as_it_went_in() {
        for flags in ["00", "01"] {
            let value = format!("00-{TRACE}-00f067aa0ba902b7-{flags}");
            let parent = TraceParent::parse(value.as_bytes()).unwrap();
            assert_eq!((parent.to_string(), parent.trace_id().to_string()), (value, TRACE.to_owned()));
            assert_eq!(TraceParent::from(&SpanContext::from(parent)), parent);
        }
        let later = TraceParent::parse(format!("01-{TRACE}-00f067aa0ba902b7-03-more").as_bytes()).unwrap();
        assert_eq!(later.to_string(), format!("00-{TRACE}-00f067aa0ba902b7-01"));
    }

    #[test]
    fn what_is_no_trace_context_is_ignored() {
        let zeros = "0".repeat(32);
        for bad in [
            String::new(),
            "00".to_owned(),
            format!("00-{TRACE}-00f067aa0ba902b7"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{zeros}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{TRACE}-+0f067aa0ba902b7-01"),
            format!("00-{TRACE}x-00f067aa0ba902b7-01"),
        ] {
            assert_eq!(TraceParent::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(TraceParent::parse(b"\xff"), None);
    }
}
