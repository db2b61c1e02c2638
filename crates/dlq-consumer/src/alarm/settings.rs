//! `[alarms]`: which channels are set, with the addresses from the settings or from the files they name.

use std::time::Duration;

use chrono::TimeDelta;
use coupon_core::runtime::{Secret, SettingsError, within};
use reqwest::Url;
use serde::{Deserialize, Serialize};

use crate::webhooks::Secrets;

const ALLOWED: &str = "an http or https URL with a host and without a user";

/// Kind of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An incoming webhook of Slack.
    Slack,
    /// Any server that takes the alarm as JSON.
    Webhook,
}

impl Kind {
    /// Returns the name of the kind in the database, in log lines and in the label `channel`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Slack => "slack",
            Self::Webhook => "webhook",
        }
    }

    /// Returns the key of the setting that holds the address.
    pub fn key(self) -> &'static str {
        match self {
            Self::Slack => "alarms.slack_webhook_url",
            Self::Webhook => "alarms.webhook_url",
        }
    }
}

/// `[alarms]`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AlarmSettings {
    /// Name of the installation that sends alarms; empty: it has none.
    pub installation: String,
    /// Base URL of the runbook; empty: no link.
    pub runbook_url: String,
    /// URL of the dashboard; empty: no link.
    pub dashboard_url: String,
    /// `console.public_url`; empty: no link. Only `Config::alarm_settings` fills it in.
    #[serde(skip)]
    pub console_url: String,
    /// Address of the incoming webhook of Slack; empty: none.
    pub slack_webhook_url: Secret,
    /// File that holds the address of the incoming webhook of Slack; empty: none.
    pub slack_webhook_url_file: String,
    /// Address of the generic JSON webhook; empty: none.
    pub webhook_url: Secret,
    /// File that holds the address of the generic JSON webhook; empty: none.
    pub webhook_url_file: String,
    /// Files with a secret each that sign what the generic webhook gets; empty: it is not signed.
    pub webhook_secret_files: Vec<String>,
    /// Least time between two alarms of one cause, and between two tries, in ms.
    pub digest_ms: u64,
    /// How long the first channel may be down before the second takes over, in ms.
    pub takeover_after_ms: u64,
    /// How long a channel may take to answer, in ms.
    pub timeout_ms: u64,
    /// Whether alarms hide the names of members.
    pub mask_members: bool,
}

impl AlarmSettings {
    /// Checks the values that the types allow and the channels do not, without opening a file.
    pub fn check(&self) -> Result<(), SettingsError> {
        for (kind, url, file) in self.webhooks() {
            let key = kind.key();
            if !url.is_empty() && !file.is_empty() {
                return Err(SettingsError::invalid(key, url, format!("empty when {key}_file is set")));
            }
            if !url.is_empty() && web_address(url.expose()).is_none() {
                return Err(SettingsError::invalid(key, url, ALLOWED));
            }
        }
        if self.installation.chars().count() > 60 || self.installation.contains(char::is_control) {
            let allowed = "at most 60 characters, none of them a control character";
            return Err(SettingsError::invalid("alarms.installation", &self.installation, allowed));
        }
        for (key, url) in [("alarms.runbook_url", &self.runbook_url), ("alarms.dashboard_url", &self.dashboard_url)] {
            if !is_base_url(url) {
                let allowed = "empty, or an http or https URL with a host, without a user and without #";
                return Err(SettingsError::invalid(key, url, allowed));
            }
        }
        within("alarms.digest_ms", self.digest_ms, 100..=86_400_000, "ms")?;
        within("alarms.takeover_after_ms", self.takeover_after_ms, 0..=86_400_000, "ms")?;
        within("alarms.timeout_ms", self.timeout_ms, 100..=86_400_000, "ms")
    }

    /// Reads the secrets that sign what a channel of this kind gets: none for Slack, whose address is its secret.
    pub fn secrets(&self, kind: Kind) -> Result<Secrets, SettingsError> {
        let files = if kind == Kind::Webhook { self.webhook_secret_files.as_slice() } else { &[] };
        Secrets::read("alarms.webhook_secret_files", files)
    }

    /// Returns the addresses of the channels that are set, Slack's first, read from their files if they are there.
    pub fn addresses(&self) -> Result<Vec<(Kind, Url)>, SettingsError> {
        let mut found = Vec::new();
        for (kind, url, file) in self.webhooks() {
            if file.is_empty() {
                found.extend(web_address(url.expose()).map(|url| (kind, url)));
                continue;
            }
            let wrong = |allowed: String| SettingsError::invalid(format!("{}_file", kind.key()), file, allowed);
            let text =
                std::fs::read_to_string(file).map_err(|error| wrong(format!("a file that can be read ({error})")))?;
            // What is in the file is not shown.
            let url = web_address(text.trim()).ok_or_else(|| wrong(format!("a file that holds {ALLOWED}")))?;
            found.push((kind, url));
        }
        Ok(found)
    }

    fn webhooks(&self) -> [(Kind, &Secret, &str); 2] {
        [
            (Kind::Slack, &self.slack_webhook_url, &self.slack_webhook_url_file),
            (Kind::Webhook, &self.webhook_url, &self.webhook_url_file),
        ]
    }
}

/// Returns a setting in milliseconds as a time; a number too large gives the longest time there is.
pub fn milliseconds(ms: u64) -> TimeDelta {
    TimeDelta::from_std(Duration::from_millis(ms)).unwrap_or(TimeDelta::MAX)
}

/// Reads a web address; `None` if it is none. `Url` alone would also take `http:host`, `http:///host` and line breaks.
pub fn web_address(text: &str) -> Option<Url> {
    let (scheme, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '\\', '?', '#']).next()?;
    if authority.is_empty() || authority.contains('@') || text.contains([' ', '\t', '\r', '\n']) {
        return None;
    }
    let url = Url::parse(text).ok()?;
    (matches!(url.scheme(), "http" | "https") && scheme.eq_ignore_ascii_case(url.scheme())).then_some(url)
}

/// Whether a text can be the base of a link: a web address that no markup of a channel can be broken with, and without an
/// anchor of its own.
pub fn is_base_url(text: &str) -> bool {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>|\"`#\\".contains(&byte));
    text.is_empty() || text.len() <= 500 && is_plain && web_address(text).is_some()
}

#[cfg(test)]
mod tests {
    use coupon_core::runtime::{Settings, SettingsArgs, load, print_effective};

    use super::*;

    /// The only table of the defaults that these tests are about.
    #[derive(Debug, Serialize, Deserialize)]
    struct Config {
        alarms: AlarmSettings,
    }

    impl Settings for Config {
        const PREFIX: &'static str = "DLQ_CONSUMER";
        const DEFAULTS: &'static str = include_str!("../../config.default.toml");
        const ALIASES: &'static [(&'static str, &'static str)] = &[];

        fn check(&self) -> Result<(), SettingsError> {
            self.alarms.check()
        }
    }

    fn with(pairs: &[(&str, &str)]) -> Result<Config, SettingsError> {
        let set = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        load(&SettingsArgs { config: None, set }, [])
    }

    #[test]
    fn an_address_is_checked_and_never_shown() {
        let wrong = [
            "hooks/SECRET",
            "ftp://hooks/SECRET",
            "https://me:SECRET@hooks/x",
            "https:SECRET",
            "http:///SECRET",
            "http://hooks/\nSECRET",
        ];
        for wrong in wrong {
            let said = with(&[("alarms.slack_webhook_url", wrong)]).unwrap_err().to_string();
            assert!(
                said.contains("alarms.slack_webhook_url") && said.contains("http") && !said.contains("SECRET"),
                "{said}"
            );
        }
        let config = with(&[("alarms.webhook_url", "https://hooks.test/SECRET")]).unwrap();
        assert!(!print_effective(&config).contains("SECRET") && !format!("{config:?}").contains("SECRET"));
        let addresses = config.alarms.addresses().unwrap();
        assert!(matches!(addresses.as_slice(), [(Kind::Webhook, url)] if url.path() == "/SECRET"));
    }

    #[test]
    fn an_address_comes_from_one_place_and_its_file_must_hold_one() {
        let both = [("alarms.webhook_url", "http://a.test/x"), ("alarms.webhook_url_file", "/x")];
        let said = with(&both).unwrap_err().to_string();
        assert!(said.contains("alarms.webhook_url_file") && !said.contains("a.test"), "{said}");
        for (file, why) in [("/no/such/file", "can be read"), ("Cargo.toml", "http or https URL")] {
            let config = with(&[("alarms.slack_webhook_url_file", file)]).unwrap();
            let said = config.alarms.addresses().unwrap_err().to_string();
            assert!(
                said.contains("alarms.slack_webhook_url_file") && said.contains(file) && said.contains(why),
                "{said}"
            );
        }
    }

    #[test]
    fn a_base_url_is_an_address_that_breaks_no_markup() {
        for good in ["", "https://git.test/coupon/deploy/README.md", "http://grafana:3000/d/coupon?orgId=1&kiosk"] {
            assert!(is_base_url(good), "{good}");
        }
        let wrong = [
            "grafana",
            "ftp://a.test/x",
            "https://me:pw@a.test/x",
            "https://a.test/x#y",
            "https://a.test/x|y",
            "https://a.test/<x>",
            "https://a.test/a b",
            "https:///x",
        ];
        for wrong in wrong {
            assert!(!is_base_url(wrong), "{wrong}");
        }
    }
}
