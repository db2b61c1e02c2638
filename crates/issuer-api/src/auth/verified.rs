//! Tokens whose signature was verified, remembered until they expire: a member who asks again and again pays for RSA or
//! elliptic curves once.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use coupon_core::ids::MemberId;
use sha2::{Digest, Sha256};

/// Most tokens of one generation; two are kept, about 150 bytes for each token.
const MOST: usize = 32_768;

/// Remembers tokens by their SHA-256: what differs in one bit is another token. Old ones make room for new ones by
/// generations, so that nobody's tokens grow it and nothing has to be swept.
#[derive(Debug, Default)]
pub(super) struct Verified(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<[u8; 32], Remembered>,
    old: HashMap<[u8; 32], Remembered>,
}

#[derive(Clone, Debug)]
struct Remembered {
    member: MemberId,
    /// Last second in which it counts, the leeway included.
    until: u64,
}

impl Verified {
    /// Whose token it is, if it was verified and has not expired at `now` (seconds since 1970).
    pub(super) fn member(&self, token: &str, now: u64) -> Option<MemberId> {
        let key = key(token);
        let generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let remembered = generations.young.get(&key).or_else(|| generations.old.get(&key))?;
        (now <= remembered.until).then(|| remembered.member.clone())
    }

    /// Remembers a token that was verified now.
    pub(super) fn remember(&self, token: &str, member: &MemberId, until: u64) {
        let key = key(token);
        let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if generations.young.len() >= MOST {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(key, Remembered { member: member.clone(), until });
    }
}

fn key(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str) -> MemberId {
        name.parse().unwrap()
    }

    #[test]
    fn a_token_is_remembered_until_it_expires_and_no_other_one_is() {
        let verified = Verified::default();
        verified.remember("a.b.c", &member("10"), 100);
        assert_eq!(verified.member("a.b.c", 100), Some(member("10")));
        assert_eq!(verified.member("a.b.c", 101), None);
        assert_eq!(verified.member("a.b.C", 100), None);
    }

    #[test]
    fn no_number_of_tokens_makes_it_grow_beyond_two_generations_and_the_latest_are_kept() {
        let verified = Verified::default();
        let name = |number: usize| format!("token-{number}");
        for number in 0..3 * MOST {
            verified.remember(&name(number), &member("10"), 100);
        }
        let generations = verified.0.lock().unwrap();
        assert!(generations.young.len() <= MOST && generations.old.len() <= MOST);
        drop(generations);
        assert_eq!(verified.member(&name(0), 1), None);
        for number in 2 * MOST..3 * MOST {
            assert!(verified.member(&name(number), 1).is_some(), "{number}");
        }
    }
}
