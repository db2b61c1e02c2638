//! The faults of a run, drawn by its seed.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Value, json};

/// Mean time between two faults, so that an hour has more than 200.
const BETWEEN: Duration = Duration::from_secs(17);
/// Of a hundred faults, so many come together with another one.
const TWO_AT_ONCE: u32 = 30;
/// Shortest and longest time that a fault stays, in ms.
const LASTS_MS: std::ops::RangeInclusive<u64> = 500..=12_000;

/// Declares the kinds of fault, each with what it strikes, and the list of all of them.
macro_rules! kinds {
    ($($(#[$meta:meta])* $kind:ident of $target:ident,)+) => {
        /// What can happen.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Kind { $($(#[$meta])* $kind,)+ }
        const ALL: &[(Kind, Target)] = &[$((Kind::$kind, Target::$target),)+];
    };
}

/// What a fault strikes; of two at once each has another target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Process,
    Redis,
    Database,
    Kafka,
    Way,
    Rows,
    Records,
    Channel,
}

kinds! {
    /// A process is killed and started again.
    KillProcess of Process,
    /// A process is stopped softly and started again.
    RestartProcess of Process,
    /// A process hangs.
    FreezeProcess of Process,
    /// Both processes of a service hang.
    FreezeService of Process,
    /// Redis is killed and started again.
    KillRedis of Redis,
    /// Redis is stopped as an operator would, and started again.
    RestartRedis of Redis,
    /// Redis hangs.
    FreezeRedis of Redis,
    /// Redis refuses writes: READONLY.
    ReadOnlyRedis of Redis,
    /// Redis is out of memory.
    FullRedis of Redis,
    /// Redis loses a campaign, whose outbox is empty.
    LoseCampaign of Redis,
    /// A process of PostgreSQL is killed, so that all sessions end and it recovers from its log.
    CrashDatabase of Database,
    /// PostgreSQL is stopped and started again.
    RestartDatabase of Database,
    /// Every write fails as on a full disk.
    FullDisk of Database,
    /// PostgreSQL takes no writes.
    ReadOnlyDatabase of Database,
    /// All sessions are ended.
    EndSessions of Database,
    /// Somebody holds the row of a campaign.
    LockCampaign of Database,
    /// The broker is killed and started again.
    KillKafka of Kafka,
    /// The broker is stopped and started again.
    RestartKafka of Kafka,
    /// The broker hangs.
    FreezeKafka of Kafka,
    /// The way of all services to the broker is cut.
    CutKafka of Kafka,
    /// Nothing passes on the way of all services to the broker.
    StallKafka of Kafka,
    /// The way of all services to the broker is slow.
    DelayKafka of Kafka,
    /// The way of a process to PostgreSQL or Redis, or that of a client, is cut.
    CutWay of Way,
    /// Nothing passes on such a way.
    StallWay of Way,
    /// Such a way is slow.
    DelayWay of Way,
    /// The coupons of some members cannot be written.
    FailMembers of Rows,
    /// No coupon of a campaign can be written.
    FailCampaign of Rows,
    /// Records that nobody can read, null, too new, or of a campaign that nobody knows.
    BrokenRecords of Records,
    /// Records of decided requests come again.
    RepeatedRecords of Records,
    /// Nobody takes alarms, or the shop no webhooks.
    ChannelAway of Channel,
}

/// One fault of a schedule.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) number: usize,
    /// Since the beginning of the run.
    pub(super) at: Duration,
    pub(super) lasts: Duration,
    pub(super) kind: Kind,
    /// What else is left to chance, such as which process.
    pub(super) choice: u64,
}

impl Fault {
    pub(super) fn to_json(&self) -> Value {
        json!({"fault": self.number, "kind": format!("{:?}", self.kind), "at_s": self.at.as_secs(),
            "lasts_ms": u64::try_from(self.lasts.as_millis()).unwrap_or(u64::MAX), "choice": self.choice})
    }

    /// The chance of this fault alone.
    pub(super) fn chance(&self) -> StdRng {
        StdRng::seed_from_u64(self.choice)
    }
}

/// Draws the faults of a run of this length. Each kind comes once before any comes again.
pub(super) fn schedule(seed: u64, length: Duration, only: &str) -> Vec<Fault> {
    let mut chance = StdRng::seed_from_u64(seed);
    let kinds: Vec<_> = ALL.iter().filter(|(kind, _)| format!("{kind:?}").contains(only)).copied().collect();
    let (mut faults, mut left) = (Vec::new(), Vec::new());
    let mut at = Duration::from_secs(5);
    while at + Duration::from_millis(*LASTS_MS.end()) < length && !kinds.is_empty() {
        let number: u32 = if chance.random_range(0..100) < TWO_AT_ONCE { 2 } else { 1 };
        let mut struck = Vec::new();
        for _ in 0..number {
            if left.is_empty() {
                left.clone_from(&kinds);
            }
            let free: Vec<_> = left.iter().filter(|(_, target)| !struck.contains(target)).copied().collect();
            let Some((kind, target)) = free.choose(&mut chance).copied() else { continue };
            left.retain(|(other, _)| *other != kind);
            struck.push(target);
            let lasts = Duration::from_millis(chance.random_range(LASTS_MS));
            faults.push(Fault { number: faults.len(), at, lasts, kind, choice: chance.random() });
        }
        at += BETWEEN.mul_f64(chance.random_range(0.5..1.5)) * number;
    }
    faults
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn an_hour_has_two_hundred_faults_of_every_kind_and_the_same_ones_by_the_same_seed() {
        for seed in 0..20 {
            let faults = schedule(seed, HOUR, "");
            assert!(faults.len() >= 200, "{} faults by seed {seed}", faults.len());
            let kinds: BTreeSet<_> = faults.iter().map(|fault| format!("{:?}", fault.kind)).collect();
            assert_eq!(kinds.len(), ALL.len());
            let again = schedule(seed, HOUR, "");
            assert!(faults.iter().zip(&again).all(|(one, other)| one.to_json() == other.to_json()));
        }
        assert_ne!(schedule(1, HOUR, "")[0].choice, schedule(2, HOUR, "")[0].choice);
    }

    #[test]
    fn some_faults_strike_together_and_never_the_same_target() {
        let faults = schedule(7, HOUR, "");
        let target = |fault: &Fault| ALL.iter().find(|(kind, _)| *kind == fault.kind).map(|(_, target)| *target);
        let pairs: Vec<_> = faults.chunk_by(|one, other| one.at == other.at).filter(|some| some.len() == 2).collect();
        assert!(pairs.len() > 20, "{}", pairs.len());
        assert!(pairs.iter().all(|pair| target(&pair[0]) != target(&pair[1])));
    }
}
