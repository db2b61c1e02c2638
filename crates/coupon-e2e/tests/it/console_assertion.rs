//! S: operators whom an identity provider vouches for.

use anyhow::{Context, Result};
use coupon_e2e::{
    console::{Console, ROLES, operator, verbs},
    identity::IdentityProvider,
    member::token::Signer,
    world::World,
};
use jsonwebtoken::Algorithm;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

/// Header by which the proxy of the test vouches for operators.
const HEADER: &str = "x-forwarded-access-token";

/// Status and problem code of an answer to a program.
async fn asked(request: RequestBuilder) -> Result<(u16, String)> {
    let answer = request.header("accept", "application/json").send().await?;
    let status = answer.status().as_u16();
    let problem: Value = if status < 400 { Value::Null } else { answer.json().await? };
    Ok((status, problem["code"].as_str().unwrap_or_default().to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assertion_gives_the_role_of_its_claim_and_is_named_in_the_audit() -> Result<()> {
    let (world, console) = (World::new().await?, Console::new()?);
    let (provider, signer) = (IdentityProvider::plain()?, Signer::new_of_world().signing_with(Algorithm::ES256)?);
    provider.publish(&[signer.jwk("one")?]);
    let dlq = world
        .start_dlq_consumer()
        .set("console.listen", console.address())
        .set("console.assertion.issuer", signer.issuer())
        .set("console.assertion.audience", "coupon-console")
        .set("console.assertion.header", HEADER)
        .set("console.assertion.name_claim", "email")
        .set("console.assertion.role_claim", "/realm/groups")
        .set("console.assertion.roles", "ops=operator,all=viewer")
        .set("console.assertion.jwks_url", provider.url())
        .await?;
    let of = |groups: &[&str]| {
        let token =
            signer.token("u-17").claim("aud", "coupon-console").claim("email", "alice@company.example").kid("one");
        token.claim("realm", json!({ "groups": groups }))
    };
    let viewer = of(&["all", "others"]).sign()?;
    for request in [console.get("/health").header(HEADER, &viewer), console.get("/health").bearer_auth(&viewer)] {
        assert_eq!(asked(request).await?.0, 200);
    }
    let refused = [
        of(&["all"]).expires_in(-3600).sign()?,
        of(&["all"]).claim("aud", "coupons").sign()?,
        of(&["all"]).claim("iss", "https://elsewhere.test").sign()?,
        of(&["all"]).without("email").sign()?,
        of(&["all"]).without("exp").sign()?,
        of(&["all"]).unsigned()?,
        Signer::new_of_world().signing_with(Algorithm::ES256)?.token("u-17").claim("aud", "coupon-console").sign()?,
    ];
    for token in &refused {
        for request in [console.get("/health").header(HEADER, token), console.get("/health").bearer_auth(token)] {
            assert_eq!(asked(request).await?, (401, "UNAUTHENTICATED".to_owned()), "{token}");
        }
    }
    let nobody = of(&["others"]).sign()?;
    assert_eq!(asked(console.get("/health").header(HEADER, &nobody)).await?, (403, "NO_ROLE".to_owned()));

    let denied =
        verbs(&world).await?.into_iter().find(|verb| verb.role > 0).context("a verb that not everybody may")?;
    let request =
        console.ask(denied.method, &denied.path).header("sec-fetch-site", "same-origin").header(HEADER, &viewer);
    assert_eq!(asked(request).await?, (403, "FORBIDDEN".to_owned()), "{}", denied.name);
    let rows: Vec<(String, Value, Value)> =
        sqlx::query_as("SELECT actor, provenance, change FROM operator_audit WHERE verb = 'denied' ORDER BY id")
            .fetch_all(&world.db)
            .await?;
    let [without_role, row] = &rows[..] else { anyhow::bail!("{rows:?}") };
    assert!(without_role.2["denied"] == "login" && without_role.1["role"].is_null(), "{without_role:?}");
    assert_eq!(row.0, "alice@company.example");
    assert_eq!(
        (&row.1["login"], &row.1["role"], &row.1["source"]),
        (&"ASSERTION".into(), &"viewer".into(), &"127.0.0.1".into())
    );
    assert!(![&viewer, &nobody].into_iter().any(|token| dlq.log_contains(token)), "an assertion is in the log");
    // Tokens of operators themselves count beside it, on loopback.
    let own = operator(&world, "bob", ROLES[0]).await?;
    assert_eq!(asked(console.get("/health").bearer_auth(&own)).await?.0, 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_proxy_adds_to_a_foreign_pages_request_changes_nothing() -> Result<()> {
    let (world, console) = (World::new().await?, Console::new()?);
    let secret = world.secret_file();
    let _dlq = world
        .start_dlq_consumer()
        .set("console.listen", console.address())
        .set("console.assertion.issuer", world.signer.issuer())
        .set("console.assertion.audience", "coupon-console")
        .set("console.assertion.algorithms", "HS256")
        .set("console.assertion.hmac_secret_file", secret.display())
        .set("console.assertion.header", HEADER)
        .set("console.assertion.roles", "ops=admin")
        .await?;
    let token = world.signer.token("alice").claim("aud", "coupon-console").claim("groups", "ops").sign()?;
    let host = format!("http://{}", console.address());
    let foreign: [&[(&str, &str)]; 4] = [
        &[],
        &[("origin", "null")],
        &[("origin", "http://evil.test")],
        &[("sec-fetch-site", "cross-site"), ("origin", host.as_str())],
    ];
    for headers in foreign {
        let request = console.ask(Method::POST, "/logout").header(HEADER, &token);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        assert_eq!(asked(request).await?, (403, "CROSS_SITE".to_owned()), "{headers:?}");
    }
    assert_eq!(console.post("/logout").header(HEADER, &token).send().await?.status(), 303, "its own page");
    // A program sends it by itself, and no browser adds this header to a foreign page's request; where a proxy does, the
    // browser says so.
    assert_eq!(console.ask(Method::POST, "/logout").bearer_auth(&token).send().await?.status(), 303);
    let added = console.ask(Method::POST, "/logout").bearer_auth(&token).header("origin", "http://evil.test");
    assert_eq!(asked(added).await?, (403, "CROSS_SITE".to_owned()));
    Ok(())
}
