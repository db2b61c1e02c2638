//! Redis as a test sees it: the keys of DESIGN §3, read and written without any script.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use redis::{AsyncCommands, AsyncConnectionConfig, aio::MultiplexedConnection};
use uuid::Uuid;

/// Longest time a command may take; the client's own default is too short for a busy machine.
const PATIENCE: Duration = Duration::from_secs(15);

/// Direct access to one logical database of Redis.
#[derive(Clone, Debug)]
pub struct Stock {
    redis: MultiplexedConnection,
}

/// What Redis holds of one campaign.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CampaignStock {
    /// The hash `meta`: status, window, total, epoch, seq.
    pub meta: BTreeMap<String, String>,
    /// Holder entries: member → request id.
    pub issued: BTreeMap<String, String>,
    /// `request_id|epoch|member_id` of reservations that Kafka has not acknowledged.
    pub outbox: Vec<String>,
}

impl CampaignStock {
    /// Returns a number of the hash `meta`.
    pub fn number(&self, field: &str) -> Option<i64> {
        self.meta.get(field)?.parse().ok()
    }

    /// Returns the coupons that no member holds: total minus holder entries.
    pub fn left(&self) -> Option<i64> {
        Some(self.number("total")? - i64::try_from(self.issued.len()).ok()?)
    }

    /// The request id that holds a member's unit.
    pub fn holder_of(&self, member: &str) -> Option<Uuid> {
        self.issued.get(member)?.parse().ok()
    }
}

impl Stock {
    /// Connects to `redis://host:port/number`.
    pub async fn connect(url: &str) -> Result<Self> {
        let client = redis::Client::open(url)?;
        let patient =
            AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE)).set_connection_timeout(Some(PATIENCE));
        let redis =
            client.get_multiplexed_async_connection_with_config(&patient).await.context("Redis does not answer")?;
        Ok(Self { redis })
    }

    /// The connection, for commands of any kind.
    pub fn redis(&self) -> MultiplexedConnection {
        self.redis.clone()
    }

    /// Deletes everything in this logical database.
    pub async fn flush(&self) -> Result<()> {
        Ok(redis::cmd("FLUSHDB").query_async(&mut self.redis()).await?)
    }

    /// Everything that Redis holds of a campaign, at one moment. A Redis that is full takes no transaction, also not to read.
    pub async fn of(&self, code: &str) -> Result<CampaignStock> {
        let all = "return {redis.call('HGETALL', KEYS[1]), redis.call('HGETALL', KEYS[2]), redis.call('ZRANGE', KEYS[3], 0, -1)}";
        let (meta, issued, outbox) = redis::Script::new(all)
            .key(key(code, "meta"))
            .key(key(code, "issued"))
            .key(key(code, "outbox"))
            .invoke_async(&mut self.redis())
            .await?;
        Ok(CampaignStock { meta, issued, outbox })
    }

    /// Writes fields of a campaign's `meta` and makes its code known, as no script would.
    pub async fn set_meta(&self, code: &str, fields: &[(&str, &str)]) -> Result<()> {
        let mut redis = self.redis();
        let _: () = redis::pipe()
            .sadd("coupons", code)
            .hset_multiple(key(code, "meta"), fields)
            .query_async(&mut redis)
            .await?;
        Ok(())
    }

    /// Writes the holder entry of a member, or removes it.
    pub async fn set_holder(&self, code: &str, member: &str, request_id: Option<Uuid>) -> Result<()> {
        let issued = key(code, "issued");
        match request_id {
            Some(id) => Ok(self.redis().hset(issued, member, id.to_string()).await?),
            None => Ok(self.redis().hdel(issued, member).await?),
        }
    }

    /// Writes the holder entries of many members, as their reservations would have.
    pub async fn set_holders(&self, code: &str, holders: &[(String, Uuid)]) -> Result<()> {
        for some in holders.chunks(1000) {
            let some: Vec<(&str, String)> = some.iter().map(|(member, id)| (member.as_str(), id.to_string())).collect();
            let _: () = self.redis().hset_multiple(key(code, "issued"), &some).await?;
        }
        Ok(())
    }

    /// Writes an entry of the outbox.
    pub async fn set_outbox(&self, code: &str, entry: &str) -> Result<()> {
        Ok(self.redis().zadd(key(code, "outbox"), entry, 1).await?)
    }

    /// Codes of the campaigns that have data here.
    pub async fn codes(&self) -> Result<Vec<String>> {
        Ok(self.redis().smembers("coupons").await?)
    }

    /// Number of keys in this logical database.
    pub async fn keys(&self) -> Result<u64> {
        Ok(redis::cmd("DBSIZE").query_async(&mut self.redis()).await?)
    }
}

/// The key of one part of a campaign; the braces are a hash tag, so that all parts lie in one slot of a cluster.
pub fn key(code: &str, part: &str) -> String {
    format!("coupon:{{{code}}}:{part}")
}
