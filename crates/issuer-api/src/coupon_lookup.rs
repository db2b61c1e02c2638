//! The coupon lookup: the few questions to PostgreSQL that members may cause. Accepting must neither depend on PostgreSQL nor
//! bury it under guessed codes.

use std::time::Duration;

use coupon_core::{
    ids::{CouponCode, MemberId, RequestId},
    repo::{
        Database, RepoError,
        coupon_issues::{Decided, Requested},
        coupons::Coupon,
        dlq_events::DeadLetteredRequest,
    },
    runtime::chain,
};
use quick_cache::sync::Cache;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout},
};

/// Questions of one kind at a time: about codes that Redis does not know, which anybody with a token can invent; of a POST
/// about what a member holds; and of lists, for which Redis and the dead letters are looked through.
const MAX_CONCURRENT_QUESTIONS: usize = 4;
/// Questions at a time of those who look at a campaign that Redis does not know: anybody may, without a token.
const MAX_CONCURRENT_VIEWS: usize = 2;
/// Most campaigns that the list of a member's requests covers.
const MAX_LISTED_CAMPAIGNS: i64 = 500;
/// Longest wait of a question for its turn.
const TURN_TIMEOUT: Duration = Duration::from_millis(250);
/// Longest wait for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an answer about a coupon is reused: a rush on one that is not open yet must not become a rush on PostgreSQL.
const COUPON_TTL: Duration = Duration::from_secs(1);
/// Most answers kept, also those that there is no such coupon: their number is up to whoever invents codes.
const MAX_CACHED_COUPONS: usize = 4096;

/// Asks PostgreSQL on behalf of members.
pub struct CouponLookup {
    database: Database,
    coupon_turns: Semaphore,
    view_turns: Semaphore,
    member_turns: Semaphore,
    list_turns: Semaphore,
    /// Answers about coupons, each with the time at which it was given.
    coupons: Cache<CouponCode, (Instant, Option<Coupon>)>,
}

/// PostgreSQL gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("postgresql gives no answer")]
pub struct DatabaseAway;

impl CouponLookup {
    /// Over the process's pool.
    pub fn new(database: Database) -> Self {
        let turns = || Semaphore::new(MAX_CONCURRENT_QUESTIONS);
        let (coupon_turns, member_turns, list_turns) = (turns(), turns(), turns());
        let view_turns = Semaphore::new(MAX_CONCURRENT_VIEWS);
        Self { database, coupon_turns, view_turns, member_turns, list_turns, coupons: Cache::new(MAX_CACHED_COUPONS) }
    }

    /// The campaign of a code that Redis has no data of, as it was within the last second; `None` when there is none.
    pub async fn coupon(&self, code: &CouponCode) -> Result<Option<Coupon>, DatabaseAway> {
        self.coupon_in_turn(code, &self.coupon_turns).await
    }

    /// The same for the public view: a crowd without tokens that invents codes delays no member.
    pub async fn viewed_coupon(&self, code: &CouponCode) -> Result<Option<Coupon>, DatabaseAway> {
        self.coupon_in_turn(code, &self.view_turns).await
    }

    async fn coupon_in_turn(&self, code: &CouponCode, turns: &Semaphore) -> Result<Option<Coupon>, DatabaseAway> {
        if let Some((_, found)) = self.cached(code) {
            return Ok(found);
        }
        let _turn = turn(turns).await?;
        // Another request that was ahead in the queue may have asked the same.
        if let Some((_, found)) = self.cached(code) {
            return Ok(found);
        }
        let found = answer(self.database.coupons().find(code)).await?;
        self.coupons.insert(code.clone(), (Instant::now(), found.clone()));
        Ok(found)
    }

    fn cached(&self, code: &CouponCode) -> Option<(Instant, Option<Coupon>)> {
        self.coupons.get(code).filter(|(at, _)| at.elapsed() < COUPON_TTL)
    }

    /// The coupon that is issued to a member of a campaign, for a POST that Redis does not answer: few at a time, because
    /// while Redis is away every POST comes here.
    pub async fn issued(&self, code: &CouponCode, member: &MemberId) -> Result<Option<Decided>, DatabaseAway> {
        let _turn = turn(&self.member_turns).await?;
        Ok(self.decisions(code, member, None).await?.into_iter().next())
    }

    /// What is decided of a member in a campaign; see [`decided_of_member`](coupon_core::repo::CouponIssueRepository::decided_of_member).
    pub async fn decisions(
        &self,
        code: &CouponCode,
        member: &MemberId,
        request_id: Option<RequestId>,
    ) -> Result<Vec<Decided>, DatabaseAway> {
        answer(self.database.coupon_issues().decided_of_member(code, member, request_id)).await
    }

    /// The decided requests of a member; see [`list_of_member`](coupon_core::repo::CouponIssueRepository::list_of_member).
    pub async fn requests_of(
        &self,
        member: &MemberId,
        before: Option<RequestId>,
        limit: i64,
    ) -> Result<Vec<Requested>, DatabaseAway> {
        answer(self.database.coupon_issues().list_of_member(member, before, limit)).await
    }

    /// The undecided requests of a member that dead letters hold; see
    /// [`undecided_of_member`](coupon_core::repo::DlqEventRepository::undecided_of_member).
    pub async fn lettered(
        &self,
        member: &MemberId,
        code: Option<&CouponCode>,
        before: Option<RequestId>,
        limit: i64,
    ) -> Result<Vec<DeadLetteredRequest>, DatabaseAway> {
        answer(self.database.dlq_events().undecided_of_member(member, code, before, limit)).await
    }

    /// The turn to look through many campaigns for one list; an error when too many others are at it.
    pub async fn list_turn(&self) -> Result<SemaphorePermit<'_>, DatabaseAway> {
        turn(&self.list_turns).await
    }

    /// The campaigns of which Redis has, or should have, data: up to 500, and whether these are all.
    pub async fn live(&self) -> Result<(Vec<CouponCode>, bool), DatabaseAway> {
        let codes = answer(self.database.coupons().live_codes(MAX_LISTED_CAMPAIGNS)).await?;
        let is_all = codes.len() < usize::try_from(MAX_LISTED_CAMPAIGNS).unwrap_or(usize::MAX);
        Ok((codes, is_all))
    }
}

async fn turn(turns: &Semaphore) -> Result<SemaphorePermit<'_>, DatabaseAway> {
    timeout(TURN_TIMEOUT, turns.acquire()).await.map_err(|_| DatabaseAway)?.map_err(|_| DatabaseAway)
}

/// A read may be cancelled: it leaves nothing behind.
async fn answer<T>(question: impl Future<Output = Result<T, RepoError>>) -> Result<T, DatabaseAway> {
    match timeout(ANSWER_TIMEOUT, question).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            tracing::debug!(error = %chain(&error), "postgresql gives no answer");
            Err(DatabaseAway)
        }
        Err(_) => Err(DatabaseAway),
    }
}
