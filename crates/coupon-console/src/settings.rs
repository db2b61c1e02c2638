//! The `[console]` section.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use coupon_core::runtime::{SettingsError, within};
use coupon_operations::plans::PlanRules;
use serde::{Deserialize, Serialize};

use crate::access::{AssertionSettings, Proxies};

/// The `[console]` section.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleSettings {
    /// Address of the console; empty: it is not served.
    pub listen: String,
    /// Path below which it is served behind a proxy, such as `/console`; empty: the root.
    pub base_path: String,
    /// URL by which operators reach it from outside, for the links in alarms; empty: none.
    pub public_url: String,
    /// Whether every change is refused.
    pub read_only: bool,
    /// Whether operators log in with tokens of their own. On loopback they always may.
    pub tokens: bool,
    /// How an identity provider vouches for operators.
    pub assertion: AssertionSettings,
    /// Networks of the proxies before the console, such as `10.0.0.0/8`, whose `X-Forwarded-For` says from where a request comes.
    pub trusted_proxies: Vec<String>,
    /// Connections to PostgreSQL of the console alone.
    pub max_connections: u32,
    /// Longest statement of the console, in ms.
    pub statement_timeout_ms: u64,
    /// Rows above which two persons have to confirm a plan; 0: never.
    pub second_person_above: i64,
}

impl ConsoleSettings {
    /// Tests what the types cannot.
    pub fn check(&self) -> Result<(), SettingsError> {
        if self.listen.is_empty() {
            return Ok(());
        }
        self.address()?;
        let base = &self.base_path;
        let is_path =
            |base: &str| base.starts_with('/') && !base.ends_with('/') && !base.contains(['{', '}', '*', '"', '<']);
        if !base.is_empty() && !is_path(base) {
            return Err(SettingsError::invalid("console.base_path", base, "empty, or a path such as /console"));
        }
        if let Err(text) = Proxies::read(&self.trusted_proxies) {
            let allowed = "networks such as 10.0.0.0/8 or 2001:db8::/32, or single addresses";
            return Err(SettingsError::invalid("console.trusted_proxies", text, allowed));
        }
        self.assertion.check()?;
        if !self.tokens && !self.assertion.is_set() && !self.is_on_loopback() {
            let allowed =
                "a loopback address, unless a way to log in is set: console.tokens = true, or console.assertion.issuer";
            return Err(SettingsError::invalid("console.listen", &self.listen, allowed));
        }
        within("console.second_person_above", self.second_person_above, 0..=1_000_000_000, "rows")?;
        within("console.max_connections", self.max_connections, 1..=50, "connections")?;
        within("console.statement_timeout_ms", self.statement_timeout_ms, 50..=60_000, "ms")
    }

    /// Returns the address to listen on; `None`: the console is not served.
    pub fn address(&self) -> Result<Option<SocketAddr>, SettingsError> {
        if self.listen.is_empty() {
            return Ok(None);
        }
        let address = self.listen.parse();
        address.map(Some).map_err(|_| {
            SettingsError::invalid("console.listen", &self.listen, "empty, or an address such as 127.0.0.1:9440")
        })
    }

    /// What the installation asks of the confirmation of a plan.
    pub fn plan_rules(&self) -> PlanRules {
        PlanRules { second_person_above: Some(self.second_person_above).filter(|above| *above > 0) }
    }

    /// Returns where a browser logs in with the code of a login link: at `public_url`, without it on this host; `None`: the
    /// console is not served.
    pub fn login_link(&self, code: &str) -> Option<String> {
        let mut address = self.address().ok()??;
        if !self.public_url.is_empty() {
            return Some(format!("{}/login?code={code}", self.public_url.trim_end_matches('/')));
        }
        if address.ip().is_unspecified() {
            address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        Some(format!("http://{address}{}/login?code={code}", self.base_path))
    }

    /// Whether only this host reaches the console.
    pub(crate) fn is_on_loopback(&self) -> bool {
        self.listen.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_link_leads_to_where_browsers_reach_the_console() {
        let link = |listen: &str, base_path: &str, public_url: &str| {
            let [listen, base_path, public_url] = [listen, base_path, public_url].map(str::to_owned);
            ConsoleSettings { listen, base_path, public_url, ..ConsoleSettings::default() }.login_link("x")
        };
        assert_eq!(link("", "", ""), None);
        assert_eq!(link("127.0.0.1:9440", "/c", "").as_deref(), Some("http://127.0.0.1:9440/c/login?code=x"));
        assert_eq!(link("0.0.0.0:9440", "", "").as_deref(), Some("http://127.0.0.1:9440/login?code=x"));
        let public = link("0.0.0.0:9440", "/c", "https://ops.example/c/");
        assert_eq!(public.as_deref(), Some("https://ops.example/c/login?code=x"));
    }
}
