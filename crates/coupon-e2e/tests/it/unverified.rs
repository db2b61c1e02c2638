//! Refusals before the signature of a token is verified (crates/issuer-api/README.md, "Unverified refusals"): they tell nobody
//! who holds a coupon, and no holder that nothing is held.

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    answers::Answer,
    identity::IdentityProvider,
    member::{
        Member,
        token::{Signer, Token},
    },
    process::{Process, launch::Launch},
    wait::eventually,
    world::World,
};
use jsonwebtoken::Algorithm;
use uuid::Uuid;

use crate::{SOON, admission::Room};

const CODE: &str = "GONE";
const KID: &str = "of-2026";
/// Coupons of the campaign, and tries to meet a process while it knows that they are gone.
const TOTAL: usize = 40;

/// A sold-out campaign before a process whose one public key has a `kid`.
struct SoldOut {
    world: World,
    api: Process,
    signer: Signer,
    stranger: Signer,
    held: Vec<Uuid>,
    /// It answers only while the key is first asked for.
    _provider: IdentityProvider,
}

impl SoldOut {
    async fn new(change: impl FnOnce(Launch) -> Launch) -> Result<Self> {
        Self::of(World::new().await?, change).await
    }

    async fn of(world: World, change: impl FnOnce(Launch) -> Launch) -> Result<Self> {
        let provider = IdentityProvider::plain()?;
        let signers = || Signer::new_of_world().signing_with(Algorithm::ES256);
        let (signer, stranger) = (signers()?, signers()?);
        provider.publish(&[signer.jwk(KID)?]);
        let launch = world.start_api().set("auth.algorithms", "ES256").set("auth.hmac_secret_file", "");
        let api = change(launch.set("auth.jwks_url", provider.url())).await?;
        world.open_campaign(CODE, u64::try_from(TOTAL)?).await?;
        let mut gone = Self { world, api, signer, stranger, held: Vec::new(), _provider: provider };
        for number in 0..TOTAL {
            let answer = gone.ask(&gone.right(&held(number))).await?;
            gone.held.push(answer.request_id.with_context(|| format!("{answer:?}"))?);
        }
        Ok(gone)
    }

    fn right(&self, member: &str) -> Token {
        self.signer.token(member).kid(KID)
    }

    fn forged(&self, member: &str) -> Token {
        self.stranger.token(member).kid(KID)
    }

    fn member(&self, token: &str) -> Result<Member> {
        Member::new("whoever", token, self.api.http_url()?, self.world.answers.clone())
    }

    async fn ask(&self, token: &Token) -> Result<Answer> {
        Ok(self.member(&token.sign()?)?.ask(CODE).await)
    }

    async fn counted(&self, metric: &str) -> Result<f64> {
        Ok(self.api.metric(metric, "").await?.unwrap_or(0.0))
    }

    /// Asks by tokens that are right until the process refuses by what it knows.
    async fn is_known(&self) -> Result<()> {
        let known = self.counted("coupon_refused_from_memory_total").await?;
        let late = self.member(&self.right("too-late").sign()?)?;
        eventually("a member is refused by the cache", SOON, async || -> Result<bool> {
            for _ in 0..30 {
                let answer = late.ask(CODE).await;
                ensure!(answer.is_refused_as(409, "SOLD_OUT"), "{answer:?}");
            }
            Ok(self.counted("coupon_refused_from_memory_total").await? > known)
        })
        .await
    }
}

fn held(number: usize) -> String {
    format!("held-{number}")
}

/// What somebody sees of an answer.
fn seen(answer: &Answer) -> String {
    let Answer { status, code, retry_after, location, content_type, body, .. } = answer;
    format!("{status:?} {code:?} {retry_after:?} {location:?} {content_type:?} {body}")
}

fn is_unauthenticated(answer: &Answer) -> bool {
    answer.is_refused_as(401, "UNAUTHENTICATED")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_token_is_told_the_same_of_a_holder_and_of_anybody_else_and_a_holder_is_told_what_they_hold()
-> Result<()> {
    let gone = SoldOut::new(|launch| launch).await?;
    let mut refused = 0;
    for number in 0..TOTAL {
        gone.is_known().await?;
        let pair = [gone.forged(&held(number)), gone.forged(&format!("late-{number}"))];
        let firsts = [gone.ask(&pair[0]).await?, gone.ask(&pair[1]).await?];
        // Between the two the process may have ceased to know: then it verifies as ever.
        if firsts.iter().all(|answer| answer.is_refused_as(409, "SOLD_OUT")) {
            ensure!(seen(&firsts[0]) == seen(&firsts[1]), "{firsts:?}");
            refused += 1;
        }
        ensure!(firsts.iter().all(|answer| answer.status == Some(409) || is_unauthenticated(answer)), "{firsts:?}");
        if firsts.iter().any(|answer| answer.status == Some(409)) {
            let seconds = [gone.ask(&pair[0]).await?, gone.ask(&pair[1]).await?];
            for (first, second) in firsts.iter().zip(&seconds) {
                let is_as_ever = is_unauthenticated(second) || is_unauthenticated(first);
                ensure!(is_as_ever, "who asks again is verified as ever: {first:?} {second:?}");
            }
        }
        let holder = gone.ask(&gone.right(&held(number))).await?;
        ensure!((holder.status, holder.request_id) == (Some(200), Some(gone.held[number])), "{holder:?}");
    }
    ensure!(refused * 2 > TOTAL, "{refused} of {TOTAL} pairs were refused without their signatures");
    ensure!(gone.counted("coupon_refused_unverified_total").await? >= 2.0 * f64::from(u32::try_from(refused)?));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_is_told_so_at_the_first_request_though_the_signatures_of_others_are_not_looked_at() -> Result<()> {
    let gone = SoldOut::new(|launch| launch).await?;
    gone.is_known().await?;
    for number in 0..TOTAL {
        let before = gone.counted("coupon_refused_unverified_total").await?;
        let late = gone.ask(&gone.right(&format!("late-{number}"))).await?;
        ensure!(late.is_refused_as(409, "SOLD_OUT"), "{late:?}");
        let holder = gone.ask(&gone.right(&held(number))).await?;
        ensure!((holder.status, holder.request_id) == (Some(200), Some(gone.held[number])), "{holder:?}");
        let refused = gone.counted("coupon_refused_unverified_total").await? - before;
        ensure!(refused <= 1.0, "the holder was not refused: {refused}");
    }
    ensure!(gone.counted("coupon_refused_unverified_total").await? > 0.0, "some were refused without their signatures");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_wrong_but_for_its_signature_is_401_also_where_all_is_sold_out() -> Result<()> {
    let gone = SoldOut::new(|launch| launch).await?;
    gone.is_known().await?;
    for member in [held(0).as_str(), "late"] {
        let wrong = [
            gone.right(member).expires_in(-600),
            gone.forged(member).claim("iss", "rival"),
            gone.forged(member).claim("aud", "news"),
            gone.forged(member).without("exp"),
            gone.forged(member).kid("of-2025"),
            gone.stranger.token(member),
        ];
        for (number, token) in wrong.iter().enumerate() {
            let answer = gone.ask(token).await?;
            ensure!(is_unauthenticated(&answer), "{number}: {answer:?}");
        }
    }
    for garbage in ["", "x", "a.b.c", &format!("{}.", gone.forged("late").sign()?)] {
        let answer = gone.member(garbage)?.ask(CODE).await;
        ensure!(is_unauthenticated(&answer), "{garbage}: {answer:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_token_is_verified_where_the_operator_says_so_or_campaigns_are_not_public() -> Result<()> {
    for (setting, value) in [("sold_out.refuse_unverified", false), ("http.public_campaigns", false)] {
        let gone = SoldOut::new(|launch| launch.set(setting, value)).await?;
        gone.is_known().await?;
        for number in 0..TOTAL {
            let answer = gone.ask(&gone.forged(&format!("late-{number}"))).await?;
            ensure!(is_unauthenticated(&answer), "{setting}: {answer:?}");
        }
        ensure!(gone.counted("coupon_refused_unverified_total").await? == 0.0, "{setting}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_token_is_verified_where_a_campaign_requires_admission() -> Result<()> {
    let world = World::new().await?;
    let room = Room::new(&world)?;
    let gone = SoldOut::of(world, |launch| room.before(launch)).await?;
    room.coupon(&gone.world, &["set-admission", CODE, "required"]).await?.succeeded()?;
    eventually("the process requires admission", SOON, async || -> Result<bool> {
        Ok(gone.ask(&gone.right("outside")).await?.is_refused_as(403, "ADMISSION_REQUIRED"))
    })
    .await?;
    let admitted = room.token("late", CODE).sign()?;
    let late = gone.member(&gone.right("late").sign()?)?;
    let known = gone.counted("coupon_refused_from_memory_total").await?;
    for number in 0..TOTAL {
        // Those who are admitted keep the process knowing that all is sold out.
        for _ in 0..10 {
            let answer = late.ask_with(CODE, |request| request.header("Coupon-Admission", &admitted)).await;
            ensure!(answer.is_refused_as(409, "SOLD_OUT"), "{answer:?}");
        }
        let forged = gone.ask(&gone.forged(&format!("late-{number}"))).await?;
        ensure!(is_unauthenticated(&forged), "{forged:?}");
    }
    ensure!(gone.counted("coupon_refused_from_memory_total").await? > known, "the process knew");
    Ok(())
}
