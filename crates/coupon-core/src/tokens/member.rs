//! The member that a token names.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{ReadClaims, Signed, TokenError};
use crate::ids::MemberId;

/// The name of the claim that names the member.
#[derive(Clone, Debug)]
pub struct MemberClaim(pub String);

/// What is read of a token that names the member by `sub`; several times as fast as to read every claim.
#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
    /// Checked by the library; kept to know how long the token counts. May have a fraction.
    exp: Option<f64>,
}

impl ReadClaims for MemberClaim {
    type Subject = MemberId;

    fn read(&self, token: &Signed<'_>) -> Result<(MemberId, Option<f64>), TokenError> {
        let Claims { sub, exp } = if self.0 == "sub" { token.claims()? } else { self.read_all(token)? };
        let member = sub.ok_or(TokenError::Claim)?.parse().map_err(|_| TokenError::Subject)?;
        Ok((member, exp))
    }
}

impl MemberClaim {
    /// The claims of a token, the one that names the member as `sub`.
    fn read_all(&self, token: &Signed<'_>) -> Result<Claims, TokenError> {
        let mut claims: Map<String, Value> = token.claims()?;
        let sub = match claims.remove(&self.0) {
            Some(Value::String(member)) => Some(member),
            None => None,
            Some(_) => return Err(TokenError::Malformed),
        };
        Ok(Claims { sub, exp: claims.get("exp").and_then(Value::as_f64) })
    }
}
