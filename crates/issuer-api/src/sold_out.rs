//! The sold-out cache: refuses a crowd that comes too late without a question to Redis for each of them.
//!
//! An entry has a filter of all holders, read while the coupon's sequence stood still. It refuses for `sold_out.believed_ms`
//! (counted from before the question to Redis), and is renewed by a question every `QUESTION_INTERVAL` while members ask.
//! A member who may be a holder by the filter is never refused by it: Redis answers.
//!
//! What remains: a member to whom *another* process has given a unit that came back, or that a raised total brought, is not
//! in the filter yet. This process refuses that member until the next question, `believed_ms` after the reservation at the
//! latest. Asking again after that, or asking what is held (`issues/mine` never comes here), tells the member; so no holder
//! is refused for good. To rule it out, each of the crowd would have to be a question to Redis.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock, RwLockWriteGuard},
    time::Duration,
};

use coupon_core::{
    ids::{CouponCode, MemberId},
    runtime::chain,
    stock::{SoldOut, Stock, StockError},
};
use fastbloom::BloomFilter;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Mutex, MutexGuard},
    time::Instant,
};

/// Least time between two questions whether a coupon is still sold out: several in the lifetime of an entry, so that a late
/// answer makes no gap.
const QUESTION_INTERVAL: Duration = Duration::from_millis(50);
/// An entry that Redis was not asked about for so long begins anew.
const MAX_SILENCE: Duration = Duration::from_secs(1);
/// Refusals of one coupon by Redis, before `MAX_SILENCE` is over, that make it worth a question.
const REFUSALS_PER_ENTRY: u64 = 20;
/// Holders that may be read for each refusal by Redis, so that reading stays a part of the work of refusing however often a
/// coupon changes: a page for 50 refusals.
const HOLDERS_PER_REFUSAL: u64 = 20;
/// Holders read at a time.
const HOLDERS_PER_PAGE: usize = 1000;
/// Share of other members whom a filter takes for holders; Redis is asked for them. 14.4 bits for each holder.
const FALSE_HOLDER_RATE: f64 = 0.001;
/// Most holders of all filters together: 18 MB. A coupon beyond it is asked of Redis each time.
const MAX_HOLDERS: u64 = 10_000_000;

/// The `[sold_out]` section.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SoldOutSettings {
    /// How long an entry refuses after it was confirmed, in ms; 0: Redis is asked each time.
    pub believed_ms: u64,
    /// Whether a refusal by an entry may come before the signature of the token is verified.
    pub refuse_unverified: bool,
}

/// The sold-out coupons that members ask for.
pub struct SoldOutCache {
    stock: Stock,
    ttl: Duration,
    entries: RwLock<HashMap<CouponCode, Entry>>,
    /// Locked while holders are read, so that one filter is made at a time.
    reading: Mutex<()>,
    refused: metrics::Counter,
}

struct Entry {
    /// When Redis was asked last, or when the entry was made.
    asked: Instant,
    /// Refusals by Redis since the holders were read, or since the entry was made.
    refusals: u64,
    confirmed: Option<Confirmed>,
}

struct Confirmed {
    sold_out: SoldOut,
    holders: BloomFilter,
    until: Instant,
}

impl Entry {
    fn is_live(&self, now: Instant) -> bool {
        now.duration_since(self.asked) < MAX_SILENCE
    }
}

impl SoldOutCache {
    /// An empty cache.
    pub fn new(stock: Stock, settings: &SoldOutSettings) -> Self {
        Self {
            stock,
            ttl: Duration::from_millis(settings.believed_ms),
            entries: RwLock::default(),
            reading: Mutex::default(),
            refused: metrics::counter!("coupon_refused_from_memory_total"),
        }
    }

    /// Whether the member surely gets nothing: the coupon is sold out, and the member holds none.
    pub fn refuses(self: &Arc<Self>, code: &CouponCode, member: &MemberId) -> bool {
        let is_refused = self.may_hold(code, member) == Some(false);
        if is_refused {
            self.refused.increment(1);
        }
        is_refused
    }

    /// Whether the coupon is surely sold out.
    pub fn is_known(&self, code: &CouponCode) -> bool {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let confirmed = entries.get(code).and_then(|entry| entry.confirmed.as_ref());
        confirmed.is_some_and(|confirmed| Instant::now() < confirmed.until)
    }

    /// Whether the member may hold a coupon that is surely sold out; `None`: it is not known to be.
    pub fn may_hold(self: &Arc<Self>, code: &CouponCode, member: &MemberId) -> Option<bool> {
        let (may_hold, is_due) = {
            let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
            let entry = entries.get(code)?;
            let confirmed = entry.confirmed.as_ref()?;
            let now = Instant::now();
            let may_hold = (now < confirmed.until).then(|| confirmed.holders.contains(member.as_str()));
            (may_hold, now.duration_since(entry.asked) >= QUESTION_INTERVAL)
        };
        if is_due {
            self.note(code, 0);
        }
        may_hold
    }

    /// Redis has refused a member because the coupon is sold out. A coupon is worth an entry when that happens often.
    pub fn count_refusal(self: &Arc<Self>, code: &CouponCode) {
        if !self.ttl.is_zero() {
            self.note(code, 1);
        }
    }

    /// This process has reserved a unit of the coupon.
    pub fn forget(&self, code: &CouponCode) {
        // Nearly always there is nothing to forget, and other requests read meanwhile.
        let is_there = self.entries.read().unwrap_or_else(PoisonError::into_inner).contains_key(code);
        if is_there {
            self.write().remove(code);
        }
    }

    /// Adds refusals by Redis to an entry, and asks Redis about the coupon if that is worth it and due.
    fn note(self: &Arc<Self>, code: &CouponCode, refusals: u64) {
        let now = Instant::now();
        let mut entries = self.write();
        let Some(entry) = entries.get_mut(code).filter(|entry| entry.is_live(now)) else {
            entries.insert(code.clone(), Entry { asked: now, refusals, confirmed: None });
            return;
        };
        entry.refusals += refusals;
        let is_worth = entry.confirmed.is_some() || entry.refusals >= REFUSALS_PER_ENTRY;
        if !is_worth || now.duration_since(entry.asked) < QUESTION_INTERVAL {
            return;
        }
        entry.asked = now;
        let (this, code) = (Arc::clone(self), code.clone());
        tokio::spawn(async move {
            if let Err(error) = this.refresh(&code).await {
                tracing::debug!(coupon = %code, error = %chain(&error), "a sold-out coupon is not cached");
                this.forget(&code);
            }
        });
    }

    /// Asks Redis about the coupon, and renews, makes or drops its entry by the answer.
    async fn refresh(&self, code: &CouponCode) -> Result<(), StockError> {
        let asked = Instant::now();
        let Some(sold_out) = self.stock.sold_out(code).await? else {
            self.forget(code);
            return Ok(());
        };
        let Some(_reading) = self.renew(code, sold_out, asked + self.ttl) else { return Ok(()) };
        let server = self.stock.connection_id(code);
        let holders = self.read_holders(code, sold_out.holders).await?;
        let asked = Instant::now();
        // Nobody has got a unit while the holders were read. The place in a scan means something else to a server that has
        // taken over.
        if self.stock.sold_out(code).await? == Some(sold_out) && self.stock.connection_id(code) == server {
            self.keep(code, Confirmed { sold_out, holders, until: asked + self.ttl });
        }
        Ok(())
    }

    /// Renews an entry while the sequence of the coupon stands still. `Some`: the holders have to be read (again), there is
    /// room for them, and enough refusals pay for it.
    fn renew(&self, code: &CouponCode, sold_out: SoldOut, until: Instant) -> Option<MutexGuard<'_, ()>> {
        let mut entries = self.write();
        match &mut entries.get_mut(code)?.confirmed {
            Some(confirmed) if confirmed.sold_out == sold_out => {
                confirmed.until = until;
                return None;
            }
            changed => *changed = None,
        }
        entries.retain(|_, entry| entry.is_live(Instant::now()));
        let cached = entries.values().filter_map(|entry| Some(entry.confirmed.as_ref()?.sold_out.holders));
        let has_room = cached.sum::<u64>() + sold_out.holders <= MAX_HOLDERS;
        let price = REFUSALS_PER_ENTRY.max(sold_out.holders / HOLDERS_PER_REFUSAL);
        let entry = entries.get_mut(code).filter(|entry| has_room && entry.refusals >= price)?;
        let reading = self.reading.try_lock().ok()?;
        // Paid before it is known whether the coupon stands still for as long as the reading takes.
        entry.refusals = 0;
        Some(reading)
    }

    async fn read_holders(&self, code: &CouponCode, expected: u64) -> Result<BloomFilter, StockError> {
        let expected = usize::try_from(expected).unwrap_or(usize::MAX).max(1);
        let mut holders = BloomFilter::with_false_pos(FALSE_HOLDER_RATE).expected_items(expected);
        let mut cursor = 0;
        loop {
            let page = self.stock.scan_holders(code, cursor, HOLDERS_PER_PAGE).await?;
            for (member, _) in &page.holders {
                holders.insert(member.as_str());
            }
            cursor = page.cursor;
            if cursor == 0 {
                return Ok(holders);
            }
        }
    }

    /// Puts what was read into the entry, unless this process has seen a later sequence of the coupon.
    fn keep(&self, code: &CouponCode, confirmed: Confirmed) {
        let mut entries = self.write();
        // A reservation notes its sequence before it waits for the lock to forget the entry: either the sequence is seen
        // here, or the reservation forgets what is put here.
        let is_latest = self.stock.seen.of(code) <= (confirmed.sold_out.epoch, confirmed.sold_out.seq);
        if let Some(entry) = entries.get_mut(code).filter(|_| is_latest) {
            entry.confirmed = Some(confirmed);
        }
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<CouponCode, Entry>> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }
}
