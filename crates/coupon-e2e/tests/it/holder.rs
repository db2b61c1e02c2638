//! A holder can always learn that they hold one, and no state goes back to less (DESIGN, I11).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::Utc;
use coupon_e2e::{
    answers::{Answer, State},
    member::Member,
    process::logs::LogLine,
    proxy::Proxy,
    servers::Servers,
    wait::eventually,
    world::World,
};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{
    SOON, Services,
    accept::published,
    issued_rows,
    replay::{given_up, replay},
    write::accepted,
};

/// What a person is needed for is not over in a second.
const A_PERSON: u64 = 30;

fn holds(answer: &Answer, id: Uuid) -> Result<()> {
    ensure!((answer.status, answer.request_id) == (Some(200), Some(id)), "{answer:?}");
    Ok(())
}

/// The member learns of the request by each way there is.
async fn learns(member: &Member, code: &str, id: Uuid, state: &str) -> Result<()> {
    holds(&member.ask(code).await, id)?;
    let (status, mine) = member.mine(code).await?;
    ensure!(status == 200 && mine["request_id"] == id.to_string().as_str() && mine["state"] == state, "{mine}");
    let status = member.status(code, id).await;
    ensure!(status.body["state"] == state, "{status:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_is_told_so_whether_the_campaign_is_sold_out_closed_over_or_archived() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("ENDS", 1).await?;
    let services = Services::start(&world).await?;
    let (holder, stranger) = (world.member(&services.api, "holder")?, world.member(&services.api, "stranger")?);
    let id = accepted(&world, &services.api, "ENDS", "holder").await?.request_id.context("a request id")?;
    issued_rows(&world, "ENDS", 1, SOON).await?;
    learns(&holder, "ENDS", id, "issued").await?;
    ensure!(stranger.ask("ENDS").await.is_refused_as(409, "SOLD_OUT"));

    let now = Utc::now().timestamp_millis().to_string();
    world.stock.set_meta("ENDS", &[("closes_at", &now)]).await?;
    let ended = "UPDATE coupons SET closes_at = to_timestamp($1::double precision / 1000)";
    sqlx::query(ended).bind(&now).execute(&world.db).await?;
    learns(&holder, "ENDS", id, "issued").await?;
    ensure!(stranger.ask("ENDS").await.is_refused_as(409, "CLOSED"), "over");
    world.coupon(&["close", "ENDS"]).await?.succeeded()?;
    learns(&holder, "ENDS", id, "issued").await?;
    ensure!(stranger.ask("ENDS").await.is_refused_as(409, "CLOSED"), "closed");
    let words = ["campaign", "archive", "ENDS", "--reason", "over", "--by", "olga", "--yes"];
    world.run("dlq-consumer", &words).await?.succeeded()?;
    learns(&holder, "ENDS", id, "issued").await?;
    ensure!(stranger.ask("ENDS").await.is_refused_as(409, "CLOSED"), "archived");
    let (status, nothing) = stranger.mine("ENDS").await?;
    ensure!(status == 404 && nothing["code"] == "NOTHING_HELD", "{nothing}");
    let (status, unknown) = stranger.mine("NO-SUCH").await?;
    ensure!(status == 404 && unknown["code"] == "COUPON_NOT_FOUND", "{unknown}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_is_away_or_suspect_postgresql_tells_the_holder_and_nobody_hears_that_nothing_is_held() -> Result<()>
{
    let world = World::new().await?;
    world.open_campaign("LOSES", 10).await?;
    let (redis, database) = (Proxy::before(&world.redis_url).await?, Proxy::before(&world.database_url).await?);
    let api = world.start_api().redis_through(&redis).database_through(&database).await?;
    let consumer = world.start_issue_consumer().await?;
    let (holder, waiting) = (world.member(&api, "holder")?, world.member(&api, "waiting")?);
    let id = accepted(&world, &api, "LOSES", "holder").await?.request_id.context("a request id")?;
    issued_rows(&world, "LOSES", 1, SOON).await?;
    consumer.terminate(SOON).await?;
    let undecided = accepted(&world, &api, "LOSES", "waiting").await?.request_id.context("a request id")?;

    let unknown = async |least: u64| -> Result<()> {
        let answers = [waiting.ask("LOSES").await, waiting.status("LOSES", undecided).await];
        for answer in answers {
            ensure!(answer.status == Some(503) && answer.retry_after >= Some(least), "{answer:?}");
        }
        ensure!(waiting.mine("LOSES").await?.0 == 503);
        Ok(())
    };
    redis.cut().await?;
    learns(&holder, "LOSES", id, "issued").await?;
    unknown(1).await?;
    database.cut().await?;
    ensure!(holder.ask("LOSES").await.status == Some(503) && holder.mine("LOSES").await?.0 == 503);
    redis.restore().await?;
    database.restore().await?;
    eventually("redis and postgresql answer again", SOON, async || {
        learns(&holder, "LOSES", id, "issued").await.and(learns(&waiting, "LOSES", undecided, "accepted").await).is_ok()
    })
    .await?;

    world.stock.set_meta("LOSES", &[("status", "SUSPECT")]).await?;
    learns(&holder, "LOSES", id, "issued").await?;
    unknown(A_PERSON).await?;
    world.stock.set_meta("LOSES", &[("status", "FILLING")]).await?;
    learns(&holder, "LOSES", id, "issued").await?;
    unknown(1).await?;
    // Also a closed campaign has lost what is on its way to PostgreSQL.
    world.stock.set_meta("LOSES", &[("status", "CLOSED")]).await?;
    sqlx::query("UPDATE coupons SET status = 'CLOSED'").execute(&world.db).await?;
    learns(&waiting, "LOSES", undecided, "accepted").await?;
    world.stock.flush().await?;
    learns(&holder, "LOSES", id, "issued").await?;
    unknown(A_PERSON).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p10_a_replayed_request_names_the_one_that_took_its_place() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("AGAIN", 5).await?;
    let services = Services::start(&world).await?;
    let ids = given_up(&world, &services.api, "AGAIN", &["alice"]).await?;
    let alice = world.member(&services.api, "alice")?;
    let before = alice.status("AGAIN", ids[0]).await;
    ensure!(before.state == Some(State::Compensated) && before.body.get("replaced_by").is_none(), "{before:?}");
    ensure!(alice.mine("AGAIN").await?.0 == 404, "nothing is held");
    world.coupon(&["close", "AGAIN"]).await?.succeeded()?;
    replay(&world, &["--coupon", "AGAIN", "--after-close"]).await?.succeeded()?;
    issued_rows(&world, "AGAIN", 1, SOON).await?;
    let after = alice.status("AGAIN", ids[0]).await;
    ensure!(after.state == Some(State::Compensated), "{after:?}");
    let other = &after.body["replaced_by"];
    ensure!(other["state"] == "issued" && other["expires_at"].is_string(), "{after:?}");
    let id: Uuid = other["request_id"].as_str().context("an id")?.parse()?;
    learns(&alice, "AGAIN", id, "issued").await?;
    let (_, _, list) = alice.get("/api/v1/issues/mine").await?;
    let states: Vec<&str> =
        list["issues"].as_array().context("a list")?.iter().filter_map(|one| one["state"].as_str()).collect();
    assert_eq!(states, ["issued", "compensated"]);
    ensure!(list["issues"][1]["replaced_by"]["request_id"] == id.to_string().as_str(), "{list}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_member_was_told_never_goes_back_to_less_whatever_process_is_asked() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("FORTH", 1000).await?;
    let database = Proxy::before(&world.database_url).await?;
    let other = world.start_api().database_through(&database);
    let (api, other) = tokio::try_join!(world.start_api().into_future(), other.into_future())?;
    let mut asking = JoinSet::new();
    for number in 0..200 {
        let name = format!("member-{number}");
        let (here, there) = (world.member(&api, &name)?, world.member(&other, &name)?);
        asking.spawn(async move {
            let told = here.ask("FORTH").await;
            let id = told.request_id.context("a request id")?;
            if told.state == Some(State::Accepted) {
                let later = [there.status("FORTH", id).await, there.ask("FORTH").await, here.ask("FORTH").await];
                for later in later {
                    // What cannot be answered at the moment is said as such.
                    let is_told = later.state == Some(State::Accepted) || later.status == Some(503);
                    ensure!(is_told, "accepted, then {later:?}");
                }
            }
            Ok(told.state == Some(State::Accepted))
        });
    }
    let mut told = 0;
    for accepted in asking.join_all().await {
        told += u32::from(accepted?);
    }
    ensure!(told > 100, "{told} were accepted at once");

    let _consumer = world.start_issue_consumer().await?;
    issued_rows(&world, "FORTH", 200, SOON).await?;
    let member = world.member(&other, "member-0")?;
    let id = member.ask("FORTH").await.request_id.context("a request id")?;
    ensure!(member.status("FORTH", id).await.state == Some(State::Issued));
    database.cut().await?;
    let away = member.status("FORTH", id).await;
    ensure!(away.is_refused_as(503, "DATABASE_UNAVAILABLE") && away.retry_after.is_some(), "{away:?}");
    ensure!(member.mine("FORTH").await?.0 == 503);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_starts_while_kafka_is_away_accepts_as_reserved_and_is_ready() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("ROLLED", 10).await?;
    let kafka = Proxy::before(&format!("kafka://{}", Servers::from_env()?.kafka_brokers)).await?;
    kafka.cut().await?;
    let api = world.start_api().kafka_through(&kafka).await?;
    let answer = accepted(&world, &api, "ROLLED", "somebody").await?;
    assert_eq!((answer.status, answer.state), (Some(202), Some(State::Reserved)));
    eventually("/readyz names kafka and is ready", SOON, async || -> Result<bool> {
        let page = api.admin_page("/readyz").await?;
        Ok(api.admin_status("/readyz").await == Some(200) && page.contains("waiting for kafka"))
    })
    .await?;
    kafka.restore().await?;
    published(&world, &[answer.request_id.context("a request id")?], SOON * 2).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_carries_an_id_that_stands_in_the_log_and_a_token_that_does_not_count_is_called_so() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("FAULT", 10).await?;
    let redis = Proxy::before(&world.redis_url).await?;
    let api = world.start_api().redis_through(&redis).await?;
    let member = world.member(&api, "somebody")?;
    redis.cut().await?;
    let answer = member.ask_with("FAULT", |request| request.header("x-request-id", "from-the-shop-7")).await;
    assert_eq!(answer.body["instance"], "x-request-id:from-the-shop-7");
    let of = |id: &str| {
        let id = id.to_owned();
        move |line: &LogLine| line.text_of("id").as_ref() == Some(&id)
    };
    let line = api.wait_for_log("the fault", Duration::from_secs(5), of("from-the-shop-7")).await?;
    assert_eq!(line.text_of("code").as_deref(), Some("STOCK_UNAVAILABLE"));

    // Also where no handler is, and for each of a code, not only its first.
    for (path, expected) in [("/no/such/route", 404), ("/api/v1/coupons/FAULT/issues", 405)] {
        let (status, headers, problem) =
            member.get_with(path, |request| request.header("x-request-id", "from-the-shop-8")).await?;
        assert_eq!(problem["instance"], "x-request-id:from-the-shop-8");
        assert_eq!((status, headers["x-request-id"].to_str()?), (expected, "from-the-shop-8"));
    }
    // Without a name of the caller's, or with one that belongs in no log, there is one that was made.
    let again = member.ask_with("FAULT", |request| request.header("x-request-id", "{\"a\": \"b\"}")).await;
    let again = again.body["instance"].as_str().and_then(|urn| urn.strip_prefix("urn:uuid:")).context("an id")?;
    api.wait_for_log("the next one", Duration::from_secs(5), of(again)).await?;

    let stranger = Member::new("somebody", "no.such.token", api.http_url()?, world.answers.clone())?;
    let (status, headers, problem) = stranger.get("/api/v1/issues/mine").await?;
    ensure!(status == 401 && headers["www-authenticate"] == "Bearer error=\"invalid_token\"", "{headers:?} {problem}");
    let (_, _, long) = Member::new("somebody", &"x".repeat(9000), api.http_url()?, world.answers.clone())?
        .get("/api/v1/issues/mine")
        .await?;
    ensure!(long["detail"].as_str().is_some_and(|detail| detail.contains("longer than 8192 bytes")), "{long}");
    Ok(())
}
