//! What PostgreSQL knows of a coupon, asked with care: accepting must not depend on it, nor bury it under guesses.

use std::time::Duration;

use coupon_core::{
    ids::{CouponCode, MemberId, RequestId},
    repo::{Database, RepoError, coupons::Coupon, issues::Decided},
    runtime::chain,
};
use tokio::{sync::Semaphore, time::timeout};

/// Questions about coupons that Redis does not know, at a time. Anybody with a token can invent codes.
const AT_A_TIME: usize = 4;
/// How long a question waits for its turn.
const TURN: Duration = Duration::from_millis(250);
/// How long an answer is waited for.
const ANSWER: Duration = Duration::from_secs(2);

/// Asks PostgreSQL on behalf of members.
#[derive(Debug)]
pub struct Campaigns {
    database: Database,
    turns: Semaphore,
}

/// PostgreSQL gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("postgresql gives no answer")]
pub struct Away;

impl Campaigns {
    /// Over the process's pool.
    pub fn new(database: Database) -> Self {
        Self { database, turns: Semaphore::new(AT_A_TIME) }
    }

    /// The campaign of a code that Redis has no data of; `None` when there is none.
    pub async fn coupon(&self, code: &CouponCode) -> Result<Option<Coupon>, Away> {
        let turn = timeout(TURN, self.turns.acquire()).await;
        let _turn = turn.map_err(|_| Away)?.map_err(|_| Away)?;
        answer(self.database.coupon(code)).await
    }

    /// The decision on a request, if it is this member's.
    pub async fn decision(&self, code: &CouponCode, id: RequestId, member: &MemberId) -> Result<Option<Decided>, Away> {
        answer(self.database.decision(code, id, member)).await
    }
}

/// A read may be cancelled: it leaves nothing behind.
async fn answer<T>(question: impl Future<Output = Result<T, RepoError>>) -> Result<T, Away> {
    match timeout(ANSWER, question).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            tracing::debug!(error = %chain(&error), "postgresql gives no answer");
            Err(Away)
        }
        Err(_) => Err(Away),
    }
}
