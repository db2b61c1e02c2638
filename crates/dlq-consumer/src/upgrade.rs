//! Letters that were held because a newer build had written their events, and can be decided now.

use std::{sync::Arc, time::Duration};

use coupon_core::{
    clock::Clock,
    event::CouponIssued,
    failure::Failure,
    repo::{Database, dead_letters::LetterStatus},
    retry::Backoff,
    runtime::Shutdown,
    writing::Writer,
};

/// Letters looked at in one go.
const PAGE: i64 = 500;

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
    /// Decides what can be decided, once; tries again while the database is away.
    pub async fn run(self, shutdown: Shutdown) {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        loop {
            match self.decide_held().await {
                Ok(0) => return,
                Ok(decided) => return tracing::info!(decided, "letters held for this upgrade are decided"),
                Err(failure) => {
                    tracing::warn!(code = failure.code, "letters held for an upgrade cannot be decided now: {failure}");
                }
            }
            tokio::select! {
                () = shutdown.stopping() => return,
                () = tokio::time::sleep(backoff.next_wait()) => {}
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
                let outcome = self.writer.write(&event, true).await?;
                if let Err(failure) = self.writer.settle(&event, outcome).await {
                    tracing::warn!(letter_id = letter.id, code = failure.code, "a held letter stays held: {failure}");
                    continue;
                }
                let moved =
                    self.database.move_letter(letter.id, LetterStatus::Held, LetterStatus::Recovered, self.clock.now());
                decided += usize::from(moved.await.map_err(|error| Failure::from(&error))?);
            }
        }
    }
}
