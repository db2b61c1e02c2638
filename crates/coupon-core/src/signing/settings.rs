//! The section `[events]`, and the keys that it names.

use std::fs;

use serde::{Deserialize, Serialize};

use super::{EventReader, MIN_KEY_BYTES, SigningKey};
use crate::runtime::{SettingsError, doctor::Finding};

/// The setting that names the files.
const KEY_FILES: &str = "events.signing_key_files";

/// `[events]` of a service that publishes events.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SigningSettings {
    /// Files with a key each; the first one signs. Empty: events are not signed.
    pub signing_key_files: Vec<String>,
}

/// `[events]` of a service that consumes events.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct VerificationSettings {
    /// Files with a key each; any of them verifies. Empty: events are not verified.
    pub signing_key_files: Vec<String>,
    /// Whether an event without a signature is parked; otherwise it is only counted.
    pub require_signature: bool,
}

impl SigningSettings {
    /// Reads every file, and returns the key that signs; `None` without files.
    pub fn signer(&self) -> Result<Option<SigningKey>, SettingsError> {
        Ok(load(&self.signing_key_files)?.into_iter().next())
    }

    /// What `doctor` says.
    pub fn finding(&self) -> Finding {
        finding(self.signer().map(|key| match key {
            Some(key) => format!("signed by the key {}", key.id()),
            None => format!("not signed: {KEY_FILES} is empty"),
        }))
    }
}

impl VerificationSettings {
    /// Reads every file, and returns the reader that verifies with them.
    pub fn reader(&self) -> Result<EventReader, SettingsError> {
        Ok(EventReader::new(load(&self.signing_key_files)?, !self.require_signature))
    }

    /// What `doctor` says.
    pub fn finding(&self) -> Finding {
        finding(self.reader().map(|reader| reader.to_string()))
    }
}

fn finding(loaded: Result<String, SettingsError>) -> Finding {
    match loaded {
        Ok(what) => Finding::ok("events", format!("events are {what}")),
        Err(error) => Finding::fail(
            "events",
            error.to_string(),
            "correct the [events] section; without it the service refuses to start",
        ),
    }
}

/// Reads a key from each file. The same key may come twice, as it does between two rotations. White space at the end of a file does not count, as with every secret.
fn load(files: &[String]) -> Result<Vec<SigningKey>, SettingsError> {
    files.iter().map(|file| {
        let bytes = fs::read(file)
            .map_err(|error| SettingsError::invalid(KEY_FILES, file, format!("files that can be read ({error})")))?;
        let secret = bytes.trim_ascii_end();
        if secret.len() < MIN_KEY_BYTES {
            let allowed = format!(
                "files with a key of at least {MIN_KEY_BYTES} bytes each, and not {}; `openssl rand -hex 32` makes one",
                secret.len()
            );
            return Err(SettingsError::invalid(KEY_FILES, file, allowed));
        }
        Ok(SigningKey::new(secret))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_holds_no_key_is_refused_by_its_name_and_without_what_it_holds() {
        let files = |file: &str| SigningSettings { signing_key_files: vec![file.to_owned()] };
        let said = files("tests/absent.key").signer().err().unwrap().to_string();
        assert!(
            said.contains(
                "`events.signing_key_files` is `tests/absent.key`, but must be files that can be read (No such"
            ),
            "{said}"
        );
        let short = std::env::temp_dir().join(format!("coupon-short-{}.key", std::process::id()));
        fs::write(&short, "hunter2 hunter2 hunter2 hunter2\n\n\n").unwrap();
        let said = files(short.to_str().unwrap()).signer().err().unwrap().to_string();
        fs::remove_file(&short).unwrap();
        assert!(said.contains("at least 32 bytes each, and not 31") && !said.contains("hunter2"), "{said}");
        assert!(SigningSettings::default().signer().unwrap().is_none());
    }
}
