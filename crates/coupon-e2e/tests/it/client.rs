//! `coupon-client` against the real services.

use anyhow::{Result, bail, ensure};
use coupon_client::{Ask, Client, Error, Meaning, Outcome, Rules, Tokens};
use coupon_e2e::{member::http_client, process::Process, world::World};

use crate::{SOON, Services, admission::Room};

fn client(api: &Process) -> Result<Client> {
    Ok(Client::new(http_client()?, api.http_url()?.parse()?, Rules::default()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_learns_through_the_client_what_became_of_the_request() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("ONE", 1).await?;
    let services = Services::start(&world).await?;
    let client = client(&services.api)?;
    let [alice, bob] = ["alice", "bob"].map(|member| world.signer.token(member).sign());
    let (alice, bob) = (alice?, bob?);
    let Outcome::Issued(issue) = client.ask_and_wait(&alice, "ONE", SOON).await? else { bail!("not issued") };
    let again = client.ask(&alice, "ONE").await?;
    ensure!(
        matches!(&again, Ask::Held { issue: held, is_repeat: true } if held.request_id == issue.request_id),
        "{again:?}"
    );
    ensure!(client.mine(&alice, "ONE").await?.as_ref() == Some(&issue), "another one is held");
    let refused = client.ask_and_wait(&bob, "ONE", SOON).await?;
    ensure!(matches!(&refused, Outcome::Refused(problem) if problem.meaning() == Meaning::SoldOut), "{refused:?}");
    ensure!(client.mine(&bob, "ONE").await?.is_none() && client.status(&bob, "ONE", issue.request_id).await?.is_none());
    match client.ask("no token", "ONE").await {
        Err(Error::Request(problem)) => assert_eq!(problem.meaning(), Meaning::Unauthenticated),
        other => bail!("{other:?}"),
    }
    let tries = client.tries();
    ensure!(tries.sent == tries.calls, "something was asked again: {tries:?}");
    world.quiet(SOON, &[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_shows_the_token_of_the_waiting_room() -> Result<()> {
    let world = World::new().await?;
    let room = Room::new(&world)?;
    let api = room.before(world.start_api()).await?;
    room.open(&world, "QUEUED").await?;
    let client = client(&api)?;
    let (member, admission) = (world.signer.token("alice").sign()?, room.token("alice", "QUEUED").sign()?);
    match client.ask(&member, "QUEUED").await {
        Err(Error::Request(problem)) => assert_eq!((problem.status, problem.meaning()), (403, Meaning::Invalid)),
        other => bail!("{other:?}"),
    }
    let held = client.ask(Tokens::admitted(&member, &admission), "QUEUED").await?;
    ensure!(matches!(held, Ask::Held { is_repeat: false, .. }), "{held:?}");
    Ok(())
}
