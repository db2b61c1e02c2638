//! Waiting on conditions with a deadline. Nothing else in this crate sleeps.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long to wait between two looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(25);

/// Looks again and again until the condition is met, and hands over what it found.
///
/// An error of the probe counts as "not yet" and is shown if the deadline passes.
pub async fn eventually<M: Met>(what: &str, within: Duration, mut probe: impl AsyncFnMut() -> M) -> Result<M::Value> {
    let started = Instant::now();
    loop {
        let why_not = match probe().await.met() {
            Ok(value) => return Ok(value),
            Err(why_not) => why_not,
        };
        if started.elapsed() >= within {
            bail!("not within {} ms: {what}{why_not}", within.as_millis());
        }
        pause(BETWEEN_LOOKS).await;
    }
}

/// Looks again and again and fails as soon as the condition is not met, until the time is over.
pub async fn stays<M: Met>(what: &str, throughout: Duration, mut probe: impl AsyncFnMut() -> M) -> Result<()> {
    let started = Instant::now();
    while started.elapsed() < throughout {
        if let Err(why_not) = probe().await.met() {
            bail!("no longer after {} ms: {what}{why_not}", started.elapsed().as_millis());
        }
        pause(BETWEEN_LOOKS).await;
    }
    Ok(())
}

/// Blocking sibling of [`eventually`], for clean-up where no runtime is left.
pub fn eventually_blocking(within: Duration, mut probe: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    loop {
        if probe() {
            return true;
        }
        if started.elapsed() >= within {
            return false;
        }
        std::thread::park_timeout(BETWEEN_LOOKS);
    }
}

/// Lets this much time pass. For the few places that need time itself and not a condition: polling, delays of
/// the [`proxy`](crate::proxy), timelines of a scenario.
pub async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

/// What a probe may return: a truth, a thing that may be there, or either of them with errors.
pub trait Met {
    /// What is handed over once the condition is met.
    type Value;

    /// The value, or why the condition is not met (a text to append to a sentence, perhaps empty).
    fn met(self) -> Result<Self::Value, String>;
}

impl Met for bool {
    type Value = ();

    fn met(self) -> Result<(), String> {
        if self { Ok(()) } else { Err(String::new()) }
    }
}

impl<T> Met for Option<T> {
    type Value = T;

    fn met(self) -> Result<T, String> {
        self.ok_or_else(String::new)
    }
}

impl<M: Met> Met for Result<M> {
    type Value = M::Value;

    fn met(self) -> Result<M::Value, String> {
        match self {
            Ok(met) => met.met(),
            Err(error) => Err(format!(" ({error:#})")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(60);

    #[tokio::test]
    async fn a_condition_that_comes_true_hands_over_its_value() {
        let mut looks = 0;
        let found = eventually("a third look", SHORT * 10, async || {
            looks += 1;
            (looks == 3).then_some("found")
        })
        .await;
        assert_eq!(found.expect("it comes true"), "found");
    }

    #[tokio::test]
    async fn a_missed_deadline_names_the_condition_and_the_last_error() {
        let missed = eventually("rain in the desert", SHORT, async || -> Result<bool> { bail!("dry") }).await;
        let text = missed.expect_err("it never comes true").to_string();
        assert!(text.contains("rain in the desert") && text.contains("dry"), "{text}");
    }

    #[tokio::test]
    async fn a_condition_that_breaks_is_no_longer_held() {
        let started = Instant::now();
        let held = stays("young", SHORT * 10, async || started.elapsed() < SHORT).await;
        assert!(held.is_err());
        assert!(stays("true", SHORT, async || true).await.is_ok());
    }
}
