//! Members who ask all the while, whatever becomes of the servers.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Result;
use coupon_e2e::{
    answers::{Answer, AnswerLog},
    member::{Member, http_client},
    process::Process,
    wait::{eventually, pause},
    world::World,
};
use tokio::{sync::watch, task::JoinSet};
use uuid::Uuid;

use crate::SOON;

/// Number of requests in flight.
const AT_ONCE: usize = 8;
/// Between two questions of one of them: a crowd, not a measurement.
const BREATH: Duration = Duration::from_millis(10);

/// Pause after a 429.
const TOLD_TO_WAIT: Duration = Duration::from_millis(50);

/// Members who ask for a campaign, one after the other, until they are stopped. Every third request is of a member who has
/// asked before.
pub(crate) struct Crowd {
    answers: AnswerLog,
    code: String,
    home: watch::Sender<bool>,
    asking: JoinSet<Result<()>>,
}

impl Crowd {
    /// Begins to ask, in turn at each process.
    pub(crate) fn ask(world: &World, apis: &[&Process], code: &str) -> Result<Self> {
        Self::of("member", world, apis, code)
    }

    /// Begins to ask as members whose ids begin with `who`.
    pub(crate) fn of(who: &str, world: &World, apis: &[&Process], code: &str) -> Result<Self> {
        let (home, sent_home) = watch::channel(false);
        let (answers, http) = (world.answers.clone(), http_client()?);
        let mut asking = JoinSet::new();
        for asker in 0..AT_ONCE {
            let url = apis[asker % apis.len()].http_url()?.to_owned();
            let (signer, answers, http) = (world.signer.clone(), answers.clone(), http.clone());
            let (who, code, sent_home) = (who.to_owned(), code.to_owned(), sent_home.clone());
            asking.spawn(async move {
                for number in 0.. {
                    let member = if number % 3 == 2 { number / 2 } else { number };
                    let id = format!("{who}-{asker}-{member}");
                    let token = signer.token(&id).sign()?;
                    let member = Member::with_client(&id, &token, &url, answers.clone(), http.clone());
                    let answer = member.ask(&code).await;
                    if *sent_home.borrow() {
                        break;
                    }
                    pause(if answer.status == Some(429) { TOLD_TO_WAIT } else { BREATH }).await;
                }
                Ok(())
            });
        }
        Ok(Self { answers, code: code.to_owned(), home, asking })
    }

    /// Waits until `more` further requests are accepted.
    pub(crate) async fn sold_more(&self, more: usize) -> Result<()> {
        let before = self.sold();
        eventually(&format!("{more} more are told that they have one"), SOON, async || self.sold() >= before + more)
            .await
    }

    /// Waits for an answer of this kind to a question that is still to be asked.
    pub(crate) async fn hears(&self, what: &str, within: Duration, is: impl Fn(&Answer) -> bool) -> Result<()> {
        let heard = self.answers.read().len();
        eventually(what, within, async || self.answers.read().iter().skip(heard + AT_ONCE).any(&is)).await
    }

    /// Sends everybody home and waits for the last answers.
    pub(crate) async fn go_home(self) -> Result<()> {
        self.home.send_replace(true);
        self.asking.join_all().await.into_iter().collect()
    }

    /// Returns the number of accepted requests.
    pub(crate) fn sold(&self) -> usize {
        let answers = self.answers.read();
        let held = answers.iter().filter(|answer| answer.coupon == self.code && answer.is_held());
        held.filter_map(|answer| answer.request_id).collect::<BTreeSet<Uuid>>().len()
    }
}
