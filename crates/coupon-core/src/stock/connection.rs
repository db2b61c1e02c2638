//! The connection to Redis, bounded in time.

use std::{sync::Arc, time::Duration};

use redis::{Cmd, FromRedisValue, Pipeline, RedisError, ScriptInvocation, Value};

use super::{RedisSettings, Seen, StockError, call::Call, cluster::Cluster, dial::Dialer, keys, link::Link};
use crate::{crash, ids::CouponCode};

/// A script of `lua/`, compiled into the binary and known to Redis by its hash.
macro_rules! script {
    ($name:ident, $file:literal) => {
        static $name: std::sync::LazyLock<redis::Script> =
            std::sync::LazyLock::new(|| redis::Script::new(include_str!(concat!("../../lua/", $file))));
    };
}
pub(super) use script;

script!(PROBE, "probe.lua");

/// The stock of all coupons, behind one multiplexed connection to each server of theirs that reconnects by itself.
#[derive(Clone)]
pub struct Stock {
    servers: Arc<Servers>,
    bound: Duration,
    /// What the operator vouches for where the server forbids INFO.
    pub(super) is_noeviction_asserted: bool,
    /// The highest sequences this process has seen.
    pub seen: Arc<Seen>,
}

/// Where calls go.
enum Servers {
    /// To one server: that of the URL, or the master that the Sentinels name.
    One(Link),
    /// To the node of a cluster that has the slot.
    Cluster(Cluster),
}

impl Stock {
    /// Prepares the connection; it is made when first needed and made again whenever it breaks.
    pub fn new(settings: &RedisSettings) -> Result<Self, StockError> {
        let dialer = Arc::new(Dialer::new(settings.clone()));
        let servers = if settings.cluster {
            Servers::Cluster(Cluster::new(dialer))
        } else {
            Servers::One(Link::new(dialer, None))
        };
        let bound = Duration::from_millis(settings.response_timeout_ms + settings.connect_timeout_ms);
        let is_noeviction_asserted = settings.assert_noeviction;
        Ok(Self { servers: Arc::new(servers), bound, is_noeviction_asserted, seen: Arc::default() })
    }

    /// How long a call may take at most.
    pub fn bound(&self) -> Duration {
        self.bound
    }

    /// Whether Redis takes what the service writes, in a cluster every master. A replica, a full memory and a user without
    /// rights all answer a PING.
    pub async fn probe(&self) -> Result<(), StockError> {
        self.probe_until(Result::is_err).await
    }

    /// Whether Redis, in a cluster at least one master, takes what the service writes: while one is replaced, the campaigns
    /// of the others go on.
    pub async fn probe_any(&self) -> Result<(), StockError> {
        self.probe_until(Result::is_ok).await
    }

    /// Probes one server after the other until an outcome tells, and gives the last outcome.
    async fn probe_until(&self, is_telling: impl Fn(&Result<(), StockError>) -> bool) -> Result<(), StockError> {
        let mut outcome = Ok(());
        for (_, tag) in self.masters().await? {
            let mut call = PROBE.key(keys::of_tag(&tag, "meta"));
            outcome = self.ask(&tag, call.key(keys::of_tag(&tag, "outbox"))).await.map(drop);
            if is_telling(&outcome) {
                break;
            }
        }
        outcome
    }

    /// The name of each server that has campaigns, and a hash tag that lies on it. One server has no name.
    async fn masters(&self) -> Result<Vec<(String, String)>, StockError> {
        match &*self.servers {
            Servers::One(_) => Ok(vec![(String::new(), keys::PROBE_TAG.to_owned())]),
            Servers::Cluster(cluster) => {
                let masters = self.in_time(cluster.masters()).await?;
                Ok(masters.into_iter().map(|(link, tag)| (link.name(), tag)).collect())
            }
        }
    }

    /// Sends a pipeline to each server that has campaigns: the name of the server, empty where there is but one, and the answer.
    pub(super) async fn of_each<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<Vec<(String, T)>, StockError> {
        let mut answers = Vec::new();
        for (name, tag) in self.masters().await? {
            answers.push((name, self.pipeline(&tag, pipeline).await?));
        }
        Ok(answers)
    }

    /// Whether the servers are said to be those of a cluster.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(&*self.servers, Servers::Cluster(_))
    }

    /// What tells which server answers for a coupon, and over which connection: as long as it is the same, so are they. A
    /// server that has taken over, or the same one started again, answers over another connection.
    pub fn connection_id(&self, code: &CouponCode) -> String {
        match &*self.servers {
            Servers::One(link) => link.number().to_string(),
            Servers::Cluster(cluster) => cluster.connection_id(code.as_str()),
        }
    }

    /// Invokes a script on the keys of a hash tag; `effect` names what it does, see [`crash`].
    pub(super) async fn invoke(
        &self,
        effect: &'static str,
        tag: &str,
        call: &ScriptInvocation<'_>,
    ) -> Result<Value, StockError> {
        crash::around(effect, self.ask(tag, call)).await
    }

    /// Invokes a script that changes nothing.
    pub(super) async fn ask(&self, tag: &str, call: &ScriptInvocation<'_>) -> Result<Value, StockError> {
        self.send(tag, &Call::Script(call), false).await
    }

    /// Invokes a script that a repeat does not harm: without an answer it asks once more. Both tries share the bound,
    /// so that the caller does not wait twice as long.
    pub(super) async fn invoke_repeatable(
        &self,
        effect: &'static str,
        tag: &str,
        call: &ScriptInvocation<'_>,
    ) -> Result<Value, StockError> {
        crash::around(effect, self.send(tag, &Call::Script(call), true)).await
    }

    /// Runs a command that changes something; `effect` names what it does, see [`crash`].
    pub(super) async fn change(&self, effect: &'static str, tag: &str, command: &Cmd) -> Result<(), StockError> {
        crash::around(effect, self.query::<i64>(tag, command)).await.map(|_| ())
    }

    pub(super) async fn query<T: FromRedisValue>(&self, tag: &str, command: &Cmd) -> Result<T, StockError> {
        read(self.send(tag, &Call::Command(command), false).await?)
    }

    pub(super) async fn pipeline<T: FromRedisValue>(&self, tag: &str, pipeline: &Pipeline) -> Result<T, StockError> {
        read(self.send(tag, &Call::Pipeline(pipeline), false).await?)
    }

    /// Sends a call to the server that has the keys of a hash tag.
    async fn send(&self, tag: &str, call: &Call<'_>, is_repeatable: bool) -> Result<Value, StockError> {
        self.in_time(async {
            match &*self.servers {
                Servers::One(link) => match link.send(call, false).await {
                    Err(error) if is_repeatable && error.is_unanswered() => link.send(call, false).await,
                    answer => answer,
                },
                Servers::Cluster(cluster) => cluster.send(tag, call, is_repeatable).await,
            }
        })
        .await
    }

    /// Bounds a call: the driver bounds a response and a connection, but not a call that waits for one and then the other.
    async fn in_time<T>(&self, call: impl Future<Output = Result<T, StockError>>) -> Result<T, StockError> {
        match tokio::time::timeout(self.bound, call).await {
            Ok(answer) => answer,
            Err(_) => Err(StockError::TimedOut(u64::try_from(self.bound.as_millis()).unwrap_or(u64::MAX))),
        }
    }
}

fn read<T: FromRedisValue>(value: Value) -> Result<T, StockError> {
    T::from_redis_value(value).map_err(|error| StockError::from(RedisError::from(error)))
}
