//! A world's place on the shared servers. The claim is taken first and released last; everything a world leaves
//! behind can be found from it, so a later run can clean up after a killed one.

use anyhow::{Context, Result, bail};
use redis::{Commands, Connection, ExistenceCheck, SetExpiry, SetOptions};

use super::owner;
use crate::servers::Servers;

/// Logical databases of the shared Redis (its `databases` setting is one more: the last is for the tests of
/// coupon-core). Number 0 holds the claims.
const REDIS_DATABASES: u16 = 1023;

/// A logical Redis database held by one world, and the names derived from the world's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Eight hexadecimal digits, part of every name.
    pub id: String,
    /// Number of the logical Redis database.
    pub redis_index: u16,
}

impl Claim {
    /// Takes a free logical database of Redis for a world of this process.
    pub fn take(servers: &Servers) -> Result<Self> {
        Self::take_from(servers, rand::random_range(1..REDIS_DATABASES))
    }

    /// Takes the first free database of Redis from this number on. One that holds data is in use: the end of a world would
    /// delete that data, so no world claims it.
    fn take_from(servers: &Servers, first: u16) -> Result<Self> {
        let mut redis = connect(servers, 0)?;
        let id = format!("{:08x}", rand::random::<u32>());
        let word = format!("{} {id}", owner::this_process());
        for index in (first..REDIS_DATABASES).chain(1..first) {
            let keys: u64 = redis::cmd("DBSIZE").query(&mut connect(servers, index)?)?;
            if keys > 0 {
                continue;
            }
            let taken = redis.set_options::<_, _, Option<String>>(key(index), &word, only_if_free())?;
            if taken.is_some() {
                return Ok(Self { id, redis_index: index });
            }
        }
        bail!(
            "each of {REDIS_DATABASES} logical databases of Redis is taken or holds data; see the keys it:claim:* of number 0"
        )
    }

    /// Claims whose process is gone.
    pub fn abandoned(servers: &Servers) -> Result<Vec<Self>> {
        let mut redis = connect(servers, 0)?;
        let keys = redis.scan_match::<_, String>("it:claim:*")?.collect::<redis::RedisResult<Vec<_>>>()?;
        let mut claims = Vec::new();
        for key in keys {
            let word: Option<String> = redis.get(&key)?;
            claims.extend(word.and_then(|word| abandoned(&key, &word)));
        }
        Ok(claims)
    }

    /// Whether this run cleans up an abandoned claim: of two runs that start together, one does.
    pub fn take_broom(&self, servers: &Servers) -> Result<bool> {
        let broom = only_if_free().with_expiration(SetExpiry::EX(120));
        let mine =
            connect(servers, 0)?.set_options::<_, _, Option<String>>(format!("it:broom:{}", self.id), "", broom)?;
        Ok(mine.is_some())
    }

    /// Gives the claim back, after everything else is gone.
    pub fn release(&self, servers: &Servers) -> Result<()> {
        Ok(connect(servers, 0)?.del(key(self.redis_index))?)
    }

    /// Name of the world's database.
    pub fn database(&self) -> String {
        format!("it_{}", self.id)
    }

    /// Prefix of the world's topics and consumer groups.
    pub fn prefix(&self) -> String {
        format!("it-{}", self.id)
    }
}

fn abandoned(key: &str, word: &str) -> Option<Claim> {
    let (owner, id) = word.split_once(' ')?;
    let redis_index = key.rsplit(':').next()?.parse().ok()?;
    (!owner::lives(owner)).then(|| Claim { id: id.to_owned(), redis_index })
}

fn connect(servers: &Servers, index: u16) -> Result<Connection> {
    let client = redis::Client::open(servers.redis(index)?)?;
    client.get_connection().context("Redis of REDIS_URL does not answer")
}

fn only_if_free() -> SetOptions {
    SetOptions::default().conditional_set(ExistenceCheck::NX)
}

fn key(index: u16) -> String {
    format!("it:claim:{index}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logical_database_with_data_is_not_claimed_and_stays_as_it_is() {
        let servers = Servers::from_env().expect("addresses of the servers; see scripts/test");
        // Held until the data is there, so that no other world claims it.
        let held = Claim::take(&servers).expect("a free logical database");
        let mut redis = connect(&servers, held.redis_index).expect("a connection");
        let () = redis.set("somebody's", "data").expect("Redis answers");
        held.release(&servers).expect("Redis answers");
        let next = Claim::take_from(&servers, held.redis_index).expect("another logical database");
        next.release(&servers).expect("Redis answers");
        let data: Option<String> = redis.get_del("somebody's").expect("Redis answers");
        assert_eq!(data.as_deref(), Some("data"));
        assert_ne!(next.redis_index, held.redis_index);
    }

    #[test]
    fn only_claims_of_dead_processes_are_abandoned() {
        let dead = abandoned("it:claim:7", "0:0 abcd1234");
        assert_eq!(dead, Some(Claim { id: "abcd1234".to_owned(), redis_index: 7 }));
        assert_eq!(abandoned("it:claim:7", &format!("{} abcd1234", owner::this_process())), None);
    }
}
