//! Keys that an identity provider publishes, rotates, takes back, or cannot give.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use coupon_e2e::{
    identity::IdentityProvider,
    member::{Member, token::Signer},
    process::{Process, launch::Launch, logs::LogLine},
    wait::{eventually, pause},
    world::World,
};
use jsonwebtoken::Algorithm;
use serde_json::json;

use crate::SOON;

/// Least time between two requests to the provider that a token causes, in ms: the least that may be set.
const MIN_INTERVAL_MS: u64 = 1_000;

/// An `issuer-api` whose only keys are those of the provider, which it asks at the start, at SIGHUP, and when it must.
fn launch(world: &World, provider: &IdentityProvider) -> Result<Launch> {
    let root = world.folder().join("root.pem");
    fs::write(&root, provider.root_certificate())?;
    let launch = world.start_api().set("auth.algorithms", "ES256,EdDSA").set("auth.hmac_secret_file", "");
    let launch = launch.set("auth.jwks_url", provider.url()).set("auth.jwks_min_interval_ms", MIN_INTERVAL_MS);
    let launch = launch.set("auth.jwks_refresh_ms", 3_600_000);
    Ok(if provider.root_certificate().is_empty() { launch } else { launch.set("auth.jwks_ca_file", root.display()) })
}

fn signer(algorithm: Algorithm) -> Result<Signer> {
    Signer::new_of_world().signing_with(algorithm)
}

/// The status by which a member is answered whose token this signer signs and says to be signed by `kid`.
async fn answered(world: &World, api: &Process, signer: &Signer, kid: &str) -> Result<Option<u16>> {
    let token = signer.token("ann").kid(kid).sign()?;
    Ok(Member::new("ann", &token, api.http_url()?, world.answers.clone())?.ask("KEYS").await.status)
}

/// What `/readyz` says, and whether the service is ready.
async fn readiness(api: &Process) -> Result<(bool, String)> {
    Ok((api.admin_status("/readyz").await == Some(200), api.admin_page("/readyz").await?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_key_counts_at_its_first_token_and_one_that_is_gone_no_more() -> Result<()> {
    let (world, provider) = (World::new().await?, IdentityProvider::with_tls()?);
    world.open_campaign("KEYS", 10).await?;
    let (old, new) = (signer(Algorithm::ES256)?, signer(Algorithm::EdDSA)?);
    provider.publish(&[old.jwk("old")?]);
    let api = launch(&world, &provider)?.await?;
    assert_eq!(answered(&world, &api, &old, "old").await?, Some(202));
    assert_eq!(provider.asked(), 1);
    pause(Duration::from_millis(MIN_INTERVAL_MS + 100)).await;
    provider.publish(&[old.jwk("old")?, new.jwk("new")?]);
    assert_eq!(answered(&world, &api, &new, "new").await?, Some(200), "the first token by the new key waits for it");
    assert_eq!(provider.asked(), 2);
    let started = Instant::now();
    for _ in 0..20 {
        assert_eq!(answered(&world, &api, &new, "nobodys").await?, Some(401));
    }
    let (asked, may) = (provider.asked() - 2, 1 + started.elapsed().as_millis() / u128::from(MIN_INTERVAL_MS));
    assert!(u128::from(asked) <= may, "asked {asked} times instead of {may}");
    let unknown = api.metric("coupon_unauthenticated_total", "UNKNOWN_KEY").await?;
    assert_eq!(unknown, Some(20.0), "each refused token is counted by its reason");
    assert_eq!(api.metric("coupon_unauthenticated_total", "EXPIRED").await?, Some(0.0));

    provider.publish(&[new.jwk("new")?]);
    api.hang_up()?;
    let gone = "gone are `old` of auth.jwks_url";
    api.wait_for_log("the change is said", SOON, |line| line.message().contains(gone)).await?;
    assert_eq!(answered(&world, &api, &old, "old").await?, Some(401), "also a token that had been verified");

    provider.go_away();
    api.hang_up()?;
    let reason = "auth.jwks_url (127.0.0.1) cannot be asked";
    eventually("/readyz names it", SOON, async || -> Result<bool> { Ok(readiness(&api).await?.1.contains(reason)) })
        .await?;
    assert!(readiness(&api).await?.0, "the keys before stay in use");
    assert_eq!(answered(&world, &api, &new, "new").await?, Some(200));
    let stale = async || api.metric("coupon_auth_keys_stale_seconds", "").await;
    eventually("the gauge says so", SOON, async || -> Result<bool> { Ok(stale().await? > Some(0.0)) }).await?;
    provider.publish(&[new.jwk("new")?]);
    eventually("the gauge says so", SOON, async || -> Result<bool> { Ok(stale().await? == Some(0.0)) }).await?;
    assert!(!api.log_contains("s3cr3t"), "the address is shown by its host alone");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_gives_no_keys_at_the_start_is_waited_for_and_its_fault_named_once() -> Result<()> {
    let (world, provider) = (World::new().await?, IdentityProvider::plain()?);
    world.open_campaign("KEYS", 10).await?;
    let signer = signer(Algorithm::ES256)?;
    let api = launch(&world, &provider)?.without_waiting().await?;
    let secret = json!({ "keys": [{ "kty": "oct", "k": "AQAB" }] }).to_string();
    let none = json!({ "keys": [{ "kty": "EC", "use": "enc", "kid": "other" }] }).to_string();
    let large = "x".repeat((1 << 20) + 1);
    let faults: [(u16, &str, &str, &str); 7] = [
        (0, "", "", "cannot be asked: "),
        (302, "location: /elsewhere\r\n", "", "answers 302 and leads elsewhere: set it to where the JWK Set itself is"),
        (404, "", "{}", "answers 404 and must answer 200"),
        (200, "", "<html>", "must give a JWK Set (expected value"),
        (200, "", &none, "must give a JWK Set with a key for one of auth.algorithms"),
        (200, "", &secret, "must give a set of public keys"),
        (200, "", &large, "must give a JWK Set of at most 1048576 bytes"),
    ];
    for (status, headers, body, fault) in faults {
        if status == 0 {
            provider.go_away();
        } else {
            provider.answer(status, headers, body);
        }
        let says_so = |line: &LogLine| line.message().contains(&format!("auth.jwks_url (127.0.0.1) {fault}"));
        api.wait_for_log(fault, SOON, says_so).await?;
        let (is_ready, page) = readiness(&api).await?;
        assert!(!is_ready && page.contains(fault), "{fault}: {page}");
        let before = provider.asked();
        eventually("it is asked again", SOON, async || provider.asked() > before).await?;
        assert_eq!(api.log().iter().filter(|line| says_so(line)).count(), 1, "said once: {fault}");
    }
    assert_eq!(api.admin_status("/livez").await, Some(200));
    assert_eq!(
        answered(&world, &api, &signer, "one").await?,
        Some(503),
        "members are told to come again, not to log in"
    );
    provider.publish(&[signer.jwk("one")?]);
    eventually("it is ready", SOON, async || api.admin_status("/readyz").await == Some(200)).await?;
    assert_eq!(answered(&world, &api, &signer, "one").await?, Some(202));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_nobody_vouches_for_is_named_with_the_setting_that_does() -> Result<()> {
    let (world, provider) = (World::new().await?, IdentityProvider::with_tls()?);
    provider.publish(&[signer(Algorithm::ES256)?.jwk("one")?]);
    let settings = ["--set", "auth.hmac_secret_file=", "--set", "auth.algorithms=ES256"];
    let url = format!("auth.jwks_url={}", provider.url());
    let doctor = |ca_file: String| [settings.to_vec(), vec!["--set", &url, "--set", ca_file.leak(), "doctor"]].concat();
    let output = world.run("issuer-api", &doctor("auth.jwks_ca_file=".to_owned())).await?;
    let line = output.stdout.lines().find(|line| line.contains("auth.jwks_url")).context("a finding")?;
    assert!(line.starts_with("FAIL") && line.contains("name its root certificate in auth.jwks_ca_file"), "{line}");

    let root = world.folder().join("root.pem");
    fs::write(&root, provider.root_certificate())?;
    let output = world.run("issuer-api", &doctor(format!("auth.jwks_ca_file={}", root.display()))).await?;
    assert!(output.stdout.contains("the key `one` of auth.jwks_url verifies ES256"), "{}", output.stdout);
    fs::write(&root, "no certificate")?;
    let output = world.run("issuer-api", &doctor(format!("auth.jwks_ca_file={}", root.display()))).await?;
    assert!(
        output.stdout.contains("`auth.jwks_ca_file` is") && output.stdout.contains("root certificates"),
        "{}",
        output.stdout
    );
    Ok(())
}
