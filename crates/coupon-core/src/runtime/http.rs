//! Serving HTTP with the limits that `axum::serve` lacks: deadlines for the request head and for an
//! idle connection, a cap on connections, and a stop that ends.

mod bind;
mod edge;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

pub use self::bind::{BindError, bind};
pub use self::edge::UNREADABLE;
use self::edge::{Answer, Edge, Phase};
use super::{Shutdown, Throttle, on_scrape};

/// How long to wait after an accept error that closing connections may cure, such as too many open
/// files.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What a listener allows.
#[derive(Debug, Clone, Copy)]
pub struct HttpLimits {
    /// How long a client may take to send a complete request head from its first byte on, the
    /// first one counted from the connect.
    pub header_timeout: Duration,
    /// How long a connection may idle between an answer and the next request. Longer than whatever
    /// keeps connections to this open, or that sends requests into connections that are being closed.
    /// While less than a tenth of the slots is free, no longer than [`Self::header_timeout`].
    pub idle_timeout: Duration,
    /// How long requests in flight may go on after the stop has begun.
    pub drain: Duration,
    /// Connections open at a time; more wait in the backlog of the listener.
    pub max_connections: usize,
    /// Name of the listener in `coupon_http_connections`.
    pub name: &'static str,
}

/// Serves `router` on HTTP/1.1 until `shutdown` begins; then takes no more connections,
/// lets requests in flight end within [`HttpLimits::drain`], closes what is left, and returns.
///
/// No HTTP/2: hyper has no limit on how long such a connection may idle, so that a few thousand of
/// them would take every slot for ever. What ends TLS in front of this speaks HTTP/1.1 to it.
///
/// A request's extensions carry `ConnectInfo<SocketAddr>`. When a client hangs up, or the drain
/// time is over, the handler's future is dropped: what must not be torn belongs into a task.
pub async fn serve(listener: TcpListener, router: Router, limits: HttpLimits, shutdown: Shutdown) {
    let server =
        Server { router, builder: builder(), limits, shutdown: shutdown.clone(), hard_stop: CancellationToken::new() };
    let slots = Arc::new(Semaphore::new(limits.max_connections));
    let connections = TaskTracker::new();
    let open = connections.clone();
    on_scrape(move || {
        let open = u32::try_from(open.len()).unwrap_or(u32::MAX);
        metrics::gauge!("coupon_http_connections", "listener" => limits.name).set(open);
    });
    while let Some((stream, peer, slot)) = next_connection(&listener, &slots, &shutdown).await {
        connections.spawn(server.clone().connection(stream, peer, slot));
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(limits.drain, connections.wait()).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            drain_ms = u64::try_from(limits.drain.as_millis()).unwrap_or(u64::MAX),
            "closing connections whose requests did not end in time"
        );
        server.hard_stop.cancel();
        connections.wait().await;
    }
}

/// The next connection with its slot; `None` when the stop has begun.
async fn next_connection(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    shutdown: &Shutdown,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    static AT_THE_CAP: Throttle = Throttle::new();
    let next = async {
        if slots.available_permits() == 0
            && let Some(count) = AT_THE_CAP.admit("")
        {
            tracing::warn!(count, "the cap on connections is reached, more wait ({count} since this was last said)");
        }
        let slot = Arc::clone(slots).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => return Some((stream, peer, slot)),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "connections cannot be accepted, trying again in 1 s");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = shutdown.stopping() => None,
        connection = next => connection,
    }
}

/// Whether only the connection about to be accepted is lost, not the listener in trouble.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        // Its deadline for a head is one for idle connections too; see `edge`.
        .header_read_timeout(None)
        // Of the 400 KiB that hyper grants each connection, no honest request head needs more.
        .max_buf_size(64 * 1024);
    builder
}

#[derive(Clone)]
struct Server {
    router: Router,
    builder: Builder,
    limits: HttpLimits,
    shutdown: Shutdown,
    hard_stop: CancellationToken,
}

impl Server {
    async fn connection(self, stream: TcpStream, peer: SocketAddr, slot: OwnedSemaphorePermit) {
        // Answers are small and written at once; waiting to fill a packet only delays them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, %peer, "TCP_NODELAY cannot be set");
        }
        let HttpLimits { header_timeout, idle_timeout, max_connections, .. } = self.limits;
        let slots = Arc::clone(slot.semaphore());
        let idle = move || {
            // Few slots are left: they are for those who ask, or a few thousand who say nothing would take them all.
            let is_crowded = slots.available_permits().saturating_mul(10) < max_connections;
            if is_crowded { idle_timeout.min(header_timeout) } else { idle_timeout }
        };
        let (router, phase) = (self.router, Phase::new());
        let requests = phase.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(axum::body::Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            let (router, busy) = (router.clone(), requests.busy());
            async move {
                let answer = router.oneshot(request).await.unwrap_or_else(|never| match never {});
                Ok::<_, Infallible>(answer.map(|body| Answer::new(body, busy)))
            }
        });
        let stream = TokioIo::new(Edge::new(stream, phase.clone()));
        let mut connection = pin!(self.builder.serve_connection(stream, service));
        let mut overdue = pin!(phase.is_overdue(header_timeout, idle));
        let mut stopping = false;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, %peer, "a connection ended early");
                    }
                    break;
                }
                () = self.shutdown.stopping(), if !stopping => {
                    connection.as_mut().graceful_shutdown();
                    stopping = true;
                }
                () = self.hard_stop.cancelled() => break,
                () = overdue.as_mut() => {
                    tracing::debug!(%peer, "a connection was idle, or its request head slow, for too long");
                    break;
                }
            }
        }
        drop(slot);
    }
}
