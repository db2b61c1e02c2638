//! The keys that are in files, read at the start and again whenever a file has changed.

use std::{fmt, fs};

use super::{Key, TokenSettings, keys};
use crate::runtime::SettingsError;

/// What a setting holds, or the file that it names.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Source {
    setting: String,
    /// The value of the setting, as an error may show it.
    shown: String,
    kind: Kind,
    content: Vec<u8>,
}

/// Without the content, which may be a secret.
impl fmt::Debug for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Source({} {})", self.setting, self.shown)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Pem,
    JwkSet,
    Secret,
}

/// Reads every configured source but the one that is a URL. Fails with a sentence that names the file that cannot be read.
pub(super) fn read(settings: &TokenSettings) -> Result<Vec<Source>, SettingsError> {
    let mut sources = Vec::new();
    let mut add = |name: &str, file: &String, kind| -> Result<(), SettingsError> {
        if !file.is_empty() {
            let setting = settings.key(name);
            let content = fs::read(file)
                .map_err(|error| SettingsError::invalid(setting.clone(), file, format!("a readable file ({error})")))?;
            sources.push(Source { setting, shown: file.clone(), kind, content });
        }
        Ok(())
    };
    add("public_key_file", &settings.public_key_file, Kind::Pem)?;
    add("jwks_file", &settings.jwks_file, Kind::JwkSet)?;
    add("hmac_secret_file", &settings.hmac_secret_file, Kind::Secret)?;
    for file in &settings.hmac_secret_files {
        add("hmac_secret_files", file, Kind::Secret)?;
    }
    if !settings.hmac_secret.is_empty() {
        let content = settings.hmac_secret.expose().as_bytes().to_vec();
        sources.push(Source {
            setting: settings.key("hmac_secret"),
            shown: "***".to_owned(),
            kind: Kind::Secret,
            content,
        });
    }
    Ok(sources)
}

/// The keys of all sources. Fails with a sentence when there is none, when one serves no allowed algorithm, or when an
/// allowed algorithm has no key. What a URL is to give is not missed here: an issuer adds and removes keys as it likes.
pub(super) fn parse(settings: &TokenSettings, sources: &[Source]) -> Result<Vec<Key>, SettingsError> {
    let allowed = settings.allowed()?;
    let mut found: Vec<Key> = Vec::new();
    for Source { setting, shown, kind, content } in sources {
        let keys = match kind {
            Kind::Pem => keys::from_pem(content, setting, &allowed).map(|key| vec![key]),
            Kind::JwkSet => keys::from_jwks(content, setting, &allowed),
            Kind::Secret => keys::from_secret(content.trim_ascii_end(), setting, &allowed).map(|key| vec![key]),
        };
        found.extend(keys.map_err(|wanted| SettingsError::invalid(setting.clone(), shown, wanted))?);
    }
    if !settings.jwks_url.is_empty() {
        return Ok(found);
    }
    if found.is_empty() {
        let [url, file, secret_file, secret] =
            ["jwks_url", "jwks_file", "hmac_secret_file", "hmac_secret"].map(|name| settings.key(name));
        let allowed =
            format!("set, or {url}, or {file}, or {secret_file} (or {secret}): without a key no token can be verified");
        return Err(SettingsError::invalid(settings.key("public_key_file"), "", allowed));
    }
    let orphans: Vec<String> = allowed
        .algorithms
        .iter()
        .filter(|algorithm| !found.iter().any(|key| key.can_verify(**algorithm)))
        .map(|algorithm| format!("{algorithm:?}"))
        .collect();
    if !orphans.is_empty() {
        let allowed = format!("algorithms that a configured key can verify, and none verifies {}", orphans.join(", "));
        return Err(SettingsError::invalid(settings.key("algorithms"), settings.algorithms.join(","), allowed));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{super::token::tests::settings, *};

    fn refused(change: impl FnOnce(&mut TokenSettings)) -> String {
        let mut settings = settings(&["RS256"]);
        settings.public_key_file = "tests/keys/rsa.public.pem".to_owned();
        change(&mut settings);
        read(&settings).and_then(|sources| parse(&settings, &sources)).unwrap_err().to_string()
    }

    #[test]
    fn no_key_is_refused_and_every_setting_that_could_hold_one_is_named() {
        let said = refused(|settings| settings.public_key_file.clear());
        for setting in ["public_key_file", "jwks_url", "jwks_file", "hmac_secret_file", "hmac_secret)"] {
            assert!(said.contains(&format!("auth.{setting}")), "{said}");
        }
    }

    #[test]
    fn a_key_that_no_allowed_algorithm_can_use_is_refused() {
        let said = refused(|settings| settings.public_key_file = "tests/keys/ec.public.pem".to_owned());
        assert!(said.contains("this one needs one of ES256, ES384 there"), "{said}");
        let said = refused(|settings| settings.hmac_secret_file = "Cargo.toml".to_owned());
        assert!(said.contains("auth.hmac_secret_file") && said.contains("HS256"), "{said}");
    }

    #[test]
    fn an_allowed_algorithm_without_a_key_is_refused() {
        let said =
            refused(|settings| settings.algorithms = vec!["RS256".to_owned(), "ES256".to_owned(), "EdDSA".to_owned()]);
        assert!(said.contains("none verifies ES256, EdDSA"), "{said}");
        // A P-256 key is of the family of ES384, and of no use to it.
        let said = refused(|settings| {
            settings.algorithms = vec!["ES256".to_owned(), "ES384".to_owned()];
            settings.public_key_file = "tests/keys/ec.public.pem".to_owned();
        });
        assert!(said.contains("none verifies ES384"), "{said}");
    }

    #[test]
    fn what_is_no_sound_public_key_is_refused() {
        for file in ["tests/keys/rsa.private.pem", "tests/keys/weak.public.pem", "Cargo.toml"] {
            let said = refused(|settings| settings.public_key_file = file.to_owned());
            assert!(said.contains(file) && said.contains("a PEM file with one public key"), "{said}");
        }
        let said = refused(|settings| settings.public_key_file = "tests/keys/absent.pem".to_owned());
        assert!(said.contains("a readable file (No such file"), "{said}");
        let said = refused(|settings| settings.jwks_file = "Cargo.toml".to_owned());
        assert!(said.contains("auth.jwks_file") && said.contains("a JWK Set"), "{said}");
        let said = refused(|settings| settings.hmac_secret = crate::runtime::Secret::new("short"));
        assert!(said.contains("at least 32 bytes") && said.contains("not 5") && !said.contains("`short`"), "{said}");
        let said = refused(|settings| {
            settings.algorithms = vec!["RS256".to_owned(), "HS256".to_owned(), "HS512".to_owned()];
            settings.hmac_secret = crate::runtime::Secret::new("x".repeat(63));
        });
        assert!(said.contains("at least 64 bytes"), "{said}");
    }
}
