//! Which channels are set: the addresses from the settings or from the files they name.

use coupon_core::runtime::{Secret, SettingsError};
use hyper::Uri;

use super::signature::{is_base_url, is_name};
use crate::config::AlarmSettings;

const ALLOWED: &str = "an http or https URL with a host and without a user";

/// Tests what the types cannot, without opening a file.
pub fn check(settings: &AlarmSettings) -> Result<(), SettingsError> {
    for (key, url, file) in keys(settings) {
        if !url.is_empty() && !file.is_empty() {
            return Err(SettingsError::invalid(key, url, format!("empty when {key}_file is set")));
        }
        if !url.is_empty() && address(url.expose()).is_none() {
            return Err(SettingsError::invalid(key, url, ALLOWED));
        }
    }
    if !is_name(&settings.installation) {
        let allowed = "at most 60 characters, none of them a control character";
        return Err(SettingsError::invalid("alarms.installation", &settings.installation, allowed));
    }
    for (key, url) in [("alarms.runbook_url", &settings.runbook_url), ("alarms.dashboard_url", &settings.dashboard_url)]
    {
        if !is_base_url(url) {
            let allowed = "empty, or an http or https URL with a host, without a user and without #";
            return Err(SettingsError::invalid(key, url, allowed));
        }
    }
    for (key, value, least) in [
        ("alarms.digest_ms", settings.digest_ms, 100),
        ("alarms.takeover_after_ms", settings.takeover_after_ms, 0),
        ("alarms.timeout_ms", settings.timeout_ms, 100),
    ] {
        if !(least..=86_400_000).contains(&value) {
            return Err(SettingsError::invalid(key, value, format!("{least} to 86400000 ms")));
        }
    }
    Ok(())
}

/// The addresses of Slack and of the other webhook, read from their files if they are there.
pub fn addresses(settings: &AlarmSettings) -> Result<[Option<Uri>; 2], SettingsError> {
    let [slack, webhook] = keys(settings);
    Ok([read(slack)?, read(webhook)?])
}

fn keys(settings: &AlarmSettings) -> [(&'static str, &Secret, &str); 2] {
    [
        ("alarms.slack_webhook_url", &settings.slack_webhook_url, &settings.slack_webhook_url_file),
        ("alarms.webhook_url", &settings.webhook_url, &settings.webhook_url_file),
    ]
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
        let [slack, webhook] = addresses(&config.alarms).unwrap();
        assert!(slack.is_none() && webhook.unwrap().path() == "/SECRET");
    }

    #[test]
    fn an_address_comes_from_one_place_and_its_file_must_hold_one() {
        let both = [("alarms.webhook_url", "http://a.test/x"), ("alarms.webhook_url_file", "/x")];
        let said = with(&both).unwrap_err().to_string();
        assert!(said.contains("alarms.webhook_url_file") && !said.contains("a.test"), "{said}");
        for (file, why) in [("/no/such/file", "can be read"), ("Cargo.toml", "http or https URL")] {
            let config = with(&[("alarms.slack_webhook_url_file", file)]).unwrap();
            let said = addresses(&config.alarms).unwrap_err().to_string();
            assert!(
                said.contains("alarms.slack_webhook_url_file") && said.contains(file) && said.contains(why),
                "{said}"
            );
        }
    }
}
