//! The channels that alarms are sent through, the first before the second.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use coupon_core::runtime::SettingsError;
use hyper::{StatusCode, Uri};

use super::{post::Post, settings::AlarmSettings, slack, view::Alarm};

/// Which kind of channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An incoming webhook of Slack.
    Slack,
    /// Any server that takes the alarm as JSON.
    Webhook,
}

impl Kind {
    /// Its name, in the database and in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Slack => "slack",
            Self::Webhook => "webhook",
        }
    }

    /// The setting that says where it is.
    fn key(self) -> &'static str {
        match self {
            Self::Slack => "alarms.slack_webhook_url",
            Self::Webhook => "alarms.webhook_url",
        }
    }
}

/// A channel that alarms are sent through.
#[derive(Clone, Debug)]
pub struct Channel {
    /// Which kind.
    pub kind: Kind,
    to: Uri,
    post: Post,
}

/// Why a channel did not take an alarm.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{what}")]
pub struct Refusal {
    /// What it answered, or why it did not.
    pub what: String,
    /// When it may be asked again, if it said so.
    pub not_before: Option<DateTime<Utc>>,
    /// Whether it is what was sent that it does not take (400), so that the same is refused again.
    pub is_of_the_form: bool,
}

/// How an alarm was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// With all there is to say.
    Whole,
    /// As plain text, because the layout was refused.
    Plain,
}

/// The channels that are set.
#[derive(Clone, Debug)]
pub struct Channels {
    /// The one that alarms are sent to.
    pub first: Option<Channel>,
    /// The one that takes over.
    pub second: Option<Channel>,
    /// How long the first may be down before that.
    pub takeover_after: TimeDelta,
}

impl Channels {
    /// Reads which are set; when only the second is, it is the first.
    pub fn new(settings: &AlarmSettings) -> Result<Self, SettingsError> {
        let [slack, webhook] = settings.addresses()?;
        let channel = |kind: Kind, to: Uri| -> Result<Channel, SettingsError> {
            let is_encrypted = to.scheme_str() == Some("https");
            let post = Post::new(Duration::from_millis(settings.timeout_ms), is_encrypted).map_err(|error| {
                let allowed =
                    format!("an address that can be called ({error}); https needs the system's CA certificates");
                SettingsError::invalid(kind.key(), "***", allowed)
            })?;
            Ok(Channel { kind, to, post })
        };
        let slack = slack.map(|to| channel(Kind::Slack, to)).transpose()?;
        let webhook = webhook.map(|to| channel(Kind::Webhook, to)).transpose()?;
        let takeover_after = TimeDelta::milliseconds(settings.takeover_after_ms.try_into().unwrap_or(i64::MAX));
        Ok(match slack {
            None => Self { first: webhook, second: None, takeover_after },
            first => Self { first, second: webhook, takeover_after },
        })
    }

    /// All that are set, in order.
    pub fn all(&self) -> impl Iterator<Item = &Channel> {
        self.first.iter().chain(&self.second)
    }
}

impl Channel {
    /// Sends an alarm, to Slack once more as plain text if it refuses what was sent: whatever it does not like about the
    /// layout would be refused for ever.
    pub async fn send(&self, alarm: &Alarm, now: DateTime<Utc>) -> Result<Form, Refusal> {
        let json = match self.kind {
            Kind::Slack => slack::message(alarm).to_string().into_bytes(),
            Kind::Webhook => serde_json::to_vec(alarm).expect("texts, numbers and times always serialise"),
        };
        match self.post(json, now).await {
            Err(refusal) if self.kind == Kind::Slack && refusal.is_of_the_form => {
                tracing::warn!("slack refuses an alarm as it is laid out and gets it as plain text: {refusal}");
                self.post(slack::plain(alarm).to_string().into_bytes(), now).await.map(|()| Form::Plain)
            }
            sent => sent.map(|()| Form::Whole),
        }
    }

    async fn post(&self, json: Vec<u8>, now: DateTime<Utc>) -> Result<(), Refusal> {
        let refusal = |what: String, not_before| Err(Refusal { what, not_before, is_of_the_form: false });
        let answer = match self.post.send(&self.to, json, now).await {
            Ok(answer) => answer,
            Err(error) => return refusal(error.to_string(), None),
        };
        let status = answer.status;
        if !status.is_success() {
            let pause = if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
                answer.not_before
            } else {
                None
            };
            return Err(Refusal {
                what: format!("answers {}{}", status.as_u16(), word(&answer.body)),
                not_before: pause,
                is_of_the_form: status == StatusCode::BAD_REQUEST,
            });
        }
        // Who stands in between, such as a page to log in, answers 200 too.
        if self.kind == Kind::Slack && answer.body.trim_ascii() != b"ok" {
            return refusal(format!("answers {} and not `ok`{}", status.as_u16(), word(&answer.body)), None);
        }
        Ok(())
    }
}

/// The word by which Slack says what is wrong, such as `invalid_payload`. Nothing else is repeated: a page that names
/// the address it was asked for would give the secret away.
fn word(body: &[u8]) -> String {
    let is_word = (1..=60).contains(&body.len()) && body.iter().all(|byte| byte.is_ascii_lowercase() || *byte == b'_');
    if is_word { format!(" ({})", String::from_utf8_lossy(body)) } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_word_of_an_answer_is_repeated() {
        assert_eq!(word(b"no_service"), " (no_service)");
        for other in ["", "Cannot POST /services/T0/B0/s3cr3t", "T0B0s3cr3t"] {
            assert_eq!(word(other.as_bytes()), "");
        }
    }
}
