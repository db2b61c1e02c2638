//! Letters that were held because a newer build had written their events, and can be decided now.

use std::{sync::Arc, time::Duration};

use coupon_core::{
    clock::Clock,
    event::CouponIssued,
    failure::{Class, Failure},
    repo::{Database, dead_letters::LetterStatus},
    runtime::Shutdown,
    writing::Writer,
};

/// Letters looked at in one go.
const PAGE: i64 = 500;
/// Between two looks.
const EVERY: Duration = Duration::from_mins(1);

/// Decides held letters whose version this build reads.
pub struct Upgrade {
    /// The letters.
    pub database: Database,
    /// Writes in batches.
    pub writer: Writer,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Newest version of the event that can be read, [`coupon_core::event::VERSION`].
    pub supported: u64,
}

impl Upgrade {
    /// Decides what can be decided, again and again: while builds of two versions run side by side, the older one goes
    /// on holding what only this one can read.
    pub async fn run(self, shutdown: Shutdown) {
        loop {
            match self.decide_held().await {
                Ok(0) => {}
                Ok(decided) => tracing::info!(decided, "letters held for this upgrade are decided"),
                Err(failure) => {
                    tracing::warn!(code = failure.code, "letters held for an upgrade cannot be decided now: {failure}");
                }
            }
            tokio::select! {
                () = shutdown.stopping() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    /// Writes each held event that can be read by now, with its own request id, and moves its letter on. What cannot
    /// be written stays HELD for an operator. Gives the number decided.
    pub async fn decide_held(&self) -> Result<usize, Failure> {
        let (mut decided, mut after) = (0, 0);
        loop {
            let letters = self.database.letters_held_for_an_upgrade(self.supported, after, PAGE).await;
            let letters = letters.map_err(|error| Failure::from(&error))?;
            let Some(last) = letters.last() else { return Ok(decided) };
            after = last.id;
            for letter in letters {
                let Ok(event) = CouponIssued::decode(letter.payload.as_deref(), self.supported) else { continue };
                match self.write(&Arc::new(event)).await {
                    Ok(()) => {}
                    Err(failure) if matches!(failure.class, Class::Unavailable | Class::Interrupted) => {
                        return Err(failure);
                    }
                    Err(failure) => {
                        tracing::warn!(
                            letter_id = letter.id,
                            code = failure.code,
                            "a held letter stays held: {failure}"
                        );
                        continue;
                    }
                }
                let moved =
                    self.database.move_letter(letter.id, LetterStatus::Held, LetterStatus::Recovered, self.clock.now());
                decided += usize::from(moved.await.map_err(|error| Failure::from(&error))?);
            }
        }
    }

    async fn write(&self, event: &Arc<CouponIssued>) -> Result<(), Failure> {
        let outcome = self.writer.write(event, true).await?;
        self.writer.settle(event, outcome, self.clock.now()).await
    }
}
