//! The channels that alarms are sent to, in the order in which they are called.
//!
//! A server may do anything, so a call has a time limit, reads a limited number of bytes of the answer, follows no redirect
//! and uses no proxy. No error names an address, because the address of a webhook is its secret.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use chrono::{DateTime, TimeDelta, Utc};
use coupon_core::runtime::{SettingsError, chain, hex};
use reqwest::{
    Client, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER},
    redirect::Policy,
};
use tokio::time::timeout;

use super::{
    settings::{AlarmSettings, Kind, milliseconds},
    slack,
    view::Alarm,
};
use crate::webhooks::Secrets;

/// Most bytes of an answer that are read.
const MAX_ANSWER_BYTES: usize = 4 * 1024;
/// Longest pause that a server gets by `Retry-After`: an alarm that waits for a day is none.
const MAX_RETRY_AFTER: TimeDelta = TimeDelta::hours(1);

/// A server that alarms are posted to.
pub struct Channel {
    /// Kind of the channel.
    pub kind: Kind,
    url: Url,
    client: Client,
    timeout: Duration,
    secrets: Secrets,
}

/// Why a channel did not take an alarm.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{what}")]
pub struct Refusal {
    /// The answer of the server, or the reason why there is none.
    pub what: String,
    /// The time of `Retry-After`, before which the channel is not called again; `None` if the server named none.
    pub not_before: Option<DateTime<Utc>>,
    /// Whether the server refuses the layout (400), and would refuse it again.
    pub is_of_the_layout: bool,
}

impl From<String> for Refusal {
    fn from(what: String) -> Self {
        Self { what, not_before: None, is_of_the_layout: false }
    }
}

/// The form in which a channel took an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// With its whole layout.
    Whole,
    /// As plain text, because the layout was refused.
    Plain,
}

/// The channels that the settings name.
pub struct Channels {
    /// At most two: alarms go to the first, and the second takes over.
    pub in_order: Vec<Channel>,
    /// How long the first has to be down before the second takes over.
    pub takeover_after: TimeDelta,
    /// What is wrong with a file that was read again.
    unreadable: Option<String>,
}

impl Channels {
    /// Returns the channels of the settings, Slack before the generic webhook. Reads the files that hold addresses.
    pub fn new(settings: &AlarmSettings) -> Result<Self, SettingsError> {
        let timeout = Duration::from_millis(settings.timeout_ms);
        let addresses = settings.addresses()?.into_iter();
        let channel = |(kind, url)| Channel::new(kind, url, timeout, settings.secrets(kind)?);
        let in_order = addresses.map(channel).collect::<Result<_, _>>()?;
        Ok(Self { in_order, takeover_after: milliseconds(settings.takeover_after_ms), unreadable: None })
    }

    /// Reads the files that hold addresses and secrets again; alarms go to a changed address, and are signed by changed
    /// secrets, from now on. What the start would refuse is not taken up, and is logged once.
    pub fn read_again(&mut self, settings: &AlarmSettings) {
        self.in_order.iter_mut().for_each(|channel| channel.secrets.read_again());
        let again = settings.addresses().and_then(|addresses| {
            let is_same = addresses
                .iter()
                .map(|(kind, url)| (*kind, url))
                .eq(self.in_order.iter().map(|channel| (channel.kind, &channel.url)));
            if is_same { Ok(None) } else { Self::new(settings).map(Some) }
        });
        match again {
            Ok(None) => self.unreadable = None,
            Ok(Some(changed)) => {
                tracing::info!("the addresses of [alarms] have changed: alarms go to the new ones");
                *self = changed;
            }
            Err(error) => {
                let error = error.to_string();
                if self.unreadable.as_ref() != Some(&error) {
                    tracing::warn!("alarms go to the addresses of before: {error}");
                }
                self.unreadable = Some(error);
            }
        }
    }
}

impl Channel {
    fn new(kind: Kind, url: Url, timeout: Duration, secrets: Secrets) -> Result<Self, SettingsError> {
        // `reqwest` takes the provider that the process has installed; each call after the first finds it there.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut client = Client::builder()
            .user_agent(concat!("dlq-consumer/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .redirect(Policy::none())
            // Alarms are rare, and an idle connection may have died before the next one.
            .pool_max_idle_per_host(0);
        if url.scheme() == "http" {
            // So that a system without CA certificates can still call it.
            client = client.tls_certs_only([]);
        }
        let client = client.build().map_err(|error| {
            let error = chain(&error);
            let allowed = format!("an address that can be called ({error}); https needs the system's CA certificates");
            SettingsError::invalid(kind.key(), "***", allowed)
        })?;
        Ok(Self { kind, url, client, timeout, secrets })
    }

    /// Sends an alarm. If Slack refuses the layout, the alarm is sent once more as plain text, because the same layout would be
    /// refused for ever.
    pub async fn send(&self, alarm: &Alarm, now: DateTime<Utc>) -> Result<Form, Refusal> {
        let json = match self.kind {
            Kind::Slack => slack::message(alarm).to_string(),
            Kind::Webhook => serde_json::to_string(alarm).expect("texts, numbers and times always serialise"),
        };
        let id = webhook_id(alarm);
        match self.post(&id, json, now).await {
            Err(refusal) if self.kind == Kind::Slack && refusal.is_of_the_layout => {
                tracing::warn!("slack refuses an alarm as it is laid out and gets it as plain text: {refusal}");
                self.post(&id, slack::plain(alarm).to_string(), now).await.map(|()| Form::Plain)
            }
            sent => sent.map(|()| Form::Whole),
        }
    }

    async fn post(&self, id: &str, json: String, now: DateTime<Utc>) -> Result<(), Refusal> {
        let answer = timeout(self.timeout, self.answer(id, json, now)).await;
        let late = |_| format!("does not answer within {} ms", self.timeout.as_millis());
        let (status, headers, body) = answer.map_err(late)?.map_err(|error| chain(&error.without_url()).to_string())?;
        if !status.is_success() {
            let may_pause = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
            return Err(Refusal {
                what: format!("answers {}{}", status.as_u16(), slack_error_code(&body)),
                not_before: retry_after(&headers, now, MAX_RETRY_AFTER).filter(|_| may_pause),
                is_of_the_layout: status == StatusCode::BAD_REQUEST,
            });
        }
        // Something in between, such as a login page, answers 200 too.
        if self.kind == Kind::Slack && body.trim_ascii() != b"ok" {
            return Err(format!("answers {} and not `ok`{}", status.as_u16(), slack_error_code(&body)).into());
        }
        Ok(())
    }

    /// Posts the JSON and returns the answer, with its body up to [`MAX_ANSWER_BYTES`] or to where it breaks off.
    async fn answer(
        &self,
        id: &str,
        json: String,
        now: DateTime<Utc>,
    ) -> reqwest::Result<(StatusCode, HeaderMap, Vec<u8>)> {
        let request = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json; charset=utf-8");
        let mut response = self.secrets.sign(request, id, json, now).send().await?;
        let mut body = Vec::new();
        while body.len() < MAX_ANSWER_BYTES
            && let Ok(Some(chunk)) = response.chunk().await
        {
            body.extend_from_slice(&chunk);
        }
        body.truncate(MAX_ANSWER_BYTES);
        Ok((response.status(), std::mem::take(response.headers_mut()), body))
    }
}

/// Returns the error code in an answer of Slack, such as ` (invalid_payload)`; empty for any other body. A page that repeats
/// its address would give the secret away.
fn slack_error_code(body: &[u8]) -> String {
    let is_code = (1..=60).contains(&body.len()) && body.iter().all(|byte| byte.is_ascii_lowercase() || *byte == b'_');
    if is_code { format!(" ({})", String::from_utf8_lossy(body)) } else { String::new() }
}

/// Returns the id by which a receiver knows an alarm that it has: the same when an alarm of the same dead letters and notices is
/// sent again. An all-clear has the time of its sending, which is left out.
fn webhook_id(alarm: &Alarm) -> String {
    let times = (alarm.kind != "ALL_CLEAR").then_some((alarm.first_at, alarm.last_at));
    let told_before = alarm.told_before.as_ref().map(|before| (before.at, before.count));
    let what = (&alarm.installation, alarm.kind, &alarm.cause, alarm.count, times, told_before);
    let text = serde_json::to_vec(&what).expect("texts, numbers and times always serialise");
    format!("alarm_{}", hex(&digest(&SHA256, &text).as_ref()[..16]))
}

/// Returns the time of `Retry-After`, which is in seconds or a date (RFC 9110, 10.2.3), at the latest after `longest`; `None` for
/// anything else.
pub fn retry_after(headers: &HeaderMap, now: DateTime<Utc>, longest: TimeDelta) -> Option<DateTime<Utc>> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number too large to read is as good as the longest pause.
        let seconds = text.parse().ok().and_then(TimeDelta::try_seconds).unwrap_or(longest);
        now + seconds.min(longest)
    } else {
        DateTime::parse_from_rfc2822(text).ok()?.to_utc()
    };
    (asked > now).then_some(asked.min(now + longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_error_code_of_an_answer_is_repeated() {
        assert_eq!(slack_error_code(b"no_service"), " (no_service)");
        for other in ["", "Cannot POST /services/T0/B0/s3cr3t", "T0B0s3cr3t"] {
            assert_eq!(slack_error_code(other.as_bytes()), "");
        }
    }

    #[test]
    fn retry_after_is_read_in_both_forms_and_nonsense_says_nothing() {
        let now: DateTime<Utc> = "2026-03-01T10:00:00Z".parse().unwrap();
        let of = |text: &'static str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            retry_after(&headers, now, MAX_RETRY_AFTER).map(|at| (at - now).num_seconds())
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
