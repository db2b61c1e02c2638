//! A POST of JSON to a server that may do anything: it is bounded in time and size, follows nowhere, and its errors name
//! no address, because the address of a webhook is its secret.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use coupon_core::runtime::chain;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, StatusCode, Uri, body::Bytes, body::Incoming, header};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::time::timeout;

/// Most bytes of an answer that are read.
const ANSWER_BYTES: usize = 4 * 1024;
/// A server that asks for a longer pause gets this one: an alarm that waits for a day is none.
const LONGEST_PAUSE: TimeDelta = TimeDelta::hours(1);

/// Sends.
#[derive(Clone, Debug)]
pub struct Post {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    within: Duration,
}

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// When it may be asked again, if it said so.
    pub not_before: Option<DateTime<Utc>>,
    /// The beginning of the body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// It took too long.
    #[error("does not answer within {} ms", .0.as_millis())]
    Late(Duration),
    /// It could not be reached, hung up, or spoke no HTTP.
    #[error("{}", chain(.0))]
    Broken(hyper_util::client::legacy::Error),
    /// The address is none.
    #[error("cannot be asked: {0}")]
    Address(hyper::http::Error),
}

impl Post {
    /// A client that waits so long for an answer. With `is_encrypted` the certificates of the system are needed.
    pub fn new(within: Duration, is_encrypted: bool) -> std::io::Result<Self> {
        let provider = rustls::crypto::ring::default_provider();
        let tls = rustls::ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .map_err(std::io::Error::other)?;
        let tls = if is_encrypted {
            tls.with_native_roots()?
        } else {
            tls.with_root_certificates(rustls::RootCertStore::empty())
        };
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls.with_no_client_auth()).https_or_http();
        // A connection that was kept is a connection that may have died meanwhile, and alarms are rare.
        let client =
            Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector.enable_http1().build());
        Ok(Self { client, within })
    }

    /// Sends, and reads the beginning of the answer.
    pub async fn send(&self, to: &Uri, json: Vec<u8>, now: DateTime<Utc>) -> Result<Answer, NoAnswer> {
        let request = Request::post(to.clone())
            .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
            .header(header::USER_AGENT, concat!("dlq-consumer/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::from(json)))
            .map_err(NoAnswer::Address)?;
        let asking = async {
            let response = self.client.request(request).await.map_err(NoAnswer::Broken)?;
            let (head, body) = response.into_parts();
            Ok(Answer { status: head.status, not_before: not_before(&head.headers, now), body: beginning(body).await })
        };
        timeout(self.within, asking).await.map_err(|_| NoAnswer::Late(self.within))?
    }
}

/// What comes of the body until it ends, breaks, or is long enough.
async fn beginning(mut body: Incoming) -> Vec<u8> {
    let mut read = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        read.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        if read.len() >= ANSWER_BYTES {
            read.truncate(ANSWER_BYTES);
            break;
        }
    }
    read
}

/// `Retry-After`, in seconds or as a date (RFC 9110, 10.2.3); what is neither says nothing.
fn not_before(headers: &HeaderMap, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let latest = now + LONGEST_PAUSE;
    let asked = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number too large to read is as good as the longest pause.
        let seconds = text.parse().ok().and_then(TimeDelta::try_seconds).unwrap_or(LONGEST_PAUSE);
        now + seconds.min(LONGEST_PAUSE)
    } else {
        DateTime::parse_from_rfc2822(text).ok()?.to_utc()
    };
    (asked > now).then_some(asked.min(latest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_both_forms_and_nonsense_says_nothing() {
        let now: DateTime<Utc> = "2026-03-01T10:00:00Z".parse().unwrap();
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().unwrap());
            not_before(&headers, now).map(|at| (at - now).num_seconds())
        };
        assert_eq!(of("30"), Some(30));
        assert_eq!(of("Sun, 01 Mar 2026 10:02:00 GMT"), Some(120));
        assert_eq!(of("Sun, 01 Mar 2026 09:00:00 GMT"), None, "the moment is over");
        assert_eq!(of("99999999999999999999"), Some(3600));
        assert_eq!(of("86400"), Some(3600));
        for nonsense in ["", "-1", "soon", "1.5"] {
            assert_eq!(of(nonsense), None, "{nonsense:?}");
        }
    }
}
