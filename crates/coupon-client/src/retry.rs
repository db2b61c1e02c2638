//! The loop around the tries of one call.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rand::Rng;

use crate::{Error, Failure, Rules, pace::Pace};

/// The time; tests have one of their own.
pub(crate) trait Time: Sync {
    fn now(&self) -> Instant;
    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()> + Send;
}

/// The time of the machine.
#[derive(Debug)]
pub(crate) struct MachineTime;

impl Time for MachineTime {
    fn now(&self) -> Instant {
        Instant::now()
    }

    async fn sleep_until(&self, at: Instant) {
        tokio::time::sleep_until(at.into()).await;
    }
}

/// What the tries of one call share.
pub(crate) struct Call<'a, T: Time> {
    pub(crate) rules: &'a Rules,
    pub(crate) pace: &'a Mutex<Pace>,
    pub(crate) time: &'a T,
    /// When the call ends, whatever has come.
    pub(crate) end: Instant,
}

/// The answer of a call, and how it was got.
#[derive(Debug)]
pub(crate) struct Got<A> {
    pub(crate) answer: A,
    /// Whether an earlier try may have been carried out.
    pub(crate) was_unknown: bool,
}

impl<T: Time> Call<'_, T> {
    /// Tries until there is an answer, a failure that does not pass, or the end. A try gets the time that it has.
    pub(crate) async fn run<A, F>(&self, mut attempt: impl FnMut(Duration) -> F) -> Result<Got<A>, Error>
    where
        F: Future<Output = Result<A, Failure>>,
    {
        let (mut tries, mut was_unknown) = (0, false);
        self.with_pace(Pace::first_try);
        loop {
            tries += 1;
            let left = self.end.saturating_duration_since(self.time.now());
            let failure = match attempt(left.min(self.rules.try_timeout)).await {
                Ok(answer) => return Ok(Got { answer, was_unknown }),
                Err(failure) if failure.may_pass() => failure,
                Err(Failure::Problem(problem)) => return Err(Error::Request(problem)),
                Err(failure) => return Err(Error::Protocol(failure)),
            };
            was_unknown |= failure.is_unknown();
            if !self.wait(tries, &failure).await {
                return Err(Error::Unknown { tries, source: failure });
            }
        }
    }

    /// Waits before a retry; `false`: there is no time left for one.
    async fn wait(&self, retry: u32, failure: &Failure) -> bool {
        let jitter = rand::rng().random_range(Duration::ZERO..=self.rules.longest_wait(retry));
        let wait = failure.retry_after().unwrap_or_default().saturating_add(jitter);
        let now = self.time.now();
        let Some(at) = now.checked_add(wait).filter(|at| *at <= self.end) else { return false };
        self.time.sleep_until(at).await;
        let place = self.with_pace(|pace, now| pace.place(now, self.end, self.rules.retry_share));
        let Some(place) = place else { return false };
        self.time.sleep_until(place).await;
        true
    }

    fn with_pace<R>(&self, act: impl FnOnce(&mut Pace, Instant) -> R) -> R {
        act(&mut self.pace.lock().unwrap_or_else(PoisonError::into_inner), self.time.now())
    }
}

#[cfg(test)]
mod tests;
