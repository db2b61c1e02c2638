//! Verifying a token: one algorithm, one key of that algorithm's family, and every claim.

use coupon_core::{ids::MemberId, runtime::SettingsError};
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, Header, Validation, decode, decode_header, errors::ErrorKind, get_current_timestamp,
};
use serde::Deserialize;

use super::{AuthSettings, Key, load_keys, verified::Verified};

/// Longest token that is looked at, in bytes.
const MAX_BYTES: usize = 8 * 1024;

/// Verifies tokens by keys that were read at the start.
#[derive(Debug)]
pub struct Verifier {
    keys: Vec<Key>,
    validations: Vec<(Algorithm, Validation)>,
    /// Only where it is of use: a shared secret is verified as quickly as a token is found here.
    verified: Option<Verified>,
    leeway_s: u64,
}

/// What is wrong with a token, in words that say nothing about its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is none.
    #[error("send a token: Authorization: Bearer <token>")]
    Missing,
    /// It is none, or holds a claim of the wrong type.
    #[error("the token is malformed or signed with an unknown algorithm")]
    Malformed,
    /// There is more than one.
    #[error("send one Authorization header, there are several")]
    Several,
    /// It has more than 8 KiB.
    #[error("the token is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// The algorithm is not on the allow-list.
    #[error("the token is signed with an algorithm that is not accepted")]
    Algorithm,
    /// No key has its `kid`, or it has none and several keys could be meant.
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
    /// `iss` is another one.
    #[error("the token was issued by somebody else")]
    Issuer,
    /// `aud` does not name this service.
    #[error("the token is meant for another service")]
    Audience,
    /// `exp`, `iss`, `aud` or `sub` is not there.
    #[error("the token lacks one of the claims exp, iss, aud, sub")]
    Claim,
    /// `sub` cannot be a member id.
    #[error("the subject of the token is no member id: 1 to 64 bytes of printable ASCII")]
    Subject,
}

#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
    /// Checked by the library; kept to know how long the token counts. It may have a fraction.
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
        Ok(Self { keys, validations, verified: is_of_use.then(Verified::default), leeway_s: settings.leeway_s })
    }

    /// The keys, for `doctor`.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The member a token speaks for.
    pub fn member(&self, token: &str) -> Result<MemberId, TokenError> {
        if token.len() > MAX_BYTES {
            return Err(TokenError::TooLong);
        }
        let now = get_current_timestamp();
        if let Some(member) = self.verified.as_ref().and_then(|verified| verified.member(token, now)) {
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
            outcome = decode::<Claims>(token, &key.key, validation).map_err(|error| judge(error.kind()));
            if !matches!(outcome, Err(TokenError::Signature)) {
                break;
            }
        }
        let Claims { sub, exp } = outcome?.claims;
        let member: MemberId = sub.ok_or(TokenError::Claim)?.parse().map_err(|_| TokenError::Subject)?;
        if let (Some(verified), Some(exp), false) = (&self.verified, exp, is_shared(header.alg)) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time that is over is none")]
            verified.remember(token, &member, (exp as u64).saturating_add(self.leeway_s));
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

/// Whether tokens of it are signed with a secret that both sides share.
fn is_shared(algorithm: Algorithm) -> bool {
    algorithm.family() == AlgorithmFamily::Hmac
}

fn judge(error: &ErrorKind) -> TokenError {
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
