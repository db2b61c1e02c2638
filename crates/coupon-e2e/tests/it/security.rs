//! S: security, what foreign tokens, ids and texts may do.

use anyhow::{Context, Result};
use coupon_e2e::{answers::State, member::Member, wait::eventually, world::World};
use jsonwebtoken::Algorithm;

use crate::{SOON, Services, issued_rows, write::accepted};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_identity_comes_only_from_a_verified_token() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("SAFE", 10).await?;
    let api = world.start_api().await?;
    let token = || world.signer.token("mallory");
    let tokens = [
        ("forged", token().forged_with("0123456789abcdef0123456789abcdef").sign()?),
        ("expired", token().expires_in(-3600).sign()?),
        ("without expiry", token().without("exp").sign()?),
        ("wrong audience", token().claim("aud", "somewhere-else").sign()?),
        ("wrong issuer", token().claim("iss", "https://elsewhere.test").sign()?),
        ("wrong algorithm", token().algorithm(Algorithm::HS512).sign()?),
        ("no algorithm", token().unsigned()?),
        ("no subject", token().without("sub").sign()?),
        ("empty subject", token().claim("sub", "").sign()?),
        ("unprintable subject", token().claim("sub", "a\u{1b}[31m").sign()?),
        ("misleading subject", token().claim("sub", "a\u{202e}b").sign()?),
        ("long subject", token().claim("sub", "m".repeat(256)).sign()?),
        ("no token", "not-a-token".to_owned()),
    ];
    let before = world.stock.of("SAFE").await?.number("seq");
    for (what, token) in &tokens {
        let answer = Member::new("mallory", token, api.http_url()?, world.answers.clone())?.ask("SAFE").await;
        assert_eq!(answer.status, Some(401), "{what}: {answer:?}");
        assert!(answer.code.is_some(), "{what}: {answer:?}");
    }
    let without = world.member(&api, "mallory")?;
    let answer = without.ask_with("SAFE", |request| request.header("authorization", "Basic bWFsbG9yeTp4")).await;
    assert_eq!(answer.status, Some(401), "two Authorization headers: {answer:?}");
    assert_eq!(world.stock.of("SAFE").await?.issued.len(), 0, "somebody got in");
    assert_eq!(world.stock.of("SAFE").await?.number("seq"), before, "a sequence was given out");

    let impostor = world.member(&api, "mallory")?;
    let answer = impostor.ask_with("SAFE", |request| request.json(&serde_json::json!({ "member_id": "alice" }))).await;
    assert!(matches!(answer.status, Some(400..=499)), "{answer:?}");
    assert_eq!(world.stock.of("SAFE").await?.issued.len(), 0, "the body said who it was");
    accepted(&world, &api, "SAFE", "alice").await?;
    assert_eq!(world.stock.of("SAFE").await?.issued.keys().collect::<Vec<_>>(), ["alice"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s2_another_members_request_id_is_404() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("MINE", 10).await?;
    let services = Services::start(&world).await?;
    let id = accepted(&world, &services.api, "MINE", "alice").await?.request_id.context("a request id")?;
    accepted(&world, &services.api, "MINE", "mallory").await?;
    let (alice, mallory) = (world.member(&services.api, "alice")?, world.member(&services.api, "mallory")?);
    issued_rows(&world, "MINE", 2, SOON).await?;
    let mine = eventually("alice sees her coupon", SOON, async || {
        Some(alice.status("MINE", id).await).filter(|answer| answer.state == Some(State::Issued))
    })
    .await?;
    assert_eq!((mine.status, mine.request_id), (Some(200), Some(id)));
    let hers = mallory.status("MINE", id).await;
    assert_eq!((hers.status, hers.request_id), (Some(404), None), "{hers:?}");
    let none = mallory.status("MINE", uuid::Uuid::now_v7()).await;
    assert_eq!((none.status, &none.code), (hers.status, &hers.code), "an id that exists looks like one that does not");
    world.quiet(SOON, &[]).await?;
    Ok(())
}
