//! What every alarm of an installation carries: its name, how bad it is, and where to read on.

use hyper::Uri;
use serde::Serialize;

use super::view::Alarm;
use crate::config::AlarmSettings;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Severity {
    /// A member has lost a coupon or waits for a decision, or a campaign accepts nothing.
    Critical,
    /// Records that no issuer-api wrote, and what was lost and is published again: somebody should look, and nobody has lost
    /// anything.
    Warning,
    /// What was told before is done.
    Ok,
    /// A test.
    Test,
}

impl Severity {
    /// The word in a message.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "CRITICAL",
            Self::Warning => "WARNING",
            Self::Ok => "OK",
            Self::Test => "TEST",
        }
    }
}

/// Where to read on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Links {
    /// The entry of the runbook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    /// The dashboard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dashboard: Option<String>,
}

/// Signs alarms.
#[derive(Clone, Debug, Default)]
pub struct Signature {
    installation: String,
    runbook_url: String,
    dashboard_url: String,
}

impl Signature {
    /// That of the settings.
    pub fn of(settings: &AlarmSettings) -> Self {
        Self {
            installation: settings.installation.clone(),
            runbook_url: settings.runbook_url.clone(),
            dashboard_url: settings.dashboard_url.clone(),
        }
    }

    /// The alarm with the name of the installation and its links.
    pub fn sign(&self, alarm: Alarm) -> Alarm {
        let link = |url: &str, anchor: &str| {
            let anchor = if anchor.is_empty() { String::new() } else { format!("#{anchor}") };
            (!url.is_empty()).then(|| format!("{url}{anchor}"))
        };
        let links = Links { runbook: link(&self.runbook_url, alarm.anchor), dashboard: link(&self.dashboard_url, "") };
        Alarm { installation: self.installation.clone(), links, ..alarm }
    }
}

/// Anchors of `deploy/README.md`, which the base URL of the runbook leads to.
pub mod anchors {
    /// Requests that were given up.
    pub const GIVEN_UP: &str = "alarm-given-up";
    /// Dead letters that are held.
    pub const HELD: &str = "alarm-held";
    /// Dead letters that are parked.
    pub const PARKED: &str = "alarm-parked";
    /// A campaign that is SUSPECT.
    pub const SUSPECT: &str = "alarm-suspect";
    /// A campaign whose data Redis has lost.
    pub const LOST: &str = "alarm-lost";
    /// Redis and PostgreSQL differ.
    pub const DRIFT: &str = "alarm-drift";
    /// What was lost with a topic is published again.
    pub const REQUEUED: &str = "alarm-requeued";
    /// Nothing of a cause waits any more.
    pub const ALL_CLEAR: &str = "alarm-all-clear";
    /// All of them.
    pub const RUNBOOK: &str = "runbook";

    /// The entry for a notice of this cause.
    pub fn of_notice(cause: &str) -> &'static str {
        match cause.split(' ').next() {
            Some("SUSPECT") => SUSPECT,
            Some("LOST") => LOST,
            Some("DRIFT") => DRIFT,
            Some("REQUEUED") => REQUEUED,
            _ => RUNBOOK,
        }
    }
}

/// Whether a text can be the name of an installation.
pub fn is_name(text: &str) -> bool {
    text.chars().count() <= 60 && !text.chars().any(char::is_control)
}

/// Whether a text can be the base of a link: a web address that no markup of a channel can be broken with, and without an
/// anchor of its own.
pub fn is_base_url(text: &str) -> bool {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>|\"`#\\".contains(&byte));
    let uri: Result<Uri, _> = text.parse();
    let is_web = uri.is_ok_and(|uri| {
        let has_host = uri.authority().is_some_and(|host| !host.host().is_empty() && !host.as_str().contains('@'));
        matches!(uri.scheme_str(), Some("http" | "https")) && has_host
    });
    text.is_empty() || text.len() <= 500 && is_plain && is_web
}

#[cfg(test)]
mod tests {
    use super::{
        anchors::{ALL_CLEAR, DRIFT, GIVEN_UP, HELD, LOST, PARKED, REQUEUED, SUSPECT},
        *,
    };

    #[test]
    fn every_link_into_the_runbook_has_its_anchor_there() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/README.md");
        let runbook = std::fs::read_to_string(path).unwrap();
        for anchor in [GIVEN_UP, HELD, PARKED, SUSPECT, LOST, DRIFT, REQUEUED, ALL_CLEAR] {
            assert_eq!(runbook.matches(&format!("<a id=\"{anchor}\"></a>")).count(), 1, "{anchor}");
        }
        assert!(runbook.contains("\n## Runbook\n"));
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
