//! Bad input gets a clear answer that says what to do, and nothing is changed by it.

use std::net::TcpListener;

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    member::http_client,
    process::{command::Command, logs::LogLine},
    wait::eventually,
    world::World,
};

use crate::SOON;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_request_is_told_what_is_wrong_with_it_and_redis_stays_as_it_was() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("STRICT", 10).await?;
    let api = world.start_api().await?;
    let member = world.member(&api, "careless")?;
    let before = world.stock.of("STRICT").await?;

    for body in ["{", "[]", "nul", "\"x\"", r#"{"member_id":"alice"}"#, r#"{"quantity":2}"#, "\u{0}"] {
        let answer = member.ask_with("STRICT", |request| request.body(body)).await;
        assert!(answer.is_refused_as(422, "INVALID_BODY"), "{body:?}: {answer:?}");
        assert!(answer.content_type.as_deref().is_some_and(|kind| kind.starts_with("application/problem+json")));
    }
    for code in ["a%20b", "%7Bx%7D", "a%2Fb", "%C3%BC", "a%00", &"x".repeat(51)] {
        let answer = member.ask(code).await;
        assert!(answer.is_refused_as(422, "INVALID_COUPON_CODE"), "{code}: {answer:?}");
    }
    let answer = member.ask_with("STRICT", |request| request.body("x".repeat(1 << 20))).await;
    assert!(answer.is_refused_as(413, "PAYLOAD_TOO_LARGE"), "{answer:?}");

    let (http, url) = (http_client()?, api.http_url()?);
    let token = world.signer.token("careless").sign()?;
    let wrong = [
        (http.get(format!("{url}/nowhere")), 404, "NOT_FOUND"),
        (http.delete(format!("{url}/api/v1/coupons/STRICT/issues")), 405, "METHOD_NOT_ALLOWED"),
        (http.get(format!("{url}/api/v1/coupons/STRICT/issues/no-uuid")), 404, "REQUEST_NOT_FOUND"),
    ];
    for (request, status, code) in wrong {
        let answer = request.bearer_auth(&token).send().await?;
        assert_eq!(answer.status().as_u16(), status, "{code}");
        let problem: serde_json::Value = answer.json().await?;
        assert_eq!((problem["code"].as_str(), problem["status"].as_u64()), (Some(code), Some(u64::from(status))));
    }
    assert_eq!(world.stock.of("STRICT").await?, before);
    assert!(member.ask_with("STRICT", |request| request.body("{}")).await.is_held(), "an empty object is no mistake");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_setting_is_one_sentence_with_key_value_and_what_is_allowed_and_exit_code_2() -> Result<()> {
    let wrong: [(&str, &[&str], &[&str]); 8] = [
        (
            "issuer-api",
            &["--set", "http.answer_within_ms=soon", "config"],
            &["http.answer_within_ms", "soon", "number"],
        ),
        ("issuer-api", &["--set", "http.lisen=127.0.0.1:1", "config"], &["http.lisen", "is no known setting"]),
        ("issuer-api", &["serve"], &["auth.hmac_secret"]),
        ("issue-consumer", &["--set", "kafka.brokers=nowhere", "run"], &["kafka.brokers", "nowhere", "host:port"]),
        ("dlq-consumer", &["--set", "give_up.burst=-1", "run"], &["give_up.burst", "-1", "0 to 1000000"]),
        ("dlq-consumer", &["--set", "redis.url=http://x", "run"], &["redis.url", "redis://"]),
        ("dlq-consumer", &["compensate", "--reason", "x", "--by", "olga", "--yes"], &["say which", "--coupon CODE"]),
        ("dlq-consumer", &["compensate", "--up-to", "9", "--reason", "x", "--by", "olga", "--yes"], &["say which"]),
    ];
    for (binary, arguments, said) in wrong {
        let output = Command::new(binary, arguments)?.run().await?;
        assert_eq!(output.code, Some(2), "{binary} {arguments:?}: {}", output.stderr);
        for word in said {
            assert!(output.stderr.contains(word), "{binary} {arguments:?} does not say {word:?}: {}", output.stderr);
        }
        assert_eq!(output.stderr.trim().lines().count(), 1, "{}", output.stderr);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_is_named_with_the_setting_that_chooses_another() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let listen = format!("admin.listen={address}");
    let output = Command::new("issue-consumer", &["--set", &listen, "run"])?.run().await?;
    assert_eq!(output.code, Some(1), "{}", output.stderr);
    let last = output.stderr.trim().lines().last().context("a line")?;
    assert!(last.contains(&address) && last.contains("admin.listen"), "{last}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_without_a_schema_is_waited_for_and_one_for_newer_builds_ends_the_process() -> Result<()> {
    let world = World::new().await?;
    let sql = async |text: &'static str| sqlx::raw_sql(text).execute(&world.db).await;
    sql("ALTER TABLE _sqlx_migrations RENAME TO not_yet").await?;
    let doctor = world.run("issue-consumer", &["doctor"]).await?;
    assert_eq!(doctor.code, Some(1));
    assert!(doctor.stdout.contains("FAIL") && doctor.stdout.contains("issue-consumer migrate"), "{}", doctor.stdout);
    let launches = [world.start_api(), world.start_issue_consumer(), world.start_dlq_consumer()];
    let mut waiting = Vec::new();
    for launch in launches {
        let process = launch.without_waiting().await?;
        eventually("it says what it waits for", SOON, async || -> Result<bool> {
            Ok(process.admin_page("/readyz").await?.contains("run `issue-consumer migrate`"))
        })
        .await?;
        let says_so = |line: &LogLine| line.text.contains("has no schema");
        process.wait_for_log("the log says it too", SOON, says_so).await?;
        assert_eq!(process.log().iter().filter(|line| says_so(line)).count(), 1, "said once");
        assert_eq!(process.admin_status("/livez").await, Some(200));
        waiting.push(process);
    }
    sql("ALTER TABLE not_yet RENAME TO _sqlx_migrations").await?;
    for process in &waiting {
        eventually("it is ready", SOON, async || process.admin_status("/readyz").await == Some(200)).await?;
    }

    sql("UPDATE schema_compatibility SET oldest_binary = 999").await?;
    for launch in [world.start_api(), world.start_issue_consumer(), world.start_dlq_consumer()] {
        let process = launch.without_waiting().await?;
        assert_eq!(process.exit(SOON).await?.code(), Some(1));
        process.wait_for_log("why", SOON, |line| line.text.contains("deploy a newer build")).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_with_too_few_partitions_or_too_short_a_retention_is_named_and_waited_for() -> Result<()> {
    let world = World::new().await?;
    for launch in [world.start_api(), world.start_issue_consumer(), world.start_dlq_consumer()] {
        let process = launch.set("kafka.min_partitions", 9).without_waiting().await?;
        let why = "kafka.min_partitions asks for 9";
        process.wait_for_log("the number is named", SOON, |line| line.text.contains(why)).await?;
        eventually("/readyz names it", SOON, async || -> Result<bool> {
            Ok(process.admin_page("/readyz").await?.contains(why))
        })
        .await?;
        ensure!(process.is_running());
    }
    world.topic.delete().await?;
    world.topic.create(4, &[("retention.ms", "60000")]).await?;
    for launch in [world.start_api(), world.start_issue_consumer()] {
        let process = launch.without_waiting().await?;
        let why = "keeps records for less than 3 days";
        process.wait_for_log("the retention is named", SOON, |line| line.text.contains(why)).await?;
        eventually("/readyz names it", SOON, async || -> Result<bool> {
            Ok(process.admin_page("/readyz").await?.contains(why))
        })
        .await?;
        ensure!(process.is_running());
    }
    Ok(())
}
