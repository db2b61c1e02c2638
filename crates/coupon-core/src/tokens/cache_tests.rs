//! What is remembered of tokens that were verified, and what ends it.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::*;
use crate::tokens::key_ring::MAX_CACHED_TOKENS;

/// Between two looks whether a second of the clock is over, which nothing tells.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

#[test]
fn a_token_that_was_verified_counts_again_until_it_expires_and_a_changed_one_never() {
    let verifier = rsa();
    let good = rs256(&claims(), "rsa");
    for _ in 0..2 {
        assert_eq!(verifier.subject(&good).map(|member| member.as_str().to_owned()), Ok("10".to_owned()));
    }
    assert_eq!(cached(&verifier), Some(1), "it is remembered");
    // Other bits under the same signature, and the same bits under another one.
    let parts: Vec<&str> = good.split('.').collect();
    let other = rs256(&with("sub", "11"), "rsa");
    let other: Vec<&str> = other.split('.').collect();
    assert_eq!(verifier.subject(&format!("{}.{}.{}", parts[0], other[1], parts[2])), Err(TokenError::Signature));
    assert_eq!(verifier.subject(&format!("{}.{}.{}", parts[0], parts[1], other[2])), Err(TokenError::Signature));
    // It expired 3 s ago, and the leeway is 5 s.
    let over_soon = rs256(&with("exp", get_current_timestamp() - 3), "rsa");
    assert!(verifier.subject(&over_soon).is_ok());
    let deadline = Instant::now() + Duration::from_millis(3500);
    while verifier.subject(&over_soon).is_ok() && Instant::now() < deadline {
        thread::sleep(BETWEEN_LOOKS);
    }
    assert_eq!(verifier.subject(&over_soon), Err(TokenError::Expired), "it is not remembered beyond its time");
    assert!(verifier.subject(&good).is_ok());
}

#[test]
fn no_number_of_tokens_makes_the_cache_grow_beyond_its_bound() {
    let verifier = rsa();
    let ring = verifier.ring.load();
    let cache = ring.verified.as_ref().unwrap();
    let member: MemberId = "10".parse().unwrap();
    for number in 0..3 * MAX_CACHED_TOKENS {
        cache.insert(TokenHash::of(&number.to_string()), (member.clone(), u64::MAX));
    }
    assert!((1..=MAX_CACHED_TOKENS).contains(&cache.len()), "{}", cache.len());
}

#[test]
fn a_key_that_is_gone_ends_what_it_had_verified() {
    let verifier = rsa();
    let token = rs256(&claims(), "rsa");
    assert!(verifier.subject(&token).is_ok() && verifier.subject(&token).is_ok());
    let stranger = EncodingKey::from_rsa_pem(&private("stranger")).unwrap();
    let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&stranger, Algorithm::RS256).unwrap();
    let set = json!({ "keys": [jwk, { "kty": "EC", "crv": "of-tomorrow", "x": "AQAB" }] }).to_string();
    let keys =
        crate::tokens::keys::from_jwks(set.as_bytes(), "auth.jwks_url", &settings(&["RS256"]).allowed().unwrap());
    verifier.use_keys(verifier.keys());
    assert_eq!(cached(&verifier), Some(1), "the same keys again forget nothing");
    verifier.use_keys(keys.unwrap());
    assert_eq!(refused(&verifier, &token), TokenError::Signature);
    assert!(verifier.subject(&rs256(&claims(), "stranger")).is_ok());
}
