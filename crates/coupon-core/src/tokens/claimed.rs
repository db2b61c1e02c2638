//! What a token claims, for whoever may act on the claim of anybody.

use std::time::Duration;

use jsonwebtoken::{dangerous::insecure_decode_claims, decode_header, get_current_timestamp};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    MemberClaim, Verifier,
    token::{MAX_TOKEN_BYTES, is_shared},
};
use crate::ids::MemberId;

/// The claims that every token has, and the member if `sub` names it.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Audience,
    exp: f64,
    nbf: Option<f64>,
    sub: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    fn holds(&self, wanted: &str) -> bool {
        match self {
            Self::One(one) => one == wanted,
            Self::Several(several) => several.iter().any(|one| one == wanted),
        }
    }
}

impl Verifier<MemberClaim> {
    /// The member that a token claims to name, without a look at its signature: anybody can write such a token.
    ///
    /// `None` unless all but the signature is as it should be, without any leeway, and the token names one public key by its `kid`: no issuer
    /// gives two keys one `kid`, so a signature by that key does not fit because the key was rotated. `None` says nothing of
    /// the token; [`Verifier::identify`] does.
    pub fn claimed(&self, token: &str) -> Option<MemberId> {
        let (_, signature) = token.rsplit_once('.').filter(|_| token.len() <= MAX_TOKEN_BYTES)?;
        let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if signature.is_empty() || !signature.bytes().all(is_base64) {
            return None;
        }
        let header = decode_header(token).ok().filter(|header| header.crit.is_none() && !is_shared(header.alg))?;
        let named = |key: &&super::Key| key.id.is_some() && key.id == header.kid && key.can_verify(header.alg);
        let ring = self.ring.load();
        if ring.keys.iter().filter(named).count() != 1 {
            return None;
        }
        let claims: Claims = insecure_decode_claims(token).ok()?;
        let now = Duration::from_secs(get_current_timestamp()).as_secs_f64();
        let is_of_now = claims.exp > now && claims.nbf.is_none_or(|begin| begin <= now);
        if claims.iss != self.settings.issuer || !claims.aud.holds(&self.settings.audience) || !is_of_now {
            return None;
        }
        let member = if self.claims.0 == "sub" {
            claims.sub?
        } else {
            match insecure_decode_claims::<Map<String, Value>>(token).ok()?.remove(&self.claims.0)? {
                Value::String(member) => member,
                _ => return None,
            }
        };
        member.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
    use serde_json::json;

    use super::*;
    use crate::{runtime::Secret, tokens::token::tests::settings};

    const KID: Option<&str> = Some("of-2026");
    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    /// A verifier of RS256, whose key has this `kid`, and of HS256.
    fn verifier(claim: &str, kid: Option<&str>) -> Verifier<MemberClaim> {
        let mut settings = settings(&["RS256", "HS256"]);
        settings.public_key_file = "tests/keys/rsa.public.pem".to_owned();
        settings.hmac_secret = Secret::new(SECRET);
        let verifier = Verifier::load(&settings, MemberClaim(claim.to_owned())).unwrap();
        let mut keys = verifier.keys();
        for key in &mut keys {
            key.id = kid.map(str::to_owned);
        }
        verifier.use_keys(keys);
        verifier
    }

    fn claims() -> Value {
        json!({"iss": "company", "aud": "coupons", "exp": get_current_timestamp() + 600, "sub": "10"})
    }

    /// A token that a stranger signs.
    fn forged(claims: &Value, kid: Option<&str>) -> String {
        let key = EncodingKey::from_rsa_pem(&fs::read("tests/keys/stranger.private.pem").unwrap()).unwrap();
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::RS256) };
        encode(&header, claims, &key).unwrap()
    }

    fn claimed(token: &str) -> Option<String> {
        verifier("sub", KID).claimed(token).map(|member| member.as_str().to_owned())
    }

    #[test]
    fn anybody_may_claim_to_be_a_member_by_a_token_that_names_a_public_key() {
        assert_eq!(claimed(&forged(&claims(), KID)).as_deref(), Some("10"));
        let mut several = claims();
        several["aud"] = json!(["a", "coupons"]);
        assert!(claimed(&forged(&several, KID)).is_some());
        several["shop.member"] = "11".into();
        let by_another_claim = verifier("shop.member", KID).claimed(&forged(&several, KID));
        assert_eq!(by_another_claim.unwrap().as_str(), "11");
        assert_eq!(verifier("shop.member", KID).claimed(&forged(&claims(), KID)), None, "sub alone names nobody here");
    }

    #[test]
    fn where_the_signature_may_not_fit_because_a_key_was_rotated_a_claim_is_none() {
        for kid in [None, Some("of-2025")] {
            assert_eq!(claimed(&forged(&claims(), kid)), None, "{kid:?}");
        }
        assert_eq!(verifier("sub", None).claimed(&forged(&claims(), None)), None, "a key without a name");
        let header = Header { kid: KID.map(str::to_owned), ..Header::new(Algorithm::HS256) };
        let shared = encode(&header, &claims(), &EncodingKey::from_secret(SECRET.as_bytes())).unwrap();
        assert!(verifier("sub", KID).subject(&shared).is_ok());
        assert_eq!(claimed(&shared), None, "a shared secret is verified as quickly as it is read");
    }

    #[test]
    fn a_token_that_is_wrong_but_for_its_signature_claims_nothing() {
        let now = get_current_timestamp();
        let (late, early) = (json!(now - 1), json!(now + 60));
        let wrong =
            [("iss", json!("rival")), ("aud", json!("news")), ("exp", late), ("nbf", early), ("sub", json!(10))];
        for (claim, value) in wrong {
            let mut claims = claims();
            claims[claim] = value;
            assert_eq!(claimed(&forged(&claims, KID)), None, "{claim}");
        }
        for claim in ["iss", "aud", "exp", "sub"] {
            let mut claims = claims();
            claims.as_object_mut().unwrap().remove(claim);
            assert_eq!(claimed(&forged(&claims, KID)), None, "without {claim}");
        }
        let token = forged(&claims(), KID);
        let (message, _) = token.rsplit_once('.').unwrap();
        for garbage in ["", "a.b.c", message, &format!("{message}."), &format!("{message}.%%"), &format!("{token}.x")] {
            assert_eq!(claimed(garbage), None, "{garbage}");
        }
    }
}
