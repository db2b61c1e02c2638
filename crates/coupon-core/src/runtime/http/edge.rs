//! What hyper has no setting for: a deadline for a slow head that is another one than that for an idle connection, and
//! an answer with a body to a request that cannot be read.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, sleep},
};

/// Requests that cannot be read: status, stable code, sentence. hyper answers them itself, without a body.
pub const UNREADABLE: [(u16, &str, &str); 3] = [
    (400, "BAD_REQUEST", "this is no valid HTTP/1.1 request"),
    (414, "URI_TOO_LONG", "the path of the request is too long"),
    (431, "HEADERS_TOO_LARGE", "the head of the request is too large, or has too many headers"),
];

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// Nothing since the last answer.
    Idle = 0,
    /// A request head is coming.
    Head = 1,
    /// A request is being answered.
    Busy = 2,
}

/// What a connection is doing, and since when. Shared by its stream, its service and its deadline.
#[derive(Clone, Debug)]
pub(super) struct Phase {
    began: Instant,
    /// Milliseconds since `began`, times four, plus [`Doing`].
    state: Arc<AtomicU64>,
}

impl Phase {
    /// Of a new connection: the first head is due.
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), state: Arc::new(AtomicU64::new(Doing::Head as u64)) }
    }

    /// A request has come; its answer is over when the mark is dropped.
    pub(super) fn busy(&self) -> Busy {
        self.set(Doing::Busy);
        Busy(self.clone())
    }

    /// Bytes have come: after a pause they begin a head.
    fn bytes(&self) {
        if self.get().0 == Doing::Idle {
            self.set(Doing::Head);
        }
    }

    fn set(&self, doing: Doing) {
        let since = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX >> 2);
        self.state.store(since << 2 | doing as u64, Ordering::Relaxed);
    }

    fn get(&self) -> (Doing, Instant) {
        let state = self.state.load(Ordering::Relaxed);
        let doing = match state & 3 {
            0 => Doing::Idle,
            1 => Doing::Head,
            _ => Doing::Busy,
        };
        (doing, self.began + Duration::from_millis(state >> 2))
    }

    /// Returns when a head has been coming for longer than `head`, or the connection has been idle for longer than `idle`
    /// says at that time.
    ///
    /// Nothing wakes it when a head begins: it looks often enough to see each one before its time is over. So a request
    /// costs two stores, and no timer.
    pub(super) async fn is_overdue(&self, head: Duration, idle: impl Fn() -> Duration) {
        loop {
            let now = Instant::now();
            let (doing, since) = self.get();
            let next = match doing {
                Doing::Head => since + head,
                Doing::Idle => since + idle(),
                Doing::Busy => now + head,
            };
            if next <= now {
                return;
            }
            sleep((next - now).min(head)).await;
        }
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Busy(Phase);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.set(Doing::Idle);
    }
}

/// The body of an answer; the answer is over when it is dropped.
#[derive(Debug)]
pub(super) struct Answer {
    body: Body,
    _busy: Busy,
}

impl Answer {
    pub(super) fn new(body: Body, busy: Busy) -> Self {
        Self { body, _busy: busy }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The stream of a connection: notes when a head begins, and gives hyper's answers to what it cannot read their body.
#[derive(Debug)]
pub(super) struct Edge {
    stream: TcpStream,
    phase: Phase,
    /// Of an answer in place of hyper's, what still has to be written.
    instead: Vec<u8>,
}

impl Edge {
    pub(super) fn new(stream: TcpStream, phase: Phase) -> Self {
        Self { stream, phase, instead: Vec::new() }
    }

    /// Writes what is to be written in place of an answer of hyper's.
    fn write_instead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.instead.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.instead))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.instead.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Edge {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.phase.bytes();
        }
        polled
    }
}

impl AsyncWrite for Edge {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.write_instead(context))?;
        if let Some(answer) = unreadable(bytes) {
            self.instead = answer;
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = slices {
            return self.poll_write(context, only);
        }
        ready!(self.write_instead(context))?;
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.write_instead(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.write_instead(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// What is sent instead, if these bytes are hyper's answer to a request that it cannot read: a head of a status that no
/// handler gives, and no body.
fn unreadable(bytes: &[u8]) -> Option<Vec<u8>> {
    let head = bytes.strip_prefix(b"HTTP/1.1 4")?.strip_suffix(b"\r\n\r\n")?;
    let head = std::str::from_utf8(head).ok()?;
    if !head.contains("content-length: 0") {
        return None;
    }
    let (status, code, detail) =
        UNREADABLE.into_iter().find(|(status, ..)| head.starts_with(&status.to_string()[1..]))?;
    let (first, _) = head.split_once("\r\n")?;
    let title = first.get(3..)?;
    let body = serde_json::json!({
        "type": "about:blank", "title": title, "status": status, "code": code, "detail": detail, "retryable": false
    })
    .to_string();
    let head = head.replace("content-length: 0", &format!("content-length: {}", body.len()));
    let headers = "content-type: application/problem+json\r\ncache-control: no-store\r\n";
    let close = if head.contains("connection: ") { "" } else { "connection: close\r\n" };
    Some(format!("HTTP/1.1 4{head}\r\n{headers}{close}\r\n{body}").into_bytes())
}
