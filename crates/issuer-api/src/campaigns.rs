//! What PostgreSQL knows of a coupon and of its holders, asked with care: accepting must not depend on it, nor bury it
//! under guesses.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use coupon_core::{
    ids::{CouponCode, MemberId, RequestId},
    repo::{
        Database, RepoError,
        coupon_issues::{Decided, Lettered, Requested},
        coupons::Coupon,
    },
    runtime::chain,
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout},
};

/// Questions about coupons that Redis does not know, at a time. Anybody with a token can invent codes.
const AT_A_TIME: usize = 4;
/// Questions of a POST about what a member holds, at a time.
const MEMBERS_AT_A_TIME: usize = 4;
/// Lists of a member's requests for which Redis and the dead letters are looked through, at a time.
const LISTS_AT_A_TIME: usize = 4;
/// Campaigns that are looked at for the list of a member's requests.
const MOST_LIVE: i64 = 500;
/// How long a question waits for its turn.
const TURN: Duration = Duration::from_millis(250);
/// How long an answer is waited for.
const ANSWER: Duration = Duration::from_secs(2);

/// How long an answer about a coupon is believed: a rush on one that is not open yet must not become a rush on
/// PostgreSQL.
const BELIEVED: Duration = Duration::from_secs(1);
/// Answers kept, also that there is no such coupon: their number is up to whoever invents codes.
const MOST_KEPT: usize = 4096;

/// Asks PostgreSQL on behalf of members.
pub struct Campaigns {
    database: Database,
    turns: Semaphore,
    turns_of_members: Semaphore,
    turns_of_lists: Semaphore,
    kept: Mutex<HashMap<CouponCode, Kept>>,
}

/// An answer, and when it was given.
#[derive(Clone)]
struct Kept {
    at: Instant,
    coupon: Option<Coupon>,
}

/// PostgreSQL gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("postgresql gives no answer")]
pub struct Away;

impl Campaigns {
    /// Over the process's pool.
    pub fn new(database: Database) -> Self {
        Self {
            database,
            turns: Semaphore::new(AT_A_TIME),
            turns_of_members: Semaphore::new(MEMBERS_AT_A_TIME),
            turns_of_lists: Semaphore::new(LISTS_AT_A_TIME),
            kept: Mutex::default(),
        }
    }

    /// The campaign of a code that Redis has no data of, as it was within the last second; `None` when there is none.
    pub async fn coupon(&self, code: &CouponCode) -> Result<Option<Coupon>, Away> {
        if let Some(kept) = self.kept(code) {
            return Ok(kept.coupon);
        }
        let _turn = turn(&self.turns).await?;
        // Somebody who was ahead in the queue may have asked the same.
        if let Some(kept) = self.kept(code) {
            return Ok(kept.coupon);
        }
        let found = answer(self.database.coupon(code)).await?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST_KEPT {
            kept.clear();
        }
        kept.insert(code.clone(), Kept { at: Instant::now(), coupon: found.clone() });
        Ok(found)
    }

    fn kept(&self, code: &CouponCode) -> Option<Kept> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(code).filter(|kept| kept.at.elapsed() < BELIEVED).cloned()
    }

    /// The coupon that is issued to a member of a campaign, for a POST that Redis does not answer: few at a time, because
    /// while Redis is away everybody's come here.
    pub async fn issued(&self, code: &CouponCode, member: &MemberId) -> Result<Option<Decided>, Away> {
        let _turn = turn(&self.turns_of_members).await?;
        Ok(self.decisions(code, member, None).await?.into_iter().next())
    }

    /// What is decided of a member in a campaign; see [`Database::decisions`].
    pub async fn decisions(
        &self,
        code: &CouponCode,
        member: &MemberId,
        request_id: Option<RequestId>,
    ) -> Result<Vec<Decided>, Away> {
        answer(self.database.decisions(code, member, request_id)).await
    }

    /// The decided requests of a member; see [`Database::requests_of`].
    pub async fn requests_of(
        &self,
        member: &MemberId,
        before: Option<RequestId>,
        limit: i64,
    ) -> Result<Vec<Requested>, Away> {
        answer(self.database.requests_of(member, before, limit)).await
    }

    /// The undecided requests of a member that dead letters hold; see [`Database::lettered`].
    pub async fn lettered(
        &self,
        member: &MemberId,
        code: Option<&CouponCode>,
        before: Option<RequestId>,
        limit: i64,
    ) -> Result<Vec<Lettered>, Away> {
        answer(self.database.lettered(member, code, before, limit)).await
    }

    /// The turn to look through many campaigns for one list; an error when too many others are at it.
    pub async fn turn_of_list(&self) -> Result<SemaphorePermit<'_>, Away> {
        turn(&self.turns_of_lists).await
    }

    /// The campaigns of which Redis has, or should have, data: up to 500, and whether these are all.
    pub async fn live(&self) -> Result<(Vec<CouponCode>, bool), Away> {
        let codes = answer(self.database.live_codes(MOST_LIVE)).await?;
        let is_all = codes.len() < usize::try_from(MOST_LIVE).unwrap_or(usize::MAX);
        Ok((codes, is_all))
    }
}

async fn turn(turns: &Semaphore) -> Result<SemaphorePermit<'_>, Away> {
    timeout(TURN, turns.acquire()).await.map_err(|_| Away)?.map_err(|_| Away)
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
