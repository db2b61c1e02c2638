//! What this process remembers of sold-out campaigns, so that a crowd that comes too late is refused without a question to
//! Redis for each of them.
//!
//! A memory is a filter of all holders, read while the coupon's sequence stood still. It is believed for a moment only
//! (`sold_out.believed_ms`, counted from before the question), and renewed by one question every `LOOK` as long as
//! it spares Redis more than it costs. Who may be a holder by the filter is never refused by it: Redis answers.
//!
//! What remains: a member to whom *another* process has given a unit that came back, or that a raised total brought, is not
//! in the filter yet, and is refused here until the memory ends: at most `believed_ms` after that reservation, usually `LOOK`.
//! Whoever asks again after that, or asks what they hold (`issues/mine` never comes here), is told of it; so nobody is
//! refused for good. To rule it out, each of the crowd would have to be a question to Redis.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use coupon_core::{
    ids::{CouponCode, MemberId},
    runtime::chain,
    stock::{SoldOut, Stock, StockError},
};
use fastbloom::BloomFilter;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

/// Between two questions whether a coupon is still sold out: several in the time that an answer is believed, so that a
/// late one makes no gap.
const LOOK: Duration = Duration::from_millis(50);
/// Refusals of one coupon by Redis within a second that make it worth a memory: as many as looks in that time.
const WORTH: u32 = 20;
/// Looks after which is reckoned up whether it still is: 2 s.
const RECKONED: u64 = 40;
/// Most coupons with a memory, so that nobody who asks for many makes work for Redis.
const MOST_COUPONS: usize = 100;
/// Between a memory that was given up and the next one: reading the holders is work for Redis.
const PAUSE: Duration = Duration::from_secs(1);
/// A coupon whose memory does not last is read for one of so many parts of the time at most, by each process.
const SHARE: u32 = 10;
/// Holders read at a time.
const PAGE: usize = 1000;
/// Share of strangers whom the filter takes for holders; Redis is asked for them. 14.4 bits for each holder.
const MISTAKEN: f64 = 0.001;
/// Most holders of all memories together: 18 MB. What is beyond it is asked of Redis each time.
const MOST_HOLDERS: u64 = 10_000_000;

/// The `[sold_out]` section.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SoldOutSettings {
    /// How long "sold out" is believed, in ms; 0: Redis is asked each time.
    pub believed_ms: u64,
}

/// The memories of all campaigns.
pub struct Memories {
    stock: Stock,
    believed_ms: u64,
    began: Instant,
    coupons: RwLock<HashMap<CouponCode, Arc<Memory>>>,
    /// Coupons with a task, and how many holders these keep in mind.
    watched: Mutex<HashSet<CouponCode>>,
    holders: AtomicU64,
    asked: Mutex<Asked>,
    refused: metrics::Counter,
}

/// How often Redis has refused somebody within a second.
#[derive(Default)]
struct Asked {
    /// Since the memories began.
    second: u64,
    refused: HashMap<CouponCode, u32>,
}

struct Memory {
    of: SoldOut,
    holders: BloomFilter,
    /// In ms since the memories began.
    believed_until: AtomicU64,
    /// Refusals that are not in the metric yet.
    refused: AtomicU64,
    in_all: metrics::Counter,
}

impl Memories {
    /// Without any.
    pub fn new(stock: Stock, settings: &SoldOutSettings) -> Self {
        Self {
            stock,
            believed_ms: settings.believed_ms,
            began: Instant::now(),
            coupons: RwLock::default(),
            watched: Mutex::default(),
            holders: AtomicU64::new(0),
            asked: Mutex::default(),
            refused: metrics::counter!("coupon_refused_from_memory_total"),
        }
    }

    /// Whether the member surely gets nothing: the coupon is sold out, and it is none of the holders.
    pub fn refuse(&self, code: &CouponCode, member: &MemberId) -> bool {
        if self.believed_ms == 0 {
            return false;
        }
        let coupons = self.coupons.read().unwrap_or_else(PoisonError::into_inner);
        let Some(memory) = coupons.get(code) else { return false };
        let refused =
            self.now() < memory.believed_until.load(Ordering::Acquire) && !memory.holders.contains(member.as_str());
        if refused {
            memory.refused.fetch_add(1, Ordering::Relaxed);
        }
        refused
    }

    /// Redis has refused somebody. A coupon is worth a memory when that happens often.
    pub fn learn(self: &Arc<Self>, code: &CouponCode) {
        if self.believed_ms == 0 || !self.is_often(code) {
            return;
        }
        let mut watched = self.watched();
        if watched.len() < MOST_COUPONS && watched.insert(code.clone()) {
            let watch = Watch { of: Arc::clone(self), code: code.clone(), holders: 0 };
            tokio::spawn(watch.run());
        }
    }

    /// Notes a refusal, and tells once a second whether there are many.
    fn is_often(&self, code: &CouponCode) -> bool {
        let second = self.now() / 1000;
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.second != second {
            *asked = Asked { second, refused: HashMap::new() };
        }
        let refused = asked.refused.entry(code.clone()).or_default();
        *refused += 1;
        *refused == WORTH
    }

    /// Somebody got a unit of it through this process.
    pub fn forget(&self, code: &CouponCode) {
        // Nearly always there is nothing to forget, and others read meanwhile.
        let is_there = self.coupons.read().unwrap_or_else(PoisonError::into_inner).contains_key(code);
        if is_there {
            self.coupons.write().unwrap_or_else(PoisonError::into_inner).remove(code);
        }
    }

    /// Puts the memory where it is looked up, unless this process has seen a later sequence of the coupon.
    fn keep(&self, code: &CouponCode, memory: &Arc<Memory>) -> bool {
        let mut coupons = self.coupons.write().unwrap_or_else(PoisonError::into_inner);
        // A reservation notes its sequence before it waits for the lock to forget the memory: either it is seen here, or
        // it forgets what is put here.
        let is_true = self.stock.seen.of(code) <= (memory.of.epoch, memory.of.seq);
        if is_true && !coupons.contains_key(code) {
            coupons.insert(code.clone(), Arc::clone(memory));
        }
        is_true
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn watched(&self) -> MutexGuard<'_, HashSet<CouponCode>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    /// Puts what it has refused into the metric, and tells how much that is.
    fn count(&self) -> u64 {
        let refused = self.refused.swap(0, Ordering::Relaxed);
        self.in_all.increment(refused);
        refused
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.count();
    }
}

/// The task that keeps one memory true.
struct Watch {
    of: Arc<Memories>,
    code: CouponCode,
    /// As many as it is counted with.
    holders: u64,
}

impl Watch {
    async fn run(mut self) {
        let read_in = self.watch().await.unwrap_or_else(|error| {
            tracing::debug!(coupon = %self.code, error = %chain(&error), "a sold-out coupon is not kept in mind");
            Duration::ZERO
        });
        self.of.forget(&self.code);
        sleep(PAUSE.max(read_in * SHARE)).await;
    }

    /// Reads the holders, and keeps the memory true until the coupon has changed or nobody asks. Gives the time that
    /// reading took.
    async fn watch(&mut self) -> Result<Duration, StockError> {
        let began = Instant::now();
        let server = self.of.stock.server_id().await?;
        let Some(sold_out) = self.of.stock.sold_out(&self.code).await? else { return Ok(Duration::ZERO) };
        self.holders = sold_out.holders;
        if self.of.holders.fetch_add(self.holders, Ordering::Relaxed) + self.holders > MOST_HOLDERS {
            return Ok(Duration::ZERO);
        }
        let holders = self.read_holders().await?;
        let read_in = began.elapsed();
        // The place in a scan means something else to the server that has taken over.
        if self.of.stock.server_id().await? != server {
            return Ok(read_in);
        }
        let memory = Arc::new(Memory {
            of: sold_out,
            holders,
            believed_until: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            in_all: self.of.refused.clone(),
        });
        let (mut looks, mut spared) = (0, 0);
        loop {
            let now = self.of.now();
            // Also the first time only after the holders were read: nobody has got a unit meanwhile.
            if self.of.stock.sold_out(&self.code).await? != Some(sold_out) {
                break;
            }
            memory.believed_until.store(now.saturating_add(self.of.believed_ms), Ordering::Release);
            if !self.of.keep(&self.code, &memory) {
                break;
            }
            sleep(LOOK).await;
            looks += 1;
            spared += memory.count();
            if looks == RECKONED {
                if spared < RECKONED {
                    break;
                }
                (looks, spared) = (0, 0);
            }
        }
        Ok(read_in)
    }

    async fn read_holders(&self) -> Result<BloomFilter, StockError> {
        let expected = usize::try_from(self.holders).unwrap_or(usize::MAX).max(1);
        let mut holders = BloomFilter::with_false_pos(MISTAKEN).expected_items(expected);
        let mut cursor = 0;
        loop {
            let page = self.of.stock.scan_marks(&self.code, cursor, PAGE).await?;
            for (member, _) in &page.marks {
                holders.insert(member.as_str());
            }
            cursor = page.cursor;
            if cursor == 0 {
                return Ok(holders);
            }
        }
    }
}

impl Drop for Watch {
    /// Also after a panic: a coupon that seems to be watched is never watched again.
    fn drop(&mut self) {
        self.of.forget(&self.code);
        self.of.holders.fetch_sub(self.holders, Ordering::Relaxed);
        self.of.watched().remove(&self.code);
    }
}
