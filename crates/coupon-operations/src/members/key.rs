//! The section `[erasure]`, and the key by which pseudonyms are made.

use std::fs;

use aws_lc_rs::hmac;
use coupon_core::{
    ids::MemberId,
    runtime::{SettingsError, hex},
    signing::MIN_KEY_BYTES,
};
use serde::{Deserialize, Serialize};

/// What a pseudonym begins with.
const PREFIX: &str = "erased-";
/// Bytes of the MAC that a pseudonym has: two members have the same one with a probability of 2^-64 among four billion.
const PSEUDONYM_BYTES: usize = 16;
/// What the id of a key is made from. No member has this id, because it holds a control character.
const ID_MESSAGE: &[u8] = b"\0key";
/// Bytes of the id of a key.
const ID_BYTES: usize = 4;

/// `[erasure]`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ErasureSettings {
    /// File with the key of pseudonyms, read at each erasure. Empty: nobody can be erased.
    pub key_file: String,
}

/// The key of pseudonyms.
pub(super) struct ErasureKey(hmac::Key);

impl ErasureSettings {
    /// Reads the key. White space at the end of the file does not count, as with every secret.
    pub(super) fn key(&self) -> Result<ErasureKey, SettingsError> {
        let wrong = |allowed: String| SettingsError::invalid("erasure.key_file", &self.key_file, allowed);
        let rule = format!(
            "a file with a key of at least {MIN_KEY_BYTES} bytes (`openssl rand -hex 32` makes one), that every later erasure uses too"
        );
        if self.key_file.is_empty() {
            return Err(wrong(rule));
        }
        let bytes = fs::read(&self.key_file).map_err(|error| wrong(format!("{rule} ({error})")))?;
        let secret = bytes.trim_ascii_end();
        if secret.len() < MIN_KEY_BYTES {
            return Err(wrong(format!("{rule}, and not {} bytes", secret.len())));
        }
        Ok(ErasureKey(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }
}

impl ErasureKey {
    /// Returns what stands in the place of a member's id: the same for the same id, and nothing that tells the id without the
    /// key.
    pub(super) fn pseudonym(&self, member: &MemberId) -> MemberId {
        let text = format!("{PREFIX}{}", self.digits(member.as_str().as_bytes(), PSEUDONYM_BYTES));
        text.parse().expect("a prefix and hexadecimal digits are a member id")
    }

    /// Returns the id of the key: 8 hexadecimal digits, no secret.
    pub(super) fn id(&self) -> String {
        self.digits(ID_MESSAGE, ID_BYTES)
    }

    fn digits(&self, message: &[u8], bytes: usize) -> String {
        hex(&hmac::sign(&self.0, message).as_ref()[..bytes])
    }
}

/// Whether a member's id is a pseudonym already.
pub(super) fn is_pseudonym(member: &MemberId) -> bool {
    let digits = member.as_str().strip_prefix(PREFIX);
    digits.is_some_and(|digits| {
        digits.len() == 2 * PSEUDONYM_BYTES && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(secret: &[u8]) -> ErasureKey {
        ErasureKey(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    #[test]
    fn a_pseudonym_is_the_same_for_one_member_and_key_and_no_other() {
        let [alice, bob] = ["alice", "bob"].map(|id| id.parse::<MemberId>().unwrap());
        let (one, other) = (key(&[1; 32]), key(&[2; 32]));
        assert_eq!(one.pseudonym(&alice), one.pseudonym(&alice));
        assert_ne!(one.pseudonym(&alice), one.pseudonym(&bob));
        assert_ne!(one.pseudonym(&alice), other.pseudonym(&alice));
        assert_ne!(one.id(), other.id());
        assert!(is_pseudonym(&one.pseudonym(&alice)) && !is_pseudonym(&alice));
        assert!(!is_pseudonym(&"erased-alice".parse().unwrap()));
    }

    #[test]
    fn a_file_that_holds_no_key_is_refused_by_its_name_and_without_what_it_holds() {
        let said = |file: &str| ErasureSettings { key_file: file.to_owned() }.key().err().unwrap().to_string();
        assert!(said("").contains("`erasure.key_file`") && said("tests/absent.key").contains("tests/absent.key"));
        let short = std::env::temp_dir().join(format!("erasure-short-{}.key", std::process::id()));
        fs::write(&short, "hunter2 hunter2 hunter2 hunter2\n\n").unwrap();
        let told = said(short.to_str().unwrap());
        fs::remove_file(&short).unwrap();
        assert!(told.contains("not 31 bytes") && !told.contains("hunter2"), "{told}");
    }
}
