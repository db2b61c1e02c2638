//! `[alarms]`: which channels are set, with the addresses from the settings or from the files they name.

use coupon_core::runtime::{Secret, SettingsError, within};
use hyper::Uri;
use serde::{Deserialize, Serialize};

const ALLOWED: &str = "an http or https URL with a host and without a user";

/// `[alarms]`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AlarmSettings {
    /// Name of the installation that sends alarms; empty: it has none.
    pub installation: String,
    /// Base URL of the runbook; empty: no link.
    pub runbook_url: String,
    /// URL of the dashboard; empty: no link.
    pub dashboard_url: String,
    /// Slack incoming webhook; empty: none.
    pub slack_webhook_url: Secret,
    /// File with it; empty: none.
    pub slack_webhook_url_file: String,
    /// Generic JSON webhook; empty: none.
    pub webhook_url: Secret,
    /// File with it; empty: none.
    pub webhook_url_file: String,
    /// Between two alarms of one cause, and between two tries, in ms.
    pub digest_ms: u64,
    /// How long the first channel may be down before the second takes over, in ms.
    pub takeover_after_ms: u64,
    /// How long a channel may take to answer, in ms.
    pub timeout_ms: u64,
    /// Whether members are hidden.
    pub mask_members: bool,
}

impl AlarmSettings {
    /// Tests what the types cannot, without opening a file.
    pub fn check(&self) -> Result<(), SettingsError> {
        for (key, url, file) in self.webhooks() {
            if !url.is_empty() && !file.is_empty() {
                return Err(SettingsError::invalid(key, url, format!("empty when {key}_file is set")));
            }
            if !url.is_empty() && address(url.expose()).is_none() {
                return Err(SettingsError::invalid(key, url, ALLOWED));
            }
        }
        if !is_name(&self.installation) {
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

    /// The addresses of Slack and of the other webhook, read from their files if they are there.
    pub fn addresses(&self) -> Result<[Option<Uri>; 2], SettingsError> {
        let [slack, webhook] = self.webhooks();
        Ok([read(slack)?, read(webhook)?])
    }

    fn webhooks(&self) -> [(&'static str, &Secret, &str); 2] {
        [
            ("alarms.slack_webhook_url", &self.slack_webhook_url, &self.slack_webhook_url_file),
            ("alarms.webhook_url", &self.webhook_url, &self.webhook_url_file),
        ]
    }
}

fn read((key, url, file): (&'static str, &Secret, &str)) -> Result<Option<Uri>, SettingsError> {
    if file.is_empty() {
        return Ok(address(url.expose()));
    }
    let wrong = |allowed: String| SettingsError::invalid(format!("{key}_file"), file, allowed);
    let text = std::fs::read_to_string(file).map_err(|error| wrong(format!("a file that can be read ({error})")))?;
    match address(text.trim()) {
        Some(address) => Ok(Some(address)),
        // What is in the file is not shown.
        None => Err(wrong(format!("a file that holds {ALLOWED}"))),
    }
}

fn address(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let authority = uri.authority()?;
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    (is_web && !authority.host().is_empty() && !authority.as_str().contains('@')).then_some(uri)
}

/// Whether a text can be the name of an installation.
fn is_name(text: &str) -> bool {
    text.chars().count() <= 60 && !text.chars().any(char::is_control)
}

/// Whether a text can be the base of a link: a web address that no markup of a channel can be broken with, and without an
/// anchor of its own.
fn is_base_url(text: &str) -> bool {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>|\"`#\\".contains(&byte));
    text.is_empty() || text.len() <= 500 && is_plain && address(text).is_some()
}

#[cfg(test)]
mod tests {
    use coupon_core::runtime::{SettingsArgs, load, print_effective};

    use super::*;
    use crate::config::Config;

    fn with(pairs: &[(&str, &str)]) -> Result<Config, SettingsError> {
        let set = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        load(&SettingsArgs { config: None, set }, [])
    }

    #[test]
    fn an_address_is_checked_and_never_shown() {
        for wrong in ["hooks/SECRET", "ftp://hooks/SECRET", "https://me:SECRET@hooks/x", "http:///SECRET"] {
            let said = with(&[("alarms.slack_webhook_url", wrong)]).unwrap_err().to_string();
            assert!(
                said.contains("alarms.slack_webhook_url") && said.contains("http") && !said.contains("SECRET"),
                "{said}"
            );
        }
        let config = with(&[("alarms.webhook_url", "https://hooks.test/SECRET")]).unwrap();
        assert!(!print_effective(&config).contains("SECRET") && !format!("{config:?}").contains("SECRET"));
        let [slack, webhook] = config.alarms.addresses().unwrap();
        assert!(slack.is_none() && webhook.unwrap().path() == "/SECRET");
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
