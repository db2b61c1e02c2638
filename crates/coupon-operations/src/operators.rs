//! Operators of the console: added, given a login link, listed and revoked. Their secrets are shown once; the database has
//! the digests only.

use aws_lc_rs::{
    digest::{SHA256, digest as sha},
    rand,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use coupon_core::repo::{
    RepoError,
    operators::{NewOperator, OperatorRow},
};

use crate::Operations;

/// What every operator's token begins with, so that scanners for leaked secrets know it.
pub const TOKEN_PREFIX: &str = "cop_";
/// How long a login link works, in minutes.
pub const LINK_MINUTES: i64 = 10;
/// Longest life of a token, in days.
pub const MAX_TOKEN_DAYS: i64 = 366;

/// Why an operator was not added, linked or revoked.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The name cannot stand in the audit.
    #[error("{0:?} is no name of an operator: 1 to 100 of A-Z a-z 0-9 . _ @ -")]
    Name(String),
    /// The name was given out before.
    #[error("there is or was an operator {0}: a name is given out once, so that the audit stays clear; choose another")]
    Taken(String),
    /// The token would end too early or too late.
    #[error("a token ends after now and within {MAX_TOKEN_DAYS} days, not at {0}")]
    Expiry(DateTime<Utc>),
    /// There is no such operator who may log in.
    #[error("there is no operator {0} whose token is worth something; `dlq-consumer operator list` shows them all")]
    Unknown(String),
    /// PostgreSQL failed.
    #[error("it did not end, and may be repeated")]
    Repo(#[from] RepoError),
}

/// Returns a new secret of 256 random bits: 43 characters of `A-Za-z0-9_-`.
pub fn new_secret() -> String {
    let mut bytes = [0_u8; 32];
    rand::fill(&mut bytes).expect("the system has random numbers");
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Returns a new token of an operator: `cop_` and a secret.
pub fn new_token() -> String {
    format!("{TOKEN_PREFIX}{}", new_secret())
}

/// Returns the SHA-256 of a secret. Of 256 random bits nobody finds the secret again, so no slower digest is needed.
pub fn digest(secret: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(sha(&SHA256, secret.as_bytes()).as_ref());
    hash
}

impl Operations {
    /// Adds an operator whose token works until `expires_at`, and returns the token, which is kept nowhere.
    pub async fn add_operator(
        &self,
        name: &str,
        role: &'static str,
        expires_at: DateTime<Utc>,
    ) -> Result<String, OperatorError> {
        if !is_name(name) {
            return Err(OperatorError::Name(name.to_owned()));
        }
        let (actor, token) = (self.me(), new_token());
        if expires_at <= actor.now || expires_at > actor.now + TimeDelta::days(MAX_TOKEN_DAYS) {
            return Err(OperatorError::Expiry(expires_at));
        }
        let new = NewOperator { name: name.to_owned(), role, token_hash: digest(&token), expires_at };
        let added = self.database.operators().add(new, actor).await?;
        if added { Ok(token) } else { Err(OperatorError::Taken(name.to_owned())) }
    }

    /// Returns a code by which the operator can log in once within [`LINK_MINUTES`]. A code before it is worth nothing any more.
    pub async fn login_code(&self, name: &str) -> Result<String, OperatorError> {
        let (actor, code) = (self.me(), new_secret());
        let expires_at = actor.now + TimeDelta::minutes(LINK_MINUTES);
        let set = self.database.operators().set_login_code(name.to_owned(), digest(&code), expires_at, actor).await?;
        if set { Ok(code) } else { Err(OperatorError::Unknown(name.to_owned())) }
    }

    /// Revokes an operator: the token and all sessions are worth nothing from now on.
    pub async fn revoke_operator(&self, name: &str) -> Result<(), OperatorError> {
        let revoked = self.database.operators().revoke(name.to_owned(), self.me()).await?;
        if revoked { Ok(()) } else { Err(OperatorError::Unknown(name.to_owned())) }
    }

    /// Returns all operators by name, the revoked ones too.
    pub async fn operators(&self) -> Result<Vec<OperatorRow>, RepoError> {
        self.database.operators().list().await
    }
}

/// Whether the table `operators` takes the name.
fn is_name(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'@' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_its_prefix_and_256_bits_and_no_other_has_its_digest() {
        let (one, other) = (new_token(), new_token());
        assert!(one.starts_with(TOKEN_PREFIX) && one.len() == 47, "{one}");
        assert_ne!(digest(&one), digest(&other));
        assert_eq!(digest(&one), digest(&one));
    }

    #[test]
    fn a_name_fits_into_the_audit_and_into_an_address() {
        for name in ["alice", "a.b@example-c_0", &"x".repeat(100)] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "a b", "a/b", "ä", &"x".repeat(101)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
