//! Waiting on conditions with a deadline. Nothing else in this crate sleeps.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// First wait between two checks of a condition; later ones are longer, because many checks create a client of Kafka.
const FIRST_CHECK_WAIT: Duration = Duration::from_millis(25);
const MAX_CHECK_WAIT: Duration = Duration::from_millis(200);

/// Looks again and again until the condition is met, and hands over what it found.
///
/// An error of the probe counts as "not yet" and is shown if the deadline passes.
pub async fn eventually<M: Met>(what: &str, within: Duration, mut probe: impl AsyncFnMut() -> M) -> Result<M::Value> {
    let (started, mut wait) = (Instant::now(), FIRST_CHECK_WAIT);
    loop {
        let why_not = match probe().await.met() {
            Ok(value) => return Ok(value),
            Err(why_not) => why_not,
        };
        if started.elapsed() >= within {
            bail!("not within {} ms: {what}{}", within.as_millis(), why_not.text());
        }
        pause(wait).await;
        wait = (wait * 5 / 4).min(MAX_CHECK_WAIT);
    }
}

/// Looks again and again and fails as soon as the condition is not met, until the time is over.
///
/// A look that fails says nothing, as in [`eventually`]; but one has to succeed.
pub async fn stays<M: Met>(what: &str, throughout: Duration, mut probe: impl AsyncFnMut() -> M) -> Result<()> {
    let (started, mut unseen) = (Instant::now(), Some(WhyNot::No));
    while started.elapsed() < throughout || unseen.is_some() {
        match probe().await.met() {
            Ok(_) => unseen = None,
            Err(WhyNot::No) => bail!("no longer after {} ms: {what}", started.elapsed().as_millis()),
            Err(why_not) if unseen.is_some() && started.elapsed() >= throughout + throughout => {
                bail!("{what} could not be looked at{}", why_not.text());
            }
            Err(_) => {}
        }
        pause(MAX_CHECK_WAIT).await;
    }
    Ok(())
}

/// Why a condition is not met.
#[derive(Debug)]
pub enum WhyNot {
    /// The condition was checked and does not hold.
    No,
    /// The condition could not be checked, with the error.
    Unknown(String),
}

impl WhyNot {
    fn text(&self) -> &str {
        match self {
            Self::No => "",
            Self::Unknown(error) => error,
        }
    }
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
        std::thread::park_timeout(FIRST_CHECK_WAIT);
    }
}

/// Lets this much time pass. For the few places that need time itself and not a condition: polling, delays of
/// the [`proxy`](crate::proxy), timelines of a scenario.
pub async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

/// What a probe may return: a truth, a thing that may be there, or either of them with errors.
pub trait Met {
    /// Value that the wait returns once the condition holds.
    type Value;

    /// The value, or why the condition is not met.
    fn met(self) -> Result<Self::Value, WhyNot>;
}

impl Met for bool {
    type Value = ();

    fn met(self) -> Result<(), WhyNot> {
        if self { Ok(()) } else { Err(WhyNot::No) }
    }
}

impl<T> Met for Option<T> {
    type Value = T;

    fn met(self) -> Result<T, WhyNot> {
        self.ok_or(WhyNot::No)
    }
}

impl<M: Met> Met for Result<M> {
    type Value = M::Value;

    fn met(self) -> Result<M::Value, WhyNot> {
        match self {
            Ok(met) => met.met(),
            Err(error) => Err(WhyNot::Unknown(format!(" ({error:#})"))),
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
        let mut looks = 0;
        let shaky = stays("true", SHORT, async || -> Result<bool> {
            looks += 1;
            if looks == 1 {
                bail!("no answer");
            }
            Ok(true)
        });
        assert!(shaky.await.is_ok(), "one look that fails says nothing");
        assert!(stays("true", SHORT, async || -> Result<bool> { bail!("no answer") }).await.is_err(), "none succeeds");
    }
}
