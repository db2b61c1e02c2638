//! Background tasks under supervision: each has a name, and one that ends unasked stops the service.
//!
//! A process with a dead loop looks healthy and does half its work. So whatever runs beside the main work is spawned
//! here and nowhere else: a panic or a return before the stop has begun is logged, begins the stop, and makes the
//! process exit non-zero, so that the orchestrator starts a whole one.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    task::JoinHandle,
    time::{Instant, interval_at, timeout},
};
use tokio_util::task::TaskTracker;

use super::Shutdown;
use crate::crash::{self, Moment};

/// The background tasks of a service. Clones share everything.
#[derive(Clone, Debug)]
pub struct Tasks {
    tracker: TaskTracker,
    /// Begun by the first task that ends unasked.
    shutdown: Shutdown,
    /// The stop with which these tasks end.
    stop: Shutdown,
    failure: Arc<OnceLock<TaskEnded>>,
}

/// A background task that ended although nobody had asked it to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the background task `{name}` {how} although the service is not stopping")]
pub struct TaskEnded {
    /// Name of the task.
    pub name: &'static str,
    how: &'static str,
}

/// A background task, for whoever has to wait for its end. It goes on when this is dropped.
#[derive(Debug)]
pub struct Task(JoinHandle<()>);

impl Task {
    /// Waits until the task has ended, however it did.
    pub async fn ended(self) {
        // The task around it catches every panic, and nobody aborts it.
        let _ = self.0.await;
    }
}

impl Tasks {
    /// No tasks yet. They end with `shutdown`, and the first one that ends unasked begins it.
    pub fn new(shutdown: Shutdown) -> Self {
        Self { tracker: TaskTracker::new(), stop: shutdown.clone(), shutdown, failure: Arc::default() }
    }

    /// Tasks of the same service that end later, with `stop`: what others still need while they drain. One that ends
    /// before that begins the stop of the service too, and is a failure also when that has begun already.
    #[must_use = "nothing runs under it before something is spawned"]
    pub fn stopped_by(&self, stop: Shutdown) -> Self {
        Self { tracker: TaskTracker::new(), stop, ..self.clone() }
    }

    /// Runs `task`, which has to end once the stop begins and not before. A debug build can be told to let it panic at
    /// its beginning, see [`crash`]: the point is the name of the task.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> Task {
        let this = self.clone();
        Task(self.tracker.spawn(async move {
            let task = async move {
                crash::pass(name, Moment::Before);
                task.await;
            };
            // In a task of its own, whose panic comes back as an error.
            let how = match tokio::spawn(task).await {
                Ok(()) => "ended",
                Err(_) => "panicked",
            };
            if !this.stop.is_stopping() {
                let ended = this.failure.get_or_init(|| TaskEnded { name, how });
                tracing::error!(task = name, "{ended}: the service stops, to be started again whole");
                this.shutdown.begin(ended);
            }
        }))
    }

    /// Runs `task` and drops it, at whatever await it is, once the stop begins.
    pub fn spawn_until_stop(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> Task {
        let stop = self.stop.clone();
        self.spawn(name, async move {
            tokio::select! {
                biased;
                () = stop.stopping() => {}
                () = task => {}
            }
        })
    }

    /// Runs `work` once every `period` until the stop begins, the first time at once. A run in progress is not
    /// dropped by the stop, and one that takes longer than the period delays the next.
    pub fn every<W, F>(&self, name: &'static str, period: Duration, mut work: W) -> Task
    where
        W: FnMut() -> F + Send + 'static,
        F: Future<Output = ()> + Send,
    {
        let stop = self.stop.clone();
        self.spawn(name, async move {
            let mut ticks = interval_at(Instant::now(), period);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    biased;
                    () = stop.stopping() => return,
                    _ = ticks.tick() => work().await,
                }
            }
        })
    }

    /// Waits until every task has ended, for at most `bound`; `false` when some have not. To be called once the stop has
    /// begun.
    pub async fn finished(&self, bound: Duration) -> bool {
        self.tracker.close();
        timeout(bound, self.tracker.wait()).await.is_ok()
    }

    /// The task that ended unasked first, which is why the service stops.
    pub fn failure(&self) -> Option<TaskEnded> {
        self.failure.get().cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn tasks() -> (Tasks, Shutdown) {
        let shutdown = Shutdown::new();
        (Tasks::new(shutdown.clone()), shutdown)
    }

    #[tokio::test]
    async fn a_task_that_panics_begins_the_stop_and_is_named() {
        let (tasks, shutdown) = tasks();
        tasks.spawn("relay", async { panic!("planted") });
        shutdown.stopping().await;
        let failure = tasks.failure().map(|ended| ended.to_string());
        assert_eq!(
            failure.as_deref(),
            Some("the background task `relay` panicked although the service is not stopping")
        );
    }

    #[tokio::test]
    async fn a_task_that_returns_before_the_stop_begins_it() {
        let (tasks, shutdown) = tasks();
        tasks.spawn_until_stop("gauges", async {});
        shutdown.stopping().await;
        assert_eq!(tasks.failure().map(|ended| ended.name), Some("gauges"));
    }

    #[tokio::test]
    async fn a_task_that_ends_with_the_stop_is_no_failure() {
        let (tasks, shutdown) = tasks();
        tasks.spawn_until_stop("waits", pending());
        tasks.every("ticks", Duration::from_millis(1), || async {});
        shutdown.begin("the test stops it");
        assert!(tasks.finished(Duration::from_secs(5)).await);
        assert_eq!(tasks.failure(), None);
    }

    #[tokio::test]
    async fn a_task_with_a_later_stop_that_panics_while_the_service_stops_is_a_failure_all_the_same() {
        let (tasks, shutdown) = tasks();
        let stop = Shutdown::new();
        let later = tasks.stopped_by(stop.clone());
        later.spawn_until_stop("goes on", pending());
        shutdown.begin("the test stops it");
        assert!(!later.finished(Duration::from_millis(20)).await, "its own stop has not begun");
        later.spawn("give-backs", async { panic!("planted") }).ended().await;
        stop.begin("all others have ended");
        assert!(later.finished(Duration::from_secs(5)).await);
        assert_eq!(tasks.failure().map(|ended| ended.name), Some("give-backs"));
    }

    #[tokio::test]
    async fn a_panic_in_periodic_work_begins_the_stop() {
        let (tasks, shutdown) = tasks();
        let mut runs = 0;
        tasks.every("settling", Duration::from_millis(1), move || {
            runs += 1;
            assert!(runs < 3, "planted");
            async {}
        });
        shutdown.stopping().await;
        assert_eq!(tasks.failure().map(|ended| ended.name), Some("settling"));
    }
}
