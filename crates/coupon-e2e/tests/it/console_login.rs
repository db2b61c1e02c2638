//! S: logins of the console, how they begin and how they end.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use coupon_e2e::{
    console::{Console, cookie, operator},
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
    assert_eq!(verbs, ["login", "operator.add", "operator.revoke"]);
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
    assert_eq!(console.get("/health.json").bearer_auth(&token).send().await?.status(), 200, "programs are not held up");
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
