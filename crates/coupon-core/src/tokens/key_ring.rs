//! The keys of a moment, and the tokens that they have verified.

use aws_lc_rs::digest::{SHA256, digest};
use jsonwebtoken::{AlgorithmFamily, Header};
use quick_cache::sync::Cache;

use super::{Key, TokenError, token::is_shared};

/// Most verified tokens kept, about 150 bytes each, and 450 where member ids are as long as they may be; which are evicted is
/// up to the cache.
pub(super) const MAX_CACHED_TOKENS: usize = 65_536;

/// SHA-256 of a token: what differs in one bit is another token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct TokenHash([u8; 32]);

impl TokenHash {
    pub(super) fn of(token: &str) -> Self {
        let hash = digest(&SHA256, token.as_bytes());
        Self(hash.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

/// Each key once, however many sources have it.
pub(super) fn each_once(keys: Vec<Key>) -> Vec<Key> {
    let mut once: Vec<Key> = Vec::new();
    for key in keys {
        if !once.contains(&key) {
            once.push(key);
        }
    }
    once
}

/// Keys that came together, and what only they have verified.
#[derive(Debug)]
pub(super) struct KeyRing<S> {
    pub(super) keys: Vec<Key>,
    /// Subjects of verified tokens, each with the last second in which the token counts, the leeway included: a member who
    /// asks again and again pays for RSA or elliptic curves once. `None` where it is of no use: a token signed with a shared
    /// secret is verified as quickly as it is found.
    pub(super) verified: Option<Cache<TokenHash, (S, u64)>>,
}

impl<S: Clone> KeyRing<S> {
    /// A ring of these keys that has verified nothing yet.
    pub(super) fn new(keys: Vec<Key>) -> Self {
        let is_of_use = keys.iter().flat_map(|key| &key.algorithms).any(|algorithm| !is_shared(*algorithm));
        Self { keys, verified: is_of_use.then(|| Cache::new(MAX_CACHED_TOKENS)) }
    }

    /// What this ring has more and less than an older one, in words. A `kid` is no secret.
    pub(super) fn changes(&self, old: &Self) -> String {
        let beyond = |these: &[Key], those: &[Key]| {
            let more: Vec<_> = these.iter().filter(|key| !those.contains(key)).map(Key::name).collect();
            if more.is_empty() { "none".to_owned() } else { more.join(", ") }
        };
        format!("new are {}; gone are {}", beyond(&self.keys, &old.keys), beyond(&old.keys, &self.keys))
    }

    /// The keys that may have signed it: those of its algorithm with its `kid`, or the ones without any. Without a `kid` it
    /// may be any shared secret, and one public key alone.
    pub(super) fn candidates(&self, header: &Header) -> Result<Vec<&Key>, TokenError> {
        let fitting: Vec<&Key> = self.keys.iter().filter(|key| key.can_verify(header.alg)).collect();
        let Some(id) = &header.kid else {
            let is_clear = fitting.len() == 1 || header.alg.family() == AlgorithmFamily::Hmac;
            return if is_clear { Ok(fitting) } else { Err(TokenError::Key) };
        };
        let named: Vec<&Key> = fitting.iter().copied().filter(|key| key.id.as_ref() == Some(id)).collect();
        if !named.is_empty() {
            return Ok(named);
        }
        Ok(fitting.into_iter().filter(|key| key.id.is_none()).collect())
    }
}
