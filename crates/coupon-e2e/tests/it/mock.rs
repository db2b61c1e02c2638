//! `issuer-api mock`: needs no server, and answers as the names of the members say.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use coupon_client::{Ask, Client, Error, Meaning, Outcome, Problem, Rules, State};
use coupon_e2e::{
    answers::AnswerLog,
    member::{Member, http_client},
    process::{Process, launch::Launch},
};
use serde_json::Value;
use tempfile::TempDir;

const CODE: &str = "SPRING";

/// A mock, and the folder of its log.
async fn mock() -> Result<(Process, TempDir)> {
    let folder = tempfile::tempdir()?;
    Ok((Launch::mock(folder.path()).await?, folder))
}

fn client(mock: &Process) -> Result<Client> {
    let rules = Rules { deadline: Duration::from_secs(10), ..Rules::default() };
    Ok(Client::new(http_client()?, mock.http_url()?.parse()?, rules))
}

fn refused(ask: Ask) -> Result<Problem> {
    match ask {
        Ask::Refused(problem) => Ok(problem),
        held @ Ask::Held { .. } => anyhow::bail!("{held:?}"),
    }
}

#[tokio::test]
async fn a_shop_tests_its_whole_way_through_the_client_without_a_server() -> Result<()> {
    let (mock, _folder) = mock().await?;
    let client = client(&mock)?;
    let (Ask::Held { issue, is_repeat: false }, Ask::Held { issue: again, is_repeat: true }) =
        (client.ask("alice", CODE).await?, client.ask("alice", CODE).await?)
    else {
        anyhow::bail!("alice does not hold one, or not since her first request");
    };
    ensure!((issue.state, issue.request_id) == (State::Accepted, again.request_id), "{issue:?}, {again:?}");
    let Outcome::Issued(issued) = client.ask_and_wait("alice", CODE, Duration::from_secs(10)).await? else {
        anyhow::bail!("alice's coupon is not issued");
    };
    ensure!(issued.request_id == issue.request_id && issued.expires_at.is_some(), "{issued:?}");
    ensure!(client.mine("alice", CODE).await?.map(|held| held.request_id) == Some(issue.request_id));
    ensure!(client.mine("bob", CODE).await?.is_none());
    ensure!(client.status("bob", CODE, issue.request_id).await?.is_none(), "bob sees alice's request");
    let Outcome::Compensated(gone) = client.ask_and_wait("compensated.bob", CODE, Duration::from_secs(10)).await?
    else {
        anyhow::bail!("bob's request is not compensated");
    };
    ensure!(gone.replaced_by.is_none(), "{gone:?}");
    let soon = Duration::from_secs(1);
    let pending = client.ask_and_wait("reserved.carol", CODE, soon).await?;
    ensure!(matches!(&pending, Outcome::Pending(issue) if issue.state == State::Reserved), "{pending:?}");
    Ok(())
}

#[tokio::test]
async fn the_name_of_a_member_forces_refusals_faults_and_codes_that_no_client_knows() -> Result<()> {
    let (mock, _folder) = mock().await?;
    let client = client(&mock)?;
    let sold_out = refused(client.ask("sold-out.bob", CODE).await?)?;
    assert_eq!((sold_out.meaning(), sold_out.status), (Meaning::SoldOut, 409));
    let early = refused(client.ask("not-open.bob", CODE).await?)?;
    ensure!(early.meaning() == Meaning::NotOpen && early.retry_after.is_some(), "{early:?}");
    let unknown = refused(client.ask("unknown-409.bob", CODE).await?)?;
    assert_eq!((unknown.meaning(), unknown.code.as_str()), (Meaning::Refused, "CODE_OF_TOMORROW"));
    for (member, meaning) in [
        ("unauthenticated.bob", Meaning::Unauthenticated),
        ("coupon-not-found.bob", Meaning::NotFound),
        ("unknown-418.bob", Meaning::Invalid),
    ] {
        match client.ask(member, CODE).await {
            Err(Error::Request(problem)) => assert_eq!(problem.meaning(), meaning, "{problem}"),
            other => anyhow::bail!("{member}: {other:?}"),
        }
    }
    let before = client.tries();
    let held = client.ask("stock-unavailable~2.alice", CODE).await?;
    ensure!(matches!(held, Ask::Held { is_repeat: false, .. }), "{held:?}");
    assert_eq!(client.tries().sent - before.sent, 3, "two are told 503, the third one holds");
    let log = mock.log();
    ensure!(log.iter().any(|line| line.text.contains("verifies no token")), "nobody is told that it is a mock");
    Ok(())
}

#[tokio::test]
async fn the_mock_answers_with_the_headers_and_bodies_of_the_api() -> Result<()> {
    let (mock, _folder) = mock().await?;
    let ask = async |name: &str| -> Result<_> {
        let member = Member::new(name, name, mock.http_url()?, AnswerLog::default())?;
        Ok(member.ask(CODE).await)
    };
    let held = ask("alice").await?;
    let id = held.request_id.context("a request id")?;
    assert_eq!(held.location, Some(format!("/api/v1/coupons/{CODE}/issues/{id}")));
    for (name, status, waits) in [
        ("sold-out", 409, false),
        ("closed", 409, false),
        ("not-open", 409, true),
        ("too-many-requests", 429, true),
        ("gate-closed", 503, true),
    ] {
        let answer = ask(name).await?;
        let code = name.to_uppercase().replace('-', "_");
        ensure!(answer.is_refused_as(status, &code), "{name}: {answer:?}");
        assert_eq!(answer.retry_after.is_some(), waits, "{name}: {answer:?}");
        assert_eq!(answer.content_type.as_deref(), Some("application/problem+json"), "{name}");
        assert_eq!(answer.body.get("status").and_then(Value::as_u64), Some(status.into()), "{name}");
    }
    let member = Member::new("", "", mock.http_url()?, AnswerLog::default())?;
    let nobody = member.ask(CODE).await;
    ensure!(nobody.is_refused_as(401, "UNAUTHENTICATED"), "{nobody:?}");
    let (status, body) = ask_mine(&mock, "alice").await?;
    ensure!(status == 200 && body["request_id"] == id.to_string(), "{status} {body}");
    let (status, body) = ask_mine(&mock, "sold-out").await?;
    ensure!(status == 404 && body["code"] == "NOTHING_HELD", "{status} {body}");
    Ok(())
}

async fn ask_mine(mock: &Process, name: &str) -> Result<(u16, Value)> {
    Member::new(name, name, mock.http_url()?, AnswerLog::default())?.mine(CODE).await
}
