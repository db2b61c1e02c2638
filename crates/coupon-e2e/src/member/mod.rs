//! A member: asks for coupons, and logs every answer.

pub mod token;

use std::time::{Duration, Instant};

use anyhow::Result;
use chrono::Utc;
use reqwest::{Client, RequestBuilder, Response, header::HeaderMap};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    answers::{Answer, AnswerLog, Question, State},
    http,
};

/// Longest time a member waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A member with a token who asks one `issuer-api`.
#[derive(Clone, Debug)]
pub struct Member {
    id: String,
    token: String,
    url: String,
    http: Client,
    answers: AnswerLog,
}

impl Member {
    /// Returns a member with connections of its own.
    pub fn new(id: &str, token: &str, url: &str, answers: AnswerLog) -> Result<Self> {
        Ok(Self::with_client(id, token, url, answers, http_client()?))
    }

    /// A member that shares its connections with others.
    pub fn with_client(id: &str, token: &str, url: &str, answers: AnswerLog, http: Client) -> Self {
        Self { id: id.to_owned(), token: token.to_owned(), url: url.to_owned(), http, answers }
    }

    /// The member id: the subject of the token.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Asks for a coupon of a campaign.
    pub async fn ask(&self, code: &str) -> Answer {
        self.ask_with(code, |request| request).await
    }

    /// Asks with a request that is changed before it is sent: another body, other headers.
    pub async fn ask_with(&self, code: &str, change: impl FnOnce(RequestBuilder) -> RequestBuilder) -> Answer {
        let request = self.http.post(format!("{}/api/v1/coupons/{code}/issues", self.url)).bearer_auth(&self.token);
        self.send(code, Question::Coupon, change(request)).await
    }

    /// Asks where a request stands.
    pub async fn status(&self, code: &str, request_id: Uuid) -> Answer {
        let request = self.http.get(format!("{}/api/v1/coupons/{code}/issues/{request_id}", self.url));
        self.send(code, Question::Status, request.bearer_auth(&self.token)).await
    }

    /// Asks what the member holds of a campaign.
    pub async fn ask_mine(&self, code: &str) -> Answer {
        let request = self.http.get(format!("{}/api/v1/coupons/{code}/issues/mine", self.url));
        self.send(code, Question::Mine, request.bearer_auth(&self.token)).await
    }

    /// Asks about a campaign; the answer is not written to the log.
    pub async fn campaign(&self, code: &str) -> Result<Value> {
        let request = self.http.get(format!("{}/api/v1/coupons/{code}", self.url)).bearer_auth(&self.token);
        Ok(request.send().await?.json().await?)
    }

    /// Asks any route and gives status, headers and body; the answer is not written to the log.
    pub async fn get(&self, path: &str) -> Result<(u16, HeaderMap, Value)> {
        self.get_with(path, |request| request).await
    }

    /// The same with a request that is changed before it is sent.
    pub async fn get_with(
        &self,
        path: &str,
        change: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<(u16, HeaderMap, Value)> {
        let request = self.http.get(format!("{}{path}", self.url)).bearer_auth(&self.token);
        let (status, headers, body) = read(change(request).send().await?).await?;
        Ok((status, headers, serde_json::from_slice(&body).unwrap_or_default()))
    }

    /// What the member holds of a campaign: status, and the body; the answer is not written to the log.
    pub async fn mine(&self, code: &str) -> Result<(u16, Value)> {
        let (status, _, body) = self.get(&format!("/api/v1/coupons/{code}/issues/mine")).await?;
        Ok((status, body))
    }

    async fn send(&self, code: &str, question: Question, request: RequestBuilder) -> Answer {
        let started = Instant::now();
        let answered = match request.send().await {
            Ok(response) => read(response).await,
            Err(error) => Err(error),
        };
        let mut answer = Answer {
            at: Utc::now(),
            took: started.elapsed(),
            member: self.id.clone(),
            coupon: code.to_owned(),
            question,
            status: None,
            request_id: None,
            state: None,
            code: None,
            retry_after: None,
            location: None,
            content_type: None,
            body: Value::Null,
            no_answer: None,
        };
        match answered {
            Ok((status, headers, body)) => fill(&mut answer, status, &headers, &body),
            Err(error) => answer.no_answer = Some(format!("{:#}", anyhow::Error::from(error))),
        }
        self.answers.write(answer.clone());
        answer
    }
}

/// An HTTP client as members use it.
pub fn http_client() -> Result<Client> {
    http::client(PATIENCE)
}

async fn read(response: Response) -> reqwest::Result<(u16, HeaderMap, Vec<u8>)> {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok((status, headers, response.bytes().await?.to_vec()))
}

fn fill(answer: &mut Answer, status: u16, headers: &HeaderMap, body: &[u8]) {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |field: &str| body.get(field).and_then(Value::as_str);
    answer.status = Some(status);
    answer.request_id = text("request_id").and_then(|id| id.parse().ok());
    answer.state = text("state").and_then(State::parse);
    answer.code = text("code").filter(|_| status >= 400).map(str::to_owned);
    answer.retry_after = header("retry-after").and_then(|seconds| seconds.parse().ok());
    answer.location = header("location");
    answer.content_type = header("content-type");
    answer.body = body;
}
