//! A: campaigns that a waiting room stands in front of.

use std::fs;

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    answers::Answer,
    member::{
        Member,
        token::{Signer, Token},
    },
    process::{Process, command::Output, launch::Launch},
    proxy::Proxy,
    wait::eventually,
    world::World,
};
use serde_json::{Value, json};

use crate::{SOON, console_work::Desk, write::accepted};

/// A waiting room, with a key that it shares with issuer-api.
pub(crate) struct Room {
    signer: Signer,
    settings: Vec<(&'static str, String)>,
}

impl Room {
    pub(crate) fn new(world: &World) -> Result<Self> {
        let signer = Signer::new("the-secret-of-the-waiting-room-32-bytes", "https://queue.test", "admission");
        let file = world.folder().join("queue.secret");
        fs::write(&file, signer.secret())?;
        let settings = vec![
            ("admission.issuer", signer.issuer().to_owned()),
            ("admission.audience", signer.audience().to_owned()),
            ("admission.algorithms", "HS256".to_owned()),
            ("admission.hmac_secret_files", file.display().to_string()),
        ];
        Ok(Self { signer, settings })
    }

    /// Lets a launch of issuer-api verify tokens of the room.
    pub(crate) fn before(&self, launch: Launch) -> Launch {
        self.settings.iter().fold(launch, |launch, (key, value)| launch.set(key, value))
    }

    /// A `coupon` command with the settings of the room.
    pub(crate) async fn coupon(&self, world: &World, words: &[&str]) -> Result<Output> {
        let sets: Vec<String> = self.settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        let words: Vec<&str> = sets.chain(["coupon"]).chain(words.iter().copied()).collect();
        world.run("issuer-api", &words).await
    }

    /// Creates a campaign that requires admission, and opens it at once.
    pub(crate) async fn open(&self, world: &World, code: &str) -> Result<()> {
        self.coupon(world, &["create", code, "--total", "5", "--admission", "required"]).await?.succeeded()?;
        self.coupon(world, &["open", code]).await?.succeeded().map(drop)
    }

    pub(crate) fn token(&self, member: &str, code: &str) -> Token {
        self.signer.token(member).claim("campaign", code)
    }
}

async fn asked(member: &Member, code: &str, token: &str) -> Answer {
    member.ask_with(code, |request| request.header("coupon-admission", token)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_that_requires_admission_reserves_only_with_a_token_of_its_waiting_room() -> Result<()> {
    let world = World::new().await?;
    let room = Room::new(&world)?;
    let api = room.before(world.start_api()).await?;
    // The process runs before the campaign is there, and knows at once that it requires admission.
    room.open(&world, "QUEUE").await?;
    let alice = world.member(&api, "alice")?;
    let without = alice.ask("QUEUE").await;
    ensure!(without.is_refused_as(403, "ADMISSION_REQUIRED"), "{without:?}");
    let good = room.token("alice", "QUEUE");
    let wrong = [
        (good.clone().expires_in(-60), "ADMISSION_EXPIRED"),
        (room.token("bob", "QUEUE"), "ADMISSION_INVALID"),
        (room.token("alice", "OTHER"), "ADMISSION_INVALID"),
        (good.clone().without("campaign"), "ADMISSION_INVALID"),
        (good.clone().without("exp"), "ADMISSION_INVALID"),
        (good.clone().claim("aud", "coupons"), "ADMISSION_INVALID"),
        (good.clone().claim("iss", "https://identity.test"), "ADMISSION_INVALID"),
        (good.clone().forged_with("another-secret-of-32-bytes-or-more--"), "ADMISSION_INVALID"),
        (world.signer.token("alice").claim("campaign", "QUEUE"), "ADMISSION_INVALID"),
    ];
    for (number, (token, code)) in wrong.iter().enumerate() {
        let answer = asked(&alice, "QUEUE", &token.sign()?).await;
        ensure!(answer.is_refused_as(403, code), "{number}: {answer:?}");
    }
    for broken in ["", "x", &good.unsigned()?, &format!("{}x", good.sign()?)] {
        let answer = asked(&alice, "QUEUE", broken).await;
        ensure!(answer.is_refused_as(403, "ADMISSION_INVALID"), "{broken}: {answer:?}");
    }
    let signed = good.sign()?;
    let twice = alice
        .ask_with("QUEUE", |request| request.header("coupon-admission", &signed).header("coupon-admission", &signed));
    ensure!(twice.await.is_refused_as(403, "ADMISSION_INVALID"));
    ensure!(world.stock.of("QUEUE").await?.issued.is_empty(), "nothing was reserved");
    // A token of the waiting room is none of a member.
    let stranger = Member::new("alice", &signed, api.http_url()?, world.answers.clone())?;
    ensure!(stranger.ask("QUEUE").await.is_refused_as(401, "UNAUTHENTICATED"));

    let admitted = asked(&alice, "QUEUE", &signed).await;
    ensure!(admitted.status == Some(202), "{admitted:?}");
    world.open_campaign("FREE", 5).await?;
    let free = asked(&alice, "FREE", "what is not read cannot be wrong").await;
    ensure!(free.status == Some(202), "{free:?}");
    ensure!(alice.ask("NOWHERE").await.is_refused_as(404, "COUPON_NOT_FOUND"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_whom_no_waiting_room_admits_any_more_is_answered_as_ever() -> Result<()> {
    let world = World::new().await?;
    let room = Room::new(&world)?;
    let api = room.before(world.start_api()).await?;
    room.open(&world, "QUEUE").await?;
    let (alice, bob) = (world.member(&api, "alice")?, world.member(&api, "bob")?);
    let first = asked(&alice, "QUEUE", &room.token("alice", "QUEUE").sign()?).await;
    ensure!(first.status == Some(202), "{first:?}");
    let late = room.token("alice", "QUEUE").expires_in(-60).sign()?;
    for repeat in [alice.ask("QUEUE").await, asked(&alice, "QUEUE", &late).await, asked(&alice, "QUEUE", "x").await] {
        ensure!(repeat.status == Some(200) && repeat.request_id == first.request_id, "{repeat:?}");
        ensure!(repeat.location.is_some() && repeat.state.is_some(), "{repeat:?}");
    }
    ensure!(alice.mine("QUEUE").await?.0 == 200, "what is held is told to everybody");
    world.coupon(&["close", "QUEUE"]).await?.succeeded()?;
    let closed = alice.ask("QUEUE").await;
    ensure!(closed.status == Some(200) && closed.request_id == first.request_id, "{closed:?}");
    ensure!(bob.ask("QUEUE").await.is_refused_as(403, "ADMISSION_REQUIRED"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admission_is_switched_while_members_ask_and_the_audit_says_by_whom() -> Result<()> {
    let world = World::new().await?;
    let room = Room::new(&world)?;
    let api = room.before(world.start_api()).await?;
    world.open_campaign("LATER", 50).await?;
    accepted(&world, &api, "LATER", "early").await?;
    room.coupon(&world, &["set-admission", "LATER", "required"]).await?.succeeded()?;
    let mut members = 0;
    let mut ask = async || -> Result<Answer> {
        members += 1;
        Ok(world.member(&api, &format!("member-{members}"))?.ask("LATER").await)
    };
    eventually("it is required", SOON, async || -> Result<bool> {
        Ok(ask().await?.is_refused_as(403, "ADMISSION_REQUIRED"))
    })
    .await?;
    let shown: Value = serde_json::from_str(&world.coupon(&["show", "LATER", "--output", "json"]).await?.succeeded()?)?;
    assert_eq!(shown["admission_required"], true, "{shown}");
    let desk = Desk::new(&world, "olga", "operator").await?;
    let off = json!({ "admission": "off", "reason": "the rush is over" });
    let (status, changed) = desk.change("/campaigns/LATER/set-admission", off).await?;
    ensure!(status == 200 && changed["campaign"]["admission_required"] == false, "{status} {changed}");
    eventually("it is not required any more", SOON, async || -> Result<bool> { Ok(ask().await?.is_held()) }).await?;
    let wrong = json!({ "admission": "perhaps", "reason": "r" });
    assert_eq!(desk.change("/campaigns/LATER/set-admission", wrong).await?.0, 400);
    let rows: Vec<(String, Value, String)> = sqlx::query_as(
        "SELECT actor, change, reason FROM operator_audit WHERE verb = 'coupon.set-admission' ORDER BY id",
    )
    .fetch_all(&world.db)
    .await?;
    let change =
        |from: bool, to: bool| json!({ "from": { "admission_required": from }, "to": { "admission_required": to } });
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0].0.as_str(), &rows[0].1), ("e2e", &change(false, true)));
    let last = ("olga".to_owned(), change(true, false), "the rush is over".to_owned());
    assert_eq!(rows[1], last);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_keys_of_a_waiting_room_nothing_is_accepted_that_requires_admission() -> Result<()> {
    let world = World::new().await?;
    let room = Room::new(&world)?;
    for words in
        [&["create", "QUEUE", "--total", "5", "--admission", "required"][..], &["set-admission", "QUEUE", "required"]]
    {
        let refused = world.coupon(words).await?;
        ensure!(refused.code == Some(2) && refused.stderr.contains("admission.issuer is not set"), "{refused:?}");
    }
    room.open(&world, "QUEUE").await?;
    let api: Process = world.start_api().await?;
    let token = room.token("alice", "QUEUE").sign()?;
    let alice = world.member(&api, "alice")?;
    // It was ready only when it knew of the campaign: what it accepts once, it holds for ever.
    let first = asked(&alice, "QUEUE", &token).await;
    ensure!(first.is_refused_as(503, "GATE_CLOSED"), "{first:?}");
    ensure!(world.stock.of("QUEUE").await?.issued.is_empty(), "nothing was reserved");
    api.wait_for_log("it says what to do", SOON, |line| line.message().contains("set admission.issuer")).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_postgresql_is_away_who_is_admitted_is_accepted_and_nobody_else() -> Result<()> {
    let world = World::new().await?;
    let room = Room::new(&world)?;
    room.open(&world, "QUEUE").await?;
    let database = Proxy::before(&world.database_url).await?;
    database.cut().await?;
    // It has never read which campaigns require admission.
    let api = room.before(world.start_api().database_through(&database)).await?;
    let (alice, bob) = (world.member(&api, "alice")?, world.member(&api, "bob")?);
    let admitted = asked(&alice, "QUEUE", &room.token("alice", "QUEUE").sign()?).await;
    ensure!(admitted.status == Some(202), "{admitted:?}");
    let unknown = bob.ask("QUEUE").await;
    ensure!(unknown.is_refused_as(503, "DATABASE_UNAVAILABLE") && unknown.retry_after.is_some(), "{unknown:?}");
    let repeat = alice.ask("QUEUE").await;
    ensure!(repeat.status == Some(200) && repeat.request_id == admitted.request_id, "{repeat:?}");
    database.restore().await?;
    eventually("it is read", SOON * 2, async || bob.ask("QUEUE").await.is_refused_as(403, "ADMISSION_REQUIRED"))
        .await?;
    database.cut().await?;
    // What was read last counts.
    let away = bob.ask("QUEUE").await;
    ensure!(away.is_refused_as(403, "ADMISSION_REQUIRED"), "{away:?}");
    world.stock.of("QUEUE").await?.holder_of("alice").context("the one holder").map(drop)
}
