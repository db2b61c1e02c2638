//! Keys that change while the service runs: files are read again, and the issuer is asked again, at intervals, at SIGHUP, and
//! when a token names a key that is not known. Whatever goes wrong, the keys before stay in use.

use std::{
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit, watch as channel},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{Key, ReadClaims, TokenSettings, Verifier, files, issuer};
use crate::runtime::{Condition, Health, Reloads};

/// Interval between two looks at the files.
const FILE_INTERVAL: Duration = Duration::from_secs(2);

/// Interval between two requests to an issuer that was away since the start, while no key is known at all.
const START_INTERVAL: Duration = Duration::from_secs(1);

/// Most requests that wait for the issuer at a time: anybody can name a key that does not exist.
const MAX_WAITING: usize = 1_000;

/// How requests with an unknown key let the issuer be asked, and hear of its answer.
#[derive(Debug)]
pub(super) struct Asking {
    wanted: Notify,
    /// Counts the answers.
    answers: channel::Sender<u64>,
    state: Mutex<State>,
    places: Semaphore,
    min_interval: Duration,
}

#[derive(Debug)]
struct State {
    is_asked: bool,
    not_before: Instant,
}

/// What one request has heard of the answers of the issuer.
pub(super) struct Answers(channel::Receiver<u64>);

/// A request that waits for the issuer.
pub(super) struct Waiting<'a> {
    pub(super) answers: Answers,
    _place: SemaphorePermit<'a>,
}

impl Asking {
    pub(super) fn new(settings: &TokenSettings) -> Self {
        Self {
            wanted: Notify::new(),
            answers: channel::Sender::new(0),
            state: Mutex::new(State { is_asked: false, not_before: Instant::now() }),
            places: Semaphore::new(MAX_WAITING),
            min_interval: Duration::from_millis(settings.jwks_min_interval_ms),
        }
    }

    /// Lets the issuer be asked, if that has not just been done. `None`: there is nothing to wait for.
    pub(super) fn ask(&self) -> Option<Waiting<'_>> {
        let place = self.places.try_acquire().ok()?;
        let answers = self.answers();
        let state = self.state();
        if !state.is_asked {
            if Instant::now() < state.not_before {
                return None;
            }
            self.wanted.notify_one();
        }
        drop(state);
        Some(Waiting { answers, _place: place })
    }

    /// Hears of the answers of the issuer from now on.
    pub(super) fn answers(&self) -> Answers {
        Answers(self.answers.subscribe())
    }

    fn begin(&self) {
        *self.state() = State { is_asked: true, not_before: Instant::now() + self.min_interval };
    }

    fn end(&self) {
        self.state().is_asked = false;
        self.answers.send_modify(|answers| *answers += 1);
    }

    fn is_too_early(&self) -> bool {
        Instant::now() < self.state().not_before
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answers {
    /// Returns once the issuer has answered, whatever it said, and the keys are in use.
    pub(super) async fn next(&mut self) {
        // The sender lives as long as the verifier.
        let _ = self.0.changed().await;
    }
}

/// Keeps the keys of a verifier up to date, for ever. Until a first key is known, the service is not ready.
pub async fn watch<C: ReadClaims>(verifier: Arc<Verifier<C>>, health: Health, reloads: Reloads) {
    Watch::new(verifier, &health).run(reloads).await;
}

/// Whether these are the keys of a waiting room, which a service has beside those of its members.
fn is_of_admission(settings: &TokenSettings) -> bool {
    settings.section == "admission"
}

struct Watch<C: ReadClaims> {
    verifier: Arc<Verifier<C>>,
    sources: Vec<files::Source>,
    from_files: Vec<Key>,
    from_issuer: Vec<Key>,
    /// What is wrong with a file, and with the issuer.
    wrong: [Option<String>; 2],
    stale_since: Option<Instant>,
    /// There only if no key is known at the start.
    first_key: Option<Condition>,
    refresh: Condition,
}

impl<C: ReadClaims> Watch<C> {
    fn new(verifier: Arc<Verifier<C>>, health: &Health) -> Self {
        let names = if is_of_admission(&verifier.settings) {
            ["admission key refresh", "admission keys"]
        } else {
            ["key refresh", "keys"]
        };
        let (from_files, refresh) = (verifier.keys(), health.watched(names[0]));
        let first_key = from_files.is_empty().then(|| health.condition(names[1]));
        if first_key.is_none() {
            refresh.ready();
        }
        Self {
            first_key,
            refresh,
            sources: verifier.sources.clone(),
            from_files,
            from_issuer: Vec::new(),
            wrong: [None, None],
            stale_since: None,
            verifier,
        }
    }

    async fn run(mut self, mut reloads: Reloads) {
        let has_issuer = !self.verifier.settings.jwks_url.is_empty();
        let mut look = interval(FILE_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next = Instant::now();
        let verifier = Arc::clone(&self.verifier);
        loop {
            let is_due = async { if has_issuer { sleep_until(next).await } else { pending().await } };
            let asks_issuer = tokio::select! {
                () = is_due => true,
                () = verifier.asking.wanted.notified() => !verifier.asking.is_too_early(),
                _ = look.tick() => { self.read_files().await; false }
                () = reloads.next() => {
                    self.read_files().await;
                    tracing::info!("the key files of [{}] were read again", verifier.settings.section);
                    has_issuer
                }
            };
            if asks_issuer {
                next = Instant::now() + self.ask_issuer().await;
            }
            // The gauge is of those who log in; the condition is of both.
            if !is_of_admission(&self.verifier.settings) {
                let stale_s = self.stale_since.map_or(0.0, |since| since.elapsed().as_secs_f64());
                metrics::gauge!("coupon_auth_keys_stale_seconds").set(stale_s);
            }
        }
    }

    async fn read_files(&mut self) {
        let settings = self.verifier.settings.clone();
        // A disk that hangs holds nobody up but this task.
        let read = tokio::task::spawn_blocking(move || files::read(&settings)).await;
        let read = read.map_err(|error| error.to_string()).and_then(|read| read.map_err(|error| error.to_string()));
        let parsed = read.and_then(|sources| {
            if sources == self.sources {
                return Ok(());
            }
            self.from_files = files::parse(&self.verifier.settings, &sources).map_err(|error| error.to_string())?;
            self.sources = sources;
            Ok(())
        });
        let wrong = parsed.err();
        self.take_up(0, wrong);
    }

    /// Returns the time until the next request.
    async fn ask_issuer(&mut self) -> Duration {
        self.verifier.asking.begin();
        let settings = &self.verifier.settings;
        let (refresh, min) = (Duration::from_millis(settings.jwks_refresh_ms), self.verifier.asking.min_interval);
        let (wrong, pause) = match issuer::fetch(settings).await {
            Ok(keys) => {
                self.from_issuer = keys;
                (None, refresh)
            }
            Err(reason) if self.from_files.is_empty() && self.from_issuer.is_empty() => (Some(reason), START_INTERVAL),
            Err(reason) => (Some(reason), min.min(refresh)),
        };
        self.take_up(1, wrong);
        self.verifier.asking.end();
        pause
    }

    /// Puts the keys into use, if they have changed, and says what is wrong with a source.
    fn take_up(&mut self, source: usize, wrong: Option<String>) {
        self.verifier.use_keys([self.from_files.as_slice(), &self.from_issuer].concat());
        let has_key = !self.from_files.is_empty() || !self.from_issuer.is_empty();
        if has_key && let Some(condition) = self.first_key.take() {
            condition.ready();
        }
        let (is_news, was_stale) = (self.wrong[source] != wrong, self.stale_since.is_some());
        self.wrong[source] = wrong;
        let reasons: Vec<&str> = self.wrong.iter().flatten().map(String::as_str).collect();
        let reasons = reasons.join("; ");
        self.stale_since = if reasons.is_empty() { None } else { self.stale_since.or_else(|| Some(Instant::now())) };
        match &self.first_key {
            _ if reasons.is_empty() => self.refresh.ready(),
            Some(none) => {
                if is_news {
                    tracing::warn!("no key is known by which a token could be verified: {reasons}");
                }
                none.unready(reasons);
            }
            None => {
                // The condition says it of the first fault.
                if is_news && was_stale {
                    tracing::warn!("keys cannot be read again, those before stay in use: {reasons}");
                }
                self.refresh.unready(reasons);
            }
        }
    }
}
