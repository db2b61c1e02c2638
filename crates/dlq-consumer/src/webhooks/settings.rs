//! `[webhooks]`: which endpoints there are.

use std::collections::BTreeMap;

use coupon_core::{
    repo::webhooks::CampaignEventKind,
    runtime::{SettingsError, within},
};
use reqwest::Url;
use serde::{Deserialize, Serialize, Serializer};

use super::{Secrets, address};
use crate::alarm::web_address;

/// The section of the endpoints.
const ENDPOINTS: &str = "webhooks.endpoints";

/// `[webhooks]`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WebhookSettings {
    /// How long an endpoint may take to answer, in ms.
    pub timeout_ms: u64,
    /// `[webhooks.endpoints.NAME]`
    endpoints: EndpointSettings,
}

/// What the sections `[webhooks.endpoints.NAME]` hold, by `NAME.KEY`. An address prints as `***`: it may hold a token.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
struct EndpointSettings(BTreeMap<String, String>);

impl Serialize for EndpointSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| {
            let is_hidden = key.rsplit('.').next() == Some("url") && !value.is_empty();
            (key, if is_hidden { "***" } else { value.as_str() })
        }))
    }
}

/// An endpoint.
#[derive(Clone)]
pub struct Endpoint {
    /// Name in the settings.
    pub name: String,
    /// Address.
    pub url: Url,
    /// Files with a secret each; each signs.
    pub secret_files: Vec<String>,
    /// The events that it wants.
    pub events: Vec<CampaignEventKind>,
    /// Whether its address may be one that is not public, and plain HTTP.
    pub allow_private: bool,
}

impl Endpoint {
    /// Reads the secrets from their files.
    pub fn secrets(&self) -> Result<Secrets, SettingsError> {
        Secrets::read(&key_of(&self.name, "secret_files"), &self.secret_files)
    }
}

impl WebhookSettings {
    /// Checks all but the files.
    pub fn check(&self) -> Result<(), SettingsError> {
        within("webhooks.timeout_ms", self.timeout_ms, 100..=60_000, "ms")?;
        self.endpoints().map(drop)
    }

    /// Returns the endpoints by name.
    pub fn endpoints(&self) -> Result<Vec<Endpoint>, SettingsError> {
        let mut by_name = BTreeMap::<&str, BTreeMap<&str, &str>>::new();
        for (key, value) in &self.endpoints.0 {
            let (name, field) = key.split_once('.').unwrap_or((key.as_str(), ""));
            if !["url", "secret_files", "events", "allow_private"].contains(&field) || !is_name(name) {
                let allowed = "NAME.url, NAME.secret_files, NAME.events or NAME.allow_private with 1 to 40 of a-z 0-9 _ - \
                               in NAME";
                return Err(SettingsError::invalid(ENDPOINTS, key, allowed));
            }
            by_name.entry(name).or_default().insert(field, value);
        }
        by_name.into_iter().map(|(name, fields)| endpoint(name, &fields)).collect()
    }
}

fn endpoint(name: &str, fields: &BTreeMap<&str, &str>) -> Result<Endpoint, SettingsError> {
    let text = |field: &str| fields.get(field).copied().unwrap_or_default();
    let list = |field: &str| text(field).split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned);
    let wrong = |field: &str, allowed: &str| SettingsError::invalid(key_of(name, field), text(field), allowed);
    let allow_private = match text("allow_private") {
        "true" => true,
        "" | "false" => false,
        _ => return Err(wrong("allow_private", "true or false")),
    };
    let url = web_address(text("url")).ok_or_else(|| wrong("url", "an https URL with a host and without a user"))?;
    if !allow_private && url.scheme() != "https" {
        return Err(wrong("url", "an https URL; allow_private = true allows http"));
    }
    if !allow_private && address::literal(&url).is_some_and(|ip| !address::is_public(ip)) {
        return Err(wrong("url", "a public address; allow_private = true allows this one"));
    }
    let secret_files: Vec<String> = list("secret_files").collect();
    if secret_files.is_empty() {
        return Err(wrong("secret_files", "the names of one file or several, with commas between"));
    }
    let mut events = Vec::new();
    for kind in list("events") {
        let kind = kind.parse::<CampaignEventKind>();
        events.push(kind.map_err(|error| wrong("events", &format!("among {}", error.known.join(", "))))?);
    }
    if events.is_empty() {
        events = CampaignEventKind::WORDS.iter().filter_map(|word| word.parse().ok()).collect();
    }
    Ok(Endpoint { name: name.to_owned(), url, secret_files, events, allow_private })
}

fn key_of(name: &str, field: &str) -> String {
    format!("{ENDPOINTS}.{name}.{field}")
}

fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    (1..=40).contains(&name.len()) && name.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use coupon_core::runtime::{Settings, SettingsArgs, load, print_effective};

    use crate::config::Config;

    fn with(pairs: &[(&str, &str)]) -> Result<Config, String> {
        let set = pairs.iter().map(|(key, value)| (format!("webhooks.endpoints.{key}"), (*value).to_owned())).collect();
        load(&SettingsArgs { config: None, set }, []).map_err(|error| error.to_string())
    }

    #[test]
    fn an_endpoint_is_a_section_of_a_file_or_variables_and_its_address_is_not_shown() {
        let file = std::env::temp_dir().join(format!("webhooks-{}.toml", std::process::id()));
        let section = "[webhooks.endpoints.shop]\nurl = \"https://shop.example/h?t=T0K3N\"\nsecret_files = \"/a, /b\"\n\
                       events = \"opened,closed\"\n[webhooks.endpoints.lab]\nurl = \"http://10.0.0.7/\"\nallow_private = true\n\
                       secret_files = \"/c\"\n";
        std::fs::write(&file, section).unwrap();
        let variable = ("DLQ_CONSUMER__WEBHOOKS__ENDPOINTS__LAB__EVENTS".to_owned(), "suspect".to_owned());
        let config: Config = load(&SettingsArgs { config: Some(file.clone()), set: Vec::new() }, [variable]).unwrap();
        std::fs::remove_file(file).unwrap();
        let endpoints = config.webhooks.endpoints().unwrap();
        let [lab, shop] = endpoints.as_slice() else { panic!("two") };
        assert_eq!((shop.name.as_str(), shop.secret_files.len(), shop.events.len()), ("shop", 2, 2));
        assert!(lab.allow_private && !shop.allow_private && lab.events.len() == 1);
        let shown = print_effective(&config);
        assert!(shown.contains("shop.url") && !shown.contains("T0K3N") && shown.contains("/a, /b"), "{shown}");
        assert_eq!(Config::PREFIX, "DLQ_CONSUMER");
    }

    #[test]
    fn an_address_that_is_not_public_is_refused_by_its_key_in_whatever_form_it_is_written() {
        let files = ("shop.secret_files", "/a");
        let forms = [
            "https://127.0.0.1/h",
            "https://2130706433/h",
            "https://0x7f.1/h",
            "https://0177.0.0.1/h",
            "https://127.1/h",
            "https://[::1]/h",
            "https://[::ffff:10.0.0.1]/h",
            "https://[::ffff:a00:1]/h",
            "https://[fe80::1]/h",
            "https://[fd00::1]/h",
            "https://169.254.169.254/latest/meta-data",
            "https://192.168.1.1/",
            "https://0.0.0.0/",
            "http://shop.example/",
        ];
        for form in forms {
            let error = with(&[("shop.url", form), files]).unwrap_err();
            assert!(
                error.contains("webhooks.endpoints.shop.url") && error.contains("allow_private"),
                "{form}: {error}"
            );
            with(&[("shop.url", form), files, ("shop.allow_private", "true")]).unwrap();
        }
        with(&[("shop.url", "https://93.184.215.14/h"), files]).unwrap();
    }

    #[test]
    fn what_an_endpoint_lacks_or_nobody_knows_is_named() {
        let (url, files) = (("shop.url", "https://shop.example/"), ("shop.secret_files", "/a"));
        for (pairs, named) in [
            (vec![url], "shop.secret_files"),
            (vec![files], "shop.url"),
            (vec![url, files, ("shop.events", "opened,burnt")], "shop.events"),
            (vec![url, files, ("shop.allow_private", "yes")], "shop.allow_private"),
            (vec![url, files, ("shop.secret", "x")], "shop.secret"),
            (vec![("Shop.url", "https://shop.example/"), ("Shop.secret_files", "/a")], "Shop"),
        ] {
            let error = with(&pairs).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
