//! What a token of the waiting room says: which member it admits to which campaign, and until when.

use axum::http::HeaderMap;
use coupon_core::{
    ids::{CouponCode, MemberId},
    tokens::{ReadClaims, Signed, TokenError, Verifier},
};
use serde::Deserialize;

/// Header with the token.
const HEADER: &str = "coupon-admission";

/// Verifies the tokens of the waiting room.
pub type AdmissionVerifier = Verifier<AdmissionClaims>;

/// The claims `sub` and `campaign`.
#[derive(Clone, Copy, Debug)]
pub struct AdmissionClaims;

/// Who is admitted to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The member.
    pub member: MemberId,
    /// The campaign.
    pub campaign: CouponCode,
}

impl ReadClaims for AdmissionClaims {
    type Subject = Admitted;

    fn read(&self, token: &Signed<'_>) -> Result<(Admitted, Option<f64>), TokenError> {
        #[derive(Deserialize)]
        struct Claims {
            sub: Option<String>,
            campaign: Option<String>,
            exp: Option<f64>,
        }
        let Claims { sub, campaign, exp } = token.claims()?;
        let member = sub.ok_or(TokenError::Claim)?.parse().map_err(|_| TokenError::Subject)?;
        let campaign = campaign.ok_or(TokenError::Claim)?.parse().map_err(|_| TokenError::Malformed)?;
        Ok((Admitted { member, campaign }, exp))
    }
}

/// Returns the token of a request.
pub(super) fn token(headers: &HeaderMap) -> Result<&str, TokenError> {
    let mut values = headers.get_all(HEADER).iter();
    let value = values.next().ok_or(TokenError::Missing)?;
    // Of two headers a proxy in front may have checked the other one.
    if values.next().is_some() {
        return Err(TokenError::Several);
    }
    value.to_str().map(str::trim).map_err(|_| TokenError::Malformed)
}

/// Returns what is wrong with a token, for the developer of a client.
pub(super) fn wrong(error: TokenError) -> String {
    match error {
        TokenError::Several => "send one header Coupon-Admission, there are several".to_owned(),
        TokenError::Claim => "the token lacks one of the claims exp, iss, aud, sub and campaign".to_owned(),
        other => other.to_string(),
    }
}
