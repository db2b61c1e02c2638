//! The run itself: each connection takes the next request of the line, waits until it is due, and sends it.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use chrono::Utc;
use tokio::{
    task::LocalSet,
    time::{sleep, sleep_until, timeout},
};

use super::{
    ANSWERED_WITHIN, Load, Sample,
    connection::Connection,
    outcome::{Outcome, Record, request_id},
};
use crate::measure::usage::thread_cpu_ms;

/// A connection idle for longer may have been closed by the server.
const MAX_IDLE: Duration = Duration::from_secs(1);

/// How long a connection waits after one that could not be made.
const RECONNECT_PAUSE: Duration = Duration::from_millis(10);

/// Runs a load on this thread.
pub fn drive(load: Load) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if load.schedule.len() > load.requests.len() {
        bail!("{} requests are planned, {} are prepared", load.schedule.len(), load.requests.len());
    }
    LocalSet::new().block_on(&runtime, run(load))
}

struct Run {
    load: Load,
    started: Instant,
    next: Cell<usize>,
    records: RefCell<Vec<Record>>,
    bodies: RefCell<Vec<u8>>,
}

async fn run(load: Load) -> Result<Outcome> {
    let mut connections = Vec::with_capacity(load.connections);
    for _ in 0..load.connections {
        let opened = timeout(ANSWERED_WITHIN, Connection::open(load.address)).await;
        connections.push(opened.context("nobody takes the connection")?.context("no connection")?);
    }
    let last_due = load.schedule.due_ns(load.schedule.len().saturating_sub(1)).unwrap_or(0);
    let longest = load.stop_after.unwrap_or(Duration::from_nanos(last_due)) + ANSWERED_WITHIN;
    let planned = load.schedule.len();
    let (started_at, cpu_before) = (Utc::now(), thread_cpu_ms());
    let run = Rc::new(Run {
        load,
        started: Instant::now(),
        next: Cell::new(0),
        records: RefCell::new(Vec::with_capacity(planned)),
        bodies: RefCell::new(Vec::with_capacity(planned * 160)),
    });
    let lines: Vec<_> =
        connections.into_iter().map(|connection| tokio::task::spawn_local(line(Rc::clone(&run), connection))).collect();
    // What is still in flight after that stays without an answer.
    let _ = timeout(longest, async {
        for line in lines {
            line.await.ok();
        }
    })
    .await;
    let (took, cpu_ms) = (run.started.elapsed(), thread_cpu_ms() - cpu_before);
    let asked = run.next.get().min(planned);
    let (records, bodies) = (run.records.take(), run.bodies.take());
    let (requests, schedule) = (run.load.requests.clone(), run.load.schedule.clone());
    Ok(Outcome { started_at, requests, schedule, asked, records, bodies, took, cpu_ms })
}

async fn line(run: Rc<Run>, mut connection: Connection) {
    while let Some((index, due)) = run.take() {
        let now = Instant::now();
        if due > now {
            sleep_until(due.into()).await;
            if due - now > MAX_IDLE {
                connection.forget_if_closed();
            }
        }
        match connection.ask(run.load.requests.bytes(index)).await {
            Ok((status, body)) => run.write(index, due, status, connection.bytes(body)),
            Err(_) => sleep(RECONNECT_PAUSE).await,
        }
    }
}

impl Run {
    /// The next request of the line and when it is due.
    fn take(&self) -> Option<(usize, Instant)> {
        if self.load.stop_after.is_some_and(|stop| self.started.elapsed() >= stop) {
            return None;
        }
        let index = self.next.get();
        let due = self.load.schedule.due_ns(index)?;
        self.next.set(index + 1);
        Some((index, self.started + Duration::from_nanos(due)))
    }

    fn write(&self, index: usize, due: Instant, status: u16, body: &[u8]) {
        let at_ns = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        if let Some(samples) = &self.load.samples
            && index.is_multiple_of(samples.every)
            && let Some(request_id) = request_id(body)
        {
            // Whoever has heard enough may have hung up.
            let _ = samples.to.send(Sample { due, request_id });
        }
        let mut bodies = self.bodies.borrow_mut();
        let start = bodies.len();
        bodies.extend_from_slice(body);
        self.records.borrow_mut().push(Record { index, at_ns, status, body: start..bodies.len() });
    }
}
