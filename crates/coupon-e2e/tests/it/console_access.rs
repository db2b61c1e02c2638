//! S: what the console refuses, and to whom.

use anyhow::{Context, Result};
use coupon_e2e::{
    console::{Console, ROLES, Verb, cookie, form, operator, verbs},
    world::World,
};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;

use crate::write::accepted;

/// Sends a request as a program does, and returns its status and the code of its problem.
async fn asked(request: RequestBuilder) -> Result<(u16, String)> {
    let answer = request.header("accept", "application/json").send().await?;
    carries_the_security_headers(&answer)?;
    let status = answer.status().as_u16();
    // What is served may be a stream without an end.
    let refused = matches!(status, 400..=599);
    let problem: Value = if refused { answer.json().await.unwrap_or_default() } else { Value::Null };
    Ok((status, problem["code"].as_str().unwrap_or_default().to_owned()))
}

/// A request for a verb, with an empty JSON object where it changes something.
fn verb_of(console: &Console, verb: &Verb) -> RequestBuilder {
    let request = console.ask(verb.method.clone(), &verb.path);
    if verb.method == Method::POST { request.json(&Value::Object(serde_json::Map::new())) } else { request }
}

fn carries_the_security_headers(answer: &Response) -> Result<()> {
    let wanted = [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        (
            "content-security-policy",
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
             form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
    ];
    for (name, value) in wanted {
        let found = answer.headers().get(name).map(|value| value.to_str().unwrap_or_default());
        anyhow::ensure!(found == Some(value), "{} {}: {name} is {found:?}", answer.status(), answer.url());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_serves_the_roles_of_the_table_and_no_other() -> Result<()> {
    let (world, console) = (World::new().await?, Console::new()?);
    let dlq = console.start(&world).await?;
    let verbs = verbs(&world).await?;
    assert!(verbs.len() >= 4, "{verbs:?}");
    let mut denied = 0;
    for (place, role) in ROLES.iter().enumerate() {
        let token = operator(&world, role, role).await?;
        for verb in &verbs {
            let (status, code) = asked(verb_of(&console, verb).bearer_auth(&token)).await?;
            if place < verb.role {
                denied += 1;
                assert_eq!((status, code.as_str()), (403, "FORBIDDEN"), "{} as {role}", verb.name);
            } else {
                assert!(!matches!(status, 401 | 403 | 405), "{} as {role}: {status} {code}", verb.name);
            }
        }
    }
    for verb in &verbs {
        for token in [None, Some("cop_0000000000000000000000000000000000000000000"), Some("x")] {
            let request = verb_of(&console, verb);
            let request = token.iter().fold(request, RequestBuilder::bearer_auth);
            assert_eq!(asked(request).await?, (401, "UNAUTHENTICATED".to_owned()), "{} with {token:?}", verb.name);
        }
        if verb.method == Method::GET {
            let answer = console.get(&verb.path).header("accept", "text/html").send().await?;
            let leads_to = answer.headers().get("location").context("a way to the login")?.to_str()?;
            assert!(answer.status() == 303 && leads_to.starts_with("/login?next="), "{}: {leads_to}", verb.name);
        }
    }
    let rows: Vec<(String, Value, Value)> =
        sqlx::query_as("SELECT actor, change, provenance FROM operator_audit WHERE verb = 'denied' ORDER BY id")
            .fetch_all(&world.db)
            .await?;
    assert_eq!(rows.len(), denied, "each denial is in the audit");
    if let Some((actor, change, provenance)) = rows.first() {
        assert_eq!(
            (actor.as_str(), &provenance["login"], &provenance["role"]),
            ("viewer", &"TOKEN".into(), &"viewer".into())
        );
        assert!(provenance["source"] == "127.0.0.1" && change["denied"].is_string(), "{change} {provenance}");
    }
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    let denied = denied as f64;
    assert_eq!(dlq.metric("coupon_console_denials_total", "ROLE").await?, Some(denied));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_every_operator_route_refuses_a_member_token() -> Result<()> {
    let (world, console, asserted) = (World::new().await?, Console::new()?, Console::new()?);
    world.open_campaign("MINE", 1).await?;
    let api = world.start_api().await?;
    let _tokens = console.start(&world).await?;
    // The worst case: the operators' identity provider is the members' one, with the same key.
    let _assertions = world
        .start_dlq_consumer()
        .set("console.listen", asserted.address())
        .set("console.assertion.issuer", world.signer.issuer())
        .set("console.assertion.audience", "coupon-console")
        .set("console.assertion.algorithms", "HS256")
        .set("console.assertion.hmac_secret_file", world.secret_file().display())
        .set("console.assertion.header", "x-assertion")
        .set("console.assertion.role_claim", "groups")
        .set("console.assertion.roles", "staff=admin")
        .await?;
    let token = world.signer.token("mallory").claim("groups", "staff").sign()?;
    // It is one that the issuer takes.
    accepted(&world, &api, "MINE", "mallory").await?;
    let operators = world.signer.token("bob").claim("groups", "staff").claim("aud", "coupon-console").sign()?;
    let good = asked(asserted.get("/health").header("x-assertion", operators)).await?;
    assert_eq!(good.0, 200, "{good:?}");
    for verb in verbs(&world).await? {
        for console in [&console, &asserted] {
            let ask = || verb_of(console, &verb);
            let ways = [
                ask().bearer_auth(&token),
                ask().header("x-assertion", &token),
                ask().header("cookie", format!("__Host-coupon-session={token}")),
            ];
            for request in ways {
                assert_eq!(asked(request).await?, (401, "UNAUTHENTICATED".to_owned()), "{}", verb.name);
            }
        }
    }
    let answer = console.log_in("token", &token).await?;
    assert_eq!((answer.status().as_u16(), cookie(&answer)), (401, None));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_another_site_asks_for_is_refused() -> Result<()> {
    let (world, console) = (World::new().await?, Console::new()?);
    let _dlq = console.start(&world).await?;
    let token = operator(&world, "alice", "admin").await?;
    let session = console.session(&token).await?;
    let host = console.address().to_string();
    let foreign = [
        vec![],
        vec![("origin", "null".to_owned())],
        vec![("origin", "http://evil.test".to_owned())],
        vec![("origin", format!("http://{host}.evil.test"))],
        vec![("sec-fetch-site", "cross-site".to_owned()), ("origin", format!("http://{host}"))],
        vec![("sec-fetch-site", "same-site".to_owned())],
        vec![("sec-fetch-site", "none".to_owned())],
    ];
    let count = async |which: &str| -> Result<i64> {
        let select = format!("SELECT count(*) FROM operator_audit WHERE verb {which} 'denied'");
        Ok(sqlx::query_scalar(sqlx::AssertSqlSafe(select)).fetch_one(&world.db).await?)
    };
    let before = count("<>").await?;
    let verbs = verbs(&world).await?;
    for headers in &foreign {
        let with = |request| {
            headers.iter().fold(request, |request: RequestBuilder, (name, value)| request.header(*name, value))
        };
        for verb in verbs.iter().filter(|verb| verb.method == Method::POST) {
            let refused = asked(with(console.ask(Method::POST, &verb.path)).header("cookie", &session)).await?;
            assert_eq!(refused, (403, "CROSS_SITE".to_owned()), "{} with {headers:?}", verb.name);
        }
        // A login would let the visitor work in somebody else's name.
        let login = form(with(console.ask(Method::POST, "/login")), &[("token", &token)]).send().await?;
        assert_eq!((login.status().as_u16(), cookie(&login)), (403, None), "{headers:?}");
    }
    assert_eq!(count("<>").await?, before, "nothing was changed");
    // Ten rows a minute, and this has taken less than five.
    let denied = count("=").await?;
    assert!((10..=50).contains(&denied), "{denied} rows tell of some hundred denials");
    let first: (String, String, Value, Value) = sqlx::query_as(
        "SELECT actor, subject, change, provenance FROM operator_audit WHERE verb = 'denied' ORDER BY id LIMIT 1",
    )
    .fetch_one(&world.db)
    .await?;
    assert_eq!((first.0.as_str(), &first.2["reason"]), ("alice", &"CROSS_SITE".into()), "{first:?}");
    assert_eq!((&first.3["login"], &first.3["source"]), (&"TOKEN".into(), &"127.0.0.1".into()), "{first:?}");
    for verb in verbs.iter().filter(|verb| verb.method == Method::POST) {
        let is_page = verbs.iter().any(|other| other.method == Method::GET && other.path == verb.path);
        let refused = asked(console.get(&verb.path).header("cookie", &session)).await?;
        assert!(is_page || matches!(refused.0, 404 | 405), "GET {}: {refused:?}", verb.path);
    }
    assert_eq!(asked(console.get("/health").header("cookie", &session)).await?.0, 200, "the session goes on");
    // An older browser says where it comes from by `Origin` alone.
    let own = console.ask(Method::POST, "/logout").header("origin", format!("http://{host}")).header("cookie", session);
    assert_eq!(own.send().await?.status(), 303);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_carries_the_security_headers_and_what_is_no_route_says_so() -> Result<()> {
    let (world, console) = (World::new().await?, Console::new()?);
    let _dlq = console.start(&world).await?;
    let token = operator(&world, "alice", "viewer").await?;
    let cases = [
        (Method::GET, "/no-such-page", 404),
        (Method::GET, "/no-such-page.json", 404),
        (Method::DELETE, "/health", 405),
        (Method::PUT, "/login", 405),
        (Method::GET, "/../../etc/passwd", 404),
        (Method::GET, "/login", 200),
        (Method::HEAD, "/health", 200),
    ];
    for (method, path, status) in cases {
        let answer = console.ask(method.clone(), path).bearer_auth(&token).send().await?;
        carries_the_security_headers(&answer)?;
        assert_eq!(answer.status().as_u16(), status, "{method} {path}");
    }
    // Assets are the same for everybody, and may be kept.
    let asset = console.get("/assets/console.css").send().await?;
    assert_eq!((asset.status().as_u16(), &asset.headers()["x-content-type-options"]), (200, &"nosniff".parse()?));
    let page = console.get("/no-such-page").bearer_auth(&token).header("accept", "text/html").send().await?;
    let page = page.text().await?;
    assert!(page.contains("there is no such page") && page.contains("href=\"/\""), "a way back: {page}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_console_that_is_read_only_changes_nothing_and_shows_everything() -> Result<()> {
    let (world, console) = (World::new().await?, Console::new()?);
    let launch = world.start_dlq_consumer().set("console.listen", console.address());
    let _dlq = launch.set("console.read_only", true).await?;
    let token = operator(&world, "alice", "admin").await?;
    for verb in verbs(&world).await? {
        let (status, code) = asked(verb_of(&console, &verb).bearer_auth(&token)).await?;
        if verb.method == Method::POST && verb.name != "logout" {
            assert_eq!((status, code.as_str()), (403, "READ_ONLY"), "{}", verb.name);
        } else {
            assert!(!matches!(status, 401 | 403), "{}: {status} {code}", verb.name);
        }
    }
    Ok(())
}
