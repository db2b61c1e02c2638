//! Signatures of Standard Webhooks 1.0: HMAC-SHA256 over id, timestamp and body, by each secret, so that receivers may change
//! theirs at any time while two are in use.

use std::fs;

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use coupon_core::runtime::SettingsError;
use reqwest::RequestBuilder;

/// What a secret begins with.
const PREFIX: &str = "whsec_";

/// The secrets of one receiver, which are read again before each use.
pub struct Secrets {
    /// The setting that names the files.
    key: String,
    files: Vec<String>,
    texts: Vec<String>,
    keys: Vec<hmac::Key>,
    /// What is wrong with a file that was read again.
    unreadable: Option<String>,
}

impl Secrets {
    /// Reads the secrets from the files that the setting `key` names. No file: nothing is signed.
    pub fn read(key: &str, files: &[String]) -> Result<Self, SettingsError> {
        let (mut texts, mut keys) = (Vec::new(), Vec::new());
        for file in files {
            let wrong = |allowed: String| SettingsError::invalid(key, file, allowed);
            let text = fs::read_to_string(file).map_err(|error| wrong(format!("a file that can be read ({error})")))?;
            let secret = text.trim().strip_prefix(PREFIX).and_then(|base64| STANDARD.decode(base64).ok());
            // What is in the file is not shown.
            let secret = secret.filter(|secret| (24..=64).contains(&secret.len()));
            let secret =
                secret.ok_or_else(|| wrong(format!("a file that holds {PREFIX} and 24 to 64 bytes in Base64")))?;
            keys.push(hmac::Key::new(hmac::HMAC_SHA256, &secret));
            texts.push(text);
        }
        Ok(Self { key: key.to_owned(), files: files.to_vec(), texts, keys, unreadable: None })
    }

    /// Reads the files again. What the start would refuse is not taken up, and is logged once.
    pub fn read_again(&mut self) {
        match Self::read(&self.key, &self.files) {
            Ok(again) => {
                if again.texts != self.texts {
                    tracing::info!("the secrets of {} have changed: the new ones sign from now on", self.key);
                }
                *self = again;
            }
            Err(error) => {
                let error = error.to_string();
                if self.unreadable.as_ref() != Some(&error) {
                    tracing::warn!("the secrets of before sign: {error}");
                }
                self.unreadable = Some(error);
            }
        }
    }

    /// Adds the headers of Standard Webhooks to a request with this body, and the body itself; without secrets the body alone.
    pub fn sign(&self, request: RequestBuilder, id: &str, body: String, now: DateTime<Utc>) -> RequestBuilder {
        if self.keys.is_empty() {
            return request.body(body);
        }
        let timestamp = now.timestamp();
        let signature = self.signature(id, timestamp, &body);
        request
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(body)
    }

    /// Returns the signatures by all secrets, the first file's first.
    fn signature(&self, id: &str, timestamp: i64, body: &str) -> String {
        let signed = format!("{id}.{timestamp}.{body}");
        let sign = |key| format!("v1,{}", STANDARD.encode(hmac::sign(key, signed.as_bytes())));
        self.keys.iter().map(sign).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(texts: &[&str]) -> Result<Secrets, SettingsError> {
        let folder = std::env::temp_dir().join(format!("whsec-{}-{}", std::process::id(), texts.concat().len()));
        fs::create_dir_all(&folder).unwrap();
        let files: Vec<String> =
            (0..texts.len()).map(|file| folder.join(file.to_string()).display().to_string()).collect();
        files.iter().zip(texts).for_each(|(file, text)| fs::write(file, text).unwrap());
        let read = Secrets::read("webhooks.endpoints.x.secret_files", &files);
        fs::remove_dir_all(folder).unwrap();
        read
    }

    #[test]
    fn a_signature_is_that_of_the_specification() {
        // The example of the reference libraries.
        let one = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n";
        let (id, at, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        let signed = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(secrets(&[one]).unwrap().signature(id, at, body), signed);
        let two = secrets(&[one, "whsec_MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMA=="]).unwrap();
        let both = two.signature(id, at, body);
        assert!(both.starts_with(&format!("{signed} v1,")) && both.matches("v1,").count() == 2, "{both}");
    }

    #[test]
    fn a_secret_that_is_none_is_refused_and_not_shown() {
        for wrong in ["", "whsec_", "whsec_SHORT===", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!!!"] {
            let error = secrets(&[wrong]).map(drop).unwrap_err().to_string();
            assert!(
                error.contains("secret_files")
                    && (wrong.is_empty() || !error.contains(&wrong[6..]) || wrong.len() == 6)
            );
        }
    }
}
