//! The client's retry rules against a real outage: members keep coming while the API is gone, and then while Redis is.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use chrono::Utc;
use coupon_client::{Ask, Client, Meaning, Rules};
use coupon_e2e::{
    answers::{Answer, State},
    member::http_client,
    process::Process,
    proxy::Proxy,
    wait::pause,
    world::World,
};
use tokio::{sync::watch, task::JoinSet};

use crate::{SOON, issued_rows};

const CODE: &str = "STORM";
const MEMBERS: u32 = 10_000;
/// Coupons: fewer than members, so that it also shows who is refused.
const COUPONS: u32 = 8_000;
/// Time between two members: 200 come a second, before, during and after the outage.
const BETWEEN: Duration = Duration::from_millis(5);
/// When nobody reaches the API.
const API_AWAY: Range<Duration> = Duration::from_secs(10)..Duration::from_secs(25);
/// When the outage ends; from the return of the API on Redis is away.
const OUTAGE_END: Duration = Duration::from_secs(40);
/// Samples over which a rate is taken: 5 s, so that it is the crowd's and not a busy machine's.
const WINDOW: usize = 5;
/// Longest time until everybody has an answer.
const PATIENCE: Duration = Duration::from_mins(5);

/// Requests that the API has answered at a moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    requests: f64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_clients_get_through_thirty_seconds_of_outage_without_a_storm() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign(CODE, COUPONS.into()).await?;
    let redis = Proxy::before(&world.redis_url).await?;
    let (api, _consumer) = tokio::try_join!(
        world.start_api().redis_through(&redis).into_future(),
        world.start_issue_consumer().into_future()
    )?;
    let way = Proxy::before(api.http_url()?).await?;
    let rules = Rules { deadline: PATIENCE, ..Rules::default() };
    let client = Client::new(http_client()?, way.url().parse()?, rules);

    let started = Instant::now();
    let mut members = JoinSet::new();
    for number in 0..MEMBERS {
        let id = format!("member-{number}");
        let (client, token) = (client.clone(), world.signer.token(&id).sign()?);
        members.spawn(async move {
            pause((BETWEEN * number).saturating_sub(started.elapsed())).await;
            let asked = Instant::now();
            let told = client.ask(&token, CODE).await;
            (id, asked.elapsed(), told)
        });
    }
    let (tell, all_told) = watch::channel(false);
    let answers = async {
        let answers = members.join_all().await;
        tell.send_replace(true);
        answers
    };
    let (answers, samples, ()) = tokio::join!(answers, sample(&api, &all_told, started), outage(&way, &redis, started));
    let (took, tries) = (started.elapsed(), client.tries());

    let (mut held, mut longest) = (0, Duration::ZERO);
    for (member, asked, told) in answers {
        let told = told.with_context(|| format!("{member} lost the outcome"))?;
        longest = longest.max(asked);
        held += u32::from(matches!(told, Ask::Held { .. }));
        world.answers.write(answer(member, asked, told)?);
    }
    println!("client outage: {tries:?} within {took:?}, the longest call {longest:?}");
    assert_eq!(held, COUPONS);
    ensure!(tries.sent <= u64::from(3 * MEMBERS), "{tries:?}: more than three each");
    let met = OUTAGE_END.saturating_sub(API_AWAY.start).as_millis() / BETWEEN.as_millis();
    let again = u128::from(tries.sent - tries.calls);
    ensure!(again >= met / 2, "{again} retries of {met} members: they did not meet the outage");
    ensure!(again <= 2 * met, "{again} retries of the {met} members who met the outage: more than three tries each");
    let normal = 1.0 / BETWEEN.as_secs_f64();
    let storm = samples?.windows(WINDOW + 1).filter(|window| window[0].at >= OUTAGE_END).map(rate).fold(0.0, f64::max);
    println!("client outage: at most {storm:.0} requests a second after it, {normal} before it");
    ensure!(storm <= 1.5 * normal, "{storm} requests a second, {normal} are normal");
    issued_rows(&world, CODE, COUPONS.into(), SOON * 2).await?;
    world.quiet(SOON * 2, &[]).await?;
    Ok(())
}

/// First the API is gone, then it is back without Redis.
async fn outage(way: &Proxy, redis: &Proxy, started: Instant) {
    let until = |at: Duration| pause(at.saturating_sub(started.elapsed()));
    until(API_AWAY.start).await;
    way.cut().await.expect("the proxy runs");
    redis.cut().await.expect("the proxy runs");
    until(API_AWAY.end).await;
    way.restore().await.expect("the proxy runs");
    until(OUTAGE_END).await;
    redis.restore().await.expect("the proxy runs");
}

/// Counts once a second what the API has answered, until everybody has an answer.
async fn sample(api: &Process, all_told: &watch::Receiver<bool>, started: Instant) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    while !*all_told.borrow() {
        pause(Duration::from_secs(1)).await;
        let requests = api.metric("coupon_requests_total", "").await?.unwrap_or_default();
        samples.push(Sample { at: started.elapsed(), requests });
    }
    Ok(samples)
}

fn rate(window: &[Sample]) -> f64 {
    let (first, last) = (window[0], window[window.len() - 1]);
    (last.requests - first.requests) / last.at.saturating_sub(first.at).as_secs_f64()
}

/// The last answer of a call, as the oracle reads it.
fn answer(member: String, took: Duration, told: Ask) -> Result<Answer> {
    let answer = Answer { at: Utc::now(), took, member, coupon: CODE.to_owned(), ..Answer::default() };
    Ok(match told {
        Ask::Held { issue, is_repeat } => Answer {
            status: Some(if is_repeat { 200 } else { 202 }),
            request_id: Some(issue.request_id),
            state: Some(State::Accepted),
            ..answer
        },
        Ask::Refused(problem) => {
            ensure!(problem.meaning() == Meaning::SoldOut, "{}: {problem}", answer.member);
            Answer { status: Some(problem.status), code: Some(problem.code), ..answer }
        }
    })
}
