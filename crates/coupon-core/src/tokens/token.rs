//! Verifying a token: one algorithm, one key of that algorithm's family, and every claim.

use std::time::Duration;

use arc_swap::ArcSwap;
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, Validation, decode, decode_header, errors::ErrorKind, get_current_timestamp,
};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::{
    Key, TokenSettings,
    files::{self, Source},
    issuer,
    key_ring::{KeyRing, TokenHash, each_once},
    watch::Asking,
};
use crate::runtime::SettingsError;

/// Longest token that is verified, in bytes.
pub(super) const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Longest wait of a request for the keys of the issuer, when its token names one that is not known yet.
const MAX_KEY_WAIT: Duration = Duration::from_secs(1);

/// Verifies tokens by the keys of the moment.
#[derive(Debug)]
pub struct Verifier<C: ReadClaims> {
    pub(super) settings: TokenSettings,
    /// What the files held at the start.
    pub(super) sources: Vec<Source>,
    validations: Vec<(Algorithm, Validation)>,
    pub(super) ring: ArcSwap<KeyRing<C::Subject>>,
    pub(super) asking: Asking,
    pub(super) claims: C,
}

/// What is wrong with a token, in words that say nothing about its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is no token.
    #[error("send a token: Authorization: Bearer <token>")]
    Missing,
    /// The text is no token, or a claim has the wrong type.
    #[error("the token is malformed or signed with an unknown algorithm")]
    Malformed,
    /// There is more than one header.
    #[error("send one Authorization header, there are several")]
    Several,
    /// The token has more than 8 KiB.
    #[error("the token is longer than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    /// The algorithm is not on the allow-list.
    #[error("the token is signed with an algorithm that is not accepted")]
    Algorithm,
    /// No key has the `kid` of the token, or it has none and several keys could be meant.
    #[error("the token names no key that is known here")]
    Key,
    /// The signature does not fit.
    #[error("the signature of the token does not fit")]
    Signature,
    /// `exp` is over.
    #[error("the token has expired")]
    Expired,
    /// `nbf` is still to come.
    #[error("the token is not valid yet")]
    Early,
    /// `iss` names another issuer.
    #[error("the token was issued by somebody else")]
    Issuer,
    /// `aud` does not name this service.
    #[error("the token is meant for another service")]
    Audience,
    /// `exp`, `iss`, `aud` or the claim that names the member is missing.
    #[error("the token lacks one of the claims exp, iss, aud, and the one that names the member")]
    Claim,
    /// What names the member cannot be a member id.
    #[error("the member that the token names is no member id: 1 to 255 bytes of UTF-8 without control characters")]
    Subject,
}

/// Reads from the claims of a token whom it speaks for.
pub trait ReadClaims: Send + Sync + 'static {
    /// Whom a token speaks for.
    type Subject: Clone + Send + Sync + std::fmt::Debug + 'static;

    /// Verifies the token, and returns its subject and the claim `exp`, in seconds since 1970.
    fn read(&self, token: &Signed<'_>) -> Result<(Self::Subject, Option<f64>), TokenError>;
}

/// A token with a key that may have signed it.
#[derive(Debug)]
pub struct Signed<'a> {
    token: &'a str,
    key: &'a Key,
    validation: &'a Validation,
}

impl Signed<'_> {
    /// Verifies signature, issuer, audience and times, and returns the claims.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, TokenError> {
        let wrong = |error: jsonwebtoken::errors::Error| classify(error.kind());
        Ok(decode(self.token, &self.key.key, self.validation).map_err(wrong)?.claims)
    }
}

impl<C: ReadClaims> Verifier<C> {
    /// Reads the keys that are in files and ties each allowed algorithm to its checks. Those of `jwks_url` come by
    /// [`watch`](super::watch), or by [`Verifier::ask_issuer`].
    pub fn load(settings: &TokenSettings, claims: C) -> Result<Self, SettingsError> {
        let sources = files::read(settings)?;
        let keys = files::parse(settings, &sources)?;
        for (setting, value, meaning) in [("issuer", &settings.issuer, "iss"), ("audience", &settings.audience, "aud")]
        {
            if value.is_empty() {
                return Err(SettingsError::invalid(
                    settings.key(setting),
                    "",
                    format!("the claim {meaning} of the tokens"),
                ));
            }
        }
        if settings.url()?.is_some() {
            issuer::client(settings)?;
        }
        let validation = |algorithm| {
            let mut validation = Validation::new(algorithm);
            validation.set_required_spec_claims(&["exp", "iss", "aud"]);
            validation.set_issuer(&[&settings.issuer]);
            validation.set_audience(&[&settings.audience]);
            validation.leeway = settings.leeway_s;
            validation.validate_nbf = true;
            (algorithm, validation)
        };
        Ok(Self {
            validations: settings.allowed()?.algorithms.into_iter().map(validation).collect(),
            ring: ArcSwap::from_pointee(KeyRing::new(each_once(keys))),
            asking: Asking::new(settings),
            settings: settings.clone(),
            sources,
            claims,
        })
    }

    /// The keys of now.
    pub fn keys(&self) -> Vec<Key> {
        self.ring.load().keys.clone()
    }

    /// Returns once a key is known: at once, unless all of them come from an issuer that has not answered yet.
    pub async fn first_key(&self) {
        let mut answers = self.asking.answers();
        while self.ring.load().keys.is_empty() {
            answers.next().await;
        }
    }

    /// Puts these keys in the place of those before, if they are others. Tokens that were verified by those are verified anew:
    /// each key ring has a cache of its own, so that no token outlives its key.
    pub(super) fn use_keys(&self, keys: Vec<Key>) {
        let (keys, old) = (each_once(keys), self.ring.load());
        if keys != old.keys {
            let new = KeyRing::new(keys);
            tracing::info!(
                keys = new.keys.len(),
                "the keys of [{}] have changed: {}",
                self.settings.section,
                new.changes(&old)
            );
            self.ring.store(new.into());
        }
    }

    /// Asks the issuer for its keys once and adds them, for `doctor`. Fails with a reason that names the setting.
    pub async fn ask_issuer(&self) -> Result<(), String> {
        if !self.settings.jwks_url.is_empty() {
            let keys = issuer::fetch(&self.settings).await?;
            self.use_keys([self.keys(), keys].concat());
        }
        Ok(())
    }

    /// The one a token speaks for. If the token names an unknown key, the issuer is asked for its keys, and their coming
    /// is waited for; neither for every such token.
    pub async fn identify(&self, token: &str) -> Result<C::Subject, TokenError> {
        match self.subject(token) {
            // In a box, so that all other requests do not carry it.
            Err(TokenError::Key) if !self.settings.jwks_url.is_empty() => Box::pin(self.identify_later(token)).await,
            known => known,
        }
    }

    async fn identify_later(&self, token: &str) -> Result<C::Subject, TokenError> {
        if let Some(mut waiting) = self.asking.ask() {
            // Late keys are no keys: the next request of this member meets them.
            let _ = timeout(MAX_KEY_WAIT, waiting.answers.next()).await;
        }
        // Also without waiting: they may have come in between.
        self.subject(token)
    }

    /// The one a token speaks for, by the keys of now.
    pub fn subject(&self, token: &str) -> Result<C::Subject, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        let ring = self.ring.load();
        let verified = ring.verified.as_ref().map(|cache| (cache, TokenHash::of(token)));
        if let Some((cache, hash)) = &verified
            && let Some((subject, until)) = cache.get(hash)
            && get_current_timestamp() <= until
        {
            return Ok(subject);
        }
        let header = decode_header(token).map_err(|_| TokenError::Malformed)?;
        // RFC 7515, section 4.1.11: an extension that is not understood makes the token invalid, and none is.
        if header.crit.is_some() {
            return Err(TokenError::Malformed);
        }
        let validation = self.validations.iter().find(|(algorithm, _)| *algorithm == header.alg);
        let (_, validation) = validation.ok_or(TokenError::Algorithm)?;
        let mut outcome = Err(TokenError::Key);
        for key in ring.candidates(&header)? {
            outcome = self.claims.read(&Signed { token, key, validation });
            if !matches!(outcome, Err(TokenError::Signature)) {
                break;
            }
        }
        let (subject, exp) = outcome?;
        if let (Some((cache, hash)), Some(exp), false) = (verified, exp, is_shared(header.alg)) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time that is over is none")]
            cache.insert(hash, (subject.clone(), (exp as u64).saturating_add(self.settings.leeway_s)));
        }
        Ok(subject)
    }
}

/// Whether tokens of this algorithm are signed with a secret that both sides share.
pub(super) fn is_shared(algorithm: Algorithm) -> bool {
    algorithm.family() == AlgorithmFamily::Hmac
}

fn classify(error: &ErrorKind) -> TokenError {
    match error {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::ExpiredSignature => TokenError::Expired,
        ErrorKind::ImmatureSignature => TokenError::Early,
        ErrorKind::InvalidIssuer => TokenError::Issuer,
        ErrorKind::InvalidAudience => TokenError::Audience,
        ErrorKind::InvalidAlgorithm => TokenError::Algorithm,
        ErrorKind::MissingRequiredClaim(_) => TokenError::Claim,
        _ => TokenError::Malformed,
    }
}

#[cfg(test)]
#[path = "token_tests.rs"]
pub(super) mod tests;
