//! An open-loop load generator for HTTP/1.1, as cheap for each request as it can be: it shares the machine with what it
//! measures. One thread, all bytes prepared, nothing parsed but the head of an answer until the run is over.
//!
//! A request is due at a planned moment whether or not earlier ones were answered, and its latency counts from then.

mod connection;
mod drive;
mod outcome;
mod requests;
mod response;
mod schedule;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc, thread, time::Duration};

use anyhow::{Context, Result, anyhow};
use tokio::sync::{mpsc::UnboundedSender, oneshot};

pub use self::{
    outcome::{Outcome, Record, middle_rate, quantile_ms, request_id, told},
    requests::{Requests, member},
    schedule::Schedule,
};

/// Keep-alive connections. Each has one request in flight.
pub const CONNECTIONS: usize = 256;

/// Longest time that answers are waited for after the last request was due, or after the time to stop.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

/// Requests, with the server and the moments to send them.
#[derive(Debug)]
pub struct Load {
    /// Address of the server.
    pub address: SocketAddr,
    /// Number of connections.
    pub connections: usize,
    /// Requests in the order of sending.
    pub requests: Arc<Requests>,
    /// When each request is due.
    pub schedule: Schedule,
    /// After this no request is sent any more, however many are left.
    pub stop_after: Option<Duration>,
    /// Receiver of some of the accepted requests while the run goes on.
    pub samples: Option<Samples>,
}

/// Sends on every so many-th request that was accepted.
#[derive(Debug)]
pub struct Samples {
    /// Sends every so many-th request.
    pub every: usize,
    /// Receiver of the samples.
    pub to: UnboundedSender<Sample>,
}

/// A request that was accepted.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Moment at which the request was due.
    pub due: std::time::Instant,
    /// Request id of the reservation.
    pub request_id: uuid::Uuid,
}

impl Load {
    /// Everything due at once, for as long as `seconds`: what the server can do.
    pub fn capacity(address: SocketAddr, requests: Requests, seconds: f64) -> Self {
        let schedule = Schedule::at_once(requests.len());
        Self { stop_after: Some(Duration::from_secs_f64(seconds)), ..Self::planned(address, requests, schedule) }
    }

    /// Everything when the schedule says, to the last request.
    pub fn planned(address: SocketAddr, requests: Requests, schedule: Schedule) -> Self {
        let requests = Arc::new(requests);
        Self { address, connections: CONNECTIONS, requests, schedule, stop_after: None, samples: None }
    }

    /// Sends the load on a thread of its own, and waits until all of it is answered.
    pub async fn run(self) -> Result<Outcome> {
        let (tell, told) = oneshot::channel();
        let work = move || {
            // Nobody listens only if the whole program is about to end.
            let _ = tell.send(drive::drive(self));
        };
        thread::Builder::new().name("load".to_owned()).spawn(work).context("the thread of the load does not start")?;
        told.await.map_err(|_| anyhow!("the load generator has panicked"))?
    }
}
