use std::fs;

use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Value, json};

use super::{super::MemberClaim, *};
use crate::{ids::MemberId, runtime::Secret};

#[path = "cache_tests.rs"]
mod cache;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Settings without keys that allow these algorithms.
pub(in crate::tokens) fn settings(algorithms: &[&str]) -> TokenSettings {
    TokenSettings {
        issuer: "company".to_owned(),
        audience: "coupons".to_owned(),
        algorithms: algorithms.iter().map(ToString::to_string).collect(),
        section: "auth",
        leeway_s: 5,
        ..TokenSettings::default()
    }
}

type Verifier = super::Verifier<MemberClaim>;

fn load(settings: &TokenSettings) -> Result<Verifier, SettingsError> {
    Verifier::load(settings, MemberClaim("sub".to_owned()))
}

fn rsa() -> Verifier {
    let mut settings = settings(&["RS256"]);
    settings.public_key_file = "tests/keys/rsa.public.pem".to_owned();
    load(&settings).unwrap()
}

fn hmac() -> Verifier {
    let mut settings = settings(&["HS256"]);
    settings.hmac_secret = Secret::new(SECRET);
    load(&settings).unwrap()
}

fn claims() -> Value {
    json!({"iss": "company", "aud": "coupons", "exp": get_current_timestamp() + 600, "sub": "10"})
}

fn with(claim: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims();
    claims[claim] = value.into();
    claims
}

fn without(claim: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(claim);
    claims
}

fn private(name: &str) -> Vec<u8> {
    fs::read(format!("tests/keys/{name}.private.pem")).unwrap()
}

fn rs256(claims: &Value, key: &str) -> String {
    encode(&Header::new(Algorithm::RS256), claims, &EncodingKey::from_rsa_pem(&private(key)).unwrap()).unwrap()
}

fn hs256(claims: &Value, secret: &[u8]) -> String {
    encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(secret)).unwrap()
}

fn cached(verifier: &Verifier) -> Option<usize> {
    verifier.ring.load().verified.as_ref().map(quick_cache::sync::Cache::len)
}

fn refused(verifier: &Verifier, token: &str) -> TokenError {
    verifier.subject(token).unwrap_err()
}

#[test]
fn the_member_is_the_subject_whatever_key_family_signed() {
    assert_eq!(rsa().subject(&rs256(&claims(), "rsa")).unwrap().as_str(), "10");
    assert_eq!(hmac().subject(&hs256(&claims(), SECRET.as_bytes())).unwrap().as_str(), "10");
    for (algorithm, name) in [(Algorithm::ES256, "ec"), (Algorithm::EdDSA, "ed")] {
        let mut settings = settings(&[&format!("{algorithm:?}")]);
        settings.public_key_file = format!("tests/keys/{name}.public.pem");
        let key = if name == "ec" { EncodingKey::from_ec_pem } else { EncodingKey::from_ed_pem };
        let token = encode(&Header::new(algorithm), &claims(), &key(&private(name)).unwrap()).unwrap();
        assert_eq!(load(&settings).unwrap().subject(&token).unwrap().as_str(), "10");
    }
}

#[test]
fn a_forged_token_is_refused() {
    assert_eq!(refused(&rsa(), &rs256(&claims(), "stranger")), TokenError::Signature);
    assert_eq!(refused(&hmac(), &hs256(&claims(), b"another-secret-of-thirty-two-bytes")), TokenError::Signature);
    let token = rs256(&claims(), "rsa");
    let (message, signature) = token.rsplit_once('.').unwrap();
    let foreign = rs256(&with("sub", "11"), "rsa");
    let (foreign_message, _) = foreign.rsplit_once('.').unwrap();
    assert_eq!(refused(&rsa(), &format!("{foreign_message}.{signature}")), TokenError::Signature);
    assert_eq!(refused(&rsa(), &format!("{message}.")), TokenError::Signature);
}

#[test]
fn an_expired_token_is_refused_and_one_within_the_leeway_is_not() {
    let now = get_current_timestamp();
    assert_eq!(refused(&rsa(), &rs256(&with("exp", now - 60), "rsa")), TokenError::Expired);
    assert!(rsa().subject(&rs256(&with("exp", now - 2), "rsa")).is_ok());
    assert_eq!(refused(&rsa(), &rs256(&with("nbf", now + 60), "rsa")), TokenError::Early);
}

#[test]
fn another_issuer_or_audience_is_refused() {
    assert_eq!(refused(&rsa(), &rs256(&with("iss", "competitor"), "rsa")), TokenError::Issuer);
    assert_eq!(refused(&rsa(), &rs256(&with("aud", "newsletter"), "rsa")), TokenError::Audience);
    assert_eq!(refused(&rsa(), &rs256(&with("aud", json!(["a", "b"])), "rsa")), TokenError::Audience);
    assert!(rsa().subject(&rs256(&with("aud", json!(["a", "coupons"])), "rsa")).is_ok());
}

#[test]
fn a_token_without_one_of_the_claims_is_refused() {
    for claim in ["exp", "iss", "aud", "sub"] {
        assert_eq!(refused(&rsa(), &rs256(&without(claim), "rsa")), TokenError::Claim, "{claim}");
    }
    assert_eq!(refused(&rsa(), &rs256(&with("sub", 10), "rsa")), TokenError::Malformed);
    for subject in ["", "a\u{202e}b", "a\u{1b}[2J", &"x".repeat(256)] {
        assert_eq!(refused(&rsa(), &rs256(&with("sub", subject), "rsa")), TokenError::Subject);
    }
}

#[test]
fn an_algorithm_off_the_list_is_refused_even_with_the_right_key() {
    let key = EncodingKey::from_rsa_pem(&private("rsa")).unwrap();
    let token = encode(&Header::new(Algorithm::RS512), &claims(), &key).unwrap();
    assert_eq!(refused(&rsa(), &token), TokenError::Algorithm);
}

#[test]
fn the_public_key_never_passes_for_an_hmac_secret() {
    let pem = fs::read("tests/keys/rsa.public.pem").unwrap();
    assert_eq!(refused(&rsa(), &hs256(&claims(), &pem)), TokenError::Algorithm);
    // Also where HS256 is allowed beside it: each algorithm has its own key.
    let mut both = settings(&["RS256", "HS256"]);
    both.public_key_file = "tests/keys/rsa.public.pem".to_owned();
    both.hmac_secret = Secret::new(SECRET);
    let both = load(&both).unwrap();
    assert_eq!(refused(&both, &hs256(&claims(), &pem)), TokenError::Signature);
    assert!(both.subject(&hs256(&claims(), SECRET.as_bytes())).is_ok());
    assert!(both.subject(&rs256(&claims(), "rsa")).is_ok());
}

#[test]
fn an_unsigned_token_and_what_is_none_are_refused() {
    // {"alg":"none","typ":"JWT"} and the claims, without a signature.
    let signed = hs256(&claims(), SECRET.as_bytes());
    let body = signed.split('.').nth(1).unwrap();
    for head in ["eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0", "eyJhbGciOiJOT05FIn0"] {
        assert_eq!(refused(&hmac(), &format!("{head}.{body}.")), TokenError::Malformed);
    }
    for token in ["", ".", "..", "a.b.c", "é.é.é", &format!("{signed}.x")] {
        assert_eq!(refused(&hmac(), token), TokenError::Malformed, "{token}");
    }
    assert_eq!(refused(&hmac(), &"x".repeat(8193)), TokenError::TooLong);
}

#[test]
fn an_extension_that_must_be_understood_is_refused() {
    let header = Header { crit: Some(vec!["b64".to_owned()]), ..Header::new(Algorithm::HS256) };
    let token = encode(&header, &claims(), &EncodingKey::from_secret(SECRET.as_bytes())).unwrap();
    assert_eq!(refused(&hmac(), &token), TokenError::Malformed);
}

#[test]
fn the_kid_chooses_from_a_jwk_set() {
    let jwk = |name: &str, kid: &str| {
        let key = EncodingKey::from_rsa_pem(&private(name)).unwrap();
        let mut jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&key, Algorithm::RS256).unwrap();
        jwk.common.key_id = Some(kid.to_owned());
        serde_json::to_value(jwk).unwrap()
    };
    let sign = |name: &str, kid: Option<&str>| {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::RS256) };
        encode(&header, &claims(), &EncodingKey::from_rsa_pem(&private(name)).unwrap()).unwrap()
    };
    let verifier = |keys: Value| {
        let unique = uuid::Uuid::now_v7();
        let file = std::env::temp_dir().join(format!("jwks-{unique}.json"));
        fs::write(&file, json!({"keys": keys}).to_string()).unwrap();
        let mut settings = settings(&["RS256"]);
        settings.jwks_file = file.display().to_string();
        let verifier = load(&settings);
        fs::remove_file(file).unwrap();
        verifier
    };
    let other = json!({"kty": "RSA", "use": "enc", "kid": "c", "n": "AQAB", "e": "AQAB"});
    let both = verifier(json!([jwk("rsa", "a"), jwk("stranger", "b"), other])).unwrap();
    assert!(both.subject(&sign("rsa", Some("a"))).is_ok());
    assert!(both.subject(&sign("stranger", Some("b"))).is_ok());
    assert_eq!(refused(&both, &sign("stranger", Some("a"))), TokenError::Signature);
    assert_eq!(refused(&both, &sign("rsa", Some("z"))), TokenError::Key);
    assert_eq!(refused(&both, &sign("rsa", None)), TokenError::Key, "which of the two?");
    assert!(verifier(json!([jwk("rsa", "a")])).unwrap().subject(&sign("rsa", None)).is_ok());
    let shared = verifier(json!([{"kty": "oct", "k": "AQAB"}])).unwrap_err().to_string();
    assert!(shared.contains("a set of public keys"), "{shared}");
}

#[test]
fn each_of_several_secrets_counts() {
    let folder = std::env::temp_dir();
    let secrets = [
        "an-old-secret-of-thirty-two-bytes",
        "the-new-secret-of-32-bytes-or-more",
        "nobodys-secret-of-thirty-two-bytes",
    ];
    let write = |secret: &&str| {
        let file = folder.join(format!("secret-{}", uuid::Uuid::now_v7()));
        fs::write(&file, format!("{secret}\n")).unwrap();
        file
    };
    let files: Vec<_> = secrets[..2].iter().map(write).collect();
    let mut settings = settings(&["HS256"]);
    settings.hmac_secret_files = files.iter().map(|file| file.display().to_string()).collect();
    let verifier = load(&settings).unwrap();
    for file in &files {
        fs::remove_file(file).unwrap();
    }
    let signed = |secret: &str| hs256(&claims(), secret.as_bytes());
    assert!(verifier.subject(&signed(secrets[0])).is_ok() && verifier.subject(&signed(secrets[1])).is_ok());
    assert_eq!(refused(&verifier, &signed(secrets[2])), TokenError::Signature);
}

#[test]
fn another_claim_may_name_the_member() {
    let mut settings = settings(&["RS256"]);
    settings.public_key_file = "tests/keys/rsa.public.pem".to_owned();
    let name = "https://company.example/member";
    let verifier = Verifier::load(&settings, MemberClaim(name.to_owned())).unwrap();
    assert_eq!(verifier.subject(&rs256(&with(name, "Zoë"), "rsa")).unwrap().as_str(), "Zoë");
    assert_eq!(cached(&verifier), Some(1), "and is remembered");
    assert_eq!(refused(&verifier, &rs256(&claims(), "rsa")), TokenError::Claim, "sub alone names nobody here");
    assert_eq!(refused(&verifier, &rs256(&with(name, 10), "rsa")), TokenError::Malformed);
    let mut late = with(name, "Zoë");
    late["exp"] = (get_current_timestamp() - 60).into();
    assert_eq!(refused(&verifier, &rs256(&late, "rsa")), TokenError::Expired);
}
