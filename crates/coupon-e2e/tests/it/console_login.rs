//! S: logins of the console, how they begin and how they end.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use coupon_e2e::{
    console::{Console, cookie, form, operator},
    world::World,
};

/// Status of a page for the session with this cookie.
async fn page(console: &Console, session: &str) -> Result<u16> {
    let page = console.get("/health.json").header("cookie", session).send().await?;
    Ok(page.status().as_u16())
}

/// Makes a login link by command line and returns its code.
async fn code(world: &World, console: &Console, name: &str) -> Result<String> {
    let listen = format!("console.listen={}", console.address());
    let link = world.run("dlq-consumer", &["--set", &listen, "operator", "link", name, "--by", "e2e"]).await?;
    let link = link.succeeded()?;
    let begin = format!("http://{}/login?code=", console.address());
    Ok(link.trim().strip_prefix(&begin).with_context(|| format!("{link} is no link"))?.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_ends_by_logout_revocation_and_expiry() -> Result<()> {
    let (world, console) = (World::new().await?, Console::new()?);
    let dlq = console.start(&world).await?;
    let token = operator(&world, "alice", "viewer").await?;
    assert!(token.starts_with("cop_") && token.len() == 47, "{token}");
    let answer = console.log_in("token", &token).await?;
    let set = answer.headers().get("set-cookie").context("a session")?.to_str()?.to_owned();
    for part in ["__Host-coupon-session=", "; Path=/", "; Secure", "; HttpOnly", "; SameSite=Strict", "; Max-Age="] {
        assert!(set.contains(part) && !set.contains("Domain"), "{set}");
    }
    let [out, over, other] =
        [console.session(&token).await?, console.session(&token).await?, console.session(&token).await?];
    for session in [&out, &over, &other] {
        assert_eq!(page(&console, session).await?, 200);
    }
    assert_eq!(console.post("/logout").header("cookie", &out).send().await?.status(), 303);
    assert_eq!(page(&console, &out).await?, 401, "after the logout");
    assert_eq!(page(&console, &other).await?, 200, "another session goes on");
    let expire = "UPDATE operator_sessions SET expires_at = now() WHERE session_hash = sha256(convert_to($1, 'UTF8'))";
    let value = over.split_once('=').context("a value")?.1;
    assert_eq!(sqlx::query(expire).bind(value).execute(&world.db).await?.rows_affected(), 1);
    assert_eq!(page(&console, &over).await?, 401, "after eight hours");
    world.run("dlq-consumer", &["operator", "revoke", "alice", "--by", "e2e"]).await?.succeeded()?;
    assert_eq!(page(&console, &other).await?, 401, "after the revocation");
    assert_eq!(console.get("/health.json").bearer_auth(&token).send().await?.status(), 401);
    assert_eq!(console.log_in("token", &token).await?.status(), 401);

    let token = operator(&world, "bob", "admin").await?;
    let session = console.session(&token).await?;
    sqlx::query("UPDATE operators SET expires_at = now() WHERE name = 'bob'").execute(&world.db).await?;
    assert_eq!(page(&console, &session).await?, 401, "a session does not outlive its token");
    assert_eq!(console.get("/health.json").bearer_auth(&token).send().await?.status(), 401);
    // Whose name it was stays clear for ever.
    let again =
        world.run("dlq-consumer", &["operator", "add", "alice", "--role", "admin", "--expires", "1d", "--by", "e2e"]);
    let again = again.await?;
    assert!(again.code == Some(1) && again.stdout.is_empty() && again.stderr.contains("is or was"), "{again:?}");
    let secrets = [token, value.to_owned()];
    assert!(!secrets.iter().any(|secret| dlq.log_contains(secret)), "a secret is in the log");
    let verbs: Vec<String> =
        sqlx::query_scalar("SELECT DISTINCT verb FROM operator_audit ORDER BY verb").fetch_all(&world.db).await?;
    // The token that was revoked was tried once more.
    assert_eq!(verbs, ["denied", "login", "operator.add", "operator.revoke"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_link_works_once_and_not_by_being_looked_at() -> Result<()> {
    let (world, console) = (World::new().await?, Console::new()?);
    let dlq = console.start(&world).await?;
    operator(&world, "alice", "operator").await?;
    let old = code(&world, &console, "alice").await?;
    let new = code(&world, &console, "alice").await?;
    assert_eq!(console.log_in("code", &old).await?.status(), 401, "a newer link takes its place");
    for _ in 0..2 {
        let looked_at = console.get(&format!("/login?code={new}")).send().await?;
        assert_eq!((looked_at.status().as_u16(), cookie(&looked_at)), (200, None));
    }
    let both = tokio::try_join!(console.log_in("code", &new), console.log_in("code", &new))?;
    let sessions: Vec<String> = [&both.0, &both.1].into_iter().filter_map(cookie).collect();
    assert_eq!(sessions.len(), 1, "{both:?}");
    assert_eq!(page(&console, &sessions[0]).await?, 200);
    assert_eq!(console.log_in("code", &new).await?.status(), 401, "it was used");
    let late = code(&world, &console, "alice").await?;
    sqlx::query("UPDATE operators SET login_code_expires_at = now()").execute(&world.db).await?;
    assert_eq!(console.log_in("code", &late).await?.status(), 401, "ten minutes are over");
    assert!(![&old, &new, &late].into_iter().any(|code| dlq.log_contains(code)), "a code is in the log");
    let nobody = world
        .run("dlq-consumer", &["--set", "console.listen=127.0.0.1:1", "operator", "link", "eve", "--by", "e2e"])
        .await?;
    assert!(nobody.code == Some(1) && nobody.stderr.contains("no operator eve"), "{nobody:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_eleventh_login_of_a_minute_is_refused_whatever_the_token() -> Result<()> {
    let (world, console) = (World::new().await?, Console::new()?);
    let dlq = console.start(&world).await?;
    let token = operator(&world, "alice", "viewer").await?;
    for _ in 0..10 {
        assert_eq!(console.log_in("token", "cop_guess").await?.status(), 401);
    }
    let refused = console.log_in("token", &token).await?;
    assert_eq!((refused.status().as_u16(), cookie(&refused)), (429, None));
    assert!(refused.text().await?.contains("too many attempts"));
    let denials = |reason| dlq.metric("coupon_console_denials_total", reason);
    assert_eq!((denials("TOKEN").await?, denials("ATTEMPTS").await?), (Some(10.0), Some(1.0)));
    let audited: Vec<(Option<String>, String, String)> = sqlx::query_as(
        "SELECT change ->> 'reason', provenance ->> 'login', provenance ->> 'source' FROM operator_audit
         WHERE verb = 'denied' AND actor = '(nobody)' AND subject = '/login' AND change ->> 'denied' = 'login'",
    )
    .fetch_all(&world.db)
    .await?;
    let expected = (Some("TOKEN".to_owned()), "NOBODY".to_owned(), "127.0.0.1".to_owned());
    assert_eq!(audited, vec![expected; 10], "ten rows a minute, whatever is tried");
    assert_eq!(console.get("/health.json").bearer_auth(&token).send().await?.status(), 200, "programs are not held up");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_source_behind_a_trusted_proxy_is_the_client_and_nobody_can_forge_it() -> Result<()> {
    let (world, console) = (World::new().await?, Console::new()?);
    let launch = world.start_dlq_consumer().set("console.listen", console.address());
    let _dlq = launch.set("console.trusted_proxies", "127.0.0.0/8,10.0.0.0/8").await?;
    let token = operator(&world, "alice", "viewer").await?;
    let log_in = async |forwarded: &str, token: &str| -> Result<u16> {
        let request = form(console.post("/login"), &[("token", token)]).header("x-forwarded-for", forwarded);
        Ok(request.send().await?.status().as_u16())
    };
    for _ in 0..10 {
        assert_eq!(log_in("203.0.113.7", "cop_guess").await?, 401);
    }
    assert_eq!(log_in("203.0.113.7, 10.1.1.1", &token).await?, 429, "through two proxies it is the same client");
    assert_eq!(log_in("192.0.2.1, 203.0.113.7", &token).await?, 429, "what a client writes itself is not believed");
    assert_eq!(log_in("203.0.113.8", &token).await?, 303, "another client is not held up");
    let sources: Vec<String> = sqlx::query_scalar("SELECT source FROM operator_sessions").fetch_all(&world.db).await?;
    assert_eq!(sources, ["203.0.113.8"]);
    let denied = "SELECT DISTINCT provenance ->> 'source' FROM operator_audit WHERE verb = 'denied'";
    let denied: Vec<String> = sqlx::query_scalar(denied).fetch_all(&world.db).await?;
    assert_eq!(denied, ["203.0.113.7"]);
    let wrong = ["--set", "console.listen=127.0.0.1:1", "--set", "console.trusted_proxies=10.0.0.0/40", "config"];
    let refused = world.run("dlq-consumer", &wrong).await?;
    assert!(refused.code == Some(2) && refused.stderr.contains("10.0.0.0/40"), "{refused:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_login_needs_and_lacks_is_said_before_the_console_is_served() -> Result<()> {
    let world = World::new().await?;
    let refused = async |sets: &[&str]| -> Result<String> {
        let sets = sets.iter().flat_map(|set| ["--set", *set]);
        let arguments: Vec<&str> = sets.chain(["config"]).collect();
        let output = world.run("dlq-consumer", &arguments).await?;
        anyhow::ensure!(output.code == Some(2), "{arguments:?}: {output:?}");
        Ok(output.stderr)
    };
    let open = SocketAddr::from(([0, 0, 0, 0], 9440));
    let listen = format!("console.listen={open}");
    let said = refused(&[&listen]).await?;
    assert!(said.contains("console.tokens") && said.contains("console.assertion"), "{said}");
    let issuer = "console.assertion.issuer=https://identity.test";
    let said = refused(&[&listen, issuer]).await?;
    assert!(said.contains("console.assertion.audience"), "{said}");
    let audience = "console.assertion.audience=coupon-console";
    let said = refused(&[&listen, issuer, audience]).await?;
    assert!(said.contains("console.assertion.roles"), "{said}");
    let said = refused(&[&listen, issuer, audience, "console.assertion.roles=staff=boss"]).await?;
    assert!(said.contains("viewer, support, operator, admin"), "{said}");
    Ok(())
}
