//! What every alarm of an installation carries: the name of the installation and where to read on.

use super::{
    settings::AlarmSettings,
    view::{Alarm, Links},
};

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
