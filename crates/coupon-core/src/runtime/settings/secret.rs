//! Values that are used but never shown.

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Display, Formatter};

use serde::{Deserialize, Serialize, Serializer};

/// What is shown instead of a secret.
pub(super) const MASK: &str = "***";

macro_rules! masked_texts {
    ($($(#[$meta:meta])+ $name:ident shown by $mask:ident;)+) => {$(
        $(#[$meta])+
        #[derive(Clone, Default, PartialEq, Eq, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps a text; any is accepted, its reader decides whether it is a good one.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text itself, for the one call that needs it.
            pub fn expose(&self) -> &str {
                &self.0
            }

            /// Whether nothing is set.
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }
        }

        impl Display for $name {
            fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
                formatter.write_str(&$mask(&self.0))
            }
        }

        impl Debug for $name {
            fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
                write!(formatter, "{:?}", self.to_string())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )+};
}
masked_texts! {
    /// A text that prints as `***`, whoever prints it; an empty one stays empty, so that "not set" can be seen.
    Secret shown by masked;
    /// An address such as `postgres://user:password@host/name` that prints without its password.
    SecretUrl shown by without_password;
}

/// Free keys and values handed to a library, such as `security.protocol`; the values whose key
/// sounds like a secret print as `***`.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Properties(BTreeMap<String, String>);

impl Properties {
    /// Keys and values with nothing hidden, for the library that takes them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    fn masked(&self) -> BTreeMap<&str, &str> {
        self.iter().map(|(key, value)| (key, if sounds_secret(key) { MASK } else { value })).collect()
    }
}

impl Debug for Properties {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        Debug::fmt(&self.masked(), formatter)
    }
}

impl Serialize for Properties {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.masked().serialize(serializer)
    }
}

/// Whether a key's name says that its value must not be shown. A file or a place that holds a
/// secret (`hmac_secret_file`, `ssl.key.location`) is none itself.
pub(super) fn sounds_secret(key: &str) -> bool {
    const WORDS: [&str; 7] = ["password", "secret", "token", "credential", "jaas", "key.pem", "oauthbearer.config"];
    const PLACES: [&str; 6] = ["_file", "_files", "_path", "location", "token.endpoint.url", "_ms"];
    let key = key.to_ascii_lowercase();
    WORDS.iter().any(|word| key.contains(word)) && !PLACES.iter().any(|place| key.ends_with(place))
}

fn masked(text: &str) -> String {
    if text.is_empty() { String::new() } else { MASK.to_owned() }
}

/// Masks too much rather than too little: a password may hold an unescaped `@` or `/`, so the user
/// part reaches to the *last* `@`, and what is no URL at all is hidden whole.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return masked(url);
    };
    // The query first: an `@` in its password would otherwise pass for the end of the user part.
    let rest = match rest.split_once('?') {
        Some((before, query)) => {
            let parameters: Vec<String> = query.split('&').map(mask_parameter).collect();
            format!("{before}?{}", parameters.join("&"))
        }
        None => rest.to_owned(),
    };
    match rest.rsplit_once('@') {
        Some((user, host)) => {
            let name = user.split(':').next().unwrap_or_default();
            let password = if user.contains(':') { ":***" } else { "" };
            format!("{scheme}://{name}{password}@{host}")
        }
        None => format!("{scheme}://{rest}"),
    }
}

fn mask_parameter(parameter: &str) -> String {
    match parameter.split_once('=') {
        Some((key, value)) if !value.is_empty() && (sounds_secret(key) || key.contains("pass")) => {
            format!("{key}={MASK}")
        }
        _ => parameter.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_shown_by_nobody() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "*** \"***\"");
        assert_eq!(serde_json::to_string(&secret).expect("a string"), "\"***\"");
        assert_eq!(secret.expose(), "hunter2");
        assert_eq!(Secret::default().to_string(), "");
    }

    #[test]
    fn a_url_is_shown_without_its_password() {
        for (url, shown) in [
            ("", ""),
            ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
            ("redis://:pw@127.0.0.1:6379", "redis://:***@127.0.0.1:6379"),
            ("postgres://me:pw@db:5432/c?sslmode=require", "postgres://me:***@db:5432/c?sslmode=require"),
            ("postgres://me:p@s/s?w@db/c", "postgres://me:***@db/c"),
            ("postgres:///c?host=/run&user=me&password=p@w", "postgres:///c?host=/run&user=me&password=***"),
            ("postgres://db:5432/c?password=p@w&x=1", "postgres://db:5432/c?password=***&x=1"),
            ("postgres://db/c?sslpassword=pw", "postgres://db/c?sslpassword=***"),
            ("me:pw@db", "***"),
        ] {
            let url = SecretUrl::new(url);
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("{shown:?}"));
        }
    }

    #[test]
    fn properties_hide_the_values_whose_names_sound_secret() {
        let properties: Properties = serde_json::from_value(serde_json::json!({
            "sasl.password": "pw1", "ssl.key.pem": "pw2", "sasl.jaas.config": "pw3",
            "ssl.key.location": "/etc/key", "linger.ms": "5",
        }))
        .expect("a map of strings");
        let shown = format!("{properties:?} {}", serde_json::to_string(&properties).expect("a map"));
        assert!(!shown.contains("pw"), "{shown}");
        assert!(shown.contains("/etc/key") && shown.contains("linger.ms"), "{shown}");
        assert!(properties.iter().any(|(_, value)| value == "pw1"));
    }
}
