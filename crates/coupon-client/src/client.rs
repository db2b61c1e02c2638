//! The calls.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rand::Rng;
use reqwest::{Method, Response, Url, header::RETRY_AFTER};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::{
    Ask, Error, Failure, Issue, Meaning, Outcome, Problem, Rules, State, Tokens,
    pace::Pace,
    retry::{Call, Got, MachineTime},
};

/// Wait before the first question for a state; before each further one it is half as long again.
const FIRST_LOOK: Duration = Duration::from_millis(200);
/// Header with the token of a waiting room.
const ADMISSION: &str = "Coupon-Admission";
/// Longest wait between two questions for a state.
const MAX_LOOK_WAIT: Duration = Duration::from_secs(2);

/// A client of one `issuer-api`. Clones share their connections and the pace of their retries: make one for a process.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    rules: Rules,
    pace: Arc<Mutex<Pace>>,
    tries: Arc<[AtomicU64; 2]>,
}

/// How often a client has asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tries {
    /// Number of calls: questions for a state count each.
    pub calls: u64,
    /// Number of requests that were sent for them, retries among them.
    pub sent: u64,
}

impl Client {
    /// A client of the API at `base`, such as `https://coupons.example.com`. Timeouts of `http` hold beside the rules.
    pub fn new(http: reqwest::Client, base: Url, rules: Rules) -> Self {
        let pace = Arc::new(Mutex::new(Pace::new(Instant::now())));
        Self { http, base, rules, pace, tries: Arc::default() }
    }

    /// Asks for a coupon of a campaign for the member of the token.
    pub async fn ask(&self, tokens: impl Into<Tokens<'_>>, code: &str) -> Result<Ask, Error> {
        self.ask_until(tokens.into(), code, Instant::now() + self.rules.deadline).await
    }

    /// Asks for a coupon, and then for its state until that is final or the time is over.
    pub async fn ask_and_wait(
        &self,
        tokens: impl Into<Tokens<'_>>,
        code: &str,
        within: Duration,
    ) -> Result<Outcome, Error> {
        let tokens = tokens.into();
        let end = Instant::now() + within;
        let mut issue = match self.ask_until(tokens, code, end).await? {
            Ask::Held { issue, .. } => issue,
            Ask::Refused(problem) => return Ok(Outcome::Refused(problem)),
        };
        let mut wait = FIRST_LOOK;
        while !issue.state.is_final() {
            let jittered = rand::rng().random_range(wait / 2..=wait);
            if Instant::now() + jittered >= end {
                return Ok(Outcome::Pending(issue));
            }
            tokio::time::sleep(jittered).await;
            wait = (wait * 3 / 2).min(MAX_LOOK_WAIT);
            issue = match self.status_until(tokens, code, issue.request_id, end).await {
                Ok(Some(now)) => now.replaced_by.map_or(Issue { replaced_by: None, ..now }, |other| *other),
                // The coupon is reserved, whatever cannot be told of it now.
                Ok(None) | Err(Error::Unknown { .. }) => issue,
                Err(error) => return Err(error),
            };
        }
        Ok(if issue.state == State::Issued { Outcome::Issued(issue) } else { Outcome::Compensated(issue) })
    }

    /// Where a request of the member stands; `None`: it is no request of this member.
    pub async fn status(
        &self,
        tokens: impl Into<Tokens<'_>>,
        code: &str,
        request_id: Uuid,
    ) -> Result<Option<Issue>, Error> {
        self.status_until(tokens.into(), code, request_id, Instant::now() + self.rules.deadline).await
    }

    /// What the member holds of a campaign; `None`: surely nothing.
    pub async fn mine(&self, tokens: impl Into<Tokens<'_>>, code: &str) -> Result<Option<Issue>, Error> {
        self.mine_until(tokens.into(), code, Instant::now() + self.rules.deadline).await
    }

    /// Returns how often this client and its clones have asked.
    pub fn tries(&self) -> Tries {
        let [calls, sent] = [0, 1].map(|which| self.tries[which].load(Ordering::Relaxed));
        Tries { calls, sent }
    }

    async fn ask_until(&self, tokens: Tokens<'_>, code: &str, end: Instant) -> Result<Ask, Error> {
        let path = ["coupons", code, "issues"];
        let got = self.call(Method::POST, tokens, &path, end, |status, answer| match answer {
            Ok(issue) => Ok(Ask::Held { issue, is_repeat: status == 200 }),
            Err(Failure::Problem(problem)) if is_refusal(&problem) => Ok(Ask::Refused(problem)),
            Err(failure) => Err(failure),
        });
        match got.await? {
            // An earlier try may have got a coupon, and another process may not know yet: this route misses none.
            Got { answer: Ask::Refused(problem), was_unknown: true } => {
                Ok(match self.mine_until(tokens, code, end).await? {
                    Some(issue) => Ask::Held { issue, is_repeat: true },
                    None => Ask::Refused(problem),
                })
            }
            got => Ok(got.answer),
        }
    }

    async fn status_until(
        &self,
        tokens: Tokens<'_>,
        code: &str,
        request_id: Uuid,
        end: Instant,
    ) -> Result<Option<Issue>, Error> {
        let id = request_id.to_string();
        self.find(tokens, &["coupons", code, "issues", &id], "REQUEST_NOT_FOUND", end).await
    }

    async fn mine_until(&self, tokens: Tokens<'_>, code: &str, end: Instant) -> Result<Option<Issue>, Error> {
        self.find(tokens, &["coupons", code, "issues", "mine"], "NOTHING_HELD", end).await
    }

    /// `None`: the answer has the code `nothing`.
    async fn find(
        &self,
        tokens: Tokens<'_>,
        path: &[&str],
        nothing: &str,
        end: Instant,
    ) -> Result<Option<Issue>, Error> {
        let got = self.call(Method::GET, tokens, path, end, |_, answer| match answer {
            Ok(issue) => Ok(Some(issue)),
            Err(Failure::Problem(problem)) if problem.code == nothing => Ok(None),
            Err(failure) => Err(failure),
        });
        Ok(got.await?.answer)
    }

    /// Calls a route until there is an answer; `read` says what an answer with this status is.
    async fn call<B: DeserializeOwned, A>(
        &self,
        method: Method,
        tokens: Tokens<'_>,
        path: &[&str],
        end: Instant,
        read: impl Fn(u16, Result<B, Failure>) -> Result<A, Failure>,
    ) -> Result<Got<A>, Error> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        self.tries[0].fetch_add(1, Ordering::Relaxed);
        let (url, read) = (&url, &read);
        let call = Call { rules: &self.rules, pace: &self.pace, time: &MachineTime, end };
        call.run(|within| {
            self.tries[1].fetch_add(1, Ordering::Relaxed);
            let mut request = self.http.request(method.clone(), url.clone()).bearer_auth(tokens.member).timeout(within);
            if let Some(admission) = tokens.admission.filter(|_| method == Method::POST) {
                request = request.header(ADMISSION, admission);
            }
            async move {
                let response = request.send().await?;
                let status = response.status().as_u16();
                read(status, body(response).await)
            }
        })
        .await
    }
}

/// Whether a POST was refused for good: 409, whatever its code.
fn is_refusal(problem: &Problem) -> bool {
    matches!(problem.meaning(), Meaning::SoldOut | Meaning::NotOpen | Meaning::Closed | Meaning::Refused)
}

/// Reads the body of an answer, or of a problem.
async fn body<B: DeserializeOwned>(response: Response) -> Result<B, Failure> {
    let status = response.status().as_u16();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let bytes = response.bytes().await?;
    if (200..300).contains(&status) {
        return serde_json::from_slice(&bytes).map_err(|source| Failure::Unreadable { status, source });
    }
    // A proxy in front answers with a body of its own: then the status is what there is.
    let other = || Problem { status, code: String::new(), detail: String::new(), instance: None, retry_after: None };
    let problem = serde_json::from_slice(&bytes).unwrap_or_else(|_| other());
    let retry_after = retry_after.map(Duration::from_secs);
    Err(Failure::Problem(Problem { status, retry_after, ..problem }))
}
