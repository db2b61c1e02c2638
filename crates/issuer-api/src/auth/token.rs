//! Verifying a token: one algorithm, one key of that algorithm's family, and every claim.

use coupon_core::{ids::MemberId, runtime::SettingsError};
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, Header, Validation, decode, decode_header, errors::ErrorKind, get_current_timestamp,
};
use quick_cache::sync::Cache;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{AuthSettings, Key, load_keys};

/// Longest token that is verified, in bytes.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Most verified tokens kept, about 150 bytes each; which are evicted is up to the cache.
const MAX_CACHED_TOKENS: usize = 65_536;

/// SHA-256 of a token: what differs in one bit is another token.
type TokenHash = [u8; 32];

/// Verifies tokens by keys that were read at the start.
#[derive(Debug)]
pub struct Verifier {
    keys: Vec<Key>,
    validations: Vec<(Algorithm, Validation)>,
    /// Members of verified tokens, each with the last second in which the token counts, the leeway included: a member who
    /// asks again and again pays for RSA or elliptic curves once. `None` where it is of no use: a token signed with a shared
    /// secret is verified as quickly as it is found. Keys are read at the start, so no token outlives its key here.
    verified: Option<Cache<TokenHash, (MemberId, u64)>>,
    leeway_s: u64,
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
    /// `exp`, `iss`, `aud` or `sub` is missing.
    #[error("the token lacks one of the claims exp, iss, aud, sub")]
    Claim,
    /// `sub` cannot be a member id.
    #[error("the subject of the token is no member id: 1 to 64 bytes of printable ASCII")]
    Subject,
}

#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
    /// Checked by the library; kept to know how long the token counts. May have a fraction.
    exp: Option<f64>,
}

impl Verifier {
    /// Reads the keys and ties each allowed algorithm to its checks.
    pub fn load(settings: &AuthSettings) -> Result<Self, SettingsError> {
        let keys = load_keys(settings)?;
        for (setting, value, meaning) in
            [("auth.issuer", &settings.issuer, "iss"), ("auth.audience", &settings.audience, "aud")]
        {
            if value.is_empty() {
                return Err(SettingsError::invalid(setting, "", format!("the claim {meaning} of the tokens")));
            }
        }
        let validation = |algorithm| {
            let mut validation = Validation::new(algorithm);
            validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
            validation.set_issuer(&[&settings.issuer]);
            validation.set_audience(&[&settings.audience]);
            validation.leeway = settings.leeway_s;
            validation.validate_nbf = true;
            (algorithm, validation)
        };
        let validations = settings.allowed()?.into_iter().map(validation).collect();
        let is_of_use = keys.iter().flat_map(|key| &key.algorithms).any(|algorithm| !is_shared(*algorithm));
        let verified = is_of_use.then(|| Cache::new(MAX_CACHED_TOKENS));
        Ok(Self { keys, validations, verified, leeway_s: settings.leeway_s })
    }

    /// The keys, for `doctor`.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The member a token speaks for.
    pub fn member(&self, token: &str) -> Result<MemberId, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        let verified = self.verified.as_ref().map(|cache| (cache, TokenHash::from(Sha256::digest(token))));
        if let Some((cache, hash)) = &verified
            && let Some((member, until)) = cache.get(hash)
            && get_current_timestamp() <= until
        {
            return Ok(member);
        }
        let header = decode_header(token).map_err(|_| TokenError::Malformed)?;
        // RFC 7515, section 4.1.11: an extension that is not understood makes the token invalid, and none is.
        if header.crit.is_some() {
            return Err(TokenError::Malformed);
        }
        let validation = self.validations.iter().find(|(algorithm, _)| *algorithm == header.alg);
        let (_, validation) = validation.ok_or(TokenError::Algorithm)?;
        let mut outcome = Err(TokenError::Key);
        for key in self.candidates(&header)? {
            outcome = decode::<Claims>(token, &key.key, validation).map_err(|error| classify(error.kind()));
            if !matches!(outcome, Err(TokenError::Signature)) {
                break;
            }
        }
        let Claims { sub, exp } = outcome?.claims;
        let member: MemberId = sub.ok_or(TokenError::Claim)?.parse().map_err(|_| TokenError::Subject)?;
        if let (Some((cache, hash)), Some(exp), false) = (verified, exp, is_shared(header.alg)) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time that is over is none")]
            cache.insert(hash, (member.clone(), (exp as u64).saturating_add(self.leeway_s)));
        }
        Ok(member)
    }

    /// The keys that may have signed it: those of its algorithm with its `kid`, or the ones without any.
    fn candidates(&self, header: &Header) -> Result<Vec<&Key>, TokenError> {
        let fitting: Vec<&Key> = self.keys.iter().filter(|key| key.algorithms.contains(&header.alg)).collect();
        let Some(id) = &header.kid else {
            return if fitting.len() == 1 { Ok(fitting) } else { Err(TokenError::Key) };
        };
        let named: Vec<&Key> = fitting.iter().copied().filter(|key| key.id.as_ref() == Some(id)).collect();
        if !named.is_empty() {
            return Ok(named);
        }
        Ok(fitting.into_iter().filter(|key| key.id.is_none()).collect())
    }
}

/// Whether tokens of this algorithm are signed with a secret that both sides share.
fn is_shared(algorithm: Algorithm) -> bool {
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
