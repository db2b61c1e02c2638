//! A Redis Cluster: which node has a slot, and how a call finds it.
//!
//! Every call of ours touches one slot (the code of a campaign is the hash tag of its keys), so the rules of one server hold
//! for each call: one connection to a node, an answer that does not come is unknown, and only a call that was not executed
//! is sent again: one that was redirected, or that met a slot on its way.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, future::select_ok};
use redis::{ErrorKind, RedisError, ServerErrorKind, Value};
use tokio::time::Instant;

use super::{
    StockError,
    call::Call,
    dial::{Address, Dialer},
    link::Link,
    slots::{self, SLOTS, slot_of},
};
use crate::retry::Backoff;

/// Redirections that one call follows; more mean that the nodes do not agree.
const MAX_REDIRECTIONS: u32 = 5;
/// Time before a call is sent again whose slot is on its way to another node.
const TRY_AGAIN_PAUSE: Duration = Duration::from_millis(20);

/// The nodes of a cluster, and which one has which slot.
pub(super) struct Cluster {
    dialer: Arc<Dialer>,
    /// The node of `redis.url`, asked for the others.
    seed: Arc<Link>,
    slots: RwLock<Vec<Option<Arc<Link>>>>,
    links: Mutex<HashMap<Address, Arc<Link>>>,
    /// Whether an answer has shown that slots may have other nodes now.
    is_stale: AtomicBool,
    renewal: tokio::sync::Mutex<Renewal>,
    /// Calls that were answered by the node a slot was moving to.
    asks: AtomicU64,
}

/// When the slots may be asked for again.
struct Renewal {
    not_before: Option<Instant>,
    backoff: Backoff,
    failure: Option<RedisError>,
}

impl Cluster {
    /// Prepares it; the nodes are asked for by the first call.
    pub(super) fn new(dialer: Arc<Dialer>) -> Self {
        let renewal = Renewal {
            not_before: None,
            backoff: Backoff::new(Duration::from_millis(250), Duration::from_secs(2)),
            failure: None,
        };
        Self {
            seed: Arc::new(Link::new(Arc::clone(&dialer), None)),
            dialer,
            slots: RwLock::new(vec![None; SLOTS]),
            links: Mutex::default(),
            is_stale: AtomicBool::new(true),
            renewal: tokio::sync::Mutex::new(renewal),
            asks: AtomicU64::new(0),
        }
    }

    /// Sends a call to the node that has the slot of `tag`. One that a repeat does not harm is sent once more when it gets no
    /// answer.
    pub(super) async fn send(&self, tag: &str, call: &Call<'_>, is_repeatable: bool) -> Result<Value, StockError> {
        let slot = slot_of(tag);
        let (mut redirected, mut redirections, mut is_repeated) = (None, 0, !is_repeatable);
        loop {
            let (link, is_asking) = match redirected.take() {
                Some(there) => there,
                None => (self.link_of(slot).await?, false),
            };
            let error = match link.send(call, is_asking).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let redis = error.redis();
            match redis.map(|error| (error.kind(), error.redirect_node())) {
                Some((ErrorKind::Server(ServerErrorKind::Moved), Some((address, _))))
                    if redirections < MAX_REDIRECTIONS =>
                {
                    let there = self.link_to(address, &link);
                    self.is_stale.store(true, Ordering::Relaxed);
                    self.slots.write().unwrap_or_else(PoisonError::into_inner)[slot] = Some(Arc::clone(&there));
                    redirected = Some((there, false));
                    redirections += 1;
                }
                Some((ErrorKind::Server(ServerErrorKind::Ask), Some((address, _))))
                    if redirections < MAX_REDIRECTIONS =>
                {
                    self.asks.fetch_add(1, Ordering::Relaxed);
                    redirected = Some((self.link_to(address, &link), true));
                    redirections += 1;
                }
                // Some keys of the call are here and some there, or do not exist: nothing was executed. The bound of the call
                // ends this. So are the commands of a pipeline, which only read.
                Some(
                    (ErrorKind::Server(ServerErrorKind::TryAgain), _)
                    | (ErrorKind::Server(ServerErrorKind::Ask | ServerErrorKind::Moved), None),
                ) => {
                    self.is_stale.store(true, Ordering::Relaxed);
                    tokio::time::sleep(TRY_AGAIN_PAUSE).await;
                }
                _ => {
                    let is_unknown = error.is_unanswered();
                    if is_unknown || matches!(error, StockError::NotNow(_)) {
                        self.is_stale.store(true, Ordering::Relaxed);
                    }
                    if is_repeated || !is_unknown {
                        return Err(error);
                    }
                    is_repeated = true;
                }
            }
        }
    }

    /// What tells one course of answers from another: the node of a slot, the connection to it, and how often a slot was met
    /// on its way.
    pub(super) fn connection_id(&self, tag: &str) -> String {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let asks = self.asks.load(Ordering::Relaxed);
        match &slots[slot_of(tag)] {
            Some(link) => format!("{} {} {asks}", link.name(), link.number()),
            None => format!("none {asks}"),
        }
    }

    /// The nodes that have slots, each with the text of a hash tag that lies in one of them.
    pub(super) async fn masters(&self) -> Result<Vec<(Arc<Link>, String)>, StockError> {
        self.renew(true).await?;
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(missing) = slots.iter().position(Option::is_none) {
            let last = missing + slots[missing..].iter().take_while(|slot| slot.is_none()).count() - 1;
            return Err(unserved(&format!("slots {missing} to {last}")));
        }
        let mut masters: Vec<(Arc<Link>, String)> = Vec::new();
        for (slot, link) in slots.iter().enumerate() {
            let link = link.as_ref().unwrap_or(&self.seed);
            if !masters.iter().any(|(known, _)| Arc::ptr_eq(known, link)) {
                masters.push((Arc::clone(link), slots::tag_in(slot)));
            }
        }
        Ok(masters)
    }

    /// The node that has a slot, as far as is known.
    async fn link_of(&self, slot: usize) -> Result<Arc<Link>, StockError> {
        let known = || self.slots.read().unwrap_or_else(PoisonError::into_inner)[slot].clone();
        if self.is_stale.load(Ordering::Relaxed) {
            let renewed = self.renew(false).await;
            // Nobody could be asked: perhaps the node of this slot is not concerned.
            return known().map_or_else(|| renewed.and(Err(unserved(&format!("slot {slot}")))), Ok);
        }
        known().ok_or_else(|| {
            self.is_stale.store(true, Ordering::Relaxed);
            unserved(&format!("slot {slot}"))
        })
    }

    /// The node at an address that a redirection or a list names; without a host it is that of the node that said so.
    fn link_to(&self, address: &str, by: &Link) -> Arc<Link> {
        match address.parse::<Address>() {
            Ok(address) => self.link_at(address, by),
            Err(()) => Arc::clone(&self.seed),
        }
    }

    fn link_at(&self, mut address: Address, by: &Link) -> Arc<Link> {
        if address.host.is_empty() || address.host == "?" {
            address.host = match &by.node {
                Some(node) => node.host.clone(),
                None => self.dialer.host(),
            };
        }
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let link = links
            .entry(address)
            .or_insert_with_key(|address| Arc::new(Link::new(Arc::clone(&self.dialer), Some(address.clone()))));
        Arc::clone(link)
    }

    /// Asks all known nodes which one has which slot, and believes the first answer: a node that is behind redirects. Not more
    /// often than the back-off admits; within its wait the last failure stands. `is_forced`: also when no answer has shown a need.
    async fn renew(&self, is_forced: bool) -> Result<(), StockError> {
        let mut renewal = self.renewal.lock().await;
        if !is_forced && !self.is_stale.load(Ordering::Relaxed) {
            return Ok(());
        }
        let now = Instant::now();
        if renewal.not_before.is_some_and(|earliest| now < earliest) {
            return renewal.failure.clone().map_or(Ok(()), |error| Err(StockError::NotConnected(error)));
        }
        if renewal.failure.is_none() {
            renewal.backoff.reset();
        }
        renewal.not_before = Some(now + renewal.backoff.next_wait());
        let mut nodes: Vec<Arc<Link>> = vec![Arc::clone(&self.seed)];
        nodes.extend(self.links.lock().unwrap_or_else(PoisonError::into_inner).values().cloned());
        let command = redis::cmd("CLUSTER").arg("SLOTS").to_owned();
        let asked = nodes.iter().map(|link| {
            let command = &command;
            async move { Ok((Arc::clone(link), link.send(&Call::Command(command), false).await?)) }.boxed()
        });
        let answer: Result<((Arc<Link>, Value), _), StockError> = select_ok(asked).await;
        let (by, listed) = match answer {
            Ok((answer, _)) => answer,
            Err(error) => {
                renewal.failure = error.redis().cloned();
                return Err(error);
            }
        };
        let mut slots = vec![None; SLOTS];
        for range in slots::read(&listed)? {
            let link = self.link_at(range.node, &by);
            slots[range.first..=range.last].fill(Some(link));
        }
        let is_in_use = |link: &Arc<Link>| slots.iter().flatten().any(|used| Arc::ptr_eq(used, link));
        self.links.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, link| is_in_use(link));
        *self.slots.write().unwrap_or_else(PoisonError::into_inner) = slots;
        renewal.failure = None;
        self.is_stale.store(false, Ordering::Relaxed);
        Ok(())
    }
}

fn unserved(slots: &str) -> StockError {
    let detail = format!("{slots} of the cluster have no master");
    StockError::NotNow(RedisError::from((ErrorKind::ClusterConnectionNotFound, "the cluster is not whole", detail)))
}
