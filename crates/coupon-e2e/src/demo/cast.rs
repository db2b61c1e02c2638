//! Who plays: two members whose coupons cannot be written, and everybody else.

use std::time::Duration;

use anyhow::Result;

use super::stage::Stage;
use crate::failures::{self, FailMode, Rule};

/// The member whose coupon can never be written.
pub(super) const NEVER: &str = "10";

/// The member whose coupon can be written at the third attempt.
pub(super) const LATER: &str = "20";

/// Attempts come after 0, 1 and 3 s, never early but late on a busy machine: two of them fall into this time.
const TWO_ATTEMPTS: Duration = Duration::from_millis(2900);

/// The members of the demo, and the failures that its trigger makes for them.
pub(super) struct Cast {
    rules: Vec<Rule>,
}

impl Cast {
    /// Puts the failures in force, in this campaign only.
    pub async fn prepare(stage: &Stage) -> Result<Self> {
        // What a killed run has left behind.
        failures::uninstall(&stage.db).await?;
        let never = Rule::add(&stage.db, &stage.code, Some(NEVER), FailMode::Always).await?;
        let later = Rule::add(&stage.db, &stage.code, Some(LATER), FailMode::For(TWO_ATTEMPTS)).await?;
        Ok(Self { rules: vec![never, later] })
    }

    /// Removes the trigger from the database.
    pub async fn dismiss(&self, stage: &Stage) -> Result<()> {
        for rule in &self.rules {
            rule.lift().await?;
        }
        failures::uninstall(&stage.db).await
    }
}
